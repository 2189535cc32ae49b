//! The other nodes, as the core's thread sees them: messages go out as frames, frames come in as events.
//!
//! Sending never blocks, and frames are decoded on the transport's own threads. The list of the nodes is kept in the data
//! directory for the next start, by a thread that may wait for the disk.
//!
//! - `NEAR-1` The list never goes back. A node that starts finds in its state store, and again in the first entries that it
//!   applies, lists from before the list of its last run, or from before it was admitted. Whoever they lack would be refused
//!   as a stranger, the leader among them, and the node would never hear what it needs to know better.
//!
//! Not here: how frames travel (`peers`), their bytes (`anvil-proto`), and who belongs (`anvil_core::node`).

use super::core_loop::Inbox;
use super::directory::NodeDirectory;
use super::pool::Pool;
use crate::mailbox::Sender;
use crate::peers::{Frame, Handler, Lane, Peers};
use anvil_core::node::peer::{ShardOrder, ShardOutcome};
use anvil_core::node::{Event, Members, PeerMessage};
use anvil_core::types::NodeId;
use anvil_proto::Framed;
use anvil_proto::join::KnownPeer;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// How a node takes part in a cluster.
#[derive(Clone, Debug)]
pub struct Network {
    /// The UDP address that it listens on.
    pub bind: SocketAddr,
    /// Where its peers reach it.
    pub advertise: SocketAddr,
    /// Where it stands.
    pub zone: String,
}

/// The way to the other nodes.
pub(super) struct Neighbours {
    peers: Arc<Peers>,
    lists: Pool<Members>,
}

impl Neighbours {
    /// Begins to speak with the nodes that the directory knows. Call it within a tokio runtime.
    pub(super) fn start(
        directory: &Arc<NodeDirectory>,
        network: &Network,
        inbox: &Sender<Inbox>,
    ) -> io::Result<Neighbours> {
        let known: Vec<(NodeId, SocketAddr)> = directory.peers.iter().map(|peer| (peer.node, peer.address)).collect();
        let mail = Arc::new(Mail { inbox: inbox.clone() });
        let peers = Arc::new(Peers::start(&directory.identity, network.bind, &known, mail)?);
        let lists = Pool::start("anvil-members", 1, || {
            let (peers, directory) = (Arc::clone(&peers), Arc::clone(directory));
            let mut latest = directory.peers_epoch;
            move |members: Members| {
                // NEAR-1
                if members.epoch >= latest && members.nodes.iter().any(|(node, ..)| *node == directory.node) {
                    latest = members.epoch;
                    keep(&directory, &peers, &members);
                }
            }
        })?;
        Ok(Neighbours { peers, lists })
    }

    pub(super) fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.peers)
    }

    pub(super) fn send(&self, to: NodeId, message: &PeerMessage) {
        let Framed { head, body } = anvil_proto::encode(message);
        self.peers.send(to, Frame { lane: lane(message), head, body });
    }

    pub(super) fn set_members(&self, members: Members) {
        self.lists.send(members);
    }

    pub(super) fn finish(self) {
        // Whoever waits for an answer of this node hears that none will come.
        self.peers.close();
        self.lists.finish();
    }
}

/// Shards are bulk; whatever decides something goes before them.
fn lane(message: &PeerMessage) -> Lane {
    match message {
        PeerMessage::Shard(ShardOrder::Put { .. })
        | PeerMessage::ShardAnswer { outcome: ShardOutcome::Loaded(_), .. } => Lane::Bulk,
        PeerMessage::Raft { .. }
        | PeerMessage::Swim(_)
        | PeerMessage::Members(_)
        | PeerMessage::Shard(ShardOrder::Get { .. } | ShardOrder::Delete { .. } | ShardOrder::Commit { .. })
        | PeerMessage::ShardAnswer { outcome: ShardOutcome::Done | ShardOutcome::Refused(_), .. }
        | PeerMessage::Pins { .. }
        | PeerMessage::Pinned { .. } => Lane::Control,
    }
}

/// Tells the transport who the nodes are, and the next start as well.
fn keep(directory: &NodeDirectory, peers: &Peers, members: &Members) {
    let nodes = members.nodes.iter().map(|(node, name, address)| (*node, name.as_str(), address.as_str()));
    let others = known_peers(nodes, directory.node);
    peers.set_known(&others.iter().map(|peer| (peer.node, peer.address)).collect::<Vec<_>>());
    if let Err(error) = directory.write_peers(&others, members.epoch) {
        tracing::warn!("the list of the other nodes could not be kept: {error}");
    }
}

/// All nodes but one, each given with its name and its address. One whose address is none is left out.
pub(super) fn known_peers<'a>(nodes: impl Iterator<Item = (NodeId, &'a str, &'a str)>, but: NodeId) -> Vec<KnownPeer> {
    let others = nodes.filter(|(node, ..)| *node != but);
    others
        .filter_map(|(node, name, address)| match address.parse() {
            Ok(address) => Some(KnownPeer { node, address, name: name.to_owned() }),
            Err(_) => {
                tracing::error!("node {name} is said to be at \"{address}\", which is no address");
                None
            }
        })
        .collect()
}

/// Where frames go when they come.
struct Mail {
    inbox: Sender<Inbox>,
}

impl Handler for Mail {
    fn frame(&self, from: NodeId, head: Bytes, body: Bytes) {
        match anvil_proto::decode(Framed { head, body }) {
            Ok(message) => {
                // A closed inbox means that the node has stopped.
                let _ = self.inbox.send(Inbox::Event(Event::Peer { from, message }));
            }
            Err(error) => tracing::warn!("node {from} sent what is no message: {error}"),
        }
    }

    fn reachable(&self, node: NodeId, yes: bool) {
        if !yes {
            let _ = self.inbox.send(Inbox::Event(Event::PeerLost { node }));
        }
    }
}
