//! Why the directories of a node cannot be used, in sentences that say what to do.

use super::format::FORMAT_VERSION;
use crate::peers::CaError;
use anvil_core::types::DriveId;
use std::io;
use std::path::PathBuf;

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
    /// The drive with log and keys was not given.
    MissingFirst,
    /// It has begun to join a cluster and does not know yet whether it was admitted.
    Joining { path: PathBuf },
    /// It belongs to another cluster than the token.
    OtherThanToken { path: PathBuf },
    /// Its keys and certificates do not belong together.
    Keys { path: PathBuf, error: CaError },
    /// A drive would have a number that no drive can have.
    TooManyDrives,
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
            DirectoryError::Joining { path } => write!(
                f,
                "{} belongs to a node that began to join a cluster; give --peers and --token again, or another --dir to \
                 found a cluster of its own",
                path.display()
            ),
            DirectoryError::OtherThanToken { path } => write!(
                f,
                "{} belongs to another cluster than the token; choose an empty --dir to join, or start without --token",
                path.display()
            ),
            DirectoryError::Keys { path, error } => {
                write!(f, "{} cannot be used: {error}; restore it from a backup", path.display())
            }
            DirectoryError::MissingFirst => f.write_str(
                "the node's first directory, with its log and keys, is not among the directories; if it is gone for good, remove the node \
                 from its cluster and let a new one join",
            ),
            DirectoryError::TooManyDrives => f.write_str("the node has more drives than can be numbered"),
            DirectoryError::MissingDrive { drive } => {
                write!(
                    f,
                    "drive {drive} of this node is not among the directories; give every --dir it was made with, or, if the drive is \
                     gone for good, --lost-drive {drive}"
                )
            }
        }
    }
}

impl std::error::Error for DirectoryError {}
