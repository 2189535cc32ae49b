//! The bytes of format 1, as `docs/formats/log.md` prints them. They must never change.

use super::world::*;
use crate::log::record::{Follows, Record, Records};
use crate::log::{Event, Log, batch, record};
use crate::types::{Entry, GroupId, HardState, Membership, NodeId, Payload, PersistId, Term};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Write;
use proptest::prelude::*;

const PAGE: &str = include_str!("../../../../docs/formats/log.md");

/// The segment that the page shows: its first batch holds a checkpoint and every other kind of record.
fn golden_segment() -> Bytes {
    let mut node = Node::fresh(config());
    let noop = Entry { position: position(1, 2), payload: Payload::Noop };
    let entries = vec![noop, entry(2, 2, b"put a 1"), entry(3, 2, b"put b 2")];
    node.tell(Event::Append { group: GroupId(1), id: PersistId(1), hard_state: Some(vote(2, 7)), entries });
    node.tell(Event::Cut { group: GroupId(1), base: position(1, 2) });
    node.tell(Event::Reset { group: GroupId(1), id: PersistId(2), base: position(2, 2) });
    node.tell(Event::Reset { group: GroupId(2), id: PersistId(1), base: position(300, 4) });
    node.settle();
    node.disk.segments()[0].1.clone()
}

/// Sixteen bytes a line; lines of zeros are left out.
pub(super) fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, line) in bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0)) {
        write!(text, "{:04x} ", at * 16).expect("a string takes all");
        line.iter().for_each(|byte| write!(text, " {byte:02x}").expect("a string takes all"));
        text.push('\n');
    }
    text
}

