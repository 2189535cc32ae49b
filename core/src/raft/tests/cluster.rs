//! Random histories of three and five replicas: messages are lost, repeated and reordered, links are cut, nodes crash
//! with whatever their disks had taken, state machines are checkpointed, logs are cut, snapshots travel. The world
//! checks safety all along; when the faults end, the group must agree again. In some histories an operator changes who
//! replicates and who leads, all the while.

extern crate std;

use super::world::Answer;
use super::world::{ELECTION_TIMEOUT, HEARTBEAT_INTERVAL, InFlight, Options, World};
use crate::raft::{Change, Effect, Role};
use crate::types::{LogIndex, NodeId, Payload};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Large enough that a few entries exceed the tail that a leader keeps, so that snapshots happen.
const LARGE: usize = 1 << 20;

struct Chaos {
    world: World,
    random: ChaCha8Rng,
    /// Directed links that lose everything.
    cut: BTreeSet<(NodeId, NodeId)>,
    large: Bytes,
    proposals: usize,
    /// In how many of 1,000 deliveries the message is lost, and repeated.
    loss: u64,
    repetition: u64,
    /// In how many of 1,000 cases a node that could crash does.
    crashes: u64,
    /// Whether messages overtake each other.
    reorders: bool,
    /// Whether logs of nodes that crash are lost, never those of a majority at once.
    loses_logs: bool,
    /// In how many of 1,000 actions an operator does something.
    changes: usize,
}

/// What happened in a history, so that a test can tell that it was not a quiet one.
#[derive(Default)]
struct Tally {
    terms: usize,
    applied: usize,
    snapshots: usize,
    reads: usize,
    memberships: usize,
    transfers: usize,
    repairs: usize,
}

