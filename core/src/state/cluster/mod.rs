//! How the cluster's topology changes: founding, one-time tokens, joining, draining, leaving, and the placement table.
//!
//! A token is known by the hash of its secret, so that reading the rows of a node lets nobody in. Joining uses it up in the
//! same step that admits the node and numbers its drives.
//!
//! - `CLUSTER-1`: a token admits one node. Asking again with the same token, node and key is answered as the first time, since
//!   a node that heard nothing must be able to repeat itself.
//! - `CLUSTER-2`: a placement replaces exactly the one that it was solved from, for the topology of that moment.
//! - `CLUSTER-5`: a drive that is said to be lost leaves without anybody having looked whether its shards are elsewhere: they are made
//!   anew from the others. That a living one is empty is for the doors to see.
//! - `TOPOLOGY-1`: drives are numbered here, each number once.
//!
//! Not here: who may ask (the doors), certificates (the runtime), and the solving (`placement`).

mod operation;

pub use operation::{ClusterOperation, ClusterRefusal};

use super::Moment;
use super::command::{Answer, Refusal};
use crate::stripe::Profile;
use crate::topology::{DRIVES_MAX, DriveInfo, NODES_MAX, NodeInfo, TEXT_SIZE_MAX, Topology};
use crate::types::{DriveId, NodeId, WallTime};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec::Vec;
use bytes::Bytes;
use operation::ClusterRefusal::{
    FirstDrive, Full, LastDrive, LastNode, NameTaken, NoSuchDrive, NoSuchNode, NotFounded, NotLeaving, Stale,
    TokenExpired, TokenUnknown, TokenUsed,
};
use serde::{Deserialize, Serialize};

/// Tokens that may wait at once.
const TOKENS_MAX: usize = 256;

/// SHA-256 of a token's secret.
pub type TokenHash = [u8; 32];

/// A token, by the hash of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// It admits nobody once replicated time is past this.
    pub expires: WallTime,
    /// Whom it admitted.
    pub used: Option<NodeId>,
}

/// The placement table in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRow {
    /// Grows by one with each table.
    pub epoch: u64,
    /// The topology that it was solved for.
    pub topology: u64,
    /// How stripes are cut.
    pub profile: Profile,
    /// The bytes of `placement::Table`.
    pub table: Bytes,
}

/// The rows of the cluster: few, and read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterRows {
    /// The topology; no node until the cluster is founded.
    pub topology: Topology,
    /// Tokens that wait, or that were used and have not expired.
    pub tokens: BTreeMap<TokenHash, TokenRow>,
    /// The placement, once there is one.
    pub placement: Option<PlacementRow>,
}

/// Changes `rows` as the operation says.
///
/// # Errors
/// A refusal changes nothing.
pub fn decide(rows: &mut ClusterRows, operation: &ClusterOperation, moment: Moment) -> Result<Answer, Refusal> {
    let founds = matches!(operation, ClusterOperation::Found { .. } | ClusterOperation::AddToken { .. });
    if rows.topology.nodes.is_empty() && !founds {
        // Whoever came first would be taken for the founder.
        return Err(refused(NotFounded));
    }
    match operation {
        ClusterOperation::Found { nodes } => found(rows, nodes),
        ClusterOperation::AddToken { hash, expires } => add_token(rows, *hash, *expires, moment),
        ClusterOperation::Join { token, node, info } => join(rows, token, *node, info, moment),
        ClusterOperation::SetAddress { node, address } => {
            check_text(address)?;
            change(rows, *node, |info| info.address.clone_from(address))
        }
        ClusterOperation::SetDraining { node, draining } => {
            let others = rows.topology.serving().filter(|(other, _)| other != node).count();
            if *draining && others == 0 {
                return Err(refused(LastNode));
            }
            change(rows, *node, |info| info.draining = *draining)
        }
        ClusterOperation::Remove { node } => remove(rows, *node),
        ClusterOperation::AddDrives { node, drives } => add_drives(rows, *node, drives),
        ClusterOperation::SetLeaving { drive, leaving } => set_leaving(rows, *drive, *leaving),
        ClusterOperation::RemoveDrive { drive, force } => remove_drive(rows, *drive, *force),
        ClusterOperation::SetPlacement { base, topology, profile, table } => {
            let epoch = rows.placement.as_ref().map_or(0, |placement| placement.epoch);
            // CLUSTER-2
            if (*base, *topology) != (epoch, rows.topology.epoch) {
                return Err(refused(Stale));
            }
            let (topology, profile) = (*topology, *profile);
            rows.placement = Some(PlacementRow { epoch: epoch + 1, topology, profile, table: table.clone() });
            Ok(Answer::Done)
        }
    }
}

