//! Bodies by their versions: which row holds one, what a drive owes of it, and the scan over all of them.

use super::super::Moment;
use super::super::command::{Answer, Body, Fate, ObjectName, Place, Refusal};
use super::super::objects::recode::{self, Recoding};
use super::super::objects::relocate::{self, Relocation};
use super::super::objects::resolve;
use super::super::objects::rows::{Change, Changes, Content, PartRow, QueuePlace, ReclaimRow, VersionRow, VersionUse};
use super::super::question::QueryAnswer;
use super::{Home, Reader};
use crate::rows::RowsError;
use crate::types::{DriveId, TenantId, VersionId, WallTime};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The row that holds a body.
enum Holder {
    Object(ObjectName, Box<VersionRow>),
    Part(TenantId, VersionId, u16, Box<PartRow>),
}

impl Holder {
    fn body(&self) -> Option<&Body> {
        match self {
            Holder::Object(_, row) => match &row.content {
                Content::Single { body, .. } => Some(body),
                Content::Parts { .. } | Content::Marker => None,
            },
            Holder::Part(_, _, _, row) => Some(&row.body),
        }
    }

    /// The body, if it is the one of this id. A row that is found by its object's version may hold another one (`RECODE-2`).
    fn body_of(&self, version: VersionId) -> Option<&Body> {
        self.body().filter(|body| body.version == version)
    }

    /// When the preparation of the body expires, what the id of another body in its place is used for, and whether the id of this
    /// one is that of its put.
    fn standing(&self) -> (WallTime, VersionUse, bool) {
        match self {
            Holder::Object(_, row) => {
                let (own, expires) = match &row.content {
                    Content::Single { body, expires } => (body.version == row.version, *expires),
                    Content::Parts { .. } | Content::Marker => (false, WallTime(0)),
                };
                (expires, VersionUse::Recoded { of: row.version }, own)
            }
            Holder::Part(_, upload, number, row) => {
                (row.expires, VersionUse::Part { upload: *upload, number: *number }, false)
            }
        }
    }

    /// The row with a body that was prepared until `renewed`.
    fn recoded(mut self, new: Body, renewed: WallTime) -> Change {
        match &mut self {
            Holder::Object(_, row) => {
                if let Content::Single { expires, .. } = &mut row.content {
                    *expires = renewed;
                }
            }
            Holder::Part(_, _, _, row) => row.expires = renewed,
        }
        self.with(new)
    }

    /// The row with another body.
    fn with(mut self, moved: Body) -> Change {
        match &mut self {
            Holder::Object(_, row) => {
                if let Content::Single { body, .. } = &mut row.content {
                    *body = moved;
                }
            }
            Holder::Part(_, _, _, row) => row.body = moved,
        }
        match self {
            Holder::Object(object, row) => Change::PutVersion(object, row),
            Holder::Part(tenant, upload, number, row) => Change::PutPart(tenant, upload, number, row),
        }
    }
}

