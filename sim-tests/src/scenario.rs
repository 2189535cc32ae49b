//! The scenarios: each draws its own cluster, workload and fault rates from a seed (swarm).

#[cfg(debug_assertions)]
mod exposes;
mod versions;

#[cfg(debug_assertions)]
pub use exposes::exposes;

use anvil_core::node::config::ScrubPace;
use anvil_core::planted::Planted;
use anvil_core::stripe::Profile;
use anvil_sim::chance::Chance;
use anvil_sim::client::keys::KeyHabits;
use anvil_sim::client::objects::ObjectHabits;
use anvil_sim::client::operator::OperatorHabits;
use anvil_sim::driver::{DamagePlan, NodePlan, Plan};
use anvil_sim::world::rates::{DiskRates, NetworkRates, TroubleRates};
use anvil_sim::world::{MILLIS, SECONDS};
use std::time::Duration;

/// A sentence about the world, and how to draw one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Keys stay linearizable on 1, 3 and 5 nodes under partitions, crashes, clock drift and disk errors.
    Keys,
    /// One leader for a term, and no stale read, however often leaders are cut off just after their election.
    Elections,
    /// Laggards catch up by snapshot, and clients that repeat themselves are served exactly once.
    Snapshots,
    /// Objects on one node survive crashes and torn writes byte for byte, and leave no shard behind.
    Objects,
    /// Damage at rest on one node is never read as data, and is decoded around where the profile has parity.
    Rot,
    /// A full drive refuses, loses nothing, and works again when there is room.
    Full,
    /// The log of a minority is damaged, again and again; its nodes get it back from the others, and nothing is lost.
    LogRot,
    /// Replicas come, go and take over from each other, and clients do not notice.
    Membership,
    /// Objects on many nodes survive crashes, partitions and damage on as many nodes as the profile allows.
    Spread,
    /// Nodes join and leave while objects are read and written; what they hold finds its place.
    Growth,
    /// Leaders answer by lease while clocks drift as much as the operator allows, and no read is stale.
    Leases,
    /// Drives of leaders stand still, and others lead meanwhile.
    Stalls,
    /// Versions of a key stay in the order of their decisions, with conditions, deletes and clocks that jump.
    Versions,
    /// Everything at once.
    Swarm,
}

impl Scenario {
    /// All of them.
    pub const ALL: &'static [Scenario] = &[
        Scenario::Keys,
        Scenario::Elections,
        Scenario::Snapshots,
        Scenario::Objects,
        Scenario::Rot,
        Scenario::Full,
        Scenario::LogRot,
        Scenario::Membership,
        Scenario::Spread,
        Scenario::Growth,
        Scenario::Leases,
        Scenario::Stalls,
        Scenario::Versions,
        Scenario::Swarm,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Keys => "keys",
            Scenario::Elections => "elections",
            Scenario::Snapshots => "snapshots",
            Scenario::Objects => "objects",
            Scenario::Rot => "rot",
            Scenario::Full => "full",
            Scenario::LogRot => "log-rot",
            Scenario::Membership => "membership",
            Scenario::Spread => "spread",
            Scenario::Growth => "growth",
            Scenario::Leases => "leases",
            Scenario::Stalls => "stalls",
            Scenario::Versions => "versions",
            Scenario::Swarm => "swarm",
        }
    }

    /// The scenario of this name.
    pub fn named(name: &str) -> Option<Scenario> {
        Scenario::ALL.iter().copied().find(|scenario| scenario.name() == name)
    }

    /// The plan of a seed.
    pub fn plan(self, seed: u64, planted: Planted) -> Plan {
        let mut chance = Chance::named(seed, &format!("plan {}", self.name()));
        let mut plan = base(seed, &mut chance, planted);
        match self {
            Scenario::Keys => keys(&mut plan, &mut chance),
            Scenario::Elections => elections(&mut plan, &mut chance),
            Scenario::Snapshots => snapshots(&mut plan, &mut chance),
            Scenario::Objects => objects(&mut plan, &mut chance),
            Scenario::Rot => rot(&mut plan, &mut chance),
            Scenario::Full => full(&mut plan, &mut chance),
            Scenario::LogRot => log_rot(&mut plan, &mut chance),
            Scenario::Membership => membership(&mut plan, &mut chance),
            Scenario::Spread => spread(&mut plan, &mut chance),
            Scenario::Growth => growth(&mut plan, &mut chance),
            Scenario::Leases => leases(&mut plan, &mut chance),
            Scenario::Stalls => stalls(&mut plan, &mut chance),
            Scenario::Versions => versions::versions(&mut plan, &mut chance),
            Scenario::Swarm => swarm(&mut plan, &mut chance),
        }
        plan
    }
}

