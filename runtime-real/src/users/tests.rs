//! Secrets at rest.

use super::*;

fn users() -> Users {
    let (inbox, _queue) = crate::mailbox::mailbox();
    let first = Credentials { access_key_id: "first".into(), secret_access_key: "secret".into() };
    Users::new(Client::new(inbox), first, Some(&RootKey([7; 32])))
}

#[test]
fn a_sealed_secret_opens_under_its_own_key_only() {
    let users = users();
    let sealed = users.seal("AK1", "a secret").expect("there is a root key");
    assert!(!sealed.windows(6).any(|window| window == b"secret"), "USERS-1");
    assert_eq!(users.unseal("AK1", sealed.clone()).expect("it is whole"), "a secret");
    assert!(users.unseal("AK2", sealed.clone()).is_err(), "moved to another access key");
    let mut changed = sealed.clone();
    changed[15] ^= 1;
    assert!(users.unseal("AK1", changed).is_err());
    assert!(users.unseal("AK1", sealed[..5].to_vec()).is_err());
    assert_ne!(users.seal("AK1", "a secret").expect("there is a root key"), sealed, "each has its own nonce");
}

#[tokio::test]
async fn the_first_user_needs_no_record() {
    let (user, secret) = users().of_key("first").await.expect("it is the node's own");
    assert_eq!((user.shown_id(), secret.as_str()), (FIRST_ID, "secret"));
    assert_eq!((stored(FIRST_ID), shown("")), ("", FIRST_ID));
}
