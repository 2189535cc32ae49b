//! Who gets in: every caller asks for everything, under every combination of access list, policy, public access block and ownership,
//! and a judge that is as simple as the rules are told says what must be answered.
//!
//! The judge below shares no code with the node. Its rules, in the words of the Amazon S3 user guide: what is denied is denied; what a
//! policy allows is allowed, unless the bucket restricts public policies; else the owner may, and whoever a list grants it to that
//! counts. Who signs wrongly is nobody, and not even that.

mod support;

use anvil::front::Settings;
use anvil_core::stripe::RootKey;
use support::{Answer, Doors, NS, Signer, doors_with, ok, send};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Owner,
    Bob,
    Carol,
    Nobody,
    /// Says to be Bob, and has another secret.
    Forger,
    /// The owner, with a signature of an hour ago.
    Late,
    /// Has a key that nobody made.
    Unknown,
}

const CALLERS: [Caller; 7] =
    [Caller::Owner, Caller::Bob, Caller::Carol, Caller::Nobody, Caller::Forger, Caller::Late, Caller::Unknown];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Put,
    Delete,
    List,
    ReadPolicy,
}

const ACTIONS: [Action; 5] = [Action::Get, Action::Put, Action::Delete, Action::List, Action::ReadPolicy];

/// The list of the bucket, and of the object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Private,
    PublicRead,
    PublicReadWrite,
    AuthenticatedRead,
    BobReads,
}

const LISTS: [List; 5] =
    [List::Private, List::PublicRead, List::PublicReadWrite, List::AuthenticatedRead, List::BobReads];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    None,
    AnybodyGets,
    BobListsAndDeletes,
    BobIsDenied,
    EverythingButDeleting,
}

const POLICIES: [Policy; 5] =
    [Policy::None, Policy::AnybodyGets, Policy::BobListsAndDeletes, Policy::BobIsDenied, Policy::EverythingButDeleting];

#[derive(Clone, Copy, Debug)]
struct Setting {
    list: List,
    policy: Policy,
    ignores_lists: bool,
    restricts: bool,
    enforces_owner: bool,
}

/// The judge.
fn may(caller: Caller, action: Action, setting: Setting) -> bool {
    let is_owner = match caller {
        Caller::Forger | Caller::Late | Caller::Unknown => return false,
        Caller::Owner => true,
        Caller::Bob | Caller::Carol | Caller::Nobody => false,
    };
    let is_bob = caller == Caller::Bob;
    let (denied, allowed, is_public) = match setting.policy {
        Policy::None => (false, false, false),
        Policy::AnybodyGets => (false, action == Action::Get, true),
        Policy::BobListsAndDeletes => (false, is_bob && matches!(action, Action::List | Action::Delete), false),
        Policy::BobIsDenied => (is_bob, false, false),
        Policy::EverythingButDeleting => (action == Action::Delete, true, true),
    };
    if denied {
        return false;
    }
    if is_owner {
        return true;
    }
    if allowed {
        return !(is_public && setting.restricts);
    }
    if setting.enforces_owner {
        return false;
    }
    let reads = matches!(action, Action::Get | Action::List);
    let writes = matches!(action, Action::Put | Action::Delete);
    let public_counts = !setting.ignores_lists;
    match setting.list {
        List::Private => false,
        List::PublicRead => reads && public_counts,
        List::PublicReadWrite => (reads || writes) && public_counts,
        List::AuthenticatedRead => reads && public_counts && caller != Caller::Nobody,
        List::BobReads => reads && is_bob,
    }
}

fn listed(request: Signer, list: List) -> Signer {
    match list {
        List::Private => request.header("x-amz-acl", "private"),
        List::PublicRead => request.header("x-amz-acl", "public-read"),
        List::PublicReadWrite => request.header("x-amz-acl", "public-read-write"),
        List::AuthenticatedRead => request.header("x-amz-acl", "authenticated-read"),
        List::BobReads => request.header("x-amz-grant-read", "emailAddress=bob@example.com"),
    }
}

fn policy_text(policy: Policy) -> Option<String> {
    let statement = |effect: &str, who: &str, actions: &str| {
        let who = if who == "*" { "\"*\"".to_owned() } else { format!("{{\"AWS\":\"arn:aws:iam:::user/{who}\"}}") };
        let on = "[\"arn:aws:s3:::bucket\",\"arn:aws:s3:::bucket/*\"]";
        format!("{{\"Effect\":\"{effect}\",\"Principal\":{who},\"Action\":{actions},\"Resource\":{on}}}")
    };
    let statements = match policy {
        Policy::None => return None,
        Policy::AnybodyGets => statement("Allow", "*", "\"s3:GetObject\""),
        Policy::BobListsAndDeletes => statement("Allow", "bob", "[\"s3:ListBucket\",\"s3:DeleteObject\"]"),
        Policy::BobIsDenied => statement("Deny", "bob", "\"s3:*\""),
        Policy::EverythingButDeleting => {
            statement("Deny", "*", "\"s3:DeleteObject\"") + "," + &statement("Allow", "*", "\"s3:*\"")
        }
    };
    Some(format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}"))
}

async fn set(doors: &Doors, parameter: &str, xml: &str) {
    ok(Signer::new("PUT", "/bucket").query(parameter, "").body(xml.as_bytes()).send(doors.address)).await;
}

