//! One drive of one node: files with a durable image, what reads see, and what a power loss leaves of the difference.
//!
//! The intuition: a write lands in the page cache, which is what reads see; a sync copies to the durable image the
//! writes that had completed when it was *ordered*, and maybe others. Pulling the plug keeps the durable image and,
//! of the rest, any subset of 512-byte sectors. A process that merely dies leaves the page cache alone.
//!
//! - `WORLD-DISK-1` Nothing that a sync covered is ever lost, unless the atlas made that sync lie.
//! - `WORLD-DISK-2` A sync covers only writes that completed before it was ordered (`DISK-1`); others only by luck.
//! - `WORLD-DISK-3` A file made or removed is durably so once the order completed (`DISK-2`); before that, by luck.
//! - `WORLD-DISK-4` After a power loss or a death, no handle of the earlier life can change anything.
//!
//! Sources: Pillai et al., "All file systems are not created equal" (OSDI 2014), §2; Alagappan et al.,
//! "Protocol-aware recovery" (FAST 2018), §2, for the kinds of damage at rest.

mod damage;
mod file;
#[cfg(test)]
mod tests;

pub use damage::{Damage, DamageKind};
use file::SimFile;

use super::SimTime;
use super::rates::DiskRates;
use crate::chance::Chance;
use anvil_core::disk::{DiskError, DiskOrder, DiskOutcome, File};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The smallest piece that a drive writes whole.
pub const SECTOR: u64 = 512;

/// The longest that an order takes, however it stalls: a drive that hangs for ever is a node that is down for ever.
const ORDER_MICROS_MAX: u64 = 4_000_000;

/// A file of a simulated drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A file that the core orders.
    Core(File),
    /// The state store's one file, on drive 0.
    State,
}

/// Which writes and syncs go wrong on purpose, beyond the rates. Set by the atlas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treachery {
    /// Syncs of extents that report success and do nothing.
    pub lying_sync_per_million: u64,
    /// Writes to extents that land somewhere else in the file.
    pub misdirect_per_million: u64,
    /// Reads of extents that fail once.
    pub read_error_per_million: u64,
}

/// One drive.
#[derive(Debug)]
pub struct Disk {
    chance: Chance,
    rates: DiskRates,
    stalled_until: SimTime,
    treachery: Treachery,
    capacity: u64,
    files: BTreeMap<Name, SimFile>,
    removed: Vec<(SimTime, Name, SimFile)>,
    bad_sectors: BTreeSet<(Name, u64)>,
    life: u64,
    /// Whether the state store was ever complete.
    state_is_made: bool,
    /// The state store's operations that remain until the power goes.
    fuse: Option<u32>,
    power_is_off: bool,
}

/// When an order takes effect and when its outcome is known, in microseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Until the effect.
    pub effect: u64,
    /// Until the outcome; not less than `effect`.
    pub done: u64,
}

impl Disk {
    /// An empty drive.
    pub fn new(seed: u64, name: &str, rates: DiskRates, capacity: u64) -> Disk {
        Disk {
            chance: Chance::named(seed, &format!("disk {name}")),
            rates,
            stalled_until: SimTime(0),
            treachery: Treachery::default(),
            capacity,
            files: BTreeMap::new(),
            removed: Vec::new(),
            bad_sectors: BTreeSet::new(),
            life: 0,
            state_is_made: false,
            fuse: None,
            power_is_off: false,
        }
    }

    /// Sets what the atlas allows to go wrong.
    pub fn set_treachery(&mut self, treachery: Treachery) {
        self.treachery = treachery;
    }

    /// Nothing that is ordered from here on takes effect before `until`.
    pub fn stall(&mut self, until: SimTime) {
        self.stalled_until = until;
    }

    /// How long, in microseconds from `now`, the drive stands still.
    pub fn stalled_for(&self, now: SimTime) -> u64 {
        self.stalled_until.0.saturating_sub(now.0)
    }

