//! Messages between the replicas of a group, to bytes and back.
//!
//! The intuition: parse, don't validate. Whoever holds a [`Message`](anvil_core::raft::Message) that came from here need not ask whether a part of it
//! is missing, and a peer that sends garbage can cost the node no more than the garbage's own size.
//!
//! - `PEER-1` Decoding what [`encode`] wrote gives the same group and message, as long as it keeps the limits below.
//! - `PEER-2` No bytes make [`decode`] panic, and payloads are slices of the buffer. What else it allocates is bounded by
//!   [`MESSAGE_SIZE_MAX`]: only a snapshot, which is one such slice, may come in a larger buffer.
//! - `PEER-3` A message has all its parts: nothing that `encode` always writes may be absent.
//! - `PEER-4` The entries of an append stand one after the other, the first right after `previous`, so no entry has index 0.
//! - `PEER-5` A membership is one: its lists ascend, and a learner does not vote.
//!
//! Source: Raft figures 2 and 13, and the thesis §9.6 and §3.10, for the messages; <https://protobuf.dev/programming-guides/encoding/>
//! for the encoding. The bytes: `docs/formats/peer.md`.
//!
//! Not here: whether the terms and positions are ones that a correct replica could name (`anvil_core::raft`).

mod decode;
mod encode;
mod error;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use encode::encode;
pub use error::DecodeError;

/// Bytes of a message at most, other than `InstallSnapshot`. A leader sends batches of about 1 MiB, or a single entry.
pub const MESSAGE_SIZE_MAX: usize = 8 << 20;

/// Bytes of an `InstallSnapshot` at most. It carries a whole state machine.
pub const SNAPSHOT_SIZE_MAX: usize = 1 << 30;

/// Bytes of one command at most. The largest that a client can cause carries a user key's value of 1 MiB.
pub const COMMAND_SIZE_MAX: usize = 4 << 20;
