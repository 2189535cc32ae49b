//! The transport between nodes: frames of bytes to known peers, over QUIC with mutual TLS.
//!
//! The intuition: a node dials every peer and keeps that connection for what it sends; what it receives comes over the
//! connections that its peers dial. So a pair has two, each with one owner who makes it again when it is lost, and there is
//! nothing to agree on when both dial at once or one restarts. The cost is a second handshake and keep-alive for a pair,
//! which is nothing beside what passes. All connections of a node use one UDP port.
//!
//! A message may be lost, and frames on streams of their own may overtake each other. The core is built for that, so nothing
//! here acknowledges or repeats a frame.
//!
//! - `PEERS-1` Sending never blocks, and what waits for a peer is bounded. What has no room is dropped and counted.
//! - `PEERS-2` A frame is handed on only as that of the node whose certificate the connection showed.
//! - `PEERS-3` A node that is removed from the known ones loses its connections at once, and gets no new one.
//!
//! Source: RFC 9000. The bytes: `docs/formats/peer-transport.md`.
//!
//! How a node becomes a member: `join.rs` asks, `desk.rs` answers, `token.rs` is what an operator carries from one to the other.
//!
//! Not here: what the frames mean (`anvil-proto`), and who is a member (the core says, through [`Peers::set_known`]).

mod accept;
pub mod ca;
mod desk;
mod enter;
mod frame;
pub mod join;
mod link;
mod pace;
mod peer;
mod queue;
mod quic;
pub mod token;
mod verify;

pub use ca::{Ca, CaError, Identity, NodeKey, PublicKey};
pub use desk::{Admit, Desk, Place};
pub use enter::{EnterError, Wish, open_or_join};
pub use frame::{BODY_SIZE_MAX, CONTROL_SIZE_MAX, Frame, HEAD_SIZE_MAX, Lane};
pub use join::{Admission, Applicant, JoinError, join};
pub use peer::Figures;
pub use token::{JoinToken, TokenError};

use accept::{Close, HALF_OPEN_MAX, HalfOpen, close};
use anvil_core::types::NodeId;
use bytes::Bytes;
use desk::Queueing;
use pace::Pace;
use peer::Peer;
use quinn::{Connection, Endpoint, VarInt};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime;
use tokio::task::AbortHandle;

/// A line about strangers and misbehaving peers appears at most once in this time.
const REFUSAL_LINES: Duration = Duration::from_secs(5);

/// A line about a peer that cannot be reached appears at most once in this time.
const UNREACHABLE_LINES: Duration = Duration::from_secs(60);

/// How long a stopping node waits for its peers to hear of it.
const FAREWELL: Duration = Duration::from_millis(500);

/// Hears what happens. Called from tasks of the runtime, several at a time: it must not block.
pub trait Handler: Send + Sync + 'static {
    /// A frame came from a member. Those of the control stream come in order.
    fn frame(&self, from: NodeId, head: Bytes, body: Bytes);

    /// Whether frames for `node` can be sent. Said once it is known, and when it changes.
    fn reachable(&self, node: NodeId, yes: bool);
}

/// The running transport of a node. Dropping it closes every connection.
pub struct Peers {
    mesh: Arc<Mesh>,
    accepting: AbortHandle,
}

/// What the tasks share.
struct Mesh {
    cluster: u128,
    node: NodeId,
    endpoint: Endpoint,
    client: quinn::ClientConfig,
    handler: Arc<dyn Handler>,
    members: Mutex<BTreeMap<NodeId, Member>>,
    half_open: HalfOpen,
    desk: Mutex<Option<Arc<Desk>>>,
    queueing: Queueing,
    refusals: AtomicU64,
    refusal_lines: Pace,
    runtime: runtime::Handle,
    /// For the tasks of new peers.
    this: Weak<Mesh>,
}

/// A known peer with its task and the connection that it made to us.
struct Member {
    peer: Arc<Peer>,
    keeping: AbortHandle,
    inbound: Option<Connection>,
    unreachable_lines: Arc<Pace>,
}

impl Drop for Member {
    // PEERS-3
    fn drop(&mut self) {
        self.keeping.abort();
        let outbound = self.peer.standing.lock().unwrap_or_else(PoisonError::into_inner).take();
        for connection in outbound.iter().chain(&self.inbound) {
            close(connection, Close::Stranger, "the node is no member of this cluster");
        }
    }
}

