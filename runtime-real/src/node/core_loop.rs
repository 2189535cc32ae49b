//! The thread that owns the core: takes events from one queue, steps, carries effects to the threads that do the work.
//!
//! - `LOOP-1` The core hears of its deadline in the first turn after it, however long the queue is: elections, heartbeats
//!   and sweeps are due most when there is most to do.
//! - `LOOP-2` The clocks are read after an event came and before it is stepped: a lease that holds then held after the request
//!   for a read was there (`RAFT-22`), and a message is not taken for older than its sending.

use super::directory::NodeDirectory;
use super::disks::Disks;
use super::gatekeeper::Gatekeeper;
use super::log_recovery::recover_log;
use super::neighbours::{Neighbours, Network};
use super::recovery::recover_stores;
use super::room::{Room, drive_gib};
use super::state_threads::{Question, Write};
use super::workers::{ComputeJob, DiskJob, Workers};
use crate::client::{Client, Inbound, ReplyTo};
use crate::mailbox::{Receiver, Sender, Taken, mailbox};
use crate::peers::{Desk, Peers};
use anvil_core::log;
use anvil_core::node::config::ScrubPace;
use anvil_core::node::{Boot, BootError, Config, Effect, Event, Fatal, Node};
use anvil_core::planted::Planted;
use anvil_core::swim;
use anvil_core::topology::{DriveInfo, NodeInfo};
use anvil_core::types::{DriveId, GroupId, Now, RequestId, Time, Trace, WallTime};
use anvil_state_store::StateStore;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// Most events stepped before their effects are carried out: enough to gather a batch for the log, few enough to keep
/// the disks busy.
const EVENTS_PER_TURN: usize = 256;

/// What reaches the core's thread.
#[derive(Debug)]
pub enum Inbox {
    /// A client's request.
    Client(Inbound),
    /// Work has ended.
    Event(Event),
    /// A thread found that the node cannot go on.
    Fatal(Fatal),
    /// Stop cleanly.
    Stop,
}

/// How a node is started.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// Memory for pages of the state store, in bytes.
    pub state_cache_bytes: usize,
    /// Bytes of a log segment.
    pub log_segment_bytes: u64,
    /// Bytes of an extent of the shard store.
    pub extent_bytes: u64,
    /// See [`Config::recode_after`].
    pub recode_after: Duration,
    /// See [`Config::lost`].
    pub lost: Vec<DriveId>,
    /// How the node searches its drives for damage.
    pub scrub: ScrubPace,
    /// How long a day of lifecycle rules is.
    pub lifecycle_day: Duration,
    /// See [`Config::sweep_interval`].
    pub sweep_interval: Duration,
    /// How far the clocks of the cluster's nodes drift at most, in millionths; with it leaders answer reads by lease.
    pub clock_drift_ppm_max: Option<u32>,
    /// How the node speaks with others. Without it the node is alone.
    pub network: Option<Network>,
}

