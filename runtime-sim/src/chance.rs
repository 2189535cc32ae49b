//! Named random streams: the only source of chance in a simulated world.
//!
//! The intuition: each purpose draws from a generator of its own, keyed by the seed and the purpose's name, so that a
//! link that is asked more often, or a fault that is switched off, does not change what the others draw (`SIM-2`).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream. ChaCha8 is fast and its output is fixed by its specification, so a seed replays on every machine.
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream called `name` of the world with this `seed`.
    pub fn named(seed: u64, name: &str) -> Chance {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&fnv(name.as_bytes(), 0xcbf2_9ce4_8422_2325).to_le_bytes());
        key[16..24].copy_from_slice(&fnv(name.as_bytes(), 0x9e37_79b9_7f4a_7c15).to_le_bytes());
        Chance(ChaCha8Rng::from_seed(key))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not 0. The bias of the modulus is far below what a test could notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        self.0.next_u64() % bound
    }

    /// An index into something with `length` items.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range has no numbers");
        low + self.below(high - low + 1)
    }

    /// True `per_million` times in a million. Draws the same whatever the rate is (`SIM-2`).
    pub fn hits(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// Micros around `typical` with a heavy tail: half of them below twice the typical value, one in 64 about thirty
    /// times as long, a few far longer. Built from integer doublings so that no floating point enters a replay.
    pub fn heavy_tail(&mut self, typical: u64) -> u64 {
        let mut luck = self.number();
        let mut scale = typical.max(1);
        for _ in 0..9 {
            if luck % 8 >= 3 {
                break;
            }
            luck /= 8;
            scale *= 2;
        }
        scale / 2 + self.below(scale)
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Fills the buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// FNV-1a over 64 bits, from the given start.
fn fnv(bytes: &[u8], start: u64) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn streams_of_one_seed_are_independent_and_repeat() {
        let mut first = Chance::named(7, "link 1 2");
        let mut again = Chance::named(7, "link 1 2");
        let mut other = Chance::named(7, "link 2 1");
        let numbers: Vec<u64> = (0..8).map(|_| first.number()).collect();
        assert_eq!(numbers, (0..8).map(|_| again.number()).collect::<Vec<_>>());
        assert_ne!(numbers, (0..8).map(|_| other.number()).collect::<Vec<_>>());
    }

    #[test]
    fn a_heavy_tail_is_mostly_short_and_sometimes_long() {
        let mut chance = Chance::named(1, "tail");
        let draws: Vec<u64> = (0..10_000).map(|_| chance.heavy_tail(100)).collect();
        assert!(draws.iter().filter(|draw| **draw <= 200).count() > 5_000, "half are short");
        assert!(draws.iter().any(|draw| *draw > 5_000), "some are very long");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..20).collect();
        Chance::named(3, "shuffle").shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
