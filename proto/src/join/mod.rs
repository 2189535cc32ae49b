//! How a node becomes a member of a cluster: its request and the cluster's answer, to bytes and back.
//!
//! The intuition: as in [`peer`](crate::peer), parse once at the edge. The request comes from a stranger, so every part of
//! it has a bound; the answer comes from a node whose certificate the token vouches for, and is judged all the same.
//!
//! - `JOIN-1` Decoding what was encoded gives the same, and no bytes panic.
//! - `JOIN-2` A decoded request keeps the rules below: its name, zone, address, drives and key can be used as they are.
//! - `JOIN-3` What is secret does not appear in `Debug`.
//!
//! The bytes: `docs/formats/join.md`.
//!
//! Not here: whether the token is good and the name free (the cluster's state), and who holds the key that is named
//! (`runtime-real/src/peers/join.rs`, which sees the TLS session).

mod decode;
mod encode;
mod refusal;
#[cfg(test)]
mod tests;

pub use decode::{JoinDecodeError, decode_answer, decode_request};
pub use encode::{encode_answer, encode_request};
pub use refusal::Refusal;

use anvil_core::stripe::RootKey;
use anvil_core::types::NodeId;
use core::fmt;
use std::net::SocketAddr;

/// What this version speaks and stores. A cluster admits nodes of its own version only.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of a request at most.
pub const REQUEST_SIZE_MAX: usize = 64 << 10;

/// Bytes of an answer at most.
pub const ANSWER_SIZE_MAX: usize = 1 << 20;

/// Bytes of a name or a zone at most.
pub const NAME_SIZE_MAX: usize = 64;

/// Drives of a node at most.
pub const DRIVES_MAX: usize = 1024;

/// A node asks to become a member.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// What it speaks and stores.
    pub format_version: u32,
    /// The cluster that its token names.
    pub cluster: u128,
    /// The token's secret.
    pub secret: [u8; 16],
    /// The number that it has drawn.
    pub node: NodeId,
    /// Its name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Its zone, of the same letters, or empty.
    pub zone: String,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// The size of each of its drives in GiB, at least 1.
    pub drives_gib: Vec<u32>,
    /// Its Ed25519 key.
    pub public_key: [u8; 32],
    /// The key's signature over the session.
    pub proof: [u8; 64],
}

/// What the cluster answers.
pub type Answer = Result<Admission, Refusal>;

/// All that makes a node one of the cluster.
#[derive(Clone)]
pub struct Admission {
    /// The number of the node's first drive; the others follow.
    pub first_drive: u32,
    /// Wraps data keys.
    pub root_key: RootKey,
    /// The S3 access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The authority's certificate, DER.
    pub ca_certificate: Vec<u8>,
    /// The authority's key, PKCS #8.
    pub ca_key: Vec<u8>,
    /// The node's certificate, DER.
    pub certificate: Vec<u8>,
    /// The other nodes.
    pub peers: Vec<KnownPeer>,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its number.
    pub node: NodeId,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Its name.
    pub name: String,
}

/// Whether `name` can be that of a node or, when not empty, of a zone.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    !name.is_empty() && name.len() <= NAME_SIZE_MAX && letters
}

// JOIN-3
impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest")
            .field("format_version", &self.format_version)
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("name", &self.name)
            .field("zone", &self.zone)
            .field("address", &self.address)
            .field("drives_gib", &self.drives_gib)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("first_drive", &self.first_drive)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}
