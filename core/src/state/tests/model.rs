//! Random operations against a deliberately dumb model: maps in memory and the rules said again, naively.
//!
//! The model knows no rows, no indexes and no queues: it keeps every version that was ever decided, and works out what is
//! reclaimable by asking which of them nothing points at.

use super::actions::{Action, some_actions};
use super::*;
use alloc::collections::BTreeSet;
use alloc::string::String;
use proptest::prelude::*;

pub(super) const KEYS: [&str; 6] = ["a", "a/b", "a/", "a/b/c", "xab", "xabab"];
const LARGE: u64 = 5 << 20;

#[derive(Clone, Debug)]
struct ModelObject {
    version: u128,
    etag: ETag,
    modified: u64,
    bodies: Vec<Body>,
    /// Number and tag of each part; empty for a single put.
    parts: Vec<(u16, u8)>,
}

#[derive(Clone, Debug, Default)]
struct ModelUpload {
    parts: BTreeMap<u16, (Body, u8)>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    time: u64,
    index: u64,
    bucket: bool,
    objects: BTreeMap<usize, ModelObject>,
    uploads: BTreeMap<(usize, u128), ModelUpload>,
    /// Upload ids that were ever created, and the key.
    upload_ids: BTreeMap<u128, usize>,
    /// Versions that were ever decided: whether striped, and for which target. The model forgets none of them, as its
    /// runs are short against `retire::MEMORY`.
    decided: BTreeMap<u128, (bool, String)>,
    /// Versions that were called void before anybody decided them.
    void: BTreeSet<u128>,
    reclaimed: BTreeSet<u128>,
    keys: BTreeMap<usize, (u64, u64)>,
}

/// What the model allows.
#[derive(Debug)]
enum Expected {
    Exactly(Answer),
    /// `Invalid`, in whatever words.
    InvalidAny,
}

use Expected::{Exactly, InvalidAny};

fn refused(refusal: Refusal) -> Expected {
    Exactly(Answer::Refused(refusal))
}

impl Model {
    fn live(&self) -> BTreeSet<u128> {
        let objects = self.objects.values().flat_map(|object| &object.bodies);
        let parts = self.uploads.values().flat_map(|upload| upload.parts.values().map(|(body, _)| body));
        objects.chain(parts).map(|body| body.version.0).collect()
    }

    fn reclaimable(&self) -> BTreeSet<u128> {
        let live = self.live();
        let striped = self.decided.iter().filter(|(_, (striped, ..))| *striped).map(|(version, _)| *version);
        striped.filter(|version| !live.contains(version) && !self.reclaimed.contains(version)).collect()
    }

    fn holds(&self, key: usize, condition: ObjectCondition) -> bool {
        let etag = self.objects.get(&key).map(|object| object.etag);
        match condition {
            ObjectCondition::Any => true,
            ObjectCondition::Absent => etag.is_none(),
            ObjectCondition::Present => etag.is_some(),
            ObjectCondition::Match(wanted) => etag == Some(wanted),
            ObjectCondition::NoneMatch(other) => etag != Some(other),
        }
    }

    /// The answer when `version` was decided before; `None` when it is new.
    fn repeat(&self, version: u128, target: &str, tag: u8) -> Option<Expected> {
        if self.void.contains(&version) {
            return Some(refused(Refusal::Expired));
        }
        let (_, owner) = self.decided.get(&version)?;
        let live = self.live().contains(&version);
        if live && owner != target {
            return Some(InvalidAny);
        }
        Some(Exactly(Answer::Put { etag: etag(tag), version: VersionId(version) }))
    }

    fn step(&mut self, operation: &Operation, key: usize, tag: u8) -> Expected {
        match operation {
            Operation::OpenSession | Operation::Cluster(_) => unreachable!("these have tests of their own"),
            Operation::Key(operation) => self.step_key(operation, key),
            Operation::Object(operation) => self.step_object(operation, key, tag),
        }
    }

