//! A shard's drive changes: the body names another drive in its place, and the shards on the old one are owed to the queue.
//!
//! Whoever moves shards copies them first, prepared with an expiry like those of a put; this decision makes them count. It
//! changes one drive of one body, and only from what the mover believed: a body that was replaced, or moved by someone else,
//! stays as it is.
//!
//! - `MOVE-1`: no relocation is decided once replicated time is past the expiry of the copies (`SWEEP-1`).
//! - `MOVE-2`: a drive that still owes shards of the version to the queue gets none: their deletion would take the new ones along.
//!
//! Not here: copying, and which drive should hold what (`node`).

use super::super::Moment;
use super::super::cluster::ClusterRefusal;
use super::super::command::{Answer, Body, Place, Refusal};
use super::rows::{Change, Changes, ReclaimRow};
use crate::types::{DriveId, VersionId, WallTime};
use alloc::vec;

/// What the mover wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Whose shards.
    pub version: VersionId,
    /// The drive that the body names.
    pub from: DriveId,
    /// The drive that it shall name in its place.
    pub to: DriveId,
    /// When the copies expire.
    pub expires: WallTime,
}

/// Decides `Relocate`. `body` is the body of the version where it is in use, `owes` whether the new drive still owes shards of
/// it to the queue. Returns the body as it shall be, and the other changes.
///
/// # Errors
/// `NoSuchKey` when the version is not in use; `Expired`; `Cluster(Stale)` when the body does not name the drives as the mover
/// believed, or `MOVE-2`.
pub fn decide(
    body: Option<&Body>,
    owes: bool,
    relocation: &Relocation,
    moment: Moment,
) -> Result<(Body, Changes), Refusal> {
    let body = body.ok_or(Refusal::NoSuchKey)?;
    let Relocation { version, from, to, expires } = *relocation;
    // MOVE-1
    if moment.time > expires {
        return Err(Refusal::Expired);
    }
    let mut moved = body.clone();
    let Place::Striped { drives, .. } = &mut moved.place else { return Err(Refusal::NoSuchKey) };
    let slot = drives.iter().position(|drive| *drive == from);
    // MOVE-2
    let Some(slot) = slot.filter(|_| !drives.contains(&to) && !owes) else {
        return Err(Refusal::Cluster(ClusterRefusal::Stale));
    };
    drives[slot] = to;
    let mut changes = Changes::answer(Answer::Done);
    let place = changes.next_place(moment.index);
    changes.rows.push(Change::PutReclaim(place, ReclaimRow { version, drives: vec![from] }));
    changes.rows.push(Change::PutLeaving(version, from, place));
    Ok((moved, changes))
}

#[cfg(test)]
mod tests {
    use super::super::rows::QueuePlace;
    use super::*;
    use crate::stripe::{Profile, WrappedKey};
    use crate::types::LogIndex;
    use alloc::vec::Vec;

    fn body(drives: &[u32]) -> Body {
        let drives: Vec<DriveId> = drives.iter().map(|drive| DriveId(*drive)).collect();
        let profile = Profile { data: 2, parity: 1 };
        Body { version: VersionId(7), size: 1, key: WrappedKey(Vec::new()), place: Place::Striped { profile, drives } }
    }

    fn run(body: Option<&Body>, owes: bool, from: u32, to: u32, time: u64) -> Result<(Body, Changes), Refusal> {
        let relocation =
            Relocation { version: VersionId(7), from: DriveId(from), to: DriveId(to), expires: WallTime(100) };
        decide(body, owes, &relocation, Moment { time: WallTime(time), index: LogIndex(5) })
    }

    #[test]
    fn one_drive_is_replaced_in_its_place_and_the_old_one_is_owed() {
        let (moved, changes) = run(Some(&body(&[1, 2, 3])), false, 2, 9, 100).expect("it is as the mover believes");
        assert_eq!(moved, body(&[1, 9, 3]));
        let place = QueuePlace { retired: LogIndex(5), ordinal: 0 };
        let row = ReclaimRow { version: VersionId(7), drives: vec![DriveId(2)] };
        let leaving = Change::PutLeaving(VersionId(7), DriveId(2), place);
        assert_eq!(changes.rows, [Change::PutReclaim(place, row), leaving]);
    }

    #[test]
    fn what_is_not_as_the_mover_believes_stays() {
        let stale = Err(Refusal::Cluster(ClusterRefusal::Stale));
        let now = body(&[1, 2, 3]);
        assert_eq!(run(None, false, 2, 9, 1), Err(Refusal::NoSuchKey));
        assert_eq!(run(Some(&now), false, 4, 9, 1), stale);
        assert_eq!(run(Some(&now), false, 2, 3, 1), stale);
        // MOVE-2, MOVE-1
        assert_eq!(run(Some(&now), true, 2, 9, 1), stale);
        assert_eq!(run(Some(&now), false, 2, 9, 101), Err(Refusal::Expired));
    }
}
