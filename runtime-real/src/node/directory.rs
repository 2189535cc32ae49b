//! The data directories of a node: whose they are, who may open them, and the keys in the first one.
//!
//! - `DIR-1` A directory belongs to one node of one cluster, as one drive, for ever: `format` says which, and a
//!   directory without it must be empty to be taken.
//! - `DIR-2` One process at a time: `lock` is held for the life of the process.
//! - `DIR-3` A node starts with all its drives or not at all; a missing one is named.
//! - `DIR-4` No `format` counts a drive that has none yet. A start that died while it added drives leaves some that the
//!   others do not count: the node starts without them, and with them the next start completes what was begun.

use super::checked_file::{self, CheckedFileError};
use anvil_core::stripe::RootKey;
use anvil_core::types::{DriveId, NodeId};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The version of the directory's layout that this binary reads and writes.
const FORMAT_VERSION: &str = "1";

/// The opened, locked directories of a node.
#[derive(Debug)]
pub struct NodeDirectory {
    /// The cluster, 128 random bits drawn at the first start.
    pub cluster: u128,
    /// The node's name (`--id`).
    pub name: String,
    /// Derived from the name.
    pub node: NodeId,
    /// Each drive's directory. Drive 0 has the log, the state store and the keys.
    pub drives: BTreeMap<DriveId, PathBuf>,
    /// Wraps data keys.
    pub root_key: RootKey,
    /// The S3 access key pair.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// Whether this start made the directory.
    pub fresh: bool,
    _locks: Vec<File>,
}

/// Why a directory cannot be used. Each says what to do.
#[derive(Debug)]
pub enum DirectoryError {
    /// The drive said no.
    Io { path: PathBuf, error: io::Error },
    /// Another process holds it.
    InUse { path: PathBuf },
    /// It holds something that is not Anvil's.
    Foreign { path: PathBuf },
    /// A checked file is damaged.
    Damaged { path: PathBuf, what: &'static str },
    /// A file that a node cannot do without is gone.
    Missing { path: PathBuf },
    /// It was written by another version.
    Version { path: PathBuf, version: String },
    /// It belongs to another node.
    OtherNode { path: PathBuf, name: String },
    /// It belongs to another cluster than the first directory.
    OtherCluster { path: PathBuf },
    /// Two directories claim to be the same drive: one is a copy.
    SameDrive { path: PathBuf, drive: DriveId },
    /// A drive of the node was not given.
    MissingDrive { drive: DriveId },
}

impl std::fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DirectoryError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            DirectoryError::InUse { path } => {
                write!(f, "{} is in use by another process; stop it first, or choose another --dir", path.display())
            }
            DirectoryError::Foreign { path } => write!(
                f,
                "{} is not empty and is no data directory of Anvil; choose an empty or new --dir",
                path.display()
            ),
            DirectoryError::Damaged { path, what } => {
                write!(f, "{} is damaged: {what}; restore this file from a backup", path.display())
            }
            DirectoryError::Missing { path } => {
                write!(f, "{} is missing; restore this file from a backup", path.display())
            }
            DirectoryError::Version { path, version } => write!(
                f,
                "{} has layout version {version}, and this binary knows version {FORMAT_VERSION}; use the binary that \
                 wrote it",
                path.display()
            ),
            DirectoryError::OtherNode { path, name } => {
                write!(f, "{} belongs to node \"{name}\"; start it with --id {name}", path.display())
            }
            DirectoryError::OtherCluster { path } => {
                write!(f, "{} belongs to another cluster than the first --dir", path.display())
            }
            DirectoryError::SameDrive { path, drive } => write!(
                f,
                "{} says it is drive {drive}, and so does another --dir: one is a copy of the other",
                path.display()
            ),
            DirectoryError::MissingDrive { drive } => {
                write!(f, "drive {drive} of this node is not among the directories; give every --dir it was made with")
            }
        }
    }
}

impl std::error::Error for DirectoryError {}

/// What `format` says.
struct Format {
    cluster: u128,
    name: String,
    drive: DriveId,
    /// Drives that the node had when this file was written.
    drives: u16,
}

