//! What a request must be before `s3s` looks at it: the rules of authentication that `s3s` 0.14.1 leaves open.
//!
//! `s3s` computes the signature and compares it, checks the clock skew (15 minutes both ways) and the expiry of a
//! presigned URL, and wants the scope's date to match. It does not care what else comes along: it takes an
//! `x-amz-copy-source` that nobody signed, signature version 2, any region, any algorithm name in the header, any
//! lifetime. This module only ever refuses: what passes here still has to pass there.
//!
//! - `S3-1` Every `x-amz-*` header is signed, but for [`UNSIGNED_ALLOWED`]. A header that changes what a request means
//!   cannot be added on the way.
//! - `S3-2` `AWS4-HMAC-SHA256` only, by at most one of header and query, or by the policy of a form. No version 2. What is
//!   not signed at all is judged later, and passes only where everybody may (`S3-7`).
//! - `S3-3` The credential's scope names our region and `s3`.
//! - `S3-4` A presigned URL lives at most seven days.
//! - `S3-5` Query parameters stand there once, and those of writes are known ones. `s3s` picks the operation by the parameters
//!   it knows and takes `PUT /bucket/key?renameObject` for a plain put: a subresource that it never heard of must not become
//!   a write. A read ignores what it does not know, as AWS does: pages add parameters of their own to what they load.
//!
//! Source: AWS, "Signature Version 4 signing process" and "Authenticating Requests: Using Query Parameters". What the
//! headers ask for is judged in `wishes.rs`, the framing of the body in `chunks.rs`.

use super::chunks::Framing;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use s3s::dto::{Timestamp, TimestampFormat};
use std::collections::BTreeSet;

/// The payload headers that may be unsigned. They can only make the gateway refuse a body, never accept another one:
/// the first is part of the canonical request in any case (and for presigned URLs adds a check), the second is compared
/// with what arrived, the third announces a trailer that is compared with the body, the fourth is a hint to SDKs that
/// nothing here reads.
pub(super) const UNSIGNED_ALLOWED: [&str; 4] =
    ["x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer", "x-amz-sdk-checksum-algorithm"];

/// The longest life of a presigned URL, in seconds.
pub(super) const PRESIGNED_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;

/// Largest body of one request, in bytes: 5 GiB, the limit of a single put and of a part.
pub(super) const BODY_SIZE_MAX: u64 = 5 << 30;

/// A request refused before its signature was computed.
#[derive(Debug)]
pub(super) struct Denial {
    /// HTTP status.
    pub(super) status: StatusCode,
    /// S3 error code.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
}

fn deny<T>(status: StatusCode, code: &'static str, message: impl Into<String>) -> Result<T, Denial> {
    Err(Denial { status, code, message: message.into() })
}

/// What the request says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// How the body is framed.
    pub(super) framing: Framing,
    /// Whether it is an HTML form.
    pub(super) is_form: bool,
}

/// Judges a request by its head.
pub(super) fn admit(parts: &Parts, path: &str, region: &str) -> Result<Admitted, Denial> {
    let query = parse_query(parts.uri.query().unwrap_or(""))?;
    check_headers(&parts.headers)?;
    check_authentication(parts, &query, region)?;
    check_query(&parts.method, path, &query)?;
    let framing = framing(&parts.headers)?;
    check_sizes(&parts.headers, framing)?;
    Ok(Admitted { framing, is_form: is_form(parts) })
}

/// `s3s` verifies the policy of a form, which has no other signature.
fn is_form(parts: &Parts) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    parts.method == Method::POST && content_type.is_some_and(|kind| kind.starts_with(b"multipart/form-data"))
}

/// A request may be signed with the time in `Date` instead of `x-amz-date`, which is all that `s3s` reads. Nothing is believed
/// here: the time is a part of what is signed.
///
/// Source: AWS, "Create a signed AWS API request", on the headers of a canonical request.
pub(super) fn settle_date(headers: &mut HeaderMap) {
    if !headers.contains_key(AUTHORIZATION) || headers.contains_key("x-amz-date") {
        return;
    }
    let Some(text) = headers.get(DATE).and_then(|value| value.to_str().ok()) else { return };
    // botocore writes the zone as e-mail does.
    let text = text.replace("-0000", "GMT").replace("+0000", "GMT");
    let Ok(parsed) = Timestamp::parse(TimestampFormat::HttpDate, &text) else { return };
    let time = time::OffsetDateTime::from(parsed).to_offset(time::UtcOffset::UTC);
    let (date, clock) = (time.date(), time.time());
    let basic = format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    if let Ok(value) = HeaderValue::from_str(&basic) {
        headers.insert("x-amz-date", value);
    }
}

