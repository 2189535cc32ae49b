//! The composition root: one node with its log, Raft groups, shard stores, writes and reads.

pub mod event;
pub mod request;

pub use event::{DiskUser, Effect, Event, Fatal, Product, Task, WorkId};
pub use request::{GroupStatus, Reply, Request, Status, Target, Unavailable};
