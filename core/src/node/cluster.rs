//! The cluster as this node knows it: who belongs, where each drive is, and which drives a new body gets.
//!
//! The group *global* commits the topology and the placement. Whenever it has applied something, the node reads both again;
//! between, it decides by what it knows, which may be old: a body names its drives itself, so an old placement costs balance
//! and never a byte.
//!
//! - `CLUSTER-3` A body has `k + m` drives in as many failure domains as there are, all of which were believed to be alive.
//! - `CLUSTER-4` No body is placed by a topology that was not confirmed within half the life of a preparation, nor by one that
//!   this process has not confirmed at all: what a node finds in its state store when it starts may be long out of date.
//!
//! Not here: who votes (`steward`), and moving what stands where it should not.

use super::Node;
use super::clients::{Asker, Work};
use super::event::Effect;
use super::peer::{Members, PeerMessage};
use crate::placement::{self, DriveSpec, Infeasible, Table};
use crate::planted::planted;
use crate::state::{PlacementRow, Query, QueryAnswer};
use crate::stripe::Profile;
use crate::swim::{self, Health, Swim};
use crate::topology::{NodeInfo, Topology};
use crate::types::{DriveId, GroupId, NodeId, Time, Trace, VersionId};
use alloc::format;
use alloc::vec::Vec;

/// The placement in force.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) epoch: u64,
    /// The topology that it was solved for.
    pub(super) topology: u64,
    pub(super) profile: Profile,
    pub(super) table: Table,
}

impl Placement {
    /// `None` when the bytes are no table: then bodies are placed without one.
    pub(super) fn open(row: &PlacementRow) -> Option<Placement> {
        let (epoch, topology, profile) = (row.epoch, row.topology, row.profile);
        Some(Placement { epoch, topology, profile, table: Table::decode(&row.table)? })
    }
}

impl Node {
    /// Asks the state store for what *global* has applied. Not a client's question: no leader is needed.
    pub(super) fn refresh_topology(&mut self, out: &mut Vec<Effect>) {
        if core::mem::replace(&mut self.refreshing, true) {
            self.refresh_again = true;
            return;
        }
        let work = self.begin_work(Work::Topology);
        out.push(Effect::Query { work, group: GroupId::GLOBAL, query: Query::Topology });
    }

    /// Asks the group for what it has committed, now and then: more often while this node leads, from the moment it does.
    pub(super) fn confirm_topology(&mut self, out: &mut Vec<Effect>) {
        let leads = self.groups.keys().any(|group| self.leads(*group));
        let pause = self.config.steward_interval.filter(|_| leads).map(|interval| interval * 5);
        let pause = pause.unwrap_or(self.config.prepare_ttl / 8);
        let is_due = self.confirmed_at.is_none_or(|at| self.now.time >= at.after(pause));
        if self.confirming.is_none() && is_due {
            self.confirming = Some(self.now.time);
            self.ask(GroupId::GLOBAL, Query::Topology, Asker::Topology, out);
        }
    }

    /// The group answered, or did not.
    pub(super) fn end_confirm(&mut self, answer: Option<QueryAnswer>, out: &mut Vec<Effect>) {
        let asked_at = self.confirming.take();
        if let Some(answer) = answer {
            self.confirmed_at = asked_at;
            self.take_topology(answer, out);
        }
    }

    /// `STEWARD-3`
    pub(super) fn knows_topology_well(&self) -> bool {
        let patience = self.config.steward_interval.unwrap_or_default() * 20;
        self.topology.epoch > 0 && self.confirmed_at.is_some_and(|at| self.now.time < at.after(patience))
    }

    /// `CLUSTER-4`. Where nobody looks after the cluster it does not change.
    pub(super) fn is_topology_confirmed(&self) -> bool {
        let is_recent = |at: Time| self.now.time < at.after(self.config.prepare_ttl / 2);
        let planted = planted!(self.config.planted, StaleTopology);
        planted || self.config.steward_interval.is_none() || self.confirmed_at.is_some_and(is_recent)
    }

    pub(super) fn on_topology(&mut self, answer: QueryAnswer, out: &mut Vec<Effect>) {
        self.refreshing = false;
        self.take_topology(answer, out);
        if core::mem::take(&mut self.refresh_again) {
            self.refresh_topology(out);
        }
    }

    fn take_topology(&mut self, answer: QueryAnswer, out: &mut Vec<Effect>) {
        let QueryAnswer::Topology { topology, placement } = answer else {
            panic!("the topology was asked for, and the answer was {answer:?}")
        };
        // Two questions may be under way, and the older answer come last.
        if topology.epoch < self.topology.epoch {
            return;
        }
        self.placement = placement.as_ref().and_then(Placement::open);
        if !topology.nodes.is_empty() && topology != self.topology {
            self.set_topology(topology, out);
            self.greeted.clear();
            out.push(Effect::Members(Members::of(&self.topology)));
        }
    }

