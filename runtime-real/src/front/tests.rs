//! Tests of the doors' pure parts. What needs a socket is in `tests/`.

use super::Credentials;
use super::admin::Guard;
use super::cluster::{Wishes, from_refusal};
use super::kv::{ListRequest, condition, key_of, list_request, session};
use super::metrics::Metrics;
use super::status::status_document;
use crate::peers::Figures;
use anvil_core::node::{GroupStatus, Moved, Status};
use anvil_core::raft::Role;
use anvil_core::shards::Usage;
use anvil_core::state::{ClusterRefusal, KeyCondition, SessionStamp};
use anvil_core::topology::{DriveInfo, NodeInfo, Topology};
use anvil_core::types::{DriveId, GroupId, LogIndex, NodeId, SessionId, Term};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[test]
fn a_key_is_the_decoded_rest_of_the_path() {
    assert_eq!(key_of("/kv/a").as_ref(), b"a");
    assert_eq!(key_of("/kv/a/b//c").as_ref(), b"a/b//c");
    assert_eq!(key_of("/kv/a%2Fb%00%ff").as_ref(), b"a/b\0\xff");
}

#[test]
fn conditions_come_from_the_headers_of_http() {
    assert_eq!(condition(&headers(&[])).unwrap(), KeyCondition::Any);
    assert_eq!(condition(&headers(&[("if-match", "\"7\"")])).unwrap(), KeyCondition::Revision(7));
    assert_eq!(condition(&headers(&[("if-match", "7")])).unwrap(), KeyCondition::Revision(7));
    assert_eq!(condition(&headers(&[("if-match", "*")])).unwrap(), KeyCondition::Present);
    assert_eq!(condition(&headers(&[("if-none-match", "*")])).unwrap(), KeyCondition::Absent);
    for pairs in [
        &[("if-match", "\"x\"")] as &[(&'static str, &'static str)],
        &[("if-match", "")],
        &[("if-match", "\"-1\"")],
        &[("if-none-match", "\"7\"")],
        &[("if-match", "\"7\""), ("if-none-match", "*")],
    ] {
        assert_eq!(condition(&headers(pairs)).unwrap_err().status(), StatusCode::BAD_REQUEST, "{pairs:?}");
    }
}

#[test]
fn a_write_of_a_session_names_its_place() {
    assert_eq!(session(&headers(&[])).unwrap(), None);
    let all = [("x-anvil-session", "5"), ("x-anvil-sequence", "2"), ("x-anvil-answered-below", "1")];
    let stamp = SessionStamp { session: SessionId(5), sequence: 2, answered_below: 1 };
    assert_eq!(session(&headers(&all)).unwrap(), Some(stamp));
    assert_eq!(session(&headers(&all[..2])).unwrap(), Some(SessionStamp { answered_below: 0, ..stamp }));
    assert!(session(&headers(&all[..1])).is_err());
    assert!(session(&headers(&all[1..2])).is_err());
    assert!(session(&headers(&all[2..])).is_err());
    assert!(session(&headers(&[("x-anvil-session", "five"), ("x-anvil-sequence", "2")])).is_err());
}

#[test]
fn listings_are_asked_for_by_prefix_start_and_limit() {
    let request = list_request("prefix=a%2F%ff&start_after=a+b&limit=5").unwrap();
    let expected = ListRequest { prefix: b"a/\xff".as_slice().to_vec().into(), start_after: "a b".into(), limit: 5 };
    assert_eq!(request, expected);
    assert_eq!(list_request("").unwrap().limit, 1000);
    assert_eq!(list_request("limit=100000").unwrap().limit, 1000);
    assert!(list_request("limit=0").is_err());
    assert!(list_request("limit=x").is_err());
    assert!(list_request("prefx=a").is_err());
}

fn guard(open: bool) -> Guard {
    let credentials = Credentials { access_key_id: "id".into(), secret_access_key: "secret".into() };
    Guard::new(&credentials, open)
}

fn judged(open: bool, pairs: &[(&'static str, &'static str)]) -> Option<StatusCode> {
    let mut request = Request::new(());
    *request.headers_mut() = headers(pairs);
    guard(open).judge(&request).err().map(|(status, _)| status)
}

