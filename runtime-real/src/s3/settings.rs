//! What is said about a bucket: CORS, policy, lifecycle, default encryption, ownership, public access block.
//!
//! A document is kept as the XML that AWS would answer with, after it was read and checked; a policy as its text.
//!
//! Source: AWS, the operations PutBucket… and GetBucket….

use super::access::denied;
use super::error::{coded, custom, from_client};
use super::gateway::{Gateway, Outcome};
use super::{cors, habits, lifecycle, names, policy_text};
use anvil_core::access;
use anvil_core::state::{
    BucketRow, BucketSetting, DocumentKind, ObjectOperation, Operation, PublicBlock, Query, QueryAnswer,
};
use anvil_core::types::GroupId;
use http::StatusCode;
use s3s::dto::*;
use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result};

/// Reads a document that was kept.
pub(super) fn read<T: for<'xml> Deserialize<'xml>>(text: &str) -> S3Result<T> {
    let mut reader = Deserializer::new(text.as_bytes());
    T::deserialize(&mut reader).map_err(|error| {
        tracing::error!(?error, "a document about a bucket cannot be read");
        coded(S3ErrorCode::InternalError, "The configuration of the bucket cannot be read.")
    })
}

fn write<T: Serialize>(document: &T) -> S3Result<String> {
    let mut bytes = Vec::new();
    document.serialize(&mut Serializer::new(&mut bytes)).map_err(S3Error::internal_error)?;
    String::from_utf8(bytes).map_err(S3Error::internal_error)
}

impl Gateway {
    /// Changes a bucket.
    pub(super) async fn configure(&self, bucket: String, setting: BucketSetting) -> S3Result<()> {
        let bucket = names::bucket(bucket);
        let operation = Operation::Object(ObjectOperation::ConfigureBucket { bucket, setting });
        self.client.command(GroupId::REGION, None, operation).await.map(drop).map_err(from_client)
    }

    /// Keeps a document about a bucket.
    pub(super) async fn keep<T: Serialize>(&self, bucket: String, kind: DocumentKind, document: &T) -> S3Result<()> {
        let text = Some(write(document)?);
        self.configure(bucket, BucketSetting::Document { kind, text }).await
    }

    /// The bucket, and the text of a document about it.
    pub(super) async fn bucket_with(&self, name: String, kind: DocumentKind) -> S3Result<(BucketRow, Option<String>)> {
        let query = Query::Bucket { bucket: names::bucket(name), documents: vec![kind] };
        let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
        let QueryAnswer::Bucket { row, mut documents, .. } = answer else {
            return Err(super::buckets::unexpected("a bucket"));
        };
        Ok((row, documents.pop().flatten()))
    }

