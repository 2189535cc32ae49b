//! Wire messages: the one place where bytes from another node become core types.
//!
//! The `.proto` files say what is on the wire, the generated types mirror them one to one, and [`peer`] turns those into
//! the types that core's machines take, or says why the bytes cannot be one. Nothing else in Anvil sees the generated
//! types, so that a field which a correct node always sends is never an `Option` anywhere but here.
//!
//! Not here: who sent the bytes (the connection's certificate says), how they travelled, and whether a correct replica
//! could have sent them in its state (`anvil_core::raft` checks that).

pub mod join;
pub mod peer;

pub use peer::{DecodeError, Framed, decode, encode};

/// What prost generates from `anvil/peer/v1/`.
#[allow(clippy::all, unreachable_pub, reason = "generated code follows its generator's style")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/anvil.peer.v1.rs"));
}
