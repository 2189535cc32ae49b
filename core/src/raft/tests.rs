//! How the replica is tested: `world` plays network, disk and state machine, and `checks` holds the promises of Raft
//! against each step; `transcript` runs the scenarios of `testdata/raft/`; `cluster` draws random histories; `units`
//! shows single rules; `bugs` shows that the planted bugs change what happens; `lies` feeds nonsense.

#[cfg(debug_assertions)]
mod bugs;
mod checks;
mod cluster;
mod lies;
mod transcript;
mod units;
mod world;
