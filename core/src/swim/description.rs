//! What a node says of itself, small enough to ride on a ping.
//!
//! It informs: placement and scheduling may prefer a node for it, and nothing that must be right may depend on it. A
//! description of a node is replaced as a whole by a newer one, that is, by one of a higher incarnation.
//!
//! - `DESCRIBE-1`: a description has at most [`DRIVES_MAX`] drives and [`CAPABILITIES_MAX`] capabilities of at most
//!   [`CAPABILITY_BYTES_MAX`] bytes each, every one once and in order. So two that say the same are equal.

use crate::types::DriveId;
use alloc::string::String;
use alloc::vec::Vec;

/// Most drives in a description.
pub const DRIVES_MAX: usize = 64;

/// Most capabilities in a description.
pub const CAPABILITIES_MAX: usize = 16;

/// Most bytes of a capability's name.
pub const CAPABILITY_BYTES_MAX: usize = 32;

/// What a node says of itself. Empty until it says something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    load: u32,
    drives: Vec<DriveSpace>,
    capabilities: Vec<String>,
}

/// The room on a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriveSpace {
    /// Which drive of the node.
    pub drive: DriveId,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes in all. At least those that are free.
    pub total_bytes: u64,
}

impl Description {
    /// A description, or `None` when there is too much of something, a drive or a capability comes twice, a capability has
    /// no name, or a drive has more free than it has (`DESCRIBE-1`). `load` is in thousandths of what the node can do,
    /// and may exceed 1,000.
    #[must_use]
    pub fn new(load: u32, mut drives: Vec<DriveSpace>, mut capabilities: Vec<String>) -> Option<Description> {
        drives.sort_unstable();
        capabilities.sort_unstable();
        // DESCRIBE-1
        let is_whole = drives.len() <= DRIVES_MAX
            && drives.windows(2).all(|pair| pair[0].drive < pair[1].drive)
            && drives.iter().all(|space| space.free_bytes <= space.total_bytes)
            && capabilities.len() <= CAPABILITIES_MAX
            && capabilities.windows(2).all(|pair| pair[0] < pair[1])
            && capabilities.iter().all(|name| (1..=CAPABILITY_BYTES_MAX).contains(&name.len()));
        is_whole.then_some(Description { load, drives, capabilities })
    }

    /// How busy the node is, in thousandths.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.load
    }

    /// Its drives, by their ids.
    #[must_use]
    pub fn drives(&self) -> &[DriveSpace] {
        &self.drives
    }

    /// What it can do beyond storing, in alphabetical order.
    #[must_use]
    pub fn capabilities(&self) -> &[String] {
        &self.capabilities
    }
}
