//! An operator who cannot leave well alone: adds nodes, removes them, replaces voters and moves the lead, while clients
//! read and write.
//!
//! The intuition: it asks for the status of whoever seems to lead, draws a change from what it saw, and goes on whatever the
//! answer is. It notes nothing: what it does wrong shows in the histories of the others, in the logs, and in whether the
//! group settles after the storm. It stops when the storm does.

use super::{Client, Desk};
use crate::chance::Chance;
use crate::world::MILLIS;
use anvil_core::node::{GroupStatus, Reply, Request, Unavailable};
use anvil_core::raft::{Change, Role};
use anvil_core::types::{GroupId, NodeId, RequestId};
use std::collections::BTreeSet;

/// The group whose members are changed. The other one keeps those that it began with.
const GROUP: GroupId = GroupId::REGION;

/// How an operator behaves.
#[derive(Clone, Copy, Debug)]
pub struct OperatorHabits {
    /// Typical pause between changes.
    pub think_micros: u64,
    /// How long an answer is waited for.
    pub patience_micros: u64,
}

/// The operator.
#[derive(Debug)]
pub struct Operator {
    habits: OperatorHabits,
    chance: Chance,
    target: Option<u64>,
    waits_for: Option<RequestId>,
    token: u64,
    stopped: bool,
}

impl Operator {
    /// The operator of this number.
    pub fn new(seed: u64, number: u64, habits: OperatorHabits) -> Operator {
        let chance = Chance::named(seed, &format!("workload operator {number}"));
        Operator { habits, chance, target: None, waits_for: None, token: 0, stopped: false }
    }

    fn send(&mut self, node: u64, request: Request, desk: &mut Desk<'_>) {
        self.waits_for = Some(desk.send(node, request));
        self.token += 1;
        desk.wake(self.habits.patience_micros, self.token);
    }

    fn rest(&mut self, typical_micros: u64, desk: &mut Desk<'_>) {
        self.waits_for = None;
        self.token += 1;
        desk.wake(self.chance.heavy_tail(typical_micros), self.token);
    }

    /// The next deed, of which some make no sense.
    fn draw(&mut self, leader: u64, group: &GroupStatus, nodes: &[u64]) -> Request {
        let voters: BTreeSet<NodeId> = group.voters.iter().copied().collect();
        let members: Vec<NodeId> = group.voters.iter().chain(&group.learners).copied().collect();
        let strangers: Vec<NodeId> = nodes.iter().copied().map(NodeId).filter(|node| !members.contains(node)).collect();
        let member = *self.chance.pick(&members);
        let change = match self.chance.below(12) {
            0..=2 => {
                let anyone = if strangers.is_empty() { vec![member] } else { strangers };
                Change::AddLearner(*self.chance.pick(&anyone))
            }
            3 => Change::RemoveLearner(*self.chance.pick(&members)),
            // Everyone who learns shall vote.
            4 | 5 => Change::SetVoters(members.into_iter().collect()),
            6 => Change::SetVoters(voters.into_iter().filter(|voter| *voter != member).collect()),
            // The leader and its learners send all others away, or all others send the leader away.
            7 | 8 => {
                let learners = group.learners.iter().copied();
                Change::SetVoters(learners.chain([NodeId(leader)]).collect())
            }
            9 => Change::SetVoters(members.into_iter().filter(|member| member.0 != leader).collect()),
            10 => Change::SetVoters(members.into_iter().filter(|_| self.chance.below(2) == 0).collect()),
            _ => return Request::TransferLeader { group: GROUP, to: member },
        };
        Request::ChangeMembership { group: GROUP, change }
    }
}

impl Client for Operator {
    fn on_wake(&mut self, token: u64, desk: &mut Desk<'_>) {
        if token != self.token || self.stopped {
            return;
        }
        if self.waits_for.is_some() {
            self.target = None;
        }
        let node = self.target.unwrap_or_else(|| *self.chance.pick(desk.nodes));
        self.send(node, Request::Status, desk);
    }

    fn on_reply(&mut self, id: RequestId, reply: Reply, desk: &mut Desk<'_>) {
        if self.waits_for != Some(id) || self.stopped {
            return;
        }
        match reply {
            Reply::Status(status) => {
                let group = status.groups.iter().find(|of| of.group == GROUP).expect("every node has the group");
                if group.role == Role::Leader {
                    self.target = Some(status.node.0);
                    let request = self.draw(status.node.0, group, desk.nodes);
                    self.send(status.node.0, request, desk);
                } else {
                    self.target = group.leader.map(|NodeId(leader)| leader);
                    self.rest(10 * MILLIS, desk);
                }
            }
            Reply::Changed | Reply::TransferBegun => self.rest(self.habits.think_micros, desk),
            Reply::Unavailable(Unavailable::Change(_)) => self.rest(self.habits.think_micros / 4, desk),
            Reply::Unavailable(Unavailable::NotLeader { leader }) => {
                self.target = leader.map(|NodeId(leader)| leader);
                self.rest(10 * MILLIS, desk);
            }
            Reply::Unavailable(Unavailable::Busy | Unavailable::Uncertain) => {
                self.target = None;
                self.rest(self.habits.think_micros, desk);
            }
            other @ (Reply::Answer(_)
            | Reply::Queried(_)
            | Reply::Begun
            | Reply::StripeStored
            | Reply::Opened(_)
            | Reply::Refused(_)
            | Reply::Stripe(_)
            | Reply::Closed
            | Reply::Unavailable(
                Unavailable::DiskFull
                | Unavailable::Disk(_)
                | Unavailable::Damaged(_)
                | Unavailable::Unreachable(_)
                | Unavailable::TooFewDrives(_)
                | Unavailable::UnknownHandle
                | Unavailable::Misuse(_),
            )) => desk.complain("answers fit their questions", format!("an operator was answered {other:?}")),
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn is_done(&self) -> bool {
        self.stopped
    }

    fn abandon(&mut self, _desk: &mut Desk<'_>) {
        self.waits_for = None;
    }
}
