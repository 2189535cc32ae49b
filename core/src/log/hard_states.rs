//! The second copy of what the replicas of a node have promised: term and vote of each group, in a file of their own.
//!
//! Entries that a node loses can be had from its peers. A term or a vote cannot: who forgets one may vote twice. So they
//! stand twice, in the log and here, on different blocks. When the log turns out to be damaged, this copy says what the
//! replica must not do, and that its log was lost ([`HardState::impaired`]), and the log is given up and comes back from
//! the peers (`raft::repair`). The file has two slots, written in turn, so that a torn write leaves the one before.
//!
//! - `HARD-1` A request that brings a new term or vote reaches the log only when it is durable here, and what the group
//!   asks for after it waits behind it. So this copy is never older than what anybody was told.
//! - `HARD-2` A log is given up only while the copy is certain: the latest slot is known to be the latest.
//! - `HARD-3` That a log was lost is durable here before the log is touched.
//!
//! Source: Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage* (FAST 2018), §3.4.1, which keeps the
//! "metainfo" of a replica twice, for it cannot be recovered from others. The bytes: `docs/formats/hard-state.md`.

use super::Event;
use super::codec::{Put, Reader, checksum, is_zero};
use super::record::{IMPAIRED, VOTED};
use crate::disk::{DiskError, DiskOrder, DiskOutcome, File, OpId, Purpose};
use crate::types::{GroupId, HardState, NodeId, Term};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

const MAGIC: &[u8; 8] = b"ANVILHST";
const VERSION: u32 = 1;
/// What a drive writes wholly or not at all.
const SLOT_SIZE: usize = 512;
/// The slots stand on blocks of their own.
const SLOT_STRIDE: usize = 4096;
const HEADER_SIZE: usize = 8 + 4 + 4 + 8 + 16 + 8;
const GROUP_SIZE: usize = 4 + 8 + 1 + 8;
/// As many groups as a slot holds.
const GROUPS_MAX: usize = (SLOT_SIZE - HEADER_SIZE - 4) / GROUP_SIZE;

/// An order of the copy.
#[derive(Clone, Debug)]
pub enum CopyEffect {
    /// An order to drive 0.
    Disk { op: OpId, order: DiskOrder },
    /// Now this request may reach the log.
    Pass(Event),
    /// The disk failed under the copy. Fatal, as with the log.
    Failed { error: DiskError },
}

/// The copy, and the requests that wait for it.
#[derive(Debug)]
pub struct HardStates {
    cluster: u128,
    node: NodeId,
    states: BTreeMap<GroupId, HardState>,
    /// The number of the last slot that was written, from 1; 0 when none was.
    sequence: u64,
    is_made: bool,
    is_certain: bool,
    work: Work,
    held: BTreeMap<GroupId, VecDeque<Event>>,
    ops: u64,
}

#[derive(Debug)]
enum Work {
    Idle,
    Making(OpId),
    /// The slot covers so many of the requests that each group holds.
    Writing(OpId, BTreeMap<GroupId, usize>),
    Syncing(OpId, BTreeMap<GroupId, usize>),
    Failed,
}

/// What stands in the place of a slot.
enum Slot {
    Unwritten,
    Damaged,
    Written { sequence: u64, states: BTreeMap<GroupId, HardState> },
}

impl HardStates {
    /// Reads the copy back; `None` when the file was never made. What does not verify is left out: while the log is whole,
    /// nothing depends on the copy.
    pub fn recover(cluster: u128, node: NodeId, file: Option<&[u8]>) -> HardStates {
        let slot = |at: usize| {
            let bytes = file.and_then(|file| file.get(at * SLOT_STRIDE..at * SLOT_STRIDE + SLOT_SIZE));
            bytes.map_or(Slot::Unwritten, |bytes| read_slot(bytes, cluster, node))
        };
        let (sequence, states, is_certain) = match (slot(0), slot(1)) {
            (Slot::Written { sequence: a, states: ours }, Slot::Written { sequence: b, states: theirs }) => {
                let (latest, states) = if a > b { (a, ours) } else { (b, theirs) };
                (latest, states, a.abs_diff(b) == 1)
            }
            // The first goes to slot 1.
            (Slot::Unwritten, Slot::Written { sequence, states }) => (sequence, states, sequence == 1),
            (Slot::Written { sequence, states }, Slot::Unwritten | Slot::Damaged)
            | (Slot::Damaged, Slot::Written { sequence, states }) => (sequence, states, false),
            (Slot::Unwritten | Slot::Damaged, Slot::Unwritten | Slot::Damaged) => (0, BTreeMap::new(), false),
        };
        let (is_made, held) = (file.is_some(), BTreeMap::new());
        HardStates { cluster, node, states, sequence, is_made, is_certain, work: Work::Idle, held, ops: 0 }
    }

