//! Connections: accepted, bounded, timed, and drained at the end.
//!
//! - `SERVE-1` A client that sends no complete request head in time, or too large a one, loses its connection. The
//!   reader that tells HTTP/1 from HTTP/2 has no timeout of its own, so the first request has one here.
//! - `SERVE-3` A client that takes none of the bytes sent to it for [`STALLED`] loses its connection.
//! - `SERVE-2` Stopping takes bounded time: no new connections at once, those under way get [`DRAIN`].
//! - `SERVE-4` A connection that the system made for us before we stopped listening is served: its client does not know that it
//!   comes late, and its request may be on its way. One that has had no request for [`SETTLE`] is closed.

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

/// For the head of a request, and for the first request of a connection.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a client may take none of the bytes that wait for it.
const STALLED: Duration = Duration::from_secs(60);
/// Largest head of a request, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 128;
/// Connections at once; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 32;
/// For requests under way when the node stops.
pub(super) const DRAIN: Duration = Duration::from_secs(20);
/// For the request of a connection that was made just before the node stopped.
const SETTLE: Duration = Duration::from_millis(200);
/// Before the next try when the machine has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `shutdown` resolves, then drains.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future) -> io::Result<()> {
    let mut builder = Builder::new(TokioExecutor::new());
    // SERVE-1
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        // A client that has sent all it will send still reads why that was too little.
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_MAX).expect("64 KiB fits"))
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(HEAD_TIME);
    let mut connections = Connections { builder, router, graceful: GracefulShutdown::new(), tasks: JoinSet::new() };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, permit))
        };
        tokio::select! {
            _ = &mut shutdown => break,
            // Collected as they end, so that the set holds living connections only.
            Some(_) = connections.tasks.join_next() => {}
            accepted = accepted => match accepted {
                Ok((stream, permit)) => connections.serve(stream, permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // SERVE-4
    for stream in backlog(listener)? {
        if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
            connections.serve(stream, permit);
        }
    }
    let all_ended = async { while connections.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(SETTLE, all_ended).await.is_ok() {
        return Ok(());
    }
    // SERVE-2
    let Connections { graceful, mut tasks, .. } = connections;
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were under way for too long; their connections are closed");
    }
    tasks.shutdown().await;
    Ok(())
}

/// Stops listening. What the system has accepted for us by then, whether or not the reactor has heard of it (`SERVE-4`).
fn backlog(listener: TcpListener) -> io::Result<Vec<TcpStream>> {
    let listener = listener.into_std()?;
    let mut waiting = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        waiting.push(TcpStream::from_std(stream)?);
    }
    Ok(waiting)
}

/// The connections of clients.
struct Connections {
    builder: Builder<TokioExecutor>,
    router: Router,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

impl Connections {
    /// Serves one until it ends. `permit` is its place among those at once.
    fn serve(&mut self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        let begun = Arc::new(Notify::new());
        let first = Arc::clone(&begun);
        let service = TowerToHyperService::new(self.router.clone().map_request(move |request: Request<Incoming>| {
            first.notify_one();
            request
        }));
        // SERVE-3
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(STALLED));
        let connection = self.builder.serve_connection(TokioIo::new(Box::pin(stream)), service).into_owned();
        let connection = self.graceful.watch(connection);
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                begun = tokio::time::timeout(HEAD_TIME, begun.notified()) => match begun {
                    Ok(()) => connection.await,
                    // SERVE-1
                    Err(_) => return,
                },
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
        });
    }
}
