//! A client of versions: conditional puts, deletes that it repeats until it hears of them, removals of single versions, reads,
//! listings, and the switch that keeps versions or not.
//!
//! Each key has a bucket of its own (`check/versions.rs`). Bodies are inline; their bytes are the concern of `objects`.

use super::bodies::{etag_of, writer_of};
use super::objects::condition;
use super::{Client, Desk};
use crate::chance::Chance;
use crate::check::keys::WriteId;
use crate::check::objects::{When, body_of};
use crate::check::versions::{Thing, Version, VersionAction, VersionInput, VersionOutcome};
use crate::world::{MILLIS, SimTime};
use anvil_core::node::{Reply, Request, Target, Unavailable};
use anvil_core::state::{
    Answer, BucketName, BucketSetting, DeleteCondition, ListedVersion, Metadata, ObjectName, ObjectOperation,
    Operation, Query, QueryAnswer, Refusal, Removal, VersionName,
};
use anvil_core::types::{GroupId, NodeId, RequestId, TenantId, VersionId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct VersionHabits {
    /// Keys that all clients share.
    pub keys: u64,
    /// Operations to do.
    pub operations: u32,
    /// Typical pause between operations.
    pub think_micros: u64,
    /// How long an answer is waited for.
    pub patience_micros: u64,
    /// Lists each key in turn, again and again until it is answered: whoever comes after the storm.
    pub only_lists: bool,
}

/// How often a delete is sent at most.
const ATTEMPTS_MAX: u32 = 4;
/// Lines of a listing. No key has as many versions.
const LIMIT: usize = 1_000;

/// The client.
#[derive(Debug)]
pub struct VersionClient {
    habits: VersionHabits,
    chance: Chance,
    left: u32,
    node: Option<u64>,
    /// Keys that have a bucket, and those whose versions are kept, as far as the client knows.
    made: BTreeSet<u64>,
    kept: BTreeSet<u64>,
    /// Versions that the client saw, with their names.
    seen: BTreeMap<u64, Vec<(VersionName, Version)>>,
    under_way: Option<UnderWay>,
    token: u64,
}

#[derive(Debug)]
struct UnderWay {
    key: u64,
    what: What,
    call: SimTime,
    request: Option<RequestId>,
    attempts: u32,
    /// Whether an attempt may have taken effect although nothing was heard of it.
    in_doubt: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    MakeBucket,
    /// With the name of the version that it names.
    Act(VersionAction, Option<VersionName>),
}

impl What {
    /// Whether a command that is carried out twice is as good as one: it names its marker, or the version that goes.
    fn may_repeat(self) -> bool {
        match self {
            What::Act(VersionAction::Delete(_, When::Always), _) => true,
            What::Act(VersionAction::Remove(version), _) => !version.is_null,
            What::MakeBucket | What::Act(..) => false,
        }
    }
}

fn object_of(key: u64) -> ObjectName {
    let bucket = BucketName { tenant: TenantId::DEFAULT, name: format!("versions-{key}") };
    ObjectName { bucket, key: "object".to_string() }
}

impl VersionClient {
    /// A client with its own stream of chance.
    pub fn new(seed: u64, number: u64, habits: VersionHabits) -> VersionClient {
        let chance = Chance::named(seed, &format!("workload versions {number}"));
        let (left, node, under_way, token) = (habits.operations, None, None, 0);
        let (made, kept, seen) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        VersionClient { habits, chance, left, node, made, kept, seen, under_way, token }
    }

    fn pause(&mut self, micros: u64, desk: &mut Desk<'_>) {
        self.token += 1;
        desk.wake(micros, self.token);
    }

    fn begin(&mut self, desk: &mut Desk<'_>) {
        let key = if self.habits.only_lists { u64::from(self.left) - 1 } else { self.chance.below(self.habits.keys) };
        let what = if self.habits.only_lists {
            What::Act(VersionAction::List, None)
        } else if !self.made.contains(&key) {
            What::MakeBucket
        } else if !self.kept.contains(&key) {
            What::Act(VersionAction::Switch { enabled: true }, None)
        } else {
            self.left -= 1;
            self.draw_action(key, desk)
        };
        self.under_way = Some(UnderWay { key, what, call: desk.now, request: None, attempts: 0, in_doubt: false });
        self.attempt(desk);
    }

    fn draw_action(&mut self, key: u64, desk: &mut Desk<'_>) -> What {
        let seen = self.seen.get(&key).cloned().unwrap_or_default();
        let last = seen.iter().rev().find_map(|(_, version)| match version.thing {
            Thing::Body(write) => Some(write),
            Thing::Marker(_) => None,
        });
        let named = (!seen.is_empty()).then(|| *self.chance.pick(&seen));
        let fresh = desk.fresh();
        let write = WriteId(fresh);
        let action = match (self.chance.below(24), named) {
            (0..=4, _) => VersionAction::Get,
            (5..=7, _) => VersionAction::List,
            (8..=10, _) => VersionAction::Put(write, When::Always),
            (11, _) => VersionAction::Put(write, When::Absent),
            (12..=15, _) => VersionAction::Put(write, last.map_or(When::Absent, When::Is)),
            (16, _) => VersionAction::Put(write, last.map_or(When::Present, When::IsNot)),
            (17..=19, _) => VersionAction::Delete(fresh, When::Always),
            (20, _) => VersionAction::Delete(fresh, last.map_or(When::Present, When::Is)),
            (21, Some((name, version))) => return What::Act(VersionAction::Remove(version), Some(name)),
            (22, Some((name, version))) => return What::Act(VersionAction::GetVersion(version), Some(name)),
            (_, _) => VersionAction::Switch { enabled: self.chance.below(2) == 0 },
        };
        What::Act(action, None)
    }

    fn attempt(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        let node = *self.node.get_or_insert(*self.chance.pick(desk.nodes));
        under_way.attempts += 1;
        under_way.request = Some(desk.send(node, request_of(under_way.key, under_way.what, desk.seed)));
        self.pause(self.habits.patience_micros, desk);
    }

    /// Nothing was heard in time, or what was heard leaves doubt.
    fn doubt(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        under_way.in_doubt = true;
        self.again(desk);
    }

    /// No attempt is waited for any more.
    fn again(&mut self, desk: &mut Desk<'_>) {
        let Some(under_way) = &mut self.under_way else { return };
        under_way.request = None;
        self.node = None;
        if under_way.what.may_repeat() && under_way.attempts < ATTEMPTS_MAX {
            let pause = self.chance.between(MILLIS, 200 * MILLIS);
            self.pause(pause, desk);
        } else {
            self.end(None, desk);
        }
    }

    fn end(&mut self, outcome: Option<VersionOutcome>, desk: &mut Desk<'_>) {
        let Some(UnderWay { key, what, call, in_doubt, .. }) = self.under_way.take() else { return };
        if let What::Act(action, _) = what {
            let heard = outcome.is_some();
            if heard && self.habits.only_lists {
                self.left -= 1;
            }
            if action == (VersionAction::Switch { enabled: true }) && heard {
                self.kept.insert(key);
            }
            // What certainly had no effect leaves no trace.
            if heard || in_doubt {
                let end = heard.then_some(desk.now);
                desk.histories.versions.note(key, call, end, VersionInput { action, outcome });
            }
        }
        let pause = self.chance.heavy_tail(self.habits.think_micros);
        self.pause(pause, desk);
    }

    fn on_answer(&mut self, answer: Answer, desk: &mut Desk<'_>) {
        let Some(under_way) = &self.under_way else { return };
        let (key, what) = (under_way.key, under_way.what);
        let outcome = match (what, answer) {
            (What::MakeBucket, Answer::Done | Answer::Refused(Refusal::BucketExists)) => {
                self.made.insert(key);
                return self.end(None, desk);
            }
            (What::Act(VersionAction::Switch { .. }, _), Answer::Done) => VersionOutcome::Done,
            (What::Act(VersionAction::Put(write, _), _), Answer::PutVersion { etag, name, .. })
                if etag == etag_of(write) =>
            {
                let is_null = name == VersionName::Null;
                self.seen.entry(key).or_default().push((name, Version { is_null, thing: Thing::Body(write) }));
                VersionOutcome::Placed { is_null }
            }
            (What::Act(VersionAction::Delete(..), _), Answer::Deleted { name: Some(name), marker: true }) => {
                VersionOutcome::Placed { is_null: name == VersionName::Null }
            }
            // A repeat whose marker is gone.
            (What::Act(VersionAction::Delete(..), _), Answer::Deleted { name: None, marker: true })
                if under_way.attempts > 1 =>
            {
                VersionOutcome::Done
            }
            (What::Act(VersionAction::Remove(_), named), Answer::Deleted { name, .. }) if name == named => {
                VersionOutcome::Done
            }
            // A write that wants an object, and there is none.
            (
                What::Act(
                    VersionAction::Put(_, When::Present | When::Is(_))
                    | VersionAction::Delete(_, When::Present | When::Is(_)),
                    _,
                ),
                Answer::Refused(Refusal::NoSuchKey),
            ) => VersionOutcome::ConditionFailed,
            (
                What::Act(VersionAction::Put(..) | VersionAction::Delete(..), _),
                Answer::Refused(Refusal::ConditionFailed),
            ) => VersionOutcome::ConditionFailed,
            (what, answer) => return complain(&what, &answer, desk),
        };
        self.end(Some(outcome), desk);
    }

    fn on_queried(&mut self, answer: QueryAnswer, desk: &mut Desk<'_>) {
        let Some(UnderWay { key, what: What::Act(action, _), .. }) = &self.under_way else { return };
        let (key, action) = (*key, *action);
        let outcome = match (action, answer) {
            (VersionAction::List, QueryAnswer::Versions(page)) if page.next.is_none() => {
                let found: Vec<_> = page.versions.iter().map(|listed| (listed.name, version_of(listed))).collect();
                let newest = page.versions.iter().map(|listed| listed.is_latest);
                if !newest.eq((0..found.len()).map(|place| place == 0)) {
                    return complain(&action, &page, desk);
                }
                let listed = found.iter().map(|(_, version)| *version).collect();
                // The newest last, as puts are noted.
                self.seen.insert(key, found.into_iter().rev().collect());
                VersionOutcome::Listed(listed)
            }
            (VersionAction::Get | VersionAction::GetVersion(_), QueryAnswer::Object(object)) => {
                let thing = Thing::Body(writer_of(&object.etag));
                VersionOutcome::Found(Version { is_null: object.name == Some(VersionName::Null), thing })
            }
            // A key of whose bucket nobody was told.
            (VersionAction::List, QueryAnswer::Refused(Refusal::NoSuchBucket)) if self.habits.only_lists => {
                VersionOutcome::Listed(Vec::new())
            }
            (
                VersionAction::Get | VersionAction::GetVersion(_),
                QueryAnswer::Refused(Refusal::NoSuchKey | Refusal::NoSuchVersion),
            ) => VersionOutcome::Absent,
            (
                VersionAction::Get | VersionAction::GetVersion(_),
                QueryAnswer::Refused(Refusal::DeleteMarker { named, .. }),
            ) if named == (action != VersionAction::Get) => VersionOutcome::Marker,
            (action, answer) => return complain(&action, &answer, desk),
        };
        self.end(Some(outcome), desk);
    }
}

fn complain(asked: &impl std::fmt::Debug, answer: &impl std::fmt::Debug, desk: &mut Desk<'_>) {
    desk.complain("answers fit their questions", format!("{asked:?} was answered {answer:?}"));
}

fn version_of(listed: &ListedVersion) -> Version {
    let thing = match (listed.is_marker, listed.name) {
        (false, _) => Thing::Body(writer_of(&listed.listed.etag)),
        (true, VersionName::Null) => Thing::Marker(0),
        (true, VersionName::Id { version, .. }) => {
            // What a client draws has 64 bits.
            Thing::Marker(u64::try_from(version.0 & u128::from(u64::MAX)).expect("64 bits"))
        }
    };
    Version { is_null: listed.name == VersionName::Null, thing }
}

fn request_of(key: u64, what: What, seed: u64) -> Request {
    let object = object_of(key);
    let bucket = object.bucket.clone();
    let query = |query| Request::Query { group: GroupId::REGION, query };
    let removal = |version, mark: u64, when| {
        let etag = condition(when);
        let condition = DeleteCondition { etag, ..DeleteCondition::NONE };
        Removal { version, marker: VersionId(u128::from(mark)), condition, bypass: false }
    };
    let operation = match what {
        What::MakeBucket => ObjectOperation::CreateBucket { bucket },
        What::Act(VersionAction::Switch { enabled }, _) => {
            ObjectOperation::ConfigureBucket { bucket, setting: BucketSetting::Versioning { enabled } }
        }
        What::Act(VersionAction::Put(write, when), _) => {
            let (etag, metadata, attributes) = (etag_of(write), Metadata::default(), Box::default());
            let target = Target::Object { object, etag, metadata, attributes, condition: condition(when) };
            let size = usize::try_from(write.0 % 40).expect("below 40") + 8;
            return Request::PutInline { target, bytes: Bytes::from(body_of(seed, write, size)) };
        }
        What::Act(VersionAction::Delete(mark, when), _) => {
            ObjectOperation::Remove { object, removal: removal(None, mark, when) }
        }
        What::Act(VersionAction::Remove(_), name) => {
            ObjectOperation::Remove { object, removal: removal(name, 0, When::Always) }
        }
        What::Act(VersionAction::Get | VersionAction::GetVersion(_), version) => {
            return query(Query::Object { object, version });
        }
        What::Act(VersionAction::List, _) => {
            let (prefix, delimiter, after) = (String::new(), String::new(), (String::new(), None));
            return query(Query::Versions { bucket, prefix, delimiter, after, limit: LIMIT });
        }
    };
    Request::Command { group: GroupId::REGION, session: None, operation: Operation::Object(operation) }
}

impl Client for VersionClient {
    fn on_wake(&mut self, token: u64, desk: &mut Desk<'_>) {
        if token != self.token {
            return;
        }
        match &self.under_way {
            Some(UnderWay { request: Some(_), .. }) => self.doubt(desk),
            Some(_) => self.attempt(desk),
            None if self.left > 0 => self.begin(desk),
            None => {}
        }
    }

    fn on_reply(&mut self, id: RequestId, reply: Reply, desk: &mut Desk<'_>) {
        if self.under_way.as_ref().and_then(|under_way| under_way.request) != Some(id) {
            return;
        }
        match reply {
            Reply::Answer(answer) => self.on_answer(answer, desk),
            Reply::Queried(answer) => self.on_queried(answer, desk),
            Reply::Unavailable(Unavailable::NotLeader { leader }) => {
                self.again(desk);
                self.node = leader.map(|NodeId(node)| node);
            }
            Reply::Unavailable(Unavailable::Busy) => self.again(desk),
            Reply::Unavailable(Unavailable::Uncertain) => self.doubt(desk),
            other @ (Reply::Begun
            | Reply::StripeStored
            | Reply::Opened(_)
            | Reply::Refused(_)
            | Reply::Stripe(_)
            | Reply::Closed
            | Reply::Changed
            | Reply::TransferBegun
            | Reply::Status(_)
            | Reply::Unavailable(_)) => complain(&self.under_way, &other, desk),
        }
    }

    fn stop(&mut self) {
        self.left = 0;
        if let Some(under_way) = &mut self.under_way {
            under_way.attempts = ATTEMPTS_MAX;
        }
    }

    fn is_gateway(&self) -> bool {
        true
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.under_way.is_none()
    }

    fn abandon(&mut self, desk: &mut Desk<'_>) {
        if let Some(under_way) = &mut self.under_way {
            under_way.in_doubt |= under_way.request.is_some();
            self.end(None, desk);
        }
    }
}
