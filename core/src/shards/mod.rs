//! The shard store of one drive: append-only extents, an index that can be rebuilt from them, compaction.
//!
//! The intuition: a log that forgets. Shards of all objects are appended to one open extent, many to a sync; where each
//! lies is kept in memory and can be rebuilt, for every record says what it is. Deleting appends a tombstone. A full
//! extent gets an index at its end, and when little in it is still live, that little is copied to the front of the log
//! and the extent is removed. Nothing is ever changed in place, so a crash can only cost what was not yet answered.
//!
//! - `SHARD-1` `Stored` and `Deleted` are answered after the sync that made them durable, and the index points only at
//!   durable records.
//! - `SHARD-2` A batch starts in a block of its own: no write touches a block that holds synced bytes.
//! - `SHARD-3` An extent that existed before the start takes no batch, and the name of none is used again.
//! - `SHARD-4` An extent's index is written after its records are durable.
//! - `SHARD-5` After a start, what recovery read without an index is synced before anything relies on it: a process
//!   may have died, leaving bytes that can be read and are not durable.
//! - `SHARD-6` One allocated extent is kept back from puts, so that a full drive can still delete and compact.
//! - `SHARD-7` No copy stands after a tombstone or a newer put of its shard: the last word in the log stays the last.
//! - `SHARD-8` A tombstone is kept while an extent other than its own exists that holds bytes which it deletes. It names
//!   them, for damage may hide them from one recovery and not from the next. It also says up to where it deletes, so
//!   that a copy of it deletes nothing that was put after it.
//! - `SHARD-9` An extent is removed only when nothing in it is live, nothing reads it, and no tombstone in it is needed.
//! - `SHARD-10` Compaction copies only what passes its checks. A damaged shard stays where it is, and so does its extent
//!   until the shard is deleted or put again (repair does that).
//! - `SHARD-11` An extent is ordered for what will be written into it first: after a restart none is open and none is
//!   kept back, so what frees space must be able to get one where puts are refused.
//!
//! Sources: Rosenblum and Ousterhout, "The design and implementation of a log-structured file system" (1992), §3, for
//! segments and cleaning; Sheehy and Smith, "Bitcask" (2010), for the index in memory and the hint file. The bytes:
//! `docs/formats/extent.md`.
//!
//! Not here: what a record contains (`stripe`), which shards a drive should hold (`write`, `read`, the node's repair),
//! and whether a version is decided (the metadata home; see [`Store::undecided`]).

mod append;
mod batch;
mod compact;
mod extent;
mod format;
mod index;
mod recover;
mod roll;
#[cfg(test)]
mod tests;

pub use recover::{ReadExtent, RecoverError, recover};

use crate::disk::{DiskError, DiskOrder, DiskOutcome, File, OpId};
use crate::planted::Planted;
#[cfg(debug_assertions)]
use crate::planted::planted;
use crate::types::{DriveId, VersionId, WallTime};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use append::Stage;
use batch::Item;
use bytes::Bytes;
use compact::{Compaction, Copying};
use extent::Extent;
use format::{BLOCK, HEADER, Position};
use index::{Index, Location};

/// Names one shard: a version of an object (or a part), the stripe in it, and the position in the stripe
/// (`0..k` hold data, `k..k+m` parity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardKey {
    /// Whose bytes.
    pub version: VersionId,
    /// Which stripe, from 0.
    pub stripe: u32,
    /// Which position of the stripe.
    pub position: u8,
}

/// How a drive's store behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which drive.
    pub drive: DriveId,
    /// The cluster, written into each extent.
    pub cluster: u128,
    /// An extent is sealed when it reaches this many bytes.
    pub extent_size: u64,
    /// A sealed extent with less than this share of live bytes, in percent, is compacted.
    pub compact_below_percent: u8,
    /// Planted bugs, all off in production.
    pub planted: Planted,
}

