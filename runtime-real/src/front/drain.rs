//! Bodies that nobody wanted to the end.
//!
//! A refusal may come before the request's body was read. Closing the connection then resets it under a client that is
//! still sending, which loses the answer; so the rest is read and dropped beside, within bounds.

use axum::body::Body;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How much of a refused body is read and dropped, in bytes, and for how long.
const DRAIN_MAX: usize = 16 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Whether the client waits to be told to send its body. HTTP/2 has streams for that.
pub(crate) fn waits<B>(request: &Request<B>) -> bool {
    request.version() <= Version::HTTP_11 && request.headers().contains_key(header::EXPECT)
}

/// Lets every request of the doors have such a body.
pub(super) async fn drain(request: Request<Body>, next: Next) -> Response {
    let sending = !waits(&request);
    next.run(request.map(|inner| Body::new(Drained { inner, sending }))).await
}

/// A body whose rest is drained when it is dropped.
struct Drained {
    inner: Body,
    /// Whether the client may still be sending.
    sending: bool,
}

impl http_body::Body for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.sending = matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.inner)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if !self.sending || http_body::Body::is_end_stream(&self.inner) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut inner = std::mem::take(&mut self.inner);
        runtime.spawn(async move {
            let drained = async {
                let mut left = DRAIN_MAX;
                while let Some(Ok(frame)) = inner.frame().await {
                    left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                    if left == 0 {
                        return;
                    }
                }
            };
            // Out of time is as good as out of bytes.
            let _ = tokio::time::timeout(DRAIN_TIME, drained).await;
        });
    }
}
