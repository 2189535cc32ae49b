//! Messages between nodes, to bytes and back.
//!
//! The intuition: parse, don't validate. Whoever holds a [`PeerMessage`](anvil_core::node::PeerMessage) that came from here
//! need not ask whether a part of it is missing, and a peer that sends garbage can cost the node no more than the garbage's
//! own size. The one large payload that a message may have travels beside it, as the *body*, so that no copy is made of a
//! shard or of a snapshot.
//!
//! - `PEER-1` Decoding what [`encode`] wrote gives the same message, as long as it keeps the limits below. Of the words of a
//!   drive's error, the first [`ERROR_SIZE_MAX`] bytes arrive.
//! - `PEER-2` No bytes make [`decode`] panic, and payloads are slices of the buffers. What else it allocates is bounded by
//!   [`MESSAGE_SIZE_MAX`].
//! - `PEER-3` A message has all its parts: nothing that `encode` always writes may be absent.
//! - `PEER-4` The entries of an append stand one after the other, the first right after `previous`, so no entry has index 0.
//! - `PEER-5` A membership is one: its lists ascend, and a learner does not vote.
//! - `PEER-6` A body comes with the messages that have one, as long as the head says, and with no other.
//!
//! Source: Raft figures 2 and 13, and the thesis §9.6, §3.10 and §6.4, for the messages between replicas;
//! <https://protobuf.dev/programming-guides/encoding/> for the encoding. The bytes: `docs/formats/peer.md`.
//!
//! Not here: how head and body travel (the runtimes), whether the terms and positions are ones that a correct replica
//! could name (`anvil_core::raft`), and whether the receiver has the drive or put the question (`anvil_core::node`).

mod envelope;
mod error;
mod members;
mod raft;
mod shards;
mod swim;
#[cfg(test)]
mod tests;

pub use envelope::{decode, encode};
pub use error::DecodeError;

use bytes::Bytes;

/// A message as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Framed {
    /// The protobuf message `anvil.peer.v1.PeerMessage`. At most [`MESSAGE_SIZE_MAX`] bytes.
    pub head: Bytes,
    /// The message's one large payload, as it is: the record of a shard (at most [`SHARD_SIZE_MAX`] bytes) or the rows of a
    /// piece of a snapshot (at most [`SNAPSHOT_CHUNK_SIZE_MAX`] bytes). Empty when the message has none.
    pub body: Bytes,
}

/// Bytes of a head at most. A leader sends batches of about 1 MiB, or a single entry.
pub const MESSAGE_SIZE_MAX: usize = 8 << 20;

/// Bytes of a shard's record at most. A stripe has 1 MiB, and a record of all of it little more.
pub const SHARD_SIZE_MAX: usize = 4 << 20;

/// Bytes of one piece of a snapshot at most. Leaders send pieces of about 1 MiB.
pub const SNAPSHOT_CHUNK_SIZE_MAX: usize = 4 << 20;

/// Bytes of one command at most. The largest that a client can cause carries a user key's value of 1 MiB.
pub const COMMAND_SIZE_MAX: usize = 4 << 20;

/// Versions of one question for pins at most. Nodes ask for a few hundred.
pub const VERSIONS_MAX: usize = 4096;

/// Bytes of a drive's error in the operating system's words at most. [`encode`] leaves out what is beyond.
pub const ERROR_SIZE_MAX: usize = 1 << 10;