/// Names a request of the parent; the answer carries it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A fact for the store.
#[derive(Clone, Debug)]
pub enum Event {
    /// Store a shard, prepared until `expires` (wall time of the metadata home). `record` comes from `stripe::frame`
    /// and carries its own checksums. Answered by `Stored` (durable) or `Refused`.
    Put { ticket: Ticket, key: ShardKey, expires: WallTime, record: Bytes },
    /// The version is decided: its shards are kept until `Delete`. No answer: a mark lost in a crash is asked for again.
    Commit { version: VersionId },
    /// Remove all shards of the version; the bytes are reclaimed by compaction. Answered by `Deleted` when durable.
    Delete { ticket: Ticket, version: VersionId },
    /// Read a shard. Answered by `Loaded`.
    Get { ticket: Ticket, key: ShardKey },
    /// A disk order ended.
    Disk { op: OpId, outcome: DiskOutcome },
}

/// An order of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An order to this drive.
    Disk { op: OpId, order: DiskOrder },
    /// The shard is durable.
    Stored { ticket: Ticket },
    /// The shard is not stored.
    Refused { ticket: Ticket, error: DiskError },
    /// No shard of the version remains.
    Deleted { ticket: Ticket },
    /// The shard's record as `Put` brought it, its checksums not yet verified; `None` when the store does not hold
    /// the shard or could not read it.
    Loaded { ticket: Ticket, record: Option<Bytes> },
    /// A sync failed. Fatal: the node must stop (`DISK-3`).
    Failed { file: File, error: DiskError },
    /// Something on disk was not as it should be; the store goes on without it.
    Suspect { file: File, offset: u64, what: &'static str },
}

/// A version whose shards are prepared and not known to be decided, and when that preparation expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The version.
    pub version: VersionId,
    /// The latest expiry of its shards.
    pub expires: WallTime,
}

/// Figures of one drive's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Shards held.
    pub shards: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Bytes of all extents.
    pub total_bytes: u64,
    /// Extents.
    pub extents: u64,
}

/// What a runtime finds in `<dir>/shards/` before the node starts.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sequence and size in bytes of each extent file.
    pub extents: Vec<(u64, u64)>,
}

/// The shard store of one drive.
#[derive(Debug)]
pub struct Store {
    config: Config,
    index: Index,
    /// Bytes of the records that the index points at.
    live_bytes: u64,
    extents: BTreeMap<u64, Extent>,
    /// The extent that takes batches.
    open: Option<u64>,
    /// The extent that is kept back (`SHARD-6`).
    spare: Option<u64>,
    next_sequence: u64,
    last_opened: u64,
    queue: VecDeque<Item>,
    /// Versions whose mark is not yet on disk.
    marks: BTreeSet<VersionId>,
    stage: Stage,
    /// Extents that recovery read and that are not yet durable (`SHARD-5`).
    settling: u32,
    /// Extents with so little in them that something should be done.
    candidates: BTreeSet<u64>,
    compaction: Option<Compaction>,
    /// The last compaction could not write; it waits until space was freed.
    compaction_paused: bool,
    ops: BTreeMap<OpId, Op>,
    next_op: u64,
    /// A sync failed (`DISK-3`).
    failed: bool,
}

/// What an order to the drive is for.
#[derive(Debug)]
enum Op {
    Create { sequence: u64 },
    RemoveStray,
    BatchWrite,
    BatchSync,
    FooterWrite { sequence: u64 },
    FooterSync { sequence: u64 },
    SettleSync { sequence: u64 },
    Get { ticket: Ticket, location: Location },
    IndexRead,
    CopyRead(Copying),
    Remove { sequence: u64 },
}

impl Store {
    fn new(config: Config) -> Store {
        assert!(config.extent_size >= 4 * BLOCK, "an extent has room for its header, a batch and its index");
        assert!(config.compact_below_percent <= 100, "a share in percent");
        Store {
            config,
            index: Index::default(),
            live_bytes: 0,
            extents: BTreeMap::new(),
            open: None,
            spare: None,
            next_sequence: 1,
            last_opened: 0,
            queue: VecDeque::new(),
            marks: BTreeSet::new(),
            stage: Stage::Idle,
            settling: 0,
            candidates: BTreeSet::new(),
            compaction: None,
            compaction_paused: false,
            ops: BTreeMap::new(),
            next_op: 1,
            failed: false,
        }
    }

