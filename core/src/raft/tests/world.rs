//! A world in memory for a group of replicas: a network, and for each replica a disk with requests that are not done
//! yet and a state machine with a checkpoint. Whoever drives it decides what happens when; the world checks.
//!
//! What must hold after each step stands in `checks`.

extern crate std;

use crate::planted::Planted;
use crate::raft::{Change, Config, Effect, Event, Message, Raft, Refusal, Restored, Role};
use crate::types::{
    Entry, GroupId, HardState, LogIndex, LogPosition, Membership, NodeId, PersistId, RequestId, Snapshot, Term, Time,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

pub(super) const ELECTION_TIMEOUT: Duration = Duration::from_millis(150);
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(50);

/// How replicas are configured.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) seed: u64,
    pub(super) append_bytes_max: usize,
    pub(super) snapshot_chunk_bytes: usize,
    pub(super) appends_in_flight_max: usize,
    pub(super) uncommitted_bytes_max: usize,
    pub(super) forward_patience: Duration,
    pub(super) clock_drift_ppm_max: Option<u32>,
    pub(super) planted: Planted,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 1,
            append_bytes_max: 4 << 20,
            snapshot_chunk_bytes: 4 << 20,
            appends_in_flight_max: 4,
            uncommitted_bytes_max: 64 << 20,
            forward_patience: Duration::ZERO,
            clock_drift_ppm_max: None,
            planted: Planted::default(),
        }
    }
}

pub(super) struct InFlight {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

/// A state machine that remembers only a digest of everything that it applied, and who votes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Machine {
    pub(super) position: LogPosition,
    pub(super) digest: u64,
    pub(super) membership: Option<Membership>,
}

/// The durable log.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) base: LogPosition,
    pub(super) entries: Vec<Entry>,
}

pub(super) enum Order {
    Persist { id: PersistId, hard_state: Option<HardState>, entries: Vec<Entry> },
    Cut { base: LogPosition },
    Reset { id: PersistId, base: LogPosition },
}

pub(super) struct Node {
    pub(super) raft: Option<Raft>,
    pub(super) disk: Disk,
    pub(super) orders: VecDeque<Order>,
    pub(super) machine: Machine,
    pub(super) checkpoint: Machine,
    pub(super) taking: bool,
    pub(super) installing: Option<Snapshot>,
    lives: u64,
    last_persist: PersistId,
}

/// How a client's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Proposed(LogPosition),
    ReadReady(LogIndex),
    TransferBegun,
    Refused(Refusal),
}

pub(super) struct World {
    pub(super) options: Options,
    /// Who votes at first. The other nodes wait to be added.
    voters: Vec<NodeId>,
    pub(super) now: Time,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) network: Vec<InFlight>,
    /// What some state machine applied, and the digest after it.
    pub(super) canonical: BTreeMap<LogIndex, (Entry, u64)>,
    pub(super) leaders: BTreeMap<Term, NodeId>,
    pub(super) answers: BTreeMap<RequestId, Vec<Answer>>,
    /// What was committed when a read was asked.
    reads: BTreeMap<RequestId, LogIndex>,
    /// Effects of the last steps, for transcripts.
    pub(super) seen: Vec<(NodeId, Effect)>,
    next_request: u64,
}

impl Disk {
    pub(super) fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.base, |entry| entry.position)
    }

    pub(super) fn has(&self, position: LogPosition) -> bool {
        position == self.base || self.entries.iter().any(|entry| entry.position == position)
    }

    fn take(&mut self, order: Order) -> Option<PersistId> {
        match order {
            Order::Persist { id, hard_state, entries } => {
                if let Some(hard_state) = hard_state {
                    assert!(hard_state.term >= self.hard_state.term, "the durable term fell");
                    self.hard_state = hard_state;
                }
                if let Some(first) = entries.first() {
                    self.entries.retain(|entry| entry.position.index < first.position.index);
                    assert_eq!(self.last().index.next(), first.position.index, "a gap in the durable log");
                    self.entries.extend(entries);
                }
                Some(id)
            }
            Order::Cut { base } => {
                assert!(self.has(base), "the log is cut at an entry that it has");
                self.entries.retain(|entry| entry.position.index > base.index);
                self.base = base;
                None
            }
            Order::Reset { id, base } => {
                if self.has(base) {
                    self.entries.retain(|entry| entry.position.index > base.index);
                } else {
                    self.entries.clear();
                }
                self.base = base;
                Some(id)
            }
        }
    }
}

