//! Rules that a single replica, or a single structure, shows best.

use super::world::{Options, World};
use crate::planted::Planted;
use crate::raft::chunks::Receiving;
use crate::raft::log_view::LogView;
use crate::raft::progress::{Progress, ProgressState};
use crate::raft::{AppendOutcome, Effect, Event, InstallOutcome, Message, Refusal, Restored, Role, SnapshotChunk};
use crate::types::{
    Entry, HardState, LogIndex, LogPosition, Membership, NodeId, Payload, RequestId, Snapshot, Term, Time,
};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use proptest::collection::vec;
use proptest::prelude::*;

fn position(index: u64, term: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), term: Term(term) }
}

fn entry(index: u64, term: u64, size: usize) -> Entry {
    Entry { position: position(index, term), payload: Payload::Command(Bytes::from(alloc::vec![0; size])) }
}

fn log(base: LogPosition, terms: &[u64]) -> LogView {
    let entries = terms.iter().zip(base.index.0 + 1..).map(|(term, index)| entry(index, *term, 10)).collect();
    LogView::new(base, entries)
}

#[test]
fn agreement_is_the_last_entry_that_could_be_shared() {
    let log = log(position(2, 1), &[1, 1, 3, 3, 5]);
    let naive = |index: u64, term: u64| {
        let mut candidates =
            (2..=index.min(7)).map(|index| position(index, log.term(LogIndex(index)).expect("held").0));
        candidates.rfind(|position| position.term <= Term(term)).unwrap_or(position(2, 1))
    };
    for index in 0..10 {
        for term in 0..7 {
            assert_eq!(log.agreement(LogIndex(index), Term(term)), naive(index, term), "{index}@{term}");
        }
    }
}

#[test]
fn a_batch_is_bounded_by_bytes_and_never_empty() {
    let log = log(position(0, 0), &[1, 1, 1, 1]);
    let count = |from: u64, bytes_max: usize| log.batch(LogIndex(from), bytes_max).len();
    assert_eq!(count(1, 0), 1);
    assert_eq!(count(1, 84), 2);
    assert_eq!(count(1, 83), 1);
    assert_eq!(count(3, 1 << 20), 2);
    assert_eq!(count(5, 1 << 20), 0);
    assert_eq!(count(9, 1 << 20), 0);
}

#[test]
fn a_tail_stays_behind_the_cut_and_is_bounded_by_entries_and_by_bytes() {
    let many = (1..=5000).map(|index| entry(index, 1, 1)).collect();
    let log = LogView::new(position(0, 0), many);
    assert_eq!(log.tail_base(LogIndex(5000), 4096), LogIndex(5000 - 4096));
    assert_eq!(log.tail_base(LogIndex(4000), 4096), LogIndex(0));
    let large = (1..=10).map(|index| entry(index, 1, 1 << 20)).collect();
    let log = LogView::new(position(0, 0), large);
    assert_eq!(log.tail_base(LogIndex(10), 4096), LogIndex(6));
}

#[test]
fn a_log_is_cut_truncated_and_reset() {
    let mut view = log(position(2, 1), &[1, 2, 2, 3]);
    view.cut(LogIndex(3));
    assert_eq!((view.base(), view.last()), (position(3, 1), position(6, 3)));
    view.truncate(LogIndex(6));
    assert_eq!(view.last(), position(5, 2));
    view.reset(position(4, 2));
    assert_eq!((view.base(), view.last()), (position(4, 2), position(5, 2)));
    view.reset(position(5, 9));
    assert_eq!((view.base(), view.last()), (position(5, 9), position(5, 9)));
}

#[test]
fn a_rejection_that_was_overtaken_is_ignored() {
    let mut progress = Progress::new(LogIndex(10), Time(0));
    let rejected = |index: u64| AppendOutcome::Rejected { rejected: LogIndex(index), hint: position(3, 1) };
    assert!(!progress.on_outcome(rejected(8), LogIndex(3), LogIndex(0)), "the probe was of entry 9");
    assert!(progress.on_outcome(rejected(9), LogIndex(3), LogIndex(0)));
    assert_eq!(progress.next, LogIndex(4));
    assert!(progress.on_outcome(AppendOutcome::Matched(LogIndex(5)), LogIndex(0), LogIndex(0)));
    assert!(!progress.on_outcome(rejected(5), LogIndex(3), LogIndex(0)), "entry 5 is known to match");
    assert_eq!((progress.matched, progress.next), (LogIndex(5), LogIndex(6)));
}

