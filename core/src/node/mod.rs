//! The composition root: one node with its log, Raft groups, shard stores, writes and reads.
//!
//! The node translates. It drains each child's effects in one exhaustive `match`, hands them to a sibling or to the
//! runtime, and remembers for each outstanding request whom its answer is for. What it decides itself is small:
//! when to make the state store durable, when to sweep, when a body may be reclaimed.
//!
//! - `NODE-1` The log is cut only below what the state store has made durable (DESIGN section 4), so the log's sync is the
//!   only one on the write path.
//! - `NODE-2` Each client request ends in exactly one reply.
//! - `NODE-3` After a fatal effect nothing else leaves the node.
//! - `NODE-4` A node does not start on a log that lacks what the state store has applied, unless a snapshot may have put it
//!   there: entries are applied only when the log has them (`RAFT-11`).
//!
//! Code map: [`event`] and [`request`] are the contract, [`config`] what a start needs, `group` one replica,
//! `clock` its replicated time, `clients` requests of clients, `objects` bodies on their way in, `reading` on their way out, `sweep` what is undecided
//! or reclaimable, [`peer`] what nodes say to each other, `remote` drives of other nodes, `cluster` who belongs, `steward` what
//! a leader does by itself, `mover` shards on their way to where they should be, `targets` where that is, `recode` bodies on theirs to another profile, `scrub` the search for damage,
//! `lifecycle` what rules of buckets want gone, `status` what a
//! node says of itself.

pub mod config;
pub mod event;
pub mod request;

mod clients;
mod clock;
mod cluster;
mod distrust;
mod group;
mod lifecycle;
mod mover;
mod objects;
pub mod peer;
#[cfg(debug_assertions)]
mod plant;
mod reading;
mod recode;
mod remote;
mod scrub;
mod status;
mod steward;
mod sweep;
mod targets;
#[cfg(test)]
mod tests;

pub use config::{Boot, BootError, Config};
pub use event::{DiskUser, Effect, Event, Fatal, Product, Task, WorkId};
pub use peer::{Members, PeerMessage};
pub use request::{GroupStatus, Reply, Request, Status, Target, Unavailable};

use crate::disk::{DiskOutcome, OpId};
use crate::log::{self, HardStates, Log};
use crate::placement::DriveSpec;
use crate::planted::planted;
use crate::raft::{self, Raft, Restored};
use crate::shards::{self, Store, Ticket};
use crate::state::{Answer, Applied, Command, Operation, Query, SessionStamp};
use crate::swim::{self, Swim};
use crate::topology::Topology;
use crate::types::{DriveId, GroupId, LogIndex, LogPosition, NodeId, Now, RequestId, Time, Trace, VersionId, WallTime};
use crate::write::Write;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use clients::{Asker, Proposer, Work};
use cluster::Placement;
use distrust::Distrust;
use group::{Group, Output};
use lifecycle::Lifecycle;
pub use mover::Moved;
use mover::Mover;
use objects::{Opened, TicketUse, WriteFor};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use reading::{ReadId, Reading};
use remote::Remote;
pub use scrub::Scrubbed;
use scrub::Scrubber;
use sweep::Sweep;

