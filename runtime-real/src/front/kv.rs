//! `/kv/{key}`: anchor's key-value store over HTTP. Bytes in, bytes out; the revision in a header.
//!
//! The key is the rest of the path, percent-decoded, slashes and all. `If-Match: "revision"` (or `*`) and
//! `If-None-Match: *` are decided where the write is (RFC 9110 §13). A client that wants a write applied exactly once,
//! however often it repeats it, opens a session and numbers its writes.
//!
//! - `KV-1` A write without a condition is never refused for the key's state; one with a condition never happens unless
//!   the condition holds at its place in the log.
//! - `KV-2` A listing is the state of one moment, and holds a bounded number of bytes, whatever the values' sizes.

use super::Doors;
use super::metrics::OperationName;
use crate::client::ClientError;
use anvil_core::node::Unavailable;
use anvil_core::state::{
    Answer, KeyCondition, KeyOperation, KeyValue, Operation, Query, QueryAnswer, Refusal, SessionStamp, VALUE_SIZE_MAX,
};
use anvil_core::types::{GroupId, SessionId};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::time::Duration;

/// Bodies of writes held at once.
pub(super) const WRITES_MAX: usize = 128;

/// Listings put together at once.
pub(super) const LISTS_MAX: usize = 4;

/// How long the body of a write may take.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Keys of one listing, unless the client wants fewer, and at most.
const LIST_MAX: usize = 1000;

/// Bytes of keys and values after which a listing ends with `more`.
const LIST_BYTES_MAX: usize = 4 << 20;

/// An answer that is not the value: JSON with a code for programs and a sentence for people.
pub(super) fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    document(status, &json!({ "code": code, "message": message }))
}

/// A JSON answer.
pub(super) fn document(status: StatusCode, value: &Value) -> Response {
    let mut response = (status, format!("{value}\n")).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that ends a request early.
type Early = Box<Response>;

fn early(status: StatusCode, code: &str, message: &str) -> Early {
    Box::new(failure(status, code, message))
}

/// Says which operation an answer is of.
pub(super) fn named(mut response: Response, operation: &'static str) -> Response {
    response.extensions_mut().insert(OperationName(operation));
    response
}

/// The key that a path names.
pub(super) fn key_of(path: &str) -> Bytes {
    percent_decode_str(path.strip_prefix("/kv/").unwrap_or("")).collect::<Vec<u8>>().into()
}

fn with_revision(mut response: Response, revision: u64) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-anvil-revision", HeaderValue::from(revision));
    let etag = HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits in quotes are a header value");
    headers.insert(header::ETAG, etag);
    response
}

/// `GET /kv/{key}`.
pub(super) async fn read(State(doors): State<Doors>, request: Request<Body>) -> Response {
    let key = key_of(request.uri().path());
    let answer = doors.client.query(GroupId::REGION, Query::Key { key }).await;
    let response = match answer {
        Ok(QueryAnswer::Key(Some(held))) => {
            let etag = format!("\"{}\"", held.revision);
            let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|given| given == etag.as_str());
            let mut response =
                if known { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(Body::from(held.value)) };
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            // A browser must not take a value for a script.
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            with_revision(response, held.revision)
        }
        Ok(QueryAnswer::Key(None)) => failure(StatusCode::NOT_FOUND, "not_found", "there is no such key"),
        Ok(_) => unexpected("a key"),
        Err(error) => from_client(error),
    };
    named(response, "get")
}

/// `PUT /kv/{key}` and `POST /kv/{key}`.
pub(super) async fn write(State(doors): State<Doors>, request: Request<Body>) -> Response {
    named(write_key(doors, request).await.unwrap_or_else(|response| *response), "put")
}

async fn write_key(doors: Doors, request: Request<Body>) -> Result<Response, Early> {
    let (parts, body) = request.into_parts();
    let key = key_of(parts.uri.path());
    let condition = condition(&parts.headers)?;
    let session = session(&parts.headers)?;
    let _held = doors.writes.acquire().await.map_err(|_| Box::new(from_client(ClientError::Stopping)))?;
    let value = value(&parts.headers, body).await?;
    let operation = Operation::Key(KeyOperation::Put { key, value, condition });
    Ok(decided(doors.client.command(GroupId::REGION, session, operation).await))
}

/// `DELETE /kv/{key}`.
pub(super) async fn remove(State(doors): State<Doors>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    named(remove_key(doors, parts).await.unwrap_or_else(|response| *response), "delete")
}

