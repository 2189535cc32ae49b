//! Bodies on their way to the drives and back: the glue between clients, the write and read machines, the shard
//! stores and the compute pool.
//!
//! - `OBJ-1` The shards of an open object are not reclaimed before its last reader closes it.
//! - `OBJ-2` Shards are removed at once when their decision was refused or never proposed; when it is uncertain, the sweep
//!   asks.

use super::Node;
use super::clients::{self, Proposer, Work, reply, unavailable};
use super::event::{DiskUser, Effect, Fatal, Task};
use super::request::{Reply, Target, Unavailable};
use crate::disk::DiskError;
use crate::read::{self, Read};
use crate::shards::{self, Ticket};
use crate::state::{Body, Object, Place};
use crate::stripe::{self, DataKey, OpenError, STRIPE_SIZE, StripeId, WrappedKey};
use crate::types::{DriveId, GroupId, RequestId, Trace, VersionId};
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

/// What a request to a shard store was for.
#[derive(Debug)]
pub(super) enum TicketUse {
    Put {
        write: RequestId,
        index: u32,
    },
    Load {
        read: RequestId,
        position: u8,
    },
    /// Shards that nobody waits for.
    Discard,
    /// Shards of a body in the reclaim queue.
    Reclaim {
        version: VersionId,
    },
}

