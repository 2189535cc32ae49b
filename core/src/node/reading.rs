//! Stripes on their way from the drives to a client or to the mover: the glue between readers, the read machine and drives.
//!
//! A read is made in attempts. One that fails asks the metadata where the body is, and tries once more if it was moved.
//!
//! - `OBJ-3` Each attempt has a name of its own: a drive may answer one that is over, and that answer is for nobody.

use super::Node;
use super::clients::{self, Asker, Work, reply, unavailable};
use super::event::{Effect, Task};
use super::objects::TicketUse;
use super::request::{Reply, Unavailable};
use crate::read::{self, Read};
use crate::shards;
use crate::state::{Body, Place, Query, QueryAnswer};
use crate::stripe::{self, DataKey, OpenError, STRIPE_SIZE, StripeId};
use crate::types::{GroupId, RequestId, Time, Trace};
use crate::write;
use alloc::format;
use alloc::vec::Vec;

/// OBJ-3: names one attempt to read a stripe, once while the process lives: a drive may answer an attempt that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadId(u64);

/// For whom a stripe is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFor {
    /// A client, by its request.
    Client(RequestId),
    /// The mover, by its move.
    Move(u64),
    /// A body that is cut anew, by its job.
    Recode(u64),
}

/// A stripe that is read.
#[derive(Debug)]
pub(super) struct Reading {
    reader: ReadFor,
    read: Read,
    body: Body,
    stripe: u32,
    /// Why the attempt before this one failed.
    failed: Option<Unavailable>,
    /// When the drives that have not answered are taken for slow. Once for each read.
    pub(super) slow_at: Option<Time>,
}

