//! One file: what reads see, what is durable, and the writes between the two.

use super::SECTOR;
use crate::chance::Chance;
use crate::world::SimTime;
use bytes::Bytes;

/// How a power loss treats writes that no sync covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tearing {
    /// None survives.
    LoseAll,
    /// All survive, in full.
    KeepAll,
    /// Each write survives or not.
    Writes,
    /// Each sector of each write survives or not.
    Sectors,
    /// Of each write only the first sectors survive.
    Prefix,
}

impl Tearing {
    pub(super) fn draw(chance: &mut Chance) -> Tearing {
        match chance.below(8) {
            0 | 1 => Tearing::LoseAll,
            2 => Tearing::KeepAll,
            3 => Tearing::Writes,
            4 | 5 => Tearing::Sectors,
            _ => Tearing::Prefix,
        }
    }
}

/// A change that is visible and not durable.
#[derive(Clone, Debug)]
enum Unsynced {
    Write { offset: u64, bytes: Bytes, done: SimTime },
    Resize { size: u64 },
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct SimFile {
    visible: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// When its creation completes, and its existence is durable.
    born: SimTime,
}

impl SimFile {
    /// A file of zeros whose creation completes at `born`.
    pub(super) fn born(size: u64, born: SimTime) -> SimFile {
        let zeros = vec![0; length(size)];
        SimFile { visible: zeros.clone(), durable: zeros, unsynced: Vec::new(), born }
    }

    pub(super) fn size(&self) -> u64 {
        self.visible.len() as u64
    }

    /// Whether its creation has completed by `now` (WORLD-DISK-3).
    pub(super) fn exists_durably(&self, now: SimTime) -> bool {
        now >= self.born
    }

    pub(super) fn exist_durably(&mut self) {
        self.born = SimTime(0);
    }

    pub(super) fn write(&mut self, offset: u64, bytes: Bytes, done: SimTime) {
        put(&mut self.visible, offset, &bytes);
        self.unsynced.push(Unsynced::Write { offset, bytes, done });
    }

    pub(super) fn resize(&mut self, size: u64) {
        self.visible.resize(length(size), 0);
        self.unsynced.push(Unsynced::Resize { size });
    }

    /// Up to `size` bytes at `offset`; fewer at the end of the file.
    pub(super) fn read(&self, offset: u64, size: u64) -> Bytes {
        let end = offset.saturating_add(size).min(self.size());
        let start = offset.min(end);
        Bytes::copy_from_slice(&self.visible[length(start)..length(end)])
    }

    /// Fills `out`; false when the file ends before.
    pub(super) fn read_into(&self, offset: u64, out: &mut [u8]) -> bool {
        let start = length(offset);
        let piece = start.checked_add(out.len()).and_then(|end| self.visible.get(start..end));
        piece.map(|piece| out.copy_from_slice(piece)).is_some()
    }

    /// Makes durable what completed before `ordered`, and any of the rest.
    pub(super) fn sync(&mut self, ordered: SimTime, chance: &mut Chance) {
        let mut waiting = Vec::new();
        for change in std::mem::take(&mut self.unsynced) {
            // WORLD-DISK-2
            let covered = match &change {
                Unsynced::Write { done, .. } => *done <= ordered || chance.below(2) == 0,
                Unsynced::Resize { .. } => true,
            };
            match (&change, covered) {
                (Unsynced::Write { offset, bytes, .. }, true) => put(&mut self.durable, *offset, bytes),
                (Unsynced::Resize { size }, true) => self.durable.resize(length(*size), 0),
                (Unsynced::Write { .. } | Unsynced::Resize { .. }, false) => waiting.push(change),
            }
        }
        self.unsynced = waiting;
    }

    /// Pulls the plug.
    pub(super) fn lose_power(&mut self, tearing: Tearing, chance: &mut Chance) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Unsynced::Resize { size } => {
                    // Growth may survive without the bytes; a cut that did not become durable leaves the old end.
                    if length(size) > self.durable.len() && tearing != Tearing::LoseAll {
                        self.durable.resize(length(size), 0);
                    }
                }
                Unsynced::Write { offset, bytes, .. } => tear(&mut self.durable, offset, &bytes, tearing, chance),
            }
        }
        self.visible.clone_from(&self.durable);
        self.born = SimTime(0);
    }

    /// Where written bytes are: offsets in the durable image that are not zero. Used to aim damage.
    pub(super) fn written_offset(&self, chance: &mut Chance) -> Option<u64> {
        if self.durable.is_empty() {
            return None;
        }
        (0..64).find_map(|_| {
            let offset = chance.index(self.durable.len());
            (self.durable[offset] != 0).then_some(offset as u64)
        })
    }

    /// Flips a bit at rest, in both images.
    pub(super) fn flip(&mut self, offset: u64, bit: u32) {
        let at = length(offset);
        for image in [&mut self.durable, &mut self.visible] {
            if let Some(byte) = image.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Overwrites a sector at rest, in both images.
    pub(super) fn overwrite_sector(&mut self, sector: u64, chance: &mut Chance) {
        let start = length(sector * SECTOR);
        let mut junk = [0; 512];
        chance.fill(&mut junk);
        for image in [&mut self.durable, &mut self.visible] {
            let end = (start + junk.len()).min(image.len());
            if start < end {
                image[start..end].copy_from_slice(&junk[..end - start]);
            }
        }
    }
}

fn tear(image: &mut Vec<u8>, offset: u64, bytes: &Bytes, tearing: Tearing, chance: &mut Chance) {
    let keeps_write = chance.below(2) == 0;
    let sectors = (offset + bytes.len() as u64).div_ceil(SECTOR) - offset / SECTOR;
    let prefix = chance.below(sectors + 1);
    let mut at = offset;
    let mut index = 0;
    while at < offset + bytes.len() as u64 {
        let end = ((at / SECTOR + 1) * SECTOR).min(offset + bytes.len() as u64);
        let keeps = match tearing {
            Tearing::LoseAll => false,
            Tearing::KeepAll => true,
            Tearing::Writes => keeps_write,
            Tearing::Sectors => chance.below(2) == 0,
            Tearing::Prefix => index < prefix,
        };
        if keeps {
            put(image, at, &bytes[length(at - offset)..length(end - offset)]);
        }
        at = end;
        index += 1;
    }
}

fn put(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = length(offset);
    let end = start + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(bytes);
}

fn length(size: u64) -> usize {
    usize::try_from(size).expect("simulated files are small")
}
