//! Why a cluster does not take a node in, in sentences that say what to do.

use super::FORMAT_VERSION;
use core::fmt;

/// Why a node is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token of the cluster has this secret.
    WrongToken,
    /// The token has admitted another node, or its time is over.
    UsedToken,
    /// The token is of another cluster.
    OtherCluster,
    /// Another node has the name.
    NameTaken,
    /// Another node has the number.
    NodeTaken,
    /// The cluster speaks another version, this one.
    Version(u32),
    /// The asked node cannot decide at the moment. Says why.
    TryAgain(String),
    /// Too many wrong tokens came from the same address.
    TooManyAttempts,
    /// The request breaks a rule. Says which.
    Malformed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::WrongToken => {
                f.write_str("the cluster has made no such token; make one on a member with `anvil cluster token`")
            }
            Refusal::UsedToken => f.write_str(
                "the token was used by another node, or its time is over; make a new one on a member with \
                 `anvil cluster token`",
            ),
            Refusal::OtherCluster => {
                f.write_str("the token is of another cluster; check --peers, or make a token on a member of this one")
            }
            Refusal::NameTaken => f.write_str("another node of the cluster has this name; choose another --id"),
            Refusal::NodeTaken => f.write_str(
                "another node of the cluster has this node's number: the directory is a copy; start with an empty --dir",
            ),
            Refusal::Version(version) => write!(
                f,
                "the cluster speaks format version {version}, and this node version {FORMAT_VERSION}; use the binary that \
                 the cluster runs"
            ),
            Refusal::TryAgain(why) => write!(f, "the cluster cannot admit a node at the moment: {why}; try again"),
            Refusal::TooManyAttempts => {
                f.write_str("too many wrong tokens came from this address; wait a minute and check the token")
            }
            Refusal::Malformed(what) => write!(f, "the request breaks a rule: {what}"),
        }
    }
}

impl core::error::Error for Refusal {}
