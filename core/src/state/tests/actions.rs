//! Random actions for `model` and `replica`: few names and few ids, so that they meet often.

use super::model::KEYS;
use super::*;
use proptest::prelude::*;

/// An action; small numbers stand for keys, versions and uploads, so that they meet often.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Wait(u64),
    CreateBucket,
    DeleteBucket,
    Put { key: usize, version: u128, inline: bool, tag: u8, condition: ObjectCondition, lifetime: u64 },
    Delete { key: usize, condition: ObjectCondition },
    CreateUpload { key: usize, upload: u128 },
    PutPart { key: usize, upload: u128, number: u16, version: u128, large: bool, tag: u8, lifetime: u64 },
    Complete { key: usize, upload: u128, parts: Vec<(u16, u8)>, listed_right: bool },
    Abort { key: usize, upload: u128 },
    Resolve { version: u128, expires: u64 },
    ReclaimOldest,
    KeyPut { key: usize, condition: KeyCondition },
    KeyDelete { key: usize, condition: KeyCondition },
}

fn a_condition() -> impl Strategy<Value = ObjectCondition> {
    prop_oneof![
        6 => Just(ObjectCondition::Any),
        1 => Just(ObjectCondition::Absent),
        1 => Just(ObjectCondition::Present),
        1 => (1_u8..4).prop_map(|tag| ObjectCondition::Match(etag(tag))),
        1 => (1_u8..4).prop_map(|tag| ObjectCondition::NoneMatch(etag(tag))),
    ]
}

fn a_key_condition() -> impl Strategy<Value = KeyCondition> {
    prop_oneof![
        Just(KeyCondition::Any),
        Just(KeyCondition::Absent),
        Just(KeyCondition::Present),
        (0_u64..20).prop_map(KeyCondition::Revision),
    ]
}

/// Version ids 1 to 19 are bodies; uploads are 101 to 104. An inline and a striped body never share an id.
fn an_action() -> impl Strategy<Value = Action> {
    let key = || 0..KEYS.len();
    let put = (key(), 1_u128..10, any::<bool>(), a_condition(), 0_u64..12).prop_map(
        |(key, version, inline, condition, lifetime)| {
            let tag = u8::try_from(version % 3 + 1).expect("small");
            // Mostly one key for each version, as gateways do, and at times another, which is a bug of theirs.
            let key = if lifetime == 0 { key } else { usize::try_from(version).expect("small") % KEYS.len() };
            let version = if inline { version + 20 } else { version };
            Action::Put { key, version, inline, tag, condition, lifetime }
        },
    );
    let part = (key(), 101_u128..105, 1_u16..4, 10_u128..20, 0_u64..12).prop_map(
        |(key, upload, number, version, lifetime)| {
            let large = version % 4 != 0;
            let tag = u8::try_from(version % 3 + 1).expect("small");
            let key = if lifetime == 0 { key } else { usize::try_from(upload).expect("small") % 2 };
            Action::PutPart { key, upload, number, version, large, tag, lifetime }
        },
    );
    let complete = (0_usize..2, 101_u128..105, proptest::collection::vec((1_u16..4, 1_u8..4), 0..3), 0_u8..5).prop_map(
        |(key, upload, parts, right)| {
            let key = if right == 0 { key } else { usize::try_from(upload).expect("small") % 2 };
            Action::Complete { key, upload, parts, listed_right: right != 0 }
        },
    );
    let upload = (0_usize..2, 101_u128..105, 0_u8..5).prop_map(|(key, upload, other)| {
        let key = if other == 0 { key } else { usize::try_from(upload).expect("small") % 2 };
        Action::CreateUpload { key, upload }
    });
    prop_oneof![
        2 => (1_u64..150).prop_map(Action::Wait),
        2 => Just(Action::CreateBucket),
        1 => Just(Action::DeleteBucket),
        10 => put,
        4 => (key(), a_condition()).prop_map(|(key, condition)| Action::Delete { key, condition }),
        5 => upload,
        8 => part,
        5 => complete,
        1 => (0_usize..2, 101_u128..105).prop_map(|(key, upload)| Action::Abort { key, upload }),
        2 => (1_u128..30, 0_u64..1000).prop_map(|(version, expires)| Action::Resolve { version, expires }),
        2 => Just(Action::ReclaimOldest),
        3 => (key(), a_key_condition()).prop_map(|(key, condition)| Action::KeyPut { key, condition }),
        2 => (key(), a_key_condition()).prop_map(|(key, condition)| Action::KeyDelete { key, condition }),
    ]
}

pub(super) fn some_actions() -> impl Strategy<Value = Vec<Action>> {
    proptest::collection::vec(an_action(), 1..60).prop_map(|mut actions| {
        actions.insert(0, Action::CreateBucket);
        actions
    })
}