    /// Changes how much fits. Files that are there stay.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// Ends errors and stalls; damage that is done stays.
    pub fn heal(&mut self) {
        self.rates = DiskRates {
            delay_micros: self.rates.delay_micros,
            sync_micros: self.rates.sync_micros,
            ..DiskRates::default()
        };
        self.treachery = Treachery::default();
        self.stalled_until = SimTime(0);
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.files.values().map(SimFile::size).sum()
    }

    /// How long an order takes.
    pub fn schedule(&mut self, order: &DiskOrder) -> Schedule {
        let typical = match order {
            DiskOrder::Sync { .. } | DiskOrder::Create { .. } | DiskOrder::Remove { .. } => self.rates.sync_micros,
            DiskOrder::Write { .. } | DiskOrder::Read { .. } => self.rates.delay_micros,
        };
        let stall = if self.chance.hits(self.rates.stall_per_million) { 100 } else { 1 };
        let done = (self.chance.heavy_tail(typical) * stall).min(ORDER_MICROS_MAX);
        Schedule { effect: self.chance.below(done + 1), done }
    }

    /// Carries an order out: it was ordered at `ordered`, takes effect at this moment and completes at `done`.
    pub fn carry_out(&mut self, ordered: SimTime, done: SimTime, order: &DiskOrder) -> DiskOutcome {
        match self.try_order(ordered, done, order) {
            Ok(outcome) => outcome,
            Err(error) => DiskOutcome::Failed(error),
        }
    }

    fn try_order(&mut self, ordered: SimTime, done: SimTime, order: &DiskOrder) -> Result<DiskOutcome, DiskError> {
        match order {
            DiskOrder::Create { file, size, .. } => {
                let name = Name::Core(*file);
                if self.files.contains_key(&name) {
                    return Err(DiskError::Io("file exists".into()));
                }
                if self.used() + size > self.capacity {
                    return Err(DiskError::Full);
                }
                self.files.insert(name, SimFile::born(*size, done));
                Ok(DiskOutcome::Done)
            }
            DiskOrder::Write { file, offset, bytes } => self.write(Name::Core(*file), *offset, bytes, done),
            DiskOrder::Sync { file } => self.sync(Name::Core(*file), ordered),
            DiskOrder::Read { file, offset, length } => {
                let name = Name::Core(*file);
                let is_extent = matches!(file, File::Extent(..));
                if is_extent && self.chance.hits(self.treachery.read_error_per_million) {
                    return Err(DiskError::Io("simulated read error".into()));
                }
                let bytes = self.read(name, *offset, u64::from(*length))?;
                Ok(DiskOutcome::Read(bytes))
            }
            DiskOrder::Remove { file } => {
                let name = Name::Core(*file);
                let gone = self.files.remove(&name).ok_or(DiskError::Missing)?;
                self.bad_sectors.retain(|(bad, _)| *bad != name);
                // Whatever was removed durably is of no interest any more.
                self.removed.retain(|(gone_at, _, _)| *gone_at > ordered);
                self.removed.push((done, name, gone));
                Ok(DiskOutcome::Done)
            }
        }
    }

    fn write(&mut self, name: Name, offset: u64, bytes: &Bytes, done: SimTime) -> Result<DiskOutcome, DiskError> {
        let fails = self.chance.hits(self.rates.write_error_per_million);
        let misdirected =
            matches!(name, Name::Core(File::Extent(..))) && self.chance.hits(self.treachery.misdirect_per_million);
        let used = self.used();
        let file = self.files.get_mut(&name).ok_or(DiskError::Missing)?;
        let growth = (offset + bytes.len() as u64).saturating_sub(file.size());
        if used + growth > self.capacity {
            return Err(DiskError::Full);
        }
        if fails {
            // A failed write may have done any part of its work, in whole sectors.
            let end = offset + self.chance.below(bytes.len() as u64 + 1);
            let part = (end / SECTOR * SECTOR).saturating_sub(offset);
            file.write(offset, bytes.slice(..usize::try_from(part).expect("a part of a slice")), done);
            return Err(DiskError::Io("simulated write error".into()));
        }
        let mut target = offset;
        if misdirected && file.size() > bytes.len() as u64 {
            target = self.chance.below(file.size() - bytes.len() as u64) / SECTOR * SECTOR;
        }
        file.write(target, bytes.clone(), done);
        let sectors = target / SECTOR..(target + bytes.len() as u64).div_ceil(SECTOR);
        self.bad_sectors.retain(|(bad, sector)| *bad != name || !sectors.contains(sector));
        Ok(DiskOutcome::Done)
    }

