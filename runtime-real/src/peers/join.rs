//! A node that has a token asks to become a member.
//!
//! The intuition: the token is used up by the answer, and the answer may get lost. So the node draws its number and key once
//! and keeps them before it asks (`node/directory`), and asking again with the same token, number and key is the same request:
//! the cluster answers it again.
//!
//! - `ASK-1` The secret is told only to a node whose certificate ends in the authority that the token pins (`CERT-3`).
//! - `ASK-2` An admission is taken only if it is whole: the authority of the token, and a certificate for this node and key.
//! - `ASK-3` Who asks proves in the same session that it holds the key that it names, so a token and a request that somebody
//!   overheard earlier are worth nothing without it.
//!
//! Source: RFC 8446 §7.5 for the value that only the two ends of a session know. The bytes: `docs/formats/join.md`.
//!
//! Not here: the side that answers (`desk.rs`).

use super::ca::{Ca, CaError, Identity, NodeKey};
use super::quic;
use super::token::JoinToken;
use anvil_core::stripe::RootKey;
use anvil_core::types::NodeId;
use anvil_proto::join::{
    self, ANSWER_SIZE_MAX, FORMAT_VERSION, JoinDecodeError, JoinRequest, KnownPeer, Refusal, decode_answer,
    encode_request,
};
use quinn::{Connection, Endpoint};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long one node may take to answer. It asks the whole cluster.
const ANSWER: Duration = Duration::from_secs(20);

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// The pause before all addresses are asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// What the value of a session is for.
const PROOF_LABEL: &[u8] = b"EXPORTER-anvil-join";

/// Who asks.
#[derive(Clone, Debug)]
pub struct Applicant {
    /// The number that it has drawn, and kept.
    pub node: NodeId,
    /// Its key, kept too.
    pub key: NodeKey,
    /// Its name.
    pub name: String,
    /// Where it stands, or empty.
    pub zone: String,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// The size of each of its drives in GiB.
    pub drives_gib: Vec<u32>,
}

/// What a member has that others have not.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The cluster's authority.
    pub ca: Ca,
    /// Who the node is.
    pub identity: Identity,
    /// The number of its first drive.
    pub first_drive: u32,
    /// Wraps data keys.
    pub root_key: RootKey,
    /// The S3 access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The other nodes.
    pub peers: Vec<KnownPeer>,
}

/// Why a node did not become a member.
#[derive(Debug)]
pub enum JoinError {
    /// `--peers` names nobody.
    NoPeers,
    /// The cluster said no.
    Refused(Refusal),
    /// The node at an address is of another cluster than the token.
    Foreign { address: String },
    /// Nobody answered in time. Says for each address why.
    Unreachable(Vec<(String, String)>),
    /// What came is no answer.
    Answer { address: String, error: JoinDecodeError },
    /// The admission does not fit the token or this node.
    Admission { address: String, error: CaError },
    /// No socket could be had.
    Socket(io::Error),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::NoPeers => f.write_str("there is nobody to ask; give --peers HOST:PORT of a member"),
            JoinError::Refused(refusal) => refusal.fmt(f),
            JoinError::Foreign { address } => write!(
                f,
                "the node at {address} is of another cluster than the token; check --peers, or make a token on a member of \
                 that cluster"
            ),
            JoinError::Unreachable(tried) => {
                f.write_str("no member could be asked; check --peers, which names the UDP --port of a member")?;
                tried.iter().try_for_each(|(address, why)| write!(f, "; {address}: {why}"))
            }
            JoinError::Answer { address, error } => {
                write!(f, "the answer of {address} cannot be read: {error}; use the binary that the cluster runs")
            }
            JoinError::Admission { address, error } => {
                write!(f, "the admission by {address} cannot be used: {error}; ask another member")
            }
            JoinError::Socket(error) => write!(f, "no UDP socket could be opened: {error}"),
        }
    }
}

impl std::error::Error for JoinError {}

/// What asking one address came to, when it is not an admission.
enum Attempt {
    /// No use to ask anybody else.
    Final(JoinError),
    /// Another address, or a later time, may do.
    Other(String),
    /// Another address may do; the time makes no difference.
    Foreign,
}

/// Asks the nodes at `peers` (`host:port`), one after the other, until one admits `applicant`, one refuses it for good, or
/// `patience` is over. Call it within a tokio runtime.
///
/// # Errors
/// Each says what to do. After any of them the same can be asked again.
pub async fn join(
    peers: &[String],
    token: &JoinToken,
    applicant: &Applicant,
    patience: Duration,
) -> Result<Admission, JoinError> {
    if peers.is_empty() {
        return Err(JoinError::NoPeers);
    }
    let began = Instant::now();
    loop {
        let (mut tried, mut foreign) = (Vec::new(), None);
        for address in peers {
            match ask(address, token, applicant).await {
                Ok(admission) => return Ok(admission),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Foreign) => foreign = Some(address.clone()),
                Err(Attempt::Other(why)) => tried.push((address.clone(), why)),
            }
        }
        if let Some(address) = foreign.filter(|_| tried.is_empty() || began.elapsed() >= patience) {
            return Err(JoinError::Foreign { address });
        }
        if began.elapsed() >= patience {
            return Err(JoinError::Unreachable(tried));
        }
        sleep(PAUSE).await;
    }
}