impl Default for StartOptions {
    fn default() -> StartOptions {
        StartOptions {
            state_cache_bytes: 24 << 20,
            log_segment_bytes: 16 << 20,
            extent_bytes: 64 << 20,
            recode_after: Duration::from_secs(600),
            lost: Vec::new(),
            scrub: ScrubPace { interval: None, bytes_per_second: 8 << 20 },
            lifecycle_day: Duration::from_secs(24 * 3600),
            sweep_interval: Duration::from_secs(5),
            clock_drift_ppm_max: None,
            network: None,
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct NodeHandle {
    inbox: Sender<Inbox>,
    thread: JoinHandle<Result<(), Fatal>>,
    /// Resolves when the node stops by itself; `stop` then says why.
    pub ended: oneshot::Receiver<()>,
    /// For the front doors.
    pub client: Client,
    /// The way to the other nodes, for the front doors too; `None` when the node is alone.
    pub peers: Option<Arc<Peers>>,
}

impl NodeHandle {
    /// Stops cleanly: what is acknowledged is durable anyway; this also makes the next start quick. Blocks.
    ///
    /// # Panics
    /// When the core's thread has panicked: a bug of ours.
    pub fn stop(self) -> Result<(), Fatal> {
        let _ = self.inbox.send(Inbox::Stop);
        self.thread.join().expect("the core's thread does not panic")
    }
}

/// The core as the directory has it, its first orders, and the way to it.
fn recover(
    directory: &Arc<NodeDirectory>,
    options: &StartOptions,
) -> anyhow::Result<(CoreLoop, Vec<Effect>, Sender<Inbox>)> {
    use anyhow::Context;
    let disks = Arc::new(Disks::new(directory.drives.clone()));
    let state_path = directory.first().join("state.redb");
    let had_state = state_path.exists();
    let has_log = disks.has_log_segments().context("the log cannot be read")?;
    if !had_state && has_log && !directory.fresh {
        anyhow::bail!(
            "{} is missing, and the log alone cannot replace it; restore it from a backup",
            state_path.display()
        );
    }
    let state = StateStore::open(&state_path, options.state_cache_bytes)?;
    super::checked_file::sync_parent(&state_path)?;
    let config = config(directory, options);
    let log_config = log::Config {
        cluster: directory.cluster,
        node: directory.node,
        segment_size: options.log_segment_bytes,
        planted: Planted::default(),
    };
    let applied =
        config.groups.iter().map(|&group| Ok((group, state.applied(group)?))).collect::<anyhow::Result<_>>()?;
    let mut memberships = BTreeMap::new();
    for &group in &config.groups {
        memberships.extend(state.membership(group)?.map(|membership| (group, membership)));
    }
    let (log, hard_states) = recover_log(log_config, &config, &memberships, &disks, directory.first())?;
    let boot = Boot {
        log,
        hard_states,
        stores: recover_stores(directory, options, &disks)?,
        applied,
        memberships,
        topology: state.topology()?,
    };
    let (inbox, queue) = mailbox();
    let workers = Workers::start(&disks, directory.drives.keys().copied(), state, &inbox)?;
    let network = options.network.as_ref();
    let neighbours = network.map(|network| Neighbours::start(directory, network, &inbox)).transpose();
    let neighbours =
        neighbours.context("the port for peers cannot be opened; is another node running? choose another --port")?;
    let clock = Clock::start();
    let mut effects = Vec::new();
    let node =
        Node::new(config, boot, clock.now(), &mut effects).map_err(|error: BootError| anyhow::anyhow!("{error}"))?;
    Ok((
        CoreLoop { node, clock, queue, workers, neighbours, replies: HashMap::new(), questions: Vec::new() },
        effects,
        inbox,
    ))
}

/// Recovers what the directory holds and starts the node. Blocks while recovering. Each error says what to do.
pub fn start(directory: &Arc<NodeDirectory>, options: &StartOptions) -> anyhow::Result<NodeHandle> {
    let (core, effects, inbox) = recover(directory, options)?;
    let peers = core.neighbours.as_ref().map(Neighbours::peers);
    let (ended_sender, ended) = oneshot::channel();
    let thread = thread::Builder::new().name("anvil-core".into()).spawn(move || {
        let result = core.run(effects);
        let _ = ended_sender.send(());
        result
    })?;
    let client = Client::new(inbox.clone()).within(Room::new(directory.first().to_owned()));
    if let Some(peers) = &peers {
        peers.open_desk(Desk {
            ca: directory.ca.clone(),
            root_key: directory.root_key.clone(),
            access_key_id: directory.access_key_id.clone(),
            secret_access_key: directory.secret_access_key.clone(),
            admit: Arc::new(Gatekeeper { client: client.clone() }),
        });
    }
    Ok(NodeHandle { inbox, thread, ended, client, peers })
}

pub(super) fn config(directory: &NodeDirectory, options: &StartOptions) -> Config {
    let network = options.network.as_ref();
    // The drives of a cluster are numbered from its founder's on.
    let founds = directory.drives.contains_key(&DriveId(0));
    let address = network.map(|network| network.advertise.to_string()).unwrap_or_default();
    // A drive that does not say its size weighs the least: its disk orders will tell what is wrong with it.
    let drive = |(drive, path): (&DriveId, &PathBuf)| DriveInfo { drive: *drive, weight: drive_gib(path).unwrap_or(1) };
    let info = NodeInfo {
        name: directory.name.clone(),
        zone: network.map(|network| network.zone.clone()).unwrap_or_default(),
        address: address.clone(),
        key: Sha256::digest(directory.identity.key().public().0).into(),
        drives: directory.drives.iter().map(drive).collect(),
        draining: false,
    };
    Config {
        node: directory.node,
        voters: if founds { vec![directory.node] } else { Vec::new() },
        drives: info.drives.clone(),
        lost: options.lost.clone(),
        nodes: if founds { vec![(directory.node, info)] } else { Vec::new() },
        address,
        groups: vec![GroupId::GLOBAL, GroupId::REGION],
        root_key: directory.root_key.clone(),
        seed: super::directory::random(),
        election_timeout: Duration::from_millis(500),
        heartbeat_interval: Duration::from_millis(100),
        clock_drift_ppm_max: options.clock_drift_ppm_max,
        append_bytes_max: 1 << 20,
        snapshot_chunk_bytes: 1 << 20,
        tail_entries_max: 4096,
        checkpoint_bytes: 12 << 20,
        checkpoint_interval: Duration::from_secs(30),
        prepare_ttl: Duration::from_secs(3600),
        sweep_interval: options.sweep_interval,
        forward_patience: Duration::from_secs(5),
        peer_timeout: Duration::from_secs(5),
        peer_bytes_max: 128 << 20,
        swim: network.map(|_| swim::Config::lan(directory.node)),
        hedge_after: Duration::from_millis(100),
        moves_max: 4,
        recode_after: options.recode_after,
        scrub: options.scrub,
        steward_interval: Some(Duration::from_secs(1)),
        voter_patience: Duration::from_secs(60),
        pin_patience: Duration::from_secs(600),
        lifecycle_day: Some(options.lifecycle_day),
        planted: Planted::default(),
    }
}

/// Both clocks of this process.
struct Clock {
    start: Instant,
}

impl Clock {
    fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// When a time of the core is. The next microsecond, so that it has come when a wait for it ends.
    fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_micros(time.0.saturating_add(1))
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { time: Time(time), wall: WallTime(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)) }
    }
}

/// Who waits for which reply, with what the request holds until then (`CLIENT-1`).
type Replies = HashMap<RequestId, ReplyTo>;

struct CoreLoop {
    node: Node,
    clock: Clock,
    queue: Receiver<Inbox>,
    workers: Workers,
    neighbours: Option<Neighbours>,
    replies: Replies,
    /// Queries of the orders at hand. They are handed over together.
    questions: Vec<Question>,
}

/// Why the loop ends.
enum End {
    Stop,
    Fatal(Fatal),
}

impl CoreLoop {
    fn run(mut self, mut effects: Vec<Effect>) -> Result<(), Fatal> {
        let mut taken = Vec::new();
        let end = loop {
            if let Some(end) = effects.drain(..).find_map(|effect| self.carry_out(effect)) {
                break end;
            }
            if !self.questions.is_empty() {
                self.workers.state.ask(self.questions.drain(..));
            }
            if let Some(end) = self.turn(&mut effects, &mut taken) {
                break end;
            }
        };
        // Dropping the replies tells every waiting client that the node is stopping.
        self.replies.clear();
        if let Some(neighbours) = self.neighbours.take() {
            neighbours.finish();
        }
        match end {
            End::Stop => self.workers.finish(),
            End::Fatal(fatal) => {
                tracing::error!("{fatal}");
                Err(fatal)
            }
        }
    }

