//! Objects: put, get, head.

use super::buckets::unexpected;
use super::caller::Caller;
use super::chunks::Watch;
use super::conditions::{self, ReadConditions, Verdict};
use super::digests::{Algorithm, Claims, Hashes};
use super::error::{coded, custom, from_client};
use super::gateway::{Gateway, Outcome};
use super::intake::Intake;
use super::listing::{count, size};
use super::policy::BODY_SIZE_MAX;
use super::{lifecycle, locks, names, outflow, wishes};
use anvil_core::node::Target;
use anvil_core::state::{Answer, Attributes, ETag, LifecycleRule, Metadata, Object, Query, QueryAnswer, VersionName};
use anvil_core::stripe::INLINE_MAX;
use anvil_core::types::{GroupId, WallTime};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use s3s::dto::{self, *};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::SemaphorePermit;

/// How long a body waits for room before the client is told to slow down.
const ROOM_WAIT: Duration = Duration::from_secs(30);

/// The five checksum fields of an output.
#[derive(Default)]
pub(super) struct ChecksumFields {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) kind: Option<ChecksumType>,
}

impl ChecksumFields {
    /// From what the metadata keeps.
    pub(super) fn of(checksums: &BTreeMap<String, String>) -> ChecksumFields {
        let get = |algorithm: Algorithm| checksums.get(algorithm.name()).cloned();
        let composite = checksums.values().any(|value| value.contains('-'));
        let kind = if composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
        ChecksumFields {
            crc32: get(Algorithm::Crc32),
            crc32c: get(Algorithm::Crc32c),
            crc64nvme: get(Algorithm::Crc64Nvme),
            sha1: get(Algorithm::Sha1),
            sha256: get(Algorithm::Sha256),
            kind: (!checksums.is_empty()).then(|| ChecksumType::from_static(kind)),
        }
    }
}