    /// A document about a bucket, or what it is called that there is none.
    pub(super) async fn document<T: for<'xml> Deserialize<'xml>>(
        &self,
        bucket: String,
        kind: DocumentKind,
        (code, message): (S3ErrorCode, &'static str),
    ) -> S3Result<T> {
        let (_, text) = self.bucket_with(bucket, kind).await?;
        read(&text.ok_or_else(|| coded(code, message))?)
    }

    async fn forget(&self, bucket: String, kind: DocumentKind) -> S3Result<()> {
        self.configure(bucket, BucketSetting::Document { kind, text: None }).await
    }

    pub(super) async fn cors_put(&self, input: PutBucketCorsInput) -> Outcome<PutBucketCorsOutput> {
        cors::check(&input.cors_configuration)?;
        self.keep(input.bucket, DocumentKind::Cors, &input.cors_configuration).await?;
        Ok(S3Response::new(PutBucketCorsOutput {}))
    }

    pub(super) async fn cors_get(&self, input: GetBucketCorsInput) -> Outcome<GetBucketCorsOutput> {
        let missing = (S3ErrorCode::NoSuchCORSConfiguration, "The CORS configuration does not exist");
        let held: CORSConfiguration = self.document(input.bucket, DocumentKind::Cors, missing).await?;
        Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(held.cors_rules) }))
    }

    pub(super) async fn cors_delete(&self, input: DeleteBucketCorsInput) -> Outcome<DeleteBucketCorsOutput> {
        self.forget(input.bucket, DocumentKind::Cors).await?;
        Ok(S3Response::new(DeleteBucketCorsOutput {}))
    }

    pub(super) async fn lifecycle_put(
        &self,
        input: PutBucketLifecycleConfigurationInput,
    ) -> Outcome<PutBucketLifecycleConfigurationOutput> {
        let missing = || coded(S3ErrorCode::MalformedXML, "The XML you provided was not well-formed.");
        let mut configuration = input.lifecycle_configuration.ok_or_else(missing)?;
        lifecycle::check(&mut configuration)?;
        let setting =
            BucketSetting::Lifecycle { text: write(&configuration)?, rules: lifecycle::rules(&configuration)? };
        self.configure(input.bucket, setting).await?;
        Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
    }

    pub(super) async fn lifecycle_get(
        &self,
        input: GetBucketLifecycleConfigurationInput,
    ) -> Outcome<GetBucketLifecycleConfigurationOutput> {
        let missing = (S3ErrorCode::NoSuchLifecycleConfiguration, "The lifecycle configuration does not exist");
        let held: BucketLifecycleConfiguration = self.document(input.bucket, DocumentKind::Lifecycle, missing).await?;
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput { rules: Some(held.rules), ..Default::default() }))
    }

    pub(super) async fn lifecycle_delete(
        &self,
        input: DeleteBucketLifecycleInput,
    ) -> Outcome<DeleteBucketLifecycleOutput> {
        self.forget(input.bucket, DocumentKind::Lifecycle).await?;
        Ok(S3Response::new(DeleteBucketLifecycleOutput {}))
    }

    pub(super) async fn encryption_put(&self, input: PutBucketEncryptionInput) -> Outcome<PutBucketEncryptionOutput> {
        let configuration = input.server_side_encryption_configuration;
        let malformed = || coded(S3ErrorCode::MalformedXML, "The XML you provided was not well-formed.");
        let [rule] = &configuration.rules[..] else { return Err(malformed()) };
        let default = rule.apply_server_side_encryption_by_default.as_ref().ok_or_else(malformed)?;
        if default.sse_algorithm.as_str() != ServerSideEncryption::AES256 {
            let message = "Encryption with the keys of a key service is not supported: every object is encrypted with \
                           AES256 under keys of its own.";
            return Err(coded(S3ErrorCode::NotImplemented, message));
        }
        self.keep(input.bucket, DocumentKind::Encryption, &configuration).await?;
        Ok(S3Response::new(PutBucketEncryptionOutput {}))
    }

    pub(super) async fn encryption_get(&self, input: GetBucketEncryptionInput) -> Outcome<GetBucketEncryptionOutput> {
        let (_, text) = self.bucket_with(input.bucket, DocumentKind::Encryption).await?;
        let Some(text) = text else { return Ok(S3Response::new(habits::encryption())) };
        let server_side_encryption_configuration = Some(read(&text)?);
        Ok(S3Response::new(GetBucketEncryptionOutput { server_side_encryption_configuration }))
    }

    pub(super) async fn encryption_delete(
        &self,
        input: DeleteBucketEncryptionInput,
    ) -> Outcome<DeleteBucketEncryptionOutput> {
        self.forget(input.bucket, DocumentKind::Encryption).await?;
        Ok(S3Response::new(DeleteBucketEncryptionOutput {}))
    }

    pub(super) async fn policy_put(&self, input: PutBucketPolicyInput) -> Outcome<PutBucketPolicyOutput> {
        let policy = policy_text::parse(&input.policy, &input.bucket)?;
        let (row, _) = self.bucket_with(input.bucket.clone(), DocumentKind::Policy).await?;
        if row.block.unwrap_or_default().block_policy && policy.is_public() {
            return Err(denied());
        }
        let setting = BucketSetting::Document { kind: DocumentKind::Policy, text: Some(input.policy) };
        self.configure(input.bucket, setting).await?;
        Ok(S3Response::new(PutBucketPolicyOutput {}))
    }

    async fn policy_text(&self, bucket: String) -> S3Result<String> {
        let (_, text) = self.bucket_with(bucket, DocumentKind::Policy).await?;
        text.ok_or_else(|| custom(StatusCode::NOT_FOUND, "NoSuchBucketPolicy", "The bucket policy does not exist"))
    }

    pub(super) async fn policy_get(&self, input: GetBucketPolicyInput) -> Outcome<GetBucketPolicyOutput> {
        let policy = Some(self.policy_text(input.bucket).await?);
        Ok(S3Response::new(GetBucketPolicyOutput { policy }))
    }

    pub(super) async fn policy_status(
        &self,
        input: GetBucketPolicyStatusInput,
    ) -> Outcome<GetBucketPolicyStatusOutput> {
        let (row, text) = self.bucket_with(input.bucket.clone(), DocumentKind::Policy).await?;
        let by_policy = text.map(|text| policy_text::parse(&text, &input.bucket)).transpose()?;
        let by_policy = by_policy.is_some_and(|policy| policy.is_public());
        let is_public = by_policy || access::is_public(&row.acl);
        let policy_status = Some(PolicyStatus { is_public: Some(is_public) });
        Ok(S3Response::new(GetBucketPolicyStatusOutput { policy_status }))
    }

    pub(super) async fn policy_delete(&self, input: DeleteBucketPolicyInput) -> Outcome<DeleteBucketPolicyOutput> {
        self.forget(input.bucket, DocumentKind::Policy).await?;
        Ok(S3Response::new(DeleteBucketPolicyOutput {}))
    }

    pub(super) async fn ownership_put(
        &self,
        input: PutBucketOwnershipControlsInput,
    ) -> Outcome<PutBucketOwnershipControlsOutput> {
        let malformed = || coded(S3ErrorCode::MalformedXML, "The XML you provided was not well-formed.");
        let [rule] = &input.ownership_controls.rules[..] else { return Err(malformed()) };
        let ownership = super::access_lists::ownership(rule.object_ownership.as_str())?;
        self.configure(input.bucket, BucketSetting::Ownership(Some(ownership))).await?;
        Ok(S3Response::new(PutBucketOwnershipControlsOutput {}))
    }

    pub(super) async fn ownership_get(
        &self,
        input: GetBucketOwnershipControlsInput,
    ) -> Outcome<GetBucketOwnershipControlsOutput> {
        let row = self.require_bucket(input.bucket).await?;
        let missing =
            || coded(S3ErrorCode::OwnershipControlsNotFoundError, "The bucket ownership controls were not found");
        let ownership = super::access_lists::ownership_text(row.ownership.ok_or_else(missing)?);
        let rules = vec![OwnershipControlsRule { object_ownership: ObjectOwnership::from_static(ownership) }];
        let ownership_controls = Some(OwnershipControls { rules });
        Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls }))
    }

    pub(super) async fn ownership_delete(
        &self,
        input: DeleteBucketOwnershipControlsInput,
    ) -> Outcome<DeleteBucketOwnershipControlsOutput> {
        self.configure(input.bucket, BucketSetting::Ownership(None)).await?;
        Ok(S3Response::new(DeleteBucketOwnershipControlsOutput {}))
    }

    pub(super) async fn block_put(&self, input: PutPublicAccessBlockInput) -> Outcome<PutPublicAccessBlockOutput> {
        let given = input.public_access_block_configuration;
        let block = PublicBlock {
            block_acls: given.block_public_acls.unwrap_or(false),
            ignore_acls: given.ignore_public_acls.unwrap_or(false),
            block_policy: given.block_public_policy.unwrap_or(false),
            restrict: given.restrict_public_buckets.unwrap_or(false),
        };
        self.configure(input.bucket, BucketSetting::PublicBlock(Some(block))).await?;
        Ok(S3Response::new(PutPublicAccessBlockOutput {}))
    }

    pub(super) async fn block_get(&self, input: GetPublicAccessBlockInput) -> Outcome<GetPublicAccessBlockOutput> {
        let row = self.require_bucket(input.bucket).await?;
        let block = row.block.ok_or_else(|| {
            let message = "The public access block configuration was not found";
            custom(StatusCode::NOT_FOUND, "NoSuchPublicAccessBlockConfiguration", message)
        })?;
        let configuration = PublicAccessBlockConfiguration {
            block_public_acls: Some(block.block_acls),
            block_public_policy: Some(block.block_policy),
            ignore_public_acls: Some(block.ignore_acls),
            restrict_public_buckets: Some(block.restrict),
        };
        let public_access_block_configuration = Some(configuration);
        Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration }))
    }

    pub(super) async fn block_delete(
        &self,
        input: DeletePublicAccessBlockInput,
    ) -> Outcome<DeletePublicAccessBlockOutput> {
        self.configure(input.bucket, BucketSetting::PublicBlock(None)).await?;
        Ok(S3Response::new(DeletePublicAccessBlockOutput {}))
    }
}