impl World {
    pub(super) fn new(ids: &[u64], options: Options) -> World {
        World::with_spares(ids, &[], options)
    }

    pub(super) fn with_spares(voters: &[u64], spares: &[u64], options: Options) -> World {
        let ids = || voters.iter().chain(spares);
        let mut world = World {
            options,
            voters: voters.iter().copied().map(NodeId).collect(),
            now: Time(1_000_000),
            nodes: BTreeMap::new(),
            network: Vec::new(),
            canonical: BTreeMap::new(),
            leaders: BTreeMap::new(),
            answers: BTreeMap::new(),
            reads: BTreeMap::new(),
            seen: Vec::new(),
            next_request: 0,
        };
        for id in ids() {
            let node = Node {
                raft: None,
                disk: Disk::default(),
                orders: VecDeque::new(),
                machine: Machine::default(),
                checkpoint: Machine::default(),
                taking: false,
                installing: None,
                lives: 0,
                last_persist: PersistId(0),
            };
            world.nodes.insert(NodeId(*id), node);
        }
        for id in ids() {
            world.restart(NodeId(*id));
        }
        world
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(&id).expect("the node is part of the world")
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("the node is part of the world")
    }

    pub(super) fn raft(&self, id: NodeId) -> &Raft {
        self.node(id).raft.as_ref().expect("the node is up")
    }

    pub(super) fn is_up(&self, id: NodeId) -> bool {
        self.node(id).raft.is_some()
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        let leaders = self.nodes.iter().filter_map(|(id, node)| Some((*id, node.raft.as_ref()?)));
        leaders.filter(|(_, raft)| raft.role() == Role::Leader).max_by_key(|(_, raft)| raft.term()).map(|(id, _)| id)
    }

    /// Starts a node from what its disk and its checkpoint hold.
    pub(super) fn restart(&mut self, id: NodeId) {
        let (now, options) = (self.now, self.options);
        let voters = if self.voters.contains(&id) { self.voters.clone() } else { Vec::new() };
        let node = self.node_mut(id);
        assert!(node.raft.is_none(), "only a node that is down starts");
        node.lives += 1;
        let config = Config {
            node: id,
            group: GroupId::REGION,
            voters,
            election_timeout: ELECTION_TIMEOUT,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            append_bytes_max: options.append_bytes_max,
            snapshot_chunk_bytes: options.snapshot_chunk_bytes,
            appends_in_flight_max: options.appends_in_flight_max,
            uncommitted_bytes_max: options.uncommitted_bytes_max,
            tail_entries_max: 4096,
            forward_patience: options.forward_patience,
            clock_drift_ppm_max: options.clock_drift_ppm_max,
            planted: options.planted,
        };
        let Disk { hard_state, base, entries } = node.disk.clone();
        let restored = Restored { hard_state, base, entries, ..Restored::default() };
        let restored =
            restored.reconcile(node.checkpoint.position, node.checkpoint.membership.clone(), options.planted);
        let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(id.0 * 1009).wrapping_add(node.lives);
        node.last_persist = PersistId(0);
        node.machine = node.checkpoint.clone();
        node.raft = Some(Raft::new(config, restored, seed, now));
    }

