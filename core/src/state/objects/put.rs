//! The decision of a put: the moment at which a prepared version becomes the object.
//!
//! - `SWEEP-1`: a striped body is refused once replicated time is past its expiry. `resolve` calls a version void only
//!   then, so a sweep never deletes what a later decision makes visible, whatever the peers' clocks say. A version that
//!   was called void is refused too, should its put carry a later expiry than the shard that asked.
//! - `STATE-6`: a version that was decided is decided once. A repeat answers as the first time: while the version is
//!   current, while it waits in the reclaim queue, and while it is remembered (`retire`). Later repeats of a striped body
//!   are refused as `Expired`; whoever repeats for that long must not take this for "it had no effect".
//!
//! Not here: how bytes were prepared (`write`), and parts (`multipart`).

use super::super::Moment;
use super::super::attributes::Attributes;
use super::super::command::{Body, ETag, Metadata, ObjectCondition, ObjectName, Refusal};
use super::amend::check_attributes;
use super::place::{place, placed, placed_before};
use super::rows::{Changes, Content, KeyRows, VersionRow, VersionUse};
use super::{check_body, check_expiry, check_metadata, check_object_key, check_write, lock, used_elsewhere};
use crate::types::WallTime;

/// `PutObject`.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Which object.
    pub object: &'a ObjectName,
    /// Its bytes.
    pub body: &'a Body,
    /// Its entity tag.
    pub etag: ETag,
    /// What the client says about it.
    pub metadata: &'a Metadata,
    /// What else it shall have.
    pub attributes: &'a Attributes,
    /// When it may happen.
    pub condition: ObjectCondition,
    /// When the body's preparation expires.
    pub expires: WallTime,
}

/// What a put needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRows {
    /// The object.
    pub key: KeyRows,
    /// What the body's version is used for.
    pub used: Option<VersionUse>,
}

/// Decides `PutObject` and `PutVersion`.
///
/// # Errors
/// `Invalid`, `InvalidTag`, `NoSuchBucket`, `Expired`, `ConditionFailed`, `NoSuchKey` (a condition wants an object and there
/// is none), `NoLock`.
pub fn decide(rows: &PutRows, put: &Put<'_>, moment: Moment) -> Result<Changes, Refusal> {
    check_object_key(&put.object.key)?;
    check_metadata(put.metadata)?;
    check_attributes(put.attributes)?;
    check_body(put.body)?;
    let version = put.body.version;
    match &rows.used {
        None => {}
        // STATE-6: it was decided before.
        Some(used @ (VersionUse::Object(object) | VersionUse::Version { object, .. })) if object == put.object => {
            return Ok(Changes::answer(placed_before(put.etag, version, used)));
        }
        Some(used @ (VersionUse::Reclaimable { .. } | VersionUse::Past { .. })) => {
            return Ok(Changes::answer(placed_before(put.etag, version, used)));
        }
        Some(VersionUse::Void { .. }) => return Err(Refusal::Expired), // SWEEP-1
        Some(
            VersionUse::Object(_)
            | VersionUse::Version { .. }
            | VersionUse::Upload(_)
            | VersionUse::Part { .. }
            | VersionUse::Recoded { .. },
        ) => {
            return Err(used_elsewhere());
        }
    }
    let bucket = rows.key.bucket.as_ref().ok_or(Refusal::NoSuchBucket)?;
    check_expiry(put.body, put.expires, moment)?; // SWEEP-1
    check_write(rows.key.etag(), put.condition)?;
    let mut changes = Changes::answer(placed(bucket, put.etag, version, moment));
    let row = VersionRow {
        version,
        decided: moment.index,
        size: put.body.size,
        etag: put.etag,
        modified: moment.time,
        metadata: put.metadata.clone(),
        content: Content::Single { body: put.body.clone(), expires: put.expires },
        is_null: false,
        attributes: lock::complete(bucket, put.attributes, moment)?,
    };
    place(&mut changes, put.object, bucket, &rows.key, row, moment)?;
    Ok(changes)
}
