//! Multipart uploads: create, upload part, complete, abort, list parts.
//!
//! The id that clients see is the upload's version in hexadecimal. The checksum of the finished object is combined here
//! from those of its parts, which were verified when they came (`SUM-2`).

use super::buckets::unexpected;
use super::caller::Caller;
use super::chunks::Watch;
use super::conditions;
use super::digests::{Algorithm, Claims, Combination, Hashes, combine};
use super::error::{coded, from_client, from_refusal};
use super::gateway::{Gateway, Outcome};
use super::intake::Intake;
use super::listing::{count, page_size, size};
use super::objects::{ChecksumFields, body_length, decided};
use super::{habits, names, wishes};
use crate::client::ClientError;
use anvil_core::node::Target;
use anvil_core::state::{
    Attributes, ETag, Metadata, ObjectName, ObjectOperation, Operation, Part, Query, QueryAnswer, Refusal,
};
use anvil_core::stripe::INLINE_MAX;
use anvil_core::types::{GroupId, VersionId};
use s3s::dto::{self, *};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use std::collections::BTreeMap;

/// Parts of one upload.
const PARTS_MAX: usize = 10_000;

impl Gateway {
    async fn parts(&self, object: &ObjectName, upload: VersionId, after: u16, limit: usize) -> ClientResult<PartPage> {
        let query = Query::Parts { object: object.clone(), upload, after, limit };
        let answer = self.client.query(GroupId::REGION, query).await?;
        let QueryAnswer::Parts { parts, more } = answer else { return Ok(Err(unexpected("parts"))) };
        Ok(Ok(PartPage { parts, more }))
    }

    /// `NoSuchUpload`, before a large body is sent for nothing.
    pub(super) async fn require_upload(&self, object: &ObjectName, upload: VersionId) -> S3Result<()> {
        self.parts(object, upload, 0, 1).await.map_err(from_client)?.map(drop)
    }

