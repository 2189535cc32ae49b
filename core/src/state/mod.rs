//! The replicated state machine of a group.

pub mod command;

pub use command::*;
