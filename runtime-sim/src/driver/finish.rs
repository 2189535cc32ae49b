//! The course of a run: storm, healing, and the questions that are asked afterwards.
//!
//! - `LIVE-1` After the world has healed, every key and object can be read within [`HEALING_MICROS`].
//! - `LIVE-2` After the same time all members of a group have applied the same entries, and all that lost their log have it back.
//! - `LIVE-3` A write that is decided in half the time for it is not refused as expired, wherever the clocks were.
//! - `LIVE-4` All members of a group agree on who is one, with no change left incomplete, after the time of `LIVE-1`.
//! - `CODE-1` Where nodes came and went, every body has the profile of the cluster in the end.
//! - `HEAL-1` When the scrub of every node has found nothing any more, any `m` failure domains may lose all their shards, and everything
//!   is still read.
//! - `LEAK-1` On nodes without damage, no shard remains that no object names, once its preparation has expired; where shards
//!   move, none of a version of which its drive has no shard by right.

use super::cluster::{Cluster, Item, Outcome};
use super::machine::{Tenant, lock};
use super::process::{Done, Sight, Turn};
use crate::chance::Chance;
use crate::check::Complaint;
use crate::check::canonical::{CanonicalLog, Replica};
use crate::client::builder::{Builder, Step};
use crate::client::keys::KeyClient;
use crate::client::objects::{ObjectClient, ObjectHabits};
use crate::client::operator::Operator;
use crate::client::reader::{Found, Reader};
use crate::client::versions::{VersionClient, VersionHabits};
use crate::world::{MILLIS, SECONDS, SimTime};
use anvil_core::node::GroupStatus;
use anvil_core::raft::Role;
use anvil_core::stripe::Profile;
use anvil_core::topology::Topology;
use anvil_core::types::{GroupId, LogPosition, NodeId};

/// How long a healed cluster may take.
const HEALING_MICROS: u64 = 60 * SECONDS;
/// Operations of the client that works in the healed world.
const WRITES_AGAIN: u32 = 12;
/// How long the last command that arrives may take to be carried out.
const LATE_MICROS: u64 = SECONDS;
/// How often objects are read again while what the nodes hold does not fit to them.
const READ_AGAIN_MICROS: u64 = 3 * SECONDS;

impl Cluster {
    pub(super) async fn live_through(&mut self) -> Outcome {
        for node in self.numbers.clone() {
            self.queue(0, Item::Start { node });
        }
        self.hire();
        self.queue_troubles();
        let span = self.plan.span_micros;
        self.run_until(crate::world::SimTime(span), |_| false).await?;
        self.heal().await?;
        self.wind_down().await?;
        self.write_again().await?;
        self.list_versions().await?;
        let found = self.read_everything().await?;
        self.settle(found).await?;
        self.lose_the_rest().await?;
        self.undecided += self.histories.keys.check()?;
        self.undecided += self.histories.objects.check()?;
        self.undecided += self.histories.versions.check()?;
        Ok(())
    }

    /// Seats the clients.
    fn hire(&mut self) {
        let seed = self.plan.seed;
        for (number, habits) in (0..).zip(self.plan.key_clients.clone()) {
            self.clients.push(Box::new(KeyClient::new(seed, number, habits)));
        }
        for (number, habits) in (0..).zip(self.plan.object_clients.clone()) {
            let node = self.numbers[usize::try_from(number).expect("few") % self.gateways()];
            self.clients.push(Box::new(ObjectClient::new(seed, number, node, habits)));
        }
        for (number, habits) in (0..).zip(self.plan.version_clients.clone()) {
            self.clients.push(Box::new(VersionClient::new(seed, number, habits)));
        }
        for (number, habits) in (0..).zip(self.plan.operators.clone()) {
            self.clients.push(Box::new(Operator::new(seed, number, habits)));
        }
        if let Some(think_micros) = self.plan.building_micros {
            let steps = self.building();
            self.clients.push(Box::new(Builder::new(seed, think_micros, steps)));
        }
        for client in 0..self.clients.len() {
            self.queue(300 * MILLIS, Item::Wake { client, token: 0 });
        }
    }

