//! Damage to data at rest: bit rot, unreadable sectors, and sectors that another file's write hit.

use super::{Disk, Name, SECTOR};
use anvil_core::disk::File;

/// A way in which data at rest goes bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageKind {
    /// A bit flips.
    Rot,
    /// A sector cannot be read until it is written again.
    UnreadableSector,
    /// A sector was overwritten by a write meant for elsewhere.
    ForeignSector,
}

/// Damage that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub name: Name,
    /// Where, in bytes.
    pub offset: u64,
    /// How.
    pub kind: DamageKind,
}

impl Disk {
    /// Damages written bytes of a random file that `suits`. None when there is nothing to damage.
    pub fn damage(&mut self, kind: DamageKind, suits: impl Fn(Name) -> bool) -> Option<Damage> {
        let names: Vec<Name> = self.files.keys().copied().filter(|name| suits(*name)).collect();
        if names.is_empty() {
            return None;
        }
        let name = *self.chance.pick(&names);
        let file = self.files.get_mut(&name).expect("picked among the files");
        let offset = file.written_offset(&mut self.chance)?;
        match kind {
            DamageKind::Rot => {
                let bit = u32::try_from(self.chance.below(8)).expect("below 8");
                file.flip(offset, bit);
            }
            DamageKind::UnreadableSector => {
                self.bad_sectors.insert((name, offset / SECTOR));
            }
            DamageKind::ForeignSector => file.overwrite_sector(offset / SECTOR, &mut self.chance),
        }
        Some(Damage { name, offset, kind })
    }

    /// No byte of any extent can be read any more.
    pub fn lose_extents(&mut self) {
        for (name, file) in self.files.iter().filter(|(name, _)| name.is_extent()) {
            self.bad_sectors.extend((0..file.size().div_ceil(SECTOR)).map(|sector| (*name, sector)));
        }
    }
}

impl Name {
    /// Whether it holds shards.
    pub fn is_extent(self) -> bool {
        matches!(self, Name::Core(File::Extent(..)))
    }

    /// Whether it is a segment of the log.
    pub fn is_log(self) -> bool {
        matches!(self, Name::Core(File::LogSegment(_)))
    }
}
