//! The cipher: keys, nonces and associated data, and data keys wrapped under the root key.
//!
//! Every use of AES-256-GCM has a domain string of its own at the front of its associated data, so that nothing sealed
//! for one purpose opens for another.

use super::{DataKey, OpenError, Profile, RootKey, StripeId, WrappedKey};
use crate::types::VersionId;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce};
use alloc::vec::Vec;

/// Bytes of an authentication tag.
pub(super) const TAG_SIZE: usize = 16;

const NONCE_SIZE: usize = 12;
const KEY_SIZE: usize = 32;
const WRAPPED_SIZE: usize = NONCE_SIZE + KEY_SIZE + TAG_SIZE;

const DOMAIN_STRIPE: &[u8; 16] = b"anvil stripe  01";
const DOMAIN_INLINE: &[u8; 16] = b"anvil inline  01";
const DOMAIN_WRAP: &[u8; 16] = b"anvil datakey 01";

/// A cipher with one nonce and its associated data: everything but the bytes.
pub(super) struct Sealer {
    cipher: Aes256Gcm,
    nonce: [u8; NONCE_SIZE],
    associated: Vec<u8>,
}

impl Sealer {
    /// For a stripe of a version.
    pub(super) fn stripe(key: &DataKey, id: StripeId, profile: Profile, length: u32) -> Sealer {
        let mut associated = Vec::with_capacity(42);
        associated.extend_from_slice(DOMAIN_STRIPE);
        associated.extend_from_slice(&id.version.0.to_le_bytes());
        associated.extend_from_slice(&id.index.to_le_bytes());
        associated.extend_from_slice(&length.to_le_bytes());
        associated.extend_from_slice(&[profile.data, profile.parity]);
        // STRIPE-4: the stripe's index as a 96-bit counter; its upper 64 bits are zero.
        let mut nonce = [0; NONCE_SIZE];
        nonce[NONCE_SIZE - 4..].copy_from_slice(&id.index.to_be_bytes());
        Sealer { cipher: Aes256Gcm::new(&key.0.into()), nonce, associated }
    }

    /// For a version that is kept in its metadata row.
    pub(super) fn inline(key: &DataKey, version: VersionId, length: usize) -> Sealer {
        let mut associated = Vec::with_capacity(40);
        associated.extend_from_slice(DOMAIN_INLINE);
        associated.extend_from_slice(&version.0.to_le_bytes());
        associated.extend_from_slice(&(length as u64).to_le_bytes());
        // STRIPE-4: no stripe has this nonce, since the upper 64 bits of theirs are zero.
        Sealer { cipher: Aes256Gcm::new(&key.0.into()), nonce: [0xFF; NONCE_SIZE], associated }
    }

    fn wrap(root: &RootKey, version: VersionId, nonce: [u8; NONCE_SIZE]) -> Sealer {
        let mut associated = Vec::with_capacity(32);
        associated.extend_from_slice(DOMAIN_WRAP);
        associated.extend_from_slice(&version.0.to_le_bytes());
        Sealer { cipher: Aes256Gcm::new(&root.0.into()), nonce, associated }
    }

    /// Encrypts `plaintext` into the front of `sealed`, followed by the tag.
    pub(super) fn seal(&self, plaintext: &[u8], sealed: &mut [u8]) {
        let (text, tag) = sealed.split_at_mut(plaintext.len());
        let buffer = InOutBuf::new(plaintext, text).expect("both halves have the plaintext's length");
        let nonce = Nonce::from(self.nonce);
        let made = self
            .cipher
            .encrypt_inout_detached(&nonce, &self.associated, buffer)
            .expect("a stripe is far below GCM's limit of 64 GiB");
        tag[..TAG_SIZE].copy_from_slice(&made);
    }

    /// Decrypts the first `length` bytes of `sealed` in place after checking the tag that follows them. Says whether
    /// the tag holds; when it does not, the bytes are left as they were.
    #[must_use]
    pub(super) fn open(&self, sealed: &mut [u8], length: usize) -> bool {
        let (text, tag) = sealed.split_at_mut(length);
        let Some(tag) = tag.first_chunk::<TAG_SIZE>() else { return false };
        let nonce = Nonce::from(self.nonce);
        self.cipher.decrypt_inout_detached(&nonce, &self.associated, text.into(), &(*tag).into()).is_ok()
    }

    /// Decrypts without looking at the tag: GCM encrypts by counter mode, so encrypting again decrypts. Only for the
    /// planted bug `ChecksumNotVerified`.
    #[cfg(debug_assertions)]
    pub(super) fn open_unchecked(&self, text: &mut [u8]) {
        let nonce = Nonce::from(self.nonce);
        let tag = self.cipher.encrypt_inout_detached(&nonce, &self.associated, text.into());
        assert!(tag.is_ok(), "a stripe is far below GCM's limit of 64 GiB");
    }
}

/// Seals a data key under the root key, for the version's metadata row. `nonce` must be random: one root key wraps
/// the keys of all versions.
#[must_use]
pub fn wrap(root: &RootKey, version: VersionId, key: &DataKey, nonce: [u8; 12]) -> WrappedKey {
    let mut wrapped = Vec::from(nonce);
    wrapped.resize(WRAPPED_SIZE, 0);
    Sealer::wrap(root, version, nonce).seal(&key.0, &mut wrapped[NONCE_SIZE..]);
    WrappedKey(wrapped)
}

/// Opens a data key. Fails with [`OpenError::WrongRootKey`].
pub fn unwrap_key(root: &RootKey, version: VersionId, wrapped: &WrappedKey) -> Result<DataKey, OpenError> {
    let whole: &[u8; WRAPPED_SIZE] = wrapped.0.as_slice().try_into().map_err(|_| OpenError::WrongRootKey)?;
    let (nonce, sealed) = whole.split_first_chunk::<NONCE_SIZE>().expect("the nonce is shorter than the whole");
    let mut sealed: [u8; KEY_SIZE + TAG_SIZE] = sealed.try_into().expect("what follows the nonce has a fixed size");
    if !Sealer::wrap(root, version, *nonce).open(&mut sealed, KEY_SIZE) {
        return Err(OpenError::WrongRootKey);
    }
    Ok(DataKey(*sealed.first_chunk().expect("the key comes before the tag")))
}