    pub(super) async fn upload_create(
        &self,
        mut req: S3Request<CreateMultipartUploadInput>,
    ) -> Outcome<CreateMultipartUploadOutput> {
        let metadata = wishes::metadata(&req.headers, req.input.metadata.take())?;
        let mut attributes = wishes::attributes(&req.headers)?;
        attributes.acl = self.new_object_acl(&req.headers, &Caller::of(&req.extensions)).await?;
        let input = req.input;
        let object = names::object(input.bucket.clone(), input.key.clone())?;
        let asked = asked_combination(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
        let upload = upload_id(fresh_id()?, asked);
        let operation = if attributes == Attributes::default() {
            ObjectOperation::CreateUpload { object, upload, metadata }
        } else {
            ObjectOperation::CreateUploadWith { object, upload, metadata, attributes: Box::new(attributes) }
        };
        let operation = Operation::Object(operation);
        self.client.command(GroupId::REGION, None, operation).await.map_err(from_client)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: asked.map(Combination::dto),
            key: Some(input.key),
            server_side_encryption: Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
            upload_id: Some(names::upload_text(upload)),
            ..Default::default()
        }))
    }

    pub(super) async fn upload_part_put(&self, req: S3Request<UploadPartInput>) -> Outcome<UploadPartOutput> {
        let length = body_length(&req, req.input.content_length)?;
        let claims = Claims::from_headers(&req.headers)?;
        let number = names::part_number(req.input.part_number)?;
        let upload = names::upload(&req.input.upload_id)?;
        let object = names::object(req.input.bucket, req.input.key)?;
        let _room = self.room().await?;
        if length > INLINE_MAX as u64 {
            self.require_upload(&object, upload).await?;
        }
        let mut intake = Intake::new(&self.client, Hashes::new(claims.algorithms()));
        intake.take_body(req.input.body, length, req.extensions.get::<Watch>()).await?;
        let held = intake.finish().await?;
        let checksums = claims.verify(&held.digests, req.trailing_headers.as_ref())?;
        let fields = ChecksumFields::of(&checksums);
        let etag = names::single(held.digests.md5).md5;
        let metadata = Metadata { checksums, ..Metadata::default() };
        let target = Target::Part { object, upload, number, etag, metadata };
        let (etag, _) = decided(held.decide(target).await.map_err(from_client)?)?;
        Ok(S3Response::new(UploadPartOutput {
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            e_tag: Some(names::etag_dto(etag)),
            ..Default::default()
        }))
    }

    pub(super) async fn upload_complete(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Outcome<CompleteMultipartUploadOutput> {
        let host = req.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("").to_owned();
        let condition = conditions::of_headers(&req.headers)?;
        let input = req.input;
        let upload = names::upload(&input.upload_id)?;
        let object = names::object(input.bucket.clone(), input.key.clone())?;
        let claimed = ObjectClaim::of(&input, asked_at_creation(upload))?;
        let listed = listed_parts(input.multipart_upload)?;
        let checksums = match self.parts(&object, upload, 0, PARTS_MAX).await {
            Ok(page) => {
                let held = page?.parts.into_iter().map(|part| (part.number, part)).collect();
                check_parts(&listed, &held, &claimed)?
            }
            // A repeated completion: the state machine knows whether it is one.
            Err(ClientError::Refused(Refusal::NoSuchUpload)) => BTreeMap::new(),
            Err(error) => return Err(from_client(error)),
        };
        let fields = ChecksumFields::of(&checksums);
        let parts = listed.iter().map(|part| (part.number, part.etag)).collect();
        let metadata = Metadata { checksums, ..Metadata::default() };
        let operation =
            Operation::Object(ObjectOperation::CompleteUpload { object, upload, parts, metadata, condition });
        let answer = self.client.command(GroupId::REGION, None, operation).await.map_err(from_client)?;
        let (etag, version_id) = decided(answer)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            version_id,
            server_side_encryption: Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
            location: Some(format!("http://{host}/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            checksum_type: fields.kind,
            e_tag: Some(names::etag_dto(etag)),
            key: Some(input.key),
            ..Default::default()
        }))
    }

    pub(super) async fn upload_abort(&self, input: AbortMultipartUploadInput) -> Outcome<AbortMultipartUploadOutput> {
        let upload = names::upload(&input.upload_id)?;
        let object = names::object(input.bucket, input.key)?;
        let operation = Operation::Object(ObjectOperation::AbortUpload { object, upload });
        self.client.command(GroupId::REGION, None, operation).await.map_err(from_client)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn upload_parts(&self, req: S3Request<ListPartsInput>) -> Outcome<ListPartsOutput> {
        let owner = Caller::of(&req.extensions).bucket.map(|bucket| bucket.acl.owner.clone()).unwrap_or_default();
        let input = req.input;
        let limit = page_size(input.max_parts)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let after = u16::try_from(marker).map_err(|_| {
            coded(S3ErrorCode::InvalidArgument, "part-number-marker must be an integer between 0 and 10000.")
        })?;
        let upload = names::upload(&input.upload_id)?;
        let object = names::object(input.bucket.clone(), input.key.clone())?;
        let page = self.parts(&object, upload, after, limit.max(1)).await.map_err(from_client)??;
        let more = page.more && limit > 0;
        let last = page.parts.last().map(|part| i32::from(part.number)).filter(|_| limit > 0);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            checksum_type: asked_at_creation(upload).map(Combination::dto),
            initiator: Some(habits::initiator(&owner)),
            is_truncated: Some(more),
            key: Some(input.key),
            max_parts: Some(count(limit)),
            next_part_number_marker: last.filter(|_| more),
            owner: Some(habits::owner(&owner)),
            part_number_marker: Some(marker),
            parts: Some(page.parts.into_iter().take(limit).map(part_entry).collect()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(input.upload_id),
            ..Default::default()
        }))
    }
}

/// An outcome of the node, around one of the gateway.
type ClientResult<T> = Result<S3Result<T>, ClientError>;

struct PartPage {
    parts: Vec<Part>,
    more: bool,
}

fn part_entry(part: Part) -> dto::Part {
    let fields = ChecksumFields::of(&part.checksums);
    dto::Part {
        checksum_crc32: fields.crc32,
        checksum_crc32c: fields.crc32c,
        checksum_crc64nvme: fields.crc64nvme,
        checksum_sha1: fields.sha1,
        checksum_sha256: fields.sha256,
        e_tag: Some(names::etag_dto(ETag { md5: part.etag, parts: 0 })),
        last_modified: Some(names::timestamp(part.modified)),
        part_number: Some(i32::from(part.number)),
        size: Some(size(part.size)),
    }
}

