//! The cluster: machines, clients, the world around them, and the queue of everything that will happen.

use super::brief::{BriefEvent, brief_reply};
use super::effects::was_ordered;
use super::machine::{Machine, Tenant};
use super::plan::{Plan, Report};
use super::process::{BootOrder, Done, StoreWork, Turn};
use super::trouble::{Trouble, Troubles};
use crate::chance::Chance;
use crate::check::Complaint;
use crate::check::canonical::CanonicalLog;
use crate::check::once::ExactlyOnce;
use crate::client::{Client, Desk, Histories};
use crate::trace::Trace;
use crate::world::SimTime;
use crate::world::atlas::Atlas;
use crate::world::clock::Clock;
use crate::world::disk::{Disk, Treachery};
use crate::world::network::{End, Network};
use anvil_core::disk::{DiskOrder, OpId};
use anvil_core::node::{Config, DiskUser, Event, Reply, Request};
use anvil_core::stripe::RootKey;
use anvil_core::swim;
use anvil_core::types::{GroupId, NodeId, RequestId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most events of a run. A run has thousands; one that has so many does not get anywhere.
const EVENTS_MAX: u64 = 3_000_000;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Item {
    /// An event reaches a process. A message of a peer reaches whatever life is there; all else only its own.
    Deliver { node: u64, life: Option<u64>, event: Event },
    /// A client's request reaches a node.
    Request { node: u64, life: Option<u64>, client: usize, id: RequestId, request: Request },
    /// An order to a drive takes effect.
    Disk { node: u64, life: u64, user: DiskUser, op: OpId, order: DiskOrder, ordered: SimTime, done: SimTime },
    /// Work on a state store takes effect.
    Store { node: u64, life: u64, work: StoreWork, answer_after: u64 },
    /// A process wanted to be woken.
    Deadline { node: u64, life: u64 },
    /// A machine starts its process.
    Start { node: u64 },
    /// A client's timer rings.
    Wake { client: usize, token: u64 },
    /// An answer reaches a client.
    Answer { client: usize, id: RequestId, reply: Reply },
    /// Trouble strikes.
    Trouble(Trouble),
}

/// Who waits for a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) client: usize,
    pub(super) node: u64,
    pub(super) life: u64,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) plan: Plan,
    pub(super) now: SimTime,
    pub(super) queue: BTreeMap<(SimTime, u64), Item>,
    next_item: u64,
    pub(super) numbers: Vec<u64>,
    pub(super) machines: BTreeMap<u64, Machine>,
    pub(super) network: Network,
    pub(super) atlas: Atlas,
    pub(super) troubles: Troubles,
    pub(super) healed: bool,
    pub(super) trace: Trace,
    pub(super) clients: Vec<Box<dyn Client>>,
    /// Who asked each request that is not answered, and of which life of which node.
    pub(super) askers: BTreeMap<RequestId, Asker>,
    requests_on_their_way: u64,
    pub(super) histories: Histories,
    next_id: u64,
    pub(super) canonical: CanonicalLog,
    pub(super) once: ExactlyOnce,
    pub(super) undecided: usize,
    pub(super) struck: BTreeMap<&'static str, u64>,
}

/// How the driver's steps end.
pub(super) type Outcome = Result<(), Complaint>;

impl Cluster {
    pub(super) fn new(plan: Plan) -> Cluster {
        let numbers: Vec<u64> = (1..=plan.nodes + plan.spares).collect();
        let seed = plan.seed;
        let atlas = Atlas::new(seed, &numbers, plan.drives, u32::from(plan.profile.parity));
        let machines = numbers.iter().map(|number| (*number, new_machine(&plan, &atlas, *number))).collect();
        Cluster {
            now: SimTime(0),
            queue: BTreeMap::new(),
            next_item: 0,
            machines,
            network: Network::new(seed, plan.network),
            troubles: Troubles::new(&plan),
            atlas,
            healed: false,
            trace: Trace::new(plan.readable),
            clients: Vec::new(),
            askers: BTreeMap::new(),
            requests_on_their_way: 0,
            histories: Histories::default(),
            next_id: 0,
            canonical: CanonicalLog::default(),
            once: ExactlyOnce::default(),
            undecided: 0,
            struck: BTreeMap::new(),
            numbers,
            plan,
        }
    }

