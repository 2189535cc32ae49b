//! Users and their access keys, kept by the cluster itself.
//!
//! The first user is whoever has the credentials that the node was started with. Others are records in the group *global*,
//! changed by compare-and-set: a record under the user's name, the name under the user's id, and the owner and the sealed
//! secret under each access key. They are read anew for each request, so a key that was deleted is refused from then on, on
//! every node.
//!
//! - `USERS-1` A secret is stored only sealed, under a key that is derived from the root key and bound to its access key.
//! - `USERS-2` A user's id never changes, and belongs to the name for ever.
//!
//! Not here: what a user may do (`s3`), and groups and policies of users.

#[cfg(test)]
mod tests;

use crate::client::{Client, ClientError};
use crate::s3::Credentials;
use anvil_core::state::{KeyCondition, KeyOperation, Operation, Query, QueryAnswer, Refusal};
use anvil_core::stripe::RootKey;
use anvil_core::types::GroupId;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// The canonical id of the first user, as clients see it.
pub const FIRST_ID: &str = "anvil";

/// Users that one listing shows.
const USERS_MAX: usize = 10_000;

/// Access keys of one user.
const KEYS_MAX: usize = 100;

const NONCE_SIZE: usize = 12;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Canonical id: 64 hexadecimal digits; empty for the first user.
    pub id: String,
    /// For people.
    pub name: String,
    /// By which access lists may name the user.
    pub email: Option<String>,
    /// Access keys.
    pub keys: Vec<String>,
}

impl User {
    /// The id as clients see it.
    pub fn shown_id(&self) -> &str {
        shown(&self.id)
    }

    /// By which words a policy may name the user.
    pub fn names(&self) -> Vec<String> {
        vec![self.shown_id().to_owned(), self.name.clone()]
    }

    fn first() -> User {
        User { id: String::new(), name: FIRST_ID.to_owned(), email: None, keys: Vec::new() }
    }
}

/// A stored id as clients see it.
pub fn shown(id: &str) -> &str {
    if id.is_empty() { FIRST_ID } else { id }
}

/// An id that a client gave, as it is stored.
pub fn stored(id: &str) -> &str {
    if id == FIRST_ID { "" } else { id }
}

