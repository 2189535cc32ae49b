//! The directories of a node that has not been admitted to a cluster yet.
//!
//! The intuition: a token admits once, and a start may die at any moment. So the node draws its number and key and keeps them
//! in `keys/joining` before it asks; what it asks again is then the same request, and the cluster answers it again. Until the
//! answer is kept there is no `format`, so nothing looks like a founded cluster.
//!
//! - `JOINING-1` A node asks only with a number and key that are durable.
//! - `JOINING-2` A directory that began to join founds no cluster: it joins, or somebody chooses otherwise by hand.
//!
//! Not here: the asking (`peers/join.rs`).

use super::error::DirectoryError;
use super::keys::{Checked, Keys, make_private, to_hex};
use super::scan::{Given, Scan};
use super::{NodeDirectory, random, write_peers_file};
use crate::node::checked_file;
use crate::peers::{Admission, JoinToken, NodeKey};
use anvil_core::types::NodeId;
use std::fs;
use std::path::{Path, PathBuf};

/// What a node that is given `--peers` finds in its directories.
#[derive(Debug)]
pub enum Begun {
    /// It is a member.
    Member(Box<NodeDirectory>),
    /// It is none yet.
    Candidate(Box<Candidate>),
}

/// The locked directories of a node that may ask to be admitted.
#[derive(Debug)]
pub struct Candidate {
    /// The number that it has drawn.
    pub node: NodeId,
    /// Its key.
    pub key: NodeKey,
    name: String,
    scan: Scan,
}

/// Where the number and key of a candidate are.
fn path_in(first: &Path) -> PathBuf {
    first.join("keys").join("joining")
}

/// JOINING-2
pub(super) fn check_founding(first: &Path) -> Result<(), DirectoryError> {
    if path_in(first).exists() { Err(DirectoryError::Joining { path: first.to_owned() }) } else { Ok(()) }
}

/// Removes what a member has no more use for. A start that died after the last step of joining leaves it.
pub(super) fn forget(first: &Path) -> Result<(), DirectoryError> {
    let path = path_in(first);
    if !path.exists() {
        return Ok(());
    }
    let removed = fs::remove_file(&path).and_then(|()| checked_file::sync_parent(&path));
    removed.map_err(|error| DirectoryError::Io { path, error })
}

impl NodeDirectory {
    /// Opens the directories of node `name`, or prepares those of a node that has to join first. A `token` of another
    /// cluster than that of a member is refused.
    pub fn begin_join<'a>(
        given: impl Into<Given<'a>>,
        name: &str,
        token: Option<&JoinToken>,
        credentials: Option<(String, String)>,
    ) -> Result<Begun, DirectoryError> {
        let given = given.into();
        let scan = Scan::of(given, name)?;
        if let Some(owner) = &scan.owner {
            if token.is_some_and(|token| token.cluster != owner.cluster) {
                return Err(DirectoryError::OtherThanToken { path: given.paths.first().cloned().unwrap_or_default() });
            }
            return Ok(Begun::Member(Box::new(NodeDirectory::open_scanned(scan, name, credentials)?)));
        }
        let first = scan.first().to_owned();
        let directory = make_private(&first)?;
        let path = path_in(&first);
        // JOINING-1
        if !path.exists() {
            let (node, key) = (random_node(), NodeKey::generate());
            let lines = [("node", name), ("id", &format!("{:016x}", node.0)), ("key", &to_hex(key.pkcs8()))];
            checked_file::write(&path, &lines).map_err(|error| DirectoryError::Io { path: path.clone(), error })?;
        }
        // What was found may have been renamed into place by a start that died before it synced that.
        let synced = fs::File::open(&directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| DirectoryError::Io { path: directory, error })?;
        let kept = Checked::read(path.clone())?;
        if kept.line("node")? != name {
            return Err(DirectoryError::OtherNode { path: first, name: kept.line("node")?.clone() });
        }
        let node = u64::from_str_radix(kept.line("id")?, 16).map_err(|_| kept.damaged("a number is no number"))?;
        let key = NodeKey::from_pkcs8(&kept.bytes("key")?).map_err(|error| DirectoryError::Keys { path, error })?;
        Ok(Begun::Candidate(Box::new(Candidate { node: NodeId(node), key, name: name.to_owned(), scan })))
    }
}

impl Candidate {
    /// The directory of each drive, in the order in which the request must name them.
    #[must_use]
    pub fn drives(&self) -> &[PathBuf] {
        self.scan.unused()
    }

    /// Keeps what the cluster gave, and makes the directories those of a member. If it dies half-way, the next start either
    /// finds a member or asks the cluster once more.
    pub fn complete(
        self,
        admission: &Admission,
        credentials: Option<(String, String)>,
    ) -> Result<NodeDirectory, DirectoryError> {
        let first = self.scan.first().to_owned();
        Keys::keep(&first, admission)?;
        write_peers_file(&first, &admission.peers, 0)
            .map_err(|error| DirectoryError::Io { path: first.join("keys").join("peers"), error })?;
        let owner = super::format::Owner {
            cluster: admission.identity.cluster(),
            name: self.name.clone(),
            node: self.node,
            first: admission.first_drive,
        };
        NodeDirectory::take(self.scan, owner, credentials)
    }
}

/// A number for a new node. 0 means nobody in some messages.
pub(super) fn random_node() -> NodeId {
    NodeId(u64::from_le_bytes(random()).max(1))
}
