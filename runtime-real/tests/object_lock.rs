//! No way leads around a lock: a version that is locked outlives every operation, rule and restart, whoever asks.
//!
//! For each kind of lock the same attacks are made, by the first user, who owns the bucket, and by one whom a policy allows everything
//! but to bypass a lock. After each the version must read as it was written, with its lock.

mod support;

use anvil::node::StartOptions;
use std::time::{Duration, Instant};
use support::{Answer, NS, RealNode, Signer, ok, send};
use time::format_description::well_known::Rfc3339;

const DAY: Duration = Duration::from_secs(1);
const BODY: &[u8] = b"what must stay";

/// What keeps a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Governance,
    Compliance,
    Hold,
}

impl Lock {
    const ALL: [Lock; 3] = [Lock::Governance, Lock::Compliance, Lock::Hold];

    fn key(self) -> &'static str {
        match self {
            Lock::Governance => "/vault/governance",
            Lock::Compliance => "/vault/compliance",
            Lock::Hold => "/vault/hold",
        }
    }

    fn mode(self) -> Option<&'static str> {
        match self {
            Lock::Governance => Some("GOVERNANCE"),
            Lock::Compliance => Some("COMPLIANCE"),
            Lock::Hold => None,
        }
    }
}

fn in_hours(hours: i64) -> String {
    let until = time::OffsetDateTime::now_utc() + time::Duration::hours(hours);
    until.format(&Rfc3339).expect("it is a time of this century")
}

/// A locked version, and what was said of it when it was made.
struct Kept {
    lock: Lock,
    version: String,
    until: String,
}

impl Kept {
    async fn make(node: &RealNode, lock: Lock) -> Kept {
        let until = in_hours(5);
        let put = Signer::new("PUT", lock.key()).body(BODY);
        let put = match lock.mode() {
            Some(mode) => {
                put.header("x-amz-object-lock-mode", mode).header("x-amz-object-lock-retain-until-date", &until)
            }
            None => put.header("x-amz-object-lock-legal-hold", "ON"),
        };
        let stored = ok(put.send(node.address)).await;
        let version = stored.header("x-amz-version-id").expect("a lock needs versions").to_owned();
        Kept { lock, version, until }
    }

    fn named(&self, method: &str) -> Signer {
        Signer::new(method, self.lock.key()).query("versionId", &self.version)
    }

    async fn check(&self, node: &RealNode, after: &str) {
        let got = self.named("GET").send(node.address).await;
        assert_eq!((got.status, &got.body[..]), (200, BODY), "{:?} after {after}: {}", self.lock, got.text());
        match self.lock.mode() {
            Some(mode) => {
                assert_eq!(got.header("x-amz-object-lock-mode"), Some(mode), "after {after}");
                let until = got.header("x-amz-object-lock-retain-until-date").expect("a time");
                // Whole seconds, or thousandths: the same moment.
                assert_eq!(until[..19], self.until[..19], "after {after}");
            }
            None => assert_eq!(got.header("x-amz-object-lock-legal-hold"), Some("ON"), "after {after}"),
        }
    }

    /// Every request that could take the version away or weaken its lock, and whether it may succeed at something else.
    fn attacks(&self) -> Vec<(&'static str, Signer, bool)> {
        let key = self.lock.key();
        let name = key.rsplit_once('/').expect("a key of a bucket").1;
        let retention = |mode: &str, until: &str| {
            let set = format!("<Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate>");
            let xml = format!("<Retention {NS}>{set}</Retention>");
            self.named("PUT").query("retention", "").body(xml.as_bytes())
        };
        let one = format!("<Object><Key>{name}</Key><VersionId>{}</VersionId></Object>", self.version);
        let several = format!("<Delete {NS}>{one}</Delete>");
        let none = format!("<Retention {NS}></Retention>");
        let mut attacks = vec![
            ("a deletion", self.named("DELETE"), false),
            ("a conditional deletion", self.named("DELETE").header("if-match", "*"), false),
            // Answered with 200, and an error for each key.
            ("a deletion of several", Signer::new("POST", "/vault").query("delete", "").body(several.as_bytes()), true),
            ("a delete marker", Signer::new("DELETE", key), true),
            ("an overwrite", Signer::new("PUT", key).body(b"another"), true),
            ("a copy onto it", Signer::new("PUT", key).header("x-amz-copy-source", "/vault/free"), true),
            (
                "a copy onto itself",
                Signer::new("PUT", key)
                    .header("x-amz-copy-source", &format!("{key}?versionId={}", self.version))
                    .header("x-amz-metadata-directive", "REPLACE"),
                true,
            ),
            ("the bucket's deletion", Signer::new("DELETE", "/vault"), false),
        ];
        if let Some(mode) = self.lock.mode() {
            let other = if mode == "COMPLIANCE" { "GOVERNANCE" } else { "COMPLIANCE" };
            attacks.extend([
                ("a shorter lock", retention(mode, &in_hours(1)), false),
                ("no lock", self.named("PUT").query("retention", "").body(none.as_bytes()), false),
                ("another mode, and shorter", retention(other, &in_hours(1)), false),
            ]);
        }
        attacks
    }
}

/// A bucket with locks, a version under each kind, and one without any.
async fn vault(node: &RealNode) -> Vec<Kept> {
    let made = Signer::new("PUT", "/vault").header("x-amz-bucket-object-lock-enabled", "true");
    ok(made.send(node.address)).await;
    ok(Signer::new("PUT", "/vault/free").body(b"free").send(node.address)).await;
    let mut kept = Vec::new();
    for lock in Lock::ALL {
        kept.push(Kept::make(node, lock).await);
    }
    kept
}

