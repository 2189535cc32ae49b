//! The data directories of a node: whose they are, who may open them, and the keys in the first one.
//!
//! - `DIR-1` A directory belongs to one node of one cluster, as one drive, for ever: `format` says which, and a
//!   directory without it must be empty to be taken.
//! - `DIR-2` One process at a time: `lock` is held for the life of the process.
//! - `DIR-3` A node starts with all its drives or not at all; a missing one is named. Not its drives are those that it knows to have left
//!   the cluster, and those that its operator says are lost: the cluster lets those go when the node runs.
//! - `DIR-4` No `format` counts a drive that has none yet. A start that died while it added drives leaves some that the
//!   others do not count: the node starts without them, and with them the next start completes what was begun.
//! - `DIR-5` Keys, authority and certificate come before the first `format`, so a directory with one has them all.
//!
//! A node without a `format` either founds a cluster ([`NodeDirectory::open`]) or joins one
//! ([`NodeDirectory::begin_join`]). The files: `docs/formats/directory.md`.

mod error;
mod format;
mod joining;
mod keys;
mod scan;
#[cfg(test)]
mod tests;

pub use error::DirectoryError;
pub use joining::{Begun, Candidate};
pub use scan::Given;

use super::checked_file::{self, CheckedFileError};
use crate::peers::{Ca, Identity};
use anvil_core::stripe::RootKey;
use anvil_core::types::{DriveId, NodeId};
use anvil_proto::join::KnownPeer;
use format::{Owner, drive_at, write_format};
use keys::Keys;
use scan::Scan;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The opened, locked directories of a node.
#[derive(Debug)]
pub struct NodeDirectory {
    /// The cluster, 128 random bits drawn when it was founded.
    pub cluster: u128,
    /// The node's name (`--id`).
    pub name: String,
    /// Its number, drawn at random. In a directory from before that, derived from the name.
    pub node: NodeId,
    /// Each drive's directory, with consecutive numbers. The first has the log, the state store and the keys.
    pub drives: BTreeMap<DriveId, PathBuf>,
    /// Wraps data keys.
    pub root_key: RootKey,
    /// The S3 access key pair.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The cluster's authority.
    pub ca: Ca,
    /// Who the node is to its peers.
    pub identity: Identity,
    /// The other nodes, as they were last written with [`write_peers`](NodeDirectory::write_peers).
    pub peers: Vec<KnownPeer>,
    /// The epoch of the topology that they were taken from; 0 for those that an admission brought, or none.
    pub peers_epoch: u64,
    /// Whether this start made the directory.
    pub fresh: bool,
    first: DriveId,
    _locks: Vec<File>,
}

