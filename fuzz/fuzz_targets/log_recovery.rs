//! Whatever the segment files of a node hold, recovery answers with a log or with an error, and it agrees with itself.
//!
//! The first byte of the input chooses where the files come from: the input itself, or a valid log that the input first
//! drives and then damages. The second finds its way through the checksums, which random bytes never do.
//!
//! - Recovery does not panic, of the copy of terms and votes neither.
//! - A log that nothing happened to is recovered as it was asked to be, and one with flipped bytes so or not at all.
//! - What it recovers, it recovers again: at once, after its first orders were carried out, and after one more request.
#![no_main]

use anvil_core::disk::{DiskOrder, DiskOutcome, File};
use anvil_core::log::{Config, Effect, Event, HardStates, Log, RecoveredGroup, RecoveredGroups};
use anvil_core::planted::Planted;
use anvil_core::types::{Entries, Entry, GroupId, HardState, LogIndex, LogPosition, NodeId, Payload, PersistId, Term};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

const BLOCK: usize = 4096;

fn config() -> Config {
    Config { cluster: 1, node: NodeId(2), segment_size: 4 * BLOCK as u64, planted: Planted::default() }
}

type Files = BTreeMap<u64, Vec<u8>>;

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    match input.byte() {
        0 => drop(HardStates::recover(config().cluster, config().node, Some(input.0))),
        1..32 => check(input.files()),
        32.. => {
            let (mut files, groups) = input.drive();
            assert_eq!(recover(&files).map(|recovered| recovered.1), Some(groups.clone()), "nothing is damaged");
            let only_flips = input.damage(&mut files);
            if only_flips && let Some((_, found, _)) = recover(&files) {
                assert_eq!(found, groups, "flipped bytes pass for a crash");
            }
            check(files);
        }
    }
});

/// Takes numbers from the front of the fuzzer's bytes; zeros when they run out.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()]);
        number as usize % bound.max(1)
    }

    /// The bytes themselves, as up to four files whose sequences need not be neighbours.
    fn files(&mut self) -> Files {
        let count = usize::from(self.byte() % 4) + 1;
        let size = self.0.len() / count;
        (0..count)
            .map(|at| (u64::from(self.byte() % 8), self.0.get(at * size..).unwrap_or_default().to_vec()))
            .collect()
    }

    /// A valid log: requests of three groups, as Raft could make them.
    fn drive(&mut self) -> (Files, RecoveredGroups) {
        let mut files = Files::new();
        let (mut log, mut groups, effects) = Log::recover(config(), Vec::new()).expect("no files are a fresh log");
        carry_out(&mut log, effects, &mut files);
        for id in 1..u64::from(self.byte() % 32) + 2 {
            let group = GroupId(u32::from(self.byte() % 3));
            let state = groups.entry(group).or_default();
            let last = state.entries.last().map_or(state.base, |entry| entry.position);
            let event = match self.byte() {
                0..160 => {
                    let back = u64::from(self.byte() % 4).saturating_sub(1);
                    let first = (last.index.0 + 1).saturating_sub(back).max(state.base.index.0 + 1);
                    let term = Term(last.term.0 + u64::from(self.byte() % 2));
                    let size = self.below(9000);
                    let entries: Entries = (first..first + u64::from(self.byte() % 4))
                        .map(|index| Entry {
                            position: LogPosition { index: LogIndex(index), term },
                            payload: Payload::Command(Bytes::from(vec![self.byte(); size])),
                        })
                        .collect();
                    state.entries.retain(|entry| entry.position.index.0 < first || entries.is_empty());
                    state.entries.extend(entries.iter().cloned());
                    let hard_state =
                        (self.byte() % 2 == 1).then_some(HardState { term, vote: Some(NodeId(id)), impaired: false });
                    state.hard_state = hard_state.unwrap_or(state.hard_state);
                    Event::Append { group, id: PersistId(id), hard_state, entries }
                }
                160..224 => {
                    let at = self.below(state.entries.len());
                    let Some(entry) = state.entries.get(at) else { continue };
                    state.base = entry.position;
                    state.entries.drain(..=at);
                    Event::Cut { group, base: state.base }
                }
                224.. => {
                    let base = LogPosition { index: LogIndex(last.index.0 + 1), term: Term(last.term.0 + 1) };
                    state.base = base;
                    state.entries.clear();
                    Event::Reset { group, id: PersistId(id), base }
                }
            };
            tell(&mut log, event, &mut files);
        }
        // The last cuts wait for a batch, and a group that asked for nothing is not in the log.
        let (group, hard_state) = (GroupId(3), HardState { term: Term(1), ..HardState::default() });
        let last = Event::Append { group, id: PersistId(1), hard_state: Some(hard_state), entries: Entries::new() };
        groups.entry(group).or_default().hard_state = hard_state;
        tell(&mut log, last, &mut files);
        groups.retain(|_, state| *state != RecoveredGroup::default());
        (files, groups)
    }

    /// Flips bytes, loses sectors, moves blocks, cuts files short, loses files. Whether it only flipped bytes.
    fn damage(&mut self, files: &mut Files) -> bool {
        let mut only_flips = true;
        for _ in 0..self.byte() % 4 {
            let Some(sequence) = files.keys().nth(self.below(files.len())).copied() else { return only_flips };
            let file = files.get_mut(&sequence).expect("its key was just read");
            let at = self.below(file.len());
            let kind = self.byte();
            only_flips &= kind < 64;
            match (kind, file.get_mut(at)) {
                (_, None) => {}
                (0..64, Some(byte)) => *byte ^= self.byte(),
                (64..128, Some(_)) => {
                    let start = at / 512 * 512;
                    let end = (start + 512).min(file.len());
                    file[start..end].fill(0);
                }
                (128..160, Some(_)) => {
                    let (from, to) = (at / BLOCK * BLOCK, self.below(file.len() / BLOCK) * BLOCK);
                    if from + BLOCK <= file.len() && to + BLOCK <= file.len() {
                        file.copy_within(from..from + BLOCK, to);
                    }
                }
                (160..192, Some(_)) => file.truncate(at),
                (192..224, Some(_)) => file[at / 512 * 512..].fill(0),
                (224.., Some(_)) => drop(files.remove(&sequence)),
            }
        }
        only_flips
    }
}

