//! What waits for the next batch, and the answers that a batch owes once it is durable.
//!
//! Not here: what a request becomes in a batch (`machine`, `record`).

use super::Effect;
use super::record;
use crate::types::{Entries, GroupId, HardState, LogPosition, PersistId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// An event that waits for the next batch.
#[derive(Debug)]
pub(super) enum Request {
    Append { group: GroupId, id: PersistId, hard_state: Option<HardState>, entries: Entries },
    Cut { group: GroupId, base: LogPosition },
    Reset { group: GroupId, id: PersistId, base: LogPosition },
}

/// The highest request of each group in a batch: its answer covers those before it.
pub(super) type Answers = BTreeMap<GroupId, PersistId>;

impl Request {
    /// Whether anyone waits for it. A cut only rides along with the next batch.
    pub(super) fn wants_answer(&self) -> bool {
        match self {
            Request::Append { .. } | Request::Reset { .. } => true,
            Request::Cut { .. } => false,
        }
    }

    /// Most bytes of records that it becomes.
    pub(super) fn size(&self) -> usize {
        match self {
            Request::Append { hard_state, entries, .. } => {
                let hard_state = hard_state.map_or(0, |_| record::hard_state_size());
                hard_state + entries.iter().map(record::entry_size).sum::<usize>()
            }
            Request::Cut { .. } => record::CUT_SIZE,
            Request::Reset { .. } => record::RESET_SIZE,
        }
    }

    /// Enters what is to be answered.
    pub(super) fn note_in(&self, answers: &mut Answers) {
        match self {
            Request::Append { group, id, .. } | Request::Reset { group, id, .. } => {
                let before = answers.insert(*group, *id);
                assert!(before.is_none_or(|before| before < *id), "LOG: requests of group {group} out of order");
            }
            Request::Cut { .. } => {}
        }
    }
}

/// Gives the answers, once.
pub(super) fn answer(answers: &mut Answers, out: &mut Vec<Effect>) {
    while let Some((group, id)) = answers.pop_first() {
        out.push(Effect::Persisted { group, id });
    }
}
