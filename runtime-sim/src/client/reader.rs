//! The client that comes after the storm: it reads every key and every object until each has answered, so that the
//! history ends with what is really there.

use super::bodies::{check_domains, check_stripe, etag_of, object_name, read_requests, writer_of};
use super::{Client, Desk, keys};
use crate::chance::Chance;
use crate::check::keys::{KeyAction, KeyInput, KeyOutcome, WriteId};
use crate::check::objects::{ObjectAction, ObjectInput, ObjectOutcome, body_of};
use crate::world::{MILLIS, SECONDS, SimTime};
use anvil_core::node::{Reply, Request, Unavailable};
use anvil_core::state::{Object, Place, Query, QueryAnswer, Refusal};
use anvil_core::stripe::STRIPE_SIZE;
use anvil_core::types::{GroupId, NodeId, RequestId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Key(u64),
    Object(u64),
}

/// The client.
#[derive(Debug)]
pub struct Reader {
    chance: Chance,
    todo: VecDeque<Item>,
    under_way: Option<UnderWay>,
    target: Option<u64>,
    token: u64,
    found: Found,
}

#[derive(Debug)]
struct UnderWay {
    item: Item,
    call: SimTime,
    node: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Asked { request: RequestId },
    Reading { open: RequestId, write: WriteId, body: Bytes, found: Found, waiting: BTreeMap<RequestId, u32> },
}

/// What all the objects that were found should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Shards, over all drives.
    pub shards: u64,
    /// The profiles of their bodies: data and parity.
    pub profiles: BTreeSet<(u8, u8)>,
}

/// How long one attempt is waited for.
const PATIENCE_MICROS: u64 = 2 * SECONDS;

impl Reader {
    /// A reader of the first `keys` keys and `objects` objects.
    pub fn new(seed: u64, keys: u64, objects: u64) -> Reader {
        let todo = (0..keys).map(Item::Key).chain((0..objects).map(Item::Object)).collect();
        let chance = Chance::named(seed, "workload reader");
        Reader { chance, todo, under_way: None, target: None, token: 0, found: Found::default() }
    }

    fn next(&mut self, desk: &mut Desk<'_>) {
        let Some(item) = self.todo.front().copied() else { return };
        let node = self.target.unwrap_or_else(|| *self.chance.pick(desk.nodes));
        let request = match item {
            Item::Key(key) => Request::Query { group: GroupId::REGION, query: Query::Key { key: keys::key_name(key) } },
            Item::Object(key) => Request::Open { object: object_name(key), version: None },
        };
        let step = Step::Asked { request: desk.send(node, request) };
        self.under_way = Some(UnderWay { item, call: desk.now, node, step });
        self.token += 1;
        desk.wake(PATIENCE_MICROS, self.token);
    }

    fn again(&mut self, desk: &mut Desk<'_>) {
        if let Some(UnderWay { node, step, item: Item::Object(_), .. }) = self.under_way.take() {
            let (Step::Asked { request: open } | Step::Reading { open, .. }) = step;
            desk.send(node, Request::Close { open });
        }
        self.token += 1;
        desk.wake(self.chance.between(10 * MILLIS, 100 * MILLIS), self.token);
    }

    fn done(&mut self, desk: &mut Desk<'_>) {
        self.todo.pop_front();
        self.under_way = None;
        self.next(desk);
    }

    fn note_key(&mut self, key: u64, call: SimTime, outcome: KeyOutcome, desk: &mut Desk<'_>) {
        let input = KeyInput { action: KeyAction::Get, outcome: Some(outcome) };
        desk.histories.keys.note(&keys::key_name(key), call, Some(desk.now), input);
        self.done(desk);
    }

    fn note_object(&mut self, key: u64, call: SimTime, outcome: ObjectOutcome, desk: &mut Desk<'_>) {
        let input = ObjectInput { action: ObjectAction::Get, outcome: Some(outcome) };
        desk.histories.objects.note(&object_name(key).key, call, Some(desk.now), input);
        self.done(desk);
    }

    fn on_opened(&mut self, open: RequestId, object: &Object, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        let write = writer_of(&object.etag);
        let size = desk.histories.sizes.get(&write).copied();
        let Some(size) = size.filter(|size| *size as u64 == object.size && etag_of(write) == object.etag) else {
            desk.complain("objects are read as they were written", format!("nobody put {object:?}"));
            return;
        };
        check_domains(object, desk);
        let mut found = Found::default();
        for body in &object.bodies {
            if let Place::Striped { profile, drives } = &body.place {
                found.shards += body.size.div_ceil(STRIPE_SIZE as u64) * drives.len() as u64;
                found.profiles.insert((profile.data, profile.parity));
            }
        }
        let mut waiting = BTreeMap::new();
        for (stripe, request) in read_requests(open, object) {
            waiting.insert(desk.send(under_way.node, request), stripe);
        }
        let nothing_to_read = waiting.is_empty();
        let body = Bytes::from(body_of(desk.seed, write, size));
        under_way.step = Step::Reading { open, write, body, found, waiting };
        if nothing_to_read {
            self.end_read(desk);
        }
    }

