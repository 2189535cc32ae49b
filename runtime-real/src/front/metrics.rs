//! Counters and histograms of the doors, and the node's gauges, in Prometheus' text format.
//!
//! - `METRIC-1` The number of time series is bounded: operations come from fixed lists, never from what a client sends.
//!
//! Source: Prometheus, "Exposition formats", text version 0.0.4.

use super::status::{group_name, reaches, role_name};
use crate::peers::Figures;
use anvil_core::node::Status;
use anvil_core::types::NodeId;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use http::Request;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says in a response's extensions which operation it answers (`METRIC-1`).
#[derive(Clone, Copy, Debug)]
pub struct OperationName(pub &'static str);

/// Marks a response to a request that its host led to S3.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByHost;

/// Upper bounds of the buckets, in microseconds, and as Prometheus writes them, in seconds.
const BUCKETS: [(u128, &str); 14] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_000, "0.002"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (20_000, "0.02"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
    (60_000_000, "60"),
];

#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: Duration,
}

/// What the doors have done.
#[derive(Debug, Default)]
pub struct Metrics {
    served: Mutex<Served>,
    in_flight: AtomicI64,
}

#[derive(Debug, Default)]
struct Served {
    answers: BTreeMap<(&'static str, &'static str, u16), u64>,
    times: BTreeMap<(&'static str, &'static str), Histogram>,
}

impl Metrics {
    /// Counts an answer of `door` to `operation`.
    pub fn count(&self, door: &'static str, operation: &'static str, status: u16, took: Duration) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        *served.answers.entry((door, operation, status)).or_default() += 1;
        let histogram = served.times.entry((door, operation)).or_default();
        histogram.count += 1;
        histogram.sum += took;
        if let Some(at) = BUCKETS.iter().position(|(bound, _)| took.as_micros() <= *bound) {
            histogram.counts[at] += 1;
        }
    }

    /// All of it as text, with the gauges of `node` if it answered, and what passed between it and its peers.
    pub fn render(&self, node: Option<&Status>, peers: &BTreeMap<NodeId, Figures>) -> String {
        let mut text = String::new();
        self.render_doors(&mut text);
        render_node(&mut text, node);
        if let Some(node) = node {
            render_cluster(&mut text, node, peers);
        }
        text
    }

    fn render_doors(&self, text: &mut String) {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        head(text, "anvil_http_requests_total", "counter", "Requests answered.");
        for ((door, operation, status), count) in &served.answers {
            let labels = format!("door=\"{door}\",operation=\"{operation}\",code=\"{status}\"");
            line(text, "anvil_http_requests_total", &labels, count);
        }
        let name = "anvil_http_request_seconds";
        head(text, name, "histogram", "Time to the first byte of the answer.");
        for ((door, operation), histogram) in &served.times {
            let labels = format!("door=\"{door}\",operation=\"{operation}\"");
            let mut below = 0;
            for ((_, bound), count) in BUCKETS.iter().zip(histogram.counts) {
                below += count;
                line(text, &format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), below);
            }
            line(text, &format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), histogram.count);
            line(text, &format!("{name}_sum"), &labels, histogram.sum.as_secs_f64());
            line(text, &format!("{name}_count"), &labels, histogram.count);
        }
        head(text, "anvil_http_in_flight", "gauge", "Requests being answered.");
        line(text, "anvil_http_in_flight", "", self.in_flight.load(Ordering::Relaxed));
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ =
        if labels.is_empty() { writeln!(text, "{name} {value}") } else { writeln!(text, "{name}{{{labels}}} {value}") };
}

fn render_node(text: &mut String, node: Option<&Status>) {
    head(text, "anvil_up", "gauge", "Whether the node answers.");
    line(text, "anvil_up", "", u8::from(node.is_some()));
    let Some(node) = node else { return };
    let mut gauge = |name: &str, help: &str, values: Vec<(String, u64)>| {
        head(text, name, "gauge", help);
        for (labels, value) in values {
            line(text, name, &labels, value);
        }
    };
    let groups = |value: &dyn Fn(&anvil_core::node::GroupStatus) -> u64| {
        let labels = |group| format!("group=\"{}\"", group_name(group));
        node.groups.iter().map(|group| (labels(group.group), value(group))).collect::<Vec<_>>()
    };
    gauge("anvil_raft_term", "Term of the replica.", groups(&|group| group.term.0));
    gauge("anvil_raft_commit_index", "Last committed entry.", groups(&|group| group.commit.0));
    gauge("anvil_raft_applied_index", "Last applied entry.", groups(&|group| group.applied.0));
    gauge("anvil_raft_checkpointed_index", "Last entry durable in the state.", groups(&|group| group.checkpointed.0));
    let leads = groups(&|group| u64::from(role_name(group.role) == "leader"));
    let gave_way = groups(&|group| group.gave_way);
    let lost = groups(&|group| u64::from(!group.is_whole));
    gauge(
        "anvil_raft_log_lost",
        "1 while the replica has not got back all of a log that it lost, and does not vote.",
        lost,
    );
    gauge("anvil_raft_gave_way", "Times that this leader gave way because its disk stood still.", gave_way);
    gauge("anvil_raft_is_leader", "Whether the replica leads.", leads);
    let drives = |value: &dyn Fn(&anvil_core::shards::Usage) -> u64| {
        node.drives.iter().map(|(drive, usage)| (format!("drive=\"{drive}\""), value(usage))).collect::<Vec<_>>()
    };
    gauge("anvil_drive_shards", "Shards held.", drives(&|usage| usage.shards));
    gauge("anvil_drive_live_bytes", "Bytes of live records.", drives(&|usage| usage.live_bytes));
    gauge("anvil_drive_total_bytes", "Bytes of all extents.", drives(&|usage| usage.total_bytes));
    gauge("anvil_drive_extents", "Extents.", drives(&|usage| usage.extents));
    gauge("anvil_writes_open", "Writes begun and not decided.", vec![(String::new(), node.writes as u64)]);
    gauge("anvil_objects_open", "Objects open for reading.", vec![(String::new(), node.opens as u64)]);
    gauge("anvil_undecided", "Versions to be resolved or reclaimed.", vec![(String::new(), node.undecided as u64)]);
}

