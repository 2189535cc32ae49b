//! A client of user keys: put, delete, compare-and-swap and get, with or without an exactly-once session.

use super::{Client, Desk};
use crate::chance::Chance;
use crate::check::keys::{KeyAction, KeyInput, KeyOutcome, WriteId};
use crate::world::{MILLIS, SECONDS, SimTime};
use anvil_core::node::{Reply, Request, Unavailable};
use anvil_core::state::{Answer, KeyCondition, KeyOperation, Operation, Query, QueryAnswer, Refusal, SessionStamp};
use anvil_core::types::{GroupId, NodeId, RequestId, SessionId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct KeyHabits {
    /// Keys that all clients share.
    pub keys: u64,
    /// Operations to do.
    pub operations: u32,
    /// Typical pause between operations.
    pub think_micros: u64,
    /// How long one attempt is waited for.
    pub patience_micros: u64,
    /// Only gets.
    pub only_reads: bool,
    /// Attempts that go to a random node instead of the one that answered last.
    pub stray_per_million: u64,
    /// Whether changes are stamped and sent again until they are answered.
    pub session: bool,
    /// Sends a stamped change to two nodes at once, this often.
    pub hedge_per_million: u64,
    /// Largest value.
    pub value_size_max: u64,
}

/// The client.
#[derive(Debug)]
pub struct KeyClient {
    habits: KeyHabits,
    chance: Chance,
    left: u32,
    target: Option<u64>,
    session: Option<Session>,
    /// Revisions that were seen beside a value, by key.
    seen: BTreeMap<u64, u64>,
    under_way: Option<UnderWay>,
    token: u64,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    id: SessionId,
    next_sequence: u64,
}

#[derive(Debug)]
struct UnderWay {
    what: What,
    call: SimTime,
    give_up: SimTime,
    attempts: BTreeSet<RequestId>,
    /// Whether an attempt may have taken effect although nothing was heard of it.
    in_doubt: bool,
}

impl UnderWay {
    /// Whether doing it twice is as good as once.
    fn may_repeat(&self) -> bool {
        match self.what {
            What::OpenSession => true,
            What::Act { action, stamp, .. } => action == KeyAction::Get || stamp.is_some(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    OpenSession,
    Act { key: u64, action: KeyAction, stamp: Option<SessionStamp> },
}

/// The value of a write: its number, then a filling that depends on it.
pub fn value_of(write: WriteId, size: usize) -> Bytes {
    let mut value = write.0.to_le_bytes().to_vec();
    let filling = u8::try_from(write.0 % 251).expect("below 251");
    value.resize(size.max(8), filling);
    Bytes::from(value)
}

/// Whose value this is, if it is anybody's in full.
pub fn writer_of(value: &[u8]) -> Option<WriteId> {
    let write = WriteId(u64::from_le_bytes(value.get(..8)?.try_into().ok()?));
    (value_of(write, value.len()) == value).then_some(write)
}

/// The name of a key.
pub fn key_name(key: u64) -> Bytes {
    Bytes::from(format!("key-{key}"))
}

impl KeyClient {
    /// A client with its own stream of chance.
    pub fn new(seed: u64, number: u64, habits: KeyHabits) -> KeyClient {
        let chance = Chance::named(seed, &format!("workload keys {number}"));
        KeyClient {
            habits,
            chance,
            left: habits.operations,
            target: None,
            session: None,
            seen: BTreeMap::new(),
            under_way: None,
            token: 0,
        }
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.token += 1;
        let pause = self.chance.heavy_tail(self.habits.think_micros);
        desk.wake(pause, self.token);
    }

    fn begin(&mut self, desk: &mut Desk<'_>) {
        let what = if self.habits.session && self.session.is_none() {
            What::OpenSession
        } else {
            self.left -= 1;
            self.draw_action(desk)
        };
        let give_up = desk.now.after(*self.chance.pick(&[500 * MILLIS, 3 * SECONDS, 20 * SECONDS]));
        self.under_way = Some(UnderWay { what, call: desk.now, give_up, attempts: BTreeSet::new(), in_doubt: false });
        self.attempt(desk);
    }

    fn draw_action(&mut self, desk: &mut Desk<'_>) -> What {
        let key = self.chance.below(self.habits.keys);
        let seen = self.seen.get(&key).copied();
        let revision = seen.map_or(KeyCondition::Present, KeyCondition::Revision);
        let write = WriteId(desk.fresh());
        let action = match self.chance.below(20) {
            _ if self.habits.only_reads => KeyAction::Get,
            0..=8 => KeyAction::Get,
            9..=14 => KeyAction::Put(write, KeyCondition::Any),
            15 | 16 => KeyAction::Put(write, revision),
            17 => KeyAction::Put(write, KeyCondition::Absent),
            18 => KeyAction::Delete(KeyCondition::Any),
            _ => KeyAction::Delete(revision),
        };
        if let KeyAction::Put(write, _) = action {
            let size = self.chance.between(8, self.habits.value_size_max.max(8));
            desk.histories.sizes.insert(write, usize::try_from(size).expect("values are small"));
        }
        let changes = action != KeyAction::Get;
        let stamp = self.session.as_mut().filter(|_| changes).map(|session| {
            let sequence = session.next_sequence;
            session.next_sequence += 1;
            SessionStamp { session: session.id, sequence, answered_below: sequence }
        });
        What::Act { key, action, stamp }
    }

    fn attempt(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        let request = request_of(under_way.what, desk);
        let stamped = matches!(under_way.what, What::Act { stamp: Some(_), .. });
        let random = *self.chance.pick(desk.nodes);
        let strays = self.chance.hits(self.habits.stray_per_million);
        let node = self.target.filter(|_| !strays).unwrap_or(random);
        let hedges = self.chance.hits(self.habits.hedge_per_million) && stamped;
        under_way.attempts.insert(desk.send(node, request.clone()));
        if hedges {
            let other = *self.chance.pick(desk.nodes);
            under_way.attempts.insert(desk.send(other, request));
        }
        self.token += 1;
        desk.wake(self.habits.patience_micros, self.token);
    }

    /// Nothing was heard in time, or what was heard leaves doubt.
    fn doubt(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        under_way.in_doubt = true;
        self.target = None;
        let again = under_way.may_repeat();
        if let What::Act { action: KeyAction::Get, .. } = under_way.what {
            // A get that nobody answered says nothing: the next attempt is a new one.
            under_way.attempts.clear();
            under_way.call = desk.now;
        }
        if again && desk.now < under_way.give_up {
            self.attempt(desk);
        } else {
            self.end(None, desk);
        }
    }

    /// One attempt leaves doubt. Others may be under way, and are waited for: clients that do not would drown the cluster.
    fn on_uncertain(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        under_way.in_doubt = true;
        self.target = None;
        if !under_way.may_repeat() {
            self.end(None, desk);
        } else if under_way.attempts.is_empty() {
            self.again(desk);
        }
    }

    /// No attempt is under way any more: try again after a while.
    fn again(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        if desk.now < under_way.give_up {
            self.token += 1;
            let pause = self.chance.between(MILLIS, 60 * MILLIS);
            desk.wake(pause, self.token);
        } else {
            self.end(None, desk);
        }
    }

    fn end(&mut self, outcome: Option<KeyOutcome>, desk: &mut Desk<'_>) {
        let under_way = self.under_way.take().expect("only what is under way ends");
        if let What::Act { key, action, stamp } = under_way.what {
            if let Some(KeyOutcome::Found { revision, .. }) = outcome {
                self.seen.insert(key, revision);
            }
            if stamp.is_some() && outcome.is_none() {
                // The sequence is in doubt for ever, so the session cannot go on.
                self.session = None;
            }
            let happened = outcome.is_some() || under_way.in_doubt || !under_way.attempts.is_empty();
            if happened {
                let end = outcome.map(|_| desk.now);
                desk.histories.keys.note(&key_name(key), under_way.call, end, KeyInput { action, outcome });
            }
        }
        self.rest(desk);
    }

    fn on_answer(&mut self, answer: Answer, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        match (under_way.what, answer) {
            (What::OpenSession, Answer::Session(id)) => {
                self.session = Some(Session { id, next_sequence: 1 });
                self.under_way = None;
                self.rest(desk);
            }
            (What::Act { stamp: Some(_), .. }, Answer::SessionExpired) => {
                self.session = None;
                self.end(None, desk);
            }
            (What::Act { .. }, Answer::Key { revision }) => self.end(Some(KeyOutcome::Changed { revision }), desk),
            (What::Act { .. }, Answer::Refused(Refusal::Conflict { revision })) => {
                self.end(Some(KeyOutcome::Conflict { revision }), desk);
            }
            (What::Act { action: KeyAction::Delete(_), .. }, Answer::Refused(Refusal::NotFound)) => {
                self.end(Some(KeyOutcome::Absent), desk);
            }
            (what, answer) => desk.complain("answers fit their questions", format!("{what:?} was answered {answer:?}")),
        }
    }

    fn on_queried(&mut self, answer: QueryAnswer, desk: &mut Desk<'_>) {
        match answer {
            QueryAnswer::Key(None) => self.end(Some(KeyOutcome::Absent), desk),
            QueryAnswer::Key(Some(found)) => match writer_of(&found.value) {
                Some(write) => self.end(Some(KeyOutcome::Found { write, revision: found.revision }), desk),
                None => desk.complain("values are read as they were written", format!("nobody wrote {found:?}")),
            },
            other @ (QueryAnswer::Keys { .. }
            | QueryAnswer::Bucket { .. }
            | QueryAnswer::Buckets(_)
            | QueryAnswer::Object(_)
            | QueryAnswer::Listing(_)
            | QueryAnswer::Versions(_)
            | QueryAnswer::Parts { .. }
            | QueryAnswer::Uploads { .. }
            | QueryAnswer::Reclaimable(_)
            | QueryAnswer::Topology { .. }
            | QueryAnswer::Bodies { .. }
            | QueryAnswer::RulesSet(_)
            | QueryAnswer::Expirable { .. }
            | QueryAnswer::Body(_)
            | QueryAnswer::Refused(_)) => {
                desk.complain("answers fit their questions", format!("a get was answered {other:?}"))
            }
        }
    }
}

fn request_of(what: What, desk: &Desk<'_>) -> Request {
    let group = GroupId::REGION;
    match what {
        What::OpenSession => Request::Command { group, session: None, operation: Operation::OpenSession },
        What::Act { key, action, stamp } => {
            let key = key_name(key);
            let operation = match action {
                KeyAction::Get => return Request::Query { group, query: Query::Key { key } },
                KeyAction::Put(write, condition) => {
                    let size = desk.histories.sizes.get(&write).copied().unwrap_or(8);
                    KeyOperation::Put { key, value: value_of(write, size), condition }
                }
                KeyAction::Delete(condition) => KeyOperation::Delete { key, condition },
            };
            Request::Command { group, session: stamp, operation: Operation::Key(operation) }
        }
    }
}

impl Client for KeyClient {
    fn on_wake(&mut self, token: u64, desk: &mut Desk<'_>) {
        if token != self.token {
            return;
        }
        match &self.under_way {
            Some(under_way) if !under_way.attempts.is_empty() => self.doubt(desk),
            Some(under_way) if desk.now >= under_way.give_up => self.end(None, desk),
            Some(_) => self.attempt(desk),
            None if self.left > 0 => self.begin(desk),
            None => {}
        }
    }

    fn on_reply(&mut self, id: RequestId, reply: Reply, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        if !under_way.attempts.remove(&id) {
            return;
        }
        match reply {
            Reply::Answer(answer) => self.on_answer(answer, desk),
            Reply::Queried(answer) => self.on_queried(answer, desk),
            Reply::Unavailable(Unavailable::NotLeader { leader }) => {
                self.target = leader.map(|NodeId(node)| node);
                if under_way.attempts.is_empty() {
                    self.again(desk);
                }
            }
            Reply::Unavailable(Unavailable::Busy) => {
                if under_way.attempts.is_empty() {
                    self.again(desk);
                }
            }
            Reply::Unavailable(Unavailable::Uncertain) => self.on_uncertain(desk),
            other @ (Reply::Begun
            | Reply::StripeStored
            | Reply::Opened(_)
            | Reply::Refused(_)
            | Reply::Stripe(_)
            | Reply::Closed
            | Reply::Changed
            | Reply::TransferBegun
            | Reply::Status(_)
            | Reply::Unavailable(
                Unavailable::DiskFull
                | Unavailable::Disk(_)
                | Unavailable::Damaged(_)
                | Unavailable::Unreachable(_)
                | Unavailable::TooFewDrives(_)
                | Unavailable::UnknownHandle
                | Unavailable::Change(_)
                | Unavailable::Misuse(_),
            )) => desk.complain("answers fit their questions", format!("a key operation was answered {other:?}")),
        }
    }

    fn stop(&mut self) {
        self.left = 0;
        if let Some(under_way) = &mut self.under_way {
            under_way.give_up = SimTime(0);
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.under_way.is_none()
    }

    fn abandon(&mut self, desk: &mut Desk<'_>) {
        if self.under_way.is_some() {
            self.end(None, desk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{value_of, writer_of};
    use crate::check::keys::WriteId;

    #[test]
    fn a_value_names_its_writer_only_when_whole() {
        let value = value_of(WriteId(77), 40);
        assert_eq!(writer_of(&value), Some(WriteId(77)));
        let mut torn = value.to_vec();
        torn[30] ^= 1;
        assert_eq!(writer_of(&torn), None);
        assert_eq!(writer_of(&torn[..5]), None);
    }
}
