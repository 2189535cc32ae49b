//! All rows of a group as one run of bytes, to bring a replica that is far behind to the leader's position.
//!
//! The intuition: rows are the whole state, so a snapshot is the rows as they stand, checksums included, and installing
//! one replaces the rows of the group by them. `docs/formats/rows.md` has the layout.
//!
//! - `SNAP-1`: a snapshot is whole. Its own checksum, each row's checksum, the order of the keys, the position in its meta
//!   row and the membership in its row are checked before the first row is touched; a bad one changes nothing.
//! - `SNAP-2`: what decides a later answer is in rows, and all rows are in the snapshot; sessions too, or a command
//!   would be applied a second time by whoever started from the snapshot (`STATE-5`).
//!
//! Not here: how the bytes travel in pieces (`raft`), and the commit of the batch.

use super::codec;
use super::home::Reader;
use super::layout::{GROUP_SIZE, Layout, SESSION_TABLES, Table};
use super::{Applied, MembershipRow, applied, membership};
use crate::planted::{Planted, planted};
use crate::rows::{Rows, RowsError, RowsMut, Scan};
use crate::types::{GroupId, LogIndex, LogPosition, Membership, Snapshot, Term};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// The version that this build writes.
const SNAPSHOT_VERSION: u8 = 2;
/// The oldest version that it reads: version 1 has no membership row.
const SNAPSHOT_VERSION_MIN: u8 = 1;
/// Rows that are removed in one step, so that a large group does not need all its keys in memory.
const REMOVE_STEP: usize = 1024;

/// Why a snapshot was not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// The map failed. The caller must drop the batch.
    Rows(RowsError),
    /// Written by another version of the format. Carries that version.
    Version(u8),
    /// The bytes are not those that were written.
    Checksum,
    /// The bytes are whole but are not a snapshot of this group at this position.
    Malformed,
    /// A row failed its own checksum: it was damaged before the snapshot was taken. Carries its key.
    Row(Vec<u8>),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::Rows(error) => write!(f, "the snapshot could not be written: {error}"),
            InstallError::Version(found) => {
                write!(f, "the snapshot's version {found} is not one of {SNAPSHOT_VERSION_MIN} to {SNAPSHOT_VERSION}")
            }
            InstallError::Checksum => f.write_str("the snapshot's checksum does not match"),
            InstallError::Malformed => f.write_str("the snapshot is not one of this group at this position"),
            InstallError::Row(key) => {
                f.write_str("the snapshot holds a damaged row, key ")?;
                key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl core::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            InstallError::Rows(error) => Some(error),
            InstallError::Version(_) | InstallError::Checksum | InstallError::Malformed | InstallError::Row(_) => None,
        }
    }
}

impl From<RowsError> for InstallError {
    fn from(error: RowsError) -> InstallError {
        InstallError::Rows(error)
    }
}

/// All rows of a group, at the position that they have applied.
///
/// # Errors
/// When the map fails or a row is damaged: damage is not handed on.
pub fn snapshot(group: GroupId, rows: &dyn Rows, planted: Planted) -> Result<Snapshot, RowsError> {
    let position = applied(group, rows)?.position;
    let layout = Layout(group);
    let mut membership = membership(group, rows)?;
    let left_out: Vec<_> = if planted!(planted, SessionsNotInSnapshot) {
        SESSION_TABLES.iter().map(|table| layout.table_rows(*table)).collect()
    } else if planted!(planted, MembershipNotInSnapshot) {
        membership = None;
        [layout.table_rows(Table::Membership)].into()
    } else {
        Vec::new() // SNAP-2
    };
    let mut bytes = Vec::new();
    bytes.push(SNAPSHOT_VERSION);
    bytes.extend_from_slice(&group.0.to_be_bytes());
    bytes.extend_from_slice(&position.index.0.to_be_bytes());
    bytes.extend_from_slice(&position.term.0.to_be_bytes());
    Reader::new(group, rows).scan(&layout.group_rows(), |key, value| {
        codec::verify(key, value)?;
        if !left_out.iter().any(|range| range.contains(key)) {
            put_text(&key[GROUP_SIZE..], &mut bytes);
            put_text(value, &mut bytes);
        }
        Ok(Scan::Continue)
    })?;
    let checksum = codec::crc32c(&[&bytes]);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    Ok(Snapshot { position, membership, rows: Bytes::from(bytes) })
}