impl Chaos {
    fn new(ids: &[u64], spares: &[u64], seed: u64) -> Chaos {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let options = Options {
            seed,
            append_bytes_max: if random.next_u64().is_multiple_of(2) { 1 } else { 3 * LARGE },
            snapshot_chunk_bytes: 1 + below(&mut random, 8),
            appends_in_flight_max: 1 + below(&mut random, 4),
            uncommitted_bytes_max: 8 * LARGE,
            ..Options::default()
        };
        let (loss, repetition) = ([0, 30, 200][below(&mut random, 3)], [0, 50][below(&mut random, 2)]);
        let crashes = [0, 50, 200, 700][below(&mut random, 4)];
        let reorders = random.next_u64().is_multiple_of(2);
        Chaos {
            world: World::with_spares(ids, spares, options),
            random,
            cut: BTreeSet::new(),
            large: Bytes::from(vec![7; LARGE + 10_000]),
            proposals: 0,
            loss,
            repetition,
            crashes,
            reorders,
            loses_logs: spares.is_empty() && seed.is_multiple_of(2),
            changes: if spares.is_empty() { 0 } else { 40 },
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        below(&mut self.random, bound)
    }

    fn any_node(&mut self) -> NodeId {
        let ids = self.world.ids();
        ids[self.below(ids.len())]
    }

    fn act(&mut self) {
        if self.below(1000) < self.changes {
            self.operate();
            return;
        }
        match self.below(100) {
            0..45 => self.deliver(),
            45..65 => {
                let id = self.any_node();
                let count = 1 + self.below(3);
                self.world.persist(id, count);
            }
            65..77 => {
                let micros = self.below(20_000) as u64;
                self.world.elapse(Duration::from_micros(micros));
            }
            77..87 => {
                let id = self.world.leader().filter(|_| !self.proposals.is_multiple_of(5));
                let id = if let Some(id) = id { id } else { self.any_node() };
                let command = self.command();
                self.world.propose(id, command);
            }
            87..90 => {
                let id = self.any_node();
                self.world.read(id);
            }
            90..94 => {
                let id = self.any_node();
                self.world.work(id);
            }
            94..97 => {
                let id = self.any_node();
                if self.world.is_up(id) {
                    self.world.checkpoint(id);
                }
            }
            97 => self.change_links(),
            _ => self.crash_or_restart(),
        }
    }

    /// Asks for another membership or another leader, sensibly or not.
    fn operate(&mut self) {
        let leader = self.world.leader();
        let id = if let Some(leader) = leader { leader } else { self.any_node() };
        if !self.world.is_up(id) {
            return;
        }
        let other = self.any_node();
        let membership = self.world.raft(id).membership().clone();
        let mut voters: BTreeSet<NodeId> = membership.voters().iter().copied().collect();
        let change = match self.below(8) {
            0 | 1 => Change::AddLearner(other),
            2 => Change::RemoveLearner(other),
            3 => {
                voters.remove(&other);
                Change::SetVoters(voters)
            }
            4 => {
                self.world.transfer(id, other);
                return;
            }
            // Learners take the places of some voters.
            _ => {
                let leaving = self.below(voters.len().max(1));
                voters = voters.into_iter().skip(leaving).chain(membership.learners().iter().copied()).collect();
                Change::SetVoters(voters)
            }
        };
        self.world.change(id, change);
    }

    /// Who replicates the group, as its leader says; everyone while there is none.
    fn members(&self) -> Vec<NodeId> {
        let leader = self.world.leader().map(|leader| self.world.raft(leader).membership().nodes());
        leader.map_or_else(|| self.world.ids(), |nodes| nodes.into_iter().collect())
    }

    /// Commands are told apart by their size, so that large ones need no memory of their own.
    fn command(&mut self) -> Bytes {
        self.proposals += 1;
        let size = if self.below(3) == 0 { LARGE } else { 8 } + self.proposals % 10_000;
        self.large.slice(..size)
    }

    fn deliver(&mut self) {
        if self.world.network.is_empty() {
            return;
        }
        let nth = if self.reorders { self.below(self.world.network.len()) } else { 0 };
        let flight = &self.world.network[nth];
        let is_cut = self.cut.contains(&(flight.from, flight.to));
        let fate = self.random.next_u64() % 1000;
        if is_cut || fate < self.loss {
            self.world.network.remove(nth);
        } else if fate < self.loss + self.repetition {
            let flight = &self.world.network[nth];
            let (from, to, message) = (flight.from, flight.to, flight.message.clone());
            self.world.network.push(InFlight { from, to, message });
            self.world.deliver(nth);
        } else {
            self.world.deliver(nth);
        }
    }

    fn change_links(&mut self) {
        self.cut.clear();
        if self.below(3) > 0 {
            let alone = self.any_node();
            let (hears, speaks) = (self.below(2) == 0, self.below(2) == 0);
            for other in self.world.ids() {
                if !hears {
                    self.cut.insert((other, alone));
                }
                if !speaks {
                    self.cut.insert((alone, other));
                }
            }
        }
    }

    fn crash_or_restart(&mut self) {
        let id = self.any_node();
        if !self.world.is_up(id) {
            self.world.restart(id);
        } else if self.random.next_u64() % 1000 < self.crashes {
            let durable = self.below(4);
            let installed = self.below(2) == 0;
            self.world.crash(id, durable, installed);
            let ids = self.world.ids();
            let impaired = ids.iter().filter(|id| self.world.node(**id).disk.hard_state.impaired).count();
            if self.loses_logs && 2 * (impaired + 1) < ids.len() {
                self.world.lose_log(id);
            }
        }
    }

    /// All faults end; everything is delivered in order and written at once.
    fn heal(&mut self) {
        self.cut.clear();
        for id in self.world.ids() {
            if !self.world.is_up(id) {
                self.world.restart(id);
            }
        }
    }

    /// Runs without faults until every state machine has applied a command that is proposed then.
    fn check_liveness(&mut self, seed: u64) {
        self.heal();
        let ids = self.world.ids();
        let mut target: Option<LogIndex> = None;
        for _ in 0..400 {
            self.world.settle(&ids);
            let members = self.members();
            let applied = members.iter().map(|id| self.world.node(*id).machine.position.index).min();
            if target.is_some_and(|target| applied >= Some(target)) {
                self.check_agreement();
                return;
            }
            let committed = self.world.canonical.keys().next_back().copied().unwrap_or_default();
            if target.is_none_or(|target| committed < target)
                && let Some(leader) = self.world.leader()
            {
                let command = self.command();
                self.world.propose(leader, command);
                target = Some(self.world.raft(leader).last().index);
            }
            self.world.elapse(HEARTBEAT_INTERVAL / 5);
        }
        let shown = ids.iter().map(|id| {
            let raft = self.world.raft(*id);
            let (role, term, last, commit) = (raft.role(), raft.term(), raft.last(), raft.commit());
            format!("{id}: {role:?} {term} {last:?} commit {commit}, {:?}\n", raft.membership())
        });
        let shown: String = shown.collect();
        panic!("seed {seed}: the group did not recover in {:?}\n{shown}", ELECTION_TIMEOUT * 400 / 15);
    }

    fn check_agreement(&self) {
        let leader = self.world.raft(self.world.leader().expect("a healed group has a leader"));
        assert!(!leader.membership().is_joint(), "a healed group completes its change");
        for id in leader.membership().nodes() {
            assert_eq!(self.world.raft(id).membership(), leader.membership(), "node {id} has another membership");
        }
        self.world.check_log_matching();
        let suspects: u64 = self.world.ids().iter().map(|id| self.world.raft(*id).suspect_messages()).sum();
        assert_eq!(suspects, 0, "correct replicas took each other for liars");
        let leaders = self.members().into_iter().filter(|id| self.world.raft(*id).role() == Role::Leader).count();
        assert_eq!(leaders, 1, "a healed group has one leader");
    }
}

fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    let bound = u64::try_from(bound).expect("a small number");
    usize::try_from(random.next_u64() % bound).expect("less than a small number")
}

