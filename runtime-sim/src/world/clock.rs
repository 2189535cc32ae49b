//! A node's two clocks, as wrong as real ones are.
//!
//! The intuition: true time is known to the world alone. The monotonic clock drifts but never goes back while the
//! process lives; the wall clock drifts, starts off by an offset, and an operator or a broken time server may make it
//! jump either way at any moment.

use super::SimTime;
use anvil_core::types::{Now, Time, WallTime};

/// The wall clock that true time zero stands for, in milliseconds since the Unix epoch.
pub const EPOCH_MS: i64 = 1_800_000_000_000;

/// Both clocks of one node.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Parts per million by which both clocks run fast (or slow, when negative).
    drift_ppm: i64,
    /// What the wall clock claims beyond the truth, in milliseconds.
    wall_offset_ms: i64,
    /// The most that it ever claimed beyond the truth.
    wall_offset_ms_max: i64,
    /// The origin of the monotonic clock, new for each process life.
    origin: u64,
    /// When this life of the process began.
    born: SimTime,
}

impl Clock {
    /// A clock that is off by this much.
    pub fn new(drift_ppm: i64, wall_offset_ms: i64) -> Clock {
        assert!(drift_ppm.abs() < 500_000, "a clock twice as fast as time is no clock");
        Clock { drift_ppm, wall_offset_ms, wall_offset_ms_max: wall_offset_ms, origin: 0, born: SimTime(0) }
    }

    /// A new process begins: its monotonic clock starts anywhere.
    pub fn reborn(&mut self, at: SimTime, origin: u64) {
        self.origin = origin;
        self.born = at;
    }

    /// Moves the wall clock.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
        self.wall_offset_ms_max = self.wall_offset_ms_max.max(self.wall_offset_ms);
    }

    /// The most that the wall clock ever claimed beyond the truth.
    pub fn offset_ms_max(&self) -> i64 {
        self.wall_offset_ms_max
    }

    /// Sets the wall clock to this much beyond the truth.
    pub fn set_offset(&mut self, offset_ms: i64) {
        self.jump(offset_ms - self.wall_offset_ms);
    }

    /// What a process reads at `at`.
    pub fn read(&self, at: SimTime) -> Now {
        let true_ms = i64::try_from(at.0 / 1_000).expect("a run ends before the world does");
        let drifted = true_ms + true_ms * self.drift_ppm / 1_000_000;
        let wall = EPOCH_MS + drifted + self.wall_offset_ms;
        Now { time: self.monotonic(at), wall: WallTime(u64::try_from(wall.max(0)).expect("not negative")) }
    }

    fn monotonic(&self, at: SimTime) -> Time {
        Time(self.origin + self.scale(at.0 - self.born.0))
    }

    fn scale(&self, micros: u64) -> u64 {
        let scaled = i128::from(micros) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        u64::try_from(scaled).expect("a drift below 100 percent keeps the sign")
    }

    /// The first true moment at which the monotonic clock reads at least `local`.
    pub fn when(&self, local: Time) -> SimTime {
        let passed = i128::from(local.0.saturating_sub(self.origin));
        let rate = i128::from(1_000_000 + self.drift_ppm);
        let needed = (passed * 1_000_000 + rate - 1) / rate;
        let mut at = SimTime(self.born.0.saturating_add(u64::try_from(needed).unwrap_or(u64::MAX / 4)));
        // Rounding may leave the clock one tick short.
        while self.monotonic(at) < local && at.0 < u64::MAX / 8 {
            at = at.after(1);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, EPOCH_MS};
    use crate::chance::Chance;
    use crate::world::SimTime;
    use anvil_core::types::Time;

    #[test]
    fn a_deadline_is_reached_exactly_when_the_world_says() {
        let mut chance = Chance::named(5, "clock");
        for _ in 0..2_000 {
            let drift = i64::try_from(chance.below(200_000)).expect("small") - 100_000;
            let mut clock = Clock::new(drift, 0);
            clock.reborn(SimTime(chance.below(1_000_000)), chance.below(1 << 40));
            let now = clock.read(SimTime(2_000_000)).time;
            let deadline = Time(now.0 + chance.below(3_000_000));
            let at = clock.when(deadline);
            assert!(clock.read(at).time >= deadline, "not too early");
            assert!(at.0 == 0 || clock.read(SimTime(at.0 - 1)).time < deadline || at <= SimTime(2_000_000), "not late");
        }
    }

    #[test]
    fn a_jump_moves_the_wall_and_not_the_monotonic_clock() {
        let mut clock = Clock::new(0, 250);
        let before = clock.read(SimTime(1_000_000));
        assert_eq!(before.wall.0, u64::try_from(EPOCH_MS).expect("positive") + 1_250);
        clock.jump(-5_000);
        let after = clock.read(SimTime(1_000_000));
        assert_eq!(after.time, before.time);
        assert_eq!(after.wall.0 + 5_000, before.wall.0);
    }
}
