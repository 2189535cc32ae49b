//! The rules of buckets, objects and uploads, each operation in its own file.
//!
//! Every operation is a pure function `decide(rows, command, moment) -> Result<Changes, Refusal>`: it is handed the typed
//! rows that the operation names and returns the typed rows to write and remove. Conditions, expiry and what is owed to
//! the reclaim queue live here and nowhere else, so every metadata home decides alike (DESIGN §7). Nothing in this folder
//! knows an ordered map, a key's bytes or SQL.
//!
//! - [`bucket`]: create, change and delete a bucket.
//! - [`put`], [`delete`], [`amend`]: decide an object's version; remove it; change what it has besides bytes.
//! - `place`: what becomes of the versions under a new one.
//! - [`lifecycle`]: carry out a rule.
//! - [`lock`]: which versions may not go.
//! - [`multipart`]: create, fill, complete and abort an upload.
//! - [`resolve`]: the fate of prepared versions; what left the reclaim queue.
//! - [`retire`]: what happens to a version that is replaced or removed, and how long it is remembered.
//! - [`list`], [`versions`]: a page of a bucket, of objects or of versions.
//! - [`rows`]: the rows, and the changes to them.
//!
//! This file: what the operations share, which is checks of names, metadata, bodies and conditions.

pub mod amend;
pub mod bucket;
pub mod delete;
pub mod lifecycle;
pub mod list;
pub mod lock;
pub mod multipart;
mod place;
pub mod put;
pub mod recode;
pub mod relocate;
pub mod resolve;
pub mod retire;
pub mod rows;
pub mod versions;

use super::Moment;
use super::command::{Body, ETag, Metadata, ObjectCondition, Place, Refusal};
use crate::stripe::INLINE_MAX;
use crate::types::WallTime;
use alloc::format;
use alloc::string::{String, ToString};

/// Largest object key, in bytes of UTF-8 (Amazon S3 user guide, "Naming Amazon S3 objects").
pub const OBJECT_KEY_SIZE_MAX: usize = 1024;
/// Largest user metadata of an object, names and values together, in bytes (Amazon S3 user guide, "Working with object
/// metadata").
pub const USER_METADATA_SIZE_MAX: usize = 2 << 10;
/// Largest of all other metadata texts of an object together, in bytes: S3's limit of 8 KB for headers.
pub const SYSTEM_METADATA_SIZE_MAX: usize = 8 << 10;
/// What the seal adds to an inline body: its tag, with room for a header.
const SEAL_SIZE_MAX: usize = 64;
/// Largest wrapped key. Well above what wrapping makes; it bounds the row, it does not check the key.
const WRAPPED_KEY_SIZE_MAX: usize = 256;

/// Names that another front door on the same port answers to.
const RESERVED_BUCKET_NAMES: [&str; 3] = ["status", "join", "remove"];
const REFUSED_BUCKET_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const REFUSED_BUCKET_SUFFIXES: [&str; 4] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3"];

/// Checks a name for a new bucket (Amazon S3 user guide, "General purpose bucket naming rules").
///
/// # Errors
/// `Invalid`, with the rule that the name breaks.
pub fn check_bucket_name(name: &str) -> Result<(), Refusal> {
    let broken = bucket_name_fault(name);
    broken.map_or(Ok(()), |rule| Err(Refusal::Invalid(format!("a bucket's name {rule}"))))
}

fn bucket_name_fault(name: &str) -> Option<String> {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(3..=63).contains(&name.len()) {
        return Some(format!("has 3 to 63 characters, this one {}", name.len()));
    }
    if !name.bytes().all(|byte| is_alphanumeric(&byte) || byte == b'.' || byte == b'-') {
        return Some("has lower-case letters, digits, dots and hyphens only".to_string());
    }
    if !name.as_bytes().first().is_some_and(is_alphanumeric) || !name.as_bytes().last().is_some_and(is_alphanumeric) {
        return Some("begins and ends with a letter or a digit".to_string());
    }
    if name.contains("..") {
        return Some("has no two dots in a row".to_string());
    }
    if name.split('.').count() == 4 && name.split('.').all(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Some("does not look like an IP address".to_string());
    }
    if let Some(prefix) = REFUSED_BUCKET_PREFIXES.iter().find(|prefix| name.starts_with(**prefix)) {
        return Some(format!("does not begin with {prefix}"));
    }
    if let Some(suffix) = REFUSED_BUCKET_SUFFIXES.iter().find(|suffix| name.ends_with(**suffix)) {
        return Some(format!("does not end in {suffix}"));
    }
    RESERVED_BUCKET_NAMES.contains(&name).then(|| "is not one of status, join and remove".to_string())
}