    fn step_key(&mut self, operation: &KeyOperation, key: usize) -> Expected {
        let has = self.keys.get(&key).copied();
        let (condition, put) = match operation {
            KeyOperation::Put { condition, .. } => (*condition, true),
            KeyOperation::Delete { condition, .. } => (*condition, false),
        };
        if !put && has.is_none() {
            return refused(Refusal::NotFound);
        }
        let revision = has.map_or(0, |(revision, _)| revision);
        let holds = match condition {
            KeyCondition::Any => true,
            KeyCondition::Absent => has.is_none(),
            KeyCondition::Present => has.is_some(),
            KeyCondition::Revision(wanted) => wanted == revision,
        };
        if !holds {
            return refused(Refusal::Conflict { revision });
        }
        if put {
            self.keys.insert(key, (self.index, has.map_or(self.index, |(_, created)| created)));
        } else {
            self.keys.remove(&key);
        }
        Exactly(Answer::Key { revision: self.index })
    }

    fn step_object(&mut self, operation: &ObjectOperation, key: usize, tag: u8) -> Expected {
        match operation {
            ObjectOperation::Relocate { .. }
            | ObjectOperation::Recode { .. }
            | ObjectOperation::ResolveOn { .. }
            | ObjectOperation::ReclaimedAt { .. }
            | ObjectOperation::CreateBucketWith { .. }
            | ObjectOperation::ConfigureBucket { .. }
            | ObjectOperation::PutVersion { .. }
            | ObjectOperation::Remove { .. }
            | ObjectOperation::CreateUploadWith { .. }
            | ObjectOperation::Amend { .. }
            | ObjectOperation::Expire { .. } => unreachable!("these have tests of their own"),
            ObjectOperation::CreateBucket { .. } if self.bucket => refused(Refusal::BucketExists),
            ObjectOperation::CreateBucket { .. } => {
                self.bucket = true;
                Exactly(Answer::Done)
            }
            ObjectOperation::DeleteBucket { .. } if !self.bucket => refused(Refusal::NoSuchBucket),
            ObjectOperation::DeleteBucket { .. } if !self.objects.is_empty() || !self.uploads.is_empty() => {
                refused(Refusal::BucketNotEmpty)
            }
            ObjectOperation::DeleteBucket { .. } => {
                self.bucket = false;
                Exactly(Answer::Done)
            }
            ObjectOperation::PutObject { body, etag, condition, expires, .. } => {
                let version = body.version.0;
                let striped = matches!(body.place, Place::Striped { .. });
                if let Some(expected) = self.repeat(version, KEYS[key], tag) {
                    return expected;
                }
                if !self.bucket {
                    return refused(Refusal::NoSuchBucket);
                }
                if striped && self.time > expires.0 {
                    return refused(Refusal::Expired);
                }
                if !self.holds(key, *condition) {
                    let is_there = self.objects.contains_key(&key) || *condition == ObjectCondition::Absent;
                    return refused(if is_there { Refusal::ConditionFailed } else { Refusal::NoSuchKey });
                }
                self.decided.insert(version, (striped, KEYS[key].to_string()));
                let (etag, modified, bodies) = (*etag, self.time, vec![body.clone()]);
                self.objects.insert(key, ModelObject { version, etag, modified, bodies, parts: vec![] });
                Exactly(Answer::Put { etag, version: body.version })
            }
            ObjectOperation::DeleteObject { condition, .. } => {
                if !self.bucket {
                    return refused(Refusal::NoSuchBucket);
                }
                if !self.holds(key, *condition) {
                    let is_there = self.objects.contains_key(&key) || *condition == ObjectCondition::Absent;
                    return refused(if is_there { Refusal::ConditionFailed } else { Refusal::NoSuchKey });
                }
                self.objects.remove(&key);
                Exactly(Answer::Done)
            }
            ObjectOperation::CreateUpload { upload, .. } => {
                if let Some(owner) = self.upload_ids.get(&upload.0) {
                    let live = self.uploads.contains_key(&(*owner, upload.0))
                        || self.objects.get(owner).is_some_and(|object| object.version == upload.0);
                    return if *owner == key || !live { Exactly(Answer::Done) } else { InvalidAny };
                }
                if !self.bucket {
                    return refused(Refusal::NoSuchBucket);
                }
                self.upload_ids.insert(upload.0, key);
                self.uploads.insert((key, upload.0), ModelUpload::default());
                Exactly(Answer::Done)
            }
            ObjectOperation::PutPart { upload, number, body, expires, .. } => {
                let version = body.version.0;
                let target = format!("{}/{number}", upload.0);
                if let Some(expected) = self.repeat(version, &target, tag) {
                    return expected;
                }
                if !self.uploads.contains_key(&(key, upload.0)) {
                    return refused(Refusal::NoSuchUpload);
                }
                if self.time > expires.0 {
                    return refused(Refusal::Expired);
                }
                self.decided.insert(version, (true, target));
                let parts = &mut self.uploads.get_mut(&(key, upload.0)).expect("it was there").parts;
                parts.insert(*number, (body.clone(), tag));
                Exactly(Answer::Put { etag: etag(tag), version: body.version })
            }
            ObjectOperation::CompleteUpload { upload, parts, .. } => self.complete(key, upload.0, parts),
            ObjectOperation::AbortUpload { upload, .. } => match self.uploads.remove(&(key, upload.0)) {
                Some(_) => Exactly(Answer::Done),
                None => refused(Refusal::NoSuchUpload),
            },
            ObjectOperation::Resolve { versions } => {
                let (live, queue) = (self.live(), self.reclaimable());
                let mut fates = Vec::new();
                for (version, expires) in versions {
                    let known = self.decided.contains_key(&version.0) || self.void.contains(&version.0);
                    fates.push(if live.contains(&version.0) || queue.contains(&version.0) {
                        Fate::Committed
                    } else if known {
                        Fate::Void
                    } else if self.time > expires.0 {
                        self.void.insert(version.0);
                        Fate::Void
                    } else {
                        Fate::Pending
                    });
                }
                Exactly(Answer::Resolved(fates))
            }
            ObjectOperation::Reclaimed { versions } => {
                self.reclaimed.extend(versions.iter().map(|version| version.0));
                Exactly(Answer::Done)
            }
        }
    }

