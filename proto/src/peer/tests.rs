//! Golden bytes of each message, the round trip, and bytes that no correct peer sends.

use super::{COMMAND_SIZE_MAX, DecodeError, MESSAGE_SIZE_MAX, SNAPSHOT_SIZE_MAX, decode, encode};
use anvil_core::raft::{AppendOutcome, Message};
use anvil_core::types::{Entry, GroupId, LogIndex, LogPosition, Membership, NodeId, Payload, Snapshot, Term};
use bytes::Bytes;
use proptest::prelude::*;

const GOLDEN: &str = include_str!("testdata/peer.hex");

fn at(index: u64, term: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), term: Term(term) }
}

fn noop(index: u64, term: u64) -> Entry {
    Entry { position: at(index, term), payload: Payload::Noop }
}

fn command(index: u64, term: u64, bytes: impl Into<Bytes>) -> Entry {
    Entry { position: at(index, term), payload: Payload::Command(bytes.into()) }
}

fn append(previous: LogPosition, entries: Vec<Entry>) -> Message {
    Message::AppendEntries { term: Term(5), previous, entries, commit: LogIndex(300), round: 2 }
}

/// One of each message and of each variant inside, named as in the golden file.
fn examples() -> Vec<(&'static str, GroupId, Message)> {
    let rows = Bytes::from_static(b"rows");
    let snapshot = Snapshot { position: at(300, 4), membership: None, rows };
    let joint = Membership::of(&[NodeId(1), NodeId(2)]).begin(&[NodeId(2), NodeId(300)].into());
    let joint = joint.with_learner(NodeId(7)).expect("it is new");
    let changed = Snapshot { membership: Some(joint.clone()), ..snapshot.clone() };
    let entry = Entry { position: at(302, 5), payload: Payload::Membership(joint) };
    let rejected = AppendOutcome::Rejected { rejected: LogIndex(302), hint: at(7, 3) };
    let matched = AppendOutcome::Matched(LogIndex(0));
    vec![
        ("pre-vote", GroupId(1), Message::PreVote { term: Term(5), last_log: at(300, 4) }),
        ("pre-vote-empty-log", GroupId(0), Message::PreVote { term: Term(1), last_log: at(0, 0) }),
        ("pre-vote-response", GroupId(1), Message::PreVoteResponse { term: Term(5), granted: true }),
        ("request-vote", GroupId(1), Message::RequestVote { term: Term(5), last_log: at(300, 4), handover: false }),
        ("request-vote-response", GroupId(1), Message::RequestVoteResponse { term: Term(5), granted: false }),
        ("append-entries", GroupId(1), append(at(301, 4), vec![noop(302, 5), command(303, 5, "set")])),
        ("append-entries-empty-command", GroupId(1), append(at(301, 4), vec![command(302, 5, "")])),
        ("append-entries-heartbeat", GroupId(0), append(at(301, 4), Vec::new())),
        (
            "append-entries-response-matched",
            GroupId(1),
            Message::AppendEntriesResponse { term: Term(5), outcome: matched, round: 2 },
        ),
        (
            "append-entries-response-rejected",
            GroupId(1),
            Message::AppendEntriesResponse { term: Term(5), outcome: rejected, round: 2 },
        ),
        ("install-snapshot", GroupId(1), Message::InstallSnapshot { term: Term(5), snapshot }),
        (
            "install-snapshot-response",
            GroupId(1),
            Message::InstallSnapshotResponse { term: Term(5), matched: LogIndex(300) },
        ),
        (
            "request-vote-handover",
            GroupId(1),
            Message::RequestVote { term: Term(5), last_log: at(300, 4), handover: true },
        ),
        ("append-entries-membership", GroupId(1), append(at(301, 4), vec![entry])),
        ("install-snapshot-membership", GroupId(1), Message::InstallSnapshot { term: Term(5), snapshot: changed }),
        ("timeout-now", GroupId(1), Message::TimeoutNow { term: Term(5) }),
    ]
}

fn golden() -> Vec<(&'static str, Bytes)> {
    let lines = GOLDEN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").map(|(name, hex)| (name, unhex(hex))).expect("name, colon, hex")).collect()
}

fn unhex(hex: &str) -> Bytes {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")).collect()
}

#[test]
fn each_message_has_its_golden_bytes() {
    let examples = examples();
    let golden = golden();
    assert_eq!(golden.len(), examples.len());
    for ((name, group, message), (golden_name, bytes)) in examples.into_iter().zip(golden) {
        assert_eq!(name, golden_name);
        let encoded = encode(group, &message);
        assert_eq!(encoded, bytes, "{name} is encoded as {encoded:02x?}");
        assert_eq!(decode(bytes), Ok((group, message)), "{name}");
    }
}