#[test]
fn a_window_opens_as_appends_are_answered() {
    let mut progress = Progress::new(LogIndex(1), Time(0));
    assert!(!progress.has_window(2), "a probed follower has none");
    progress.on_matched(LogIndex(0), LogIndex(0));
    progress.on_sent(LogIndex(3));
    progress.on_sent(LogIndex(4));
    assert!(!progress.has_window(2));
    progress.on_matched(LogIndex(2), LogIndex(0));
    assert!(!progress.has_window(2), "the first append ends at 3");
    progress.on_matched(LogIndex(3), LogIndex(0));
    assert!(progress.has_window(2));
    progress.on_matched(LogIndex(1), LogIndex(0));
    assert_eq!(progress.matched, LogIndex(3), "a late answer takes nothing back");
    assert!(matches!(&progress.state, ProgressState::Replicate { in_flight } if in_flight.len() == 1));
}

#[test]
fn reconciling_keeps_a_log_that_has_what_is_applied() {
    let restored = || Restored {
        hard_state: HardState { term: Term(3), ..HardState::default() },
        base: position(2, 1),
        entries: [entry(3, 1, 1), entry(4, 2, 1)].to_vec(),
        ..Restored::default()
    };
    let members = Some(Membership::of(&[NodeId(7)]));
    let kept = restored().reconcile(position(3, 1), members.clone(), Planted::default());
    assert_eq!(kept.membership, members);
    assert_eq!((kept.base, kept.entries.len(), kept.applied), (position(2, 1), 2, LogIndex(3)));
    let at_base = restored().reconcile(position(2, 1), None, Planted::default());
    assert_eq!((at_base.base, at_base.entries.len(), at_base.applied), (position(2, 1), 2, LogIndex(2)));
    for overtaken in [position(4, 3), position(9, 3)] {
        let void = restored().reconcile(overtaken, None, Planted::default());
        assert_eq!((void.base, void.entries.len(), void.applied), (overtaken, 0, overtaken.index));
    }
}

#[test]
fn an_early_deadline_does_nothing() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let own = NodeId(1);
    world.step(own, Event::Deadline);
    assert!(world.seen.is_empty());
    let deadline = world.raft(own).deadline().expect("a follower waits for its leader");
    let patience = deadline.since(world.now);
    assert!(patience >= Duration::from_millis(150) && patience < Duration::from_millis(300), "{patience:?}");
}

/// Node 1 of three, leading term 1 with its no-op on no disk yet.
fn leading() -> World {
    let mut world = World::new(&[1, 2, 3], Options::default());
    world.time_out(NodeId(1));
    let yes = Message::PreVoteResponse { term: Term(1), granted: true };
    world.step(NodeId(1), Event::Receive { from: NodeId(2), message: yes });
    world.persist(NodeId(1), 9);
    let yes = Message::RequestVoteResponse { term: Term(1), granted: true };
    world.step(NodeId(1), Event::Receive { from: NodeId(2), message: yes });
    assert_eq!(world.raft(NodeId(1)).role(), Role::Leader);
    world
}

#[test]
fn an_answer_that_claims_more_than_was_sent_is_dropped() {
    let mut world = leading();
    world.persist(NodeId(1), 9);
    for (outcome, round) in [
        (AppendOutcome::Matched(LogIndex(2)), 0),
        (AppendOutcome::Matched(LogIndex(1)), 1),
        (AppendOutcome::Rejected { rejected: LogIndex(9), hint: position(0, 0) }, 0),
    ] {
        let message = Message::AppendEntriesResponse { term: Term(1), outcome, round };
        world.step(NodeId(1), Event::Receive { from: NodeId(2), message });
    }
    assert_eq!(world.raft(NodeId(1)).suspect_messages(), 3);
    assert_eq!(world.raft(NodeId(1)).commit(), LogIndex(0));
}

#[test]
fn a_second_leader_in_the_own_term_is_not_believed() {
    let mut world = leading();
    let message = Message::AppendEntries {
        term: Term(1),
        previous: position(0, 0),
        entries: Vec::new(),
        commit: LogIndex(0),
        round: 0,
    };
    world.step(NodeId(1), Event::Receive { from: NodeId(3), message: message.clone() });
    world.step(NodeId(2), Event::Receive { from: NodeId(1), message: message.clone() });
    world.step(NodeId(2), Event::Receive { from: NodeId(3), message });
    assert_eq!(world.raft(NodeId(1)).role(), Role::Leader);
    assert_eq!(world.raft(NodeId(2)).leader(), Some(NodeId(1)));
    assert_eq!(world.raft(NodeId(1)).suspect_messages() + world.raft(NodeId(2)).suspect_messages(), 2);
}

