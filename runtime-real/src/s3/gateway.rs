//! The operations of S3 that Anvil has, one line each: `s3s` calls, the modules beside this one answer.
//!
//! What is missing here is answered by `s3s` itself with `NotImplemented`.

use super::names;
use crate::client::Client;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Bodies that may be taken in at once; each buffers up to a stripe besides those in flight.
const BODIES_MAX: usize = 64;

/// S3's operations over a node.
pub(super) struct Gateway {
    /// The node.
    pub(super) client: Client,
    /// Our region.
    pub(super) region: String,
    /// Room for bodies on their way in.
    pub(super) bodies: Arc<Semaphore>,
}

impl Gateway {
    /// A gateway to `client`'s node.
    pub(super) fn new(client: Client, region: String) -> Gateway {
        Gateway { client, region, bodies: Arc::new(Semaphore::new(BODIES_MAX)) }
    }
}

/// What an operation of S3 answers.
pub(super) type Outcome<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Gateway {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Outcome<CreateBucketOutput> {
        self.bucket_create(req.input).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Outcome<HeadBucketOutput> {
        self.bucket_head(req.input).await
    }

    async fn delete_bucket(&self, req: S3Request<DeleteBucketInput>) -> Outcome<DeleteBucketOutput> {
        self.bucket_delete(req.input).await
    }

    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> Outcome<ListBucketsOutput> {
        self.buckets_list(req.input).await
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
        self.objects_delete(req.input).await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> Outcome<CopyObjectOutput> {
        self.object_copy(req).await
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> Outcome<ListObjectsOutput> {
        self.objects_list(req.input).await
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> Outcome<ListObjectsV2Output> {
        self.objects_list_v2(req.input).await
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
        self.upload_parts(req.input).await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Outcome<ListMultipartUploadsOutput> {
        self.uploads_list(req.input).await
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> Outcome<GetBucketVersioningOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn get_bucket_acl(&self, req: S3Request<GetBucketAclInput>) -> Outcome<GetBucketAclOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(GetBucketAclOutput {
            grants: Some(super::habits::grants()),
            owner: Some(super::habits::owner()),
        }))
    }

    async fn get_object_acl(&self, req: S3Request<GetObjectAclInput>) -> Outcome<GetObjectAclOutput> {
        names::check_version(req.input.version_id.as_deref())?;
        self.require_object(req.input.bucket, req.input.key).await?;
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(super::habits::grants()),
            owner: Some(super::habits::owner()),
            request_charged: None,
        }))
    }

    async fn get_object_tagging(&self, req: S3Request<GetObjectTaggingInput>) -> Outcome<GetObjectTaggingOutput> {
        names::check_version(req.input.version_id.as_deref())?;
        self.require_object(req.input.bucket, req.input.key).await?;
        Ok(S3Response::new(GetObjectTaggingOutput::default()))
    }

    async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> Outcome<GetBucketEncryptionOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(super::habits::encryption()))
    }

    async fn get_bucket_ownership_controls(
        &self,
        req: S3Request<GetBucketOwnershipControlsInput>,
    ) -> Outcome<GetBucketOwnershipControlsOutput> {
        self.require_bucket(req.input.bucket).await?;
        Ok(S3Response::new(super::habits::ownership()))
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

    async fn get_bucket_policy(&self, req: S3Request<GetBucketPolicyInput>) -> Outcome<GetBucketPolicyOutput> {
        self.absent(req.input.bucket, "NoSuchBucketPolicy", "The bucket policy does not exist.").await
    }

    async fn get_bucket_policy_status(
        &self,
        req: S3Request<GetBucketPolicyStatusInput>,
    ) -> Outcome<GetBucketPolicyStatusOutput> {
        self.absent(req.input.bucket, "NoSuchBucketPolicy", "The bucket policy does not exist.").await
    }

    async fn get_bucket_cors(&self, req: S3Request<GetBucketCorsInput>) -> Outcome<GetBucketCorsOutput> {
        self.absent(req.input.bucket, "NoSuchCORSConfiguration", "The CORS configuration does not exist.").await
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Outcome<GetBucketLifecycleConfigurationOutput> {
        let message = "The lifecycle configuration does not exist.";
        self.absent(req.input.bucket, "NoSuchLifecycleConfiguration", message).await
    }

    async fn get_bucket_tagging(&self, req: S3Request<GetBucketTaggingInput>) -> Outcome<GetBucketTaggingOutput> {
        self.absent(req.input.bucket, "NoSuchTagSet", "The TagSet does not exist.").await
    }

    async fn get_bucket_website(&self, req: S3Request<GetBucketWebsiteInput>) -> Outcome<GetBucketWebsiteOutput> {
        let message = "The bucket does not have a website configuration.";
        self.absent(req.input.bucket, "NoSuchWebsiteConfiguration", message).await
    }

    async fn get_bucket_replication(
        &self,
        req: S3Request<GetBucketReplicationInput>,
    ) -> Outcome<GetBucketReplicationOutput> {
        let message = "The replication configuration was not found.";
        self.absent(req.input.bucket, "ReplicationConfigurationNotFoundError", message).await
    }

    async fn get_object_lock_configuration(
        &self,
        req: S3Request<GetObjectLockConfigurationInput>,
    ) -> Outcome<GetObjectLockConfigurationOutput> {
        let message = "Object lock is not configured for this bucket.";
        self.absent(req.input.bucket, "ObjectLockConfigurationNotFoundError", message).await
    }

    async fn get_public_access_block(
        &self,
        req: S3Request<GetPublicAccessBlockInput>,
    ) -> Outcome<GetPublicAccessBlockOutput> {
        let message = "The public access block configuration was not found.";
        self.absent(req.input.bucket, "NoSuchPublicAccessBlockConfiguration", message).await
    }
}
