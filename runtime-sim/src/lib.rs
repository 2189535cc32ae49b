//! The simulated world: the same core that production runs, under a network, disks and clocks that misbehave on
//! purpose, with checkers that know what was promised.
//!
//! The intuition: [`world`] is plain data that answers "what happens to this effect, and when?"; [`driver`] turns the
//! answers into deliveries on madsim nodes; [`check`] watches and complains; [`store`] is the same `redb` as in
//! production over a simulated disk. `docs/simulation.md` is the guide, `docs/failure-model.md` the promises.
//!
//! - `SIM-1` A run is a function of its seed: no clock, no `HashMap`, no address, no thread of our own enters it.
//! - `SIM-2` Random streams are named, so that removing one fault does not shift the others.
//! - `SIM-3` No fault leaves the failure model, so that a complaint is always a bug.
#![forbid(unsafe_code)]

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs `--cfg madsim`, which .cargo/config.toml sets for the whole workspace; a RUSTFLAGS \
     environment variable hides that file: unset it, or add `--cfg madsim` to it"
);

pub mod chance;
pub mod check;
pub mod client;
#[cfg(madsim)]
pub mod driver;
pub mod store;
pub mod trace;
pub mod world;