/// Checks the key of an object that a command names.
///
/// # Errors
/// `Invalid` when it is empty or too long.
pub fn check_object_key(key: &str) -> Result<(), Refusal> {
    if (1..=OBJECT_KEY_SIZE_MAX).contains(&key.len()) {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!("an object's key has 1 to {OBJECT_KEY_SIZE_MAX} bytes, this one {}", key.len())))
    }
}

/// Checks that metadata is of a size that a row can hold.
fn check_metadata(metadata: &Metadata) -> Result<(), Refusal> {
    let size_of_map = |map: &alloc::collections::BTreeMap<String, String>| -> usize {
        map.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    let Metadata {
        content_type,
        cache_control,
        content_disposition,
        content_encoding,
        content_language,
        expires,
        user,
        checksums,
    } = metadata;
    let user_size = size_of_map(user);
    if user_size > USER_METADATA_SIZE_MAX {
        return Err(Refusal::Invalid(format!(
            "user metadata has at most {USER_METADATA_SIZE_MAX} bytes, these {user_size}"
        )));
    }
    let texts = [content_type, cache_control, content_disposition, content_encoding, content_language, expires];
    let system_size = texts.into_iter().flatten().map(String::len).sum::<usize>() + size_of_map(checksums);
    if system_size > SYSTEM_METADATA_SIZE_MAX {
        return Err(Refusal::Invalid(format!(
            "metadata headers have at most {SYSTEM_METADATA_SIZE_MAX} bytes, these {system_size}"
        )));
    }
    Ok(())
}

/// An id that was decided for one thing cannot be decided for another.
fn used_elsewhere() -> Refusal {
    Refusal::Invalid("the version is used for something else".to_string())
}

/// Checks that a body is of a form that can be stored and read back.
fn check_body(body: &Body) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::Invalid(message.to_string()));
    if body.key.0.len() > WRAPPED_KEY_SIZE_MAX {
        return invalid("the wrapped key is too long");
    }
    match &body.place {
        Place::Inline(sealed) => {
            let fits = usize::try_from(body.size).is_ok_and(|size| size <= INLINE_MAX);
            if !fits || sealed.len() > INLINE_MAX + SEAL_SIZE_MAX {
                return invalid("the body is too large to be inline");
            }
        }
        Place::Striped { profile, drives } => {
            if profile.data == 0 || drives.len() != usize::from(profile.data) + usize::from(profile.parity) {
                return invalid("the body does not name one drive for each shard of its profile");
            }
        }
    }
    Ok(())
}

/// `SWEEP-1`: shards whose preparation expired may be gone, so nothing may be decided over them. An inline body has no
/// shards, and does not expire.
fn check_expiry(body: &Body, expires: WallTime, moment: Moment) -> Result<(), Refusal> {
    match &body.place {
        Place::Inline(_) => Ok(()),
        Place::Striped { .. } if moment.time > expires => Err(Refusal::Expired),
        Place::Striped { .. } => Ok(()),
    }
}

/// Checks a write's condition against the entity tag of the current version (RFC 9110 §13.1.1 and §13.1.2).
fn check_condition(current: Option<ETag>, condition: ObjectCondition) -> Result<(), Refusal> {
    let holds = match condition {
        ObjectCondition::Any => true,
        ObjectCondition::Absent => current.is_none(),
        ObjectCondition::Present => current.is_some(),
        ObjectCondition::Match(etag) => current == Some(etag),
        ObjectCondition::NoneMatch(etag) => current != Some(etag),
    };
    if holds { Ok(()) } else { Err(Refusal::ConditionFailed) }
}

/// The condition of a write that makes a version, or of a deletion. One that wants an object where there is none is answered as S3 does it.
fn check_write(current: Option<ETag>, condition: ObjectCondition) -> Result<(), Refusal> {
    match (current, condition) {
        (None, ObjectCondition::Present | ObjectCondition::Match(_)) => Err(Refusal::NoSuchKey),
        (_, condition) => check_condition(current, condition),
    }
}