    fn sync(&mut self, name: Name, ordered: SimTime) -> Result<DiskOutcome, DiskError> {
        let fails = self.chance.hits(self.rates.sync_error_per_million);
        let lies =
            matches!(name, Name::Core(File::Extent(..))) && self.chance.hits(self.treachery.lying_sync_per_million);
        let file = self.files.get_mut(&name).ok_or(DiskError::Missing)?;
        if fails {
            return Err(DiskError::Io("simulated sync error".into()));
        }
        // WORLD-DISK-1: the treachery of extents is what the atlas allows; every other sync keeps its word.
        if !lies {
            file.sync(ordered, &mut self.chance);
        }
        Ok(DiskOutcome::Done)
    }

    fn read(&self, name: Name, offset: u64, length: u64) -> Result<Bytes, DiskError> {
        let file = self.files.get(&name).ok_or(DiskError::Missing)?;
        let bad = self.bad_sectors.range((name, offset / SECTOR)..(name, (offset + length).div_ceil(SECTOR)));
        if let Some((_, sector)) = bad.into_iter().next() {
            return Err(DiskError::Io(format!("simulated unreadable sector {sector}")));
        }
        Ok(file.read(offset, length))
    }

    /// What a starting process finds: the core's files and their sizes.
    pub fn list(&self) -> Vec<(File, u64)> {
        let core = |(name, file): (&Name, &SimFile)| match name {
            Name::Core(core) => Some((*core, file.size())),
            Name::State => None,
        };
        self.files.iter().filter_map(core).collect()
    }

    /// Reads a whole file outside of any order, as a starting process does.
    pub fn read_whole(&self, file: File) -> Result<Bytes, DiskError> {
        let name = Name::Core(file);
        let size = self.files.get(&name).ok_or(DiskError::Missing)?.size();
        self.read(name, 0, size)
    }

    /// Makes a log segment durable outside of any order, as a starting process does before it believes what it reads
    /// there (`DISK-4`): a process that died may have left writes in the page cache that no sync covered.
    pub fn settle(&mut self, file: File) -> Result<(), DiskError> {
        self.sync(Name::Core(file), SimTime(u64::MAX)).map(drop)
    }

    /// Writes a part of a file durably outside of any order, as a starting process does.
    pub fn write_durably(&mut self, file: File, offset: u64, bytes: Bytes) {
        let name = Name::Core(file);
        self.bad_sectors.retain(|(bad, sector)| *bad != name || *sector != offset / SECTOR);
        let written = self.files.get_mut(&name).expect("the file was read before");
        written.write(offset, bytes, SimTime(0));
        written.sync(SimTime(u64::MAX), &mut self.chance);
    }

    /// Removes a file durably outside of any order, as a starting process does.
    pub fn remove_durably(&mut self, file: File) {
        let name = Name::Core(file);
        self.files.remove(&name);
        self.bad_sectors.retain(|(bad, _)| *bad != name);
    }

    /// Syncs the directories outside of any order (`DISK-4`): what exists will exist, what is gone stays gone.
    pub fn settle_directories(&mut self) {
        self.removed.clear();
        for file in self.files.values_mut() {
            file.exist_durably();
        }
    }

    /// Before the state store is opened: what was left of one that was never complete goes, as if it had another name.
    pub fn begin_state(&mut self) {
        if !self.state_is_made {
            self.files.remove(&Name::State);
        }
    }

    /// The state store is complete, has its own name, and the directory is synced.
    pub fn finish_state(&mut self) {
        self.state_is_made = true;
    }

    /// Reads outside of any order, as a starting process does.
    pub fn read_now(&self, name: Name, offset: u64, length: u32) -> Result<Bytes, DiskError> {
        self.read(name, offset, u64::from(length))
    }

