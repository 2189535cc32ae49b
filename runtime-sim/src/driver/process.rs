//! One process of a node: the core and its state store, living in a task of a madsim node.
//!
//! The intuition: the driver hands the process one turn at a time and waits for its answer, so that chance in madsim's
//! scheduler has nothing to choose (`SIM-1`). Killing the madsim node drops the task and everything in it, as a crash
//! does; the drive's handle is dead by then (`WORLD-DISK-4`), so nothing is flushed on the way down.

use super::brief::fingerprint_rows;
use crate::store::SimBackend;
use crate::world::disk::{Disk, Name};
use anvil_core::disk::File;
use anvil_core::log::{self, HardStates, Log, RecoveredGroup};
use anvil_core::node::{Boot, Config, Effect, Event, Node, Status, WorkId};
use anvil_core::planted::Planted;
use anvil_core::shards;
use anvil_core::state::Query;
use anvil_core::types::{DriveId, Entries, GroupId, LogPosition, Membership, Now, Snapshot, Time};
use anvil_state_store::StateStore;
use bytes::Bytes;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

/// Pages that the state store keeps in memory. Small, so that reads reach the simulated drive.
const CACHE_BYTES: usize = 256 << 10;

/// What a process needs to start.
#[derive(Debug)]
pub(super) struct BootOrder {
    pub(super) config: Config,
    pub(super) cluster: u128,
    pub(super) first_drive: DriveId,
    pub(super) segment_size: u64,
    pub(super) extent_size: u64,
    pub(super) disks: Vec<Arc<Mutex<Disk>>>,
    pub(super) now: Now,
}

/// Work on the state store.
#[derive(Debug)]
pub(super) enum StoreWork {
    Apply { group: GroupId, entries: Entries },
    Query { work: WorkId, group: GroupId, query: Query },
    Checkpoint,
    TakeSnapshot { group: GroupId },
    InstallSnapshot { group: GroupId, snapshot: Snapshot },
}

/// What the driver asks of a process.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one turn exists at a time")]
pub(super) enum Turn {
    Boot(Box<BootOrder>),
    Step { now: Now, event: Event },
    Store(StoreWork),
    Look,
}

/// How a turn ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one turn exists at a time")]
pub(super) enum Done {
    /// The node runs, or ran a step.
    Stepped { effects: Vec<Effect>, deadline: Option<Time> },
    /// The node refuses to start on what it found.
    Refused(String),
    /// Work on the state store ended in this event.
    Finished(Event),
    /// The state store failed.
    StoreFailed(String),
    /// What a checker sees.
    Seen(Box<Sight>),
    /// An assertion failed.
    Panicked(String),
}

/// The inside of a node, for checkers.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) status: Status,
    pub(super) applied: Vec<(GroupId, LogPosition)>,
    /// A hash of each group's rows.
    pub(super) rows_hashes: BTreeMap<GroupId, u64>,
}

#[derive(Debug)]
struct Process {
    node: Node,
    store: StateStore,
    groups: Vec<GroupId>,
    planted: Planted,
}

/// The task: one answer for each turn, until the process is killed.
pub(super) async fn live(mut turns: UnboundedReceiver<Turn>, answers: UnboundedSender<Done>) {
    let mut process: Option<Process> = None;
    while let Some(turn) = turns.recv().await {
        let done = match catch_unwind(AssertUnwindSafe(|| take_turn(&mut process, turn))) {
            Ok(done) => done,
            Err(panic) => Done::Panicked(panic_message(panic.as_ref())),
        };
        if answers.send(done).is_err() {
            break;
        }
    }
}

/// The words of a panic.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without words".to_string())
}

fn take_turn(process: &mut Option<Process>, turn: Turn) -> Done {
    match turn {
        Turn::Boot(order) => match boot(*order) {
            Ok((started, effects)) => {
                let deadline = started.node.deadline();
                *process = Some(started);
                Done::Stepped { effects, deadline }
            }
            Err(why) => Done::Refused(why),
        },
        Turn::Step { now, event } => {
            let process = process.as_mut().expect("a process is stepped after it booted");
            let mut effects = Vec::new();
            process.node.step(now, event, &mut effects);
            Done::Stepped { effects, deadline: process.node.deadline() }
        }
        Turn::Store(work) => {
            let process = process.as_mut().expect("a store works after its process booted");
            match process.work(work) {
                Ok(event) => Done::Finished(event),
                Err(why) => Done::StoreFailed(why),
            }
        }
        Turn::Look => {
            let process = process.as_mut().expect("a process is looked at after it booted");
            match process.look() {
                Ok(sight) => Done::Seen(Box::new(sight)),
                Err(why) => Done::StoreFailed(why),
            }
        }
    }
}

impl Process {
    fn work(&mut self, work: StoreWork) -> Result<Event, String> {
        Ok(match work {
            StoreWork::Apply { group, entries } => {
                let (through, answers) = self.store.apply(group, &entries, self.planted).map_err(words)?;
                Event::Applied { group, through, answers }
            }
            StoreWork::Query { work, group, query } => {
                let answer = self.store.query(group, &query).map_err(words)?;
                Event::Queried { work, answer }
            }
            StoreWork::Checkpoint => {
                self.store.checkpoint().map_err(words)?;
                Event::Checkpointed
            }
            StoreWork::TakeSnapshot { group } => {
                let snapshot = self.store.snapshot(group, self.planted).map_err(words)?;
                Event::SnapshotTaken { group, snapshot }
            }
            StoreWork::InstallSnapshot { group, snapshot } => {
                self.store.install(group, &snapshot).map_err(words)?;
                Event::SnapshotInstalled { group, position: snapshot.position }
            }
        })
    }

