//! Which nodes of the cluster are alive, and what they say of themselves.
//!
//! Who *belongs* to the cluster is committed elsewhere and given from outside; here is only who answers. Each node pings
//! another one now and then. One that does not answer, not even through relays, is suspected, and declared dead unless it
//! refutes in time; what nodes believe of each other rides on the pings. So the load on a node and the time to notice a
//! death depend on the cluster's size hardly at all, and a node that is merely slow, or behind a bad link, is not declared
//! dead by others, nor declares others dead. What comes out is a hint for placement and routing: two nodes may disagree
//! for a while, and nothing that must be right depends on it.
//!
//! The detector is a machine without I/O: [`Swim::step`] takes a fact and pushes orders, [`Swim::deadline`] says when it
//! wants to be woken. Invariants stand with the part that keeps them, and these hold across parts:
//!
//! - `SWIM-6`: a belief about a node changes only to one of a higher rank: a higher incarnation, or in the same one from
//!   alive to suspect to dead to left. The rank is the same for all nodes, so their beliefs meet.
//! - `SWIM-10`: only a node raises its own incarnation, and it goes beyond every claim about itself that it does not make,
//!   those about its former lives included.
//! - `SWIM-14`: only nodes of the list are spoken to, listened to, and remembered.
//!
//! | Part | Invariants |
//! |---|---|
//! | `message`: what nodes say, and what none would | `SWIM-1` |
//! | `suspicion`: how long until a suspect is dead | `SWIM-2`, `SWIM-3` |
//! | `local_health`: how far a node trusts itself | `SWIM-4`, `SWIM-5` |
//! | `claims`, `member`: what comes of a claim | `SWIM-6`, `SWIM-10` |
//! | `dissemination`: which claims a message carries | `SWIM-7`, `SWIM-8`, `SWIM-9` |
//! | `probe`: who is asked, and through whom | `SWIM-11`, `SWIM-12`, `SWIM-13`, `SWIM-15` |
//!
//! Source: Das, Gupta, Motivala, "SWIM: scalable weakly-consistent infection-style process group membership protocol", DSN
//! 2002, and Dadgar, Phillips, Currey, "Lifeguard: local health awareness for more accurate failure detection", DSN 2018
//! workshops. SWIM's death is final; here a higher incarnation undoes it, since the list and not the detector decides who
//! belongs. Not here: joining and removing nodes, the wire format, and what anyone does about a death.

mod claims;
pub mod description;
mod dissemination;
pub mod event;
mod local_health;
mod member;
pub mod message;
mod probe;
mod suspicion;
#[cfg(test)]
mod tests;

pub use description::{Description, DriveSpace};
pub use event::{Config, Effect, Event, Health};
pub use message::{Claim, Incarnation, Kind, Message, ProbeId, UPDATES_MAX, Update};

use crate::types::{NodeId, Time};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use dissemination::Rumors;
use local_health::LocalHealth;
use member::{Belief, Member};
use probe::{Errand, Period, Probe};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The failure detector of one node. See the module's description.
#[derive(Debug)]
pub struct Swim {
    config: Config,
    random: ChaCha8Rng,
    own: Own,
    /// Whether the list has this node.
    is_listed: bool,
    /// The other nodes of the list.
    members: BTreeMap<NodeId, Member>,
    rumors: Rumors,
    local_health: LocalHealth,
    period: Period,
    /// Who is still to be probed in this round, in order. May name nodes that are dead.
    round: VecDeque<NodeId>,
    /// Probes for others, by who asked.
    errands: BTreeMap<NodeId, Errand>,
    last_probe: ProbeId,
    /// When a suspect is pinged again out of its turn. Lies ahead whenever there are suspects.
    ask_suspects_at: Time,
    suspects: u64,
}

/// What this node says of itself.
#[derive(Debug)]
struct Own {
    incarnation: Incarnation,
    description: Description,
    has_left: bool,
}

impl Swim {
    /// The detector of a node that has just started: it knows nobody and has said nothing. `seed` feeds the order of
    /// probes and the choice of relays, and differs between the nodes and the lives of a node; `now` is the clock's time.
    ///
    /// # Panics
    /// When the configuration contradicts itself; see [`Config`].
    pub fn new(config: Config, seed: u64, now: Time) -> Swim {
        config.check();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Nodes that start together should not all ping at the same moments, and answers to a former life match nothing.
        let interval = u64::try_from(config.probe_interval.as_micros()).unwrap_or(u64::MAX).max(1);
        let ends_at = now.after(Duration::from_micros(random.next_u64() % interval));
        let last_probe = ProbeId(random.next_u64());
        Swim {
            config,
            random,
            own: Own { incarnation: Incarnation(0), description: Description::default(), has_left: false },
            is_listed: false,
            members: BTreeMap::new(),
            rumors: Rumors::default(),
            local_health: LocalHealth::default(),
            period: Period { ends_at, probe: Probe::Settled, number: 0 },
            round: VecDeque::new(),
            errands: BTreeMap::new(),
            last_probe,
            ask_suspects_at: now,
            suspects: 0,
        }
    }