impl NodeDirectory {
    /// Opens or makes the directories of node `name`. `credentials` replaces the access key pair of the directory for
    /// this run; without it the stored pair counts, drawn at the first start.
    pub fn open(
        paths: &[PathBuf],
        name: &str,
        credentials: Option<(String, String)>,
    ) -> Result<NodeDirectory, DirectoryError> {
        let mut locks = Vec::new();
        let mut known: BTreeMap<DriveId, PathBuf> = BTreeMap::new();
        let mut counted: BTreeMap<DriveId, u16> = BTreeMap::new();
        let mut unused = Vec::new();
        let mut identity: Option<u128> = None;
        let mut drives_before = 0;
        for path in paths {
            fs::create_dir_all(path).map_err(|error| DirectoryError::Io { path: path.clone(), error })?;
            locks.push(lock(path)?);
            match read_format(path)? {
                Some(format) if format.name != name => {
                    return Err(DirectoryError::OtherNode { path: path.clone(), name: format.name });
                }
                Some(format) if identity.is_some_and(|cluster| cluster != format.cluster) => {
                    return Err(DirectoryError::OtherCluster { path: path.clone() });
                }
                Some(format) => {
                    identity = Some(format.cluster);
                    drives_before = drives_before.max(format.drives);
                    counted.insert(format.drive, format.drives);
                    if known.insert(format.drive, path.clone()).is_some() {
                        return Err(DirectoryError::SameDrive { path: path.clone(), drive: format.drive });
                    }
                }
                None => {
                    check_empty(path)?;
                    unused.push(path.clone());
                }
            }
        }
        // DIR-3
        if let Some(drive) = (0..drives_before).map(DriveId).find(|drive| !known.contains_key(drive)) {
            return Err(DirectoryError::MissingDrive { drive });
        }
        let fresh = identity.is_none();
        let cluster = identity.unwrap_or_else(|| u128::from_le_bytes(random()));
        let total = drives_before + u16::try_from(unused.len()).unwrap_or(u16::MAX);
        let first = known.get(&DriveId(0)).or(unused.first()).cloned().unwrap_or_default();
        // The keys come before the format file, so that a directory with a format always has its keys.
        let keys = Keys::open_or_make(&first, fresh)?;
        for (path, drive) in unused.into_iter().zip(drives_before..) {
            known.insert(DriveId(drive), path);
        }
        let write = |drive: DriveId, path: &PathBuf, drives| {
            write_format(path, cluster, name, drive, drives)
                .map_err(|error| DirectoryError::Io { path: path.clone(), error })
        };
        // DIR-4: first each new drive, in order, which counts itself and those before it; then the counts.
        for (&drive, path) in &known {
            make_layout(path, drive).map_err(|error| DirectoryError::Io { path: path.clone(), error })?;
            if drive.0 >= drives_before {
                write(drive, path, drive.0 + 1)?;
                counted.insert(drive, drive.0 + 1);
            }
        }
        for (&drive, path) in &known {
            if counted[&drive] != total {
                write(drive, path, total)?;
            }
        }
        let (access_key_id, secret_access_key) = credentials.unwrap_or((keys.access_key_id, keys.secret_access_key));
        Ok(NodeDirectory {
            cluster,
            name: name.to_owned(),
            node: node_id(name),
            drives: known,
            root_key: keys.root,
            access_key_id,
            secret_access_key,
            fresh,
            _locks: locks,
        })
    }

    /// The directory of drive 0.
    pub fn first(&self) -> &Path {
        &self.drives[&DriveId(0)]
    }
}

/// A node's number from its name: the first 8 bytes of the name's MD5, so that names can be chosen freely.
fn node_id(name: &str) -> NodeId {
    use md5::{Digest, Md5};
    let digest: [u8; 16] = Md5::digest(name.as_bytes()).into();
    let (first, _) = digest.split_at(8);
    NodeId(u64::from_be_bytes(first.try_into().expect("half of 16 bytes")))
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

fn make_layout(path: &Path, drive: DriveId) -> io::Result<()> {
    fs::create_dir_all(path.join("shards"))?;
    if drive == DriveId(0) {
        fs::create_dir_all(path.join("log"))?;
    }
    File::open(path)?.sync_all()?;
    checked_file::sync_parent(path)
}

fn read_format(path: &Path) -> Result<Option<Format>, DirectoryError> {
    let file = path.join("format");
    let lines = match read_checked(&file) {
        Err(DirectoryError::Missing { .. }) => return Ok(None),
        lines => lines?,
    };
    let get = |name: &'static str| {
        let missing = DirectoryError::Damaged { path: file.clone(), what: "a line is missing" };
        lines.get(name).ok_or(missing)
    };
    let version = get("anvil")?;
    if version != FORMAT_VERSION {
        return Err(DirectoryError::Version { path: path.to_owned(), version: version.clone() });
    }
    let bad = |_| DirectoryError::Damaged { path: file.clone(), what: "a number is no number" };
    Ok(Some(Format {
        cluster: u128::from_str_radix(get("cluster")?, 16).map_err(bad)?,
        name: get("node")?.clone(),
        drive: DriveId(get("drive")?.parse().map_err(bad)?),
        drives: get("drives")?.parse().map_err(bad)?,
    }))
}

fn write_format(path: &Path, cluster: u128, name: &str, drive: DriveId, drives: u16) -> io::Result<()> {
    let (cluster, drive, drives) = (format!("{cluster:032x}"), drive.to_string(), drives.to_string());
    let lines =
        [("anvil", FORMAT_VERSION), ("cluster", &cluster), ("node", name), ("drive", &drive), ("drives", &drives)];
    checked_file::write(&path.join("format"), &lines)
}

fn read_checked(path: &Path) -> Result<BTreeMap<String, String>, DirectoryError> {
    checked_file::read(path).map_err(|error| match error {
        CheckedFileError::Missing => DirectoryError::Missing { path: path.to_owned() },
        CheckedFileError::Damaged(what) => DirectoryError::Damaged { path: path.to_owned(), what },
        CheckedFileError::Io(error) => DirectoryError::Io { path: path.to_owned(), error },
    })
}

