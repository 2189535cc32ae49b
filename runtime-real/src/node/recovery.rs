//! The shard stores read back from their drives, at the start of a node.

use super::core_loop::StartOptions;
use super::directory::NodeDirectory;
use super::disks::{Disks, disk_error, read_at};
use anvil_core::disk::{DiskError, File};
use anvil_core::planted::Planted;
use anvil_core::shards;
use anvil_core::types::DriveId;
use anyhow::Context;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;

/// Each drive's store and its first orders.
pub(super) type Stores = BTreeMap<DriveId, (shards::Store, Vec<shards::Effect>)>;

/// Reads what the drives of a node hold. Blocks.
pub(super) fn recover_stores(
    directory: &NodeDirectory,
    options: &StartOptions,
    disks: &Disks,
) -> anyhow::Result<Stores> {
    let mut stores = BTreeMap::new();
    for (&drive, path) in &directory.drives {
        let listing = disks.extents(drive).with_context(|| format!("{} cannot be read", path.display()))?;
        let config = shards::Config {
            drive,
            cluster: directory.cluster,
            extent_size: options.extent_bytes,
            compact_below_percent: 50,
            planted: Planted::default(),
        };
        let mut reader = Reader { disks, drive, open: None };
        let recovered =
            shards::recover(config, listing, &mut |extent, offset, length| reader.read(extent, offset, length));
        stores.insert(drive, recovered?);
    }
    Ok(stores)
}

/// Reads extents one after the other, and has one of them open at a time.
struct Reader<'a> {
    disks: &'a Disks,
    drive: DriveId,
    open: Option<(u64, fs::File)>,
}

impl Reader<'_> {
    fn read(&mut self, extent: u64, offset: u64, length: u32) -> Result<Bytes, DiskError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != extent) {
            self.open = None;
            let name = File::Extent(self.drive, extent);
            self.open = Some((extent, self.disks.open(name).map_err(|error| disk_error(&error))?));
        }
        let (_, file) = self.open.as_ref().expect("it was opened above");
        read_at(file, offset, length).map_err(|error| disk_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_keeps_no_extent_open() {
        let home = tempfile::tempdir().unwrap();
        let directory = NodeDirectory::open(&[home.path().to_owned()], "node1", None).unwrap();
        let shards = home.path().join("shards");
        for sequence in 1..=20 {
            fs::File::create(shards.join(format!("{sequence:016x}.ext"))).unwrap().set_len(1 << 16).unwrap();
        }
        let disks = Disks::new(directory.drives.clone());
        recover_stores(&directory, &StartOptions::default(), &disks).unwrap();
        let ours = |link: &std::io::Result<fs::DirEntry>| {
            let target = link.as_ref().ok().and_then(|link| fs::read_link(link.path()).ok());
            target.is_some_and(|target| target.starts_with(&shards))
        };
        assert_eq!(fs::read_dir("/proc/self/fd").unwrap().filter(ours).count(), 0);
    }
}
