//! The side of a cluster that answers those who want to join.
//!
//! - `DESK-1` Keys and credentials leave only after the cluster has accepted the token for just this node and key, in a
//!   session with the holder of that key.
//! - `DESK-2` A request costs little before its secret is known to be good: it is small, its time is short, only a few are
//!   answered at once, and an address with many wrong tokens is not heard for a while.
//!
//! Not here: what a good token is. The cluster's state decides, through [`Admit`].

use super::Mesh;
use super::accept::{Close, close};
use super::ca::{Ca, PublicKey};
use super::join::session_value;
use super::token::secret_hash;
use anvil_core::stripe::RootKey;
use anvil_proto::join::{
    Admission, Answer, FORMAT_VERSION, JoinRequest, KnownPeer, REQUEST_SIZE_MAX, Refusal, decode_request, encode_answer,
};
use async_trait::async_trait;
use quinn::Connection;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Requests that are answered at the same time.
const ANSWERED_AT_ONCE: usize = 8;

/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(3);

/// How long the cluster may take to decide.
const DECISION: Duration = Duration::from_secs(15);

/// Wrong tokens of one address in [`PENALTY`] after which it is not heard.
const WRONG_MAX: u32 = 5;

/// How long wrong tokens are remembered.
const PENALTY: Duration = Duration::from_secs(60);

/// Addresses whose wrong tokens are remembered. When there are more, the oldest is forgotten.
const ADDRESSES_MAX: usize = 1024;

/// What the cluster gives to a node that it takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of its first drive; as many as it has are its own.
    pub first_drive: u32,
    /// The other nodes.
    pub peers: Vec<KnownPeer>,
}

/// Decides, by the cluster's state, whether a node is taken in.
#[async_trait]
pub trait Admit: Send + Sync + 'static {
    /// Uses up the token with this hash (see [`JoinToken::secret_hash`](super::JoinToken::secret_hash)) for the request's
    /// node and key, and allots its drives. When the same token has admitted the same node with the same key before, the
    /// answer is the same as then: the first one may not have arrived.
    async fn admit(&self, request: &JoinRequest, secret_hash: [u8; 32]) -> Result<Place, Refusal>;
}

/// What a node needs to admit others.
pub struct Desk {
    /// Signs their certificates, and goes to them.
    pub ca: Ca,
    /// Goes to them.
    pub root_key: RootKey,
    /// Goes to them.
    pub access_key_id: String,
    /// Goes to them.
    pub secret_access_key: String,
    /// Decides.
    pub admit: Arc<dyn Admit>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk(of cluster {:032x})", self.ca.cluster())
    }
}

/// What the desk remembers of those who ask.
#[derive(Debug)]
pub(super) struct Queueing {
    places: Semaphore,
    wrong: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Default for Queueing {
    fn default() -> Queueing {
        Queueing { places: Semaphore::new(ANSWERED_AT_ONCE), wrong: Mutex::default() }
    }
}

impl Queueing {
    fn heard(&self, address: IpAddr, now: Instant) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (_, since)| now.duration_since(*since) < PENALTY);
        wrong.get(&address).is_none_or(|&(count, _)| count < WRONG_MAX)
    }

    fn note_wrong(&self, address: IpAddr, now: Instant) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= ADDRESSES_MAX && !wrong.contains_key(&address) {
            let oldest = wrong.iter().min_by_key(|(_, (_, since))| *since).map(|(&address, _)| address);
            oldest.and_then(|oldest| wrong.remove(&oldest));
        }
        wrong.entry(address).or_insert((0, now)).0 += 1;
    }
}

/// Answers one request and ends the connection.
pub(super) async fn answer(mesh: &Mesh, connection: &Connection) {
    let address = connection.remote_address();
    let Ok(_place) = mesh.queueing.places.try_acquire() else {
        close(connection, Close::Stranger, "many nodes are joining at this moment; try again");
        return mesh.refused(&address.to_string(), "many nodes are joining at this moment");
    };
    let arrived = timeout(ARRIVAL, async {
        let (to, mut from) = connection.accept_bi().await.ok()?;
        Some((to, from.read_to_end(REQUEST_SIZE_MAX).await.ok()?))
    });
    let Ok(Some((mut to, bytes))) = arrived.await else {
        close(connection, Close::Misbehaved, "no request to join came in time");
        return mesh.refused(&address.to_string(), "it sent no request to join");
    };
    let answer = decide(mesh, connection, &bytes).await;
    if let Err(refusal) = &answer {
        mesh.refused(&format!("a node at {address}, which wants to join,"), &refusal.to_string());
    }
    let sent = async {
        to.write_all(&encode_answer(&answer)).await.ok()?;
        to.finish().ok()?;
        to.stopped().await.ok()
    };
    let _ = timeout(ARRIVAL, sent).await;
    close(connection, Close::Answered, "answered");
}

