//! Lifecycle rules, against a reference that reads a list of versions for each key and counts days one by one.
//!
//! The reference knows neither pages nor positions. It says of every version and upload whether it is due; the search has to find
//! just those, and a command has to remove just those, whoever sends it and whatever it was told.

use super::*;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use proptest::prelude::*;

/// Milliseconds of a day in these tests: short, so that ends of days matter.
const DAY: u64 = 10;
const KEYS: [&str; 5] = ["a", "a/b", "a/c", "b", "é"];

#[derive(Clone, Debug)]
struct Held {
    version: u128,
    decided: u64,
    modified: u64,
    is_null: bool,
    is_marker: bool,
    size: u64,
    tags: BTreeMap<String, String>,
    locked_until: Option<u64>,
}

#[derive(Clone, Debug)]
struct Begun {
    key: usize,
    upload: u128,
    created: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Versioning(bool),
    Put {
        key: usize,
        size: u64,
        tag: Option<u8>,
        locked: Option<u64>,
    },
    Upload {
        key: usize,
    },
    Remove {
        key: usize,
    },
    Rules(Vec<LifecycleRule>),
    NoRules,
    /// Sends a command for the `at`th version of the key, or as if the version above it were another.
    Expire {
        key: usize,
        at: usize,
        misplaced: bool,
    },
    ExpireUpload {
        at: usize,
    },
    /// Searches with pages of this size, and carries out what was found.
    Pass {
        limit: usize,
    },
}

fn some_tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop_oneof![
        3 => Just(BTreeMap::new()),
        2 => (1_u8..3).prop_map(|value| texts(&[("t", &value.to_string())])),
        1 => Just(texts(&[("t", "1"), ("u", "1")])),
    ]
}

fn a_rule() -> impl Strategy<Value = LifecycleRule> {
    let filter = (
        prop_oneof![Just(""), Just("a"), Just("a/"), Just("b"), Just("é"), Just("c")],
        some_tags(),
        proptest::option::weighted(0.2, 0_u64..4),
        proptest::option::weighted(0.2, 1_u64..5),
    )
        .prop_map(|(prefix, tags, larger_than, smaller_than)| LifecycleFilter {
            prefix: prefix.to_string(),
            tags,
            larger_than,
            smaller_than,
        });
    let expiration = prop_oneof![
        (1_u32..4).prop_map(Expiration::Days),
        (0_u64..8).prop_map(|day| Expiration::Date(WallTime(day * DAY))),
        Just(Expiration::Marker),
    ];
    let noncurrent = (1_u32..4, 0_u32..3).prop_map(|(days, keep)| NoncurrentExpiration { days, keep });
    (
        proptest::bool::weighted(0.9),
        filter,
        proptest::option::of(expiration),
        proptest::option::of(noncurrent),
        proptest::option::weighted(0.3, 1_u32..4),
    )
        .prop_map(|(enabled, filter, expiration, noncurrent, abort_days)| LifecycleRule {
            id: String::new(),
            enabled,
            filter,
            expiration,
            noncurrent,
            abort_days,
        })
}

fn a_step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    prop_oneof![
        3 => (1_u64..15).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Versioning),
        6 => (key(), 0_u64..5, proptest::option::of(1_u8..3), proptest::option::weighted(0.3, 1_u64..40))
            .prop_map(|(key, size, tag, locked)| Step::Put { key, size, tag, locked }),
        1 => key().prop_map(|key| Step::Upload { key }),
        2 => key().prop_map(|key| Step::Remove { key }),
        2 => proptest::collection::vec(a_rule(), 1..4).prop_map(Step::Rules),
        1 => Just(Step::NoRules),
        3 => (key(), 0_usize..5, proptest::bool::weighted(0.2))
            .prop_map(|(key, at, misplaced)| Step::Expire { key, at, misplaced }),
        1 => (0_usize..3).prop_map(|at| Step::ExpireUpload { at }),
        2 => (2_usize..6).prop_map(|limit| Step::Pass { limit }),
    ]
}

/// What is known without the state machine.
#[derive(Debug, Default)]
struct Model {
    time: u64,
    locks: bool,
    versioning: Versioning,
    keys: BTreeMap<usize, Vec<Held>>,
    uploads: Vec<Begun>,
    rules: Vec<LifecycleRule>,
}

/// The first end of a day at or after `days` days.
fn end_of(from: u64, days: u32) -> u64 {
    let mut end = from;
    for _ in 0..days {
        end += DAY;
    }
    while !end.is_multiple_of(DAY) {
        end += 1;
    }
    end
}

