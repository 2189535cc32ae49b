//! Which scenario finds which planted bug.

use super::Scenario;
use anvil_core::planted::Bug;

/// The scenario in which a planted bug is hunted.
pub fn exposes(bug: Bug) -> Scenario {
    match bug {
        Bug::CommitOldTerm | Bug::VoteBeforeDurable | Bug::ReadWithoutQuorum => Scenario::Elections,
        Bug::AckBeforeSync | Bug::TornTailAccepted => Scenario::Keys,
        Bug::SessionsNotInSnapshot | Bug::SnapshotDropsSuffix => Scenario::Snapshots,
        Bug::ChecksumNotVerified | Bug::MixedVersions | Bug::ScrubTrustsDamage => Scenario::Rot,
        Bug::JointOneMajority | Bug::LearnerCounted | Bug::MembershipNotInSnapshot => Scenario::Membership,
        Bug::DecideBeforeShardSync | Bug::IndexBeforeExtentSync | Bug::SweepInFlight | Bug::NonceReused => {
            Scenario::Objects
        }
        Bug::ForwardTwice => Scenario::Keys,
        Bug::LeaseIgnoresDrift => Scenario::Leases,
        Bug::LostLogVotes => Scenario::LogRot,
        Bug::TwoShardsInOneDomain | Bug::AckBelowDurable | Bug::ParticipantAborts | Bug::UncertainAborts => {
            Scenario::Spread
        }
        Bug::StaleTopology => Scenario::Growth,
        Bug::ConditionOutside | Bug::VersionsByClock | Bug::MarkerHidesNewer => Scenario::Versions,
    }
}