impl NodeDirectory {
    /// Opens or makes the directories of node `name`; new ones are those of the first node of a new cluster.
    /// `credentials` replaces the access key pair of the directory for this run; without it the stored pair counts, drawn
    /// when the cluster was founded.
    pub fn open<'a>(
        given: impl Into<Given<'a>>,
        name: &str,
        credentials: Option<(String, String)>,
    ) -> Result<NodeDirectory, DirectoryError> {
        NodeDirectory::open_scanned(Scan::of(given.into(), name)?, name, credentials)
    }

    fn open_scanned(
        scan: Scan,
        name: &str,
        credentials: Option<(String, String)>,
    ) -> Result<NodeDirectory, DirectoryError> {
        // DIR-5
        let owner = match &scan.owner {
            Some(owner) => {
                // A node from before clusters had authorities founded its own, and is alone in it.
                if !scan.any_numbered {
                    Keys::found_authority(scan.first(), owner)?;
                }
                owner.clone()
            }
            None => {
                joining::check_founding(scan.first())?;
                let (cluster, node) = (u128::from_le_bytes(random()), joining::random_node());
                let owner = Owner { cluster, name: name.to_owned(), node, first: 0 };
                Keys::found(scan.first(), &owner)?;
                owner
            }
        };
        NodeDirectory::take(scan, owner, credentials)
    }

    /// Makes the directories those of `owner`, whose keys are there already.
    fn take(scan: Scan, owner: Owner, credentials: Option<(String, String)>) -> Result<NodeDirectory, DirectoryError> {
        let fresh = scan.owner.is_none();
        let first = scan.first().to_owned();
        let keys = Keys::open(&first, &owner)?;
        let mut drives: BTreeMap<u32, (PathBuf, DriveId)> =
            scan.known.iter().map(|(&place, (path, format))| (place, (path.clone(), format.drive))).collect();
        for ((place, path), number) in (scan.drives_before..).zip(scan.unused()).zip(new_numbers(&scan, &owner)?) {
            drives.insert(place, (path.clone(), number));
        }
        // A drive that left keeps its place.
        let total = drives.keys().next_back().map_or(0, |last| last + 1);
        // DIR-3: one that is lost stays listed until the cluster has let it go, or a start without the operator's word would forget it.
        let had: Vec<DriveId> = scan.absent.iter().copied().collect();
        let in_order: Vec<DriveId> = drives.values().map(|(_, drive)| *drive).collect();
        let all: Vec<DriveId> = in_order.iter().chain(&had).copied().collect();
        let numbers: BTreeMap<DriveId, PathBuf> = drives.values().map(|(path, drive)| (*drive, path.clone())).collect();
        let write = |place: u32, path: &PathBuf, drive, count, numbers: &[DriveId]| {
            write_format(path, &owner, place, drive, count, numbers)
                .map_err(|error| DirectoryError::Io { path: path.clone(), error })
        };
        // DIR-4: first each new drive, in order, which counts itself and those before it; then the counts.
        for (at, (&place, (path, drive))) in drives.iter().enumerate() {
            make_layout(path, place).map_err(|error| DirectoryError::Io { path: path.clone(), error })?;
            if place >= scan.drives_before {
                write(place, path, *drive, place + 1, &in_order[..=at])?;
            }
        }
        for (&place, (path, drive)) in &drives {
            let is_said = match scan.known.get(&place) {
                Some((_, format)) => (format.drives, &format.numbers) == (total, &all) && scan.numbered,
                None => place + 1 == total && had.is_empty(),
            };
            if !is_said {
                write(place, path, *drive, total, &all)?;
            }
        }
        joining::forget(&first)?;
        let (peers, peers_epoch) = read_peers_file(&first)?;
        let (access_key_id, secret_access_key) = credentials.unwrap_or((keys.access_key_id, keys.secret_access_key));
        Ok(NodeDirectory {
            cluster: owner.cluster,
            name: owner.name.clone(),
            node: owner.node,
            first: drive_at(owner.first, 0)?,
            drives: numbers,
            root_key: keys.root,
            access_key_id,
            secret_access_key,
            ca: keys.ca,
            identity: keys.identity,
            peers,
            peers_epoch,
            fresh,
            _locks: scan.locks,
        })
    }

    /// The directory of the node's first drive, which has the log, the state store and the keys.
    pub fn first(&self) -> &Path {
        &self.drives[&self.first]
    }

    /// Keeps the list of the other nodes, as the topology of `epoch` has it, for the next start. Durable when it returns.
    ///
    /// # Errors
    /// When the drive says no; the list before counts then.
    pub fn write_peers(&self, peers: &[KnownPeer], epoch: u64) -> io::Result<()> {
        write_peers_file(self.first(), peers, epoch)
    }
}

/// The numbers of the drives that the node gets. In a cluster the numbers behind its own may be those of other nodes: then they are
/// the next ones that this node knows of, and the cluster is asked for them when the node runs. A number that the cluster has
/// given to the node already, by a start that died, comes first.
fn new_numbers(scan: &Scan, owner: &Owner) -> Result<Vec<DriveId>, DirectoryError> {
    let had = scan.listed();
    // The rows may not know of a drive that the node has had: its number is never used again.
    let last = had.iter().chain(&scan.lost).max();
    let mut next = last.map_or(Ok(DriveId(owner.first)), |last| drive_at(last.0, 1))?;
    let mut numbers = Vec::new();
    if scan.unused().is_empty() {
        return Ok(numbers);
    }
    if let Some(topology) = scan.topology()? {
        next = next.max(DriveId(topology.next_drive));
        let given = topology.nodes.get(&owner.node).map_or(&[][..], |info| &info.drives);
        let is_left = |drive: &DriveId| !had.contains(drive) && !scan.lost.contains(drive);
        numbers.extend(given.iter().map(|known| known.drive).filter(is_left));
    }
    while numbers.len() < scan.unused().len() {
        numbers.push(next);
        next = drive_at(next.0, 1)?;
    }
    Ok(numbers)
}

