//! The operations of S3 that Anvil has, one line each: `s3s` calls, the modules beside this one answer.
//!
//! What is missing here is answered by `s3s` itself with `NotImplemented`.

use super::access::Access;
use super::caller::Caller;
use crate::client::Client;
use crate::users::Users;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bodies that may be taken in at once; each buffers up to a stripe besides those in flight.
const BODIES_MAX: usize = 64;

/// S3's operations over a node.
pub(super) struct Gateway {
    /// The node.
    pub(super) client: Client,
    /// Who there is.
    pub(super) users: Users,
    /// Judges what cannot be judged before the body of a request is read.
    pub(super) access: Access,
    /// Our region.
    pub(super) region: String,
    /// How long a day of lifecycle rules is.
    pub(super) day: Duration,
    /// Room for bodies on their way in.
    pub(super) bodies: Arc<Semaphore>,
}

impl Gateway {
    /// A gateway to `client`'s node.
    pub(super) fn new(client: Client, users: Users, region: String, day: Duration) -> Gateway {
        let access = Access { client: client.clone(), users: users.clone() };
        Gateway { client, users, access, region, day, bodies: Arc::new(Semaphore::new(BODIES_MAX)) }
    }
}

/// What an operation of S3 answers.
pub(super) type Outcome<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Gateway {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Outcome<CreateBucketOutput> {
        self.bucket_create(req).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Outcome<HeadBucketOutput> {
        self.bucket_head(req.input).await
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> Outcome<DeleteBucketOutput> {
        self.bucket_delete(req.input).await
    }

    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> Outcome<ListBucketsOutput> {
        self.buckets_list(req).await
    }

    async fn get_bucket_location(&self, req: S3Request<GetBucketLocationInput>) -> Outcome<GetBucketLocationOutput> {
        self.bucket_location(req.input).await
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> Outcome<PutObjectOutput> {
        self.object_put(req).await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> Outcome<GetObjectOutput> {
        self.object_get(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> Outcome<HeadObjectOutput> {
        self.object_head(req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> Outcome<DeleteObjectOutput> {
        self.object_delete(req).await
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> Outcome<DeleteObjectsOutput> {
        self.objects_delete(req).await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> Outcome<CopyObjectOutput> {
        self.object_copy(req).await
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> Outcome<ListObjectsOutput> {
        self.objects_list(req).await
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> Outcome<ListObjectsV2Output> {
        self.objects_list_v2(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Outcome<CreateMultipartUploadOutput> {
        self.upload_create(req).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> Outcome<UploadPartOutput> {
        self.upload_part_put(req).await
    }

    async fn upload_part_copy(&self, req: S3Request<UploadPartCopyInput>) -> Outcome<UploadPartCopyOutput> {
        self.upload_part_from(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Outcome<CompleteMultipartUploadOutput> {
        self.upload_complete(req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Outcome<AbortMultipartUploadOutput> {
        self.upload_abort(req.input).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> Outcome<ListPartsOutput> {
        self.upload_parts(req).await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Outcome<ListMultipartUploadsOutput> {
        self.uploads_list(req).await
    }

    async fn put_bucket_versioning(
        &self,
        req: S3Request<PutBucketVersioningInput>,
    ) -> Outcome<PutBucketVersioningOutput> {
        self.versioning_put(req.input).await
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> Outcome<GetBucketVersioningOutput> {
        self.versioning_get(req.input).await
    }

    async fn put_object_tagging(&self, req: S3Request<PutObjectTaggingInput>) -> Outcome<PutObjectTaggingOutput> {
        self.object_tags_put(req.input).await
    }

    async fn get_object_tagging(&self, req: S3Request<GetObjectTaggingInput>) -> Outcome<GetObjectTaggingOutput> {
        self.object_tags_get(req.input).await
    }

    async fn delete_object_tagging(
        &self,
        req: S3Request<DeleteObjectTaggingInput>,
    ) -> Outcome<DeleteObjectTaggingOutput> {
        self.object_tags_delete(req.input).await
    }

    async fn get_bucket_tagging(&self, req: S3Request<GetBucketTaggingInput>) -> Outcome<GetBucketTaggingOutput> {
        self.bucket_tags_get(req.input).await
    }

    async fn delete_bucket_tagging(
        &self,
        req: S3Request<DeleteBucketTaggingInput>,
    ) -> Outcome<DeleteBucketTaggingOutput> {
        self.bucket_tags_delete(req.input).await
    }

    async fn put_bucket_cors(&self, req: S3Request<PutBucketCorsInput>) -> Outcome<PutBucketCorsOutput> {
        self.cors_put(req.input).await
    }

    async fn get_bucket_cors(&self, req: S3Request<GetBucketCorsInput>) -> Outcome<GetBucketCorsOutput> {
        self.cors_get(req.input).await
    }

    async fn delete_bucket_cors(&self, req: S3Request<DeleteBucketCorsInput>) -> Outcome<DeleteBucketCorsOutput> {
        self.cors_delete(req.input).await
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Outcome<PutBucketLifecycleConfigurationOutput> {
        self.lifecycle_put(req.input).await
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Outcome<GetBucketLifecycleConfigurationOutput> {
        self.lifecycle_get(req.input).await
    }

    async fn delete_bucket_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> Outcome<DeleteBucketLifecycleOutput> {
        self.lifecycle_delete(req.input).await
    }

    async fn put_bucket_encryption(
        &self,
        req: S3Request<PutBucketEncryptionInput>,
    ) -> Outcome<PutBucketEncryptionOutput> {
        self.encryption_put(req.input).await
    }

    async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> Outcome<GetBucketEncryptionOutput> {
        self.encryption_get(req.input).await
    }

    async fn delete_bucket_encryption(
        &self,
        req: S3Request<DeleteBucketEncryptionInput>,
    ) -> Outcome<DeleteBucketEncryptionOutput> {
        self.encryption_delete(req.input).await
    }

    async fn put_bucket_policy(&self, req: S3Request<PutBucketPolicyInput>) -> Outcome<PutBucketPolicyOutput> {
        self.policy_put(req.input).await
    }

    async fn get_bucket_policy(&self, req: S3Request<GetBucketPolicyInput>) -> Outcome<GetBucketPolicyOutput> {
        self.policy_get(req.input).await
    }

    async fn get_bucket_policy_status(
        &self,
        req: S3Request<GetBucketPolicyStatusInput>,
    ) -> Outcome<GetBucketPolicyStatusOutput> {
        self.policy_status(req.input).await
    }

    async fn delete_bucket_policy(&self, req: S3Request<DeleteBucketPolicyInput>) -> Outcome<DeleteBucketPolicyOutput> {
        self.policy_delete(req.input).await
    }

    async fn put_bucket_ownership_controls(
        &self,
        req: S3Request<PutBucketOwnershipControlsInput>,
    ) -> Outcome<PutBucketOwnershipControlsOutput> {
        self.ownership_put(req.input).await
    }

    async fn get_bucket_ownership_controls(
        &self,
        req: S3Request<GetBucketOwnershipControlsInput>,
    ) -> Outcome<GetBucketOwnershipControlsOutput> {
        self.ownership_get(req.input).await
    }

    async fn delete_bucket_ownership_controls(
        &self,
        req: S3Request<DeleteBucketOwnershipControlsInput>,
    ) -> Outcome<DeleteBucketOwnershipControlsOutput> {
        self.ownership_delete(req.input).await
    }

    async fn put_public_access_block(
        &self,
        req: S3Request<PutPublicAccessBlockInput>,
    ) -> Outcome<PutPublicAccessBlockOutput> {
        self.block_put(req.input).await
    }

    async fn get_public_access_block(
        &self,
        req: S3Request<GetPublicAccessBlockInput>,
    ) -> Outcome<GetPublicAccessBlockOutput> {
        self.block_get(req.input).await
    }

    async fn delete_public_access_block(
        &self,
        req: S3Request<DeletePublicAccessBlockInput>,
    ) -> Outcome<DeletePublicAccessBlockOutput> {
        self.block_delete(req.input).await
    }

    async fn put_object_lock_configuration(
        &self,
        req: S3Request<PutObjectLockConfigurationInput>,
    ) -> Outcome<PutObjectLockConfigurationOutput> {
        self.lock_put(req.input).await
    }

    async fn get_object_lock_configuration(
        &self,
        req: S3Request<GetObjectLockConfigurationInput>,
    ) -> Outcome<GetObjectLockConfigurationOutput> {
        self.lock_get(req.input).await
    }

    async fn put_object_retention(&self, req: S3Request<PutObjectRetentionInput>) -> Outcome<PutObjectRetentionOutput> {
        self.retention_put(req.input).await
    }

    async fn put_object_legal_hold(
        &self,
        req: S3Request<PutObjectLegalHoldInput>,
    ) -> Outcome<PutObjectLegalHoldOutput> {
        self.hold_put(req.input).await
    }

    async fn get_object_attributes(
        &self,
        req: S3Request<GetObjectAttributesInput>,
    ) -> Outcome<GetObjectAttributesOutput> {
        self.attributes_get(req.input).await
    }

    async fn get_bucket_acl(&self, req: S3Request<GetBucketAclInput>) -> Outcome<GetBucketAclOutput> {
        self.bucket_acl_get(req.input).await
    }

    async fn list_object_versions(&self, req: S3Request<ListObjectVersionsInput>) -> Outcome<ListObjectVersionsOutput> {
        let caller = Caller::of(&req.extensions);
        self.versions_list(req.input, caller).await
    }

    async fn get_object_retention(&self, req: S3Request<GetObjectRetentionInput>) -> Outcome<GetObjectRetentionOutput> {
        let caller = Caller::of(&req.extensions);
        self.retention_get(req.input, caller).await
    }

    async fn get_object_legal_hold(
        &self,
        req: S3Request<GetObjectLegalHoldInput>,
    ) -> Outcome<GetObjectLegalHoldOutput> {
        let caller = Caller::of(&req.extensions);
        self.hold_get(req.input, caller).await
    }

    async fn get_object_acl(&self, req: S3Request<GetObjectAclInput>) -> Outcome<GetObjectAclOutput> {
        let caller = Caller::of(&req.extensions);
        self.object_acl_get(req.input, caller).await
    }

    async fn put_bucket_tagging(&self, req: S3Request<PutBucketTaggingInput>) -> Outcome<PutBucketTaggingOutput> {
        let caller = Caller::of(&req.extensions);
        self.bucket_tags_put(req.input, caller).await
    }

    async fn put_bucket_acl(&self, req: S3Request<PutBucketAclInput>) -> Outcome<PutBucketAclOutput> {
        self.bucket_acl_put(req.input, &req.headers).await
    }

    async fn put_object_acl(&self, req: S3Request<PutObjectAclInput>) -> Outcome<PutObjectAclOutput> {
        let caller = Caller::of(&req.extensions);
        self.object_acl_put(req.input, &req.headers, caller).await
    }

    async fn post_object(&self, req: S3Request<PostObjectInput>) -> Outcome<PostObjectOutput> {
        self.object_post(req).await
    }

    async fn get_bucket_request_payment(
        &self,
        req: S3Request<GetBucketRequestPaymentInput>,
    ) -> Outcome<GetBucketRequestPaymentOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) }))
    }

    async fn get_bucket_accelerate_configuration(
        &self,
        req: S3Request<GetBucketAccelerateConfigurationInput>,
    ) -> Outcome<GetBucketAccelerateConfigurationOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(GetBucketAccelerateConfigurationOutput::default()))
    }

    async fn get_bucket_logging(&self, req: S3Request<GetBucketLoggingInput>) -> Outcome<GetBucketLoggingOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(GetBucketLoggingOutput::default()))
    }

    async fn get_bucket_notification_configuration(
        &self,
        req: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> Outcome<GetBucketNotificationConfigurationOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(GetBucketNotificationConfigurationOutput::default()))
    }

    async fn get_bucket_website(&self, req: S3Request<GetBucketWebsiteInput>) -> Outcome<GetBucketWebsiteOutput> {
        let message = "The specified bucket does not have a website configuration";
        self.absent(req.input.bucket, "NoSuchWebsiteConfiguration", message).await
    }

    async fn get_bucket_replication(
        &self,
        req: S3Request<GetBucketReplicationInput>,
    ) -> Outcome<GetBucketReplicationOutput> {
        let message = "The replication configuration was not found";
        self.absent(req.input.bucket, "ReplicationConfigurationNotFoundError", message).await
    }
}