#[test]
fn a_leader_that_lacks_a_committed_entry_is_not_believed() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let append = |term: u64, previous: LogPosition, entries: Vec<Entry>, commit: u64| Event::Receive {
        from: NodeId(term % 2 + 2),
        message: Message::AppendEntries { term: Term(term), previous, entries, commit: LogIndex(commit), round: 0 },
    };
    let own = NodeId(1);
    world.leaders.extend([(Term(2), NodeId(2)), (Term(3), NodeId(3))]);
    world.step(own, append(2, position(0, 0), [entry(1, 1, 1), entry(2, 2, 1)].to_vec(), 2));
    world.persist(own, 9);
    assert_eq!(world.raft(own).commit(), LogIndex(2));
    world.step(own, append(3, position(1, 1), [entry(2, 3, 1)].to_vec(), 2));
    world.step(own, append(3, position(2, 3), Vec::new(), 2));
    assert_eq!(world.raft(own).suspect_messages(), 2);
    assert_eq!(world.raft(own).last(), position(2, 2));
}

/// RAFT-8: entries that were replaced before their write was done are vouched for by nobody, and the late completion
/// does not vouch for the ones that replaced them.
#[test]
fn a_late_completion_does_not_vouch_for_entries_that_replaced_its_own() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let append = |term: u64, entries: Vec<Entry>| Event::Receive {
        from: NodeId(term + 1),
        message: Message::AppendEntries {
            term: Term(term),
            previous: position(0, 0),
            entries,
            commit: LogIndex(0),
            round: 0,
        },
    };
    let own = NodeId(1);
    world.step(own, append(1, [entry(1, 1, 1), entry(2, 1, 1), entry(3, 1, 1)].to_vec()));
    world.step(own, append(2, [entry(1, 1, 1), entry(2, 2, 1), entry(3, 2, 1)].to_vec()));
    world.seen.clear();
    world.persist(own, 1);
    assert_eq!(world.raft(own).durable(), LogIndex(1));
    assert!(world.seen.is_empty(), "the answer to the leader of term 1 stays unsaid: {:?}", world.seen);
    world.persist(own, 1);
    let outcome = AppendOutcome::Matched(LogIndex(3));
    let message = Message::AppendEntriesResponse { term: Term(2), outcome, round: 0 };
    assert_eq!(world.seen, [(own, Effect::Send { to: NodeId(3), message })]);
}

#[test]
fn a_command_larger_than_the_limit_is_taken_when_it_is_alone() {
    let options = Options { uncommitted_bytes_max: 100, ..Options::default() };
    let mut world = World::new(&[1], options);
    let own = NodeId(1);
    world.time_out(own);
    world.persist(own, 9);
    let large = Bytes::from(alloc::vec![0; 1000]);
    let (first, second) = (world.propose(own, large.clone()), world.propose(own, Bytes::from_static(b"x")));
    let refused = |world: &World, id: RequestId| {
        matches!(world.answers.get(&id).expect("asked").last(), Some(super::world::Answer::Refused(Refusal::Busy)))
    };
    assert!(!refused(&world, first) && refused(&world, second));
    world.persist(own, 9);
    let third = world.propose(own, large);
    assert!(!refused(&world, third), "what is committed does not count");
}

/// A snapshot in one piece.
fn whole(position: LogPosition, rows: &'static [u8]) -> SnapshotChunk {
    SnapshotChunk { position, membership: None, size: rows.len() as u64, offset: 0, rows: Bytes::from_static(rows) }
}

/// Figure 13, step 6: such a snapshot tells only that the entries up to it are committed.
#[test]
fn a_snapshot_that_the_log_leads_up_to_keeps_the_log() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let own = NodeId(1);
    let entries = [entry(1, 1, 1), entry(2, 1, 1), entry(3, 1, 1)].to_vec();
    let append =
        Message::AppendEntries { term: Term(1), previous: position(0, 0), entries, commit: LogIndex(0), round: 0 };
    let install = Message::InstallSnapshot { term: Term(1), chunk: whole(position(2, 1), b"rows") };
    world.step(own, Event::Receive { from: NodeId(2), message: append });
    world.step(own, Event::Receive { from: NodeId(2), message: install });
    assert_eq!((world.raft(own).commit(), world.raft(own).last()), (LogIndex(2), position(3, 1)));
    assert!(world.network.is_empty(), "nothing is acknowledged before it is on disk");
    world.persist(own, 9);
    assert_eq!(world.node(own).machine.position, position(2, 1));
    let response = Message::InstallSnapshotResponse { term: Term(1), outcome: InstallOutcome::Installed(LogIndex(2)) };
    assert!(world.network.iter().any(|flight| flight.message == response));
}

