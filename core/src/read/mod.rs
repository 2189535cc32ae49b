//! One stripe on its way from the drives to a reader: data shards first, parity only when one of them fails.
//!
//! - `READ-1` No byte leaves that failed its check: the plaintext comes from `stripe::open`, which verifies every frame
//!   and the seal.
//! - `READ-2` A stripe whose shards are missing or fail their frame's check is refused only after all its `k + m`
//!   positions have been tried. A stripe that decodes from sound frames and fails its seal is refused at once: a drive
//!   cannot do that by accident, and which frame lies cannot be told from outside of the seal.
//!
//! Not here: which version an object's name stands for (`state`), and keeping a version from being reclaimed while it
//! is read (`node::objects`).

#[cfg(test)]
mod tests;

use crate::shards::ShardKey;
use crate::stripe::{Open, OpenError, Opened, Profile};
use crate::types::DriveId;
use crate::write::drive_of;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

/// A fact for a read.
#[derive(Clone, Debug)]
pub enum Event {
    /// A drive answered for a position: the shard's record, or `None` when it has none that it can read.
    Loaded { position: u8, record: Option<Bytes> },
    /// The stripe was opened, or not.
    Opened(Result<Opened, OpenError>),
}

/// An order of a read.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Load a shard. Ends in `Loaded`.
    Load { drive: DriveId, key: ShardKey },
    /// Verify, decode and open. Ends in `Opened`.
    Open(Open),
    /// The stripe's plaintext. The read is over. `damaged` positions failed their checks and want repair.
    Done { plaintext: Bytes, damaged: Vec<u8> },
    /// The stripe cannot be read. The read is over.
    Failed { why: String },
}

/// The read of one stripe.
#[derive(Debug)]
pub struct Read {
    /// Everything but the records, which come and go.
    stripe: Open,
    drives: Vec<DriveId>,
    positions: Vec<Position>,
}

/// What is known of one position.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    Untried,
    Loading,
    Loaded(Bytes),
    Gone,
}

impl Read {
    /// A read of the stripe that `stripe` describes (its `records` are ignored). Pushes the first orders.
    pub fn new(stripe: Open, drives: Vec<DriveId>, out: &mut Vec<Effect>) -> Read {
        let shards = shard_count(stripe.profile);
        assert_eq!(drives.len(), shards, "a body has one drive for each position");
        let mut read = Read { stripe, drives, positions: vec![Position::Untried; shards] };
        read.load_more(out);
        read
    }

    /// Takes a fact, pushes orders.
    pub fn step(&mut self, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Loaded { position, record } => {
                let slot = &mut self.positions[usize::from(position)];
                assert_eq!(*slot, Position::Loading, "only a shard that was asked for is loaded");
                *slot = record.map_or(Position::Gone, Position::Loaded);
                self.load_more(out);
            }
            // READ-1: the one way by which plaintext leaves.
            Event::Opened(Ok(opened)) => {
                let lost = (0u8..).zip(&self.positions).filter(|(_, position)| **position == Position::Gone);
                let mut damaged: Vec<u8> = lost.map(|(index, _)| index).collect();
                damaged.extend(opened.damaged);
                out.push(Effect::Done { plaintext: opened.plaintext, damaged });
            }
            Event::Opened(Err(OpenError::TooFew { damaged, .. })) if !damaged.is_empty() => {
                for position in damaged {
                    self.positions[usize::from(position)] = Position::Gone;
                }
                self.load_more(out);
            }
            // READ-2: a forged seal, or a description of the stripe that it does not fit.
            Event::Opened(Err(error)) => out.push(Effect::Failed { why: format!("{error:?}") }),
        }
    }

    /// Keeps as many positions loading or loaded as the stripe needs; opens when all those have answered.
    fn load_more(&mut self, out: &mut Vec<Effect>) {
        let needed = usize::from(self.stripe.profile.data);
        let mut hopeful =
            self.positions.iter().filter(|p| matches!(p, Position::Loading | Position::Loaded(_))).count();
        for (position, slot) in (0u8..).zip(&mut self.positions) {
            if hopeful < needed && *slot == Position::Untried {
                *slot = Position::Loading;
                hopeful += 1;
                let id = self.stripe.id;
                let key = ShardKey { version: id.version, stripe: id.index, position };
                out.push(Effect::Load { drive: drive_of(&self.drives, id.index, position), key });
            }
        }
        if hopeful < needed {
            // READ-2: nothing is left to try. Those still loading cannot help any more.
            if !self.positions.contains(&Position::Loading) {
                let stripe = self.stripe.id.index;
                let why = format!("stripe {stripe} has {hopeful} readable shards and needs {needed}");
                out.push(Effect::Failed { why });
            }
        } else if !self.positions.contains(&Position::Loading) {
            let mut open = self.stripe.clone();
            open.records = self.positions.iter().map(Position::record).collect();
            out.push(Effect::Open(open));
        }
    }
}

impl Position {
    fn record(&self) -> Option<Bytes> {
        match self {
            Position::Loaded(record) => Some(record.clone()),
            Position::Untried | Position::Loading | Position::Gone => None,
        }
    }
}

fn shard_count(profile: Profile) -> usize {
    usize::from(profile.data) + usize::from(profile.parity)
}
