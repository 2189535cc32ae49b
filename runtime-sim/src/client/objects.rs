//! A client of objects on one node: puts inline and striped, conditional or not, reads byte for byte, deletes, and
//! sometimes leaves in the middle.

use super::bodies::{bucket, check_domains, check_stripe, etag_of, object_name, read_requests, writer_of};
use super::{Client, Desk};
use crate::chance::Chance;
use crate::check::keys::WriteId;
use crate::check::objects::{ObjectAction, ObjectInput, ObjectOutcome, When, body_of};
use crate::world::SimTime;
use anvil_core::node::{Reply, Request, Target, Unavailable};
use anvil_core::state::{Answer, Metadata, Object, ObjectCondition, ObjectOperation, Operation, Refusal};
use anvil_core::stripe::{INLINE_MAX, STRIPE_SIZE};
use anvil_core::types::{GroupId, NodeId, RequestId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct ObjectHabits {
    /// Objects that all clients share.
    pub objects: u64,
    /// Operations to do.
    pub operations: u32,
    /// Typical pause between operations.
    pub think_micros: u64,
    /// How long an answer is waited for.
    pub patience_micros: u64,
    /// Smallest body; where it is the largest too, shards of different versions differ in nothing but their bytes.
    pub size_min: u64,
    /// Largest body, but for the few that span stripes.
    pub size_max: u64,
    /// Bodies of more than one stripe.
    pub large_per_million: u64,
    /// Whether bodies may be striped: only where one node holds all shards.
    pub striped: bool,
    /// Writers and readers that leave in the middle; the gateway then closes what they had open.
    pub leave_per_million: u64,
    /// Longest pause between the last stripe and the decision, and between opening and reading.
    pub dawdle_micros_max: u64,
    /// A put that took less is not refused as expired. 0 where clocks may jump while it is under way.
    pub expires_after_micros: u64,
    /// Puts that may be refused as expired sooner. A node that was away, while replicated time was ahead of the clocks, knows
    /// what time it is when it sees an entry of a node that was not (`TIME-2`).
    pub early_expiries: u64,
}

/// The client.
#[derive(Debug)]
pub struct ObjectClient {
    habits: ObjectHabits,
    chance: Chance,
    left: u32,
    has_bucket: bool,
    node: u64,
    seen: BTreeMap<u64, WriteId>,
    under_way: Option<UnderWay>,
    token: u64,
}

#[derive(Debug)]
struct UnderWay {
    key: u64,
    action: ObjectAction,
    call: SimTime,
    step: Step,
}

/// What is awaited.
#[derive(Debug)]
enum Step {
    Bucket {
        request: RequestId,
    },
    /// One request whose answer ends the operation: an inline put, a decision, a delete.
    Decision {
        request: RequestId,
    },
    Begin {
        request: RequestId,
        body: Bytes,
    },
    Stripes {
        write: RequestId,
        waiting: BTreeSet<RequestId>,
    },
    /// All stripes are stored; the client dawdles.
    BeforeDecision {
        write: RequestId,
    },
    Open {
        request: RequestId,
    },
    /// The object is open; the client dawdles.
    BeforeReading {
        open: RequestId,
        object: Box<Object>,
    },
    Reading {
        open: RequestId,
        write: WriteId,
        body: Bytes,
        waiting: BTreeMap<RequestId, u32>,
    },
    /// Nothing is open: an attempt that had no effect waits to be made again, or given up.
    Idle,
}

impl ObjectClient {
    /// A client with its own stream of chance, that talks to `node`.
    pub fn new(seed: u64, number: u64, node: u64, habits: ObjectHabits) -> ObjectClient {
        let chance = Chance::named(seed, &format!("workload objects {number}"));
        let left = habits.operations;
        ObjectClient { habits, chance, left, has_bucket: false, node, seen: BTreeMap::new(), under_way: None, token: 0 }
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.token += 1;
        let pause = self.chance.heavy_tail(self.habits.think_micros);
        desk.wake(pause, self.token);
    }

    fn wait(&mut self, desk: &mut Desk<'_>) {
        self.token += 1;
        desk.wake(self.habits.patience_micros, self.token);
    }

    fn dawdle(&mut self, desk: &mut Desk<'_>) {
        self.token += 1;
        let pause = if self.chance.below(4) == 0 { self.chance.below(self.habits.dawdle_micros_max + 1) } else { 0 };
        desk.wake(pause, self.token);
    }

    fn begin(&mut self, desk: &mut Desk<'_>) {
        if !self.has_bucket {
            let operation = Operation::Object(ObjectOperation::CreateBucket { bucket: bucket() });
            let request = desk.send(self.node, Request::Command { group: GroupId::REGION, session: None, operation });
            let step = Step::Bucket { request };
            self.under_way = Some(UnderWay { key: 0, action: ObjectAction::Get, call: desk.now, step });
            self.wait(desk);
            return;
        }
        self.left -= 1;
        let key = self.chance.below(self.habits.objects);
        let seen = self.seen.get(&key).copied();
        let write = WriteId(desk.fresh());
        let action = match self.chance.below(20) {
            0..=7 => ObjectAction::Get,
            8..=13 => ObjectAction::Put(write, When::Always),
            14 => ObjectAction::Put(write, When::Absent),
            15 => ObjectAction::Put(write, seen.map_or(When::Present, When::Is)),
            16 => ObjectAction::Put(write, seen.map_or(When::Always, When::IsNot)),
            17 | 18 => ObjectAction::Delete(When::Always),
            _ => ObjectAction::Delete(seen.map_or(When::Present, When::Is)),
        };
        let step = match action {
            ObjectAction::Get => {
                let request = desk.send(self.node, Request::Open { object: object_name(key), version: None });
                if self.chance.hits(self.habits.leave_per_million) {
                    // The answer will come to nobody, and the object must not stay open for it.
                    desk.send(self.node, Request::Close { open: request });
                    self.rest(desk);
                    return;
                }
                Step::Open { request }
            }
            ObjectAction::Delete(when) => {
                let delete = ObjectOperation::DeleteObject { object: object_name(key), condition: condition(when) };
                let operation = Operation::Object(delete);
                let command = Request::Command { group: GroupId::REGION, session: None, operation };
                Step::Decision { request: desk.send(self.node, command) }
            }
            ObjectAction::Put(write, when) => self.begin_put(key, write, when, desk),
        };
        self.under_way = Some(UnderWay { key, action, call: desk.now, step });
        self.wait(desk);
    }

    fn begin_put(&mut self, key: u64, write: WriteId, when: When, desk: &mut Desk<'_>) -> Step {
        let striped = self.habits.striped && self.chance.below(4) > 0;
        let large = self.chance.hits(self.habits.large_per_million) && striped;
        let drawn =
            usize::try_from(self.chance.between(self.habits.size_min, self.habits.size_max)).expect("bodies are small");
        let size = if large {
            STRIPE_SIZE + drawn
        } else if striped {
            drawn
        } else {
            drawn.min(INLINE_MAX) - usize::from(drawn % 17 == 0).min(drawn)
        };
        desk.histories.sizes.insert(write, size);
        let body = Bytes::from(body_of(desk.seed, write, size));
        if striped {
            return Step::Begin { request: desk.send(self.node, Request::BeginWrite), body };
        }
        let request = Request::PutInline { target: target(key, write, when), bytes: body };
        Step::Decision { request: desk.send(self.node, request) }
    }

    fn end(&mut self, outcome: Option<ObjectOutcome>, desk: &mut Desk<'_>) {
        let under_way = self.under_way.take().expect("only what is under way ends");
        if let Some(ObjectOutcome::Found(write)) = outcome {
            self.seen.insert(under_way.key, write);
        }
        let end = outcome.map(|_| desk.now);
        let input = ObjectInput { action: under_way.action, outcome };
        desk.histories.objects.note(&object_name(under_way.key).key, under_way.call, end, input);
        self.rest(desk);
    }

    /// Ends an operation that certainly had no effect; it leaves no trace in the history.
    fn drop_it(&mut self, desk: &mut Desk<'_>) {
        self.under_way = None;
        self.rest(desk);
    }

    /// Nothing was heard in time, or what was heard leaves doubt.
    fn give_up(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        match &under_way.step {
            Step::Decision { .. } => self.end(None, desk),
            Step::Stripes { write, .. } | Step::BeforeDecision { write } => {
                desk.send(self.node, Request::AbortWrite { write: *write });
                self.drop_it(desk);
            }
            Step::Begin { request, .. } => {
                desk.send(self.node, Request::AbortWrite { write: *request });
                self.drop_it(desk);
            }
            Step::Open { request: open } | Step::BeforeReading { open, .. } | Step::Reading { open, .. } => {
                desk.send(self.node, Request::Close { open: *open });
                self.drop_it(desk);
            }
            Step::Bucket { .. } | Step::Idle => self.drop_it(desk),
        }
    }

    fn decide(&mut self, write: RequestId, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        let ObjectAction::Put(id, when) = under_way.action else { return };
        let request = Request::DecideWrite { write, target: target(under_way.key, id, when) };
        under_way.step = Step::Decision { request: desk.send(self.node, request) };
        self.wait(desk);
    }

    fn send_stripes(&mut self, write: RequestId, body: &Bytes, desk: &mut Desk<'_>) {
        let mut waiting = BTreeSet::new();
        for (index, piece) in (0..).zip(body.chunks(STRIPE_SIZE)) {
            let bytes = body.slice_ref(piece);
            waiting.insert(desk.send(self.node, Request::WriteStripe { write, index, bytes }));
        }
        if let Some(under_way) = &mut self.under_way {
            under_way.step = Step::Stripes { write, waiting };
        }
        self.wait(desk);
    }

    fn on_opened(&mut self, open: RequestId, object: Object, desk: &mut Desk<'_>) {
        let write = writer_of(&object.etag);
        let size = desk.histories.sizes.get(&write).copied();
        if size.map(|size| size as u64) != Some(object.size) || etag_of(write) != object.etag {
            desk.complain("objects are read as they were written", format!("nobody put {object:?}"));
            return;
        }
        check_domains(&object, desk);
        if let Some(under_way) = &mut self.under_way {
            under_way.step = Step::BeforeReading { open, object: Box::new(object) };
        }
        self.dawdle(desk);
    }

    fn read(&mut self, open: RequestId, object: &Object, desk: &mut Desk<'_>) {
        let write = writer_of(&object.etag);
        let requests = read_requests(open, object);
        let size = desk.histories.sizes[&write];
        let body = Bytes::from(body_of(desk.seed, write, size));
        let mut waiting = BTreeMap::new();
        for (stripe, request) in requests {
            waiting.insert(desk.send(self.node, request), stripe);
        }
        let nothing_to_read = waiting.is_empty();
        if let Some(under_way) = &mut self.under_way {
            under_way.step = Step::Reading { open, write, body, waiting };
        }
        if nothing_to_read { self.end_read(open, write, desk) } else { self.wait(desk) }
    }

    fn end_read(&mut self, open: RequestId, write: WriteId, desk: &mut Desk<'_>) {
        desk.send(self.node, Request::Close { open });
        self.end(Some(ObjectOutcome::Found(write)), desk);
    }

    fn on_stripe(&mut self, id: RequestId, bytes: &Bytes, desk: &mut Desk<'_>) {
        let Some(UnderWay { step: Step::Reading { open, write, body, waiting }, .. }) = &mut self.under_way else {
            return;
        };
        let Some(stripe) = waiting.remove(&id) else { return };
        if let Err(what) = check_stripe(body, stripe, bytes) {
            desk.complain("objects are read as they were written", format!("{write:?}: {what}"));
            return;
        }
        if waiting.is_empty() {
            let (open, write) = (*open, *write);
            self.end_read(open, write, desk);
        }
    }

    fn on_answer(&mut self, answer: Answer, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        let is_bucket = matches!(under_way.step, Step::Bucket { .. });
        match (under_way.action, answer) {
            (_, Answer::Done | Answer::Refused(Refusal::BucketExists)) if is_bucket => {
                self.has_bucket = true;
                self.drop_it(desk);
            }
            (ObjectAction::Put(write, _), Answer::Put { etag, .. }) if etag == etag_of(write) => {
                self.seen.insert(under_way.key, write);
                self.end(Some(ObjectOutcome::Done), desk);
            }
            (ObjectAction::Delete(_), Answer::Done) => self.end(Some(ObjectOutcome::Done), desk),
            // A write that wants an object, and there is none.
            (
                ObjectAction::Put(_, When::Present | When::Is(_)) | ObjectAction::Delete(When::Present | When::Is(_)),
                Answer::Refused(Refusal::NoSuchKey),
            ) => self.end(Some(ObjectOutcome::ConditionFailed), desk),
            (ObjectAction::Put(..) | ObjectAction::Delete(_), Answer::Refused(Refusal::ConditionFailed)) => {
                self.end(Some(ObjectOutcome::ConditionFailed), desk);
            }
            (ObjectAction::Put(..), Answer::Refused(Refusal::Expired))
                if desk.now.0 - under_way.call.0 >= self.habits.expires_after_micros =>
            {
                self.drop_it(desk);
            }
            (ObjectAction::Put(..), Answer::Refused(Refusal::Expired)) if self.habits.early_expiries > 0 => {
                self.habits.early_expiries -= 1;
                self.drop_it(desk);
            }
            (action, answer) => {
                desk.complain("answers fit their questions", format!("{action:?} was answered {answer:?}"));
            }
        }
    }

    fn on_unavailable(&mut self, why: Unavailable, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        let decides = matches!(under_way.step, Step::Decision { .. });
        if let Unavailable::NotLeader { leader } = &why {
            self.node = leader.map_or_else(|| *self.chance.pick(desk.nodes), |NodeId(node)| node);
        }
        match why {
            Unavailable::Uncertain => self.give_up(desk),
            // Nothing happened.
            Unavailable::NotLeader { .. } | Unavailable::Busy if decides => self.drop_it(desk),
            Unavailable::NotLeader { .. } | Unavailable::Busy => self.give_up(desk),
            // The process that knew the handle is gone, or the drive would not take the bytes: nothing was decided.
            Unavailable::UnknownHandle
            | Unavailable::DiskFull
            | Unavailable::Disk(_)
            | Unavailable::TooFewDrives(_) => {
                if decides {
                    self.drop_it(desk)
                } else {
                    self.give_up(desk)
                }
            }
            Unavailable::Damaged(what) => {
                if !desk.may_lose_bytes {
                    let promise = "acknowledged bytes survive the loss of any m drives";
                    desk.complain(promise, format!("object {} {:?}: {what}", under_way.key, under_way.action));
                }
                self.give_up(desk);
            }
            Unavailable::Unreachable(_) => self.give_up(desk),
            why @ (Unavailable::Misuse(_) | Unavailable::Change(_)) => {
                let what = format!("object {} {:?} is called a misuse: {why:?}", under_way.key, under_way.action);
                desk.complain("answers fit their questions", what);
            }
        }
    }
}

fn target(key: u64, write: WriteId, when: When) -> Target {
    let metadata = Metadata { content_type: Some("application/x-simulated".to_string()), ..Metadata::default() };
    let attributes = Box::default();
    Target::Object { object: object_name(key), etag: etag_of(write), metadata, attributes, condition: condition(when) }
}

pub(super) fn condition(when: When) -> ObjectCondition {
    match when {
        When::Always => ObjectCondition::Any,
        When::Absent => ObjectCondition::Absent,
        When::Present => ObjectCondition::Present,
        When::Is(write) => ObjectCondition::Match(etag_of(write)),
        When::IsNot(write) => ObjectCondition::NoneMatch(etag_of(write)),
    }
}

impl Step {
    fn awaits(&self, id: RequestId) -> bool {
        match self {
            Step::Bucket { request }
            | Step::Decision { request }
            | Step::Begin { request, .. }
            | Step::Open { request } => *request == id,
            Step::Stripes { waiting, .. } => waiting.contains(&id),
            Step::Reading { waiting, .. } => waiting.contains_key(&id),
            Step::BeforeDecision { .. } | Step::BeforeReading { .. } | Step::Idle => false,
        }
    }
}

impl Client for ObjectClient {
    fn on_wake(&mut self, token: u64, desk: &mut Desk<'_>) {
        if token != self.token {
            return;
        }
        match &mut self.under_way {
            Some(UnderWay { step: Step::BeforeDecision { write }, .. }) => {
                let write = *write;
                let leaves = self.chance.hits(self.habits.leave_per_million);
                if leaves { self.give_up(desk) } else { self.decide(write, desk) }
            }
            Some(UnderWay { step: step @ Step::BeforeReading { .. }, .. }) => {
                let Step::BeforeReading { open, object } = std::mem::replace(step, Step::Idle) else { return };
                self.read(open, &object, desk);
            }
            Some(_) => self.give_up(desk),
            None if self.left > 0 => self.begin(desk),
            None => {}
        }
    }

    fn on_reply(&mut self, id: RequestId, reply: Reply, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        if !under_way.step.awaits(id) {
            return;
        }
        match reply {
            Reply::Answer(answer) => self.on_answer(answer, desk),
            Reply::Begun => {
                let Step::Begin { request, body } = std::mem::replace(&mut under_way.step, Step::Idle) else { return };
                self.send_stripes(request, &body, desk);
            }
            Reply::StripeStored => {
                let Step::Stripes { write, waiting } = &mut under_way.step else { return };
                waiting.remove(&id);
                if waiting.is_empty() {
                    under_way.step = Step::BeforeDecision { write: *write };
                    self.dawdle(desk);
                }
            }
            Reply::Opened(object) => self.on_opened(id, object, desk),
            Reply::Refused(Refusal::NoSuchKey) => self.end(Some(ObjectOutcome::Absent), desk),
            Reply::Stripe(bytes) => self.on_stripe(id, &bytes, desk),
            Reply::Unavailable(why) => self.on_unavailable(why, desk),
            other @ (Reply::Queried(_)
            | Reply::Refused(_)
            | Reply::Closed
            | Reply::Changed
            | Reply::TransferBegun
            | Reply::Status(_)) => {
                desk.complain("answers fit their questions", format!("an object operation was answered {other:?}"));
            }
        }
    }

    fn stop(&mut self) {
        self.left = 0;
    }

    fn is_gateway(&self) -> bool {
        true
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.under_way.is_none()
    }

    fn abandon(&mut self, desk: &mut Desk<'_>) {
        if self.under_way.is_some() {
            self.give_up(desk);
        }
    }
}
