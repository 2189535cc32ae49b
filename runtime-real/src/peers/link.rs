//! The connection to one peer, over which everything for it goes: made, used, lost, made again.
//!
//! - `LINK-1` Control frames leave in order on one stream whose priority is above every other, so no shard and no
//!   snapshot delays a heartbeat.
//! - `LINK-2` Bulk is bounded in streams and in bytes that the peer has not acknowledged, below the connection's window
//!   (`QUIC-3`).
//! - `LINK-3` A peer counts as reachable once it has said that it takes our frames, not once packets come back.
//! - `LINK-4` What waits while a peer cannot be reached is dropped with each failed attempt: what arrives after an outage
//!   is not older than the last attempt. Whoever sent it hears again that the peer cannot be reached, and need not wait for an
//!   answer.

use super::Mesh;
use super::frame::{Frame, StreamKind};
use super::peer::{Peer, add};
use super::queue::Queue;
use super::verify::PeerName;
use bytes::Bytes;
use quinn::{ConnectError, Connection, ConnectionError, SendStream, WriteError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// The pause after a failed attempt: doubles from the first to the last, each shortened by chance by up to a half.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// What the accepting side says when it takes our frames.
pub(super) const WELCOME: [u8; 1] = [1];

/// Frames under way of one queue.
struct InFlight {
    streams: usize,
    bytes: usize,
}

/// LINK-2: together less than the connection's window, even when each has one frame that is larger than its share.
const BULK: InFlight = InFlight { streams: 32, bytes: 16 << 20 };
const BATCHES: InFlight = InFlight { streams: 8, bytes: 8 << 20 };

/// Why there is no connection.
#[derive(Debug)]
enum DialError {
    /// The address cannot be dialed from this socket.
    Address(ConnectError),
    /// Nobody answered, or with something else than what we expect.
    Connection(ConnectionError),
    /// The peer did not say that it takes frames.
    NotWelcome,
    /// It took too long.
    Timeout,
}

impl std::fmt::Display for DialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DialError::Address(error) => write!(f, "the address cannot be used: {error}"),
            DialError::Connection(ConnectionError::ApplicationClosed(close)) => {
                write!(f, "it refused: {}", String::from_utf8_lossy(&close.reason))
            }
            DialError::Connection(error) => error.fmt(f),
            DialError::NotWelcome => f.write_str("it does not speak as a node does"),
            DialError::Timeout => write!(f, "no answer within {} s", ATTEMPT.as_secs()),
        }
    }
}

/// Keeps a connection to `peer` for as long as it is known.
pub(super) async fn keep(mesh: Arc<Mesh>, peer: Arc<Peer>) {
    let mut pause = PAUSE_FIRST;
    let mut told = None;
    let mut tell = |reachable, again| {
        if told != Some(reachable) || again {
            told = Some(reachable);
            mesh.handler.reachable(peer.node, reachable);
        }
    };
    let mut moved = peer.address.subscribe();
    loop {
        let address = *moved.borrow_and_update();
        let mut frames_lost = false;
        match dial(&mesh, &peer, address).await {
            Ok(connection) => {
                let since = Instant::now();
                add(&peer.counts.connections, 1);
                peer.stand(Some(connection.clone()));
                mesh.unreachable_lines(peer.node).forget();
                tracing::info!("node {} at {address} is reachable", peer.node);
                tell(true, false);
                let why = tokio::select! {
                    why = send_all(&peer, &connection) => why.to_string(),
                    _ = moved.changed() => "its address has changed".to_owned(),
                };
                connection.close(0u8.into(), b"the connection is made anew");
                peer.stand(None);
                tracing::warn!("the connection to node {} at {address} ended: {why}", peer.node);
                if since.elapsed() > PAUSE_LAST {
                    pause = PAUSE_FIRST;
                }
            }
            Err(error) => {
                if let Some(more) = mesh.unreachable_lines(peer.node).line() {
                    tracing::warn!("node {} at {address} cannot be reached: {error}{more}", peer.node);
                }
                // LINK-4. A peer that is just starting is heard before it is reached, and is sent to in between.
                frames_lost = peer.drop_waiting() > 0;
            }
        }
        tell(false, frames_lost);
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => pause = (pause * 2).min(PAUSE_LAST),
            () = peer.wanted.notified() => pause = PAUSE_FIRST,
            _ = moved.changed() => pause = PAUSE_FIRST,
        }
    }
}

