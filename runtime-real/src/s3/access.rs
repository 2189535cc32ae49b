//! Who asks, and whether the operation may run: what `s3s` calls back for.

use super::error::coded;
use super::{Credentials, wishes};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3ErrorCode, S3Result};
use std::sync::{Arc, OnceLock};
use subtle::ConstantTimeEq as _;

/// The one principal.
pub(super) struct Authority(pub(super) Credentials);

#[async_trait::async_trait]
impl S3Auth for Authority {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if bool::from(access_key.as_bytes().ct_eq(self.0.access_key_id.as_bytes())) {
            return Ok(SecretKey::from(self.0.secret_access_key.clone()));
        }
        let message = "The AWS access key Id you provided does not exist in our records.";
        Err(coded(S3ErrorCode::InvalidAccessKeyId, message))
    }
}

/// Tells the layer which operation a request turned out to be.
#[derive(Clone, Debug, Default)]
pub(super) struct OperationCell(pub(super) Arc<OnceLock<&'static str>>);

/// The check before every operation.
pub(super) struct Access;

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let name = operation_name(cx.s3_op().name());
        if let Some(cell) = cx.extensions_mut().get::<OperationCell>() {
            // Set once per request; a second call would name the same operation.
            let _ = cell.0.set(name);
        }
        // S3-7
        if cx.credentials().is_none() {
            return Err(coded(S3ErrorCode::AccessDenied, "The request is not signed."));
        }
        wishes::check(cx.headers())
    }
}

/// The names of operations as metrics show them. Those that are not implemented share one, so that the number of time
/// series does not depend on what clients try.
fn operation_name(name: &str) -> &'static str {
    const NAMES: [&str; 20] = [
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateBucket",
        "CreateMultipartUpload",
        "DeleteBucket",
        "DeleteObject",
        "DeleteObjects",
        "GetBucketLocation",
        "GetObject",
        "HeadBucket",
        "HeadObject",
        "ListBuckets",
        "ListMultipartUploads",
        "ListObjects",
        "ListObjectsV2",
        "ListParts",
        "PutObject",
        "UploadPart",
        "UploadPartCopy",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("Other")
}
