//! TLS on the port of the clients: the certificate, and how it is replaced while the node runs.
//!
//! The port speaks both: the first byte that a client sends tells a handshake from a request (RFC 8446 §5.1, a record of a
//! handshake begins with 22, which begins no method of HTTP). Certificates come from files, which whoever renews them replaces;
//! or, without any, from one that the node makes for itself and keeps.
//!
//! - `TLS-1` A certificate is replaced only by one that can be used with its key: half of a renewal, or a broken file, leaves the one
//!   before in use, with a line in the log.
//!
//! Not here: certificates of the cluster, which are for nodes alone (`peers`).

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// What the first byte of a client that begins a handshake is.
pub(super) const HANDSHAKE: u8 = 22;

/// Where the certificate and its key are, as PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that lead from it to an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// The files in the directory of a node's keys, made for these names when they are not there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn self_made(keys: &Path, names: Vec<String>) -> anyhow::Result<TlsFiles> {
        let files = TlsFiles { certificate: keys.join("tls-certificate.pem"), key: keys.join("tls-key.pem") };
        if files.certificate.exists() && files.key.exists() {
            return Ok(files);
        }
        let key = KeyPair::generate().context("a key could not be made")?;
        let certificate = CertificateParams::new(names).and_then(|params| params.self_signed(&key));
        let certificate = certificate.context("a certificate could not be made; check --domain")?;
        write(&files.key, &key.serialize_pem()).with_context(|| format!("cannot write {}", files.key.display()))?;
        write(&files.certificate, &certificate.pem())
            .with_context(|| format!("cannot write {}", files.certificate.display()))?;
        Ok(files)
    }

    fn load(&self) -> anyhow::Result<CertifiedKey> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
            .with_context(|| format!("{} is no certificate in PEM", self.certificate.display()))?;
        anyhow::ensure!(!chain.is_empty(), "{} holds no certificate", self.certificate.display());
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.with_context(|| format!("{} is no private key in PEM", self.key.display()))?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        certified.with_context(|| format!("{} cannot be used with {}", self.certificate.display(), self.key.display()))
    }

    /// Changes whenever one of the files does.
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        })
    }
}

type Stamp = [Option<(u64, u64, i64, i64)>; 2];

/// TLS, as the port speaks it.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    /// Whether requests without it are refused.
    pub(super) only: bool,
    certified: RwLock<(Stamp, Arc<CertifiedKey>)>,
}

impl Tls {
    /// With `only`, nothing else is spoken.
    ///
    /// # Errors
    /// When the files cannot be used: says which, and why.
    pub fn new(files: TlsFiles, only: bool) -> anyhow::Result<Arc<Tls>> {
        let stamp = files.stamp();
        let certified = RwLock::new((stamp, Arc::new(files.load()?)));
        Ok(Arc::new(Tls { files, only, certified }))
    }

    /// What takes handshakes.
    pub(super) fn acceptor(self: &Arc<Tls>) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has what these versions need");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::<Tls>::clone(self));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Takes up files that changed, until it is dropped.
    pub(super) async fn follow(self: Arc<Tls>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let tls = Arc::clone(&self);
            // A panic in there would be a bug; the certificate in use stays.
            let _ = tokio::task::spawn_blocking(move || tls.look_again()).await;
        }
    }

    /// TLS-1
    fn look_again(&self) {
        let stamp = self.files.stamp();
        if self.certified.read().unwrap_or_else(PoisonError::into_inner).0 == stamp {
            return;
        }
        let mut certified = self.certified.write().unwrap_or_else(PoisonError::into_inner);
        // Said once for each change.
        certified.0 = stamp;
        match self.files.load() {
            Ok(loaded) => {
                certified.1 = Arc::new(loaded);
                tracing::info!("{} is in use as it is now", self.files.certificate.display());
            }
            Err(error) => tracing::warn!("the certificate of before stays in use: {error:#}"),
        }
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified.read().unwrap_or_else(PoisonError::into_inner).1))
    }
}

/// Writes a file that its owner alone reads, durable when it returns.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    crate::node::sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn a_certificate_is_made_once() {
        let keys = tempfile::tempdir().unwrap();
        let files = TlsFiles::self_made(keys.path(), names()).unwrap();
        let mode = fs::metadata(&files.key).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let first = fs::read(&files.certificate).unwrap();
        let again = TlsFiles::self_made(keys.path(), names()).unwrap();
        assert_eq!(fs::read(again.certificate).unwrap(), first);
    }

    #[test]
    fn files_that_change_are_taken_up_when_they_can_be_used() {
        let (keys, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = TlsFiles::self_made(keys.path(), names()).unwrap();
        let other = TlsFiles::self_made(others.path(), names()).unwrap();
        let tls = Tls::new(files.clone(), false).unwrap();
        let in_use = || tls.certified.read().unwrap().1.cert.clone();
        let first = in_use();
        // Half of a renewal.
        fs::copy(&other.certificate, &files.certificate).unwrap();
        tls.look_again();
        assert_eq!(in_use(), first, "TLS-1");
        fs::copy(&other.key, &files.key).unwrap();
        tls.look_again();
        let second = in_use();
        assert_ne!(second, first);
        for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&files.certificate, broken).unwrap();
            tls.look_again();
            assert_eq!(in_use(), second, "TLS-1");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let keys = tempfile::tempdir().unwrap();
        let files = TlsFiles::self_made(keys.path(), names()).unwrap();
        fs::write(&files.key, "secret").unwrap();
        let error = format!("{:#}", Tls::new(files.clone(), false).unwrap_err());
        assert!(error.contains("tls-key.pem") && !error.contains("secret"), "{error}");
        let missing = TlsFiles { certificate: keys.path().join("none"), ..files };
        assert!(format!("{:#}", Tls::new(missing, false).unwrap_err()).contains("none"));
    }
}
