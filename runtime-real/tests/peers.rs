//! The transport between nodes over real sockets: order, outages, restarts, and those who do not belong.

use anvil::peers::{Ca, Figures, Frame, HEAD_SIZE_MAX, Handler, Identity, Lane, NodeKey, Peers};
use anvil_core::types::NodeId;
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

const CLUSTER: u128 = 0xC1;
const PATIENCE: Duration = Duration::from_secs(8);

struct Recorder {
    frames: UnboundedSender<(NodeId, Bytes, Bytes)>,
    reachable: UnboundedSender<(NodeId, bool)>,
}

impl Handler for Recorder {
    fn frame(&self, from: NodeId, head: Bytes, body: Bytes) {
        let _ = self.frames.send((from, head, body));
    }

    fn reachable(&self, node: NodeId, yes: bool) {
        let _ = self.reachable.send((node, yes));
    }
}

/// A node's transport and what it heard.
struct Node {
    id: NodeId,
    peers: Peers,
    frames: UnboundedReceiver<(NodeId, Bytes, Bytes)>,
    reachable: UnboundedReceiver<(NodeId, bool)>,
    /// What was heard and not asked for yet.
    heard: Vec<(NodeId, bool)>,
}

impl Node {
    fn start(identity: &Identity, port: u16, known: &[(NodeId, SocketAddr)]) -> std::io::Result<Node> {
        let (frames_in, frames) = unbounded_channel();
        let (reachable_in, reachable) = unbounded_channel();
        let recorder = Arc::new(Recorder { frames: frames_in, reachable: reachable_in });
        let peers = Peers::start(identity, (Ipv4Addr::LOCALHOST, port).into(), known, recorder)?;
        Ok(Node { id: identity.node(), peers, frames, reachable, heard: Vec::new() })
    }

    fn address(&self) -> SocketAddr {
        self.peers.local_address().expect("it is bound")
    }

    async fn frame(&mut self) -> (NodeId, Bytes, Bytes) {
        timeout(PATIENCE, self.frames.recv()).await.expect("a frame comes").expect("the node runs")
    }

