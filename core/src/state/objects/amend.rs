//! Changes to a version that leave its bytes: tags, access list, retention, legal hold.
//!
//! The row changes in its place: neither the order of versions nor the time of the version moves.

use super::super::Moment;
use super::super::attributes::{
    Acl, Amendment, Attributes, GRANTS_MAX, TAG_KEY_MAX, TAG_VALUE_MAX, TAGS_MAX, VersionName, Versioning,
};
use super::super::command::{Answer, ObjectName, Refusal};
use super::rows::{BucketRow, Change, Changes, VersionRow};
use super::{check_object_key, lock};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

/// Longest canonical id of a user, in bytes.
const OWNER_SIZE_MAX: usize = 256;
/// Longest redirect, in bytes (Amazon S3 API reference, PutObject).
const REDIRECT_SIZE_MAX: usize = 2 << 10;

/// What an amendment needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmendRows {
    /// The bucket.
    pub bucket: Option<BucketRow>,
    /// The version that is named, or the newest one.
    pub row: Option<VersionRow>,
}

/// Decides `Amend`.
///
/// # Errors
/// `Invalid`, `InvalidTag`, `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `DeleteMarker`, `NoLock`, `Locked`.
pub fn decide(
    rows: AmendRows,
    object: &ObjectName,
    version: Option<VersionName>,
    amendment: &Amendment,
    moment: Moment,
) -> Result<Changes, Refusal> {
    check_object_key(&object.key)?;
    let bucket = rows.bucket.as_ref().ok_or(Refusal::NoSuchBucket)?;
    let mut row = shown(rows.row, version)?;
    match amendment {
        Amendment::Tags(tags) => {
            check_tags(tags)?;
            row.attributes.tags.clone_from(tags);
        }
        Amendment::Retention { retention, bypass } => {
            lock::check_change(bucket, &row, *retention, *bypass, moment)?; // LOCK-2
            row.attributes.retention = *retention;
        }
        Amendment::LegalHold(held) => {
            if bucket.lock.is_none() {
                return Err(Refusal::NoLock);
            }
            row.attributes.legal_hold = *held;
        }
        Amendment::Acl(acl) => {
            check_acl(acl)?;
            row.attributes.acl = Some(acl.clone());
        }
    }
    let name = (bucket.versioning != Versioning::Never).then(|| row.name());
    let mut changes = Changes::answer(Answer::Amended { name });
    changes.rows.push(Change::PutVersion(object.clone(), Box::new(row)));
    Ok(changes)
}

/// A version as readers see it.
///
/// # Errors
/// `NoSuchKey`, `NoSuchVersion`, `DeleteMarker`.
pub fn shown(row: Option<VersionRow>, version: Option<VersionName>) -> Result<VersionRow, Refusal> {
    let missing = if version.is_some() { Refusal::NoSuchVersion } else { Refusal::NoSuchKey };
    let row = row.ok_or(missing)?;
    if row.is_marker() {
        return Err(Refusal::DeleteMarker { name: row.name(), modified: row.modified, named: version.is_some() });
    }
    Ok(row)
}

/// Checks the tags of an object (Amazon S3 user guide, "Categorizing your objects using tags").
///
/// # Errors
/// `InvalidTag`.
pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if tags.len() > TAGS_MAX {
        return Err(Refusal::InvalidTag(format!("Object tags cannot be greater than {TAGS_MAX}")));
    }
    for (key, value) in tags {
        check_tag(key, value)?;
    }
    Ok(())
}

/// Checks one tag, of an object or of a bucket.
///
/// # Errors
/// `InvalidTag`.
pub fn check_tag(key: &str, value: &str) -> Result<(), Refusal> {
    let is_plain = |text: &str| text.chars().all(|character| !character.is_control());
    if !(1..=TAG_KEY_MAX).contains(&key.chars().count()) || !is_plain(key) {
        return Err(Refusal::InvalidTag("The TagKey you have provided is invalid".to_string()));
    }
    if value.chars().count() > TAG_VALUE_MAX || !is_plain(value) {
        return Err(Refusal::InvalidTag("The TagValue you have provided is invalid".to_string()));
    }
    Ok(())
}

/// Checks what a new version shall have.
///
/// # Errors
/// `InvalidTag`, `Invalid`.
pub(super) fn check_attributes(attributes: &Attributes) -> Result<(), Refusal> {
    check_tags(&attributes.tags)?;
    if attributes.redirect.as_ref().is_some_and(|redirect| redirect.len() > REDIRECT_SIZE_MAX) {
        return Err(Refusal::Invalid(format!("a redirect has at most {REDIRECT_SIZE_MAX} bytes")));
    }
    attributes.acl.as_ref().map_or(Ok(()), check_acl)
}

/// Checks that an access list is of a size that a row can hold.
///
/// # Errors
/// `Invalid`.
pub(super) fn check_acl(acl: &Acl) -> Result<(), Refusal> {
    use super::super::attributes::Grantee;
    if acl.grants.len() > GRANTS_MAX {
        return Err(Refusal::Invalid(format!("an access list has at most {GRANTS_MAX} grants")));
    }
    let users = acl.grants.iter().map(|(grantee, _)| match grantee {
        Grantee::User(user) => user.len(),
        Grantee::AllUsers | Grantee::AuthenticatedUsers | Grantee::LogDelivery => 0,
    });
    if users.chain([acl.owner.len()]).any(|size| size > OWNER_SIZE_MAX) {
        return Err(Refusal::Invalid(format!("the id of a user has at most {OWNER_SIZE_MAX} bytes")));
    }
    Ok(())
}
