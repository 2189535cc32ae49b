//! A body on its way out: from the node's reader to the client's socket.
//!
//! The first bytes are read before the response begins, so that an object that cannot be read at all is an error with a
//! status. After that a task feeds a channel of one; a client that stops reading loses the task, and with it the
//! stripes it holds, after [`STALLED`].
//!
//! - `OUT-1` A body that cannot be completed ends in an error, which breaks the connection: a client never takes a
//!   short body for a whole one.
//! - `OUT-2` A stalled client holds memory for a bounded time.

use super::error::from_client;
use crate::client::{ClientError, Reader};
use bytes::Bytes;
use futures_util::Stream;
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{Body, S3Result, StdError};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a client may take none of the bytes that wait for it.
const STALLED: Duration = Duration::from_secs(120);

/// The `size` bytes of `reader` as a response body.
pub(super) async fn body(mut reader: Reader, size: u64) -> S3Result<StreamingBlob> {
    if size == 0 {
        return Ok(StreamingBlob::from(Body::empty()));
    }
    let first = match reader.next().await {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => return Err(from_client(error)),
        None => return Err(from_client(ClientError::Stopping)),
    };
    if first.len() as u64 == size {
        return Ok(StreamingBlob::from(Body::from(first)));
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(pump(reader, sender));
    Ok(StreamingBlob::new(Outflow { first: Some(first), receiver, left: size }))
}

async fn pump(mut reader: Reader, sender: mpsc::Sender<Result<Bytes, ClientError>>) {
    while let Some(next) = reader.next().await {
        let last = next.is_err();
        // OUT-2
        if sender.send_timeout(next, STALLED).await.is_err() || last {
            return;
        }
    }
}

/// A body that broke off.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the object could not be read to its end: {}", self.0)
    }
}

impl std::error::Error for Broken {}

struct Outflow {
    first: Option<Bytes>,
    receiver: mpsc::Receiver<Result<Bytes, ClientError>>,
    left: u64,
}

impl Stream for Outflow {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => std::task::ready!(self.receiver.poll_recv(cx)),
        };
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                self.left = self.left.checked_sub(bytes.len() as u64).expect("a reader returns no more than its range");
                Some(Ok(bytes))
            }
            // OUT-1
            Some(Err(error)) => {
                tracing::error!(?error, "a response body broke off");
                Some(Err(Box::new(Broken(format!("{error:?}"))) as StdError))
            }
            None if self.left > 0 => Some(Err(Box::new(Broken("the reader stopped".to_owned())) as StdError)),
            None => None,
        })
    }
}

impl ByteStream for Outflow {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}