    pub(super) fn report(self, complaint: Option<Complaint>) -> Report {
        Report {
            hash: self.trace.hash(),
            events: self.trace.events(),
            simulated_micros: self.now.0,
            operations: self.histories.completed(),
            undecided: self.undecided,
            struck: self.struck.into_iter().collect(),
            complaint,
            lines: self.trace.lines().to_vec(),
        }
    }

    pub(super) fn note(&mut self, subject: std::fmt::Arguments<'_>, what: std::fmt::Arguments<'_>) {
        self.trace.note(self.now, subject, what);
    }

    pub(super) fn strike(&mut self, what: &'static str) {
        *self.struck.entry(what).or_default() += 1;
    }

    pub(super) fn queue(&mut self, after_micros: u64, item: Item) {
        self.queue_at(self.now.after(after_micros), item);
    }

    pub(super) fn queue_at(&mut self, at: SimTime, item: Item) {
        self.next_item += 1;
        self.queue.insert((at, self.next_item), item);
    }

    pub(super) fn machine(&mut self, node: u64) -> &mut Machine {
        self.machines.get_mut(&node).expect("the plan named this node")
    }

    /// Lets things happen until `end`, or until `enough` says so.
    pub(super) async fn run_until(&mut self, end: SimTime, enough: impl Fn(&Cluster) -> bool) -> Outcome {
        while let Some(entry) = self.queue.first_entry() {
            let at = entry.key().0;
            if at > end || enough(self) {
                break;
            }
            let ((at, _), item) = self.queue.pop_first().expect("the queue has a first entry");
            self.now = at;
            catch_up(at).await;
            self.happen(item).await?;
            if self.trace.events() > EVENTS_MAX {
                return Err(Complaint::new("the cluster gets somewhere", format!("{EVENTS_MAX} events and no end")));
            }
        }
        if !enough(self) {
            self.now = self.now.max(end);
        }
        Ok(())
    }

    async fn happen(&mut self, item: Item) -> Outcome {
        let until = item.process().map_or(SimTime(0), |node| self.machine(node).paused_until);
        if until > self.now {
            self.queue_after_pause(until, item);
            return Ok(());
        }
        match item {
            Item::Deliver { node, life, event } => self.deliver(node, life, event).await,
            Item::Request { node, life, client, id, request } => {
                self.requests_on_their_way -= 1;
                let machine = self.machine(node);
                let is_there = life.map_or(machine.is_running(), |life| machine.lives(life));
                if !is_there {
                    return Ok(());
                }
                let life = machine.life;
                self.askers.insert(id, Asker { client, node, life });
                self.deliver(node, Some(life), Event::Client { id, request }).await
            }
            Item::Disk { node, life, user, op, order, ordered, done } => {
                self.carry_out(node, life, user, op, &order, ordered, done)
            }
            Item::Store { node, life, work, answer_after } => self.work(node, life, work, answer_after).await,
            Item::Deadline { node, life } => {
                let now = self.now;
                let machine = self.machine(node);
                if !machine.lives(life) || machine.wake_at != Some(now) {
                    return Ok(());
                }
                machine.wake_at = None;
                self.deliver(node, Some(life), Event::Deadline).await
            }
            Item::Start { node } => self.start(node).await,
            Item::Wake { client, token } => self.with_client(client, |client, desk| client.on_wake(token, desk)),
            Item::Answer { client, id, reply } => {
                self.trace.note(
                    self.now,
                    format_args!("c{client}"),
                    format_args!("answer {id}: {}", brief_reply(&reply)),
                );
                self.with_client(client, |client, desk| client.on_reply(id, reply, desk))
            }
            Item::Trouble(trouble) => self.strike_with(trouble).await,
        }
    }

