//! The fate of prepared versions, and the end of reclaimed ones.
//!
//! `SWEEP-1`: a sweep that finds an expired preparation asks here before it deletes. The question is a command, so it
//! moves replicated time; an unknown version is void only when that time is past its expiry, and `put` and `multipart`
//! refuse it from the same time on. The verdict is also remembered for a while, because a preparation can be extended and
//! the shard that asks may have missed it. A version that was given up is left to the reclaim queue, and void when it has
//! gone through it: it is remembered as well (`retire`), so it cannot be decided again either. Not here: who asks, and how often.

use super::super::Moment;
use super::super::command::{Answer, Fate};
use super::retire::{keep_void, retire_id};
use super::rows::{Change, Changes, VersionUse};
use crate::types::{VersionId, WallTime};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Decides `Resolve`: each version asked, with what it is used for.
#[must_use]
pub fn decide(versions: &[(VersionId, WallTime, Option<VersionUse>)], moment: Moment) -> Changes {
    let mut changes = Changes::answer(Answer::Done);
    let mut fates = Vec::new();
    for (version, expires, used) in versions {
        fates.push(match used {
            // OBJ-1: what waits in the queue was decided too. Its shards go by that way only, for a reader may hold them.
            Some(
                VersionUse::Object(_)
                | VersionUse::Version { .. }
                | VersionUse::Upload(_)
                | VersionUse::Part { .. }
                | VersionUse::Recoded { .. }
                | VersionUse::Reclaimable { .. },
            ) => Fate::Committed,
            Some(VersionUse::Past { .. } | VersionUse::Void { .. }) => Fate::Void,
            // SWEEP-1: strictly past, since a decision at the very expiry is not refused.
            None if moment.time > *expires => {
                keep_void(&mut changes, *version, *expires, moment);
                Fate::Void
            }
            None => Fate::Pending,
        });
    }
    changes.answer = Answer::Resolved(fates);
    changes
}

/// Decides `Reclaimed`: each version named, with what it is used for. A version that is not in the queue is passed over:
/// the command may be a repeat.
#[must_use]
pub fn decide_reclaimed(versions: &[(VersionId, Option<VersionUse>)], moment: Moment) -> Changes {
    let mut changes = Changes::answer(Answer::Done);
    let mut seen = BTreeSet::new();
    for (version, used) in versions {
        match used {
            Some(VersionUse::Reclaimable { place, expires }) if seen.insert(*version) => {
                changes.rows.push(Change::RemoveReclaim(*place));
                // STATE-6: its shards are gone, so a repeated decision would make an object without bytes.
                retire_id(&mut changes, *version, *expires, moment);
            }
            None
            | Some(
                VersionUse::Reclaimable { .. }
                | VersionUse::Object(_)
                | VersionUse::Version { .. }
                | VersionUse::Upload(_)
                | VersionUse::Part { .. }
                | VersionUse::Recoded { .. }
                | VersionUse::Past { .. }
                | VersionUse::Void { .. },
            ) => {}
        }
    }
    changes
}
