//! One command: fetch the rows that it names, let the rule decide, write what it changed.

use super::super::Moment;
use super::super::attributes::{Acl, Attributes, BucketOptions};
use super::super::command::{Answer, Command, KeyOperation, ObjectName, ObjectOperation, Operation, Refusal};
use super::super::keys;
use super::super::layout::Table;
use super::super::objects::relocate::Relocation;
use super::super::objects::rows::{Changes, Current, VersionUse};
use super::super::objects::{amend, bucket, delete, multipart, put, resolve};
use super::super::sessions;
use super::{Home, Reader};
use crate::rows::RowsError;
use crate::types::VersionId;
use alloc::vec::Vec;

impl Home<'_> {
    /// Runs a command, once if it is stamped (`STATE-5`).
    pub(in super::super) fn run(&mut self, command: &Command, moment: Moment) -> Result<Answer, RowsError> {
        let Some(stamp) = command.session else { return self.operate(&command.operation, moment) };
        if let Some(answer) = self.admit(stamp, moment)? {
            return Ok(answer);
        }
        let answer = match &command.operation {
            Operation::OpenSession => sessions::nested(),
            Operation::Key(_) | Operation::Object(_) | Operation::Cluster(_) => {
                self.operate(&command.operation, moment)?
            }
        };
        self.record(stamp, &answer)?;
        Ok(answer)
    }

    fn operate(&mut self, operation: &Operation, moment: Moment) -> Result<Answer, RowsError> {
        match operation {
            Operation::OpenSession => self.open_session(moment),
            Operation::Key(operation) => self.operate_key(operation, moment),
            Operation::Cluster(operation) => self.operate_cluster(operation, moment),
            Operation::Object(operation) => match self.decide_object(operation, moment)? {
                Ok(changes) => {
                    self.write(&changes)?;
                    Ok(changes.answer)
                }
                Err(refusal) => Ok(Answer::Refused(refusal)),
            },
        }
    }

    fn operate_key(&mut self, operation: &KeyOperation, moment: Moment) -> Result<Answer, RowsError> {
        let user_key = keys::key_of(operation);
        let row = self.reader().user_key(user_key)?;
        let change = match keys::decide(row.as_ref(), operation, moment) {
            Ok(change) => change,
            Err(refusal) => return Ok(Answer::Refused(refusal)),
        };
        let key = self.layout.user_key(user_key);
        match &change.row {
            Some(row) => self.put(&key, row)?,
            None => self.rows.remove(&key)?,
        }
        Ok(change.answer)
    }

    fn decide_object(
        &self,
        operation: &ObjectOperation,
        moment: Moment,
    ) -> Result<Result<Changes, Refusal>, RowsError> {
        let home = self.reader();
        Ok(match operation {
            ObjectOperation::CreateBucket { bucket } => {
                let options = BucketOptions { acl: Acl::private(""), ..BucketOptions::default() };
                bucket::decide_create(home.bucket(bucket)?, bucket, &options, moment)
            }
            ObjectOperation::CreateBucketWith { bucket, options } => {
                bucket::decide_create(home.bucket(bucket)?, bucket, options, moment)
            }
            ObjectOperation::ConfigureBucket { bucket, setting } => {
                bucket::decide_configure(home.bucket(bucket)?, bucket, setting, moment)
            }
            ObjectOperation::DeleteBucket { bucket } => {
                let rows = bucket::DeleteRows {
                    bucket: home.bucket(bucket)?,
                    has_objects: home.any(&self.layout.in_bucket(Table::Versions, bucket, ""))?,
                    has_uploads: home.any(&self.layout.in_bucket(Table::Uploads, bucket, ""))?,
                };
                bucket::decide_delete(&rows, bucket)
            }
            ObjectOperation::PutObject { object, body, etag, metadata, condition, expires } => {
                let rows = put::PutRows { key: home.key_rows(object)?, used: home.version_use(body.version)? };
                let (etag, condition, expires, attributes) = (*etag, *condition, *expires, &Attributes::default());
                let put = put::Put { object, body, etag, metadata, attributes, condition, expires };
                put::decide(&rows, &put, moment)
            }
            ObjectOperation::PutVersion { object, body, etag, metadata, attributes, condition, expires } => {
                let rows = put::PutRows { key: home.key_rows(object)?, used: home.version_use(body.version)? };
                let (etag, condition, expires) = (*etag, *condition, *expires);
                let put = put::Put { object, body, etag, metadata, attributes, condition, expires };
                put::decide(&rows, &put, moment)
            }
            ObjectOperation::DeleteObject { object, condition } => {
                delete::decide_unversioned(&home.key_rows(object)?, object, *condition, moment)
            }
            ObjectOperation::Remove { object, removal } => {
                let named = removal.version.map(|name| home.named(object, name)).transpose()?.flatten();
                let rows = delete::DeleteRows {
                    key: home.key_rows(object)?,
                    named: named.map(|row| home.whole(object, row)).transpose()?,
                    used: if removal.version.is_none() { home.version_use(removal.marker)? } else { None },
                };
                delete::decide(&rows, object, removal, moment)
            }
            ObjectOperation::Amend { object, version, amendment } => {
                let rows = amend::AmendRows {
                    bucket: home.bucket(&object.bucket)?,
                    row: home.named_or_newest(object, *version)?,
                };
                amend::decide(rows, object, *version, amendment, moment)
            }
            ObjectOperation::Expire { object, what, marker, day } => {
                self.decide_expire(object, *what, *marker, *day, moment)?
            }
            ObjectOperation::CreateUpload { .. }
            | ObjectOperation::CreateUploadWith { .. }
            | ObjectOperation::PutPart { .. }
            | ObjectOperation::CompleteUpload { .. }
            | ObjectOperation::AbortUpload { .. } => self.decide_upload(operation, moment)?,
            ObjectOperation::Resolve { versions } => {
                let asked: Result<Vec<_>, RowsError> = versions
                    .iter()
                    .map(|(version, expires)| Ok((*version, *expires, home.version_use(*version)?)))
                    .collect();
                Ok(resolve::decide(&asked?, moment))
            }
            ObjectOperation::Reclaimed { versions } => {
                let named: Result<Vec<_>, RowsError> =
                    versions.iter().map(|version| Ok((*version, home.version_use(*version)?))).collect();
                Ok(resolve::decide_reclaimed(&named?, moment))
            }
            ObjectOperation::Relocate { version, from, to, expires } => {
                let relocation = Relocation { version: *version, from: *from, to: *to, expires: *expires };
                self.decide_relocate(&relocation, moment)?
            }
            ObjectOperation::Recode { version, body, expires } => {
                self.decide_recode(*version, body, *expires, moment)?
            }
            ObjectOperation::ResolveOn { drive, versions } => Ok(self.decide_resolve_on(*drive, versions, moment)?),
            ObjectOperation::ReclaimedAt { places } => Ok(self.decide_reclaimed_at(places, moment)?),
        })
    }

    fn decide_upload(
        &self,
        operation: &ObjectOperation,
        moment: Moment,
    ) -> Result<Result<Changes, Refusal>, RowsError> {
        let home = self.reader();
        let parts_of = |object: &ObjectName, upload| home.parts(object.bucket.tenant, upload, 0, usize::MAX);
        Ok(match operation {
            ObjectOperation::CreateUpload { object, upload, metadata } => {
                let rows =
                    multipart::CreateRows { bucket: home.bucket(&object.bucket)?, used: home.version_use(*upload)? };
                multipart::decide_create(&rows, object, *upload, metadata, &Attributes::default(), moment)
            }
            ObjectOperation::CreateUploadWith { object, upload, metadata, attributes } => {
                let rows =
                    multipart::CreateRows { bucket: home.bucket(&object.bucket)?, used: home.version_use(*upload)? };
                multipart::decide_create(&rows, object, *upload, metadata, attributes, moment)
            }
            ObjectOperation::PutPart { object, upload, number, body, etag, metadata, expires } => {
                let rows = multipart::PutPartRows {
                    upload: home.upload(object, *upload)?,
                    replaced: home.part(object.bucket.tenant, *upload, *number)?,
                    used: home.version_use(body.version)?,
                };
                let (upload, number, etag, expires) = (*upload, *number, *etag, *expires);
                let part = multipart::PutPart { object, upload, number, body, etag, metadata, expires };
                multipart::decide_part(&rows, &part, moment)
            }
            ObjectOperation::CompleteUpload { object, upload, parts, metadata, condition } => {
                let row = home.upload(object, *upload)?;
                let rows = multipart::CompleteRows {
                    // UPLOAD-1: without the upload's row its parts belong to an object, and come with that.
                    parts: if row.is_some() { parts_of(object, *upload)? } else { Vec::new() },
                    made: if row.is_some() { None } else { home.made_of(object, *upload)? },
                    upload: row,
                    key: home.key_rows(object)?,
                };
                let (upload, condition) = (*upload, *condition);
                let complete = multipart::Complete { object, upload, parts, metadata, condition };
                multipart::decide_complete(&rows, &complete, moment)
            }
            ObjectOperation::AbortUpload { object, upload } => {
                let row = home.upload(object, *upload)?;
                let parts = if row.is_some() { parts_of(object, *upload)? } else { Vec::new() };
                multipart::decide_abort(&multipart::AbortRows { upload: row, parts }, object, *upload, moment)
            }
            ObjectOperation::CreateBucket { .. }
            | ObjectOperation::CreateBucketWith { .. }
            | ObjectOperation::ConfigureBucket { .. }
            | ObjectOperation::PutVersion { .. }
            | ObjectOperation::Remove { .. }
            | ObjectOperation::Amend { .. }
            | ObjectOperation::Expire { .. }
            | ObjectOperation::DeleteBucket { .. }
            | ObjectOperation::PutObject { .. }
            | ObjectOperation::DeleteObject { .. }
            | ObjectOperation::Resolve { .. }
            | ObjectOperation::Reclaimed { .. }
            | ObjectOperation::Relocate { .. }
            | ObjectOperation::ResolveOn { .. }
            | ObjectOperation::Recode { .. }
            | ObjectOperation::ReclaimedAt { .. } => unreachable!("only operations on uploads are handed over"),
        })
    }
}

impl Reader<'_> {
    /// The version that an upload became, and what its id is used for.
    fn made_of(self, object: &ObjectName, upload: VersionId) -> Result<Option<(Current, VersionUse)>, RowsError> {
        let Some(used) = self.version_use(upload)? else { return Ok(None) };
        let row = match &used {
            VersionUse::Object(of) if of == object => self.newest(object)?,
            VersionUse::Version { object: of, decided, .. } if of == object => self.version_at(object, *decided)?,
            VersionUse::Object(_)
            | VersionUse::Version { .. }
            | VersionUse::Upload(_)
            | VersionUse::Part { .. }
            | VersionUse::Recoded { .. }
            | VersionUse::Reclaimable { .. }
            | VersionUse::Past { .. }
            | VersionUse::Void { .. } => None,
        };
        let Some(row) = row.filter(|row| row.version == upload) else { return Ok(None) };
        Ok(Some((self.whole(object, row)?, used)))
    }
}
