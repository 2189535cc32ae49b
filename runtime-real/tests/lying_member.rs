//! A member with its own good certificate that lies: three real nodes, of which one is replaced by a liar that speaks the protocol
//! well. The two others drop what no correct node sends, say who sent it, and go on; nothing that was acknowledged is lost.
//!
//! Not here: a member that lies so well that nobody can tell, which is outside of the failure model.

use anvil::client::{Client, ClientError};
use anvil::node::{self, Network, NodeDirectory, NodeHandle, StartOptions};
use anvil::peers::{Frame, Handler, Identity, JoinToken, Lane, Peers, Wish, open_or_join};
use anvil_core::node::peer::{ShardOrder, ShardTicket};
use anvil_core::node::{GroupStatus, PeerMessage};
use anvil_core::raft::{AppendOutcome, InstallOutcome, Message, Role, SnapshotChunk};
use anvil_core::shards::ShardKey;
use anvil_core::state::{ClusterOperation, KeyCondition, KeyOperation, Operation, Query, QueryAnswer};
use anvil_core::types::{DriveId, Entry, GroupId, LogIndex, LogPosition, NodeId, Payload, Term, VersionId, WallTime};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Longer than any election.
const PATIENCE: Duration = Duration::from_secs(20);
const GROUPS: [GroupId; 2] = [GroupId::GLOBAL, GroupId::REGION];

/// What the nodes have logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panics with it")).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come true");
        sleep(Duration::from_millis(20)).await;
    }
}

struct Member {
    handle: NodeHandle,
    directory: Arc<NodeDirectory>,
    address: SocketAddr,
}

impl Member {
    /// Founds a cluster, joins that of `first`, or starts again what was a member before.
    async fn start(path: PathBuf, name: &str, address: SocketAddr, first: Option<(SocketAddr, JoinToken)>) -> Member {
        let (peers, token) = first.map_or((Vec::new(), None), |(at, token)| (vec![at.to_string()], Some(token)));
        let wish = Wish { peers, token, zone: String::new(), address, patience: PATIENCE };
        let directory = Arc::new(open_or_join(&[path], name, None, &wish).await.expect("it may enter"));
        let started = Arc::clone(&directory);
        let network = Network { bind: address, advertise: address, zone: String::new() };
        let handle = tokio::task::spawn_blocking(move || {
            node::start(&started, &StartOptions { network: Some(network), ..StartOptions::default() })
        });
        Member { handle: handle.await.expect("starting does not panic").expect("it starts"), directory, address }
    }

    async fn token(&self) -> JoinToken {
        let token = JoinToken::draw(&self.directory.ca);
        let operation = ClusterOperation::AddToken { hash: token.secret_hash(), expires: WallTime(u64::MAX / 2) };
        let client = &self.handle.client;
        until("a token", async || {
            client.command(GroupId::GLOBAL, None, Operation::Cluster(operation.clone())).await.is_ok()
        })
        .await;
        token
    }

    async fn group(&self, group: GroupId) -> GroupStatus {
        let status = self.handle.client.status().await.expect("it runs");
        status.groups.into_iter().find(|known| known.group == group).expect("it has the group")
    }

    async fn stop(self) -> (Identity, SocketAddr) {
        let Member { handle, directory, address } = self;
        tokio::task::spawn_blocking(move || handle.stop()).await.expect("no panic").expect("it stops cleanly");
        (directory.identity.clone(), address)
    }
}

fn free_address() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("it is bound")
}

/// What was acknowledged.
#[derive(Default)]
struct Ledger(BTreeMap<Bytes, Bytes>);

impl Ledger {
    /// Writes until it is acknowledged.
    async fn write(&mut self, client: &Client) {
        let key = Bytes::from(format!("key-{:04}", self.0.len()));
        let value = Bytes::from(format!("value of {key:?}"));
        until("a write", async || {
            let condition = KeyCondition::Any;
            let operation = KeyOperation::Put { key: key.clone(), value: value.clone(), condition };
            match client.command(GroupId::REGION, None, Operation::Key(operation)).await {
                Ok(_) => true,
                Err(ClientError::Unavailable(_)) => false,
                Err(error) => panic!("{error:?}"),
            }
        })
        .await;
        self.0.insert(key, value);
    }

    async fn compare(&self, client: &Client) {
        for (key, value) in &self.0 {
            let mut found = None;
            until("a read", async || {
                match client.query(GroupId::REGION, Query::Key { key: key.clone() }).await {
                    Ok(QueryAnswer::Key(held)) => found = Some(held),
                    Ok(other) => panic!("a key was asked for, and the answer was {other:?}"),
                    Err(_) => return false,
                }
                true
            })
            .await;
            let found = found.flatten().map(|held| held.value);
            assert_eq!(found.as_ref(), Some(value), "{key:?} is what was acknowledged");
        }
    }
}

