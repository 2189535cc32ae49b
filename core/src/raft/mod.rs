//! Raft.

pub mod event;
pub mod message;

pub use event::{Config, Effect, Event, Refusal, Restored, Role};
pub use message::{AppendOutcome, Message};
