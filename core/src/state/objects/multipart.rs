//! Uploads in parts: create, fill, complete, abort.
//!
//! A part is decided like an object, under the upload. Completing moves no part: the upload's row goes, so that nothing
//! can change the parts any more, and a version row that says "parts of this upload" appears. The upload's id becomes
//! the object's version, which makes a repeated completion recognizable.
//!
//! - `UPLOAD-1`: parts change only while the upload's row exists; part rows under an id without that row belong to the
//!   current object of that version.
//! - `UPLOAD-2`: an id that was an upload is never an upload again (it is in the version index, then past: `STATE-6`);
//!   otherwise a late repeat of the creation could open an object's parts for change.
//!
//! Limits are those of S3 (Amazon S3 user guide, "Multipart upload limits"). Not here: expiry of abandoned uploads.

use super::super::Moment;
use super::super::attributes::Attributes;
use super::super::command::{Answer, Body, ETag, Md5, Metadata, ObjectCondition, ObjectName, Refusal};
use super::amend::check_attributes;
use super::place::{place, placed, placed_before};
use super::retire::{retire_id, retire_part};
use super::rows::{BucketRow, Change, Changes, Content, Current, KeyRows, PartRow, UploadRow, VersionRow, VersionUse};
use super::{check_body, check_expiry, check_metadata, check_object_key, check_write, lock, used_elsewhere};
use crate::types::{VersionId, WallTime};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use md5::Digest;

/// Largest part number.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// Smallest part, in bytes, except for the last.
pub const PART_SIZE_MIN: u64 = 5 << 20;

/// What `CreateUpload` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRows {
    /// The bucket.
    pub bucket: Option<BucketRow>,
    /// What the upload's id is used for.
    pub used: Option<VersionUse>,
}

/// Decides `CreateUpload`.
///
/// # Errors
/// `Invalid`, `NoSuchBucket`.
pub fn decide_create(
    rows: &CreateRows,
    object: &ObjectName,
    upload: VersionId,
    metadata: &Metadata,
    attributes: &Attributes,
    moment: Moment,
) -> Result<Changes, Refusal> {
    check_object_key(&object.key)?;
    check_metadata(metadata)?;
    check_attributes(attributes)?;
    match &rows.used {
        None => {}
        // UPLOAD-2: a repeat, perhaps of an upload that is over by now.
        Some(VersionUse::Upload(owner) | VersionUse::Object(owner) | VersionUse::Version { object: owner, .. })
            if owner == object =>
        {
            return Ok(Changes::answer(Answer::Done));
        }
        Some(VersionUse::Past { .. }) => return Ok(Changes::answer(Answer::Done)),
        Some(
            VersionUse::Upload(_)
            | VersionUse::Object(_)
            | VersionUse::Version { .. }
            | VersionUse::Part { .. }
            | VersionUse::Recoded { .. }
            | VersionUse::Reclaimable { .. }
            | VersionUse::Void { .. },
        ) => return Err(used_elsewhere()),
    }
    let bucket = rows.bucket.as_ref().ok_or(Refusal::NoSuchBucket)?;
    // What cannot be kept is refused at the beginning.
    lock::complete(bucket, attributes, moment)?;
    let mut changes = Changes::answer(Answer::Done);
    let row = UploadRow { created: moment.time, metadata: metadata.clone(), attributes: attributes.clone() };
    changes.rows.push(Change::PutUpload(object.clone(), upload, Box::new(row)));
    changes.rows.push(Change::PutUse(upload, VersionUse::Upload(object.clone())));
    Ok(changes)
}

/// `PutPart`.
#[derive(Clone, Copy, Debug)]
pub struct PutPart<'a> {
    /// The object that the upload is for.
    pub object: &'a ObjectName,
    /// The upload.
    pub upload: VersionId,
    /// 1 to [`PART_NUMBER_MAX`].
    pub number: u16,
    /// The part's bytes.
    pub body: &'a Body,
    /// MD5 of the plaintext.
    pub etag: Md5,
    /// Only its checksums are kept.
    pub metadata: &'a Metadata,
    /// When the body's preparation expires.
    pub expires: WallTime,
}

/// What a part needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutPartRows {
    /// The upload.
    pub upload: Option<UploadRow>,
    /// The part of the same number that the upload has.
    pub replaced: Option<PartRow>,
    /// What the body's version is used for.
    pub used: Option<VersionUse>,
}