/// What all scenarios begin with: a small cluster with trouble drawn for it, and no clients.
fn base(seed: u64, chance: &mut Chance, planted: Planted) -> Plan {
    let span_micros = *chance.pick(&[5, 10, 15]) * SECONDS;
    Plan {
        seed,
        nodes: *chance.pick(&[1, 3, 3, 3, 5]),
        spares: 0,
        drives: 1,
        late_drive: false,
        profile: Profile { data: 1, parity: 0 },
        span_micros,
        network: NetworkRates::draw(chance),
        disk: DiskRates::draw(chance),
        trouble: TroubleRates::draw(chance, span_micros),
        drift_ppm_max: *chance.pick(&[0, 200, 20_000]),
        offset_ms_max: *chance.pick(&[0, 100, 10_000]),
        damage: DamagePlan::default(),
        capacity: 1 << 40,
        key_clients: Vec::new(),
        object_clients: Vec::new(),
        version_clients: Vec::new(),
        operators: Vec::new(),
        building_micros: None,
        node: node(chance),
        planted,
        readable: false,
    }
}

fn node(chance: &mut Chance) -> NodePlan {
    let election_ms = *chance.pick(&[150, 300, 600]);
    NodePlan {
        election_timeout: Duration::from_millis(election_ms),
        heartbeat_interval: Duration::from_millis(election_ms / 5),
        clock_drift_ppm_max: None,
        append_bytes_max: *chance.pick(&[1, 200, 1 << 20]),
        tail_entries_max: *chance.pick(&[1, 10, 4096]),
        checkpoint_bytes: *chance.pick(&[1 << 10, 4 << 10, 64 << 10]),
        checkpoint_interval: Duration::from_millis(*chance.pick(&[50, 500, 5_000])),
        prepare_ttl: Duration::from_millis(*chance.pick(&[500, 3_000])),
        sweep_interval: Duration::from_millis(*chance.pick(&[100, 500])),
        forward_patience: Duration::from_millis(*chance.pick(&[0, 300, 1_000])),
        peer_timeout: Duration::from_millis(*chance.pick(&[200, 1_000])),
        peer_bytes_max: *chance.pick(&[2 << 20, 64 << 20]),
        swim: false,
        hedge_after: Duration::from_millis(*chance.pick(&[1, 20, 100])),
        recode_after: Duration::from_millis(*chance.pick(&[0, 1_000])),
        scrub: ScrubPace { interval: None, bytes_per_second: 1 << 20 },
        steward_interval: None,
        voter_patience: Duration::from_secs(3600),
        segment_size: *chance.pick(&[16 << 10, 64 << 10]),
        extent_size: *chance.pick(&[32 << 10, 128 << 10, 512 << 10]),
    }
}

fn key_clients(plan: &mut Plan, chance: &mut Chance) {
    let keys = chance.between(1, 4);
    let busy = *chance.pick(&[5, 20, 80]);
    let clients = chance.between(2, 5);
    plan.key_clients = (0..clients)
        .map(|number| KeyHabits {
            keys,
            operations: 10_000,
            think_micros: busy * MILLIS,
            patience_micros: *chance.pick(&[100, 400, 1_500]) * MILLIS,
            only_reads: false,
            stray_per_million: *chance.pick(&[20_000, 125_000]),
            session: number > 0 && chance.below(3) > 0,
            hedge_per_million: *chance.pick(&[0, 100_000, 500_000]),
            value_size_max: *chance.pick(&[16, 200, 2_000]),
        })
        .collect();
    limit(plan);
}

/// Bounds the history of each key, since judging it takes time that grows with it, and lets one client in three only
/// read: such a client stays with a leader that serves it, long after the leader has ceased to be one.
fn limit(plan: &mut Plan) {
    let clients = plan.key_clients.len().max(1);
    let each = u32::try_from(240 / clients).expect("small");
    for (number, client) in plan.key_clients.iter_mut().enumerate() {
        client.only_reads = number % 3 == 2;
        client.session &= !client.only_reads;
        client.operations = if client.only_reads { 3 * each } else { each };
    }
}

fn keys(plan: &mut Plan, chance: &mut Chance) {
    key_clients(plan, chance);
}