/// The parameters of a request, decoded.
pub(super) type Query = Vec<(String, String)>;

/// Reads the query string.
pub(super) fn parse_query(text: &str) -> Result<Query, Denial> {
    // The same parser as in `s3s`, so that both see the same names.
    let Ok(query) = serde_urlencoded::from_str::<Query>(text) else {
        return deny(StatusCode::BAD_REQUEST, "InvalidURI", "The query string cannot be decoded.");
    };
    let mut seen = BTreeSet::new();
    for (name, _) in &query {
        // S3-5
        if !seen.insert(name.as_str()) {
            return deny(StatusCode::BAD_REQUEST, "InvalidArgument", format!("The parameter {name:?} appears twice."));
        }
    }
    Ok(query)
}

fn value<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

fn check_headers(headers: &HeaderMap) -> Result<(), Denial> {
    for name in headers.keys() {
        let text = name.as_str();
        let ours = text.starts_with("x-amz-");
        let single = ours || ["authorization", "content-md5", "host", "range", "content-encoding"].contains(&text);
        if single && headers.get_all(name).iter().count() > 1 {
            return deny(StatusCode::BAD_REQUEST, "InvalidRequest", format!("The header {text} appears twice."));
        }
        // `s3s` leaves a value that is not UTF-8 out of the canonical request.
        if ours && headers.get_all(name).iter().any(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
            return deny(StatusCode::BAD_REQUEST, "InvalidRequest", format!("The header {text} is not UTF-8."));
        }
    }
    Ok(())
}

