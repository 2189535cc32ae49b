//! What a person changes of the cluster: tokens for new nodes, draining, removing, handing over a lead.
//!
//! Each is a command of the group *global*, which any node takes and hands to its leader; only a lead is given up by the node
//! that has it. Parameters come in the query or as a JSON object in the body.
//!
//! - `ADMIN-1` The secret of a token leaves once, in the answer that makes it; the cluster is told its hash only.
//! - `ADMIN-2` A node is removed only when no body names a drive of it, or when the operator forces it: what the others
//!   cannot rebuild is gone with it.
//!
//! Not here: who may ask (`admin`), and how a node joins (`peers`).

use super::Doors;
use super::kv::{document, failure, from_client, named};
use super::status::{group_name, name_of};
use crate::client::{Client, ClientError};
use crate::peers::{Ca, Figures, JoinToken, Peers};
use anvil_core::node::{GroupStatus, Status, Unavailable};
use anvil_core::raft::ChangeRefusal;
use anvil_core::state::{ClusterOperation, ClusterRefusal, Operation, Place, Query, QueryAnswer, Refusal};
use anvil_core::topology::{NodeInfo, Topology};
use anvil_core::types::{DriveId, GroupId, NodeId, WallTime};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How long a node may keep its votes after it was emptied, and how often that is looked at.
const VOTES_TIME: Duration = Duration::from_secs(15);
const VOTES_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of the parameters of a request.
const BODY_MAX: usize = 4 << 10;

/// How long those parameters may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);

/// How long a token is good for unless the operator says otherwise, and at most, in hours.
const TOKEN_HOURS: u64 = 24;
const TOKEN_HOURS_MAX: u64 = 168;

/// How long the bodies that a node holds are counted before the count is given as far as it came.
const COUNT_TIME: Duration = Duration::from_secs(10);

/// Versions that one question of that count looks at.
const COUNT_PAGE: usize = 1024;

/// What the doors need to let nodes in and to tell of them.
#[derive(Clone, Debug)]
pub struct Cluster {
    ca: Ca,
    node: NodeId,
    peers: Arc<Peers>,
}

impl Cluster {
    /// Of the node `node`, which has the authority and the transport of its cluster.
    pub fn new(ca: Ca, node: NodeId, peers: Arc<Peers>) -> Cluster {
        Cluster { ca, node, peers }
    }

    /// The cluster's number.
    pub(super) fn id(&self) -> u128 {
        self.ca.cluster()
    }
}

impl Doors {
    /// What passed between this node and the others.
    pub(super) fn peers(&self) -> BTreeMap<NodeId, Figures> {
        self.cluster.as_ref().map(|cluster| cluster.peers.figures()).unwrap_or_default()
    }
}

/// An answer that ends a request early.
type Early = Box<Response>;

fn early(status: StatusCode, code: &str, message: &str) -> Early {
    Box::new(failure(status, code, message))
}

fn invalid(message: &str) -> Early {
    early(StatusCode::BAD_REQUEST, "invalid", message)
}

/// What a request asks for, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes(BTreeMap<String, String>);

impl Wishes {
    /// Reads query and body, which may name only what is `known`.
    pub(super) fn of(query: &str, body: &[u8], known: &[&str]) -> Result<Wishes, String> {
        let mut wishes: BTreeMap<String, String> =
            serde_urlencoded::from_str(query).map_err(|_| "the query is malformed".to_owned())?;
        if !body.trim_ascii().is_empty() {
            let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
                return Err("the body is no JSON object; parameters can stand in the query too".to_owned());
            };
            for (name, value) in fields {
                wishes.insert(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        }
        match wishes.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("there is no parameter {name:?}; there are {}", known.join(", "))),
            None => Ok(Wishes(wishes)),
        }
    }

    fn text(&self, name: &str) -> Result<&str, Early> {
        let message = || invalid(&format!("{name} is missing: give ?{name}=NAME"));
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty()).ok_or_else(message)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Early> {
        let parsed = self.0.get(name).map(|text| text.parse());
        parsed.transpose().map_err(|_| invalid(&format!("{name} is a number")))
    }

    fn is_set(&self, name: &str) -> Result<bool, Early> {
        match self.0.get(name).map(String::as_str) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(_) => Err(invalid(&format!("{name} is true or false"))),
        }
    }

    pub(super) fn hours(&self) -> Result<u64, &'static str> {
        let Some(text) = self.0.get("hours") else { return Ok(TOKEN_HOURS) };
        match text.parse() {
            Ok(hours) if (1..=TOKEN_HOURS_MAX).contains(&hours) => Ok(hours),
            Ok(_) | Err(_) => Err("hours is a number from 1 to 168"),
        }
    }
}

