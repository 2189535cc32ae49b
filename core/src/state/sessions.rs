//! The rules of client sessions: a stamped command is applied at most once (`STATE-5`; Raft thesis §6.3).
//!
//! The intuition: the state machine writes down the answer to each stamped command beside its effect. A client that did
//! not hear the answer sends the same stamp again and gets the record instead of a second effect. Records live until the
//! client says that it has the answers, so a session keeps at most [`ANSWERS_MAX`] of them.
//!
//! - `SESSION-1`: an answer is dropped only when the client has said that it has it, or with its whole session.
//! - `SESSION-2`: a sequence below `answered_below` is never applied, since its record may be gone.
//! - `SESSION-3`: a command of a session that is gone is never applied, since its record is gone too.
//!
//! Sessions end after [`IDLE_MAX`] of replicated time without a command, or when [`SESSIONS_MAX`] others are in use more
//! recently. Not here: the rows' keys, and the index by last use (`home`).

use super::Moment;
use super::command::{Answer, Refusal, SessionStamp};
use crate::types::WallTime;
use alloc::format;
use alloc::string::ToString;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Open sessions in a group; the one that was used the longest ago makes room for a new one.
pub const SESSIONS_MAX: u32 = 4096;
/// Answers that a session keeps. A client with more commands in flight must first say which answers it has.
pub const ANSWERS_MAX: u32 = 256;
/// A session that was not used for longer than this, in replicated time, is gone.
pub const IDLE_MAX: Duration = Duration::from_secs(60 * 60);

/// An open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Replicated time of its last command.
    pub used: WallTime,
    /// The client has the answers to all sequences below.
    pub answered_below: u64,
    /// Answers that are recorded.
    pub answers: u32,
}

/// What to do with a stamped command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Apply it, and record the answer.
    Apply,
    /// Do not apply it; this is the answer.
    Answer(Answer),
}

impl SessionRow {
    /// A session that was opened at this moment.
    #[must_use]
    pub fn opened(moment: Moment) -> SessionRow {
        SessionRow { used: moment.time, answered_below: 1, answers: 0 }
    }

    /// Whether the session was idle for too long.
    #[must_use]
    pub fn is_idle(&self, time: WallTime) -> bool {
        self.used.after(IDLE_MAX) < time
    }

    /// Whether a command with this stamp is applied, given the answer that is recorded under its sequence. The answers
    /// that the stamp releases have left the row's count before this is asked.
    #[must_use]
    pub fn admit(&self, recorded: Option<Answer>, stamp: SessionStamp) -> Admission {
        let refuse = |message| Admission::Answer(Answer::Refused(Refusal::Invalid(message)));
        // SESSION-2. Nobody waits for this answer: the client itself said that it has it.
        if stamp.sequence < self.answered_below {
            return refuse(format!("sequence {} is below {}, answered", stamp.sequence, self.answered_below));
        }
        if let Some(answer) = recorded {
            return Admission::Answer(answer);
        }
        // SESSION-1: rather than forget an answer that the client may still ask for, nothing is applied.
        if self.answers >= ANSWERS_MAX {
            return refuse(format!("the session keeps {ANSWERS_MAX} answers: say which ones arrived"));
        }
        Admission::Apply
    }
}

/// The refusal of a session that would be opened inside a session: opening may evict the very session of the stamp.
#[must_use]
pub fn nested() -> Answer {
    Answer::Refused(Refusal::Invalid("a session is opened without a stamp".to_string()))
}
