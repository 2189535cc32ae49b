//! Which drives hold the shards of a body: a table that every node knows, and the pure rules that make the next one.
//!
//! Bodies fall into *placement groups* by a hash of their version's id, and the table gives a group one drive for each
//! position of its stripes. A shard knows its position, so a drive that changes its position has its shards rewritten
//! as surely as one that is replaced. That is why nothing here ranks drives anew: [`solve`] starts from the old table,
//! keeps every position that may stay, fills the holes and moves only what balance asks for. [`choose`] turns the
//! table into the drives of one new body when some of them are down.
//!
//! - `PLACE-1`: the positions of a group lie on distinct drives, and no node and no zone holds more of them than an
//!   even spread needs (`spread`). Weights never override this.
//! - `PLACE-2`: the same drives give the same table, in whatever order they are listed.
//! - `PLACE-3`: a position keeps its drive unless `PLACE-1` forbids that or balance gains a whole shard by the move.
//! - `PLACE-4`: the group of a version changes only when groups are split, and then to one that began as a copy.
//! - `PLACE-5`: hashes and bytes are the same in every build (`docs/formats/placement.md`).
//!
//! Source: DESIGN §6. Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998 (rendezvous
//! hash). Not here: when a table comes into force, and who carries shards from drive to drive.

use crate::stripe::ProfileError;
use crate::types::{DriveId, NodeId};
use alloc::string::String;
use core::fmt;

mod balance;
mod choose;
mod rendezvous;
mod solve;
mod spread;
mod table;
mod target;

pub use choose::choose;
pub use solve::solve;
pub use table::{GROUPS_MAX, GROUPS_MIN, Move, PlacementGroup, Table, moves};

/// A drive that may hold shards. One that is being drained is simply not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveSpec {
    /// The drive.
    pub drive: DriveId,
    /// The node that it is in.
    pub node: NodeId,
    /// The label of the node's zone: a rack, a room, whatever fails as one.
    pub zone: String,
    /// Its share of the shards relative to the others', such as its capacity in GiB. 0 counts as 1.
    pub weight: u64,
}

/// Why shards cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Infeasible {
    /// Fewer drives than a stripe has shards.
    TooFewDrives { needed: usize, usable: usize },
    /// Two entries of the list name one drive.
    DriveListedTwice(DriveId),
    /// The drives of one node claim different zones.
    NodeInTwoZones(NodeId),
    /// Stripes cannot be cut this way at all.
    Profile(ProfileError),
}

impl fmt::Display for Infeasible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Infeasible::TooFewDrives { needed, usable } => write!(
                f,
                "a stripe of {needed} shards needs {needed} drives and {usable} can be used: add {} or bring them back, \
                 or choose a profile with fewer shards",
                needed.saturating_sub(*usable)
            ),
            Infeasible::DriveListedTwice(drive) => {
                write!(f, "drive {drive} is listed twice: its shards would count as two failure domains")
            }
            Infeasible::NodeInTwoZones(node) => {
                write!(f, "the drives of node {node} are in different zones: give all of them the node's zone")
            }
            Infeasible::Profile(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Infeasible {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Infeasible::Profile(error) => Some(error),
            Infeasible::TooFewDrives { .. } | Infeasible::DriveListedTwice(_) | Infeasible::NodeInTwoZones(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