#[test]
fn the_bytes_are_those_of_the_format_page() {
    let dumped = dump(&golden_segment());
    let golden = PAGE.split("```hexdump\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(golden, Some(&dumped[..]), "the format changed; the bytes are\n{dumped}");
}

#[test]
fn the_page_names_the_version_that_is_written() {
    assert!(PAGE.contains(&alloc::format!("Format version: {}.", crate::log::segment::VERSION)));
}

#[test]
fn the_golden_bytes_recover() {
    let (_, groups, _) = Log::recover(config(), vec![(1, golden_segment())]).expect("the golden segment is whole");
    assert_eq!(groups[&GroupId(1)].hard_state, vote(2, 7));
    assert_eq!(
        (groups[&GroupId(1)].base, &groups[&GroupId(1)].entries),
        (position(2, 2), &vec![entry(3, 2, b"put b 2")])
    );
    assert_eq!((groups[&GroupId(2)].base, groups[&GroupId(2)].entries.len()), (position(300, 4), 0));
}

fn any_record() -> impl Strategy<Value = Record> {
    let group = any::<u32>().prop_map(GroupId);
    let position = (any::<u64>(), any::<u64>()).prop_map(|(index, term)| position(index, term));
    let hard_state = (any::<u64>(), any::<Option<u64>>(), any::<bool>()).prop_map(|(term, vote, impaired)| HardState {
        term: Term(term),
        vote: vote.map(NodeId),
        impaired,
    });
    let payload = prop_oneof![
        Just(Payload::Noop),
        prop::collection::vec(any::<u8>(), 0..600).prop_map(|bytes| Payload::Command(bytes.into())),
        prop::collection::vec(any::<u64>().prop_map(NodeId), 0..5)
            .prop_map(|voters| Payload::Membership(Membership::of(&voters))),
    ];
    let checkpoint = (hard_state.clone(), position.clone(), position.clone()).prop_map(|(hard_state, one, other)| {
        record::GroupCheckpoint { hard_state, base: one.min(other), last: one.max(other) }
    });
    prop_oneof![
        (group.clone(), position.clone(), payload)
            .prop_map(|(group, position, payload)| Record::Entry(group, Entry { position, payload })),
        (group.clone(), hard_state).prop_map(|(group, hard_state)| Record::HardState(group, hard_state)),
        (group.clone(), position.clone()).prop_map(|(group, base)| Record::Cut(group, base)),
        (group.clone(), position, any::<bool>()).prop_map(|(group, base, kept)| {
            Record::Reset(group, base, if kept { Follows::Kept } else { Follows::Void })
        }),
        prop::collection::btree_map(group, checkpoint, 0..4).prop_map(Record::Checkpoint),
    ]
}

/// Writes the record and returns the size that was foretold for it.
fn put(out: &mut Vec<u8>, record: &Record) -> usize {
    match record {
        Record::Entry(group, entry) => {
            record::put_entry(out, *group, entry);
            record::entry_size(entry)
        }
        Record::HardState(group, hard_state) => {
            record::put_hard_state_record(out, *group, *hard_state);
            record::hard_state_size()
        }
        Record::Cut(group, base) => {
            record::put_cut(out, *group, *base);
            record::CUT_SIZE
        }
        Record::Reset(group, base, follows) => {
            record::put_reset(out, *group, *base, *follows);
            record::RESET_SIZE
        }
        Record::Checkpoint(groups) => {
            let groups: Vec<_> = groups.iter().map(|(id, group)| (*id, *group)).collect();
            record::put_checkpoint(out, &groups);
            record::checkpoint_size(groups.len())
        }
    }
}

proptest! {
    #[test]
    fn records_come_back_from_a_sealed_batch(
        records in prop::collection::vec(any_record(), 0..12),
        sequence in 1u64..,
        chain in any::<u32>(),
    ) {
        let mut draft = batch::Draft::new(0);
        let size: usize = records.iter().map(|record| put(draft.records(), record)).sum();
        let mut segment = vec![0; BLOCK];
        let sum = draft.seal(sequence, chain, &mut segment);
        prop_assert_eq!(segment.len(), BLOCK + batch::size_in_segment(size));
        let sealed = segment[BLOCK..].chunks(SECTOR).enumerate().all(|(number, sector)| {
            batch::inspect(sector) == batch::Sector::Sealed { batch: sequence, number: number as u64 }
        });
        prop_assert!(sealed);
        let found = batch::find(&segment, BLOCK, sequence, chain);
        let batch::BatchFound::Whole { records: bytes, sum: found_sum, size: found_size } = found else {
            return Err(TestCaseError::fail(alloc::format!("{found:?}")));
        };
        prop_assert_eq!((found_sum, found_size), (sum, segment.len() - BLOCK));
        let found: Option<Vec<Record>> = Records::of(&bytes).collect();
        prop_assert_eq!(found, Some(records));
    }

    #[test]
    fn records_of_any_bytes_do_not_panic(bytes in prop::collection::vec(0u8..8, 0..300)) {
        let bytes = Bytes::from(bytes);
        let decoded: Vec<_> = Records::of(&bytes).take_while(Option::is_some).collect();
        prop_assert!(decoded.len() <= bytes.len());
    }
}

#[test]
fn a_membership_entry_has_its_golden_bytes() {
    let membership = Membership::of(&[NodeId(1), NodeId(2)]);
    let entry = Entry { position: position(5, 2), payload: Payload::Membership(membership) };
    let mut bytes = Vec::new();
    record::put_entry(&mut bytes, GroupId(1), &entry);
    let shown: String = bytes.iter().fold(String::new(), |text, byte| text + &alloc::format!("{byte:02x} "));
    assert!(PAGE.replace('\n', " ").contains(shown.trim()), "the page lacks the bytes of the entry: {shown}");
    let bytes = Bytes::from(bytes);
    assert_eq!(Records::of(&bytes).next(), Some(Some(Record::Entry(GroupId(1), entry))));
    // A kind that nobody has written is damage, and so is a membership that is none.
    for (at, value) in [(21, 3), (26, 2)] {
        let mut changed = bytes.to_vec();
        changed[at] = value;
        assert_eq!(Records::of(&changed.into()).next(), Some(None), "byte {at}");
    }
}

#[test]
fn a_checkpoint_states_every_group_once() {
    let mut bytes = Vec::new();
    let group = record::GroupCheckpoint { hard_state: vote(1, 1), base: position(1, 1), last: position(2, 1) };
    record::put_checkpoint(&mut bytes, &[(GroupId(1), group), (GroupId(1), group)]);
    assert_eq!(Records::of(&bytes.into()).next(), Some(None));
    let mut bytes = Vec::new();
    record::put_checkpoint(&mut bytes, &[(GroupId(1), group)]);
    let stated = Record::Checkpoint(BTreeMap::from([(GroupId(1), group)]));
    assert_eq!(Records::of(&bytes.into()).next(), Some(Some(stated)));
}
