//! The hashes of placement: fixed for ever, since stored tables and the drives of stored bodies follow from them.
//!
//! *Rendezvous*: each drive draws a number for a name, and the best draw wins. A drive that leaves changes only what
//! it had won, and all nodes agree without asking each other. With weights the draws are the ends of exponential
//! waits, whose rate is the weight: the one that ends first is a drive with a chance in proportion to its weight.
//!
//! Source: Thaler and Ravishankar 1998. The mixing: Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", 2014 (SplitMix64). The waits: Efraimidis and Spirakis, "Weighted random sampling with a reservoir",
//! 2006.

use crate::types::{DriveId, VersionId};
use core::cmp::Ordering;

/// The odd number closest to 2^64 over the golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bits behind the point of a [`Draw`]'s wait.
const WAIT_BITS: u32 = 32;

/// One step of SplitMix64 for each word. The hash of one word is what SplitMix64 seeded with it gives first.
pub(super) fn hash(words: &[u64]) -> u64 {
    // PLACE-5
    words.iter().fold(0, |state: u64, word| {
        let mut z = (state ^ word).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The high and the low half of a version's id.
fn halves(version: VersionId) -> [u64; 2] {
    let (low, high) = (version.0 & u128::from(u64::MAX), version.0 >> 64);
    [high, low].map(|half| u64::try_from(half).expect("half of 128 bits are 64"))
}

/// The hash whose last bits are a version's group. Ids are random already; mixing keeps those even that are not.
pub(super) fn version_hash(version: VersionId) -> u64 {
    hash(&halves(version))
}

/// What a drive drew for the positions of a group, all drives having equal chances.
pub(super) fn group_draw(group: usize, drive: DriveId) -> u64 {
    hash(&[group as u64, u64::from(drive.0)])
}

/// Where to begin among `slots` things of one drive that another may get.
pub(super) fn start_draw(from: DriveId, to: DriveId, slots: usize) -> usize {
    let draw = hash(&[u64::from(from.0), u64::from(to.0), slots as u64]) % slots.max(1) as u64;
    usize::try_from(draw).expect("the rest is less than a usize")
}

/// What a drive drew for a version, its chances being in proportion to its weight. The smallest wins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    wait: u64,
    weight: u64,
    drive: DriveId,
}

impl Draw {
    pub(super) fn of(version: VersionId, drive: DriveId, weight: u64) -> Draw {
        let [high, low] = halves(version);
        Draw { wait: wait(hash(&[high, low, u64::from(drive.0)])), weight, drive }
    }

    /// Compares `wait / weight` without dividing. Equal draws are ordered by drive, so that no order of lists shows.
    pub(super) fn cmp(&self, other: &Draw) -> Ordering {
        let ours = u128::from(self.wait) * u128::from(other.weight);
        let theirs = u128::from(other.wait) * u128::from(self.weight);
        ours.cmp(&theirs).then(self.drive.cmp(&other.drive))
    }
}

/// How long a clock of rate 1 runs, in 2^-32: `-log2(u)`, where `u` is the hash as a fraction of 2^64. At least 1.
///
/// The logarithm comes bit by bit from squaring, in integers, since two machines need not agree on the last bit of a
/// float's.
pub(super) fn wait(hash: u64) -> u64 {
    let hash = hash | 1;
    let zeros = hash.leading_zeros();
    // From here on a number of 1 to 2, with 63 bits behind the point.
    let mut mantissa = hash << zeros;
    let mut log = 0;
    for _ in 0..WAIT_BITS {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        let doubled = square >> 64;
        log = (log << 1) | u64::from(doubled != 0);
        mantissa = u64::try_from(square >> doubled).expect("a square of less than 4, halved when it reached 2");
    }
    (u64::from(zeros + 1) << WAIT_BITS) - log
}
