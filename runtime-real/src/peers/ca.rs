//! The cluster's own certificate authority, and the keys and certificates of its nodes.
//!
//! The intuition: whoever holds a certificate that this authority signed is a node of this cluster, and the certificate
//! says which. Nothing else says who a peer is, neither its address nor what it sends.
//!
//! - `CA-1` A certificate names exactly one node of one cluster, in its only DNS name: `<node>.<cluster>.anvil`, in hex.
//! - `CA-2` No clock matters: certificates hold from the year 2000 to 4096, and are judged at one fixed moment. A node
//!   leaves the cluster by being removed from it, not by the passing of time.
//! - `CA-3` An [`Identity`] is whole: its certificate is of its authority, its cluster, its node and its key.
//!
//! Source: RFC 5280 for certificates, RFC 8410 for Ed25519 in them. Why every node holds the authority's key:
//! `docs/decisions/0012-cluster-identity.md`.
//!
//! Not here: whether a node is still a member, which changes while its certificate stays (`mod.rs`).

use super::verify::{self, PeerName};
use anvil_core::types::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SigningKey as _, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;

/// Why keys and certificates cannot be used together.
#[derive(Debug)]
pub enum CaError {
    /// The bytes are no Ed25519 key in PKCS #8.
    Key,
    /// The certificate is not of this authority. Says what is wrong with it.
    NotSigned(String),
    /// The certificate is of another node or cluster.
    OtherNode,
    /// The certificate is of another key.
    OtherKey,
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaError::Key => f.write_str("the private key is no Ed25519 key"),
            CaError::NotSigned(why) => write!(f, "the certificate is not of the cluster's authority: {why}"),
            CaError::OtherNode => f.write_str("the certificate is of another node or cluster"),
            CaError::OtherKey => f.write_str("the certificate is of another key"),
        }
    }
}

impl std::error::Error for CaError {}

/// A node's Ed25519 key pair. Never leaves the node. Shared by its clones: making one anew from its bytes derives the public
/// half again, which is a hundred microseconds.
#[derive(Clone)]
pub struct NodeKey(Arc<KeyPair>);

/// The public half: 32 bytes, as RFC 8032 has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({:?})", self.public())
    }
}

impl NodeKey {
    /// Draws a key pair.
    #[must_use]
    pub fn generate() -> NodeKey {
        NodeKey(Arc::new(KeyPair::generate_for(&PKCS_ED25519).expect("the operating system has a random generator")))
    }

    /// The key pair that [`pkcs8`](NodeKey::pkcs8) wrote.
    ///
    /// # Errors
    /// When the bytes are no such key pair.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<NodeKey, CaError> {
        let der = PrivatePkcs8KeyDer::from(bytes);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(|_| CaError::Key)?;
        Ok(NodeKey(Arc::new(pair)))
    }

    /// The bytes to keep, PKCS #8 in DER. Secret.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        self.0.serialized_der()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key_raw().try_into().expect("a public key of Ed25519 has 32 bytes"))
    }

    /// Signs, to prove that the key is held.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.0.sign(message).expect("Ed25519 signs any message");
        signature.try_into().expect("a signature of Ed25519 has 64 bytes")
    }
}

impl PublicKey {
    /// Whether the holder of the private half signed `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// The authority of one cluster. Signs certificates, so whoever holds it can make a node.
#[derive(Clone, Debug)]
pub struct Ca {
    cluster: u128,
    certificate: CertificateDer<'static>,
    key: NodeKey,
}

impl Ca {
    /// Makes the authority of a new cluster.
    #[must_use]
    pub fn generate(cluster: u128) -> Ca {
        let key = NodeKey::generate();
        let certificate = ca_parameters(cluster).self_signed(&*key.0).expect("the parameters are complete");
        Ca { cluster, certificate: certificate.der().clone(), key }
    }

    /// The authority from what was kept of it.
    ///
    /// # Errors
    /// When the key is none, or does not belong to the certificate.
    pub fn from_parts(cluster: u128, certificate: &[u8], pkcs8: &[u8]) -> Result<Ca, CaError> {
        let key = NodeKey::from_pkcs8(pkcs8)?;
        let ca = Ca { cluster, certificate: CertificateDer::from(certificate.to_vec()), key };
        // What it signs must be good under the certificate, else key and certificate are of two authorities.
        let (node, trial) = (NodeId(0), NodeKey::generate());
        Identity::new(&ca.certificate, cluster, node, ca.sign(node, trial.public()).to_vec(), trial)?;
        Ok(ca)
    }

    /// Signs the certificate of a node.
    #[must_use]
    pub fn sign(&self, node: NodeId, key: PublicKey) -> CertificateDer<'static> {
        // CA-1
        let name = PeerName { node, cluster: self.cluster }.to_dns();
        let mut parameters = CertificateParams::new([name.clone()]).expect("hex digits and dots are a DNS name");
        parameters.distinguished_name = common_name(&name);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        always(&mut parameters);
        let issuer = Issuer::new(ca_parameters(self.cluster), &*self.key.0);
        parameters.signed_by(&key, &issuer).expect("the parameters are complete").der().clone()
    }

