//! A replica that hears nonsense from its peers neither panics nor leaves its own rules: the asserts of
//! `Raft::step` and of the model's disk hold through any sequence of messages.

use super::world::{Options, World};
use crate::raft::{AppendOutcome, Event, InstallOutcome, Message, SnapshotChunk};
use crate::types::{Entry, LogIndex, LogPosition, Membership, NodeId, Payload, Term};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Deed {
    Hear(u64, Message),
    Persist,
    Elapse(u64),
    Propose,
    Read,
    Install,
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0u64..6, 1 => Just(u64::MAX), 1 => Just(1 << 62)]
}

fn position() -> impl Strategy<Value = LogPosition> {
    (number(), number()).prop_map(|(index, term)| LogPosition { index: LogIndex(index), term: Term(term) })
}

/// Mostly entries that do follow `previous`, so that some get in.
fn append() -> impl Strategy<Value = Message> {
    (number(), position(), proptest::collection::vec((0u64..2, 0u8..5), 0..4), number(), number(), 0u64..20).prop_map(
        |(term, previous, steps, commit, round, gap)| {
            let mut last = previous;
            let entries = steps
                .into_iter()
                .map(|(rise, kind)| {
                    let skip = if gap == 0 { 2 } else { 1 };
                    let index = LogIndex(last.index.0.saturating_add(skip));
                    last = LogPosition { index, term: Term(last.term.0.max(1).saturating_add(rise)) };
                    let payload = match kind {
                        0 => Payload::Noop,
                        1 => Payload::Command(Bytes::from_static(b"lie")),
                        // Nobody votes, only others, or a joint membership out of nowhere.
                        2 => Payload::Membership(Membership::default()),
                        3 => Payload::Membership(Membership::of(&[NodeId(2), NodeId(3)])),
                        _ => Payload::Membership(Membership::of(&[NodeId(1)]).begin(&[NodeId(2)].into())),
                    };
                    Entry { position: last, payload }
                })
                .collect();
            Message::AppendEntries { term: Term(term), previous, entries, commit: LogIndex(commit), round }
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let term = || number().prop_map(Term);
    prop_oneof![
        4 => append(),
        1 => (term(), position()).prop_map(|(term, last_log)| Message::PreVote { term, last_log }),
        2 => (term(), any::<bool>()).prop_map(|(term, granted)| Message::PreVoteResponse { term, granted }),
        1 => (term(), position()).prop_map(|(term, last_log)| Message::RequestVote { term, last_log, handover: term.0 % 2 == 0 }),
        2 => (term(), any::<bool>()).prop_map(|(term, granted)| Message::RequestVoteResponse { term, granted }),
        2 => (term(), number(), number()).prop_map(|(term, matched, round)| Message::AppendEntriesResponse {
            term,
            outcome: AppendOutcome::Matched(LogIndex(matched)),
            round
        }),
        1 => (term(), number(), position(), number()).prop_map(|(term, rejected, hint, round)| {
            let outcome = AppendOutcome::Rejected { rejected: LogIndex(rejected), hint };
            Message::AppendEntriesResponse { term, outcome, round }
        }),
        1 => (term(), position(), 0..9u64).prop_map(|(term, position, offset)| {
            let rows = Bytes::copy_from_slice(&0u64.to_le_bytes()).slice(usize::try_from(offset).expect("small")..);
            let membership = (position.index.0 % 2 == 0).then(|| Membership::of(&[NodeId(position.index.0 % 4)]));
            let chunk = SnapshotChunk { position, membership, size: 8, offset, rows };
            Message::InstallSnapshot { term, chunk }
        }),
        1 => term().prop_map(|term| Message::TimeoutNow { term }),
        1 => (term(), number()).prop_map(|(term, matched)| {
            let outcome = InstallOutcome::Installed(LogIndex(matched));
            Message::InstallSnapshotResponse { term, outcome }
        }),
        1 => (term(), position(), number()).prop_map(|(term, position, bytes)| {
            let outcome = InstallOutcome::Received { position, bytes };
            Message::InstallSnapshotResponse { term, outcome }
        }),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => (1u64..5, message()).prop_map(|(from, message)| Deed::Hear(from, message)),
        3 => Just(Deed::Persist),
        2 => (0u64..400).prop_map(Deed::Elapse),
        1 => Just(Deed::Propose),
        1 => Just(Deed::Read),
        1 => Just(Deed::Install),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_from_peers_is_survived(deeds in proptest::collection::vec(deed(), 1..120)) {
        let mut world = World::new(&[1, 2, 3], Options::default());
        let own = NodeId(1);
        for deed in deeds {
            let durable_term = world.node(own).disk.hard_state.term;
            match deed {
                Deed::Hear(from, message) => world.step(own, Event::Receive { from: NodeId(from), message }),
                Deed::Persist => world.persist(own, 2),
                Deed::Elapse(ms) => {
                    world.now = world.now.after(Duration::from_millis(ms));
                    world.step(own, Event::Deadline);
                }
                Deed::Propose => {
                    world.propose(own, Bytes::from_static(b"true"));
                }
                Deed::Read => {
                    world.read(own);
                }
                Deed::Install => {
                    // The state machine believes what it gets; whether rows are true is not for the replica to know.
                    if let Some(snapshot) = world.node_mut(own).installing.take() {
                        let position = snapshot.position;
                        world.node_mut(own).machine.position = position;
                        world.step(own, Event::SnapshotInstalled { position });
                    }
                }
            }
            let raft = world.raft(own);
            prop_assert!(raft.term() >= durable_term);
            let indexes: Vec<u64> = raft.entries_in_memory().map(|entry| entry.position.index.0).collect();
            prop_assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        }
    }

    #[test]
    fn what_seems_to_come_from_itself_changes_nothing(messages in proptest::collection::vec(message(), 1..20)) {
        let mut world = World::new(&[1, 2, 3], Options::default());
        let count = messages.len() as u64;
        for message in messages {
            world.step(NodeId(1), Event::Receive { from: NodeId(1), message });
        }
        prop_assert!(world.seen.is_empty());
        prop_assert_eq!(world.raft(NodeId(1)).suspect_messages(), count);
    }
}
