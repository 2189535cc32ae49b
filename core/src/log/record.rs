//! What a batch says: records of all groups, in the order in which they happened.
//!
//! Records are self-contained: replaying them needs no rule that was applied when they were written. A reset, for
//! example, says whether the entries after its base stay, because the entry that decided it may stand in a segment
//! that is long gone.
//!
//! Not here: what a record does to a group (`group`).

use super::codec::{Put, Reader};
use crate::types::{Entry, GroupId, HardState, LogIndex, LogPosition, Membership, NodeId, Payload, Term};
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const CUT: u8 = 3;
const RESET: u8 = 4;
const CHECKPOINT: u8 = 5;

/// Flags of a hard state.
pub(super) const VOTED: u8 = 1;
pub(super) const IMPAIRED: u8 = 2;

const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

const TAG_SIZE: usize = 1 + 4;
const POSITION_SIZE: usize = 8 + 8;
const HARD_STATE_SIZE: usize = 8 + 1 + 8;
/// Bytes of a cut record.
pub(super) const CUT_SIZE: usize = TAG_SIZE + POSITION_SIZE;
/// Bytes of a reset record.
pub(super) const RESET_SIZE: usize = TAG_SIZE + POSITION_SIZE + 1;
const GROUP_SIZE: usize = 4 + HARD_STATE_SIZE + 2 * POSITION_SIZE;

/// What happens to the entries after the base of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// They do not follow from the base and are void.
    Void,
    /// The log held the base itself, so they stay.
    Kept,
}

/// A group as a checkpoint restates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupCheckpoint {
    pub(super) hard_state: HardState,
    pub(super) base: LogPosition,
    /// The last entry, so that a missing segment is noticed even if no later segment holds an entry of the group.
    pub(super) last: LogPosition,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The entry at its index; all that stood there or after it is replaced.
    Entry(GroupId, Entry),
    HardState(GroupId, HardState),
    /// Entries up to the base are no longer needed.
    Cut(GroupId, LogPosition),
    /// The log restarts after the base.
    Reset(GroupId, LogPosition, Follows),
    /// All groups as the batches before this one left them. The first record of each segment.
    Checkpoint(BTreeMap<GroupId, GroupCheckpoint>),
}

/// Bytes of an entry record.
pub(super) fn entry_size(entry: &Entry) -> usize {
    TAG_SIZE + POSITION_SIZE + 1 + 4 + entry.payload.size()
}

/// Bytes of a hard state record.
pub(super) fn hard_state_size() -> usize {
    TAG_SIZE + HARD_STATE_SIZE
}

/// Bytes of a checkpoint record of this many groups.
pub(super) fn checkpoint_size(groups: usize) -> usize {
    TAG_SIZE + groups * GROUP_SIZE
}

pub(super) fn put_entry(out: &mut Vec<u8>, group: GroupId, entry: &Entry) {
    put_tag(out, ENTRY, group.0);
    put_position(out, entry.position);
    let (kind, bytes) = match &entry.payload {
        Payload::Noop => (NOOP, Cow::Borrowed(&[][..])),
        Payload::Command(bytes) => (COMMAND, Cow::Borrowed(&bytes[..])),
        Payload::Membership(membership) => (MEMBERSHIP, Cow::Owned(membership.encode())),
    };
    out.put_u8(kind);
    out.put_u32(u32::try_from(bytes.len()).expect("a command is bounded far below 4 GiB where it is proposed"));
    out.extend_from_slice(&bytes);
}

pub(super) fn put_hard_state_record(out: &mut Vec<u8>, group: GroupId, hard_state: HardState) {
    put_tag(out, HARD_STATE, group.0);
    put_hard_state(out, hard_state);
}

pub(super) fn put_cut(out: &mut Vec<u8>, group: GroupId, base: LogPosition) {
    put_tag(out, CUT, group.0);
    put_position(out, base);
}

pub(super) fn put_reset(out: &mut Vec<u8>, group: GroupId, base: LogPosition, follows: Follows) {
    put_tag(out, RESET, group.0);
    put_position(out, base);
    out.put_u8(match follows {
        Follows::Void => 0,
        Follows::Kept => 1,
    });
}

