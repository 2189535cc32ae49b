//! What the world checks: each promise of Raft, at the moment at which it could be broken.
//!
//! `RAFT-1` one leader per term; `RAFT-2`, `RAFT-7` and `RAFT-8` nothing said before it is on disk; `RAFT-11` every
//! state machine takes the one canonical sequence; `RAFT-4` log matching, on demand. A new leader has all that is
//! committed (§5.4.3). `RAFT-9`, no read older than what was committed when it was asked, stands where reads are
//! answered, in `world`.

use super::world::World;
use crate::raft::{AppendOutcome, InstallOutcome, Message, Role};
use crate::types::{Entry, LogIndex, NodeId, Payload, Term};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Two payloads are taken for the same when their sizes and beginnings are.
fn payload_digest(payload: &Payload) -> u64 {
    match payload {
        Payload::Noop => 1,
        Payload::Command(bytes) => {
            bytes.iter().take(16).fold(bytes.len() as u64 + 2, |digest, byte| mix(digest, u64::from(*byte)))
        }
        Payload::Membership(membership) => {
            membership.encode().iter().fold(3, |digest, byte| mix(digest, u64::from(*byte)))
        }
    }
}

fn mix(digest: u64, value: u64) -> u64 {
    (digest ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(17)
}

fn entry_digest(before: u64, entry: &Entry) -> u64 {
    mix(mix(mix(before, entry.position.index.0), entry.position.term.0), payload_digest(&entry.payload))
}

impl World {
    /// RAFT-2, RAFT-7 and RAFT-8: what a message promises is on its sender's disk.
    pub(super) fn check_said(&self, id: NodeId, to: NodeId, message: &Message) {
        let node = self.node(id);
        let disk = &node.disk;
        let promise = (disk.hard_state.term, disk.hard_state.vote);
        match message {
            Message::RequestVoteResponse { term, granted: true } => {
                assert_eq!(promise, (*term, Some(to)), "RAFT-2: node {id} said a vote that is not on its disk");
                assert!(!disk.hard_state.impaired, "RAFT-25: node {id} votes without its log");
            }
            Message::RequestVote { term, last_log, .. } => {
                assert_eq!(promise, (*term, Some(id)), "RAFT-7: ballot not durable");
                assert!(!disk.hard_state.impaired, "RAFT-25: node {id} campaigns without its log");
                assert!(disk.has(*last_log), "RAFT-7: node {id} boasts of an entry that is not on its disk");
            }
            Message::AppendEntriesResponse { term, outcome: AppendOutcome::Matched(matched), .. }
            | Message::InstallSnapshotResponse { term, outcome: InstallOutcome::Installed(matched) } => {
                assert!(disk.hard_state.term >= *term, "RAFT-2: node {id} answers in a term that is not on its disk");
                assert!(disk.last().index >= *matched, "RAFT-8: node {id} acknowledges more than it has on disk");
            }
            Message::AppendEntries { term, .. }
            | Message::InstallSnapshot { term, .. }
            | Message::TimeoutNow { term }
            | Message::ReadIndexResponse { term, .. }
            | Message::RecoverLogResponse { term, .. } => {
                assert_eq!(self.leaders.get(term), Some(&id), "RAFT-1: only the leader of a term replicates");
            }
            Message::InstallSnapshotResponse { term, outcome: InstallOutcome::Received { .. } } => {
                assert!(disk.hard_state.term >= *term, "RAFT-2: node {id} answers in a term that is not on its disk");
            }
            Message::PreVote { .. }
            | Message::PreVoteResponse { .. }
            | Message::RequestVoteResponse { granted: false, .. }
            | Message::AppendEntriesResponse { outcome: AppendOutcome::Rejected { .. }, .. }
            | Message::Forward { .. }
            | Message::ForwardResponse { .. }
            | Message::ReadIndex { .. }
            | Message::RecoverLog { .. } => {}
        }
    }

    /// RAFT-11: in order, once, the same everywhere, and durable here.
    pub(super) fn apply(&mut self, id: NodeId, entry: Entry) {
        let node = self.nodes.get_mut(&id).expect("the node is part of the world");
        assert!(node.installing.is_none(), "RAFT-11: an entry was delivered under a snapshot");
        assert_eq!(entry.position.index, node.machine.position.index.next(), "RAFT-11: node {id} skips or repeats");
        assert!(node.disk.has(entry.position), "RAFT-11: node {id} applies an entry that is not on its disk");
        let digest = entry_digest(node.machine.digest, &entry);
        node.machine.position = entry.position;
        node.machine.digest = digest;
        if let Payload::Membership(membership) = &entry.payload {
            node.machine.membership = Some(membership.clone());
        }
        let (known, known_digest) = self.canonical.entry(entry.position.index).or_insert((entry.clone(), digest));
        assert_eq!(known.position, entry.position, "state machine safety: node {id} applies another entry");
        assert_eq!(*known_digest, digest, "state machine safety: node {id} applied another history");
    }

    pub(super) fn on_became(&mut self, id: NodeId, role: Role, term: Term, leader: Option<NodeId>) {
        if role != Role::Leader {
            return;
        }
        assert_eq!(leader, Some(id), "a leader knows who leads");
        let known = *self.leaders.entry(term).or_insert(id);
        assert_eq!(known, id, "RAFT-1: two leaders in term {term}");
        let raft = self.raft(id);
        for (index, (entry, _)) in self.canonical.range(raft.base().index.next()..) {
            let own = raft.entry_term(*index);
            assert_eq!(own, Some(entry.position.term), "leader completeness: {id} leads without committed {index}");
        }
    }

    /// RAFT-4: from the last entry that two logs share, they are the same downwards.
    pub(super) fn check_log_matching(&self) {
        let logs: Vec<(NodeId, BTreeMap<LogIndex, &Entry>)> = self
            .nodes
            .iter()
            .filter_map(|(id, node)| {
                let entries = node.raft.as_ref()?.entries_in_memory();
                Some((*id, entries.map(|entry| (entry.position.index, entry)).collect()))
            })
            .collect();
        for (nth, (a, log_a)) in logs.iter().enumerate() {
            for (b, log_b) in &logs[nth + 1..] {
                let mut must_match = false;
                for (index, entry) in log_a.iter().rev() {
                    let Some(other) = log_b.get(index) else { continue };
                    must_match |= entry.position == other.position;
                    if must_match {
                        let same = entry.position == other.position
                            && payload_digest(&entry.payload) == payload_digest(&other.payload);
                        assert!(same, "RAFT-4: the logs of {a} and {b} differ at {index} below a common entry");
                    }
                }
            }
        }
    }
}
