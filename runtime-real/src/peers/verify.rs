//! Judges certificates: whether the cluster's authority signed them, and whom they name.
//!
//! - `CERT-1` A peer is who its certificate says, and a certificate counts only under our authority and our cluster.
//! - `CERT-2` Who dials a node reaches that node or nobody: the name that was dialed is the one in the certificate.
//! - `CERT-3` A joining node, which has no authority yet, takes only a chain that ends in the one that its token pins.
//!
//! Source: RFC 5280 §6 (paths), by `webpki`; RFC 8446 §4.4.3 (that the peer holds the key), by `rustls`.

use super::ca::{PublicKey, fingerprint};
use anvil_core::types::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

static ED25519: &[&dyn SignatureVerificationAlgorithm] = &[webpki::ring::ED25519];

/// One algorithm: everybody's keys are ours.
static ALGORITHMS: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: ED25519, mapping: &[(SignatureScheme::ED25519, ED25519)] };

/// The moment at which certificates are judged, in 2026: any within their time would do (`CA-2`).
const JUDGED_AT: Duration = Duration::from_secs(1_767_225_600);

/// Whom a certificate names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerName {
    /// The node.
    pub(super) node: NodeId,
    /// Its cluster.
    pub(super) cluster: u128,
}

impl PeerName {
    /// As a certificate has it.
    pub(super) fn to_dns(self) -> String {
        format!("{:016x}.{:032x}.anvil", self.node.0, self.cluster)
    }

    /// From what a certificate has, in that one form only.
    fn from_dns(name: &str) -> Option<PeerName> {
        let (node, cluster) = name.strip_suffix(".anvil")?.split_once('.')?;
        let node = NodeId(u64::from_str_radix(node, 16).ok()?);
        let parsed = PeerName { node, cluster: u128::from_str_radix(cluster, 16).ok()? };
        (parsed.to_dns() == name).then_some(parsed)
    }

    /// The one name in a certificate. Says nothing about who signed it.
    pub(super) fn in_certificate(certificate: &CertificateDer<'_>) -> Option<PeerName> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_dns_names();
        let name = names.next().and_then(PeerName::from_dns)?;
        names.next().is_none().then_some(name)
    }
}

/// What the owner of a certificate does in the handshake.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Client,
    Server,
}

/// Whom `certificate` names, if `ca` signed it, or what is wrong with it.
pub(super) fn check_chain(
    ca: &CertificateDer<'_>,
    certificate: &CertificateDer<'_>,
    side: Side,
) -> Result<PeerName, String> {
    let anchor = anchor_from_trusted_cert(ca).map_err(|error| format!("the authority's certificate: {error}"))?;
    let end_entity = EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
    let usage = match side {
        Side::Client => KeyUsage::client_auth(),
        Side::Server => KeyUsage::server_auth(),
    };
    let at = UnixTime::since_unix_epoch(JUDGED_AT);
    end_entity
        .verify_for_usage(ED25519, &[anchor], &[], at, usage, None, None)
        .map_err(|error| format!("it was not signed by the authority of this cluster ({error})"))?;
    PeerName::in_certificate(certificate).ok_or_else(|| "it does not name one node of a cluster".to_owned())
}

/// The key in a certificate. Says nothing about who signed it.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    // The key are the last 32 bytes of an Ed25519 key's SubjectPublicKeyInfo (RFC 8410 §4).
    let info = EndEntityCert::try_from(certificate).ok()?.subject_public_key_info();
    info.as_ref().last_chunk().copied().map(PublicKey)
}

/// What every verifier has alike: whether the peer holds the key of its certificate. `rustls` has a trait for each side
/// of a handshake, and each of the two wants these methods.
macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            // QUIC knows TLS 1.3 and later only (RFC 9001 §4.2).
            Err(Error::General("TLS 1.2 has no place in QUIC".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            ALGORITHMS.supported_schemes()
        }
    };
}

/// Checks the peers of a cluster, as either side of a handshake.
#[derive(Debug)]
pub(super) struct OfCluster {
    pub(super) cluster: u128,
    pub(super) ca: CertificateDer<'static>,
}

impl OfCluster {
    fn check(&self, certificate: &CertificateDer<'_>, side: Side) -> Result<PeerName, Error> {
        // CERT-1
        let name = check_chain(&self.ca, certificate, side)
            .map_err(|why| Error::General(format!("the peer's certificate is refused: {why}")))?;
        if name.cluster != self.cluster {
            return Err(Error::General("the peer's certificate is of another cluster".to_owned()));
        }
        Ok(name)
    }
}

impl ClientCertVerifier for OfCluster {
    /// A joining node has none yet; what it may say without one is decided by its protocol.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, Side::Client).map(|_| ClientCertVerified::assertion())
    }

    verify_signatures!();
}

impl ServerCertVerifier for OfCluster {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.check(end_entity, Side::Server)?;
        // CERT-2
        if server_name.to_str() != name.to_dns() {
            return Err(Error::General(format!("node {:016x} of this cluster is at that address", name.node.0)));
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();
}

/// Checks the node that a joining one asks, by what the token says.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) cluster: u128,
    pub(super) ca_fingerprint: [u8; 32],
    /// Set when the node is of another cluster: TLS reports only that the handshake failed.
    pub(super) foreign: Arc<AtomicBool>,
}

impl Pinned {
    fn refuse(&self) -> Error {
        self.foreign.store(true, Ordering::Relaxed);
        Error::General("the node is of another cluster than the token".to_owned())
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // CERT-3
        let ca = intermediates.iter().find(|certificate| fingerprint(certificate) == self.ca_fingerprint);
        let ca = ca.ok_or_else(|| self.refuse())?;
        let name = check_chain(ca, end_entity, Side::Server).map_err(Error::General)?;
        if name.cluster != self.cluster {
            return Err(self.refuse());
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        let name = PeerName { node: NodeId(0xA1), cluster: 0xB2 };
        let dns = name.to_dns();
        assert_eq!(dns, "00000000000000a1.000000000000000000000000000000b2.anvil");
        assert_eq!(PeerName::from_dns(&dns), Some(name));
        let others = [
            dns.to_uppercase(),
            dns.replacen('0', "", 1),
            format!("+{}", &dns[1..]),
            dns.replace("anvil", "example"),
            dns.replace(".anvil", ""),
            format!("x.{dns}"),
        ];
        for other in others {
            assert_eq!(PeerName::from_dns(&other), None, "{other}");
        }
    }
}
