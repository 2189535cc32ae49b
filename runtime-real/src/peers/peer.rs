//! One known peer: where it is, what waits for it, and what has passed.

use super::frame::{Frame, StreamKind};
use super::pace::Pace;
use super::queue::{Limits, Queue};
use anvil_core::types::NodeId;
use quinn::Connection;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Small control frames. More than a second of them at any rate that makes sense.
const CONTROL_QUEUE: Limits = Limits { frames: 16 << 10, bytes: 16 << 20 };

/// Large control frames, such as a batch of entries, and bulk frames.
const SINGLE_QUEUE: Limits = Limits { frames: 1 << 10, bytes: 32 << 20 };

/// After a pause of this length a frame means that somebody wants the peer again, and it is dialed at once.
const QUIET: Duration = Duration::from_millis(500);

/// What passed between this node and a peer since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether frames can be sent.
    pub reachable: bool,
    /// Frames given to the network.
    pub frames_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Frames that came.
    pub frames_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Frames dropped because their queue was full, they were too large, or the peer could not be reached.
    pub frames_dropped: u64,
    /// Bytes that wait to be sent.
    pub bytes_waiting: u64,
    /// How often a connection to the peer was made after the first one.
    pub reconnects: u64,
    /// The round trip, while reachable.
    pub rtt: Option<Duration>,
}

/// The counts behind [`Figures`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) frames_sent: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) frames_received: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) frames_dropped: AtomicU64,
    pub(super) connections: AtomicU64,
}

pub(super) fn add(count: &AtomicU64, by: usize) {
    count.fetch_add(by as u64, Ordering::Relaxed);
}

/// A peer, shared by the senders, the task that keeps the connection, and the readers of what it sends.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: watch::Sender<SocketAddr>,
    pub(super) control: Queue,
    /// Large control frames: not behind bulk.
    pub(super) batches: Queue,
    pub(super) bulk: Queue,
    pub(super) counts: Counts,
    /// The connection to it, while it stands.
    pub(super) standing: Mutex<Option<Connection>>,
    /// Ends the pause before the next attempt to connect.
    pub(super) wanted: Notify,
    asked: Mutex<Option<Instant>>,
    full: Pace,
}

impl Peer {
    pub(super) fn new(node: NodeId, address: SocketAddr) -> Peer {
        Peer {
            node,
            address: watch::Sender::new(address),
            control: Queue::new(CONTROL_QUEUE),
            batches: Queue::new(SINGLE_QUEUE),
            bulk: Queue::new(SINGLE_QUEUE),
            counts: Counts::default(),
            standing: Mutex::default(),
            wanted: Notify::new(),
            asked: Mutex::default(),
            full: Pace::new(Duration::from_secs(30)),
        }
    }

    /// Queues a frame, or drops and counts it. Never blocks.
    pub(super) fn send(&self, frame: Frame) {
        let now = Instant::now();
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if asked.is_none_or(|asked| now.duration_since(asked) > QUIET) {
            self.wanted.notify_one();
        }
        let (lane, size) = (frame.lane, frame.size());
        let queued = match frame.kind() {
            Some(StreamKind::Control) => self.control.push(frame),
            Some(StreamKind::Single) => match lane {
                super::Lane::Control => self.batches.push(frame),
                super::Lane::Bulk => self.bulk.push(frame),
            },
            None => false,
        };
        if !queued {
            add(&self.counts.frames_dropped, 1);
            if let Some(more) = self.full.line() {
                let node = self.node;
                tracing::warn!("a frame of {size} bytes for node {node} was dropped: too much waits for it{more}");
            }
        }
    }

    /// Drops what waits, since it cannot be sent soon and would only be old when it can. How many frames there were.
    pub(super) fn drop_waiting(&self) -> usize {
        let dropped = [&self.control, &self.batches, &self.bulk].map(Queue::clear).iter().sum();
        add(&self.counts.frames_dropped, dropped);
        dropped
    }

    pub(super) fn stand(&self, connection: Option<Connection>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    pub(super) fn figures(&self) -> Figures {
        let rtt = self.standing.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Connection::rtt);
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let waiting: usize = [&self.control, &self.batches, &self.bulk].map(Queue::bytes).iter().sum();
        Figures {
            reachable: rtt.is_some(),
            frames_sent: get(&self.counts.frames_sent),
            bytes_sent: get(&self.counts.bytes_sent),
            frames_received: get(&self.counts.frames_received),
            bytes_received: get(&self.counts.bytes_received),
            frames_dropped: get(&self.counts.frames_dropped),
            bytes_waiting: waiting as u64,
            reconnects: get(&self.counts.connections).saturating_sub(1),
            rtt,
        }
    }
}
