//! Promise: user keys are linearizable, with put, delete, compare-and-swap on the revision, and get.
//!
//! The intuition: every put of a run writes a value that no other put writes, so a value names its writer, and every
//! revision that anybody saw beside a value names that writer too. What remains is a register whose state is "who
//! wrote last".
//!
//! - `KEYS-1` A revision belongs to one write, and a write has one revision.

use super::Complaint;
use super::linearizable::{Model, Operation, Verdict, check, story};
use crate::world::SimTime;
use anvil_core::state::KeyCondition;
use std::collections::BTreeMap;

/// Names a write; its value is derived from it, and no other has that value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// What a client did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// Put the value of this write.
    Put(WriteId, KeyCondition),
    /// Delete.
    Delete(KeyCondition),
    /// Get.
    Get,
}

/// What it heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOutcome {
    /// The change was made, with this revision.
    Changed {
        /// The revision.
        revision: u64,
    },
    /// The condition did not hold; 0 when the key was absent.
    Conflict {
        /// The key's revision.
        revision: u64,
    },
    /// There was no key.
    Absent,
    /// The key had the value of this write, at this revision.
    Found {
        /// Who wrote it.
        write: WriteId,
        /// When.
        revision: u64,
    },
}

/// One operation of a client on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInput {
    /// What it was.
    pub action: KeyAction,
    /// What was heard; `None` when nothing was.
    pub outcome: Option<KeyOutcome>,
}

/// The history of all keys.
#[derive(Debug, Default)]
pub struct KeyHistory {
    keys: BTreeMap<Vec<u8>, Vec<Operation<KeyInput>>>,
}

impl KeyHistory {
    /// Notes an operation. A get that heard nothing says nothing and is left out.
    pub fn note(&mut self, key: &[u8], call: SimTime, end: Option<SimTime>, input: KeyInput) {
        assert_eq!(end.is_some(), input.outcome.is_some(), "an operation ends with an outcome");
        if end.is_some() || input.action != KeyAction::Get {
            self.keys.entry(key.to_vec()).or_default().push(Operation { call, end, input });
        }
    }

    /// Operations with a known outcome.
    pub fn completed(&self) -> usize {
        self.keys.values().flatten().filter(|operation| operation.end.is_some()).count()
    }

    /// Judges every key. `Ok` carries the number of keys whose search was given up.
    pub fn check(&self) -> Result<usize, Complaint> {
        let mut undecided = 0;
        for (key, operations) in &self.keys {
            let model = Keys { revisions: attribute(key, operations)? };
            match check(&model, None, operations) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Broken { placed } => {
                    let what = format!("key {:?}", String::from_utf8_lossy(key));
                    return Err(Complaint::new("keys are linearizable", story(&what, operations, placed, said)));
                }
            }
        }
        Ok(undecided)
    }
}

fn said(input: &KeyInput) -> String {
    format!("{:?} -> {:?}", input.action, input.outcome)
}

/// Finds the revision of each write from whatever shows it (`KEYS-1`).
fn attribute(key: &[u8], operations: &[Operation<KeyInput>]) -> Result<BTreeMap<WriteId, u64>, Complaint> {
    let mut revisions: BTreeMap<WriteId, u64> = BTreeMap::new();
    let mut writers: BTreeMap<u64, WriteId> = BTreeMap::new();
    for operation in operations {
        let (write, revision) = match (operation.input.action, operation.input.outcome) {
            (KeyAction::Put(write, _), Some(KeyOutcome::Changed { revision })) => (write, revision),
            (KeyAction::Get, Some(KeyOutcome::Found { write, revision })) => (write, revision),
            (KeyAction::Put(..) | KeyAction::Delete(_) | KeyAction::Get, _) => continue,
        };
        let known = *revisions.entry(write).or_insert(revision);
        let writer = *writers.entry(revision).or_insert(write);
        if known != revision || writer != write {
            return Err(Complaint::new(
                "keys are linearizable",
                format!(
                    "key {:?}: {write:?} was seen at revisions {known} and {revision}, whose writer is {writer:?}",
                    String::from_utf8_lossy(key)
                ),
            ));
        }
    }
    Ok(revisions)
}

struct Keys {
    revisions: BTreeMap<WriteId, u64>,
}

impl Keys {
    /// Whether the condition holds. A write whose revision nobody saw has a revision that nobody can name.
    fn holds(&self, state: Option<WriteId>, condition: KeyCondition) -> bool {
        match condition {
            KeyCondition::Any => true,
            KeyCondition::Absent => state.is_none(),
            KeyCondition::Present => state.is_some(),
            KeyCondition::Revision(wanted) => {
                state.map_or(wanted == 0, |write| self.revisions.get(&write) == Some(&wanted))
            }
        }
    }