    /// Takes a fact in and pushes what follows from it. `now` never goes back.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Effect>) {
        self.forgive_own_lateness(now);
        match event {
            Event::Deadline => self.on_deadline(now, out),
            Event::Receive { from, message } => self.on_receive(from, message, now, out),
            Event::Members(nodes) => self.on_members(&nodes),
            Event::Describe(description) => self.on_describe(description),
            Event::Leave => self.on_leave(out),
        }
    }

    /// When the detector wants [`Event::Deadline`]. Always at some time.
    pub fn deadline(&self) -> Option<Time> {
        let suspicions = self.members.values().filter_map(|member| match &member.belief {
            Belief::Suspect(suspicion) => Some(suspicion.ends_at().min(self.ask_suspects_at)),
            Belief::Unheard | Belief::Alive | Belief::Dead | Belief::Left => None,
        });
        let errands = self.errands.values().map(Errand::deadline);
        suspicions.chain(errands).chain([self.period.deadline()]).min()
    }

    /// How a node is believed to be. One that is not on the list has left the cluster.
    pub fn health(&self, node: NodeId) -> Health {
        if node == self.config.node {
            return if self.own.has_left { Health::Left } else { Health::Alive };
        }
        self.members.get(&node).map_or(Health::Left, Member::health)
    }

    /// What a node last said of itself, dead or alive; this node included. `None` when nothing was heard of it.
    pub fn description(&self, node: NodeId) -> Option<&Description> {
        if node == self.config.node {
            return Some(&self.own.description);
        }
        self.members.get(&node)?.described.as_ref().map(|(_, description)| description)
    }

    /// The nodes of the list that are alive, this one included, in order. Suspects are not among them.
    pub fn alive(&self) -> impl Iterator<Item = NodeId> {
        let own = self.config.node;
        let is_alive = |(node, member): (&NodeId, &Member)| (member.health() == Health::Alive).then_some(*node);
        let before = self.members.range(..own).filter_map(is_alive);
        let after = self.members.range(own..).filter_map(is_alive);
        before.chain((self.is_listed && !self.own.has_left).then_some(own)).chain(after)
    }

    /// How many messages and claims were dropped because no correct node of the list sends them. A few are to be expected
    /// while a change of the list is not known everywhere.
    pub fn suspect_messages(&self) -> u64 {
        self.suspects
    }

    /// What this node's probe intervals and timeouts are multiplied by, from 1 to 9: above 1 when it has reasons to
    /// doubt itself or its link.
    pub fn health_multiplier(&self) -> u32 {
        self.local_health.multiplier()
    }

    fn on_deadline(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.end_suspicions(now, out);
        self.on_errand_deadlines(now, out);
        self.on_suspects_deadline(now, out);
        self.on_period_deadline(now, out);
    }

    fn on_receive(&mut self, from: NodeId, message: Message, now: Time, out: &mut Vec<Effect>) {
        // SWIM-1 and SWIM-14: this node is not among its own members.
        if !self.members.contains_key(&from) || !message.is_plausible() {
            self.suspects += 1;
            return;
        }
        let Message { kind, heard, updates } = message;
        self.on_heard(from, heard);
        updates.into_iter().for_each(|update| self.on_update(from, update, now, out));
        match kind {
            Kind::Ping { probe } => self.say(from, Kind::Ack { probe }, out),
            Kind::PingRequest { probe, target } => self.on_ping_request(from, probe, target, now, out),
            Kind::Ack { probe } => self.on_ack(from, probe, out),
            Kind::Nack { probe } => self.on_nack(from, probe),
        }
    }

    fn on_members(&mut self, nodes: &BTreeSet<NodeId>) {
        self.is_listed = nodes.contains(&self.config.node);
        let gone: Vec<NodeId> = self.members.keys().copied().filter(|node| !nodes.contains(node)).collect();
        gone.into_iter().for_each(|node| self.forget(node));
        let known = |node: &NodeId| *node == self.config.node || self.members.contains_key(node);
        let new: BTreeSet<NodeId> = nodes.iter().copied().filter(|node| !known(node)).collect();
        self.members.extend(new.iter().map(|node| (*node, Member::unheard())));
        // They may have died before anyone heard of them, so they are not left to the end of a round.
        let first = self.chosen(new.len(), |node, _| new.contains(&node));
        first.into_iter().for_each(|node| self.round.push_front(node));
    }

    /// SWIM-14: nothing remains of a node that is not on the list.
    fn forget(&mut self, node: NodeId) {
        self.members.remove(&node);
        self.rumors.forget(node);
        self.errands.retain(|asker, errand| *asker != node && !errand.is_about(node));
        self.period.forget(node);
        self.round.retain(|other| *other != node);
        self.members.values_mut().for_each(|member| member.forget(node));
    }

    fn on_describe(&mut self, description: Description) {
        if description != self.own.description && !self.own.has_left {
            self.own.description = description;
            self.go_beyond(self.own.incarnation);
        }
    }

    fn on_leave(&mut self, out: &mut Vec<Effect>) {
        if self.own.has_left {
            return;
        }
        self.own.has_left = true;
        self.go_beyond(self.own.incarnation);
        self.period.probe = Probe::Settled;
        // The process may end before anyone pings it, so the word goes out at once.
        let count = usize::try_from(self.transmissions_max()).unwrap_or(usize::MAX);
        let hearers = self.chosen(count, |_, member| member.is_probed());
        hearers.into_iter().for_each(|node| self.ping_untracked(node, out));
    }

    /// SWIM-5: lengthens all waiting when this node was not woken in time.
    fn forgive_own_lateness(&mut self, now: Time) {
        let wanted = self.deadline().unwrap_or(now);
        if let Some(by) = self.local_health.forgive(wanted, now, self.config.probe_timeout) {
            self.period.postpone(by);
            for member in self.members.values_mut() {
                match &mut member.belief {
                    Belief::Suspect(suspicion) => suspicion.postpone(by),
                    Belief::Unheard | Belief::Alive | Belief::Dead | Belief::Left => {}
                }
            }
        }
    }
}