    /// Takes a fact and pushes orders. After [`Effect::Failed`] nothing more comes.
    pub fn step(&mut self, event: Event, out: &mut Vec<Effect>) {
        if self.failed {
            return;
        }
        match event {
            Event::Put { ticket, key, expires, record } => {
                self.queue.push_back(Item::Put { ticket, key, expires, committed: false, record });
            }
            Event::Commit { version } => self.on_commit(version),
            Event::Delete { ticket, version } => {
                self.queue.push_back(Item::Delete { ticket, version, retried: false });
            }
            Event::Get { ticket, key } => self.on_get(ticket, key, out),
            Event::Disk { op, outcome } => self.on_disk(op, outcome, out),
        }
        self.advance(out);
    }

    /// Versions with shards here that are not known to be decided.
    pub fn undecided(&self) -> impl Iterator<Item = Undecided> {
        self.index.undecided()
    }

    /// Whether the version has a preparation here that expires after `asked`, durable or on its way.
    #[must_use]
    pub fn expires_after(&self, version: VersionId, asked: WallTime) -> bool {
        let prepared = self.index.undecided().any(|known| known.version == version && known.expires > asked);
        prepared || self.has_pending_put(version)
    }

    /// Whether any shard of the version is here and durable.
    #[must_use]
    pub fn holds(&self, version: VersionId) -> bool {
        self.index.holds(version)
    }

    /// The shards of the version that are here and durable, in order.
    pub fn shards_of(&self, version: VersionId) -> impl Iterator<Item = ShardKey> {
        self.index.shards_of(version).map(|(key, _)| key)
    }