    /// What a group promised, of what its log and this copy say of it, and whether one of them has to be brought up to
    /// that. A crash leaves the copy ahead of the log, or, after damage, behind it.
    pub fn reconcile(&self, group: GroupId, logged: HardState) -> (HardState, bool) {
        let copied = self.states.get(&group).copied().unwrap_or_default();
        let promise = |state: HardState| (state.term, state.vote.is_some());
        let later = if promise(copied) > promise(logged) { copied } else { logged };
        let state = HardState { impaired: logged.impaired || copied.impaired, ..later };
        (state, state != logged || state != copied)
    }

    /// Whether the log of any group was lost and is not whole again.
    pub fn is_any_impaired(&self) -> bool {
        self.states.values().any(|state| state.impaired)
    }

    /// Whether it is known to be the latest (`HARD-2`).
    pub fn is_certain(&self) -> bool {
        self.is_certain
    }

    /// Notes that the logs of these groups are lost. The answer is to be written at this offset of the file and synced
    /// before the log is touched (`HARD-3`).
    pub fn impair(&mut self, groups: &[GroupId]) -> (u64, Bytes) {
        for group in groups {
            self.states.entry(*group).or_default().impaired = true;
        }
        self.next_slot()
    }

    /// Whether a request has to come by here before it reaches the log.
    pub fn wants(&self, request: &Event) -> bool {
        match request {
            Event::Append { group, hard_state, .. } => hard_state.is_some() || self.held.contains_key(group),
            Event::Cut { group, .. } | Event::Reset { group, .. } => self.held.contains_key(group),
            Event::Disk { .. } => false,
        }
    }

    /// Takes a request of a group to the log.
    pub fn take(&mut self, request: Event, out: &mut Vec<CopyEffect>) {
        let (Event::Append { group, .. } | Event::Cut { group, .. } | Event::Reset { group, .. }) = &request else {
            unreachable!("what a disk says is no request")
        };
        self.held.entry(*group).or_default().push_back(request);
        self.advance(out);
    }

    /// An order ended.
    ///
    /// # Panics
    /// When the runtime reports an order that was not given.
    pub fn on_disk(&mut self, op: OpId, outcome: DiskOutcome, out: &mut Vec<CopyEffect>) {
        if let DiskOutcome::Failed(error) = outcome {
            self.work = Work::Failed;
            out.push(CopyEffect::Failed { error });
            return;
        }
        match core::mem::replace(&mut self.work, Work::Idle) {
            Work::Failed => self.work = Work::Failed,
            Work::Making(expected) if expected == op => self.is_made = true,
            Work::Writing(expected, covered) if expected == op => {
                let op = self.order(DiskOrder::Sync { file: File::HardStates }, out);
                self.work = Work::Syncing(op, covered);
            }
            Work::Syncing(expected, covered) if expected == op => self.pass(covered, out),
            work @ (Work::Idle | Work::Making(_) | Work::Writing(..) | Work::Syncing(..)) => {
                panic!("HARD: {op:?} was done, but the copy waits for {work:?}")
            }
        }
        self.advance(out);
    }

    /// HARD-1: what the slot covers is durable.
    fn pass(&mut self, covered: BTreeMap<GroupId, usize>, out: &mut Vec<CopyEffect>) {
        for (group, count) in covered {
            let requests = self.held.get_mut(&group).expect("what is covered is held");
            out.extend(requests.drain(..count).map(CopyEffect::Pass));
            // What follows and brings nothing new need not wait either.
            while let Some(request) = requests.pop_front_if(|request| brings(request).is_none()) {
                out.push(CopyEffect::Pass(request));
            }
            if requests.is_empty() {
                self.held.remove(&group);
            }
        }
    }