    /// The spares join, in the order in which their drives are numbered, and one of the first nodes leaves.
    fn building(&self) -> Vec<Step> {
        let (nodes, spares) = (self.plan.nodes, self.plan.spares);
        let joins = nodes + 1..=nodes + spares;
        let joins = joins.flat_map(|node| [Step::Token(node), Step::Join(node, self.plan.node_info(node))]);
        // Not the first: its gateway is asked to the end.
        let leaves = nodes;
        // A drive that is not its node's first leaves before.
        let drive = self.plan.drive(1, 1);
        let drive = [Step::DrainDrive(drive), Step::EmptyDrive(1, drive), Step::RemoveDrive(drive)];
        let drive = drive.into_iter().filter(|_| self.plan.drives > 1);
        drive.chain(joins).chain([Step::Drain(leaves), Step::Empty(leaves), Step::Remove(leaves)]).collect()
    }

    /// Nodes that clients of objects talk to.
    fn gateways(&self) -> usize {
        usize::try_from(self.plan.nodes).expect("few")
    }

    async fn heal(&mut self) -> Outcome {
        self.healed = true;
        self.note(format_args!("world"), format_args!("heals"));
        self.network.heal();
        self.heal_disks();
        // Somebody sets the clocks right, which moves those that were ahead back.
        for machine in self.machines.values_mut() {
            machine.clock.set_offset(0);
        }
        for node in self.numbers.clone() {
            if self.machine(node).is_down() {
                self.queue(0, Item::Start { node });
            }
        }
        for client in &mut self.clients {
            client.stop();
        }
        Ok(())
    }

    /// Heals every drive of every machine.
    fn heal_disks(&mut self) {
        for disk in self.machines.values().flat_map(|machine| &machine.disks) {
            let mut disk = lock(disk);
            disk.heal();
            disk.set_capacity(u64::MAX / 4);
        }
    }

    /// Lets what is under way end; the rest has an unknown outcome.
    async fn wind_down(&mut self) -> Outcome {
        let end = self.now.after(HEALING_MICROS / 4);
        self.run_until(end, |cluster| cluster.clients.iter().all(|client| client.is_done())).await?;
        for client in 0..self.clients.len() {
            self.with_client(client, |client, desk| client.abandon(desk))?;
        }
        self.end_what_is_under_way().await
    }

    /// What nobody waits for any more is still under way in the nodes, and must be over before things are counted.
    async fn end_what_is_under_way(&mut self) -> Outcome {
        let end = self.now.after(HEALING_MICROS / 2);
        self.run_until(end, |cluster| !cluster.owes_answers()).await?;
        // A command that a slow link holds is taken when it arrives, though its client has long given up.
        let late = self.last_arrival().after(LATE_MICROS);
        self.run_until(late, |_| false).await
    }

    /// When everything that is on its way between nodes by now will have arrived.
    fn last_arrival(&self) -> SimTime {
        let messages = self.queue.iter().filter(|(_, item)| matches!(item, Item::Deliver { .. }));
        let pauses = self.machines.values().map(|machine| machine.paused_until);
        messages.map(|((at, _), _)| *at).chain(pauses).fold(self.now, SimTime::max)
    }

    /// `LIVE-3`. One more client of objects works in the healed world, where bodies are striped: others do not expire.
    async fn write_again(&mut self) -> Outcome {
        let striping = self.plan.object_clients.iter().find(|habits| habits.striped);
        let Some(habits) = striping.copied() else { return Ok(()) };
        let is_level = self.plan.nodes == 1 || self.plan.drift_ppm_max <= 200;
        let habits = ObjectHabits {
            operations: WRITES_AGAIN,
            leave_per_million: 0,
            // A request to a process that is still being started again is lost.
            patience_micros: HEALING_MICROS / 6,
            dawdle_micros_max: 0,
            // Clocks drift, and apart from each other while nothing is decided.
            expires_after_micros: if is_level { micros(self.plan.node.prepare_ttl) / 2 } else { 0 },
            early_expiries: if self.was_far_ahead() { self.plan.nodes } else { 0 },
            ..habits
        };
        let number = u64::try_from(self.plan.object_clients.len()).expect("few");
        let client = self.clients.len();
        self.clients.push(Box::new(ObjectClient::new(self.plan.seed, number, self.numbers[0], habits)));
        self.queue(0, Item::Wake { client, token: 0 });
        let end = self.now.after(HEALING_MICROS);
        self.run_until(end, |cluster| cluster.clients[client].is_done()).await?;
        if !self.clients[client].is_done() {
            let what = format!("a client of objects did not end in {} s", HEALING_MICROS / SECONDS);
            return Err(Complaint::new("a healed cluster answers", what));
        }
        self.end_what_is_under_way().await
    }

