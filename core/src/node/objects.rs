//! Bodies on their way to the drives and back: the glue between clients, the write and read machines, the shard
//! stores and the compute pool.
//!
//! - `OBJ-1` The shards of an open object are not reclaimed before its last reader closes it.
//! - `OBJ-2` Shards are removed at once when their decision was refused or never proposed; when it is uncertain, the sweep
//!   asks.

use super::Node;
use super::clients::{self, Proposer, Work, reply, unavailable};
use super::event::{DiskUser, Effect, Fatal, Task};
use super::peer::ShardTicket;
use super::reading::ReadId;
use super::remote::PeerWait;
use super::request::{Reply, Target, Unavailable};
use crate::disk::DiskError;
use crate::planted::planted;
use crate::raft;
use crate::read;
use crate::shards::{self, Ticket};
use crate::state::{Object, QueuePlace};
use crate::stripe::{self, DataKey, WrappedKey};
use crate::types::{DriveId, GroupId, NodeId, RequestId, Trace, VersionId};
use crate::write::{self, Write};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use rand_chacha::rand_core::Rng;

/// An object that a client reads.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) object: Object,
}

/// For whom a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteFor {
    /// A client, by the request that began it.
    Client(RequestId),
    /// A body that is cut anew, by its job.
    Recode(u64),
}

/// What a request to a shard store was for.
#[derive(Debug)]
pub(super) enum TicketUse {
    Put {
        write: WriteFor,
        index: u32,
    },
    Load {
        read: ReadId,
        position: u8,
    },
    /// Shards that nobody waits for.
    Discard,
    /// The scrub looks whether it is sound.
    Scrub,
    /// A copy of the mover.
    Move {
        id: u64,
    },
    /// Another node ordered it.
    Peer {
        node: NodeId,
        name: ShardTicket,
        wait: PeerWait,
        /// Bytes that it brought.
        bytes: usize,
    },
    /// Shards of a body in the reclaim queue.
    Reclaim {
        place: QueuePlace,
    },
}