/// Replaces all rows of the group by those of the snapshot.
///
/// # Errors
/// See [`InstallError`]. Nothing has changed, except after [`InstallError::Rows`].
pub fn install(group: GroupId, snapshot: &Snapshot, rows: &mut dyn RowsMut) -> Result<(), InstallError> {
    let incoming = parse(group, snapshot)?; // SNAP-1
    remove_group(group, rows)?;
    for row in &incoming {
        rows.put(&row.key, row.value)?;
    }
    Ok(())
}

/// A row of a snapshot, with its group put back in front of its key.
struct SnapshotRow<'b> {
    key: Vec<u8>,
    value: &'b [u8],
}

/// The rows of a snapshot, every one of them checked.
fn parse(group: GroupId, snapshot: &Snapshot) -> Result<Vec<SnapshotRow<'_>>, InstallError> {
    let bytes: &[u8] = &snapshot.rows;
    let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(InstallError::Malformed)?;
    if codec::crc32c(&[content]) != u32::from_be_bytes(*checksum) {
        return Err(InstallError::Checksum);
    }
    let (&version, mut rest) = content.split_first().ok_or(InstallError::Malformed)?;
    if !(SNAPSHOT_VERSION_MIN..=SNAPSHOT_VERSION).contains(&version) {
        return Err(InstallError::Version(version));
    }
    let found_group = GroupId(u32::from_be_bytes(take(&mut rest)?));
    let index = LogIndex(u64::from_be_bytes(take(&mut rest)?));
    let position = LogPosition { index, term: Term(u64::from_be_bytes(take(&mut rest)?)) };
    if found_group != group || position != snapshot.position {
        return Err(InstallError::Malformed);
    }
    let mut incoming: Vec<SnapshotRow<'_>> = Vec::new();
    while !rest.is_empty() {
        let mut key = group.0.to_be_bytes().to_vec();
        key.extend_from_slice(take_text(&mut rest)?);
        let value = take_text(&mut rest)?;
        codec::verify(&key, value).map_err(|_| InstallError::Row(key.clone()))?;
        if incoming.last().is_some_and(|before| before.key >= key) {
            return Err(InstallError::Malformed);
        }
        incoming.push(SnapshotRow { key, value });
    }
    check_position(group, position, &incoming)?;
    check_membership(group, snapshot.membership.as_ref(), &incoming)?;
    Ok(incoming)
}

/// The membership beside the rows is the one inside them, for the replica goes by the first and its next life by the
/// second.
fn check_membership(
    group: GroupId,
    claimed: Option<&Membership>,
    rows: &[SnapshotRow<'_>],
) -> Result<(), InstallError> {
    let key = Layout(group).membership();
    let damaged = |_| InstallError::Row(key.clone());
    let row = rows.iter().take(2).find(|row| row.key == key);
    let inside = row.map(|row| codec::open::<MembershipRow>(&key, row.value).and_then(|row| row.open(&key)));
    let inside = inside.transpose().map_err(damaged)?;
    if inside.as_ref() == claimed { Ok(()) } else { Err(InstallError::Malformed) }
}

/// The position in the snapshot's meta row is the one that it claims. A group that applied nothing has no such row.
fn check_position(group: GroupId, position: LogPosition, rows: &[SnapshotRow<'_>]) -> Result<(), InstallError> {
    let key = Layout(group).meta();
    let meta = match rows.first() {
        Some(first) if first.key == key => {
            codec::open::<Applied>(&key, first.value).map_err(|_| InstallError::Row(key))?
        }
        Some(_) | None => Applied::default(),
    };
    if meta.position == position { Ok(()) } else { Err(InstallError::Malformed) }
}

fn remove_group(group: GroupId, rows: &mut dyn RowsMut) -> Result<(), RowsError> {
    let range = Layout(group).group_rows();
    loop {
        let mut found = Vec::new();
        rows.scan(&range.from, range.to.as_deref(), &mut |key, _| {
            found.push(key.to_vec());
            if found.len() == REMOVE_STEP { Scan::Stop } else { Scan::Continue }
        })?;
        if found.is_empty() {
            return Ok(());
        }
        found.iter().try_for_each(|key| rows.remove(key))?;
    }
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    let size = u32::try_from(text.len()).expect("keys and values are far below 4 GiB");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(text);
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], InstallError> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(InstallError::Malformed)?;
    *bytes = rest;
    Ok(*head)
}

fn take_text<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8], InstallError> {
    let size = usize::try_from(u32::from_be_bytes(take(bytes)?)).map_err(|_| InstallError::Malformed)?;
    let (text, rest) = bytes.split_at_checked(size).ok_or(InstallError::Malformed)?;
    *bytes = rest;
    Ok(text)
}
