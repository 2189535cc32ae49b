//! Golden bytes of each message, and bytes that no correct peer sends.

use super::{
    COMMAND_SIZE_MAX, DecodeError, ERROR_SIZE_MAX, Framed, MESSAGE_SIZE_MAX, SHARD_SIZE_MAX, SNAPSHOT_CHUNK_SIZE_MAX,
    VERSIONS_MAX, decode, encode,
};
use anvil_core::node::PeerMessage;
use anvil_core::node::peer::{ShardOrder, ShardOutcome};
use anvil_core::raft::Message;
use anvil_core::types::{DriveId, Payload, VersionId};
use bytes::Bytes;
use examples::{PIN_ASK, answer, append, at, command, examples, forward, install, loaded, noop, put, refused};

mod arbitrary;
mod examples;

const GOLDEN: &str = include_str!("testdata/peer.hex");

/// Each message's name and its bytes: the head, then, behind a bar, the body if it has bytes.
fn golden() -> Vec<(&'static str, Framed)> {
    let lines = GOLDEN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parts = lines.map(|line| line.split_once(": ").expect("a name, a colon, and hex"));
    parts.map(|(name, hex)| (name, framed(hex))).collect()
}

fn framed(hex: &str) -> Framed {
    let (head, body) = hex.split_once('|').unwrap_or((hex, ""));
    Framed { head: unhex(head), body: unhex(body) }
}

fn unhex(hex: &str) -> Bytes {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")).collect()
}

#[test]
fn each_message_has_its_golden_bytes() {
    let examples = examples();
    let golden = golden();
    assert_eq!(golden.len(), examples.len());
    for ((name, message), (golden_name, bytes)) in examples.into_iter().zip(golden) {
        assert_eq!(name, golden_name);
        let encoded = encode(&message);
        assert_eq!(encoded, bytes, "{name} is encoded as {:02x?} | {:02x?}", &encoded.head[..], &encoded.body[..]);
        assert_eq!(decode(bytes), Ok(message), "{name}");
    }
}

#[test]
fn a_body_is_the_payload_itself_on_both_sides() {
    let payload = Bytes::from(vec![7; 100]);
    for message in [install(payload.clone()), put(payload.clone()), loaded(payload.clone())] {
        let framed = encode(&message);
        assert_eq!(framed.body.as_ptr(), payload.as_ptr(), "{message:?}");
        assert_eq!(framed.body.len(), payload.len(), "{message:?}");
        let arrived = decode(framed).expect("it was just encoded");
        assert_eq!(encode(&arrived).body.as_ptr(), payload.as_ptr(), "{message:?}");
    }
}

#[test]
fn commands_are_slices_of_the_head() {
    let inside = |whole: &Bytes, part: &Bytes| whole.as_ptr_range().contains(&part.as_ptr());
    let framed = encode(&append(at(1, 1), vec![command(2, 1, vec![7; 100])]));
    let Ok(PeerMessage::Raft { message: Message::AppendEntries { entries, .. }, .. }) = decode(framed.clone()) else {
        panic!("an append")
    };
    let Payload::Command(command) = &entries[0].payload else { panic!("a command") };
    assert!(inside(&framed.head, command));

    let framed = encode(&forward(vec![7; 100]));
    let Ok(PeerMessage::Raft { message: Message::Forward { command, .. }, .. }) = decode(framed.clone()) else {
        panic!("a forwarded command")
    };
    assert!(inside(&framed.head, &command));
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
        // A snapshot whose rows are in the head, where no receiver looks for them.
        ("42 0a 08 05 12 00 1a 04 72 6f 77 73", "size"),
        ("62 02 08 05", "ask"),
        ("6a 02 08 05", "outcome"),
        ("6a 02 22 00", "ask"),
        ("72 02 08 05", "ask"),
        ("7a 02 08 05", "ask"),
        ("82 01 00", "ticket"),
        ("82 01 02 0a 00", "key"),
        ("8a 01 00", "ticket"),
        ("8a 01 02 0a 00", "key"),
        ("92 01 00", "ticket"),
        ("a2 01 00", "outcome"),
        ("a2 01 02 12 00", "ticket"),
        ("a2 01 04 0a 00 1a 00", "body_size"),
        ("a2 01 04 0a 00 2a 00", "reason"),
        ("aa 01 00", "ask"),
        ("b2 01 00", "ask"),
    ];
    for (hex, part) in cases {
        assert_eq!(decode(framed(hex)), Err(DecodeError::Missing(part)), "{hex}");
    }
}