async fn ask(address: &str, token: &JoinToken, applicant: &Applicant) -> Result<Admission, Attempt> {
    let resolved = tokio::net::lookup_host(address).await.map(|mut all| all.next());
    let to = match resolved {
        Ok(Some(to)) => to,
        Ok(None) => return Err(Attempt::Other("the name has no address".to_owned())),
        Err(error) => return Err(Attempt::Other(error.to_string())),
    };
    let any: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let endpoint = Endpoint::client(any).map_err(|error| Attempt::Final(JoinError::Socket(error)))?;
    // ASK-1
    let (config, foreign) = quic::join_client(token.cluster, token.ca_fingerprint);
    let connecting =
        endpoint.connect_with(config, to, "join.anvil").map_err(|error| Attempt::Other(error.to_string()))?;
    let connection = match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) if foreign.load(Ordering::Relaxed) => return Err(Attempt::Foreign),
        Ok(Err(error)) => return Err(Attempt::Other(error.to_string())),
        Err(_) => return Err(Attempt::Other("no answer".to_owned())),
    };
    let request = JoinRequest {
        format_version: FORMAT_VERSION,
        cluster: token.cluster,
        secret: token.secret,
        node: applicant.node,
        name: applicant.name.clone(),
        zone: applicant.zone.clone(),
        address: applicant.address,
        drives_gib: applicant.drives_gib.clone(),
        public_key: applicant.key.public().0,
        // ASK-3
        proof: applicant.key.sign(&session_value(&connection)),
    };
    let answer = match timeout(ANSWER, exchange(&connection, &request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(Attempt::Other(why)),
        Err(_) => return Err(Attempt::Other("it did not answer in time".to_owned())),
    };
    connection.close(0u8.into(), b"");
    let _ = timeout(PAUSE, endpoint.wait_idle()).await;
    let address = || address.to_owned();
    match decode_answer(&answer) {
        Ok(Ok(admission)) => admitted(admission, token, applicant)
            .map_err(|error| Attempt::Final(JoinError::Admission { address: address(), error })),
        Ok(Err(refusal @ Refusal::TryAgain(_))) => Err(Attempt::Other(refusal.to_string())),
        Ok(Err(refusal)) => Err(Attempt::Final(JoinError::Refused(refusal))),
        Err(error) => Err(Attempt::Final(JoinError::Answer { address: address(), error })),
    }
}

async fn exchange(connection: &Connection, request: &JoinRequest) -> Result<Vec<u8>, String> {
    let told = |error: &dyn fmt::Display| match connection.close_reason() {
        Some(quinn::ConnectionError::ApplicationClosed(close)) => String::from_utf8_lossy(&close.reason).into_owned(),
        Some(reason) => reason.to_string(),
        None => error.to_string(),
    };
    let (mut to, mut from) = connection.open_bi().await.map_err(|error| told(&error))?;
    to.write_all(&encode_request(request)).await.map_err(|error| told(&error))?;
    // It cannot have been finished before.
    let _ = to.finish();
    from.read_to_end(ANSWER_SIZE_MAX).await.map_err(|error| told(&error))
}

/// What only the two ends of this session know, in place of a challenge.
pub(super) fn session_value(connection: &Connection) -> [u8; 32] {
    let mut value = [0; 32];
    connection.export_keying_material(&mut value, PROOF_LABEL, b"").expect("32 bytes are not too many to export");
    value
}

// ASK-2
fn admitted(found: join::Admission, token: &JoinToken, applicant: &Applicant) -> Result<Admission, CaError> {
    if super::ca::fingerprint(&found.ca_certificate) != token.ca_fingerprint {
        return Err(CaError::NotSigned("it is of another authority than the token".to_owned()));
    }
    let ca = Ca::from_parts(token.cluster, &found.ca_certificate, &found.ca_key)?;
    let key = applicant.key.clone();
    let identity = Identity::new(ca.certificate(), token.cluster, applicant.node, found.certificate, key)?;
    Ok(Admission {
        ca,
        identity,
        first_drive: found.first_drive,
        root_key: found.root_key,
        access_key_id: found.access_key_id,
        secret_access_key: found.secret_access_key,
        peers: found.peers,
    })
}