/// 128 random bits, which no other upload has.
pub(super) fn fresh_id() -> S3Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(S3Error::internal_error)?;
    Ok(u128::from_be_bytes(bytes))
}

/// What CreateMultipartUpload asks the checksum of the object to be, where it names an algorithm.
fn asked_combination(
    algorithm: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> S3Result<Option<Combination>> {
    let kind = kind.map(Combination::of_dto).transpose()?;
    let algorithm = match algorithm.map(|algorithm| (algorithm, Algorithm::from_label(algorithm.as_str()))) {
        None if kind.is_none() => return Ok(None),
        None => {
            let message = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            return Err(coded(S3ErrorCode::InvalidRequest, message));
        }
        Some((_, Some(algorithm))) => algorithm,
        Some((_, None)) => {
            let message = "Checksum algorithm provided is unsupported.";
            return Err(coded(S3ErrorCode::InvalidRequest, message));
        }
    };
    let usual = match algorithm {
        Algorithm::Crc64Nvme => Combination::FullObject,
        Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Sha1 | Algorithm::Sha256 => Combination::Composite,
    };
    let asked = kind.unwrap_or(usual);
    let is_possible = match algorithm {
        Algorithm::Crc32 | Algorithm::Crc32c => true,
        Algorithm::Crc64Nvme | Algorithm::Sha1 | Algorithm::Sha256 => asked == usual,
    };
    if !is_possible {
        let (kind, label) = (asked.dto().as_str().to_owned(), algorithm.label().to_ascii_lowercase());
        let message = format!("The {kind} checksum type cannot be used with the {label} checksum algorithm.");
        return Err(coded(S3ErrorCode::InvalidRequest, message));
    }
    Ok(Some(asked))
}

/// The low bits of an id that says what was asked at its creation. Ids that were drawn without them say nothing.
const SAYS_COMPOSITE: u128 = 0xC501;
const SAYS_FULL_OBJECT: u128 = 0xC502;
const SAYS_MASK: u128 = 0xFFFF;

/// An upload's id carries the type of checksum that was asked for: the completion needs it and does not repeat it, and to
/// the state machine, which combines no checksums, it would mean nothing.
pub(super) fn upload_id(random: u128, asked: Option<Combination>) -> VersionId {
    let said = match asked {
        None => 0,
        Some(Combination::Composite) => SAYS_COMPOSITE,
        Some(Combination::FullObject) => SAYS_FULL_OBJECT,
    };
    VersionId((random & !SAYS_MASK) | said)
}

/// What the upload with this id was asked to make.
pub(super) fn asked_at_creation(upload: VersionId) -> Option<Combination> {
    match upload.0 & SAYS_MASK {
        SAYS_COMPOSITE => Some(Combination::Composite),
        SAYS_FULL_OBJECT => Some(Combination::FullObject),
        _ => None,
    }
}

/// A part as the client lists it for completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedPart {
    /// 1 to 10,000.
    pub(super) number: u16,
    /// What its upload returned.
    pub(super) etag: ETag,
    /// Checksums that the client repeats.
    pub(super) checksums: Vec<(Algorithm, String)>,
}

fn listed_parts(given: Option<CompletedMultipartUpload>) -> S3Result<Vec<ListedPart>> {
    let given = given.and_then(|given| given.parts).unwrap_or_default();
    if given.is_empty() || given.len() > PARTS_MAX {
        return Err(coded(S3ErrorCode::MalformedXML, "The list of parts must name 1 to 10000 parts."));
    }
    let listed = |part: CompletedPart| {
        let number = part.part_number.ok_or_else(|| coded(S3ErrorCode::MalformedXML, "A part has no number."))?;
        let number = names::part_number(number)?;
        let etag = part.e_tag.as_ref().and_then(|etag| names::parse_etag(etag.value()));
        let etag = etag.ok_or_else(|| from_refusal(Refusal::InvalidPart(number)))?;
        let checksums = [
            (Algorithm::Crc32, part.checksum_crc32),
            (Algorithm::Crc32c, part.checksum_crc32c),
            (Algorithm::Crc64Nvme, part.checksum_crc64nvme),
            (Algorithm::Sha1, part.checksum_sha1),
            (Algorithm::Sha256, part.checksum_sha256),
        ];
        let checksums = checksums.into_iter().filter_map(|(algorithm, value)| Some((algorithm, value?))).collect();
        Ok(ListedPart { number, etag, checksums })
    };
    given.into_iter().map(listed).collect()
}