/// Why users could not be read or changed.
#[derive(Debug)]
pub enum UsersError {
    /// The node could not do it.
    Client(ClientError),
    /// There is no such user, or key.
    Missing,
    /// The name, the key or the secret is not one. Says why.
    Invalid(String),
    /// The name or the access key is taken.
    Taken(&'static str),
    /// The node has no key to seal secrets with.
    Unsealed,
    /// A record is not what was written.
    Damaged,
}

impl From<ClientError> for UsersError {
    fn from(error: ClientError) -> UsersError {
        UsersError::Client(error)
    }
}

/// An access key that was made.
#[derive(Clone, Debug)]
pub struct MadeKey {
    /// The public half.
    pub id: String,
    /// The secret half, told once.
    pub secret: String,
}

/// The users of the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    client: Client,
    first: Credentials,
    seal: Option<Arc<LessSafeKey>>,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

impl Users {
    /// The users that the node of `client` keeps. Without a root key there is only the first one.
    pub fn new(client: Client, first: Credentials, root: Option<&RootKey>) -> Users {
        let seal = root.map(|root| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&root.0).expect("a key of any length will do");
            mac.update(b"anvil secrets of users 1");
            let key: [u8; 32] = mac.finalize().into_bytes().into();
            let key = UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes");
            Arc::new(LessSafeKey::new(key))
        });
        Users { client, first, seal }
    }

    /// The secret of an access key, and its user.
    ///
    /// # Errors
    /// `Missing`; `Damaged` when the secret does not open.
    pub async fn of_key(&self, access_key: &str) -> Result<(User, String), UsersError> {
        if bool::from(access_key.as_bytes().ct_eq(self.first.access_key_id.as_bytes())) {
            return Ok((User::first(), self.first.secret_access_key.clone()));
        }
        let held = self.read(&key_row(access_key)).await?.ok_or(UsersError::Missing)?;
        let name = text(&held, "user")?;
        let sealed = base64_simd::STANDARD.decode_to_vec(text(&held, "secret")?).map_err(|_| UsersError::Damaged)?;
        let user = self.by_name(&name).await?;
        Ok((user, self.unseal(access_key, sealed)?))
    }

    /// The user of that name.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn by_name(&self, name: &str) -> Result<User, UsersError> {
        if name == FIRST_ID {
            return Ok(User::first());
        }
        let held = self.read(&name_row(name)).await?.ok_or(UsersError::Missing)?;
        user_of(&held)
    }

    /// The user with that id, as it is stored.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn by_id(&self, id: &str) -> Result<User, UsersError> {
        if id.is_empty() {
            return Ok(User::first());
        }
        let held = self.read(&id_row(id)).await?.ok_or(UsersError::Missing)?;
        self.by_name(&text(&held, "name")?).await
    }

    /// The user with that address.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn by_email(&self, email: &str) -> Result<User, UsersError> {
        let all = self.list().await?;
        let same = |user: &User| user.email.as_deref().is_some_and(|held| held.eq_ignore_ascii_case(email));
        all.into_iter().find(same).ok_or(UsersError::Missing)
    }

    /// All users but the first, by name.
    ///
    /// # Errors
    /// When the node could not be asked.
    pub async fn list(&self) -> Result<Vec<User>, UsersError> {
        let query = Query::Keys {
            prefix: Bytes::from_static(NAMES),
            start_after: Bytes::new(),
            limit: USERS_MAX,
            bytes_max: usize::MAX,
        };
        let QueryAnswer::Keys { keys, .. } = self.client.query(GroupId::GLOBAL, query).await? else {
            return Err(UsersError::Damaged);
        };
        keys.into_iter()
            .map(|(_, held)| user_of(&serde_json::from_slice(&held.value).map_err(|_| UsersError::Damaged)?))
            .collect()
    }

    /// Makes a user.
    ///
    /// # Errors
    /// `Invalid`, `Taken`.
    pub async fn create(&self, name: &str, email: Option<&str>) -> Result<User, UsersError> {
        let plain = |character: char| character.is_ascii_alphanumeric() || "+=,.@_-".contains(character);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let why = "a user's name has 1 to 64 letters, digits and characters of +=,.@_-";
            return Err(UsersError::Invalid(why.to_owned()));
        }
        if name == FIRST_ID {
            return Err(UsersError::Taken("the name of the user"));
        }
        let mut id = Sha256::new();
        id.update(b"anvil user ");
        id.update(name.as_bytes());
        // USERS-2
        let id: String = id.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.write(&id_row(&id), &json!({ "name": name }), KeyCondition::Any).await?;
        let record = json!({ "id": id, "name": name, "email": email, "keys": [] });
        match self.write(&name_row(name), &record, KeyCondition::Absent).await {
            Err(UsersError::Client(ClientError::Refused(Refusal::Conflict { .. }))) => {
                return Err(UsersError::Taken("the name of the user"));
            }
            other => other?,
        }
        user_of(&record)
    }

    /// Makes an access key for a user, with an id and a secret that are given or drawn.
    ///
    /// # Errors
    /// `Missing`, `Invalid`, `Taken`, `Unsealed`.
    pub async fn create_key(&self, name: &str, given: Option<(String, String)>) -> Result<MadeKey, UsersError> {
        let (id, secret) = match given {
            Some(given) => given,
            None => (format!("AK{}", draw(18)?), draw(40)?),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/,;=".contains(&byte));
        if !(3..=128).contains(&id.len()) || !plain(&id) || !(8..=128).contains(&secret.len()) || !secret.is_ascii() {
            let why = "an access key id has 3 to 128 plain characters, its secret 8 to 128";
            return Err(UsersError::Invalid(why.to_owned()));
        }
        if id == self.first.access_key_id {
            return Err(UsersError::Taken("the access key id"));
        }
        let user = self.by_name(name).await?;
        if user.keys.len() >= KEYS_MAX {
            return Err(UsersError::Invalid(format!("a user has at most {KEYS_MAX} access keys")));
        }
        let sealed = base64_simd::STANDARD.encode_to_string(self.seal(&id, &secret)?);
        match self.write(&key_row(&id), &json!({ "user": name, "secret": sealed }), KeyCondition::Absent).await {
            Err(UsersError::Client(ClientError::Refused(Refusal::Conflict { .. }))) => {
                return Err(UsersError::Taken("the access key id"));
            }
            other => other?,
        }
        self.change(name, |keys| keys.push(id.clone())).await?;
        Ok(MadeKey { id, secret })
    }

    /// Removes an access key. It is refused from then on.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn delete_key(&self, id: &str) -> Result<(), UsersError> {
        let held = self.read(&key_row(id)).await?.ok_or(UsersError::Missing)?;
        self.remove(&key_row(id)).await?;
        self.change(&text(&held, "user")?, |keys| keys.retain(|held| held != id)).await
    }

    /// Removes a user and all access keys. What the user owns stays.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn delete(&self, name: &str) -> Result<(), UsersError> {
        let user = self.by_name(name).await?;
        if user.id.is_empty() {
            return Err(UsersError::Invalid("the first user is that of the node's own credentials".to_owned()));
        }
        for key in &user.keys {
            self.remove(&key_row(key)).await?;
        }
        self.remove(&name_row(name)).await
    }

    async fn change(&self, name: &str, change: impl Fn(&mut Vec<String>)) -> Result<(), UsersError> {
        loop {
            let key = name_row(name);
            let query = Query::Key { key: key.clone() };
            let QueryAnswer::Key(Some(held)) = self.client.query(GroupId::GLOBAL, query).await? else {
                return Err(UsersError::Missing);
            };
            let value: Value = serde_json::from_slice(&held.value).map_err(|_| UsersError::Damaged)?;
            let mut user = user_of(&value)?;
            change(&mut user.keys);
            let record = json!({ "id": user.id, "name": user.name, "email": user.email, "keys": user.keys });
            match self.write(&key, &record, KeyCondition::Revision(held.revision)).await {
                Err(UsersError::Client(ClientError::Refused(Refusal::Conflict { .. }))) => {}
                other => return other,
            }
        }
    }

    async fn read(&self, key: &Bytes) -> Result<Option<Value>, UsersError> {
        let QueryAnswer::Key(held) = self.client.query(GroupId::GLOBAL, Query::Key { key: key.clone() }).await? else {
            return Err(UsersError::Damaged);
        };
        held.map(|held| serde_json::from_slice(&held.value).map_err(|_| UsersError::Damaged)).transpose()
    }

    async fn write(&self, key: &Bytes, value: &Value, condition: KeyCondition) -> Result<(), UsersError> {
        let (key, value) = (key.clone(), Bytes::from(value.to_string()));
        let operation = Operation::Key(KeyOperation::Put { key, value, condition });
        Ok(self.client.command(GroupId::GLOBAL, None, operation).await.map(drop)?)
    }

    async fn remove(&self, key: &Bytes) -> Result<(), UsersError> {
        let operation = Operation::Key(KeyOperation::Delete { key: key.clone(), condition: KeyCondition::Any });
        match self.client.command(GroupId::GLOBAL, None, operation).await {
            Ok(_) | Err(ClientError::Refused(Refusal::NotFound)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// USERS-1
    fn seal(&self, access_key: &str, secret: &str) -> Result<Vec<u8>, UsersError> {
        let seal = self.seal.as_ref().ok_or(UsersError::Unsealed)?;
        let mut nonce = [0; NONCE_SIZE];
        getrandom::fill(&mut nonce).map_err(|_| UsersError::Unsealed)?;
        let mut sealed = secret.as_bytes().to_vec();
        let aad = Aad::from(access_key.as_bytes());
        seal.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| UsersError::Unsealed)?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn unseal(&self, access_key: &str, sealed: Vec<u8>) -> Result<String, UsersError> {
        let seal = self.seal.as_ref().ok_or(UsersError::Unsealed)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_SIZE>().ok_or(UsersError::Damaged)?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(access_key.as_bytes());
        let opened = seal.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut sealed);
        let opened = opened.map_err(|_| UsersError::Damaged)?;
        String::from_utf8(opened.to_vec()).map_err(|_| UsersError::Damaged)
    }
}

const NAMES: &[u8] = b"users/name/";

fn name_row(name: &str) -> Bytes {
    Bytes::from(format!("users/name/{name}"))
}

fn id_row(id: &str) -> Bytes {
    Bytes::from(format!("users/id/{id}"))
}

fn key_row(access_key: &str) -> Bytes {
    // Ids are at most 128 bytes; a longer one names nothing, and is cut so that it is a key at all.
    let cut = access_key.char_indices().nth(200).map_or(access_key, |(at, _)| &access_key[..at]);
    Bytes::from(format!("users/key/{cut}"))
}

fn text(value: &Value, field: &str) -> Result<String, UsersError> {
    value.get(field).and_then(Value::as_str).map(str::to_owned).ok_or(UsersError::Damaged)
}

fn user_of(value: &Value) -> Result<User, UsersError> {
    let keys = value.get("keys").and_then(Value::as_array).ok_or(UsersError::Damaged)?;
    Ok(User {
        id: text(value, "id")?,
        name: text(value, "name")?,
        email: value.get("email").and_then(Value::as_str).map(str::to_owned),
        keys: keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

/// Letters and digits, drawn evenly.
fn draw(length: usize) -> Result<String, UsersError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(|_| UsersError::Unsealed)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}
