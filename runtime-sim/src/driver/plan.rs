//! What a run is made of. A scenario draws a plan from its seed; the driver carries it out.

use crate::client::keys::KeyHabits;
use crate::client::objects::ObjectHabits;
use crate::client::operator::OperatorHabits;
use crate::client::versions::VersionHabits;
use crate::world::rates::{DiskRates, NetworkRates, TroubleRates};
use anvil_core::node::config::ScrubPace;
use anvil_core::planted::Planted;
use anvil_core::stripe::Profile;
use anvil_core::topology::{DriveInfo, NodeInfo};
use anvil_core::types::DriveId;
use std::time::Duration;

/// A run, to the last detail.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of every stream.
    pub seed: u64,
    /// Voters at the start.
    pub nodes: u64,
    /// Nodes beside them that wait to be added.
    pub spares: u64,
    /// Drives of each node.
    pub drives: u32,
    /// The last of the first nodes adds its other drives to the cluster when that runs.
    pub late_drive: bool,
    /// How stripes are cut.
    pub profile: Profile,
    /// How long trouble and workload last, in microseconds, before the world heals.
    pub span_micros: u64,
    /// The network.
    pub network: NetworkRates,
    /// Every drive.
    pub disk: DiskRates,
    /// What happens to nodes.
    pub trouble: TroubleRates,
    /// Largest clock drift, in parts per million.
    pub drift_ppm_max: u64,
    /// Largest initial offset of a wall clock, in milliseconds.
    pub offset_ms_max: u64,
    /// What may be damaged.
    pub damage: DamagePlan,
    /// Bytes of a drive; small ones fill up.
    pub capacity: u64,
    /// Clients of keys.
    pub key_clients: Vec<KeyHabits>,
    /// Clients of objects.
    pub object_clients: Vec<ObjectHabits>,
    /// Clients of versions.
    pub version_clients: Vec<VersionHabits>,
    /// Operators, who change who replicates and who leads.
    pub operators: Vec<OperatorHabits>,
    /// Whether the spares join one after the other, and then a node is drained and leaves: the typical pause between steps, in
    /// microseconds.
    pub building_micros: Option<u64>,
    /// Timers and thresholds of the nodes.
    pub node: NodePlan,
    /// Planted bugs.
    pub planted: Planted,
    /// Keep a readable trace.
    pub readable: bool,
}

impl Plan {
    /// The number that a drive of a node has in the whole cluster.
    pub fn drive(&self, node: u64, local: u32) -> DriveId {
        DriveId((u32::try_from(node).expect("few nodes") - 1) * self.drives + local)
    }

    /// A node as the topology has it from the start.
    pub fn node_info(&self, number: u64) -> NodeInfo {
        NodeInfo {
            name: format!("n{number}"),
            zone: String::new(),
            address: String::new(),
            key: [0; 32],
            drives: (0..self.drives).map(|local| DriveInfo { drive: self.drive(number, local), weight: 1 }).collect(),
            draining: false,
        }
    }

    /// A node as the founders know it: the last one may have a drive more than it says, and adds it later.
    pub fn founder_info(&self, number: u64) -> NodeInfo {
        let mut info = self.node_info(number);
        if self.late_drive && number == self.nodes {
            info.drives.truncate(1);
        }
        info
    }

    /// Which of its node's drives this is.
    pub fn local(&self, drive: DriveId) -> u32 {
        drive.0 % self.drives
    }
}

/// What may be damaged, within the atlas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DamagePlan {
    /// Extents at rest.
    pub shards: bool,
    /// The logs of a minority, at rest, while their node is down.
    pub logs: bool,
    /// Syncs of extents lie, writes to them stray and reads of them fail, on at most `m` drives.
    pub treachery: bool,
}

/// Timers and thresholds of the nodes.
#[derive(Clone, Copy, Debug)]
pub struct NodePlan {
    /// See `raft::Config::election_timeout`.
    pub election_timeout: Duration,
    /// See `raft::Config::heartbeat_interval`.
    pub heartbeat_interval: Duration,
    /// See `raft::Config::clock_drift_ppm_max`.
    pub clock_drift_ppm_max: Option<u32>,
    /// See `raft::Config::append_bytes_max`.
    pub append_bytes_max: usize,
    /// See `raft::Config::tail_entries_max`.
    pub tail_entries_max: u64,
    /// See `node::Config::checkpoint_bytes`.
    pub checkpoint_bytes: usize,
    /// See `node::Config::checkpoint_interval`.
    pub checkpoint_interval: Duration,
    /// See `node::Config::prepare_ttl`.
    pub prepare_ttl: Duration,
    /// See `node::Config::sweep_interval`.
    pub sweep_interval: Duration,
    /// See `node::Config::forward_patience`.
    pub forward_patience: Duration,
    /// See `node::Config::peer_timeout`.
    pub peer_timeout: Duration,
    /// See `node::Config::peer_bytes_max`.
    pub peer_bytes_max: usize,
    /// See `node::Config::swim`.
    pub swim: bool,
    /// See `node::Config::hedge_after`.
    pub hedge_after: Duration,
    /// See `node::Config::recode_after`.
    pub recode_after: Duration,
    /// See `node::Config::scrub`.
    pub scrub: ScrubPace,
    /// See `node::Config::steward_interval`.
    pub steward_interval: Option<Duration>,
    /// See `node::Config::voter_patience`.
    pub voter_patience: Duration,
    /// See `log::Config::segment_size`.
    pub segment_size: u64,
    /// See `shards::Config::extent_size`.
    pub extent_size: u64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The hash over every delivered event.
    pub hash: u64,
    /// Events delivered.
    pub events: u64,
    /// Simulated time, in microseconds.
    pub simulated_micros: u64,
    /// Operations of clients whose outcome is known.
    pub operations: usize,
    /// Searches that a checker gave up.
    pub undecided: usize,
    /// What struck, by kind.
    pub struck: Vec<(&'static str, u64)>,
    /// The first broken promise.
    pub complaint: Option<crate::check::Complaint>,
    /// Lines for a person, when the plan asked for them.
    pub lines: Vec<String>,
}