pub(super) fn put_checkpoint(out: &mut Vec<u8>, groups: &[(GroupId, GroupCheckpoint)]) {
    put_tag(out, CHECKPOINT, u32::try_from(groups.len()).expect("a group's id is a u32, and each group stands once"));
    for (id, group) in groups {
        out.put_u32(id.0);
        put_hard_state(out, group.hard_state);
        put_position(out, group.base);
        put_position(out, group.last);
    }
}

fn put_tag(out: &mut Vec<u8>, kind: u8, subject: u32) {
    out.put_u8(kind);
    out.put_u32(subject);
}

fn put_position(out: &mut Vec<u8>, position: LogPosition) {
    out.put_u64(position.index.0);
    out.put_u64(position.term.0);
}

fn put_hard_state(out: &mut Vec<u8>, hard_state: HardState) {
    out.put_u64(hard_state.term.0);
    out.put_u8(u8::from(hard_state.vote.is_some()) * VOTED + u8::from(hard_state.impaired) * IMPAIRED);
    out.put_u64(hard_state.vote.map_or(0, |node| node.0));
}

/// The records of a batch. `None` in place of a record that does not decode; nothing after it makes sense.
pub(super) struct Records<'a> {
    whole: &'a Bytes,
    reader: Reader<'a>,
}

impl<'a> Records<'a> {
    pub(super) fn of(records: &'a Bytes) -> Records<'a> {
        Records { whole: records, reader: Reader::new(records) }
    }

    fn record(&mut self) -> Option<Record> {
        let kind = self.reader.u8()?;
        let subject = self.reader.u32()?;
        let group = GroupId(subject);
        match kind {
            ENTRY => {
                let position = self.position()?;
                let kind = self.reader.u8()?;
                let length = usize::try_from(self.reader.u32()?).ok()?;
                let bytes = self.reader.slice_of(self.whole, length)?;
                let payload = match kind {
                    NOOP if bytes.is_empty() => Payload::Noop,
                    COMMAND => Payload::Command(bytes),
                    MEMBERSHIP => Payload::Membership(Membership::decode(&bytes)?),
                    _ => return None,
                };
                Some(Record::Entry(group, Entry { position, payload }))
            }
            HARD_STATE => Some(Record::HardState(group, self.hard_state()?)),
            CUT => Some(Record::Cut(group, self.position()?)),
            RESET => {
                let base = self.position()?;
                let follows = match self.reader.u8()? {
                    0 => Follows::Void,
                    1 => Follows::Kept,
                    _ => return None,
                };
                Some(Record::Reset(group, base, follows))
            }
            CHECKPOINT => {
                let mut groups = BTreeMap::new();
                for _ in 0..subject {
                    let id = GroupId(self.reader.u32()?);
                    let group = GroupCheckpoint {
                        hard_state: self.hard_state()?,
                        base: self.position()?,
                        last: self.position()?,
                    };
                    if group.base.index > group.last.index || groups.insert(id, group).is_some() {
                        return None;
                    }
                }
                Some(Record::Checkpoint(groups))
            }
            _ => None,
        }
    }

    fn position(&mut self) -> Option<LogPosition> {
        Some(LogPosition { index: LogIndex(self.reader.u64()?), term: Term(self.reader.u64()?) })
    }

    fn hard_state(&mut self) -> Option<HardState> {
        let term = Term(self.reader.u64()?);
        let flags = self.reader.u8()?;
        let node = NodeId(self.reader.u64()?);
        if flags & !(VOTED | IMPAIRED) != 0 {
            return None;
        }
        Some(HardState { term, vote: (flags & VOTED != 0).then_some(node), impaired: flags & IMPAIRED != 0 })
    }
}

impl Iterator for Records<'_> {
    type Item = Option<Record>;

    fn next(&mut self) -> Option<Option<Record>> {
        (self.reader.remaining() > 0).then(|| self.record())
    }
}
