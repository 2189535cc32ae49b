//! Creating and deleting a bucket.
//!
//! A bucket is one row. It goes only when it holds neither objects nor uploads, which the home finds out by looking for
//! the first row of each. Not here: policies and quotas of a bucket.

use super::super::Moment;
use super::super::command::{Answer, BucketName, Refusal};
use super::check_bucket_name;
use super::rows::{BucketRow, Change, Changes};

/// What [`decide_delete`] needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteRows {
    /// The bucket.
    pub bucket: Option<BucketRow>,
    /// Whether any object is in it.
    pub has_objects: bool,
    /// Whether any upload into it is in progress.
    pub has_uploads: bool,
}

/// Decides `CreateBucket`.
///
/// # Errors
/// `Invalid`, `BucketExists`.
pub fn decide_create(row: Option<BucketRow>, bucket: &BucketName, moment: Moment) -> Result<Changes, Refusal> {
    check_bucket_name(&bucket.name)?;
    if row.is_some() {
        return Err(Refusal::BucketExists);
    }
    let mut changes = Changes::answer(Answer::Done);
    changes.rows.push(Change::PutBucket(bucket.clone(), BucketRow { created: moment.time }));
    Ok(changes)
}

/// Decides `DeleteBucket`.
///
/// # Errors
/// `NoSuchBucket`, `BucketNotEmpty`.
pub fn decide_delete(rows: DeleteRows, bucket: &BucketName) -> Result<Changes, Refusal> {
    if rows.bucket.is_none() {
        return Err(Refusal::NoSuchBucket);
    }
    if rows.has_objects || rows.has_uploads {
        return Err(Refusal::BucketNotEmpty);
    }
    let mut changes = Changes::answer(Answer::Done);
    changes.rows.push(Change::RemoveBucket(bucket.clone()));
    Ok(changes)
}
