//! Buckets that keep versions, against a model that is a list of versions for each key, the newest first.
//!
//! The model knows no indexes, no notes of null versions and no uses: it searches its lists.

use super::*;
use alloc::collections::BTreeSet;
use alloc::string::String;
use proptest::prelude::*;

const KEYS: [&str; 4] = ["a", "a/b", "a/c", "b"];

#[derive(Clone, Debug, PartialEq)]
struct Held {
    version: u128,
    decided: u64,
    is_null: bool,
    /// The tag and whether its body is striped; none for a delete marker.
    body: Option<(u8, bool)>,
    locked_until: u64,
}

impl Held {
    fn name(&self) -> VersionName {
        if self.is_null {
            VersionName::Null
        } else {
            VersionName::Id { decided: LogIndex(self.decided), version: VersionId(self.version) }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Versioning(bool),
    Lock(Option<u32>),
    Put {
        key: usize,
        striped: bool,
        tag: u8,
        absent: bool,
    },
    Upload {
        key: usize,
        tag: u8,
    },
    Remove {
        key: usize,
    },
    /// The `at`th version of the key from the newest on, or one that is not there.
    RemoveVersion {
        key: usize,
        at: usize,
        bypass: bool,
    },
    RemoveNull {
        key: usize,
    },
    Tag {
        key: usize,
        at: usize,
    },
    Relocate {
        key: usize,
        at: usize,
    },
    Repeat,
}

#[derive(Clone, Debug, Default)]
struct Model {
    time: u64,
    versioning: Versioning,
    lock: Option<Option<u32>>,
    keys: BTreeMap<usize, Vec<Held>>,
    /// Striped bodies that were given up.
    owed: Vec<u128>,
}

impl Model {
    fn live(&self, key: usize) -> Option<&Held> {
        self.keys.get(&key).and_then(|held| held.first()).filter(|held| held.body.is_some())
    }

    fn drop_version(&mut self, key: usize, at: usize) {
        let gone = self.keys.get_mut(&key).expect("it is there").remove(at);
        if matches!(gone.body, Some((_, true))) {
            self.owed.push(gone.version);
        }
    }

    fn lay(&mut self, key: usize, held: Held) {
        if held.is_null {
            let old = self.keys.get(&key).and_then(|held| held.iter().position(|held| held.is_null));
            if let Some(at) = old {
                self.drop_version(key, at);
            }
        }
        self.keys.entry(key).or_default().insert(0, held);
    }
}

fn a_step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    prop_oneof![
        1 => (1_u64..(40 * 3600 * 1000)).prop_map(Step::Wait),
        3 => prop_oneof![4 => Just(true), 3 => Just(false)].prop_map(Step::Versioning),
        1 => prop_oneof![Just(None), Just(Some(1))].prop_map(Step::Lock),
        10 => (key(), any::<bool>(), 1_u8..4, 0_u8..6)
            .prop_map(|(key, striped, tag, absent)| Step::Put { key, striped, tag, absent: absent == 0 }),
        2 => (key(), 1_u8..4).prop_map(|(key, tag)| Step::Upload { key, tag }),
        4 => key().prop_map(|key| Step::Remove { key }),
        5 => (key(), 0_usize..4, any::<bool>()).prop_map(|(key, at, bypass)| Step::RemoveVersion { key, at, bypass }),
        2 => key().prop_map(|key| Step::RemoveNull { key }),
        1 => (key(), 0_usize..3).prop_map(|(key, at)| Step::Tag { key, at }),
        2 => (key(), 0_usize..3).prop_map(|(key, at)| Step::Relocate { key, at }),
        1 => Just(Step::Repeat),
    ]
}

fn body_of(version: u128, striped_body: bool) -> Body {
    if striped_body { striped(version, 9) } else { inline(version) }
}

/// Runs a step on both, and compares the answers.
fn run(model: &mut Model, replica: &mut Replica, step: &Step, last: &mut Option<(Command, Answer)>) {
    // Versions are named by the index that decides them: no name meets twice.
    let index = replica.next + 1;
    let version = u128::from(index) << 8;
    let is_null = model.versioning != Versioning::Enabled;
    let until = match model.lock {
        Some(Some(days)) => model.time + u64::from(days) * 24 * 3600 * 1000,
        Some(None) | None => 0,
    };
    let name = |decided: u64| {
        if is_null {
            VersionName::Null
        } else {
            VersionName::Id { decided: LogIndex(decided), version: VersionId(version) }
        }
    };
    let (operation, expected) = match *step {
        Step::Wait(time) => {
            model.time += time;
            (resolve(&[]), Answer::Resolved(vec![]))
        }
        Step::Versioning(enabled) => {
            let setting = BucketSetting::Versioning { enabled };
            let operation = ObjectOperation::ConfigureBucket { bucket: bucket("bkt"), setting };
            if !enabled && model.lock.is_some() {
                let answer = replica.object(model.time, operation);
                assert!(matches!(answer, Answer::Refused(Refusal::BucketState(_))), "{answer:?}");
                return;
            }
            model.versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
            (operation, Answer::Done)
        }
        Step::Lock(days) => {
            let default =
                days.map(|days| DefaultRetention { mode: RetentionMode::Governance, period: Period::Days(days) });
            let setting = BucketSetting::Lock(LockSettings { default });
            let operation = ObjectOperation::ConfigureBucket { bucket: bucket("bkt"), setting };
            if model.versioning != Versioning::Enabled {
                let answer = replica.object(model.time, operation);
                assert!(matches!(answer, Answer::Refused(Refusal::BucketState(_))), "{answer:?}");
                return;
            }
            model.lock = Some(days);
            (operation, Answer::Done)
        }
        Step::Put { key, striped, tag, absent } => {
            let condition = if absent { ObjectCondition::Absent } else { ObjectCondition::Any };
            let operation = put_if(KEYS[key], body_of(version, striped), tag, u64::MAX, condition);
            if absent && model.live(key).is_some() {
                (operation, Answer::Refused(Refusal::ConditionFailed))
            } else {
                let body = Some((tag, striped));
                model.lay(key, Held { version, decided: index, is_null, body, locked_until: until });
                let (etag, version) = (etag(tag), VersionId(version));
                let answer = match model.versioning {
                    Versioning::Never => Answer::Put { etag, version },
                    Versioning::Enabled | Versioning::Suspended => {
                        Answer::PutVersion { etag, version, name: name(index) }
                    }
                };
                (operation, answer)
            }
        }
        Step::Upload { key, tag } => {
            let (upload, part) = (version + 1, version + 2);
            assert_eq!(replica.object(model.time, create_upload(KEYS[key], upload)), Answer::Done);
            let placed = replica.object(model.time, put_part(KEYS[key], upload, 1, striped(part, 9), tag, u64::MAX));
            assert!(matches!(placed, Answer::Put { .. }));
            let answer = replica.object(model.time, complete(KEYS[key], upload, &[(1, tag)]));
            let decided = replica.next;
            // The model calls it by its part, which is what is owed when it goes.
            let held = Held { version: part, decided, is_null, body: Some((tag, true)), locked_until: until };
            model.lay(key, held);
            let is_right = match (&answer, model.versioning) {
                (Answer::Put { version, .. }, Versioning::Never) => *version == VersionId(upload),
                (Answer::PutVersion { name: VersionName::Null, .. }, Versioning::Suspended) => true,
                (Answer::PutVersion { name: VersionName::Id { decided: at, .. }, .. }, Versioning::Enabled) => {
                    at.0 == decided
                }
                _ => false,
            };
            assert!(is_right, "{answer:?}");
            assert_eq!(replica.object(model.time, complete(KEYS[key], upload, &[(1, tag)])), answer, "a repeat");
            return;
        }
        Step::Remove { key } => {
            let removal =
                Removal { version: None, marker: VersionId(version), condition: DeleteCondition::NONE, bypass: false };
            let operation = ObjectOperation::Remove { object: object(KEYS[key]), removal };
            if model.versioning == Versioning::Never {
                if model.keys.get(&key).is_some_and(|held| !held.is_empty()) {
                    model.drop_version(key, 0);
                }
                (operation, Answer::Deleted { name: None, marker: false })
            } else {
                model.lay(key, Held { version, decided: index, is_null, body: None, locked_until: 0 });
                (operation, Answer::Deleted { name: Some(name(index)), marker: true })
            }
        }
        Step::RemoveVersion { key, at, bypass } => {
            let held = model.keys.get(&key).and_then(|held| held.get(at)).cloned();
            // An upload's version is known to the model by its part.
            let shown = listed(replica, KEYS[key]).get(at).map(|line| line.name);
            let missing = VersionName::Id { decided: LogIndex(1), version: VersionId(1) };
            let named = shown.unwrap_or(missing);
            let removal =
                Removal { version: Some(named), marker: VersionId(0), condition: DeleteCondition::NONE, bypass };
            let operation = ObjectOperation::Remove { object: object(KEYS[key]), removal };
            let is_locked = held.as_ref().is_some_and(|held| held.locked_until >= model.time && held.locked_until > 0);
            if is_locked && !bypass {
                (operation, Answer::Refused(Refusal::Locked))
            } else {
                let marker = held.as_ref().is_some_and(|held| held.body.is_none());
                if held.is_some() {
                    model.drop_version(key, at);
                }
                (operation, Answer::Deleted { name: Some(named), marker })
            }
        }
        Step::RemoveNull { key } => {
            let at = model.keys.get(&key).and_then(|held| held.iter().position(|held| held.is_null));
            let marker = at.is_some_and(|at| model.keys[&key][at].body.is_none());
            if let Some(at) = at {
                model.drop_version(key, at);
            }
            let version = Some(VersionName::Null);
            let removal = Removal { version, marker: VersionId(0), condition: DeleteCondition::NONE, bypass: false };
            let operation = ObjectOperation::Remove { object: object(KEYS[key]), removal };
            (operation, Answer::Deleted { name: version, marker })
        }
        Step::Tag { key, at } => {
            let Some(line) = listed(replica, KEYS[key]).get(at).cloned() else { return };
            let amendment = Amendment::Tags(texts(&[("t", "v")]));
            let operation = ObjectOperation::Amend { object: object(KEYS[key]), version: Some(line.name), amendment };
            let answer = if line.is_marker {
                let modified = line.listed.modified;
                Answer::Refused(Refusal::DeleteMarker { name: line.name, modified, named: true })
            } else {
                let name = (model.versioning != Versioning::Never).then_some(line.name);
                Answer::Amended { name }
            };
            (operation, answer)
        }
        Step::Relocate { key, at } => {
            let Some(held) = model.keys.get(&key).and_then(|held| held.get(at)).cloned() else { return };
            if !matches!(held.body, Some((_, true))) {
                return;
            }
            // A body is found by its version, wherever in the order that is.
            let QueryAnswer::Body(Some(body)) = replica.query(&Query::Body { version: VersionId(held.version) }) else {
                panic!("the body of {held:?} is not found")
            };
            assert_eq!(body.version, VersionId(held.version));
            return;
        }
        Step::Repeat => {
            let Some((command, answer)) = last.clone() else { return };
            let before = replica.rows.clone();
            let repeat = replica.apply(&command);
            let expected = match answer {
                // A version that is gone has no name any more.
                Answer::PutVersion { etag, version, .. }
                    if !model.keys.values().flatten().any(|held| held.version == version.0) =>
                {
                    Answer::Put { etag, version }
                }
                answer => answer,
            };
            assert_eq!(repeat, expected, "a repeat is answered as the first time");
            let meta = layout::Layout(GROUP).meta();
            let changed: Vec<_> =
                replica.rows.0.iter().filter(|(key, value)| before.0.get(*key) != Some(value)).collect();
            assert!(changed.iter().all(|(key, _)| **key == meta), "a repeat changes nothing");
            return;
        }
    };
    let command = Command { time: WallTime(model.time), session: None, operation: Operation::Object(operation) };
    let answer = replica.apply(&command);
    assert_eq!(answer, expected, "{step:?}");
    *last = match step {
        Step::Put { .. } if !matches!(answer, Answer::Refused(_)) => Some((command, answer)),
        _ => None,
    };
}

fn listed(replica: &Replica, key: &str) -> Vec<ListedVersion> {
    all_versions(replica, "", usize::MAX).into_iter().filter(|line| line.listed.key == key).collect()
}

fn all_versions(replica: &Replica, prefix: &str, limit: usize) -> Vec<ListedVersion> {
    let mut found = Vec::new();
    let mut after = (String::new(), None);
    loop {
        let question = Query::Versions {
            bucket: bucket("bkt"),
            prefix: prefix.to_string(),
            delimiter: String::new(),
            after: after.clone(),
            limit,
        };
        let QueryAnswer::Versions(page) = replica.query(&question) else { panic!("not versions") };
        assert!(page.versions.len() <= limit);
        found.extend(page.versions);
        match page.next {
            Some(next) => after = next,
            None => return found,
        }
    }
}

fn check(model: &Model, replica: &Replica) {
    for limit in [1, 2, 100] {
        let have = all_versions(replica, "", limit);
        let mut want = Vec::new();
        let mut order: Vec<(&str, usize)> = KEYS.iter().zip(0..).map(|(key, at)| (*key, at)).collect();
        order.sort_unstable();
        for (key, at) in order {
            for (age, held) in model.keys.get(&at).into_iter().flatten().enumerate() {
                want.push((key.to_string(), held.decided, held.is_null, held.body.is_none(), age == 0));
            }
        }
        let have: Vec<_> = have
            .into_iter()
            .map(|line| {
                let is_null = line.name == VersionName::Null;
                (line.listed.key, line.decided.0, is_null, line.is_marker, line.is_latest)
            })
            .collect();
        assert_eq!(have, want, "pages of {limit}");
    }
    let mut live = BTreeSet::new();
    for (at, key) in KEYS.iter().enumerate() {
        let found = replica.query(&Query::Object { object: object(key), version: None });
        match (model.keys.get(&at).and_then(|held| held.first()), found) {
            (None, QueryAnswer::Refused(Refusal::NoSuchKey)) => {}
            (Some(held), QueryAnswer::Refused(Refusal::DeleteMarker { name, named: false, .. })) => {
                assert!(held.body.is_none());
                assert_eq!(name, held.name());
            }
            (Some(held), QueryAnswer::Object(found)) => {
                assert_eq!(found.bodies[0].version.0, held.version);
                live.insert(key.to_string());
            }
            (want, have) => panic!("{key}: {have:?}, the model has {want:?}"),
        }
        let null = model.keys.get(&at).and_then(|held| held.iter().find(|held| held.is_null));
        let found = replica.query(&Query::Object { object: object(key), version: Some(VersionName::Null) });
        match (null, found) {
            (None, QueryAnswer::Refused(Refusal::NoSuchVersion)) => {}
            (Some(held), QueryAnswer::Refused(Refusal::DeleteMarker { named: true, .. })) => {
                assert!(held.body.is_none());
            }
            (Some(held), QueryAnswer::Object(found)) => assert_eq!(found.bodies[0].version.0, held.version),
            (want, have) => panic!("{key}, null: {have:?}, the model has {want:?}"),
        }
    }
    let question = Query::List {
        bucket: bucket("bkt"),
        prefix: String::new(),
        delimiter: String::new(),
        start_after: String::new(),
        limit: 99,
    };
    let QueryAnswer::Listing(page) = replica.query(&question) else { panic!("not a listing") };
    assert_eq!(page.objects.into_iter().map(|line| line.key).collect::<BTreeSet<_>>(), live);
    let owed: Vec<u128> = replica.reclaimable().into_iter().map(|version| version.0).collect();
    assert_eq!(owed, model.owed, "what is owed to the queue");
    for version in model.keys.values().flatten().filter(|held| matches!(held.body, Some((_, true)))) {
        assert!(!owed.contains(&version.version), "a version in use is owed to the queue");
    }
}

proptest! {
    #[test]
    fn versions_are_those_of_the_model(steps in proptest::collection::vec(a_step(), 1..50)) {
        let (mut model, mut replica) = (Model::default(), Replica::with_bucket());
        let mut last = None;
        for step in &steps {
            run(&mut model, &mut replica, step, &mut last);
            check(&model, &replica);
        }
        // Once every version is gone the bucket can be deleted, and nothing of it is left.
        for key in KEYS {
            for line in listed(&replica, key) {
                let removal = Removal {
                    version: Some(line.name),
                    marker: VersionId(0),
                    condition: DeleteCondition::NONE,
                    bypass: true,
                };
                let operation = ObjectOperation::Remove { object: object(key), removal };
                let answer = replica.object(model.time, operation);
                prop_assert!(matches!(answer, Answer::Deleted { .. }), "{answer:?}");
            }
        }
        prop_assert_eq!(replica.object(model.time, ObjectOperation::DeleteBucket { bucket: bucket("bkt") }), Answer::Done);
        let left: Vec<u8> = replica.rows.0.keys().map(|key| key[layout::GROUP_SIZE]).collect();
        prop_assert!(left.iter().all(|table| [0x00, 0x32, 0x35, 0x36].contains(table)), "{left:02x?}");
    }
}

#[test]
fn a_page_goes_on_where_it_ended_though_that_version_is_gone() {
    let mut replica = Replica::with_bucket();
    let setting = BucketSetting::Versioning { enabled: true };
    replica.object(1, ObjectOperation::ConfigureBucket { bucket: bucket("bkt"), setting });
    for version in 1..=5 {
        replica.object(1, put("k", inline(version), 1, 0));
    }
    let mut after = (String::new(), None);
    let mut seen = 0;
    loop {
        let question =
            Query::Versions { bucket: bucket("bkt"), prefix: String::new(), delimiter: String::new(), after, limit: 2 };
        let QueryAnswer::Versions(page) = replica.query(&question) else { panic!("not versions") };
        for line in page.versions {
            seen += 1;
            assert_eq!(line.is_latest, [1, 3, 5].contains(&seen), "the newest that is left");
            let condition = DeleteCondition::NONE;
            let removal = Removal { version: Some(line.name), marker: VersionId(0), condition, bypass: false };
            replica.object(1, ObjectOperation::Remove { object: object("k"), removal });
        }
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!(seen, 5);
}

#[test]
fn compliance_is_never_shortened_and_a_hold_is_lifted_first() {
    let mut replica = Replica::default();
    let options = BucketOptions { lock: true, ..BucketOptions::default() };
    replica.object(0, ObjectOperation::CreateBucketWith { bucket: bucket("bkt"), options });
    replica.object(1, put("k", inline(1), 1, 0));
    let mut amend = |time, amendment| {
        replica.object(time, ObjectOperation::Amend { object: object("k"), version: None, amendment })
    };
    let retain = |mode, until, bypass| Amendment::Retention {
        retention: Some(Retention { mode, until: WallTime(until) }),
        bypass,
    };
    use RetentionMode::{Compliance, Governance};
    let locked = Answer::Refused(Refusal::Locked);
    let is_done = |answer: Answer| matches!(answer, Answer::Amended { .. });
    assert!(matches!(amend(10, retain(Governance, 10, false)), Answer::Refused(Refusal::Invalid(_))));
    assert!(is_done(amend(10, retain(Governance, 100, false))));
    assert!(is_done(amend(10, retain(Governance, 110, false))));
    assert_eq!(amend(10, retain(Governance, 100, false)), locked);
    assert_eq!(amend(10, retain(Compliance, 120, false)), locked);
    assert!(is_done(amend(10, retain(Governance, 100, true))));
    assert!(is_done(amend(10, retain(Compliance, 100, true))));
    for bypass in [false, true] {
        assert_eq!(amend(10, retain(Compliance, 99, bypass)), locked);
        assert_eq!(amend(10, retain(Governance, 200, bypass)), locked);
        assert_eq!(amend(10, Amendment::Retention { retention: None, bypass }), locked);
    }
    assert!(is_done(amend(10, retain(Compliance, 200, false))));
    assert!(is_done(amend(10, Amendment::LegalHold(true))));
    let QueryAnswer::Object(found) = replica.query(&Query::Object { object: object("k"), version: None }) else {
        panic!("it is there")
    };
    let remove = |bypass| {
        let removal = Removal { version: found.name, marker: VersionId(0), condition: DeleteCondition::NONE, bypass };
        ObjectOperation::Remove { object: object("k"), removal }
    };
    assert_eq!(replica.object(200, remove(true)), locked, "the retention has not ended");
    assert_eq!(replica.object(201, remove(true)), locked, "a hold has no end");
    let amendment = Amendment::LegalHold(false);
    replica.object(201, ObjectOperation::Amend { object: object("k"), version: None, amendment });
    assert!(matches!(replica.object(201, remove(false)), Answer::Deleted { .. }));
}
