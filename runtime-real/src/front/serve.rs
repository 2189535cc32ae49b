//! Connections: accepted, bounded, timed, and drained at the end.
//!
//! - `SERVE-1` A client that sends no complete request head in time, or too large a one, loses its connection. The
//!   reader that tells HTTP/1 from HTTP/2 has no timeout of its own, so the first request has one here.
//! - `SERVE-3` A client that takes none of the bytes sent to it for [`STALLED`] loses its connection.
//! - `SERVE-2` Stopping takes bounded time: no new connections at once, those under way get [`DRAIN`].
//! - `SERVE-5` With TLS a client has the same time for its first byte, and for its handshake.
//! - `SERVE-4` A connection that the system made for us before we stopped listening is served: its client does not know that it
//!   comes late, and its request may be on its way. One that has had no request for [`SETTLE`] is closed.

use super::tls::{self, Tls};
use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
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
/// For what a client was still sending when it was refused.
const LINGER: Duration = Duration::from_millis(200);
/// Before the next try when the machine has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who sent a request, and how. In the extensions of each.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it came by TLS.
    pub is_encrypted: bool,
}

/// Serves `router` on `listener` until `shutdown` resolves, then drains.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future,
) -> io::Result<()> {
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
    let encryption = tls.as_ref().map(|tls| Encryption { acceptor: tls.acceptor(), only: tls.only });
    let mut following = JoinSet::new();
    if let Some(tls) = tls {
        following.spawn(tls.follow());
    }
    let (graceful, tasks) = (GracefulShutdown::new(), JoinSet::new());
    let mut connections = Connections { builder, router, encryption, graceful, tasks };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, address)| (stream, address, permit))
        };
        tokio::select! {
            _ = &mut shutdown => break,
            // Collected as they end, so that the set holds living connections only.
            Some(_) = connections.tasks.join_next() => {}
            accepted = accepted => match accepted {
                Ok((stream, address, permit)) => connections.serve(stream, address, permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // SERVE-4
    for (stream, address) in backlog(listener)? {
        if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
            connections.serve(stream, address, permit);
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
fn backlog(listener: TcpListener) -> io::Result<Vec<(TcpStream, SocketAddr)>> {
    let listener = listener.into_std()?;
    let mut waiting = Vec::new();
    while let Ok((stream, address)) = listener.accept() {
        stream.set_nonblocking(true)?;
        waiting.push((TcpStream::from_std(stream)?, address));
    }
    Ok(waiting)
}

/// How the port speaks TLS.
#[derive(Clone)]
struct Encryption {
    acceptor: TlsAcceptor,
    only: bool,
}

/// The connections of clients.
struct Connections {
    builder: Builder<TokioExecutor>,
    router: Router,
    encryption: Option<Encryption>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

/// What one connection needs to be served.
struct Serving {
    builder: Builder<TokioExecutor>,
    router: Router,
    watcher: Watcher,
}

/// A stream to a client, which is given up when the client stands still (`SERVE-3`).
type Stream = Pin<Box<TimeoutStream<TcpStream>>>;

impl Connections {
    /// Serves one until it ends. `permit` is its place among those at once.
    fn serve(&mut self, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        let (builder, router) = (self.builder.clone(), self.router.clone());
        let serving = Serving { builder, router, watcher: self.graceful.watcher() };
        let encryption = self.encryption.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            match encryption {
                None => serving.converse(timed(stream), Peer { address, is_encrypted: false }).await,
                Some(encryption) => serving.begin(stream, address, encryption).await,
            }
        });
    }
}

impl Serving {
    /// Finds out whether the client wants TLS.
    async fn begin(self, stream: TcpStream, address: SocketAddr, encryption: Encryption) {
        let mut first = [0];
        // SERVE-5
        match tokio::time::timeout(HEAD_TIME, stream.peek(&mut first)).await {
            Ok(Ok(1)) => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return,
        }
        let stream = timed(stream);
        if first == [tls::HANDSHAKE] {
            match tokio::time::timeout(HEAD_TIME, encryption.acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.converse(stream, Peer { address, is_encrypted: true }).await,
                Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                Err(_) => tracing::debug!("a handshake was not completed"),
            }
        } else if encryption.only {
            refuse_plain(stream).await;
        } else {
            self.converse(stream, Peer { address, is_encrypted: false }).await;
        }
    }

    /// Answers requests until one side has had enough.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, peer: Peer) {
        let begun = Arc::new(Notify::new());
        let first = Arc::clone(&begun);
        let service = TowerToHyperService::new(self.router.map_request(move |mut request: Request<Incoming>| {
            first.notify_one();
            request.extensions_mut().insert(peer);
            request
        }));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = self.watcher.watch(connection);
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
    }
}

fn timed(stream: TcpStream) -> Stream {
    let mut stream = TimeoutStream::new(stream);
    // SERVE-3
    stream.set_write_timeout(Some(STALLED));
    Box::pin(stream)
}

/// Tells a client without TLS what is wrong.
async fn refuse_plain(mut stream: Stream) {
    const TEXT: &str = "this port speaks TLS only; use https\n";
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{TEXT}", TEXT.len());
    // A client that does not wait for the answer needs none.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    // What is closed with bytes that nobody read is reset, and the answer with it.
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
}
