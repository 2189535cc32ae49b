//! What members say that no correct node says: dropped where it is understood, and told to people here.
//!
//! The intuition: a peer that is broken, or whose keys were stolen, can send a lie as often as it likes, and an operator needs one
//! line that names it, not a flood. So lies are counted for each sender and kind, and told at the first and whenever their number has
//! doubled.
//!
//! So does a clock that is wrong: nothing depends on clocks that agree, but what expires does so late, and objects have times that
//! nobody believes.
//!
//! - `DISTRUST-1` A lie has a line in the log with the name of its sender, and a million lies have twenty.
//!
//! Not here: what is a lie (`raft`, and whoever decodes), and a member that lies well: nodes are not protected from each
//! other (`docs/failure-model.md`).

use super::Node;
use super::event::Effect;
use crate::raft;
use crate::types::{DriveId, GroupId, NodeId, Time, Trace};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// What a node was caught at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lie {
    /// A message of Raft that no correct replica of the group sends.
    Raft(GroupId),
    /// A message for a group that is not here.
    Group(GroupId),
    /// An order to a drive that is not here. A correct node sends such orders as well, while it knows an older topology.
    Drive(DriveId),
    /// A snapshot that cannot be installed.
    Snapshot(GroupId),
}

impl Lie {
    fn sentence(self) -> String {
        match self {
            Lie::Raft(group) => format!("what no correct replica of group {group} sends; it was ignored"),
            Lie::Group(group) => format!("a message for group {group}, which is not here"),
            Lie::Drive(drive) => format!("an order to drive {drive}, which is not here; it was refused"),
            Lie::Snapshot(group) => format!("a snapshot of group {group} that was refused"),
        }
    }
}

/// How often each node was caught at what.
#[derive(Debug, Default)]
pub(super) struct Distrust {
    counts: BTreeMap<(NodeId, Lie), u64>,
    /// When people were last told that clocks differ.
    clocks_told: Option<Time>,
}

/// Clocks that differ by less are told to nobody: entries take a while from stamp to application, and replicas may lag.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// How often people are told that clocks differ.
const CLOCKS_TOLD: Duration = Duration::from_secs(600);

/// Kinds of lies of all nodes that are counted apart: a liar has as many groups and drives to name as there are numbers.
const KINDS_MAX: usize = 256;

impl Distrust {
    /// The line for the log, if this one deserves one.
    fn note(&mut self, from: NodeId, lie: Lie, why: &str) -> Option<String> {
        let place = (from, lie);
        if !self.counts.contains_key(&place) && self.counts.len() >= KINDS_MAX {
            return None;
        }
        let count = self.counts.entry(place).or_default();
        *count += 1;
        // DISTRUST-1
        count.is_power_of_two().then(|| match *count {
            1 => format!("node {from} sent {}{why}", lie.sentence()),
            count => format!("node {from} sent {}{why} ({count} times so far)", lie.sentence()),
        })
    }
}

impl Node {
    /// Tells people that a node was caught; `why` says more, or nothing.
    pub(super) fn distrust(&mut self, from: NodeId, lie: Lie, why: &str, out: &mut Vec<Effect>) {
        if let Some(line) = self.distrust.note(from, lie, why) {
            out.push(Effect::Trace(Trace::Suspect(line)));
        }
    }

    /// Tells people when the times that members stamp lie ahead of the clock here: one of the clocks is wrong.
    pub(super) fn compare_clocks(&mut self, id: GroupId, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.get(&id) else { return };
        let ahead = group.clock.ahead(self.now);
        let is_told = self.distrust.clocks_told.is_some_and(|told| self.now.time < told.after(CLOCKS_TOLD));
        if ahead > CLOCKS_APART_MAX && !is_told {
            self.distrust.clocks_told = Some(self.now.time);
            let line = format!(
                "the cluster's time is {} s ahead of the clock of this node: this clock is wrong, or that of another node is or was",
                ahead.as_secs()
            );
            out.push(Effect::Trace(Trace::Suspect(line)));
        }
    }

    /// The state store does not take the snapshot that the leader sent. The replica stays as it is.
    pub(super) fn on_snapshot_refused(&mut self, id: GroupId, why: &str, out: &mut Vec<Effect>) {
        let mut outputs = Vec::new();
        let group = self.groups.get_mut(&id).expect("only groups of this node are installed");
        let leader = group.raft.leader();
        group.on_install_refused(&mut outputs);
        self.on_outputs(id, outputs, out);
        self.step_group(id, raft::Event::SnapshotRefused, out);
        self.distrust(leader.unwrap_or(self.config.node), Lie::Snapshot(id), &format!(": {why}"), out);
    }

    /// A replica speaks to that of its group here.
    pub(super) fn on_raft(&mut self, from: NodeId, group: GroupId, message: raft::Message, out: &mut Vec<Effect>) {
        let Some(known) = self.groups.get(&group) else {
            self.distrust(from, Lie::Group(group), "", out);
            return;
        };
        let before = known.raft.suspect_messages();
        self.step_group(group, raft::Event::Receive { from, message }, out);
        if self.groups.get(&group).is_some_and(|known| known.raft.suspect_messages() > before) {
            self.distrust(from, Lie::Raft(group), "", out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_is_named_and_does_not_fill_the_log() {
        let mut distrust = Distrust::default();
        let lie = Lie::Raft(GroupId::REGION);
        let lines: Vec<_> = (0..1_000_000).filter_map(|_| distrust.note(NodeId(7), lie, ": so")).collect();
        assert_eq!(lines.len(), 20);
        assert_eq!(lines[0], format!("node {} sent {}: so", NodeId(7), lie.sentence()));
        assert!(lines[19].ends_with("(524288 times so far)"), "{}", lines[19]);
        assert!(distrust.note(NodeId(7), Lie::Group(GroupId(9)), "").is_some(), "another lie is another line");
        assert!(distrust.note(NodeId(8), lie, "").is_some(), "and so is another liar");
        let named = (0..100_000).filter_map(|drive| distrust.note(NodeId(7), Lie::Drive(DriveId(drive)), "")).count();
        assert!(named < KINDS_MAX && distrust.counts.len() == KINDS_MAX, "{named}");
    }
}