    /// Whether nothing waits and nothing is on its way. Marks that wait for company do not count.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.failed || (self.ops.is_empty() && self.queue.is_empty() && self.compaction.is_none())
    }

    /// Figures for status and metrics.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            shards: self.index.shard_count() as u64,
            live_bytes: self.live_bytes,
            total_bytes: self.extents.values().map(|extent| extent.size).sum(),
            extents: self.extents.len() as u64,
        }
    }

    /// Starts whatever can be started.
    fn advance(&mut self, out: &mut Vec<Effect>) {
        loop {
            self.pump(out);
            self.reclaim(out);
            if self.failed || self.compaction.as_ref().is_none_or(|compaction| compaction.pending > 0) {
                return;
            }
            self.continue_compaction(out);
        }
    }

    fn on_commit(&mut self, version: VersionId) {
        let prepared = self.index.commit(version);
        let pending = self.flag_pending_puts(version);
        if prepared || pending {
            self.marks.insert(version);
        }
    }

    fn on_get(&mut self, ticket: Ticket, key: ShardKey, out: &mut Vec<Effect>) {
        let found = self.index.get(key);
        #[cfg(debug_assertions)]
        let found =
            found.or_else(|| planted!(self.config.planted, MixedVersions).then(|| self.index.get_any(key)).flatten());
        let Some(location) = found else {
            out.push(Effect::Loaded { ticket, record: None });
            return;
        };
        self.extents.get_mut(&location.at.extent).expect("the index points at extents that exist").readers += 1;
        self.order_record_read(Op::Get { ticket, location }, location, out);
    }

    fn on_disk(&mut self, op: OpId, outcome: DiskOutcome, out: &mut Vec<Effect>) {
        match self.ops.remove(&op).expect("each order ends once") {
            Op::Create { sequence } => self.on_create(sequence, done(outcome), out),
            // It is not known whether there was a file; either way it is of no concern any more.
            Op::RemoveStray => {}
            Op::BatchWrite => self.on_batch_write(done(outcome), out),
            Op::BatchSync => self.on_batch_sync(done(outcome), out),
            Op::FooterWrite { sequence } => self.on_footer_write(sequence, done(outcome), out),
            Op::FooterSync { sequence } => self.on_footer_sync(sequence, done(outcome), out),
            Op::SettleSync { sequence } => self.on_settle_sync(sequence, done(outcome), out),
            Op::Get { ticket, location } => self.on_got(ticket, location, bytes(outcome), out),
            Op::IndexRead => self.on_index_read(bytes(outcome), out),
            Op::CopyRead(copying) => self.on_copy_read(copying, bytes(outcome), out),
            Op::Remove { sequence } => self.on_remove(sequence, done(outcome), out),
        }
    }

    fn on_got(&mut self, ticket: Ticket, location: Location, read: Result<Bytes, DiskError>, out: &mut Vec<Effect>) {
        self.extents.get_mut(&location.at.extent).expect("an extent being read is not removed").readers -= 1;
        let record = read.ok().filter(|record| record.len() == location.length as usize);
        if record.is_none() {
            let file = File::Extent(self.config.drive, location.at.extent);
            out.push(Effect::Suspect { file, offset: location.at.offset, what: "a shard could not be read" });
        }
        out.push(Effect::Loaded { ticket, record });
    }

    fn order(&mut self, op: Op, order: DiskOrder, out: &mut Vec<Effect>) {
        let id = OpId(self.next_op);
        self.next_op += 1;
        self.ops.insert(id, op);
        out.push(Effect::Disk { op: id, order });
    }

    fn order_record_read(&mut self, op: Op, location: Location, out: &mut Vec<Effect>) {
        let file = File::Extent(self.config.drive, location.at.extent);
        let offset = location.at.offset + HEADER as u64;
        self.order(op, DiskOrder::Read { file, offset, length: location.length }, out);
    }

    fn set_location(&mut self, key: ShardKey, location: Location, expires: WallTime, committed: bool) {
        let before = self.index.insert(key, location, expires, committed);
        let extent = self.extents.get_mut(&location.at.extent).expect("a record's extent exists");
        extent.live += u64::from(location.footprint);
        self.live_bytes += HEADER as u64 + u64::from(location.length);
        if let Some(before) = before {
            self.on_dead(before);
        }
    }

    fn remove_shards(&mut self, version: VersionId, bound: Position) {
        for location in self.index.remove_before(version, bound) {
            self.on_dead(location);
        }
    }

    fn on_dead(&mut self, location: Location) {
        let extent = self.extents.get_mut(&location.at.extent).expect("what was live is in an extent that exists");
        extent.live -= u64::from(location.footprint);
        self.live_bytes -= HEADER as u64 + u64::from(location.length);
        self.recheck(location.at.extent);
    }

    fn add_mark(&mut self, sequence: u64, footprint: u32) {
        self.extents.get_mut(&sequence).expect("a record's extent exists").marks += u64::from(footprint);
    }

    fn add_tombstone(&mut self, sequence: u64, footprint: u32, targets: &[u64]) {
        let extent = self.extents.get_mut(&sequence).expect("a record's extent exists");
        extent.tombstones.footprint += u64::from(footprint);
        extent.tombstones.size += format::tombstone_size(targets);
        extent.tombstones.targets.extend(targets);
    }
}

fn done(outcome: DiskOutcome) -> Result<(), DiskError> {
    match outcome {
        DiskOutcome::Done => Ok(()),
        DiskOutcome::Failed(error) => Err(error),
        DiskOutcome::Read(_) => panic!("only a read ends with bytes"),
    }
}

fn bytes(outcome: DiskOutcome) -> Result<Bytes, DiskError> {
    match outcome {
        DiskOutcome::Read(bytes) => Ok(bytes),
        DiskOutcome::Failed(error) => Err(error),
        DiskOutcome::Done => panic!("a read ends with bytes"),
    }
}
