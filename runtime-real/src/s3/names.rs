//! Names and numbers as S3 writes them: buckets, keys, entity tags, upload ids, times, continuation tokens.

use super::error::{coded, from_refusal};
use anvil_core::state::{BucketName, ETag, Md5, ObjectName, Refusal, VersionName, check_bucket_name};
use anvil_core::types::{LogIndex, TenantId, VersionId, WallTime};
use s3s::dto::Timestamp;
use s3s::{S3ErrorCode, S3Result};
use std::time::{Duration, UNIX_EPOCH};

/// Longest key, in bytes of UTF-8.
pub(super) const KEY_SIZE_MAX: usize = 1024;

/// The bucket that a request names.
pub(super) fn bucket(name: String) -> BucketName {
    BucketName { tenant: TenantId::DEFAULT, name }
}

/// A bucket that may be created: stricter than what may be asked for.
pub(super) fn new_bucket(name: String) -> S3Result<BucketName> {
    if let Err(refusal) = check_bucket_name(&name) {
        let Refusal::Invalid(message) = refusal else { return Err(from_refusal(refusal)) };
        return Err(coded(S3ErrorCode::InvalidBucketName, message));
    }
    Ok(bucket(name))
}

/// The object that a request names.
pub(super) fn object(bucket_name: String, key: String) -> S3Result<ObjectName> {
    if key.len() > KEY_SIZE_MAX {
        return Err(coded(S3ErrorCode::KeyTooLongError, "Your key is too long: at most 1,024 bytes."));
    }
    if key.is_empty() {
        return Err(coded(S3ErrorCode::InvalidArgument, "The key is empty."));
    }
    Ok(ObjectName { bucket: bucket(bucket_name), key })
}

/// The id of an upload as clients see it.
pub(super) fn upload_text(upload: VersionId) -> String {
    upload.to_string()
}

/// The upload that a client names.
pub(super) fn upload(text: &str) -> S3Result<VersionId> {
    let canonical = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match u128::from_str_radix(text, 16) {
        Ok(number) if canonical => Ok(VersionId(number)),
        Ok(_) | Err(_) => {
            Err(coded(S3ErrorCode::NoSuchUpload, "The specified multipart upload does not exist. The id is not valid."))
        }
    }
}

/// The number of a part.
pub(super) fn part_number(number: i32) -> S3Result<u16> {
    match u16::try_from(number) {
        Ok(number) if (1..=10_000).contains(&number) => Ok(number),
        Ok(_) | Err(_) => {
            Err(coded(S3ErrorCode::InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive."))
        }
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An entity tag without its quotes.
pub(super) fn etag_text(etag: ETag) -> String {
    match etag.parts {
        0 => hex(&etag.md5.0),
        parts => format!("{}-{parts}", hex(&etag.md5.0)),
    }
}

/// An entity tag as `s3s` writes it.
pub(super) fn etag_dto(etag: ETag) -> s3s::dto::ETag {
    s3s::dto::ETag::Strong(etag_text(etag))
}

/// The tag of a single put, or of a part.
pub(super) fn single(md5: [u8; 16]) -> ETag {
    ETag { md5: Md5(md5), parts: 0 }
}

/// Reads an entity tag without its quotes. `None` when no object of ours can have it.
pub(super) fn parse_etag(text: &str) -> Option<ETag> {
    let (digest, parts) = match text.split_once('-') {
        Some((digest, parts)) => (digest, parts.parse().ok().filter(|parts| *parts > 0)?),
        None => (text, 0),
    };
    if digest.len() != 32 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u128::from_str_radix(digest, 16).ok()?;
    Some(ETag { md5: Md5(number.to_be_bytes()), parts })
}

/// A moment as `s3s` writes it.
pub(super) fn timestamp(time: WallTime) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(time.0))
}

/// A time that a client gave, in milliseconds since the epoch.
pub(super) fn wall_time(time: Timestamp) -> WallTime {
    let time = time::OffsetDateTime::from(time);
    WallTime(u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
}

/// A moment in whole seconds, as HTTP dates have it.
pub(super) fn timestamp_seconds(time: WallTime) -> Timestamp {
    timestamp(WallTime(time.0 / 1000 * 1000))
}

/// The token that continues a listing after `start_after`. Opaque to clients.
pub(super) fn token(start_after: &str) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(format!("1{start_after}"))
}

/// What a token of [`token`] continues after.
pub(super) fn start_after(token: &str) -> S3Result<String> {
    let decoded = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.strip_prefix('1')) {
        Some(start_after) => Ok(start_after.to_owned()),
        None => Err(coded(S3ErrorCode::InvalidArgument, "The continuation token provided is incorrect.")),
    }
}

/// The name of a version as clients see it: `null`, or the place in the order and the identity.
pub(super) fn version_text(name: VersionName) -> String {
    match name {
        VersionName::Null => "null".to_owned(),
        VersionName::Id { decided, version } => format!("{:016x}{version}", decided.0),
    }
}

/// The version that a client names; none for the newest.
pub(super) fn version(text: Option<&str>) -> S3Result<Option<VersionName>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text == "null" {
        return Ok(Some(VersionName::Null));
    }
    let canonical = text.len() == 48 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let parse = || {
        let decided = LogIndex(u64::from_str_radix(&text[..16], 16).ok()?);
        Some(VersionName::Id { decided, version: VersionId(u128::from_str_radix(&text[16..], 16).ok()?) })
    };
    let parsed = if canonical { parse() } else { None };
    parsed.map(Some).ok_or_else(|| coded(S3ErrorCode::InvalidArgument, "Invalid version id specified"))
}
