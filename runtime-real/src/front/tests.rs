//! Tests of the doors' pure parts. What needs a socket is in `tests/`.

use super::Credentials;
use super::admin::Guard;
use super::kv::{ListRequest, condition, key_of, list_request, session};
use super::metrics::Metrics;
use super::status::status_document;
use anvil_core::node::{GroupStatus, Status};
use anvil_core::raft::Role;
use anvil_core::shards::Usage;
use anvil_core::state::{KeyCondition, SessionStamp};
use anvil_core::types::{DriveId, GroupId, LogIndex, NodeId, SessionId, Term};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
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

fn status() -> Status {
    let group = GroupStatus {
        group: GroupId::REGION,
        role: Role::Leader,
        term: Term(3),
        leader: Some(NodeId(1)),
        commit: LogIndex(9),
        applied: LogIndex(8),
        checkpointed: LogIndex(7),
        voters: vec![NodeId(1)],
        outgoing: vec![],
        learners: vec![],
        matched: vec![],
    };
    let usage = Usage { shards: 4, live_bytes: 100, total_bytes: 200, extents: 1 };
    Status {
        node: NodeId(1),
        groups: vec![group],
        drives: vec![(DriveId(0), usage)],
        writes: 1,
        opens: 2,
        undecided: 3,
    }
}

#[test]
fn the_status_is_told_whole() {
    let document = status_document(&status());
    assert_eq!(document["node"], 1);
    assert_eq!(document["groups"][0]["name"], "region");
    assert_eq!(document["groups"][0]["role"], "leader");
    assert_eq!(document["groups"][0]["applied"], 8);
    assert_eq!(document["drives"][0]["live_bytes"], 100);
    assert_eq!(document["undecided"], 3);
}

#[test]
fn metrics_are_text_that_prometheus_reads() {
    let metrics = Metrics::default();
    metrics.count("s3", "PutObject", 200, Duration::from_millis(3));
    metrics.count("s3", "PutObject", 200, Duration::from_millis(300));
    metrics.count("kv", "put", 412, Duration::from_secs(100));
    let text = metrics.render(Some(&status()));
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
    assert!(metrics.render(None).lines().any(|line| line == "anvil_up 0"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit_once(' ').expect("a name and a value").1;
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}
