//! The start of a node as far as its directories: opened, founded, or made those of a member by joining.
//!
//! - `ENTER-1` A node that is given peers founds no cluster, whatever fails: without an identity it joins or does not start.

use super::join::{Applicant, JoinError, join};
use super::token::JoinToken;
use crate::node::{Begun, Candidate, DirectoryError, Given, NodeDirectory, drive_gib};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a node wants to be part of a cluster.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Members to ask, `host:port`. None: the node founds a cluster, unless it is a member of one.
    pub peers: Vec<String>,
    /// Needed to join, not to stay.
    pub token: Option<JoinToken>,
    /// Where the node stands, or empty.
    pub zone: String,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// How long to ask.
    pub patience: Duration,
}

/// Why a node has no directories to start from.
#[derive(Debug)]
pub enum EnterError {
    /// The directories cannot be used.
    Directory(DirectoryError),
    /// The node is no member and has no token to become one.
    NoToken,
    /// The cluster did not take it in.
    Join(JoinError),
    /// The size of a drive cannot be had.
    Drive { path: PathBuf, error: std::io::Error },
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnterError::Directory(error) => error.fmt(f),
            EnterError::NoToken => f.write_str(
                "--peers: this node is no member of the cluster yet, and needs a token to become one; run \
                 `anvil cluster token` on a member and start this node with --token TOKEN",
            ),
            EnterError::Join(error) => write!(f, "the node could not join: {error}"),
            EnterError::Drive { path, error } => {
                write!(f, "the size of the drive of {} cannot be read: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for EnterError {}

impl From<DirectoryError> for EnterError {
    fn from(error: DirectoryError) -> EnterError {
        EnterError::Directory(error)
    }
}

/// Opens the directories of node `name`, after it has joined where `wish` says, if it has to. What is written to disk takes
/// a moment, so the caller's thread blocks for it between its waits.
///
/// # Errors
/// Each says what to do; the same start can be tried again.
pub async fn open_or_join<'a>(
    given: impl Into<Given<'a>>,
    name: &str,
    credentials: Option<(String, String)>,
    wish: &Wish,
) -> Result<NodeDirectory, EnterError> {
    let given = given.into();
    if wish.peers.is_empty() {
        return Ok(NodeDirectory::open(given, name, credentials)?);
    }
    // ENTER-1
    let candidate = match NodeDirectory::begin_join(given, name, wish.token.as_ref(), credentials.clone())? {
        Begun::Member(directory) => return Ok(*directory),
        Begun::Candidate(candidate) => *candidate,
    };
    let token = wish.token.as_ref().ok_or(EnterError::NoToken)?;
    let applicant = applicant(&candidate, name, wish)?;
    let admission = join(&wish.peers, token, &applicant, wish.patience).await.map_err(EnterError::Join)?;
    Ok(candidate.complete(&admission, credentials)?)
}

fn applicant(candidate: &Candidate, name: &str, wish: &Wish) -> Result<Applicant, EnterError> {
    let size = |path: &PathBuf| match drive_gib(path) {
        Ok(gib) => Ok(u32::try_from(gib).unwrap_or(u32::MAX)),
        Err(error) => Err(EnterError::Drive { path: path.clone(), error }),
    };
    Ok(Applicant {
        node: candidate.node,
        key: candidate.key.clone(),
        name: name.to_owned(),
        zone: wish.zone.clone(),
        address: wish.address,
        drives_gib: candidate.drives().iter().map(size).collect::<Result<_, _>>()?,
    })
}
