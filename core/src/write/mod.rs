//! One body on its way to the drives: sealed stripe by stripe, stored as prepared shards, then ready to be decided.
//!
//! The intuition is the prepare phase of two-phase commit (Gray and Lamport, "Consensus on Transaction Commit", §2):
//! the participants are the drives, the decision is one record in the metadata home, and until it exists the shards
//! are promises that expire. This machine knows neither names nor conditions; it says when a body may be decided.
//!
//! - `WRITE-1` A stripe is acknowledged only when the shards of all its `k + m` positions are durable.
//! - `WRITE-2` A body may be decided only when its stripes are `0..n` without a gap, all acknowledged, and only the last
//!   one is short.
//! - `WRITE-3` The decision carries an expiry that no drive's newest prepared shard of the body precedes, so the
//!   metadata home refuses to decide what a sweep may already have removed.
//! - `WRITE-4` A stripe is sealed at most once: its nonce comes from its place, and two plaintexts under one key and nonce
//!   give both away. So a write that has failed takes no further stripe.
//!
//! Not here: the decision itself (`state::objects`), and the sweep of what is never decided (`node::sweep`).

#[cfg(test)]
mod tests;

use crate::disk::DiskError;
use crate::planted::{Planted, planted};
use crate::shards::ShardKey;
use crate::state::{Body, Place};
use crate::stripe::{DataKey, Profile, STRIPE_SIZE, Seal, StripeId, WrappedKey};
use crate::types::{DriveId, RequestId, VersionId, WallTime};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;

/// A fact for a write.
#[derive(Clone, Debug)]
pub enum Event {
    /// The client sent a stripe. `expires` is when its shards may be swept if no decision names them.
    Stripe { request: RequestId, index: u32, bytes: Bytes, expires: WallTime },
    /// The stripe is sealed: one framed record for each position.
    Sealed { index: u32, records: Vec<Bytes> },
    /// A shard is durable.
    Stored { index: u32 },
    /// A drive did not take a shard.
    NotStored { index: u32, error: DiskError },
}

/// An order of a write.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Seal and code this stripe. Ends in `Sealed`.
    Seal { index: u32, seal: Seal },
    /// Store a shard. Ends in `Stored` or `NotStored`.
    Put { drive: DriveId, key: ShardKey, expires: WallTime, record: Bytes },
    /// All shards of the stripe are durable.
    Accepted { request: RequestId },
    /// The stripe is not stored.
    Rejected { request: RequestId, why: Rejection },
}

/// Why a stripe was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The client broke the contract of `Request::WriteStripe`. Says how.
    Misuse(&'static str),
    /// A drive refused.
    Disk(DiskError),
}

/// Where a stripe of the write stands.
#[derive(Clone, Debug)]
enum Stripe {
    Sealing { request: RequestId, length: usize, expires: WallTime },
    Storing { request: RequestId, length: usize, expires: WallTime, waiting: usize, failed: Option<DiskError> },
}

/// The write of one body.
#[derive(Debug)]
pub struct Write {
    version: VersionId,
    key: DataKey,
    wrapped: WrappedKey,
    profile: Profile,
    drives: Vec<DriveId>,
    planted: Planted,
    under_way: BTreeMap<u32, Stripe>,
    stored: BTreeSet<u32>,
    size: u64,
    /// The first stripe stored that is shorter than `STRIPE_SIZE`.
    short: Option<u32>,
    expires: WallTime,
    /// Why a stripe was not stored: nothing can be decided any more.
    failed: Option<DiskError>,
}

/// What a write needs to begin.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The new body's identity.
    pub version: VersionId,
    /// Its random key.
    pub key: DataKey,
    /// The same key, as the metadata will hold it.
    pub wrapped: WrappedKey,
    /// Into how many shards a stripe is cut.
    pub profile: Profile,
    /// `k + m` drives in position order of stripe 0.
    pub drives: Vec<DriveId>,
    /// Planted bugs, all off in production.
    pub planted: Planted,
}

/// The drive of a position.
pub fn drive_of(drives: &[DriveId], stripe: u32, position: u8) -> DriveId {
    drives[slot_of(stripe, position, drives.len())]
}

/// Which of a body's `count` drives has a position: positions rotate with the stripe, so that parity, and reads of one range,
/// load all drives.
pub fn slot_of(stripe: u32, position: u8, count: usize) -> usize {
    (usize::from(position) + stripe as usize % count) % count
}

/// `slot_of` the other way round.
pub fn position_of(stripe: u32, slot: usize, count: usize) -> usize {
    (slot + count - stripe as usize % count) % count
}

impl Write {
    /// A write without stripes.
    pub fn new(begin: Begin) -> Write {
        let shards = usize::from(begin.profile.data) + usize::from(begin.profile.parity);
        assert_eq!(begin.drives.len(), shards, "a body has one drive for each position");
        Write {
            version: begin.version,
            key: begin.key,
            wrapped: begin.wrapped,
            profile: begin.profile,
            drives: begin.drives,
            planted: begin.planted,
            under_way: BTreeMap::new(),
            stored: BTreeSet::new(),
            size: 0,
            short: None,
            expires: WallTime(0),
            failed: None,
        }
    }

    /// Whose bytes are written.
    pub fn version(&self) -> VersionId {
        self.version
    }

