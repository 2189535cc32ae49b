//! Requests of clients, and whom each answer is for.

use super::event::{Effect, Product, Task, WorkId};
use super::objects::{Opened, WriteFor};
use super::reading::ReadId;
use super::request::{Reply, Request, Target, Unavailable};
use super::{Node, sweep};
use crate::raft;
use crate::state::{Answer, Attributes, Body, INLINE_EXPIRES, ObjectOperation, Operation, Place, Query, QueryAnswer};
use crate::stripe::{INLINE_MAX, OpenError, WrappedKey};
use crate::types::{DriveId, GroupId, RequestId, VersionId, WallTime};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// Who waits for a command's answer.
#[derive(Debug)]
pub(super) enum Proposer {
    /// A client, as it is.
    Client(RequestId),
    /// The decision of a striped body: its shards follow the answer.
    Decision { client: RequestId, version: VersionId, drives: Vec<DriveId> },
    /// The sweep asked for the fate of these.
    Resolve(DriveId, Vec<(VersionId, WallTime)>),
    /// The sweep reported what it reclaimed.
    Reclaimed,
    /// The decision of a move.
    Move(u64),
    /// The decision of a body that was cut anew, by its job.
    Recode { id: u64, new: VersionId, drives: Vec<DriveId> },
    /// The removal of what a lifecycle rule wants gone, by its round.
    Expire(u64),
    /// The steward, which looks again later.
    Steward,
    /// An operator, for a change of membership or a transfer of the lead.
    Operator(RequestId),
}

/// Who waits for a query's answer.
#[derive(Debug)]
pub(super) enum Asker {
    /// A client, as it is.
    Client(RequestId),
    /// A client that opens an object.
    Open(RequestId),
    /// The sweep looks for bodies to reclaim.
    Reclaim,
    /// The node confirms what it knows of the cluster.
    Topology,
    /// The mover looks at all bodies.
    Mover(u64),
    /// The lifecycle asks whether there are rules.
    Rules,
    /// The lifecycle looks for what is due.
    Expirable(u64),
    /// A read that failed: the body may have been moved.
    Reread(ReadId),
    /// The scrub looks for bodies.
    ScrubPage,
    /// The scrub looks at one body.
    ScrubBody,
    /// The planted bug asks whether a client's put may happen.
    #[cfg(debug_assertions)]
    Condition(RequestId, alloc::boxed::Box<ObjectOperation>),
}

/// What a pool works on.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is each small object's: a box would be an allocation for it"
)]
pub(super) enum Work {
    Query(Asker),
    Topology,
    SealInline { client: RequestId, target: Target, version: VersionId, wrapped: WrappedKey, size: u64 },
    SealStripe { write: WriteFor, index: u32 },
    OpenInline { client: RequestId },
    OpenStripe { read: ReadId },
    SealMove { id: u64 },
    Verify { record: Bytes },
}

impl Node {
    pub(super) fn on_request(&mut self, id: RequestId, request: Request, out: &mut Vec<Effect>) {
        match request {
            Request::Command { group, session, operation } => {
                if self.has_group(id, group, out) {
                    #[cfg(debug_assertions)]
                    let operation = self.plant_marker(operation);
                    self.propose(group, session, operation, Proposer::Client(id), out);
                }
            }
            Request::Query { group, query } => {
                if self.has_group(id, group, out) {
                    self.ask(group, query, Asker::Client(id), out);
                }
            }
            Request::PutInline { target, bytes } => self.on_put_inline(id, target, bytes, out),
            Request::BeginWrite => self.on_begin_write(id, out),
            Request::WriteStripe { write, index, bytes } => self.on_write_stripe(id, write, index, bytes, out),
            Request::DecideWrite { write, target } => self.on_decide_write(id, write, target, out),
            Request::AbortWrite { write } => self.on_abort_write(id, write, out),
            Request::Open { object, version } => {
                self.opening.insert(id);
                self.ask(GroupId::REGION, Query::Object { object, version }, Asker::Open(id), out);
            }
            Request::ReadStripe { open, body, stripe } => self.on_read_stripe(id, open, body, stripe, out),
            Request::Close { open } => self.on_close(id, open, out),
            Request::ChangeMembership { group, change } => {
                self.operate(id, group, |id| raft::Event::Change { id, change }, out);
            }
            Request::TransferLeader { group, to } => {
                self.operate(id, group, |id| raft::Event::Transfer { id, to }, out);
            }
            Request::Scrub => {
                let status = self.status();
                self.scrub_now(out);
                reply(id, Reply::Status(status), out);
            }
            Request::Status => {
                let status = self.status();
                reply(id, Reply::Status(status), out);
            }
        }
    }

