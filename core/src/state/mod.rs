//! The replicated state machine of a group: what committed entries do to rows, and what rows answer.
//!
//! The intuition: a command names a few rows, a pure function decides over them, and the changes are written in the
//! batch that also moves the applied position. Two replicas that applied the same entries hold the same bytes.
//!
//! - `STATE-1`: an entry is applied once. The applied position is a row of the same batch, entries at or below it are
//!   skipped, and a gap is a bug of the caller.
//! - `STATE-2`: applying depends on nothing but rows and entries: no clock, no chance, no size of the batch.
//! - `STATE-3`: replicated time, the largest `Command::time` seen, never goes back.
//! - `STATE-4`: every row that is read has passed its checksum (`codec`).
//! - `STATE-5`: a stamped command is applied at most once while its session is open (`sessions`; Raft thesis §6.3).
//! - `STATE-6`: a version that was decided once and then replaced never becomes current again (`objects::retire`).
//! - `STATE-7`: the membership that the applied entries lead to is a row of the same batch as the applied position.
//! - `VERSION-1`: the versions of a key stand in the order in which they were decided, whatever any clock says
//!   (`objects::place`, `layout`).
//! - `LOCK-1`: a version under retention or legal hold is not removed by any command (`objects::lock`).
//! - `SWEEP-1`: no version is decided once replicated time is past its expiry (`objects::put`, `objects::resolve`).
//!
//! The rules are in [`keys`], [`sessions`], [`objects`] and [`cluster`], which know typed rows only; `home` fetches and writes those
//! rows in the ordered map of [`crate::rows`], `layout` says under which keys, `codec` in which bytes
//! (`docs/formats/rows.md`). Not here: when an entry is committed (`raft`), and who sends answers to clients (`node`).

mod attributes;
pub mod cluster;
mod codec;
pub mod command;
mod encoding;
mod home;
pub mod keys;
mod layout;
pub mod objects;
mod question;
pub mod rules;
pub mod sessions;
mod snapshot;
mod stored;
#[cfg(test)]
mod tests;

pub use attributes::*;
pub use cluster::{ClusterOperation, ClusterRefusal, PlacementRow, TokenHash};
pub use command::*;
pub use encoding::DecodeError;
pub use objects::rows::{BucketRow, QueuePlace};
pub use objects::{check_bucket_name, check_object_key};
pub use question::*;
pub use rules::{Calendar, Expiration, LifecycleFilter, LifecycleRule, NoncurrentExpiration};
pub use snapshot::{InstallError, install, snapshot};

use crate::planted::{Planted, planted};
use crate::rows::{Rows, RowsError, RowsMut};
use crate::topology::Topology;
use crate::types::{Entry, GroupId, LogIndex, LogPosition, Membership, Payload, WallTime};
use alloc::format;
use alloc::vec::Vec;
use home::{Home, Reader};
use serde::{Deserialize, Serialize};

/// When a command is decided: all that a rule may know of the world besides its rows and its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The replicated time, with the command's own time already in it.
    pub time: WallTime,
    /// The place of the command in the order of all commands.
    pub index: LogIndex,
}

/// How far a group's state machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The last entry that was applied; index 0 when none.
    pub position: LogPosition,
    /// The replicated time (`STATE-3`).
    pub time: WallTime,
}

/// The membership that the last applied membership entry made, in the bytes of `docs/formats/membership.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRow(Vec<u8>);

impl MembershipRow {
    fn of(membership: &Membership) -> MembershipRow {
        MembershipRow(membership.encode())
    }

    fn open(&self, key: &[u8]) -> Result<Membership, RowsError> {
        Membership::decode(&self.0).ok_or_else(|| RowsError::Damaged(key.to_vec()))
    }
}

/// Every entry whose index is a multiple of this also takes a bounded share of what time has made obsolete. By index
/// and not by call, so that it does not depend on how entries are batched (`STATE-2`).
const HOUSEKEEPING_INTERVAL: u64 = 16;

/// Applies committed entries in order, in the open batch `rows`, and returns the answers of their commands. Entries that
/// are applied already are skipped; only commands have answers; one that does not decode is refused as `Invalid`.
///
/// # Errors
/// When the map fails or a row is damaged. The caller must then drop the batch.
///
/// # Panics
/// When `entries` leaves a gap after the applied position, or does not ascend.
pub fn apply(
    group: GroupId,
    entries: &[Entry],
    planted: Planted,
    rows: &mut dyn RowsMut,
) -> Result<Vec<(LogIndex, Answer)>, RowsError> {
    let mut home = Home::new(group, rows);
    let mut meta = home.reader().meta()?;
    let before = meta;
    let mut answers = Vec::new();
    for entry in entries {
        let position = entry.position;
        if position.index <= meta.position.index {
            continue; // STATE-1: applied before a crash that lost the news of it.
        }
        // STATE-1: a gap would lose a committed command for ever.
        assert!(
            position.index == meta.position.index.next() && position.term >= meta.position.term,
            "group {group}: entry {position:?} does not follow {:?}",
            meta.position
        );
        match &entry.payload {
            Payload::Noop => {}
            Payload::Membership(membership) => home.put_membership(membership)?, // STATE-7
            Payload::Command(bytes) => {
                let answer = match Command::decode(bytes) {
                    Ok(command) => {
                        meta.time = meta.time.max(command.time); // STATE-3
                        let by_clock = planted!(planted, VersionsByClock);
                        let index = if by_clock { index_by_clock(&command, position.index) } else { position.index };
                        home.run(&command, Moment { time: meta.time, index })?
                    }
                    Err(error) => Answer::Refused(Refusal::Invalid(format!("the command does not decode: {error}"))),
                };
                answers.push((position.index, answer));
            }
        }
        if position.index.0.is_multiple_of(HOUSEKEEPING_INTERVAL) {
            home.keep_house(Moment { time: meta.time, index: position.index })?;
        }
        meta.position = position;
    }
    if meta != before {
        home.put_meta(&meta)?;
    }
    Ok(answers)
}

/// What the planted bug orders versions by: the clock of whoever took the command.
fn index_by_clock(command: &Command, index: LogIndex) -> LogIndex {
    match command.operation {
        Operation::Object(_) => LogIndex((command.time.0 << 16) | (index.0 & 0xffff)),
        Operation::OpenSession | Operation::Key(_) | Operation::Cluster(_) => index,
    }
}

/// Answers a question from a consistent view.
///
/// # Errors
/// When the map fails or a row is damaged. What the client got wrong is [`QueryAnswer::Refused`].
pub fn query(group: GroupId, query: &Query, rows: &dyn Rows) -> Result<QueryAnswer, RowsError> {
    Reader::new(group, rows).query(query)
}

/// What the rows include.
///
/// # Errors
/// When the map fails or the row is damaged.
pub fn applied(group: GroupId, rows: &dyn Rows) -> Result<Applied, RowsError> {
    Reader::new(group, rows).meta()
}

/// Who replicates the group as of the last entry that the rows include; `None` while no entry has changed that.
///
/// # Errors
/// When the map fails or the row is damaged.
pub fn membership(group: GroupId, rows: &dyn Rows) -> Result<Option<Membership>, RowsError> {
    Reader::new(group, rows).membership()
}

/// The nodes of the cluster and the placement, as the group *global* has applied them.
///
/// # Errors
/// When the map fails or a row is damaged.
pub fn topology(rows: &dyn Rows) -> Result<(Topology, Option<PlacementRow>), RowsError> {
    let reader = Reader::new(GroupId::GLOBAL, rows);
    Ok((reader.topology()?, reader.placement()?))
}