/// Decides `PutPart`.
///
/// # Errors
/// `Invalid`, `NoSuchUpload`, `Expired`.
pub fn decide_part(rows: &PutPartRows, part: &PutPart<'_>, moment: Moment) -> Result<Changes, Refusal> {
    check_object_key(&part.object.key)?;
    check_metadata(part.metadata)?;
    check_body(part.body)?;
    check_number(part.number)?;
    let (upload, number, version) = (part.upload, part.number, part.body.version);
    let answer = Answer::Put { etag: ETag { md5: part.etag, parts: 0 }, version };
    match &rows.used {
        None => {}
        // STATE-6: it was decided before.
        Some(VersionUse::Part { upload: u, number: n }) if (*u, *n) == (upload, number) => {
            return Ok(Changes::answer(answer));
        }
        Some(VersionUse::Reclaimable { .. } | VersionUse::Past { .. }) => return Ok(Changes::answer(answer)),
        Some(VersionUse::Void { .. }) => return Err(Refusal::Expired), // SWEEP-1
        Some(
            VersionUse::Part { .. }
            | VersionUse::Recoded { .. }
            | VersionUse::Object(_)
            | VersionUse::Version { .. }
            | VersionUse::Upload(_),
        ) => {
            return Err(used_elsewhere());
        }
    }
    if rows.upload.is_none() {
        return Err(Refusal::NoSuchUpload); // UPLOAD-1
    }
    check_expiry(part.body, part.expires, moment)?; // SWEEP-1
    let tenant = part.object.bucket.tenant;
    let mut changes = Changes::answer(answer);
    if let Some(replaced) = &rows.replaced {
        retire_part(&mut changes, tenant, upload, number, replaced, moment);
    }
    let row = PartRow {
        body: part.body.clone(),
        etag: part.etag,
        modified: moment.time,
        expires: part.expires,
        checksums: part.metadata.checksums.clone(),
    };
    changes.rows.push(Change::PutPart(tenant, upload, number, Box::new(row)));
    changes.rows.push(Change::PutUse(version, VersionUse::Part { upload, number }));
    Ok(changes)
}

/// `CompleteUpload`.
#[derive(Clone, Copy, Debug)]
pub struct Complete<'a> {
    /// The object that the upload is for.
    pub object: &'a ObjectName,
    /// The upload.
    pub upload: VersionId,
    /// Numbers and entity tags of the parts to use, ascending.
    pub parts: &'a [(u16, ETag)],
    /// What the client says at the end. It wins over what it said at the beginning.
    pub metadata: &'a Metadata,
    /// When it may happen.
    pub condition: ObjectCondition,
}

/// What a completion needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteRows {
    /// The upload.
    pub upload: Option<UploadRow>,
    /// The object.
    pub key: KeyRows,
    /// The version that the upload became, wherever it is, and what its id is used for.
    pub made: Option<(Current, VersionUse)>,
    /// All parts of the upload, in number order.
    pub parts: Vec<(u16, PartRow)>,
}

/// Decides `CompleteUpload`.
///
/// # Errors
/// `Invalid`, `InvalidPartOrder`, `NoSuchUpload`, `InvalidPart`, `PartTooSmall`, `ConditionFailed`.
pub fn decide_complete(rows: &CompleteRows, complete: &Complete<'_>, moment: Moment) -> Result<Changes, Refusal> {
    check_object_key(&complete.object.key)?;
    check_list(complete.parts)?;
    let etag = etag_of_parts(complete.parts);
    let (object, upload) = (complete.object, complete.upload);
    let Some(row) = &rows.upload else {
        return match &rows.made {
            Some((made, used)) if is_made_of(made, complete) => Ok(Changes::answer(placed_before(etag, upload, used))),
            Some(_) | None => Err(Refusal::NoSuchUpload),
        };
    };
    let bucket = rows.key.bucket.as_ref().ok_or(Refusal::NoSuchBucket)?;
    let metadata = merged(&row.metadata, complete.metadata);
    check_metadata(&metadata)?;
    let chosen = choose(&rows.parts, complete.parts)?;
    let size = chosen.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.body.size));
    let size = size.ok_or_else(|| Refusal::Invalid("the parts are too large together".to_string()))?;
    check_write(rows.key.etag(), complete.condition)?;

    let mut changes = Changes::answer(placed(bucket, etag, upload, moment));
    for (number, part) in &rows.parts {
        if complete.parts.binary_search_by_key(number, |(listed, _)| *listed).is_err() {
            retire_part(&mut changes, object.bucket.tenant, upload, *number, part, moment);
        }
    }
    changes.rows.push(Change::RemoveUpload(object.clone(), upload)); // UPLOAD-1
    let row = VersionRow {
        version: upload,
        decided: moment.index,
        size,
        etag,
        modified: moment.time,
        metadata,
        content: Content::Parts { count: etag.parts },
        is_null: false,
        attributes: lock::complete(bucket, &row.attributes, moment)?,
    };
    place(&mut changes, object, bucket, &rows.key, row, moment)?;
    Ok(changes)
}

