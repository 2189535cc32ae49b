//! Anvil's logic, without I/O, clock, thread or async.
//!
//! Each part is a state machine with one door: `step(now, event, out)` takes a fact and pushes orders, and
//! `deadline()` says when it wants to be woken. A runtime (the real one, or the simulator) carries the orders out.
//! `ARCHITECTURE.md` has the map; the crate is `no_std`, so that clocks, sockets and hash maps with a random seed do
//! not compile here.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod access;
pub mod disk;
pub mod log;
pub mod membership;
pub mod node;
pub mod placement;
pub mod planted;
pub mod raft;
pub mod read;
pub mod rows;
pub mod shards;
pub mod state;
pub mod stripe;
pub mod swim;
pub mod topology;
pub mod types;
pub mod write;
