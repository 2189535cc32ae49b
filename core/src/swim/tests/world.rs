//! A world in memory for some failure detectors: messages that take time and get lost, clocks that run at different
//! rates, nodes that pause, die and start again. All from one seed, in virtual time.
//!
//! It checks with each message that the message is within its bounds, and notes who believed what when.

use crate::swim::{Config, Description, Effect, Event, Health, Message, Swim};
use crate::types::{NodeId, Time};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How links and clocks are.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// In how many of 1,000 cases a message is lost.
    pub(super) loss: u64,
    /// By how many parts of 1,000 a node's clock may be fast or slow.
    pub(super) skew: u64,
    /// One message in a hundred takes up to so many microseconds.
    pub(super) tail: u64,
}

/// Links that lose nothing and are slow at times, clocks within two percent.
pub(super) const CALM: Options = Options { loss: 0, skew: 20, tail: 80_000 };

/// Loses one message in five.
pub(super) const LOSSY: Options = Options { loss: 200, ..CALM };

/// Nothing is ever late.
pub(super) const PERFECT: Options = Options { tail: 1_000, ..CALM };

/// A message that was sent: when, from whom, and to whom.
pub(super) type Sent = (Time, NodeId, NodeId, Message);

enum Happening {
    Arrive {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    /// A node's deadline may have come.
    Wake(NodeId),
    Resume(NodeId),
}

struct Machine {
    swim: Option<Swim>,
    /// Thousandths of true time.
    rate: u64,
    offset: u64,
    lives: u64,
    /// Does not run; what arrives waits.
    is_paused: bool,
    waiting: Vec<(NodeId, Message)>,
    /// The earliest wake that is scheduled.
    wake_at: Option<Time>,
}

/// A change of a belief.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) at: Time,
    pub(super) by: NodeId,
    pub(super) about: NodeId,
    pub(super) health: Health,
}

pub(super) struct World {
    seed: u64,
    random: ChaCha8Rng,
    pub(super) options: Options,
    pub(super) now: Time,
    machines: BTreeMap<NodeId, Machine>,
    happenings: BTreeMap<(Time, u64), Happening>,
    next_happening: u64,
    /// Nodes in different parts do not hear each other. Part 0 unless given.
    pub(super) parts: BTreeMap<NodeId, u8>,
    pub(super) turns: Vec<Turn>,
    /// Every message that was sent since the nodes got to know each other, if anyone wants to see them.
    pub(super) sent: Vec<Sent>,
    pub(super) keeps_messages: bool,
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn load(load: u32) -> Description {
    Description::new(load, Vec::new(), Vec::new()).expect("a load alone is a description")
}

pub(super) fn any_node(world: &mut World) -> NodeId {
    let ids = world.ids();
    let nth = world.below(ids.len() as u64);
    ids[usize::try_from(nth).expect("a small number")]
}

impl World {
    pub(super) fn new(nodes: u64, seed: u64, options: Options) -> World {
        let mut world = World {
            seed,
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x5157_494d),
            options,
            now: Time(1_000_000),
            machines: BTreeMap::new(),
            happenings: BTreeMap::new(),
            next_happening: 0,
            parts: BTreeMap::new(),
            turns: Vec::new(),
            sent: Vec::new(),
            keeps_messages: false,
        };
        for id in 1..=nodes {
            let rate = 1000 - options.skew + world.below(2 * options.skew + 1);
            let offset = world.below(1_000_000);
            let (waiting, wake_at) = (Vec::new(), None);
            let machine = Machine { swim: None, rate, offset, lives: 0, is_paused: false, waiting, wake_at };
            world.machines.insert(NodeId(id), machine);
        }
        world.ids().into_iter().for_each(|id| world.start(id));
        world
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    fn machine(&mut self, id: NodeId) -> &mut Machine {
        self.machines.get_mut(&id).expect("the node is part of the world")
    }

    pub(super) fn swim(&self, id: NodeId) -> &Swim {
        self.machines.get(&id).and_then(|machine| machine.swim.as_ref()).expect("the node is up")
    }

    fn up(&self) -> impl Iterator<Item = (NodeId, &Swim)> {
        self.machines.iter().filter_map(|(id, machine)| Some((*id, machine.swim.as_ref()?)))
    }

    /// Whether all other nodes that are up believe this of a node.
    pub(super) fn all_believe(&self, about: NodeId, health: Health) -> bool {
        self.up().filter(|(id, _)| *id != about).all(|(_, swim)| swim.health(about) == health)
    }

    /// Whether all nodes that are up believe each other to be alive.
    pub(super) fn all_are_alive(&self) -> bool {
        self.up().all(|(id, _)| self.all_believe(id, Health::Alive))
    }

    /// Whether all nodes that are up have the latest description of each other.
    pub(super) fn all_are_described(&self) -> bool {
        self.up().all(|(id, own)| self.up().all(|(_, swim)| swim.description(id) == own.description(id)))
    }

    /// Starts a node, which knows only who is on the list and how loaded it is itself: by its life.
    pub(super) fn start(&mut self, id: NodeId) {
        let (seed, local, list) = (self.seed, self.local(id), self.ids().into_iter().collect::<BTreeSet<NodeId>>());
        let machine = self.machine(id);
        assert!(machine.swim.is_none(), "only a node that is down starts");
        machine.lives += 1;
        let lives = machine.lives;
        machine.swim = Some(Swim::new(Config::lan(id), seed * 1_000_003 + id.0 * 1009 + lives, local));
        self.step(id, Event::Describe(load(u32::try_from(lives).expect("few lives"))));
        self.step(id, Event::Members(list));
    }