#[test]
fn beyond_loopback_the_token_is_needed() {
    assert_eq!(judged(false, &[("host", "10.0.0.1:9000")]), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(judged(false, &[("host", "localhost")]), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(judged(false, &[("authorization", "Bearer secret")]), None);
    for wrong in ["Bearer wrong", "Bearer ", "Bearer secret2", "secret", "Basic c2VjcmV0"] {
        assert_eq!(judged(false, &[("authorization", wrong)]), Some(StatusCode::UNAUTHORIZED), "{wrong}");
        assert_eq!(judged(true, &[("authorization", wrong)]), Some(StatusCode::UNAUTHORIZED), "{wrong}");
    }
}

#[test]
fn on_loopback_everyone_passes_but_web_pages() {
    for host in ["localhost", "LOCALHOST:9000", "127.0.0.1:9000", "[::1]:9000", "10.1.2.3"] {
        assert_eq!(judged(true, &[("host", host)]), None, "{host}");
    }
    for host in ["evil.example", "evil.example:9000", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
        assert_eq!(judged(true, &[("host", host)]), Some(StatusCode::FORBIDDEN), "{host}");
    }
    let page = [("host", "localhost:9000"), ("origin", "http://evil.example")];
    assert_eq!(judged(true, &page), Some(StatusCode::FORBIDDEN));
    let with_token = [("host", "evil.example"), ("origin", "null"), ("authorization", "Bearer secret")];
    assert_eq!(judged(true, &with_token), None);
}

fn topology() -> Topology {
    let info = |name: &str, drive: u32| NodeInfo {
        name: name.to_owned(),
        zone: "rack-1".to_owned(),
        address: "10.0.0.1:8000".to_owned(),
        key: [0; 32],
        drives: vec![DriveInfo { drive: DriveId(drive), weight: 7 }],
        draining: drive == 1,
    };
    let nodes = [(NodeId(1), info("node1", 0)), (NodeId(u64::MAX), info("node2", 1)), (NodeId(3), info("node3", 2))];
    Topology { epoch: 5, next_drive: 3, nodes: nodes.into(), leaving: BTreeSet::new() }
}

fn peers() -> BTreeMap<NodeId, Figures> {
    let figures = |reachable| Figures { reachable, frames_sent: 11, bytes_received: 12, ..Figures::default() };
    BTreeMap::from([(NodeId(u64::MAX), figures(true)), (NodeId(3), figures(true))])
}

fn status() -> Status {
    let group = GroupStatus {
        group: GroupId::REGION,
        role: Role::Leader,
        term: Term(3),
        leader: Some(NodeId(1)),
        commit: LogIndex(9),
        applied: LogIndex(8),
        checkpointed: LogIndex(7),
        voters: vec![NodeId(1), NodeId(u64::MAX)],
        outgoing: vec![],
        learners: vec![NodeId(9)],
        matched: vec![],
        gave_way: 0,
        is_whole: true,
    };
    let usage = Usage { shards: 4, live_bytes: 100, total_bytes: 200, extents: 1 };
    Status {
        node: NodeId(1),
        groups: vec![group],
        drives: vec![(DriveId(0), usage)],
        writes: 1,
        opens: 2,
        undecided: 3,
        topology: topology(),
        placement: 4,
        moved: Moved { moved: 5, repaired: 6, recoded: 4, failed: 7, waiting: 8, stuck: 9 },
        scrubbed: Default::default(),
        doubtful: vec![NodeId(3)],
    }
}

#[test]
fn the_status_is_told_whole() {
    let document = status_document(&status(), Some(0xC1), &peers());
    assert_eq!(document["node"], "0000000000000001");
    assert_eq!(document["name"], "node1");
    assert_eq!(document["groups"][0]["name"], "region");
    assert_eq!(document["groups"][0]["role"], "leader");
    assert_eq!(document["groups"][0]["applied"], 8);
    assert_eq!(document["drives"][0]["live_bytes"], 100);
    assert_eq!(document["undecided"], 3);
}

#[test]
fn the_status_tells_of_the_cluster_by_name() {
    let document = status_document(&status(), Some(0xC1), &peers());
    let cluster = &document["cluster"];
    assert_eq!(cluster["id"], "000000000000000000000000000000c1");
    assert_eq!((&cluster["topology_epoch"], &cluster["placement_epoch"]), (&5.into(), &4.into()));
    assert_eq!((&cluster["moved"], &cluster["waiting"]), (&5.into(), &8.into()));
    let nodes = cluster["nodes"].as_array().expect("a list");
    let told: Vec<_> = nodes.iter().map(|node| (&node["name"], &node["reachable"], &node["draining"])).collect();
    let [yes, no] = [&true.into(), &false.into()];
    let names: [&serde_json::Value; 3] = [&"node1".into(), &"node3".into(), &"node2".into()];
    assert_eq!(told, [(names[0], yes, no), (names[1], no, no), (names[2], yes, yes)]);
    assert_eq!(nodes[2]["id"], "ffffffffffffffff");
    assert_eq!(nodes[2]["drives"][0]["weight"], 7);
    let group = &document["groups"][0];
    assert_eq!(group["leader"]["name"], "node1");
    assert_eq!(group["voters"][1]["name"], "node2");
    assert_eq!(group["learners"][0]["name"], "0000000000000009", "who does not belong has no name");
}

#[test]
fn changes_of_the_cluster_are_asked_for_in_query_or_body() {
    let known = ["node", "force", "hours"];
    let by_query = Wishes::of("node=node%203&force=true", b"", &known).unwrap();
    assert_eq!(by_query, Wishes::of("", b"{\"node\": \"node 3\", \"force\": true}\n", &known).unwrap());
    assert!(Wishes::of("nod=1", b"", &known).unwrap_err().contains("\"nod\""));
    assert!(Wishes::of("", b"node=node3", &known).unwrap_err().contains("JSON"));
    let hours = |query: &str| Wishes::of(query, b"", &known).unwrap().hours();
    assert_eq!((hours(""), hours("hours=1"), hours("hours=168")), (Ok(24), Ok(1), Ok(168)));
    for wrong in ["hours=0", "hours=169", "hours=x", "hours="] {
        assert!(hours(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_the_cluster_refuses_is_told_apart_by_its_status() {
    assert_eq!(from_refusal(ClusterRefusal::NoSuchNode).status(), StatusCode::NOT_FOUND);
    assert_eq!(from_refusal(ClusterRefusal::LastNode).status(), StatusCode::CONFLICT);
    let founding = from_refusal(ClusterRefusal::NotFounded);
    assert_eq!(founding.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(founding.headers().contains_key("retry-after"));
}

#[test]
fn metrics_are_text_that_prometheus_reads() {
    let metrics = Metrics::default();
    metrics.count("s3", "PutObject", 200, Duration::from_millis(3));
    metrics.count("s3", "PutObject", 200, Duration::from_millis(300));
    metrics.count("kv", "put", 412, Duration::from_secs(100));
    let text = metrics.render(Some(&status()), &peers());
    let has = |line: &str| assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
    has("anvil_http_requests_total{door=\"s3\",operation=\"PutObject\",code=\"200\"} 2");
    has("anvil_http_request_seconds_bucket{door=\"s3\",operation=\"PutObject\",le=\"0.002\"} 0");
    has("anvil_http_request_seconds_bucket{door=\"s3\",operation=\"PutObject\",le=\"0.005\"} 1");
    has("anvil_http_request_seconds_bucket{door=\"s3\",operation=\"PutObject\",le=\"+Inf\"} 2");
    has("anvil_http_request_seconds_bucket{door=\"kv\",operation=\"put\",le=\"60\"} 0");
    has("anvil_http_request_seconds_count{door=\"kv\",operation=\"put\"} 1");
    has("anvil_raft_applied_index{group=\"region\"} 8");
    has("anvil_drive_live_bytes{drive=\"0\"} 100");
    has("anvil_up 1");
    has("anvil_cluster_nodes 3");
    has("anvil_peer_reachable{node=\"node2\"} 1");
    has("anvil_peer_reachable{node=\"node3\"} 0");
    has("anvil_peer_frames_sent_total{node=\"node2\"} 11");
    has("anvil_peer_bytes_received_total{node=\"node3\"} 12");
    has("anvil_moves_waiting 8");
    has("anvil_moves_stuck 9");
    assert!(metrics.render(None, &peers()).lines().any(|line| line == "anvil_up 0"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit_once(' ').expect("a name and a value").1;
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}
