//! What a node says of itself, for `/status`, the metrics and the checkers.

use super::Node;
use super::group::Group;
use super::request::Status;

impl Node {
    /// The node at this moment, as `/status` shows it.
    pub fn status(&self) -> Status {
        Status {
            node: self.config.node,
            groups: self.groups.values().map(Group::status).collect(),
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
