//! A runtime in one page: carries out every order of one node at once and in order, on files and rows in memory.
//!
//! A crash is as hard as the contract allows: of the files only what was synced survives, and of the rows only the last
//! checkpoint. Time moves only when a test moves it.

use super::disks::{Disks, Stored, recover};
use crate::disk::{DiskError, DiskOrder, DiskOutcome, File};
use crate::node::config::ScrubPace;
use crate::node::peer::{PeerMessage, ShardOrder, ShardOutcome};
use crate::node::{BootError, Config, DiskUser, Effect, Event, Node, Reply, Request, Status, Target, Unavailable};
#[cfg(debug_assertions)]
use crate::planted::Bug;
use crate::planted::Planted;
use crate::rows::MemoryRows;
use crate::state::{
    self, Answer, BucketName, ETag, Md5, Metadata, ObjectCondition, ObjectName, ObjectOperation, Operation, Refusal,
};
use crate::stripe::{INLINE_MAX, Profile, RootKey, STRIPE_SIZE};
use crate::topology::{DriveInfo, NodeInfo};
use crate::types::{DriveId, GroupId, NodeId, Now, RequestId, TenantId, Time, Trace, WallTime};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

pub(super) const ONE: Profile = Profile { data: 1, parity: 0 };
pub(super) const THREE: Profile = Profile { data: 2, parity: 1 };
pub(super) const PREPARE_TTL: Duration = Duration::from_secs(60);
pub(super) const SWEEP: Duration = Duration::from_secs(5);
/// Tombstones are written in less than this, headers and indexes of extents in no less.
const BLOCK_SIZE: usize = 4096;

/// One node, its drives, and its clients.
pub(super) struct World {
    config: Config,
    disks: Disks,
    rows: MemoryRows,
    node: Node,
    now: Now,
    effects: VecDeque<Effect>,
    /// Orders that a test holds back, and which those are.
    held: Vec<Effect>,
    holds: fn(&Effect) -> bool,
    /// Batches of tombstones that the drives refuse from here on.
    refusing: u32,
    replies: BTreeMap<RequestId, Reply>,
    next_request: u64,
    pub(super) suspects: Vec<String>,
    /// How orders of other nodes ended.
    pub(super) outcomes: Vec<ShardOutcome>,
}

pub(super) fn bucket() -> BucketName {
    BucketName { tenant: TenantId::DEFAULT, name: "bucket".to_string() }
}

pub(super) fn name(key: &str) -> ObjectName {
    ObjectName { bucket: bucket(), key: key.to_string() }
}

/// Bytes that differ from stripe to stripe and from seed to seed.
pub(super) fn text(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|at| seed.wrapping_add((at % 251) as u8).wrapping_add((at >> 20) as u8)).collect()
}

pub(super) fn target(key: &str, condition: ObjectCondition) -> Target {
    let etag = ETag { md5: Md5([7; 16]), parts: 0 };
    Target::Object { object: name(key), etag, metadata: Metadata::default(), attributes: Box::default(), condition }
}

/// A node with as many drives as the profile needs.
fn node_info(profile: Profile) -> NodeInfo {
    let drives = u32::try_from(profile.total()).expect("few");
    NodeInfo {
        name: "node".to_string(),
        zone: String::new(),
        address: String::new(),
        key: [0; 32],
        drives: (0..drives).map(|drive| DriveInfo { drive: DriveId(drive), weight: 1 }).collect(),
        draining: false,
    }
}

