//! One node on real disks, threads and clocks: the runtime's half of the contract in `anvil_core::node::event`.
//!
//! A thread owns the core and does nothing but step it. Everything that takes time runs elsewhere and comes back as an
//! event: the log's disk on one thread (so that one sync follows another without a queue in between), other disk orders
//! on a pool for each drive, sealing and coding on a pool, the state store on one writer thread and a few readers.

mod checked_file;
mod core_loop;
mod descriptors;
mod directory;
mod disks;
mod gatekeeper;
mod log_recovery;
mod neighbours;
mod pool;
mod recovery;
mod room;
mod state_threads;
mod workers;

pub(crate) use checked_file::sync_parent;
pub use core_loop::{Inbox, NodeHandle, StartOptions, start};
pub(crate) use directory::random;
pub use directory::{Begun, Candidate, DirectoryError, Given, NodeDirectory};
pub use neighbours::Network;
pub use room::Room;
pub(crate) use room::{drive_gib, grows};
