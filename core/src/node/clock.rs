//! Replicated time as a node knows it between one applied entry and the next.
//!
//! What expires is judged by the largest stamp in the log (`STATE-3`). One clock that runs ahead for a while takes that time
//! with it, and every other clock is behind from then on. Stamps of such a clock would make preparations that have expired
//! before they are written, for as long as the error was large.
//!
//! - `TIME-1` What a node stamps is not before the replicated time that it knows.
//! - `TIME-2` Time never stands still, or nothing would expire: while the wall clock is behind, what is known goes on with
//!   the monotonic clock. It does so at half pace, as `adjtime` slows a clock that is ahead, so that the wall clock comes
//!   level with it after twice the error.
//!
//! A snapshot brings no time of its own here: whoever leads applies an entry of its own term soon after.

use crate::types::{Now, Time, WallTime};
use core::time::Duration;

/// The replicated time of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicatedClock {
    known: WallTime,
    since: Time,
}

impl ReplicatedClock {
    pub(super) fn new(applied: WallTime, now: Time) -> ReplicatedClock {
        ReplicatedClock { known: applied, since: now }
    }

    /// An entry was applied, and this is the replicated time. An estimate that is ahead of it stays: the stamps of
    /// entries under way may come from it.
    pub(super) fn on_applied(&mut self, applied: WallTime, now: Time) {
        if applied > self.estimate(now) {
            *self = ReplicatedClock::new(applied, now);
        }
    }

    /// The time to stamp with, and to judge expiry by.
    pub(super) fn read(&self, now: Now) -> WallTime {
        now.wall.max(self.estimate(now.time)) // TIME-1
    }

    /// By how much the replicated time is ahead of the wall clock.
    pub(super) fn ahead(&self, now: Now) -> Duration {
        Duration::from_millis(self.estimate(now.time).0.saturating_sub(now.wall.0))
    }

    fn estimate(&self, now: Time) -> WallTime {
        self.known.after(now.since(self.since) / 2) // TIME-2
    }
}

#[cfg(test)]
mod tests {
    use super::ReplicatedClock;
    use crate::types::{Now, Time, WallTime};
    use alloc::vec::Vec;

    const SECOND: u64 = 1_000_000;

    fn at(seconds: u64, wall: u64) -> Now {
        Now { time: Time(seconds * SECOND), wall: WallTime(wall) }
    }

    #[test]
    fn a_wall_clock_that_is_right_is_believed() {
        let mut clock = ReplicatedClock::new(WallTime(5_000), Time(0));
        assert_eq!(clock.read(at(1, 6_000)), WallTime(6_000));
        clock.on_applied(WallTime(6_000), Time(SECOND));
        assert_eq!(clock.read(at(100, 105_000)), WallTime(105_000));
    }

    #[test]
    fn time_that_ran_ahead_goes_on_at_half_pace_until_the_wall_clock_is_level() {
        let mut clock = ReplicatedClock::new(WallTime(0), Time(0));
        clock.on_applied(WallTime(8_000), Time(0));
        let read: Vec<u64> = (0..=20).map(|seconds| clock.read(at(seconds, seconds * 1_000)).0).collect();
        assert_eq!(read[..3], [8_000, 8_500, 9_000]);
        assert_eq!((read[15], read[16], read[20]), (15_500, 16_000, 20_000));
    }

    #[test]
    fn entries_that_are_applied_all_the_time_do_not_hold_time_up() {
        let mut clock = ReplicatedClock::new(WallTime(8_000), Time(0));
        for tenth in 0..100 {
            let stamp = clock.read(Now { time: Time(tenth * SECOND / 10), wall: WallTime(0) });
            clock.on_applied(stamp, Time((tenth + 1) * SECOND / 10));
        }
        assert_eq!(clock.read(at(10, 0)), WallTime(13_000));
    }
}