    /// `LIVE-1`. Returns how many shards the objects found should have.
    async fn read_everything(&mut self) -> Result<Option<Found>, Complaint> {
        let keys = self.plan.key_clients.iter().map(|habits| habits.keys).max().unwrap_or(0);
        let objects = self.plan.object_clients.iter().map(|habits| habits.objects).max().unwrap_or(0);
        let number = self.clients.len();
        self.clients.push(Box::new(Reader::new(self.plan.seed, keys, objects)));
        self.queue(0, Item::Wake { client: number, token: 0 });
        let end = self.now.after(HEALING_MICROS);
        self.run_until(end, |cluster| cluster.clients[number].is_done()).await?;
        if !self.clients[number].is_done() {
            let what = format!("reading everything did not end in {} s", HEALING_MICROS / SECONDS);
            return Err(Complaint::new("a healed cluster answers", what));
        }
        let found = self.clients[number].found();
        Ok((objects > 0).then_some(found))
    }

    /// `LIVE-1`, of versions: the history ends with what is really there.
    async fn list_versions(&mut self) -> Outcome {
        let number = self.plan.version_clients.len();
        let Some(habits) = self.plan.version_clients.first().copied() else { return Ok(()) };
        let operations = u32::try_from(habits.keys).expect("few");
        let habits = VersionHabits { operations, only_lists: true, patience_micros: 2 * SECONDS, ..habits };
        let client = self.clients.len();
        let number = u64::try_from(number).expect("few");
        self.clients.push(Box::new(VersionClient::new(self.plan.seed, number, habits)));
        self.queue(0, Item::Wake { client, token: 0 });
        let end = self.now.after(HEALING_MICROS);
        self.run_until(end, |cluster| cluster.clients[client].is_done()).await?;
        if self.clients[client].is_done() {
            return Ok(());
        }
        let what = format!("listing all versions did not end in {} s", HEALING_MICROS / SECONDS);
        Err(Complaint::new("a healed cluster answers", what))
    }

    /// `LIVE-2`, `LIVE-4` and `LEAK-1`.
    async fn settle(&mut self, found: Option<Found>) -> Outcome {
        // Time passes, to the latest that any clock ever claimed: until then what a hasty clock prepared is kept.
        let offset_ms = self.offset_ms_max();
        for machine in self.machines.values_mut() {
            machine.clock.set_offset(offset_ms);
        }
        let leaks_are_watched = !self.plan.damage.shards && !self.plan.damage.treachery;
        let mut expected = found.filter(|_| leaks_are_watched && !self.plan.damage.logs);
        let mut read_again = self.now.after(READ_AGAIN_MICROS);
        let end = self.now.after(HEALING_MICROS + 2 * micros(self.plan.node.prepare_ttl));
        let mut unsettled = String::from("nobody runs");
        while self.now < end {
            let next = self.now.after(250 * MILLIS);
            self.run_until(next, |_| false).await?;
            let sights = self.look().await?;
            // Bodies that are cut anew have other shards than when they were read.
            if self.plan.node.steward_interval.is_some() && self.now >= read_again && expected.is_some() {
                expected = self.read_everything().await?;
                read_again = self.now.after(READ_AGAIN_MICROS);
            }
            match settled(&sights, expected.as_ref(), self.plan.building_micros.is_some()) {
                Ok(()) => {
                    let replicas: Vec<Replica> = sights.iter().flat_map(replicas).collect();
                    return CanonicalLog::check_rows(&replicas);
                }
                Err(why) => unsettled = why,
            }
        }
        Err(Complaint::new("a healed cluster settles", unsettled))
    }

