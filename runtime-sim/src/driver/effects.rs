//! What becomes of a node's effects: the driver asks the world, and queues the answer.

use super::brief::BriefOrder;
use super::cluster::{Cluster, Item, Outcome};
use super::machine::Tenant;
use super::process::{Done, StoreWork, Turn};
use crate::check::Complaint;
use crate::world::SimTime;
use crate::world::network::End;
use anvil_core::disk::{DiskError, DiskOrder, DiskOutcome, OpId};
use anvil_core::node::{DiskUser, Effect, Event, Fatal};
use anvil_core::types::{NodeId, Trace};

/// Typical time of a computation, in microseconds.
const COMPUTE_MICROS: u64 = 100;
/// Typical time of work on the state store, in microseconds.
const STORE_MICROS: u64 = 150;
/// Most operations on the state file after which a lit fuse burns down.
const FUSE_MAX: u64 = 24;

impl Cluster {
    pub(super) async fn on_effects(&mut self, node: u64, effects: Vec<Effect>) -> Outcome {
        for effect in effects {
            // NODE-3: nothing counts after a fatal effect; and a machine that lost its process has no effects.
            if !self.machine(node).is_running() {
                break;
            }
            let life = self.machine(node).life;
            match effect {
                Effect::Send { to: NodeId(to), message } => {
                    for delay in self.network.send(End::Node(node), End::Node(to)) {
                        let event = Event::Peer { from: NodeId(node), message: message.clone() };
                        self.queue(delay, Item::Deliver { node: to, life: None, event });
                    }
                }
                Effect::Reply { id, reply } => {
                    let Some(asker) = self.askers.remove(&id) else {
                        return Err(Complaint::new(
                            "each request has one reply",
                            format!(
                                "node {node} answered request {id}, which is answered or was never asked: {reply:?}"
                            ),
                        ));
                    };
                    self.send_reply(node, asker.client, id, reply);
                }
                Effect::Disk { user, op, order } => self.on_order(node, life, user, op, order),
                Effect::Apply { group, entries } => self.on_store_work(node, StoreWork::Apply { group, entries }),
                Effect::Query { work, group, query } => {
                    self.on_store_work(node, StoreWork::Query { work, group, query });
                }
                Effect::Checkpoint => self.on_store_work(node, StoreWork::Checkpoint),
                Effect::TakeSnapshot { group } => self.on_store_work(node, StoreWork::TakeSnapshot { group }),
                Effect::InstallSnapshot { group, snapshot } => {
                    self.on_store_work(node, StoreWork::InstallSnapshot { group, snapshot });
                }
                Effect::Compute { work, task } => {
                    let product = task.run(self.plan.planted);
                    let delay = self.machine(node).chance.heavy_tail(COMPUTE_MICROS);
                    let event = Event::Computed { work, product };
                    self.queue(delay, Item::Deliver { node, life: Some(life), event });
                }
                // The network carries whatever is sent.
                Effect::Members(_) => {}
                Effect::Trace(trace) => self.on_trace(node, &trace)?,
                Effect::Fatal(fatal) => self.on_fatal(node, &fatal).await?,
            }
        }
        Ok(())
    }

    fn on_trace(&mut self, node: u64, trace: &Trace) -> Outcome {
        match trace {
            Trace::Role { group, term, role, leader } => {
                self.note(
                    format_args!("n{node}"),
                    format_args!("g{group} is {role} in term {term}, leader {leader:?}"),
                );
                if *role == "leader" {
                    self.canonical.on_leader(node, *group, *term)?;
                }
                self.on_role(node, *group, role);
                self.check_stalled_role(node, *group, role)?;
            }
            Trace::Suspect(what) => self.note(format_args!("n{node}"), format_args!("suspects: {what}")),
            Trace::Note(what) => self.note(format_args!("n{node}"), format_args!("notes: {what}")),
        }
        Ok(())
    }

    fn on_order(&mut self, node: u64, life: u64, user: DiskUser, op: OpId, order: DiskOrder) {
        let drive = self.drive_of(user);
        let schedule = self.machine(node).disk(drive).schedule(&order);
        let now = self.now;
        let wait = self.machine(node).disk(drive).stalled_for(now);
        if drive == 0 && matches!(user, DiskUser::Log | DiskUser::HardStates) {
            self.on_log_order(node, wait + schedule.done);
        }
        // Nobody waits for a segment to be made or removed.
        let is_waited_for = matches!(order, DiskOrder::Write { .. } | DiskOrder::Sync { .. });
        if wait > 0 && user == DiskUser::Log && is_waited_for {
            self.on_stalled_order(node);
        }
        let (ordered, done) = (self.now, self.now.after(wait + schedule.done));
        self.queue(wait + schedule.effect, Item::Disk { node, life, user, op, order, ordered, done });
    }

    #[expect(clippy::too_many_arguments, reason = "an order on its way, taken apart")]
    pub(super) fn carry_out(
        &mut self,
        node: u64,
        life: u64,
        user: DiskUser,
        op: OpId,
        order: &DiskOrder,
        ordered: SimTime,
        done: SimTime,
    ) -> Outcome {
        if !self.machine(node).lives(life) {
            return Ok(());
        }
        let drive = self.drive_of(user);
        let outcome = self.machine(node).disk(drive).carry_out(ordered, done, order);
        self.note(format_args!("n{node} drive {drive}"), format_args!("{}", BriefOrder(order)));
        if let DiskOutcome::Failed(error) = &outcome {
            self.strike(match error {
                DiskError::Full => "a full drive",
                DiskError::Missing => "a missing file",
                DiskError::Unreachable => "an unreachable drive",
                DiskError::Io(_) => "a drive's error",
            });
        }
        let event = Event::Disk { user, op, outcome };
        self.queue_at(done, Item::Deliver { node, life: Some(life), event });
        Ok(())
    }

