//! One simulated machine: its clocks, its drives, and the process that lives on it or does not.

use super::process::{BootOrder, Done, Turn, live};
use crate::chance::Chance;
use crate::world::SimTime;
use crate::world::clock::Clock;
use crate::world::disk::Disk;
use anvil_core::types::Time;
use madsim::runtime::Handle;
use madsim::task::NodeId as MadsimId;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The way to a living process.
#[derive(Debug)]
pub(super) struct Line {
    id: MadsimId,
    turns: UnboundedSender<Turn>,
    answers: UnboundedReceiver<Done>,
}

/// What lives on a machine.
#[derive(Debug)]
pub(super) enum Tenant {
    /// A process runs.
    Running(Line),
    /// None runs; one will be started.
    Down,
    /// The node refused to start on its damaged log, as it may: it stays away.
    Refused,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) number: u64,
    pub(super) clock: Clock,
    pub(super) disks: Vec<Arc<Mutex<Disk>>>,
    pub(super) tenant: Tenant,
    /// Grows with each life, so that what was meant for an earlier one is recognised.
    pub(super) life: u64,
    pub(super) paused_until: SimTime,
    /// When the last request of a gateway arrives.
    pub(super) last_inside: SimTime,
    /// When the deadline that the process asked for is delivered.
    pub(super) wake_at: Option<SimTime>,
    pub(super) chance: Chance,
}

impl Machine {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.tenant, Tenant::Running(_))
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.tenant, Tenant::Down)
    }

    /// Whether something that was meant for `life` still finds it.
    pub(super) fn lives(&self, life: u64) -> bool {
        self.is_running() && self.life == life
    }

    /// A drive, by its place in this machine.
    pub(super) fn disk(&self, local: u32) -> MutexGuard<'_, Disk> {
        lock(&self.disks[local as usize])
    }

    /// Starts a process and hands it what it boots from.
    pub(super) async fn start(&mut self, order: BootOrder) -> Done {
        assert!(self.is_down(), "one process at a time lives on a machine");
        self.life += 1;
        self.wake_at = None;
        let (turns, inbox) = mpsc::unbounded_channel();
        let (outbox, answers) = mpsc::unbounded_channel();
        let name = format!("n{} life {}", self.number, self.life);
        let node = Handle::current().create_node().name(name).build();
        // The handle of the task is not kept: the process ends when its madsim node is killed.
        drop(node.spawn(live(inbox, outbox)));
        self.tenant = Tenant::Running(Line { id: node.id(), turns, answers });
        self.turn(Turn::Boot(Box::new(order))).await
    }

    /// One turn of the living process.
    pub(super) async fn turn(&mut self, turn: Turn) -> Done {
        let Tenant::Running(line) = &mut self.tenant else { panic!("only a living process has turns") };
        line.turns.send(turn).expect("a process listens until it is killed");
        line.answers.recv().await.expect("a process answers every turn")
    }

    /// Ends the process. The drives must know before, so that nothing is flushed on the way down.
    pub(super) async fn kill(&mut self, then: Tenant) {
        let Tenant::Running(line) = std::mem::replace(&mut self.tenant, then) else { return };
        Handle::current().kill(line.id);
        self.wake_at = None;
        self.paused_until = SimTime(0);
        // The task is dropped when madsim next looks at it.
        madsim::task::yield_now().await;
    }

    pub(super) fn lose_power(&mut self, now: SimTime) {
        for disk in &self.disks {
            lock(disk).lose_power(now);
        }
    }

    pub(super) fn lose_process(&mut self) {
        for disk in &self.disks {
            lock(disk).lose_process();
        }
    }

    /// When the process wants to be woken, in true time.
    pub(super) fn when(&self, deadline: Time) -> SimTime {
        self.clock.when(deadline)
    }
}

pub(super) fn lock(disk: &Arc<Mutex<Disk>>) -> MutexGuard<'_, Disk> {
    disk.lock().expect("one thread runs the world, so nobody panicked while holding it")
}
