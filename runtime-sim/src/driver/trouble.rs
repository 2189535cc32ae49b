//! Trouble: power losses, deaths, pauses, partitions, clock jumps and damage at rest, each from its own stream.

use super::cluster::{Cluster, Item, Outcome};
use super::plan::Plan;
use super::stall::{Due, Stalls};
use crate::chance::Chance;
use crate::world::MILLIS;
use crate::world::atlas::Target;
use crate::world::network::Partition;
use anvil_core::node::Request;
use anvil_core::raft::Change;
use anvil_core::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// A machine loses power.
    PowerLoss,
    /// A process dies.
    Death,
    /// A process stands still.
    Pause,
    /// Links are cut, or mended.
    Partition,
    /// A wall clock jumps.
    Jump,
    /// Bytes at rest go bad.
    Damage,
    /// A new leader is cut off.
    Depose(u64),
    /// A node that may have just voted loses power for a moment.
    Upset(u64),
    /// These nodes, a bit for each, lose sight of the others while the members of a group change.
    Split(u64),
    /// Links are mended.
    Mend,
    /// The drive under the log of the region's leader stands still.
    Stall,
    /// A leader whose drive stands still has had time to give way, and then the others to elect one.
    Overdue(Due),
}

/// How soon after a candidacy a voter loses power, at the latest: while the record of its vote is on its way to disk.
const UPSET_MICROS_MAX: u64 = 30 * MILLIS;

/// How long a new learner is given to catch up before it is cut off, at most.
const LEARNING_MICROS_MAX: u64 = 400 * MILLIS;
/// How long a partition along a change of members lasts, at most.
const SPLIT_MICROS_MAX: u64 = 1_500 * MILLIS;

/// How often each kind strikes, and the streams that say where.
#[derive(Debug)]
pub(super) struct Troubles {
    kinds: BTreeMap<Trouble, (u64, Chance)>,
    elections: Chance,
    pub(super) stalls: Stalls,
    changes: Chance,
}

impl Troubles {
    pub(super) fn new(plan: &Plan) -> Troubles {
        let rates = &plan.trouble;
        let damage = if plan.damage.shards { rates.damage_micros } else { 0 };
        let kinds = [
            (Trouble::PowerLoss, rates.power_loss_micros),
            (Trouble::Death, rates.death_micros),
            (Trouble::Pause, rates.pause_micros),
            (Trouble::Partition, rates.partition_micros),
            (Trouble::Jump, rates.jump_micros),
            (Trouble::Damage, damage),
            (Trouble::Stall, rates.stall_micros),
        ];
        let stream = |kind: Trouble| Chance::named(plan.seed, &format!("trouble {kind:?}"));
        Troubles {
            kinds: kinds.into_iter().map(|(kind, mean)| (kind, (mean, stream(kind)))).collect(),
            elections: Chance::named(plan.seed, "trouble elections"),
            stalls: Stalls::new(plan),
            changes: Chance::named(plan.seed, "trouble changes"),
        }
    }
}

impl Cluster {
    /// Queues the first strike of every kind that the plan has.
    pub(super) fn queue_troubles(&mut self) {
        let kinds: Vec<Trouble> = self.troubles.kinds.keys().copied().collect();
        for kind in kinds {
            self.queue_next(kind);
        }
    }

    fn queue_next(&mut self, kind: Trouble) {
        let (mean, chance) = self.troubles.kinds.get_mut(&kind).expect("every kind has an entry");
        if *mean > 0 {
            let after = chance.between(*mean / 4, *mean * 7 / 4);
            self.queue(after, Item::Trouble(kind));
        }
    }

    fn chance_of(&mut self, kind: Trouble) -> &mut Chance {
        &mut self.troubles.kinds.get_mut(&kind).expect("every kind has an entry").1
    }

    /// A node changed its role. What makes elections hard is not that trouble is frequent but that it comes when a
    /// leader or a vote is new, so that is when some of it is sent.
    pub(super) fn on_role(&mut self, node: u64, group: GroupId, role: &str) {
        // One group is enough: two would disturb each other's elections before they get anywhere.
        if self.healed || group != GroupId::REGION {
            return;
        }
        let numbers = self.numbers.clone();
        let rates = self.plan.trouble;
        let chance = &mut self.troubles.elections;
        let (depose, upset) = (chance.hits(rates.depose_per_million), chance.hits(rates.upset_per_million));
        let (after, soon) = (chance.below(rates.depose_micros_max.max(1)), chance.below(UPSET_MICROS_MAX));
        let victim = *chance.pick(&numbers);
        if role == "leader" && depose {
            self.queue(after, Item::Trouble(Trouble::Depose(node)));
        }
        if role == "candidate" && upset {
            self.queue(soon, Item::Trouble(Trouble::Upset(victim)));
        }
    }

    /// A request leaves for a node. A change of members is dangerous while some of them know of it and others do not, so
    /// that is when those who gain by it are sometimes cut off from the rest.
    pub(super) fn on_asked(&mut self, node: u64, request: &Request) {
        let Request::ChangeMembership { change, .. } = request else { return };
        let rates = self.plan.trouble;
        let chance = &mut self.troubles.changes;
        let splits = chance.hits(rates.split_per_million) && !self.healed;
        let after = chance.below(rates.split_micros_max.max(1));
        let (side, after) = match change {
            Change::SetVoters(voters) => (voters.iter().fold(0, |side, voter| side | 1 << voter.0), after),
            // The learner has to catch up before it matters.
            Change::AddLearner(learner) => (1 << learner.0, after + chance.below(LEARNING_MICROS_MAX)),
            Change::RemoveLearner(_) => return,
        };
        if splits {
            self.queue(after, Item::Trouble(Trouble::Split(side | 1 << node)));
        }
    }

