//! The state store's file on a simulated drive. The store itself is the shared crate `anvil-state-store`: the same code
//! and the same `redb` as in production.
//!
//! - `STORE-1` After any power loss, even in the middle of a commit, the store is at a checkpoint that completed or was
//!   under way.

mod backend;
#[cfg(test)]
mod tests;

pub use backend::SimBackend;