    fn look(&self) -> Result<Sight, String> {
        let mut applied = Vec::new();
        for group in &self.groups {
            applied.push((*group, self.store.applied(*group).map_err(words)?.position));
        }
        let rows = self.store.rows().map_err(words)?;
        // A row's key begins with its group (docs/formats/rows.md).
        let rows_of = |group: &GroupId| {
            let prefix = group.0.to_be_bytes();
            rows.iter().filter(move |(key, _)| key.starts_with(&prefix))
        };
        let rows_hashes = self.groups.iter().map(|group| (*group, fingerprint_rows(rows_of(group)))).collect();
        Ok(Sight { status: self.node.status(), applied, rows_hashes })
    }
}

fn boot(order: BootOrder) -> Result<(Process, Vec<Effect>), String> {
    let config = order.config;
    for disk in &order.disks {
        disk.lock().expect("one thread runs the world").settle_directories();
    }
    let planted = config.planted;
    super::machine::lock(&order.disks[0]).begin_state();
    let store = StateStore::with_backend(SimBackend::new(Arc::clone(&order.disks[0])), CACHE_BYTES).map_err(words)?;
    super::machine::lock(&order.disks[0]).finish_state();
    let (mut applied, mut memberships) = (BTreeMap::new(), BTreeMap::new());
    for group in &config.groups {
        applied.insert(*group, store.applied(*group).map_err(words)?);
        memberships.extend(store.membership(*group).map_err(words)?.map(|membership| (*group, membership)));
    }
    let log_config =
        log::Config { cluster: order.cluster, node: config.node, segment_size: order.segment_size, planted };
    let (log, hard_states) = recover_log(log_config, &config, &memberships, &order.disks[0])?;
    let mut stores = BTreeMap::new();
    for (drive, disk) in (order.first_drive.0..).map(DriveId).zip(&order.disks) {
        let shard_config = shards::Config {
            drive,
            cluster: order.cluster,
            extent_size: order.extent_size,
            compact_below_percent: 50,
            planted,
        };
        let disk = disk.lock().expect("one thread runs the world");
        let extents = disk.list().into_iter().filter_map(|(file, size)| match file {
            File::Extent(_, sequence) => Some((sequence, size)),
            File::LogSegment(_) | File::HardStates => None,
        });
        let listing = shards::Listing { extents: extents.collect() };
        let mut read = |sequence: u64, offset: u64, length: u32| {
            disk.read_now(Name::Core(File::Extent(drive, sequence)), offset, length)
        };
        stores.insert(drive, shards::recover(shard_config, listing, &mut read).map_err(words)?);
    }
    let topology = store.topology().map_err(words)?;
    let groups = config.groups.clone();
    let mut effects = Vec::new();
    let node =
        Node::new(config, Boot { log, hard_states, stores, applied, memberships, topology }, order.now, &mut effects)
            .map_err(words)?;
    Ok((Process { node, store, groups, planted }, effects))
}

/// How often the log is read before it counts as unreadable: a drive that fails once may succeed the next time.
const READS: u32 = 3;

/// What recovery found of the log.
type RecoveredLog = (Log, BTreeMap<GroupId, RecoveredGroup>, Vec<log::Effect>);

/// The log, or an empty one where it is damaged and others have what stood in it.
fn recover_log(
    log_config: log::Config,
    config: &Config,
    memberships: &BTreeMap<GroupId, Membership>,
    disk: &Arc<Mutex<Disk>>,
) -> Result<(RecoveredLog, HardStates), String> {
    let mut disk = super::machine::lock(disk);
    let copy = match disk.list().iter().any(|(file, _)| *file == File::HardStates) {
        true => {
            disk.settle(File::HardStates).map_err(words)?;
            // What cannot be read counts as damaged.
            Some(disk.read_whole(File::HardStates).unwrap_or_else(|_| Bytes::from_static(&[0xff; 8192])))
        }
        false => None,
    };
    let mut hard_states = HardStates::recover(log_config.cluster, log_config.node, copy.as_deref());
    let mut segments = read_segments(&mut disk);
    for _ in 1..READS {
        if segments.is_err() {
            segments = read_segments(&mut disk);
        }
    }
    let why = match segments {
        Ok(segments) => match Log::recover(log_config, segments) {
            Ok(log) => return Ok((log, hard_states)),
            Err(error) => words(error),
        },
        Err(why) => why,
    };
    // HARD-2
    if !hard_states.is_certain() || !config.can_repair_log(memberships) {
        return Err(why);
    }
    // HARD-3
    let (offset, bytes) = hard_states.impair(&config.groups);
    disk.write_durably(File::HardStates, offset, bytes);
    for (file, _) in disk.list() {
        if let File::LogSegment(_) = file {
            disk.remove_durably(file);
        }
    }
    let log = Log::recover(log_config, Vec::new()).map_err(words)?;
    Ok((log, hard_states))
}

/// The log's segments, synced before they are read: the log takes what it reads for durable.
fn read_segments(disk: &mut Disk) -> Result<Vec<(u64, Bytes)>, String> {
    let mut segments = Vec::new();
    for (file, _) in disk.list() {
        if let File::LogSegment(sequence) = file {
            disk.settle(file).map_err(words)?;
            segments.push((sequence, disk.read_whole(file).map_err(words)?));
        }
    }
    Ok(segments)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