    async fn deliver(&mut self, node: u64, life: Option<u64>, event: Event) -> Outcome {
        let now = self.now;
        let machine = self.machines.get_mut(&node).expect("the plan named this node");
        if !machine.is_running() || life.is_some_and(|life| !machine.lives(life)) {
            return Ok(());
        }
        if let Event::Peer { from, .. } = &event
            && !self.network.carries(from.0, node)
        {
            return Ok(());
        }
        self.trace.note(now, format_args!("n{node}"), format_args!("{}", BriefEvent(&event)));
        let clocks = machine.clock.read(now);
        let done = machine.turn(Turn::Step { now: clocks, event }).await;
        self.on_stepped(node, done).await
    }

    pub(super) async fn on_stepped(&mut self, node: u64, done: Done) -> Outcome {
        match done {
            Done::Stepped { effects, deadline } => {
                let now = self.now;
                let machine = self.machine(node);
                let life = machine.life;
                let wake_at = deadline.map(|deadline| machine.when(deadline).max(now.after(1)));
                if let Some(at) = wake_at.filter(|at| machine.wake_at != Some(*at)) {
                    machine.wake_at = Some(at);
                    self.queue_at(at, Item::Deadline { node, life });
                }
                self.on_effects(node, effects).await
            }
            Done::Panicked(what) => {
                let place = super::last_panic();
                Err(Complaint::new("no assertion fails", format!("node {node}: {what}{place}")))
            }
            Done::Refused(why) => self.on_refused(node, &why).await,
            Done::StoreFailed(why) => self.on_store_failed(node, &why).await,
            Done::Finished(_) | Done::Seen(_) => panic!("a step ends in a step's answer"),
        }
    }

    async fn on_refused(&mut self, node: u64, why: &str) -> Outcome {
        self.note(format_args!("n{node}"), format_args!("refuses to start: {why}"));
        if !self.atlas.may_refuse(node) && was_ordered(why) {
            self.strike("a start that a drive's error spoiled");
            return self.lose_power(node).await;
        }
        if !self.atlas.may_refuse(node) {
            return Err(Complaint::new("a node starts on what its drives hold", format!("node {node}: {why}")));
        }
        let machine = self.machine(node);
        machine.lose_process();
        machine.kill(Tenant::Refused).await;
        self.strike("refused to start");
        Ok(())
    }

    async fn start(&mut self, node: u64) -> Outcome {
        let now = self.now;
        if !self.machine(node).is_down() {
            return Ok(());
        }
        self.note(format_args!("n{node}"), format_args!("starts"));
        let machine = self.machine(node);
        let origin = machine.chance.below(1 << 30);
        machine.clock.reborn(now, origin);
        let order = self.boot_order(node);
        let done = self.machine(node).start(order).await;
        self.on_stepped(node, done).await
    }

