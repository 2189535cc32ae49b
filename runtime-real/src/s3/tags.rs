//! Tags of objects and buckets.
//!
//! Source: AWS, "Categorizing your objects using tags", PutObjectTagging, PutBucketTagging.

use super::access::denied;
use super::caller::Caller;
use super::error::{coded, custom, from_client, from_refusal};
use super::gateway::{Gateway, Outcome};
use super::layer::StatusOverride;
use super::names;
use anvil_core::state::{Amendment, Answer, BucketSetting, DocumentKind, ObjectOperation, Operation, VersionName};
use anvil_core::types::GroupId;
use http::StatusCode;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Response, S3Result};
use std::collections::BTreeMap;

/// Tags of a bucket.
const BUCKET_TAGS_MAX: usize = 50;
/// Tags of an object.
const OBJECT_TAGS_MAX: usize = 10;

/// Reads `x-amz-tagging`: a query string.
pub(super) fn of_header(text: &str) -> S3Result<BTreeMap<String, String>> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).map_err(|_| {
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters \
                       without tag name duplicates.";
        coded(S3ErrorCode::InvalidArgument, message)
    })?;
    of_object(unique(pairs)?)
}

fn of_object(tags: BTreeMap<String, String>) -> S3Result<BTreeMap<String, String>> {
    if tags.len() > OBJECT_TAGS_MAX {
        let message = format!("Object tags cannot be greater than {OBJECT_TAGS_MAX}");
        return Err(custom(StatusCode::BAD_REQUEST, "BadRequest", message));
    }
    Ok(tags)
}

fn unique(pairs: Vec<(String, String)>) -> S3Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        if key.starts_with("aws:") {
            return Err(coded(S3ErrorCode::InvalidTag, "Your TagKey cannot be prefixed with aws:"));
        }
        if tags.insert(key, value).is_some() {
            return Err(coded(S3ErrorCode::InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

/// Reads a set of tags.
pub(super) fn of_set(set: TagSet) -> S3Result<BTreeMap<String, String>> {
    let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
    unique(set.into_iter().map(pair).collect())
}

/// Writes a set of tags.
pub(super) fn to_set(tags: BTreeMap<String, String>) -> TagSet {
    tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect()
}

impl Gateway {
    /// Changes a version; its name, where the bucket keeps versions.
    pub(super) async fn amend(
        &self,
        bucket: String,
        key: String,
        version: Option<&str>,
        amendment: Amendment,
    ) -> S3Result<Option<VersionName>> {
        let (object, version) = (names::object(bucket, key)?, names::version(version)?);
        let operation = Operation::Object(ObjectOperation::Amend { object, version, amendment });
        let answer = self.client.command(GroupId::REGION, None, operation).await.map_err(from_client)?;
        let Answer::Amended { name } = answer else { return Err(super::buckets::unexpected("an amendment")) };
        Ok(name)
    }

    pub(super) async fn object_tags_put(&self, input: PutObjectTaggingInput) -> Outcome<PutObjectTaggingOutput> {
        let amendment = Amendment::Tags(of_object(of_set(input.tagging.tag_set)?)?);
        let name = self.amend(input.bucket, input.key, input.version_id.as_deref(), amendment).await?;
        Ok(S3Response::new(PutObjectTaggingOutput { version_id: name.map(names::version_text) }))
    }

    pub(super) async fn object_tags_get(&self, input: GetObjectTaggingInput) -> Outcome<GetObjectTaggingOutput> {
        let object = self.require_object(input.bucket, input.key, input.version_id.as_deref()).await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: to_set(object.attributes.tags),
            version_id: object.name.map(names::version_text),
        }))
    }

    pub(super) async fn object_tags_delete(
        &self,
        input: DeleteObjectTaggingInput,
    ) -> Outcome<DeleteObjectTaggingOutput> {
        let amendment = Amendment::Tags(BTreeMap::new());
        let name = self.amend(input.bucket, input.key, input.version_id.as_deref(), amendment).await?;
        Ok(S3Response::new(DeleteObjectTaggingOutput { version_id: name.map(names::version_text) }))
    }

    pub(super) async fn bucket_tags_put(
        &self,
        input: PutBucketTaggingInput,
        caller: Caller,
    ) -> Outcome<PutBucketTaggingOutput> {
        if caller.user.is_none() {
            return Err(denied());
        }
        let is_system = |tag: &Tag| tag.key.as_deref().is_some_and(|key| key.starts_with("aws:"));
        if input.tagging.tag_set.iter().any(is_system) {
            return Err(coded(S3ErrorCode::InvalidTag, "System tags cannot be added/updated by requester"));
        }
        let tags = of_set(input.tagging.tag_set)?;
        if tags.len() > BUCKET_TAGS_MAX {
            return Err(coded(S3ErrorCode::InvalidTag, "Bucket tag count cannot be greater than 50"));
        }
        for (key, value) in &tags {
            anvil_core::state::objects::amend::check_tag(key, value).map_err(from_refusal)?;
        }
        if tags.is_empty() {
            // No tags and an empty set of them are the same to who asks.
            let setting = BucketSetting::Document { kind: DocumentKind::Tags, text: None };
            self.configure(input.bucket, setting).await?;
        } else {
            let setting = Tagging { tag_set: to_set(tags) };
            self.keep(input.bucket, DocumentKind::Tags, &setting).await?;
        }
        let mut response = S3Response::new(PutBucketTaggingOutput {});
        response.extensions.insert(StatusOverride(StatusCode::NO_CONTENT));
        Ok(response)
    }

    pub(super) async fn bucket_tags_get(&self, input: GetBucketTaggingInput) -> Outcome<GetBucketTaggingOutput> {
        let missing = (S3ErrorCode::NoSuchTagSet, "The TagSet does not exist");
        let held: Tagging = self.document(input.bucket, DocumentKind::Tags, missing).await?;
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set: held.tag_set }))
    }

    pub(super) async fn bucket_tags_delete(
        &self,
        input: DeleteBucketTaggingInput,
    ) -> Outcome<DeleteBucketTaggingOutput> {
        let setting = BucketSetting::Document { kind: DocumentKind::Tags, text: None };
        self.configure(input.bucket, setting).await?;
        Ok(S3Response::new(DeleteBucketTaggingOutput {}))
    }
}
