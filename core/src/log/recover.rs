//! The log as it is read back: verify, replay, and cut what was never synced.
//!
//! Batches are replayed in order until one is not there. What is found in its place decides:
//!
//! | at the place of batch *n*                        | and after it                     | then                     |
//! |--------------------------------------------------|----------------------------------|--------------------------|
//! | all zero                                         | nothing                          | clean end                |
//! | some sector of it unwritten                      | nothing                          | torn, cut                |
//! | anything but the whole batch                     | the next segment begins with *n* | the segment ends here    |
//! | all sectors written, not all verify              | anything                         | corrupt                  |
//! | anything                                         | a sector of a batch after *n*    | corrupt                  |
//! | anything                                         | a sector of *n* at a wrong place | corrupt                  |
//!
//! The last row finds a write that the drive put elsewhere. A byte that rots in zeros where nothing was ever written
//! changes nothing, for the batch that would stand there still shows unwritten sectors, and the zeros are restored.
//! What cannot be noticed: the last batch reading as zeros in one whole sector although it was synced (a drive that
//! lies about syncs), and a last segment that reads as never used.
//!
//! Not here: the orders after recovery (`machine`).

use super::batch::{self, BatchFound, Sector};
use super::codec::is_zero;
use super::error::{Damage, RecoverError};
use super::group::Group;
use super::machine::{Current, Log, Next, Work};
use super::record::{Record, Records};
use super::segment::{BLOCK, HeaderFound, SECTOR, SegmentHeader};
use super::{Config, Effect, RecoveredGroup, RecoveredGroups};
use crate::disk::{DiskOrder, File};
use crate::planted::planted;
use crate::types::{Entry, GroupId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

impl Log {
    /// Reads a log back from its segment files, each with its sequence and its whole content, and returns the log,
    /// what each group had made durable, and the first disk orders. No files make a fresh log.
    ///
    /// # Errors
    /// If anything that was synced is damaged, missing, foreign, or of another format. Nothing is ordered then.
    ///
    /// # Panics
    /// If the configured segment size is no multiple of the block size, or too small for one batch.
    pub fn recover(
        config: Config,
        mut segments: Vec<(u64, Bytes)>,
    ) -> Result<(Log, RecoveredGroups, Vec<Effect>), RecoverError> {
        let block = BLOCK as u64;
        assert!(
            config.segment_size.is_multiple_of(block) && config.segment_size >= 2 * block,
            "a log segment has whole blocks, one for its header and at least one for a batch"
        );
        segments.sort_by_key(|(sequence, _)| *sequence);
        let mut replay = Replay::new(config, segments.first().map_or(1, |(sequence, _)| *sequence));
        for (at, (sequence, file)) in segments.iter().enumerate() {
            replay.read_segment(*sequence, file, at + 1 == segments.len())?;
        }
        replay.check_end(&segments)?;
        replay.check_entries()?;
        Ok(replay.into_log())
    }
}

/// The log as far as it is read.
struct Replay {
    config: Config,
    oldest: u64,
    /// The segment that should be read next.
    sequence: u64,
    /// The batch that should be read next, and what it continues from.
    batch: u64,
    chain: u32,
    groups: BTreeMap<GroupId, ReplayedGroup>,
    /// The segment of the last whole batch.
    current: Option<Current>,
    /// Damage where the next batch should be. Harmless only if that batch stands at the head of the next segment.
    doubt: Option<RecoverError>,
    /// How many bytes after the last batch are to be made zero again.
    remains_size: usize,
    /// Whether there is a segment after the current one, of which nothing was ever synced.
    has_spare: bool,
}

#[derive(Default)]
struct ReplayedGroup {
    group: Group,
    entries: VecDeque<Entry>,
}

impl Replay {
    fn new(config: Config, oldest: u64) -> Replay {
        Replay {
            config,
            oldest,
            sequence: oldest,
            batch: 1,
            chain: 0,
            groups: BTreeMap::new(),
            current: None,
            doubt: None,
            remains_size: 0,
            has_spare: false,
        }
    }

    fn read_segment(&mut self, sequence: u64, file: &Bytes, is_last: bool) -> Result<(), RecoverError> {
        // Sequences begin at 1, and no counting reaches the last possible one.
        if sequence != self.sequence || sequence == 0 || sequence == u64::MAX {
            return Err(corrupt(self.sequence, 0, Damage::SegmentMissing));
        }
        self.sequence += 1;
        let header = self.open(sequence, file)?;
        let mut is_used = false;
        if let Some(header) = &header {
            self.check_continues(header)?;
            while self.read_batch(header, file, !is_used)? {
                is_used = true;
            }
        }
        // LOG-10: only the last segment may be unused. And unless it is the first of all it leans on the one before
        // it, for a segment is removed only when a newer one holds a synced batch.
        if !is_used && (!is_last || (sequence > 1 && self.current.is_none())) {
            let missing = match header {
                Some(_) => corrupt(sequence, BLOCK as u64, Damage::BatchMissing),
                None => corrupt(sequence, 0, Damage::SegmentMissing),
            };
            return Err(self.doubt.take().unwrap_or(missing));
        }
        self.has_spare = !is_used;
        Ok(())
    }

    /// The header, if anything in the segment may have been synced.
    fn open(&self, sequence: u64, file: &[u8]) -> Result<Option<SegmentHeader>, RecoverError> {
        match SegmentHeader::find(file) {
            HeaderFound::Unwritten => Ok(None),
            HeaderFound::Version(version) => Err(RecoverError::Version { segment: sequence, version }),
            HeaderFound::Damaged { offset, what } => Err(corrupt(sequence, offset as u64, what)),
            HeaderFound::Header(SegmentHeader { cluster, node, .. })
                if (cluster, node) != (self.config.cluster, self.config.node) =>
            {
                Err(RecoverError::Foreign { segment: sequence, cluster, node })
            }
            HeaderFound::Header(header) if header.sequence != sequence => {
                Err(corrupt(sequence, 0, Damage::SegmentMisplaced))
            }
            HeaderFound::Header(header) => Ok(Some(header)),
        }
    }

    /// The segment must begin with the batch that should be read next. The oldest segment of a log that was cut is
    /// taken at its word.
    fn check_continues(&mut self, header: &SegmentHeader) -> Result<(), RecoverError> {
        if self.current.is_none() && header.sequence > 1 {
            (self.batch, self.chain) = (header.first_batch, header.chain);
        }
        if (header.first_batch, header.chain) == (self.batch, self.chain) {
            return Ok(());
        }
        Err(self.doubt.take().unwrap_or(match self.current {
            Some(end) if header.first_batch > self.batch => corrupt(end.sequence, end.position, Damage::BatchMissing),
            Some(_) | None => corrupt(header.sequence, 0, Damage::Chain),
        }))
    }

    /// Replays the next batch, if it stands in this segment after those read before.
    fn read_batch(&mut self, header: &SegmentHeader, file: &[u8], is_first: bool) -> Result<bool, RecoverError> {
        let SegmentHeader { sequence, size, .. } = *header;
        let position = match self.current {
            Some(current) if current.sequence == sequence => current.position,
            Some(_) | None => BLOCK as u64,
        };
        let segment = &file[..in_memory(size)];
        match batch::find(segment, in_memory(position), self.batch, self.chain) {
            BatchFound::Whole { records, sum, size: batch_size } => {
                let damaged = |what| corrupt(sequence, position, what);
                self.replay(sequence, &records, is_first).map_err(damaged)?;
                self.batch = self.batch.checked_add(1).ok_or(damaged(Damage::BatchHeader))?;
                self.chain = sum;
                let position = position + batch_size as u64;
                self.current = Some(Current { sequence, size, position, is_synced: true });
                self.doubt = None;
                Ok(true)
            }
            BatchFound::Unsynced => Ok(false),
            BatchFound::Damaged { offset, what } => {
                self.doubt = Some(corrupt(sequence, offset as u64, what));
                Ok(false)
            }
        }
    }

    fn replay(&mut self, segment: u64, records: &Bytes, is_first: bool) -> Result<(), Damage> {
        let mut at_head = is_first;
        for record in Records::of(records) {
            let record = record.ok_or(Damage::Record)?;
            if at_head != matches!(record, Record::Checkpoint(_)) {
                return Err(Damage::Checkpoint);
            }
            at_head = false;
            self.replay_record(segment, record)?;
        }
        match at_head {
            true => Err(Damage::Checkpoint),
            false => Ok(()),
        }
    }

    fn replay_record(&mut self, segment: u64, record: Record) -> Result<(), Damage> {
        match record {
            Record::Entry(id, entry) => {
                let group = self.groups.entry(id).or_default();
                check(group.group.takes_entry_at(entry.position.index))?;
                group.append(entry, segment);
            }
            Record::HardState(id, hard_state) => self.groups.entry(id).or_default().group.hard_state = hard_state,
            Record::Cut(id, base) => {
                let group = self.groups.entry(id).or_default();
                check(group.group.takes_cut_at(base))?;
                group.group.cut(base);
                group.drop_up_to_base();
            }
            Record::Reset(id, base, follows) => {
                let group = self.groups.entry(id).or_default();
                check(group.group.takes_reset_at(base, follows))?;
                group.group.reset(base, follows);
                group.drop_up_to_base();
                group.drop_after_last();
            }
            Record::Checkpoint(groups) if self.current.is_none() => {
                // Nothing older was read: what the entries of older segments were is known only by their indexes.
                for (id, checkpoint) in groups {
                    let group = Group::restore(checkpoint, segment - 1);
                    self.groups.insert(id, ReplayedGroup { group, entries: VecDeque::new() });
                }
            }
            Record::Checkpoint(groups) => {
                let replayed = self.groups.iter().map(|(id, group)| (*id, group.group.checkpoint()));
                if !replayed.eq(groups) {
                    return Err(Damage::Checkpoint);
                }
            }
        }
        Ok(())
    }

    /// LOG-5: what stands after the last whole batch was never synced.
    fn check_end(&mut self, segments: &[(u64, Bytes)]) -> Result<(), RecoverError> {
        if let Some(doubt) = self.doubt.take() {
            return Err(doubt);
        }
        if let Some(Current { sequence, size, position, .. }) = self.current {
            let file = &segments.iter().find(|(of, _)| *of == sequence).expect("it was read from this list").1;
            let segment = &file[..in_memory(size)];
            self.check_tail(sequence, segment, in_memory(position))?;
            let unused = &segment[in_memory(position)..];
            self.remains_size =
                unused.chunks_exact(BLOCK).rposition(|block| !is_zero(block)).map_or(0, |last| (last + 1) * BLOCK);
        }
        if let Some((sequence, file)) = segments.last().filter(|_| self.has_spare) {
            self.check_tail(*sequence, file, BLOCK)?;
        }
        Ok(())
    }

    /// Nothing from `end` on was written after the batch that should come next, and nothing of that stands elsewhere.
    fn check_tail(&mut self, sequence: u64, segment: &[u8], end: usize) -> Result<(), RecoverError> {
        for (at, sector) in segment.get(end..).unwrap_or_default().chunks(SECTOR).enumerate() {
            let is_ours = match batch::inspect(sector) {
                // A sector that is damaged is not judged here. Had its batch been synced, the place where the batch
                // begins would show no unwritten sector.
                Sector::Unwritten | Sector::Damaged => true,
                Sector::Sealed { batch, number } => batch < self.batch || (batch == self.batch && number == at as u64),
            };
            if !is_ours {
                return Err(corrupt(sequence, (end + at * SECTOR) as u64, Damage::SectorMisplaced));
            }
        }
        if planted!(self.config.planted, TornTailAccepted)
            && let Some(records) = batch::find_torn(segment, end)
        {
            let _stops_at_the_first_that_does_not_parse = self.replay(sequence, &records, end == BLOCK);
        }
        Ok(())
    }

    /// Every live entry was read, and not only restated by a checkpoint.
    fn check_entries(&self) -> Result<(), RecoverError> {
        for (id, ReplayedGroup { group, entries }) in &self.groups {
            if group.oldest_segment().is_some_and(|segment| segment < self.oldest) {
                return Err(corrupt(self.oldest - 1, 0, Damage::EntriesMissing(*id)));
            }
            let indexes = group.last().index.0 - group.base().index.0;
            assert_eq!(entries.len() as u64, indexes, "LOG: the recovered entries of group {id} have a gap");
        }
        Ok(())
    }

    fn into_log(self) -> (Log, RecoveredGroups, Vec<Effect>) {
        let mut groups = BTreeMap::new();
        let mut recovered = BTreeMap::new();
        for (id, ReplayedGroup { group, entries }) in self.groups {
            let (hard_state, base) = (group.hard_state, group.base());
            recovered.insert(id, RecoveredGroup { hard_state, base, entries: entries.into() });
            groups.insert(id, group);
        }
        let mut log = Log {
            config: self.config,
            groups,
            current: self.current,
            next: Next::Absent,
            oldest: self.oldest,
            needed: self.oldest,
            batch: self.batch,
            chain: self.chain,
            work: Work::Idle,
            removal: None,
            requests: VecDeque::new(),
            answers_due: 0,
            ops: 0,
        };
        log.needed = log.oldest_needed();
        let mut out = Vec::new();
        // LOG-6: both of these end before the next batch is written.
        if let Some(current) = self.current.filter(|_| self.remains_size > 0) {
            let file = File::LogSegment(current.sequence);
            let bytes = Bytes::from(vec![0; self.remains_size]);
            let op = log.order(DiskOrder::Write { file, offset: current.position, bytes }, &mut out);
            log.work = Work::Clearing { op, segment: current.sequence };
        }
        if self.has_spare {
            // It may be of any size, and hold remains: a fresh one is simpler than a careful look.
            let op = log.order(DiskOrder::Remove { file: File::LogSegment(log.next_sequence()) }, &mut out);
            log.next = Next::Removing(op);
        }
        log.advance(&mut out);
        (log, recovered, out)
    }
}

impl ReplayedGroup {
    fn append(&mut self, entry: Entry, segment: u64) {
        while self.entries.back().is_some_and(|last| last.position.index >= entry.position.index) {
            self.entries.pop_back();
        }
        self.group.append(entry.position, segment);
        self.entries.push_back(entry);
    }

    fn drop_up_to_base(&mut self) {
        while self.entries.front().is_some_and(|first| first.position.index <= self.group.base().index) {
            self.entries.pop_front();
        }
    }

    fn drop_after_last(&mut self) {
        while self.entries.back().is_some_and(|last| last.position.index > self.group.last().index) {
            self.entries.pop_back();
        }
    }
}

fn corrupt(segment: u64, offset: u64, what: Damage) -> RecoverError {
    RecoverError::Corrupt { segment, offset, what }
}

fn check(holds: bool) -> Result<(), Damage> {
    match holds {
        true => Ok(()),
        false => Err(Damage::Record),
    }
}

/// An offset within a file that is wholly in memory.
fn in_memory(offset: u64) -> usize {
    usize::try_from(offset).expect("the segment is at least as long, and is in memory")
}
