//! Removing an object, or one of its versions.
//!
//! Without the name of a version an object is removed as its bucket's versioning has it: its only version goes; or a delete
//! marker comes on top; or the null version goes and a null delete marker comes. With a name that version goes for good,
//! and the one under it shows again. Removing what is not there is done already (Amazon S3 user guide, "Deleting object
//! versions from a versioning-enabled bucket").
//!
//! Not here: lifecycle.

use super::super::Moment;
use super::super::attributes::{DeleteCondition, Removal, VersionName, Versioning};
use super::super::command::{Answer, ETag, Md5, Metadata, ObjectCondition, ObjectName, Refusal};
use super::retire::retire_version;
use super::rows::{BucketRow, Change, Changes, Content, Current, KeyRows, VersionRow, VersionUse};
use super::{check_object_key, check_write, lock, place, used_elsewhere};
use alloc::string::ToString;

/// What a removal needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRows {
    /// The object.
    pub key: KeyRows,
    /// The version that is named, wherever it is.
    pub named: Option<Current>,
    /// What the marker's id is used for.
    pub used: Option<VersionUse>,
}

/// Decides `Remove`.
///
/// # Errors
/// `Invalid`, `NoSuchBucket`, `ConditionFailed`, `NoSuchKey` (the condition wants an object and there is none), `Locked`.
pub fn decide(rows: &DeleteRows, object: &ObjectName, removal: &Removal, moment: Moment) -> Result<Changes, Refusal> {
    check_object_key(&object.key)?;
    let bucket = rows.key.bucket.as_ref().ok_or(Refusal::NoSuchBucket)?;
    match removal.version {
        Some(name) => decide_named(rows, bucket, object, name, removal, moment),
        None => decide_newest(rows, bucket, object, removal, moment),
    }
}

fn decide_named(
    rows: &DeleteRows,
    bucket: &BucketRow,
    object: &ObjectName,
    name: VersionName,
    removal: &Removal,
    moment: Moment,
) -> Result<Changes, Refusal> {
    check_delete(rows.named.as_ref().map(|named| &named.row), removal.condition)?;
    let is_marker = rows.named.as_ref().is_some_and(|named| named.row.is_marker());
    let mut changes = Changes::answer(Answer::Deleted { name: Some(name), marker: is_marker });
    if let Some(named) = &rows.named {
        lock::check_removal(&named.row, removal.bypass, moment)?; // LOCK-1
        retire_version(&mut changes, object, named, moment);
        if named.row.is_null && bucket.versioning != Versioning::Never {
            changes.rows.push(Change::RemoveNull(object.clone())); // VERSION-2
        }
    }
    Ok(changes)
}

fn decide_newest(
    rows: &DeleteRows,
    bucket: &BucketRow,
    object: &ObjectName,
    removal: &Removal,
    moment: Moment,
) -> Result<Changes, Refusal> {
    let marker = removal.marker;
    match &rows.used {
        None => {}
        // A repeat: the marker was made before.
        Some(VersionUse::Version { object: of, decided, is_null }) if of == object => {
            let id = VersionName::Id { decided: *decided, version: marker };
            let name = if *is_null { VersionName::Null } else { id };
            return Ok(Changes::answer(Answer::Deleted { name: Some(name), marker: true }));
        }
        Some(VersionUse::Past { .. }) => return Ok(Changes::answer(Answer::Deleted { name: None, marker: true })),
        Some(
            VersionUse::Object(_)
            | VersionUse::Version { .. }
            | VersionUse::Upload(_)
            | VersionUse::Part { .. }
            | VersionUse::Recoded { .. }
            | VersionUse::Reclaimable { .. }
            | VersionUse::Void { .. },
        ) => return Err(used_elsewhere()),
    }
    check_delete(rows.key.live(), removal.condition)?;
    if bucket.versioning == Versioning::Never {
        let mut changes = Changes::answer(Answer::Deleted { name: None, marker: false });
        if let Some(current) = &rows.key.current {
            lock::check_removal(&current.row, removal.bypass, moment)?; // LOCK-1
            retire_version(&mut changes, object, current, moment);
        }
        return Ok(changes);
    }
    let name = match bucket.versioning {
        Versioning::Enabled => VersionName::Id { decided: moment.index, version: marker },
        Versioning::Never | Versioning::Suspended => VersionName::Null,
    };
    let mut changes = Changes::answer(Answer::Deleted { name: Some(name), marker: true });
    let row = VersionRow {
        version: marker,
        decided: moment.index,
        size: 0,
        etag: ETag { md5: Md5::default(), parts: 0 },
        modified: moment.time,
        metadata: Metadata::default(),
        content: Content::Marker,
        is_null: false,
        attributes: super::super::attributes::Attributes::default(),
    };
    place::place(&mut changes, object, bucket, &rows.key, row, moment)?;
    Ok(changes)
}

fn check_delete(row: Option<&VersionRow>, condition: DeleteCondition) -> Result<(), Refusal> {
    let row = row.filter(|row| !row.is_marker());
    check_write(row.map(|row| row.etag), condition.etag)?;
    let size = condition.size.is_none_or(|size| row.is_some_and(|row| row.size == size));
    let second = |second: u64| row.is_some_and(|row| row.modified.0 / 1000 == second);
    if size && condition.modified_second.is_none_or(second) { Ok(()) } else { Err(Refusal::ConditionFailed) }
}

/// Decides `DeleteObject`: as `Remove` without a version, in a bucket that never kept versions.
///
/// # Errors
/// As [`decide`]; `BucketState` in a bucket that keeps versions, where a delete marker needs an id.
pub fn decide_unversioned(
    rows: &KeyRows,
    object: &ObjectName,
    condition: ObjectCondition,
    moment: Moment,
) -> Result<Changes, Refusal> {
    if rows.bucket.as_ref().is_some_and(|bucket| bucket.versioning != Versioning::Never) {
        return Err(Refusal::BucketState(
            "the bucket keeps versions, and the command does not know of them".to_string(),
        ));
    }
    let removal = Removal {
        version: None,
        marker: crate::types::VersionId(0),
        condition: DeleteCondition { etag: condition, ..DeleteCondition::NONE },
        bypass: false,
    };
    let rows = DeleteRows { key: rows.clone(), named: None, used: None };
    let mut changes = decide(&rows, object, &removal, moment)?;
    changes.answer = Answer::Done;
    Ok(changes)
}