impl Node {
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
            Ok(key) => self.read_body(ReadFor::Client(id), body, key, stripe, length, None, out),
            Err(error) => clients::damaged(id, &error, out),
        }
    }

    /// Reads a stripe; `failed` says why an attempt before this one, where the body was, did not succeed.
    #[expect(clippy::too_many_arguments, reason = "all that a read is made of")]
    pub(super) fn read_body(
        &mut self,
        reader: ReadFor,
        body: Body,
        key: DataKey,
        index: u32,
        length: u32,
        failed: Option<Unavailable>,
        out: &mut Vec<Effect>,
    ) {
        let version = body.version;
        match (body.place.clone(), reader) {
            (Place::Inline(_), ReadFor::Move(_) | ReadFor::Recode(_)) => panic!("inline bodies have no shards to move"),
            (Place::Inline(sealed), ReadFor::Client(client)) => {
                let work = self.begin_work(Work::OpenInline { client });
                out.push(Effect::Compute { work, task: Task::OpenInline { version, key, sealed } });
            }
            (Place::Striped { profile, drives }, _) => {
                let id_of_stripe = StripeId { version, index };
                let open = stripe::Open { id: id_of_stripe, key, profile, length, records: Vec::new() };
                let doubtful = drives.iter().copied().filter(|drive| !self.is_drive_trusted(*drive)).collect();
                let mut effects = Vec::new();
                let read = Read::new(open, drives, doubtful, &mut effects);
                let slow_at = Some(self.now.time.after(self.config.hedge_after));
                let id = ReadId(self.fresh_id());
                self.reads.insert(id, Reading { reader, read, body, stripe: index, failed, slow_at });
                self.on_read_effects(id, effects, out);
            }
        }
    }

    pub(super) fn on_stripe_opened(
        &mut self,
        read: ReadId,
        opened: Result<stripe::Opened, OpenError>,
        out: &mut Vec<Effect>,
    ) {
        self.step_read(read, read::Event::Opened(opened), out);
    }

    pub(super) fn step_read(&mut self, id: ReadId, event: read::Event, out: &mut Vec<Effect>) {
        // A read does not wait for drives that it asked in vain: their answers come when it is over.
        let Some(reading) = self.reads.get_mut(&id) else { return };
        let mut effects = Vec::new();
        reading.read.step(event, &mut effects);
        self.on_read_effects(id, effects, out);
    }

    /// Asks for other shards in place of those that let a reader wait.
    pub(super) fn hedge_slow_reads(&mut self, out: &mut Vec<Effect>) {
        let is_slow = |reading: &Reading| reading.slow_at.is_some_and(|at| at <= self.now.time);
        let slow: Vec<ReadId> = self.reads.iter().filter(|(_, reading)| is_slow(reading)).map(|(id, _)| *id).collect();
        for id in slow {
            if let Some(reading) = self.reads.get_mut(&id) {
                reading.slow_at = None;
            }
            self.step_read(id, read::Event::Slow, out);
        }
    }

    fn on_read_effects(&mut self, id: ReadId, effects: Vec<read::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                read::Effect::Load { drive, key } => {
                    let ticket = self.ticket(TicketUse::Load { read: id, position: key.position });
                    self.step_drive(drive, shards::Event::Get { ticket, key }, out);
                }
                read::Effect::Open(open) => {
                    let work = self.begin_work(Work::OpenStripe { read: id });
                    out.push(Effect::Compute { work, task: Task::Open(open) });
                }
                read::Effect::Done { plaintext, damaged } => {
                    let Some(Reading { reader, body, stripe, .. }) = self.reads.remove(&id) else { continue };
                    match reader {
                        ReadFor::Client(client) => reply(client, Reply::Stripe(plaintext), out),
                        ReadFor::Move(id) => self.on_move_read(id, plaintext, out),
                        ReadFor::Recode(id) => self.on_recode_read(id, plaintext, out),
                    }
                    if !damaged.is_empty() {
                        self.on_damage(&body, stripe, &damaged, out);
                    }
                }
                read::Effect::Failed { why, silent } => {
                    let why = if silent { Unavailable::Unreachable(why) } else { Unavailable::Damaged(why) };
                    self.reread(id, why, out);
                }
            }
        }
    }

    /// A stripe was read without these positions.
    fn on_damage(&mut self, body: &Body, stripe: u32, positions: &[u8], out: &mut Vec<Effect>) {
        let version = body.version;
        let note = format!("stripe {stripe} of version {version} was read without its positions {positions:?}");
        out.push(Effect::Trace(Trace::Suspect(note)));
        let Place::Striped { drives, .. } = &body.place else { return };
        let slots = positions.iter().map(|position| write::slot_of(stripe, *position, drives.len()));
        self.repair(body, slots.collect(), out);
    }

    /// A read failed where the body was when it was opened. It may have been moved since.
    fn reread(&mut self, id: ReadId, why: Unavailable, out: &mut Vec<Effect>) {
        let Some(reading) = self.reads.get_mut(&id) else { return };
        reading.slow_at = None;
        let is_first = reading.failed.replace(why).is_none();
        let version = reading.body.version;
        if is_first {
            self.ask(GroupId::REGION, Query::Body { version }, Asker::Reread(id), out);
        } else {
            self.end_reread(id, None, out);
        }
    }

    pub(super) fn on_reread(&mut self, id: ReadId, answer: QueryAnswer, out: &mut Vec<Effect>) {
        let QueryAnswer::Body(body) = answer else { panic!("a body was asked for, and the answer was {answer:?}") };
        self.end_reread(id, body, out);
    }

    /// Reads again where the body is, or says why not.
    pub(super) fn end_reread(&mut self, id: ReadId, body: Option<Body>, out: &mut Vec<Effect>) {
        let Some(reading) = self.reads.remove(&id) else { return };
        let why = reading.failed.expect("only a read that failed is read again");
        let moved = body.filter(|body| body.place != reading.body.place);
        let read = moved.and_then(|body| {
            let key = stripe::unwrap_key(&self.config.root_key, body.version, &body.key).ok()?;
            Some((stripe_length(&body, reading.stripe)?, key, body))
        });
        match (read, reading.reader) {
            (Some((length, key, body)), reader) => {
                self.read_body(reader, body, key, reading.stripe, length, Some(why), out);
            }
            (None, ReadFor::Client(client)) => unavailable(client, why, out),
            (None, ReadFor::Move(id)) => self.fail_move(id, out),
            (None, ReadFor::Recode(id)) => self.fail_recode(id, out),
        }
    }

    pub(super) fn on_close(&mut self, id: RequestId, open: RequestId, out: &mut Vec<Effect>) {
        // The client may leave before its open is answered: nobody would close what is opened after that.
        self.opening.remove(&open);
        self.opens.remove(&open);
        reply(id, Reply::Closed, out);
        self.reclaim_unpinned(out);
    }
}

/// Bytes of plaintext in a stripe of a body; `None` when the body has no such stripe.
pub(super) fn stripe_length(body: &Body, stripe: u32) -> Option<u32> {
    let start = u64::from(stripe) * STRIPE_SIZE as u64;
    let left = body.size.checked_sub(start).filter(|left| *left > 0)?;
    u32::try_from(left.min(STRIPE_SIZE as u64)).ok()
}