/// Three kinds of trouble that are dangerous only at one moment of an election, each with the clients and the speed
/// that make it likely.
fn elections(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = *chance.pick(&[3, 3, 5]);
    key_clients(plan, chance);
    plan.node.election_timeout = Duration::from_millis(150);
    plan.node.heartbeat_interval = Duration::from_millis(30);
    plan.disk.delay_micros = 20;
    plan.trouble.death_micros = 0;
    plan.trouble.pause_micros = 0;
    plan.trouble.power_loss_micros = *chance.pick(&[0, plan.span_micros / 8]);
    plan.trouble.partition_micros = *chance.pick(&[0, plan.span_micros / 50]);
    plan.trouble.depose_per_million = *chance.pick(&[600_000, 1_000_000]);
    plan.trouble.depose_pause_per_million = 0;
    plan.trouble.upset_per_million = 0;
    match chance.below(3) {
        0 => stale_leaders(plan, chance),
        1 => short_leaders(plan, chance),
        _ => upset_votes(plan, chance),
    }
}

/// Leaders that stand still while another is elected, and wake to a client that asks them.
fn stale_leaders(plan: &mut Plan, chance: &mut Chance) {
    plan.network.delay_micros = *chance.pick(&[100, 500]);
    plan.disk.sync_micros = *chance.pick(&[200, 1_000]);
    plan.drift_ppm_max = *chance.pick(&[0, 200_000]);
    plan.trouble.depose_micros_max = 400 * MILLIS;
    plan.trouble.depose_pause_per_million = 700_000;
    for (number, client) in plan.key_clients.iter_mut().enumerate() {
        client.keys = 1;
        client.think_micros = 10 * MILLIS;
        client.only_reads = number % 2 == 1;
        client.session &= !client.only_reads;
        client.stray_per_million = if client.only_reads { 500_000 } else { 125_000 };
        client.patience_micros = if client.only_reads { 300 * MILLIS } else { 60 * MILLIS };
        client.operations = if client.only_reads { 400 } else { 150 };
    }
}

/// Leaders that are cut off before they have replicated an entry of their own term (Raft figure 8).
fn short_leaders(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = 3;
    plan.network = NetworkRates { delay_micros: *chance.pick(&[1_000, 4_000]), ..NetworkRates::default() };
    plan.disk.sync_micros = *chance.pick(&[500, 4_000]);
    plan.node.append_bytes_max = 1;
    plan.trouble.depose_micros_max = *chance.pick(&[8 * MILLIS, 40 * MILLIS]);
    plan.trouble.power_loss_micros = 0;
    plan.trouble.partition_micros = 0;
    for client in &mut plan.key_clients {
        client.think_micros = 10 * MILLIS;
        client.patience_micros = 30 * MILLIS;
    }
}

/// Voters that lose power for a moment while their vote is on its way to disk.
fn upset_votes(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = 5;
    plan.network.delay_micros = *chance.pick(&[4_000, 8_000]);
    plan.disk.sync_micros = *chance.pick(&[5_000, 10_000]);
    plan.trouble.depose_micros_max = 60 * MILLIS;
    plan.trouble.upset_per_million = 1_000_000;
}

fn snapshots(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = *chance.pick(&[3, 3, 5]);
    key_clients(plan, chance);
    for client in &mut plan.key_clients {
        client.session = true;
        client.hedge_per_million = 300_000;
        client.patience_micros = 150 * MILLIS;
    }
    plan.node.checkpoint_bytes = 512;
    plan.node.checkpoint_interval = Duration::from_millis(50);
    plan.node.tail_entries_max = *chance.pick(&[1, 1, 5]);
    plan.trouble.down_micros_max = 2 * SECONDS;
    plan.trouble.power_loss_micros = plan.span_micros / *chance.pick(&[4, 8]);
    plan.trouble.partition_micros = plan.span_micros / *chance.pick(&[4, 8]);
}

