//! How the node is: `/status`, `/-/health`, `/-/ready`, `/-/metrics`.

use super::Doors;
use super::kv::{document, failure, from_client, named};
use crate::peers::Figures;
use anvil_core::node::{GroupStatus, Status};
use anvil_core::raft::Role;
use anvil_core::state::Query;
use anvil_core::topology::Topology;
use anvil_core::types::{GroupId, NodeId};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the node may take to prove that it is ready.
const READY_TIME: Duration = Duration::from_secs(2);

/// A key that is only ever looked for.
const READY_KEY: &[u8] = b"\0ready";

/// `GET /-/health`: the process answers.
pub(super) async fn health() -> Response {
    named((StatusCode::OK, "ok\n").into_response(), "health")
}

/// `GET /-/ready`: the node answers linearizable questions, those on keys as well as those on the cluster. A node that has
/// just joined has to hear the state of both groups before it can.
pub(super) async fn ready(State(doors): State<Doors>) -> Response {
    let key = Query::Key { key: Bytes::from_static(READY_KEY) };
    let both = async {
        tokio::try_join!(doors.client.query(GroupId::REGION, key), doors.client.query(GroupId::GLOBAL, Query::Topology))
    };
    let response = match tokio::time::timeout(READY_TIME, both).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready\n").into_response(),
        Ok(Err(error)) => {
            tracing::debug!(?error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready: no answer in time\n").into_response(),
    };
    named(response, "ready")
}

/// `GET /status`: the cluster, groups and drives, as JSON.
pub(super) async fn status(State(doors): State<Doors>) -> Response {
    let response = match doors.client.status().await {
        Ok(status) => {
            let cluster = doors.cluster.as_ref().map(|cluster| cluster.id());
            document(StatusCode::OK, &status_document(&status, cluster, &doors.peers()))
        }
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

/// Whether this node reaches another: the core has not given it up, and the transport has a connection to it.
pub(super) fn reaches(status: &Status, peers: &BTreeMap<NodeId, Figures>, node: NodeId) -> bool {
    let trusted = !status.doubtful.contains(&node);
    node == status.node || (trusted && peers.get(&node).is_none_or(|figures| figures.reachable))
}

/// What people call a node: its name, or its number when it does not belong, or not any more.
pub(super) fn name_of(topology: &Topology, node: NodeId) -> String {
    topology.nodes.get(&node).map_or_else(|| hex(node), |info| info.name.clone())
}

/// A node's number, as everything that people read shows it. JSON's numbers would lose some of its digits.
fn hex(node: NodeId) -> String {
    format!("{:016x}", node.0)
}

/// The node as `/status` shows it.
pub(super) fn status_document(status: &Status, cluster: Option<u128>, peers: &BTreeMap<NodeId, Figures>) -> Value {
    let groups = status.groups.iter().map(|group| group_document(group, &status.topology));
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
        "node": hex(status.node),
        "name": name_of(&status.topology, status.node),
        "version": env!("CARGO_PKG_VERSION"),
        "cluster": cluster_document(status, cluster, peers),
        "groups": groups.collect::<Vec<_>>(),
        "drives": drives.collect::<Vec<_>>(),
        "writes": status.writes,
        "opens": status.opens,
        "undecided": status.undecided,
    })
}

fn group_document(group: &GroupStatus, topology: &Topology) -> Value {
    let named = |node: NodeId| json!({ "id": hex(node), "name": name_of(topology, node) });
    let all = |nodes: &[NodeId]| nodes.iter().map(|node| named(*node)).collect::<Vec<_>>();
    let matched = group
        .matched
        .iter()
        .map(|(node, index)| json!({ "id": hex(*node), "name": name_of(topology, *node), "index": index.0 }));
    json!({
        "id": group.group.0,
        "name": group_name(group.group),
        "role": role_name(group.role),
        "term": group.term.0,
        "leader": group.leader.map(named),
        "commit": group.commit.0,
        "applied": group.applied.0,
        "checkpointed": group.checkpointed.0,
        "voters": all(&group.voters),
        "outgoing": all(&group.outgoing),
        "learners": all(&group.learners),
        "matched": matched.collect::<Vec<_>>(),
        "whole": group.is_whole,
    })
}

fn cluster_document(status: &Status, cluster: Option<u128>, peers: &BTreeMap<NodeId, Figures>) -> Value {
    let nodes = status.topology.nodes.iter().map(|(node, info)| {
        let drives = info.drives.iter().map(|drive| {
            json!({ "id": drive.drive.0, "weight": drive.weight, "draining": status.topology.leaving.contains(&drive.drive) })
        });
        let rtt = peers.get(node).and_then(|figures| figures.rtt);
        json!({
            "id": hex(*node),
            "name": info.name,
            "zone": info.zone,
            "address": info.address,
            "draining": info.draining,
            "reachable": reaches(status, peers, *node),
            "rtt_us": rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            "drives": drives.collect::<Vec<_>>(),
        })
    });
    json!({
        "id": cluster.map(|cluster| format!("{cluster:032x}")),
        "nodes": nodes.collect::<Vec<_>>(),
        "topology_epoch": status.topology.epoch,
        "placement_epoch": status.placement,
        "moved": status.moved.moved,
        "repaired": status.moved.repaired,
        "recoded": status.moved.recoded,
        "failed": status.moved.failed,
        "waiting": status.moved.waiting,
        "stuck": status.moved.stuck,
        "scrub": {
            "shards": status.scrubbed.shards,
            "bytes": status.scrubbed.bytes,
            "damaged": status.scrubbed.damaged,
            "passes": status.scrubbed.passes,
            "suspects": status.scrubbed.suspects,
        },
    })
}

/// A group's name for people.
pub(crate) fn group_name(group: GroupId) -> &'static str {
    match group {
        GroupId::GLOBAL => "global",
        GroupId::REGION => "region",
        _ => "other",
    }
}

/// `GET /-/metrics`: Prometheus text. Without an answer of the node, its gauges are left out and `anvil_up` is 0.
pub(super) async fn metrics(State(doors): State<Doors>) -> Response {
    let status = tokio::time::timeout(READY_TIME, doors.client.status()).await;
    let text = doors.metrics.render(status.ok().and_then(Result::ok).as_ref(), &doors.peers());
    let response = match HeaderValue::from_str("text/plain; version=0.0.4; charset=utf-8") {
        Ok(kind) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a header could not be made"),
    };
    named(response, "metrics")
}
