//! One failure detector, told one fact after the other: node 1, whose peers are numbers.

use super::world::{load, ms};
use crate::swim::{Claim, Config, Effect, Event, Health, Incarnation, Kind, Message, Swim, Update};
use crate::types::{NodeId, Time};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

pub(super) struct Solo {
    pub(super) swim: Swim,
    pub(super) now: Time,
}

/// What a test says and sees of a message.
pub(super) type Sent = (NodeId, Kind, Vec<Update>);

pub(super) fn update(node: u64, incarnation: u64, claim: Claim) -> Update {
    Update { node: NodeId(node), incarnation: Incarnation(incarnation), claim }
}

pub(super) fn alive(node: u64, incarnation: u64) -> Update {
    update(node, incarnation, Claim::Alive(load(u32::try_from(incarnation).unwrap_or(u32::MAX))))
}

pub(super) fn suspect(node: u64, incarnation: u64, by: &[u64]) -> Update {
    update(node, incarnation, Claim::Suspect(by.iter().copied().map(NodeId).collect()))
}

impl Solo {
    /// Node 1 of a cluster of nodes 1 to `nodes`.
    pub(super) fn new(nodes: u64, seed: u64) -> Solo {
        let now = Time(5_000_000);
        let mut solo = Solo { swim: Swim::new(Config::lan(NodeId(1)), seed, now), now };
        solo.step(Event::Members((1..=nodes).map(NodeId).collect()));
        solo
    }

    /// The same, and every other node has said that it is alive in incarnation 1. Nothing is left to be told.
    pub(super) fn acquainted(nodes: u64, seed: u64) -> Solo {
        let mut solo = Solo::new(nodes, seed);
        for node in 2..=nodes {
            solo.hear(node, ping(0), vec![alive(node, 1)]);
        }
        solo.tell_all_rumors();
        solo
    }

    /// Lets time pass in which all answer, until there is nothing left to tell.
    pub(super) fn tell_all_rumors(&mut self) {
        while self.swim.rumors.by_novelty().next().is_some() {
            self.period_with_answer();
        }
    }

    pub(super) fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.swim.step(self.now, event, &mut out);
        out
    }

    /// A message from a node that knows what this one said last; what this one answers.
    pub(super) fn hear(&mut self, from: u64, kind: Kind, updates: Vec<Update>) -> Vec<Sent> {
        let heard = Some(self.swim.own.incarnation);
        self.hear_message(from, Message { kind, heard, updates })
    }

    pub(super) fn hear_message(&mut self, from: u64, message: Message) -> Vec<Sent> {
        sent(self.step(Event::Receive { from: NodeId(from), message }))
    }

    /// Waits for the next deadline.
    pub(super) fn wait(&mut self) -> Vec<Effect> {
        self.now = self.now.max(self.swim.deadline().expect("the detector always waits"));
        self.step(Event::Deadline)
    }

    /// Lets time pass, in which nobody says anything.
    pub(super) fn pass(&mut self, duration: Duration) -> Vec<Effect> {
        let until = self.now.after(duration);
        let mut out = Vec::new();
        while self.swim.deadline().is_some_and(|deadline| deadline <= until) {
            out.extend(self.wait());
        }
        self.now = until;
        out
    }

    /// Waits until some node is pinged, or several at once.
    pub(super) fn next_pings(&mut self) -> Vec<Sent> {
        for _ in 0..100 {
            let mut sent = sent(self.wait());
            sent.retain(|(_, kind, _)| matches!(kind, Kind::Ping { .. }));
            if !sent.is_empty() {
                return sent;
            }
        }
        panic!("nobody is pinged");
    }

    /// Waits until some node is pinged.
    pub(super) fn next_ping(&mut self) -> Sent {
        self.next_pings().remove(0)
    }

    /// Waits for the next pings, which are answered at once; says who was pinged first.
    pub(super) fn period_with_answer(&mut self) -> NodeId {
        let pings = self.next_pings();
        for (to, kind, _) in &pings {
            self.hear(to.0, Kind::Ack { probe: probe_of(*kind) }, vec![]);
        }
        pings[0].0
    }

    pub(super) fn health(&self, node: u64) -> Health {
        self.swim.health(NodeId(node))
    }

    /// The clock goes on while this node does not run.
    pub(super) fn sleep(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    /// One probe that nobody answers, from the ping to the accusation, but for so many nacks. Whom it was of.
    pub(super) fn fail_probe(&mut self, nacks: usize) -> NodeId {
        let (target, kind, _) = self.next_ping();
        let probe = probe_of(kind);
        let asked = sent(self.wait());
        for (relay, kind, _) in asked.iter().take(nacks) {
            assert_eq!(*kind, Kind::PingRequest { probe, target });
            self.hear(relay.0, Kind::Nack { probe }, vec![]);
        }
        self.pass(ms(300) * self.swim.health_multiplier() - ms(120) * self.swim.health_multiplier());
        target
    }
}

pub(super) fn ping(probe: u64) -> Kind {
    Kind::Ping { probe: crate::swim::ProbeId(probe) }
}

pub(super) fn probe_of(kind: Kind) -> crate::swim::ProbeId {
    match kind {
        Kind::Ping { probe } | Kind::PingRequest { probe, .. } | Kind::Ack { probe } | Kind::Nack { probe } => probe,
    }
}

pub(super) fn sent(effects: Vec<Effect>) -> Vec<Sent> {
    let sends = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { to, message } => Some((to, message.kind, message.updates)),
        Effect::Became { .. } => None,
    });
    sends.collect()
}