    fn end_read(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        let (Step::Reading { open, write, found, .. }, Item::Object(key)) = (&under_way.step, under_way.item) else {
            return;
        };
        self.found.shards += found.shards;
        self.found.profiles.extend(&found.profiles);
        desk.send(under_way.node, Request::Close { open: *open });
        self.note_object(key, under_way.call, ObjectOutcome::Found(*write), desk);
    }

    fn on_stripe(&mut self, id: RequestId, bytes: &Bytes, desk: &mut Desk<'_>) {
        let Some(UnderWay { step: Step::Reading { write, body, waiting, .. }, .. }) = &mut self.under_way else {
            return;
        };
        let Some(stripe) = waiting.remove(&id) else { return };
        if let Err(what) = check_stripe(body, stripe, bytes) {
            desk.complain("objects are read as they were written", format!("{write:?}: {what}"));
        } else if waiting.is_empty() {
            self.end_read(desk);
        }
    }

    fn on_unavailable(&mut self, why: Unavailable, desk: &mut Desk<'_>) {
        match why {
            Unavailable::NotLeader { leader } => {
                self.target = leader.map(|NodeId(node)| node);
                self.again(desk);
            }
            Unavailable::Damaged(what) => {
                // The object is there and its bytes are not; who it is was heard, and that is all.
                if !desk.may_lose_bytes {
                    let promise = "acknowledged bytes survive the loss of any m drives";
                    let item = self.under_way.as_ref().map(|under_way| under_way.item);
                    desk.complain(promise, format!("{item:?}: {what}"));
                }
                self.end_read(desk);
            }
            Unavailable::Busy | Unavailable::Uncertain | Unavailable::UnknownHandle | Unavailable::Unreachable(_) => {
                self.target = None;
                self.again(desk);
            }
            Unavailable::DiskFull
            | Unavailable::TooFewDrives(_)
            | Unavailable::Disk(_)
            | Unavailable::Misuse(_)
            | Unavailable::Change(_) => {
                desk.complain("answers fit their questions", format!("a read was answered {why:?}"));
            }
        }
    }
}

impl Client for Reader {
    fn on_wake(&mut self, token: u64, desk: &mut Desk<'_>) {
        if token != self.token {
            return;
        }
        self.target = None;
        if self.under_way.is_some() { self.again(desk) } else { self.next(desk) }
    }

    fn on_reply(&mut self, id: RequestId, reply: Reply, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        let awaited = match &under_way.step {
            Step::Asked { request } => *request == id,
            Step::Reading { waiting, .. } => waiting.contains_key(&id),
        };
        if !awaited {
            return;
        }
        let (item, call) = (under_way.item, under_way.call);
        match (item, reply) {
            (Item::Key(key), Reply::Queried(QueryAnswer::Key(None))) => {
                self.note_key(key, call, KeyOutcome::Absent, desk);
            }
            (Item::Key(key), Reply::Queried(QueryAnswer::Key(Some(found)))) => match keys::writer_of(&found.value) {
                Some(write) => {
                    self.note_key(key, call, KeyOutcome::Found { write, revision: found.revision }, desk);
                }
                None => desk.complain("values are read as they were written", format!("nobody wrote {found:?}")),
            },
            (Item::Object(_), Reply::Opened(object)) => self.on_opened(id, &object, desk),
            (Item::Object(key), Reply::Refused(Refusal::NoSuchKey)) => {
                self.note_object(key, call, ObjectOutcome::Absent, desk);
            }
            // Nobody made the bucket: no object was ever put.
            (Item::Object(_), Reply::Refused(Refusal::NoSuchBucket)) => self.done(desk),
            (Item::Object(_), Reply::Stripe(bytes)) => self.on_stripe(id, &bytes, desk),
            (_, Reply::Unavailable(why)) => self.on_unavailable(why, desk),
            (item, reply) => {
                desk.complain("answers fit their questions", format!("a read of {item:?} was answered {reply:?}"));
            }
        }
    }

    fn stop(&mut self) {
        self.todo.clear();
    }

    fn is_gateway(&self) -> bool {
        true
    }

    fn is_done(&self) -> bool {
        self.todo.is_empty() && self.under_way.is_none()
    }

    fn abandon(&mut self, _desk: &mut Desk<'_>) {
        self.under_way = None;
    }

    fn found(&self) -> Found {
        self.found.clone()
    }
}