/// METRIC-1: one series for each node that belongs.
fn render_cluster(text: &mut String, node: &Status, peers: &BTreeMap<NodeId, Figures>) {
    head(text, "anvil_cluster_nodes", "gauge", "Nodes that belong to the cluster.");
    line(text, "anvil_cluster_nodes", "", node.topology.nodes.len());
    let others: Vec<(NodeId, String)> = node
        .topology
        .nodes
        .iter()
        .filter(|(other, _)| **other != node.node)
        .map(|(other, info)| (*other, format!("node=\"{}\"", info.name)))
        .collect();
    head(text, "anvil_peer_reachable", "gauge", "Whether this node reaches the other.");
    for (other, labels) in &others {
        line(text, "anvil_peer_reachable", labels, u8::from(reaches(node, peers, *other)));
    }
    let mut counter = |name: &str, help: &str, value: &dyn Fn(&Figures) -> u64| {
        head(text, name, "counter", help);
        for (other, labels) in &others {
            if let Some(figures) = peers.get(other) {
                line(text, name, labels, value(figures));
            }
        }
    };
    counter("anvil_peer_frames_sent_total", "Frames given to the network.", &|peer| peer.frames_sent);
    counter("anvil_peer_bytes_sent_total", "Their bytes.", &|peer| peer.bytes_sent);
    counter("anvil_peer_frames_received_total", "Frames that came.", &|peer| peer.frames_received);
    counter("anvil_peer_bytes_received_total", "Their bytes.", &|peer| peer.bytes_received);
    counter("anvil_peer_frames_dropped_total", "Frames that found no room or no way.", &|peer| peer.frames_dropped);
    counter("anvil_peer_reconnects_total", "Connections after the first one.", &|peer| peer.reconnects);
    let (moved, scrubbed) = (&node.moved, &node.scrubbed);
    for (name, kind, help, value) in [
        ("anvil_shards_moved_total", "counter", "Slots of bodies moved to another drive.", moved.moved),
        ("anvil_shards_repaired_total", "counter", "Slots of bodies written anew in their place.", moved.repaired),
        ("anvil_bodies_recoded_total", "counter", "Bodies cut anew for another profile.", moved.recoded),
        ("anvil_moves_failed_total", "counter", "Attempts to move or repair that failed.", moved.failed),
        ("anvil_moves_waiting", "gauge", "Bodies that wait to be moved or repaired, or are.", moved.waiting),
        ("anvil_moves_stuck", "gauge", "Bodies out of place with no place to go.", moved.stuck),
        ("anvil_scrub_shards_total", "counter", "Shards that the search for damage has read.", scrubbed.shards),
        ("anvil_scrub_bytes_total", "counter", "Their bytes.", scrubbed.bytes),
        ("anvil_scrub_damaged_total", "counter", "Shards that it found damaged or missing.", scrubbed.damaged),
        ("anvil_scrub_passes_total", "counter", "Searches over everything that have ended.", scrubbed.passes),
        ("anvil_scrub_suspects", "gauge", "Bodies found damaged and not whole again yet.", scrubbed.suspects),
    ] {
        head(text, name, kind, help);
        line(text, name, "", value);
    }
}

/// Takes its request off the gauge when the answer, or its abandonment, comes.
struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts and logs every request. The query string is left out: a presigned one is a credential.
pub(super) async fn observe(State(metrics): State<Arc<Metrics>>, request: Request<Body>, next: Next) -> Response {
    let began = Instant::now();
    metrics.in_flight.fetch_add(1, Ordering::Relaxed);
    let guard = InFlight(Arc::clone(&metrics));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    drop(guard);
    let door = if response.extensions().get::<ByHost>().is_some() { "s3" } else { door_of(&path) };
    let operation = response.extensions().get::<OperationName>().map_or("other", |name| name.0);
    let status = response.status().as_u16();
    let took = began.elapsed();
    metrics.count(door, operation, status, took);
    tracing::debug!(%method, path, door, operation, status, took_us = took.as_micros(), "answered");
    response
}

fn door_of(path: &str) -> &'static str {
    if path == "/kv" || path.starts_with("/kv/") || path == "/-/session" {
        "kv"
    } else if matches!(path, "/status" | "/join" | "/remove") || path.starts_with("/-/") {
        "node"
    } else {
        "s3"
    }
}
