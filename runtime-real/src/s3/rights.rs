//! Which right each operation needs, and what a policy may ask about a request.
//!
//! Source: AWS service authorization reference, "Actions, resources, and condition keys for Amazon S3".

use super::caller::Caller;
use super::policy::parse_query;
use anvil_core::access::Fallback;
use anvil_core::state::Permission;
use http::{HeaderMap, Uri};
use std::collections::BTreeMap;

/// A right: what a policy calls it, and what stands for it where no policy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Right {
    /// Such as `s3:GetObject`.
    pub(super) action: &'static str,
    /// Without a policy.
    pub(super) fallback: Fallback,
}

/// The rights that an operation needs, all of them.
pub(super) fn of(operation: &str, headers: &HeaderMap, uri: &Uri) -> Vec<Right> {
    use Fallback::{Bucket, BucketOwner, Object, ObjectOwner};
    use Permission::{Read, ReadAcp, Write, WriteAcp};
    let versioned = names_version(uri);
    let pick = |plain: &'static str, of_version: &'static str| if versioned { of_version } else { plain };
    let (action, fallback) = match operation {
        "ListObjects" | "ListObjectsV2" | "HeadBucket" => ("s3:ListBucket", Bucket(Read)),
        "ListObjectVersions" => ("s3:ListBucketVersions", Bucket(Read)),
        "ListMultipartUploads" => ("s3:ListBucketMultipartUploads", Bucket(Read)),
        "GetBucketLocation" => ("s3:GetBucketLocation", Bucket(Read)),
        "GetBucketAcl" => ("s3:GetBucketAcl", Bucket(ReadAcp)),
        "PutBucketAcl" => ("s3:PutBucketAcl", Bucket(WriteAcp)),
        "PutObject"
        | "PostObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => ("s3:PutObject", Bucket(Write)),
        // Each key of DeleteObjects is judged by itself.
        "DeleteObjects" => return Vec::new(),
        "DeleteObject" => (pick("s3:DeleteObject", "s3:DeleteObjectVersion"), Bucket(Write)),
        "AbortMultipartUpload" => ("s3:AbortMultipartUpload", Bucket(Write)),
        "ListParts" => ("s3:ListMultipartUploadParts", Bucket(Read)),
        "GetObject" | "HeadObject" => (pick("s3:GetObject", "s3:GetObjectVersion"), Object(Read)),
        "GetObjectAttributes" => (pick("s3:GetObject", "s3:GetObjectVersion"), Object(Read)),
        "GetObjectAcl" => (pick("s3:GetObjectAcl", "s3:GetObjectVersionAcl"), Object(ReadAcp)),
        "PutObjectAcl" => (pick("s3:PutObjectAcl", "s3:PutObjectVersionAcl"), Object(WriteAcp)),
        "GetObjectTagging" => (pick("s3:GetObjectTagging", "s3:GetObjectVersionTagging"), ObjectOwner),
        "PutObjectTagging" => (pick("s3:PutObjectTagging", "s3:PutObjectVersionTagging"), ObjectOwner),
        "DeleteObjectTagging" => (pick("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"), ObjectOwner),
        "GetObjectRetention" => ("s3:GetObjectRetention", ObjectOwner),
        "PutObjectRetention" => ("s3:PutObjectRetention", ObjectOwner),
        "GetObjectLegalHold" => ("s3:GetObjectLegalHold", ObjectOwner),
        "PutObjectLegalHold" => ("s3:PutObjectLegalHold", ObjectOwner),
        "GetObjectLockConfiguration" => ("s3:GetBucketObjectLockConfiguration", BucketOwner),
        "PutObjectLockConfiguration" => ("s3:PutBucketObjectLockConfiguration", BucketOwner),
        "DeleteBucket" => ("s3:DeleteBucket", BucketOwner),
        "GetBucketVersioning" => ("s3:GetBucketVersioning", BucketOwner),
        "PutBucketVersioning" => ("s3:PutBucketVersioning", BucketOwner),
        "GetBucketTagging" => ("s3:GetBucketTagging", BucketOwner),
        "PutBucketTagging" | "DeleteBucketTagging" => ("s3:PutBucketTagging", BucketOwner),
        "GetBucketCors" => ("s3:GetBucketCORS", BucketOwner),
        "PutBucketCors" | "DeleteBucketCors" => ("s3:PutBucketCORS", BucketOwner),
        "GetBucketPolicy" => ("s3:GetBucketPolicy", BucketOwner),
        "GetBucketPolicyStatus" => ("s3:GetBucketPolicyStatus", BucketOwner),
        "PutBucketPolicy" => ("s3:PutBucketPolicy", BucketOwner),
        "DeleteBucketPolicy" => ("s3:DeleteBucketPolicy", BucketOwner),
        "GetBucketLifecycleConfiguration" => ("s3:GetLifecycleConfiguration", BucketOwner),
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => ("s3:PutLifecycleConfiguration", BucketOwner),
        "GetBucketEncryption" => ("s3:GetEncryptionConfiguration", BucketOwner),
        "PutBucketEncryption" | "DeleteBucketEncryption" => ("s3:PutEncryptionConfiguration", BucketOwner),
        "GetBucketOwnershipControls" => ("s3:GetBucketOwnershipControls", BucketOwner),
        "PutBucketOwnershipControls" | "DeleteBucketOwnershipControls" => {
            ("s3:PutBucketOwnershipControls", BucketOwner)
        }
        "GetPublicAccessBlock" => ("s3:GetBucketPublicAccessBlock", BucketOwner),
        "PutPublicAccessBlock" | "DeletePublicAccessBlock" => ("s3:PutBucketPublicAccessBlock", BucketOwner),
        "GetBucketWebsite" => ("s3:GetBucketWebsite", BucketOwner),
        "GetBucketLogging" => ("s3:GetBucketLogging", BucketOwner),
        "GetBucketNotificationConfiguration" => ("s3:GetBucketNotification", BucketOwner),
        "GetBucketRequestPayment" => ("s3:GetBucketRequestPayment", BucketOwner),
        // What is not implemented is the owner's to hear of.
        _ => ("s3:Other", BucketOwner),
    };
    let mut rights = vec![Right { action, fallback }];
    let asks = |name: &str| headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if asks("x-amz-bypass-governance-retention") {
        rights.push(Right { action: "s3:BypassGovernanceRetention", fallback: BucketOwner });
    }
    if fallback == Bucket(Write) && action == "s3:PutObject" {
        let mut also = |header: &str, action| {
            if headers.contains_key(header) {
                rights.push(Right { action, fallback: Bucket(Write) });
            }
        };
        also("x-amz-object-lock-mode", "s3:PutObjectRetention");
        also("x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold");
    }
    rights
}