/// What `AbortUpload` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortRows {
    /// The upload.
    pub upload: Option<UploadRow>,
    /// All its parts.
    pub parts: Vec<(u16, PartRow)>,
}

/// Decides `AbortUpload`.
///
/// # Errors
/// `NoSuchUpload`.
pub fn decide_abort(
    rows: &AbortRows,
    object: &ObjectName,
    upload: VersionId,
    moment: Moment,
) -> Result<Changes, Refusal> {
    if rows.upload.is_none() {
        return Err(Refusal::NoSuchUpload);
    }
    let mut changes = Changes::answer(Answer::Done);
    for (number, part) in &rows.parts {
        retire_part(&mut changes, object.bucket.tenant, upload, *number, part, moment);
    }
    changes.rows.push(Change::RemoveUpload(object.clone(), upload));
    retire_id(&mut changes, upload, WallTime(0), moment); // UPLOAD-2
    Ok(changes)
}

fn check_number(number: u16) -> Result<(), Refusal> {
    if (1..=PART_NUMBER_MAX).contains(&number) {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!("a part's number is 1 to {PART_NUMBER_MAX}, this one {number}")))
    }
}

/// Checks a list of parts by itself. Ascending numbers in range also bound its length.
fn check_list(parts: &[(u16, ETag)]) -> Result<(), Refusal> {
    if parts.is_empty() {
        return Err(Refusal::Invalid("no part is listed".to_string()));
    }
    parts.iter().try_for_each(|(number, _)| check_number(*number))?;
    if parts.is_sorted_by(|a, b| a.0 < b.0) { Ok(()) } else { Err(Refusal::InvalidPartOrder) }
}

/// MD5 of the parts' MD5s, and how many there are, as S3 shows it.
fn etag_of_parts(parts: &[(u16, ETag)]) -> ETag {
    let mut hasher = md5::Md5::new();
    for (_, etag) in parts {
        hasher.update(etag.md5.0);
    }
    let count = u32::try_from(parts.len()).expect("part numbers ascend and are 16 bits wide");
    ETag { md5: Md5(hasher.finalize().into()), parts: count }
}

/// Whether `current` is what completing with this list would have made.
fn is_made_of(current: &Current, complete: &Complete<'_>) -> bool {
    current.row.version == complete.upload
        && current.parts.len() == complete.parts.len()
        && current.parts.iter().zip(complete.parts).all(|(have, listed)| is_part(have.0, &have.1, listed))
}

fn is_part(number: u16, row: &PartRow, listed: &(u16, ETag)) -> bool {
    *listed == (number, ETag { md5: row.etag, parts: 0 })
}

/// The rows of the listed parts.
fn choose<'a>(rows: &'a [(u16, PartRow)], listed: &[(u16, ETag)]) -> Result<Vec<&'a PartRow>, Refusal> {
    let mut chosen = Vec::new();
    for entry in listed {
        let found = rows.binary_search_by_key(&entry.0, |(number, _)| *number).ok().map(|at| &rows[at].1);
        chosen.push(found.filter(|row| is_part(entry.0, row, entry)).ok_or(Refusal::InvalidPart(entry.0))?);
    }
    let all_but_last = chosen.iter().zip(listed).rev().skip(1).rev();
    for (row, (number, _)) in all_but_last {
        if row.body.size < PART_SIZE_MIN {
            return Err(Refusal::PartTooSmall(*number));
        }
    }
    Ok(chosen)
}

/// Metadata of the object: what was said at the end, else at the beginning; maps are joined name by name.
fn merged(begin: &Metadata, end: &Metadata) -> Metadata {
    let mut metadata = begin.clone();
    let Metadata {
        content_type,
        cache_control,
        content_disposition,
        content_encoding,
        content_language,
        expires,
        user,
        checksums,
    } = end.clone();
    metadata.content_type = content_type.or(metadata.content_type);
    metadata.cache_control = cache_control.or(metadata.cache_control);
    metadata.content_disposition = content_disposition.or(metadata.content_disposition);
    metadata.content_encoding = content_encoding.or(metadata.content_encoding);
    metadata.content_language = content_language.or(metadata.content_language);
    metadata.expires = expires.or(metadata.expires);
    metadata.user.extend(user);
    metadata.checksums.extend(checksums);
    metadata
}