async fn remove_key(doors: Doors, parts: http::request::Parts) -> Result<Response, Early> {
    let key = key_of(parts.uri.path());
    let condition = condition(&parts.headers)?;
    let session = session(&parts.headers)?;
    let operation = Operation::Key(KeyOperation::Delete { key, condition });
    Ok(decided(doors.client.command(GroupId::REGION, session, operation).await))
}

async fn value(headers: &HeaderMap, body: Body) -> Result<Bytes, Early> {
    let too_large = || early(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a value has at most 1 MiB");
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > VALUE_SIZE_MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, VALUE_SIZE_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(early(StatusCode::BAD_REQUEST, "incomplete", "the body ended before its length")),
        Err(_) => Err(early(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")),
    }
}

/// The condition that the headers state.
pub(super) fn condition(headers: &HeaderMap) -> Result<KeyCondition, Early> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("").trim().to_owned());
    match (text(header::IF_MATCH).as_deref(), text(header::IF_NONE_MATCH).as_deref()) {
        (None, None) => Ok(KeyCondition::Any),
        (Some("*"), None) => Ok(KeyCondition::Present),
        (None, Some("*")) => Ok(KeyCondition::Absent),
        (Some(revision), None) => {
            let number = revision.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(revision);
            let message = "If-Match is a revision in quotes, or *";
            let invalid = |_| early(StatusCode::BAD_REQUEST, "invalid", message);
            number.parse().map(KeyCondition::Revision).map_err(invalid)
        }
        (None, Some(_)) => Err(early(StatusCode::BAD_REQUEST, "invalid", "If-None-Match of a write is *")),
        (Some(_), Some(_)) => {
            Err(early(StatusCode::BAD_REQUEST, "invalid", "If-Match and If-None-Match exclude each other"))
        }
    }
}

/// The place of a write in its client's session.
pub(super) fn session(headers: &HeaderMap) -> Result<Option<SessionStamp>, Early> {
    let number = |name: &str| -> Result<Option<u64>, Early> {
        let Some(value) = headers.get(name) else { return Ok(None) };
        let parsed = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        let message = format!("{name} is not a number");
        parsed.map(Some).ok_or_else(|| early(StatusCode::BAD_REQUEST, "invalid", &message))
    };
    let below = number("x-anvil-answered-below")?;
    match (number("x-anvil-session")?, number("x-anvil-sequence")?) {
        (Some(session), Some(sequence)) => {
            let answered_below = below.unwrap_or(0);
            Ok(Some(SessionStamp { session: SessionId(session), sequence, answered_below }))
        }
        (None, None) if below.is_none() => Ok(None),
        (_, _) => {
            let message = "a write of a session has both x-anvil-session and x-anvil-sequence";
            Err(early(StatusCode::BAD_REQUEST, "invalid", message))
        }
    }
}

fn decided(outcome: Result<Answer, ClientError>) -> Response {
    match outcome {
        Ok(Answer::Key { revision }) => with_revision(StatusCode::OK.into_response(), revision),
        Ok(Answer::SessionExpired) => {
            let message = "the session is not open any more: this request wrote nothing, an earlier one with the same \
                           sequence may have";
            failure(StatusCode::GONE, "session_expired", message)
        }
        Ok(_) => unexpected("a write of a key"),
        Err(error) => from_client(error),
    }
}

/// `POST /-/session`.
pub(super) async fn open_session(State(doors): State<Doors>) -> Response {
    let response = match doors.client.command(GroupId::REGION, None, Operation::OpenSession).await {
        Ok(Answer::Session(session)) => document(StatusCode::OK, &json!({ "session": session.0 })),
        Ok(other) => decided(Ok(other)),
        Err(error) => from_client(error),
    };
    named(response, "open_session")
}

/// What a listing is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListRequest {
    pub(super) prefix: Bytes,
    pub(super) start_after: Bytes,
    pub(super) limit: usize,
}

/// Reads a query string; keys may be any bytes, percent-encoded.
pub(super) fn list_request(query: &str) -> Result<ListRequest, String> {
    let mut request = ListRequest { prefix: Bytes::new(), start_after: Bytes::new(), limit: LIST_MAX };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.replace('+', " ");
        let bytes: Bytes = percent_decode_str(&value).collect::<Vec<u8>>().into();
        match name {
            "prefix" => request.prefix = bytes,
            "start_after" => request.start_after = bytes,
            "limit" => match value.parse::<usize>() {
                Ok(limit) if limit > 0 => request.limit = limit.min(LIST_MAX),
                Ok(_) | Err(_) => return Err("limit is a number from 1".to_owned()),
            },
            other => return Err(format!("there is no parameter {other:?}")),
        }
    }
    Ok(request)
}

