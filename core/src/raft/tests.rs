//! How the replica is tested: `world` plays network, disk and state machine and checks the promises of Raft after each
//! step; `transcript` runs the scenarios of `testdata/raft/`; `cluster` draws random histories; `bugs` shows that the
//! planted bugs change what happens; `lies` feeds nonsense.

extern crate std;

#[cfg(debug_assertions)]
mod bugs;
mod cluster;
mod lies;
mod transcript;
mod units;
mod world;
