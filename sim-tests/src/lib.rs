//! Scenarios over the simulated world, and what runs seeds of them.
//!
//! A scenario is a sentence and a way to draw a plan from a seed. The tests in `tests/` run seeds of each; the binary
//! replays one with a readable trace, runs ranges, and hunts for planted bugs. `docs/simulation.md` is the guide.

pub mod runner;
pub mod scenario;

pub use runner::{Finding, replay_command, run_seeds};
pub use scenario::Scenario;