fn config(profile: Profile) -> Config {
    Config {
        node: NodeId(1),
        voters: vec![NodeId(1)],
        address: String::new(),
        drives: node_info(profile).drives,
        groups: vec![GroupId::GLOBAL, GroupId::REGION],
        nodes: vec![(NodeId(1), node_info(profile))],
        root_key: RootKey([3; 32]),
        seed: [4; 32],
        election_timeout: Duration::from_millis(200),
        heartbeat_interval: Duration::from_millis(50),
        checkpoint_bytes: 1 << 20,
        checkpoint_interval: Duration::from_secs(3600),
        append_bytes_max: 1 << 20,
        lost: Vec::new(),
        snapshot_chunk_bytes: 1 << 20,
        tail_entries_max: 4096,
        prepare_ttl: PREPARE_TTL,
        sweep_interval: SWEEP,
        forward_patience: Duration::ZERO,
        peer_timeout: Duration::from_secs(1),
        peer_bytes_max: 64 << 10,
        swim: None,
        clock_drift_ppm_max: None,
        hedge_after: Duration::from_millis(50),
        moves_max: 2,
        recode_after: Duration::ZERO,
        scrub: ScrubPace { interval: None, bytes_per_second: 8 << 20 },
        steward_interval: None,
        voter_patience: Duration::from_secs(30),
        pin_patience: Duration::from_secs(600),
        lifecycle_day: None,
        planted: Planted::default(),
    }
}

impl World {
    /// A fresh node with a bucket, on as many drives as the profile needs.
    pub(super) fn new(profile: Profile) -> World {
        World::with(config(profile))
    }

    /// The same, which looks for damage.
    pub(super) fn with_scrub(profile: Profile, pace: ScrubPace) -> World {
        World::with(Config { scrub: pace, ..config(profile) })
    }

    #[cfg(debug_assertions)]
    pub(super) fn with_bug(profile: Profile, bug: Bug) -> World {
        World::with(Config { planted: Planted::arm(bug), ..config(profile) })
    }

    fn with(config: Config) -> World {
        let now = Now { time: Time(1_000_000), wall: WallTime(1_700_000_000_000) };
        let mut world = World::start(config, Disks::default(), now).expect("empty drives are a fresh node");
        let operation = Operation::Object(ObjectOperation::CreateBucket { bucket: bucket() });
        assert_eq!(world.command(operation), Answer::Done);
        world
    }

    fn start(config: Config, disks: Disks, now: Now) -> Result<World, BootError> {
        let mut out = Vec::new();
        let node = Node::new(config.clone(), recover(&config, &disks), now, &mut out)?;
        let mut world = World {
            config,
            rows: disks.checkpointed.clone(),
            disks,
            node,
            now,
            effects: out.into(),
            held: Vec::new(),
            holds: |_| false,
            refusing: 0,
            replies: BTreeMap::new(),
            next_request: 1,
            suspects: Vec::new(),
            outcomes: Vec::new(),
        };
        world.settle();
        // The only voter of its groups wins within two election timeouts.
        world.pass(Duration::from_secs(1));
        Ok(world)
    }

    /// The process dies and another one starts on the same drives.
    pub(super) fn crash(self) -> World {
        self.try_crash().expect("what was durable is enough to start")
    }

    pub(super) fn try_crash(mut self) -> Result<World, BootError> {
        self.disks.crash();
        // Another process has another generator, or version ids would repeat.
        self.config.seed[0] += 1;
        World::start(self.config, self.disks, self.now)
    }

    /// A drive is replaced by an empty one.
    pub(super) fn lose_drive(&mut self, drive: DriveId) {
        self.disks.lose_drive(drive);
    }

    /// The drives are full for the next `count` batches of tombstones.
    pub(super) fn refuse_tombstones(&mut self, count: u32) {
        self.refusing = count;
    }

    /// The state store is lost, or an old copy was put in its place.
    pub(super) fn lose_rows(&mut self) {
        self.disks.checkpointed = MemoryRows::default();
    }

    /// A copy of the log as it is.
    pub(super) fn log(&self) -> BTreeMap<File, Stored> {
        self.disks.log()
    }

    /// An old copy of the log, or none, was put in its place.
    pub(super) fn replace_log(&mut self, log: BTreeMap<File, Stored>) {
        self.disks.replace_log(log);
    }

    /// The next process is told that its groups began with these.
    pub(super) fn expect_voters(&mut self, voters: &[u64]) {
        self.config.voters = voters.iter().copied().map(NodeId).collect();
    }

    /// Sequences of the log's segments.
    pub(super) fn log_segments(&self) -> Vec<u64> {
        self.disks.log_segments()
    }