impl Node {
    pub(super) fn fresh_version(&mut self) -> VersionId {
        VersionId(u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()))
    }

    pub(super) fn fresh_body(&mut self) -> (VersionId, DataKey, WrappedKey) {
        let version = self.fresh_version();
        let mut key = [0; 32];
        self.rng.fill_bytes(&mut key);
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        let key = DataKey(key);
        let wrapped = stripe::wrap(&self.config.root_key, version, &key, nonce);
        (version, key, wrapped)
    }

    // Writing.

    pub(super) fn on_begin_write(&mut self, id: RequestId, out: &mut Vec<Effect>) {
        if !self.is_topology_confirmed() {
            unavailable(id, Unavailable::NotLeader { leader: None }, out);
            return;
        }
        let (version, key, wrapped) = self.fresh_body();
        let (profile, drives) = match self.place(version) {
            Ok(placed) => placed,
            Err(why) => {
                unavailable(id, Unavailable::TooFewDrives(format!("{why}")), out);
                return;
            }
        };
        let planted = self.config.planted;
        self.writes
            .insert(WriteFor::Client(id), Write::new(write::Begin { version, key, wrapped, profile, drives, planted }));
        self.alive.insert(version);
        reply(id, Reply::Begun, out);
    }

    pub(super) fn on_write_stripe(
        &mut self,
        id: RequestId,
        write: RequestId,
        index: u32,
        bytes: Bytes,
        out: &mut Vec<Effect>,
    ) {
        let expires = self.wall(GroupId::REGION).after(self.config.prepare_ttl);
        if self.writes.contains_key(&WriteFor::Client(write)) {
            let event = write::Event::Stripe { request: id, index, bytes, expires };
            self.step_write(WriteFor::Client(write), event, out);
        } else {
            unavailable(id, Unavailable::UnknownHandle, out);
        }
    }

    pub(super) fn on_stripe_sealed(&mut self, write: WriteFor, index: u32, records: Vec<Bytes>, out: &mut Vec<Effect>) {
        // A write that was given up has nobody to store for.
        if self.writes.contains_key(&write) {
            self.step_write(write, write::Event::Sealed { index, records }, out);
        }
    }

    pub(super) fn step_write(&mut self, id: WriteFor, event: write::Event, out: &mut Vec<Effect>) {
        let Some(write) = self.writes.get_mut(&id) else { return };
        let mut effects = Vec::new();
        write.step(event, &mut effects);
        for effect in effects {
            match effect {
                write::Effect::Seal { index, seal } => {
                    let work = self.begin_work(Work::SealStripe { write: id, index });
                    out.push(Effect::Compute { work, task: Task::Seal(seal) });
                }
                write::Effect::Put { drive, key, expires, record } => {
                    let ticket = self.ticket(TicketUse::Put { write: id, index: key.stripe });
                    self.step_drive(drive, shards::Event::Put { ticket, key, expires, record }, out);
                }
                write::Effect::Accepted { request } => match id {
                    WriteFor::Client(_) => reply(request, Reply::StripeStored, out),
                    WriteFor::Recode(job) => self.on_recode_stored(job, true, out),
                },
                write::Effect::Rejected { request, why } => match id {
                    WriteFor::Client(_) => unavailable(request, rejected(why), out),
                    WriteFor::Recode(job) => self.on_recode_stored(job, false, out),
                },
            }
        }
    }

    pub(super) fn on_decide_write(&mut self, id: RequestId, write: RequestId, target: Target, out: &mut Vec<Effect>) {
        let Some(ended) = self.writes.remove(&WriteFor::Client(write)) else {
            unavailable(id, Unavailable::UnknownHandle, out);
            return;
        };
        match ended.body() {
            Ok((body, expires)) => {
                let (version, drives) = (ended.version(), ended.drives().to_vec());
                let operation = clients::decision(target, body, expires);
                let proposer = Proposer::Decision { client: id, version, drives };
                self.propose(GroupId::REGION, None, operation, proposer, out);
            }
            Err(misuse) => {
                refuse_unanswered(&ended, out);
                self.end_decision(ended.version(), ended.drives(), false, out);
                unavailable(id, Unavailable::Misuse(misuse), out);
            }
        }
    }

    pub(super) fn on_abort_write(&mut self, id: RequestId, write: RequestId, out: &mut Vec<Effect>) {
        if let Some(ended) = self.writes.remove(&WriteFor::Client(write)) {
            refuse_unanswered(&ended, out);
            self.end_decision(ended.version(), ended.drives(), false, out);
        }
        reply(id, Reply::Closed, out);
    }

    /// The fate of a body is known: its shards stay, or go.
    pub(super) fn end_decision(
        &mut self,
        version: VersionId,
        drives: &[DriveId],
        decided: bool,
        out: &mut Vec<Effect>,
    ) {
        self.alive.remove(&version);
        for &drive in drives {
            if decided {
                self.step_drive(drive, shards::Event::Commit { version }, out);
            } else {
                self.discard(drive, version, out);
            }
        }
    }

    /// The group did not take the decision of a body, or lost it.
    pub(super) fn end_refused(
        &mut self,
        version: VersionId,
        drives: &[DriveId],
        reason: &raft::Refusal,
        out: &mut Vec<Effect>,
    ) {
        match reason {
            // OBJ-2: it was never proposed.
            raft::Refusal::NotLeader { .. } | raft::Refusal::Busy | raft::Refusal::Change(_) => {
                self.end_decision(version, drives, false, out);
            }
            raft::Refusal::LostLead if planted!(self.config.planted, UncertainAborts) => {
                self.end_decision(version, drives, false, out);
            }
            // OBJ-2: it may be decided yet. The sweep asks when the preparation has expired.
            raft::Refusal::LostLead => {
                self.alive.remove(&version);
            }
        }
    }

    /// Removes shards that can never be decided (`OBJ-2`).
    pub(super) fn discard(&mut self, drive: DriveId, version: VersionId, out: &mut Vec<Effect>) {
        let ticket = self.ticket(TicketUse::Discard);
        self.step_drive(drive, shards::Event::Delete { ticket, version }, out);
    }

    // The shard stores.

    pub(super) fn ticket(&mut self, purpose: TicketUse) -> Ticket {
        let ticket = Ticket(self.fresh_id());
        self.tickets.insert(ticket, purpose);
        ticket
    }

    pub(super) fn step_store(&mut self, drive: DriveId, event: shards::Event, out: &mut Vec<Effect>) {
        let Some(store) = self.stores.get_mut(&drive) else {
            self.on_missing_drive(drive, event, out);
            return;
        };
        let mut effects = Vec::new();
        store.step(event, &mut effects);
        self.on_store_effects(drive, effects, out);
    }

    /// A row names a drive that is nowhere: its shards are lost, not deleted. A node that has not yet heard who belongs to the
    /// cluster knows nothing of the sort; to it the drive is out of reach.
    pub(super) fn on_missing_drive(&mut self, drive: DriveId, event: shards::Event, out: &mut Vec<Effect>) {
        let (ticket, outcome) = match event {
            shards::Event::Get { ticket, .. } | shards::Event::Delete { ticket, .. } => (ticket, Ok(None)),
            shards::Event::Put { ticket, .. } => (ticket, Err(DiskError::Missing)),
            shards::Event::Commit { .. } => return,
            shards::Event::Disk { .. } => panic!("drive {drive} is not there and has ended an order"),
        };
        // CLUSTER-4, and numbers that this node has not heard of yet.
        let is_known = self.is_topology_confirmed() && self.topology.is_numbered(drive);
        let outcome = if is_known { outcome } else { Err(DiskError::Unreachable) };
        self.on_ticket(ticket, outcome, out);
    }

    pub(super) fn on_store_effects(&mut self, drive: DriveId, effects: Vec<shards::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                shards::Effect::Disk { op, order } => {
                    out.push(Effect::Disk { user: DiskUser::Shards(drive), op, order });
                }
                shards::Effect::Stored { ticket } | shards::Effect::Deleted { ticket } => {
                    self.on_ticket(ticket, Ok(None), out)
                }
                shards::Effect::Refused { ticket, error } => self.on_ticket(ticket, Err(error), out),
                shards::Effect::Loaded { ticket, record } => self.on_ticket(ticket, Ok(record), out),
                shards::Effect::Failed { error, .. } => self.fatal(Fatal::Shards(drive, error), out),
                shards::Effect::Suspect { file, offset, what } => {
                    let note = format!("{file:?} at offset {offset}: {what}");
                    out.push(Effect::Trace(Trace::Suspect(note)));
                }
            }
        }
    }

    pub(super) fn on_ticket(
        &mut self,
        ticket: Ticket,
        outcome: Result<Option<Bytes>, DiskError>,
        out: &mut Vec<Effect>,
    ) {
        let purpose = self.tickets.remove(&ticket).expect("a store answers each ticket once");
        match (purpose, outcome) {
            (TicketUse::Put { write, index }, Ok(_)) => self.step_write(write, write::Event::Stored { index }, out),
            (TicketUse::Put { write, index }, Err(error)) => {
                self.step_write(write, write::Event::NotStored { index, error }, out);
            }
            (TicketUse::Load { read, position }, Ok(record)) => {
                self.step_read(read, read::Event::Loaded { position, record }, out);
            }
            (TicketUse::Load { read, position }, Err(_)) => {
                self.step_read(read, read::Event::Silent { position }, out);
            }
            (TicketUse::Discard, _) => {}
            (TicketUse::Scrub, outcome) => self.on_scrub_loaded(outcome, out),
            (TicketUse::Move { id }, outcome) => self.on_move_stored(id, outcome.is_ok(), out),
            (TicketUse::Peer { node, name, wait, bytes }, outcome) => {
                self.peer_bytes -= bytes;
                self.answer_peer(node, name, wait, outcome, out);
            }
            (TicketUse::Reclaim { place }, outcome) => self.on_reclaim_deleted(place, outcome.is_ok(), out),
        }
    }
}

/// `NODE-2`: what is still on its way to the drives when a write ends is answered here, since nobody hears of it later.
fn refuse_unanswered(ended: &Write, out: &mut Vec<Effect>) {
    ended.unanswered().for_each(|stripe| unavailable(stripe, Unavailable::UnknownHandle, out));
}

fn rejected(why: write::Rejection) -> Unavailable {
    match why {
        write::Rejection::Misuse(misuse) => Unavailable::Misuse(misuse),
        write::Rejection::Disk(DiskError::Full) => Unavailable::DiskFull,
        // A drive that is missing left the cluster while the body was written: another attempt gets others.
        write::Rejection::Disk(error @ (DiskError::Unreachable | DiskError::Missing)) => {
            Unavailable::Unreachable(format!("{error}"))
        }
        write::Rejection::Disk(error @ DiskError::Io(_)) => Unavailable::Disk(format!("{error}")),
    }
}