fn refused(why: ClusterRefusal) -> Refusal {
    Refusal::Cluster(why)
}

fn found(rows: &mut ClusterRows, nodes: &[(NodeId, NodeInfo)]) -> Result<Answer, Refusal> {
    // Every founder proposes, and a proposal may arrive twice: the first one counts.
    if rows.topology.nodes.is_empty() {
        for (_, info) in nodes {
            check_info(info)?;
        }
        let drives = nodes.iter().flat_map(|(_, info)| &info.drives);
        let next_drive = drives.map(|known| known.drive.0 + 1).max().unwrap_or(0);
        rows.topology =
            Topology { epoch: 1, next_drive, nodes: nodes.iter().cloned().collect(), leaving: BTreeSet::new() };
    }
    Ok(Answer::Done)
}

fn add_token(rows: &mut ClusterRows, hash: TokenHash, expires: WallTime, moment: Moment) -> Result<Answer, Refusal> {
    // CLUSTER-1: a node that was admitted may ask again as long as it belongs.
    let nodes = &rows.topology.nodes;
    let belongs = |token: &TokenRow| token.used.is_some_and(|node| nodes.contains_key(&node));
    rows.tokens.retain(|_, token| token.expires >= moment.time || belongs(token));
    let waiting = rows.tokens.values().filter(|token| token.used.is_none()).count();
    if waiting >= TOKENS_MAX {
        return Err(refused(Full));
    }
    rows.tokens.entry(hash).or_insert(TokenRow { expires, used: None });
    Ok(Answer::Done)
}

fn join(
    rows: &mut ClusterRows,
    token: &TokenHash,
    node: NodeId,
    info: &NodeInfo,
    moment: Moment,
) -> Result<Answer, Refusal> {
    let row = rows.tokens.get_mut(token).ok_or(refused(TokenUnknown))?;
    // CLUSTER-1
    if let Some(used) = row.used {
        let known = rows.topology.nodes.get(&node).filter(|known| used == node && known.key == info.key);
        let first = known.and_then(|known| known.drives.first()).ok_or(refused(TokenUsed))?;
        return Ok(Answer::Joined { first_drive: first.drive });
    }
    if row.expires < moment.time {
        return Err(refused(TokenExpired));
    }
    check_info(info)?;
    if rows.topology.named(&info.name).is_some() || rows.topology.nodes.contains_key(&node) {
        return Err(refused(NameTaken));
    }
    if rows.topology.nodes.len() >= NODES_MAX {
        return Err(refused(Full));
    }
    row.used = Some(node);
    // TOPOLOGY-1
    let first_drive = DriveId(rows.topology.next_drive);
    let weights = info.drives.iter().map(|drive| drive.weight);
    let drives: Vec<DriveInfo> =
        (first_drive.0..).zip(weights).map(|(drive, weight)| DriveInfo { drive: DriveId(drive), weight }).collect();
    let count = u32::try_from(drives.len()).expect("a node has at most DRIVES_MAX drives");
    rows.topology.next_drive = first_drive.0.checked_add(count).ok_or(refused(Full))?;
    rows.topology.nodes.insert(node, NodeInfo { drives, draining: false, ..info.clone() });
    rows.topology.epoch += 1;
    Ok(Answer::Joined { first_drive })
}