impl Node {
    pub(super) fn fresh_body(&mut self) -> (VersionId, DataKey, WrappedKey) {
        let version = VersionId(u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()));
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
        let (version, key, wrapped) = self.fresh_body();
        let profile = self.config.profile;
        let drives = self.choose_drives(usize::from(profile.data) + usize::from(profile.parity));
        let planted = self.config.planted;
        self.writes.insert(id, Write::new(write::Begin { version, key, wrapped, profile, drives, planted }));
        self.alive.insert(version);
        reply(id, Reply::Begun, out);
    }

    /// Drives for a new body, from a random one on, so that all drives share the load.
    fn choose_drives(&mut self, count: usize) -> Vec<DriveId> {
        assert!(count <= self.stores.len(), "the profile needs at most one drive for each position");
        let first = self.rng.next_u64() % self.stores.len() as u64;
        let first = usize::try_from(first).expect("the rest is less than a usize");
        self.stores.keys().copied().cycle().skip(first).take(count).collect()
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
        if self.writes.contains_key(&write) {
            self.step_write(write, write::Event::Stripe { request: id, index, bytes, expires }, out);
        } else {
            unavailable(id, Unavailable::UnknownHandle, out);
        }
    }

    pub(super) fn on_stripe_sealed(
        &mut self,
        write: RequestId,
        index: u32,
        records: Vec<Bytes>,
        out: &mut Vec<Effect>,
    ) {
        // A write that was given up has nobody to store for.
        if self.writes.contains_key(&write) {
            self.step_write(write, write::Event::Sealed { index, records }, out);
        }
    }

    fn step_write(&mut self, id: RequestId, event: write::Event, out: &mut Vec<Effect>) {
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
                    self.step_store(drive, shards::Event::Put { ticket, key, expires, record }, out);
                }
                write::Effect::Accepted { request } => reply(request, Reply::StripeStored, out),
                write::Effect::Rejected { request, why } => unavailable(request, rejected(why), out),
            }
        }
    }

    pub(super) fn on_decide_write(&mut self, id: RequestId, write: RequestId, target: Target, out: &mut Vec<Effect>) {
        let Some(ended) = self.writes.remove(&write) else {
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
        if let Some(ended) = self.writes.remove(&write) {
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
                self.step_store(drive, shards::Event::Commit { version }, out);
            } else {
                self.discard(drive, version, out);
            }
        }
    }

    /// Removes shards that can never be decided (`OBJ-2`).
    pub(super) fn discard(&mut self, drive: DriveId, version: VersionId, out: &mut Vec<Effect>) {
        let ticket = self.ticket(TicketUse::Discard);
        self.step_store(drive, shards::Event::Delete { ticket, version }, out);
    }

    // Reading.

    pub(super) fn on_read_stripe(
        &mut self,
        id: RequestId,
        open: RequestId,
        body: u32,
        stripe: u32,
        out: &mut Vec<Effect>,
    ) {
        let Some(opened) = self.opens.get(&open) else {
            unavailable(id, Unavailable::UnknownHandle, out);
            return;
        };
        let Some(body) = opened.object.bodies.get(body as usize).cloned() else {
            unavailable(id, Unavailable::Misuse("the object has no such body"), out);
            return;
        };
        let Some(length) = stripe_length(&body, stripe) else {
            unavailable(id, Unavailable::Misuse("the body has no such stripe"), out);
            return;
        };
        match stripe::unwrap_key(&self.config.root_key, body.version, &body.key) {
            Ok(key) => self.read_body(id, body, key, stripe, length, out),
            Err(error) => clients::damaged(id, &error, out),
        }
    }

    fn read_body(&mut self, id: RequestId, body: Body, key: DataKey, index: u32, length: u32, out: &mut Vec<Effect>) {
        let version = body.version;
        match body.place {
            Place::Inline(sealed) => {
                let work = self.begin_work(Work::OpenInline { client: id });
                out.push(Effect::Compute { work, task: Task::OpenInline { version, key, sealed } });
            }
            Place::Striped { profile, drives } => {
                let id_of_stripe = StripeId { version, index };
                let open = stripe::Open { id: id_of_stripe, key, profile, length, records: Vec::new() };
                let mut effects = Vec::new();
                let read = Read::new(open, drives, &mut effects);
                self.reads.insert(id, read);
                self.on_read_effects(id, effects, out);
            }
        }
    }

    pub(super) fn on_stripe_opened(
        &mut self,
        read: RequestId,
        opened: Result<stripe::Opened, OpenError>,
        out: &mut Vec<Effect>,
    ) {
        self.step_read(read, read::Event::Opened(opened), out);
    }

    fn step_read(&mut self, id: RequestId, event: read::Event, out: &mut Vec<Effect>) {
        let read = self.reads.get_mut(&id).expect("a read lives until it is done or failed");
        let mut effects = Vec::new();
        read.step(event, &mut effects);
        self.on_read_effects(id, effects, out);
    }

    fn on_read_effects(&mut self, id: RequestId, effects: Vec<read::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                read::Effect::Load { drive, key } => {
                    let ticket = self.ticket(TicketUse::Load { read: id, position: key.position });
                    self.step_store(drive, shards::Event::Get { ticket, key }, out);
                }
                read::Effect::Open(open) => {
                    let work = self.begin_work(Work::OpenStripe { read: id });
                    out.push(Effect::Compute { work, task: Task::Open(open) });
                }
                read::Effect::Done { plaintext, damaged } => {
                    self.reads.remove(&id);
                    if !damaged.is_empty() {
                        let note = format!("a stripe was read without its positions {damaged:?}");
                        out.push(Effect::Trace(Trace::Suspect(note)));
                    }
                    reply(id, Reply::Stripe(plaintext), out);
                }
                read::Effect::Failed { why } => {
                    self.reads.remove(&id);
                    unavailable(id, Unavailable::Damaged(why), out);
                }
            }
        }
    }

    pub(super) fn on_close(&mut self, id: RequestId, open: RequestId, out: &mut Vec<Effect>) {
        // The client may leave before its open is answered: nobody would close what is opened after that.
        self.opening.remove(&open);
        self.opens.remove(&open);
        reply(id, Reply::Closed, out);
        self.reclaim_unpinned(out);
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

    /// A row names a drive that the node was started without: its shards are lost to this process, not deleted.
    fn on_missing_drive(&mut self, drive: DriveId, event: shards::Event, out: &mut Vec<Effect>) {
        match event {
            shards::Event::Get { ticket, .. } => {
                self.on_store_effects(drive, [shards::Effect::Loaded { ticket, record: None }].into(), out);
            }
            shards::Event::Put { ticket, .. } => {
                let error = DiskError::Missing;
                self.on_store_effects(drive, [shards::Effect::Refused { ticket, error }].into(), out);
            }
            shards::Event::Delete { ticket, .. } => {
                self.on_store_effects(drive, [shards::Effect::Deleted { ticket }].into(), out);
            }
            shards::Event::Commit { .. } => {}
            shards::Event::Disk { .. } => panic!("a drive that is not there has ended an order"),
        }
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

    fn on_ticket(&mut self, ticket: Ticket, outcome: Result<Option<Bytes>, DiskError>, out: &mut Vec<Effect>) {
        let purpose = self.tickets.remove(&ticket).expect("a store answers each ticket once");
        match (purpose, outcome) {
            (TicketUse::Put { write, index }, Ok(_)) => self.step_write(write, write::Event::Stored { index }, out),
            (TicketUse::Put { write, index }, Err(error)) => {
                self.step_write(write, write::Event::NotStored { index, error }, out);
            }
            (TicketUse::Load { read, position }, outcome) => {
                let record = outcome.ok().flatten();
                self.step_read(read, read::Event::Loaded { position, record }, out);
            }
            (TicketUse::Discard, _) => {}
            (TicketUse::Reclaim { version }, outcome) => self.on_reclaim_deleted(version, outcome.is_ok(), out),
        }
    }
}

/// `NODE-2`: what is still on its way to the drives when a write ends is answered here, since nobody hears of it later.
fn refuse_unanswered(ended: &Write, out: &mut Vec<Effect>) {
    ended.unanswered().for_each(|stripe| unavailable(stripe, Unavailable::UnknownHandle, out));
}

/// Bytes of plaintext in a stripe of a body; `None` when the body has no such stripe.
fn stripe_length(body: &Body, stripe: u32) -> Option<u32> {
    let start = u64::from(stripe) * STRIPE_SIZE as u64;
    let left = body.size.checked_sub(start).filter(|left| *left > 0)?;
    u32::try_from(left.min(STRIPE_SIZE as u64)).ok()
}

fn rejected(why: write::Rejection) -> Unavailable {
    match why {
        write::Rejection::Misuse(misuse) => Unavailable::Misuse(misuse),
        write::Rejection::Disk(DiskError::Full) => Unavailable::DiskFull,
        write::Rejection::Disk(error @ (DiskError::Missing | DiskError::Io(_))) => {
            Unavailable::Disk(format!("{error}"))
        }
    }
}