    /// The authority's certificate, in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The authority's private key, PKCS #8 in DER. Secret.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        self.key.pkcs8()
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// What a join token pins.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// The identity of a node whose certificate this authority signs here.
    #[must_use]
    pub fn identity(&self, node: NodeId, key: NodeKey) -> Identity {
        let certificate = self.sign(node, key.public()).to_vec();
        Identity::new(&self.certificate, self.cluster, node, certificate, key).expect("it was signed for just this")
    }
}

/// SHA-256 of a certificate's DER.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

fn ca_parameters(cluster: u128) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = common_name(&format!("anvil cluster {cluster:032x}"));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    always(&mut parameters);
    parameters
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

// CA-2
fn always(parameters: &mut CertificateParams) {
    parameters.not_before = date_time_ymd(2000, 1, 1);
    parameters.not_after = date_time_ymd(4096, 1, 1);
}

/// Who a node is, with the means to prove it.
#[derive(Clone, Debug)]
pub struct Identity {
    name: PeerName,
    ca: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: NodeKey,
}

impl Identity {
    /// An identity out of its parts: the authority's certificate, the node's certificate and key.
    ///
    /// # Errors
    /// When the parts do not belong together.
    pub fn new(
        ca: &[u8],
        cluster: u128,
        node: NodeId,
        certificate: Vec<u8>,
        key: NodeKey,
    ) -> Result<Identity, CaError> {
        // CA-3
        let (ca, certificate) = (CertificateDer::from(ca.to_vec()), CertificateDer::from(certificate));
        let name = verify::check_chain(&ca, &certificate, verify::Side::Server).map_err(CaError::NotSigned)?;
        if name != (PeerName { node, cluster }) {
            return Err(CaError::OtherNode);
        }
        if verify::public_key(&certificate) != Some(key.public()) {
            return Err(CaError::OtherKey);
        }
        Ok(Identity { name, ca, certificate, key })
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.name.node
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.name.cluster
    }

    /// The node's certificate, in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The authority's certificate, in DER.
    #[must_use]
    pub fn ca(&self) -> &[u8] {
        &self.ca
    }

    /// The node's key pair.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// What a node shows: its own certificate, then the authority's, which a joining node compares with its token.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.ca.clone()]
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.pkcs8().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: u128 = 0xC1;

    #[test]
    fn what_was_kept_of_an_authority_signs_as_before() {
        let ca = Ca::generate(CLUSTER);
        let again = Ca::from_parts(CLUSTER, ca.certificate(), ca.pkcs8()).unwrap();
        assert_eq!(again.fingerprint(), ca.fingerprint());
        let key = NodeKey::generate();
        let certificate = again.sign(NodeId(7), key.public()).to_vec();
        let identity = Identity::new(ca.certificate(), CLUSTER, NodeId(7), certificate, key).unwrap();
        assert_eq!((identity.node(), identity.cluster()), (NodeId(7), CLUSTER));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let (ca, other) = (Ca::generate(CLUSTER), Ca::generate(CLUSTER));
        let key = NodeKey::generate();
        let signed = || ca.sign(NodeId(7), key.public()).to_vec();
        let build = |ca: &Ca, cluster, node, key: &NodeKey| {
            Identity::new(ca.certificate(), cluster, NodeId(node), signed(), key.clone())
        };
        build(&ca, CLUSTER, 7, &key).unwrap();
        assert!(matches!(build(&other, CLUSTER, 7, &key), Err(CaError::NotSigned(_))), "another authority");
        assert!(matches!(build(&ca, CLUSTER + 1, 7, &key), Err(CaError::OtherNode)), "another cluster");
        assert!(matches!(build(&ca, CLUSTER, 8, &key), Err(CaError::OtherNode)), "another node");
        assert!(matches!(build(&ca, CLUSTER, 7, &NodeKey::generate()), Err(CaError::OtherKey)), "another key");
        assert!(matches!(Ca::from_parts(CLUSTER, ca.certificate(), other.pkcs8()), Err(CaError::NotSigned(_))));
        assert!(matches!(NodeKey::from_pkcs8(b"no key"), Err(CaError::Key)));
    }

    #[test]
    fn a_node_cannot_sign_for_another() {
        // A certificate that a node signed, where its own stands for the authority's.
        let ca = Ca::generate(CLUSTER);
        let key = NodeKey::generate();
        let node = ca.sign(NodeId(7), key.public());
        let false_ca = Ca { cluster: CLUSTER, certificate: node, key };
        let victim = NodeKey::generate();
        let forged = false_ca.sign(NodeId(8), victim.public()).to_vec();
        let refused = Identity::new(ca.certificate(), CLUSTER, NodeId(8), forged, victim);
        assert!(matches!(refused, Err(CaError::NotSigned(_))), "{refused:?}");
    }

    #[test]
    fn a_signature_proves_the_key_and_the_message() {
        let key = NodeKey::generate();
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"another", &signature));
        assert!(!NodeKey::generate().public().verifies(b"message", &signature));
    }
}