fn object_clients(plan: &mut Plan, chance: &mut Chance) {
    let objects = chance.between(2, 6);
    let busy = *chance.pick(&[5, 20, 80]);
    let striped = plan.nodes == 1;
    let large = *chance.pick(&[0, 0, 0, 20_000]);
    if large > 0 {
        // A shard must fit into an extent.
        plan.node.extent_size = 2 << 20;
    }
    let clients = chance.between(2, 4);
    let same_size = chance.below(3) == 0;
    plan.object_clients = (0..clients)
        .map(|_| ObjectHabits {
            objects,
            operations: u32::try_from(200 / clients).expect("small"),
            think_micros: busy * MILLIS,
            patience_micros: *chance.pick(&[500, 3_000]) * MILLIS,
            size_min: if same_size { 600 } else { 1 },
            size_max: if same_size { 600 } else { *chance.pick(&[600, 5_000, 30_000]) },
            large_per_million: large,
            striped,
            leave_per_million: *chance.pick(&[0, 100_000]),
            dawdle_micros_max: *chance.pick(&[10, 300, 2_000]) * MILLIS,
            expires_after_micros: 0,
            early_expiries: 0,
        })
        .collect();
}

/// The profile that this many failure domains have (DESIGN section 6).
fn profile(drives: u32) -> Profile {
    let (data, parity) = match drives {
        1 => (1, 0),
        2 => (1, 1),
        3 => (2, 1),
        4 => (2, 2),
        5 => (3, 2),
        _ => (4, 2),
    };
    Profile { data, parity }
}

fn objects(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = 1;
    plan.drives = u32::try_from(chance.between(1, 6)).expect("small");
    plan.profile = profile(plan.drives);
    object_clients(plan, chance);
    plan.trouble.power_loss_micros = plan.span_micros / *chance.pick(&[3, 8, 20]);
    plan.trouble.down_micros_max = *chance.pick(&[20, 300]) * MILLIS;
}

fn rot(plan: &mut Plan, chance: &mut Chance) {
    objects(plan, chance);
    plan.trouble.damage_micros = plan.span_micros / *chance.pick(&[4, 20]);
    plan.damage.shards = true;
    plan.damage.treachery = plan.profile.parity > 0 && chance.below(2) == 0;
    plan.node.scrub = scrub(chance);
}

fn scrub(chance: &mut Chance) -> ScrubPace {
    let interval = Some(Duration::from_millis(*chance.pick(&[500, 3_000])));
    ScrubPace { interval, bytes_per_second: *chance.pick(&[1 << 20, 100 << 20]) }
}

fn full(plan: &mut Plan, chance: &mut Chance) {
    objects(plan, chance);
    plan.capacity = *chance.pick(&[1 << 20, 2 << 20, 3 << 20]);
    plan.trouble.power_loss_micros = plan.span_micros / 3;
    for client in &mut plan.object_clients {
        client.size_max = 60_000;
    }
}

fn log_rot(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = *chance.pick(&[3, 5]);
    key_clients(plan, chance);
    plan.damage.logs = true;
    plan.trouble.power_loss_micros = plan.span_micros / 5;
    plan.trouble.down_micros_max = 300 * MILLIS;
}

/// One or two operators change members and leaders without a rest, and the network breaks along their changes.
fn membership(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = *chance.pick(&[3, 3, 3, 4, 5]);
    plan.spares = *chance.pick(&[0, 1, 2, 2]);
    key_clients(plan, chance);
    let habits = OperatorHabits {
        think_micros: *chance.pick(&[50, 200, 800]) * MILLIS,
        patience_micros: *chance.pick(&[200, 1_000]) * MILLIS,
    };
    plan.operators = vec![habits; chance.between(1, 2).try_into().expect("small")];
    plan.node.election_timeout = Duration::from_millis(*chance.pick(&[150, 300]));
    plan.node.heartbeat_interval = plan.node.election_timeout / 5;
    plan.node.checkpoint_bytes = *chance.pick(&[512, 4 << 10]);
    plan.node.tail_entries_max = *chance.pick(&[1, 1, 10, 4096]);
    plan.trouble.down_micros_max = *chance.pick(&[50 * MILLIS, 500 * MILLIS, 2 * SECONDS]);
    plan.trouble.split_per_million = *chance.pick(&[0, 200_000, 600_000]);
    plan.trouble.split_micros_max = 4 * plan.network.delay_micros + plan.disk.sync_micros;
}

/// Bodies cross the network. Every node is a gateway, and hands what it cannot decide to the leader.
fn spread(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = *chance.pick(&[2, 3, 3, 4, 5, 6, 7]);
    plan.drives = *chance.pick(&[1, 1, 2]);
    plan.late_drive = chance.below(2) == 0;
    plan.profile = profile(u32::try_from(plan.nodes).expect("small"));
    object_clients(plan, chance);
    for client in &mut plan.object_clients {
        client.striped = true;
    }
    plan.node.forward_patience = Duration::from_millis(*chance.pick(&[300, 1_000]));
    plan.node.steward_interval = Some(Duration::from_millis(200));
    plan.node.swim = true;
    // Nodes tell the time by what they have applied, and drift apart while nothing is.
    plan.node.prepare_ttl = Duration::from_millis(3_000);
    plan.trouble.power_loss_micros = plan.span_micros / *chance.pick(&[3, 8, 20]);
    plan.trouble.down_micros_max = *chance.pick(&[20 * MILLIS, 300 * MILLIS, 2 * SECONDS]);
    plan.damage.shards = chance.below(3) == 0;
    plan.damage.treachery = chance.below(3) == 0;
    plan.node.scrub = scrub(chance);
}

