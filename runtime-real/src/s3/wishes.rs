//! What a request asks for besides its operation: metadata to keep, and features that Anvil does not have.
//!
//! - `S3-6` A header that asks for something that would not happen (a key of a key service, an append) is refused. A client
//!   that believes its object is locked must not learn otherwise later.
//!
//! The headers are read here rather than from the inputs of `s3s`, since put, copy and upload share them.

use super::error::{coded, custom};
use super::{locks, tags};
use anvil_core::state::{Attributes, Metadata, Retention};
use http::{HeaderMap, StatusCode};
use s3s::{S3ErrorCode, S3Result};
use std::collections::BTreeMap;

/// Largest user metadata, names and values, in bytes.
const USER_METADATA_MAX: usize = 2048;

/// S3-6
pub(super) fn check(headers: &HeaderMap) -> S3Result<()> {
    for (name, value) in headers {
        let name = name.as_str();
        let value = value.to_str().unwrap_or("").trim();
        if !name.starts_with("x-amz-") || value.is_empty() {
            continue;
        }
        match name {
            "x-amz-server-side-encryption" if value != "AES256" => {
                return Err(missing("Encryption other than AES256, which every object has,"));
            }
            "x-amz-server-side-encryption-bucket-key-enabled" if value == "false" => {}
            "x-amz-storage-class" if value != "STANDARD" => {
                return Err(coded(S3ErrorCode::InvalidStorageClass, "The only storage class is STANDARD."));
            }
            "x-amz-write-offset-bytes" => return Err(missing("Appending to an object")),
            _ if name.starts_with("x-amz-server-side-encryption-")
                || name.starts_with("x-amz-copy-source-server-side-encryption-") =>
            {
                return Err(missing("Encryption with a key of the client or of a key service"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn missing(what: &str) -> s3s::S3Error {
    coded(S3ErrorCode::NotImplemented, format!("{what} is not supported."))
}

/// The metadata that a put, a copy with `REPLACE`, or a new upload gives its object. `user` is what `s3s` decoded of
/// `x-amz-meta-*`.
pub(super) fn metadata(headers: &HeaderMap, user: Option<s3s::dto::Metadata>) -> S3Result<Metadata> {
    let text = |name: &'static str| -> S3Result<Option<String>> {
        let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(coded(S3ErrorCode::InvalidArgument, format!("The header {name} is not text."))),
        }
    };
    let user: BTreeMap<String, String> = user.into_iter().flatten().collect();
    if user.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > USER_METADATA_MAX {
        let message = "Your metadata headers exceed the maximum allowed metadata size of 2 KiB.";
        return Err(custom(StatusCode::BAD_REQUEST, "MetadataTooLarge", message));
    }
    Ok(Metadata {
        content_type: text("content-type")?,
        cache_control: text("cache-control")?,
        content_disposition: text("content-disposition")?,
        content_encoding: text("content-encoding")?.and_then(|encoding| without_aws_chunked(&encoding)),
        content_language: text("content-language")?,
        expires: text("expires")?,
        user,
        checksums: BTreeMap::new(),
    })
}

/// `aws-chunked` describes the request's body, not the object.
fn without_aws_chunked(encoding: &str) -> Option<String> {
    let kept: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// What else a new version shall have: tags, lock, redirect. Its access list is read by `access_lists`.
pub(super) fn attributes(headers: &HeaderMap) -> S3Result<Attributes> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
    let mode = text("x-amz-object-lock-mode").map(locks::mode).transpose()?;
    let until = match text("x-amz-object-lock-retain-until-date") {
        Some(date) => Some(locks::until(date)?),
        None => None,
    };
    let retention = match (mode, until) {
        (Some(mode), Some(until)) => Some(Retention { mode, until }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied.";
            return Err(coded(S3ErrorCode::InvalidArgument, message));
        }
    };
    let legal_hold = text("x-amz-object-lock-legal-hold").map(locks::hold).transpose()?.unwrap_or(false);
    let redirect = text("x-amz-website-redirect-location").map(str::to_owned);
    if redirect.as_ref().is_some_and(|to| !["/", "http://", "https://"].iter().any(|start| to.starts_with(start))) {
        let message = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
        return Err(custom(StatusCode::BAD_REQUEST, "InvalidRedirectLocation", message));
    }
    let tags = text("x-amz-tagging").map(tags::of_header).transpose()?.unwrap_or_default();
    Ok(Attributes { tags, retention, legal_hold, redirect, acl: None, customer_key: None })
}