/// What the client claims about the finished object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectClaim {
    /// `x-amz-checksum-*`.
    pub(super) checksum: Option<(Algorithm, String)>,
    /// `x-amz-checksum-type`.
    pub(super) combination: Option<Combination>,
    /// `x-amz-mp-object-size`.
    pub(super) size: Option<i64>,
}

impl ObjectClaim {
    fn of(input: &CompleteMultipartUploadInput, created: Option<Combination>) -> S3Result<ObjectClaim> {
        let given = [
            (Algorithm::Crc32, &input.checksum_crc32),
            (Algorithm::Crc32c, &input.checksum_crc32c),
            (Algorithm::Crc64Nvme, &input.checksum_crc64nvme),
            (Algorithm::Sha1, &input.checksum_sha1),
            (Algorithm::Sha256, &input.checksum_sha256),
        ];
        let claimed = input.checksum_type.as_ref().map(Combination::of_dto).transpose()?;
        if let (Some(created), Some(claimed)) = (created, claimed)
            && created != claimed
        {
            let message = "The upload was created with another checksum type. The completion must use the same.";
            return Err(coded(S3ErrorCode::InvalidRequest, message));
        }
        let combination = created.or(claimed);
        let checksum = given.into_iter().find_map(|(algorithm, value)| Some((algorithm, value.clone()?)));
        Ok(ObjectClaim { checksum, combination, size: input.mpu_object_size })
    }
}

/// Compares what the client lists with what is held; returns the checksums of the finished object. That each part is
/// there with its tag is the state machine's to decide: a part it does not hold is passed over here.
pub(super) fn check_parts(
    listed: &[ListedPart],
    held: &BTreeMap<u16, Part>,
    claim: &ObjectClaim,
) -> S3Result<BTreeMap<String, String>> {
    let parts: Option<Vec<&Part>> = listed.iter().map(|part| held.get(&part.number)).collect();
    let Some(parts) = parts else { return Ok(BTreeMap::new()) };
    for (listed, part) in listed.iter().zip(&parts) {
        for (algorithm, value) in &listed.checksums {
            if part.checksums.get(algorithm.name()) != Some(value) {
                return Err(from_refusal(Refusal::InvalidPart(listed.number)));
            }
        }
    }
    let total: u64 = parts.iter().map(|part| part.size).sum();
    if claim.size.is_some_and(|claimed| u64::try_from(claimed) != Ok(total)) {
        let message = format!("The provided x-amz-mp-object-size does not match the size of the parts, {total}.");
        return Err(coded(S3ErrorCode::InvalidRequest, message));
    }
    let mut checksums = BTreeMap::new();
    for algorithm in Algorithm::ALL {
        let values: Option<Vec<(String, u64)>> =
            parts.iter().map(|part| Some((part.checksums.get(algorithm.name())?.clone(), part.size))).collect();
        let Some(values) = values else { continue };
        let how = match (algorithm, claim.combination) {
            // CRC64NVME has no composite form.
            (Algorithm::Crc64Nvme, _) => Combination::FullObject,
            (_, Some(how)) => how,
            (_, None) => Combination::Composite,
        };
        if let Some(value) = combine(algorithm, how, &values) {
            checksums.insert(algorithm.name().to_owned(), value);
        }
    }
    if let Some((algorithm, claimed)) = &claim.checksum {
        let label = algorithm.label();
        match checksums.get(algorithm.name()) {
            Some(computed) if same_checksum(computed, claimed) => {}
            Some(_) => {
                let message = format!("The {label} you specified did not match the calculated checksum.");
                return Err(coded(S3ErrorCode::BadDigest, message));
            }
            None => {
                let message = format!("The {label} you specified cannot be verified: not every part has one.");
                return Err(coded(S3ErrorCode::InvalidRequest, message));
            }
        }
    }
    Ok(checksums)
}

/// A client may leave the number of parts out of a composite checksum.
fn same_checksum(computed: &str, claimed: &str) -> bool {
    computed == claimed
        || (!claimed.contains('-') && computed.split_once('-').is_some_and(|(value, _)| value == claimed))
}