/// Names the line with the epoch. No node's number looks like it.
const EPOCH: &str = "topology";

fn write_peers_file(first: &Path, peers: &[KnownPeer], epoch: u64) -> io::Result<()> {
    let mut lines: BTreeMap<String, String> =
        peers.iter().map(|peer| (format!("{:016x}", peer.node.0), format!("{} {}", peer.address, peer.name))).collect();
    lines.insert(EPOCH.to_owned(), epoch.to_string());
    let lines: Vec<(&str, &str)> = lines.iter().map(|(node, rest)| (node.as_str(), rest.as_str())).collect();
    checked_file::write(&first.join("keys").join("peers"), &lines)
}

/// None is kept by a node that founded its cluster and has never had another.
fn read_peers_file(first: &Path) -> Result<(Vec<KnownPeer>, u64), DirectoryError> {
    let path = first.join("keys").join("peers");
    let mut lines = match read_checked(&path) {
        Err(DirectoryError::Missing { .. }) => return Ok((Vec::new(), 0)),
        lines => lines?,
    };
    // A list without an epoch is from before lists had one.
    let epoch = lines.remove(EPOCH).map_or(Some(0), |epoch| epoch.parse().ok());
    let peer = |(node, rest): (&String, &String)| {
        let (address, name) = rest.split_once(' ')?;
        let node = NodeId(u64::from_str_radix(node, 16).ok()?);
        Some(KnownPeer { node, address: address.parse().ok()?, name: name.to_owned() })
    };
    let peers: Option<Vec<KnownPeer>> = lines.iter().map(peer).collect();
    peers.zip(epoch).ok_or(DirectoryError::Damaged { path, what: "a line is no peer" })
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let lock_path = path.join("lock");
    let io_error = |error| DirectoryError::Io { path: lock_path.clone(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        // DIR-2
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(error)),
    }
}

/// DIR-1: what is not ours is not touched. A start that died before it wrote `format` leaves only these.
fn check_empty(path: &Path) -> Result<(), DirectoryError> {
    let io_error = |error| DirectoryError::Io { path: path.to_owned(), error };
    for entry in fs::read_dir(path).map_err(io_error)? {
        let name = entry.map_err(io_error)?.file_name();
        let ours = ["lock", "format.new", "keys", "log", "shards", "lost+found"].iter().any(|ours| name == *ours);
        if !ours {
            return Err(DirectoryError::Foreign { path: path.to_owned() });
        }
    }
    for holds_data in ["log", "shards"] {
        let inside = fs::read_dir(path.join(holds_data)).map(|mut entries| entries.next().is_some());
        if inside.unwrap_or(false) {
            // Data without a format file: somebody removed it. Taking the directory as new would lose the data.
            return Err(DirectoryError::Missing { path: path.join("format") });
        }
    }
    Ok(())
}

fn make_layout(path: &Path, place: u32) -> io::Result<()> {
    fs::create_dir_all(path.join("shards"))?;
    if place == 0 {
        fs::create_dir_all(path.join("log"))?;
    }
    File::open(path)?.sync_all()?;
    checked_file::sync_parent(path)
}

fn read_checked(path: &Path) -> Result<BTreeMap<String, String>, DirectoryError> {
    checked_file::read(path).map_err(|error| match error {
        CheckedFileError::Missing => DirectoryError::Missing { path: path.to_owned() },
        CheckedFileError::Damaged(what) => DirectoryError::Damaged { path: path.to_owned(), what },
        CheckedFileError::Io(error) => DirectoryError::Io { path: path.to_owned(), error },
    })
}

/// Bytes of the operating system's random generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has a random generator");
    bytes
}
