//! `Put` and a linearizable `Range` of etcd's API version 3: unary calls of gRPC on an HTTP/2 connection of its own.
//!
//! A call is a POST whose body is one message with five bytes before it (a flag, and the length, big-endian); its answer is
//! the same, and a trailer says how it went. That and four fields of the messages are all of etcd that a client needs here.

use super::KvOperation;
use crate::endpoint::{Endpoint, OPERATION_TIME};
use anyhow::{Context as _, bail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

/// `etcdserverpb.PutRequest`, the fields that are used.
#[derive(Clone, PartialEq, Eq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `etcdserverpb.RangeRequest`: one key, linearizable because `serializable` is left out.
#[derive(Clone, PartialEq, Eq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

/// `etcdserverpb.RangeResponse`, the fields that are used.
#[derive(Clone, PartialEq, Eq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

/// `mvccpb.KeyValue`, the fields that are used.
#[derive(Clone, PartialEq, Eq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

/// Bytes before a message.
const PREFIX: usize = 5;

/// One client's connection.
#[derive(Debug)]
pub(super) struct EtcdConnection {
    endpoint: Endpoint,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl EtcdConnection {
    /// A connection, made when it is first needed and again when it broke.
    pub(super) fn new(endpoint: Endpoint) -> EtcdConnection {
        EtcdConnection { endpoint, sender: None }
    }

    /// Puts `value`, or gets a key that must have a value of its length.
    pub(super) async fn operate(&mut self, operation: KvOperation, key: String, value: &Bytes) -> anyhow::Result<()> {
        let key = Bytes::from(key);
        match operation {
            KvOperation::Put => {
                let request = PutRequest { key, value: value.clone() };
                self.call("/etcdserverpb.KV/Put", &request).await?;
            }
            KvOperation::Get => {
                let answer = self.call("/etcdserverpb.KV/Range", &RangeRequest { key }).await?;
                let answer = RangeResponse::decode(answer).context("the answer is no RangeResponse")?;
                let found = answer.kvs.first().map(|held| held.value.len());
                if found != Some(value.len()) {
                    bail!("a value of {} bytes came back with {found:?}", value.len());
                }
            }
        }
        Ok(())
    }

    async fn call(&mut self, path: &str, message: &impl Message) -> anyhow::Result<Bytes> {
        let outcome = tokio::time::timeout(OPERATION_TIME, self.exchange(path, message)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {} s", OPERATION_TIME.as_secs())));
        if outcome.is_err() {
            self.sender = None;
        }
        outcome
    }

    async fn exchange(&mut self, path: &str, message: &impl Message) -> anyhow::Result<Bytes> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            Some(_) | None => {
                anyhow::ensure!(!self.endpoint.is_encrypted(), "an etcd is spoken to without TLS");
                let stream = TokioIo::new(self.endpoint.stream().await?);
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                sender
            }
        };
        sender.ready().await?;
        let request = Request::post(format!("http://{}{path}", self.endpoint.authority))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(framed(message)))?;
        let response = sender.send_request(request).await?;
        self.sender = Some(sender);
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            bail!("a call was answered with {}", head.status);
        }
        let collected = body.collect().await?;
        // A call that fails at once has its status in the head.
        check_status(collected.trailers().unwrap_or(&head.headers))?;
        unframed(collected.to_bytes())
    }
}

fn check_status(trailers: &HeaderMap) -> anyhow::Result<()> {
    let said = |name| trailers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match said("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some(status) => bail!("a call failed with status {status}: {}", said("grpc-message").unwrap_or_default()),
        None => bail!("an answer without grpc-status; is this an etcd?"),
    }
}

/// A message as the body of a call, not compressed.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(PREFIX + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).expect("a value has at most some MiB"));
    message.encode(&mut body).expect("the buffer grows");
    body.freeze()
}

/// The only message of an answer's body.
pub(super) fn unframed(mut body: Bytes) -> anyhow::Result<Bytes> {
    if body.len() < PREFIX || body.get_u8() != 0 {
        bail!("an answer is no plain message of gRPC");
    }
    if usize::try_from(body.get_u32())? != body.len() {
        bail!("an answer is not one message of gRPC");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_laid_out_as_the_protocol_says() {
        // Protobuf: field 1 and 2, both length-delimited. gRPC: flag 0, length big-endian.
        let request = PutRequest { key: "k1".into(), value: "abc".into() };
        assert_eq!(framed(&request), b"\0\0\0\0\x09\x0a\x02k1\x12\x03abc".as_slice());
        assert_eq!(framed(&RangeRequest { key: "k".into() }), b"\0\0\0\0\x03\x0a\x01k".as_slice());
        // A header (field 1) and a count (field 4) are passed over, and so are the revisions of the key.
        let answer = b"\x0a\x02\x08\x01\x12\x09\x0a\x01k\x10\x05\x2a\x02vv\x20\x01".as_slice();
        let answer = RangeResponse::decode(answer).unwrap();
        assert_eq!(answer.kvs, [KeyValue { value: "vv".into() }]);
    }

    #[test]
    fn an_answer_is_one_whole_message() {
        assert_eq!(unframed(Bytes::from_static(b"\0\0\0\0\x02ab")).unwrap(), b"ab".as_slice());
        for wrong in [b"".as_slice(), b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab"] {
            assert!(unframed(Bytes::from_static(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_call_succeeds_by_its_status_only() {
        let trailers = |status| HeaderMap::from_iter([("grpc-status".parse().unwrap(), status)]);
        assert!(check_status(&trailers(http::HeaderValue::from_static("0"))).is_ok());
        assert!(check_status(&trailers(http::HeaderValue::from_static("14"))).is_err());
        assert!(check_status(&HeaderMap::<http::HeaderValue>::new()).is_err());
    }
}