    fn on_store_work(&mut self, node: u64, work: StoreWork) {
        let machine = self.machine(node);
        let life = machine.life;
        let (delay, answer_after) = (machine.chance.heavy_tail(STORE_MICROS), machine.chance.heavy_tail(STORE_MICROS));
        self.queue(delay, Item::Store { node, life, work, answer_after });
    }

    pub(super) async fn work(&mut self, node: u64, life: u64, work: StoreWork, answer_after: u64) -> Outcome {
        if !self.machine(node).lives(life) {
            return Ok(());
        }
        let entries = match &work {
            StoreWork::Apply { group, entries } => Some((*group, entries.clone())),
            StoreWork::Query { .. }
            | StoreWork::Checkpoint
            | StoreWork::TakeSnapshot { .. }
            | StoreWork::InstallSnapshot { .. } => None,
        };
        let cut = !self.healed && !matches!(work, StoreWork::Query { .. });
        let cut_rate = self.plan.trouble.cut_per_million;
        let machine = self.machine(node);
        if machine.chance.hits(cut_rate) && cut {
            let operations = u32::try_from(machine.chance.below(FUSE_MAX)).expect("small");
            machine.disk(0).light_fuse(operations);
        }
        let done = machine.turn(Turn::Store(work)).await;
        if machine.disk(0).put_fuse_out() {
            self.strike("power cut in the middle of the state store's work");
            return self.lose_power(node).await;
        }
        match done {
            Done::Finished(event) => {
                if let (Some((group, entries)), Event::Applied { answers, .. }) = (entries, &event) {
                    self.canonical.on_applied(node, group, &entries, answers)?;
                    self.once.on_applied(group, &entries, answers)?;
                }
                self.queue(answer_after, Item::Deliver { node, life: Some(life), event });
                Ok(())
            }
            other @ (Done::StoreFailed(_)
            | Done::Panicked(_)
            | Done::Stepped { .. }
            | Done::Refused(_)
            | Done::Seen(_)) => self.on_stepped(node, other).await,
        }
    }

    /// The state store failed: within the model only when the world made its drive fail. The machine restarts, as an
    /// operator would have it.
    pub(super) async fn on_store_failed(&mut self, node: u64, why: &str) -> Outcome {
        self.note(format_args!("n{node}"), format_args!("the state store failed: {why}"));
        if !was_ordered(why) {
            return Err(Complaint::new("the state store works", format!("node {node}: {why}")));
        }
        self.strike("a failed state store");
        self.lose_power(node).await
    }

    async fn on_fatal(&mut self, node: u64, fatal: &Fatal) -> Outcome {
        self.note(format_args!("n{node}"), format_args!("stops: {fatal}"));
        let excused = match fatal {
            Fatal::Log(error) | Fatal::Shards(_, error) => match error {
                DiskError::Full => true,
                DiskError::Missing => false,
                DiskError::Unreachable => false,
                DiskError::Io(words) => was_ordered(words),
            },
            Fatal::State(words) => was_ordered(words),
        };
        if !excused {
            return Err(Complaint::new("a node stops only when its drive failed it", format!("node {node}: {fatal}")));
        }
        self.strike("a node stopped itself");
        // The page cache after a failed sync is not to be trusted, so the machine is restarted, not the process alone.
        self.lose_power(node).await
    }

    /// Pulls the plug of a machine and plugs it in again later.
    pub(super) async fn lose_power(&mut self, node: u64) -> Outcome {
        let longest = self.plan.trouble.down_micros_max;
        self.lose_power_for(node, longest).await
    }

    /// The same, for at most `longest` microseconds.
    pub(super) async fn lose_power_for(&mut self, node: u64, longest: u64) -> Outcome {
        let now = self.now;
        self.note(format_args!("n{node}"), format_args!("loses power"));
        let down = self.machine(node).chance.between(1, longest.max(1));
        let machine = self.machine(node);
        machine.lose_power(now);
        machine.kill(Tenant::Down).await;
        self.queue(down, Item::Start { node });
        self.damage_log_of(node);
        Ok(())
    }

    /// Kills a process; the machine lives on and starts another.
    pub(super) async fn lose_process(&mut self, node: u64) -> Outcome {
        self.note(format_args!("n{node}"), format_args!("dies"));
        let longest = self.plan.trouble.down_micros_max.max(1);
        let down = self.machine(node).chance.between(1, longest);
        let machine = self.machine(node);
        machine.lose_process();
        machine.kill(Tenant::Down).await;
        self.queue(down, Item::Start { node });
        Ok(())
    }
}

/// Whether an error is one that the world made.
pub(super) fn was_ordered(words: &str) -> bool {
    ["simulated", "no space", "no storage space", "power"].iter().any(|mark| words.contains(mark))
}

impl Cluster {
    /// The place of a drive in its machine.
    fn drive_of(&self, user: DiskUser) -> u32 {
        match user {
            DiskUser::Log | DiskUser::HardStates => 0,
            DiskUser::Shards(drive) => self.plan.local(drive),
        }
    }
}