impl Reader<'_> {
    /// The row of a body in use.
    fn holder(self, version: VersionId, used: Option<VersionUse>) -> Result<Option<Holder>, RowsError> {
        match used {
            Some(VersionUse::Object(object)) => {
                let row = self.newest(&object)?.filter(|row| row.version == version); // VERSION-3
                Ok(row.map(|row| Holder::Object(object, Box::new(row))))
            }
            Some(VersionUse::Version { object, decided, .. }) => {
                let row = self.version_at(&object, decided)?.filter(|row| row.version == version);
                Ok(row.map(|row| Holder::Object(object, Box::new(row))))
            }
            Some(VersionUse::Part { upload, number }) => {
                let tenant = match self.version_use(upload)? {
                    Some(
                        VersionUse::Object(object) | VersionUse::Version { object, .. } | VersionUse::Upload(object),
                    ) => object.bucket.tenant,
                    None
                    | Some(
                        VersionUse::Part { .. }
                        | VersionUse::Recoded { .. }
                        | VersionUse::Reclaimable { .. }
                        | VersionUse::Past { .. }
                        | VersionUse::Void { .. },
                    ) => return Ok(None),
                };
                let row = self.part(tenant, upload, number)?.filter(|row| row.body.version == version);
                Ok(row.map(|row| Holder::Part(tenant, upload, number, Box::new(row))))
            }
            Some(VersionUse::Recoded { of }) => {
                let of_object = |used: &VersionUse| matches!(used, VersionUse::Object(_) | VersionUse::Version { .. });
                let first = self.version_use(of)?.filter(of_object);
                Ok(self.holder(of, first)?.filter(|holder| holder.body_of(version).is_some()))
            }
            None
            | Some(
                VersionUse::Upload(_)
                | VersionUse::Reclaimable { .. }
                | VersionUse::Past { .. }
                | VersionUse::Void { .. },
            ) => Ok(None),
        }
    }

    pub(super) fn query_body(self, version: VersionId) -> Result<QueryAnswer, RowsError> {
        let holder = self.holder(version, self.version_use(version)?)?;
        Ok(QueryAnswer::Body(holder.and_then(|holder| holder.body().cloned())))
    }

    pub(super) fn query_bodies(self, after: Option<VersionId>, limit: usize) -> Result<QueryAnswer, RowsError> {
        let uses: Vec<(VersionId, VersionUse)> =
            self.collect(&self.layout.version_uses(after), limit, |mut key| Some(VersionId(key.number_u128()?)))?;
        let last = uses.last().map(|(version, _)| *version);
        let mut bodies = Vec::new();
        for (version, used) in uses {
            let holder = self.holder(version, Some(used))?;
            let body = holder.as_ref().and_then(|holder| holder.body_of(version));
            if let Some(body) = body.filter(|body| matches!(body.place, Place::Striped { .. })) {
                bodies.push((body.clone(), self.left_drives(version)?));
            }
        }
        Ok(QueryAnswer::Bodies { bodies, last })
    }

    fn leaving(self, version: VersionId, drive: DriveId) -> Result<Option<QueuePlace>, RowsError> {
        self.get(&self.layout.leaving(version, drive))
    }

    /// Drives that the version has left.
    fn left_drives(self, version: VersionId) -> Result<Vec<DriveId>, RowsError> {
        let found: Vec<(DriveId, QueuePlace)> =
            self.collect(&self.layout.leaving_of(version), usize::MAX, |mut key| {
                key.number_u128()?; // The version, which the range names.
                Some(DriveId(key.number_u32()?))
            })?;
        Ok(found.into_iter().map(|(drive, _)| drive).collect())
    }

    fn reclaim_row(self, place: QueuePlace) -> Result<Option<ReclaimRow>, RowsError> {
        self.get(&self.layout.reclaim(place))
    }

    /// Whether a drive holds shards of a version by right: its body names the drive, or did when it was given up.
    fn holds(self, version: VersionId, drive: DriveId, used: &VersionUse) -> Result<bool, RowsError> {
        if let VersionUse::Reclaimable { place, .. } = used {
            return Ok(self.reclaim_row(*place)?.is_some_and(|row| row.drives.contains(&drive)));
        }
        let holder = self.holder(version, Some(used.clone()))?;
        Ok(holder.as_ref().and_then(|holder| holder.body_of(version)).is_some_and(|body| match &body.place {
            Place::Striped { drives, .. } => drives.contains(&drive),
            Place::Inline(_) => false,
        }))
    }
}

