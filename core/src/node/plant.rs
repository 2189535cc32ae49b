//! What planted bugs do to commands on their way into the log. Exists only with debug assertions (decision 0004).
//!
//! Not here: bugs that are a comparison at the place where they are made.

use super::Node;
use super::clients::{Asker, Proposer, reply};
use super::event::Effect;
use super::request::Reply;
use crate::planted::planted;
use crate::state::{Answer, ETag, ObjectCondition, ObjectOperation, Operation, Query, QueryAnswer, Refusal};
use crate::types::{GroupId, RequestId, VersionId};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Node {
    /// `MarkerHidesNewer`: half of a delete marker's id is this node's and not the client's, so that a repeat is not known again.
    pub(super) fn plant_marker(&mut self, mut operation: Operation) -> Operation {
        if let Operation::Object(ObjectOperation::Remove { removal, .. }) = &mut operation
            && planted!(self.config.planted, MarkerHidesNewer)
        {
            let (fresh, ..) = self.fresh_body();
            removal.marker = VersionId((fresh.0 >> 64 << 64) | (removal.marker.0 & u128::from(u64::MAX)));
        }
        operation
    }

    /// `ConditionOutside`: asks for the object first. Returns the operations that have no condition.
    pub(super) fn plant_condition(
        &mut self,
        client: RequestId,
        operation: Operation,
        out: &mut Vec<Effect>,
    ) -> Option<Operation> {
        if !planted!(self.config.planted, ConditionOutside) {
            return Some(operation);
        }
        match operation {
            Operation::Object(put @ ObjectOperation::PutObject { condition, .. })
                if condition != ObjectCondition::Any =>
            {
                let ObjectOperation::PutObject { object, .. } = &put else { return None };
                let query = Query::Object { object: object.clone(), version: None };
                self.ask(GroupId::REGION, query, Asker::Condition(client, Box::new(put)), out);
                None
            }
            operation @ (Operation::OpenSession | Operation::Key(_) | Operation::Object(_) | Operation::Cluster(_)) => {
                Some(operation)
            }
        }
    }

    pub(super) fn on_condition(
        &mut self,
        client: RequestId,
        mut put: ObjectOperation,
        answer: QueryAnswer,
        out: &mut Vec<Effect>,
    ) {
        let current = if let QueryAnswer::Object(object) = answer { Some(object.etag) } else { None };
        let ObjectOperation::PutObject { condition, .. } = &mut put else { return };
        if !holds(current, *condition) {
            return reply(client, Reply::Answer(Answer::Refused(Refusal::ConditionFailed)), out);
        }
        *condition = ObjectCondition::Any;
        self.propose(GroupId::REGION, None, Operation::Object(put), Proposer::Client(client), out);
    }
}

fn holds(current: Option<ETag>, condition: ObjectCondition) -> bool {
    match condition {
        ObjectCondition::Any => true,
        ObjectCondition::Absent => current.is_none(),
        ObjectCondition::Present => current.is_some(),
        ObjectCondition::Match(etag) => current == Some(etag),
        ObjectCondition::NoneMatch(etag) => current != Some(etag),
    }
}
