//! A drive in memory that forgets at a crash what was not synced, by sectors, and a store on it whose orders end in any
//! order.

use super::super::*;
use crate::disk::{DiskError, DiskOrder, DiskOutcome, Purpose};
use alloc::vec;

const SECTOR: usize = 512;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Clone, Debug, Default)]
struct Contents {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<(usize, Bytes)>,
}

fn write(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    bytes.resize(bytes.len().max(offset + new.len()), 0);
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

/// Extents beyond the room for puts that tombstones and copies may have.
const RECLAIM_EXTENTS: u64 = 2;

/// What a crash spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process dies; what it wrote can still be read.
    Process,
    /// The power fails; each unsynced sector is there or not.
    Power,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Drive {
    files: BTreeMap<u64, Contents>,
    /// Percent of creates and writes that end with `Full`.
    pub(super) full: u64,
    /// Bytes of extents at which no more are made for puts; what frees space may make [`RECLAIM_EXTENTS`] more.
    pub(super) room: Option<u64>,
    /// Percent of reads that fail.
    pub(super) unreadable: u64,
    /// Whether syncs fail.
    pub(super) broken_sync: bool,
}

fn sequence(file: File) -> u64 {
    match file {
        File::Extent(_, sequence) => sequence,
        File::LogSegment(_) | File::HardStates => panic!("the shard store touches no log"),
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("a small file")
}

impl Drive {
    pub(super) fn carry_out(&mut self, order: DiskOrder, dice: &mut Dice) -> DiskOutcome {
        match order {
            DiskOrder::Create { .. } | DiskOrder::Write { .. } if dice.chance(self.full) => {
                // A failed write may have done part of its work.
                if let DiskOrder::Write { file, offset, bytes } = order
                    && dice.chance(50)
                {
                    self.write(file, at(offset), bytes);
                }
                DiskOutcome::Failed(DiskError::Full)
            }
            DiskOrder::Create { size, purpose, .. } if !self.has_room(size, purpose) => {
                DiskOutcome::Failed(DiskError::Full)
            }
            DiskOrder::Create { file, size, .. } => {
                let blank = vec![0; at(size)];
                let contents = Contents { durable: blank.clone(), current: blank, unsynced: Vec::new() };
                assert!(self.files.insert(sequence(file), contents).is_none(), "created twice");
                DiskOutcome::Done
            }
            DiskOrder::Write { file, offset, bytes } => {
                self.write(file, at(offset), bytes);
                DiskOutcome::Done
            }
            DiskOrder::Sync { .. } if self.broken_sync => DiskOutcome::Failed(DiskError::Io("sync".into())),
            DiskOrder::Sync { file } => {
                let contents = self.files.get_mut(&sequence(file)).expect("synced before it was removed");
                contents.durable = contents.current.clone();
                contents.unsynced.clear();
                DiskOutcome::Done
            }
            DiskOrder::Read { .. } if dice.chance(self.unreadable) => DiskOutcome::Failed(DiskError::Io("read".into())),
            DiskOrder::Read { file, offset, length } => match self.read(sequence(file), offset, length) {
                Ok(bytes) => DiskOutcome::Read(bytes),
                Err(error) => DiskOutcome::Failed(error),
            },
            DiskOrder::Remove { file } => match self.files.remove(&sequence(file)) {
                Some(_) => DiskOutcome::Done,
                None => DiskOutcome::Failed(DiskError::Missing),
            },
        }
    }

    fn has_room(&self, size: u64, purpose: Purpose) -> bool {
        let used: u64 = self.files.values().map(|file| file.current.len() as u64).sum();
        let more = match purpose {
            Purpose::Puts => 0,
            Purpose::Reclaim => RECLAIM_EXTENTS * size,
            Purpose::Log => panic!("the shard store has no log"),
        };
        self.room.is_none_or(|room| used + size <= room + more)
    }

    fn write(&mut self, file: File, offset: usize, bytes: Bytes) {
        let contents = self.files.get_mut(&sequence(file)).expect("written before it was removed");
        check_no_synced_block(contents, offset, &bytes);
        write(&mut contents.current, offset, &bytes);
        contents.unsynced.push((offset, bytes));
    }

    pub(super) fn read(&self, sequence: u64, offset: u64, length: u32) -> Result<Bytes, DiskError> {
        let bytes = &self.files.get(&sequence).ok_or(DiskError::Missing)?.current;
        let from = at(offset).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[from..(from + length as usize).min(bytes.len())]))
    }

    pub(super) fn crash(&mut self, crash: Crash, in_flight: Vec<DiskOrder>, dice: &mut Dice) {
        for order in in_flight {
            // An order on its way may or may not have been carried out.
            if dice.chance(50) && !matches!(order, DiskOrder::Sync { .. } | DiskOrder::Read { .. }) {
                self.carry_out(order, dice);
            }
        }
        if crash == Crash::Process {
            return;
        }
        for contents in self.files.values_mut() {
            // Sometimes all of it is lost, sometimes sectors of it.
            let kept = [0, 50, 95][dice.below(3)];
            for (offset, bytes) in contents.unsynced.drain(..) {
                let mut from = 0;
                while from < bytes.len() {
                    let to = ((offset + from) / SECTOR * SECTOR + SECTOR - offset).min(bytes.len());
                    if dice.chance(kept) {
                        write(&mut contents.durable, offset + from, &bytes[from..to]);
                    }
                    from = to;
                }
            }
            contents.current = contents.durable.clone();
        }
    }

    pub(super) fn listing(&self) -> Listing {
        Listing { extents: self.files.iter().map(|(sequence, file)| (*sequence, file.current.len() as u64)).collect() }
    }

    pub(super) fn bytes_mut(&mut self, sequence: u64) -> &mut Vec<u8> {
        let contents = self.files.get_mut(&sequence).expect("it exists");
        assert!(contents.unsynced.is_empty(), "only durable bytes rot");
        &mut contents.current
    }

    /// Makes what a test changed in [`Drive::bytes_mut`] survive a crash.
    pub(super) fn settle(&mut self) {
        self.files.values_mut().for_each(|contents| contents.durable = contents.current.clone());
    }
}

