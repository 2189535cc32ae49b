//! The log as it is written: requests are gathered, written as a batch, synced, and answered.
//!
//! Three things go on beside each other, each with at most one order in flight: the batch (`Work`), the making of the
//! next segment ahead of its need (`Next`), and the removal of the oldest segment.
//!
//! Not here: reading a log back (`recover`), what waits (`request`), and the bytes (`segment`, `batch`, `record`).

use super::batch::{Draft, size_in_segment};
use super::group::Group;
use super::record::{self, Follows};
use super::request::{self, Answers, Request};
use super::segment::{BLOCK, SegmentHeader};
use super::{Config, Effect, Event};
use crate::disk::{DiskOrder, DiskOutcome, File, OpId, Purpose};
use crate::planted::planted;
use crate::types::{GroupId, LogIndex};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

/// The durable log of a node. Made by [`Log::recover`], which also makes a fresh one.
#[derive(Debug)]
pub struct Log {
    pub(super) config: Config,
    /// Every group, as the batches written so far (and the one in flight) leave it.
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// Where the next batch goes, if it fits. None until there is a first batch.
    pub(super) current: Option<Current>,
    pub(super) next: Next,
    /// The oldest segment on the disk.
    pub(super) oldest: u64,
    /// The oldest segment that durable state needs.
    pub(super) needed: u64,
    /// The sequence of the next batch.
    pub(super) batch: u64,
    /// The checksum of the last batch, from which the next one continues.
    pub(super) chain: u32,
    pub(super) work: Work,
    pub(super) removal: Option<OpId>,
    pub(super) requests: VecDeque<Request>,
    /// How many of the requests wait for an answer. Without one, no batch is written.
    pub(super) answers_due: usize,
    pub(super) ops: u64,
}

/// The segment that holds the last batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) sequence: u64,
    pub(super) size: u64,
    /// Where the next batch begins.
    pub(super) position: u64,
    /// Whether its first batch is durable.
    pub(super) is_synced: bool,
}

/// The segment after the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is none.
    Absent,
    /// It is being removed: it holds the remains of a batch, or is too small.
    Removing(OpId),
    /// It is being made.
    Creating { op: OpId, size: u64 },
    /// It is there, all zero.
    Ready { size: u64 },
}

/// What the log's one writer is doing.
#[derive(Debug)]
pub(super) enum Work {
    /// Nothing.
    Idle,
    /// Writing zeros over the remains of a batch that was cut.
    Clearing { op: OpId, segment: u64 },
    /// Making those zeros durable.
    SyncingCleared { op: OpId },
    /// Writing a batch.
    Writing { op: OpId, segment: u64, answers: Answers },
    /// Making it durable.
    Syncing { op: OpId, answers: Answers },
    /// A disk order failed.
    Failed,
}

impl Log {
    /// Takes a fact and pushes orders.
    ///
    /// Panics if Raft contradicts itself (a gap between entries, a base that goes back), or if the runtime reports an
    /// order that was not given.
    pub fn step(&mut self, event: Event, out: &mut Vec<Effect>) {
        if matches!(self.work, Work::Failed) {
            return; // LOG-9
        }
        match event {
            Event::Append { group, id, hard_state, entries } => {
                self.on_request(Request::Append { group, id, hard_state, entries });
            }
            Event::Cut { group, base } => self.on_request(Request::Cut { group, base }),
            Event::Reset { group, id, base } => self.on_request(Request::Reset { group, id, base }),
            Event::Disk { op, outcome: DiskOutcome::Done } => self.on_done(op, out),
            Event::Disk { op, outcome: DiskOutcome::Read(_) } => panic!("LOG: {op:?} was never a read"),
            Event::Disk { op: _, outcome: DiskOutcome::Failed(error) } => {
                // LOG-9: not even a batch in flight is answered, for what is durable is unknown.
                self.work = Work::Failed;
                out.push(Effect::Failed { error });
                return;
            }
        }
        self.advance(out);
    }

    /// Orders whatever can be ordered.
    pub(super) fn advance(&mut self, out: &mut Vec<Effect>) {
        self.start_batch(out);
        self.create_ahead(out);
        self.remove_oldest(out);
    }

    pub(super) fn order(&mut self, order: DiskOrder, out: &mut Vec<Effect>) -> OpId {
        self.ops += 1;
        let op = OpId(self.ops);
        out.push(Effect::Disk { op, order });
        op
    }

    /// The sequence of the segment after the current one.
    pub(super) fn next_sequence(&self) -> u64 {
        self.current.map_or(1, |current| current.sequence + 1)
    }

    fn on_request(&mut self, request: Request) {
        self.answers_due += usize::from(request.wants_answer());
        self.requests.push_back(request);
    }

