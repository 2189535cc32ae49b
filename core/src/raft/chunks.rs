//! A snapshot on its way, in pieces: how far the leader has sent it, and how much of it a follower has.
//!
//! A few pieces are on their way at a time, and may overtake each other. A follower keeps the few that come early and says how much it
//! has without a gap; the leader goes on from there, and after a silence from where the follower last said that it stands (go-back-N). So lost,
//! doubled and overtaken pieces need nothing more, and a follower that has the beginning from an earlier leader is sent
//! only the rest.
//!
//! - `RAFT-24`: a follower puts together only pieces of one snapshot, without gaps.

use super::message::SnapshotChunk;
use crate::types::{LogPosition, Membership, Snapshot, Term, Time};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// How often a follower may forget what it had, as it does when it restarts.
const LAPSES_MAX: u32 = 2;

/// Pieces that a follower keeps though something before them is missing. A leader has fewer on their way.
const EARLY_MAX: usize = 4;

/// A leader's side.
#[derive(Debug)]
pub(super) struct Sending {
    snapshot: Snapshot,
    /// The follower had so many bytes.
    received: u64,
    /// What it said last; less than `received` when it forgot, or when the answer was overtaken.
    said: u64,
    /// Bytes that left.
    sent: u64,
    /// When the follower last had more than before, or was last sent again what it lacked.
    moved: Time,
    /// The most that it had since it last forgot what it had.
    high: u64,
    /// When it last had more than ever since then, or was at work with all of it.
    gained: Time,
    /// How often it forgot.
    lapses: u32,
}

impl Sending {
    pub(super) fn new(snapshot: Snapshot, now: Time) -> Sending {
        Sending { snapshot, received: 0, said: 0, sent: 0, moved: now, high: 0, gained: now, lapses: 0 }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether the follower has come no further for so long, or begins again and again: it may be unable to install this one.
    pub(super) fn is_given_up(&self, now: Time, patience: Duration) -> bool {
        now >= self.gained.after(patience) || self.lapses > LAPSES_MAX
    }

    /// The follower has `bytes` of the snapshot at `position`.
    pub(super) fn on_received(&mut self, position: LogPosition, bytes: u64, now: Time) {
        if position != self.snapshot.position || bytes > self.size() {
            return;
        }
        self.said = bytes;
        if bytes > self.high || bytes == self.size() {
            (self.high, self.gained) = (bytes, now);
        }
        if bytes > self.received {
            (self.received, self.moved) = (bytes, now);
            self.sent = self.sent.max(bytes);
        }
    }

    /// Goes back to where the follower is, if nothing has moved for so long. True when something is to be sent.
    pub(super) fn go_back(&mut self, now: Time, patience: Duration) -> bool {
        let is_due = now >= self.moved.after(patience);
        if is_due {
            // Less than that, but not nothing, is only an answer that was overtaken.
            if self.said == 0 && self.high > 0 {
                self.lapses += 1;
                self.high = 0;
            }
            (self.received, self.sent, self.moved) = (self.said, self.said, now);
        }
        is_due
    }

    /// The next piece, if there is one and it may be on its way beside those that are.
    pub(super) fn next(&mut self, chunk_bytes: usize, in_flight_max: usize) -> Option<SnapshotChunk> {
        let window = (chunk_bytes as u64).saturating_mul(in_flight_max as u64);
        if self.sent == self.size() || self.sent - self.received >= window {
            return None;
        }
        let (chunk, end) = self.piece(self.sent, chunk_bytes);
        self.sent = end;
        Some(chunk)
    }

    /// A piece without bytes, which asks a follower that should have everything how far it is.
    pub(super) fn question(&self) -> SnapshotChunk {
        self.piece(self.size(), 0).0
    }

    fn piece(&self, offset: u64, bytes_max: usize) -> (SnapshotChunk, u64) {
        let rows = &self.snapshot.rows;
        let start = usize::try_from(offset).map_or(rows.len(), |offset| offset.min(rows.len()));
        let end = start.saturating_add(bytes_max).min(rows.len());
        let (position, membership) = (self.snapshot.position, self.snapshot.membership.clone());
        let chunk = SnapshotChunk { position, membership, size: self.size(), offset, rows: rows.slice(start..end) };
        (chunk, end as u64)
    }

    fn size(&self) -> u64 {
        self.snapshot.rows.len() as u64
    }
}

/// A follower's side.
#[derive(Debug)]
pub(super) struct Receiving {
    position: LogPosition,
    membership: Option<Membership>,
    size: u64,
    /// The term of the last piece.
    term: Term,
    rows: Vec<u8>,
    /// Pieces that came before their turn, by their offsets.
    early: BTreeMap<u64, Bytes>,
}

impl Receiving {
    /// Begins with a piece of a snapshot of which there is nothing yet.
    pub(super) fn new(chunk: &SnapshotChunk, term: Term) -> Receiving {
        let (position, membership, size) = (chunk.position, chunk.membership.clone(), chunk.size);
        Receiving { position, membership, size, term, rows: Vec::new(), early: BTreeMap::new() }
    }

    pub(super) fn position(&self) -> LogPosition {
        self.position
    }

    pub(super) fn bytes(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether the piece is of the same snapshot.
    pub(super) fn is_of(&self, chunk: &SnapshotChunk) -> bool {
        (self.position, self.size, &self.membership) == (chunk.position, chunk.size, &chunk.membership)
    }

    /// Whether another snapshot, of a leader of `term`, takes the place of this one: a new leader has only its own.
    pub(super) fn gives_way_to(&self, chunk: &SnapshotChunk, term: Term) -> bool {
        term > self.term || chunk.position.index > self.position.index
    }

    /// Takes what follows on what is there. The whole snapshot, if that was the rest of it.
    pub(super) fn take(&mut self, chunk: &SnapshotChunk, term: Term) -> Option<Snapshot> {
        self.term = term;
        if self.early.len() < EARLY_MAX || chunk.offset <= self.bytes() {
            self.early.insert(chunk.offset, chunk.rows.clone());
        }
        // RAFT-24
        while let Some((offset, rows)) = self.early.pop_first() {
            let Some(known) = self.bytes().checked_sub(offset) else {
                self.early.insert(offset, rows);
                break;
            };
            let news = usize::try_from(known).ok().and_then(|known| rows.get(known..)).unwrap_or_default();
            self.rows.extend_from_slice(news);
        }
        (self.bytes() == self.size).then(|| Snapshot {
            position: self.position,
            membership: self.membership.take(),
            rows: Bytes::from(core::mem::take(&mut self.rows)),
        })
    }
}
