//! Segments whose checksums are right and whose content is not: a drive that mixes up writes, or a bug of ours. They
//! are put together by hand, for no log would write them.

use super::world::*;
use crate::log::batch::Draft;
use crate::log::record::{self, Follows, GroupCheckpoint};
use crate::log::segment::SegmentHeader;
use crate::log::{Damage, Log, RecoverError};
use crate::types::GroupId;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

const GROUP: GroupId = GroupId(1);

/// A chain of batches that is being forged.
struct Forger {
    batch: u64,
    chain: u32,
}

impl Forger {
    /// The next segment, with one batch for each list of records.
    fn segment(&mut self, sequence: u64, batches: Vec<Vec<u8>>) -> (u64, Bytes) {
        let mut file = Vec::new();
        let config = config();
        let header = SegmentHeader {
            cluster: config.cluster,
            node: config.node,
            sequence,
            size: config.segment_size,
            first_batch: self.batch,
            chain: self.chain,
        };
        header.encode(&mut file);
        for records in batches {
            let mut draft = Draft::new(0);
            draft.records().extend(records);
            self.chain = draft.seal(self.batch, self.chain, &mut file);
            self.batch = self.batch.wrapping_add(1);
        }
        file.resize(4 * BLOCK, 0);
        (sequence, Bytes::from(file))
    }
}

fn forger() -> Forger {
    Forger { batch: 1, chain: 0 }
}

fn checkpoint(groups: &[(GroupId, GroupCheckpoint)]) -> Vec<u8> {
    let mut records = Vec::new();
    record::put_checkpoint(&mut records, groups);
    records
}

fn found(segments: Vec<(u64, Bytes)>) -> Result<Model, (u64, u64, Damage)> {
    match Log::recover(config(), segments) {
        Ok((_, groups, _)) => Ok(groups),
        Err(RecoverError::Corrupt { segment, offset, what }) => Err((segment, offset, what)),
        Err(other @ (RecoverError::Foreign { .. } | RecoverError::Version { .. })) => panic!("not damage: {other}"),
    }
}

const FIRST: u64 = BLOCK as u64;
const SECOND: u64 = 2 * BLOCK as u64;

#[test]
fn records_that_contradict_those_before_them_are_damage() {
    let put = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut records = Vec::new();
        write(&mut records);
        let mut head = checkpoint(&[]);
        record::put_entry(&mut head, GROUP, &entry(1, 1, b"one"));
        record::put_cut(&mut head, GROUP, position(1, 1));
        record::put_entry(&mut head, GROUP, &entry(2, 1, b"two"));
        found(vec![forger().segment(1, vec![head, records])])
    };
    let damaged = Err((1, SECOND, Damage::Record));
    assert!(put(&|records| record::put_entry(records, GROUP, &entry(3, 1, b"three"))).is_ok());
    assert_eq!(put(&|records| record::put_entry(records, GROUP, &entry(4, 1, b"after a gap"))), damaged);
    assert_eq!(put(&|records| record::put_entry(records, GROUP, &entry(1, 1, b"cut before"))), damaged);
    assert_eq!(put(&|records| record::put_entry(records, GroupId(9), &entry(0, 1, b"before all"))), damaged);
    assert_eq!(put(&|records| record::put_cut(records, GROUP, position(3, 1))), damaged);
    assert_eq!(put(&|records| record::put_cut(records, GROUP, position(0, 0))), damaged);
    assert_eq!(put(&|records| record::put_reset(records, GROUP, position(3, 1), Follows::Kept)), damaged);
    assert_eq!(put(&|records| record::put_reset(records, GROUP, position(0, 1), Follows::Void)), damaged);
    assert_eq!(put(&|records| records.push(77)), damaged);
    assert_eq!(put(&|records| records.extend(checkpoint(&[]))), Err((1, SECOND, Damage::Checkpoint)));
}

#[test]
fn the_last_index_of_all_does_not_overflow() {
    let mut records = checkpoint(&[]);
    record::put_reset(&mut records, GROUP, position(u64::MAX - 1, 1), Follows::Void);
    record::put_entry(&mut records, GROUP, &entry(u64::MAX, 1, b"the last"));
    record::put_cut(&mut records, GROUP, position(u64::MAX, 1));
    let groups = found(vec![forger().segment(1, vec![records])]).expect("strange, and without contradiction");
    assert_eq!(groups[&GROUP].base, position(u64::MAX, 1));
    // The batch after the last possible one cannot be numbered.
    let mut last = Forger { batch: u64::MAX, chain: 3 };
    let damaged = Err((2, FIRST, Damage::BatchHeader));
    assert_eq!(found(vec![last.segment(2, vec![checkpoint(&[])])]), damaged);
}

#[test]
fn a_segment_without_a_checkpoint_at_its_head_is_damage() {
    let damaged = Err((1, FIRST, Damage::Checkpoint));
    let mut hard_state = Vec::new();
    record::put_hard_state_record(&mut hard_state, GROUP, vote(1, 1));
    assert_eq!(found(vec![forger().segment(1, vec![hard_state])]), damaged);
    assert_eq!(found(vec![forger().segment(1, vec![vec![]])]), damaged);
}

#[test]
fn a_checkpoint_that_contradicts_the_segments_before_it_is_damage() {
    let state = |term| GroupCheckpoint { hard_state: vote(term, 1), base: position(0, 0), last: position(0, 0) };
    let two = |restated: &[(GroupId, GroupCheckpoint)]| {
        let mut head = checkpoint(&[]);
        record::put_hard_state_record(&mut head, GROUP, vote(5, 1));
        let mut forger = forger();
        found(vec![forger.segment(1, vec![head]), forger.segment(2, vec![checkpoint(restated)])])
    };
    let damaged = Err((2, FIRST, Damage::Checkpoint));
    assert_eq!(two(&[(GROUP, state(5))]).map(|groups| groups[&GROUP].hard_state), Ok(vote(5, 1)));
    assert_eq!(two(&[(GROUP, state(4))]), damaged);
    assert_eq!(two(&[]), damaged);
    assert_eq!(two(&[(GROUP, state(5)), (GroupId(2), state(5))]), damaged);
}

#[test]
fn the_first_segment_of_all_begins_the_chain() {
    for mut forger in [Forger { batch: 2, chain: 0 }, Forger { batch: 1, chain: 9 }] {
        assert_eq!(found(vec![forger.segment(1, vec![checkpoint(&[])])]), Err((1, 0, Damage::Chain)));
    }
    let mut later = Forger { batch: 7, chain: 9 };
    assert!(found(vec![later.segment(3, vec![checkpoint(&[])])]).is_ok(), "an older segment was removed");
    assert_eq!(found(vec![later.segment(u64::MAX, vec![])]), Err((u64::MAX, 0, Damage::SegmentMissing)));
}

#[test]
fn a_batch_mixed_of_two_does_not_pass() {
    let with = |byte: u8| {
        let mut records = checkpoint(&[]);
        record::put_entry(&mut records, GROUP, &entry(1, 1, &[byte; 1000]));
        forger().segment(1, vec![records])
    };
    let (one, other) = (with(1).1, with(2).1);
    let mut mixed = one.to_vec();
    mixed[BLOCK + SECTOR..].copy_from_slice(&other[BLOCK + SECTOR..]);
    assert_eq!(found(vec![(1, mixed.into())]), Err((1, FIRST, Damage::Checksum)));
}