    /// Waits until it is said that `node` is or is not reachable.
    async fn hears(&mut self, node: NodeId, yes: bool) {
        let heard = async {
            loop {
                if let Some(place) = self.heard.iter().position(|&heard| heard == (node, yes)) {
                    self.heard.remove(place);
                    return;
                }
                self.heard.push(self.reachable.recv().await.expect("the node runs"));
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("node {node} is reachable: {yes}"));
    }

    fn figures(&self, node: u64) -> Figures {
        self.peers.figures()[&NodeId(node)]
    }

    async fn waits_for_refusals(&self, count: u64) {
        let enough = async {
            while self.peers.refusals() < count {
                sleep(Duration::from_millis(5)).await
            }
        };
        timeout(PATIENCE, enough).await.expect("a refusal is counted");
    }
}

fn identity(ca: &Ca, node: u64) -> Identity {
    ca.identity(NodeId(node), NodeKey::generate())
}

/// Nodes 1 to `count` that know each other.
async fn cluster(ca: &Ca, count: u64) -> Vec<Node> {
    let mut nodes: Vec<Node> =
        (1..=count).map(|node| Node::start(&identity(ca, node), 0, &[]).expect("a free port")).collect();
    let known: Vec<_> = nodes.iter().map(|node| (node.id, node.address())).collect();
    nodes.iter().for_each(|node| node.peers.set_known(&known));
    for node in &mut nodes {
        let id = node.id;
        for (other, _) in known.iter().filter(|(other, _)| *other != id) {
            node.hears(*other, true).await;
        }
    }
    nodes
}

fn control(head: impl Into<Bytes>) -> Frame {
    Frame { lane: Lane::Control, head: head.into(), body: Bytes::new() }
}

fn bulk(head: &'static str, size: usize) -> Frame {
    Frame { lane: Lane::Bulk, head: Bytes::from_static(head.as_bytes()), body: vec![7; size].into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_frames_arrive_in_order_from_every_node_at_every_node() {
    const FRAMES: u32 = 2000;
    let mut nodes = cluster(&Ca::generate(CLUSTER), 3).await;
    // From threads that are none of the runtime's, as the core's is.
    std::thread::scope(|scope| {
        for node in &nodes {
            scope.spawn(|| {
                for number in 0..FRAMES {
                    for other in (1..=3).map(NodeId).filter(|&other| other != node.id) {
                        let body = vec![0; number as usize % 700].into();
                        let head = number.to_le_bytes().to_vec().into();
                        node.peers.send(other, Frame { lane: Lane::Control, head, body });
                    }
                }
            });
        }
    });
    for node in &mut nodes {
        let mut next = [0; 4];
        for _ in 0..2 * FRAMES {
            let (from, head, body) = node.frame().await;
            let number = u32::from_le_bytes(head.as_ref().try_into().unwrap());
            assert_eq!((number, body.len()), (next[usize::try_from(from.0).unwrap()], number as usize % 700));
            next[usize::try_from(from.0).unwrap()] += 1;
        }
    }
    let figures = nodes[0].figures(2);
    assert!(figures.reachable && figures.rtt.is_some());
    assert_eq!((figures.frames_sent, figures.frames_received), (u64::from(FRAMES), u64::from(FRAMES)));
    assert_eq!((figures.bytes_sent, figures.frames_dropped), (figures.bytes_received, 0));
    assert_eq!((figures.reconnects, figures.bytes_waiting), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_overtakes_shards_and_a_snapshot() {
    const SHARDS: usize = 30;
    const PIECES: usize = 6;
    let mut nodes = cluster(&Ca::generate(CLUSTER), 2).await;
    let piece: Bytes = (0..1u32 << 20).flat_map(u32::to_le_bytes).collect();
    for _ in 0..PIECES {
        let head = Bytes::from_static(b"rows");
        nodes[0].peers.send(NodeId(2), Frame { lane: Lane::Control, head, body: piece.clone() });
    }
    for _ in 0..SHARDS {
        nodes[0].peers.send(NodeId(2), bulk("shard", 1 << 20));
    }
    nodes[0].peers.send(NodeId(2), control("heartbeat"));
    let mut order = Vec::new();
    for _ in 0..SHARDS + PIECES + 1 {
        let (_, head, body) = nodes[1].frame().await;
        match head.len() {
            5 => assert_eq!(body, vec![7; 1 << 20]),
            9 => assert_eq!(head, "heartbeat"),
            _ => assert!(head == "rows" && body == piece, "the piece of a snapshot came as it was sent"),
        }
        order.push(head.len());
    }
    let heartbeat = order.iter().position(|&length| length == 9).unwrap();
    let last_of = |length| order.iter().rposition(|&found| found == length).unwrap();
    assert!(heartbeat < SHARDS / 2, "the heartbeat came as number {heartbeat}");
    assert!(heartbeat < last_of(4), "the heartbeat came before the end of the snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_on_its_port_is_reached_again() {
    let ca = Ca::generate(CLUSTER);
    let mut nodes = cluster(&ca, 2).await;
    let (mut second, mut first) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    let (address, port) = (first.address(), second.address().port());
    second.peers.stop().await;
    first.hears(NodeId(2), false).await;
    let again = identity(&ca, 2);
    second = start_on(&again, port, first.id, address).await;
    first.hears(NodeId(2), true).await;
    first.peers.send(NodeId(2), control("again"));
    assert_eq!(second.frame().await, (NodeId(1), Bytes::from("again"), Bytes::new()));
    assert!(first.figures(2).reconnects >= 1);
}

async fn start_on(identity: &Identity, port: u16, other: NodeId, address: SocketAddr) -> Node {
    let bound = async {
        loop {
            match Node::start(identity, port, &[(other, address)]) {
                Ok(node) => return node,
                // The sockets of the life before are closed when its last connection is.
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(PATIENCE, bound).await.expect("the port becomes free")
}

#[test]
fn a_node_that_crashed_is_noticed_as_soon_as_it_is_back() {
    let ca = Ca::generate(CLUSTER);
    let (one, two) = (identity(&ca, 1), identity(&ca, 2));
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (staying, crashing) = (runtime(), runtime());
    let mut first = staying.block_on(async { Node::start(&one, 0, &[]).unwrap() });
    let address = first.address();
    let second = crashing.block_on(async { Node::start(&two, 0, &[(NodeId(1), address)]).unwrap() });
    let port = second.address().port();
    first.peers.set_known(&[(NodeId(2), second.address())]);
    staying.block_on(first.hears(NodeId(2), true));
    // Its tasks end without a word, as if the process had been killed.
    crashing.shutdown_timeout(Duration::from_secs(1));
    drop(second);
    let restarted = runtime();
    let mut second = restarted.block_on(start_on(&two, port, NodeId(1), address));
    let since = Instant::now();
    let met = async {
        // What is sent into the dead connection is answered with a reset.
        let heartbeat = async {
            loop {
                first.peers.send(NodeId(2), control("heartbeat"));
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            frame = second.frame() => frame,
            () = heartbeat => unreachable!("it beats until the frame is there"),
        }
    };
    assert_eq!(staying.block_on(met).0, NodeId(1));
    assert!(since.elapsed() < Duration::from_secs(3), "it took {:?}: only silence told", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_belong_is_refused() {
    let ca = Ca::generate(CLUSTER);
    let home = Node::start(&identity(&ca, 1), 0, &[]).unwrap();
    let address = home.address();
    let away = (Ipv4Addr::LOCALHOST, 9).into();
    home.peers.set_known(&[(NodeId(2), away), (NodeId(3), away)]);
    let strangers = [
        ("a certificate of another authority", identity(&Ca::generate(CLUSTER), 2)),
        ("a node that is not known", identity(&ca, 4)),
    ];
    for (count, (what, stranger)) in strangers.iter().enumerate() {
        let mut node = Node::start(stranger, 0, &[(NodeId(1), address)]).unwrap();
        node.peers.send(NodeId(1), control("let me in"));
        node.hears(NodeId(1), false).await;
        assert!(!node.figures(1).reachable, "{what}");
        let dropped = async {
            while node.figures(1).frames_dropped == 0 {
                sleep(Duration::from_millis(5)).await
            }
        };
        timeout(PATIENCE, dropped).await.unwrap_or_else(|_| panic!("the frame of {what} waits for ever"));
        if count > 0 {
            home.waits_for_refusals(1).await;
        }
    }
    let mut home = home;
    assert!(home.frames.try_recv().is_err(), "no frame of a stranger arrives");

    // The node at an address is another than the one that was dialed.
    let mut node = Node::start(&identity(&ca, 2), 0, &[(NodeId(3), address)]).unwrap();
    node.hears(NodeId(3), false).await;
    home.peers.set_known(&[(NodeId(2), node.address())]);
    node.peers.set_known(&[(NodeId(1), address)]);
    node.hears(NodeId(1), true).await;
    home.hears(NodeId(2), true).await;

    // A member that is removed loses its connections, and does not get them back.
    home.peers.set_known(&[]);
    node.hears(NodeId(1), false).await;
    let refusals = home.peers.refusals();
    node.peers.send(NodeId(1), control("let me stay"));
    home.waits_for_refusals(refusals + 2).await;
    assert!(!node.figures(1).reachable);
    assert!(home.frames.try_recv().is_err(), "no frame of a removed node arrives");
    assert!(home.peers.figures().is_empty());
}

/// A client that checks nothing, for those who do not belong.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("QUIC has no TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

/// Connects with whatever certificate and protocol.
async fn raw(to: SocketAddr, identity: Option<&Identity>, protocol: &str) -> Result<quinn::Connection, String> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut tls = match identity {
        Some(identity) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key().pkcs8().to_vec()));
            builder.with_client_auth_cert(vec![identity.certificate().to_vec().into()], key).expect("a good pair")
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("QUIC's suite")));
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let connecting = endpoint.connect_with(config, to, "node.anvil").expect("a good address");
    timeout(PATIENCE, connecting).await.expect("an answer").map_err(|error| error.to_string())
}

async fn reason(connection: &quinn::Connection) -> String {
    timeout(PATIENCE, connection.closed()).await.expect("the connection is closed").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_contained() {
    let ca = Ca::generate(CLUSTER);
    let mut nodes = cluster(&ca, 2).await;
    let address = nodes[0].address();
    let known = [(NodeId(2), nodes[1].address()), (NodeId(3), (Ipv4Addr::LOCALHOST, 9).into())];
    nodes[0].peers.set_known(&known);

    // No certificate: the connection is closed, and says why.
    let connection = raw(address, None, "anvil-peer/1").await.unwrap();
    let why = reason(&connection).await;
    assert!(why.contains("certificate"), "{why}");
    nodes[0].waits_for_refusals(1).await;
    // Another version of the protocol.
    let error = raw(address, Some(&identity(&ca, 3)), "anvil-peer/0").await.unwrap_err();
    assert!(error.contains("protocol"), "{error}");
    // A certificate of another cluster.
    let foreign = raw(address, Some(&identity(&Ca::generate(9), 3)), "anvil-peer/1").await;
    let why = match foreign {
        Ok(connection) => reason(&connection).await,
        Err(error) => error,
    };
    assert!(why.contains("cryptographic handshake failed"), "{why}");

    // A member that sends what none sends.
    let before = nodes[0].peers.refusals();
    let too_large = [&[1][..], &(300u32 << 10).to_le_bytes(), &0u32.to_le_bytes()].concat();
    let absurd = [&[2][..], &u32::MAX.to_le_bytes(), &u32::MAX.to_le_bytes()].concat();
    let cut = [&[2][..], &9u32.to_le_bytes(), &0u32.to_le_bytes(), b"cut"].concat();
    let cases: [(&[u8], &str); 4] =
        [(&too_large, "may carry"), (&absurd, "may carry"), (b"GET / HTTP/1.1\r\n", "kind 71"), (&cut, "middle")];
    for (bytes, sentence) in cases {
        let connection = raw(address, Some(&identity(&ca, 3)), "anvil-peer/1").await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.finish().unwrap();
        let why = reason(&connection).await;
        assert!(why.contains(sentence), "{why}");
    }
    nodes[0].waits_for_refusals(before + 4).await;

    // Datagrams that are no QUIC, and some that look like its beginning.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for number in 0..500u16 {
        let mut datagram = vec![0xC3; 1200];
        datagram[1..5].copy_from_slice(&if number % 2 == 0 {
            [0, 0, 0, 1]
        } else {
            number.to_be_bytes().repeat(2).try_into().unwrap()
        });
        datagram[5] = 8;
        datagram[6..8].copy_from_slice(&number.to_le_bytes());
        socket.send_to(&datagram[..usize::from(number) * 2 + 1], address).unwrap();
    }
    let (first, second) = nodes.split_at_mut(1);
    second[0].peers.send(NodeId(1), control("still here"));
    assert_eq!(first[0].frame().await.1, "still here");
    assert!(first[0].frames.try_recv().is_err(), "nothing else arrived");
    assert_eq!(second[0].figures(1).reconnects, 0, "the good connection was not touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_silent_peer_is_bounded_and_the_rest_counted() {
    const FRAMES: u64 = 200;
    // Takes datagrams and never answers.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let known = [(NodeId(2), silent.local_addr().unwrap())];
    let mut node = Node::start(&identity(&Ca::generate(CLUSTER), 1), 0, &known).unwrap();
    let body = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..FRAMES {
        let frame = Frame { lane: Lane::Bulk, head: Bytes::new(), body: body.clone() };
        node.peers.send(NodeId(2), frame);
    }
    let figures = node.figures(2);
    assert_eq!(figures.bytes_waiting, 32 << 20);
    assert_eq!(figures.frames_dropped, FRAMES - 32);
    node.peers.send(NodeId(2), control(vec![0; HEAD_SIZE_MAX + 1]));
    assert_eq!(node.figures(2).frames_dropped, FRAMES - 31);
    // The attempt fails, and what waited goes too: it would be old when the peer is back.
    node.hears(NodeId(2), false).await;
    let figures = node.figures(2);
    assert_eq!((figures.bytes_waiting, figures.frames_dropped, figures.frames_sent), (0, FRAMES + 1, 0));
    node.peers.send(NodeId(7), control("to nobody"));
    // What is sent later is lost with a later attempt, and that is told too (LINK-4).
    node.peers.send(NodeId(2), control("again"));
    node.hears(NodeId(2), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_moved_is_found() {
    let ca = Ca::generate(CLUSTER);
    let mut nodes = cluster(&ca, 2).await;
    let (second, mut first) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    let mut moved = Node::start(&identity(&ca, 2), 0, &[(NodeId(1), first.address())]).unwrap();
    first.peers.set_known(&[(NodeId(2), moved.address())]);
    first.hears(NodeId(2), false).await;
    first.hears(NodeId(2), true).await;
    first.peers.send(NodeId(2), control("found"));
    assert_eq!(moved.frame().await.1, "found");
    drop(second);
}
