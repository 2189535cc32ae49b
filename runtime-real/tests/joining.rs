//! Nodes that ask to join, over real sockets: who is admitted, who is refused, and what each is told.

use anvil::node::DirectoryError;
use anvil::peers::{
    Admission, Admit, Applicant, Ca, Desk, EnterError, Handler, JoinError, JoinToken, NodeKey, Peers, Place, Wish,
    join, open_or_join,
};
use anvil_core::stripe::RootKey;
use anvil_core::types::NodeId;
use anvil_proto::join::{JoinRequest, KnownPeer, Refusal};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLUSTER: u128 = 0xC1;

struct Deaf;

impl Handler for Deaf {
    fn frame(&self, _: NodeId, _: Bytes, _: Bytes) {}
    fn reachable(&self, _: NodeId, _: bool) {}
}

/// A node, its key, and what it was given.
type Admitted = (NodeId, [u8; 32], Place);

/// What the cluster's state would do with tokens, in a few lines.
#[derive(Default)]
struct Registry {
    /// Tokens that were made, and whom each admitted.
    tokens: Mutex<BTreeMap<[u8; 32], Option<Admitted>>>,
    asked: AtomicU32,
    no_leader: AtomicBool,
}

#[async_trait]
impl Admit for Registry {
    async fn admit(&self, request: &JoinRequest, secret_hash: [u8; 32]) -> Result<Place, Refusal> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.no_leader.swap(false, Ordering::Relaxed) {
            return Err(Refusal::TryAgain("it has no leader".to_owned()));
        }
        if request.name == "node1" {
            return Err(Refusal::NameTaken);
        }
        let mut tokens = self.tokens.lock().expect("nobody panics");
        let token = tokens.get_mut(&secret_hash).ok_or(Refusal::WrongToken)?;
        let peer = KnownPeer {
            node: NodeId(1),
            address: "127.0.0.1:9001".parse().expect("an address"),
            name: "node1".to_owned(),
        };
        let place = Place { first_drive: 7, peers: vec![peer] };
        let (node, key, place) = token.get_or_insert((request.node, request.public_key, place));
        if (*node, *key) == (request.node, request.public_key) { Ok(place.clone()) } else { Err(Refusal::UsedToken) }
    }
}

struct Member {
    ca: Ca,
    registry: Arc<Registry>,
    peers: Peers,
    address: String,
}

impl Member {
    fn start() -> Member {
        let ca = Ca::generate(CLUSTER);
        let identity = ca.identity(NodeId(1), NodeKey::generate());
        let peers = Peers::start(&identity, (Ipv4Addr::LOCALHOST, 0).into(), &[], Arc::new(Deaf)).expect("a free port");
        let address = peers.local_address().expect("it is bound").to_string();
        let member = Member { ca, registry: Arc::default(), peers, address };
        member.open_desk(&member.ca);
        member
    }

    fn open_desk(&self, ca: &Ca) {
        self.peers.open_desk(Desk {
            ca: ca.clone(),
            root_key: RootKey([9; 32]),
            access_key_id: "AK".to_owned(),
            secret_access_key: "SK".to_owned(),
            admit: Arc::clone(&self.registry) as Arc<dyn Admit>,
        });
    }

    fn token(&self) -> JoinToken {
        let token = JoinToken::draw(&self.ca);
        self.registry.tokens.lock().expect("nobody panics").insert(token.secret_hash(), None);
        token
    }

    async fn asked_by(&self, token: &JoinToken, applicant: &Applicant) -> Result<Admission, JoinError> {
        join(std::slice::from_ref(&self.address), token, applicant, Duration::from_secs(2)).await
    }

    fn asked(&self) -> u32 {
        self.registry.asked.load(Ordering::Relaxed)
    }
}

fn applicant(node: u64) -> Applicant {
    Applicant {
        node: NodeId(node),
        key: NodeKey::generate(),
        name: format!("node{node}"),
        zone: String::new(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9002)),
        drives_gib: vec![10, 20],
    }
}

#[tokio::test]
async fn a_node_with_a_token_becomes_a_member() {
    let member = Member::start();
    let (token, node) = (member.token(), applicant(2));
    let admission = member.asked_by(&token.to_string().parse().unwrap(), &node).await.unwrap();
    assert_eq!((admission.identity.node(), admission.identity.cluster()), (NodeId(2), CLUSTER));
    assert_eq!((admission.first_drive, admission.root_key.clone()), (7, RootKey([9; 32])));
    assert_eq!((admission.access_key_id.as_str(), admission.secret_access_key.as_str()), ("AK", "SK"));
    assert_eq!(admission.ca.fingerprint(), member.ca.fingerprint());
    assert_eq!((admission.peers.len(), admission.peers[0].node), (1, NodeId(1)));

    // Its certificate is good: the two can speak.
    let joined = Peers::start(
        &admission.identity,
        (Ipv4Addr::LOCALHOST, 0).into(),
        &[(NodeId(1), member.peers.local_address().unwrap())],
        Arc::new(Deaf),
    )
    .unwrap();
    member.peers.set_known(&[(NodeId(2), joined.local_address().unwrap())]);
    let both = async {
        while !(joined.figures()[&NodeId(1)].reachable && member.peers.figures()[&NodeId(2)].reachable) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), both).await.expect("they reach each other");
}