    /// Waits for something to happen and steps the core through all of it, and through its deadline if that has come.
    /// `taken` is empty before and after.
    fn turn(&mut self, effects: &mut Vec<Effect>, taken: &mut Vec<Inbox>) -> Option<End> {
        let due = self.node.deadline().map(|deadline| self.clock.instant(deadline));
        match self.queue.take(EVENTS_PER_TURN, due, taken) {
            Taken::Some => {}
            Taken::Timeout => taken.push(Inbox::Event(Event::Deadline)),
            Taken::Closed => taken.push(Inbox::Stop),
        }
        let mut end = taken.drain(..).find_map(|message| self.take(message, effects));
        // LOOP-1
        if end.is_none() && self.node.deadline().is_some_and(|deadline| deadline <= self.clock.now().time) {
            end = self.take(Inbox::Event(Event::Deadline), effects);
        }
        end
    }

    fn take(&mut self, message: Inbox, effects: &mut Vec<Effect>) -> Option<End> {
        let event = match message {
            Inbox::Event(event) => event,
            Inbox::Client(Inbound { id, request, reply }) => {
                if let Some(reply) = reply {
                    self.replies.insert(id, reply);
                }
                Event::Client { id, request }
            }
            Inbox::Fatal(fatal) => return Some(End::Fatal(fatal)),
            Inbox::Stop => return Some(End::Stop),
        };
        // LOOP-2
        self.node.step(self.clock.now(), event, effects);
        None
    }
}

impl CoreLoop {
    /// Hands an effect to whoever carries it out.
    fn carry_out(&mut self, effect: Effect) -> Option<End> {
        let workers = &self.workers;
        match effect {
            Effect::Send { to, message } => {
                if let Some(neighbours) = &self.neighbours {
                    neighbours.send(to, &message);
                }
            }
            Effect::Members(members) => {
                if let Some(neighbours) = &self.neighbours {
                    neighbours.set_members(members);
                }
            }
            Effect::Reply { id, reply } => {
                if let Some(waiting) = self.replies.remove(&id) {
                    waiting.send(reply);
                }
            }
            Effect::Disk { user, op, order } => workers.disk(DiskJob { user, op, order }),
            Effect::Apply { group, entries } => workers.state.write(Write::Apply { group, entries }),
            Effect::Query { work, group, query } => self.questions.push(Question { work, group, query }),
            Effect::Checkpoint => workers.state.checkpoint(),
            Effect::TakeSnapshot { group } => workers.state.write(Write::TakeSnapshot { group }),
            Effect::InstallSnapshot { group, snapshot } => workers.state.write(Write::Install { group, snapshot }),
            Effect::Compute { work, task } => workers.compute.send(ComputeJob { work, task }),
            Effect::Trace(trace) => show(&trace),
            Effect::Fatal(fatal) => return Some(End::Fatal(fatal)),
        }
        None
    }
}

fn show(trace: &Trace) {
    match trace {
        Trace::Role { group, term, role, leader } => {
            let leader = leader.map_or_else(|| "nobody".to_owned(), |leader| leader.to_string());
            tracing::debug!("group {group}: {role} in term {term}, led by {leader}");
        }
        Trace::Suspect(what) => tracing::warn!("{what}"),
        Trace::Note(what) => tracing::info!("{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anvil_core::node::Request;

    #[test]
    fn a_full_queue_does_not_keep_the_core_from_its_deadline() {
        let home = tempfile::tempdir().unwrap();
        let directory = Arc::new(NodeDirectory::open(&[home.path().to_owned()], "node1", None).unwrap());
        let (mut core, _, inbox) = recover(&directory, &StartOptions::default()).unwrap();
        let due = core.node.deadline().expect("a node without a leader wants to be woken");
        thread::sleep(due.since(core.clock.now().time) + Duration::from_millis(1));
        for id in 0..4 * EVENTS_PER_TURN {
            let (id, request) = (RequestId(id as u64), Request::Status);
            inbox.send(Inbox::Client(Inbound { id, request, reply: None })).unwrap();
        }
        let mut effects = Vec::new();
        assert!(core.turn(&mut effects, &mut Vec::new()).is_none());
        assert!(core.queue.try_recv().is_some(), "there is more to do");
        assert!(core.node.deadline() > Some(due), "the core was not told that its deadline had come");
        core.workers.finish().unwrap();
    }
}