fn run(ids: &[u64], spares: &[u64], seed: u64, actions: usize) -> Tally {
    let mut chaos = Chaos::new(ids, spares, seed);
    let mut tally = Tally::default();
    for nth in 0..actions {
        chaos.act();
        if nth % 64 == 0 {
            chaos.world.check_log_matching();
        }
        for (_, effect) in chaos.world.seen.drain(..) {
            tally.snapshots += usize::from(matches!(effect, Effect::InstallSnapshot { .. }));
            tally.repairs += usize::from(matches!(effect, Effect::Repaired { .. }));
        }
    }
    chaos.check_liveness(seed);
    tally.repairs += chaos.world.seen.iter().filter(|(_, effect)| matches!(effect, Effect::Repaired { .. })).count();
    tally.terms = chaos.world.leaders.len();
    tally.applied = chaos.world.canonical.len();
    let answers: Vec<_> = chaos.world.answers.values().flatten().collect();
    tally.reads = answers.iter().filter(|answer| matches!(answer, Answer::ReadReady(_))).count();
    tally.transfers = answers.iter().filter(|answer| matches!(answer, Answer::TransferBegun)).count();
    let payloads = chaos.world.canonical.values().map(|(entry, _)| &entry.payload);
    tally.memberships = payloads.filter(|payload| matches!(payload, Payload::Membership(_))).count();
    tally
}

/// Runs many histories, and makes sure that together they were eventful.
fn run_all(ids: &[u64], spares: &[u64], seeds: core::ops::Range<u64>, actions: usize) {
    let mut all = Tally::default();
    let count = usize::try_from(seeds.end - seeds.start).expect("a small number");
    for seed in seeds {
        let tally = run(ids, spares, seed, actions);
        all.terms += tally.terms;
        all.applied += tally.applied;
        all.snapshots += tally.snapshots;
        all.reads += tally.reads;
        all.memberships += tally.memberships;
        all.transfers += tally.transfers;
        all.repairs += tally.repairs;
    }
    let Tally { terms, applied, snapshots, reads, memberships, transfers, repairs } = all;
    assert!(!spares.is_empty() || ids.len() == 2 || repairs > count / 4, "few lost logs were repaired: {repairs}");
    assert!(spares.is_empty() || memberships > count * 5, "few changes of membership: {memberships}");
    assert!(spares.is_empty() || transfers > count, "few transfers: {transfers}");
    assert!(terms > count * 2, "few elections: {terms}");
    assert!(applied > count * 40, "few entries: {applied}");
    // A group of two commits nothing without both, so nobody falls behind what the other has cut.
    assert!(ids.len() == 2 || snapshots > count / 4, "few snapshots: {snapshots}");
    assert!(reads > count * 2, "few reads: {reads}");
}

#[test]
fn three_replicas_agree_through_faults_and_recover() {
    run_all(&[1, 2, 3], &[], 0..100, 4000);
}

#[test]
fn five_replicas_agree_through_faults_and_recover() {
    run_all(&[1, 2, 3, 4, 5], &[], 1000..1060, 6000);
}

#[test]
fn two_replicas_agree_through_faults_and_recover() {
    run_all(&[1, 2], &[], 2000..2040, 3000);
}

#[test]
fn replicas_that_come_and_go_agree_through_faults_and_recover() {
    run_all(&[1, 2, 3], &[4, 5], 3000..3060, 5000);
    run_all(&[1], &[2, 3, 4], 4000..4040, 5000);
}

/// `ANVIL_RAFT_SEEDS=from..to` hunts through more seeds than the other tests do.
#[test]
fn more_seeds_on_request() {
    let wanted = std::env::var("ANVIL_RAFT_SEEDS").unwrap_or("5000..5004".into());
    let (from, to) = wanted.split_once("..").expect("ANVIL_RAFT_SEEDS is from..to");
    for seed in from.parse().expect("a number")..to.parse().expect("a number") {
        run(&[1, 2, 3], &[], seed, 4000);
        run(&[1, 2, 3, 4, 5], &[], seed, 6000);
        run(&[1, 2, 3], &[4, 5], seed, 5000);
    }
}
