//! Promise: one canonical log, and identical replicas.
//!
//! The intuition: whatever node applies the entry at an index, at whatever time and in whatever life, it must be the
//! same entry (`RAFT` state machine safety, Raft figure 3), give the same answer, and leave the same rows.

use super::Complaint;
use anvil_core::state::Answer;
use anvil_core::types::{Entry, GroupId, LogIndex, LogPosition, Term};
use std::collections::BTreeMap;

/// What the first node that applied an entry showed.
#[derive(Debug)]
struct Canonical {
    entry: Entry,
    answer: Option<Answer>,
    node: u64,
}

/// What a node's state store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The node.
    pub node: u64,
    /// What it applied of each group.
    pub applied: Vec<(GroupId, LogPosition)>,
    /// A hash of all rows of those groups.
    pub rows_hash: u64,
}

/// The checker.
#[derive(Debug, Default)]
pub struct CanonicalLog {
    entries: BTreeMap<(GroupId, LogIndex), Canonical>,
    leaders: BTreeMap<(GroupId, Term), u64>,
}

impl CanonicalLog {
    /// A node applies these entries and obtained these answers.
    pub fn on_applied(
        &mut self,
        node: u64,
        group: GroupId,
        entries: &[Entry],
        answers: &[(LogIndex, Answer)],
    ) -> Result<(), Complaint> {
        for entry in entries {
            let index = entry.position.index;
            let answer = answers.iter().find(|(of, _)| *of == index).map(|(_, answer)| answer);
            match self.entries.get_mut(&(group, index)) {
                None => {
                    let known = Canonical { entry: entry.clone(), answer: answer.cloned(), node };
                    self.entries.insert((group, index), known);
                }
                Some(known) if known.entry != *entry => {
                    return Err(Complaint::new(
                        "one canonical log",
                        format!(
                            "group {group} entry {index}: node {} applied {:?}, node {node} applied {:?}",
                            known.node, known.entry, entry
                        ),
                    ));
                }
                Some(known) => match (&known.answer, answer) {
                    (Some(known_answer), Some(answer)) if known_answer != answer => {
                        return Err(Complaint::new(
                            "replicas are identical",
                            format!(
                                "group {group} entry {index}: node {} answered {known_answer:?}, node {node} {answer:?}",
                                known.node
                            ),
                        ));
                    }
                    // A node skips entries that its rows hold already, and then has no answer for them.
                    (None, Some(answer)) => known.answer = Some(answer.clone()),
                    (Some(_) | None, Some(_) | None) => {}
                },
            }
        }
        Ok(())
    }

    /// A node says that it leads a term: it is the only one that ever does (election safety, Raft figure 3).
    pub fn on_leader(&mut self, node: u64, group: GroupId, term: Term) -> Result<(), Complaint> {
        let first = *self.leaders.entry((group, term)).or_insert(node);
        if first == node {
            return Ok(());
        }
        let what = format!("group {group} term {term}: nodes {first} and {node} both led it");
        Err(Complaint::new("one leader for a term", what))
    }

    /// Rows of the nodes at the end: equal positions in all groups, equal rows.
    pub fn check_rows(replicas: &[Replica]) -> Result<(), Complaint> {
        for (index, replica) in replicas.iter().enumerate() {
            let twin = replicas[..index].iter().find(|other| other.applied == replica.applied);
            if let Some(twin) = twin.filter(|twin| twin.rows_hash != replica.rows_hash) {
                return Err(Complaint::new(
                    "replicas are identical",
                    format!(
                        "nodes {} and {} both applied {:?} and hold different rows",
                        twin.node, replica.node, replica.applied
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Entries seen of a group.
    pub fn entries(&self, group: GroupId) -> usize {
        self.entries.range((group, LogIndex(0))..=(group, LogIndex(u64::MAX))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::{CanonicalLog, Replica};
    use anvil_core::state::Answer;
    use anvil_core::types::{Entry, GroupId, LogIndex, LogPosition, Payload, Term};

    fn entry(index: u64, term: u64) -> Entry {
        Entry { position: LogPosition { index: LogIndex(index), term: Term(term) }, payload: Payload::Noop }
    }

    #[test]
    fn another_entry_at_the_same_index_is_a_complaint() {
        let mut log = CanonicalLog::default();
        log.on_applied(1, GroupId(1), &[entry(1, 1), entry(2, 1)], &[]).expect("new");
        log.on_applied(2, GroupId(1), &[entry(1, 1)], &[]).expect("equal");
        log.on_applied(2, GroupId(0), &[entry(1, 7)], &[]).expect("another group");
        log.on_applied(2, GroupId(1), &[entry(2, 2)], &[]).expect_err("another term");
    }

    #[test]
    fn another_answer_to_the_same_entry_is_a_complaint() {
        let mut log = CanonicalLog::default();
        let answer = |revision| vec![(LogIndex(1), Answer::Key { revision })];
        log.on_applied(1, GroupId(1), &[entry(1, 1)], &answer(1)).expect("new");
        log.on_applied(2, GroupId(1), &[entry(1, 1)], &[]).expect("skipped");
        log.on_applied(2, GroupId(1), &[entry(1, 1)], &answer(2)).expect_err("another answer");
    }

    #[test]
    fn two_leaders_of_one_term_are_a_complaint() {
        let mut log = CanonicalLog::default();
        log.on_leader(1, GroupId(1), Term(3)).expect("the first");
        log.on_leader(1, GroupId(1), Term(3)).expect("the same");
        log.on_leader(2, GroupId(0), Term(3)).expect("another group");
        log.on_leader(2, GroupId(1), Term(3)).expect_err("two");
    }

    #[test]
    fn rows_are_compared_only_at_equal_positions() {
        let at = |node, index, rows_hash| {
            let position = LogPosition { index: LogIndex(index), term: Term(1) };
            Replica { node, applied: vec![(GroupId(1), position)], rows_hash }
        };
        CanonicalLog::check_rows(&[at(1, 5, 10), at(2, 4, 11), at(3, 5, 10)]).expect("equal");
        CanonicalLog::check_rows(&[at(1, 5, 10), at(3, 5, 11)]).expect_err("different");
    }
}