async fn wishes(request: Request<Body>, known: &[&str]) -> Result<Wishes, Early> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect()).await;
    let Ok(Ok(body)) = body else { return Err(invalid("the body is too large, or did not come to its end")) };
    Wishes::of(parts.uri.query().unwrap_or(""), &body.to_bytes(), known).map_err(|why| invalid(&why))
}

/// `POST /join`: makes a token with which one node can join.
pub(super) async fn make_token(State(doors): State<Doors>, request: Request<Body>) -> Response {
    named(token(&doors, request).await.unwrap_or_else(|response| *response), "make_token")
}

async fn token(doors: &Doors, request: Request<Body>) -> Result<Response, Early> {
    let hours = wishes(request, &["hours"]).await?.hours().map_err(invalid)?;
    let Some(cluster) = &doors.cluster else {
        return Err(early(StatusCode::CONFLICT, "alone", "this node has no port for other nodes"));
    };
    let status = doors.client.status().await.map_err(|error| refused(error, &Topology::default()))?;
    let address = status.topology.nodes.get(&cluster.node).map_or("", |info| info.address.as_str());
    if address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified()) {
        let message = format!(
            "the others cannot reach this node at {address}; start it with --advertise HOST:PORT, or ask another node"
        );
        return Err(early(StatusCode::CONFLICT, "not_reachable", &message));
    }
    let token = JoinToken::draw(&cluster.ca);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let expires = now + Duration::from_secs(hours * 3600);
    let expires = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
    // ADMIN-1
    let operation = ClusterOperation::AddToken { hash: token.secret_hash(), expires: WallTime(expires) };
    decide(&doors.client, operation, &status.topology).await?;
    let command = format!("anvil serve --id NAME --port PORT --dir DIR --peers {address} --token {token}");
    let told = json!({ "token": token.to_string(), "expires_unix_ms": expires, "hours": hours, "command": command });
    let mut response = document(StatusCode::OK, &told);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `POST /remove?node=NAME`: the node does not belong any more; with `drive=NUMBER` only that drive of it.
pub(super) async fn remove(State(doors): State<Doors>, request: Request<Body>) -> Response {
    named(remove_node(&doors, request).await.unwrap_or_else(|response| *response), "remove_node")
}