#[test]
fn entries_stand_one_after_the_other() {
    let decoded = |previous, entries| decode(encode(&append(previous, entries)));
    let gap = |previous, found| Err(DecodeError::Gap { previous, found });
    assert_eq!(decoded(at(5, 1), vec![noop(7, 1)]), gap(5, 7));
    assert_eq!(decoded(at(5, 1), vec![noop(5, 1)]), gap(5, 5));
    assert_eq!(decoded(at(5, 1), vec![noop(6, 1), noop(6, 1)]), gap(6, 6));
    assert_eq!(decoded(at(0, 0), vec![noop(0, 1)]), gap(0, 0));
    assert_eq!(decoded(at(u64::MAX, 1), vec![noop(0, 1)]), gap(u64::MAX, 0));
    let fits = append(at(u64::MAX - 1, 1), vec![noop(u64::MAX, 1)]);
    assert_eq!(decode(encode(&fits)), Ok(fits));
}

#[test]
fn lists_that_make_no_membership_are_refused() {
    // PEER-5: voters 2 and 1; a learner without voters.
    for lists in ["0a 02 02 01", "1a 01 07"] {
        let membership = unhex(lists);
        let size = u8::try_from(membership.len()).expect("small");
        let mut head = unhex("42 00 08 05 12 00 22").to_vec();
        head.push(size);
        head.extend_from_slice(&membership);
        head[1] = u8::try_from(head.len() - 2).expect("small");
        let framed = Framed { head: head.into(), body: Bytes::new() };
        assert_eq!(decode(framed), Err(DecodeError::Membership), "{lists}");
    }
}

#[test]
fn a_version_has_sixteen_bytes_and_a_position_one() {
    // Commits of no version, of one of 15 bytes and of one of 17.
    let commit = |size: u8| {
        let mut head = vec![0x9a, 0x01, size + 2, 0x12, size];
        head.resize(head.len() + usize::from(size), 7);
        decode(Framed { head: head.into(), body: Bytes::new() })
    };
    assert_eq!(decode(framed("9a 01 00")), Err(DecodeError::VersionSize(0)));
    assert_eq!(commit(15), Err(DecodeError::VersionSize(15)));
    assert_eq!(commit(17), Err(DecodeError::VersionSize(17)));
    let version = VersionId(u128::from_be_bytes([7; 16]));
    assert_eq!(commit(16), Ok(PeerMessage::Shard(ShardOrder::Commit { drive: DriveId(0), version })));

    // A list of one and a half, and an order for position 256.
    let list = [&unhex("aa 01 1c 0a 00 12 18")[..], &[7; 24]].concat();
    assert_eq!(decode(Framed { head: list.into(), body: Bytes::new() }), Err(DecodeError::VersionSize(24)));
    assert_eq!(decode(framed("8a 01 07 0a 00 1a 03 18 80 02")), Err(DecodeError::Position(256)));
}

#[test]
fn a_message_that_is_cut_anywhere_is_not_the_message() {
    for (name, message) in examples() {
        let whole = encode(&message);
        for end in 0..whole.head.len() {
            let cut = Framed { head: whole.head.slice(..end), body: whole.body.clone() };
            assert_ne!(decode(cut), Ok(message.clone()), "{name}, its head cut at {end}");
        }
        for end in 0..whole.body.len() {
            let cut = Framed { head: whole.head.clone(), body: whole.body.slice(..end) };
            let announced = whole.body.len() as u64;
            assert_eq!(decode(cut), Err(DecodeError::BodySize { announced, size: end }), "{name}, cut at {end}");
        }
    }
}

#[test]
fn a_body_comes_with_no_message_but_its_own() {
    for (name, message) in examples() {
        let mut framed = encode(&message);
        let announced = framed.body.len() as u64;
        framed.body = [&framed.body[..], b"+"].concat().into();
        let size = framed.body.len();
        let refused = match &message {
            PeerMessage::Raft { message: Message::InstallSnapshot { .. }, .. }
            | PeerMessage::Shard(ShardOrder::Put { .. })
            | PeerMessage::ShardAnswer { outcome: ShardOutcome::Loaded(Some(_)), .. } => {
                DecodeError::BodySize { announced, size }
            }
            PeerMessage::Raft { .. }
            | PeerMessage::Shard(_)
            | PeerMessage::ShardAnswer { .. }
            | PeerMessage::Swim(_)
            | PeerMessage::Members(_)
            | PeerMessage::Pins { .. }
            | PeerMessage::Pinned { .. } => DecodeError::UnexpectedBody { size },
        };
        assert_eq!(decode(framed), Err(refused), "{name}");
    }
    // One that is only announced: the head of a `TimeoutNow`, then a body of 0 bytes.
    assert_eq!(decode(framed("52 02 08 05 58 00")), Err(DecodeError::UnexpectedBody { size: 0 }));
}

#[test]
fn an_empty_record_is_not_an_absent_one() {
    let (empty, absent) = (encode(&loaded("")), encode(&answer(ShardOutcome::Loaded(None))));
    assert_eq!(empty.body, absent.body);
    assert_eq!(decode(empty), Ok(loaded("")));
    assert_eq!(decode(absent), Ok(answer(ShardOutcome::Loaded(None))));
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    for (name, message) in examples() {
        let Framed { head, body } = encode(&message);
        let head = [&head[..], &unhex("f2 01 03 aa bb cc")].concat().into();
        assert_eq!(decode(Framed { head, body }), Ok(message), "{name}");
    }
}