fn recover(files: &Files) -> Option<(Log, RecoveredGroups, Vec<Effect>)> {
    let segments = files.iter().map(|(sequence, bytes)| (*sequence, Bytes::from(bytes.clone()))).collect();
    match Log::recover(config(), segments) {
        Ok(recovered) => Some(recovered),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn check(mut files: Files) {
    let Some((mut log, mut groups, effects)) = recover(&files) else { return };
    let again = |files: &Files| recover(files).expect("what was recovered is recovered again").1;
    assert_eq!(again(&files), groups);
    carry_out(&mut log, effects, &mut files);
    assert_eq!(again(&files), groups);

    let group = GroupId(1);
    let hard_state = HardState { term: Term(u64::MAX), ..HardState::default() };
    groups.entry(group).or_default().hard_state = hard_state;
    let entries = Entries::new();
    tell(&mut log, Event::Append { group, id: PersistId(1000), hard_state: Some(hard_state), entries }, &mut files);
    assert_eq!(again(&files), groups);
}

fn tell(log: &mut Log, event: Event, files: &mut Files) {
    let mut out = Vec::new();
    log.step(event, &mut out);
    carry_out(log, out, files);
}

/// Carries orders out at once, and those that follow from them.
fn carry_out(log: &mut Log, effects: Vec<Effect>, files: &mut Files) {
    let mut effects = std::collections::VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        let Effect::Disk { op, order } = effect else { continue };
        match order {
            DiskOrder::Create { file, size, .. } => {
                let made = vec![0; usize::try_from(size).expect("test segments are small")];
                assert!(files.insert(sequence(file), made).is_none(), "the file must not exist");
            }
            DiskOrder::Write { file, offset, bytes } => {
                let start = usize::try_from(offset).expect("test segments are small");
                let file = files.get_mut(&sequence(file)).expect("written files exist");
                file[start..start + bytes.len()].copy_from_slice(&bytes);
            }
            DiskOrder::Sync { .. } => {}
            DiskOrder::Remove { file } => assert!(files.remove(&sequence(file)).is_some(), "removed files exist"),
            DiskOrder::Read { .. } => panic!("the log never reads"),
        }
        let mut out = Vec::new();
        log.step(Event::Disk { op, outcome: DiskOutcome::Done }, &mut out);
        effects.extend(out);
    }
}

fn sequence(file: File) -> u64 {
    match file {
        File::LogSegment(sequence) => sequence,
        File::Extent(..) | File::HardStates => panic!("the log ordered something of an extent"),
    }
}