async fn decide(mesh: &Mesh, connection: &Connection, bytes: &[u8]) -> Answer {
    let desk = mesh.desk.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let desk = desk.ok_or_else(|| Refusal::TryAgain("the node is just starting".to_owned()))?;
    let address = connection.remote_address().ip();
    // DESK-2
    if !mesh.queueing.heard(address, Instant::now()) {
        return Err(Refusal::TooManyAttempts);
    }
    let request = decode_request(bytes).map_err(|error| Refusal::Malformed(error.to_string()))?;
    check(&request, &desk.ca, &session_value(connection))?;
    let decided = timeout(DECISION, desk.admit.admit(&request, secret_hash(&request.secret))).await;
    let decided = decided.unwrap_or_else(|_| Err(Refusal::TryAgain("the cluster did not decide in time".to_owned())));
    if matches!(decided, Err(Refusal::WrongToken | Refusal::UsedToken)) {
        mesh.queueing.note_wrong(address, Instant::now());
    }
    // DESK-1
    let Place { first_drive, peers } = decided?;
    tracing::info!("node {} \"{}\" at {} was admitted to the cluster", request.node, request.name, request.address);
    Ok(Admission {
        first_drive,
        root_key: desk.root_key.clone(),
        access_key_id: desk.access_key_id.clone(),
        secret_access_key: desk.secret_access_key.clone(),
        ca_certificate: desk.ca.certificate().to_vec(),
        ca_key: desk.ca.pkcs8().to_vec(),
        certificate: desk.ca.sign(request.node, PublicKey(request.public_key)).to_vec(),
        // When it asks again, the node itself is a member already.
        peers: peers.into_iter().filter(|peer| peer.node != request.node).collect(),
    })
}

/// What can be judged without the cluster.
fn check(request: &JoinRequest, ca: &Ca, session: &[u8]) -> Result<(), Refusal> {
    if request.format_version != FORMAT_VERSION {
        return Err(Refusal::Version(FORMAT_VERSION));
    }
    if request.cluster != ca.cluster() {
        return Err(Refusal::OtherCluster);
    }
    if !PublicKey(request.public_key).verifies(session, &request.proof) {
        return Err(Refusal::Malformed("`proof` is not by the holder of the key in this session".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::NodeKey;
    use anvil_core::types::NodeId;

    #[test]
    fn what_needs_no_cluster_is_judged_without_it() {
        let (ca, key) = (Ca::generate(0xC1), NodeKey::generate());
        let session = [1; 32];
        let request = JoinRequest {
            format_version: FORMAT_VERSION,
            cluster: 0xC1,
            secret: [2; 16],
            node: NodeId(2),
            name: "node2".to_owned(),
            zone: String::new(),
            address: "10.0.0.2:8000".parse().unwrap(),
            drives_gib: vec![1],
            public_key: key.public().0,
            proof: key.sign(&session),
        };
        assert_eq!(check(&request, &ca, &session), Ok(()));
        let old = JoinRequest { format_version: 0, ..request.clone() };
        assert_eq!(check(&old, &ca, &session), Err(Refusal::Version(FORMAT_VERSION)));
        let foreign = JoinRequest { cluster: 0xC2, ..request.clone() };
        assert_eq!(check(&foreign, &ca, &session), Err(Refusal::OtherCluster));
        // ASK-3: the same request in another session, and one that names the key of somebody else.
        assert!(matches!(check(&request, &ca, &[9; 32]), Err(Refusal::Malformed(_))));
        let thief = JoinRequest { proof: NodeKey::generate().sign(&session), ..request };
        assert!(matches!(check(&thief, &ca, &session), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn an_address_with_many_wrong_tokens_is_not_heard_for_a_while() {
        let queueing = Queueing::default();
        let (guesser, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        for _ in 0..WRONG_MAX {
            assert!(queueing.heard(guesser, start));
            queueing.note_wrong(guesser, start);
        }
        assert!(!queueing.heard(guesser, start + PENALTY - Duration::from_millis(1)));
        assert!(queueing.heard(other, start), "others are heard");
        assert!(queueing.heard(guesser, start + PENALTY));
        for n in 0..u16::try_from(2 * ADDRESSES_MAX).unwrap() {
            let [high, low] = n.to_be_bytes();
            queueing.note_wrong(IpAddr::from([10, 1, high, low]), start);
        }
        assert_eq!(queueing.wrong.lock().unwrap().len(), ADDRESSES_MAX);
    }
}
