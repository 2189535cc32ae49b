//! One durable log for all Raft groups of a node.
//!
//! Raft's promises hold only if what a node said it remembers survives a crash. All groups share one log, so that one
//! sync makes the work of all of them durable: requests that arrive while a batch is on its way are gathered into the
//! next one. The hard part is not writing but reading back: a crash may leave the last batch half written, which is
//! harmless, and a drive may damage what was synced, which is not, and the two must never be confused. Therefore each
//! 512-byte sector of a batch carries a seal that is never zero, and fresh segments are all zero: a batch that shows
//! an unwritten sector was never synced, so nobody was told that it is durable, and it may be cut. Anything else that
//! fails its checksum is damage to acknowledged data and is reported, never cut.
//!
//! - `LOG-1` A request is answered only after the sync of the batch that holds it.
//! - `LOG-2` One batch is in flight at a time: it is written only after the one before it is synced. So only the very
//!   last batch can be torn.
//! - `LOG-3` A batch is recovered whole or not at all, and so is each request, for a request is never split.
//! - `LOG-4` A sector of a batch is never all zero, and no bytes of a client can look like a sealed sector.
//! - `LOG-5` Recovery cuts a batch only if one of its sectors is unwritten and nothing was written after it. All else
//!   that does not verify is an error that names the file and the offset.
//! - `LOG-6` What is left of a cut batch is gone, durably, before the next batch is written.
//! - `LOG-7` A block of 4096 bytes that holds a synced batch is never written again.
//! - `LOG-8` Segments are removed oldest first, one at a time, and only when no group needs an entry in them and the
//!   records that made them superfluous are durable.
//! - `LOG-9` After a failed disk order the log orders and answers nothing.
//! - `LOG-10` A segment is made only when the one before it holds a synced batch. So at most one segment, the last, is
//!   without one, and a crash in its making or its first batch leaves nothing that anyone was told of.
//!
//! Sources: the torn tail against damage is the problem of "crash-corruption disentanglement" in Alagappan et al.,
//! *Protocol-Aware Recovery for Consensus-Based Storage* (FAST 2018); that drives tear at sectors, and lose unsynced
//! writes in any order, is measured in Pillai et al., *All File Systems Are Not Created Equal* (OSDI 2014).
//!
//! Not here: what entries mean and when they are cut (`raft`), and reading the segment files and carrying out the
//! orders (the runtime). The bytes are described in `docs/formats/log.md`.

mod batch;
mod codec;
mod error;
mod group;
mod hard_states;
mod machine;
mod record;
mod recover;
mod request;
mod segment;
#[cfg(test)]
mod tests;

pub use error::{Damage, RecoverError};
pub use hard_states::{CopyEffect, HardStates};
pub use machine::Log;

use crate::disk::{DiskError, DiskOrder, DiskOutcome, OpId};
use crate::planted::Planted;
use crate::types::{Entries, GroupId, HardState, LogPosition, NodeId, PersistId};
use alloc::collections::BTreeMap;

/// How the log behaves, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Written into each segment; a segment of another cluster is refused.
    pub cluster: u128,
    /// Written into each segment; a segment of another node is refused.
    pub node: NodeId,
    /// Bytes preallocated for a segment. A multiple of the block size, 4096.
    pub segment_size: u64,
    /// Planted bugs, all off in production.
    pub planted: Planted,
}

/// A fact for the log.
#[derive(Clone, Debug)]
pub enum Event {
    /// Make durable, together and after everything appended before. See `raft::Effect::Persist`.
    Append { group: GroupId, id: PersistId, hard_state: Option<HardState>, entries: Entries },
    /// Entries of the group up to `base` are no longer needed. Needs no answer.
    Cut { group: GroupId, base: LogPosition },
    /// The group's log restarts after `base`; see `raft::Effect::Reset`. Answered by `Persisted`.
    Reset { group: GroupId, id: PersistId, base: LogPosition },
    /// A disk order ended.
    Disk { op: OpId, outcome: DiskOutcome },
}

/// An order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An order to drive 0.
    Disk { op: OpId, order: DiskOrder },
    /// The request of this id, and all before it of the group, are durable.
    Persisted { group: GroupId, id: PersistId },
    /// The disk failed under the log. Fatal: the node must stop, for it does not know what is durable.
    Failed { error: DiskError },
}

/// What recovery found for each group that ever asked for something.
pub type RecoveredGroups = BTreeMap<GroupId, RecoveredGroup>;

/// What recovery found for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The last durable hard state.
    pub hard_state: HardState,
    /// The last entry that is cut or covered by a snapshot.
    pub base: LogPosition,
    /// Every durable entry after `base`, without gaps.
    pub entries: Entries,
}