#[tokio::test]
async fn the_same_request_is_answered_again_and_another_is_refused() {
    let member = Member::start();
    let (token, node) = (member.token(), applicant(2));
    let first = member.asked_by(&token, &node).await.unwrap();
    let again = member.asked_by(&token, &node).await.unwrap();
    assert_eq!((first.first_drive, first.peers), (again.first_drive, again.peers));
    let thief = Applicant { key: NodeKey::generate(), ..node };
    for other in [thief, applicant(3)] {
        let error = member.asked_by(&token, &other).await.unwrap_err();
        assert!(matches!(error, JoinError::Refused(Refusal::UsedToken)), "{error}");
        assert!(error.to_string().contains("used by another node"), "{error}");
    }
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_then_not_even_heard() {
    let member = Member::start();
    for _ in 0..5 {
        let error = member.asked_by(&JoinToken::draw(&member.ca), &applicant(2)).await.unwrap_err();
        assert!(matches!(error, JoinError::Refused(Refusal::WrongToken)), "{error}");
        assert!(error.to_string().contains("anvil cluster token"), "{error}");
    }
    let asked = member.asked();
    let error = member.asked_by(&member.token(), &applicant(2)).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(Refusal::TooManyAttempts)), "{error}");
    assert_eq!(member.asked(), asked, "the cluster is not bothered");
    assert!(member.peers.refusals() >= 6);
}

#[tokio::test]
async fn a_foreign_cluster_never_hears_the_secret() {
    let (ours, theirs) = (Member::start(), Member::start());
    let token = ours.token();
    let error = theirs.asked_by(&token, &applicant(2)).await.unwrap_err();
    assert!(matches!(&error, JoinError::Foreign { address } if *address == theirs.address), "{error}");
    assert_eq!(theirs.asked(), 0);
    // An authority with the right name and another key is as foreign.
    let false_token = JoinToken { ca_fingerprint: [0; 32], ..token.clone() };
    let error = ours.asked_by(&false_token, &applicant(2)).await.unwrap_err();
    assert!(matches!(error, JoinError::Foreign { .. }), "{error}");
    // So is a cluster of another number under the same authority.
    let error = ours.asked_by(&JoinToken { cluster: 5, ..token.clone() }, &applicant(2)).await.unwrap_err();
    assert!(matches!(error, JoinError::Foreign { .. }), "{error}");
    // With the right address beside the wrong one, the node finds its cluster.
    let both = [theirs.address.clone(), ours.address.clone()];
    join(&both, &token, &applicant(2), Duration::from_secs(2)).await.unwrap();
}

#[tokio::test]
async fn an_admission_of_another_authority_is_not_taken() {
    let member = Member::start();
    member.open_desk(&Ca::generate(CLUSTER));
    let error = member.asked_by(&member.token(), &applicant(2)).await.unwrap_err();
    assert!(matches!(error, JoinError::Admission { .. }), "{error}");
}

#[tokio::test]
async fn other_refusals_say_what_to_do() {
    let member = Member::start();
    let token = member.token();
    let error = member.asked_by(&token, &applicant(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "another node of the cluster has this name; choose another --id");
    let nameless = Applicant { name: "a b".to_owned(), ..applicant(2) };
    let error = member.asked_by(&token, &nameless).await.unwrap_err();
    assert!(matches!(&error, JoinError::Refused(Refusal::Malformed(what)) if what.contains("name")), "{error}");
    let error = join(&[], &token, &applicant(2), Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, JoinError::NoPeers));
    let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let error = join(std::slice::from_ref(&address), &token, &applicant(2), Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{address}: no answer")), "{error}");
}

#[tokio::test]
async fn a_cluster_that_cannot_decide_is_asked_again() {
    let member = Member::start();
    member.registry.no_leader.store(true, Ordering::Relaxed);
    member.asked_by(&member.token(), &applicant(2)).await.unwrap();
    assert_eq!(member.asked(), 2);

    member.registry.no_leader.store(true, Ordering::Relaxed);
    let address = std::slice::from_ref(&member.address);
    let error = join(address, &member.token(), &applicant(3), Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("it has no leader; try again"), "{error}");
}

#[tokio::test]
async fn a_start_with_peers_joins_once_and_founds_nothing() {
    let member = Member::start();
    let home = tempfile::tempdir().unwrap();
    let paths = [home.path().join("a"), home.path().join("b")];
    let wish = |token: Option<&JoinToken>| Wish {
        peers: vec![member.address.clone()],
        token: token.cloned(),
        zone: "z1".to_owned(),
        address: "127.0.0.1:9002".parse().unwrap(),
        patience: Duration::from_secs(1),
    };
    let enter = async |wish: &Wish| open_or_join(&paths, "node2", None, wish).await;
    let error = enter(&wish(None)).await.unwrap_err();
    assert!(matches!(error, EnterError::NoToken) && error.to_string().contains("anvil cluster token"), "{error}");
    let error = enter(&wish(Some(&JoinToken::draw(&member.ca)))).await.unwrap_err();
    assert!(matches!(error, EnterError::Join(JoinError::Refused(Refusal::WrongToken))), "{error}");
    // Neither failure left a cluster behind, and leaving out --peers does not make one.
    assert!(!paths[0].join("format").exists() && !paths[1].join("format").exists());
    let alone = Wish { peers: Vec::new(), ..wish(None) };
    assert!(matches!(enter(&alone).await, Err(EnterError::Directory(DirectoryError::Joining { .. }))));

    let token = member.token();
    let directory = enter(&wish(Some(&token))).await.unwrap();
    assert_eq!((directory.cluster, directory.drives.len(), directory.fresh), (CLUSTER, 2, true));
    assert_eq!(directory.drives.keys().map(|drive| drive.0).collect::<Vec<_>>(), [7, 8]);
    let node = directory.node;
    drop(directory);
    let asked = member.asked();
    for again in [wish(Some(&token)), wish(None), alone] {
        let directory = enter(&again).await.unwrap();
        assert_eq!((directory.node, directory.fresh), (node, false));
    }
    assert_eq!(member.asked(), asked, "a member need not ask");
}
