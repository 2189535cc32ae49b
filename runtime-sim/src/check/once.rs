//! Promise: a command of a session is applied at most once, however often it was sent (Raft thesis §6.3).
//!
//! The intuition: a change to a key answers with the index of the entry that made it. An entry whose answer is its own
//! index did something; for one (session, sequence) there may be only one such entry, on all nodes together.

use super::Complaint;
use anvil_core::state::{Answer, Command};
use anvil_core::types::{Entry, GroupId, LogIndex, Payload, SessionId};
use std::collections::BTreeMap;

/// The checker.
#[derive(Debug, Default)]
pub struct ExactlyOnce {
    effective: BTreeMap<(GroupId, SessionId, u64), LogIndex>,
}

impl ExactlyOnce {
    /// A node applies these entries and obtained these answers.
    pub fn on_applied(
        &mut self,
        group: GroupId,
        entries: &[Entry],
        answers: &[(LogIndex, Answer)],
    ) -> Result<(), Complaint> {
        for (index, answer) in answers {
            let Answer::Key { revision } = answer else { continue };
            if *revision != index.0 {
                continue;
            }
            let entry = entries.iter().find(|entry| entry.position.index == *index);
            let Some(Payload::Command(bytes)) = entry.map(|entry| &entry.payload) else { continue };
            let Ok(command) = Command::decode(bytes) else { continue };
            let Some(stamp) = command.session else { continue };
            let key = (group, stamp.session, stamp.sequence);
            let first = *self.effective.entry(key).or_insert(*index);
            if first != *index {
                return Err(Complaint::new(
                    "exactly once",
                    format!(
                        "sequence {} of session {} took effect at entry {first} and again at entry {index}",
                        stamp.sequence, stamp.session
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ExactlyOnce;
    use anvil_core::state::{Answer, Command, KeyCondition, KeyOperation, Operation, SessionStamp};
    use anvil_core::types::{Entry, GroupId, LogIndex, LogPosition, Payload, SessionId, Term, WallTime};
    use bytes::Bytes;

    fn entry(index: u64, sequence: u64) -> Entry {
        let stamp = SessionStamp { session: SessionId(1), sequence, answered_below: 0 };
        let put = KeyOperation::Put { key: Bytes::from("k"), value: Bytes::from("v"), condition: KeyCondition::Any };
        let command = Command { time: WallTime(1), session: Some(stamp), operation: Operation::Key(put) };
        let position = LogPosition { index: LogIndex(index), term: Term(1) };
        Entry { position, payload: Payload::Command(command.encode()) }
    }

    #[test]
    fn a_repeat_with_the_recorded_answer_is_fine_and_a_second_effect_is_not() {
        let mut once = ExactlyOnce::default();
        let answer = |at, revision| vec![(LogIndex(at), Answer::Key { revision })];
        once.on_applied(GroupId(1), &[entry(5, 1)], &answer(5, 5)).expect("first");
        once.on_applied(GroupId(1), &[entry(5, 1)], &answer(5, 5)).expect("another node");
        once.on_applied(GroupId(1), &[entry(7, 1)], &answer(7, 5)).expect("a repeat");
        once.on_applied(GroupId(1), &[entry(8, 2)], &answer(8, 8)).expect("the next");
        once.on_applied(GroupId(1), &[entry(9, 1)], &answer(9, 9)).expect_err("applied twice");
    }
}