async fn prepare(doors: &Doors, setting: Setting) {
    ok(Signer::new("DELETE", "/bucket").query("ownershipControls", "").send(doors.address)).await;
    ok(Signer::new("DELETE", "/bucket").query("publicAccessBlock", "").send(doors.address)).await;
    ok(Signer::new("DELETE", "/bucket").query("policy", "").send(doors.address)).await;
    ok(listed(Signer::new("PUT", "/bucket").query("acl", ""), setting.list).send(doors.address)).await;
    ok(listed(Signer::new("PUT", "/bucket/kept").body(b"kept"), setting.list).send(doors.address)).await;
    if let Some(text) = policy_text(setting.policy) {
        set(doors, "policy", &text).await;
    }
    let flag = |name: &str, is_set: bool| format!("<{name}>{is_set}</{name}>");
    let flags = flag("IgnorePublicAcls", setting.ignores_lists) + &flag("RestrictPublicBuckets", setting.restricts);
    set(
        doors,
        "publicAccessBlock",
        &format!("<PublicAccessBlockConfiguration {NS}>{flags}</PublicAccessBlockConfiguration>"),
    )
    .await;
    if setting.enforces_owner {
        let rule = "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>";
        set(doors, "ownershipControls", &format!("<OwnershipControls {NS}>{rule}</OwnershipControls>")).await;
    }
}

async fn ask(doors: &Doors, caller: Caller, action: Action) -> Answer {
    let (method, path) = match action {
        Action::Get => ("GET", "/bucket/kept"),
        Action::Put => ("PUT", "/bucket/put"),
        Action::Delete => ("DELETE", "/bucket/victim"),
        Action::List | Action::ReadPolicy => ("GET", "/bucket"),
    };
    let mut request = Signer::new(method, path);
    if action == Action::Put {
        request = request.body(format!("{caller:?}").as_bytes());
    }
    if action == Action::ReadPolicy {
        request = request.query("policyStatus", "");
    }
    let (key, secret) = match caller {
        Caller::Owner | Caller::Late => (request.access_key.clone(), request.secret.clone()),
        Caller::Bob => ("BOBKEY".to_owned(), "bobs-secret".to_owned()),
        Caller::Carol => ("CAROLKEY".to_owned(), "carols-secret".to_owned()),
        Caller::Forger => ("BOBKEY".to_owned(), "carols-secret".to_owned()),
        Caller::Unknown => ("NOKEY".to_owned(), "bobs-secret".to_owned()),
        Caller::Nobody => {
            let target = if action == Action::ReadPolicy { "/bucket?policyStatus=" } else { path };
            return send(doors.address, method, target, &[], &request.body).await;
        }
    };
    (request.access_key, request.secret) = (key, secret);
    if caller == Caller::Late {
        request.at -= time::Duration::hours(1);
    }
    request.send(doors.address).await
}

async fn body_of(doors: &Doors, key: &str) -> Vec<u8> {
    let found = Signer::new("GET", &format!("/bucket/{key}")).send(doors.address).await;
    // What somebody else put is theirs, and its owner alone reads it: then its being there is what counts.
    if found.status == 200 { found.body } else { found.status.to_string().into_bytes() }
}

async fn victim(doors: &Doors) {
    ok(Signer::new("PUT", "/bucket/victim").body(b"victim").send(doors.address)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_more_than_the_rules_give_and_nobody_less() {
    let root_key = Some(RootKey([5; 32]));
    let doors = doors_with(Settings { open_admin: true, root_key, ..Settings::default() }).await;
    for (name, key, secret) in [("bob", "BOBKEY", "bobs-secret"), ("carol", "CAROLKEY", "carols-secret")] {
        let wish = format!(
            "{{\"name\":\"{name}\",\"email\":\"{name}@example.com\",\"access_key_id\":\"{key}\",\"secret_access_key\":\"{secret}\"}}"
        );
        assert_eq!(send(doors.address, "POST", "/-/users", &[], wish.as_bytes()).await.status, 201);
    }
    ok(Signer::new("PUT", "/bucket").send(doors.address)).await;
    victim(&doors).await;
    let (mut asked, mut let_in) = (0, 0);
    for list in LISTS {
        for policy in POLICIES {
            for bits in 0..8 {
                let (ignores_lists, restricts, enforces_owner) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let setting = Setting { list, policy, ignores_lists, restricts, enforces_owner };
                prepare(&doors, setting).await;
                let mut put = body_of(&doors, "put").await;
                for (caller, action) in CALLERS.iter().flat_map(|caller| ACTIONS.map(|action| (*caller, action))) {
                    if policy == Policy::None && action == Action::ReadPolicy {
                        continue;
                    }
                    let answer = ask(&doors, caller, action).await;
                    let is_in = (200..300).contains(&answer.status);
                    let what = format!("{caller:?} {action:?} under {setting:?}: {} {}", answer.status, answer.text());
                    assert_eq!(is_in, may(caller, action, setting), "{what}");
                    if !is_in {
                        assert_eq!(answer.status, 403, "{what}");
                    }
                    match action {
                        Action::Delete if is_in => victim(&doors).await,
                        Action::Put if is_in => put = body_of(&doors, "put").await,
                        Action::Delete => assert_eq!(body_of(&doors, "victim").await, b"victim", "and yet: {what}"),
                        Action::Put => assert_eq!(body_of(&doors, "put").await, put, "and yet: {what}"),
                        Action::Get | Action::List | Action::ReadPolicy => {}
                    }
                    asked += 1;
                    let_in += u32::from(is_in);
                }
            }
        }
    }
    assert!(asked > 6_000 && let_in > 1_000, "{asked} asked, {let_in} let in");
}