fn check_authentication(parts: &Parts, query: &Query, region: &str) -> Result<(), Denial> {
    let headers = &parts.headers;
    // S3-2
    let is_form = is_form(parts);
    let unsupported = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    if value(query, "Signature").is_some() || value(query, "AWSAccessKeyId").is_some() {
        return deny(StatusCode::BAD_REQUEST, "InvalidRequest", unsupported);
    }
    if headers.contains_key("x-amz-security-token") || value(query, "X-Amz-Security-Token").is_some() {
        return deny(StatusCode::BAD_REQUEST, "InvalidToken", "This server issues no temporary credentials.");
    }
    let presigned = query.iter().any(|(name, _)| {
        name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-")) && is_authentication_parameter(name)
    });
    match (headers.get(AUTHORIZATION), presigned) {
        (Some(_), true) => {
            deny(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one authentication mechanism is allowed.")
        }
        (None, false) => Ok(()),
        (Some(_), false) if is_form => {
            deny(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one authentication mechanism is allowed.")
        }
        (Some(authorization), false) => {
            let Some(rest) = authorization.to_str().ok().and_then(|text| text.strip_prefix("AWS4-HMAC-SHA256 ")) else {
                return deny(StatusCode::BAD_REQUEST, "InvalidRequest", unsupported);
            };
            check_header_authentication(rest, parts, region)
        }
        (None, true) => check_presigned(query, parts, region),
    }
}

fn is_authentication_parameter(name: &str) -> bool {
    const NAMES: [&str; 6] = ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"];
    NAMES.iter().any(|known| name.get(6..).is_some_and(|rest| rest.eq_ignore_ascii_case(known)))
}

fn check_header_authentication(text: &str, parts: &Parts, region: &str) -> Result<(), Denial> {
    const CODE: &str = "AuthorizationHeaderMalformed";
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [credential, signed, signature] = fields[..] else {
        return deny(StatusCode::BAD_REQUEST, CODE, "Expected Credential, SignedHeaders and Signature.");
    };
    let (Some(credential), Some(signed), Some(_)) = (
        credential.strip_prefix("Credential="),
        signed.strip_prefix("SignedHeaders="),
        signature.strip_prefix("Signature="),
    ) else {
        return deny(StatusCode::BAD_REQUEST, CODE, "Expected Credential, SignedHeaders and Signature, in that order.");
    };
    check_scope(credential, region, CODE)?;
    check_signed(signed, parts)
}

fn check_presigned(query: &Query, parts: &Parts, region: &str) -> Result<(), Denial> {
    const CODE: &str = "AuthorizationQueryParametersError";
    let field = |name: &str| match value(query, name) {
        Some(value) => Ok(value),
        None => deny(StatusCode::BAD_REQUEST, CODE, format!("A presigned URL needs {name}.")),
    };
    // S3-2
    if field("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
        return deny(StatusCode::BAD_REQUEST, CODE, "X-Amz-Algorithm only supports AWS4-HMAC-SHA256.");
    }
    field("X-Amz-Signature")?;
    check_scope(field("X-Amz-Credential")?, region, CODE)?;
    // S3-4
    let expires = field("X-Amz-Expires")?;
    let digits = !expires.is_empty() && expires.bytes().all(|byte| byte.is_ascii_digit());
    match expires.parse::<u64>() {
        Ok(seconds) if digits && (1..=PRESIGNED_SECONDS_MAX).contains(&seconds) => {}
        Ok(_) | Err(_) => {
            return deny(StatusCode::BAD_REQUEST, CODE, "X-Amz-Expires must be between 1 and 604800 seconds.");
        }
    }
    check_signed(field("X-Amz-SignedHeaders")?, parts)
}

/// S3-3
fn check_scope(credential: &str, region: &str, code: &'static str) -> Result<(), Denial> {
    let fields: Vec<&str> = credential.split('/').collect();
    let [_, _, scope_region, service, "aws4_request"] = fields[..] else {
        let message = "The credential must look like key/date/region/s3/aws4_request.";
        return deny(StatusCode::BAD_REQUEST, code, message);
    };
    if scope_region != region {
        let message = format!("The region {scope_region:?} in the credential is wrong; expected {region:?}.");
        return deny(StatusCode::BAD_REQUEST, code, message);
    }
    if service != "s3" {
        return deny(StatusCode::BAD_REQUEST, code, format!("The service {service:?} is wrong; expected \"s3\"."));
    }
    Ok(())
}

fn check_signed(list: &str, parts: &Parts) -> Result<(), Denial> {
    let signed: BTreeSet<&str> = list.split(';').collect();
    if !signed.contains("host") {
        return deny(StatusCode::FORBIDDEN, "AccessDenied", "The header host must be signed.");
    }
    for name in parts.headers.keys().map(http::HeaderName::as_str) {
        // S3-1
        if name.starts_with("x-amz-") && !signed.contains(name) && !UNSIGNED_ALLOWED.contains(&name) {
            let message = format!("There were headers present in the request which were not signed: {name}");
            return deny(StatusCode::FORBIDDEN, "AccessDenied", message);
        }
    }
    for name in signed {
        // `s3s` drops a signed header that is missing from the canonical request.
        let there = parts.headers.contains_key(name) || (name == HOST.as_str() && parts.uri.authority().is_some());
        if !there {
            let message = format!("The signed header {name:?} is not in the request.");
            return deny(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message);
        }
    }
    Ok(())
}

/// Subresources that `s3s` does not know, or that only writes have: a read of one must not become a get or a listing.
#[rustfmt::skip]
const UNREADABLE: &[&str] = &[
    "abac", "annotation", "annotations", "append", "delete", "metadataConfiguration", "metadataInventoryTable",
    "metadataJournalTable", "renameObject", "restore", "select", "select-type",
];

/// Parameters of writes that `s3s` knows for the method and the path. Any other would fall through to a plain
/// CreateBucket, PutObject, DeleteBucket or DeleteObject.
#[rustfmt::skip]
fn write_parameters(method: &Method, on_object: bool) -> &'static [&'static str] {
    match (method.as_str(), on_object) {
        ("PUT", true) => &["partNumber", "uploadId", "acl", "legal-hold", "retention", "tagging", "versionId"],
        ("PUT", false) => &[
            "accelerate", "acl", "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "lifecycle",
            "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy", "publicAccessBlock",
            "replication", "requestPayment", "tagging", "versioning", "website",
        ],
        ("POST", true) => &["uploads", "uploadId", "select", "select-type", "restore"],
        ("POST", false) => &["delete", "metadataTable"],
        ("DELETE", true) => &["uploadId", "versionId", "tagging"],
        ("DELETE", false) => &[
            "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "lifecycle", "metadataTable",
            "metrics", "ownershipControls", "policy", "publicAccessBlock", "replication", "tagging", "website",
        ],
        _ => &[],
    }
}

/// What SDKs hoist from headers into a presigned URL and what is safe to ignore there. Everything else that they may
/// hoist (metadata, checksums, access lists) would be lost silently, so it is refused.
fn is_harmless(name: &str, value: &str) -> bool {
    match name.to_ascii_lowercase().as_str() {
        "x-id" | "x-amz-user-agent" | "x-amz-checksum-mode" | "x-amz-sdk-checksum-algorithm" => true,
        "x-amz-content-sha256" => value == "UNSIGNED-PAYLOAD",
        _ => false,
    }
}

/// S3-5
fn check_query(method: &Method, path: &str, query: &Query) -> Result<(), Denial> {
    // `s3s` decodes the path before it splits it.
    let path = percent_encoding::percent_decode_str(path.strip_prefix('/').unwrap_or(path)).collect::<Vec<u8>>();
    let on_object = path.iter().position(|byte| *byte == b'/').is_some_and(|at| at + 1 < path.len());
    let known = match *method {
        Method::GET | Method::HEAD => None,
        Method::PUT | Method::POST | Method::DELETE => Some(write_parameters(method, on_object)),
        _ => return deny(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "S3 has no such method."),
    };
    for (name, value) in query {
        let signing = name.starts_with("X-Amz-") && is_authentication_parameter(name);
        // A header that an SDK moved here means something in reads as well.
        let hoisted = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
        let is_known = match known {
            Some(names) => names.contains(&name.as_str()),
            None => !hoisted && !UNREADABLE.contains(&name.as_str()),
        };
        if !is_known && !signing && !is_harmless(name, value) {
            let message = format!("The parameter {name:?} is not supported here.");
            return deny(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message);
        }
    }
    // A version is named only where something of it is changed: `s3s` would take the rest for a plain put.
    let changes = ["acl", "legal-hold", "retention", "tagging"].iter().any(|name| value(query, name).is_some());
    if *method == Method::PUT && value(query, "versionId").is_some() && !changes {
        let message = "The parameter \"versionId\" is not supported here.";
        return deny(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message);
    }
    // One of the two alone would be a plain put.
    if *method == Method::PUT && value(query, "partNumber").is_some() != value(query, "uploadId").is_some() {
        let message = "An upload of a part needs both partNumber and uploadId.";
        return deny(StatusCode::BAD_REQUEST, "InvalidArgument", message);
    }
    Ok(())
}

fn framing(headers: &HeaderMap) -> Result<Framing, Denial> {
    let kind = headers.get("x-amz-content-sha256").map_or("", |value| value.to_str().unwrap_or(""));
    match kind {
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Framing::UnsignedChunks),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            Ok(Framing::SignedChunks)
        }
        other if other.starts_with("STREAMING-") => {
            deny(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("The payload type {other} is not supported."))
        }
        _ => Ok(Framing::Plain),
    }
}

fn check_sizes(headers: &HeaderMap, framing: Framing) -> Result<(), Denial> {
    let number = |name: &str| -> Result<Option<u64>, Denial> {
        let Some(value) = headers.get(name) else { return Ok(None) };
        match value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).map(str::parse::<u64>) {
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) | None => {
                deny(StatusCode::BAD_REQUEST, "InvalidArgument", format!("The header {name} is not a number."))
            }
        }
    };
    let decoded = number("x-amz-decoded-content-length")?;
    let size = match framing {
        Framing::Plain => number(CONTENT_LENGTH.as_str())?,
        Framing::SignedChunks | Framing::UnsignedChunks => decoded,
    };
    if size.is_some_and(|size| size > BODY_SIZE_MAX) {
        let message = "Your proposed upload exceeds the maximum allowed object size of 5 GiB for one request.";
        return deny(StatusCode::BAD_REQUEST, "EntityTooLarge", message);
    }
    Ok(())
}
