//! Buckets: create, head, delete, list, location.

use super::caller::Caller;
use super::error::{coded, from_client};
use super::gateway::{Gateway, Outcome};
use super::{access_lists, habits, names};
use crate::client::ClientError;
use anvil_core::state::{
    BucketOptions, BucketRow, BucketSetting, ObjectOperation, Operation, Query, QueryAnswer, Refusal,
};
use anvil_core::types::{GroupId, TenantId};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};

/// The region that has no name in a location.
const FIRST_REGION: &str = "us-east-1";

/// Buckets on one page when the client does not say.
const PAGE_MAX: usize = 10_000;

impl Gateway {
    /// The bucket; `NoSuchBucket`.
    pub(super) async fn require_bucket(&self, name: String) -> S3Result<BucketRow> {
        let query = Query::Bucket { bucket: names::bucket(name), documents: Vec::new() };
        let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
        let QueryAnswer::Bucket { row, .. } = answer else { return Err(unexpected("a bucket")) };
        Ok(row)
    }

    pub(super) async fn bucket_create(&self, req: S3Request<CreateBucketInput>) -> Outcome<CreateBucketOutput> {
        let caller = Caller::of(&req.extensions);
        let S3Request { input, headers, .. } = req;
        let ownership =
            input.object_ownership.as_ref().map(|text| access_lists::ownership(text.as_str())).transpose()?;
        let configuration = input.create_bucket_configuration;
        let location = configuration.and_then(|configuration| configuration.location_constraint);
        if let Some(location) = location.as_ref().map(BucketLocationConstraint::as_str)
            && !location.is_empty()
            && location != self.region
        {
            let message = format!("The location constraint {location:?} is not valid: this is {:?}.", self.region);
            return Err(coded(S3ErrorCode::IllegalLocationConstraintException, message));
        }
        let bucket = names::new_bucket(input.bucket)?;
        let location = format!("/{}", bucket.name);
        let acl = self.new_bucket_acl(&headers, &caller, ownership).await?;
        let lock = input.object_lock_enabled_for_bucket.unwrap_or(false);
        let options = BucketOptions { acl: acl.clone(), lock, ownership };
        let name = bucket.name.clone();
        let operation = Operation::Object(ObjectOperation::CreateBucketWith { bucket, options });
        match self.client.command(GroupId::REGION, None, operation).await {
            Ok(_) => {}
            // As AWS has it in its first region: the bucket is there, and its access list is as it was asked for.
            Err(ClientError::Refused(Refusal::BucketExists)) if self.region == FIRST_REGION => {
                self.configure(name, BucketSetting::Acl(acl)).await?;
            }
            Err(error) => return Err(from_client(error)),
        }
        Ok(S3Response::new(CreateBucketOutput { location: Some(location) }))
    }

    pub(super) async fn bucket_head(&self, input: HeadBucketInput) -> Outcome<HeadBucketOutput> {
        self.require_bucket(input.bucket).await?;
        let output = HeadBucketOutput { bucket_region: Some(self.region.clone()), ..Default::default() };
        let mut response = S3Response::new(output);
        response.headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/xml"));
        Ok(response)
    }

    pub(super) async fn bucket_delete(&self, input: DeleteBucketInput) -> Outcome<DeleteBucketOutput> {
        let operation = Operation::Object(ObjectOperation::DeleteBucket { bucket: names::bucket(input.bucket) });
        self.client.command(GroupId::REGION, None, operation).await.map_err(from_client)?;
        Ok(S3Response::new(DeleteBucketOutput {}))
    }

    pub(super) async fn buckets_list(&self, req: S3Request<ListBucketsInput>) -> Outcome<ListBucketsOutput> {
        let caller = Caller::of(&req.extensions).id();
        let input = req.input;
        let query = Query::Buckets { tenant: TenantId::DEFAULT };
        let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
        let QueryAnswer::Buckets(all) = answer else { return Err(unexpected("buckets")) };
        let after = input.continuation_token.as_deref().map(names::start_after).transpose()?;
        let most = input.max_buckets.and_then(|most| usize::try_from(most).ok()).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let prefix = input.prefix.as_deref().unwrap_or("");
        let elsewhere = input.bucket_region.as_ref().is_some_and(|region| *region != self.region);
        let mut wanted = all.into_iter().filter(|(name, row)| {
            !elsewhere
                && row.acl.owner == caller
                && name.starts_with(prefix)
                && after.as_ref().is_none_or(|after| name > after)
        });
        let page: Vec<(String, BucketRow)> = wanted.by_ref().take(most).collect();
        let more = wanted.next().is_some();
        let token = page.last().filter(|_| more).map(|(name, _)| names::token(name));
        let buckets = page.into_iter().map(|(name, row)| Bucket {
            // Only paginated requests are told the region, as with AWS.
            bucket_region: input.max_buckets.map(|_| self.region.clone()),
            creation_date: Some(names::timestamp(row.created)),
            name: Some(name),
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token: token,
            owner: Some(habits::owner(&caller)),
            prefix: input.prefix,
        }))
    }

    pub(super) async fn bucket_location(&self, input: GetBucketLocationInput) -> Outcome<GetBucketLocationOutput> {
        self.require_bucket(input.bucket).await?;
        // The first region of S3 has no name here.
        let named = (self.region != FIRST_REGION).then(|| BucketLocationConstraint::from(self.region.clone()));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: named }))
    }
}

/// The node gave an answer to another question than `asked`, which its contract excludes.
pub(super) fn unexpected(asked: &'static str) -> s3s::S3Error {
    tracing::error!(asked, "the node answered another question");
    coded(S3ErrorCode::InternalError, "The node gave an answer of the wrong kind.")
}
