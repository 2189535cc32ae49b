//! Each planted bug changes what a scenario does, at the very line that its rule protects; so a hunt that does not
//! find one is the simulator's failure and not a switch that does nothing.

use super::transcript::run_planted;
use crate::planted::Bug;

#[test]
#[should_panic(expected = "expect 1 commit 1: expected 1, got 2")]
fn counting_replicas_of_an_older_term_commits_what_figure_8_forbids() {
    run_planted("figure-8.txt", Bug::CommitOldTerm);
}

#[test]
#[should_panic(expected = "RAFT-2: node 2 said a vote that is not on its disk")]
fn a_vote_before_it_is_durable_is_noticed() {
    run_planted("vote-durable-before-reply.txt", Bug::VoteBeforeDurable);
}

#[test]
#[should_panic(expected = "RAFT-9: a read at 2 misses what was committed at 4 before it")]
fn a_read_without_a_quorum_is_stale() {
    run_planted("read-without-quorum.txt", Bug::ReadWithoutQuorum);
}

#[test]
#[should_panic(expected = "expect 1 commit 3: expected 3, got 5")]
fn one_majority_commits_a_joint_membership() {
    run_planted("joint.txt", Bug::JointOneMajority);
}

#[test]
#[should_panic(expected = "expect 1 commit 1: expected 1, got 2")]
fn a_counted_learner_commits_with_the_leader_alone() {
    run_planted("learner.txt", Bug::LearnerCounted);
}

#[test]
#[should_panic(expected = "RAFT-25: node 3 votes without its log")]
fn a_replica_that_votes_without_its_log_loses_what_was_committed() {
    run_planted("lost-log.txt", Bug::LostLogVotes);
}