/// Bytes that a body must have: what the chunks hold if it is chunked, else what the connection carries.
pub(super) fn body_length<T>(req: &S3Request<T>, content_length: Option<i64>) -> S3Result<u64> {
    let chunked = req.trailing_headers.is_some();
    let decoded = req.headers.get("x-amz-decoded-content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let length = if chunked { decoded } else { content_length.and_then(|length| u64::try_from(length).ok()) };
    let Some(length) = length else {
        return Err(coded(S3ErrorCode::MissingContentLength, "You must provide the Content-Length HTTP header."));
    };
    if length > BODY_SIZE_MAX {
        let message = "Your proposed upload exceeds the maximum allowed object size of 5 GiB for one request.";
        return Err(coded(S3ErrorCode::EntityTooLarge, message));
    }
    Ok(length)
}

impl Gateway {
    /// Room for one more body.
    pub(super) async fn room(&self) -> S3Result<SemaphorePermit<'_>> {
        let slow_down = || coded(S3ErrorCode::SlowDown, "Too many uploads are under way. Please reduce your rate.");
        match tokio::time::timeout(ROOM_WAIT, self.bodies.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(slow_down()),
        }
    }

    /// A version, the newest one without a name, without opening it.
    pub(super) async fn require_object(&self, bucket: String, key: String, version: Option<&str>) -> S3Result<Object> {
        let query = Query::Object { object: names::object(bucket, key)?, version: names::version(version)? };
        let answer = self.client.query(GroupId::REGION, query).await.map_err(from_client)?;
        let QueryAnswer::Object(object) = answer else { return Err(unexpected("an object")) };
        Ok(object)
    }

    /// `x-amz-expiration` of the newest version; other versions have none.
    fn expiration(&self, rules: &[LifecycleRule], key: &str, is_newest: bool, object: &Object) -> Option<String> {
        let Object { size, attributes, modified, .. } = object;
        let said = lifecycle::expiration_header(rules, self.day, key, *size, attributes, *modified);
        said.filter(|_| is_newest)
    }

    pub(super) async fn object_put(&self, mut req: S3Request<PutObjectInput>) -> Outcome<PutObjectOutput> {
        let length = body_length(&req, req.input.content_length)?;
        let claims = Claims::from_headers(&req.headers)?;
        let metadata = wishes::metadata(&req.headers, req.input.metadata.take())?;
        let mut attributes = wishes::attributes(&req.headers)?;
        attributes.acl = self.new_object_acl(&req.headers, &Caller::of(&req.extensions)).await?;
        let condition = conditions::of_headers(&req.headers)?;
        let rules = Caller::of(&req.extensions).rules;
        let object = names::object(req.input.bucket, req.input.key)?;
        let _room = self.room().await?;
        if length > INLINE_MAX as u64 {
            // The decision checks it again; this spares the client from sending a large body for nothing.
            self.require_bucket(object.bucket.name.clone()).await?;
        }
        let mut intake = Intake::new(&self.client, Hashes::new(claims.algorithms()));
        intake.take_body(req.input.body, length, req.extensions.get::<Watch>()).await?;
        let held = intake.finish().await?;
        // IN-1: `finish` saw the whole body, and here its claims are held against it; only then may it be decided.
        let checksums = claims.verify(&held.digests, req.trailing_headers.as_ref())?;
        let etag = names::single(held.digests.md5);
        let metadata = Metadata { checksums, ..metadata };
        let fields = ChecksumFields::of(&metadata.checksums);
        // The decision does not say its time; this node's clock is near enough for a day.
        let now = WallTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() * 1000));
        let expiration = lifecycle::expiration_header(&rules, self.day, &object.key, length, &attributes, now);
        let target = Target::Object { object, etag, metadata, attributes: Box::new(attributes), condition };
        let (etag, version_id) = decided(held.decide(target).await.map_err(from_client)?)?;
        Ok(S3Response::new(PutObjectOutput {
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            checksum_type: fields.kind,
            e_tag: Some(names::etag_dto(etag)),
            expiration,
            server_side_encryption: Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
            version_id,
            ..Default::default()
        }))
    }

    pub(super) async fn object_get(&self, req: S3Request<GetObjectInput>) -> Outcome<GetObjectOutput> {
        let S3Request { input, headers, extensions, .. } = req;
        let rules = Caller::of(&extensions).rules;
        let key = input.key.clone();
        let version = names::version(input.version_id.as_deref())?;
        let open = self.client.open(names::object(input.bucket, input.key)?, version).await.map_err(from_client)?;
        let conditions = ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let object = open.object();
        check_conditions(&conditions, object)?;
        let slice = slice(object, input.range, input.part_number, &headers)?;
        let with_checksums = asks_for_checksums(input.checksum_mode.as_ref()) && slice.whole;
        let fields = checksum_fields(object, with_checksums);
        let length = slice.range.end - slice.range.start;
        let body = outflow::body(open.read(slice.range.clone()), length).await?;
        let metadata = object.metadata.clone();
        let lock = LockFields::of(&object.attributes);
        let expiration = self.expiration(&rules, &key, version.is_none(), object);
        Ok(S3Response::new(GetObjectOutput {
            expiration,
            object_lock_legal_hold_status: lock.hold,
            object_lock_mode: lock.mode,
            object_lock_retain_until_date: lock.until,
            tag_count: lock.tag_count,
            version_id: object.name.map(names::version_text),
            website_redirect_location: object.attributes.redirect.clone(),
            accept_ranges: Some("bytes".to_owned()),
            body: Some(body),
            cache_control: metadata.cache_control,
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            checksum_type: fields.kind,
            content_disposition: metadata.content_disposition,
            content_encoding: metadata.content_encoding,
            content_language: metadata.content_language,
            content_length: Some(size(length)),
            content_range: slice.content_range(object.size),
            content_type: Some(metadata.content_type.unwrap_or_else(default_type)),
            e_tag: Some(names::etag_dto(object.etag)),
            expires: expires(metadata.expires.as_deref()),
            last_modified: Some(names::timestamp(object.modified)),
            metadata: Some(metadata.user.into_iter().collect()),
            parts_count: slice.parts_count,
            server_side_encryption: Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
            ..Default::default()
        }))
    }

    pub(super) async fn object_head(&self, req: S3Request<HeadObjectInput>) -> Outcome<HeadObjectOutput> {
        let S3Request { input, headers, extensions, .. } = req;
        let rules = Caller::of(&extensions).rules;
        let (key, is_newest) = (input.key.clone(), input.version_id.is_none());
        let overrides = overrides(&input)?;
        let object = self.require_object(input.bucket, input.key, input.version_id.as_deref()).await?;
        let conditions = ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        check_conditions(&conditions, &object)?;
        let slice = slice(&object, input.range, input.part_number, &headers)?;
        let with_checksums = asks_for_checksums(input.checksum_mode.as_ref()) && slice.whole;
        let fields = checksum_fields(&object, with_checksums);
        let content_range = slice.content_range(object.size);
        let status = content_range.as_ref().map(|_| StatusCode::PARTIAL_CONTENT);
        let expiration = self.expiration(&rules, &key, is_newest, &object);
        let metadata = object.metadata;
        let lock = LockFields::of(&object.attributes);
        let output = HeadObjectOutput {
            expiration,
            object_lock_legal_hold_status: lock.hold,
            object_lock_mode: lock.mode,
            object_lock_retain_until_date: lock.until,
            version_id: object.name.map(names::version_text),
            website_redirect_location: object.attributes.redirect,
            accept_ranges: Some("bytes".to_owned()),
            cache_control: metadata.cache_control,
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            checksum_type: fields.kind,
            content_disposition: metadata.content_disposition,
            content_encoding: metadata.content_encoding,
            content_language: metadata.content_language,
            content_length: Some(size(slice.range.end - slice.range.start)),
            content_range,
            content_type: Some(metadata.content_type.unwrap_or_else(default_type)),
            e_tag: Some(names::etag_dto(object.etag)),
            expires: expires(metadata.expires.as_deref()),
            last_modified: Some(names::timestamp(object.modified)),
            metadata: Some(metadata.user.into_iter().collect()),
            parts_count: slice.parts_count,
            server_side_encryption: Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
            ..Default::default()
        };
        let mut overrides = overrides;
        if let Some(tags) = lock.tag_count {
            overrides.insert("x-amz-tagging-count", HeaderValue::from(tags));
        }
        let mut response = S3Response::with_headers(output, overrides);
        // `s3s` has no status for a head of a range; the layer reads it from here.
        if let Some(status) = status {
            response.extensions.insert(super::layer::StatusOverride(status));
        }
        Ok(response)
    }
}