fn jittered(pause: Duration) -> Duration {
    let [chance] = crate::node::random::<1>();
    pause - pause * u32::from(chance) / 512
}

async fn dial(mesh: &Mesh, peer: &Peer, address: SocketAddr) -> Result<Connection, DialError> {
    let name = PeerName { node: peer.node, cluster: mesh.cluster };
    let connecting = mesh.endpoint.connect_with(mesh.client.clone(), address, &name.to_dns());
    let connecting = connecting.map_err(DialError::Address)?;
    let attempt = async {
        let connection = connecting.await.map_err(DialError::Connection)?;
        // LINK-3
        let mut welcome = connection.accept_uni().await.map_err(DialError::Connection)?;
        let mut word = [0; WELCOME.len()];
        if welcome.read_exact(&mut word).await.is_ok() && word == WELCOME {
            return Ok(connection);
        }
        Err(connection.close_reason().map_or(DialError::NotWelcome, DialError::Connection))
    };
    timeout(ATTEMPT, attempt).await.unwrap_or(Err(DialError::Timeout))
}

/// Sends what is queued until the connection is lost.
async fn send_all(peer: &Peer, connection: &Connection) -> ConnectionError {
    tokio::select! {
        why = connection.closed() => why,
        _ = send_control(peer, connection) => connection.closed().await,
        () = send_singly(peer, &peer.batches, connection, StreamKind::Single, BATCHES) => connection.closed().await,
        () = send_singly(peer, &peer.bulk, connection, StreamKind::Single, BULK) => connection.closed().await,
    }
}

/// LINK-1. Frames that are there at the same time leave together.
async fn send_control(peer: &Peer, connection: &Connection) -> Result<(), WriteError> {
    const TOGETHER: usize = 256 << 10;
    let mut stream = open(connection, StreamKind::Control).await?;
    loop {
        let frames = peer.control.take(TOGETHER).await;
        let mut parts: Vec<Bytes> = frames.iter().flat_map(parts).collect();
        stream.write_all_chunks(&mut parts).await?;
        frames.iter().for_each(|frame| count_sent(peer, frame));
    }
}

/// Sends each frame of a queue on a stream of its own. Ends when the connection does.
async fn send_singly(peer: &Peer, queue: &Queue, connection: &Connection, kind: StreamKind, in_flight: InFlight) {
    let room = Arc::new(Semaphore::new(in_flight.bytes));
    let mut streams = JoinSet::new();
    loop {
        while streams.len() >= in_flight.streams {
            streams.join_next().await;
        }
        for frame in queue.take(1).await {
            let wants = u32::try_from(frame.size().clamp(1, in_flight.bytes)).expect("a share is a few MiB");
            let Ok(share) = Arc::clone(&room).acquire_many_owned(wants).await else { return };
            count_sent(peer, &frame);
            let connection = connection.clone();
            streams.spawn(async move {
                // An error here is the connection's, which the caller sees.
                let _ = send_one(&connection, kind, &frame).await;
                drop(share);
            });
        }
        if connection.close_reason().is_some() {
            return;
        }
    }
}

async fn send_one(connection: &Connection, kind: StreamKind, frame: &Frame) -> Result<(), WriteError> {
    let mut stream = open(connection, kind).await?;
    stream.write_all_chunks(&mut parts(frame)).await?;
    // It cannot have been finished before.
    let _ = stream.finish();
    // Until the peer has it all, it counts as under way.
    let _ = stream.stopped().await;
    Ok(())
}

async fn open(connection: &Connection, kind: StreamKind) -> Result<SendStream, WriteError> {
    let mut stream = connection.open_uni().await.map_err(WriteError::ConnectionLost)?;
    let priority = match kind {
        StreamKind::Control => 2,
        StreamKind::Single => 1,
    };
    let _ = stream.set_priority(priority);
    stream.write_all(&[kind as u8]).await?;
    Ok(stream)
}

/// What goes over the wire. Head and body are not copied.
fn parts(frame: &Frame) -> [Bytes; 3] {
    [frame.lengths(), frame.head.clone(), frame.body.clone()]
}

fn count_sent(peer: &Peer, frame: &Frame) {
    add(&peer.counts.frames_sent, 1);
    add(&peer.counts.bytes_sent, frame.size());
}