/// One node.
#[derive(Debug)]
pub struct Node {
    config: Config,
    rng: ChaCha20Rng,
    now: Now,
    log: Log,
    hard_states: HardStates,
    groups: BTreeMap<GroupId, Group>,
    stores: BTreeMap<DriveId, Store>,
    /// Ids for requests to children and for work, each used once while the process lives.
    next_id: u64,
    proposals: BTreeMap<RequestId, Proposer>,
    questions: BTreeMap<RequestId, (GroupId, Query, Asker)>,
    work: BTreeMap<WorkId, Work>,
    tickets: BTreeMap<Ticket, TicketUse>,
    /// Names this life of the node to its peers (`REMOTE-1`).
    life: u64,
    /// Tickets of orders to drives of other nodes.
    remote: BTreeMap<Ticket, Remote>,
    /// Bytes that peers sent and that are not stored yet (`REMOTE-3`).
    peer_bytes: usize,
    topology: Topology,
    placement: Option<Placement>,
    /// The node of each drive.
    homes: BTreeMap<DriveId, NodeId>,
    /// The drives of the topology that may get shards.
    specs: Vec<DriveSpec>,
    /// The state store was asked for the topology, and something was applied since.
    refreshing: bool,
    refresh_again: bool,
    /// When *global* was last asked for the topology and answered, and since when it is asked (`CLUSTER-4`).
    confirmed_at: Option<Time>,
    confirming: Option<Time>,
    /// Nodes that were not reached when they were last spoken to.
    doubtful: BTreeSet<NodeId>,
    /// Nodes that were told who belongs, since they were last lost.
    greeted: BTreeSet<NodeId>,
    distrust: Distrust,
    swim: Option<Swim>,
    steward_due: Time,
    mover: Mover,
    lifecycle: Lifecycle,
    scrub: Scrubber,
    writes: BTreeMap<WriteFor, Write>,
    /// Versions that this process is writing or deciding: no business of the sweep.
    alive: BTreeSet<VersionId>,
    /// Opens whose object is not known yet.
    opening: BTreeSet<RequestId>,
    opens: BTreeMap<RequestId, Opened>,
    reads: BTreeMap<ReadId, Reading>,
    sweep: Sweep,
    checkpoint: Checkpoint,
    stopped: bool,
}

/// When the state store becomes durable.
#[derive(Debug, Default)]
struct Checkpoint {
    /// What each group had applied when the order that is under way was given.
    under_way: Option<BTreeMap<GroupId, LogIndex>>,
    /// When the first command was applied that is not durable in the state store.
    dirty_since: Option<Time>,
}

impl Node {
    /// A node on what recovery found. Pushes the first orders.
    pub fn new(config: Config, boot: Boot, now: Now, out: &mut Vec<Effect>) -> Result<Node, BootError> {
        let (log, mut recovered, log_effects) = boot.log;
        let hard_states = boot.hard_states;
        let reused = planted!(config.planted, NonceReused);
        let mut rng = ChaCha20Rng::from_seed(if reused { [0; 32] } else { config.seed });
        let mut groups = BTreeMap::new();
        for &id in &config.groups {
            let state = boot.applied.get(&id).copied().unwrap_or_default();
            let applied = state.position;
            let found = recovered.remove(&id);
            let raft_config = config.raft(id);
            let membership = boot.memberships.get(&id).cloned();
            // Nothing is committed without a group's only voter, so nobody sends it a snapshot of such a group. To any
            // other replica a peer sends one once it has answered, and a term was durable before it did.
            let needs_others = !raft_config.membership_or_first(membership.clone()).has_quorum(&|of| of == config.node);
            let is_known = found.is_some();
            let found = found.unwrap_or_default();
            let (hard_state, unsaved) = hard_states.reconcile(id, found.hard_state);
            if hard_state.impaired && !needs_others {
                return Err(BootError::LogLost { group: id });
            }
            let may_hold_snapshot = needs_others && (is_known || hard_state.impaired);
            let base = found.base;
            if applied.index < base.index {
                return Err(BootError::StateBehindLog { group: id, applied, base });
            }
            let restored = Restored { hard_state, unsaved, base, entries: found.entries, ..Restored::default() };
            // NODE-4
            if !restored.has(applied) && !may_hold_snapshot {
                let last = restored.last();
                return Err(BootError::LogBehindState { group: id, applied, last });
            }
            let restored = restored.reconcile(applied, membership, config.planted);
            let raft = Raft::new(raft_config, restored, rng.next_u64(), now.time);
            groups.insert(id, Group::new(id, raft, state, now.time));
        }
        let mut stores = BTreeMap::new();
        let mut store_effects = Vec::new();
        for (drive, (store, effects)) in boot.stores {
            stores.insert(drive, store);
            store_effects.push((drive, effects));
        }
        let sweep = Sweep::new(now.time);
        let swim = config.swim.clone().map(|config| Swim::new(config, rng.next_u64(), now.time));
        let life = rng.next_u64();
        let first_scrubbed = VersionId(u128::from(rng.next_u64()) << 64);
        let scrub = Scrubber::new(now.time, first_scrubbed, config.scrub);
        let (mut topology, placement) = boot.topology;
        if topology.nodes.is_empty() {
            // Epoch 0: nobody has committed it.
            topology.nodes = config.nodes.iter().cloned().collect();
        }
        let mut node = Node {
            config,
            rng,
            now,
            log,
            hard_states,
            groups,
            stores,
            next_id: 1,
            proposals: BTreeMap::new(),
            questions: BTreeMap::new(),
            work: BTreeMap::new(),
            tickets: BTreeMap::new(),
            life,
            remote: BTreeMap::new(),
            peer_bytes: 0,
            topology: Topology::default(),
            placement: placement.as_ref().and_then(Placement::open),
            homes: BTreeMap::new(),
            specs: Vec::new(),
            refreshing: false,
            refresh_again: false,
            confirmed_at: None,
            confirming: None,
            doubtful: BTreeSet::new(),
            greeted: BTreeSet::new(),
            distrust: Distrust::default(),
            swim,
            steward_due: now.time,
            mover: Mover::new(now.time),
            lifecycle: Lifecycle::new(now.time),
            scrub,
            writes: BTreeMap::new(),
            alive: BTreeSet::new(),
            opening: BTreeSet::new(),
            opens: BTreeMap::new(),
            reads: BTreeMap::new(),
            sweep,
            checkpoint: Checkpoint::default(),
            stopped: false,
        };
        node.set_topology(topology, out);
        if !node.topology.nodes.is_empty() {
            out.push(Effect::Members(Members::of(&node.topology)));
        }
        node.on_log_effects(log_effects, out);
        for (drive, effects) in store_effects {
            node.on_store_effects(drive, effects, out);
        }
        node.on_deadline(out);
        Ok(node)
    }

