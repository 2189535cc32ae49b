//! The shard stores read back from their drives, at the start of a node.
//!
//! A part of an extent that the drive cannot read is damage, and the store goes on without it: other drives have the
//! rest. A file that cannot be opened at all is no damage of the drive but a mistake (permissions, a limit), and what it
//! holds would be missed for as long as the process lives. So the node says which file it is and does not start.

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
use std::path::PathBuf;
use std::{fs, io};

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
        let mut reader = Reader { disks, drive, open: None, refused: None };
        let recovered =
            shards::recover(config, listing, &mut |extent, offset, length| reader.read(extent, offset, length));
        if let Some((path, error)) = reader.refused {
            return Err(error).with_context(|| {
                format!(
                    "{} cannot be opened, and a node without it would miss what it holds; make the file readable and \
                     writable for this user, and start again",
                    path.display()
                )
            });
        }
        stores.insert(drive, recovered?);
    }
    Ok(stores)
}

/// Reads extents one after the other, and has one of them open at a time.
struct Reader<'a> {
    disks: &'a Disks,
    drive: DriveId,
    open: Option<(u64, fs::File)>,
    /// The first file that could not be opened, and why.
    refused: Option<(PathBuf, io::Error)>,
}

impl Reader<'_> {
    fn read(&mut self, extent: u64, offset: u64, length: u32) -> Result<Bytes, DiskError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != extent) {
            self.open = None;
            let name = File::Extent(self.drive, extent);
            match self.disks.open(name) {
                Ok(file) => self.open = Some((extent, file)),
                Err(error) => {
                    let why = disk_error(&error);
                    self.refused.get_or_insert((self.disks.path(name), error));
                    return Err(why);
                }
            }
        }
        let (_, file) = self.open.as_ref().expect("it was opened above");
        read_at(file, offset, length).map_err(|error| disk_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recover(home: &std::path::Path) -> anyhow::Result<Stores> {
        let directory = NodeDirectory::open(&[home.to_owned()], "node1", None)?;
        recover_stores(&directory, &StartOptions::default(), &Disks::new(directory.drives.clone()))
    }

    #[test]
    fn an_extent_that_cannot_be_opened_stops_the_start_and_is_named() {
        let home = tempfile::tempdir().unwrap();
        recover(home.path()).expect("an empty directory");
        // Root may open any file, so the mistake here is one that stops root too.
        let path = home.path().join("shards").join("0000000000000001.ext");
        fs::create_dir(&path).unwrap();
        let error = recover(home.path()).expect_err("the extent is not a file");
        assert!(format!("{error:#}").contains(&path.display().to_string()), "{error:#}");
    }

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
        let ours = |link: &io::Result<fs::DirEntry>| {
            let target = link.as_ref().ok().and_then(|link| fs::read_link(link.path()).ok());
            target.is_some_and(|target| target.starts_with(&shards))
        };
        assert_eq!(fs::read_dir("/proc/self/fd").unwrap().filter(ours).count(), 0);
    }
}
