//! Who is asked whether it is there, directly and through others; and asking for others.
//!
//! In each protocol period one node is pinged. One that does not answer in time is pinged through some relays too, for the
//! link may be bad and not the node, and is accused if nobody has heard of it when the period ends.
//!
//! - `SWIM-11`: between two probes of a node lie less than two rounds: each round visits all, in a new random order.
//! - `SWIM-12`: a node that was declared dead is pinged again and again, at a lower rate, so that a healed partition finds
//!   together without anyone's help.
//! - `SWIM-13`: while there are suspects, one of them is pinged in each base interval, beside whoever has its turn and
//!   however slow the node's own probes are (`SWIM-4`). The ping tells it of the suspicion (`SWIM-8`), so that many messages
//!   must be lost in a row before a live node fails to refute.
//! - `SWIM-15`: a node relays for each other node one probe at a time, however many are asked for.
//!
//! Source: SWIM §3.1 (indirect probes) and §4.3 (round-robin); Lifeguard §IV-A (the nack, at 80% of the timeout). `SWIM-12`
//! and `SWIM-13` are ours; without the latter, a fifth of the messages lost makes false deaths in clusters of two or three.

use super::Swim;
use super::event::Effect;
use super::member::{Belief, Member};
use super::message::{Kind, ProbeId};
use crate::types::{NodeId, Time};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;
use rand_chacha::rand_core::Rng;

/// In one of so many periods a dead node is pinged beside the live one.
const PERIODS_PER_DEAD_PING: u64 = 4;

/// One protocol period.
#[derive(Debug)]
pub(super) struct Period {
    pub(super) ends_at: Time,
    pub(super) probe: Probe,
    /// Grows by one with each period.
    pub(super) number: u64,
}

/// How far the probe of a period got.
#[derive(Debug)]
pub(super) enum Probe {
    /// It was answered, or there is none.
    Settled,
    /// The target was pinged, and has until then to answer.
    ExpectAck { target: NodeId, id: ProbeId, until: Time },
    /// Others were asked to ping it, and these have said nothing so far.
    ExpectAnyAck { target: NodeId, id: ProbeId, asked: BTreeSet<NodeId>, silent: BTreeSet<NodeId> },
}

/// A probe on behalf of another node.
#[derive(Debug)]
pub(super) struct Errand {
    target: NodeId,
    /// How this node names the probe, and how the one who asked does.
    ours: ProbeId,
    theirs: ProbeId,
    state: ErrandState,
}

#[derive(Clone, Copy, Debug)]
enum ErrandState {
    /// Nothing was said yet. A nack is due then.
    ExpectAck { nack_at: Time },
    /// A nack was sent. An ack would still be passed on until then.
    Nacked { ends_at: Time },
}

impl Errand {
    /// Whether the node is the one that was asked for.
    pub(super) fn is_about(&self, node: NodeId) -> bool {
        self.target == node
    }

    pub(super) fn deadline(&self) -> Time {
        match self.state {
            ErrandState::ExpectAck { nack_at } => nack_at,
            ErrandState::Nacked { ends_at } => ends_at,
        }
    }
}

impl Period {
    pub(super) fn deadline(&self) -> Time {
        match self.probe {
            Probe::ExpectAck { until, .. } => until.min(self.ends_at),
            Probe::Settled | Probe::ExpectAnyAck { .. } => self.ends_at,
        }
    }

    pub(super) fn postpone(&mut self, by: Duration) {
        self.ends_at = self.ends_at.after(by);
        match &mut self.probe {
            Probe::ExpectAck { until, .. } => *until = until.after(by),
            Probe::Settled | Probe::ExpectAnyAck { .. } => {}
        }
    }

    /// A node is not on the list any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        match &mut self.probe {
            Probe::ExpectAck { target, .. } if *target == node => self.probe = Probe::Settled,
            Probe::ExpectAnyAck { target, .. } if *target == node => self.probe = Probe::Settled,
            Probe::ExpectAnyAck { silent, .. } => {
                silent.remove(&node);
            }
            Probe::Settled | Probe::ExpectAck { .. } => {}
        }
    }
}

impl Swim {
    /// Goes on with the probe of the period, or with the next period.
    pub(super) fn on_period_deadline(&mut self, now: Time, out: &mut Vec<Effect>) {
        if now < self.period.deadline() {
            return;
        }
        match core::mem::replace(&mut self.period.probe, Probe::Settled) {
            Probe::Settled => {}
            Probe::ExpectAck { target, id, .. } => {
                self.ask_relays(target, id, now, out);
                return;
            }
            Probe::ExpectAnyAck { target, asked, silent, .. } => {
                // Where nobody could be asked, the failure itself is the only sign.
                self.local_health.worsen(if asked.is_empty() { 1 } else { silent.len() });
                self.accuse(target, now, out);
            }
        }
        self.begin_period(now, out);
    }

    fn begin_period(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.local_health.on_period();
        self.period.number += 1;
        // SWIM-4
        let multiplier = self.local_health.multiplier();
        self.period.ends_at = now.after(self.config.probe_interval * multiplier);
        if self.own.has_left {
            return; // Who is about to stop judges nobody.
        }
        if let Some(target) = self.next_target() {
            let id = self.next_probe_id();
            let until = now.after(self.config.probe_timeout * multiplier);
            self.period.probe = Probe::ExpectAck { target, id, until };
            self.say(target, Kind::Ping { probe: id }, out);
        }
        // SWIM-12
        if self.period.number.is_multiple_of(PERIODS_PER_DEAD_PING) {
            let dead = self.chosen(1, |_, member| matches!(member.belief, Belief::Dead));
            dead.into_iter().for_each(|node| self.ping_untracked(node, out));
        }
    }

