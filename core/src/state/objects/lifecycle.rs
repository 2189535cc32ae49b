//! Carrying out a lifecycle rule on one version or one upload.
//!
//! Whoever looked for what is due read rows that may have changed since, and judged by a time that was not yet replicated. So
//! the command says only where it found something, and everything is judged again here.
//!
//! - `LIFE-3`: the version is removed only if it is the one that was found, stands as it stood, and a rule of the bucket wants it
//!   gone by the replicated time of the command.
//! - `LOCK-1` holds here as everywhere: a locked version stays, whatever the rule says.
//!
//! A repeat finds nothing in its place, and changes nothing. Not here: what rules say (`state::rules`), and the search
//! (`home::lifecycle`).

use super::super::Moment;
use super::super::attributes::{DeleteCondition, Removal, Versioning};
use super::super::command::{Answer, ObjectName, Refusal};
use super::super::rules::{self, Calendar, Due, LifecycleRule, Standing};
use super::retire::retire_version;
use super::rows::{BucketRow, Change, Changes, Current, KeyRows, UploadRow, VersionRow, VersionUse};
use super::{delete, lock, multipart};
use crate::types::VersionId;
use alloc::vec::Vec;

/// What [`decide`] needs to know of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpireRows {
    /// The rules of the bucket.
    pub rules: Vec<LifecycleRule>,
    /// The object.
    pub key: KeyRows,
    /// The version that was found, if it is still there, and how it stands.
    pub found: Option<(Current, Standing)>,
    /// What the marker's id is used for.
    pub used: Option<VersionUse>,
}

/// What may be done with a version by the rules of its bucket: `None` also where a lock forbids it.
#[must_use]
pub fn due(
    rules: &[LifecycleRule],
    bucket: &BucketRow,
    key: &str,
    row: &VersionRow,
    standing: Standing,
    calendar: Calendar,
) -> Option<Due> {
    let due = rules::due(rules, key, row, standing, calendar)?;
    let stays = due == Due::Expire && bucket.versioning == Versioning::Enabled;
    let moment = Moment { time: calendar.now, index: row.decided };
    // LOCK-1
    (stays || lock::check_removal(row, false, moment).is_ok()).then_some(due)
}

/// Decides `Expire` of a version.
///
/// # Errors
/// `NoSuchBucket`, `ConditionFailed` when nothing is due there (any more), `Locked`.
pub fn decide(
    rows: &ExpireRows,
    object: &ObjectName,
    marker: VersionId,
    day: u64,
    moment: Moment,
) -> Result<Changes, Refusal> {
    let bucket = rows.key.bucket.as_ref().ok_or(Refusal::NoSuchBucket)?;
    // LIFE-3
    let (found, standing) = rows.found.as_ref().ok_or(Refusal::ConditionFailed)?;
    let calendar = Calendar { now: moment.time, day };
    match due(&rows.rules, bucket, &object.key, &found.row, *standing, calendar) {
        None => Err(Refusal::ConditionFailed),
        Some(Due::Expire) => {
            let removal = Removal { version: None, marker, condition: DeleteCondition::NONE, bypass: false };
            let rows = delete::DeleteRows { key: rows.key.clone(), named: None, used: rows.used.clone() };
            delete::decide(&rows, object, &removal, moment)
        }
        Some(Due::Remove) => {
            lock::check_removal(&found.row, false, moment)?; // LOCK-1
            let name = Some(found.row.name());
            let mut changes = Changes::answer(Answer::Deleted { name, marker: found.row.is_marker() });
            retire_version(&mut changes, object, found, moment);
            if found.row.is_null {
                changes.rows.push(Change::RemoveNull(object.clone())); // VERSION-2
            }
            Ok(changes)
        }
    }
}

/// Decides `Expire` of an upload.
///
/// # Errors
/// `NoSuchUpload`, `ConditionFailed` when no rule wants it aborted (any more).
pub fn decide_upload(
    rules: &[LifecycleRule],
    rows: &multipart::AbortRows,
    object: &ObjectName,
    upload: VersionId,
    day: u64,
    moment: Moment,
) -> Result<Changes, Refusal> {
    let row: &UploadRow = rows.upload.as_ref().ok_or(Refusal::NoSuchUpload)?;
    // LIFE-3
    if !rules::is_upload_due(rules, &object.key, row, Calendar { now: moment.time, day }) {
        return Err(Refusal::ConditionFailed);
    }
    multipart::decide_abort(rows, object, upload, moment)
}