    // Time.

    /// Lets time pass, waking the node whenever it wants to be woken.
    pub(super) fn pass(&mut self, duration: Duration) {
        let until = self.now.time.after(duration);
        while let Some(deadline) = self.node.deadline().filter(|deadline| *deadline <= until) {
            self.move_to(deadline);
            self.step(Event::Deadline);
        }
        self.move_to(until);
    }

    /// The wall clock is moved. No time passes.
    pub(super) fn jump(&mut self, by_ms: i64) {
        self.now.wall = WallTime(self.now.wall.0.saturating_add_signed(by_ms));
    }

    fn move_to(&mut self, time: Time) {
        let passed = time.since(self.now.time);
        self.now = Now { time: self.now.time.max(time), wall: self.now.wall.after(passed) };
    }

    // Orders.

    fn step(&mut self, event: Event) {
        let mut out = Vec::new();
        self.node.step(self.now, event, &mut out);
        self.effects.extend(out);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(effect) = self.effects.pop_front() {
            if (self.holds)(&effect) {
                self.held.push(effect);
            } else if let Some(event) = self.carry_out(effect) {
                let mut out = Vec::new();
                self.node.step(self.now, event, &mut out);
                self.effects.extend(out);
            }
        }
    }

    /// Holds back the orders that `holds` names, until `release`.
    pub(super) fn hold(&mut self, holds: fn(&Effect) -> bool) {
        self.holds = holds;
    }