    fn on_done(&mut self, op: OpId, out: &mut Vec<Effect>) {
        if self.removal == Some(op) {
            self.removal = None;
            self.oldest += 1;
            return;
        }
        match self.next {
            Next::Removing(expected) if expected == op => {
                self.next = Next::Absent;
                return;
            }
            Next::Creating { op: expected, size } if expected == op => {
                self.next = Next::Ready { size };
                return;
            }
            Next::Absent | Next::Removing(_) | Next::Creating { .. } | Next::Ready { .. } => {}
        }
        self.on_work_done(op, out);
    }

    fn on_work_done(&mut self, op: OpId, out: &mut Vec<Effect>) {
        match core::mem::replace(&mut self.work, Work::Idle) {
            Work::Clearing { op: expected, segment } if expected == op => {
                let op = self.order(DiskOrder::Sync { file: File::LogSegment(segment) }, out);
                self.work = Work::SyncingCleared { op };
            }
            Work::SyncingCleared { op: expected } if expected == op => {}
            Work::Writing { op: expected, segment, mut answers } if expected == op => {
                if planted!(self.config.planted, AckBeforeSync) {
                    request::answer(&mut answers, out);
                }
                let op = self.order(DiskOrder::Sync { file: File::LogSegment(segment) }, out);
                self.work = Work::Syncing { op, answers };
            }
            Work::Syncing { op: expected, mut answers } if expected == op => {
                request::answer(&mut answers, out); // LOG-1
                self.needed = self.oldest_needed();
                self.current.as_mut().expect("a batch was written to it").is_synced = true;
            }
            work @ (Work::Idle
            | Work::Clearing { .. }
            | Work::SyncingCleared { .. }
            | Work::Writing { .. }
            | Work::Syncing { .. }
            | Work::Failed) => panic!("LOG: {op:?} was done, but the log waits for {work:?}"),
        }
    }

    /// LOG-8: what the batches written so far need. To be asked only while all of them are synced.
    pub(super) fn oldest_needed(&self) -> u64 {
        let needed = self.groups.values().filter_map(Group::oldest_segment).min();
        let current = self.current.map_or(1, |current| current.sequence);
        needed.map_or(current, |needed| needed.min(current))
    }

    fn start_batch(&mut self, out: &mut Vec<Effect>) {
        // LOG-2: one batch at a time. LOG-6: and none while remains of a cut one are on the disk; while the next
        // segment is being removed it may hold them.
        let busy = !matches!(self.work, Work::Idle) || matches!(self.next, Next::Removing(_));
        while !busy && matches!(self.work, Work::Idle) && self.answers_due > 0 {
            let (count, records_size) = self.gather();
            if records_size == 0 {
                // Requests that ask for nothing are as durable as what came before them, and that is synced.
                let mut answers = Answers::new();
                for request in self.take(count) {
                    request.note_in(&mut answers);
                }
                request::answer(&mut answers, out);
                continue;
            }
            match self.place(records_size, out) {
                Some(place) => self.write_batch(place, count, records_size, out),
                None => return,
            }
        }
    }

    /// How many requests the next batch takes, and the size of their records. A quarter of a segment is enough: a
    /// larger batch would make the first of its requests wait, and leave gaps at the ends of segments.
    fn gather(&self) -> (usize, usize) {
        let most = usize::try_from(self.config.segment_size / 4).unwrap_or(usize::MAX);
        let (mut count, mut size) = (0, 0);
        for request in &self.requests {
            let with = size + request.size();
            if count > 0 && with > most {
                break;
            }
            (count, size) = (count + 1, with);
        }
        (count, size)
    }

    fn take(&mut self, count: usize) -> Vec<Request> {
        let taken: Vec<Request> = self.requests.drain(..count).collect();
        let answered = taken.iter().filter(|request| request.wants_answer()).count();
        self.answers_due -= answered;
        taken
    }

    /// Where a batch with so many bytes of records can be written. None while a segment has to be made for it.
    fn place(&mut self, records_size: usize, out: &mut Vec<Effect>) -> Option<Place> {
        if let Some(current) = self.current
            && current.size - current.position >= size_in_segment(records_size) as u64
        {
            return Some(Place::Current(current));
        }
        let records_size = records_size + record::checkpoint_size(self.groups.len());
        let wanted = (BLOCK + size_in_segment(records_size)) as u64;
        let sequence = self.next_sequence();
        match self.next {
            Next::Ready { size } if size >= wanted => {
                return Some(Place::Next(Current { sequence, size, position: BLOCK as u64, is_synced: false }));
            }
            Next::Ready { size: _ } => {
                // One request is larger than a segment, so it gets a segment of its own size.
                let op = self.order(DiskOrder::Remove { file: File::LogSegment(sequence) }, out);
                self.next = Next::Removing(op);
            }
            Next::Absent => self.create_next(wanted.max(self.config.segment_size), out),
            Next::Removing(_) | Next::Creating { .. } => {}
        }
        None
    }

