//! What the given directories are before anything is written to them.

use super::error::DirectoryError;
use super::format::{Format, Owner, read_format};
use super::{check_empty, lock};
use anvil_core::topology::Topology;
use anvil_core::types::DriveId;
use anvil_state_store::StateStore;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The directories that a node is given, and the drives that it is to do without.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Each a drive.
    pub paths: &'a [PathBuf],
    /// Drives that are gone for good, as the operator says.
    pub lost: &'a [DriveId],
}

impl<'a, P: AsRef<[PathBuf]> + ?Sized> From<&'a P> for Given<'a> {
    fn from(paths: &'a P) -> Given<'a> {
        Given { paths: paths.as_ref(), lost: &[] }
    }
}

/// Memory for a look at the topology.
const STATE_CACHE_BYTES: usize = 1 << 20;

/// The locked directories of a node.
#[derive(Debug)]
pub(super) struct Scan {
    /// Whose they are; nobody's when all are new.
    pub(super) owner: Option<Owner>,
    /// Whether every `format` has the node's number.
    pub(super) numbered: bool,
    /// Whether any has.
    pub(super) any_numbered: bool,
    /// Those with a `format`, by the drive's place among the node's.
    pub(super) known: BTreeMap<u32, (PathBuf, Format)>,
    /// The largest of these counts.
    pub(super) drives_before: u32,
    /// Drives that the node is to do without.
    pub(super) lost: Vec<DriveId>,
    /// Drives that are lost and of which the node does not know yet that they have left the cluster.
    pub(super) absent: BTreeSet<DriveId>,
    unused: Vec<PathBuf>,
    pub(super) locks: Vec<File>,
}

impl Scan {
    /// Locks and reads the directories of node `name`. Makes those that do not exist.
    pub(super) fn of(given: Given<'_>, name: &str) -> Result<Scan, DirectoryError> {
        let mut scan = Scan {
            owner: None,
            numbered: true,
            any_numbered: false,
            known: BTreeMap::new(),
            drives_before: 0,
            lost: given.lost.to_vec(),
            absent: BTreeSet::new(),
            unused: Vec::new(),
            locks: Vec::new(),
        };
        for path in given.paths {
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
                    let (place, drive) = (format.place, format.drive);
                    let is_double = scan.numbers().any(|known| known == drive);
                    if is_double || scan.known.insert(place, (path.clone(), format)).is_some() {
                        return Err(DirectoryError::SameDrive { path: path.clone(), drive });
                    }
                }
                None => {
                    check_empty(path)?;
                    scan.unused.push(path.clone());
                }
            }
        }
        scan.check_complete()?;
        Ok(scan)
    }

    /// DIR-3: without a drive only where the cluster has let it go, as far as this node knows, or its operator says so. What is missing
    /// and has not left stays in `absent`.
    fn check_complete(&mut self) -> Result<(), DirectoryError> {
        let Some(owner) = &self.owner else { return Ok(()) };
        if !self.known.contains_key(&0) {
            return Err(DirectoryError::MissingFirst);
        }
        let is_whole = (0..self.drives_before).all(|place| self.known.contains_key(&place));
        let is_listed = self.known.values().any(|(_, format)| format.listed);
        if is_whole && !is_listed && self.lost.is_empty() {
            return Ok(());
        }
        let topology = self.topology()?.unwrap_or_default();
        let own = topology.nodes.get(&owner.node).map_or(&[][..], |info| &info.drives);
        let own = own.iter().map(|known| known.drive);
        let expected: BTreeSet<DriveId> = self.listed().into_iter().chain(own.filter(|_| !is_whole)).collect();
        self.lost.retain(|drive| expected.contains(drive));
        // The rows may be older than the node: they know of no drive that was numbered since. A number that another node has was never
        // this one's, so the missing place has another one.
        let home = |drive: &DriveId| topology.home_of(*drive);
        let has_left = |drive: &DriveId| drive.0 < topology.next_drive && home(drive).is_none();
        let is_foreign = |drive: &DriveId| home(drive).is_some_and(|node| node != owner.node);
        let is_known = |drive: &DriveId| self.numbers().any(|known| known == *drive);
        let absent: BTreeSet<DriveId> = expected
            .into_iter()
            .filter(|drive| !is_known(drive) && !has_left(drive) && (is_listed || !is_foreign(drive)))
            .collect();
        let missing = absent.iter().find(|drive| !self.lost.contains(drive)).copied();
        self.absent = absent;
        missing.map_or(Ok(()), |drive| Err(DirectoryError::MissingDrive { drive }))
    }

    /// The drives that the node has, or had when the last of its formats was written.
    pub(super) fn listed(&self) -> BTreeSet<DriveId> {
        let numbers = self.known.values().flat_map(|(_, format)| &format.numbers);
        numbers.copied().chain(self.numbers()).collect()
    }

    /// The numbers of the drives that have a `format`.
    pub(super) fn numbers(&self) -> impl Iterator<Item = DriveId> {
        self.known.values().map(|(_, format)| format.drive)
    }

    /// The cluster, as this node knows it.
    pub(super) fn topology(&self) -> Result<Option<Topology>, DirectoryError> {
        let path = self.first().join("state.redb");
        if self.owner.is_none() || !path.exists() {
            return Ok(None);
        }
        let unreadable = |why: String| DirectoryError::Io { path: path.clone(), error: io::Error::other(why) };
        let state = StateStore::open(&path, STATE_CACHE_BYTES).map_err(|error| unreadable(error.to_string()))?;
        let (topology, _) = state.topology().map_err(|error| unreadable(format!("{error:?}")))?;
        Ok(Some(topology))
    }

    /// The directory that has or will have log, state store and keys.
    pub(super) fn first(&self) -> &Path {
        let known = self.known.get(&0).map(|(path, _)| path);
        known.or(self.unused.first()).expect("a node has at least one directory")
    }

    /// The new directories, in the order in which they become drives.
    pub(super) fn unused(&self) -> &[PathBuf] {
        &self.unused
    }
}
