//! Removing an object.
//!
//! Removing an object that is not there is done already. Not here: delete markers of versioned buckets.

use super::super::Moment;
use super::super::command::{Answer, ObjectCondition, ObjectName, Refusal};
use super::retire::retire_current;
use super::rows::{BucketRow, Changes, Current};
use super::{check_condition, check_object_key};

/// What a delete needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRows {
    /// The bucket.
    pub bucket: Option<BucketRow>,
    /// The object's current version.
    pub current: Option<Current>,
}

/// Decides `DeleteObject`.
///
/// # Errors
/// `Invalid`, `NoSuchBucket`, `ConditionFailed` (also when the condition wants an object and there is none).
pub fn decide(
    rows: &DeleteRows,
    object: &ObjectName,
    condition: ObjectCondition,
    moment: Moment,
) -> Result<Changes, Refusal> {
    check_object_key(&object.key)?;
    if rows.bucket.is_none() {
        return Err(Refusal::NoSuchBucket);
    }
    check_condition(rows.current.as_ref().map(|current| current.row.etag), condition)?;
    let mut changes = Changes::answer(Answer::Done);
    if let Some(current) = &rows.current {
        retire_current(&mut changes, object, current, moment);
    }
    Ok(changes)
}
