//! How a node goes without anybody missing it: it hands over what it leads, and serves on meanwhile.
//!
//! The intuition: a leader that just ends leaves its group without one for an election timeout or two. One that hands over first
//! (thesis §3.10) leaves it without one for a round trip and a sync.
//!
//! - `LEAVE-2` A node that is asked to stop leads nothing any more when it does, unless nobody could take the lead or no one did
//!   in time. Stopping takes bounded time either way.
//!
//! Not here: what a transfer is (`anvil_core::raft`), and what clients are told (`front`).

use crate::client::Client;
use crate::front::group_name;
use anvil_core::node::{GroupStatus, Status};
use anvil_core::raft::Role;
use anvil_core::types::{GroupId, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a node tries to hand over: several elections.
const HAND_OVER: Duration = Duration::from_secs(3);

/// How often it looks whether it still leads.
const LOOK: Duration = Duration::from_millis(10);

/// How long a node whose place others take serves on, so that clients with a request every now and then are told that their
/// connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Hands over what this node leads, and waits until others do. At once where there are no others.
pub(crate) async fn leave(client: &Client) {
    let begun = Instant::now();
    let mut asked = BTreeSet::new();
    let mut others = false;
    while begun.elapsed() < HAND_OVER {
        let Ok(status) = client.status().await else { return };
        others |= status.topology.nodes.len() > 1;
        let led: Vec<_> =
            status.groups.iter().filter_map(|group| Some((group.group, successor(&status, group, &asked)?))).collect();
        if led.is_empty() {
            break;
        }
        for (group, to) in led {
            // LEAVE-2. Refused while a transfer is under way: then that one is waited for.
            if client.transfer_leader(group, to).await.is_ok() {
                tracing::info!("handing the lead of {} over to node {to}", group_name(group));
                asked.insert((group, to));
            }
        }
        sleep(LOOK).await;
    }
    if others {
        sleep(FAREWELL.saturating_sub(begun.elapsed())).await;
    }
}

/// Who takes a group's lead from this node, if it leads and there is somebody: of those that are reached and were not asked in
/// vain the one that has most of the log.
fn successor(status: &Status, group: &GroupStatus, asked: &BTreeSet<(GroupId, NodeId)>) -> Option<NodeId> {
    if group.role != Role::Leader {
        return None;
    }
    let matched = |node: NodeId| group.matched.iter().find(|(known, _)| *known == node).map(|(_, index)| *index);
    let able = group.voters.iter().copied().filter(|node| *node != status.node && !status.doubtful.contains(node));
    able.max_by_key(|node| (!asked.contains(&(group.group, *node)), matched(*node), *node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anvil_core::node::Status;
    use anvil_core::topology::Topology;
    use anvil_core::types::{LogIndex, Term};

    fn status(role: Role, matched: &[(u64, u64)], doubtful: &[u64]) -> Status {
        let group = GroupStatus {
            group: GroupId::REGION,
            role,
            term: Term(3),
            leader: Some(NodeId(1)),
            commit: LogIndex(9),
            applied: LogIndex(9),
            checkpointed: LogIndex(0),
            voters: [1].into_iter().chain(matched.iter().map(|(node, _)| *node)).map(NodeId).collect(),
            outgoing: Vec::new(),
            learners: vec![NodeId(9)],
            gave_way: 0,
            is_whole: true,
            matched: matched
                .iter()
                .map(|(node, index)| (NodeId(*node), LogIndex(*index)))
                .chain([(NodeId(9), LogIndex(9))])
                .collect(),
        };
        Status {
            node: NodeId(1),
            groups: vec![group],
            drives: Vec::new(),
            writes: 0,
            opens: 0,
            undecided: 0,
            topology: Topology::default(),
            placement: 0,
            moved: Default::default(),
            scrubbed: Default::default(),
            doubtful: doubtful.iter().copied().map(NodeId).collect(),
        }
    }

    fn chosen(status: &Status, asked: &[u64]) -> Option<NodeId> {
        let asked = asked.iter().map(|node| (GroupId::REGION, NodeId(*node))).collect();
        successor(status, &status.groups[0], &asked)
    }

    #[test]
    fn the_lead_goes_to_the_voter_that_has_most_of_the_log_and_can_be_reached() {
        let leads = status(Role::Leader, &[(2, 7), (3, 8), (4, 5)], &[]);
        assert_eq!(chosen(&leads, &[]), Some(NodeId(3)), "a learner has more, and cannot lead");
        assert_eq!(chosen(&leads, &[3]), Some(NodeId(2)), "one that was asked in vain comes last");
        assert_eq!(chosen(&leads, &[2, 3, 4]), Some(NodeId(3)), "and again when all were");
        let doubts = status(Role::Leader, &[(2, 7), (3, 8)], &[3]);
        assert_eq!(chosen(&doubts, &[]), Some(NodeId(2)));
        assert_eq!(chosen(&status(Role::Leader, &[(2, 7)], &[2]), &[]), None, "nobody is reached");
        assert_eq!(chosen(&status(Role::Leader, &[], &[]), &[]), None, "a node alone has nobody to hand over to");
        assert_eq!(chosen(&status(Role::Follower, &[(2, 7)], &[]), &[]), None);
    }
}