/// A group that falls silent holds nothing of the log that it shares: its tail lasts from one checkpoint to the next.
#[test]
fn the_tail_of_a_silent_group_is_cut_at_the_next_checkpoint() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let (own, other) = (NodeId(1), NodeId(2));
    world.time_out(own);
    world.settle(&[own, other]);
    for command in [b"a", b"b"] {
        world.propose(own, Bytes::from_static(command));
        world.settle(&[own, other]);
    }
    for id in [own, other] {
        let last = world.node(id).machine.position;
        assert!(last.index >= LogIndex(2), "{last:?}");
        world.checkpoint(id);
        assert_eq!(world.raft(id).base(), position(0, 0), "a tail stays for those who are a little behind");
        world.checkpoint(id);
        assert_eq!(world.raft(id).base(), last);
    }
    world.propose(own, Bytes::from_static(b"c"));
    world.settle(&[own, other]);
    world.checkpoint(own);
    assert_eq!(world.raft(own).base(), position(3, 1), "what came since the last checkpoint is the tail");
}

/// The log was cut past a snapshot while the state machine took it: its follower could not go on from there.
#[test]
fn a_snapshot_that_the_log_has_left_behind_is_taken_anew() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let (own, laggard) = (NodeId(1), NodeId(3));
    world.time_out(own);
    world.settle(&[own, NodeId(2)]);
    let grow = |world: &mut World| {
        for _ in 0..4 {
            world.propose(own, Bytes::from(alloc::vec![0; 2 << 20]));
        }
        world.settle(&[own, NodeId(2)]);
        world.checkpoint(own);
        world.network.clear();
    };
    grow(&mut world);
    let matched = AppendOutcome::Matched(LogIndex(0));
    let answer = Message::AppendEntriesResponse { term: Term(1), outcome: matched, round: 0 };
    world.step(own, Event::Receive { from: laggard, message: answer });
    assert!(world.node(own).taking);
    let old = Snapshot { position: position(1, 1), membership: None, rows: Bytes::new() };
    world.node_mut(own).taking = false;
    world.step(own, Event::SnapshotTaken { snapshot: old });
    assert!(world.node(own).taking && world.network.is_empty(), "the old one is of no use");
    world.work(own);
    assert_eq!(world.network.len(), 1, "the new one is");
    // What follows on it is held for the follower, but not for ever: it is cut past this one too.
    let matched = world.node(own).machine.position.index;
    grow(&mut world);
    assert_eq!(world.raft(own).base().index, matched);
    for _ in 0..8 {
        grow(&mut world);
    }
    assert!(world.raft(own).base().index > matched);
    let answer = Message::InstallSnapshotResponse { term: Term(1), outcome: InstallOutcome::Installed(matched) };
    world.step(own, Event::Receive { from: laggard, message: answer });
    assert!(world.node(own).taking);
}

/// A snapshot can be durable before the term in which it came: the term is made durable before anything is said in it.
#[test]
fn a_term_that_only_the_snapshot_knows_is_made_durable() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let own = NodeId(1);
    world.crash(own, 0, false);
    world.node_mut(own).checkpoint.position = position(5, 3);
    world.restart(own);
    assert_eq!((world.raft(own).term(), world.raft(own).base()), (Term(3), position(5, 3)));
    let message = Message::RequestVote { term: Term(3), last_log: position(9, 2), handover: false };
    world.step(own, Event::Receive { from: NodeId(2), message });
    assert!(world.network.is_empty());
    world.persist(own, 9);
    assert_eq!(world.node(own).disk.hard_state, HardState { term: Term(3), ..HardState::default() });
    assert_eq!(world.node(own).disk.base, position(5, 3));
    let no = Message::RequestVoteResponse { term: Term(3), granted: false };
    assert!(world.network.iter().any(|flight| flight.message == no));
}

/// An old round that comes back in an answer of the leader's next life must not confirm a read of that life.
#[test]
fn an_answer_to_an_older_term_confirms_no_round() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let own = NodeId(2);
    let message = |term: u64| Message::AppendEntries {
        term: Term(term),
        previous: position(0, 0),
        entries: Vec::new(),
        commit: LogIndex(0),
        round: 50,
    };
    world.step(own, Event::Receive { from: NodeId(3), message: message(2) });
    world.persist(own, 9);
    world.seen.clear();
    world.step(own, Event::Receive { from: NodeId(1), message: message(1) });
    let outcome = AppendOutcome::Rejected { rejected: LogIndex(0), hint: position(0, 0) };
    let message = Message::AppendEntriesResponse { term: Term(2), outcome, round: 0 };
    assert_eq!(world.seen, [(own, Effect::Send { to: NodeId(1), message })]);
}