#[test]
fn commands_and_rows_are_slices_of_the_message() {
    let inside = |whole: &Bytes, part: &Bytes| whole.as_ptr_range().contains(&part.as_ptr());
    let bytes = encode(GroupId(1), &append(at(1, 1), vec![command(2, 1, vec![7; 100])]));
    let Ok((_, Message::AppendEntries { entries, .. })) = decode(bytes.clone()) else { panic!("an append") };
    let Payload::Command(command) = &entries[0].payload else { panic!("a command") };
    assert!(inside(&bytes, command));

    let snapshot = Snapshot { position: at(2, 1), membership: None, rows: Bytes::from(vec![7; 100]) };
    let bytes = encode(GroupId(1), &Message::InstallSnapshot { term: Term(1), snapshot });
    let Ok((_, Message::InstallSnapshot { snapshot, .. })) = decode(bytes.clone()) else { panic!("a snapshot") };
    assert!(inside(&bytes, &snapshot.rows));
}

#[test]
fn what_every_message_has_may_not_be_absent() {
    let cases = [
        ("", "message"),
        ("08 01", "message"),
        // A field of a later version, and none that this one knows.
        ("08 01 f2 01 00", "message"),
        ("12 02 08 05", "last_log"),
        ("22 02 08 05", "last_log"),
        ("32 02 08 05", "previous"),
        ("32 08 12 00 1a 04 08 01 10 01", "payload"),
        ("3a 02 08 05", "outcome"),
        ("3a 04 22 02 08 05", "hint"),
        ("42 02 08 05", "position"),
    ];
    for (hex, part) in cases {
        assert_eq!(decode(unhex(hex)), Err(DecodeError::Missing(part)), "{hex}");
    }
}

#[test]
fn entries_stand_one_after_the_other() {
    let decoded = |previous, entries| decode(encode(GroupId(1), &append(previous, entries)));
    let gap = |previous, found| Err(DecodeError::Gap { previous, found });
    assert_eq!(decoded(at(5, 1), vec![noop(7, 1)]), gap(5, 7));
    assert_eq!(decoded(at(5, 1), vec![noop(5, 1)]), gap(5, 5));
    assert_eq!(decoded(at(5, 1), vec![noop(6, 1), noop(6, 1)]), gap(6, 6));
    assert_eq!(decoded(at(0, 0), vec![noop(0, 1)]), gap(0, 0));
    assert_eq!(decoded(at(u64::MAX, 1), vec![noop(0, 1)]), gap(u64::MAX, 0));
    let fits = append(at(u64::MAX - 1, 1), vec![noop(u64::MAX, 1)]);
    assert_eq!(decode(encode(GroupId(1), &fits)), Ok((GroupId(1), fits)));
}

#[test]
fn lists_that_make_no_membership_are_refused() {
    // PEER-5: voters 2 and 1; a learner without voters.
    for lists in ["0a 02 02 01", "1a 01 07"] {
        let membership = unhex(lists);
        let size = u8::try_from(membership.len()).expect("small");
        let mut bytes = unhex("42 00 08 05 12 00 22").to_vec();
        bytes.push(size);
        bytes.extend_from_slice(&membership);
        bytes[1] = u8::try_from(bytes.len() - 2).expect("small");
        assert_eq!(decode(bytes.into()), Err(DecodeError::Membership), "{lists}");
    }
}

#[test]
fn a_message_that_is_cut_anywhere_is_not_the_message() {
    for (name, group, message) in examples() {
        let bytes = encode(group, &message);
        for end in 0..bytes.len() {
            assert_ne!(decode(bytes.slice(..end)), Ok((group, message.clone())), "{name} cut at {end}");
        }
    }
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    for (name, group, message) in examples() {
        let mut bytes = encode(group, &message).to_vec();
        bytes.extend_from_slice(&unhex("f2 01 03 aa bb cc"));
        assert_eq!(decode(bytes.into()), Ok((group, message)), "{name}");
    }
}

#[test]
fn sizes_are_bounded() {
    let largest = append(at(1, 1), vec![command(2, 1, vec![0; COMMAND_SIZE_MAX])]);
    assert_eq!(decode(encode(GroupId(1), &largest)), Ok((GroupId(1), largest)));
    let size = COMMAND_SIZE_MAX + 1;
    let larger = append(at(1, 1), vec![noop(2, 1), command(3, 1, vec![0; size])]);
    assert_eq!(decode(encode(GroupId(1), &larger)), Err(DecodeError::CommandTooLarge { index: 3, size }));

    let command = |index| command(index, 1, vec![0; COMMAND_SIZE_MAX / 2]);
    let bytes = encode(GroupId(1), &append(at(1, 1), (2..7).map(command).collect()));
    assert!(bytes.len() > MESSAGE_SIZE_MAX);
    let too_large = DecodeError::TooLarge { size: bytes.len(), size_max: MESSAGE_SIZE_MAX };
    assert_eq!(decode(bytes), Err(too_large));
}

