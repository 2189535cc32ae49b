//! What the given directories are before anything is written to them.

use super::error::DirectoryError;
use super::format::{Owner, drive_at, read_format};
use super::{check_empty, lock};
use anvil_core::types::DriveId;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The locked directories of a node.
#[derive(Debug)]
pub(super) struct Scan {
    /// Whose they are; nobody's when all are new.
    pub(super) owner: Option<Owner>,
    /// Whether every `format` has the node's number.
    pub(super) numbered: bool,
    /// Whether any has.
    pub(super) any_numbered: bool,
    /// Those with a `format`, by the drive's place among the node's, with its number and the count of drives in it.
    pub(super) known: BTreeMap<u32, (PathBuf, DriveId, u32)>,
    /// The largest of these counts.
    pub(super) drives_before: u32,
    unused: Vec<PathBuf>,
    pub(super) locks: Vec<File>,
}

impl Scan {
    /// Locks and reads the directories of node `name`. Makes those that do not exist.
    pub(super) fn of(paths: &[PathBuf], name: &str) -> Result<Scan, DirectoryError> {
        let mut scan = Scan {
            owner: None,
            numbered: true,
            any_numbered: false,
            known: BTreeMap::new(),
            drives_before: 0,
            unused: Vec::new(),
            locks: Vec::new(),
        };
        for path in paths {
            fs::create_dir_all(path).map_err(|error| DirectoryError::Io { path: path.clone(), error })?;
            scan.locks.push(lock(path)?);
            match read_format(path)? {
                Some(format) if format.owner.name != name => {
                    return Err(DirectoryError::OtherNode { path: path.clone(), name: format.owner.name });
                }
                Some(format) => {
                    let owner = scan.owner.get_or_insert_with(|| format.owner.clone());
                    if owner.cluster != format.owner.cluster {
                        return Err(DirectoryError::OtherCluster { path: path.clone() });
                    }
                    // The same name, and still another node: one of the directories was made by another start.
                    if *owner != format.owner {
                        return Err(DirectoryError::OtherNode { path: path.clone(), name: format.owner.name });
                    }
                    scan.numbered &= format.numbered;
                    scan.any_numbered |= format.numbered;
                    scan.drives_before = scan.drives_before.max(format.drives);
                    if scan.known.insert(format.place, (path.clone(), format.drive, format.drives)).is_some() {
                        return Err(DirectoryError::SameDrive { path: path.clone(), drive: format.drive });
                    }
                }
                None => {
                    check_empty(path)?;
                    scan.unused.push(path.clone());
                }
            }
        }
        // DIR-3
        let missing = (0..scan.drives_before).find(|place| !scan.known.contains_key(place));
        match (missing, &scan.owner) {
            (Some(place), Some(owner)) => Err(DirectoryError::MissingDrive { drive: drive_at(owner.first, place)? }),
            (Some(_) | None, _) => Ok(scan),
        }
    }

    /// The directory that has or will have log, state store and keys.
    pub(super) fn first(&self) -> &Path {
        let known = self.known.get(&0).map(|(path, _, _)| path);
        known.or(self.unused.first()).expect("a node has at least one directory")
    }

    /// The new directories, in the order in which they become drives.
    pub(super) fn unused(&self) -> &[PathBuf] {
        &self.unused
    }
}
