//! Copies: CopyObject and UploadPartCopy. The bytes are read and written anew, stripe by stripe.

use super::caller::Caller;
use super::conditions::{self, ReadConditions};
use super::digests::{Algorithm, Hashes};
use super::error::{coded, from_client};
use super::gateway::{Gateway, Outcome};
use super::intake::{Held, Intake};
use super::objects::{ChecksumFields, decided};
use super::policy::BODY_SIZE_MAX;
use super::{names, wishes};
use crate::client::OpenObject;
use anvil_core::node::Target;
use anvil_core::state::{Metadata, ObjectName, VersionName};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use std::collections::BTreeMap;
use std::ops::Range as Bytes;
use std::time::SystemTime;

fn source(source: CopySource) -> S3Result<(ObjectName, Option<VersionName>)> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            Ok((names::object(bucket.into(), key.into())?, names::version(version_id.as_deref())?))
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
            Err(coded(S3ErrorCode::NotImplemented, "A copy source is a bucket and a key."))
        }
    }
}

/// Reads `bytes=first-last`, both given, as UploadPartCopy has it.
pub(super) fn source_range(text: &str, size: u64) -> S3Result<Bytes<u64>> {
    let parsed = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let numbers = parsed.and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    match numbers {
        Some((first, last)) if first <= last && last < size => Ok(first..last + 1),
        Some((first, last)) if first <= last => Err(coded(
            S3ErrorCode::InvalidArgument,
            format!("Range specified is not valid for source object of size: {size}"),
        )),
        Some(_) | None => {
            Err(coded(S3ErrorCode::InvalidArgument, "x-amz-copy-source-range must be of the form bytes=first-last."))
        }
    }
}

