//! Any message that keeps the limits, and what must hold of it and of bytes near to it.

use crate::peer::{Framed, decode, encode};
use anvil_core::disk::DiskError;
use anvil_core::node::peer::{PinAsk, ShardOrder, ShardOutcome, ShardTicket};
use anvil_core::node::{Members, PeerMessage};
use anvil_core::raft::{AppendOutcome, Ask, ForwardOutcome, InstallOutcome, Message, SnapshotChunk};
use anvil_core::shards::ShardKey;
use anvil_core::swim::{self, Description, DriveSpace};
use anvil_core::types::{
    DriveId, Entry, GroupId, LogIndex, LogPosition, Membership, NodeId, Payload, Term, VersionId, WallTime,
};
use bytes::Bytes;
use proptest::prelude::*;

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn any_term() -> impl Strategy<Value = Term> {
    any::<u64>().prop_map(Term)
}

fn any_index() -> impl Strategy<Value = LogIndex> {
    any::<u64>().prop_map(LogIndex)
}

fn any_position() -> impl Strategy<Value = LogPosition> {
    (any_index(), any_term()).prop_map(|(index, term)| LogPosition { index, term })
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
        any_bytes().prop_map(Payload::Command),
        any_membership().prop_map(Payload::Membership),
    ];
    let entries = prop::collection::vec((any_term(), payload), 0..8);
    let first = prop_oneof![0u64..100, 0..=u64::MAX - 8];
    (any_term(), first, any_term(), entries, any_index(), any::<u64>()).prop_map(
        |(term, first, previous_term, payloads, commit, round)| {
            let position = |index, term| LogPosition { index: LogIndex(index), term };
            let entries = (first + 1..).zip(payloads);
            let entries = entries.map(|(index, (term, payload))| Entry { position: position(index, term), payload });
            let previous = position(first, previous_term);
            Message::AppendEntries { term, previous, entries: entries.collect(), commit, round }
        },
    )
}

fn any_chunk() -> impl Strategy<Value = SnapshotChunk> {
    (any_position(), prop::option::of(any_membership()), any::<(u64, u64)>(), any_bytes()).prop_map(
        |(position, membership, (size, offset), rows)| SnapshotChunk { position, membership, size, offset, rows },
    )
}

fn any_vote() -> impl Strategy<Value = Message> {
    (any_term(), any_position(), any::<bool>(), 0..5).prop_map(|(term, last_log, yes, kind)| match kind {
        0 => Message::PreVote { term, last_log },
        1 => Message::PreVoteResponse { term, granted: yes },
        2 => Message::RequestVote { term, last_log, handover: yes },
        3 => Message::RequestVoteResponse { term, granted: yes },
        _ => Message::TimeoutNow { term },
    })
}

fn any_forward() -> impl Strategy<Value = Message> {
    let ask = (any::<u64>(), any::<u64>()).prop_map(|(life, number)| Ask { life, number });
    let outcome = prop_oneof![any_index().prop_map(ForwardOutcome::Proposed), Just(ForwardOutcome::Busy),];
    (any_term(), ask, any_bytes(), outcome, any_index(), 0..6).prop_map(|(term, ask, command, outcome, index, kind)| {
        match kind {
            0 => Message::Forward { term, ask, command },
            1 => Message::ForwardResponse { term, ask, outcome },
            2 => Message::ReadIndex { term, ask },
            3 => Message::ReadIndexResponse { term, ask, index },
            4 => Message::RecoverLog { term, ask, last: index },
            _ => Message::RecoverLogResponse { term, ask, last: index },
        }
    })
}

fn any_raft() -> impl Strategy<Value = Message> {
    let outcome = prop_oneof![
        any_index().prop_map(AppendOutcome::Matched),
        (any_index(), any_position()).prop_map(|(rejected, hint)| AppendOutcome::Rejected { rejected, hint }),
    ];
    let install_outcome = prop_oneof![
        any_index().prop_map(InstallOutcome::Installed),
        (any_position(), any::<u64>()).prop_map(|(position, bytes)| InstallOutcome::Received { position, bytes }),
    ];
    prop_oneof![
        any_vote(),
        any_append(),
        (any_term(), outcome, any::<u64>()).prop_map(|(term, outcome, round)| Message::AppendEntriesResponse {
            term,
            outcome,
            round
        }),
        (any_term(), any_chunk()).prop_map(|(term, chunk)| Message::InstallSnapshot { term, chunk }),
        (any_term(), install_outcome).prop_map(|(term, outcome)| Message::InstallSnapshotResponse { term, outcome }),
        any_forward(),
    ]
}

fn any_order() -> impl Strategy<Value = ShardOrder> {
    let ticket = (any::<u64>(), any::<u64>()).prop_map(|(life, number)| ShardTicket { life, number });
    let key = (any::<u128>(), any::<u32>(), any::<u8>());
    (ticket, any::<u32>(), key, any::<u64>(), any_bytes(), 0..4).prop_map(
        |(ticket, drive, (version, stripe, position), expires, record, kind)| {
            let (drive, version) = (DriveId(drive), VersionId(version));
            let key = ShardKey { version, stripe, position };
            match kind {
                0 => ShardOrder::Put { ticket, drive, key, expires: WallTime(expires), record },
                1 => ShardOrder::Get { ticket, drive, key },
                2 => ShardOrder::Delete { ticket, drive, version },
                _ => ShardOrder::Commit { drive, version },
            }
        },
    )
}