/// SHARD-2, seen from the drive: a write touches no block that holds synced bytes, but for an index that replaces one.
fn check_no_synced_block(contents: &Contents, offset: usize, bytes: &[u8]) {
    let replaces_index = bytes.len().is_multiple_of(4096) && bytes[bytes.len() - 64..].starts_with(b"ANSF");
    let from = (offset / 4096 * 4096).min(contents.durable.len());
    let to = (offset + bytes.len()).next_multiple_of(4096).min(contents.durable.len());
    let untouched = contents.durable[from..to].iter().all(|byte| *byte == 0);
    assert!(untouched || replaces_index, "a write at {offset} shares a block with synced bytes");
}

/// A store on a drive.
pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) drive: Drive,
    pub(super) dice: Dice,
    /// Orders that have not ended.
    pub(super) orders: Vec<(OpId, DiskOrder)>,
    /// Effects for the parent, oldest first.
    pub(super) told: Vec<Effect>,
}

impl Bench {
    pub(super) fn new(config: Config, seed: u64) -> Bench {
        let drive = Drive::default();
        let (store, first) =
            recover(config, Listing::default(), &mut |_, _, _| Err(DiskError::Missing)).expect("an empty directory");
        let mut bench = Bench { config, store, drive, dice: Dice(seed), orders: Vec::new(), told: Vec::new() };
        bench.sort(first);
        bench
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut out = Vec::new();
        self.store.step(event, &mut out);
        self.sort(out);
    }

    fn sort(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Disk { op, order } = effect {
                self.orders.push((op, order));
            } else {
                self.told.push(effect);
            }
        }
    }

    /// Lets one order end, any of them.
    pub(super) fn end_one(&mut self) {
        if self.orders.is_empty() {
            return;
        }
        let chosen = self.dice.below(self.orders.len());
        let (op, order) = self.orders.swap_remove(chosen);
        let outcome = self.drive.carry_out(order, &mut self.dice);
        self.step(Event::Disk { op, outcome });
    }

    pub(super) fn run_until_idle(&mut self) {
        let mut steps = 0;
        while !self.orders.is_empty() {
            self.end_one();
            steps += 1;
            assert!(steps < 100_000, "the store never comes to rest");
        }
        assert!(self.store.idle(), "nothing is on its way, yet the store waits");
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        let in_flight = core::mem::take(&mut self.orders).into_iter().map(|(_, order)| order).collect();
        self.drive.crash(crash, in_flight, &mut self.dice);
        self.recover().expect("the drive is ours");
    }

    pub(super) fn recover(&mut self) -> Result<(), RecoverError> {
        let (drive, dice) = (&self.drive, &mut self.dice);
        let mut read = |sequence, offset, length| {
            if dice.chance(drive.unreadable) {
                return Err(DiskError::Io("read".into()));
            }
            drive.read(sequence, offset, length)
        };
        let (store, first) = recover(self.config, drive.listing(), &mut read)?;
        self.store = store;
        self.orders.clear();
        self.sort(first);
        Ok(())
    }

    /// Asks for a shard and waits for it.
    pub(super) fn load(&mut self, key: ShardKey) -> Option<Bytes> {
        let ticket = Ticket(u64::MAX);
        self.step(Event::Get { ticket, key });
        loop {
            let found =
                self.told.iter().position(|told| matches!(told, Effect::Loaded { ticket: t, .. } if *t == ticket));
            if let Some(found) = found {
                let Effect::Loaded { record, .. } = self.told.remove(found) else { panic!("just matched") };
                return record;
            }
            self.end_one();
        }
    }
}
