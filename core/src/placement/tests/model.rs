//! Clusters, and a dumb model of what is legal in them.

use crate::placement::rendezvous::hash;
use crate::placement::{DriveSpec, PlacementGroup, Table};
use crate::stripe::Profile;
use crate::types::{DriveId, NodeId};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

pub(super) const PROFILES: [Profile; 7] = [
    Profile { data: 1, parity: 0 },
    Profile { data: 1, parity: 1 },
    Profile { data: 2, parity: 1 },
    Profile { data: 2, parity: 2 },
    Profile { data: 3, parity: 2 },
    Profile { data: 4, parity: 2 },
    Profile { data: 8, parity: 4 },
];

/// A drive by its number, however wide that is.
pub(super) fn drive(number: u64) -> DriveId {
    DriveId(number.try_into().expect("the numbers of tests are small"))
}

/// A node in a zone with drives of these weights. Its drives are numbered from eight times its own number.
pub(super) fn node(id: u64, zone: u64, weights: &[u64]) -> Vec<DriveSpec> {
    let spec = |(number, weight): (u64, &u64)| DriveSpec {
        drive: drive(id * 8 + number),
        node: NodeId(id),
        zone: format!("zone-{zone}"),
        weight: *weight,
    };
    (0..).zip(weights).map(spec).collect()
}

/// Nodes that are all alike, in so many zones by turns.
pub(super) fn alike(nodes: u64, zones: u64, weights: &[u64]) -> Vec<DriveSpec> {
    (0..nodes).flat_map(|id| node(id, id % zones, weights)).collect()
}

pub(super) fn without(drives: &[DriveSpec], node: NodeId) -> Vec<DriveSpec> {
    drives.iter().filter(|spec| spec.node != node).cloned().collect()
}

pub(super) fn any_cluster() -> impl Strategy<Value = Vec<DriveSpec>> {
    let any_node = (0u64..4, proptest::collection::vec(1u64..=8, 1..=4));
    proptest::collection::vec(any_node, 1..=20).prop_map(|nodes| {
        (0..).zip(nodes).flat_map(|(id, (zone, weights))| node(id, zone, &weights)).collect::<Vec<DriveSpec>>()
    })
}

pub(super) fn any_profile() -> impl Strategy<Value = Profile> {
    (0..PROFILES.len()).prop_map(|index| PROFILES[index])
}

/// A cluster and a profile that are the same for the same seed: for bounds that are measured and not proven.
pub(super) fn sample(seed: u64) -> (Vec<DriveSpec>, Profile) {
    let draw = |what: u64, below: u64| hash(&[seed, what]) % below;
    let (nodes, zones) = (1 + draw(0, 20), 1 + draw(1, 4));
    let drives = (0..nodes).flat_map(|id| {
        let weights: Vec<u64> = (0..1 + draw(100 + id, 4)).map(|drive| 1 + draw(200 + id * 4 + drive, 8)).collect();
        node(id, id % zones, &weights)
    });
    let profile = usize::try_from(draw(2, PROFILES.len() as u64)).expect("the rest is less than a usize");
    (drives.collect(), PROFILES[profile])
}

/// How many positions of a group each drive, node and zone may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evenness {
    pub(super) node: usize,
    pub(super) zone: usize,
}

/// Deals the positions of one group out one by one, each to the domain that has the fewest and room for one more. The
/// most that a domain gets is what an even spread needs.
fn deal(rooms: Vec<usize>, positions: usize) -> usize {
    let mut dealt = vec![0; rooms.len()];
    for _ in 0..positions {
        let open = (0..rooms.len()).filter(|domain| dealt[*domain] < rooms[*domain]);
        let emptiest = open.min_by_key(|domain| dealt[*domain]).expect("the drives suffice for the positions");
        dealt[emptiest] += 1;
    }
    dealt.into_iter().max().unwrap_or(0)
}

/// The spread that a group must keep in this cluster.
pub(super) fn evenness(drives: &[DriveSpec], profile: Profile) -> Evenness {
    let mut zones: BTreeMap<&str, BTreeMap<NodeId, usize>> = BTreeMap::new();
    for spec in drives {
        *zones.entry(&spec.zone).or_default().entry(spec.node).or_default() += 1;
    }
    let rooms = |node: usize| zones.values().map(move |nodes| nodes.values().map(|drives| node.min(*drives)).sum());
    let zone = deal(rooms(usize::MAX).collect(), profile.total());
    if zone <= usize::from(profile.parity) {
        let room = |node: usize| rooms(node).map(|room: usize| room.min(zone)).sum::<usize>();
        let node = (1..).find(|node| room(*node) >= profile.total()).expect("the drives suffice");
        return Evenness { node, zone };
    }
    let node = deal(zones.values().flat_map(|nodes| nodes.values().copied()).collect(), profile.total());
    Evenness { node, zone: deal(rooms(node).collect(), profile.total()) }
}

/// How many of `group` lie in the fullest node and in the fullest zone. All must be listed.
pub(super) fn fullest(drives: &[DriveSpec], group: &[DriveId]) -> Evenness {
    let (mut nodes, mut zones) = (BTreeMap::new(), BTreeMap::new());
    for drive in group {
        let spec = drives.iter().find(|spec| spec.drive == *drive).expect("only listed drives have positions");
        *nodes.entry(spec.node).or_insert(0) += 1;
        *zones.entry(&spec.zone).or_insert(0) += 1;
    }
    Evenness { node: nodes.into_values().max().unwrap_or(0), zone: zones.into_values().max().unwrap_or(0) }
}

pub(super) fn are_distinct(group: &[DriveId]) -> bool {
    (1..group.len()).all(|end| !group[..end].contains(&group[end]))
}

pub(super) fn groups(table: &Table) -> impl Iterator<Item = &[DriveId]> {
    (0..table.groups()).map(|group| table.drives(PlacementGroup(group)))
}

/// The shards of each drive that has some.
pub(super) fn loads(table: &Table) -> BTreeMap<DriveId, u32> {
    let mut loads = BTreeMap::new();
    for drive in groups(table).flatten() {
        *loads.entry(*drive).or_insert(0) += 1;
    }
    loads
}

/// All positions of a table.
pub(super) fn shards(table: &Table) -> f64 {
    f64::from(table.groups()) * table.profile().total() as f64
}

/// The part of all shards that these drives should have by weight.
pub(super) fn share(of: &[DriveSpec], all: &[DriveSpec]) -> f64 {
    let weight = |drives: &[DriveSpec]| drives.iter().map(|spec| spec.weight as f64).sum::<f64>();
    weight(of) / weight(all)
}
