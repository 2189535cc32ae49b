//! A node without disks: the real state machine over a map in memory, bodies as they came, faults on demand.

use anvil::client::{Client, Inbound};
use anvil::node::Inbox;
use anvil_core::node::{Moved, Reply, Request, Status, Target, Unavailable};
use anvil_core::planted::Planted;
use anvil_core::rows::MemoryRows;
use anvil_core::state::{
    self, Answer, Body, Command, Object, ObjectOperation, Operation, Place, Query, QueryAnswer, SessionStamp,
};
use anvil_core::stripe::{INLINE_MAX, Profile, STRIPE_SIZE, WrappedKey};
use anvil_core::topology::Topology;
use anvil_core::types::{
    DriveId, Entry, GroupId, LogIndex, LogPosition, NodeId, Payload, RequestId, Term, VersionId, WallTime,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What shall go wrong, and what was seen.
#[derive(Debug, Default)]
pub struct Faults {
    /// Reading this stripe of any body fails, counted from 1; 0 for none.
    pub damaged_stripe: AtomicU32,
    /// Everything is refused as too much.
    pub busy: AtomicBool,
    /// Stripes and inline bodies find the drive full.
    pub full: AtomicBool,
    /// Writes begun and neither decided nor given up.
    pub open_writes: AtomicUsize,
    /// Objects open for reading.
    pub open_objects: AtomicUsize,
    /// Commands decided.
    pub decided: AtomicUsize,
}

pub struct ModelNode {
    rows: MemoryRows,
    index: u64,
    versions: u128,
    writes: BTreeMap<RequestId, BTreeMap<u32, Bytes>>,
    opens: BTreeMap<RequestId, Object>,
    bodies: BTreeMap<VersionId, Vec<Bytes>>,
    faults: Arc<Faults>,
}

impl ModelNode {
    pub fn start() -> (Client, Arc<Faults>) {
        let (inbox, inbound) = anvil::mailbox::mailbox();
        let faults = Arc::new(Faults::default());
        let mut node = ModelNode {
            rows: MemoryRows::default(),
            index: 0,
            versions: 0,
            writes: BTreeMap::new(),
            opens: BTreeMap::new(),
            bodies: BTreeMap::new(),
            faults: Arc::clone(&faults),
        };
        std::thread::spawn(move || {
            // It ends when the last client is gone.
            while let Ok(Inbox::Client(Inbound { id, request, reply })) = inbound.recv() {
                let answer = node.answer(id, request);
                if let Some(reply) = reply {
                    reply.send(answer);
                }
            }
        });
        (Client::new(inbox), faults)
    }

    fn answer(&mut self, id: RequestId, request: Request) -> Reply {
        let busy = self.faults.busy.load(Ordering::Relaxed);
        let full = self.faults.full.load(Ordering::Relaxed);
        let reply = match request {
            Request::AbortWrite { write } => {
                self.writes.remove(&write);
                Reply::Closed
            }
            Request::Close { open } => {
                self.opens.remove(&open);
                Reply::Closed
            }
            _ if busy => Reply::Unavailable(Unavailable::Busy),
            Request::PutInline { .. } | Request::WriteStripe { .. } if full => {
                Reply::Unavailable(Unavailable::DiskFull)
            }
            Request::ChangeMembership { .. } | Request::TransferLeader { .. } => {
                Reply::Unavailable(Unavailable::Misuse("the model is one node for ever"))
            }
            Request::Command { session, operation, .. } => Reply::Answer(self.decide(session, operation)),
            Request::Query { query, .. } => Reply::Queried(self.query(&query)),
            Request::PutInline { target, bytes } => {
                assert!(bytes.len() <= INLINE_MAX, "an inline body is small");
                let stripes = if bytes.is_empty() { Vec::new() } else { vec![bytes.clone()] };
                Reply::Answer(self.place(target, stripes, Place::Inline(bytes)))
            }
            Request::BeginWrite => {
                self.writes.insert(id, BTreeMap::new());
                Reply::Begun
            }
            Request::WriteStripe { write, index, bytes } => match self.writes.get_mut(&write) {
                Some(stripes) => {
                    stripes.insert(index, bytes);
                    Reply::StripeStored
                }
                None => Reply::Unavailable(Unavailable::UnknownHandle),
            },
            Request::DecideWrite { write, target } => match self.writes.remove(&write) {
                Some(stripes) => {
                    let count = stripes.len();
                    for (at, (index, stripe)) in stripes.iter().enumerate() {
                        assert_eq!(at, *index as usize, "stripes have no gaps");
                        assert!(stripe.len() == STRIPE_SIZE || at + 1 == count, "only the last stripe is short");
                    }
                    let profile = Profile { data: 1, parity: 0 };
                    let place = Place::Striped { profile, drives: vec![DriveId(0)] };
                    Reply::Answer(self.place(target, stripes.into_values().collect(), place))
                }
                None => Reply::Unavailable(Unavailable::UnknownHandle),
            },
            Request::Open { object, version } => match self.query(&Query::Object { object, version }) {
                QueryAnswer::Object(object) => {
                    self.opens.insert(id, object.clone());
                    Reply::Opened(object)
                }
                QueryAnswer::Refused(refusal) => Reply::Refused(refusal),
                QueryAnswer::Key(_)
                | QueryAnswer::Keys { .. }
                | QueryAnswer::RulesSet(_)
                | QueryAnswer::Expirable { .. }
                | QueryAnswer::Bucket { .. }
                | QueryAnswer::Buckets(_)
                | QueryAnswer::Listing(_)
                | QueryAnswer::Versions(_)
                | QueryAnswer::Parts { .. }
                | QueryAnswer::Uploads { .. }
                | QueryAnswer::Reclaimable(_)
                | QueryAnswer::Topology { .. }
                | QueryAnswer::Bodies { .. }
                | QueryAnswer::Body(_) => panic!("an object was asked for"),
            },
            Request::ReadStripe { open, body, stripe } => self.read(open, body, stripe),
            Request::Scrub | Request::Status => Reply::Status(Status {
                node: NodeId(1),
                groups: Vec::new(),
                drives: Vec::new(),
                writes: self.writes.len(),
                opens: self.opens.len(),
                undecided: 0,
                topology: Topology::default(),
                placement: 0,
                moved: Moved::default(),
                scrubbed: Default::default(),
                doubtful: Vec::new(),
            }),
        };
        self.faults.open_writes.store(self.writes.len(), Ordering::Relaxed);
        self.faults.open_objects.store(self.opens.len(), Ordering::Relaxed);
        reply
    }

    fn read(&self, open: RequestId, body: u32, stripe: u32) -> Reply {
        if self.faults.damaged_stripe.load(Ordering::Relaxed) == stripe + 1 {
            return Reply::Unavailable(Unavailable::Damaged("a test asked for it".to_owned()));
        }
        let Some(object) = self.opens.get(&open) else { return Reply::Unavailable(Unavailable::UnknownHandle) };
        let version = object.bodies[body as usize].version;
        Reply::Stripe(self.bodies[&version][stripe as usize].clone())
    }

    fn query(&self, query: &Query) -> QueryAnswer {
        state::query(GroupId::REGION, query, &self.rows).expect("a map in memory does not fail")
    }

    fn place(&mut self, target: Target, stripes: Vec<Bytes>, place: Place) -> Answer {
        self.versions += 1;
        let version = VersionId(self.versions);
        let size = stripes.iter().map(|stripe| stripe.len() as u64).sum();
        self.bodies.insert(version, stripes);
        let body = Body { version, size, key: WrappedKey(Vec::new()), place };
        let expires = WallTime(u64::MAX);
        let operation = match target {
            Target::Object { object, etag, metadata, attributes, condition } => {
                ObjectOperation::PutVersion { object, body, etag, metadata, attributes, condition, expires }
            }
            Target::Part { object, upload, number, etag, metadata } => {
                ObjectOperation::PutPart { object, upload, number, body, etag, metadata, expires }
            }
        };
        self.decide(None, Operation::Object(operation))
    }

    fn decide(&mut self, session: Option<SessionStamp>, operation: Operation) -> Answer {
        self.index += 1;
        self.faults.decided.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
        let time = WallTime(u64::try_from(now.as_millis()).expect("milliseconds fit"));
        let command = Command { time, session, operation };
        let position = LogPosition { index: LogIndex(self.index), term: Term(1) };
        let entry = Entry { position, payload: Payload::Command(command.encode()) };
        let answers = state::apply(GroupId::REGION, &[entry], Planted::default(), &mut self.rows)
            .expect("a map in memory does not fail");
        answers.into_iter().next().expect("a command has an answer").1
    }
}