    fn complete(&mut self, key: usize, upload: u128, listed: &[(u16, ETag)]) -> Expected {
        if listed.is_empty() {
            return InvalidAny;
        }
        if listed.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return refused(Refusal::InvalidPartOrder);
        }
        let mut joined = Vec::new();
        for (_, etag) in listed {
            joined.extend_from_slice(&etag.md5.0);
        }
        let md5 = Md5(<md5::Md5 as md5::Digest>::digest(&joined).into());
        let etag = ETag { md5, parts: u32::try_from(listed.len()).expect("few parts") };
        let answer = Answer::Put { etag, version: VersionId(upload) };
        let tags: Vec<(u16, u8)> = listed.iter().map(|(number, etag)| (*number, etag.md5.0[0])).collect();
        let Some(open) = self.uploads.get(&(key, upload)) else {
            let made = self.objects.get(&key).is_some_and(|object| object.version == upload && object.parts == tags);
            return if made { Exactly(answer) } else { refused(Refusal::NoSuchUpload) };
        };
        for (number, tag) in &tags {
            if open.parts.get(number).is_none_or(|(_, have)| have != tag) {
                return refused(Refusal::InvalidPart(*number));
            }
        }
        let bodies: Vec<Body> = tags.iter().map(|(number, _)| open.parts[number].0.clone()).collect();
        for ((number, _), body) in tags.iter().zip(&bodies).take(tags.len() - 1) {
            if body.size < LARGE {
                return refused(Refusal::PartTooSmall(*number));
            }
        }
        self.uploads.remove(&(key, upload));
        let object = ModelObject { version: upload, etag, modified: self.time, bodies, parts: tags };
        self.objects.insert(key, object);
        Exactly(answer)
    }
}