struct Deaf;

impl Handler for Deaf {
    fn frame(&self, _: NodeId, _: Bytes, _: Bytes) {}
    fn reachable(&self, _: NodeId, _: bool) {}
}

/// Someone with a member's certificate.
struct Liar {
    peers: Peers,
    to: Vec<NodeId>,
}

impl Liar {
    async fn start(identity: &Identity, address: SocketAddr, others: &[&Member]) -> Liar {
        let known: Vec<_> = others.iter().map(|other| (other.directory.node, other.address)).collect();
        let mut started = None;
        until("the port is free", async || {
            started = Peers::start(identity, address, &known, Arc::new(Deaf)).ok();
            started.is_some()
        })
        .await;
        let peers = started.expect("just seen");
        let to = known.iter().map(|(node, _)| *node).collect();
        let liar = Liar { peers, to };
        until("the others take its frames", async || liar.peers.figures().values().all(|peer| peer.reachable)).await;
        liar
    }

    fn say(&self, message: &PeerMessage) {
        let anvil_proto::Framed { head, body } = anvil_proto::encode(message);
        for to in &self.to {
            self.peers.send(*to, Frame { lane: Lane::Control, head: head.clone(), body: body.clone() });
        }
    }

    fn raft(&self, group: GroupId, message: Message) {
        self.say(&PeerMessage::Raft { group, message });
    }
}

fn position(index: u64, term: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), term: Term(term) }
}

/// Lies about its log that a correct replica can tell, in a group whose leader is of `term`.
fn lies_about_a_log(term: u64) -> Vec<Message> {
    let far = LogIndex(1 << 40);
    let answer = |outcome, round| Message::AppendEntriesResponse { term: Term(term), outcome, round };
    let noop = Entry { position: position(1, term.max(1)), payload: Payload::Noop };
    let append = |term, commit| Message::AppendEntries {
        term: Term(term),
        previous: position(0, 0),
        entries: vec![noop.clone()],
        commit,
        round: 0,
    };
    let chunk = |position, size, offset| {
        let rows = Bytes::from_static(b"from nowhere");
        SnapshotChunk { position, membership: None, size, offset, rows }
    };
    vec![
        // It has what nobody ever wrote, refuses what nobody sent, confirms what nobody asked.
        answer(AppendOutcome::Matched(far), 0),
        answer(AppendOutcome::Rejected { rejected: far, hint: position(1 << 39, term) }, 0),
        answer(AppendOutcome::Matched(LogIndex(0)), 1 << 40),
        Message::InstallSnapshotResponse { term: Term(term), outcome: InstallOutcome::Installed(far) },
        // It leads the term of another.
        append(term, far),
        Message::InstallSnapshot { term: Term(term), chunk: chunk(position(1 << 40, term), 12, 0) },
        // A log that ends later than its term, entries with a gap, a snapshot of nothing, and one that is smaller than its piece.
        Message::RequestVote { term: Term(term), last_log: position(1 << 40, term + 9), handover: true },
        Message::AppendEntries {
            term: Term(term),
            previous: position(5, 1),
            entries: vec![noop.clone()],
            commit: far,
            round: 0,
        },
        Message::InstallSnapshot { term: Term(term), chunk: chunk(position(0, 0), 12, 0) },
        Message::InstallSnapshot { term: Term(term), chunk: chunk(position(1 << 40, term), 12, 1) },
    ]
}

/// Terms that no group reaches, and a leader of the past.
fn lies_about_terms(term: u64) -> Vec<Message> {
    let absurd = Term(term + (1 << 40));
    let last_log = position(1 << 40, term);
    let past = |entries| Message::AppendEntries {
        term: Term(term.saturating_sub(1).max(1)),
        previous: position(0, 0),
        entries,
        commit: LogIndex(1 << 40),
        round: 0,
    };
    vec![
        Message::PreVote { term: absurd, last_log },
        Message::PreVoteResponse { term: absurd, granted: false },
        Message::RequestVote { term: absurd, last_log, handover: false },
        Message::RequestVote { term: absurd, last_log, handover: true },
        Message::RequestVoteResponse { term: absurd, granted: false },
        Message::AppendEntriesResponse { term: absurd, outcome: AppendOutcome::Matched(LogIndex(0)), round: 0 },
        Message::TimeoutNow { term: absurd },
        Message::RequestVote { term: Term(u64::MAX), last_log, handover: true },
        past(Vec::new()),
        past(vec![Entry { position: position(1, 1), payload: Payload::Command(Bytes::from_static(b"rewritten")) }]),
    ]
}

