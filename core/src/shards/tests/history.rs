//! A random history of puts, commits, deletes, reads, full drives and crashes, held against a model that only remembers
//! what was answered and what might have happened.

use super::drive::{Bench, Crash, Dice};
use super::*;
use crate::planted::Bug;
use alloc::format;
use alloc::string::String;
use proptest::prelude::*;

/// What the model knows of one shard.
#[derive(Clone, Debug, Default)]
struct Known {
    /// By what was answered.
    settled: Option<Bytes>,
    /// What later requests, not answered or refused, may have made of it, each with its ticket.
    maybe: Vec<(u64, Option<Bytes>)>,
}

impl Known {
    fn allows(&self, seen: &Option<Bytes>) -> bool {
        self.settled == *seen || self.maybe.iter().any(|(_, maybe)| maybe == seen)
    }
    fn settle(&mut self, ticket: u64, state: Option<Bytes>) {
        self.settled = state;
        // What was asked for before comes before in the log.
        self.maybe.retain(|(asked, _)| *asked > ticket);
    }
}

#[derive(Clone, Debug)]
enum Asked {
    Put(ShardKey, Bytes),
    Delete(VersionId),
}

struct History {
    bench: Bench,
    known: BTreeMap<ShardKey, Known>,
    asked: BTreeMap<u64, Asked>,
    decided: BTreeSet<VersionId>,
    next_ticket: u64,
    removed_extents: u64,
}

fn choose_key(dice: &mut Dice) -> ShardKey {
    let stripe = u32::try_from(dice.below(3)).expect("below 3");
    let position = u8::try_from(dice.below(2)).expect("below 2");
    ShardKey { version: VersionId(1 + dice.below(12) as u128), stripe, position }
}

impl History {
    fn new(seed: u64, planted: Planted) -> History {
        let mut dice = Dice(seed ^ 0xABCD);
        let config = Config {
            extent_size: [16 << 10, 32 << 10, 100_000][dice.below(3)],
            compact_below_percent: [30, 50, 80, 100][dice.below(4)],
            planted,
            ..config()
        };
        History {
            bench: Bench::new(config, seed),
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            decided: BTreeSet::new(),
            next_ticket: 1,
            removed_extents: 0,
        }
    }