    /// Stops a node. The first `durable` of its orders, and the snapshot if `installed`, reached the disk unreported.
    pub(super) fn crash(&mut self, id: NodeId, durable: usize, installed: bool) {
        let node = self.node_mut(id);
        node.raft = None;
        node.taking = false;
        for order in core::mem::take(&mut node.orders).into_iter().take(durable) {
            node.disk.take(order);
        }
        if let Some(snapshot) = node.installing.take().filter(|_| installed) {
            node.checkpoint = machine_of(&snapshot);
        }
        node.machine = node.checkpoint.clone();
    }

    /// The log of a node that is down is lost, but for what it promised beside its entries.
    pub(super) fn lose_log(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        assert!(node.raft.is_none(), "damage is found at a start");
        let hard_state = HardState { impaired: true, ..node.disk.hard_state };
        node.disk = Disk { hard_state, ..Disk::default() };
    }

    pub(super) fn step(&mut self, id: NodeId, event: Event) {
        let now = self.now;
        let mut out = Vec::new();
        let Some(raft) = &mut self.node_mut(id).raft else { return };
        raft.step(now, event, &mut out);
        for effect in out {
            self.seen.push((id, effect.clone()));
            self.carry_out(id, effect);
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                self.check_said(id, to, &message);
                self.network.push(InFlight { from: id, to, message });
            }
            Effect::Persist { id: request, hard_state, entries } => {
                self.take_persist_id(id, request);
                self.node_mut(id).orders.push_back(Order::Persist { id: request, hard_state, entries });
            }
            Effect::Reset { id: request, base } => {
                self.take_persist_id(id, request);
                self.node_mut(id).orders.push_back(Order::Reset { id: request, base });
            }
            Effect::Cut { base } => self.node_mut(id).orders.push_back(Order::Cut { base }),
            Effect::Commit { entries } => entries.into_iter().for_each(|entry| self.apply(id, entry)),
            Effect::Proposed { id, position } => self.answer(id, Answer::Proposed(position)),
            Effect::Refused { id, reason } => self.answer(id, Answer::Refused(reason)),
            Effect::ReadReady { id, index } => {
                let asked = self.reads.get(&id).expect("only reads are answered as reads");
                assert!(index >= *asked, "RAFT-9: a read at {index} misses what was committed at {asked} before it");
                self.answer(id, Answer::ReadReady(index));
            }
            Effect::TransferBegun { id } => self.answer(id, Answer::TransferBegun),
            Effect::TakeSnapshot => {
                let node = self.node_mut(id);
                assert!(!node.taking, "a snapshot is asked for once at a time");
                node.taking = true;
            }
            Effect::InstallSnapshot { snapshot } => {
                let node = self.node_mut(id);
                assert!(node.installing.is_none(), "one snapshot is installed at a time");
                node.installing = Some(snapshot);
            }
            Effect::GaveWay { .. } | Effect::Repaired { .. } => {}
            Effect::Became { role, term, leader } => self.on_became(id, role, term, leader),
        }
    }

    fn take_persist_id(&mut self, id: NodeId, request: PersistId) {
        let node = self.node_mut(id);
        assert_eq!(request.0, node.last_persist.0 + 1, "requests are numbered without gaps");
        node.last_persist = request;
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        let answers = self.answers.get_mut(&id).expect("only what was asked is answered");
        assert!(answers.is_empty(), "request {id} was answered {answers:?} and then {answer:?}");
        answers.push(answer);
    }

    /// The first `count` orders of a node reach its disk, and it hears of them.
    pub(super) fn persist(&mut self, id: NodeId, count: usize) {
        let node = self.node_mut(id);
        let mut done = None;
        for _ in 0..count {
            let Some(order) = node.orders.pop_front() else { break };
            done = node.disk.take(order).or(done);
        }
        if let Some(done) = done {
            self.step(id, Event::Persisted { id: done });
        }
    }

    /// Delivers the `nth` message of the network; a node that is down loses it.
    pub(super) fn deliver(&mut self, nth: usize) {
        let InFlight { from, to, message } = self.network.remove(nth);
        self.step(to, Event::Receive { from, message });
    }

    /// Moves the clock to a node's deadline, if it lies ahead, and wakes it.
    pub(super) fn time_out(&mut self, id: NodeId) {
        let deadline = self.raft(id).deadline().expect("the node waits for something");
        self.now = self.now.max(deadline);
        self.step(id, Event::Deadline);
    }

    /// Moves the clock, and wakes whoever wanted to be woken by then.
    pub(super) fn elapse(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        for id in self.ids() {
            let deadline = self.node(id).raft.as_ref().and_then(Raft::deadline);
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                self.step(id, Event::Deadline);
            }
        }
    }

    pub(super) fn propose(&mut self, id: NodeId, command: Bytes) -> RequestId {
        let request = self.next_request();
        self.step(id, Event::Propose { id: request, command });
        request
    }

    pub(super) fn read(&mut self, id: NodeId) -> RequestId {
        let request = self.next_request();
        let committed = self.canonical.keys().next_back().copied().unwrap_or_default();
        self.reads.insert(request, committed);
        self.step(id, Event::Read { id: request });
        request
    }

    pub(super) fn change(&mut self, id: NodeId, change: Change) -> RequestId {
        let request = self.next_request();
        self.step(id, Event::Change { id: request, change });
        request
    }

    pub(super) fn transfer(&mut self, id: NodeId, to: NodeId) -> RequestId {
        let request = self.next_request();
        self.step(id, Event::Transfer { id: request, to });
        request
    }

    fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        self.answers.insert(RequestId(self.next_request), vec![]);
        RequestId(self.next_request)
    }

    /// Carries out a snapshot that a node was asked to take or to install.
    pub(super) fn work(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if let Some(snapshot) = node.installing.take() {
            let machine = machine_of(&snapshot);
            assert!(machine.position.index > node.machine.position.index, "a snapshot never turns the machine back");
            node.machine = machine.clone();
            node.checkpoint = machine.clone();
            let known = self.canonical.get(&machine.position.index).map(|(_, digest)| *digest);
            assert_eq!(known, Some(machine.digest), "a snapshot is what was applied up to it");
            self.step(id, Event::SnapshotInstalled { position: snapshot.position });
        } else if core::mem::take(&mut node.taking) {
            let rows = Bytes::copy_from_slice(&node.machine.digest.to_le_bytes());
            let membership = node.machine.membership.clone();
            let snapshot = Snapshot { position: node.machine.position, membership, rows };
            self.step(id, Event::SnapshotTaken { snapshot });
        }
    }

    /// Makes a node's state machine durable and lets the replica forget what it covers.
    pub(super) fn checkpoint(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if node.installing.is_some() {
            return; // The store is busy replacing its rows.
        }
        node.checkpoint = node.machine.clone();
        let through = node.checkpoint.position.index;
        self.step(id, Event::Compact { through });
    }

    /// Carries out everything that stands in the way of these nodes' talking to each other.
    pub(super) fn settle(&mut self, among: &[NodeId]) {
        for _ in 0..10_000 {
            if let Some(nth) =
                self.network.iter().position(|flight| among.contains(&flight.from) && among.contains(&flight.to))
            {
                self.deliver(nth);
            } else if let Some(id) =
                among.iter().copied().find(|id| self.is_up(*id) && !self.node(*id).orders.is_empty())
            {
                self.persist(id, usize::MAX);
            } else if let Some(id) = among
                .iter()
                .copied()
                .find(|id| self.is_up(*id) && (self.node(*id).taking || self.node(*id).installing.is_some()))
            {
                self.work(id);
            } else {
                return;
            }
        }
        panic!("the nodes never stop talking");
    }
}

fn machine_of(snapshot: &Snapshot) -> Machine {
    let digest = u64::from_le_bytes(snapshot.rows.as_ref().try_into().expect("the model's rows are eight bytes"));
    Machine { position: snapshot.position, digest, membership: snapshot.membership.clone() }
}