#[test]
fn only_a_snapshot_may_be_large() {
    const { assert!(MESSAGE_SIZE_MAX < SNAPSHOT_SIZE_MAX) };
    let rows = Bytes::from(vec![7; MESSAGE_SIZE_MAX + 1]);
    let snapshot =
        Message::InstallSnapshot { term: Term(2), snapshot: Snapshot { position: at(9, 1), membership: None, rows } };
    for group in [GroupId(0), GroupId(1), GroupId(u32::MAX)] {
        let bytes = encode(group, &snapshot);
        assert!(decode(bytes.clone()) == Ok((group, snapshot.clone())), "a large snapshot of group {group}");

        // Behind a snapshot, anything else could be hidden.
        let mut followed = bytes.to_vec();
        followed.extend_from_slice(&encode(group, &append(at(1, 1), Vec::new())));
        let refused = decode(followed.into());
        assert!(matches!(refused, Err(DecodeError::TooLarge { size_max: MESSAGE_SIZE_MAX, .. })), "group {group}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let error = decode(Bytes::from_static(&[0xFF])).expect_err("not protobuf");
    assert!(matches!(error, DecodeError::Malformed(_)));
    assert!(core::error::Error::source(&error).is_some());
    let gap = DecodeError::Gap { previous: 5, found: 7 };
    assert_eq!(gap.to_string(), "entry 7 was sent as the one that follows entry 5");
    assert_eq!(DecodeError::Missing("last_log").to_string(), "the peer message lacks last_log");
}

fn any_position() -> impl Strategy<Value = LogPosition> {
    (any::<u64>(), any::<u64>()).prop_map(|(index, term)| at(index, term))
}

fn any_membership() -> impl Strategy<Value = Membership> {
    let nodes = || prop::collection::btree_set(any::<u64>().prop_map(NodeId), 1..5);
    (nodes(), nodes(), any::<u64>()).prop_map(|(old, new, learner)| {
        let joint = Membership::of(&old.into_iter().collect::<Vec<_>>()).begin(&new);
        joint.with_learner(NodeId(learner)).unwrap_or(joint)
    })
}

fn any_append() -> impl Strategy<Value = Message> {
    let payload = prop_oneof![
        Just(Payload::Noop),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Payload::Command(bytes.into())),
        any_membership().prop_map(Payload::Membership),
    ];
    let entries = prop::collection::vec((any::<u64>(), payload), 0..8);
    let first = prop_oneof![0u64..100, 0..=u64::MAX - 8];
    (any::<u64>(), first, any::<u64>(), entries, any::<u64>(), any::<u64>()).prop_map(
        |(term, first, previous_term, payloads, commit, round)| {
            let entries = (first + 1..).zip(payloads);
            let entries = entries.map(|(index, (term, payload))| Entry { position: at(index, term), payload });
            let (term, previous, commit) = (Term(term), at(first, previous_term), LogIndex(commit));
            Message::AppendEntries { term, previous, entries: entries.collect(), commit, round }
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    let term = || any::<u64>().prop_map(Term);
    let index = || any::<u64>().prop_map(LogIndex);
    let outcome = prop_oneof![
        index().prop_map(AppendOutcome::Matched),
        (index(), any_position()).prop_map(|(rejected, hint)| AppendOutcome::Rejected { rejected, hint }),
    ];
    let snapshot = (any_position(), prop::option::of(any_membership()), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(position, membership, rows)| Snapshot { position, membership, rows: rows.into() });
    prop_oneof![
        (term(), any_position()).prop_map(|(term, last_log)| Message::PreVote { term, last_log }),
        (term(), any::<bool>()).prop_map(|(term, granted)| Message::PreVoteResponse { term, granted }),
        (term(), any_position(), any::<bool>()).prop_map(|(term, last_log, handover)| Message::RequestVote {
            term,
            last_log,
            handover
        }),
        (term(), any::<bool>()).prop_map(|(term, granted)| Message::RequestVoteResponse { term, granted }),
        any_append(),
        (term(), outcome, any::<u64>()).prop_map(|(term, outcome, round)| Message::AppendEntriesResponse {
            term,
            outcome,
            round
        }),
        (term(), snapshot).prop_map(|(term, snapshot)| Message::InstallSnapshot { term, snapshot }),
        (term(), index()).prop_map(|(term, matched)| Message::InstallSnapshotResponse { term, matched }),
        term().prop_map(|term| Message::TimeoutNow { term }),
    ]
}

/// What decodes at all is a message that can be sent, and arrives as it was.
fn check_bytes(bytes: Vec<u8>) {
    if let Ok((group, message)) = decode(bytes.into()) {
        assert_eq!(decode(encode(group, &message)), Ok((group, message)));
    }
}

proptest! {
    // PEER-1
    #[test]
    fn a_message_arrives_as_it_was_sent(group in any::<u32>(), message in any_message()) {
        let group = GroupId(group);
        prop_assert_eq!(decode(encode(group, &message)), Ok((group, message)));
    }

    // PEER-2
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_bytes(bytes);
    }

    // PEER-2: near to messages, where random bytes seldom come.
    #[test]
    fn no_change_of_a_message_panics(
        group in any::<u32>(),
        message in any_message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(GroupId(group), &message).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_bytes(bytes.clone());
        bytes.truncate(end.index(bytes.len()));
        check_bytes(bytes);
    }
}