    /// `HEAL-1`
    async fn lose_the_rest(&mut self) -> Outcome {
        let is_redundant = self.atlas.shards_are_redundant() || self.plan.building_micros.is_some();
        let scrubs = self.plan.node.scrub.interval.is_some() && !self.plan.damage.logs;
        if !is_redundant || !scrubs || self.plan.object_clients.is_empty() {
            return Ok(());
        }
        // The pass that is under way may have gone past what was damaged since. A node that was removed asks nobody any more.
        let mut sights = self.look().await?;
        let members = serving(&sights);
        let passed = |sights: &[(u64, Sight)]| -> Vec<u64> {
            let of_members = sights.iter().filter(|(node, _)| members.contains(node));
            of_members.map(|(_, sight)| sight.status.scrubbed.clean_passes).collect()
        };
        let before = passed(&sights);
        let end = self.now.after(2 * HEALING_MICROS);
        while passed(&sights).iter().zip(&before).any(|(have, before)| *have < *before + 2) {
            if self.now >= end {
                let figures: Vec<_> = sights.iter().map(|(node, sight)| (*node, sight.status.scrubbed)).collect();
                return Err(Complaint::new("a healed cluster mends its shards", format!("{figures:?}")));
            }
            let next = self.now.after(250 * MILLIS);
            self.run_until(next, |_| false).await?;
            sights = self.look().await?;
        }
        for (node, local) in self.draw_loss(&sights) {
            self.note(format_args!("n{node} drive {local}"), format_args!("loses all its shards"));
            self.machine(node).disk(local).lose_extents();
        }
        self.read_everything().await.map(drop)
    }

    /// Drives of as many failure domains as may be lost: drives of a lone node, or else all of a node that belongs to the cluster.
    fn draw_loss(&self, sights: &[(u64, Sight)]) -> Vec<(u64, u32)> {
        let serving = serving(sights);
        let drives = 0..self.plan.drives;
        let mut domains: Vec<Vec<(u64, u32)>> = match serving[..] {
            [node] => drives.map(|local| vec![(node, local)]).collect(),
            _ => serving.iter().map(|node| drives.clone().map(|local| (*node, local)).collect()).collect(),
        };
        Chance::named(self.plan.seed, "loss").shuffle(&mut domains);
        let parity = Profile::for_drives(domains.len()).parity;
        domains.into_iter().take(usize::from(parity)).flatten().collect()
    }

    /// Whether a clock was ever so far ahead that a preparation expires early (`LIVE-3`).
    fn was_far_ahead(&self) -> bool {
        let millis = u64::try_from(self.offset_ms_max()).unwrap_or(0);
        millis * MILLIS >= micros(self.plan.node.prepare_ttl) / 2
    }

    /// How far ahead of true time a clock has ever been.
    fn offset_ms_max(&self) -> i64 {
        self.machines.values().map(|machine| machine.clock.offset_ms_max()).max().unwrap_or(0)
    }

    async fn look(&mut self) -> Result<Vec<(u64, Sight)>, Complaint> {
        let mut sights = Vec::new();
        for node in self.numbers.clone() {
            if !self.machine(node).is_running() {
                continue;
            }
            match self.machine(node).turn(Turn::Look).await {
                Done::Seen(sight) => sights.push((node, *sight)),
                other @ (Done::Stepped { .. }
                | Done::Refused(_)
                | Done::Finished(_)
                | Done::StoreFailed(_)
                | Done::Panicked(_)) => {
                    return Err(Complaint::new("a healed node can be looked at", format!("node {node}: {other:?}")));
                }
            }
        }
        Ok(sights)
    }

    /// Ends all processes.
    pub(super) async fn kill_all(&mut self) {
        for machine in self.machines.values_mut() {
            machine.kill(Tenant::Down).await;
        }
    }
}

/// The nodes that belong to the cluster and are not about to leave it.
fn serving(sights: &[(u64, Sight)]) -> Vec<u64> {
    let latest = sights.iter().map(|(_, sight)| &sight.status.topology).max_by_key(|topology| topology.epoch);
    latest.into_iter().flat_map(Topology::serving).map(|(node, _)| node.0).collect()
}