    /// Whether a conflict that reported `revision` may have met this state.
    fn may_report(&self, state: Option<WriteId>, revision: u64) -> bool {
        match state {
            None => revision == 0,
            Some(write) => match self.revisions.get(&write) {
                Some(known) => *known == revision,
                None => revision != 0 && self.revisions.values().all(|known| *known != revision),
            },
        }
    }
}

impl Model for Keys {
    type State = Option<WriteId>;
    type Input = KeyInput;

    fn step(&self, state: &Option<WriteId>, input: &KeyInput) -> Option<Option<WriteId>> {
        let state = *state;
        match input.action {
            KeyAction::Put(write, condition) => {
                let holds = self.holds(state, condition);
                match input.outcome {
                    None => Some(if holds { Some(write) } else { state }),
                    Some(KeyOutcome::Changed { .. }) => holds.then_some(Some(write)),
                    Some(KeyOutcome::Conflict { revision }) => {
                        (!holds && self.may_report(state, revision)).then_some(state)
                    }
                    Some(KeyOutcome::Absent | KeyOutcome::Found { .. }) => None,
                }
            }
            KeyAction::Delete(condition) => {
                let holds = state.is_some() && self.holds(state, condition);
                match input.outcome {
                    None => Some(if holds { None } else { state }),
                    Some(KeyOutcome::Changed { .. }) => holds.then_some(None),
                    Some(KeyOutcome::Conflict { revision }) => {
                        (state.is_some() && !holds && self.may_report(state, revision)).then_some(state)
                    }
                    Some(KeyOutcome::Absent) => state.is_none().then_some(state),
                    Some(KeyOutcome::Found { .. }) => None,
                }
            }
            KeyAction::Get => match input.outcome {
                None => Some(state),
                Some(KeyOutcome::Found { write, .. }) => (state == Some(write)).then_some(state),
                Some(KeyOutcome::Absent) => state.is_none().then_some(state),
                Some(KeyOutcome::Changed { .. } | KeyOutcome::Conflict { .. }) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyAction, KeyHistory, KeyInput, KeyOutcome, WriteId};
    use crate::world::SimTime;
    use anvil_core::state::KeyCondition;

    fn history(operations: &[(u64, Option<u64>, KeyAction, Option<KeyOutcome>)]) -> KeyHistory {
        let mut history = KeyHistory::default();
        for (call, end, action, outcome) in operations {
            let input = KeyInput { action: *action, outcome: *outcome };
            history.note(b"k", SimTime(*call), end.map(SimTime), input);
        }
        history
    }

    const fn put(write: u64, condition: KeyCondition) -> KeyAction {
        KeyAction::Put(WriteId(write), condition)
    }

    const fn found(write: u64, revision: u64) -> Option<KeyOutcome> {
        Some(KeyOutcome::Found { write: WriteId(write), revision })
    }

    const fn changed(revision: u64) -> Option<KeyOutcome> {
        Some(KeyOutcome::Changed { revision })
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_found() {
        history(&[(1, Some(2), put(1, KeyCondition::Any), changed(5)), (3, Some(4), KeyAction::Get, found(1, 5))])
            .check()
            .expect("it is there");
        history(&[
            (1, Some(2), put(1, KeyCondition::Any), changed(5)),
            (3, Some(4), KeyAction::Get, Some(KeyOutcome::Absent)),
        ])
        .check()
        .expect_err("it is gone");
    }

    #[test]
    fn two_swaps_of_one_revision_cannot_both_succeed() {
        history(&[
            (1, Some(2), put(1, KeyCondition::Any), changed(5)),
            (3, Some(9), put(2, KeyCondition::Revision(5)), changed(6)),
            (3, Some(9), put(3, KeyCondition::Revision(5)), changed(7)),
        ])
        .check()
        .expect_err("both swapped");
    }

    #[test]
    fn an_unheard_write_explains_a_conflict_with_an_unknown_revision() {
        history(&[
            (1, None, put(1, KeyCondition::Any), None),
            (3, Some(9), put(2, KeyCondition::Absent), Some(KeyOutcome::Conflict { revision: 4 })),
        ])
        .check()
        .expect("the unheard write came first");
    }

    #[test]
    fn one_write_seen_at_two_revisions_was_applied_twice() {
        history(&[(1, Some(2), put(1, KeyCondition::Any), changed(5)), (3, Some(4), KeyAction::Get, found(1, 8))])
            .check()
            .expect_err("two revisions");
    }
}
