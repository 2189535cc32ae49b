//! Exactly-once: scenarios of sessions.

use super::super::sessions::{ANSWERS_MAX, IDLE_MAX, SESSIONS_MAX};
use super::*;
use crate::types::SessionId;

const HOUR: u64 = 60 * 60 * 1000;

fn open(replica: &mut Replica, time: u64) -> SessionId {
    match replica.run(time, Operation::OpenSession) {
        Answer::Session(session) => session,
        other => panic!("{other:?}"),
    }
}

/// A stamped compare-and-set that succeeds only once: a second application is seen in its answer.
fn once(session: SessionId, sequence: u64, answered_below: u64, time: u64) -> Command {
    let key = format!("s{session}-{sequence}");
    Command {
        time: WallTime(time),
        session: Some(SessionStamp { session, sequence, answered_below }),
        operation: Operation::Key(key_put(key.as_bytes(), b"v", KeyCondition::Absent)),
    }
}

fn invalid(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(Refusal::Invalid(_)))
}

#[test]
fn a_repeat_returns_the_recorded_answer() {
    let mut replica = Replica::default();
    let session = open(&mut replica, 1);
    assert_eq!(session, SessionId(1));
    let first = replica.apply(&once(session, 1, 1, 1));
    assert_eq!(first, Answer::Key { revision: 2 });
    assert_eq!(replica.apply(&once(session, 1, 1, 1)), first);
    // Refusals are answers too: the same question does not get another answer later.
    let mut refused = once(session, 2, 1, 1);
    refused.operation = Operation::Key(key_put(b"absent", b"v", KeyCondition::Present));
    let answer = Answer::Refused(Refusal::Conflict { revision: 0 });
    assert_eq!(replica.apply(&refused), answer);
    replica.run(1, Operation::Key(key_put(b"absent", b"v", KeyCondition::Any)));
    assert_eq!(replica.apply(&refused), answer);
    // In any order, since each sequence is recorded by itself.
    assert_eq!(replica.apply(&once(session, 9, 1, 1)), Answer::Key { revision: 7 });
    assert_eq!(replica.apply(&once(session, 4, 1, 1)), Answer::Key { revision: 8 });
    assert_eq!(replica.apply(&once(session, 9, 1, 1)), Answer::Key { revision: 7 });
}

#[test]
fn what_the_client_has_is_forgotten_and_never_applied_again() {
    let mut replica = Replica::default();
    let session = open(&mut replica, 1);
    for sequence in 1..=3 {
        assert!(matches!(replica.apply(&once(session, sequence, 1, 1)), Answer::Key { .. }));
    }
    let rows = |replica: &Replica| {
        let range = layout::Layout(GROUP).table_rows(layout::Table::SessionAnswers);
        replica.rows.0.keys().filter(|key| range.contains(key)).count()
    };
    assert_eq!(rows(&replica), 3);
    let fourth = replica.apply(&once(session, 4, 3, 1));
    assert_eq!(rows(&replica), 2, "3 and 4");
    assert!(invalid(&replica.apply(&once(session, 1, 1, 1))));
    assert!(invalid(&replica.apply(&once(session, 0, 0, 1))), "sequences begin at 1");
    assert_eq!(replica.apply(&once(session, 4, 1, 1)), fourth, "an old claim does not undo a newer one");
}

#[test]
fn a_session_that_keeps_too_many_answers_applies_nothing_until_some_arrived() {
    let mut replica = Replica::default();
    let session = open(&mut replica, 1);
    let count = u64::from(ANSWERS_MAX);
    for sequence in 1..=count {
        assert!(matches!(replica.apply(&once(session, sequence, 1, 1)), Answer::Key { .. }));
    }
    assert!(invalid(&replica.apply(&once(session, count + 1, 1, 1))));
    assert_eq!(replica.apply(&once(session, 1, 1, 1)), Answer::Key { revision: 2 }, "repeats are answered");
    assert!(matches!(replica.apply(&once(session, count + 1, 2, 1)), Answer::Key { .. }));
}

#[test]
fn a_session_ends_after_an_hour_without_a_command() {
    assert_eq!(IDLE_MAX.as_millis(), u128::from(HOUR));
    let mut replica = Replica::default();
    let (idle, busy) = (open(&mut replica, 0), open(&mut replica, 0));
    assert!(matches!(replica.apply(&once(busy, 1, 1, HOUR)), Answer::Key { .. }), "an hour to the moment");
    assert_eq!(replica.apply(&once(idle, 1, 1, HOUR + 1)), Answer::SessionExpired);
    assert!(matches!(replica.apply(&once(busy, 2, 1, HOUR + 1)), Answer::Key { .. }));
    let QueryAnswer::Key(None) = replica.query(&Query::Key { key: Bytes::from_static(b"s1-1") }) else {
        panic!("the command of a session that is gone was applied");
    };
    replica.skip(16);
    let layout = layout::Layout(GROUP);
    assert!(!replica.rows.0.contains_key(&layout.session(idle)));
    assert!(replica.rows.0.contains_key(&layout.session(busy)));
    assert_eq!(replica.apply(&once(SessionId(77), 1, 1, 0)), Answer::SessionExpired, "never opened");
    // Nothing of either is left when both are gone.
    replica.run(3 * HOUR, Operation::Key(key_put(b"k", b"v", KeyCondition::Any)));
    replica.skip(16);
    for table in [layout::Table::Sessions, layout::Table::SessionUses, layout::Table::SessionAnswers] {
        let range = layout.table_rows(table);
        assert!(!replica.rows.0.keys().any(|key| range.contains(key)), "{table:?}");
    }
}

#[test]
fn an_ended_session_does_not_say_that_an_earlier_copy_wrote_nothing() {
    let mut replica = Replica::default();
    let session = open(&mut replica, 0);
    let command = once(session, 1, 1, 0);
    assert_eq!(replica.apply(&command), Answer::Key { revision: 2 });
    replica.run(2 * HOUR, Operation::OpenSession);
    assert_eq!(replica.apply(&command), Answer::SessionExpired);
    let written = replica.query(&Query::Key { key: Bytes::from_static(b"s1-1") });
    assert!(matches!(written, QueryAnswer::Key(Some(_))), "{written:?}");
}

#[test]
fn the_session_that_was_used_the_longest_ago_makes_room() {
    let mut replica = Replica::default();
    let sessions: Vec<SessionId> = (0..u64::from(SESSIONS_MAX)).map(|time| open(&mut replica, time)).collect();
    let time = u64::from(SESSIONS_MAX);
    assert!(matches!(replica.apply(&once(sessions[0], 1, 1, time)), Answer::Key { .. }));
    let last = open(&mut replica, time);
    assert!(matches!(replica.apply(&once(last, 1, 1, time)), Answer::Key { .. }));
    assert!(matches!(replica.apply(&once(sessions[0], 2, 1, time)), Answer::Key { .. }), "it was used since");
    assert_eq!(replica.apply(&once(sessions[1], 1, 1, time)), Answer::SessionExpired);
    assert!(matches!(replica.apply(&once(sessions[2], 1, 1, time)), Answer::Key { .. }));
}

#[test]
fn a_session_is_not_opened_inside_a_session() {
    let mut replica = Replica::default();
    let session = open(&mut replica, 1);
    let stamp = SessionStamp { session, sequence: 1, answered_below: 1 };
    let command = Command { time: WallTime(1), session: Some(stamp), operation: Operation::OpenSession };
    assert!(invalid(&replica.apply(&command)));
}