impl Peers {
    /// Binds the UDP port `bind` and begins to dial the `known` peers. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start(
        identity: &Identity,
        bind: SocketAddr,
        known: &[(NodeId, SocketAddr)],
        handler: Arc<dyn Handler>,
    ) -> io::Result<Peers> {
        let socket = quic::socket(bind)?;
        let server = quic::server(identity, HALF_OPEN_MAX);
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(quic::endpoint(identity), Some(server), socket, runtime)?;
        let mesh = Arc::new_cyclic(|this| Mesh {
            cluster: identity.cluster(),
            node: identity.node(),
            endpoint,
            client: quic::peer_client(identity),
            handler,
            members: Mutex::default(),
            half_open: HalfOpen::default(),
            desk: Mutex::default(),
            queueing: Queueing::default(),
            refusals: AtomicU64::new(0),
            refusal_lines: Pace::new(REFUSAL_LINES),
            runtime: runtime::Handle::current(),
            this: Weak::clone(this),
        });
        let accepting = tokio::spawn(accept::accept_all(Arc::clone(&mesh))).abort_handle();
        let peers = Peers { mesh, accepting };
        peers.set_known(known);
        Ok(peers)
    }

    /// The address that peers can reach.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.mesh.endpoint.local_addr()
    }

    /// Queues a frame for a peer, from any thread (`PEERS-1`). One for a node that is not known is dropped.
    pub fn send(&self, to: NodeId, frame: Frame) {
        let peer = self.mesh.members().get(&to).map(|member| Arc::clone(&member.peer));
        if let Some(peer) = peer {
            peer.send(frame);
        }
    }

    /// Says who the peers are, from any thread. New ones are dialed, moved ones are dialed at their new address, missing
    /// ones lose their connections. The node itself may be among them and is left out.
    pub fn set_known(&self, known: &[(NodeId, SocketAddr)]) {
        let known: BTreeMap<NodeId, SocketAddr> =
            known.iter().copied().filter(|&(node, _)| node != self.mesh.node).collect();
        let mut members = self.mesh.members();
        members.retain(|node, _| known.contains_key(node));
        for (node, address) in known {
            match members.get(&node) {
                Some(member) => {
                    member.peer.address.send_if_modified(|at| std::mem::replace(at, address) != address);
                }
                None => {
                    members.insert(node, self.mesh.member(node, address));
                }
            }
        }
    }

    /// Begins to answer nodes that want to join. Until then they are told to try again.
    pub fn open_desk(&self, desk: Desk) {
        *self.mesh.desk.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(desk));
    }

    /// What passed between this node and each known peer.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<NodeId, Figures> {
        self.mesh.members().iter().map(|(&node, member)| (node, member.peer.figures())).collect()
    }

    /// Connections that were refused, or closed because of what came over them.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.mesh.refusals.load(Ordering::Relaxed)
    }

    /// Closes every connection and waits a moment until the peers have heard it.
    pub async fn stop(self) {
        let endpoint = self.mesh.endpoint.clone();
        drop(self);
        let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    }

    /// Closes every connection, from any thread. The peers hear it at once, and need not wait for what will not be answered.
    pub fn close(&self) {
        self.mesh.endpoint.close(VarInt::from_u32(Close::Stopping as u32), b"the node is stopping");
        self.accepting.abort();
        // Ends the tasks that keep the connections.
        self.mesh.members().clear();
    }

    /// Closes every connection, and waits a moment until the peers have heard it.
    pub async fn farewell(&self) {
        self.close();
        let _ = tokio::time::timeout(FAREWELL, self.mesh.endpoint.wait_idle()).await;
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("node", &self.mesh.node).field("figures", &self.figures()).finish()
    }
}

impl Mesh {
    fn members(&self) -> MutexGuard<'_, BTreeMap<NodeId, Member>> {
        // Each change is one insertion or removal, so it is whole even if a thread died holding it.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, node: NodeId, address: SocketAddr) -> Member {
        let peer = Arc::new(Peer::new(node, address));
        let this = self.this.upgrade().expect("the transport runs");
        let keeping = self.runtime.spawn(link::keep(this, Arc::clone(&peer))).abort_handle();
        Member { peer, keeping, inbound: None, unreachable_lines: Arc::new(Pace::new(UNREACHABLE_LINES)) }
    }

    /// Whether a member is known at this address, on whatever port it dials from.
    fn has_member_at(&self, address: IpAddr) -> bool {
        self.members().values().any(|member| member.peer.address.borrow().ip() == address)
    }

    /// Takes a peer's connection for its only one. Gives the peer and the connection that it replaces, or nothing if the
    /// node is no member. Knowing and taking are one step, so that a removal misses no connection.
    fn admit(&self, node: NodeId, connection: &Connection) -> Option<(Arc<Peer>, Option<Connection>)> {
        let mut members = self.members();
        // PEERS-2, PEERS-3
        let member = members.get_mut(&node)?;
        let replaced = member.inbound.replace(connection.clone());
        Some((Arc::clone(&member.peer), replaced))
    }

    /// Forgets a connection that ended, unless it was replaced before.
    fn gone(&self, node: NodeId, connection: &Connection) {
        if let Some(member) = self.members().get_mut(&node) {
            member.inbound.take_if(|inbound| inbound.stable_id() == connection.stable_id());
        }
    }

    fn unreachable_lines(&self, node: NodeId) -> Arc<Pace> {
        let lines = self.members().get(&node).map(|member| Arc::clone(&member.unreachable_lines));
        // A peer that was just removed has no more lines to leave out.
        lines.unwrap_or_else(|| Arc::new(Pace::new(UNREACHABLE_LINES)))
    }

    /// Counts a refused connection and says so, at most once in a while.
    fn refused(&self, who: &str, why: &str) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.refusal_lines.line() {
            tracing::warn!("a connection of {who} was refused: {why}{more}");
        }
    }
}