fn is_about(rule: &LifecycleRule, key: &str, of: Option<(u64, &BTreeMap<String, String>)>) -> bool {
    if !rule.enabled || !key.starts_with(rule.filter.prefix.as_str()) {
        return false;
    }
    let filter = &rule.filter;
    match of {
        None => filter.tags.is_empty() && filter.larger_than.is_none() && filter.smaller_than.is_none(),
        Some((size, tags)) => {
            for (name, value) in &filter.tags {
                if tags.get(name) != Some(value) {
                    return false;
                }
            }
            !matches!(filter.larger_than, Some(bound) if size <= bound)
                && !matches!(filter.smaller_than, Some(bound) if size >= bound)
        }
    }
}

impl Model {
    fn is_due(&self, key: usize, at: usize) -> bool {
        let held = &self.keys[&key];
        let one = &held[at];
        for rule in &self.rules {
            let of = if one.is_marker { None } else { Some((one.size, &one.tags)) };
            if !is_about(rule, KEYS[key], of) {
                continue;
            }
            let wanted = if at > 0 {
                let newer = at - 1;
                let since = held[at - 1].modified;
                rule.noncurrent.is_some_and(|goes| newer >= goes.keep as usize && self.time >= end_of(since, goes.days))
            } else if one.is_marker {
                held.len() == 1
                    && match rule.expiration {
                        Some(Expiration::Marker) => true,
                        Some(Expiration::Days(days)) => self.time >= end_of(one.modified, days),
                        Some(Expiration::Date(_)) | None => false,
                    }
            } else {
                match rule.expiration {
                    Some(Expiration::Days(days)) => self.time >= end_of(one.modified, days),
                    Some(Expiration::Date(date)) => self.time >= date.0,
                    Some(Expiration::Marker) | None => false,
                }
            };
            let covers_only = at == 0 && self.versioning == Versioning::Enabled;
            let is_locked = one.locked_until.is_some_and(|until| until >= self.time) && !covers_only;
            if wanted && !is_locked {
                return true;
            }
        }
        false
    }

    fn is_upload_due(&self, begun: &Begun) -> bool {
        self.rules.iter().any(|rule| {
            is_about(rule, KEYS[begun.key], None)
                && rule.abort_days.is_some_and(|days| self.time >= end_of(begun.created, days))
        })
    }

    /// A new version, or a marker, comes on top.
    fn lay(&mut self, key: usize, mut new: Held) {
        let held = self.keys.entry(key).or_default();
        new.is_null = self.versioning != Versioning::Enabled;
        if new.is_null {
            held.retain(|old| !old.is_null);
        }
        held.insert(0, new);
    }

    fn hide(&mut self, key: usize, marker: u128, decided: u64) {
        if self.versioning == Versioning::Never {
            self.keys.remove(&key);
            return;
        }
        let (modified, is_null, is_marker) = (self.time, false, true);
        let (size, tags, locked_until) = (0, BTreeMap::new(), None);
        self.lay(key, Held { version: marker, decided, modified, is_null, is_marker, size, tags, locked_until });
    }

    /// What the decided removal of the `at`th version does.
    fn expire(&mut self, key: usize, at: usize, marker: u128, decided: u64) {
        let held = self.keys.get_mut(&key).expect("it is there");
        if at == 0 && !held[0].is_marker {
            self.hide(key, marker, decided);
        } else {
            held.remove(at);
            if held.is_empty() {
                self.keys.remove(&key);
            }
        }
    }

    fn everything_due(&self) -> BTreeSet<String> {
        let mut due = BTreeSet::new();
        for (key, held) in &self.keys {
            for (at, one) in held.iter().enumerate() {
                if self.is_due(*key, at) {
                    due.insert(format!("{} {}", KEYS[*key], one.decided));
                }
            }
        }
        for begun in self.uploads.iter().filter(|begun| self.is_upload_due(begun)) {
            due.insert(format!("{} upload {}", KEYS[begun.key], begun.upload));
        }
        due
    }
}

struct Run {
    replica: Replica,
    model: Model,
    next: u128,
}

impl Run {
    fn fresh(&mut self) -> u128 {
        self.next += 1;
        self.next
    }

    fn send(&mut self, operation: ObjectOperation) -> Answer {
        self.replica.object(self.model.time, operation)
    }

    fn configure(&mut self, setting: BucketSetting) -> Answer {
        self.send(ObjectOperation::ConfigureBucket { bucket: bucket("bkt"), setting })
    }

