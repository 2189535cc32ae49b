//! A body is cut anew: the row that names it names another one with the same bytes, sealed under a key of its own and coded with
//! another profile, and the shards of the old one are owed to the queue.
//!
//! Whoever re-codes has written the new body first, prepared like that of a put; this decision makes it count. The object
//! does not change: version, entity tag, time and metadata are those of the put. Only where its bytes lie does.
//!
//! - `RECODE-1`: only the body that was read is replaced, and by one of the same size. One that was replaced, moved or re-coded by
//!   someone else meanwhile is another one, and stays.
//! - `RECODE-2`: the id that a put decided stays known as that put's for as long as its object is the current one (`STATE-6`),
//!   whatever body holds the bytes; the ids of later bodies point to it.
//! - `SWEEP-1`: as for every body, no decision once replicated time is past the expiry of what was prepared.
//!
//! Not here: reading and writing, and which profile a body should have (`node`).

use super::super::Moment;
use super::super::command::{Answer, Body, Place, Refusal};
use super::retire::retire_body;
use super::rows::{Change, Changes, ReclaimRow, VersionUse};
use super::{check_body, check_expiry, used_elsewhere};
use crate::types::WallTime;
use alloc::string::ToString;
use alloc::vec;

/// What the re-coder wants, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Recoding<'a> {
    /// The body that it read, as the row has it now, and its expiry; `None` when its version is not in use.
    pub old: Option<(&'a Body, WallTime)>,
    /// Whether the old body has the id of the put: then that id goes on naming the object.
    pub is_first: bool,
    /// What the new body's id is used for.
    pub used: Option<&'a VersionUse>,
    /// What it will be used for.
    pub becomes: &'a VersionUse,
    /// The body in its place.
    pub new: &'a Body,
    /// When the new one's preparation expires.
    pub expires: WallTime,
}

/// Decides `Recode`. The row itself is for the caller to write, unless the answer says that nothing is to be done any more.
///
/// # Errors
/// `NoSuchKey` when the old version is not in use; `Expired`; `Invalid` when the new body cannot stand for the old one.
pub fn decide(recoding: &Recoding<'_>, moment: Moment) -> Result<Option<Changes>, Refusal> {
    let Recoding { old, is_first, used, becomes, new, expires } = *recoding;
    check_body(new)?;
    match used {
        None => {}
        // STATE-6: it was decided before.
        Some(used) if used == becomes => return Ok(None),
        Some(VersionUse::Void { .. } | VersionUse::Past { .. } | VersionUse::Reclaimable { .. }) => {
            return Err(Refusal::Expired);
        }
        Some(
            VersionUse::Object(_)
            | VersionUse::Version { .. }
            | VersionUse::Upload(_)
            | VersionUse::Part { .. }
            | VersionUse::Recoded { .. },
        ) => {
            return Err(used_elsewhere());
        }
    }
    // RECODE-1
    let (old, old_expires) = old.ok_or(Refusal::NoSuchKey)?;
    let Place::Striped { drives, .. } = &old.place else { return Err(Refusal::NoSuchKey) };
    if old.size != new.size || !matches!(new.place, Place::Striped { .. }) {
        return Err(Refusal::Invalid("a body is replaced by one of the same bytes".to_string()));
    }
    check_expiry(new, expires, moment)?;
    let mut changes = Changes::answer(Answer::Done);
    changes.rows.push(Change::PutUse(new.version, becomes.clone()));
    if is_first {
        // RECODE-2: the id stays, and only its shards go, as if each drive had been moved away from.
        for drive in drives {
            let place = changes.next_place(moment.index);
            let row = ReclaimRow { version: old.version, drives: vec![*drive] };
            changes.rows.push(Change::PutReclaim(place, row));
            changes.rows.push(Change::PutLeaving(old.version, *drive, place));
        }
    } else {
        retire_body(&mut changes, old, old_expires, moment);
    }
    Ok(Some(changes))
}
