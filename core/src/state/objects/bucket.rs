//! Creating, changing and deleting a bucket.
//!
//! A bucket is one row, and one more for each document about it. It goes only when it holds neither versions nor uploads,
//! which the home finds out by looking for the first row of each. Not here: what the documents mean, and quotas.

use super::super::Moment;
use super::super::attributes::{
    BucketOptions, BucketSetting, DOCUMENT_SIZE_MAX, DocumentKind, LockSettings, Versioning,
};
use super::super::command::{Answer, BucketName, Refusal};
use super::super::rules::LIFECYCLE_RULES_MAX;
use super::rows::{BucketRow, Change, Changes, DocumentRow, LifecycleRow};
use super::{amend, check_bucket_name, lock};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;

/// What [`decide_delete`] needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRows {
    /// The bucket.
    pub bucket: Option<BucketRow>,
    /// Whether any version of any object is in it.
    pub has_objects: bool,
    /// Whether any upload into it is in progress.
    pub has_uploads: bool,
}

/// Decides `CreateBucket` and `CreateBucketWith`.
///
/// # Errors
/// `Invalid`, `BucketExists`, `BucketTaken`.
pub fn decide_create(
    row: Option<BucketRow>,
    bucket: &BucketName,
    options: &BucketOptions,
    moment: Moment,
) -> Result<Changes, Refusal> {
    check_bucket_name(&bucket.name)?;
    amend::check_acl(&options.acl)?;
    if let Some(row) = row {
        let is_own = row.acl.owner == options.acl.owner;
        return Err(if is_own { Refusal::BucketExists } else { Refusal::BucketTaken });
    }
    let row = BucketRow {
        versioning: if options.lock { Versioning::Enabled } else { Versioning::Never },
        lock: options.lock.then(LockSettings::default),
        acl: options.acl.clone(),
        ownership: options.ownership,
        ..BucketRow::new(moment.time)
    };
    let mut changes = Changes::answer(Answer::Done);
    changes.rows.push(Change::PutBucket(bucket.clone(), Box::new(row)));
    Ok(changes)
}

/// Decides `ConfigureBucket`.
///
/// # Errors
/// `NoSuchBucket`, `BucketState`, `Invalid`.
pub fn decide_configure(
    row: Option<BucketRow>,
    bucket: &BucketName,
    setting: &BucketSetting,
    moment: Moment,
) -> Result<Changes, Refusal> {
    let mut row = row.ok_or(Refusal::NoSuchBucket)?;
    let mut changes = Changes::answer(Answer::Done);
    match setting {
        BucketSetting::Versioning { enabled: true } => row.versioning = Versioning::Enabled,
        BucketSetting::Versioning { enabled: false } => {
            // LOCK-1: a write to the null version would replace what is locked.
            if row.lock.is_some() {
                let why = "An Object Lock configuration is present on this bucket, so the versioning state cannot be \
                           changed.";
                return Err(Refusal::BucketState(why.to_string()));
            }
            row.versioning = Versioning::Suspended;
        }
        BucketSetting::Lock(settings) => {
            lock::check_default(settings.default)?;
            if row.versioning != Versioning::Enabled {
                let why = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
                return Err(Refusal::BucketState(why.to_string()));
            }
            row.lock = Some(*settings);
        }
        BucketSetting::Acl(acl) => {
            amend::check_acl(acl)?;
            row.acl = acl.clone();
        }
        BucketSetting::Ownership(ownership) => row.ownership = *ownership,
        BucketSetting::PublicBlock(block) => row.block = *block,
        BucketSetting::Document { kind, text } => {
            row.documents.retain(|held| held != kind);
            if *kind == DocumentKind::Lifecycle {
                // Nothing is carried out that the document does not say.
                changes.rows.push(Change::RemoveLifecycle(bucket.clone()));
            }
            match text {
                Some(text) if text.len() > DOCUMENT_SIZE_MAX => {
                    return Err(Refusal::Invalid(format!("a document has at most {DOCUMENT_SIZE_MAX} bytes")));
                }
                Some(text) => {
                    row.documents.push(*kind);
                    row.documents.sort_unstable();
                    changes.rows.push(Change::PutDocument(bucket.clone(), *kind, DocumentRow { text: text.clone() }));
                }
                None => changes.rows.push(Change::RemoveDocument(bucket.clone(), *kind)),
            }
        }
        BucketSetting::Lifecycle { text, rules } => {
            let kind = DocumentKind::Lifecycle;
            if text.len() > DOCUMENT_SIZE_MAX || rules.is_empty() || rules.len() > LIFECYCLE_RULES_MAX {
                return Err(Refusal::Invalid(format!("a bucket has 1 to {LIFECYCLE_RULES_MAX} lifecycle rules")));
            }
            row.documents.retain(|held| *held != kind);
            row.documents.push(kind);
            row.documents.sort_unstable();
            changes.rows.push(Change::PutDocument(bucket.clone(), kind, DocumentRow { text: text.clone() }));
            let rules = LifecycleRow { set: moment.index, rules: rules.clone() };
            changes.rows.push(Change::PutLifecycle(bucket.clone(), rules));
        }
    }
    changes.rows.push(Change::PutBucket(bucket.clone(), Box::new(row)));
    Ok(changes)
}

/// Decides `DeleteBucket`.
///
/// # Errors
/// `NoSuchBucket`, `BucketNotEmpty`.
pub fn decide_delete(rows: &DeleteRows, bucket: &BucketName) -> Result<Changes, Refusal> {
    let row = rows.bucket.as_ref().ok_or(Refusal::NoSuchBucket)?;
    if rows.has_objects || rows.has_uploads {
        return Err(Refusal::BucketNotEmpty);
    }
    let mut changes = Changes::answer(Answer::Done);
    for kind in &row.documents {
        changes.rows.push(Change::RemoveDocument(bucket.clone(), *kind));
        if *kind == DocumentKind::Lifecycle {
            changes.rows.push(Change::RemoveLifecycle(bucket.clone()));
        }
    }
    changes.rows.push(Change::RemoveBucket(bucket.clone()));
    Ok(changes)
}