    fn has_group(&self, id: RequestId, group: GroupId, out: &mut Vec<Effect>) -> bool {
        let here = self.groups.contains_key(&group);
        if !here {
            unavailable(id, Unavailable::NotLeader { leader: None }, out);
        }
        here
    }

    /// Hands what an operator asked to the group.
    fn operate(
        &mut self,
        client: RequestId,
        group: GroupId,
        event: impl FnOnce(RequestId) -> raft::Event,
        out: &mut Vec<Effect>,
    ) {
        if self.has_group(client, group, out) {
            let id = RequestId(self.fresh_id());
            self.proposals.insert(id, Proposer::Operator(client));
            self.step_group(group, event(id), out);
        }
    }

    /// What an operator asked for was done.
    pub(super) fn answer_operator(&mut self, id: RequestId, done: Reply, out: &mut Vec<Effect>) {
        // NODE-2
        if let Some(Proposer::Operator(client)) = self.proposals.get(&id) {
            reply(*client, done, out);
            self.proposals.remove(&id);
        } else {
            // The steward hears nothing; a command that a peer said stands where a membership does is lost.
            self.on_refused(id, raft::Refusal::LostLead, out);
        }
    }

    fn on_put_inline(&mut self, client: RequestId, target: Target, bytes: Bytes, out: &mut Vec<Effect>) {
        if bytes.len() > INLINE_MAX {
            unavailable(client, Unavailable::Misuse("an inline body is at most INLINE_MAX bytes"), out);
            return;
        }
        let (version, key, wrapped) = self.fresh_body();
        let size = bytes.len() as u64;
        let work = self.begin_work(Work::SealInline { client, target, version, wrapped, size });
        out.push(Effect::Compute { work, task: Task::SealInline { version, key, plaintext: bytes } });
    }

    pub(super) fn begin_work(&mut self, work: Work) -> WorkId {
        let id = WorkId(self.fresh_id());
        self.work.insert(id, work);
        id
    }

    pub(super) fn on_computed(&mut self, id: WorkId, product: Product, out: &mut Vec<Effect>) {
        // NODE-2: the work is taken out, so that its request is answered, or handed on, once.
        let work = self.work.remove(&id).expect("only ordered work ends");
        match (work, product) {
            (Work::SealInline { client, target, version, wrapped, size }, Product::SealedInline(sealed)) => {
                let body = Body { version, size, key: wrapped, place: Place::Inline(sealed) };
                let operation = decision(target, body, INLINE_EXPIRES);
                #[cfg(debug_assertions)]
                let Some(operation) = self.plant_condition(client, operation, out) else { return };
                self.propose(GroupId::REGION, None, operation, Proposer::Client(client), out);
            }
            (Work::SealStripe { write, index }, Product::Sealed(records)) => {
                self.on_stripe_sealed(write, index, records, out);
            }
            (Work::OpenInline { client }, Product::OpenedInline(opened)) => match opened {
                Ok(plaintext) => reply(client, Reply::Stripe(plaintext), out),
                Err(error) => damaged(client, &error, out),
            },
            (Work::Verify { record }, Product::Verified(is_sound)) => self.on_scrub_verified(is_sound, record, out),
            (Work::SealMove { id }, Product::Sealed(records)) => self.on_move_sealed(id, records, out),
            (Work::OpenStripe { read }, Product::Opened(opened)) => self.on_stripe_opened(read, opened, out),
            (work, product) => panic!("work {work:?} ended in {product:?}, which is of another kind"),
        }
    }

