//! A drive that tears unsynced writes at sectors, a model of what each group made durable, and a node between them.

use crate::disk::{DiskOrder, DiskOutcome, File, OpId};
use crate::log::{Config, Effect, Event, Log, RecoverError, RecoveredGroup, RecoveredGroups};
use crate::planted::Planted;
use crate::types::{Entries, Entry, GroupId, HardState, LogIndex, LogPosition, NodeId, Payload, PersistId, Term};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

pub(super) const SECTOR: usize = 512;
pub(super) const BLOCK: usize = 4096;

pub(super) fn config() -> Config {
    Config {
        cluster: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        node: NodeId(7),
        segment_size: 4 * BLOCK as u64,
        planted: Planted::default(),
    }
}

/// A small generator, so that a crash is a function of its seed (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[derive(Default)]
struct DiskFile {
    durable: Vec<u8>,
    /// Completed, and not synced.
    written: Vec<(usize, Bytes)>,
}

/// The segment files of one node, and the orders that are not carried out yet.
#[derive(Default)]
pub(super) struct Disk {
    files: BTreeMap<u64, DiskFile>,
    pub(super) orders: Vec<(OpId, DiskOrder)>,
}

fn sequence_of(file: File) -> u64 {
    match file {
        File::LogSegment(sequence) => sequence,
        File::Extent(..) | File::HardStates => panic!("the log ordered something of another file"),
    }
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("test files are small")
}

impl Disk {
    pub(super) fn of(segments: &[(u64, Bytes)]) -> Disk {
        let file = |bytes: &Bytes| DiskFile { durable: bytes.to_vec(), written: Vec::new() };
        Disk { files: segments.iter().map(|(sequence, bytes)| (*sequence, file(bytes))).collect(), orders: Vec::new() }
    }

    pub(super) fn order(&mut self, op: OpId, order: DiskOrder) {
        if let DiskOrder::Write { file, offset, bytes } = &order {
            let file = &self.files[&sequence_of(*file)];
            let range = to_usize(*offset)..to_usize(*offset) + bytes.len();
            assert!(range.end <= file.durable.len(), "a write never grows the file");
            assert!(range.start % BLOCK == 0 && range.end % BLOCK == 0, "writes are whole blocks");
            let is_clearing = bytes.iter().all(|byte| *byte == 0);
            let is_fresh = file.durable[range].iter().all(|byte| *byte == 0);
            assert!(is_clearing || is_fresh, "LOG-7: a written block is written again");
            assert!(file.written.is_empty(), "LOG-2: the batch before is not synced yet");
        }
        self.orders.push((op, order));
    }

    /// Carries one order out.
    pub(super) fn complete(&mut self, at: usize) -> OpId {
        let (op, order) = self.orders.remove(at);
        match order {
            DiskOrder::Create { file, size, .. } => {
                let made = DiskFile { durable: vec![0; to_usize(size)], written: Vec::new() };
                assert!(self.files.insert(sequence_of(file), made).is_none(), "the file must not exist");
            }
            DiskOrder::Write { file, offset, bytes } => {
                let file = self.files.get_mut(&sequence_of(file)).expect("written files exist");
                file.written.push((to_usize(offset), bytes));
            }
            DiskOrder::Sync { file } => {
                let file = self.files.get_mut(&sequence_of(file)).expect("synced files exist");
                for (offset, bytes) in core::mem::take(&mut file.written) {
                    file.durable[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
            DiskOrder::Remove { file } => {
                assert!(self.files.remove(&sequence_of(file)).is_some(), "removed files exist");
            }
            DiskOrder::Read { .. } => panic!("the log never reads"),
        }
        op
    }

    /// Loses power: each sector that is not synced is the old or the new one, and each order that is not complete
    /// happened or not.
    pub(super) fn crash(&mut self, random: &mut Random) {
        for (_, order) in core::mem::take(&mut self.orders) {
            match order {
                DiskOrder::Create { file, size, .. } => {
                    let size = match random.below(4) {
                        0 => continue,
                        1 => 0,
                        2 => random.below(size),
                        _ => size,
                    };
                    let made = DiskFile { durable: vec![0; to_usize(size)], written: Vec::new() };
                    assert!(self.files.insert(sequence_of(file), made).is_none(), "the file must not exist");
                }
                DiskOrder::Write { file, offset, bytes } => {
                    let file = self.files.get_mut(&sequence_of(file)).expect("written files exist");
                    file.written.push((to_usize(offset), bytes));
                }
                DiskOrder::Remove { file } => {
                    if random.below(2) == 0 {
                        self.files.remove(&sequence_of(file));
                    }
                }
                DiskOrder::Sync { .. } => {}
                DiskOrder::Read { .. } => panic!("the log never reads"),
            }
        }
        for file in self.files.values_mut() {
            // Sometimes nearly all of the write arrives, sometimes hardly any of it.
            let odds = random.below(9);
            for (offset, bytes) in core::mem::take(&mut file.written) {
                for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                    if random.below(8) < odds {
                        let start = offset + at * SECTOR;
                        file.durable[start..start + SECTOR].copy_from_slice(sector);
                    }
                }
            }
        }
    }

    /// What would be read: the files as they are if nothing is lost.
    pub(super) fn segments(&self) -> Vec<(u64, Bytes)> {
        assert!(self.files.values().all(|file| file.written.is_empty()), "a test reads a drive at rest");
        self.files.iter().map(|(sequence, file)| (*sequence, Bytes::from(file.durable.clone()))).collect()
    }
}

/// What each group should be, by the plainest reading of the events.
pub(super) type Model = RecoveredGroups;

pub(super) fn follow(model: &mut Model, event: &Event) {
    match event {
        Event::Append { group, hard_state, entries, .. } => {
            let group = model.entry(*group).or_default();
            group.hard_state = hard_state.unwrap_or(group.hard_state);
            if let Some(first) = entries.first() {
                group.entries.retain(|entry| entry.position.index < first.position.index);
                group.entries.extend(entries.iter().cloned());
            }
        }
        Event::Cut { group, base } => {
            let group = model.entry(*group).or_default();
            if base.index > group.base.index {
                group.base = *base;
                group.entries.retain(|entry| entry.position.index > base.index);
            }
        }
        Event::Reset { group, base, .. } => {
            let group = model.entry(*group).or_default();
            let holds = group.base == *base || group.entries.iter().any(|entry| entry.position == *base);
            group.base = *base;
            group.entries.retain(|entry| holds && entry.position.index > base.index);
        }
        Event::Disk { .. } => {}
    }
}

/// A group of which nothing is known is the same as no group.
pub(super) fn without_empty(model: &Model) -> Model {
    let known = model.iter().filter(|(_, group)| **group != RecoveredGroup::default());
    known.map(|(id, group)| (*id, group.clone())).collect()
}

pub(super) fn position(index: u64, term: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), term: Term(term) }
}

