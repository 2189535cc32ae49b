//! Judgements as tables, and against an evaluator that is said differently.

use super::policy::*;
use super::*;
use crate::state::PublicBlock;
use crate::types::WallTime;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn statement(allows: bool, users: &[&str], action: &str, resource: &str) -> Statement {
    Statement {
        allows,
        principals: if users == ["*"] { Principals::Anybody } else { Principals::Users(texts(users)) },
        actions: Patterns::Any(texts(&[action])),
        resources: Patterns::Any(texts(&[resource])),
        conditions: vec![],
    }
}

#[test]
fn patterns() {
    for (pattern, text, fits) in [
        ("*", "", true),
        ("a*c", "abc", true),
        ("a*c", "abcd", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*a*b*", "xxaxxbxx", true),
        ("*ab", "aab", true),
        ("", "a", false),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/", true),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b", false),
        ("ä?", "äö", true),
    ] {
        assert_eq!(is_like(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn conditions() {
    use Comparison::*;
    let context: BTreeMap<String, Vec<String>> = [
        ("k", texts(&["Value"])),
        ("n", texts(&["10"])),
        ("ip", texts(&["192.168.1.7"])),
        ("many", texts(&["a", "b"])),
    ]
    .into_iter()
    .map(|(key, values)| (key.to_string(), values))
    .collect();
    let holds = |comparison, negated, if_exists, quantifier, key: &str, operand: &[&str]| {
        let key = key.to_string();
        let condition = Condition { comparison, negated, if_exists, quantifier, key, operands: texts(operand) };
        let policy =
            Policy { statements: vec![Statement { conditions: vec![condition], ..statement(true, &["*"], "*", "*") }] };
        let asked = Asked { user: None, action: "s3:GetObject", resource: "arn:aws:s3:::b/k", context: &context };
        policy.judge(&asked) == Verdict::Allowed
    };
    use Quantifier::{ForAll, ForAny, One};
    for (comparison, negated, if_exists, quantifier, key, operand, expected) in [
        (Equals, false, false, One, "k", &["Value"][..], true),
        (Equals, false, false, One, "k", &["value"], false),
        (EqualsIgnoreCase, false, false, One, "k", &["value"], true),
        (Equals, true, false, One, "k", &["value"], true),
        (Equals, false, false, One, "gone", &["x"], false),
        (Equals, false, true, One, "gone", &["x"], true),
        (Equals, true, false, One, "gone", &["x"], true),
        (Like, false, false, One, "k", &["x", "Va*"], true),
        (NumericLess, false, false, One, "n", &["9"], false),
        (NumericLessEquals, false, false, One, "n", &["10"], true),
        (NumericEquals, false, false, One, "k", &["10"], false),
        (IpAddress, false, false, One, "ip", &["192.168.0.0/16"], true),
        (IpAddress, false, false, One, "ip", &["192.168.0.0/24"], false),
        (IpAddress, false, false, One, "ip", &["::/0"], false),
        (IpAddress, false, false, One, "ip", &["0.0.0.0/0"], true),
        (IpAddress, true, false, One, "ip", &["10.0.0.0/8"], true),
        (Null, false, false, One, "gone", &["true"], true),
        (Null, false, false, One, "k", &["true"], false),
        (Null, false, false, One, "k", &["false"], true),
        (Equals, false, false, ForAll, "many", &["a", "b"], true),
        (Equals, false, false, ForAll, "many", &["a"], false),
        (Equals, false, false, ForAny, "many", &["a"], true),
        (Equals, false, false, ForAll, "gone", &["a"], true),
        (Equals, false, false, ForAny, "gone", &["a"], false),
    ] {
        let have = holds(comparison, negated, if_exists, quantifier, key, operand);
        assert_eq!(have, expected, "{comparison:?} {negated} {if_exists} {quantifier:?} {key} {operand:?}");
    }
}

#[test]
fn users_are_named_in_many_ways() {
    let names = texts(&["id-of-ann", "ann"]);
    let context = BTreeMap::new();
    for (name, fits) in [
        ("ann", true),
        ("id-of-ann", true),
        ("arn:aws:iam::123456789012:user/ann", true),
        ("arn:aws:iam:::user/id-of-ann", true),
        ("arn:aws:iam::id-of-ann:root", true),
        ("arn:aws:iam:::user/bob", false),
        ("arn:aws:iam:::user/", false),
        ("", false),
    ] {
        let policy = Policy { statements: vec![statement(true, &[name], "*", "*")] };
        let user = Some(Who { id: "id-of-ann", names: &names });
        let asked = Asked { user, action: "s3:GetObject", resource: "r", context: &context };
        assert_eq!(policy.judge(&asked) == Verdict::Allowed, fits, "{name}");
        assert_eq!(policy.judge(&Asked { user: None, ..asked }), Verdict::Silent);
    }
}

/// The rules once more, as a list of reasons: all denials, then all allowances.
fn reference(
    bucket: &BucketRow,
    policy: &Policy,
    object: Option<&Acl>,
    user: Option<&str>,
    action: &str,
    fallback: Fallback,
) -> bool {
    let speaks = |allows: bool| {
        policy.statements.iter().any(|statement| {
            let about = match &statement.principals {
                Principals::Anybody => true,
                Principals::Users(users) => user.is_some_and(|user| users.iter().any(|name| name == user)),
                Principals::NotUsers(_) => unreachable!("not drawn"),
            };
            let Patterns::Any(actions) = &statement.actions else { unreachable!("not drawn") };
            statement.allows == allows && about && (actions[0] == "*" || actions[0] == action)
        })
    };
    let block = bucket.block.unwrap_or_default();
    let owner = user == Some(bucket.acl.owner.as_str());
    if speaks(false) {
        return false;
    }
    if speaks(true) {
        let public = policy.statements.iter().any(|s| s.allows && s.principals == Principals::Anybody);
        return owner || !public || !block.restrict;
    }
    let enforced = bucket.ownership == Some(Ownership::BucketOwnerEnforced);
    let mut may: Vec<&str> = vec![bucket.acl.owner.as_str()];
    let mut list: Option<(&Acl, Permission)> = None;
    match fallback {
        Fallback::BucketOwner => {}
        Fallback::Bucket(permission) if !enforced => list = Some((&bucket.acl, permission)),
        Fallback::Bucket(_) => {}
        Fallback::ObjectOwner | Fallback::Object(_) => {
            if let Some(acl) = object.filter(|_| !enforced) {
                may = vec![acl.owner.as_str()];
                if let Fallback::Object(permission) = fallback {
                    list = Some((acl, permission));
                }
            }
        }
    }
    if user.is_some_and(|user| may.contains(&user)) {
        return true;
    }
    list.is_some_and(|(acl, wanted)| {
        acl.grants.iter().filter(|(_, granted)| [wanted, Permission::FullControl].contains(granted)).any(|(whom, _)| {
            match whom {
                Grantee::User(id) => user == Some(id.as_str()),
                Grantee::AllUsers => !block.ignore_acls,
                Grantee::AuthenticatedUsers => !block.ignore_acls && user.is_some(),
                Grantee::LogDelivery => false,
            }
        })
    })
}

const USERS: [&str; 3] = ["ann", "bob", "cy"];
const ACTIONS: [&str; 2] = ["s3:GetObject", "s3:PutObject"];

fn an_acl() -> impl Strategy<Value = Acl> {
    let grantee = prop_oneof![
        (0_usize..3).prop_map(|user| Grantee::User(USERS[user].to_string())),
        Just(Grantee::AllUsers),
        Just(Grantee::AuthenticatedUsers),
        Just(Grantee::LogDelivery),
    ];
    let permission = prop_oneof![Just(Permission::Read), Just(Permission::Write), Just(Permission::FullControl)];
    let grants = proptest::collection::vec((grantee, permission), 0..3);
    (0_usize..3, grants).prop_map(|(owner, grants)| Acl { owner: USERS[owner].to_string(), grants })
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let one = (any::<bool>(), 0_usize..4, 0_usize..3).prop_map(|(allows, user, action)| {
        let users = USERS.get(user).map_or(vec!["*"], |user| vec![*user]);
        statement(allows, &users, ACTIONS.get(action).unwrap_or(&"*"), "*")
    });
    proptest::collection::vec(one, 0..4).prop_map(|statements| Policy { statements })
}

proptest! {
    #[test]
    fn judgements_are_those_of_the_reference(
        acl in an_acl(),
        object in proptest::option::of(an_acl()),
        policy in a_policy(),
        user in proptest::option::of(0_usize..3),
        action in 0_usize..2,
        enforced in any::<bool>(),
        ignore_acls in any::<bool>(),
        restrict in any::<bool>(),
        fallback in prop_oneof![
            Just(Fallback::BucketOwner),
            Just(Fallback::ObjectOwner),
            Just(Fallback::Bucket(Permission::Write)),
            Just(Fallback::Object(Permission::Read)),
        ],
    ) {
        let bucket = BucketRow {
            acl,
            ownership: enforced.then_some(Ownership::BucketOwnerEnforced),
            block: Some(PublicBlock { ignore_acls, restrict, ..PublicBlock::default() }),
            ..BucketRow::new(WallTime(0))
        };
        let name = user.map(|user| USERS[user]);
        let names = texts(&name.map_or(vec![], |name| vec![name]));
        let context = BTreeMap::new();
        let who = name.map(|id| Who { id, names: &names });
        let asked = Asked { user: who, action: ACTIONS[action], resource: "arn:aws:s3:::b/k", context: &context };
        let have = is_allowed(&bucket, Some(&policy), object.as_ref(), &asked, fallback);
        let want = reference(&bucket, &policy, object.as_ref(), name, ACTIONS[action], fallback);
        prop_assert_eq!(have, want);
    }
}
