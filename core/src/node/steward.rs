//! What a leader does by itself for its group: brings nodes of the topology in, chooses who votes, and lets go of those who left.
//!
//! The topology says who belongs; from that each group's members follow. A new node learns first; the steward makes it a voter
//! when the group should have more of them and it has caught up. Voters are spread over zones. One that is silent for long is
//! replaced by a node that is not, since a group that waits for the dead has no reserve left.
//!
//! - `STEWARD-1` It only asks for changes, by the same door as an operator; what may be done and when is the group's own rule
//!   (`RAFT-15`), so a steward that knows an old topology can be wrong and cannot do harm.
//! - `STEWARD-2` Nobody is replaced unless enough others are alive: a wish that cannot be fulfilled changes nothing.
//! - `STEWARD-3` Nobody is made to leave by a topology that *global* has not confirmed within seconds: a node that has just
//!   started may know an old one, or only itself.
//!
//! The leader of *global* also founds the cluster and proposes placements.

use super::Node;
use super::clients::Proposer;
use super::cluster::profile_for;
use super::event::Effect;
use crate::placement;
use crate::raft::{self, Change};
use crate::state::{ClusterOperation, Operation};
use crate::topology::{DriveInfo, Topology};
use crate::types::{GroupId, Membership, NodeId, RequestId, Trace};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

impl Node {
    pub(super) fn keep_members(&mut self, out: &mut Vec<Effect>) {
        let Some(interval) = self.config.steward_interval else { return };
        if self.now.time < self.steward_due {
            return;
        }
        self.steward_due = self.now.time.after(interval);
        self.confirm_topology(out);
        self.keep_address(out);
        self.keep_drives(out);
        let led: Vec<GroupId> = self.groups.keys().copied().filter(|group| self.leads(*group)).collect();
        for group in led {
            if group == GroupId::GLOBAL {
                self.keep_cluster(out);
            }
            // STEWARD-3
            if !self.knows_topology_well() {
                continue;
            }
            let raft = &self.groups[&group].raft;
            let silent: BTreeSet<NodeId> = raft.silent(self.now.time, self.config.voter_patience).collect();
            // STEWARD-1
            if let Some(change) = wanted(&self.topology, raft.membership(), &silent) {
                let id = RequestId(self.fresh_id());
                self.proposals.insert(id, Proposer::Steward);
                self.step_group(group, raft::Event::Change { id, change }, out);
            }
        }
    }

    /// The node may have been started with another address than the cluster knows.
    fn keep_address(&mut self, out: &mut Vec<Effect>) {
        let (node, address) = (self.config.node, &self.config.address);
        let known = self.topology.nodes.get(&node).map(|info| &info.address);
        if self.topology.epoch > 0 && !address.is_empty() && known.is_some_and(|known| known != address) {
            let address = address.clone();
            self.propose_cluster(ClusterOperation::SetAddress { node, address }, out);
        }
    }

    /// The node may have been started with more drives than the cluster knows, or without some that are lost. One whose number another node has is left alone: it
    /// holds nothing.
    fn keep_drives(&mut self, out: &mut Vec<Effect>) {
        let node = self.config.node;
        if !self.topology.nodes.contains_key(&node) || self.topology.epoch == 0 {
            return;
        }
        let is_new = |drive: &&DriveInfo| drive.drive.0 >= self.topology.next_drive;
        let drives: Vec<DriveInfo> = self.config.drives.iter().filter(is_new).copied().collect();
        if !drives.is_empty() {
            self.propose_cluster(ClusterOperation::AddDrives { node, drives }, out);
        }
        for drive in self.config.lost.clone() {
            if self.topology.home_of(drive) == Some(node) && !self.stores.contains_key(&drive) {
                self.propose_cluster(ClusterOperation::RemoveDrive { drive, force: true }, out);
            }
        }
    }

    /// Founds the cluster, and solves the placement of a topology that has none.
    fn keep_cluster(&mut self, out: &mut Vec<Effect>) {
        if self.refreshing {
            return;
        }
        if self.topology.epoch == 0 {
            let nodes = self.topology.nodes.iter().map(|(node, info)| (*node, info.clone())).collect();
            self.propose_cluster(ClusterOperation::Found { nodes }, out);
            return;
        }
        let placement = self.placement.as_ref();
        if placement.is_some_and(|placement| placement.topology == self.topology.epoch) {
            return;
        }
        let (base, old) = placement.map_or((0, None), |placement| (placement.epoch, Some(&placement.table)));
        let solved = profile_for(&self.topology, &|_| true).and_then(|profile| {
            let table = placement::solve(old, &self.specs, profile)?;
            Ok((profile, table))
        });
        match solved {
            Ok((profile, table)) => {
                let (topology, table) = (self.topology.epoch, table.encode().into());
                self.propose_cluster(ClusterOperation::SetPlacement { base, topology, profile, table }, out);
            }
            Err(why) => out.push(Effect::Trace(Trace::Suspect(format!("no placement: {why}")))),
        }
    }

    fn propose_cluster(&mut self, operation: ClusterOperation, out: &mut Vec<Effect>) {
        self.propose(GroupId::GLOBAL, None, Operation::Cluster(operation), Proposer::Steward, out);
    }
}