    pub(super) fn set_topology(&mut self, topology: Topology, out: &mut Vec<Effect>) {
        let homes = topology.nodes.iter().flat_map(|(node, info)| info.drives.iter().map(|drive| (drive.drive, *node)));
        self.homes = homes.collect();
        self.specs = drive_specs(&topology);
        self.doubtful.retain(|node| topology.nodes.contains_key(node));
        self.topology = topology;
        for drive in self.stores.keys().filter(|drive| self.homes.get(drive).is_some_and(|of| *of != self.config.node))
        {
            let note = format!(
                "drive {drive} of this node has the number of another node's drive, and stays empty: stop the node, remove the \
                 drive's directory, and start it again with an empty one"
            );
            out.push(Effect::Trace(Trace::Suspect(note)));
        }
        self.step_swim(swim::Event::Members(self.topology.nodes.keys().copied().collect()), out);
    }

    /// Tells a node that is heard again who belongs: it may have been away while its new leader joined.
    pub(super) fn greet(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if self.greeted.insert(node) && self.topology.epoch > 0 {
            let members = Members::of(&self.topology);
            out.push(Effect::Send { to: node, message: PeerMessage::Members(members) });
        }
    }

    pub(super) fn step_swim(&mut self, event: swim::Event, out: &mut Vec<Effect>) {
        let Some(swim) = &mut self.swim else { return };
        let mut effects = Vec::new();
        swim.step(self.now.time, event, &mut effects);
        for effect in effects {
            match effect {
                swim::Effect::Send { to, message } => {
                    out.push(Effect::Send { to, message: PeerMessage::Swim(message) });
                }
                swim::Effect::Became { node, health } => self.on_health(node, health, out),
            }
        }
    }

    /// What is believed of a node has changed. Who is thought dead answers nothing that was asked of it.
    fn on_health(&mut self, node: NodeId, health: Health, out: &mut Vec<Effect>) {
        out.push(Effect::Trace(Trace::Note(format!("node {node} is {health:?}"))));
        match health {
            Health::Dead | Health::Left => self.on_peer_lost(node, out),
            Health::Alive | Health::Suspect => {}
        }
    }

    /// Whether a node is believed to be alive.
    pub(super) fn is_trusted(&self, node: NodeId) -> bool {
        let is_well = |swim: &Swim| swim.health(node) == Health::Alive;
        node == self.config.node || (!self.doubtful.contains(&node) && self.swim.as_ref().is_none_or(is_well))
    }

    /// Whether a drive is believed to answer.
    pub(super) fn is_drive_trusted(&self, drive: DriveId) -> bool {
        match self.homes.get(&drive) {
            Some(node) if *node == self.config.node => self.stores.contains_key(&drive),
            Some(node) => self.is_trusted(*node),
            None => self.stores.contains_key(&drive),
        }
    }

    /// `CLUSTER-3`: how a new body is cut, and its drives in position order.
    pub(super) fn place(&self, version: VersionId) -> Result<(Profile, Vec<DriveId>), Infeasible> {
        let profile = profile_for(&self.topology, &|node| self.is_trusted(node))?;
        let alive = |drive| self.is_drive_trusted(drive);
        let table = self.placement.as_ref().filter(|placement| placement.profile == profile);
        let table = table.map(|placement| &placement.table);
        let mut drives = placement::choose(table, version, &alive, &self.specs, profile)?;
        if planted!(self.config.planted, TwoShardsInOneDomain) {
            let home = |drive: DriveId| self.homes.get(&drive).copied();
            let sibling = self.specs.iter().find(|spec| spec.drive != drives[0] && home(spec.drive) == home(drives[0]));
            if let (Some(sibling), Some(second)) = (sibling, drives.get_mut(1)) {
                *second = sibling.drive;
            }
        }
        Ok((profile, drives))
    }
}

/// The drives that may get shards.
fn drive_specs(topology: &Topology) -> Vec<DriveSpec> {
    let specs = topology.serving().flat_map(|(node, info): (NodeId, &NodeInfo)| {
        let zone = info.zone.clone();
        topology.serving_drives(info).map(move |known| DriveSpec {
            drive: known.drive,
            node,
            zone: zone.clone(),
            weight: known.weight,
        })
    });
    specs.collect()
}

/// The profile of a new body: by the nodes that belong, or on a lone node by its drives (DESIGN section 6). While some of them
/// are down there are fewer data shards and as many of parity, so that what is acknowledged survives as much as ever.
pub(super) fn profile_for(topology: &Topology, alive: &dyn Fn(NodeId) -> bool) -> Result<Profile, Infeasible> {
    let mut serving = topology.serving();
    let (all, up) = match (serving.next(), serving.next()) {
        (Some((_, info)), None) => {
            let drives = topology.serving_drives(info).count();
            (drives, drives)
        }
        _ => (topology.serving().count(), topology.serving().filter(|(node, _)| alive(*node)).count()),
    };
    let whole = Profile::for_drives(all);
    let data = up.saturating_sub(usize::from(whole.parity)).min(usize::from(whole.data));
    match u8::try_from(data) {
        Ok(data) if data > 0 => Ok(Profile { data, parity: whole.parity }),
        Ok(_) | Err(_) => Err(Infeasible::TooFewDrives { needed: usize::from(whole.parity) + 1, usable: up }),
    }
}