    /// Takes a fact, pushes orders.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        // NODE-3
        if self.stopped {
            return;
        }
        self.now = now;
        match event {
            Event::Deadline => self.on_deadline(out),
            Event::Peer { from, message } => self.on_peer(from, message, out),
            Event::PeerLost { node } => self.on_peer_lost(node, out),
            Event::Client { id, request } => self.on_request(id, request, out),
            Event::Disk { user, op, outcome } => self.on_disk(user, op, outcome, out),
            Event::Applied { group, through, answers } => self.on_applied(group, through, answers, out),
            Event::Queried { work, answer } => self.on_queried(work, answer, out),
            Event::Checkpointed => self.on_checkpointed(out),
            Event::SnapshotTaken { group, snapshot } => {
                self.step_group(group, raft::Event::SnapshotTaken { snapshot }, out);
            }
            Event::SnapshotInstalled { group, position } => self.on_snapshot_installed(group, position, out),
            Event::SnapshotRefused { group, why } => self.on_snapshot_refused(group, &why, out),
            Event::Computed { work, product } => self.on_computed(work, product, out),
        }
        self.checkpoint_if_due(out);
    }

    /// When `Event::Deadline` is wanted. Ask again after each step.
    pub fn deadline(&self) -> Option<Time> {
        let rafts = self.groups.values().filter_map(|group| group.raft.deadline()).min();
        let checkpoint = self.checkpoint.dirty_since.filter(|_| self.checkpoint.under_way.is_none());
        let checkpoint = checkpoint.map(|since| since.after(self.config.checkpoint_interval));
        let remote = self.remote.values().map(|remote| remote.until).min();
        let slow = self.reads.values().filter_map(|reading| reading.slow_at).min();
        let steward = self.config.steward_interval.map(|_| self.steward_due);
        let mover = Some(self.mover.due());
        let scrub = self.scrub.due();
        let lifecycle = self.config.lifecycle_day.map(|_| self.lifecycle.due());
        let swim = self.swim.as_ref().and_then(Swim::deadline);
        [swim, rafts, checkpoint, remote, slow, steward, mover, scrub, lifecycle, Some(self.sweep.due())]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_deadline(&mut self, out: &mut Vec<Effect>) {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            self.step_group(id, raft::Event::Deadline, out);
        }
        self.step_swim(swim::Event::Deadline, out);
        self.expire_remote(out);
        self.hedge_slow_reads(out);
        self.sweep_if_due(out);
        self.keep_members(out);
        self.keep_places(out);
        self.scrub(out);
        self.keep_lifecycle(out);
    }

    fn on_peer(&mut self, from: NodeId, message: PeerMessage, out: &mut Vec<Effect>) {
        self.sweep.note_heard(from);
        if self.doubtful.remove(&from) {
            out.push(Effect::Trace(Trace::Note(format!("node {from} is heard again"))));
        }
        self.greet(from, out);
        match message {
            PeerMessage::Members(members) if members.epoch > self.topology.epoch => out.push(Effect::Members(members)),
            PeerMessage::Members(_) => {}
            PeerMessage::Raft { group, message } => self.on_raft(from, group, message, out),
            PeerMessage::Shard(order) => self.on_shard_order(from, order, out),
            PeerMessage::ShardAnswer { ticket, outcome } => self.on_shard_answer(from, ticket, outcome, out),
            PeerMessage::Swim(message) => self.step_swim(swim::Event::Receive { from, message }, out),
            PeerMessage::Pins { ask, versions } => self.on_pins(from, ask, versions, out),
            PeerMessage::Pinned { ask, versions } => self.on_pinned(from, ask, versions, out),
        }
    }

    fn on_disk(&mut self, user: DiskUser, op: OpId, outcome: DiskOutcome, out: &mut Vec<Effect>) {
        match user {
            DiskUser::Log => self.step_log(log::Event::Disk { op, outcome }, out),
            DiskUser::HardStates => self.on_copy_disk(op, outcome, out),
            DiskUser::Shards(drive) => self.step_store(drive, shards::Event::Disk { op, outcome }, out),
        }
    }

    fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn fatal(&mut self, why: Fatal, out: &mut Vec<Effect>) {
        if !self.stopped {
            self.stopped = true;
            out.push(Effect::Fatal(why));
        }
    }

    // The log and the groups.

    fn step_log(&mut self, event: log::Event, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.log.step(event, &mut effects);
        self.on_log_effects(effects, out);
    }

    fn on_log_effects(&mut self, effects: Vec<log::Effect>, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                log::Effect::Disk { op, order } => out.push(Effect::Disk { user: DiskUser::Log, op, order }),
                log::Effect::Persisted { group, id } => {
                    self.step_group(group, raft::Event::Persisted { id }, out);
                }
                log::Effect::Failed { error } => self.on_log_failed(error, out),
            }
        }
    }

    fn step_group(&mut self, id: GroupId, event: raft::Event, out: &mut Vec<Effect>) {
        let mut outputs = Vec::new();
        let group = self.groups.get_mut(&id).expect("only groups of this node are stepped");
        group.step(self.now.time, event, &mut outputs);
        self.on_outputs(id, outputs, out);
    }

    fn on_outputs(&mut self, group: GroupId, outputs: Vec<Output>, out: &mut Vec<Effect>) {
        for output in outputs {
            match output {
                Output::Order(order) => self.on_raft_order(group, order, out),
                Output::Apply(entries) => out.push(Effect::Apply { group, entries }),
                Output::Install(snapshot) => out.push(Effect::InstallSnapshot { group, snapshot }),
                Output::Answered { id, answer } => self.on_answered(id, answer, out),
                Output::Changed { id } => self.answer_operator(id, Reply::Changed, out),
                Output::TransferBegun { id } => self.answer_operator(id, Reply::TransferBegun, out),
                Output::Refused { id, reason } => self.on_refused(id, reason, out),
                Output::Readable { id } => self.on_readable(id, out),
                Output::Trace(trace) => out.push(Effect::Trace(trace)),
            }
        }
    }

    fn on_applied(&mut self, id: GroupId, through: Applied, answers: Vec<(LogIndex, Answer)>, out: &mut Vec<Effect>) {
        // From here on, and not from the order on: a checkpoint that was ordered in between does not cover the batch.
        self.checkpoint.dirty_since.get_or_insert(self.now.time);
        let mut outputs = Vec::new();
        let group = self.groups.get_mut(&id).expect("only groups of this node are applied");
        group.on_applied(self.now.time, through, answers, &mut outputs);
        match id {
            GroupId::GLOBAL => self.refresh_topology(out),
            _ => {
                self.sweep.note_applied();
                self.mover.note_applied();
                self.lifecycle.note_applied();
            }
        }
        self.on_outputs(id, outputs, out);
        self.compare_clocks(id, out);
    }

    fn on_snapshot_installed(&mut self, id: GroupId, position: LogPosition, out: &mut Vec<Effect>) {
        let mut outputs = Vec::new();
        let group = self.groups.get_mut(&id).expect("only groups of this node are installed");
        group.on_installed(position, &mut outputs);
        self.on_outputs(id, outputs, out);
        if id == GroupId::GLOBAL {
            self.refresh_topology(out);
        }
        self.step_group(id, raft::Event::SnapshotInstalled { position }, out);
    }

    // The state store's durability.

    fn checkpoint_if_due(&mut self, out: &mut Vec<Effect>) {
        let Some(since) = self.checkpoint.dirty_since else { return };
        if self.checkpoint.under_way.is_some() || self.stopped {
            return;
        }
        let bytes: usize = self.groups.values().map(|group| group.uncheckpointed_bytes).sum();
        let aged = self.now.time >= since.after(self.config.checkpoint_interval);
        if bytes < self.config.checkpoint_bytes && !aged {
            return;
        }
        let applied = self.groups.iter_mut().map(|(id, group)| {
            group.uncheckpointed_bytes = 0;
            (*id, group.applied.index)
        });
        self.checkpoint = Checkpoint { under_way: Some(applied.collect()), dirty_since: None };
        out.push(Effect::Checkpoint);
    }

    fn on_checkpointed(&mut self, out: &mut Vec<Effect>) {
        let durable = self.checkpoint.under_way.take().expect("a checkpoint ends only when one was ordered");
        for (id, through) in durable {
            let group = self.groups.get_mut(&id).expect("groups do not leave a running node");
            group.checkpointed = group.checkpointed.max(through);
            // NODE-1
            self.step_group(id, raft::Event::Compact { through }, out);
        }
    }

    // What the parts above ask of the groups.

    fn propose(
        &mut self,
        group: GroupId,
        session: Option<SessionStamp>,
        operation: Operation,
        proposer: Proposer,
        out: &mut Vec<Effect>,
    ) {
        let id = RequestId(self.fresh_id());
        let by_clock = planted!(self.config.planted, VersionsByClock);
        let time = if by_clock { self.now.wall } else { self.wall(group) };
        let command = Command { time, session, operation }.encode();
        self.proposals.insert(id, proposer);
        self.step_group(group, raft::Event::Propose { id, command }, out);
    }

    fn ask(&mut self, group: GroupId, query: Query, asker: Asker, out: &mut Vec<Effect>) {
        let id = RequestId(self.fresh_id());
        self.questions.insert(id, (group, query, asker));
        self.step_group(group, raft::Event::Read { id }, out);
    }

    /// What time it is for the commands and the preparations of a group (`TIME-1`).
    fn wall(&self, group: GroupId) -> WallTime {
        self.groups.get(&group).map_or(self.now.wall, |group| group.clock.read(self.now))
    }

    fn leads(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|group| group.raft.role() == raft::Role::Leader)
    }
}
