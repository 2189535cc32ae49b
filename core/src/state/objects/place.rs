//! A new version comes to stand on top of a key: what becomes of those under it.
//!
//! The intuition: a bucket that keeps no versions replaces the one there is; one that keeps them lays the new one on top;
//! and one that stopped keeping them replaces its null version, wherever that lies, and leaves the others (Amazon S3 user
//! guide, "How S3 Versioning works").
//!
//! - `VERSION-1`: the new version's place is the index of the command that decides it, so it is the newest of its key.
//! - `VERSION-2`: a key has at most one null version. One that a newer version covers is found by its [`NullRow`].
//! - `VERSION-3`: [`VersionUse::Object`] names the newest version of a key, or one that was; it is a null version. When a
//!   version covers it, its use says where it is.
//!
//! Not here: when a version may go (`lock`), and what is owed for it (`retire`).

use super::super::Moment;
use super::super::attributes::{VersionName, Versioning};
use super::super::command::{Answer, ETag, ObjectName, Refusal};
use super::lock;
use super::retire::retire_version;
use super::rows::{BucketRow, Change, Changes, KeyRows, NullRow, VersionRow, VersionUse};
use crate::types::VersionId;
use alloc::boxed::Box;

/// Lays `row` on top of its key. Its `decided` and `is_null` are set here.
///
/// # Errors
/// `Locked` when it would replace a version that may not go.
pub(super) fn place(
    changes: &mut Changes,
    object: &ObjectName,
    bucket: &BucketRow,
    rows: &KeyRows,
    mut row: VersionRow,
    moment: Moment,
) -> Result<(), Refusal> {
    row.decided = moment.index; // VERSION-1
    row.is_null = bucket.versioning != Versioning::Enabled;
    let covered_null = rows.current.as_ref().filter(|current| current.row.is_null);
    if row.is_null {
        // VERSION-2
        for replaced in covered_null.into_iter().chain(&rows.null) {
            lock::check_removal(&replaced.row, false, moment)?;
            retire_version(changes, object, replaced, moment);
        }
        if bucket.versioning == Versioning::Suspended {
            changes.rows.push(Change::RemoveNull(object.clone()));
        }
    } else if let Some(covered) = covered_null {
        let decided = covered.row.decided;
        changes.rows.push(Change::PutNull(object.clone(), NullRow { decided }));
        if !covered.row.is_marker() {
            // VERSION-3
            let used = VersionUse::Version { object: object.clone(), decided, is_null: true };
            changes.rows.push(Change::PutUse(covered.row.version, used));
        }
    }
    let used = match bucket.versioning {
        Versioning::Never => VersionUse::Object(object.clone()),
        Versioning::Enabled | Versioning::Suspended => {
            VersionUse::Version { object: object.clone(), decided: row.decided, is_null: row.is_null }
        }
    };
    let version = row.version;
    changes.rows.push(Change::PutVersion(object.clone(), Box::new(row)));
    changes.rows.push(Change::PutUse(version, used));
    Ok(())
}

/// The answer to a put that made `version` at `moment`.
pub(super) fn placed(bucket: &BucketRow, etag: ETag, version: VersionId, moment: Moment) -> Answer {
    match bucket.versioning {
        Versioning::Never => Answer::Put { etag, version },
        Versioning::Enabled => {
            Answer::PutVersion { etag, version, name: VersionName::Id { decided: moment.index, version } }
        }
        Versioning::Suspended => Answer::PutVersion { etag, version, name: VersionName::Null },
    }
}

/// The answer to a repeat of the command that decided `version`, whose use is `used`. A version that is gone has no name.
pub(super) fn placed_before(etag: ETag, version: VersionId, used: &VersionUse) -> Answer {
    match used {
        VersionUse::Version { is_null: true, .. } => Answer::PutVersion { etag, version, name: VersionName::Null },
        VersionUse::Version { decided, .. } => {
            Answer::PutVersion { etag, version, name: VersionName::Id { decided: *decided, version } }
        }
        VersionUse::Object(_)
        | VersionUse::Upload(_)
        | VersionUse::Part { .. }
        | VersionUse::Recoded { .. }
        | VersionUse::Reclaimable { .. }
        | VersionUse::Past { .. }
        | VersionUse::Void { .. } => Answer::Put { etag, version },
    }
}