/// `GET /kv/?prefix=…&start_after=…&limit=…`.
pub(super) async fn list(State(doors): State<Doors>, request: Request<Body>) -> Response {
    let response = match list_request(request.uri().query().unwrap_or("")) {
        Ok(wanted) => list_keys(&doors, wanted).await.unwrap_or_else(from_client),
        Err(message) => failure(StatusCode::BAD_REQUEST, "invalid", &message),
    };
    named(response, "list")
}

async fn list_keys(doors: &Doors, wanted: ListRequest) -> Result<Response, ClientError> {
    let _held = doors.lists.acquire().await.map_err(|_| ClientError::Stopping)?;
    let ListRequest { prefix, start_after, limit } = wanted;
    // KV-2: one question, so that the page is the state of one moment.
    let query = Query::Keys { prefix, start_after, limit, bytes_max: LIST_BYTES_MAX };
    let answer = doors.client.query(GroupId::REGION, query).await?;
    let QueryAnswer::Keys { keys, more } = answer else { return Ok(unexpected("keys")) };
    let keys: Vec<Value> = keys.iter().map(|(key, held)| entry(key, held)).collect();
    Ok(document(StatusCode::OK, &json!({ "keys": keys, "more": more })))
}

fn entry(key: &[u8], held: &KeyValue) -> Value {
    let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    json!({
        // Text where it is text; the bytes in any case.
        "key": std::str::from_utf8(key).ok(),
        "key_base64": base64(key),
        "value_base64": base64(&held.value),
        "revision": held.revision,
        "created": held.created,
    })
}

fn unexpected(asked: &'static str) -> Response {
    tracing::error!(asked, "the node answered another question");
    failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the node gave an answer of the wrong kind")
}

/// The node did not do it.
pub(super) fn from_client(error: ClientError) -> Response {
    match error {
        ClientError::Refused(refusal) => from_refusal(refusal),
        ClientError::Unavailable(why) => from_unavailable(&why),
        ClientError::Stopping => failure(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the node is stopping"),
    }
}

fn from_refusal(refusal: Refusal) -> Response {
    match refusal {
        Refusal::NotFound => failure(StatusCode::NOT_FOUND, "not_found", "there is no such key"),
        // KV-1
        Refusal::Conflict { revision } => {
            let response = failure(StatusCode::PRECONDITION_FAILED, "conflict", "the condition does not hold");
            with_revision(response, revision)
        }
        Refusal::Invalid(message) => failure(StatusCode::BAD_REQUEST, "invalid", &message),
        Refusal::NoSuchBucket
        | Refusal::BucketExists
        | Refusal::BucketNotEmpty
        | Refusal::NoSuchKey
        | Refusal::ConditionFailed
        | Refusal::NoSuchUpload
        | Refusal::InvalidPart(_)
        | Refusal::InvalidPartOrder
        | Refusal::PartTooSmall(_)
        | Refusal::Expired
        | Refusal::BucketTaken
        | Refusal::BucketState(_)
        | Refusal::NoSuchVersion
        | Refusal::DeleteMarker { .. }
        | Refusal::NoLock
        | Refusal::Locked
        | Refusal::InvalidTag(_)
        | Refusal::Cluster(_) => {
            tracing::error!(?refusal, "a key was refused for a reason of objects");
            failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the node gave an answer of the wrong kind")
        }
    }
}

fn from_unavailable(why: &Unavailable) -> Response {
    let (status, code, message) = match why {
        Unavailable::NotLeader { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "no_leader", "no node leads at the moment; nothing happened; try again")
        }
        Unavailable::Busy => {
            (StatusCode::SERVICE_UNAVAILABLE, "busy", "too much waits already; nothing happened; try again later")
        }
        Unavailable::Uncertain => {
            (StatusCode::SERVICE_UNAVAILABLE, "uncertain", "the lead was lost: the write may or may not take effect")
        }
        Unavailable::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk_full", "a drive is full; nothing was stored"),
        Unavailable::Disk(_) => (StatusCode::INTERNAL_SERVER_ERROR, "disk", "a drive failed; nothing was stored"),
        Unavailable::TooFewDrives(_) | Unavailable::Unreachable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "unreachable", "too few nodes can be reached; nothing was stored")
        }
        Unavailable::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "damaged", "the stored bytes are damaged"),
        Unavailable::UnknownHandle | Unavailable::Misuse(_) | Unavailable::Change(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the node refused the request's form")
        }
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(?why, "a request on keys failed");
    }
    let mut response = failure(status, code, message);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