    /// The power goes at `now`: what was not synced survives in part.
    pub fn lose_power(&mut self, now: SimTime) {
        self.end_life();
        let chance = &mut self.chance;
        // One temper for each power loss: everything lost, everything kept, whole writes, or single sectors.
        let temper = file::Tearing::draw(chance);
        self.files.retain(|_, file| {
            let survives = file.exists_durably(now) || chance.below(2) == 0;
            if survives {
                file.lose_power(temper, chance);
            }
            survives
        });
        for (done, name, mut file) in std::mem::take(&mut self.removed) {
            if now < done && chance.below(2) == 0 && !self.files.contains_key(&name) {
                file.lose_power(temper, chance);
                self.files.insert(name, file);
            }
        }
    }

    /// The process dies and the machine lives on: the page cache survives, unsynced as it is.
    pub fn lose_process(&mut self) {
        self.end_life();
    }

    fn end_life(&mut self) {
        self.life += 1;
        self.fuse = None;
        self.power_is_off = false;
    }

    /// Everything is lost: the drive is replaced by an empty one.
    pub fn wipe(&mut self) {
        self.end_life();
        self.state_is_made = false;
        self.files.clear();
        self.removed.clear();
        self.bad_sectors.clear();
    }

    /// The life of the process that may use the drive; a handle remembers it.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// Lets the state store do `operations` more, and then cuts the power in the middle of its work.
    pub fn light_fuse(&mut self, operations: u32) {
        self.fuse = Some(operations);
    }

    /// Puts the fuse out; whether the power went before.
    pub fn put_fuse_out(&mut self) -> bool {
        self.fuse = None;
        self.power_is_off
    }

    /// Whether a handle of this life may touch the drive. Counts towards the fuse when it wants to change something.
    fn admit(&mut self, life: u64, changes: bool) -> std::io::Result<()> {
        // WORLD-DISK-4
        if life != self.life || self.power_is_off {
            return Err(std::io::Error::other("the power is off"));
        }
        if changes && let Some(left) = &mut self.fuse {
            if *left == 0 {
                self.power_is_off = true;
                return Err(std::io::Error::other("the power went off"));
            }
            *left -= 1;
        }
        Ok(())
    }

    /// The state store's file: its size.
    pub(crate) fn state_size(&mut self, life: u64) -> std::io::Result<u64> {
        self.admit(life, false)?;
        Ok(self.files.get(&Name::State).map_or(0, SimFile::size))
    }

    /// The state store's file: reads exactly `out.len()` bytes.
    pub(crate) fn state_read(&mut self, life: u64, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.admit(life, false)?;
        let file = self.files.get(&Name::State).ok_or(std::io::ErrorKind::NotFound)?;
        if file.read_into(offset, out) { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The state store's file: grows with zeros, or is cut.
    pub(crate) fn state_resize(&mut self, life: u64, size: u64) -> std::io::Result<()> {
        self.admit(life, true)?;
        let used = self.used();
        let file = self.files.entry(Name::State).or_insert_with(|| SimFile::born(0, SimTime(0)));
        if used - file.size() + size > self.capacity {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        file.resize(size);
        Ok(())
    }

    /// The state store's file: writes.
    pub(crate) fn state_write(&mut self, life: u64, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.admit(life, true)?;
        let file = self.files.entry(Name::State).or_insert_with(|| SimFile::born(0, SimTime(0)));
        file.write(offset, Bytes::copy_from_slice(bytes), SimTime(0));
        Ok(())
    }

    /// The state store's file: makes all writes durable.
    pub(crate) fn state_sync(&mut self, life: u64) -> std::io::Result<()> {
        self.admit(life, true)?;
        if self.chance.hits(self.rates.sync_error_per_million) {
            return Err(std::io::Error::other("simulated sync error"));
        }
        if let Some(file) = self.files.get_mut(&Name::State) {
            file.sync(SimTime(u64::MAX), &mut self.chance);
        }
        Ok(())
    }
}