fn add_drives(rows: &mut ClusterRows, node: NodeId, drives: &[DriveInfo]) -> Result<Answer, Refusal> {
    let mut topology = rows.topology.clone();
    let info = topology.nodes.get_mut(&node).ok_or(refused(NoSuchNode))?;
    let mut next = topology.next_drive;
    for drive in drives {
        if info.drives.iter().any(|known| known.drive == drive.drive) {
            continue;
        }
        // TOPOLOGY-1
        if drive.drive.0 < next {
            return Err(refused(Stale));
        }
        next = drive.drive.0.checked_add(1).ok_or(refused(Full))?;
        info.drives.push(*drive);
    }
    check_info(info)?;
    if next != topology.next_drive {
        (topology.next_drive, topology.epoch) = (next, topology.epoch + 1);
        rows.topology = topology;
    }
    Ok(Answer::Done)
}

fn remove(rows: &mut ClusterRows, node: NodeId) -> Result<Answer, Refusal> {
    if !rows.topology.nodes.contains_key(&node) {
        return Err(refused(NoSuchNode));
    }
    if rows.topology.nodes.len() == 1 {
        return Err(refused(LastNode));
    }
    let left = rows.topology.nodes.remove(&node);
    for known in left.iter().flat_map(|info| &info.drives) {
        rows.topology.leaving.remove(&known.drive);
    }
    rows.topology.epoch += 1;
    Ok(Answer::Done)
}

fn set_leaving(rows: &mut ClusterRows, drive: DriveId, leaving: bool) -> Result<Answer, Refusal> {
    if leaving {
        check_may_leave(&rows.topology, drive)?;
    }
    let leaves = &mut rows.topology.leaving;
    let is_new = if leaving { leaves.insert(drive) } else { leaves.remove(&drive) };
    rows.topology.epoch += u64::from(is_new);
    Ok(Answer::Done)
}

/// `CLUSTER-5`
fn remove_drive(rows: &mut ClusterRows, drive: DriveId, force: bool) -> Result<Answer, Refusal> {
    let node = check_may_leave(&rows.topology, drive)?;
    if !force && !rows.topology.leaving.contains(&drive) {
        return Err(refused(NotLeaving));
    }
    let info = rows.topology.nodes.get_mut(&node).ok_or(refused(NoSuchNode))?;
    info.drives.retain(|known| known.drive != drive);
    rows.topology.leaving.remove(&drive);
    rows.topology.epoch += 1;
    Ok(Answer::Done)
}

/// The node that has the drive, if it can do without and there is another drive for what is new.
fn check_may_leave(topology: &Topology, drive: DriveId) -> Result<NodeId, Refusal> {
    let node = topology.home_of(drive).ok_or(refused(NoSuchDrive))?;
    if topology.nodes[&node].drives.first().is_some_and(|first| first.drive == drive) {
        return Err(refused(FirstDrive));
    }
    let mut others = topology.serving().flat_map(|(_, info)| topology.serving_drives(info));
    if !others.any(|known| known.drive != drive) {
        return Err(refused(LastDrive));
    }
    Ok(node)
}

fn change(rows: &mut ClusterRows, node: NodeId, change: impl FnOnce(&mut NodeInfo)) -> Result<Answer, Refusal> {
    let info = rows.topology.nodes.get_mut(&node).ok_or(refused(NoSuchNode))?;
    let before = info.clone();
    change(info);
    if *info != before {
        rows.topology.epoch += 1;
    }
    Ok(Answer::Done)
}

fn check_info(info: &NodeInfo) -> Result<(), Refusal> {
    [&info.name, &info.zone, &info.address].into_iter().try_for_each(|text| check_text(text))?;
    if info.name.is_empty() {
        return Err(Refusal::Invalid("a node has a name".to_string()));
    }
    if info.drives.is_empty() || info.drives.len() > DRIVES_MAX {
        return Err(Refusal::Invalid("a node has 1 to 256 drives".to_string()));
    }
    if info.drives.iter().any(|drive| drive.weight == 0) {
        return Err(Refusal::Invalid("a drive's weight is at least 1".to_string()));
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_SIZE_MAX {
        return Err(Refusal::Invalid("a name, zone or address has at most 255 bytes".to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
