//! What a node says of itself, for `/status`, the metrics and the checkers.

use super::Node;
use super::request::{GroupStatus, Status};

impl Node {
    /// The node at this moment, as `/status` shows it.
    pub fn status(&self) -> Status {
        let groups = self.groups.iter().map(|(&id, group)| GroupStatus {
            group: id,
            role: group.raft.role(),
            term: group.raft.term(),
            leader: group.raft.leader(),
            commit: group.raft.commit(),
            applied: group.applied.index,
            checkpointed: group.checkpointed,
            voters: group.raft.membership().voters().to_vec(),
            outgoing: group.raft.membership().outgoing().to_vec(),
            learners: group.raft.membership().learners().to_vec(),
            matched: group.raft.matched(),
        });
        Status {
            node: self.config.node,
            groups: groups.collect(),
            drives: self.stores.iter().map(|(&drive, store)| (drive, store.usage())).collect(),
            writes: self.writes.len(),
            opens: self.opens.len(),
            undecided: self.stores.values().map(|store| store.undecided().count()).sum(),
            topology: self.topology.clone(),
            placement: self.placement.as_ref().map_or(0, |placement| placement.epoch),
            doubtful: self.topology.nodes.keys().copied().filter(|node| !self.is_trusted(*node)).collect(),
            moved: self.mover.figures(),
            scrubbed: self.scrub.figures(),
        }
    }
}
