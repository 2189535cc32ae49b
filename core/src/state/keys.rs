//! The rules of user keys: compare-and-set over one row.
//!
//! A key's revision is the index of the entry that last wrote it, so revisions grow over the whole group and a client
//! that read revision `r` can write only if nobody wrote since. Model: etcd's `mod_revision` and `create_revision`.
//! Not here: how the row is stored (`home`), and exactly-once (`sessions`).

use super::Moment;
use super::command::{Answer, KEY_SIZE_MAX, KeyCondition, KeyOperation, KeyValue, Refusal, VALUE_SIZE_MAX};
use alloc::format;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A user key's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The value.
    pub value: Bytes,
    /// Index of the entry that wrote the value.
    pub revision: u64,
    /// Index of the entry that created the key; kept while the key exists.
    pub created: u64,
}

impl KeyRow {
    /// The row as a client sees it.
    #[must_use]
    pub fn into_key_value(self) -> KeyValue {
        KeyValue { value: self.value, revision: self.revision, created: self.created }
    }
}

/// What a decision does to the key's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The row to write; `None` removes it.
    pub row: Option<KeyRow>,
    /// What the client hears.
    pub answer: Answer,
}

/// The key that an operation names.
#[must_use]
pub fn key_of(operation: &KeyOperation) -> &Bytes {
    match operation {
        KeyOperation::Put { key, .. } | KeyOperation::Delete { key, .. } => key,
    }
}

/// Decides a change to one user key, given the row it has.
///
/// # Errors
/// `Invalid` for sizes, `NotFound` for a delete of an absent key, `Conflict` when the condition does not hold.
pub fn decide(row: Option<&KeyRow>, operation: &KeyOperation, moment: Moment) -> Result<KeyChange, Refusal> {
    let key = key_of(operation);
    if key.is_empty() || key.len() > KEY_SIZE_MAX {
        return Err(Refusal::Invalid(format!("a key has 1 to {KEY_SIZE_MAX} bytes, this one {}", key.len())));
    }
    let revision = moment.index.0;
    let answer = Answer::Key { revision };
    match operation {
        KeyOperation::Put { value, condition, .. } => {
            if value.len() > VALUE_SIZE_MAX {
                return Err(Refusal::Invalid(format!(
                    "a value has at most {VALUE_SIZE_MAX} bytes, this one {}",
                    value.len()
                )));
            }
            check_condition(row, *condition)?;
            let created = row.map_or(revision, |row| row.created);
            Ok(KeyChange { row: Some(KeyRow { value: value.clone(), revision, created }), answer })
        }
        KeyOperation::Delete { condition, .. } => {
            if row.is_none() {
                return Err(Refusal::NotFound);
            }
            check_condition(row, *condition)?;
            Ok(KeyChange { row: None, answer })
        }
    }
}

/// An absent key counts as revision 0, which no entry has; so `Revision(0)` holds exactly where `Absent` does.
fn check_condition(row: Option<&KeyRow>, condition: KeyCondition) -> Result<(), Refusal> {
    let revision = row.map_or(0, |row| row.revision);
    let holds = match condition {
        KeyCondition::Any => true,
        KeyCondition::Absent => row.is_none(),
        KeyCondition::Present => row.is_some(),
        KeyCondition::Revision(wanted) => wanted == revision,
    };
    if holds { Ok(()) } else { Err(Refusal::Conflict { revision }) }
}