    fn boot_order(&mut self, node: u64) -> BootOrder {
        let plan = &self.plan;
        let mut config = Config {
            node: NodeId(node),
            voters: (1..=plan.nodes).filter(|_| node <= plan.nodes).map(NodeId).collect(),
            address: String::new(),
            groups: vec![GroupId::GLOBAL, GroupId::REGION],
            nodes: (1..=plan.nodes).map(|number| (NodeId(number), plan.founder_info(number))).collect(),
            drives: plan.node_info(node).drives,
            lost: Vec::new(),
            root_key: RootKey([7; 32]),
            seed: [0; 32],
            election_timeout: plan.node.election_timeout,
            heartbeat_interval: plan.node.heartbeat_interval,
            clock_drift_ppm_max: plan.node.clock_drift_ppm_max,
            append_bytes_max: plan.node.append_bytes_max,
            snapshot_chunk_bytes: plan.node.append_bytes_max.max(500),
            tail_entries_max: plan.node.tail_entries_max,
            checkpoint_bytes: plan.node.checkpoint_bytes,
            checkpoint_interval: plan.node.checkpoint_interval,
            prepare_ttl: plan.node.prepare_ttl,
            sweep_interval: plan.node.sweep_interval,
            forward_patience: plan.node.forward_patience,
            peer_timeout: plan.node.peer_timeout,
            peer_bytes_max: plan.node.peer_bytes_max,
            swim: plan.node.swim.then(|| swim::Config::lan(NodeId(node))),
            hedge_after: plan.node.hedge_after,
            moves_max: 2,
            recode_after: plan.node.recode_after,
            scrub: plan.node.scrub,
            steward_interval: plan.node.steward_interval,
            voter_patience: plan.node.voter_patience,
            // A node that is silent has died, and is started again before the run ends.
            pin_patience: Duration::from_secs(3600),
            lifecycle_day: None,
            planted: plan.planted,
        };
        let (segment_size, extent_size, first_drive) =
            (plan.node.segment_size, plan.node.extent_size, plan.drive(node, 0));
        let machine = self.machines.get_mut(&node).expect("the plan named this node");
        machine.chance.fill(&mut config.seed);
        let now = machine.clock.read(self.now);
        BootOrder {
            config,
            cluster: u128::from(self.plan.seed) + 1,
            first_drive,
            segment_size,
            extent_size,
            disks: machine.disks.clone(),
            now,
        }
    }

    /// Gives a client the turn, and carries what it leaves on the desk.
    pub(super) fn with_client(&mut self, number: usize, turn: impl FnOnce(&mut dyn Client, &mut Desk<'_>)) -> Outcome {
        let mut desk = Desk {
            seed: self.plan.seed,
            now: self.now,
            nodes: &self.numbers,
            may_lose_bytes: self.atlas.may_lose_bytes(),
            drives_per_node: (self.plan.nodes > 1).then_some(self.plan.drives),
            may_be_unreachable: !self.healed && self.plan.nodes > 1,
            histories: &mut self.histories,
            next_id: &mut self.next_id,
            sends: Vec::new(),
            wakes: Vec::new(),
            complaint: None,
        };
        turn(self.clients[number].as_mut(), &mut desk);
        let Desk { sends, wakes, complaint, .. } = desk;
        for (at, token) in wakes {
            self.queue_at(at, Item::Wake { client: number, token });
        }
        for (node, id, request) in sends {
            self.on_asked(node, &request);
            if self.clients[number].is_gateway() {
                self.send_inside(number, node, id, request);
                continue;
            }
            // A request's id names it: the network may lose it, and never doubles it.
            if let Some(delay) = self.network.send(End::Client(number as u64), End::Node(node)).first() {
                self.requests_on_their_way += 1;
                self.queue(*delay, Item::Request { node, life: None, client: number, id, request });
            }
        }
        complaint.map_or(Ok(()), Err)
    }
}

/// Typical time of a hop inside of a process, in microseconds.
const INSIDE_MICROS: u64 = 30;

/// How far apart what waited for a paused process arrives, in microseconds.
const WAKING_MICROS: u64 = 2_000;

impl Cluster {
    /// A paused process sees everything later, and in any order: what came by different ways (timers, links, drives)
    /// races for its attention when it wakes. Only what came by one way stays in order.
    fn queue_after_pause(&mut self, until: SimTime, item: Item) {
        let Some(node) = item.process() else { return };
        let machine = self.machine(node);
        let mut at = until.after(machine.chance.below(WAKING_MICROS));
        match &item {
            Item::Request { life: Some(_), .. } => {
                at = at.max(machine.last_inside.after(1));
                machine.last_inside = at;
            }
            Item::Deadline { .. } => machine.wake_at = Some(at),
            Item::Deliver { .. }
            | Item::Request { .. }
            | Item::Disk { .. }
            | Item::Store { .. }
            | Item::Start { .. }
            | Item::Wake { .. }
            | Item::Answer { .. }
            | Item::Trouble(_) => {}
        }
        self.queue_at(at, item);
    }

