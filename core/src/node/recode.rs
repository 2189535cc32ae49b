//! Bodies whose profile is not that of the cluster any more are cut anew: read, sealed under a key of their own, stored like a new
//! body, and decided in the place of the old one.
//!
//! What was written on three nodes survives the loss of one, however many nodes join later; and where only two nodes are left,
//! three shards have no place to go. So the mover, which looks at every body after a change of the cluster, hands over those
//! with another profile.
//!
//! - `RECODE-3` A body is never changed in its place: shards of two profiles never bear the same name. Until the decision the old one
//!   is the body, and after it the new one.
//! - `RECODE-4` A new body that was not decided is discarded, and one of which nobody knows is left to the sweep (`OBJ-2`).
//!
//! Not here: when (`mover`), and what the decision says (`state::objects::recode`).

use super::Node;
use super::clients::Proposer;
use super::event::Effect;
use super::objects::WriteFor;
use super::reading::{ReadFor, stripe_length};
use crate::raft;
use crate::state::{Answer, Body, ObjectOperation, Operation, Place};
use crate::stripe::{self, DataKey, Profile};
use crate::types::{DriveId, GroupId, RequestId, Trace, VersionId};
use crate::write::{self, Write};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// A body on its way to another profile. The new one is the write of the same number.
#[derive(Debug)]
pub(super) struct Recode {
    pub(super) body: Body,
    key: DataKey,
    stripe: u32,
}

impl Node {
    /// Whether new bodies are cut in another way than this one, as far as that is settled: a change of the cluster has a placement
    /// of its own in the end.
    pub(super) fn is_of_another_profile(&self, body: &Body) -> bool {
        let settled = self.placement.as_ref().filter(|placement| placement.topology == self.topology.epoch);
        let profile = match body.place {
            Place::Striped { profile, .. } => Some(profile),
            Place::Inline(_) => None,
        };
        settled.zip(profile).is_some_and(|(placement, profile)| placement.profile != profile)
    }

    /// Where a body goes that is cut anew: with all of the profile, or nowhere.
    fn place_for_good(&self, version: VersionId) -> Option<(Profile, Vec<DriveId>)> {
        let profile = self.placement.as_ref()?.profile;
        self.place(version).ok().filter(|(whole, _)| *whole == profile)
    }

    pub(super) fn begin_recode(&mut self, body: Body, out: &mut Vec<Effect>) {
        let key = match stripe::unwrap_key(&self.config.root_key, body.version, &body.key) {
            Ok(key) => key,
            Err(error) => {
                let note = format!("version {} cannot be cut anew: {error:?}", body.version);
                out.push(Effect::Trace(Trace::Suspect(note)));
                self.note_left_over();
                return;
            }
        };
        // RECODE-3
        let (version, new_key, wrapped) = self.fresh_body();
        let Some((profile, drives)) = self.place_for_good(version) else {
            self.note_left_over();
            return;
        };
        let id = self.fresh_id();
        let planted = self.config.planted;
        let write = Write::new(write::Begin { version, key: new_key, wrapped, profile, drives, planted });
        self.writes.insert(WriteFor::Recode(id), write);
        self.alive.insert(version);
        self.mover.recodes.insert(id, Recode { body, key, stripe: 0 });
        self.recode_stripe(id, out);
    }

    /// Reads the next stripe, or decides when there is none.
    fn recode_stripe(&mut self, id: u64, out: &mut Vec<Effect>) {
        let Some(one) = self.mover.recodes.get(&id) else { return };
        match stripe_length(&one.body, one.stripe) {
            Some(length) => {
                let (body, key, stripe) = (one.body.clone(), one.key.clone(), one.stripe);
                self.read_body(ReadFor::Recode(id), body, key, stripe, length, None, out);
            }
            None => self.decide_recode(id, out),
        }
    }

    /// The stripe was read, and its seal held.
    pub(super) fn on_recode_read(&mut self, id: u64, bytes: Bytes, out: &mut Vec<Effect>) {
        let Some(one) = self.mover.recodes.get(&id) else { return };
        let index = one.stripe;
        let expires = self.wall(GroupId::REGION).after(self.config.prepare_ttl);
        // Nobody but this job waits for it.
        let request = RequestId(id);
        self.step_write(WriteFor::Recode(id), write::Event::Stripe { request, index, bytes, expires }, out);
    }

    pub(super) fn on_recode_stored(&mut self, id: u64, stored: bool, out: &mut Vec<Effect>) {
        if !stored {
            self.fail_recode(id, out);
            return;
        }
        if let Some(one) = self.mover.recodes.get_mut(&id) {
            one.stripe += 1;
        }
        self.recode_stripe(id, out);
    }

    fn decide_recode(&mut self, id: u64, out: &mut Vec<Effect>) {
        let Some(one) = self.mover.recodes.get(&id) else { return };
        let version = one.body.version;
        let write = self.writes.remove(&WriteFor::Recode(id)).expect("a job that goes on has its write");
        let (body, expires) =
            write.body().expect("every stripe was acknowledged, in order, and only the last is short");
        let (new, drives) = (write.version(), write.drives().to_vec());
        let operation = Operation::Object(ObjectOperation::Recode { version, body, expires });
        self.propose(GroupId::REGION, None, operation, Proposer::Recode { id, new, drives }, out);
    }

    pub(super) fn on_recoded(
        &mut self,
        id: u64,
        new: VersionId,
        drives: &[DriveId],
        answer: &Answer,
        out: &mut Vec<Effect>,
    ) {
        let decided = *answer == Answer::Done;
        // RECODE-4
        self.end_decision(new, drives, decided, out);
        if decided {
            self.mover.figures.recoded += 1;
            self.mover.recodes.remove(&id);
            self.start_moves(out);
        } else {
            self.fail_recode(id, out);
        }
    }

    /// The decision was not taken, or nobody knows.
    pub(super) fn on_recode_refused(
        &mut self,
        id: u64,
        new: VersionId,
        drives: &[DriveId],
        reason: &raft::Refusal,
        out: &mut Vec<Effect>,
    ) {
        self.end_refused(new, drives, reason, out);
        self.fail_recode(id, out);
    }

    /// RECODE-4: the body stays as it is.
    pub(super) fn fail_recode(&mut self, id: u64, out: &mut Vec<Effect>) {
        if let Some(write) = self.writes.remove(&WriteFor::Recode(id)) {
            self.end_decision(write.version(), write.drives(), false, out);
        }
        self.mover.recodes.remove(&id);
        self.note_left_over();
        self.start_moves(out);
    }
}