    /// The drives that hold, or will hold, its shards.
    pub fn drives(&self) -> &[DriveId] {
        &self.drives
    }

    /// Requests whose stripe is neither stored nor refused yet. Whoever ends the write now answers them.
    pub fn unanswered(&self) -> impl Iterator<Item = RequestId> {
        self.under_way.values().filter_map(|stripe| match *stripe {
            Stripe::Storing { .. } if planted!(self.planted, DecideBeforeShardSync) => None,
            Stripe::Sealing { request, .. } | Stripe::Storing { request, .. } => Some(request),
        })
    }

    /// Takes a fact, pushes orders.
    pub fn step(&mut self, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Stripe { request, index, bytes, expires } => self.on_stripe(request, index, bytes, expires, out),
            Event::Sealed { index, records } => self.on_sealed(index, records, out),
            Event::Stored { index } => self.on_answer(index, None, out),
            Event::NotStored { index, error } => self.on_answer(index, Some(error), out),
        }
    }

    /// The finished body and the expiry of its preparation, if it may be decided (`WRITE-2`).
    pub fn body(&self) -> Result<(Body, WallTime), &'static str> {
        if self.failed.is_some() {
            return Err("a stripe of this write was not stored");
        }
        if !self.under_way.is_empty() && !planted!(self.planted, DecideBeforeShardSync) {
            return Err("the write was decided before all its stripes were stored");
        }
        let last = self.stored.last().copied();
        if last.map_or(0, |last| last as usize + 1) != self.stored.len() {
            return Err("the stripes of the write have a gap");
        }
        if self.short.is_some() && self.short != last {
            return Err("a stripe before the last is short");
        }
        let place = Place::Striped { profile: self.profile, drives: self.drives.clone() };
        Ok((Body { version: self.version, size: self.size, key: self.wrapped.clone(), place }, self.expires))
    }

    fn on_stripe(&mut self, request: RequestId, index: u32, bytes: Bytes, expires: WallTime, out: &mut Vec<Effect>) {
        if bytes.is_empty() || bytes.len() > STRIPE_SIZE {
            let why = Rejection::Misuse("a stripe has 1 to STRIPE_SIZE bytes");
            out.push(Effect::Rejected { request, why });
            return;
        }
        // WRITE-4: a stripe that was not stored is neither under way nor stored, and was sealed all the same.
        if let Some(error) = &self.failed {
            out.push(Effect::Rejected { request, why: Rejection::Disk(error.clone()) });
            return;
        }
        if self.under_way.contains_key(&index) || self.stored.contains(&index) {
            out.push(Effect::Rejected { request, why: Rejection::Misuse("a stripe was sent twice") });
            return;
        }
        let length = bytes.len();
        self.under_way.insert(index, Stripe::Sealing { request, length, expires });
        let id = StripeId { version: self.version, index };
        let seal = Seal { id, key: self.key.clone(), profile: self.profile, plaintext: bytes };
        out.push(Effect::Seal { index, seal });
    }

    fn on_sealed(&mut self, index: u32, records: Vec<Bytes>, out: &mut Vec<Effect>) {
        let Some(Stripe::Sealing { request, length, expires }) = self.under_way.remove(&index) else {
            panic!("a stripe that is not being sealed was sealed");
        };
        assert_eq!(records.len(), self.drives.len(), "sealing makes one record for each position");
        let waiting = records.len();
        let storing = Stripe::Storing { request, length, expires, waiting, failed: None };
        self.under_way.insert(index, storing);
        for (position, record) in (0u8..).zip(records) {
            let drive = drive_of(&self.drives, index, position);
            let key = ShardKey { version: self.version, stripe: index, position };
            out.push(Effect::Put { drive, key, expires, record });
        }
        if planted!(self.planted, DecideBeforeShardSync) {
            self.note_stored(index, length, expires);
            out.push(Effect::Accepted { request });
        }
    }

    fn on_answer(&mut self, index: u32, error: Option<DiskError>, out: &mut Vec<Effect>) {
        let Some(Stripe::Storing { request, length, expires, waiting, failed }) = self.under_way.get_mut(&index) else {
            panic!("an answer came for a stripe that is not being stored");
        };
        *waiting -= 1;
        if error.is_some() {
            *failed = error;
        }
        if *waiting > 0 {
            return;
        }
        let (request, length, expires, failed) = (*request, *length, *expires, failed.take());
        self.under_way.remove(&index);
        if planted!(self.planted, DecideBeforeShardSync) {
            return;
        }
        let failed = failed.filter(|_| !planted!(self.planted, AckBelowDurable));
        match failed {
            // WRITE-1: all positions have answered, and none refused.
            None => {
                self.note_stored(index, length, expires);
                out.push(Effect::Accepted { request });
            }
            Some(error) => {
                self.failed = Some(error.clone());
                out.push(Effect::Rejected { request, why: Rejection::Disk(error) });
            }
        }
    }

    fn note_stored(&mut self, index: u32, length: usize, expires: WallTime) {
        self.stored.insert(index);
        self.size += length as u64;
        // WRITE-3: every drive of the body holds a shard of this stripe, so none of them sweeps before this moment.
        self.expires = self.expires.max(expires);
        if length < STRIPE_SIZE {
            // Two short stripes: the earlier one is in the wrong place, whichever was stored first.
            self.short = Some(self.short.map_or(index, |other| other.min(index)));
        }
    }
}