async fn start(path: &std::path::Path) -> RealNode {
    let sweep_interval = Duration::from_millis(100);
    let options = StartOptions { lifecycle_day: DAY, sweep_interval, ..StartOptions::default() };
    RealNode::start_with(&[path.to_path_buf()], options).await
}

async fn check_all(node: &RealNode, kept: &[Kept], after: &str) {
    for one in kept {
        one.check(node, after).await;
    }
}

async fn attack(node: &RealNode, kept: &[Kept], as_whom: &dyn Fn(Signer) -> Signer) {
    for one in kept {
        for (what, request, may_succeed) in one.attacks() {
            let answer = as_whom(request).send(node.address).await;
            let succeeded = (200..300).contains(&answer.status);
            let what = format!("{what} of {:?}", one.lock);
            assert!(may_succeed || !succeeded, "{what}: {} {}", answer.status, answer.text());
            check_all(node, kept, &what).await;
        }
    }
}

async fn complete_over(node: &RealNode, key: &str) {
    let begun = ok(Signer::new("POST", key).query("uploads", "").send(node.address)).await;
    let upload = begun.element("UploadId").expect("an upload has an id");
    let part = Signer::new("PUT", key).query("uploadId", &upload).query("partNumber", "1").body(b"a part");
    let tag = ok(part.send(node.address)).await.header("etag").expect("a part has a tag").to_owned();
    let part = format!("<Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part>");
    let xml = format!("<CompleteMultipartUpload {NS}>{part}</CompleteMultipartUpload>");
    ok(Signer::new("POST", key).query("uploadId", &upload).body(xml.as_bytes()).send(node.address)).await;
}

fn settings(parameter: &str, xml: &str) -> Signer {
    Signer::new("PUT", "/vault").query(parameter, "").body(xml.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_operation_of_the_owner_takes_a_locked_version_away() {
    let home = tempfile::tempdir().expect("a directory for the test");
    let node = start(home.path()).await;
    let kept = vault(&node).await;
    attack(&node, &kept, &|request| request).await;
    for one in &kept {
        complete_over(&node, one.lock.key()).await;
    }
    check_all(&node, &kept, "uploads over them").await;
    let suspended = format!("<VersioningConfiguration {NS}><Status>Suspended</Status></VersioningConfiguration>");
    assert_eq!(settings("versioning", &suspended).send(node.address).await.status, 409);
    let no_default = format!(
        "<ObjectLockConfiguration {NS}><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
    );
    ok(settings("object-lock", &no_default).send(node.address)).await;
    check_all(&node, &kept, "a change of the bucket's settings").await;

    // Compliance and holds are not bypassed by anybody.
    let bypass = |request: Signer| request.header("x-amz-bypass-governance-retention", "true");
    let (governed, firm): (Vec<Kept>, Vec<Kept>) = kept.into_iter().partition(|one| one.lock == Lock::Governance);
    attack(&node, &firm, &bypass).await;
    node.stop().await;

    let node = start(home.path()).await;
    check_all(&node, &firm, "a restart").await;
    check_all(&node, &governed, "a restart").await;
    // Governance is, by its owner who says so.
    ok(bypass(governed[0].named("DELETE")).send(node.address)).await;
    assert_eq!(governed[0].named("GET").send(node.address).await.status, 404);
    check_all(&node, &firm, "what was taken beside them").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_do_everything_but_bypass_takes_nothing_away() {
    let home = tempfile::tempdir().expect("a directory for the test");
    let node = start(home.path()).await;
    let kept = vault(&node).await;
    let wish = br#"{"name":"bob","access_key_id":"BOBKEY","secret_access_key":"bobs-secret"}"#;
    let made = send(node.address, "POST", "/-/users", &[], wish).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let policy = r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam:::user/bob"},
        "NotAction":"s3:BypassGovernanceRetention","Resource":["arn:aws:s3:::vault","arn:aws:s3:::vault/*"]}]}"#;
    ok(Signer::new("PUT", "/vault").query("policy", "").body(policy.as_bytes()).send(node.address)).await;
    let bob = |mut request: Signer| {
        request.access_key = "BOBKEY".to_owned();
        request.secret = "bobs-secret".to_owned();
        request
    };
    ok(bob(Signer::new("GET", "/vault/free")).send(node.address)).await;
    attack(&node, &kept, &bob).await;
    attack(&node, &kept, &|request| bob(request).header("x-amz-bypass-governance-retention", "true")).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rule_takes_a_locked_version_away() {
    let home = tempfile::tempdir().expect("a directory for the test");
    let node = start(home.path()).await;
    let kept = vault(&node).await;
    let expire = "<Expiration><Days>1</Days></Expiration>";
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    let rule = format!("<Rule><ID>all</ID><Status>Enabled</Status><Filter></Filter>{expire}{old}</Rule>");
    let rules = format!("<LifecycleConfiguration {NS}>{rule}</LifecycleConfiguration>");
    ok(settings("lifecycle", &rules).send(node.address)).await;
    // What is free goes, and so does what lies over the locked versions: then the rule has been there.
    let began = Instant::now();
    loop {
        let list: Answer = ok(Signer::new("GET", "/vault").query("versions", "").send(node.address)).await;
        let keys = list.text().split("<Version>").count() - 1;
        if keys == kept.len() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the rule is not carried out: {}", list.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(3 * DAY).await;
    check_all(&node, &kept, "a rule for everything").await;
    node.stop().await;
}
