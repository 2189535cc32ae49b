//! How long a node stays suspected before it counts as dead.
//!
//! One accuser may be the one with the problem, so its word alone takes long to kill. The more nodes accuse independently
//! of each other, the shorter the suspicion lasts, down to a minimum that leaves the accused the time to refute:
//!
//! ```text
//! timeout = max(min, max - (max - min) * log(C + 1) / log(K + 1))
//! ```
//!
//! where `C` is how many accusers there are beside the first, and `K` how many of them are wanted.
//!
//! - `SWIM-2`: a suspicion counts each accuser once, at most `K + 1` of them, and only a new one is news to spread.
//! - `SWIM-3`: a node is declared dead only when its suspicion has lasted for the timeout, or on another's word.
//!
//! Source: Lifeguard, §IV-B (local health aware suspicion), whose `K` is 3 and whose minimum is `alpha * log10(n)`
//! protocol periods. Fewer than `K` others cannot confirm in a small cluster, so `K` is at most `n - 2` there.

use super::event::Config;
use crate::types::{NodeId, Time};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

/// How many accusers beside the first bring the timeout down to its minimum (Lifeguard §IV-B).
const CONFIRMATIONS_MAX: usize = 3;

/// Most accusers that are remembered and told of.
pub(super) const ACCUSERS_MAX: usize = CONFIRMATIONS_MAX + 1;

/// Fractional bits of the logarithms.
const LOG_BITS: u32 = 16;

/// Between which times a suspicion ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) min: Duration,
    pub(super) max: Duration,
    /// `K`.
    pub(super) confirmations: usize,
}

/// Why a node is suspected, and since when.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    since: Time,
    span: Span,
    accusers: BTreeSet<NodeId>,
}

impl Span {
    /// The span in a cluster of `nodes` nodes.
    pub(super) fn of(config: &Config, nodes: usize) -> Span {
        let scale = log2(u64::try_from(nodes).expect("a count of nodes is a small number").max(1));
        // One period at least, however small the cluster: log10(n) is below 1 for all but large ones.
        let scale = u128::from(scale).max(u128::from(log2(10)));
        let periods = config.probe_interval.as_nanos() * u128::from(config.suspicion_min);
        let min = Duration::from_nanos(u64::try_from(periods * scale / u128::from(log2(10))).unwrap_or(u64::MAX));
        let confirmations = CONFIRMATIONS_MAX.min(nodes.saturating_sub(2));
        Span { min, max: min.saturating_mul(config.suspicion_max), confirmations }
    }

    /// The timeout after `confirmations` accusers beside the first.
    pub(super) fn timeout(&self, confirmations: usize) -> Duration {
        if confirmations >= self.confirmations {
            return self.min;
        }
        let log = |count: usize| u128::from(log2(u64::try_from(count + 1).expect("at most K, a small number")));
        let shrinks = (self.max - self.min).as_nanos() * log(confirmations) / log(self.confirmations);
        self.max - Duration::from_nanos(u64::try_from(shrinks).unwrap_or(u64::MAX))
    }
}

impl Suspicion {
    /// A suspicion that begins.
    pub(super) fn new(since: Time, span: Span, accusers: &[NodeId]) -> Suspicion {
        let mut suspicion = Suspicion { since, span, accusers: BTreeSet::new() };
        accusers.iter().for_each(|accuser| {
            suspicion.accuse(*accuser);
        });
        suspicion
    }

    /// Counts an accuser. Whether that is news.
    pub(super) fn accuse(&mut self, accuser: NodeId) -> bool {
        // SWIM-2
        self.accusers.len() <= self.span.confirmations && self.accusers.insert(accuser)
    }

    /// Who accuses, for others to count.
    pub(super) fn accusers(&self) -> Vec<NodeId> {
        self.accusers.iter().copied().collect()
    }

    /// When the node counts as dead (`SWIM-3`).
    pub(super) fn ends_at(&self) -> Time {
        self.since.after(self.span.timeout(self.accusers.len().saturating_sub(1)))
    }

    /// Lengthens the suspicion by a time that does not count.
    pub(super) fn postpone(&mut self, by: Duration) {
        self.since = self.since.after(by);
    }
}

/// The binary logarithm of a number from 1 on, with [`LOG_BITS`] fractional bits, rounded down. Without floating point,
/// whose logarithm `core` does not have, and which need not give the same bits on all machines.
pub(super) fn log2(number: u64) -> u64 {
    let whole = number.ilog2();
    // The mantissa in [1, 2), with 62 fractional bits; each squaring yields one more bit of the logarithm.
    let mut mantissa = u128::from(number) << (62 - whole.min(62)) >> (whole.max(62) - 62);
    let mut log = u64::from(whole);
    for _ in 0..LOG_BITS {
        mantissa = (mantissa * mantissa) >> 62;
        log <<= 1;
        if mantissa >> 63 != 0 {
            mantissa >>= 1;
            log |= 1;
        }
    }
    log
}