#[test]
fn an_absurd_term_is_not_believed_and_a_newcomer_believes_any() {
    let mut world = leading();
    world.persist(NodeId(1), 9);
    let absurd = Term((1 << 32) + 2);
    let lies = [
        Message::RequestVote { term: absurd, last_log: position(9, 9), handover: true },
        Message::RequestVoteResponse { term: absurd, granted: false },
        Message::PreVoteResponse { term: absurd, granted: false },
        Message::AppendEntriesResponse { term: absurd, outcome: AppendOutcome::Matched(LogIndex(0)), round: 0 },
        Message::AppendEntries {
            term: absurd,
            previous: position(0, 0),
            entries: Vec::new(),
            commit: LogIndex(0),
            round: 0,
        },
    ];
    let count = lies.len() as u64;
    for message in lies {
        world.step(NodeId(1), Event::Receive { from: NodeId(2), message });
    }
    assert_eq!((world.raft(NodeId(1)).role(), world.raft(NodeId(1)).term()), (Role::Leader, Term(1)));
    assert_eq!(world.raft(NodeId(1)).suspect_messages(), count);

    // Who has heard of no term yet may join a group of any age.
    let mut world = World::new(&[1, 2, 3], Options::default());
    world.leaders.insert(absurd, NodeId(2));
    let message = Message::AppendEntries {
        term: absurd,
        previous: position(0, 0),
        entries: Vec::new(),
        commit: LogIndex(0),
        round: 0,
    };
    world.step(NodeId(1), Event::Receive { from: NodeId(2), message });
    assert_eq!((world.raft(NodeId(1)).leader(), world.raft(NodeId(1)).suspect_messages()), (Some(NodeId(2)), 0));
}

#[test]
fn a_snapshot_that_is_none_leaves_the_replica_as_it_was() {
    let mut world = World::new(&[1, 2, 3], Options::default());
    let own = NodeId(1);
    world.leaders.insert(Term(2), NodeId(2));
    let message = Message::InstallSnapshot { term: Term(2), chunk: whole(position(7, 2), b"nothing") };
    world.step(own, Event::Receive { from: NodeId(2), message });
    world.node_mut(own).installing.take().expect("the state machine is asked");
    world.step(own, Event::SnapshotRefused);
    assert_eq!(world.raft(own).suspect_messages(), 1);
    assert_eq!((world.raft(own).commit(), world.raft(own).last()), (LogIndex(0), position(0, 0)));
    // It takes what comes after as if there had been none.
    let message = Message::AppendEntries {
        term: Term(2),
        previous: position(0, 0),
        entries: [entry(1, 2, 1)].to_vec(),
        commit: LogIndex(0),
        round: 0,
    };
    world.step(own, Event::Receive { from: NodeId(2), message });
    assert_eq!(world.raft(own).last(), position(1, 2));
}

proptest! {
    /// RAFT-24: whatever is lost, doubled or overtaken, of whichever snapshot, a follower ends with one snapshot as it was.
    #[test]
    fn pieces_make_one_snapshot(sizes in (1usize..40, 1usize..40), chunk in 1usize..9, picks in vec((any::<bool>(), 0usize..40), 400)) {
        let snapshot = |size: usize, index: u8| {
            let rows: Vec<u8> = (0..=u8::MAX).cycle().skip(usize::from(index)).take(size).collect();
            Snapshot { position: position(u64::from(index), 1), membership: None, rows: rows.into() }
        };
        let snapshots = [snapshot(sizes.0, 5), snapshot(sizes.1, 6)];
        let mut receiving: Option<Receiving> = None;
        for (later, offset) in picks {
            let of = &snapshots[usize::from(later)];
            let start = offset.min(of.rows.len());
            let rows = of.rows.slice(start..(start + chunk).min(of.rows.len()));
            let piece = SnapshotChunk { position: of.position, membership: None, size: of.rows.len() as u64, offset: start as u64, rows };
            if receiving.as_ref().is_none_or(|known| !known.is_of(&piece) && known.gives_way_to(&piece, Term(1))) {
                receiving = Some(Receiving::new(&piece, Term(1)));
            }
            let known = receiving.as_mut().expect("there is one");
            if !known.is_of(&piece) {
                prop_assert!(!later, "a later snapshot takes the place of an earlier one");
                continue;
            }
            if let Some(whole) = known.take(&piece, Term(1)) {
                prop_assert_eq!(&whole, of);
                receiving = None;
            }
        }
    }
}
