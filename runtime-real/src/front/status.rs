//! How the node is: `/status`, `/-/health`, `/-/ready`, `/-/metrics`.

use super::Doors;
use super::kv::{document, failure, from_client};
use super::metrics::OperationName;
use anvil_core::node::{GroupStatus, Status};
use anvil_core::raft::Role;
use anvil_core::state::Query;
use anvil_core::types::{GroupId, NodeId};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the node may take to prove that it is ready.
const READY_TIME: Duration = Duration::from_secs(2);

/// A key that is only ever looked for.
const READY_KEY: &[u8] = b"\0ready";

fn named(mut response: Response, operation: &'static str) -> Response {
    response.extensions_mut().insert(OperationName(operation));
    response
}

/// `GET /-/health`: the process answers.
pub(super) async fn health() -> Response {
    named((StatusCode::OK, "ok\n").into_response(), "health")
}

/// `GET /-/ready`: the node answers a linearizable question.
pub(super) async fn ready(State(doors): State<Doors>) -> Response {
    let query = Query::Key { key: Bytes::from_static(READY_KEY) };
    let answer = tokio::time::timeout(READY_TIME, doors.client.query(GroupId::REGION, query)).await;
    let response = match answer {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n").into_response(),
        Ok(Err(error)) => {
            tracing::debug!(?error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready: no answer in time\n").into_response(),
    };
    named(response, "ready")
}

/// `GET /status`: groups and drives, as JSON.
pub(super) async fn status(State(doors): State<Doors>) -> Response {
    let response = match doors.client.status().await {
        Ok(status) => document(StatusCode::OK, &status_document(&status)),
        Err(error) => from_client(error),
    };
    named(response, "status")
}

/// What a replica of a group is, in a word.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// The node as `/status` shows it.
pub(super) fn status_document(status: &Status) -> Value {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let group = |group: &GroupStatus| {
        json!({
            "id": group.group.0,
            "name": group_name(group.group),
            "role": role_name(group.role),
            "term": group.term.0,
            "leader": group.leader.map(|leader| leader.0),
            "commit": group.commit.0,
            "applied": group.applied.0,
            "checkpointed": group.checkpointed.0,
            "voters": nodes(&group.voters),
            "outgoing": nodes(&group.outgoing),
            "learners": nodes(&group.learners),
            "matched": group.matched.iter().map(|(node, index)| json!({"node": node.0, "index": index.0})).collect::<Vec<_>>(),
        })
    };
    let drives = status.drives.iter().map(|(drive, usage)| {
        json!({
            "id": drive.0,
            "shards": usage.shards,
            "live_bytes": usage.live_bytes,
            "total_bytes": usage.total_bytes,
            "extents": usage.extents,
        })
    });
    json!({
        "node": status.node.0,
        "version": env!("CARGO_PKG_VERSION"),
        "groups": status.groups.iter().map(group).collect::<Vec<_>>(),
        "drives": drives.collect::<Vec<_>>(),
        "writes": status.writes,
        "opens": status.opens,
        "undecided": status.undecided,
    })
}

/// A group's name for people.
pub(super) fn group_name(group: GroupId) -> &'static str {
    match group {
        GroupId::GLOBAL => "global",
        GroupId::REGION => "region",
        _ => "other",
    }
}

/// `GET /-/metrics`: Prometheus text. Without an answer of the node, its gauges are left out and `anvil_up` is 0.
pub(super) async fn metrics(State(doors): State<Doors>) -> Response {
    let status = tokio::time::timeout(READY_TIME, doors.client.status()).await;
    let text = doors.metrics.render(status.ok().and_then(Result::ok).as_ref());
    let response = match HeaderValue::from_str("text/plain; version=0.0.4; charset=utf-8") {
        Ok(kind) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a header could not be made"),
    };
    named(response, "metrics")
}