async fn remove_node(doors: &Doors, request: Request<Body>) -> Result<Response, Early> {
    let wishes = wishes(request, &["node", "drive", "force"]).await?;
    let (name, force) = (wishes.text("node")?, wishes.is_set("force")?);
    let topology = topology(&doors.client).await?;
    let (node, info) = find(&topology, name)?;
    let drive = drive_of(&wishes, info)?;
    // ADMIN-2
    if !force && (topology.nodes.len() > 1 || drive.is_some()) {
        let held = Held::count(&doors.client, &drives_of(info, drive), &topology).await;
        let what = drive.map_or_else(|| name.to_owned(), |drive| format!("drive {drive} of {name}"));
        let message = match held {
            Held { bodies: 0, whole: true, .. } => None,
            Held { bodies: 0, whole: false, .. } => Some(format!("it is not known whether {what} still holds data")),
            Held { bodies, .. } => Some(format!("{what} still holds shards of {bodies} or more objects")),
        };
        if let Some(message) = message {
            let message = format!("{message}; drain it first, or force its removal if it is dead");
            return Err(early(StatusCode::CONFLICT, "holds_shards", &message));
        }
        if drive.is_none() {
            wait_until_voteless(doors, node, name).await?;
        }
    }
    if let Some(drive) = drive {
        decide(&doors.client, ClusterOperation::RemoveDrive { drive, force }, &topology).await?;
        tracing::info!("drive {drive} of node {name} was removed from the cluster");
        return Ok(document(StatusCode::OK, &json!({ "removed": name, "drive": drive.0 })));
    }
    decide(&doors.client, ClusterOperation::Remove { node }, &topology).await?;
    tracing::info!("node {name} was removed from the cluster");
    Ok(document(StatusCode::OK, &json!({ "removed": name })))
}

/// A node that hears no more who belongs would go on voting, or leading, in a group that does not know of its removal yet.
/// Draining takes the votes; the last may take a moment more than the data.
async fn wait_until_voteless(doors: &Doors, node: NodeId, name: &str) -> Result<(), Early> {
    let end = tokio::time::Instant::now() + VOTES_TIME;
    loop {
        let status = doors.client.status().await.map_err(|error| refused(error, &Topology::default()))?;
        let votes = |group: &&GroupStatus| group.voters.contains(&node) || group.outgoing.contains(&node);
        let Some(group) = status.groups.iter().find(votes) else { return Ok(()) };
        if tokio::time::Instant::now() >= end {
            let group = group_name(group.group);
            let message =
                format!("{name} still votes in the group {group}; drain it first, or force its removal if it is dead");
            return Err(early(StatusCode::CONFLICT, "votes", &message));
        }
        tokio::time::sleep(VOTES_INTERVAL).await;
    }
}

/// `POST /-/drain?node=NAME`: the node, or its `drive=NUMBER`, gets nothing new, and what it holds moves away; `undo=true` takes that
/// back.
pub(super) async fn drain(State(doors): State<Doors>, request: Request<Body>) -> Response {
    named(set_draining(&doors, request).await.unwrap_or_else(|response| *response), "drain")
}

async fn set_draining(doors: &Doors, request: Request<Body>) -> Result<Response, Early> {
    let wishes = wishes(request, &["node", "drive", "undo"]).await?;
    let (name, draining) = (wishes.text("node")?, !wishes.is_set("undo")?);
    let topology = topology(&doors.client).await?;
    let (node, info) = find(&topology, name)?;
    let operation = match drive_of(&wishes, info)? {
        Some(drive) => ClusterOperation::SetLeaving { drive, leaving: draining },
        None => ClusterOperation::SetDraining { node, draining },
    };
    decide(&doors.client, operation, &topology).await?;
    Ok(document(StatusCode::OK, &json!({ "node": name, "draining": draining })))
}

/// `GET /-/drain?node=NAME`: whether the node, or its `drive=NUMBER`, drains, how many bodies name a drive of it, and how many of
/// those have more shards than there are other drives, so that they are cut anew.
pub(super) async fn drained(State(doors): State<Doors>, request: Request<Body>) -> Response {
    named(count_held(&doors, request).await.unwrap_or_else(|response| *response), "drained")
}

async fn count_held(doors: &Doors, request: Request<Body>) -> Result<Response, Early> {
    let wishes = wishes(request, &["node", "drive"]).await?;
    let name = wishes.text("node")?;
    let topology = topology(&doors.client).await?;
    let (_, info) = find(&topology, name)?;
    let drive = drive_of(&wishes, info)?;
    let draining = drive.map_or(info.draining, |drive| topology.leaving.contains(&drive));
    let Held { bodies, wide, whole } = Held::count(&doors.client, &drives_of(info, drive), &topology).await;
    let told = json!({ "node": name, "draining": draining, "bodies": bodies, "wide": wide, "complete": whole });
    Ok(document(StatusCode::OK, &told))
}

