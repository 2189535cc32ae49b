//! Deleting: DeleteObject and DeleteObjects, of objects and of versions.
//!
//! Source: AWS, DeleteObject and DeleteObjects.

use super::buckets::unexpected;
use super::caller::Caller;
use super::conditions;
use super::error::{coded, from_client};
use super::gateway::{Gateway, Outcome};
use super::multipart::fresh_id;
use super::names;
use super::rights::{self, Right};
use anvil_core::access::Fallback;
use anvil_core::state::{
    Answer, DeleteCondition, ObjectCondition, ObjectName, ObjectOperation, Operation, Permission, Removal, VersionName,
};
use anvil_core::types::{GroupId, VersionId};
use futures_util::StreamExt as _;
use http::HeaderMap;
use s3s::dto::{self, *};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

/// Deletions of one DeleteObjects that are under way at once.
const DELETES_AT_ONCE: usize = 32;

/// Keys of one DeleteObjects.
const DELETES_MAX: usize = 1000;

/// What a removal came to.
struct Removed {
    name: Option<VersionName>,
    marker: bool,
}

impl Gateway {
    pub(super) async fn object_delete(&self, req: S3Request<DeleteObjectInput>) -> Outcome<DeleteObjectOutput> {
        let condition = condition_of(&req.headers)?;
        let input = req.input;
        let version = names::version(input.version_id.as_deref())?;
        // The right to it was checked with the header.
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        let object = names::object(input.bucket, input.key)?;
        let removed = self.remove(object, version, condition, bypass).await?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: removed.marker.then_some(true),
            version_id: removed.name.map(names::version_text),
            ..Default::default()
        }))
    }

    async fn remove(
        &self,
        object: ObjectName,
        version: Option<VersionName>,
        condition: DeleteCondition,
        bypass: bool,
    ) -> S3Result<Removed> {
        let removal = Removal { version, marker: VersionId(fresh_id()?), condition, bypass };
        let operation = Operation::Object(ObjectOperation::Remove { object, removal });
        let answer = self.client.command(GroupId::REGION, None, operation).await.map_err(from_client)?;
        let Answer::Deleted { name, marker } = answer else { return Err(unexpected("a removal")) };
        Ok(Removed { name, marker })
    }

    async fn remove_listed(
        &self,
        bucket: String,
        entry: ObjectIdentifier,
        bypass: bool,
    ) -> S3Result<(Option<VersionName>, Removed)> {
        let version = names::version(entry.version_id.as_deref())?;
        let tag = entry.e_tag.map(|tag| match tag.value() {
            "*" => ETagCondition::Any,
            _ => ETagCondition::ETag(tag),
        });
        let condition = DeleteCondition {
            etag: conditions::of_write(tag.as_ref(), None)?,
            size: entry.size.map(|size| u64::try_from(size).unwrap_or(u64::MAX)),
            modified_second: entry.last_modified_time.map(|time| names::wall_time(time).0 / 1000),
        };
        let object = names::object(bucket, entry.key)?;
        Ok((version, self.remove(object, version, condition, bypass).await?))
    }

    pub(super) async fn objects_delete(&self, req: S3Request<DeleteObjectsInput>) -> Outcome<DeleteObjectsOutput> {
        let caller = Caller::of(&req.extensions);
        let S3Request { input, headers, uri, .. } = req;
        let entries = input.delete.objects;
        if entries.is_empty() || entries.len() > DELETES_MAX {
            return Err(coded(S3ErrorCode::MalformedXML, "One request deletes 1 to 1000 objects."));
        }
        let guarded = self.access.guarded(&input.bucket).await?;
        let context = rights::context(&headers, &uri, &caller);
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        let (guarded, caller, context, bucket) = (&guarded, &caller, &context, &input.bucket);
        let one = |entry: ObjectIdentifier| async move {
            let action = if entry.version_id.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
            let mut rights = vec![Right { action, fallback: Fallback::Bucket(Permission::Write) }];
            if bypass {
                let action = "s3:BypassGovernanceRetention";
                rights.push(Right { action, fallback: Fallback::BucketOwner });
            }
            for right in rights {
                self.access.require(guarded, caller, &right, bucket, Some(&entry.key), context).await?;
            }
            self.remove_listed(bucket.clone(), entry, bypass).await
        };
        let outcomes: Vec<S3Result<(Option<VersionName>, Removed)>> =
            futures_util::stream::iter(entries.clone()).map(one).buffered(DELETES_AT_ONCE).collect().await;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for (entry, outcome) in entries.into_iter().zip(outcomes) {
            match outcome {
                Ok((named, removed)) => deleted.push(DeletedObject {
                    delete_marker: removed.marker.then_some(true),
                    delete_marker_version_id: removed.name.filter(|_| removed.marker).map(names::version_text),
                    key: Some(entry.key),
                    version_id: named.map(names::version_text),
                }),
                Err(error) => errors.push(dto::Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(entry.key),
                    message: error.message().map(str::to_owned),
                    version_id: entry.version_id,
                }),
            }
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            request_charged: None,
        }))
    }
}

/// The condition of a deletion: an entity tag, a size, a time.
fn condition_of(headers: &HeaderMap) -> S3Result<DeleteCondition> {
    let etag: ObjectCondition = conditions::of_headers(headers)?;
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let invalid = |name: &str| -> S3Error {
        coded(S3ErrorCode::InvalidArgument, format!("The header {name} cannot be understood."))
    };
    let size = match text("x-amz-if-match-size") {
        Some(text) => Some(text.parse().map_err(|_| invalid("x-amz-if-match-size"))?),
        None => None,
    };
    let modified_second = match text("x-amz-if-match-last-modified-time") {
        Some(text) => {
            let time = Timestamp::parse(TimestampFormat::HttpDate, text)
                .or_else(|_| Timestamp::parse(TimestampFormat::DateTime, text));
            let time = time.map_err(|_| invalid("x-amz-if-match-last-modified-time"))?;
            Some(names::wall_time(time).0 / 1000)
        }
        None => None,
    };
    Ok(DeleteCondition { etag, size, modified_second })
}