    pub(super) async fn strike_with(&mut self, kind: Trouble) -> Outcome {
        if self.healed {
            return Ok(());
        }
        match kind {
            Trouble::Depose(node) => {
                let partition = Partition::Symmetric { side: BTreeSet::from([node]) };
                if self.troubles.elections.hits(self.plan.trouble.depose_pause_per_million) {
                    let pause = self.troubles.elections.below(1_000 * MILLIS);
                    let until = self.now.after(pause);
                    self.machine(node).paused_until = until;
                    self.note(format_args!("n{node}"), format_args!("pauses for {pause} us"));
                }
                self.note(format_args!("network"), format_args!("{partition:?}"));
                self.strike("a new leader was cut off");
                self.network.set_partition(partition);
                return Ok(());
            }
            Trouble::Upset(node) if self.machine(node).is_running() => {
                self.strike("power loss after a vote");
                return self.lose_power_for(node, MILLIS).await;
            }
            Trouble::Upset(_) => return Ok(()),
            Trouble::Split(side) => {
                let side = self.numbers.iter().copied().filter(|number| side & (1 << number) != 0).collect();
                let partition = Partition::Symmetric { side };
                self.note(format_args!("network"), format_args!("{partition:?}"));
                self.strike("a partition along a change of members");
                self.network.set_partition(partition);
                let after = self.troubles.changes.between(100 * MILLIS, SPLIT_MICROS_MAX);
                self.queue(after, Item::Trouble(Trouble::Mend));
                return Ok(());
            }
            Trouble::Mend => {
                self.note(format_args!("network"), format_args!("{:?}", Partition::Whole));
                self.network.set_partition(Partition::Whole);
                return Ok(());
            }
            Trouble::Overdue(due) => return self.check_stalled(due),
            Trouble::Stall => {
                self.queue_next(kind);
                self.stall_leader();
                return Ok(());
            }
            Trouble::PowerLoss
            | Trouble::Death
            | Trouble::Pause
            | Trouble::Partition
            | Trouble::Jump
            | Trouble::Damage => self.queue_next(kind),
        }
        let numbers = self.numbers.clone();
        let node = *self.chance_of(kind).pick(&numbers);
        match kind {
            Trouble::PowerLoss if self.machine(node).is_running() => {
                self.strike("power loss");
                self.lose_power(node).await?;
                // Sometimes a whole rack goes.
                if self.chance_of(kind).below(4) == 0 {
                    for other in numbers {
                        if self.machine(other).is_running() {
                            self.lose_power(other).await?;
                        }
                    }
                }
            }
            Trouble::Death if self.machine(node).is_running() => {
                self.strike("death of a process");
                self.lose_process(node).await?;
            }
            Trouble::PowerLoss
            | Trouble::Death
            | Trouble::Depose(_)
            | Trouble::Upset(_)
            | Trouble::Split(_)
            | Trouble::Stall
            | Trouble::Overdue(_)
            | Trouble::Mend => {}
            Trouble::Pause => {
                let longest = self.plan.trouble.pause_micros_max.max(MILLIS);
                let pause = self.chance_of(kind).between(MILLIS, longest);
                let until = self.now.after(pause);
                self.machine(node).paused_until = until;
                self.note(format_args!("n{node}"), format_args!("pauses for {pause} us"));
                self.strike("pause");
            }
            Trouble::Partition => {
                let partition = if self.chance_of(kind).below(3) == 0 {
                    Partition::Whole
                } else {
                    Partition::draw(&numbers, self.chance_of(kind))
                };
                self.note(format_args!("network"), format_args!("{partition:?}"));
                self.strike("partition");
                self.network.set_partition(partition);
            }
            Trouble::Jump => {
                let largest = self.plan.trouble.jump_ms_max;
                let drawn = i64::try_from(self.chance_of(kind).below(2 * largest + 1)).expect("small");
                let by_ms = drawn - i64::try_from(largest).expect("small");
                self.machine(node).clock.jump(by_ms);
                self.note(format_args!("n{node}"), format_args!("wall clock jumps by {by_ms} ms"));
                self.strike("clock jump");
            }
            Trouble::Damage => {
                let chance = &mut self.troubles.kinds.get_mut(&kind).expect("every kind has an entry").1;
                let target = self.atlas.damage_shards(chance);
                self.damage(target);
            }
        }
        Ok(())
    }

    /// The log of a machine that is down may be damaged, if the plan and the atlas allow it (`ATLAS-2`).
    pub(super) fn damage_log_of(&mut self, node: u64) {
        let machine = self.machines.get_mut(&node).expect("the plan named this node");
        let luck = machine.chance.below(3) == 0;
        if luck
            && self.plan.damage.logs
            && !self.healed
            && let Some(target) = self.atlas.damage_log(node, &mut machine.chance)
        {
            self.damage(target);
        }
    }

    fn damage(&mut self, target: Target) {
        let (node, drive, kind) = match target {
            Target::Shards { node, local, kind } => (node, local, kind),
            Target::Log { node, kind } | Target::HardStates { node, kind } => (node, 0, kind),
        };
        let damage = self.machine(node).disk(drive).damage(kind, |name| target.suits(name));
        if let Some(damage) = damage {
            self.note(format_args!("n{node} drive {drive}"), format_args!("{damage:?}"));
            self.strike("damage at rest");
        }
    }
}
