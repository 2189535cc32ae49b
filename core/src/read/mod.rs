//! One stripe on its way from the drives to a reader: data shards first, parity when one of them fails or is slow.
//!
//! - `READ-1` No byte leaves that failed its check: the plaintext comes from `stripe::open`, which verifies the seal.
//! - `READ-2` A stripe whose shards are missing or fail their frame's check is refused only after all its `k + m`
//!   positions have been tried. A stripe that decodes from sound frames and fails its seal is refused at once: a drive
//!   cannot do that by accident, and which frame lies cannot be told from outside of the seal.
//!
//! - `READ-3` As soon as `k` sound shards are there the stripe is opened; nobody waits for the slowest drive.
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
    /// The drive of a position does not answer.
    Silent { position: u8 },
    /// The stripe was opened, or not.
    Opened(Result<Opened, OpenError>),
    /// Whoever has not answered is slow: others are asked as well.
    Slow,
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
    /// The stripe cannot be read. The read is over. With `silent`, drives that do not answer may yet have it.
    Failed { why: String, silent: bool },
}

/// The read of one stripe.
#[derive(Debug)]
pub struct Read {
    /// Everything but the records, which come and go.
    stripe: Open,
    drives: Vec<DriveId>,
    /// Drives that are asked last.
    doubtful: Vec<DriveId>,
    positions: Vec<Position>,
    /// How many shards more than needed are asked for.
    extra: usize,
    /// The stripe is being opened.
    opening: bool,
}

/// What is known of one position.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    Untried,
    Loading,
    Loaded(Bytes),
    Gone,
    Silent,
}

impl Read {
    /// A read of the stripe that `stripe` describes (its `records` are ignored). Drives in `doubtful` are asked only when the
    /// others do not do. Pushes the first orders.
    pub fn new(stripe: Open, drives: Vec<DriveId>, doubtful: Vec<DriveId>, out: &mut Vec<Effect>) -> Read {
        let shards = shard_count(stripe.profile);
        assert_eq!(drives.len(), shards, "a body has one drive for each position");
        let positions = vec![Position::Untried; shards];
        let mut read = Read { stripe, drives, doubtful, positions, extra: 0, opening: false };
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
            Event::Silent { position } => {
                self.positions[usize::from(position)] = Position::Silent;
                self.load_more(out);
            }
            Event::Slow => {
                self.extra = self.count(|position| *position == Position::Loading);
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
                self.opening = false;
                for position in damaged {
                    self.positions[usize::from(position)] = Position::Gone;
                }
                self.load_more(out);
            }
            // READ-2: a forged seal, or a description of the stripe that it does not fit.
            Event::Opened(Err(error)) => out.push(Effect::Failed { why: format!("{error:?}"), silent: false }),
        }
    }

    fn count(&self, is: impl Fn(&Position) -> bool) -> usize {
        self.positions.iter().filter(|position| is(position)).count()
    }

    /// Opens the stripe when enough shards are there; keeps as many loading as that takes.
    fn load_more(&mut self, out: &mut Vec<Effect>) {
        if self.opening {
            return;
        }
        let needed = usize::from(self.stripe.profile.data);
        // READ-3
        if self.count(|position| matches!(position, Position::Loaded(_))) >= needed {
            self.opening = true;
            let mut open = self.stripe.clone();
            open.records = self.positions.iter().map(Position::record).collect();
            out.push(Effect::Open(open));
            return;
        }
        let mut hopeful = self.count(|position| matches!(position, Position::Loading | Position::Loaded(_)));
        while hopeful < needed + self.extra {
            let Some(position) = self.next_untried() else { break };
            self.positions[usize::from(position)] = Position::Loading;
            hopeful += 1;
            let id = self.stripe.id;
            let key = ShardKey { version: id.version, stripe: id.index, position };
            out.push(Effect::Load { drive: drive_of(&self.drives, id.index, position), key });
        }
        // READ-2: nothing is left to try. Those still loading cannot help any more.
        if hopeful < needed && !self.positions.contains(&Position::Loading) {
            let stripe = self.stripe.id.index;
            let why = format!("stripe {stripe} has {hopeful} readable shards and needs {needed}");
            out.push(Effect::Failed { why, silent: self.positions.contains(&Position::Silent) });
        }
    }

    /// The first position that was not tried, on a drive that is not doubtful if there is one.
    fn next_untried(&self) -> Option<u8> {
        let untried = (0u8..).zip(&self.positions).filter(|(_, slot)| **slot == Position::Untried);
        untried.map(|(position, _)| position).min_by_key(|position| {
            let drive = drive_of(&self.drives, self.stripe.id.index, *position);
            (self.doubtful.contains(&drive), *position)
        })
    }
}

impl Position {
    fn record(&self) -> Option<Bytes> {
        match self {
            Position::Loaded(record) => Some(record.clone()),
            Position::Untried | Position::Loading | Position::Gone | Position::Silent => None,
        }
    }
}

fn shard_count(profile: Profile) -> usize {
    usize::from(profile.data) + usize::from(profile.parity)
}