    fn expire(&mut self, key: &str, what: Expiry) -> (Answer, u128) {
        let marker = self.fresh();
        let operation = ObjectOperation::Expire { object: object(key), what, marker: VersionId(marker), day: DAY };
        (self.send(operation), marker)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(time) => self.model.time += time,
            Step::Versioning(enabled) => {
                if !self.model.locks {
                    assert_eq!(self.configure(BucketSetting::Versioning { enabled: *enabled }), Answer::Done);
                    self.model.versioning = if *enabled { Versioning::Enabled } else { Versioning::Suspended };
                }
            }
            Step::Put { key, size, tag, locked } => self.put(*key, *size, *tag, *locked),
            Step::Upload { key } => {
                let upload = self.fresh();
                assert_eq!(self.send(create_upload(KEYS[*key], upload)), Answer::Done);
                self.model.uploads.push(Begun { key: *key, upload, created: self.model.time });
            }
            Step::Remove { key } => {
                let marker = self.fresh();
                let (version, condition, bypass) = (None, DeleteCondition::NONE, false);
                let removal = Removal { version, marker: VersionId(marker), condition, bypass };
                let answer = self.send(ObjectOperation::Remove { object: object(KEYS[*key]), removal });
                assert!(matches!(answer, Answer::Deleted { .. }), "{answer:?}");
                self.model.hide(*key, marker, self.replica.next);
            }
            Step::Rules(rules) => {
                let setting = BucketSetting::Lifecycle { text: "rules".to_string(), rules: rules.clone() };
                assert_eq!(self.configure(setting), Answer::Done);
                self.model.rules.clone_from(rules);
            }
            Step::NoRules => {
                let setting = BucketSetting::Document { kind: DocumentKind::Lifecycle, text: None };
                assert_eq!(self.configure(setting), Answer::Done);
                self.model.rules.clear();
            }
            Step::Expire { key, at, misplaced } => self.expire_one(*key, *at, *misplaced),
            Step::ExpireUpload { at } => {
                let Some(begun) = self.model.uploads.get(*at).cloned() else { return };
                let is_due = self.model.is_upload_due(&begun);
                let what = Expiry::Upload { upload: VersionId(begun.upload) };
                let (answer, _) = self.expire(KEYS[begun.key], what);
                assert_eq!(answer == Answer::Done, is_due, "{answer:?}");
                if is_due {
                    self.model.uploads.remove(*at);
                }
            }
            Step::Pass { limit } => self.pass(*limit),
        }
    }

    fn put(&mut self, key: usize, size: u64, tag: Option<u8>, locked: Option<u64>) {
        let version = self.fresh();
        let tags = tag.map_or_else(BTreeMap::new, |tag| texts(&[("t", &tag.to_string())]));
        let until = locked.filter(|_| self.model.locks).map(|after| self.model.time + after);
        let retention = until.map(|until| Retention { mode: RetentionMode::Governance, until: WallTime(until) });
        let attributes = Box::new(Attributes { tags: tags.clone(), retention, ..Attributes::default() });
        let answer = self.send(ObjectOperation::PutVersion {
            object: object(KEYS[key]),
            body: striped(version, size),
            etag: etag(1),
            metadata: Metadata::default(),
            attributes,
            condition: ObjectCondition::Any,
            expires: WallTime(u64::MAX),
        });
        assert!(matches!(answer, Answer::Put { .. } | Answer::PutVersion { .. }), "{answer:?}");
        let (decided, modified) = (self.replica.next, self.model.time);
        let (is_null, is_marker, locked_until) = (false, false, until);
        self.model.lay(key, Held { version, decided, modified, is_null, is_marker, size, tags, locked_until });
    }

    fn expire_one(&mut self, key: usize, at: usize, misplaced: bool) {
        let Some(held) = self.model.keys.get(&key).filter(|held| at < held.len()) else { return };
        let over = at.checked_sub(1).map(|over| LogIndex(held[over].decided));
        let elsewhere = if at == 0 { Some(LogIndex(1)) } else { None };
        let covered_by = if misplaced { elsewhere } else { over };
        let (decided, version) = (LogIndex(held[at].decided), VersionId(held[at].version));
        let is_due = !misplaced && self.model.is_due(key, at);
        let (answer, marker) = self.expire(KEYS[key], Expiry::Version { decided, version, covered_by });
        assert_eq!(matches!(answer, Answer::Deleted { .. }), is_due, "{answer:?}");
        if is_due {
            self.model.expire(key, at, marker, self.replica.next);
        } else {
            assert_eq!(answer, Answer::Refused(Refusal::ConditionFailed));
        }
    }

    fn pass(&mut self, limit: usize) {
        let calendar = Calendar { now: WallTime(self.model.time), day: DAY };
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let answer = self.replica.query(&Query::Expirable { after, limit, calendar });
            let QueryAnswer::Expirable { due, next } = answer else { panic!("not what is due: {answer:?}") };
            assert!(due.len() <= limit);
            found.extend(due);
            if next.is_none() {
                break;
            }
            after = next;
        }
        let line = |(object, what): &(ObjectName, Expiry)| match what {
            Expiry::Version { decided, .. } => format!("{} {decided}", object.key),
            Expiry::Upload { upload } => format!("{} upload {}", object.key, upload.0),
        };
        let lines: BTreeSet<String> = found.iter().map(line).collect();
        assert_eq!(lines.len(), found.len(), "nothing is found twice");
        assert_eq!(lines, self.model.everything_due());
        // LIFE-5: all of it can go in one pass, the oldest first.
        for (object, what) in found.into_iter().rev() {
            let key = KEYS.iter().position(|key| *key == object.key).expect("no other key is there");
            let (answer, marker) = self.expire(&object.key, what);
            match what {
                Expiry::Version { decided, .. } => {
                    assert!(matches!(answer, Answer::Deleted { .. }), "{answer:?}");
                    let held = &self.model.keys[&key];
                    let at = held.iter().position(|held| held.decided == decided.0).expect("it was due");
                    self.model.expire(key, at, marker, self.replica.next);
                }
                Expiry::Upload { upload } => {
                    assert_eq!(answer, Answer::Done);
                    self.model.uploads.retain(|begun| begun.upload != upload.0);
                }
            }
        }
    }

    /// Versions and uploads are those of the model.
    fn check(&self) {
        let (prefix, delimiter, after) = (String::new(), String::new(), (String::new(), None));
        let question = Query::Versions { bucket: bucket("bkt"), prefix, delimiter, after, limit: usize::MAX };
        let QueryAnswer::Versions(page) = self.replica.query(&question) else { panic!("not versions") };
        let have: Vec<(String, u64, bool)> =
            page.versions.into_iter().map(|line| (line.listed.key, line.decided.0, line.is_marker)).collect();
        let want: Vec<(String, u64, bool)> = self
            .model
            .keys
            .iter()
            .flat_map(|(key, held)| held.iter().map(|one| (KEYS[*key].to_string(), one.decided, one.is_marker)))
            .collect();
        assert_eq!(have, want);
        let question = Query::Uploads { bucket: bucket("bkt"), prefix: String::new(), limit: usize::MAX };
        let QueryAnswer::Uploads { uploads, .. } = self.replica.query(&question) else { panic!("not uploads") };
        let have: BTreeSet<u128> = uploads.into_iter().map(|upload| upload.upload.0).collect();
        assert_eq!(have, self.model.uploads.iter().map(|begun| begun.upload).collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_rules_want_goes_and_nothing_else(
        locks in any::<bool>(),
        steps in proptest::collection::vec(a_step(), 1..60),
    ) {
        let mut run = Run { replica: Replica::default(), model: Model::default(), next: 0 };
        let options = BucketOptions { lock: locks, ..BucketOptions::default() };
        let operation = ObjectOperation::CreateBucketWith { bucket: bucket("bkt"), options };
        prop_assert_eq!(run.send(operation), Answer::Done);
        run.model.locks = locks;
        run.model.versioning = if locks { Versioning::Enabled } else { Versioning::Never };
        for step in &steps {
            run.step(step);
            run.check();
        }
    }
}

#[test]
fn rules_go_with_their_document_and_with_their_bucket() {
    let mut replica = Replica::with_bucket();
    let rules = vec![LifecycleRule { enabled: true, abort_days: Some(1), ..LifecycleRule::default() }];
    let set = |rules: &[LifecycleRule]| ObjectOperation::ConfigureBucket {
        bucket: bucket("bkt"),
        setting: BucketSetting::Lifecycle { text: "x".to_string(), rules: rules.to_vec() },
    };
    assert_eq!(replica.query(&Query::RulesSet), QueryAnswer::RulesSet(None));
    assert!(matches!(replica.object(1, set(&[])), Answer::Refused(Refusal::Invalid(_))));
    assert_eq!(replica.object(1, set(&rules)), Answer::Done);
    assert_eq!(replica.query(&Query::RulesSet), QueryAnswer::RulesSet(Some(LogIndex(replica.next))));
    assert_eq!(replica.object(1, ObjectOperation::DeleteBucket { bucket: bucket("bkt") }), Answer::Done);
    assert_eq!(replica.query(&Query::RulesSet), QueryAnswer::RulesSet(None));
}

#[test]
fn the_newest_noncurrent_versions_are_kept_and_counted_across_pages() {
    let mut run = Run { replica: Replica::with_bucket(), model: Model::default(), next: 0 };
    run.step(&Step::Versioning(true));
    let noncurrent = Some(NoncurrentExpiration { days: 1, keep: 100 });
    run.step(&Step::Rules(vec![LifecycleRule { enabled: true, noncurrent, ..LifecycleRule::default() }]));
    for _ in 0..110 {
        run.step(&Step::Put { key: 0, size: 1, tag: None, locked: None });
    }
    run.step(&Step::Wait(2 * DAY));
    run.pass(7);
    run.check();
    assert_eq!(run.model.keys[&0].len(), 101);
}
