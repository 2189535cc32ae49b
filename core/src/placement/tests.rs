//! Placement against a model that deals shards out by hand, and measured on clusters that grow and shrink.
//!
//! `model` makes the clusters and says what is legal; the rest are the promises, one file each.

mod bytes;
mod choosing;
mod model;
mod moving;
mod solving;