/// The operation of an action, and the key and tag that the model wants to know it by.
fn operation_of(action: &Action, model: &Model) -> (Operation, usize, u8) {
    let expires = |lifetime: u64| WallTime(100 * lifetime);
    let name = |key: usize| Bytes::from(KEYS[key].as_bytes());
    let operation = match action.clone() {
        Action::Wait(_) => resolve(&[]),
        Action::CreateBucket => ObjectOperation::CreateBucket { bucket: bucket("bkt") },
        Action::DeleteBucket => ObjectOperation::DeleteBucket { bucket: bucket("bkt") },
        Action::Put { key, version, inline: true, tag, condition, lifetime } => {
            return (Operation::Object(put_if(KEYS[key], inline(version), tag, 100 * lifetime, condition)), key, tag);
        }
        Action::Put { key, version, inline: false, tag, condition, lifetime } => {
            let body = striped(version, u64::from(tag));
            return (Operation::Object(put_if(KEYS[key], body, tag, 100 * lifetime, condition)), key, tag);
        }
        Action::Delete { key, condition } => {
            return (Operation::Object(ObjectOperation::DeleteObject { object: object(KEYS[key]), condition }), key, 0);
        }
        Action::CreateUpload { key, upload } => {
            return (Operation::Object(create_upload(KEYS[key], upload)), key, 0);
        }
        Action::PutPart { key, upload, number, version, large, tag, lifetime } => {
            let body = striped(version, if large { LARGE } else { 1 });
            let part = put_part(KEYS[key], upload, number, body, tag, expires(lifetime).0);
            return (Operation::Object(part), key, tag);
        }
        Action::Complete { key, upload, parts, listed_right } => {
            let open = model.uploads.get(&(key, upload));
            let made = model.objects.get(&key).filter(|object| object.version == upload);
            let right: Option<Vec<(u16, u8)>> = open
                .map(|open| open.parts.iter().map(|(number, (_, tag))| (*number, *tag)).collect())
                .or(made.map(|object| object.parts.clone()));
            let listed = right.filter(|_| listed_right).unwrap_or(parts);
            return (Operation::Object(complete(KEYS[key], upload, &listed)), key, 0);
        }
        Action::Abort { key, upload } => return (Operation::Object(abort(KEYS[key], upload)), key, 0),
        Action::Resolve { version, expires } => resolve(&[(version, expires)]),
        Action::ReclaimOldest => reclaimed(&model.reclaimable().into_iter().take(1).collect::<Vec<u128>>()),
        Action::KeyPut { key, condition } => {
            return (Operation::Key(KeyOperation::Put { key: name(key), value: name(key), condition }), key, 0);
        }
        Action::KeyDelete { key, condition } => {
            return (Operation::Key(KeyOperation::Delete { key: name(key), condition }), key, 0);
        }
    };
    (Operation::Object(operation), 0, 0)
}

/// The commands of a run of actions, and what the model says to each.
pub(super) fn commands(actions: &[Action]) -> Vec<Command> {
    let mut model = Model::default();
    actions.iter().map(|action| next(&mut model, action).0).collect()
}

fn next(model: &mut Model, action: &Action) -> (Command, Expected) {
    model.index += 1;
    if let Action::Wait(time) = action {
        model.time += time;
    }
    let (operation, key, tag) = operation_of(action, model);
    let command = Command { time: WallTime(model.time), session: None, operation };
    let expected = model.step(&command.operation, key, tag);
    (command, expected)
}