    /// Pings a suspect, when it is time to.
    pub(super) fn on_suspects_deadline(&mut self, now: Time, out: &mut Vec<Effect>) {
        if now < self.ask_suspects_at {
            return;
        }
        // SWIM-13
        let suspects = self.chosen(1, |_, member| matches!(member.belief, Belief::Suspect(_)));
        for suspect in suspects {
            self.ask_suspects_at = now.after(self.config.probe_interval);
            self.ping_untracked(suspect, out);
        }
    }

    /// A ping whose answer is only as good as the claims that it carries.
    pub(super) fn ping_untracked(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let probe = self.next_probe_id();
        self.say(to, Kind::Ping { probe }, out);
    }

    fn ask_relays(&mut self, target: NodeId, id: ProbeId, now: Time, out: &mut Vec<Effect>) {
        let relays = self.chosen(self.config.indirect_probes, |node, member| {
            node != target && matches!(member.belief, Belief::Unheard | Belief::Alive)
        });
        let rest = (self.config.probe_interval - self.config.probe_timeout) * self.local_health.multiplier();
        // They get their time, however late this node was with asking.
        self.period.ends_at = self.period.ends_at.max(now.after(rest));
        let asked: BTreeSet<NodeId> = relays.iter().copied().collect();
        self.period.probe = Probe::ExpectAnyAck { target, id, silent: asked.clone(), asked };
        relays.into_iter().for_each(|relay| self.say(relay, Kind::PingRequest { probe: id, target }, out));
    }

    pub(super) fn on_ping_request(
        &mut self,
        from: NodeId,
        theirs: ProbeId,
        target: NodeId,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        // SWIM-1: nobody asks for itself, nor the target for itself.
        if target == from || !self.members.contains_key(&target) {
            self.suspects += 1;
            return;
        }
        let ours = self.next_probe_id();
        let state = ErrandState::ExpectAck { nack_at: now.after(self.config.probe_timeout * 4 / 5) };
        // SWIM-15
        self.errands.insert(from, Errand { target, ours, theirs, state });
        self.say(target, Kind::Ping { probe: ours }, out);
    }

    pub(super) fn on_ack(&mut self, from: NodeId, probe: ProbeId, out: &mut Vec<Effect>) {
        let is_answer = match &self.period.probe {
            Probe::Settled => false,
            Probe::ExpectAck { target, id, .. } => from == *target && probe == *id,
            Probe::ExpectAnyAck { target, id, asked, .. } => (from == *target || asked.contains(&from)) && probe == *id,
        };
        if is_answer {
            self.period.probe = Probe::Settled;
            self.local_health.improve();
            return;
        }
        let errand = self.errands.iter().find(|(_, errand)| errand.target == from && errand.ours == probe);
        if let Some((asker, theirs)) = errand.map(|(asker, errand)| (*asker, errand.theirs)) {
            self.errands.remove(&asker);
            self.say(asker, Kind::Ack { probe: theirs }, out);
        }
    }

    pub(super) fn on_nack(&mut self, from: NodeId, probe: ProbeId) {
        match &mut self.period.probe {
            Probe::ExpectAnyAck { id, silent, .. } if *id == probe => {
                silent.remove(&from);
            }
            Probe::Settled | Probe::ExpectAck { .. } | Probe::ExpectAnyAck { .. } => {}
        }
    }

    /// Sends the nacks that are due, and forgets errands that nobody waits for any more.
    pub(super) fn on_errand_deadlines(&mut self, now: Time, out: &mut Vec<Effect>) {
        let mut nacks = Vec::new();
        let ends_at = now.after(self.config.probe_interval);
        self.errands.retain(|asker, errand| match errand.state {
            ErrandState::ExpectAck { nack_at } => {
                if nack_at <= now {
                    errand.state = ErrandState::Nacked { ends_at };
                    nacks.push((*asker, errand.theirs));
                }
                true
            }
            ErrandState::Nacked { ends_at } => now < ends_at,
        });
        nacks.into_iter().for_each(|(asker, probe)| self.say(asker, Kind::Nack { probe }, out));
    }

    /// The next node of the round.
    fn next_target(&mut self) -> Option<NodeId> {
        if let Some(target) = self.next_of_round() {
            return Some(target);
        }
        // SWIM-11
        let count = self.members.len();
        self.round = self.chosen(count, |_, member| member.is_probed()).into();
        self.next_of_round()
    }

    fn next_of_round(&mut self) -> Option<NodeId> {
        while let Some(node) = self.round.pop_front() {
            if self.members.get(&node).is_some_and(Member::is_probed) {
                return Some(node);
            }
        }
        None
    }

    /// Up to `count` random members of those that are `wanted`, in random order.
    pub(super) fn chosen(&mut self, count: usize, wanted: impl Fn(NodeId, &Member) -> bool) -> Vec<NodeId> {
        let wanted = self.members.iter().filter(|(node, member)| wanted(**node, member));
        let mut nodes: Vec<NodeId> = wanted.map(|(node, _)| *node).collect();
        let count = count.min(nodes.len());
        for at in 0..count {
            let left = u64::try_from(nodes.len() - at).expect("a count of nodes is a small number");
            let other = usize::try_from(self.random.next_u64() % left).expect("less than a count of nodes");
            nodes.swap(at, at + other);
        }
        nodes.truncate(count);
        nodes
    }

    fn next_probe_id(&mut self) -> ProbeId {
        self.last_probe = ProbeId(self.last_probe.0.wrapping_add(1));
        self.last_probe
    }
}
