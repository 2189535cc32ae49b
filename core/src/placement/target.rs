//! How many shards each drive should hold: in proportion to its weight, as far as the spread allows.
//!
//! A node with half of the capacity of a cluster cannot have half of the shards when a group may put only one there.
//! So the level of all drives rises together, each in proportion to its weight, until a drive, a node or a zone is
//! full; its drives stop there and the rest go on. This is weighted max-min fairness, and what it gives can always be
//! met.
//!
//! Source: Bertsekas and Gallager, "Data networks", §6.5.2 (progressive filling).

use super::spread::Cluster;
use alloc::vec;
use alloc::vec::Vec;

/// One shard. Targets are fixed-point numbers: fractions matter for fairness, and floats may differ between machines.
pub(super) const SHARD: i64 = 1 << 16;

/// Some drives, and how much they may hold together.
struct Bound {
    drives: Vec<usize>,
    cap: u128,
}

/// The target of each drive in units of [`SHARD`], for `groups` groups of `total` positions.
///
/// Costs drives squared when every drive is full before the next, which takes weights of a wild range.
pub(super) fn targets(cluster: &Cluster, groups: usize, total: usize) -> Vec<i64> {
    let places = cluster.places();
    let bounds = bounds(cluster, groups, total);
    let mut targets: Vec<Option<u128>> = vec![None; places.len()];
    loop {
        // How far the level may still rise is what a bound has left over the weight of those of its drives that rise.
        let tightest = bounds.iter().filter_map(|bound| {
            let held: u128 = bound.drives.iter().filter_map(|drive| targets[*drive]).sum();
            let rising = bound.drives.iter().filter(|drive| targets[**drive].is_none());
            let weight: u128 = rising.map(|drive| u128::from(places[*drive].weight)).sum();
            (weight > 0).then(|| (bound.cap.saturating_sub(held), weight, bound))
        });
        let tightest = tightest.min_by(|(left, weight, _), (other_left, other_weight, _)| {
            (left * other_weight).cmp(&(other_left * weight))
        });
        let Some((left, weight, bound)) = tightest else { break };
        for drive in &bound.drives {
            targets[*drive].get_or_insert(left * u128::from(places[*drive].weight) / weight);
        }
    }
    let whole = |target: Option<u128>| i64::try_from(target.unwrap_or(0)).expect("no more than all shards of a table");
    targets.into_iter().map(whole).collect()
}

/// All shards over all drives, then each zone, node and drive with what a group may put there, as often as there are
/// groups.
fn bounds(cluster: &Cluster, groups: usize, total: usize) -> Vec<Bound> {
    let scaled = |shards: usize| (shards * groups) as u128 * SHARD.unsigned_abs() as u128;
    let domain = |cap: usize| Bound { drives: Vec::new(), cap: scaled(cap) };
    let mut zones: Vec<Bound> = (0..cluster.zones()).map(|_| domain(cluster.caps().zone)).collect();
    let mut nodes: Vec<Bound> = (0..cluster.nodes()).map(|_| domain(cluster.caps().node)).collect();
    let mut drives = vec![Bound { drives: (0..cluster.places().len()).collect(), cap: scaled(total) }];
    for (index, place) in cluster.places().iter().enumerate() {
        zones[place.zone].drives.push(index);
        nodes[place.node].drives.push(index);
        drives.push(Bound { drives: vec![index], cap: scaled(1) });
    }
    drives.append(&mut nodes);
    drives.append(&mut zones);
    drives
}
