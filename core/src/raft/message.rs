//! What the replicas of a group say to each other. Names and fields as in Raft figure 2 and figure 13; pre-vote as in
//! the thesis, §9.6, and the transfer of the lead, §3.10.

use crate::types::{Entry, LogIndex, LogPosition, Membership, Payload, Term};
use alloc::vec::Vec;
use bytes::Bytes;

/// A message between two replicas of one group. `term` is the sender's, except where a field says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "Would you vote for me?" Changes nothing at the receiver. `term` is the one the sender *would* campaign in.
    PreVote { term: Term, last_log: LogPosition },
    /// `term` is the asked one when granted, the voter's own when refused.
    PreVoteResponse { term: Term, granted: bool },
    /// Asks for the vote of `term`. `handover` says that the leader asked the candidate to take over (`RAFT-18`).
    RequestVote { term: Term, last_log: LogPosition, handover: bool },
    /// Leaves only after the voter's record is on disk (`RAFT-2`).
    RequestVoteResponse { term: Term, granted: bool },
    /// Entries to append after `previous`; empty as a heartbeat. `round` names the leader's current ReadIndex round and
    /// comes back in the response.
    AppendEntries { term: Term, previous: LogPosition, entries: Vec<Entry>, commit: LogIndex, round: u64 },
    /// How an append ended.
    AppendEntriesResponse { term: Term, outcome: AppendOutcome, round: u64 },
    /// A piece of the leader's state machine, for a replica whose next entry the leader has cut.
    InstallSnapshot { term: Term, chunk: SnapshotChunk },
    /// How far the snapshot has come.
    InstallSnapshotResponse { term: Term, outcome: InstallOutcome },
    /// The leader wants the receiver to take over (thesis §3.10).
    TimeoutNow { term: Term },
    /// A command of a follower's client, for the leader of `term`.
    Forward { term: Term, ask: Ask, command: Bytes },
    /// What became of a forwarded command. `term` is the one of the question.
    ForwardResponse { term: Term, ask: Ask, outcome: ForwardOutcome },
    /// A follower's client reads: which index must have been applied (thesis §6.4)? For the leader of `term`.
    ReadIndex { term: Term, ask: Ask },
    /// The index, after a quorum confirmed the lead.
    ReadIndexResponse { term: Term, ask: Ask, index: LogIndex },
    /// The sender lost its log, but for what is up to `last`: how far does the log of the leader of `term` reach (`RAFT-25`)?
    RecoverLog { term: Term, ask: Ask, last: LogIndex },
    /// So far, when the question came.
    RecoverLogResponse { term: Term, ask: Ask, last: LogIndex },
}

/// Names a question that one replica puts to another, for ever (`RAFT-19`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The life of the asking replica: 64 bits of chance.
    pub life: u64,
    /// Counts its questions.
    pub number: u64,
}

/// What a leader did with a forwarded command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// It stands here in the log, in the term of the question.
    Proposed(LogIndex),
    /// Too many commands wait already. Nothing happened.
    Busy,
}

/// Bytes of a snapshot at most: more would not fit into the memory of a receiver that puts it together.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 32;

/// A piece of a snapshot. The snapshot is named by its position and its size: what replicas of one group have there is equal,
/// so a follower goes on with the pieces of another leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// The last entry that the whole snapshot includes.
    pub position: LogPosition,
    /// The membership there, as in [`Snapshot::membership`](crate::types::Snapshot).
    pub membership: Option<Membership>,
    /// Bytes of the rows of the whole snapshot.
    pub size: u64,
    /// How many bytes of them stand before these.
    pub offset: u64,
    /// These bytes.
    pub rows: Bytes,
}

/// How a follower answers a piece of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallOutcome {
    /// The follower's log and state machine are durable and equal to the leader's up to here: it needs no more of it.
    Installed(LogIndex),
    /// So many bytes of the snapshot at this position have come without a gap. Not durable: a restart forgets them.
    Received { position: LogPosition, bytes: u64 },
}

/// How a follower answers an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The follower's log is durable and equal to the leader's up to here.
    Matched(LogIndex),
    /// The entry before the append is missing or of another term. `rejected` is the index that the leader sent as
    /// previous; the rest lets it skip a whole term (Raft §5.3, end).
    Rejected {
        /// The leader's `previous.index`, so that a stale rejection is recognised.
        rejected: LogIndex,
        /// The last index at which the logs may still agree.
        hint: LogPosition,
    },
}

impl Message {
    /// The term that the message carries.
    pub fn term(&self) -> Term {
        match *self {
            Message::PreVote { term, .. }
            | Message::PreVoteResponse { term, .. }
            | Message::RequestVote { term, .. }
            | Message::RequestVoteResponse { term, .. }
            | Message::AppendEntries { term, .. }
            | Message::AppendEntriesResponse { term, .. }
            | Message::InstallSnapshot { term, .. }
            | Message::InstallSnapshotResponse { term, .. }
            | Message::TimeoutNow { term }
            | Message::Forward { term, .. }
            | Message::ForwardResponse { term, .. }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexResponse { term, .. }
            | Message::RecoverLog { term, .. }
            | Message::RecoverLogResponse { term, .. } => term,
        }
    }

    /// Whether a correct replica could have sent this at all, whatever the receiver knows. Numbers above `number_max`
    /// do not occur.
    pub(super) fn is_plausible(&self, number_max: u64) -> bool {
        if self.term().0 > number_max {
            return false;
        }
        match self {
            // A candidate's log ends in a term before the one that it asks for.
            Message::PreVote { term, last_log } | Message::RequestVote { term, last_log, .. } => {
                last_log.term < *term && is_position(*last_log, number_max)
            }
            Message::AppendEntries { term, previous, entries, .. } => {
                let mut last = *previous;
                is_position(*previous, number_max)
                    && entries.iter().all(|entry| {
                        let before = core::mem::replace(&mut last, entry.position);
                        last.index == before.index.next()
                            && last.term >= before.term
                            && last.term > Term(0)
                            && !has_no_voters(&entry.payload)
                    })
                    && last.term <= *term
                    && *term > Term(0)
            }
            Message::InstallSnapshot { term, chunk } => {
                let end = chunk.offset.checked_add(chunk.rows.len() as u64);
                is_position(chunk.position, number_max)
                    && chunk.position.index > LogIndex(0)
                    && chunk.position.term <= *term
                    && end.is_some_and(|end| end <= chunk.size)
                    && chunk.size <= SNAPSHOT_BYTES_MAX
            }
            Message::PreVoteResponse { .. }
            | Message::RequestVoteResponse { .. }
            | Message::AppendEntriesResponse { .. }
            | Message::InstallSnapshotResponse { .. }
            | Message::TimeoutNow { .. }
            | Message::Forward { .. }
            | Message::ForwardResponse { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexResponse { .. } => true,
            Message::RecoverLog { last, .. } | Message::RecoverLogResponse { last, .. } => last.0 <= number_max,
        }
    }
}

/// No group votes itself out of existence.
fn has_no_voters(payload: &Payload) -> bool {
    matches!(payload, Payload::Membership(membership) if membership.is_empty())
}

/// Index 0 is before the log and has no term; every entry has one.
fn is_position(position: LogPosition, number_max: u64) -> bool {
    (position.index == LogIndex(0)) == (position.term == Term(0))
        && position.index.0 <= number_max
        && position.term.0 <= number_max
}