/// `POST /-/scrub`: this node searches its drives for damage, now. Tells how many searches had ended before.
pub(super) async fn scrub(State(doors): State<Doors>) -> Response {
    match doors.client.scrub().await {
        Ok(before) => document(StatusCode::ACCEPTED, &json!({ "passes": before.scrubbed.passes })),
        Err(error) => *refused(error, &Topology::default()),
    }
}

/// `POST /-/transfer-leader?group=global|region&to=NAME`, at the node that leads.
pub(super) async fn transfer_leader(State(doors): State<Doors>, request: Request<Body>) -> Response {
    named(transfer(&doors, request).await.unwrap_or_else(|response| *response), "transfer_leader")
}

async fn transfer(doors: &Doors, request: Request<Body>) -> Result<Response, Early> {
    let wishes = wishes(request, &["group", "to"]).await?;
    let (name, to) = (wishes.text("group")?, wishes.text("to")?);
    let group = match name {
        "global" => GroupId::GLOBAL,
        "region" => GroupId::REGION,
        _ => return Err(invalid("group is global or region")),
    };
    let Status { topology, .. } = doors.client.status().await.map_err(|error| refused(error, &Topology::default()))?;
    let (node, _) = find(&topology, to)?;
    doors.client.transfer_leader(group, node).await.map_err(|error| match error {
        ClientError::Unavailable(Unavailable::NotLeader { leader: Some(leader) }) => {
            let leader = name_of(&topology, leader);
            let message = format!("{leader} leads the group, and only it can hand over the lead: ask it");
            early(StatusCode::CONFLICT, "not_leader", &message)
        }
        other @ (ClientError::Refused(_) | ClientError::Unavailable(_) | ClientError::Stopping) => {
            refused(other, &topology)
        }
    })?;
    Ok(document(StatusCode::ACCEPTED, &json!({ "group": name, "to": to })))
}

/// The nodes as the cluster knows them at this moment.
async fn topology(client: &Client) -> Result<Topology, Early> {
    match client.query(GroupId::GLOBAL, Query::Topology).await {
        Ok(QueryAnswer::Topology { topology, .. }) => Ok(topology),
        Ok(_) => Err(early(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the node answered another question")),
        Err(error) => Err(refused(error, &Topology::default())),
    }
}

fn find<'a>(topology: &'a Topology, name: &str) -> Result<(NodeId, &'a NodeInfo), Early> {
    let found = topology.named(name).and_then(|node| Some((node, topology.nodes.get(&node)?)));
    found.ok_or_else(|| {
        let names: Vec<_> = topology.nodes.values().map(|info| info.name.as_str()).collect();
        let message = format!("the cluster has no node {name:?}; it has {}", names.join(", "));
        early(StatusCode::NOT_FOUND, "no_such_node", &message)
    })
}

/// The drive that is meant rather than the whole node.
fn drive_of(wishes: &Wishes, info: &NodeInfo) -> Result<Option<DriveId>, Early> {
    let Some(number) = wishes.number("drive")? else { return Ok(None) };
    let found = info.drives.iter().find(|known| u64::from(known.drive.0) == number);
    found.map(|known| Some(known.drive)).ok_or_else(|| {
        let numbers: Vec<_> = info.drives.iter().map(|known| known.drive.to_string()).collect();
        let message = format!("{} has no drive {number}; it has {}", info.name, numbers.join(", "));
        early(StatusCode::NOT_FOUND, "no_such_drive", &message)
    })
}

/// The drives that are meant.
fn drives_of(info: &NodeInfo, drive: Option<DriveId>) -> BTreeSet<DriveId> {
    drive.map_or_else(|| info.drives.iter().map(|known| known.drive).collect(), |drive| BTreeSet::from([drive]))
}

async fn decide(client: &Client, operation: ClusterOperation, topology: &Topology) -> Result<(), Early> {
    let decided = client.command(GroupId::GLOBAL, None, Operation::Cluster(operation)).await;
    decided.map(|_| ()).map_err(|error| refused(error, topology))
}

/// Bodies that name a drive of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    bodies: u64,
    /// Those of them that have more shards than there are drives to move them to.
    wide: u64,
    /// Whether all bodies were looked at.
    whole: bool,
}

