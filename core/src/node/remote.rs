//! Drives of other nodes: orders that leave, orders that come, and the time that an answer may take.
//!
//! A shard is stored the same way wherever its drive is; only who carries the order differs. So the parts above name a drive,
//! and here is decided whether that is a store of this node, a message, or a drive that does not exist any more.
//!
//! - `REMOTE-1` An answer counts only for an order of this life of the node, and only from the node that has the drive.
//! - `REMOTE-2` Every order that leaves ends once: by its answer, when its node is lost, or when its time is over. Then nothing
//!   is known of it: a shard may be stored though it counts as not stored, and the sweep of its node will find it.
//! - `REMOTE-3` What peers have sent and no drive has stored yet is bounded in bytes. What comes beyond is refused at once, and whoever
//!   writes hears that it should try again: a slow drive must not become memory.

use super::Node;
use super::distrust::Lie;
use super::event::Effect;
use super::objects::TicketUse;
use super::peer::{PeerMessage, ShardOrder, ShardOutcome, ShardTicket};
use crate::disk::DiskError;
use crate::shards::{self, Ticket};
use crate::types::{DriveId, NodeId, Time, Trace};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// An order that left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote {
    pub(super) node: NodeId,
    pub(super) until: Time,
}

/// What a peer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerWait {
    /// Stored or deleted.
    Done,
    /// The record.
    Record,
}

impl Node {
    /// Gives an order to a drive, wherever it is.
    pub(super) fn step_drive(&mut self, drive: DriveId, event: shards::Event, out: &mut Vec<Effect>) {
        match self.homes.get(&drive).copied() {
            // Also where a store here has the number: it was given to the other node first, and this one holds nothing.
            Some(node) if node != self.config.node => {
                self.order_peer(node, drive, event, out);
            }
            Some(_) | None => self.step_store(drive, event, out),
        }
    }

    fn order_peer(&mut self, node: NodeId, drive: DriveId, event: shards::Event, out: &mut Vec<Effect>) {
        let (ticket, order) = match event {
            shards::Event::Put { ticket, key, expires, record } => {
                let name = self.name_order(ticket);
                (Some(ticket), ShardOrder::Put { ticket: name, drive, key, expires, record })
            }
            shards::Event::Get { ticket, key } => {
                let name = self.name_order(ticket);
                (Some(ticket), ShardOrder::Get { ticket: name, drive, key })
            }
            shards::Event::Delete { ticket, version } => {
                let name = self.name_order(ticket);
                (Some(ticket), ShardOrder::Delete { ticket: name, drive, version })
            }
            shards::Event::Commit { version } => (None, ShardOrder::Commit { drive, version }),
            shards::Event::Disk { .. } => panic!("an order to a file is for the drive's own node"),
        };
        if let Some(ticket) = ticket {
            let until = self.now.time.after(self.config.peer_timeout);
            self.remote.insert(ticket, Remote { node, until });
        }
        out.push(Effect::Send { to: node, message: PeerMessage::Shard(order) });
    }

    fn name_order(&self, ticket: Ticket) -> ShardTicket {
        ShardTicket { life: self.life, number: ticket.0 }
    }

    /// Another node orders something of a drive here.
    pub(super) fn on_shard_order(&mut self, from: NodeId, order: ShardOrder, out: &mut Vec<Effect>) {
        let (drive, event) = match order {
            ShardOrder::Put { ticket: name, record, .. }
                if self.peer_bytes + record.len() > self.config.peer_bytes_max =>
            {
                // REMOTE-3
                self.answer_peer(from, name, PeerWait::Done, Err(DiskError::Unreachable), out);
                return;
            }
            ShardOrder::Put { ticket: name, drive, key, expires, record } => {
                let bytes = record.len();
                self.peer_bytes += bytes;
                let ticket = self.ticket(TicketUse::Peer { node: from, name, wait: PeerWait::Done, bytes });
                (drive, shards::Event::Put { ticket, key, expires, record })
            }
            ShardOrder::Get { ticket: name, drive, key } => {
                let ticket = self.ticket(TicketUse::Peer { node: from, name, wait: PeerWait::Record, bytes: 0 });
                (drive, shards::Event::Get { ticket, key })
            }
            ShardOrder::Delete { ticket: name, drive, version } => {
                let ticket = self.ticket(TicketUse::Peer { node: from, name, wait: PeerWait::Done, bytes: 0 });
                (drive, shards::Event::Delete { ticket, version })
            }
            ShardOrder::Commit { drive, version } => (drive, shards::Event::Commit { version }),
        };
        // Where the drive is not here, the peer knows an older topology, or a newer one. No order is passed on: it could go
        // round for ever.
        if !self.stores.contains_key(&drive) {
            self.distrust(from, Lie::Drive(drive), "", out);
        }
        self.step_store(drive, event, out);
    }

    /// An order of a peer ended here.
    pub(super) fn answer_peer(
        &mut self,
        to: NodeId,
        ticket: ShardTicket,
        wait: PeerWait,
        outcome: Result<Option<Bytes>, DiskError>,
        out: &mut Vec<Effect>,
    ) {
        let outcome = match (wait, outcome) {
            (_, Err(error)) => ShardOutcome::Refused(error),
            (PeerWait::Done, Ok(_)) => ShardOutcome::Done,
            (PeerWait::Record, Ok(record)) => ShardOutcome::Loaded(record),
        };
        out.push(Effect::Send { to, message: PeerMessage::ShardAnswer { ticket, outcome } });
    }

    /// A peer says how an order ended.
    pub(super) fn on_shard_answer(
        &mut self,
        from: NodeId,
        name: ShardTicket,
        outcome: ShardOutcome,
        out: &mut Vec<Effect>,
    ) {
        let ticket = Ticket(name.number);
        // REMOTE-1
        if name.life != self.life || self.remote.get(&ticket).is_none_or(|remote| remote.node != from) {
            return;
        }
        self.remote.remove(&ticket);
        let outcome = match outcome {
            ShardOutcome::Done => Ok(None),
            ShardOutcome::Loaded(record) => Ok(record),
            ShardOutcome::Refused(error) => Err(error),
        };
        self.on_ticket(ticket, outcome, out);
    }

    /// The connection to a node is lost, or it does not answer.
    pub(super) fn on_peer_lost(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if self.topology.nodes.contains_key(&node) {
            self.doubt(node, "is not reached", out);
        }
        self.greeted.remove(&node);
        self.end_remote(|remote| remote.node == node, out);
    }

    /// REMOTE-2
    pub(super) fn expire_remote(&mut self, out: &mut Vec<Effect>) {
        let now = self.now.time;
        let silent: Vec<NodeId> =
            self.remote.values().filter(|remote| remote.until <= now).map(|remote| remote.node).collect();
        for node in silent {
            self.doubt(node, "does not answer in time", out);
        }
        self.end_remote(|remote| remote.until <= now, out);
    }

    fn doubt(&mut self, node: NodeId, why: &str, out: &mut Vec<Effect>) {
        if self.doubtful.insert(node) {
            out.push(Effect::Trace(Trace::Note(format!("node {node} {why}"))));
        }
    }

    fn end_remote(&mut self, ends: impl Fn(&Remote) -> bool, out: &mut Vec<Effect>) {
        let ended: Vec<Ticket> =
            self.remote.iter().filter(|(_, remote)| ends(remote)).map(|(ticket, _)| *ticket).collect();
        for ticket in ended {
            self.remote.remove(&ticket);
            self.on_ticket(ticket, Err(DiskError::Unreachable), out);
        }
    }
}
