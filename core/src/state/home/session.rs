//! The rows of sessions: by id, by last use, their answers, and how many there are.
//!
//! The rules are in [`sessions`]; this file keeps the four tables consistent. The index by last use finds the oldest
//! session, and the idle ones, in one step each.

use super::super::Moment;
use super::super::command::{Answer, SessionStamp};
use super::super::layout::{Range, Table};
use super::super::sessions::{self, Admission, SESSIONS_MAX, SessionRow};
use super::Home;
use crate::rows::{RowsError, Scan};
use crate::types::{SessionId, WallTime};
use alloc::vec::Vec;

/// Sessions that one round of housekeeping ends at most.
const EXPIRE_MAX: usize = 8;

impl Home<'_> {
    /// Opens a session, and makes room for it.
    pub(super) fn open_session(&mut self, moment: Moment) -> Result<Answer, RowsError> {
        let session = SessionId(moment.index.0);
        if self.session_count()? >= SESSIONS_MAX {
            for (_, oldest) in self.least_used(1)? {
                self.end_session(oldest)?;
            }
        }
        let row = SessionRow::opened(moment);
        self.put(&self.layout.session(session), &row)?;
        self.put(&self.layout.session_use(row.used, session), &())?;
        let count = self.session_count()? + 1;
        self.put(&self.layout.session_count(), &count)?;
        Ok(Answer::Session(session))
    }

    /// The answer to a stamped command that is not to be applied; `None` when it is.
    pub(super) fn admit(&mut self, stamp: SessionStamp, moment: Moment) -> Result<Option<Answer>, RowsError> {
        let session = stamp.session;
        let row: Option<SessionRow> = self.reader().get(&self.layout.session(session))?;
        // SESSION-3. An idle session is gone before housekeeping comes to it, so that its end has one exact time.
        let Some(before) = row.filter(|row| !row.is_idle(moment.time)) else {
            return Ok(Some(Answer::SessionExpired));
        };
        let mut row = before;
        row.used = moment.time;
        if stamp.answered_below > row.answered_below {
            row.answered_below = stamp.answered_below;
            let released = self.layout.session_answers(session, Some(stamp.answered_below));
            let released = self.remove_range(&released)?; // SESSION-1
            row.answers = row.answers.saturating_sub(released);
        }
        if row.used != before.used {
            self.rows.remove(&self.layout.session_use(before.used, session))?;
            self.put(&self.layout.session_use(row.used, session), &())?;
        }
        if row != before {
            self.put(&self.layout.session(session), &row)?;
        }
        let recorded = self.reader().get(&self.layout.session_answer(session, stamp.sequence))?;
        Ok(match row.admit(recorded, stamp) {
            Admission::Apply => None,
            Admission::Answer(answer) => Some(answer),
        })
    }

    /// Writes down the answer of a command that was admitted.
    pub(super) fn record(&mut self, stamp: SessionStamp, answer: &Answer) -> Result<(), RowsError> {
        let key = self.layout.session(stamp.session);
        let row: Option<SessionRow> = self.reader().get(&key)?;
        let mut row = row.expect("a stamped command ends no session, and this one was open when it was admitted");
        row.answers += 1;
        self.put(&key, &row)?;
        self.put(&self.layout.session_answer(stamp.session, stamp.sequence), answer)
    }

    /// Ends sessions that were idle for too long, a few at a time.
    pub(super) fn expire_sessions(&mut self, moment: Moment) -> Result<(), RowsError> {
        for (used, session) in self.least_used(EXPIRE_MAX)? {
            if used.after(sessions::IDLE_MAX) < moment.time {
                self.end_session(session)?;
            }
        }
        Ok(())
    }

    fn session_count(&self) -> Result<u32, RowsError> {
        Ok(self.reader().get(&self.layout.session_count())?.unwrap_or(0))
    }

    fn least_used(&self, limit: usize) -> Result<Vec<(WallTime, SessionId)>, RowsError> {
        let found = self.reader().collect(&self.layout.table_rows(Table::SessionUses), limit, |mut key| {
            Some((WallTime(key.number_u64()?), SessionId(key.number_u64()?)))
        })?;
        Ok(found.into_iter().map(|(name, ())| name).collect())
    }

    fn end_session(&mut self, session: SessionId) -> Result<(), RowsError> {
        let key = self.layout.session(session);
        let row: Option<SessionRow> = self.reader().get(&key)?;
        if let Some(row) = row {
            self.rows.remove(&self.layout.session_use(row.used, session))?;
        }
        self.rows.remove(&key)?;
        self.remove_range(&self.layout.session_answers(session, None))?;
        let count = self.session_count()?.saturating_sub(1);
        self.put(&self.layout.session_count(), &count)
    }

    /// Removes the rows of a range, and says how many there were.
    fn remove_range(&mut self, range: &Range) -> Result<u32, RowsError> {
        let mut found = Vec::new();
        self.reader().scan(range, |key, _| {
            found.push(key.to_vec());
            Ok(Scan::Continue)
        })?;
        found.iter().try_for_each(|key| self.rows.remove(key))?;
        Ok(u32::try_from(found.len()).expect("a session keeps few answers"))
    }
}