fn names_version(uri: &Uri) -> bool {
    parse_query(uri.query().unwrap_or("")).is_ok_and(|query| query.iter().any(|(name, _)| name == "versionId"))
}

/// What a policy may ask about a request, the keys in lower case.
pub(super) fn context(headers: &HeaderMap, uri: &Uri, caller: &Caller) -> BTreeMap<String, Vec<String>> {
    let mut context: BTreeMap<String, Vec<String>> = BTreeMap::new();
    fn set(context: &mut BTreeMap<String, Vec<String>>, key: &str, value: &str) {
        context.insert(key.to_owned(), vec![value.to_owned()]);
    }
    let is_encrypted = caller.peer.is_some_and(|peer| peer.is_encrypted);
    set(&mut context, "aws:securetransport", if is_encrypted { "true" } else { "false" });
    if let Some(peer) = caller.peer {
        set(&mut context, "aws:sourceip", &peer.address.ip().to_canonical().to_string());
    }
    if let Some(user) = caller.user.as_deref() {
        set(&mut context, "aws:username", &user.name);
        set(&mut context, "aws:userid", user.shown_id());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    for (header, key) in [("referer", "aws:referer"), ("user-agent", "aws:useragent")] {
        if let Some(value) = text(header) {
            set(&mut context, key, value);
        }
    }
    for (name, value) in headers {
        let (Some(rest), Ok(value)) = (name.as_str().strip_prefix("x-amz-"), value.to_str()) else { continue };
        match rest {
            "acl"
            | "copy-source"
            | "metadata-directive"
            | "server-side-encryption"
            | "storage-class"
            | "object-lock-mode"
            | "object-lock-legal-hold"
            | "content-sha256"
            | "server-side-encryption-aws-kms-key-id"
            | "server-side-encryption-customer-algorithm" => {
                set(&mut context, &format!("s3:x-amz-{rest}"), value);
            }
            "object-lock-retain-until-date" => set(&mut context, "s3:object-lock-retain-until-date", value),
            "tagging" => {
                let tags: Vec<(String, String)> = serde_urlencoded::from_str(value).unwrap_or_default();
                for (tag, value) in &tags {
                    set(&mut context, &format!("s3:requestobjecttag/{}", tag.to_lowercase()), value);
                }
                let keys = tags.into_iter().map(|(tag, _)| tag).collect();
                context.insert("s3:requestobjecttagkeys".to_owned(), keys);
            }
            _ if rest.starts_with("grant-") => set(&mut context, &format!("s3:x-amz-{rest}"), value),
            _ => {}
        }
    }
    for (name, value) in parse_query(uri.query().unwrap_or("")).unwrap_or_default() {
        match name.as_str() {
            "prefix" | "delimiter" | "max-keys" => {
                context.insert(format!("s3:{name}"), vec![value]);
            }
            "versionId" => {
                context.insert("s3:versionid".to_owned(), vec![value]);
            }
            _ => {}
        }
    }
    context
}