pub(super) fn entry(index: u64, term: u64, command: &[u8]) -> Entry {
    Entry { position: position(index, term), payload: Payload::Command(Bytes::copy_from_slice(command)) }
}

pub(super) fn append(group: u32, id: u64, entries: Entries) -> Event {
    Event::Append { group: GroupId(group), id: PersistId(id), hard_state: None, entries }
}

pub(super) fn vote(term: u64, node: u64) -> HardState {
    HardState { term: Term(term), vote: Some(NodeId(node)), impaired: false }
}

/// A node's log on its drive, with every state that it went through.
pub(super) struct Node {
    pub(super) log: Log,
    pub(super) disk: Disk,
    /// What the log was recovered to, and what each request since then made of it.
    pub(super) history: Vec<Model>,
    /// Up to where in the history the log said that it is durable.
    pub(super) acknowledged: usize,
    /// Which place in the history an id stands for.
    asked: BTreeMap<(GroupId, PersistId), usize>,
    /// Answers in the order in which they came.
    pub(super) answers: Vec<(u32, u64)>,
    pub(super) failures: usize,
}

impl Node {
    pub(super) fn start(config: Config, disk: Disk) -> Result<Node, RecoverError> {
        let (log, recovered, effects) = Log::recover(config, disk.segments())?;
        let mut node = Node {
            log,
            disk,
            history: vec![recovered],
            acknowledged: 0,
            asked: BTreeMap::new(),
            answers: Vec::new(),
            failures: 0,
        };
        node.carry(effects);
        Ok(node)
    }

    pub(super) fn fresh(config: Config) -> Node {
        Node::start(config, Disk::default()).expect("an empty directory is a fresh log")
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut model = self.history.last().expect("the history begins with what was recovered").clone();
        follow(&mut model, &event);
        match &event {
            Event::Append { group, id, .. } | Event::Reset { group, id, .. } => {
                self.asked.insert((*group, *id), self.history.len());
            }
            Event::Cut { .. } | Event::Disk { .. } => {}
        }
        self.history.push(model);
        self.step(event);
    }

    pub(super) fn complete(&mut self, at: usize) {
        let op = self.disk.complete(at);
        self.step(Event::Disk { op, outcome: DiskOutcome::Done });
    }

    /// Completes orders until there are none.
    pub(super) fn settle(&mut self) {
        while !self.disk.orders.is_empty() {
            self.complete(0);
        }
    }

    /// Tells the event and completes all that follows.
    pub(super) fn tell_and_settle(&mut self, event: Event) {
        self.tell(event);
        self.settle();
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut out = Vec::new();
        self.log.step(event, &mut out);
        self.carry(out);
    }

    fn carry(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Disk { op, order } => self.disk.order(op, order),
                Effect::Persisted { group, id } => {
                    self.answers.push((group.0, id.0));
                    self.acknowledged = self.acknowledged.max(self.asked[&(group, id)]);
                }
                Effect::Failed { .. } => self.failures += 1,
            }
        }
    }
}