    /// The state machine answered a command.
    pub(super) fn on_answered(&mut self, id: RequestId, answer: Answer, out: &mut Vec<Effect>) {
        // NODE-2: refused or answered, whichever comes first takes the proposal out.
        let Some(proposer) = self.proposals.remove(&id) else { return };
        match proposer {
            Proposer::Client(client) => reply(client, Reply::Answer(answer), out),
            Proposer::Decision { client, version, drives } => {
                let decided = matches!(answer, Answer::Put { .. } | Answer::PutVersion { .. });
                self.end_decision(version, &drives, decided, out);
                reply(client, Reply::Answer(answer), out);
            }
            Proposer::Resolve(drive, versions) => self.on_resolved(drive, &versions, answer, out),
            Proposer::Reclaimed => self.sweep.end_reclaim(sweep::ReclaimEnd::Done),
            Proposer::Move(id) => self.on_relocated(id, &answer, out),
            Proposer::Recode { id, new, drives } => self.on_recoded(id, new, &drives, &answer, out),
            Proposer::Expire(number) => self.on_expired(number, Some(&answer), out),
            Proposer::Steward => {}
            Proposer::Operator(_) => panic!("a change of membership is no command, and has no answer"),
        }
    }

    /// A group did not take a command or a read, or lost it.
    pub(super) fn on_refused(&mut self, id: RequestId, reason: raft::Refusal, out: &mut Vec<Effect>) {
        if let Some(proposer) = self.proposals.remove(&id) {
            match proposer {
                Proposer::Client(client) | Proposer::Operator(client) => unavailable(client, why(reason), out),
                Proposer::Decision { client, version, drives } => {
                    self.end_refused(version, &drives, &reason, out);
                    unavailable(client, why(reason), out);
                }
                Proposer::Resolve(drive, _) => self.sweep.end_resolve(drive),
                Proposer::Reclaimed => self.sweep.end_reclaim(sweep::ReclaimEnd::Refused),
                Proposer::Move(id) => self.fail_move(id, out),
                Proposer::Recode { id, new, drives } => self.on_recode_refused(id, new, &drives, &reason, out),
                Proposer::Expire(number) => self.on_expired(number, None, out),
                Proposer::Steward => {}
            }
        } else if let Some((_, _, asker)) = self.questions.remove(&id) {
            match asker {
                Asker::Client(client) => unavailable(client, why(reason), out),
                Asker::Open(client) => {
                    self.opening.remove(&client);
                    unavailable(client, why(reason), out);
                    self.reclaim_unpinned(out);
                }
                Asker::Reclaim => self.sweep.end_reclaim(sweep::ReclaimEnd::Refused),
                Asker::Topology => self.end_confirm(None, out),
                Asker::Mover(number) => self.on_no_bodies(number),
                Asker::Rules => self.on_rules_set(None, out),
                Asker::Expirable(number) => self.on_expirable(number, None, out),
                Asker::Reread(read) => self.end_reread(read, None, out),
                Asker::ScrubPage | Asker::ScrubBody => self.on_scrub_refused(),
                #[cfg(debug_assertions)]
                Asker::Condition(client, _) => unavailable(client, why(reason), out),
            }
        }
    }

    /// ReadIndex passed and the state machine has applied far enough.
    pub(super) fn on_readable(&mut self, id: RequestId, out: &mut Vec<Effect>) {
        let (group, query, asker) = self.questions.remove(&id).expect("only a question that was asked is readable");
        let work = self.begin_work(Work::Query(asker));
        out.push(Effect::Query { work, group, query });
    }

