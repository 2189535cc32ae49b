//! Drives of leaders that stand still, and what must come of it.
//!
//! The intuition: a leader speaks without its disk, so a cluster whose leader cannot write looks alive and serves nobody. In a
//! world where nothing else goes wrong, the lead must be elsewhere soon after such a leader had something to write.
//!
//! - `STALL-1` Three election timeouts after the first order to a drive that stands still, its node does not lead (`RAFT-21`),
//!   and does not campaign before the drive moves.
//! - `STALL-2` Within eight election timeouts after it another node leads. (Its own drive may be slow, so it may have given way
//!   in its turn by then.) Not where an order to another log's drive takes longer than an election timeout meanwhile: then
//!   there may be nobody whose vote could be written.

use super::cluster::{Cluster, Item, Outcome};
use super::plan::Plan;
use super::trouble::Trouble;
use crate::chance::Chance;
use crate::check::Complaint;
use crate::world::SimTime;
use anvil_core::types::GroupId;
use std::collections::BTreeMap;

/// Which promise falls due, of which stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    stall: u64,
    another_leads: bool,
}

/// The stall under way, and who leads the region.
#[derive(Debug)]
pub(super) struct Stalls {
    chance: Chance,
    leader: Option<u64>,
    count: u64,
    node: u64,
    until: SimTime,
    /// The first order that met the stall.
    ordered: Option<SimTime>,
    /// Another node has led since.
    another_led: bool,
    /// Until when an order to the drive of a log takes that takes long, by node.
    slow: BTreeMap<u64, SimTime>,
}

impl Stalls {
    pub(super) fn new(plan: &Plan) -> Stalls {
        let chance = Chance::named(plan.seed, "trouble stalls");
        let (until, slow) = (SimTime(0), BTreeMap::new());
        Stalls { chance, leader: None, count: 0, node: 0, until, ordered: None, another_led: false, slow }
    }
}

impl Cluster {
    /// The drive under the leader's log stands still for a while.
    pub(super) fn stall_leader(&mut self) {
        let longest = self.plan.trouble.stall_micros_max.max(1);
        let lasts = self.troubles.stalls.chance.between(1, longest);
        let until = self.now.after(lasts);
        let Some(node) = self.troubles.stalls.leader.filter(|_| self.now >= self.troubles.stalls.until) else { return };
        let stalls = &mut self.troubles.stalls;
        (stalls.node, stalls.until, stalls.ordered, stalls.another_led) = (node, until, None, false);
        stalls.count += 1;
        self.machine(node).disk(0).stall(until);
        self.note(format_args!("n{node} drive 0"), format_args!("stands still for {lasts} us"));
        self.strike("a leader's drive stood still");
    }

    /// The log gave an order to a drive that stands still.
    pub(super) fn on_stalled_order(&mut self, node: u64) {
        let now = self.now;
        let stalls = &mut self.troubles.stalls;
        if node != stalls.node || stalls.ordered.is_some() {
            return;
        }
        stalls.ordered = Some(now);
        let stall = stalls.count;
        for (timeouts, another_leads) in [(3, false), (8, true)] {
            let after = timeouts * self.election_micros();
            if now.after(after) < self.troubles.stalls.until {
                self.queue(after, Item::Trouble(Trouble::Overdue(Due { stall, another_leads })));
            }
        }
    }

    /// An order to the drive of a log takes so long.
    pub(super) fn on_log_order(&mut self, node: u64, micros: u64) {
        if micros > self.election_micros() {
            self.troubles.stalls.slow.insert(node, self.now.after(micros));
        }
    }

    /// `STALL-1` and `STALL-2`.
    pub(super) fn check_stalled(&mut self, due: Due) -> Outcome {
        let stalls = &self.troubles.stalls;
        if due.stall != stalls.count {
            return Ok(());
        }
        let is_slow = |until: SimTime| stalls.ordered.is_some_and(|ordered| until > ordered);
        let others_are_slow = stalls.slow.iter().any(|(node, until)| *node != stalls.node && is_slow(*until));
        let broken = match due.another_leads {
            true => !stalls.another_led && !others_are_slow,
            false => stalls.leader == Some(stalls.node),
        };
        if broken {
            let what = format!("node {} has something to write, and {:?} leads", stalls.node, stalls.leader);
            return Err(Complaint::new("a leader whose drive stands still gives way to another", what));
        }
        if due.another_leads && self.troubles.stalls.another_led {
            self.strike("another led while a drive stood still");
        }
        Ok(())
    }

    /// A node changed its role: follows who leads the region, and checks `STALL-1`.
    pub(super) fn check_stalled_role(&mut self, node: u64, group: GroupId, role: &str) -> Outcome {
        if group != GroupId::REGION {
            return Ok(());
        }
        let (now, patience) = (self.now, 3 * self.election_micros());
        let stalls = &mut self.troubles.stalls;
        if role == "leader" {
            stalls.leader = Some(node);
            stalls.another_led |= node != stalls.node;
        } else if stalls.leader == Some(node) {
            stalls.leader = None;
        }
        let is_stalled = node == stalls.node && now < stalls.until;
        let is_late = stalls.ordered.is_some_and(|ordered| now > ordered.after(patience));
        if is_stalled && is_late && role != "follower" {
            let what = format!("node {node} is {role}, and its drive stands still since {:?}", stalls.ordered);
            return Err(Complaint::new("who cannot write does not campaign", what));
        }
        Ok(())
    }

    fn election_micros(&self) -> u64 {
        u64::try_from(self.plan.node.election_timeout.as_micros()).expect("plans are short")
    }
}
