//! The world as plain data. It answers "what happens to this effect, and when?", and never awaits.
//!
//! The intuition: every device has its own state and its own named stream of chance. An answer is a delay, a list of
//! copies, or an outcome; who delivers it, and how, is the driver's business.
//!
//! What is not here: anything that knows a node's logic, or madsim.

pub mod atlas;
pub mod clock;
pub mod disk;
pub mod network;
pub mod rates;

/// Microseconds since the world began. No simulated node can read it: nodes see only their own clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimTime(pub u64);

impl SimTime {
    /// This moment, later by so many microseconds.
    #[must_use]
    pub fn after(self, micros: u64) -> SimTime {
        SimTime(self.0 + micros)
    }

    /// Milliseconds, for people.
    pub fn millis(self) -> f64 {
        // A run lasts minutes at most, so the loss of precision starts far beyond it.
        #[expect(clippy::cast_precision_loss, reason = "only for people, and exact below 2^53 micros")]
        let micros = self.0 as f64;
        micros / 1_000.0
    }
}

/// Microseconds in a millisecond.
pub const MILLIS: u64 = 1_000;
/// Microseconds in a second.
pub const SECONDS: u64 = 1_000_000;