    fn advance(&mut self, out: &mut Vec<CopyEffect>) {
        if !matches!(self.work, Work::Idle) || self.held.is_empty() {
            return;
        }
        if !self.is_made {
            let size = (SLOT_STRIDE + SLOT_SIZE) as u64;
            let op = self.order(DiskOrder::Create { file: File::HardStates, size, purpose: Purpose::Log }, out);
            self.work = Work::Making(op);
            return;
        }
        let mut covered = BTreeMap::new();
        for (group, requests) in &self.held {
            if let Some(latest) = requests.iter().rev().find_map(brings) {
                self.states.insert(*group, latest);
            }
            covered.insert(*group, requests.len());
        }
        let (offset, bytes) = self.next_slot();
        let op = self.order(DiskOrder::Write { file: File::HardStates, offset, bytes }, out);
        self.work = Work::Writing(op, covered);
    }

    fn next_slot(&mut self) -> (u64, Bytes) {
        assert!(self.states.len() <= GROUPS_MAX, "HARD: a node replicates a handful of groups");
        self.sequence += 1;
        let mut slot = Vec::with_capacity(SLOT_SIZE);
        slot.extend_from_slice(MAGIC);
        slot.put_u32(VERSION);
        slot.put_u32(u32::try_from(self.states.len()).expect("few groups"));
        slot.put_u64(self.sequence);
        slot.put_u128(self.cluster);
        slot.put_u64(self.node.0);
        for (group, HardState { term, vote, impaired }) in &self.states {
            slot.put_u32(group.0);
            slot.put_u64(term.0);
            slot.put_u8(u8::from(vote.is_some()) * VOTED + u8::from(*impaired) * IMPAIRED);
            slot.put_u64(vote.map_or(0, |node| node.0));
        }
        slot.resize(SLOT_SIZE - 4, 0);
        slot.put_u32(checksum(&slot));
        (self.sequence % 2 * SLOT_STRIDE as u64, Bytes::from(slot))
    }

    fn order(&mut self, order: DiskOrder, out: &mut Vec<CopyEffect>) -> OpId {
        self.ops += 1;
        let op = OpId(self.ops);
        out.push(CopyEffect::Disk { op, order });
        op
    }
}

/// The term and vote that a request brings.
fn brings(request: &Event) -> Option<HardState> {
    match request {
        Event::Append { hard_state, .. } => *hard_state,
        Event::Cut { .. } | Event::Reset { .. } | Event::Disk { .. } => None,
    }
}

fn read_slot(bytes: &[u8], cluster: u128, node: NodeId) -> Slot {
    if is_zero(bytes) {
        return Slot::Unwritten;
    }
    let (content, sum) = bytes.split_at(SLOT_SIZE - 4);
    let is_whole = Reader::new(sum).u32() == Some(checksum(content));
    match read_content(content, cluster, node).filter(|_| is_whole) {
        Some((sequence, states)) => Slot::Written { sequence, states },
        None => Slot::Damaged,
    }
}

fn read_content(content: &[u8], cluster: u128, node: NodeId) -> Option<(u64, BTreeMap<GroupId, HardState>)> {
    let mut reader = Reader::new(content.strip_prefix(MAGIC)?);
    let (version, count, sequence) = (reader.u32()?, reader.u32()?, reader.u64()?);
    let owner = (reader.u128()?, NodeId(reader.u64()?));
    let mut states = BTreeMap::new();
    for _ in 0..count {
        let group = GroupId(reader.u32()?);
        let (term, flags, voted) = (Term(reader.u64()?), reader.u8()?, NodeId(reader.u64()?));
        let vote = (flags & VOTED != 0).then_some(voted);
        states.insert(group, HardState { term, vote, impaired: flags & IMPAIRED != 0 });
    }
    (version == VERSION && owner == (cluster, node) && sequence > 0).then_some((sequence, states))
}