/// The next change that brings a group's members to what the topology asks for. `None` when there is nothing to do, or
/// nothing that can be done now.
fn wanted(topology: &Topology, membership: &Membership, silent: &BTreeSet<NodeId>) -> Option<Change> {
    if membership.is_joint() || topology.nodes.is_empty() {
        return None;
    }
    if let Some(node) = topology.nodes.keys().find(|node| !membership.contains(**node)) {
        return Some(Change::AddLearner(*node));
    }
    let voters = choose_voters(topology, membership, silent);
    if !voters.is_empty() && !voters.iter().eq(membership.voters()) {
        return Some(Change::SetVoters(voters));
    }
    let gone = membership.learners().iter().find(|node| !topology.nodes.contains_key(*node));
    gone.map(|node| Change::RemoveLearner(*node))
}

/// Three voters, or five once there are as many nodes; with two nodes both, so that each holds what is acknowledged.
fn voters_for(nodes: usize) -> usize {
    match nodes {
        0..=2 => nodes,
        3 | 4 => 3,
        5.. => 5,
    }
}

fn choose_voters(topology: &Topology, membership: &Membership, silent: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let count = voters_for(topology.serving().count());
    let mut candidates: Vec<(NodeId, String)> =
        topology.serving().map(|(node, info)| (node, info.zone.to_string())).collect();
    let mut in_zone: BTreeMap<String, usize> = BTreeMap::new();
    let mut chosen = BTreeSet::new();
    while chosen.len() < count {
        let best = candidates.iter().enumerate().min_by_key(|(_, (node, zone))| {
            let is_silent = silent.contains(node);
            let crowd = in_zone.get(zone).copied().unwrap_or(0);
            (is_silent, crowd, !membership.is_voter(*node), *node)
        });
        let Some((at, _)) = best else { break };
        let (node, zone) = candidates.remove(at);
        *in_zone.entry(zone).or_default() += 1;
        chosen.insert(node);
    }
    // STEWARD-2
    let alive = chosen.iter().filter(|node| !silent.contains(*node)).count();
    let keeps = membership.voters().iter().filter(|node| !silent.contains(*node)).count();
    if alive >= keeps.min(count) { chosen } else { BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::NodeInfo;
    use alloc::vec;

    fn topology(nodes: &[(u64, &str)]) -> Topology {
        let info = |name: u64, zone: &str| NodeInfo {
            name: format!("n{name}"),
            zone: zone.to_string(),
            address: String::new(),
            key: [0; 32],
            drives: Vec::new(),
            draining: false,
        };
        let nodes = nodes.iter().map(|(node, zone)| (NodeId(*node), info(*node, zone))).collect();
        Topology { epoch: 1, next_drive: 0, nodes, leaving: BTreeSet::new() }
    }

    fn members(voters: &[u64], learners: &[u64]) -> Membership {
        let voters: Vec<NodeId> = voters.iter().map(|node| NodeId(*node)).collect();
        learners.iter().fold(Membership::of(&voters), |membership, node| {
            membership.with_learner(NodeId(*node)).expect("it is new")
        })
    }

    fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().map(|node| NodeId(*node)).collect()
    }

    #[test]
    fn a_new_node_learns_before_it_votes() {
        let three = topology(&[(1, ""), (2, ""), (3, "")]);
        assert_eq!(wanted(&three, &members(&[1], &[]), &set(&[])), Some(Change::AddLearner(NodeId(2))));
        assert_eq!(wanted(&three, &members(&[1], &[2]), &set(&[])), Some(Change::AddLearner(NodeId(3))));
        assert_eq!(wanted(&three, &members(&[1], &[2, 3]), &set(&[])), Some(Change::SetVoters(set(&[1, 2, 3]))));
        assert_eq!(wanted(&three, &members(&[1, 2, 3], &[]), &set(&[])), None);
    }

    #[test]
    fn voters_are_spread_over_zones() {
        let six = topology(&[(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b"), (6, "c")]);
        let voters = choose_voters(&six, &members(&[1, 2, 3], &[4, 5, 6]), &set(&[]));
        assert_eq!(voters, set(&[1, 2, 4, 5, 6]));
    }

    #[test]
    fn who_is_silent_is_replaced_by_who_is_not() {
        let four = topology(&[(1, ""), (2, ""), (3, ""), (4, "")]);
        let now = members(&[1, 2, 3], &[4]);
        assert_eq!(wanted(&four, &now, &set(&[3])), Some(Change::SetVoters(set(&[1, 2, 4]))));
        // STEWARD-2: there is nobody better.
        let three = topology(&[(1, ""), (2, ""), (3, "")]);
        assert_eq!(wanted(&three, &members(&[1, 2, 3], &[]), &set(&[3])), None);
    }

    #[test]
    fn who_left_votes_no_more_and_is_let_go() {
        let two = topology(&[(1, ""), (2, "")]);
        assert_eq!(wanted(&two, &members(&[1, 2, 3], &[]), &set(&[3])), Some(Change::SetVoters(set(&[1, 2]))));
        assert_eq!(wanted(&two, &members(&[1, 2], &[3]), &set(&[])), Some(Change::RemoveLearner(NodeId(3))));
        let mut draining = topology(&[(1, ""), (2, ""), (3, ""), (4, "")]);
        draining.nodes.get_mut(&NodeId(1)).expect("it is there").draining = true;
        let voters = vec![Change::SetVoters(set(&[2, 3, 4]))];
        assert_eq!(wanted(&draining, &members(&[1, 2, 3], &[4]), &set(&[])), voters.into_iter().next());
    }
}