impl Home<'_> {
    pub(super) fn decide_relocate(
        &self,
        relocation: &Relocation,
        moment: Moment,
    ) -> Result<Result<Changes, Refusal>, RowsError> {
        let home = self.reader();
        let version = relocation.version;
        let Some(holder) = home.holder(version, home.version_use(version)?)? else {
            return Ok(Err(Refusal::NoSuchKey));
        };
        let owes = home.leaving(version, relocation.to)?.is_some();
        Ok(relocate::decide(holder.body_of(version), owes, relocation, moment).map(|(moved, mut changes)| {
            changes.rows.push(holder.with(moved));
            changes
        }))
    }

    pub(super) fn decide_recode(
        &self,
        version: VersionId,
        new: &Body,
        expires: WallTime,
        moment: Moment,
    ) -> Result<Result<Changes, Refusal>, RowsError> {
        let home = self.reader();
        let used = home.version_use(new.version)?;
        let Some(holder) = home.holder(version, home.version_use(version)?)? else {
            // STATE-6: ids are random, so this one is in use because of this command.
            let is_repeat = matches!(used, Some(VersionUse::Recoded { .. } | VersionUse::Part { .. }));
            return Ok(if is_repeat { Ok(Changes::answer(Answer::Done)) } else { Err(Refusal::NoSuchKey) });
        };
        let (old_expires, becomes, is_first) = holder.standing();
        let old = holder.body_of(version).map(|body| (body, old_expires));
        let recoding = Recoding { old, is_first, used: used.as_ref(), becomes: &becomes, new, expires };
        Ok(recode::decide(&recoding, moment).map(|changes| match changes {
            Some(mut changes) => {
                changes.rows.push(holder.recoded(new.clone(), expires));
                changes
            }
            None => Changes::answer(Answer::Done),
        }))
    }

    pub(super) fn decide_resolve_on(
        &self,
        drive: DriveId,
        versions: &[(VersionId, WallTime)],
        moment: Moment,
    ) -> Result<Changes, RowsError> {
        let home = self.reader();
        let mut asked = Vec::new();
        let (mut elsewhere, mut leaving) = (Vec::new(), Vec::new());
        for (version, expires) in versions {
            let used = home.version_use(*version)?;
            elsewhere.push(match &used {
                Some(used) => !home.holds(*version, drive, used)?,
                None => false,
            });
            leaving.push(home.leaving(*version, drive)?.is_some());
            asked.push((*version, *expires, used));
        }
        let mut changes = resolve::decide(&asked, moment);
        let Answer::Resolved(fates) = &mut changes.answer else { return Ok(changes) };
        for (((fate, elsewhere), leaving), (_, expires)) in fates.iter_mut().zip(elsewhere).zip(leaving).zip(versions) {
            if elsewhere && leaving {
                // They go by the queue, or are a late copy on a drive from which they have gone.
                *fate = Fate::Pending;
            } else if elsewhere && *fate == Fate::Committed {
                // MOVE-1: from its expiry on no relocation can make the copy count.
                *fate = if moment.time > *expires { Fate::Void } else { Fate::Pending };
            }
        }
        Ok(changes)
    }

    pub(super) fn decide_reclaimed_at(&self, places: &[QueuePlace], moment: Moment) -> Result<Changes, RowsError> {
        let home = self.reader();
        let mut left = Vec::new();
        let mut retired = Vec::new();
        for place in places {
            // A repeat finds nothing.
            let Some(row) = home.reclaim_row(*place)? else { continue };
            let drive = row.drives.first().copied();
            let leaving = match drive {
                Some(drive) => home.leaving(row.version, drive)?.filter(|of| of == place).map(|_| drive),
                None => None,
            };
            match leaving {
                Some(drive) => {
                    left.push(Change::RemoveReclaim(*place));
                    left.push(Change::RemoveLeaving(row.version, drive));
                }
                None => match home.version_use(row.version)? {
                    Some(used @ VersionUse::Reclaimable { place: of, .. }) if of == *place => {
                        let drives = home.left_drives(row.version)?;
                        left.extend(drives.into_iter().map(|drive| Change::RemoveLeaving(row.version, drive)));
                        retired.push((row.version, Some(used)));
                    }
                    // The drive that it had left, of a version that has gone since.
                    Some(_) | None => left.push(Change::RemoveReclaim(*place)),
                },
            }
        }
        let mut changes = resolve::decide_reclaimed(&retired, moment);
        changes.rows.extend(left);
        Ok(changes)
    }
}