/// That the part may have `size_max` bytes, and not one more.
fn check_bound(part: &'static str, size_max: usize, message: impl Fn(Vec<u8>) -> PeerMessage) {
    let largest = message(vec![b'x'; size_max]);
    assert!(decode(encode(&largest)) == Ok(largest), "the largest {part}");
    let size = size_max + 1;
    let larger = decode(encode(&message(vec![b'x'; size])));
    assert!(larger == Err(DecodeError::TooLarge { part, size, size_max }), "a larger {part}");
}

#[test]
fn sizes_are_bounded() {
    check_bound("command", COMMAND_SIZE_MAX, |bytes| append(at(1, 1), vec![noop(2, 1), command(3, 1, bytes)]));
    check_bound("command", COMMAND_SIZE_MAX, forward);
    check_bound("body", SHARD_SIZE_MAX, put);
    check_bound("body", SHARD_SIZE_MAX, loaded);

    let command = |index| command(index, 1, vec![0; COMMAND_SIZE_MAX / 2]);
    let large = encode(&append(at(1, 1), (2..7).map(command).collect()));
    let size = large.head.len();
    assert!(size > MESSAGE_SIZE_MAX);
    assert_eq!(decode(large), Err(DecodeError::TooLarge { part: "head", size, size_max: MESSAGE_SIZE_MAX }));

    let pins = |count| PeerMessage::Pins { ask: PIN_ASK, versions: vec![VersionId(7); count] };
    assert_eq!(decode(encode(&pins(VERSIONS_MAX))), Ok(pins(VERSIONS_MAX)));
    let (size, size_max) = ((VERSIONS_MAX + 1) * 16, VERSIONS_MAX * 16);
    let more = decode(encode(&pins(VERSIONS_MAX + 1)));
    assert_eq!(more, Err(DecodeError::TooLarge { part: "versions", size, size_max }));
}

#[test]
fn a_piece_of_a_snapshot_is_bounded() {
    let piece = |size| install(vec![7; size]);
    assert!(decode(encode(&piece(SNAPSHOT_CHUNK_SIZE_MAX))) == Ok(piece(SNAPSHOT_CHUNK_SIZE_MAX)), "the largest");
    let (size, size_max) = (SNAPSHOT_CHUNK_SIZE_MAX + 1, SNAPSHOT_CHUNK_SIZE_MAX);
    assert_eq!(decode(encode(&piece(size))), Err(DecodeError::TooLarge { part: "body", size, size_max }));
}

#[test]
fn the_words_of_an_error_are_cut_between_two_characters() {
    let fits = refused(&"e".repeat(ERROR_SIZE_MAX));
    assert_eq!(decode(encode(&fits)), Ok(fits));
    // Of the three bytes of the last character, one would fit.
    let long = "e".repeat(ERROR_SIZE_MAX - 1) + "€";
    assert_eq!(decode(encode(&refused(&long))), Ok(refused(&"e".repeat(ERROR_SIZE_MAX - 1))));

    // A sender that does not cut is refused, and so are words that are no text.
    let head = |words: &[u8]| {
        let field = |key: &[u8], value: &[u8]| {
            let mut field = key.to_vec();
            prost::encode_length_delimiter(value.len(), &mut field).expect("a vector grows");
            [field, value.to_vec()].concat()
        };
        let answer = [vec![0x0a, 0x00], field(&[0x2a], &field(&[0x1a], words))].concat();
        Framed { head: field(&[0xa2, 0x01], &answer).into(), body: Bytes::new() }
    };
    let size = ERROR_SIZE_MAX + 1;
    let too_large = DecodeError::TooLarge { part: "io", size, size_max: ERROR_SIZE_MAX };
    assert!(decode(head(b"EIO")).is_ok());
    assert_eq!(decode(head(&vec![b'e'; size])), Err(too_large));
    assert!(matches!(decode(head(&[0xFF])), Err(DecodeError::Malformed(_))));
}

#[test]
fn errors_say_what_is_wrong() {
    let error = decode(framed("ff")).expect_err("not protobuf");
    assert!(matches!(error, DecodeError::Malformed(_)));
    assert!(core::error::Error::source(&error).is_some());
    let gap = DecodeError::Gap { previous: 5, found: 7 };
    assert_eq!(gap.to_string(), "entry 7 was sent as the one that follows entry 5");
    assert_eq!(DecodeError::Missing("last_log").to_string(), "the peer message lacks last_log");
    let too_large = DecodeError::TooLarge { part: "body", size: 9, size_max: 8 };
    assert_eq!(too_large.to_string(), "the peer message's body has 9 bytes; at most 8 are possible");
    let cut = DecodeError::BodySize { announced: 9, size: 8 };
    assert_eq!(cut.to_string(), "the peer message announces a body of 9 bytes, and 8 came");
}
