//! How far a node trusts itself to judge others.
//!
//! A node that is slow to run, or whose own link is bad, sees everyone fail. It can tell: relays that should have
//! answered at least with a nack did not, others suspect it, or it was woken late. Each such sign makes its probes slower
//! and more patient; each good probe takes one sign back.
//!
//! - `SWIM-4`: the multiplier stays in 1 to 9, and scales the interval and the timeout of probes alike.
//! - `SWIM-5`: time in which the node itself did not run is not held against others, at most once in a protocol period.
//!   When the node runs again, what they said meanwhile still waits to be read; the second part lets a node that is late
//!   all the time make progress.
//!
//! Source: Lifeguard, §IV-A (local health aware probe; its `S` is 8). A failed probe of which all relays sent their nack
//! speaks against the probed node only, as in the authors' own implementation (`memberlist`). `SWIM-5` is ours.

use crate::types::Time;
use core::time::Duration;

/// Most signs that are counted (Lifeguard §IV-A).
const SIGNS_MAX: u32 = 8;

/// The signs, and whether the present period was lengthened already.
#[derive(Debug, Default)]
pub(super) struct LocalHealth {
    signs: u32,
    has_forgiven: bool,
}

impl LocalHealth {
    /// Notes signs of the node's own trouble.
    pub(super) fn worsen(&mut self, signs: usize) {
        // SWIM-4
        self.signs = self.signs.saturating_add(u32::try_from(signs).unwrap_or(u32::MAX)).min(SIGNS_MAX);
    }

    /// Takes a sign back.
    pub(super) fn improve(&mut self) {
        self.signs = self.signs.saturating_sub(1);
    }

    /// What a time is multiplied by.
    pub(super) fn multiplier(&self) -> u32 {
        self.signs + 1
    }

    /// A new protocol period begins.
    pub(super) fn on_period(&mut self) {
        self.has_forgiven = false;
    }

    /// By how much all waiting is lengthened, when the node wanted to be woken at `wanted` and is at `now`: so that what
    /// was due is due one `patience` from now. `None` when it is not late by more than that.
    pub(super) fn forgive(&mut self, wanted: Time, now: Time, patience: Duration) -> Option<Duration> {
        let late = now.since(wanted);
        // SWIM-5
        if late <= patience || self.has_forgiven {
            return None;
        }
        self.has_forgiven = true;
        self.worsen(1);
        Some(late + patience)
    }
}