    pub(super) fn on_queried(&mut self, id: WorkId, answer: QueryAnswer, out: &mut Vec<Effect>) {
        let asker = match self.work.remove(&id) {
            Some(Work::Query(asker)) => asker,
            Some(Work::Topology) => return self.on_topology(answer, out),
            other => panic!("only an ordered query is answered, and this was {other:?}"),
        };
        match asker {
            Asker::Client(client) => reply(client, Reply::Queried(answer), out),
            Asker::Open(client) => {
                let is_wanted = self.opening.remove(&client);
                match answer {
                    QueryAnswer::Object(_) if !is_wanted => unavailable(client, Unavailable::UnknownHandle, out),
                    QueryAnswer::Object(object) => {
                        self.opens.insert(client, Opened { object: object.clone() });
                        reply(client, Reply::Opened(object), out);
                    }
                    QueryAnswer::Refused(refusal) => reply(client, Reply::Refused(refusal), out),
                    other @ (QueryAnswer::Key(_)
                    | QueryAnswer::Keys { .. }
                    | QueryAnswer::Bucket { .. }
                    | QueryAnswer::Buckets(_)
                    | QueryAnswer::Listing(_)
                    | QueryAnswer::Versions(_)
                    | QueryAnswer::Parts { .. }
                    | QueryAnswer::Uploads { .. }
                    | QueryAnswer::Reclaimable(_)
                    | QueryAnswer::Topology { .. }
                    | QueryAnswer::Bodies { .. }
                    | QueryAnswer::RulesSet(_)
                    | QueryAnswer::Expirable { .. }
                    | QueryAnswer::Body(_)) => panic!("an object was asked for, and the answer was {other:?}"),
                }
                self.reclaim_unpinned(out);
            }
            Asker::Reclaim => self.on_reclaimable(answer, out),
            Asker::Topology => self.end_confirm(Some(answer), out),
            Asker::Mover(number) => self.on_bodies(number, answer, out),
            Asker::Rules => self.on_rules_set(Some(answer), out),
            Asker::Expirable(number) => self.on_expirable(number, Some(answer), out),
            Asker::Reread(read) => self.on_reread(read, answer, out),
            Asker::ScrubPage => self.on_scrub_page(answer, out),
            Asker::ScrubBody => self.on_scrub_body(answer, out),
            #[cfg(debug_assertions)]
            Asker::Condition(client, put) => self.on_condition(client, *put, answer, out),
        }
    }
}

/// The command that decides a body.
pub(super) fn decision(target: Target, body: Body, expires: WallTime) -> Operation {
    Operation::Object(match target {
        // Replicas of an older build read it, too.
        Target::Object { object, etag, metadata, attributes, condition } if *attributes == Attributes::default() => {
            ObjectOperation::PutObject { object, body, etag, metadata, condition, expires }
        }
        Target::Object { object, etag, metadata, attributes, condition } => {
            ObjectOperation::PutVersion { object, body, etag, metadata, attributes, condition, expires }
        }
        Target::Part { object, upload, number, etag, metadata } => {
            ObjectOperation::PutPart { object, upload, number, body, etag, metadata, expires }
        }
    })
}

pub(super) fn reply(id: RequestId, reply: Reply, out: &mut Vec<Effect>) {
    out.push(Effect::Reply { id, reply });
}

pub(super) fn unavailable(id: RequestId, why: Unavailable, out: &mut Vec<Effect>) {
    reply(id, Reply::Unavailable(why), out);
}

pub(super) fn damaged(id: RequestId, error: &OpenError, out: &mut Vec<Effect>) {
    unavailable(id, Unavailable::Damaged(format!("{error:?}")), out);
}

fn why(reason: raft::Refusal) -> Unavailable {
    match reason {
        raft::Refusal::NotLeader { leader } => Unavailable::NotLeader { leader },
        raft::Refusal::Busy => Unavailable::Busy,
        raft::Refusal::LostLead => Unavailable::Uncertain,
        raft::Refusal::Change(why) => Unavailable::Change(why),
    }
}
