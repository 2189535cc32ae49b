//! Who asks, and whether the operation may run: what `s3s` calls back for.
//!
//! - `S3-7` Every request is judged before its operation runs: by the bucket's policy, its owner, and access lists. One that
//!   is not signed passes only where a policy or a list opens something to everybody.
//! - `S3-11` Whoever may not list a bucket does not learn which keys are in it: what is missing is denied as well.

use super::caller::Caller;
use super::error::{coded, from_client, from_refusal};
use super::rights::{self, Right};
use super::{names, policy_text, wishes};
use crate::client::{Client, ClientError};
use crate::users::{User, Users, UsersError, shown};
use anvil_core::access::policy::{Asked, Policy, Who};
use anvil_core::access::{self, Fallback};
use anvil_core::state::{Acl, BucketRow, DocumentKind, LifecycleRule, Permission, Query, QueryAnswer, Refusal};
use anvil_core::types::GroupId;
use http::HeaderMap;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3ErrorCode, S3Result};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Knows the secrets of users.
pub(super) struct Authority(pub(super) Users);

#[async_trait::async_trait]
impl S3Auth for Authority {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.of_key(access_key).await {
            Ok((_, secret)) => Ok(SecretKey::from(secret)),
            Err(error) => Err(from_users(error)),
        }
    }
}

/// Users could not be asked, or there is no such key.
pub(super) fn from_users(error: UsersError) -> S3Error {
    match error {
        UsersError::Client(error) => from_client(error),
        UsersError::Missing => {
            let message = "The AWS access key Id you provided does not exist in our records.";
            coded(S3ErrorCode::InvalidAccessKeyId, message)
        }
        UsersError::Invalid(_) | UsersError::Taken(_) | UsersError::Unsealed | UsersError::Damaged => {
            tracing::error!(?error, "the record of a user cannot be used");
            coded(S3ErrorCode::InternalError, "The record of the user cannot be read.")
        }
    }
}

/// Tells the layer which operation a request turned out to be.
#[derive(Clone, Debug, Default)]
pub(super) struct OperationCell(pub(super) Arc<OnceLock<&'static str>>);

/// The check before every operation.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) client: Client,
    pub(super) users: Users,
}

/// A bucket and what speaks about access to it.
pub(super) struct Guarded {
    pub(super) row: Arc<BucketRow>,
    pub(super) policy: Option<Policy>,
    pub(super) rules: Arc<[LifecycleRule]>,
}

/// 403.
pub(super) fn denied() -> S3Error {
    coded(S3ErrorCode::AccessDenied, "Access Denied.")
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let name = operation_name(cx.s3_op().name());
        if let Some(cell) = cx.extensions_mut().get::<OperationCell>() {
            // Set once per request; a second call would name the same operation.
            let _ = cell.0.set(name);
        }
        wishes::check(cx.headers())?;
        let user = match cx.credentials() {
            Some(credentials) => {
                let (user, _) = self.users.of_key(&credentials.access_key).await.map_err(from_users)?;
                Some(Arc::new(user))
            }
            None => None,
        };
        let peer = cx.extensions_mut().get().copied();
        let mut caller = Caller { user, peer, ..Caller::default() };
        let operation = cx.s3_op().name();
        let (bucket, key) = match cx.s3_path() {
            s3s::path::S3Path::Root => (None, None),
            s3s::path::S3Path::Bucket { bucket } => (Some(bucket.to_string()), None),
            s3s::path::S3Path::Object { bucket, key } => (Some(bucket.to_string()), Some(key.to_string())),
        };
        match bucket {
            Some(bucket) if operation != "CreateBucket" => {
                let guarded = self.guarded(&bucket).await?;
                caller.bucket = Some(Arc::clone(&guarded.row));
                caller.rules = Arc::clone(&guarded.rules);
                expect_owner(cx.headers(), "x-amz-expected-bucket-owner", &guarded.row)?;
                let context = rights::context(cx.headers(), cx.uri(), &caller);
                for right in rights::of(operation, cx.headers(), cx.uri()) {
                    self.require(&guarded, &caller, &right, &bucket, key.as_deref(), &context).await?;
                }
                self.check_source(cx, &caller).await?;
            }
            // A bucket that is to be made, or none: whoever signs may.
            Some(_) | None if caller.user.is_none() => return Err(denied()),
            Some(_) | None => {}
        }
        cx.extensions_mut().insert(caller);
        Ok(())
    }
}

impl Access {
    /// The bucket with its policy.
    pub(super) async fn guarded(&self, bucket: &str) -> S3Result<Guarded> {
        let query = Query::Bucket { bucket: names::bucket(bucket.to_owned()), documents: vec![DocumentKind::Policy] };
        let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
        let QueryAnswer::Bucket { row, mut documents, rules } = answer else {
            return Err(super::buckets::unexpected("a bucket"));
        };
        let policy = match documents.pop().flatten() {
            // It was read once already, when it was put.
            Some(text) => Some(policy_text::parse(&text, bucket)?),
            None => None,
        };
        Ok(Guarded { row: Arc::new(row), policy, rules: rules.into() })
    }