fn orders_for_foreign_things() -> Vec<ShardOrder> {
    let (ticket, drive, version) = (ShardTicket { life: 1, number: 1 }, DriveId(999), VersionId(7));
    let key = ShardKey { version, stripe: 0, position: 0 };
    let record = Bytes::from(vec![7; 5000]);
    vec![
        ShardOrder::Put { ticket, drive, key, expires: WallTime(u64::MAX / 2), record },
        ShardOrder::Get { ticket, drive, key },
        ShardOrder::Delete { ticket, drive, version },
        ShardOrder::Commit { drive, version },
        ShardOrder::Get { ticket, drive: DriveId(0), key },
        ShardOrder::Delete { ticket, drive: DriveId(0), version },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_lies_is_named_and_contained() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let first = Member::start(path("node1"), "node1", free_address(), None).await;
    let join = async |name: &str| {
        Member::start(path(name), name, free_address(), Some((first.address, first.token().await))).await
    };
    let (second, third) = (join("node2").await, join("node3").await);
    let liar_id = third.directory.node;
    for group in GROUPS {
        until("three voters", async || {
            let status = first.group(group).await;
            status.voters.len() == 3 && status.outgoing.is_empty()
        })
        .await;
    }
    let mut ledger = Ledger::default();
    for _ in 0..20 {
        ledger.write(&second.handle.client).await;
    }
    let (identity, address) = third.stop().await;
    let honest = [&first, &second];
    let leads = async |group| {
        let mut found = None;
        until("one of the two leads", async || {
            for member in honest {
                let status = member.group(group).await;
                if status.role == Role::Leader {
                    found = Some((member.directory.node, status.term.0));
                }
            }
            found.is_some()
        })
        .await;
        found.expect("just seen")
    };
    ledger.write(&first.handle.client).await;
    let liar = Liar::start(&identity, address, &honest).await;
    let sentence = |what: &str| format!("node {liar_id} sent {what}");
    let before = [leads(GROUPS[0]).await, leads(GROUPS[1]).await];

    for (group, (_, term)) in GROUPS.into_iter().zip(before) {
        for message in lies_about_a_log(term).into_iter().chain(lies_about_terms(term)) {
            liar.raft(group, message);
            ledger.write(&first.handle.client).await;
        }
        let told = sentence(&format!("what no correct replica of group {group} sends"));
        until(&told, async || lines.text().contains(&told)).await;
    }
    orders_for_foreign_things().into_iter().for_each(|order| liar.say(&PeerMessage::Shard(order)));
    liar.raft(GroupId(77), Message::TimeoutNow { term: Term(1) });
    for to in &liar.to {
        liar.peers
            .send(*to, Frame { lane: Lane::Control, head: Bytes::from_static(b"\xff\xff\xff"), body: Bytes::new() });
    }
    ledger.write(&second.handle.client).await;
    for what in [
        sentence("an order to drive 999, which is not here"),
        sentence("a message for group 77, which is not here"),
        sentence("what is no message"),
    ] {
        until(&what, async || lines.text().contains(&what)).await;
    }
    // None of that cost a leader its lead.
    assert_eq!([leads(GROUPS[0]).await, leads(GROUPS[1]).await], before);

    // What a member may do costs an election: a new term, and a leader that the others must believe until it falls silent. Its
    // snapshot is none.
    for (group, (_, term)) in GROUPS.into_iter().zip(before) {
        let rows = Bytes::from_static(b"no rows at all");
        let (position, size) = (position(1 << 30, term + 1), rows.len() as u64);
        let chunk = SnapshotChunk { position, membership: None, size, offset: 0, rows };
        liar.raft(group, Message::InstallSnapshot { term: Term(term + 1), chunk });
        let told = sentence(&format!("a snapshot of group {group} that was refused"));
        until(&told, async || lines.text().contains(&told)).await;
    }
    let begun = Instant::now();
    ledger.write(&first.handle.client).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "a write took {:?} after a false leader", begun.elapsed());
    for _ in 0..20 {
        ledger.write(&second.handle.client).await;
    }

    // The true node comes back, and all three have all that was acknowledged.
    liar.peers.stop().await;
    let mut third = None;
    until("the node's port is free", async || {
        third = UdpSocket::bind(address).ok();
        third.is_some()
    })
    .await;
    drop(third);
    let third = Member::start(path("node3"), "node3", address, None).await;
    for member in [&first, &second, &third] {
        ledger.compare(&member.handle.client).await;
    }
    for member in [first, second, third] {
        member.stop().await;
    }
    assert!(!lines.text().contains("panicked"), "{}", lines.text());
}