impl Held {
    async fn count(client: &Client, drives: &BTreeSet<DriveId>, topology: &Topology) -> Held {
        let others = topology.serving().flat_map(|(_, info)| topology.serving_drives(info));
        let others = others.filter(|drive| !drives.contains(&drive.drive));
        let (others, end) = (others.count(), Instant::now() + COUNT_TIME);
        let (mut held, mut after) = (Held { bodies: 0, wide: 0, whole: false }, None);
        while Instant::now() < end {
            let query = Query::Bodies { after, limit: COUNT_PAGE };
            let Ok(QueryAnswer::Bodies { bodies, last }) = client.query(GroupId::REGION, query).await else { break };
            for (body, _) in &bodies {
                match &body.place {
                    Place::Striped { drives: of_body, .. } if of_body.iter().any(|drive| drives.contains(drive)) => {
                        held.bodies += 1;
                        held.wide += u64::from(of_body.len() > others);
                    }
                    Place::Striped { .. } | Place::Inline(_) => {}
                }
            }
            if last.is_none() {
                return Held { whole: true, ..held };
            }
            after = last;
        }
        held
    }
}

/// A change of the cluster that did not happen, in the words of its operator.
fn refused(error: ClientError, topology: &Topology) -> Early {
    Box::new(match error {
        ClientError::Refused(Refusal::Cluster(why)) => from_refusal(why),
        ClientError::Unavailable(Unavailable::Change(why)) => {
            let message = match why {
                ChangeRefusal::NotVoter { node } => {
                    format!("{} does not vote, so it cannot lead", name_of(topology, node))
                }
                ChangeRefusal::NotCaughtUp { .. }
                | ChangeRefusal::InProgress
                | ChangeRefusal::NoVoters
                | ChangeRefusal::TooMany
                | ChangeRefusal::Unchanged => why.to_string(),
            };
            failure(StatusCode::CONFLICT, "refused", &message)
        }
        other @ (ClientError::Refused(_) | ClientError::Unavailable(_) | ClientError::Stopping) => from_client(other),
    })
}

pub(super) fn from_refusal(why: ClusterRefusal) -> Response {
    let (status, code) = match why {
        ClusterRefusal::NoSuchNode => (StatusCode::NOT_FOUND, "no_such_node"),
        ClusterRefusal::NoSuchDrive => (StatusCode::NOT_FOUND, "no_such_drive"),
        ClusterRefusal::FirstDrive => (StatusCode::CONFLICT, "first_drive"),
        ClusterRefusal::LastDrive => (StatusCode::CONFLICT, "last_drive"),
        ClusterRefusal::NotLeaving => (StatusCode::CONFLICT, "not_draining"),
        ClusterRefusal::TokenUnknown => (StatusCode::NOT_FOUND, "no_such_token"),
        ClusterRefusal::TokenUsed => (StatusCode::CONFLICT, "token_used"),
        ClusterRefusal::TokenExpired => (StatusCode::CONFLICT, "token_expired"),
        ClusterRefusal::NameTaken => (StatusCode::CONFLICT, "name_taken"),
        ClusterRefusal::LastNode => (StatusCode::CONFLICT, "last_node"),
        ClusterRefusal::Stale => (StatusCode::CONFLICT, "stale"),
        ClusterRefusal::Full => (StatusCode::CONFLICT, "full"),
        ClusterRefusal::NotFounded => (StatusCode::SERVICE_UNAVAILABLE, "not_founded"),
    };
    let mut response = failure(status, code, &why.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