    fn write_batch(&mut self, place: Place, count: usize, records_size: usize, out: &mut Vec<Effect>) {
        let mut bytes = Vec::with_capacity(BLOCK + size_in_segment(records_size));
        let mut draft = Draft::new(records_size);
        let (mut current, offset) = match place {
            Place::Current(current) => (current, current.position),
            Place::Next(current) => {
                self.next = Next::Absent;
                self.begin_segment(current, &mut bytes, &mut draft);
                (current, 0)
            }
        };
        // LOG-3: the batch has one checksum, and holds each request wholly.
        let mut answers = Answers::new();
        for request in self.take(count) {
            request.note_in(&mut answers);
            self.apply(request, current.sequence, draft.records());
        }
        self.chain = draft.seal(self.batch, self.chain, &mut bytes);
        self.batch += 1;
        // LOG-7: a batch fills whole blocks, so the next one begins in a block of its own.
        assert!(bytes.len().is_multiple_of(BLOCK), "LOG-7: a batch ends within a block");
        current.position = offset + bytes.len() as u64;
        assert!(current.position <= current.size, "LOG: a batch ends after its segment");
        self.current = Some(current);
        let file = File::LogSegment(current.sequence);
        let op = self.order(DiskOrder::Write { file, offset, bytes: Bytes::from(bytes) }, out);
        self.work = Work::Writing { op, segment: current.sequence, answers };
    }

    /// The header of a new segment, and at the head of its first batch all that older segments say beside entries.
    fn begin_segment(&self, segment: Current, bytes: &mut Vec<u8>, draft: &mut Draft) {
        let header = SegmentHeader {
            cluster: self.config.cluster,
            node: self.config.node,
            sequence: segment.sequence,
            size: segment.size,
            first_batch: self.batch,
            chain: self.chain,
        };
        header.encode(bytes);
        let groups: Vec<_> = self.groups.iter().map(|(id, group)| (*id, group.checkpoint())).collect();
        record::put_checkpoint(draft.records(), &groups);
    }

    /// Writes the records of a request, and follows them in memory.
    fn apply(&mut self, request: Request, segment: u64, records: &mut Vec<u8>) {
        match request {
            // Memory must know no group that the records do not name, or checkpoints would not match the replay.
            Request::Append { hard_state: None, entries, .. } if entries.is_empty() => {}
            Request::Append { group: id, id: _, hard_state, entries } => {
                let group = self.groups.entry(id).or_default();
                if let Some(hard_state) = hard_state {
                    group.hard_state = hard_state;
                    record::put_hard_state_record(records, id, hard_state);
                }
                for (at, entry) in entries.iter().enumerate() {
                    assert!(
                        at == 0 || entry.position.index.prev() == group.last().index,
                        "LOG: the entries of group {id} have a gap before {:?}",
                        entry.position
                    );
                    group.append(entry.position, segment);
                    record::put_entry(records, id, entry);
                }
            }
            Request::Cut { group: id, base } => {
                if base.index <= self.groups.get(&id).map_or(LogIndex(0), |group| group.base().index) {
                    return; // A reset has overtaken it.
                }
                let group = self.groups.entry(id).or_default();
                assert_eq!(
                    group.term_at(base.index),
                    Some(base.term),
                    "LOG: group {id} is cut at an entry that the log does not hold"
                );
                group.cut(base);
                record::put_cut(records, id, base);
            }
            Request::Reset { group: id, id: _, base } => {
                let group = self.groups.entry(id).or_default();
                let follows = match group.term_at(base.index) == Some(base.term) {
                    true => Follows::Kept,
                    false => Follows::Void,
                };
                group.reset(base, follows);
                record::put_reset(records, id, base, follows);
            }
        }
    }

    fn create_next(&mut self, size: u64, out: &mut Vec<Effect>) {
        let file = File::LogSegment(self.next_sequence());
        let op = self.order(DiskOrder::Create { file, size, purpose: Purpose::Log }, out);
        self.next = Next::Creating { op, size };
    }

    /// Makes the next segment when the current one is three quarters full, so that no batch has to wait for it.
    fn create_ahead(&mut self, out: &mut Vec<Effect>) {
        // LOG-10: the current segment must not turn out to be unused after a crash.
        let soon = self.current.is_none_or(|current| current.is_synced && current.position >= current.size / 4 * 3);
        if soon && matches!(self.next, Next::Absent) {
            self.create_next(self.config.segment_size, out);
        }
    }

    /// LOG-8: one removal at a time, so that a crash leaves no gap between segments.
    fn remove_oldest(&mut self, out: &mut Vec<Effect>) {
        if self.removal.is_none() && self.oldest < self.needed {
            let op = self.order(DiskOrder::Remove { file: File::LogSegment(self.oldest) }, out);
            self.removal = Some(op);
        }
    }
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// After the last batch.
    Current(Current),
    /// At the head of the next segment.
    Next(Current),
}
