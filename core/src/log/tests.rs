//! The log against a drive that tears, rots and loses, and against a model that cannot be wrong.
//!
//! `world` is the drive, the model and the node that they share; the rest are the promises, one file each.

mod crash;
mod damage;
mod forged;
mod golden;
mod hard_states;
mod order;
#[cfg(debug_assertions)]
mod planted;
mod world;
