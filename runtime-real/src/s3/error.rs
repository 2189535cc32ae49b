//! What went wrong, in the words of S3.
//!
//! The table of codes is AWS's ("Error responses"); where it has none (a full drive), the code is our own and the
//! status one that clients retry. Nothing here carries a secret, a path or an address of the node.

use super::chunks::{Fault, Watch};
use super::names;
use crate::client::ClientError;
use anvil_core::node::Unavailable;
use anvil_core::state::{Refusal, VersionName};
use anvil_core::types::WallTime;
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode, StdError};

/// An error that `s3s` has no code for.
pub(super) fn custom(status: StatusCode, code: &'static str, message: impl Into<String>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.into());
    error.set_status_code(status);
    error
}

/// A code with a sentence.
pub(super) fn coded(code: S3ErrorCode, message: impl Into<String>) -> S3Error {
    S3Error::with_message(code, message.into())
}

/// The body does not have the SHA-256 that was signed.
pub(super) fn payload_mismatch() -> S3Error {
    let message = "The provided x-amz-content-sha256 header does not match what was computed.";
    custom(StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch", message)
}

/// The node did not do it.
pub(super) fn from_client(error: ClientError) -> S3Error {
    match error {
        ClientError::Refused(refusal) => from_refusal(refusal),
        ClientError::Unavailable(why) => from_unavailable(why),
        ClientError::Stopping => coded(S3ErrorCode::ServiceUnavailable, "The node is stopping."),
    }
}

fn from_unavailable(why: Unavailable) -> S3Error {
    match why {
        Unavailable::NotLeader { .. } => {
            coded(S3ErrorCode::ServiceUnavailable, "No node leads at the moment; nothing happened. Try again.")
        }
        Unavailable::Busy => coded(S3ErrorCode::SlowDown, "Too much waits already; nothing happened. Try again later."),
        Unavailable::Uncertain => coded(
            S3ErrorCode::ServiceUnavailable,
            "The lead was lost while the request was under way: it may or may not have taken effect.",
        ),
        Unavailable::DiskFull => custom(
            StatusCode::SERVICE_UNAVAILABLE,
            "InsufficientStorage",
            "A drive of the node is full; nothing was stored.",
        ),
        Unavailable::Disk(message) => {
            tracing::error!(message, "a drive refused a request");
            coded(S3ErrorCode::InternalError, "A drive of the node failed; nothing was stored.")
        }
        Unavailable::Damaged(message) => {
            tracing::error!(message, "an object is damaged");
            coded(S3ErrorCode::InternalError, "Too much of the object is missing or damaged to return it.")
        }
        Unavailable::Unreachable(message) => {
            tracing::warn!(message, "an object cannot be reached");
            coded(
                S3ErrorCode::ServiceUnavailable,
                "Too few of the nodes that hold the object, or were to hold it, answer. Try again.",
            )
        }
        Unavailable::TooFewDrives(message) => {
            tracing::warn!(message, "an object cannot be stored safely");
            coded(S3ErrorCode::ServiceUnavailable, "Too few nodes are alive to store the object safely. Try again.")
        }
        Unavailable::UnknownHandle => {
            coded(S3ErrorCode::ServiceUnavailable, "The request took too long and was given up. Try again.")
        }
        why @ (Unavailable::Misuse(_) | Unavailable::Change(_)) => {
            tracing::error!(?why, "the gateway contradicts itself");
            coded(S3ErrorCode::InternalError, "The gateway made a mistake; nothing was stored.")
        }
    }
}

/// The state machine refused.
pub(super) fn from_refusal(refusal: Refusal) -> S3Error {
    match refusal {
        Refusal::NotFound | Refusal::NoSuchKey => coded(S3ErrorCode::NoSuchKey, "The specified key does not exist."),
        Refusal::Conflict { .. } | Refusal::ConditionFailed => {
            coded(S3ErrorCode::PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
        }
        Refusal::Invalid(message) => coded(S3ErrorCode::InvalidArgument, message),
        Refusal::NoSuchBucket => coded(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist"),
        Refusal::BucketExists => {
            coded(S3ErrorCode::BucketAlreadyOwnedByYou, "The bucket exists already, and you own it.")
        }
        Refusal::BucketNotEmpty => {
            coded(S3ErrorCode::BucketNotEmpty, "The bucket holds objects or multipart uploads in progress.")
        }
        Refusal::NoSuchUpload => coded(
            S3ErrorCode::NoSuchUpload,
            "The specified multipart upload does not exist. It may have been completed or aborted.",
        ),
        Refusal::InvalidPart(number) => coded(
            S3ErrorCode::InvalidPart,
            format!("Part {number} could not be found, or its entity tag does not match."),
        ),
        Refusal::InvalidPartOrder => {
            coded(S3ErrorCode::InvalidPartOrder, "The list of parts was not in ascending order.")
        }
        Refusal::PartTooSmall(number) => {
            coded(S3ErrorCode::EntityTooSmall, format!("Part {number} is smaller than 5 MiB and is not the last one."))
        }
        Refusal::Cluster(why) => coded(S3ErrorCode::InternalError, format!("The cluster refused: {why}.")),
        Refusal::BucketTaken => coded(
            S3ErrorCode::BucketAlreadyExists,
            "The requested bucket name is not available. Please select a different name and try again.",
        ),
        Refusal::BucketState(why) => coded(S3ErrorCode::InvalidBucketState, why),
        Refusal::NoSuchVersion => coded(S3ErrorCode::NoSuchVersion, "The specified version does not exist."),
        Refusal::DeleteMarker { name, modified, named } => delete_marker(name, modified, named),
        Refusal::NoLock => coded(S3ErrorCode::InvalidRequest, "Bucket is missing Object Lock Configuration"),
        Refusal::Locked => coded(S3ErrorCode::AccessDenied, "Access Denied because object protected by object lock."),
        Refusal::InvalidTag(why) => coded(S3ErrorCode::InvalidTag, why),
        Refusal::Expired => {
            coded(S3ErrorCode::SlowDown, "The upload took longer than its preparation lives; start it again.")
        }
    }
}

/// What a reader hears of a delete marker.
fn delete_marker(name: VersionName, modified: WallTime, named: bool) -> S3Error {
    let mut error = if named {
        coded(S3ErrorCode::MethodNotAllowed, "The specified method is not allowed against this resource.")
    } else {
        coded(S3ErrorCode::NoSuchKey, "The specified key does not exist.")
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if named {
        headers.insert(http::header::ALLOW, HeaderValue::from_static("DELETE"));
    }
    let version = HeaderValue::from_str(&names::version_text(name)).expect("digits are a header value");
    headers.insert("x-amz-version-id", version);
    let mut date = Vec::new();
    let written = names::timestamp(modified).format(s3s::dto::TimestampFormat::HttpDate, &mut date);
    if let (true, Ok(()), Ok(date)) = (named, written, HeaderValue::from_bytes(&date)) {
        headers.insert(http::header::LAST_MODIFIED, date);
    }
    error.set_headers(headers);
    error
}

/// A body could not be read to its end.
pub(super) fn from_body(error: &StdError, watch: Option<&Watch>) -> S3Error {
    if let Some(fault) = watch.and_then(Watch::fault) {
        return from_fault(&fault);
    }
    // The types of `s3s`'s own body errors are private; their texts are pinned by tests over the socket.
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        payload_mismatch()
    } else if text.contains("SignatureMismatch") {
        coded(S3ErrorCode::SignatureDoesNotMatch, "The signature of a chunk does not match.")
    } else if text.contains("Incomplete") || text.contains("LengthMismatch") {
        incomplete()
    } else {
        coded(S3ErrorCode::InvalidRequest, "The body of the request is malformed.")
    }
}

/// A guarded body failed.
pub(super) fn from_fault(fault: &Fault) -> S3Error {
    match fault {
        Fault::Incomplete => incomplete(),
        Fault::Malformed(what) => {
            coded(S3ErrorCode::InvalidRequest, format!("The chunks of the body are malformed: {what}."))
        }
        Fault::ChunkTooLarge => custom(StatusCode::BAD_REQUEST, "InvalidChunkSizeError", fault.to_string()),
        Fault::Idle => coded(S3ErrorCode::RequestTimeout, "Your socket connection was idle for too long."),
        Fault::Mismatch("x-amz-content-sha256") => payload_mismatch(),
        Fault::Mismatch(which) => {
            coded(S3ErrorCode::BadDigest, format!("The {which} you specified did not match what we received."))
        }
    }
}

/// The body was shorter, or longer, than it was said to be.
pub(super) fn incomplete() -> S3Error {
    let message = "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    coded(S3ErrorCode::IncompleteBody, message)
}
