//! What happens to a version that is replaced or removed.
//!
//! Its shards are owed to the reclaim queue, in the same decision. And its id is remembered for a while, because the
//! command that decided it may arrive again (a gateway that heard nothing repeats it) and must not bring back a version
//! that others have seen replaced (`STATE-6`). How long:
//!
//! - A striped body is remembered while it is in the queue. After that, and any other id from the start, for [`MEMORY`]
//!   of replicated time and for [`MEMORY_ENTRIES`] commands, whichever is longer: the first bounds a slow network, the
//!   second a clock that jumped forward.
//! - A striped body never for less than until its preparation has expired. From then on `SWEEP-1` refuses the repeat of a striped body
//!   by itself; the time above that covers a repeat that carries a later, extended expiry.
//!
//! A version that was called void is remembered in the same way, so that an extended expiry does not help it either.
//!
//! Not here: who deletes shards, and when they are asked to.

use super::super::Moment;
use super::super::command::{Answer, Body, ObjectName, Place};
use super::rows::{Change, Changes, Content, Current, PartRow, PastRow, ReclaimRow, VersionUse};
use crate::types::{LogIndex, TenantId, VersionId, WallTime};
use alloc::vec::Vec;
use core::time::Duration;

/// How long a version is remembered at least after it, and its shards, were given up.
pub const MEMORY: Duration = Duration::from_secs(10 * 60);
/// For how many commands a version is remembered at least after it, and its shards, were given up.
pub const MEMORY_ENTRIES: u64 = 1 << 16;
/// Past versions that [`forget`] is handed at most at a time.
pub const FORGET_MAX: usize = 256;

/// Gives up a version of an object, with its parts.
pub(super) fn retire_version(changes: &mut Changes, object: &ObjectName, current: &Current, moment: Moment) {
    let row = &current.row;
    changes.rows.push(Change::RemoveVersion(object.clone(), row.decided));
    match &row.content {
        Content::Single { body, expires } => {
            retire_body(changes, body, *expires, moment);
            // RECODE-2
            if body.version != row.version {
                retire_id(changes, row.version, *expires, moment);
            }
        }
        Content::Parts { .. } => {
            for (number, part) in &current.parts {
                retire_part(changes, object.bucket.tenant, row.version, *number, part, moment);
            }
            retire_id(changes, row.version, WallTime(0), moment);
        }
        Content::Marker => retire_id(changes, row.version, WallTime(0), moment),
    }
}

/// Gives up a part of an upload.
pub(super) fn retire_part(
    changes: &mut Changes,
    tenant: TenantId,
    upload: VersionId,
    number: u16,
    part: &PartRow,
    moment: Moment,
) {
    changes.rows.push(Change::RemovePart(tenant, upload, number));
    retire_body(changes, &part.body, part.expires, moment);
}

/// Gives up an id that has no shards: an inline body's, an upload's, or that of a body whose shards are gone.
/// `STATE-6`: it stays known, so that it is not decided again.
pub(super) fn retire_id(changes: &mut Changes, version: VersionId, expires: WallTime, moment: Moment) {
    let until = remember(changes, version, expires, moment);
    changes.rows.push(Change::PutUse(version, VersionUse::Past { until }));
}

/// `SWEEP-1`: an unknown id that was called void stays void.
pub(super) fn keep_void(changes: &mut Changes, version: VersionId, expires: WallTime, moment: Moment) {
    let until = remember(changes, version, expires, moment);
    changes.rows.push(Change::PutUse(version, VersionUse::Void { until }));
}

/// Gives up a body, and its id with it.
pub(super) fn retire_body(changes: &mut Changes, body: &Body, expires: WallTime, moment: Moment) {
    match &body.place {
        // An inline body has no preparation: whatever expiry came with it says nothing, and would be remembered for it.
        Place::Inline(_) => retire_id(changes, body.version, WallTime(0), moment),
        Place::Striped { drives, .. } => {
            let place = changes.next_place(moment.index);
            let row = ReclaimRow { version: body.version, drives: drives.clone() };
            changes.rows.push(Change::PutReclaim(place, row));
            changes.rows.push(Change::PutUse(body.version, VersionUse::Reclaimable { place, expires }));
        }
    }
}

/// Says how long an id is remembered, and returns that time.
fn remember(changes: &mut Changes, version: VersionId, expires: WallTime, moment: Moment) -> WallTime {
    let until = expires.max(moment.time.after(MEMORY));
    let until_index = LogIndex(moment.index.0.saturating_add(MEMORY_ENTRIES));
    changes.rows.push(Change::PutPast(until, version, PastRow { until_index }));
    until
}

/// Drops past versions that need not be remembered any more. `oldest` holds the first of them by time, in order; one
/// that must stay for its index keeps those behind it a little longer, which does no harm.
#[must_use]
pub fn forget(oldest: &[(WallTime, VersionId, PastRow)], moment: Moment) -> Changes {
    let mut changes = Changes::answer(Answer::Done);
    let due: Vec<_> =
        oldest.iter().take_while(|(until, _, row)| *until < moment.time && row.until_index < moment.index).collect();
    for (until, version, _) in due {
        changes.rows.push(Change::RemovePast(*until, *version));
        changes.rows.push(Change::RemoveUse(*version));
    }
    changes
}