    pub(super) fn release(&mut self) {
        assert!(!self.held.is_empty(), "a test that holds something back means something");
        self.holds = |_| false;
        self.effects.extend(self.held.drain(..));
        self.settle();
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            // Nobody else runs: a learner hears nothing.
            Effect::Send { to, message } => {
                assert_ne!(to, self.config.node, "a node sent a message to itself");
                if let PeerMessage::ShardAnswer { outcome, .. } = message {
                    self.outcomes.push(outcome);
                }
                None
            }
            Effect::Reply { id, reply } => {
                let before = self.replies.insert(id, reply);
                assert!(before.is_none(), "NODE-2: request {id} was answered before, with {before:?}");
                None
            }
            Effect::Disk { user: user @ DiskUser::Shards(_), op, order: DiskOrder::Write { bytes, .. } }
                if self.refusing > 0 && bytes.len() < BLOCK_SIZE =>
            {
                self.refusing -= 1;
                Some(Event::Disk { user, op, outcome: DiskOutcome::Failed(DiskError::Full) })
            }
            Effect::Disk { user, op, order } => Some(Event::Disk { user, op, outcome: self.disks.carry_out(order) }),
            Effect::Apply { group, entries } => {
                let answers = state::apply(group, &entries, self.config.planted, &mut self.rows)
                    .expect("rows in memory take everything");
                let through = state::applied(group, &self.rows).expect("rows in memory are not damaged");
                Some(Event::Applied { group, through, answers })
            }
            Effect::Query { work, group, query } => {
                let answer = state::query(group, &query, &self.rows).expect("rows in memory are not damaged");
                Some(Event::Queried { work, answer })
            }
            Effect::Checkpoint => {
                self.disks.checkpointed = self.rows.clone();
                Some(Event::Checkpointed)
            }
            Effect::TakeSnapshot { group } | Effect::InstallSnapshot { group, .. } => {
                panic!("group {group} of a node alone has nobody who needs a snapshot")
            }
            Effect::Compute { work, task } => Some(Event::Computed { work, product: task.run(self.config.planted) }),
            Effect::Trace(Trace::Suspect(what)) => {
                self.suspects.push(what);
                None
            }
            Effect::Members(_) | Effect::Trace(Trace::Role { .. } | Trace::Note(_)) => None,
            Effect::Fatal(why) => panic!("the node stopped: {why}"),
        }
    }

    // Clients.

    /// Another node orders something of a drive here.
    pub(super) fn order(&mut self, order: ShardOrder) {
        self.step(Event::Peer { from: NodeId(2), message: PeerMessage::Shard(order) });
    }

    /// Sends a request and does not wait.
    pub(super) fn send(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.step(Event::Client { id, request });
        id
    }

    pub(super) fn reply(&mut self, id: RequestId) -> Option<Reply> {
        self.replies.remove(&id)
    }

    pub(super) fn ask(&mut self, request: Request) -> Reply {
        let id = self.send(request);
        self.reply(id).expect("NODE-2: nothing is held back, so the answer is there")
    }

    pub(super) fn command(&mut self, operation: Operation) -> Answer {
        match self.ask(Request::Command { group: GroupId::REGION, session: None, operation }) {
            Reply::Answer(answer) => answer,
            other => panic!("a command was answered by {other:?}"),
        }
    }

    pub(super) fn delete(&mut self, key: &str) {
        let operation = ObjectOperation::DeleteObject { object: name(key), condition: ObjectCondition::Any };
        assert_eq!(self.command(Operation::Object(operation)), Answer::Done);
    }

    /// Begins a write and sends all stripes of `bytes`.
    pub(super) fn prepare(&mut self, bytes: &[u8]) -> RequestId {
        let write = self.send(Request::BeginWrite);
        assert!(matches!(self.reply(write), Some(Reply::Begun)));
        for (index, stripe) in (0..).zip(bytes.chunks(STRIPE_SIZE)) {
            let bytes = Bytes::copy_from_slice(stripe);
            let stored = self.ask(Request::WriteStripe { write, index, bytes });
            assert!(matches!(stored, Reply::StripeStored), "stripe {index}: {stored:?}");
        }
        write
    }

    pub(super) fn put_if(&mut self, key: &str, bytes: &[u8], condition: ObjectCondition) -> Answer {
        let target = target(key, condition);
        let reply = if bytes.len() <= INLINE_MAX {
            self.ask(Request::PutInline { target, bytes: Bytes::copy_from_slice(bytes) })
        } else {
            let write = self.prepare(bytes);
            self.ask(Request::DecideWrite { write, target })
        };
        match reply {
            Reply::Answer(answer) => answer,
            other => panic!("a put was answered by {other:?}"),
        }
    }

    pub(super) fn put(&mut self, key: &str, bytes: &[u8]) {
        let answer = self.put_if(key, bytes, ObjectCondition::Any);
        assert!(matches!(answer, Answer::Put { .. }), "{answer:?}");
    }

    /// Opens an object. It stays open.
    pub(super) fn open(&mut self, key: &str) -> Result<(RequestId, u64), Refusal> {
        let open = self.send(Request::Open { object: name(key), version: None });
        match self.reply(open).expect("nothing is held back") {
            Reply::Opened(object) => {
                assert_eq!(object.bodies.len(), 1, "a single put has one body");
                Ok((open, object.size))
            }
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("an open was answered by {other:?}"),
        }
    }

    /// All bytes of an open object.
    pub(super) fn read(&mut self, open: RequestId, size: u64) -> Result<Vec<u8>, Unavailable> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let stripe = u32::try_from(bytes.len() / STRIPE_SIZE).expect("test objects are small");
            match self.ask(Request::ReadStripe { open, body: 0, stripe }) {
                Reply::Stripe(plaintext) => bytes.extend_from_slice(&plaintext),
                Reply::Unavailable(why) => return Err(why),
                other => panic!("a read was answered by {other:?}"),
            }
        }
        Ok(bytes)
    }

    pub(super) fn close(&mut self, open: RequestId) {
        assert!(matches!(self.ask(Request::Close { open }), Reply::Closed));
    }

    pub(super) fn get(&mut self, key: &str) -> Result<Vec<u8>, Refusal> {
        let (open, size) = self.open(key)?;
        let bytes = self.read(open, size).expect("the stripes can be read");
        self.close(open);
        Ok(bytes)
    }

    pub(super) fn status(&self) -> Status {
        self.node.status()
    }

    /// Shards on all drives.
    pub(super) fn shards(&self) -> u64 {
        self.status().drives.iter().map(|(_, usage)| usage.shards).sum()
    }
}