struct Keys {
    root: RootKey,
    access_key_id: String,
    secret_access_key: String,
}

impl Keys {
    fn open_or_make(first: &Path, fresh: bool) -> Result<Keys, DirectoryError> {
        let directory = first.join("keys");
        let (root_path, access_path) = (directory.join("root"), directory.join("access"));
        let io_error = |error| DirectoryError::Io { path: directory.clone(), error };
        if fresh {
            make_private(&directory).map_err(io_error)?;
            // A start that died half-way may have left a key; nothing was sealed with it yet, but it is as good as any.
            if !root_path.exists() {
                let root: String = random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
                checked_file::write(&root_path, &[("root", &root)]).map_err(io_error)?;
            }
            if !access_path.exists() {
                let (id, secret) = (format!("AK{}", random_text(18, 32)), random_text(40, 64));
                checked_file::write(&access_path, &[("id", &id), ("secret", &secret)]).map_err(io_error)?;
            }
            // A key that was found may have been renamed into place by a start that died before it synced that.
            File::open(&directory).and_then(|directory| directory.sync_all()).map_err(io_error)?;
        }
        let root = read_checked(&root_path)?;
        let access = read_checked(&access_path)?;
        let damaged = |path: &Path| DirectoryError::Damaged { path: path.to_owned(), what: "a line is missing" };
        let root = root.get("root").and_then(|hex| from_hex(hex)).ok_or_else(|| damaged(&root_path))?;
        let line = |name: &str| access.get(name).cloned().ok_or_else(|| damaged(&access_path));
        Ok(Keys { root: RootKey(root), access_key_id: line("id")?, secret_access_key: line("secret")? })
    }
}

fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    checked_file::sync_parent(directory)
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// Bytes of the operating system's random generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has a random generator");
    bytes
}

/// `length` characters out of the first `alphabet` (a power of two) of the base64url alphabet, upper case first.
fn random_text(length: usize, alphabet: u8) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567abcdefghijklmnopqrstuvwxyz0189-_";
    let bytes = (0..length).flat_map(|_| random::<1>());
    bytes.map(|byte| char::from(ALPHABET[usize::from(byte & (alphabet - 1))])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories of drives, in the order of their numbers.
    struct Drives(tempfile::TempDir);

    impl Drives {
        fn new() -> Drives {
            Drives(tempfile::tempdir().unwrap())
        }

        fn path(&self, drive: usize) -> PathBuf {
            self.0.path().join(drive.to_string())
        }

        fn open(&self, count: usize) -> Result<usize, DirectoryError> {
            let paths: Vec<PathBuf> = (0..count).map(|drive| self.path(drive)).collect();
            NodeDirectory::open(&paths, "node1", None).map(|directory| directory.drives.len())
        }

        /// A start that cannot write the format of drive `cut`, as if the power had failed or the drive were full.
        fn open_until(&self, count: usize, cut: usize) {
            let in_the_way = self.path(cut).join("format.new");
            fs::create_dir_all(&in_the_way).unwrap();
            let error = self.open(count).expect_err("a format cannot be written");
            assert!(matches!(&error, DirectoryError::Io { path, .. } if *path == self.path(cut)), "{error}");
            fs::remove_dir(&in_the_way).unwrap();
        }

        fn counts(&self, count: usize) -> Vec<u16> {
            (0..count).map(|drive| read_format(&self.path(drive)).unwrap().unwrap().drives).collect()
        }
    }

    #[test]
    fn a_first_start_that_died_between_two_drives_is_completed_by_the_next() {
        for cut in 0..3 {
            let drives = Drives::new();
            drives.open_until(3, cut);
            assert_eq!(drives.open(3).unwrap_or_else(|error| panic!("cut at {cut}: {error}")), 3);
            assert_eq!(drives.counts(3), [3, 3, 3], "cut at {cut}");
        }
    }

    #[test]
    fn adding_drives_that_died_half_way_is_completed_by_the_next_start() {
        // The cuts at drives 2 and 3 come while these are made, those at 0 and 1 while the others count them.
        for cut in [2, 3, 0, 1] {
            let drives = Drives::new();
            assert_eq!(drives.open(2).unwrap(), 2);
            drives.open_until(4, cut);
            if cut != 1 {
                // Drive 0 does not count the new ones yet, so the node is what it was.
                assert_eq!(drives.open(2).unwrap_or_else(|error| panic!("cut at {cut}: {error}")), 2);
            }
            assert_eq!(drives.open(4).unwrap_or_else(|error| panic!("cut at {cut}: {error}")), 4);
            assert_eq!(drives.counts(4), [4, 4, 4, 4], "cut at {cut}");
        }
    }

    #[test]
    fn a_missing_drive_is_named() {
        let drives = Drives::new();
        assert_eq!(drives.open(3).unwrap(), 3);
        assert!(matches!(drives.open(2), Err(DirectoryError::MissingDrive { drive: DriveId(2) })));
    }
}