fn check_answer(expected: &Expected, answer: &Answer) {
    let fits = match expected {
        Exactly(exact) => exact == answer,
        InvalidAny => matches!(answer, Answer::Refused(Refusal::Invalid(_))),
    };
    assert!(fits, "answered {answer:?}, the model says {expected:?}");
}

fn check_state(model: &Model, replica: &Replica) {
    for (at, key) in KEYS.iter().enumerate() {
        match (replica.query(&Query::Object { object: object(key), version: None }), model.objects.get(&at)) {
            (QueryAnswer::Object(have), Some(want)) => {
                assert_eq!((have.version.0, have.etag, have.modified.0), (want.version, want.etag, want.modified));
                assert_eq!(have.bodies, want.bodies);
                assert_eq!(have.size, want.bodies.iter().map(|body| body.size).sum::<u64>());
            }
            (QueryAnswer::Refused(Refusal::NoSuchKey), None) if model.bucket => {}
            (QueryAnswer::Refused(Refusal::NoSuchBucket), None) if !model.bucket => {}
            (have, want) => panic!("{key}: {have:?}, the model has {want:?}"),
        }
        let have = match replica.query(&Query::Key { key: Bytes::from(key.as_bytes()) }) {
            QueryAnswer::Key(have) => have.map(|value| (value.revision, value.created)),
            other => panic!("{other:?}"),
        };
        assert_eq!(have, model.keys.get(&at).copied());
    }
    let queue = replica.reclaimable();
    assert_eq!(queue.len(), model.reclaimable().len());
    assert_eq!(queue.iter().map(|version| version.0).collect::<BTreeSet<_>>(), model.reclaimable());
    for (&(key, upload), want) in &model.uploads {
        let question =
            Query::Parts { object: object(KEYS[key]), upload: VersionId(upload), after: 0, limit: usize::MAX };
        let QueryAnswer::Parts { parts, more: false } = replica.query(&question) else { panic!("no upload") };
        let have: Vec<(u16, u8)> = parts.iter().map(|part| (part.number, part.etag.0[0])).collect();
        assert_eq!(have, want.parts.iter().map(|(number, (_, tag))| (*number, *tag)).collect::<Vec<_>>());
    }
    if model.bucket {
        check_listings(model, replica);
    }
}

/// Page by page, with each delimiter: the lines of the listing are the keys of the model, rolled up.
fn check_listings(model: &Model, replica: &Replica) {
    for (delimiter, limit) in [("", 1), ("/", 2), ("ab", 1), ("/", 5)] {
        let mut want: Vec<String> = Vec::new();
        for key in model.objects.keys().map(|at| KEYS[*at]).collect::<BTreeSet<_>>() {
            let cut = if delimiter.is_empty() { None } else { key.find(delimiter) };
            want.push(cut.map_or(key.to_string(), |at| key[..at + delimiter.len()].to_string()));
        }
        want.dedup();
        let (mut have, mut start_after): (Vec<String>, String) = (Vec::new(), String::new());
        loop {
            let question = Query::List {
                bucket: bucket("bkt"),
                prefix: String::new(),
                delimiter: delimiter.to_string(),
                start_after: start_after.clone(),
                limit,
            };
            let QueryAnswer::Listing(page) = replica.query(&question) else { panic!("not a listing") };
            let mut lines: Vec<String> = page.objects.into_iter().map(|listed| listed.key).collect();
            lines.extend(page.prefixes);
            lines.sort();
            have.extend(lines);
            let Some(next) = page.next else { break };
            assert!(next > start_after, "a listing that does not move on");
            start_after = next;
        }
        assert_eq!(have, want);
    }
}

proptest! {
    #[test]
    fn answers_and_state_are_those_of_the_model(actions in some_actions()) {
        let (mut model, mut replica) = (Model::default(), Replica::default());
        for action in &actions {
            let (command, expected) = next(&mut model, action);
            check_answer(&expected, &replica.apply(&command));
            check_state(&model, &replica);
        }
    }
}