    pub(super) fn kill(&mut self, id: NodeId) {
        let machine = self.machine(id);
        machine.swim = None;
        machine.is_paused = false;
        machine.waiting.clear();
    }

    pub(super) fn pause(&mut self, id: NodeId, duration: Duration) {
        self.machine(id).is_paused = true;
        self.schedule(self.now.after(duration), Happening::Resume(id));
    }

    fn local(&self, id: NodeId) -> Time {
        let machine = &self.machines[&id];
        Time(machine.offset + self.now.0 * machine.rate / 1000)
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
        self.next_happening += 1;
        self.happenings.insert((at, self.next_happening), happening);
    }

    pub(super) fn step(&mut self, id: NodeId, event: Event) {
        let (now, local) = (self.now, self.local(id));
        let Some(swim) = &mut self.machine(id).swim else { return };
        let mut out = Vec::new();
        swim.step(local, event, &mut out);
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Became { node, health } => {
                    assert_ne!(node, id, "a node does not judge itself");
                    self.turns.push(Turn { at: now, by: id, about: node, health });
                }
            }
        }
        self.schedule_wake(id);
    }

    /// Wakes the node at its deadline, as its own clock shows it.
    fn schedule_wake(&mut self, id: NodeId) {
        let (now, local) = (self.now, self.local(id));
        let machine = self.machine(id);
        let deadline = machine.swim.as_ref().and_then(Swim::deadline).expect("the detector always waits");
        let micros = u64::try_from(deadline.since(local).as_micros()).expect("not far away");
        let at = Time(now.0 + micros * 1000 / machine.rate + 1);
        if machine.wake_at.is_none_or(|wake_at| at < wake_at) {
            machine.wake_at = Some(at);
            self.schedule(at, Happening::Wake(id));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let updates_max = Config::lan(from).updates_per_message_max;
        assert!(message.updates.len() <= updates_max, "SWIM-9: {} updates", message.updates.len());
        let about: BTreeSet<NodeId> = message.updates.iter().map(|update| update.node).collect();
        assert_eq!(about.len(), message.updates.len(), "one claim about a node is enough: {message:?}");
        if self.keeps_messages {
            self.sent.push((self.now, from, to, message.clone()));
        }
        // Most take a fraction of a millisecond, some far longer than others that were sent after them.
        let micros = if self.below(100) == 0 { self.below(self.options.tail) } else { 100 + self.below(900) };
        let is_lost = self.below(1000) < self.options.loss;
        if !is_lost && self.part(from) == self.part(to) {
            let at = self.now.after(Duration::from_micros(micros));
            self.schedule(at, Happening::Arrive { from, to, message });
        }
    }

    fn part(&self, id: NodeId) -> u8 {
        self.parts.get(&id).copied().unwrap_or(0)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { from, to, message } => {
                let machine = self.machine(to);
                if machine.is_paused {
                    machine.waiting.push((from, message));
                } else {
                    self.step(to, Event::Receive { from, message });
                }
            }
            Happening::Wake(id) => {
                let now = self.now;
                let machine = self.machine(id);
                if machine.wake_at.is_some_and(|at| at <= now) {
                    machine.wake_at = None;
                    if !machine.is_paused {
                        self.step(id, Event::Deadline);
                    }
                }
            }
            Happening::Resume(id) => {
                let machine = self.machine(id);
                if core::mem::take(&mut machine.is_paused) {
                    let waiting = core::mem::take(&mut machine.waiting);
                    machine.wake_at = None;
                    // The worst order: the clock is looked at before the mail.
                    self.step(id, Event::Deadline);
                    for (from, message) in waiting {
                        self.step(id, Event::Receive { from, message });
                    }
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let until = self.now.after(duration);
        self.run_until(until, |_| false);
        self.now = until;
    }

    /// Lets time pass until something holds, and says how long that took. `None` when it did not within `limit`.
    pub(super) fn run_while_not(&mut self, limit: Duration, holds: impl Fn(&World) -> bool) -> Option<Duration> {
        let start = self.now;
        self.run_until(start.after(limit), &holds);
        holds(self).then(|| self.now.since(start))
    }

    fn run_until(&mut self, until: Time, holds: impl Fn(&World) -> bool) {
        while !holds(self)
            && let Some(entry) = self.happenings.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
    }

    /// Lets the nodes get to know each other.
    pub(super) fn settle(&mut self) {
        let settled = self.run_while_not(ms(20_000), |world| world.all_are_alive() && world.all_are_described());
        assert!(settled.is_some(), "seed {}: the nodes do not get to know each other", self.seed);
        self.run(ms(6_000));
        self.turns.clear();
        self.sent.clear();
    }

    pub(super) fn deaths(&self) -> usize {
        self.turns.iter().filter(|turn| turn.health == Health::Dead).count()
    }

    pub(super) fn suspicions(&self) -> usize {
        self.turns.iter().filter(|turn| turn.health == Health::Suspect).count()
    }
}