/// What a version has besides metadata, as its readers are told.
struct LockFields {
    hold: Option<ObjectLockLegalHoldStatus>,
    mode: Option<ObjectLockMode>,
    until: Option<Timestamp>,
    tag_count: Option<i32>,
}

impl LockFields {
    fn of(attributes: &Attributes) -> LockFields {
        let mode = attributes.retention.map(|held| ObjectLockMode::from_static(locks::mode_text(held.mode)));
        let hold = ObjectLockLegalHoldStatus::from_static(locks::hold_text(attributes.legal_hold));
        LockFields {
            hold: attributes.legal_hold.then_some(hold),
            mode,
            until: attributes.retention.map(|held| names::timestamp(held.until)),
            tag_count: (!attributes.tags.is_empty()).then(|| count(attributes.tags.len())),
        }
    }
}

/// The entity tag that a decision made, and the version's name where the bucket keeps versions. As with AWS, a write is not told
/// that its version is the null one.
pub(super) fn decided(answer: Answer) -> S3Result<(ETag, Option<String>)> {
    if let Answer::Put { etag, .. } = answer {
        return Ok((etag, None));
    }
    let Answer::PutVersion { etag, name, .. } = answer else { return Err(unexpected("a put")) };
    Ok((etag, (name != VersionName::Null).then(|| names::version_text(name))))
}

fn default_type() -> String {
    "binary/octet-stream".to_owned()
}

fn expires(text: Option<&str>) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, text?).ok()
}

fn asks_for_checksums(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str().eq_ignore_ascii_case(ChecksumMode::ENABLED))
}

fn checksum_fields(object: &Object, wanted: bool) -> ChecksumFields {
    if wanted { ChecksumFields::of(&object.metadata.checksums) } else { ChecksumFields::default() }
}

/// The response headers that a HEAD may override; for GET, `s3s` does it.
fn overrides(input: &HeadObjectInput) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut set = |name: header::HeaderName, value: Option<&String>| -> S3Result<()> {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value)
                .map_err(|_| coded(S3ErrorCode::InvalidArgument, format!("response-{name} is not a header value.")))?;
            headers.insert(name, value);
        }
        Ok(())
    };
    set(header::CACHE_CONTROL, input.response_cache_control.as_ref())?;
    set(header::CONTENT_DISPOSITION, input.response_content_disposition.as_ref())?;
    set(header::CONTENT_ENCODING, input.response_content_encoding.as_ref())?;
    set(header::CONTENT_LANGUAGE, input.response_content_language.as_ref())?;
    set(header::CONTENT_TYPE, input.response_content_type.as_ref())?;
    Ok(headers)
}