    /// A gateway's request to the process that it is part of: kept in order, and lost only with the process.
    fn send_inside(&mut self, client: usize, node: u64, id: RequestId, request: Request) {
        let machine = self.machines.get_mut(&node).expect("the plan named this node");
        if !machine.is_running() {
            return;
        }
        let delay = machine.chance.heavy_tail(INSIDE_MICROS);
        let at = self.now.after(delay).max(machine.last_inside.after(1));
        machine.last_inside = at;
        let life = Some(machine.life);
        self.requests_on_their_way += 1;
        self.queue_at(at, Item::Request { node, life, client, id, request });
    }

    /// Whether a request is on its way, or a living process still owes somebody an answer.
    pub(super) fn owes_answers(&self) -> bool {
        self.requests_on_their_way > 0 || self.askers.values().any(|asker| self.machines[&asker.node].lives(asker.life))
    }

    /// A node's reply on its way to the client.
    pub(super) fn send_reply(&mut self, node: u64, client: usize, id: RequestId, reply: Reply) {
        let delay = if self.clients[client].is_gateway() {
            Some(self.machine(node).chance.heavy_tail(INSIDE_MICROS))
        } else {
            self.network.send(End::Node(node), End::Client(client as u64)).first().copied()
        };
        if let Some(delay) = delay {
            self.queue(delay, Item::Answer { client, id, reply });
        }
    }
}

impl Item {
    /// The process that a pause delays.
    fn process(&self) -> Option<u64> {
        match self {
            Item::Deliver { node, .. }
            | Item::Request { node, .. }
            | Item::Deadline { node, .. }
            | Item::Store { node, .. } => Some(*node),
            Item::Disk { .. } | Item::Start { .. } | Item::Wake { .. } | Item::Answer { .. } | Item::Trouble(_) => None,
        }
    }
}

fn new_machine(plan: &Plan, atlas: &Atlas, number: u64) -> Machine {
    let mut chance = Chance::named(plan.seed, &format!("node {number}"));
    let around = |chance: &mut Chance, max: u64| {
        let drawn = i64::try_from(chance.below(2 * max + 1)).expect("small");
        drawn - i64::try_from(max).expect("small")
    };
    let clock = Clock::new(around(&mut chance, plan.drift_ppm_max), around(&mut chance, plan.offset_ms_max));
    let disks = (0..plan.drives).map(|drive| {
        let mut disk = Disk::new(plan.seed, &format!("{number}.{drive}"), plan.disk, plan.capacity);
        if plan.damage.treachery && atlas.is_weak(number, drive) {
            disk.set_treachery(Treachery {
                lying_sync_per_million: *chance.pick(&[0, 100_000, 1_000_000]),
                misdirect_per_million: *chance.pick(&[0, 20_000]),
                read_error_per_million: *chance.pick(&[0, 50_000]),
            });
        }
        Arc::new(Mutex::new(disk))
    });
    let disks = disks.collect();
    Machine {
        number,
        clock,
        disks,
        tenant: Tenant::Down,
        life: 0,
        paused_until: SimTime(0),
        last_inside: SimTime(0),
        wake_at: None,
        chance,
    }
}

/// Lets madsim's clock follow the world's. Sleeps take whole milliseconds, so it runs a little ahead or behind.
async fn catch_up(at: SimTime) {
    let elapsed = madsim::time::TimeHandle::current().elapsed();
    let target = Duration::from_micros(at.0);
    if target > elapsed + Duration::from_millis(1) {
        madsim::time::sleep(target.saturating_sub(elapsed)).await;
    }
}
