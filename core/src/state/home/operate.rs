//! One command: fetch the rows that it names, let the rule decide, write what it changed.

use super::super::Moment;
use super::super::command::{Answer, Command, KeyOperation, ObjectName, ObjectOperation, Operation, Refusal};
use super::super::keys;
use super::super::layout::Table;
use super::super::objects::relocate::Relocation;
use super::super::objects::rows::Changes;
use super::super::objects::{bucket, delete, multipart, put, resolve};
use super::super::sessions;
use super::Home;
use crate::rows::RowsError;
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
            ObjectOperation::CreateBucket { bucket } => bucket::decide_create(home.bucket(bucket)?, bucket, moment),
            ObjectOperation::DeleteBucket { bucket } => {
                let rows = bucket::DeleteRows {
                    bucket: home.bucket(bucket)?,
                    has_objects: home.any(&self.layout.in_bucket(Table::Versions, bucket, ""))?,
                    has_uploads: home.any(&self.layout.in_bucket(Table::Uploads, bucket, ""))?,
                };
                bucket::decide_delete(rows, bucket)
            }
            ObjectOperation::PutObject { object, body, etag, metadata, condition, expires } => {
                let rows = put::PutRows {
                    bucket: home.bucket(&object.bucket)?,
                    current: home.current(object)?,
                    used: home.version_use(body.version)?,
                };
                let (etag, condition, expires) = (*etag, *condition, *expires);
                put::decide(&rows, &put::Put { object, body, etag, metadata, condition, expires }, moment)
            }
            ObjectOperation::DeleteObject { object, condition } => {
                let rows = delete::DeleteRows { bucket: home.bucket(&object.bucket)?, current: home.current(object)? };
                delete::decide(&rows, object, *condition, moment)
            }
            ObjectOperation::CreateUpload { .. }
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
                multipart::decide_create(&rows, object, *upload, metadata, moment)
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
                    upload: row,
                    current: home.current(object)?,
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
