//! Links between nodes, and between clients and nodes: delay, loss, duplication, reordering, and partitions.
//!
//! The intuition: each message asks the link "when do you arrive?" and hears zero, one or two delays. Reordering needs
//! no switch of its own: two messages with independent delays overtake each other.

use super::rates::NetworkRates;
use crate::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};

/// One end of a link: a process of the cluster, or a client outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A node, by its number.
    Node(u64),
    /// A client, by its number.
    Client(u64),
}

/// Who hears whom. Clients reach every node in every shape: what they see is the nodes' trouble, not their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Everyone.
    Whole,
    /// Two sides that do not hear each other.
    Symmetric {
        /// One side.
        side: BTreeSet<u64>,
    },
    /// Nodes that speak and hear nothing (`deaf`), or hear and cannot speak.
    Asymmetric {
        /// The nodes.
        nodes: BTreeSet<u64>,
        /// True: they hear nothing. False: nobody hears them.
        deaf: bool,
    },
    /// Two sides that share one node, which hears both.
    Bridge {
        /// One side, without the bridge.
        side: BTreeSet<u64>,
        /// The shared node.
        bridge: u64,
    },
    /// Each node hears only its two neighbours.
    Ring {
        /// The nodes, in ring order.
        order: Vec<u64>,
    },
}

impl Partition {
    /// A shape drawn for these nodes.
    pub fn draw(nodes: &[u64], chance: &mut Chance) -> Partition {
        if nodes.len() < 2 {
            return Partition::Whole;
        }
        let mut order = nodes.to_vec();
        chance.shuffle(&mut order);
        let side = |chance: &mut Chance, of: &[u64]| -> BTreeSet<u64> {
            let size = 1 + chance.index(of.len() - 1);
            of[..size].iter().copied().collect()
        };
        match chance.below(if nodes.len() >= 3 { 5 } else { 3 }) {
            0 | 1 => Partition::Symmetric { side: side(chance, &order) },
            2 => Partition::Asymmetric { nodes: side(chance, &order), deaf: chance.below(2) == 0 },
            3 => {
                let bridge = order[0];
                Partition::Bridge { side: side(chance, &order[1..]), bridge }
            }
            _ => Partition::Ring { order },
        }
    }

    /// Whether a message from `from` reaches `to`.
    pub fn lets(&self, from: u64, to: u64) -> bool {
        match self {
            Partition::Whole => true,
            Partition::Symmetric { side } => side.contains(&from) == side.contains(&to),
            Partition::Asymmetric { nodes, deaf: true } => !nodes.contains(&to),
            Partition::Asymmetric { nodes, deaf: false } => !nodes.contains(&from),
            Partition::Bridge { side, bridge } => {
                from == *bridge || to == *bridge || side.contains(&from) == side.contains(&to)
            }
            Partition::Ring { order } => {
                let place = |node| order.iter().position(|member| *member == node);
                match (place(from), place(to)) {
                    (Some(a), Some(b)) => {
                        let apart = a.abs_diff(b);
                        apart <= 1 || apart == order.len() - 1
                    }
                    (None, _) | (_, None) => true,
                }
            }
        }
    }
}

/// All links.
#[derive(Clone, Debug)]
pub struct Network {
    seed: u64,
    rates: NetworkRates,
    partition: Partition,
    links: BTreeMap<(End, End), Chance>,
}

impl Network {
    /// A whole network of this temper.
    pub fn new(seed: u64, rates: NetworkRates) -> Network {
        Network { seed, rates, partition: Partition::Whole, links: BTreeMap::new() }
    }

    /// Cuts or heals links.
    pub fn set_partition(&mut self, partition: Partition) {
        self.partition = partition;
    }

    /// Whether a message that was sent earlier still arrives: a cut link loses what is on it.
    pub fn carries(&self, from: u64, to: u64) -> bool {
        self.partition.lets(from, to)
    }

    /// Ends loss, duplication and partitions; delays stay.
    pub fn heal(&mut self) {
        self.partition = Partition::Whole;
        self.rates = NetworkRates { delay_micros: self.rates.delay_micros, ..NetworkRates::default() };
    }

    /// The delays, in microseconds, after which copies of a message arrive. None when it is lost.
    pub fn send(&mut self, from: End, to: End) -> Vec<u64> {
        if let (End::Node(from), End::Node(to)) = (from, to)
            && !self.partition.lets(from, to)
        {
            return Vec::new();
        }
        let seed = self.seed;
        let link =
            self.links.entry((from, to)).or_insert_with(|| Chance::named(seed, &format!("link {from:?} {to:?}")));
        // The same numbers are drawn whatever the rates are, so that a rate does not shift a link's delays (`SIM-2`).
        let (lost, doubled) = (link.hits(self.rates.drop_per_million), link.hits(self.rates.duplicate_per_million));
        let (first, second) = (link.heavy_tail(self.rates.delay_micros), link.heavy_tail(self.rates.delay_micros * 4));
        match (lost, doubled) {
            (true, _) => Vec::new(),
            (false, true) => vec![first, second],
            (false, false) => vec![first],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Network, Partition};
    use crate::chance::Chance;
    use crate::world::rates::NetworkRates;
    use std::collections::BTreeSet;

    #[test]
    fn a_bridge_hears_both_sides_that_do_not_hear_each_other() {
        let partition = Partition::Bridge { side: BTreeSet::from([1, 2]), bridge: 3 };
        assert!(partition.lets(1, 3) && partition.lets(3, 4) && partition.lets(1, 2));
        assert!(!partition.lets(1, 4) && !partition.lets(4, 2));
    }

    #[test]
    fn in_a_ring_only_neighbours_hear_each_other() {
        let partition = Partition::Ring { order: vec![1, 2, 3, 4, 5] };
        assert!(partition.lets(1, 2) && partition.lets(5, 1));
        assert!(!partition.lets(1, 3) && !partition.lets(4, 2));
    }

    #[test]
    fn an_asymmetric_partition_lets_one_direction_through() {
        let deaf = Partition::Asymmetric { nodes: BTreeSet::from([1]), deaf: true };
        assert!(deaf.lets(1, 2) && !deaf.lets(2, 1));
        let mute = Partition::Asymmetric { nodes: BTreeSet::from([1]), deaf: false };
        assert!(!mute.lets(1, 2) && mute.lets(2, 1));
    }

    #[test]
    fn every_drawn_partition_cuts_something() {
        let mut chance = Chance::named(1, "partition");
        for _ in 0..500 {
            let nodes = [1, 2, 3, 4, 5];
            let partition = Partition::draw(&nodes, &mut chance);
            let cut = nodes.iter().any(|a| nodes.iter().any(|b| !partition.lets(*a, *b)));
            assert!(cut, "{partition:?}");
        }
    }

    #[test]
    fn a_rate_does_not_shift_the_delays_of_a_link() {
        let lossy = NetworkRates { delay_micros: 500, drop_per_million: 300_000, duplicate_per_million: 0 };
        let calm = NetworkRates { drop_per_million: 0, ..lossy };
        let (mut lossy, mut calm) = (Network::new(9, lossy), Network::new(9, calm));
        let mut lost = 0;
        for _ in 0..1_000 {
            let expected = calm.send(End::Node(1), End::Node(2));
            let got = lossy.send(End::Node(1), End::Node(2));
            assert!(got.is_empty() || got == expected);
            lost += usize::from(got.is_empty());
        }
        assert!((200..400).contains(&lost), "about three in ten are lost, not {lost}");
    }
}
