//! `keys/` of a node's first directory: the root key, the S3 key pair, the cluster's authority, the node's certificate.
//!
//! - `KEYFILE-1` They are readable by the owner alone, and durable before the first `format` that says whose they are.
//! - `KEYFILE-2` Keys that a directory must have are never made again in place of missing ones: data would be sealed under one
//!   and sought under another, and an authority that its cluster does not know would admit nodes to nowhere.

use super::error::DirectoryError;
use super::format::Owner;
use super::{random, read_checked};
use crate::node::checked_file;
use crate::peers::{Admission, Ca, Identity, NodeKey};
use anvil_core::stripe::RootKey;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub(super) struct Keys {
    pub(super) root: RootKey,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) ca: Ca,
    pub(super) identity: Identity,
}

impl Keys {
    /// Draws the keys of a new cluster.
    pub(super) fn found(first: &Path, owner: &Owner) -> Result<(), DirectoryError> {
        let directory = make_private(first)?;
        let io_error = |error| DirectoryError::Io { path: directory.clone(), error };
        let (root_path, access_path) = (directory.join("root"), directory.join("access"));
        // A start that died half-way may have left a key; nothing was sealed with it yet, but it is as good as any.
        if !root_path.exists() {
            write_root(&directory, &RootKey(random())).map_err(io_error)?;
        }
        if !access_path.exists() {
            let (id, secret) = (format!("AK{}", random_text(18, 32)), random_text(40, 64));
            write_access(&directory, &id, &secret).map_err(io_error)?;
        }
        Keys::found_authority(first, owner)
    }

    /// Makes the authority of a cluster that has none yet, and the certificate of its only node.
    pub(super) fn found_authority(first: &Path, owner: &Owner) -> Result<(), DirectoryError> {
        let directory = first.join("keys");
        let ca = Ca::generate(owner.cluster);
        let identity = ca.identity(owner.node, NodeKey::generate());
        let written = write_ca(&directory, &ca).and_then(|()| write_node(&directory, &identity));
        // What was found may have been renamed into place by a start that died before it synced that.
        let synced = written.and_then(|()| File::open(&directory)?.sync_all());
        synced.map_err(|error| DirectoryError::Io { path: directory, error })
    }

    /// Keeps what a cluster gave to this node.
    pub(super) fn keep(first: &Path, admission: &Admission) -> Result<(), DirectoryError> {
        let directory = make_private(first)?;
        let written = write_root(&directory, &admission.root_key)
            .and_then(|()| write_access(&directory, &admission.access_key_id, &admission.secret_access_key))
            .and_then(|()| write_ca(&directory, &admission.ca))
            .and_then(|()| write_node(&directory, &admission.identity));
        written.map_err(|error| DirectoryError::Io { path: directory, error })
    }

    pub(super) fn open(first: &Path, owner: &Owner) -> Result<Keys, DirectoryError> {
        let directory = first.join("keys");
        // KEYFILE-2
        let file = |name: &str| Checked::read(directory.join(name));
        let (root, access, ca_file, node_file) = (file("root")?, file("access")?, file("ca")?, file("node")?);
        let ca = Ca::from_parts(owner.cluster, &ca_file.bytes("certificate")?, &ca_file.bytes("key")?);
        let ca = ca.map_err(|error| DirectoryError::Keys { path: ca_file.path.clone(), error })?;
        let wrong = |error| DirectoryError::Keys { path: node_file.path.clone(), error };
        let key = NodeKey::from_pkcs8(&node_file.bytes("key")?).map_err(wrong)?;
        let certificate = node_file.bytes("certificate")?;
        let identity = Identity::new(ca.certificate(), owner.cluster, owner.node, certificate, key).map_err(wrong)?;
        let root_key = root.bytes("root")?.try_into().map_err(|_| root.damaged("the key has another length"))?;
        Ok(Keys {
            root: RootKey(root_key),
            access_key_id: access.line("id")?.clone(),
            secret_access_key: access.line("secret")?.clone(),
            ca,
            identity,
        })
    }
}

/// A file of `keys/` that was read.
pub(super) struct Checked {
    path: PathBuf,
    lines: BTreeMap<String, String>,
}

impl Checked {
    pub(super) fn read(path: PathBuf) -> Result<Checked, DirectoryError> {
        let lines = read_checked(&path)?;
        Ok(Checked { path, lines })
    }

    pub(super) fn line(&self, name: &str) -> Result<&String, DirectoryError> {
        self.lines.get(name).ok_or_else(|| self.damaged("a line is missing"))
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, DirectoryError> {
        from_hex(self.line(name)?).ok_or_else(|| self.damaged("a line is no hex"))
    }

    pub(super) fn damaged(&self, what: &'static str) -> DirectoryError {
        DirectoryError::Damaged { path: self.path.clone(), what }
    }
}

/// KEYFILE-1
pub(super) fn make_private(first: &Path) -> Result<PathBuf, DirectoryError> {
    use std::os::unix::fs::PermissionsExt;
    let directory = first.join("keys");
    fs::create_dir_all(&directory)
        .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)))
        .and_then(|()| checked_file::sync_parent(&directory))
        .map_err(|error| DirectoryError::Io { path: directory.clone(), error })?;
    Ok(directory)
}

fn write_root(directory: &Path, key: &RootKey) -> io::Result<()> {
    checked_file::write(&directory.join("root"), &[("root", &to_hex(&key.0))])
}

fn write_access(directory: &Path, id: &str, secret: &str) -> io::Result<()> {
    checked_file::write(&directory.join("access"), &[("id", id), ("secret", secret)])
}

fn write_ca(directory: &Path, ca: &Ca) -> io::Result<()> {
    let (certificate, key) = (to_hex(ca.certificate()), to_hex(ca.pkcs8()));
    checked_file::write(&directory.join("ca"), &[("certificate", &certificate), ("key", &key)])
}

fn write_node(directory: &Path, identity: &Identity) -> io::Result<()> {
    let (certificate, key) = (to_hex(identity.certificate()), to_hex(identity.key().pkcs8()));
    checked_file::write(&directory.join("node"), &[("certificate", &certificate), ("key", &key)])
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// `length` characters out of the first `alphabet` (a power of two) of the base64url alphabet, upper case first.
fn random_text(length: usize, alphabet: u8) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567abcdefghijklmnopqrstuvwxyz0189-_";
    let bytes = (0..length).flat_map(|_| random::<1>());
    bytes.map(|byte| char::from(ALPHABET[usize::from(byte & (alphabet - 1))])).collect()
}