fn any_outcome() -> impl Strategy<Value = ShardOutcome> {
    let error = prop_oneof![Just(DiskError::Full), Just(DiskError::Missing), any::<String>().prop_map(DiskError::Io)];
    prop_oneof![
        Just(ShardOutcome::Done),
        prop::option::of(any_bytes()).prop_map(ShardOutcome::Loaded),
        error.prop_map(ShardOutcome::Refused),
    ]
}

fn any_gossip() -> impl Strategy<Value = swim::Message> {
    let description = (any::<u32>(), prop::collection::btree_map(any::<u32>(), any::<u64>(), 0..4), 0..3usize);
    let description = description.prop_map(|(load, drives, capabilities)| {
        let space = |(drive, free)| DriveSpace { drive: DriveId(drive), free_bytes: free, total_bytes: u64::MAX };
        let capabilities = ["compute", "gpu"].into_iter().take(capabilities).map(str::to_owned).collect();
        Description::new(load, drives.into_iter().map(space).collect(), capabilities).expect("it keeps the limits")
    });
    let claim = prop_oneof![
        description.prop_map(swim::Claim::Alive),
        prop::collection::vec(any::<u64>().prop_map(NodeId), 1..4).prop_map(swim::Claim::Suspect),
        Just(swim::Claim::Dead),
        Just(swim::Claim::Left),
    ];
    let update = (any::<u64>(), any::<u64>(), claim).prop_map(|(node, incarnation, claim)| swim::Update {
        node: NodeId(node),
        incarnation: swim::Incarnation(incarnation),
        claim,
    });
    let updates = prop::collection::vec(update, 0..6);
    (any::<u64>(), any::<u64>(), prop::option::of(any::<u64>()), updates, 0..4).prop_map(
        |(probe, target, heard, updates, kind)| {
            let (probe, target) = (swim::ProbeId(probe), NodeId(target));
            let kind = match kind {
                0 => swim::Kind::Ping { probe },
                1 => swim::Kind::PingRequest { probe, target },
                2 => swim::Kind::Ack { probe },
                _ => swim::Kind::Nack { probe },
            };
            swim::Message { kind, heard: heard.map(swim::Incarnation), updates }
        },
    )
}

fn any_message() -> impl Strategy<Value = PeerMessage> {
    let versions = || prop::collection::vec(any::<u128>().prop_map(VersionId), 0..20);
    let ask = || (any::<u64>(), any::<u64>()).prop_map(|(life, number)| PinAsk { life, number });
    prop_oneof![
        4 => (any::<u32>(), any_raft())
            .prop_map(|(group, message)| PeerMessage::Raft { group: GroupId(group), message }),
        2 => any_order().prop_map(PeerMessage::Shard),
        2 => (any::<u64>(), any::<u64>(), any_outcome()).prop_map(|(life, number, outcome)| {
            PeerMessage::ShardAnswer { ticket: ShardTicket { life, number }, outcome }
        }),
        2 => any_gossip().prop_map(PeerMessage::Swim),
        1 => (any::<u64>(), prop::collection::vec((any::<u64>(), "[a-z]{1,9}", "[0-9.:]{0,20}"), 0..5)).prop_map(
            |(epoch, nodes)| {
                let nodes = nodes.into_iter().map(|(node, name, address)| (NodeId(node), name, address)).collect();
                PeerMessage::Members(Members { epoch, nodes })
            }
        ),
        1 => (ask(), versions()).prop_map(|(ask, versions)| PeerMessage::Pins { ask, versions }),
        1 => (ask(), versions()).prop_map(|(ask, versions)| PeerMessage::Pinned { ask, versions }),
    ]
}

/// What decodes at all is a message that can be sent, and arrives as it was.
fn check_framed(framed: Framed) {
    if let Ok(message) = decode(framed) {
        assert_eq!(decode(encode(&message)), Ok(message));
    }
}

proptest! {
    // PEER-1
    #[test]
    fn a_message_arrives_as_it_was_sent(message in any_message()) {
        prop_assert_eq!(decode(encode(&message)), Ok(message));
    }

    // PEER-2
    #[test]
    fn no_bytes_panic(head in prop::collection::vec(any::<u8>(), 0..300), body in any_bytes()) {
        check_framed(Framed { head: head.into(), body });
    }

    // PEER-2: near to messages, where random bytes seldom come.
    #[test]
    fn no_change_of_a_message_panics(
        message in any_message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let Framed { head, body } = encode(&message);
        let mut head = head.to_vec();
        for (at, byte) in changes {
            let at = at.index(head.len());
            head[at] = byte;
        }
        check_framed(Framed { head: head.clone().into(), body: body.clone() });
        head.truncate(end.index(head.len()));
        check_framed(Framed { head: head.into(), body });
    }

    // PEER-6
    #[test]
    fn the_body_of_another_message_is_refused_unless_it_is_as_long(one in any_message(), other in any_message()) {
        let (one, other) = (encode(&one), encode(&other));
        let crossed = decode(Framed { head: one.head, body: other.body.clone() });
        prop_assert_eq!(crossed.is_ok(), one.body.len() == other.body.len());
    }
}