    /// S3-7
    pub(super) async fn require(
        &self,
        guarded: &Guarded,
        caller: &Caller,
        right: &Right,
        bucket: &str,
        key: Option<&str>,
        context: &BTreeMap<String, Vec<String>>,
    ) -> S3Result<()> {
        let resource = match key {
            Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
            None => format!("arn:aws:s3:::{bucket}"),
        };
        let names = caller.user.as_ref().map(|user| user.names()).unwrap_or_default();
        let who = caller.user.as_ref().map(|user: &Arc<User>| Who { id: &user.id, names: &names });
        let policy = guarded.policy.as_ref();
        // What an object has is looked at only when it can change the judgement.
        let by_object = matches!(right.fallback, Fallback::Object(_) | Fallback::ObjectOwner);
        let wants_tags = policy.is_some_and(policy_text::names_object_tags);
        let is_plain = guarded.row.ownership == Some(anvil_core::state::Ownership::BucketOwnerEnforced);
        let mut context = context.clone();
        let mut acl: Option<Acl> = None;
        let mut missing: Option<Refusal> = None;
        if let Some(key) = key.filter(|_| wants_tags || (by_object && !is_plain)) {
            let version = context.get("s3:versionid").and_then(|ids| ids.first());
            let version = names::version(version.map(String::as_str))?;
            let query = Query::Object { object: names::object(bucket.to_owned(), key.to_owned())?, version };
            match self.client.query(GroupId::REGION, query).await {
                Ok(QueryAnswer::Object(object)) => {
                    for (tag, value) in &object.attributes.tags {
                        context.insert(format!("s3:existingobjecttag/{}", tag.to_lowercase()), vec![value.clone()]);
                    }
                    acl = object.attributes.acl;
                }
                Ok(_) => return Err(super::buckets::unexpected("an object")),
                Err(ClientError::Refused(
                    refusal @ (Refusal::NoSuchKey | Refusal::NoSuchVersion | Refusal::DeleteMarker { .. }),
                )) => missing = Some(refusal),
                Err(error) => return Err(from_client(error)),
            }
        }
        let asked = Asked { user: who, action: right.action, resource: &resource, context: &context };
        let allowed = access::is_allowed(&guarded.row, policy, acl.as_ref(), &asked, right.fallback);
        if let Some(missing) = missing.filter(|_| by_object) {
            // S3-11. Nor does the operation look again: what came there meanwhile was not judged.
            let bucket_resource = format!("arn:aws:s3:::{bucket}");
            let listing = Asked { action: "s3:ListBucket", resource: &bucket_resource, ..asked };
            let lists = access::is_allowed(&guarded.row, policy, None, &listing, Fallback::Bucket(Permission::Read));
            return Err(if allowed || lists { from_refusal(missing) } else { denied() });
        }
        // The owner can always mend a policy that shuts everybody out.
        let mends = right.action.ends_with("BucketPolicy") && caller.owns_bucket();
        if allowed || mends { Ok(()) } else { Err(denied()) }
    }

    /// The source of a copy is read, and needs the right to.
    async fn check_source(&self, cx: &S3AccessContext<'_>, caller: &Caller) -> S3Result<()> {
        let Some(header) = cx.headers().get("x-amz-copy-source").and_then(|value| value.to_str().ok()) else {
            return Ok(());
        };
        // What cannot be parsed is refused by the operation.
        let Ok(s3s::dto::CopySource::Bucket { bucket, key, version_id }) = s3s::dto::CopySource::parse(header) else {
            return Ok(());
        };
        let guarded = self.guarded(&bucket).await?;
        expect_owner(cx.headers(), "x-amz-source-expected-bucket-owner", &guarded.row)?;
        let caller = Caller { bucket: Some(Arc::clone(&guarded.row)), rules: Arc::default(), ..caller.clone() };
        let mut context = rights::context(cx.headers(), &http::Uri::from_static("/"), &caller);
        let action = if version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        if let Some(version) = version_id {
            context.insert("s3:versionid".to_owned(), vec![version.to_string()]);
        }
        let right = Right { action, fallback: Fallback::Object(Permission::Read) };
        self.require(&guarded, &caller, &right, &bucket, Some(&key), &context).await
    }
}

/// Refuses a request that expects another owner.
fn expect_owner(headers: &HeaderMap, name: &str, bucket: &BucketRow) -> S3Result<()> {
    let expected = headers.get(name).map(|value| value.as_bytes());
    let is_right = expected.is_none_or(|expected| expected == shown(&bucket.acl.owner).as_bytes());
    if is_right { Ok(()) } else { Err(denied()) }
}

/// The names of operations as metrics show them. Those that are not implemented share one, so that the number of time
/// series does not depend on what clients try.
fn operation_name(name: &str) -> &'static str {
    const NAMES: [&str; 21] = [
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
        "ListObjectVersions",
        "ListObjects",
        "ListObjectsV2",
        "ListParts",
        "PutObject",
        "UploadPart",
        "UploadPartCopy",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("Other")
}
