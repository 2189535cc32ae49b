//! Bugs that we planted ourselves, to measure whether the simulator finds them.
//!
//! A switch costs one comparison in a build with debug assertions and does not exist in a release build: there
//! [`Planted`] is a type without a value and [`Planted::has`] is the constant `false`. `.ci/run` checks that.
//! `sim-tests` arms one switch per hunt and states in how many seeds the bug is found.

/// A mistake that a storage engine could really make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg(debug_assertions)]
pub enum Bug {
    /// RAFT: a leader counts replicas of an older term's entry and commits it (Raft figure 8).
    CommitOldTerm,
    /// RAFT: a vote leaves before its record is on disk.
    VoteBeforeDurable,
    /// LOG: entries are acknowledged when written, not when synced.
    AckBeforeSync,
    /// LOG: recovery accepts a batch whose tail was torn.
    TornTailAccepted,
    /// SHARD: a read does not verify the checksums of frames.
    ChecksumNotVerified,
    /// STATE: snapshots leave out client sessions.
    SessionsNotInSnapshot,
    /// RAFT: ReadIndex answers without asking a quorum whether it still leads.
    ReadWithoutQuorum,
    /// WRITE: an object is decided before its shards are synced.
    DecideBeforeShardSync,
    /// SHARD: an extent's index is written before the bytes that it points at are synced.
    IndexBeforeExtentSync,
    /// SWEEP: undecided shards are removed while their decision is still in flight.
    SweepInFlight,
    /// RAFT: a joint membership commits on the majority of the incoming voters alone.
    JointOneMajority,
    /// RAFT: a learner's acknowledgement counts as a voter's.
    LearnerCounted,
    /// RAFT: a node that starts ahead of its log's beginning takes that for a snapshot, and drops the entries after it.
    SnapshotDropsSuffix,
    /// STATE: snapshots leave out the membership.
    MembershipNotInSnapshot,
    /// PLACE: a body's second shard goes to another drive of the first one's node.
    TwoShardsInOneDomain,
    /// CLUSTER: bodies are placed by whatever topology the node finds when it starts.
    StaleTopology,
    /// WRITE: a stripe is acknowledged though one of its shards is not stored.
    AckBelowDurable,
    /// SWEEP: a node removes expired shards without asking what was decided.
    ParticipantAborts,
    /// OBJ: the coordinator removes the shards of a decision that it did not hear of.
    UncertainAborts,
    /// NODE: a restarted node draws the same version ids and data keys again.
    NonceReused,
    /// READ: a shard that is missing is replaced by one of another version, and decoded with the rest.
    MixedVersions,
    /// SCRUB: a damaged shard is written again as it is, with sound checksums.
    ScrubTrustsDamage,
    /// RAFT: a leader takes a forwarded command each time that the network delivers it.
    ForwardTwice,
    /// RAFT: a lease of reads counts from the answer, and as if all clocks were the same.
    LeaseIgnoresDrift,
    /// RAFT: a replica that lost its log votes as if it had it.
    LostLogVotes,
    /// STATE: the condition of a put is judged by a read before its command, which then has none.
    ConditionOutside,
    /// VERSION: versions stand in the order of the wall clocks of the nodes that took them.
    VersionsByClock,
    /// STATE: a delete that is repeated lays another marker, over what came since.
    MarkerHidesNewer,
}

#[cfg(debug_assertions)]
impl Bug {
    /// Every planted bug, for the hunt and for the command line.
    pub const ALL: &'static [Bug] = &[
        Bug::CommitOldTerm,
        Bug::VoteBeforeDurable,
        Bug::AckBeforeSync,
        Bug::TornTailAccepted,
        Bug::ChecksumNotVerified,
        Bug::SessionsNotInSnapshot,
        Bug::ReadWithoutQuorum,
        Bug::DecideBeforeShardSync,
        Bug::IndexBeforeExtentSync,
        Bug::SweepInFlight,
        Bug::JointOneMajority,
        Bug::LearnerCounted,
        Bug::SnapshotDropsSuffix,
        Bug::MembershipNotInSnapshot,
        Bug::TwoShardsInOneDomain,
        Bug::StaleTopology,
        Bug::AckBelowDurable,
        Bug::ParticipantAborts,
        Bug::UncertainAborts,
        Bug::NonceReused,
        Bug::MixedVersions,
        Bug::ScrubTrustsDamage,
        Bug::ForwardTwice,
        Bug::LeaseIgnoresDrift,
        Bug::LostLogVotes,
        Bug::ConditionOutside,
        Bug::VersionsByClock,
        Bug::MarkerHidesNewer,
    ];
}

/// The switches of one node: all off, unless a hunt armed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(debug_assertions)]
    armed: Option<Bug>,
}

impl Planted {
    /// Arms one bug. Exists only where debug assertions do.
    #[cfg(debug_assertions)]
    pub fn arm(bug: Bug) -> Planted {
        Planted { armed: Some(bug) }
    }

    /// Whether `bug` is armed.
    #[cfg(debug_assertions)]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.armed == Some(bug)
    }
}

/// `planted!(self.planted, CommitOldTerm)`: true when that bug is armed, the constant `false` in a release build.
macro_rules! planted {
    ($planted:expr, $bug:ident) => {{
        #[cfg(debug_assertions)]
        {
            $planted.has($crate::planted::Bug::$bug)
        }
        #[cfg(not(debug_assertions))]
        {
            let _ = $planted;
            false
        }
    }};
}
pub(crate) use planted;