/// Whether the members of each group that run have a leader, agree with it, and hold no shard too many.
fn settled(sights: &[(u64, Sight)], expected: Option<&Found>, moves: bool) -> Result<(), String> {
    let Some((_, first)) = sights.first() else { return Err("nobody runs".to_string()) };
    for group in first.status.groups.iter().map(|status| status.group) {
        let of_group = |sight: &Sight| sight.status.groups.iter().find(|of| of.group == group).cloned();
        let seen: Vec<(u64, GroupStatus)> =
            sights.iter().filter_map(|(node, sight)| Some((*node, of_group(sight)?))).collect();
        agree(group, &seen)?;
    }
    if let Some(Found { shards: expected, profiles }) = expected {
        // Who is about to leave holds nothing, once everything has found its place. What is left on a node that has left (a copy
        // by one who had not heard of it yet) is out of everybody's reach, and counts for nothing.
        let latest = sights.iter().map(|(_, sight)| &sight.status.topology).max_by_key(|topology| topology.epoch);
        let info = |node: u64| latest.and_then(|topology| topology.nodes.get(&NodeId(node)));
        let sights: Vec<&(u64, Sight)> = sights.iter().filter(|(node, _)| info(*node).is_some()).collect();
        let serves = |node: u64| info(node).is_some_and(|info| !info.draining);
        let held_by = |sight: &Sight| sight.status.drives.iter().map(|(_, usage)| usage.shards).sum::<u64>();
        let held: u64 = sights.iter().map(|(_, sight)| held_by(sight)).sum();
        let undecided: usize = sights.iter().map(|(_, sight)| sight.status.undecided).sum();
        if let Some((node, _)) = sights.iter().find(|(node, sight)| !serves(*node) && held_by(sight) > 0) {
            return Err(format!("node {node} is about to leave, and still holds shards"));
        }
        // A copy that a failed move left beside a shard of the same version goes with the version only.
        let is_exact = if moves { held >= *expected } else { held == *expected };
        if undecided > 0 || !is_exact {
            let each: Vec<(u64, u64)> = sights.iter().map(|(node, sight)| (*node, held_by(sight))).collect();
            return Err(format!(
                "the nodes hold {held} shards ({each:?}), {undecided} versions undecided; all objects have {expected} shards"
            ));
        }
        // CODE-1
        let profile = latest.map(|topology| Profile::for_drives(topology.serving().count()));
        let profile = profile.map(|profile| (profile.data, profile.parity)).filter(|_| moves);
        if let Some(profile) = profile.filter(|profile| profiles.iter().any(|other| other != profile)) {
            return Err(format!("bodies have the profiles {profiles:?}, where the cluster has {profile:?}"));
        }
    }
    Ok(())
}

/// `LIVE-2` and `LIVE-4`, of one group.
fn agree(group: GroupId, seen: &[(u64, GroupStatus)]) -> Result<(), String> {
    let leaders = seen.iter().filter(|(_, status)| status.role == Role::Leader);
    let Some((leader, first)) = leaders.max_by_key(|(_, status)| status.term) else {
        return Err(format!("group {group} has no leader"));
    };
    // LIVE-4
    if !first.outgoing.is_empty() {
        return Err(format!("group {group} is still joint: {first:?}"));
    }
    let is_member = |node: u64| first.voters.contains(&NodeId(node)) || first.learners.contains(&NodeId(node));
    for (node, other) in seen.iter().filter(|(node, _)| is_member(*node)) {
        let members = |of: &GroupStatus| (of.voters.clone(), of.outgoing.clone(), of.learners.clone());
        if members(other) != members(first) {
            return Err(format!("group {group}: node {node} knows {other:?}, its leader {leader} {first:?}"));
        }
        // LIVE-2
        if !other.is_whole {
            return Err(format!("group {group}: node {node} has not got back all of the log that it lost"));
        }
        if other.applied != first.applied {
            let (applied, others) = (other.applied, first.applied);
            return Err(format!("group {group}: node {node} applied {applied}, its leader {leader} {others}"));
        }
    }
    Ok(())
}

/// What a node holds of each group.
fn replicas((node, sight): &(u64, Sight)) -> Vec<Replica> {
    let of_group = |(group, position): &(GroupId, LogPosition)| {
        let rows_hash = sight.rows_hashes.get(group).copied().expect("each group's rows are hashed");
        Replica { node: *node, applied: vec![(*group, *position)], rows_hash }
    };
    sight.applied.iter().map(of_group).collect()
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("plans are short")
}