    fn ask(&mut self, asked: Asked) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.asked.insert(ticket, asked.clone());
        match asked {
            Asked::Put(key, record) => {
                self.known.entry(key).or_default().maybe.push((ticket, Some(record.clone())));
                self.bench.step(Event::Put { ticket: Ticket(ticket), key, expires: WallTime(ticket), record });
            }
            Asked::Delete(version) => {
                for (_, known) in self.known.iter_mut().filter(|(key, _)| key.version == version) {
                    known.maybe.push((ticket, None));
                }
                self.bench.step(Event::Delete { ticket: Ticket(ticket), version });
            }
        }
    }

    /// Takes in what the store told its parent.
    fn listen(&mut self) -> Result<(), String> {
        for told in core::mem::take(&mut self.bench.told) {
            match told {
                Effect::Stored { ticket } => match self.asked.remove(&ticket.0) {
                    Some(Asked::Put(key, record)) => {
                        self.known.entry(key).or_default().settle(ticket.0, Some(record));
                    }
                    other => return Err(format!("stored what was not put: {other:?}")),
                },
                Effect::Deleted { ticket } => match self.asked.remove(&ticket.0) {
                    Some(Asked::Delete(version)) => {
                        let of_version = self.known.iter_mut().filter(|(key, _)| key.version == version);
                        of_version.for_each(|(_, known)| known.settle(ticket.0, None));
                    }
                    other => return Err(format!("deleted what was not to be: {other:?}")),
                },
                Effect::Refused { ticket, .. } => {
                    self.asked.remove(&ticket.0).ok_or("refused what was not asked")?;
                }
                Effect::Loaded { .. } => return Err("nothing was asked for".into()),
                Effect::Failed { .. } => return Err("no sync failed".into()),
                Effect::Suspect { .. } | Effect::Disk { .. } => {}
            }
        }
        Ok(())
    }

    fn check_shard(&mut self, key: ShardKey) -> Result<Option<Bytes>, String> {
        // What is answered while the read is on its way may be seen or not.
        let known = self.known.entry(key).or_default().clone();
        let seen = self.bench.load(key);
        self.listen()?;
        if known.allows(&seen) {
            return Ok(seen);
        }
        let show = |state: &Option<Bytes>| state.as_ref().map(Bytes::len);
        Err(format!("{key:?} should be {:?} and is {:?}", show(&known.settled), show(&seen)))
    }

    fn check_undecided(&self) -> Result<(), String> {
        let undecided: BTreeSet<VersionId> = self.bench.store.undecided().map(|undecided| undecided.version).collect();
        for key in self.known.keys() {
            let held = self.bench.store.holds(key.version);
            if held && !self.decided.contains(&key.version) && !undecided.contains(&key.version) {
                return Err(format!("{} was never committed and is not asked for", key.version));
            }
            if !held && undecided.contains(&key.version) {
                return Err(format!("{} is not here and yet undecided", key.version));
            }
        }
        Ok(())
    }

    /// After a crash, when all is quiet: what is seen is what is so.
    fn take_stock(&mut self) -> Result<(), String> {
        self.bench.run_until_idle();
        self.listen()?;
        for key in self.known.keys().copied().collect::<Vec<_>>() {
            let seen = self.check_shard(key)?;
            self.known.insert(key, Known { settled: seen, maybe: Vec::new() });
        }
        self.check_undecided()
    }

    fn crash(&mut self) -> Result<(), String> {
        let crash = if self.bench.dice.chance(70) { Crash::Power } else { Crash::Process };
        self.bench.crash(crash);
        self.asked.clear();
        self.bench.drive.full = 0;
        if self.bench.dice.chance(60) { self.take_stock() } else { self.check_undecided() }
    }

    fn one_step(&mut self) -> Result<(), String> {
        let dice = &mut self.bench.dice;
        match dice.below(100) {
            0..35 => {
                let key = choose_key(dice);
                let length = [10, 300, 2000, 5000, 9000, 30_000][dice.below(6)];
                let record = record(key, length, self.next_ticket);
                self.ask(Asked::Put(key, record));
            }
            35..45 => {
                let version = choose_key(dice).version;
                self.ask(Asked::Delete(version));
            }
            45..50 => {
                let version = choose_key(dice).version;
                self.decided.insert(version);
                self.bench.step(Event::Commit { version });
            }
            50..55 => {
                let key = choose_key(dice);
                self.check_shard(key)?;
            }
            55..57 => {
                let full = [0, 0, 5, 40, 100][dice.below(5)];
                self.bench.drive.full = full;
            }
            57..59 => self.bench.run_until_idle(),
            59..60 => self.crash()?,
            _ => self.bench.end_one(),
        }
        self.listen()
    }

    /// Deletes everything: then nothing but the open extent and the spare may remain.
    fn check_space(&mut self) -> Result<(), String> {
        self.bench.drive.full = 0;
        self.bench.run_until_idle();
        let before = self.bench.store.usage();
        for version in 1..=12 {
            self.ask(Asked::Delete(VersionId(version)));
        }
        self.bench.run_until_idle();
        self.listen()?;
        let usage = self.bench.store.usage();
        self.removed_extents += before.extents.saturating_sub(usage.extents);
        if usage.shards != 0 || usage.live_bytes != 0 || usage.extents > 2 {
            return Err(format!("everything is deleted, and {usage:?} remains"));
        }
        Ok(())
    }
}

fn live(seed: u64, steps: usize, planted: Planted) -> Result<u64, String> {
    let mut history = History::new(seed, planted);
    for _ in 0..steps {
        history.one_step()?;
    }
    history.crash()?;
    history.take_stock()?;
    history.check_space()?;
    history.crash()?;
    history.take_stock()?;
    Ok(history.removed_extents)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_was_answered_holds(seed in any::<u64>()) {
        if let Err(broken) = live(seed, 400, Planted::default()) {
            return Err(TestCaseError::fail(format!("seed {seed}: {broken}")));
        }
    }
}

#[test]
fn an_index_written_before_its_records_are_synced_loses_shards() {
    let buggy = Planted::arm(Bug::IndexBeforeExtentSync);
    let caught = (0..20).filter(|seed| live(*seed, 400, buggy).is_err()).count();
    assert!(caught > 5, "found in {caught} of 20 histories");
}
