//! What comes of a claim: a belief, a rumor, a correction, or a refutation.

use super::Swim;
use super::event::{Effect, Health};
use super::member::Belief;
use super::message::{Claim, Incarnation, Update};
use super::suspicion::{Span, Suspicion};
use crate::types::{NodeId, Time};
use alloc::vec::Vec;
use core::cmp::Ordering;

impl Swim {
    /// Takes what the sender says it has heard of this node.
    pub(super) fn on_heard(&mut self, from: NodeId, heard: Option<Incarnation>) {
        match heard.cmp(&Some(self.own.incarnation)) {
            // The sender lacks what this node last said.
            Ordering::Less => self.owe(from, self.config.node),
            Ordering::Equal => {}
            // A former life of this node got further.
            Ordering::Greater => self.go_beyond(heard.unwrap_or_default()),
        }
    }

    /// Takes a claim from a member.
    pub(super) fn on_update(&mut self, from: NodeId, update: Update, now: Time, out: &mut Vec<Effect>) {
        // SWIM-1
        let is_sound = update.is_plausible() && self.is_known(update.node) && {
            match &update.claim {
                Claim::Suspect(accusers) => accusers.iter().all(|accuser| self.is_known(*accuser)),
                Claim::Alive(_) | Claim::Dead | Claim::Left => true,
            }
        };
        if !is_sound {
            self.suspects += 1;
        } else if update.node == self.config.node {
            self.on_update_about_self(from, &update);
        } else {
            self.on_update_about_member(from, update, now, out);
        }
    }

    fn is_known(&self, node: NodeId) -> bool {
        node == self.config.node || self.members.contains_key(&node)
    }

    /// SWIM-10: whatever is claimed of this node that it does not say itself, it overrides.
    fn on_update_about_self(&mut self, from: NodeId, update: &Update) {
        let own = &self.own;
        let says_so = match &update.claim {
            Claim::Alive(description) => !own.has_left && *description == own.description,
            Claim::Left => own.has_left,
            Claim::Suspect(_) | Claim::Dead => false,
        };
        match update.incarnation.cmp(&own.incarnation) {
            Ordering::Less => self.owe(from, self.config.node),
            Ordering::Equal if says_so => {}
            Ordering::Equal | Ordering::Greater => {
                self.go_beyond(update.incarnation);
                self.owe(from, self.config.node);
                match update.claim {
                    Claim::Suspect(_) | Claim::Dead => self.local_health.worsen(1),
                    Claim::Alive(_) | Claim::Left => {}
                }
            }
        }
    }

    fn on_update_about_member(&mut self, from: NodeId, update: Update, now: Time, out: &mut Vec<Effect>) {
        let rank = update.rank();
        let Update { node, incarnation, claim } = update;
        let span = self.span();
        let member = self.members.get_mut(&node).expect("the claim is about a member");
        let health = member.health();
        if let Claim::Alive(description) = &claim {
            match &member.described {
                Some((described, _)) if *described > incarnation => {}
                // Two lives of the node gave the same incarnation to different descriptions. It alone can settle that.
                Some((described, known)) if *described == incarnation => {
                    if known != description {
                        member.owed.insert(node);
                    }
                }
                Some(_) | None => member.described = Some((incarnation, description.clone())),
            }
        }
        // SWIM-6
        let is_news = match Some(rank).cmp(&member.rank()) {
            Ordering::Less => {
                self.owe(from, node);
                return;
            }
            Ordering::Equal => match (&mut member.belief, &claim) {
                // SWIM-2: who accuses beside those who are known to.
                (Belief::Suspect(suspicion), Claim::Suspect(accusers)) => {
                    accusers.iter().filter(|accuser| suspicion.accuse(**accuser)).count() > 0
                }
                (
                    Belief::Unheard | Belief::Alive | Belief::Suspect(_) | Belief::Dead | Belief::Left,
                    Claim::Alive(_) | Claim::Suspect(_) | Claim::Dead | Claim::Left,
                ) => false,
            },
            Ordering::Greater => {
                member.incarnation = incarnation;
                member.belief = match claim {
                    Claim::Alive(_) => Belief::Alive,
                    Claim::Suspect(accusers) => Belief::Suspect(Suspicion::new(now, span, &accusers)),
                    Claim::Dead => Belief::Dead,
                    Claim::Left => Belief::Left,
                };
                true
            }
        };
        if is_news {
            self.on_news(node, health, now, out);
        }
    }

    /// A probe of the node failed: this node accuses it.
    pub(super) fn accuse(&mut self, node: NodeId, now: Time, out: &mut Vec<Effect>) {
        let (own, span) = (self.config.node, self.span());
        let Some(member) = self.members.get_mut(&node) else { return };
        let health = member.health();
        let is_news = match &mut member.belief {
            Belief::Unheard | Belief::Alive => {
                member.belief = Belief::Suspect(Suspicion::new(now, span, &[own]));
                true
            }
            Belief::Suspect(suspicion) => suspicion.accuse(own),
            Belief::Dead | Belief::Left => false,
        };
        if is_news {
            self.on_news(node, health, now, out);
        }
    }

    /// Declares dead whoever was suspected for too long.
    pub(super) fn end_suspicions(&mut self, now: Time, out: &mut Vec<Effect>) {
        let mut ended = Vec::new();
        for (node, member) in &mut self.members {
            // SWIM-3
            if matches!(&member.belief, Belief::Suspect(suspicion) if suspicion.ends_at() <= now) {
                member.belief = Belief::Dead;
                ended.push(*node);
            }
        }
        ended.into_iter().for_each(|node| self.on_news(node, Health::Suspect, now, out));
    }

    /// The belief about a member changed; its health was `before`.
    fn on_news(&mut self, node: NodeId, before: Health, now: Time, out: &mut Vec<Effect>) {
        self.rumors.start(node);
        let health = self.health(node);
        if health != before {
            if self.ask_suspects_at <= now {
                self.ask_suspects_at = now.after(self.config.probe_interval);
            }
            out.push(Effect::Became { node, health });
        }
    }

    /// This node speaks again, in an incarnation after `incarnation`.
    pub(super) fn go_beyond(&mut self, incarnation: Incarnation) {
        self.own.incarnation = self.own.incarnation.max(incarnation).next();
        self.rumors.start(self.config.node);
    }

    /// The next message to `to` will tell it about `about`.
    fn owe(&mut self, to: NodeId, about: NodeId) {
        if let Some(member) = self.members.get_mut(&to) {
            member.owed.insert(about);
        }
    }

    fn span(&self) -> Span {
        Span::of(&self.config, self.members.len() + 1)
    }
}