impl Gateway {
    async fn copied(&self, open: &OpenObject, range: Bytes<u64>, wanted: &[Algorithm]) -> S3Result<Held<'_>> {
        if range.end - range.start > BODY_SIZE_MAX {
            let message = "The specified copy source is larger than the maximum allowable size of 5 GiB.";
            return Err(coded(S3ErrorCode::InvalidRequest, message));
        }
        let mut intake = Intake::new(&self.client, Hashes::new(wanted.iter().copied()));
        intake.take_object(open.read(range)).await?;
        intake.finish().await
    }

    pub(super) async fn object_copy(&self, mut req: S3Request<CopyObjectInput>) -> Outcome<CopyObjectOutput> {
        let replace = match req.input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
            None | Some(MetadataDirective::COPY) => false,
            Some(MetadataDirective::REPLACE) => true,
            Some(_) => return Err(coded(S3ErrorCode::InvalidArgument, "Unknown metadata directive.")),
        };
        let given = wishes::metadata(&req.headers, req.input.metadata.take())?;
        let condition = conditions::of_headers(&req.headers)?;
        let mut attributes = wishes::attributes(&req.headers)?;
        attributes.acl = self.new_object_acl(&req.headers, &Caller::of(&req.extensions)).await?;
        let replace_tags = match req.input.tagging_directive.as_ref().map(TaggingDirective::as_str) {
            None | Some(TaggingDirective::COPY) => false,
            Some(TaggingDirective::REPLACE) => true,
            Some(_) => return Err(coded(S3ErrorCode::InvalidArgument, "Unknown tagging directive.")),
        };
        let target = names::object(req.input.bucket, req.input.key)?;
        let (from, version) = source(req.input.copy_source)?;
        // An older version, or another redirect or class, is a change as well.
        let says = req.input.storage_class.is_some() || req.input.server_side_encryption.is_some();
        let changes = replace || version.is_some() || attributes.redirect.is_some() || says;
        let in_place = from == target && !changes;
        let wanted = match req.input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str) {
            None => None,
            Some(label) => Some(
                Algorithm::from_label(label)
                    .ok_or_else(|| coded(S3ErrorCode::InvalidRequest, "Checksum algorithm provided is unsupported."))?,
            ),
        };
        let _room = self.room().await?;
        let open = self.client.open(from, version).await.map_err(from_client)?;
        let conditions = ReadConditions {
            if_match: req.input.copy_source_if_match,
            if_none_match: req.input.copy_source_if_none_match,
            if_modified_since: req.input.copy_source_if_modified_since,
            if_unmodified_since: req.input.copy_source_if_unmodified_since,
        };
        let object = open.object();
        conditions.check_source(object.etag, object.modified)?;
        if in_place {
            let message = "This copy request is illegal because it is trying to copy an object to itself without \
                           changing the object's metadata, storage class, website redirect location or encryption \
                           attributes.";
            return Err(coded(S3ErrorCode::InvalidRequest, message));
        }
        self.require_bucket(target.bucket.name.clone()).await?;
        // The bytes are the same, so a checksum over all of them holds for the copy; it is computed and compared anyway,
        // as everything that is kept (SUM-2).
        let full = |value: &String| !value.contains('-');
        let kept = Algorithm::ALL
            .into_iter()
            .filter(|algorithm| wanted.is_none() && object.metadata.checksums.get(algorithm.name()).is_some_and(full));
        let algorithms: Vec<Algorithm> = wanted.into_iter().chain(kept).collect();
        let held = self.copied(&open, 0..object.size, &algorithms).await?;
        let computed = held.digests.others.iter();
        let checksums: BTreeMap<String, String> =
            computed.map(|(algorithm, value)| (algorithm.name().to_owned(), super::digests::base64(value))).collect();
        let differs = checksums.iter().any(|(name, value)| {
            object.metadata.checksums.get(name).is_some_and(|before| full(before) && before != value)
        });
        if differs {
            return Err(coded(S3ErrorCode::InternalError, "The source object does not match its checksum."));
        }
        let fields = ChecksumFields::of(&checksums);
        let metadata = if replace { given } else { object.metadata.clone() };
        let metadata = Metadata { checksums, ..metadata };
        if !replace_tags {
            attributes.tags = object.attributes.tags.clone();
        }
        let source_version = object.name.map(names::version_text);
        let etag = names::single(held.digests.md5);
        let target = Target::Object { object: target, etag, metadata, attributes: Box::new(attributes), condition };
        let (etag, version_id) = decided(held.decide(target).await.map_err(from_client)?)?;
        let result = CopyObjectResult {
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            checksum_type: fields.kind,
            e_tag: Some(names::etag_dto(etag)),
            last_modified: Some(Timestamp::from(SystemTime::now())),
        };
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: source_version,
            server_side_encryption: Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
            version_id,
            ..Default::default()
        }))
    }

    pub(super) async fn upload_part_from(&self, req: S3Request<UploadPartCopyInput>) -> Outcome<UploadPartCopyOutput> {
        let input = req.input;
        let number = names::part_number(input.part_number)?;
        let upload = names::upload(&input.upload_id)?;
        let object = names::object(input.bucket, input.key)?;
        let (from, version) = source(input.copy_source)?;
        let _room = self.room().await?;
        self.require_upload(&object, upload).await?;
        let open = self.client.open(from, version).await.map_err(from_client)?;
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since,
            if_unmodified_since: input.copy_source_if_unmodified_since,
        };
        conditions.check_source(open.object().etag, open.object().modified)?;
        let size = open.object().size;
        let source_version = open.object().name.map(names::version_text);
        let range = match input.copy_source_range.as_deref() {
            Some(text) => source_range(text, size)?,
            None => 0..size,
        };
        let held = self.copied(&open, range, &[]).await?;
        let etag = names::single(held.digests.md5).md5;
        let target = Target::Part { object, upload, number, etag, metadata: Metadata::default() };
        let (etag, _) = decided(held.decide(target).await.map_err(from_client)?)?;
        let result = CopyPartResult {
            e_tag: Some(names::etag_dto(etag)),
            last_modified: Some(Timestamp::from(SystemTime::now())),
            ..Default::default()
        };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: source_version,
            ..Default::default()
        }))
    }
}