fn check_conditions(conditions: &ReadConditions, object: &Object) -> S3Result<()> {
    match conditions.judge(object.etag, object.modified) {
        Verdict::Proceed => Ok(()),
        Verdict::Failed => Err(conditions::failed()),
        Verdict::NotModified => {
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            let mut headers = HeaderMap::new();
            let etag = HeaderValue::from_str(&format!("\"{}\"", names::etag_text(object.etag)));
            headers.insert(header::ETAG, etag.expect("an entity tag is hexadecimal"));
            error.set_headers(headers);
            Err(error)
        }
    }
}

/// Which bytes of an object a read wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// They.
    pub(super) range: Range<u64>,
    /// Whether the answer is 206 with a `Content-Range`.
    pub(super) partial: bool,
    /// Whether the whole object's checksum says something about them.
    pub(super) whole: bool,
    /// With a part number: how many parts there are.
    pub(super) parts_count: Option<i32>,
}

impl Slice {
    fn content_range(&self, size: u64) -> Option<String> {
        let last = self.range.end.checked_sub(1).filter(|_| self.range.end > self.range.start)?;
        self.partial.then(|| format!("bytes {}-{last}/{size}", self.range.start))
    }
}

/// What `Range` or `partNumber` name (RFC 9110 §14.2; AWS, GetObject).
pub(super) fn slice(
    object: &Object,
    range: Option<dto::Range>,
    part: Option<i32>,
    headers: &HeaderMap,
) -> S3Result<Slice> {
    let full = object.size;
    match (range, part) {
        (None, None) => Ok(Slice { range: 0..full, partial: false, whole: true, parts_count: None }),
        (Some(_), Some(_)) => {
            Err(coded(S3ErrorCode::InvalidRequest, "Cannot specify both Range header and partNumber query parameter."))
        }
        (None, Some(number)) => {
            let index = usize::from(names::part_number(number)?) - 1;
            let count = object.bodies.len().max(1);
            if index >= count {
                let message = "The requested partnumber is not satisfiable.";
                return Err(custom(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidPartNumber", message));
            }
            let before: u64 = object.bodies[..index].iter().map(|body| body.size).sum();
            let length = object.bodies.get(index).map_or(0, |body| body.size);
            let multipart = object.etag.parts > 0;
            Ok(Slice {
                range: before..before + length,
                partial: true,
                whole: !multipart,
                parts_count: multipart.then(|| i32::try_from(count).unwrap_or(i32::MAX)),
            })
        }
        (Some(range), None) => {
            if !if_range_holds(object, headers) {
                return Ok(Slice { range: 0..full, partial: false, whole: true, parts_count: None });
            }
            let checked = match range {
                dto::Range::Suffix { length } if length == 0 || full == 0 => None,
                dto::Range::Suffix { length } => Some(full.saturating_sub(length)..full),
                dto::Range::Int { first, .. } if first >= full => None,
                dto::Range::Int { first, last } => {
                    Some(first..last.map_or(full, |last| last.saturating_add(1).min(full)))
                }
            };
            let Some(range) = checked else { return Err(not_satisfiable(full)) };
            let whole = range == (0..full);
            Ok(Slice { range, partial: true, whole, parts_count: None })
        }
    }
}

fn not_satisfiable(full: u64) -> S3Error {
    let mut error = coded(S3ErrorCode::InvalidRange, "The requested range is not satisfiable.");
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("bytes */{full}")).expect("digits are a header value");
    headers.insert(header::CONTENT_RANGE, value);
    error.set_headers(headers);
    error
}

/// `If-Range` (RFC 9110 §13.1.5): a range of another version than the client has would be useless to it.
fn if_range_holds(object: &Object, headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(header::IF_RANGE).map(|value| value.to_str().unwrap_or("")) else { return true };
    if given.starts_with('"') {
        return given.trim_matches('"') == names::etag_text(object.etag);
    }
    Timestamp::parse(TimestampFormat::HttpDate, given)
        .is_ok_and(|date| date == names::timestamp_seconds(object.modified))
}