fn growth(plan: &mut Plan, chance: &mut Chance) {
    spread(plan, chance);
    plan.damage = DamagePlan::default();
    plan.late_drive = false;
    plan.nodes = *chance.pick(&[2, 3, 3, 4, 5, 6]);
    plan.profile = profile(u32::try_from(plan.nodes).expect("small"));
    plan.spares = chance.between(1, 8 - plan.nodes);
    plan.building_micros = Some(*chance.pick(&[50, 400, 1_500]) * MILLIS);
}

/// Leaders that are cut off, or stand still, while one client writes elsewhere and another asks them.
fn leases(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = *chance.pick(&[3, 3, 5]);
    key_clients(plan, chance);
    stale_leaders(plan, chance);
    plan.node.election_timeout = Duration::from_millis(150);
    plan.node.heartbeat_interval = Duration::from_millis(30);
    plan.drift_ppm_max = *chance.pick(&[0, 50_000, 400_000, 400_000]);
    plan.node.clock_drift_ppm_max = u32::try_from(plan.drift_ppm_max).ok();
    plan.disk.delay_micros = 20;
    plan.trouble.pause_micros = 0;
    plan.trouble.death_micros = *chance.pick(&[0, plan.span_micros / 20]);
    plan.trouble.down_micros_max = *chance.pick(&[5 * MILLIS, 50 * MILLIS]);
    plan.trouble.power_loss_micros = *chance.pick(&[0, plan.span_micros / 8]);
    plan.trouble.partition_micros = plan.span_micros / *chance.pick(&[20, 50]);
    plan.trouble.depose_per_million = 1_000_000;
    plan.trouble.depose_pause_per_million = *chance.pick(&[0, 0, 300_000]);
    plan.trouble.upset_per_million = 0;
    plan.node.forward_patience = Duration::from_millis(*chance.pick(&[0, 300]));
    for client in &mut plan.key_clients {
        client.think_micros = 5 * MILLIS;
        client.patience_micros = if client.only_reads { 300 * MILLIS } else { 30 * MILLIS };
        // Writes of unknown outcome pile up on the one key, and make its history hard to judge.
        client.operations /= 3;
    }
}

/// A world without any other trouble, so that whoever is elected stays, and it shows who leads.
fn stalls(plan: &mut Plan, chance: &mut Chance) {
    plan.nodes = *chance.pick(&[3, 3, 5]);
    key_clients(plan, chance);
    plan.node.election_timeout = Duration::from_millis(*chance.pick(&[150, 300]));
    plan.node.heartbeat_interval = plan.node.election_timeout / 5;
    plan.network = NetworkRates { delay_micros: *chance.pick(&[100, 500, 2_000]), ..NetworkRates::default() };
    plan.disk = DiskRates { delay_micros: 20, sync_micros: *chance.pick(&[200, 1_000, 5_000]), ..DiskRates::default() };
    plan.drift_ppm_max = *chance.pick(&[0, 200]);
    plan.trouble = TroubleRates {
        stall_micros: plan.span_micros / *chance.pick(&[4, 8]),
        stall_micros_max: *chance.pick(&[1, 3, 5]) * SECONDS,
        ..TroubleRates::default()
    };
}

fn swarm(plan: &mut Plan, chance: &mut Chance) {
    if chance.below(2) == 0 {
        plan.nodes = 1;
        plan.drives = u32::try_from(chance.between(1, 6)).expect("small");
        plan.profile = profile(plan.drives);
        plan.damage.shards = chance.below(3) == 0;
        plan.damage.treachery = plan.profile.parity > 0 && chance.below(3) == 0;
    } else {
        plan.damage.logs = chance.below(3) == 0;
    }
    key_clients(plan, chance);
    object_clients(plan, chance);
    plan.key_clients.truncate(2);
    plan.object_clients.truncate(2);
    limit(plan);
}
