//! An operator who lets a cluster grow and shrink: nodes join with tokens, one is drained and leaves, while clients work.
//!
//! Each step is repeated until it is answered, as a person would do; every one of them may be repeated without harm.

use super::{Client, Desk};
use crate::chance::Chance;
use crate::world::MILLIS;
use anvil_core::node::{Reply, Request, Unavailable};
use anvil_core::state::{Answer, ClusterOperation, ClusterRefusal, Operation, Refusal};
use anvil_core::topology::NodeInfo;
use anvil_core::types::{DriveId, GroupId, NodeId, RequestId, WallTime};
use std::collections::VecDeque;

/// How long an answer is waited for.
const PATIENCE_MICROS: u64 = 1_000 * MILLIS;

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A token for this node.
    Token(u64),
    /// The node joins.
    Join(u64, NodeInfo),
    /// The node gets nothing new and gives up what it has.
    Drain(u64),
    /// The node has given up everything.
    Empty(u64),
    /// The node leaves.
    Remove(u64),
    /// A drive gets nothing new and gives up what it has.
    DrainDrive(DriveId),
    /// The drive of a node has given up everything.
    EmptyDrive(u64, DriveId),
    /// The drive leaves.
    RemoveDrive(DriveId),
}

/// The operator.
#[derive(Debug)]
pub struct Builder {
    chance: Chance,
    think_micros: u64,
    steps: VecDeque<Step>,
    waits_for: Option<RequestId>,
    token: u64,
}

impl Builder {
    /// An operator with its own stream of chance, who takes these steps.
    pub fn new(seed: u64, think_micros: u64, steps: Vec<Step>) -> Builder {
        let chance = Chance::named(seed, "workload builder");
        Builder { chance, think_micros, steps: steps.into(), waits_for: None, token: 0 }
    }

    fn rest(&mut self, micros: u64, desk: &mut Desk<'_>) {
        self.waits_for = None;
        self.token += 1;
        desk.wake(micros, self.token);
    }

    fn next(&mut self, desk: &mut Desk<'_>) {
        self.steps.pop_front();
        let pause = self.chance.heavy_tail(self.think_micros);
        self.rest(pause, desk);
    }

    fn take(&mut self, desk: &mut Desk<'_>) {
        let Some(step) = self.steps.front().cloned() else { return };
        let operation = match step {
            Step::Token(node) => ClusterOperation::AddToken { hash: token_of(node), expires: WallTime(u64::MAX / 2) },
            Step::Join(node, info) => ClusterOperation::Join { token: token_of(node), node: NodeId(node), info },
            Step::Drain(node) => ClusterOperation::SetDraining { node: NodeId(node), draining: true },
            Step::Remove(node) => ClusterOperation::Remove { node: NodeId(node) },
            Step::DrainDrive(drive) => ClusterOperation::SetLeaving { drive, leaving: true },
            Step::RemoveDrive(drive) => ClusterOperation::RemoveDrive { drive, force: false },
            Step::Empty(node) | Step::EmptyDrive(node, _) => {
                self.send(node, Request::Status, desk);
                return;
            }
        };
        let node = *self.chance.pick(desk.nodes);
        let operation = Operation::Cluster(operation);
        self.send(node, Request::Command { group: GroupId::GLOBAL, session: None, operation }, desk);
    }

    fn send(&mut self, node: u64, request: Request, desk: &mut Desk<'_>) {
        self.waits_for = Some(desk.send(node, request));
        self.token += 1;
        desk.wake(PATIENCE_MICROS, self.token);
    }
}

fn token_of(node: u64) -> [u8; 32] {
    [u8::try_from(node).expect("few nodes"); 32]
}

impl Client for Builder {
    fn on_wake(&mut self, token: u64, desk: &mut Desk<'_>) {
        if token == self.token {
            self.take(desk);
        }
    }

    fn on_reply(&mut self, id: RequestId, reply: Reply, desk: &mut Desk<'_>) {
        if self.waits_for != Some(id) || self.steps.is_empty() {
            return;
        }
        match reply {
            Reply::Answer(Answer::Done | Answer::Joined { .. }) => self.next(desk),
            // It was removed before, and the answer was lost.
            Reply::Answer(Answer::Refused(Refusal::Cluster(ClusterRefusal::NoSuchNode)))
                if matches!(self.steps.front(), Some(Step::Remove(_))) =>
            {
                self.next(desk);
            }
            Reply::Answer(Answer::Refused(Refusal::Cluster(ClusterRefusal::NoSuchDrive)))
                if matches!(self.steps.front(), Some(Step::RemoveDrive(_))) =>
            {
                self.next(desk);
            }
            Reply::Answer(Answer::Refused(Refusal::Cluster(ClusterRefusal::NotFounded))) => {
                self.rest(50 * MILLIS, desk);
            }
            Reply::Status(status) => {
                let one = match self.steps.front() {
                    Some(Step::EmptyDrive(_, drive)) => Some(*drive),
                    _ => None,
                };
                let drives = status.drives.iter().filter(|(drive, _)| one.is_none_or(|one| one == *drive));
                let shards: u64 = drives.map(|(_, usage)| usage.shards).sum();
                if one.is_some() {
                    if shards == 0 {
                        self.next(desk)
                    } else {
                        self.rest(200 * MILLIS, desk)
                    }
                    return;
                }
                // Whoever is removed hears no more of the cluster, and must not lead a group that does not know it yet.
                let votes = status
                    .groups
                    .iter()
                    .any(|group| group.voters.contains(&status.node) || group.outgoing.contains(&status.node));
                if shards == 0 && !votes { self.next(desk) } else { self.rest(200 * MILLIS, desk) }
            }
            Reply::Unavailable(Unavailable::NotLeader { .. } | Unavailable::Busy | Unavailable::Uncertain) => {
                self.rest(50 * MILLIS, desk);
            }
            other @ (Reply::Answer(_)
            | Reply::Queried(_)
            | Reply::Begun
            | Reply::StripeStored
            | Reply::Opened(_)
            | Reply::Refused(_)
            | Reply::Stripe(_)
            | Reply::Closed
            | Reply::Changed
            | Reply::TransferBegun
            | Reply::Unavailable(_)) => {
                let what = format!("{:?} was answered {other:?}", self.steps.front());
                desk.complain("answers fit their questions", what);
            }
        }
    }

    fn stop(&mut self) {
        self.steps.clear();
    }

    fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    fn abandon(&mut self, _desk: &mut Desk<'_>) {
        self.waits_for = None;
    }
}
