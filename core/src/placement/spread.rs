//! Failure domains: which drives are in which node and zone, and how many positions of a group each may hold.
//!
//! The rule is `PLACE-1`: at most one position to a drive, at most `caps.node` to a node, at most `caps.zone` to a
//! zone. Drives lie in nodes and nodes in zones, so the legal sets form a *laminar matroid*, and two things follow
//! that the rest of placement relies on: every legal choice of fewer positions can be completed, whatever was chosen
//! first, and keeping positions greedily keeps as many as any other way would.
//!
//! The caps are the least that leave room for a whole stripe. Where domains have enough drives this is `k + m` divided
//! by the number of domains, rounded up. The caps of nodes and zones can exclude each other (one zone with one node,
//! the other with nine). Then zones come first if that makes the loss of a zone survivable, else nodes, since a cap
//! that does not save a stripe should not cost the one that does.

use super::{DriveSpec, Infeasible};
use crate::stripe::Profile;
use crate::types::{DriveId, NodeId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

/// A drive, with its domains by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) drive: DriveId,
    pub(super) node: usize,
    pub(super) zone: usize,
    pub(super) weight: u64,
}

/// How many positions of one group a domain may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caps {
    pub(super) node: usize,
    pub(super) zone: usize,
}

/// A node as a failure domain.
#[derive(Clone, Copy, Debug)]
struct Node {
    zone: usize,
    drives: usize,
}

/// The drives that can be used, in ascending order, so that a drive's index means the same in whatever order they came.
#[derive(Debug)]
pub(super) struct Cluster {
    places: Vec<Place>,
    nodes: Vec<Node>,
    zones: usize,
    caps: Caps,
}

impl Cluster {
    pub(super) fn of(mut drives: Vec<&DriveSpec>, profile: Profile) -> Result<Cluster, Infeasible> {
        profile.check().map_err(Infeasible::Profile)?;
        // PLACE-2
        drives.sort_unstable_by_key(|spec| spec.drive);
        if let Some(pair) = drives.windows(2).find(|pair| pair[0].drive == pair[1].drive) {
            return Err(Infeasible::DriveListedTwice(pair[0].drive));
        }
        if drives.len() < profile.total() {
            return Err(Infeasible::TooFewDrives { needed: profile.total(), usable: drives.len() });
        }
        let labels: BTreeSet<&str> = drives.iter().map(|spec| spec.zone.as_str()).collect();
        let zones: BTreeMap<&str, usize> = labels.into_iter().zip(0..).collect();
        let ids: BTreeSet<NodeId> = drives.iter().map(|spec| spec.node).collect();
        let numbers: BTreeMap<NodeId, usize> = ids.into_iter().zip(0..).collect();
        let mut nodes: Vec<Option<Node>> = vec![None; numbers.len()];
        let mut places = Vec::with_capacity(drives.len());
        for spec in drives {
            let (node, zone) = (numbers[&spec.node], zones[spec.zone.as_str()]);
            let known = nodes[node].get_or_insert(Node { zone, drives: 0 });
            if known.zone != zone {
                return Err(Infeasible::NodeInTwoZones(spec.node));
            }
            known.drives += 1;
            places.push(Place { drive: spec.drive, node, zone, weight: spec.weight.max(1) });
        }
        let nodes = nodes.into_iter().flatten().collect();
        let mut cluster = Cluster { places, nodes, zones: zones.len(), caps: Caps { node: 0, zone: 0 } };
        cluster.caps = cluster.least_caps(profile);
        Ok(cluster)
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn zones(&self) -> usize {
        self.zones
    }

    pub(super) fn caps(&self) -> Caps {
        self.caps
    }

    /// The index of a drive, if it can be used.
    pub(super) fn index_of(&self, drive: DriveId) -> Option<usize> {
        self.places.binary_search_by_key(&drive, |place| place.drive).ok()
    }

    /// How many positions of one group find a drive under `caps`.
    fn room(&self, caps: Caps) -> usize {
        let mut zones = vec![0; self.zones];
        for node in &self.nodes {
            zones[node.zone] += node.drives.min(caps.node);
        }
        zones.into_iter().map(|room| room.min(caps.zone)).sum()
    }

    /// The caps of an even spread. There are at least as many drives as positions.
    fn least_caps(&self, profile: Profile) -> Caps {
        let all = profile.total();
        let is_enough = |node, zone| self.room(Caps { node, zone }) >= all;
        let least = |is_enough: &dyn Fn(usize) -> bool| (1..all).find(|cap| is_enough(*cap)).unwrap_or(all);
        let zone = least(&|zone| is_enough(all, zone));
        if zone <= usize::from(profile.parity) {
            return Caps { node: least(&|node| is_enough(node, zone)), zone };
        }
        let node = least(&|node| is_enough(node, all));
        Caps { node, zone: least(&|zone| is_enough(node, zone)) }
    }

    /// How many others of the group are in the node of drive `index`, if it may take the position. Who has the position
    /// does not matter.
    pub(super) fn company(&self, group: &[Option<usize>], position: usize, index: usize) -> Option<usize> {
        // PLACE-1
        let place = self.places[index];
        let (mut in_node, mut in_zone) = (0, 0);
        for (at, other) in group.iter().enumerate() {
            let Some(other) = *other else { continue };
            if at == position {
                continue;
            }
            if other == index {
                return None;
            }
            in_node += usize::from(self.places[other].node == place.node);
            in_zone += usize::from(self.places[other].zone == place.zone);
        }
        (in_node < self.caps.node && in_zone < self.caps.zone).then_some(in_node)
    }

    /// Whether drive `index` may take the position, whoever has it.
    pub(super) fn admits(&self, group: &[Option<usize>], position: usize, index: usize) -> bool {
        self.company(group, position, index).is_some()
    }
}
