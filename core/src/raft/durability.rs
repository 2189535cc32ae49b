//! Nothing is said before it is true on disk: requests to the log, and the messages that wait for them.
//!
//! Every change of the term, the vote or the entries becomes one `Persist` with an id that grows by one; completion of
//! an id means that all before it are durable too. A message that promises something names the request that makes it
//! true and is held until that request is done. A crash forgets held messages together with what they promised.
//!
//! - `RAFT-2`: no vote and no acknowledgement leaves before its record is on disk (Raft figure 2, "persistent state").
//! - `RAFT-8`: `durable` never covers an entry that was replaced in memory: truncation lowers it, and lowers what
//!   requests under way will raise it to, so a late completion cannot vouch for the entries that came instead.

use super::event::Effect;
use super::message::{AppendOutcome, InstallOutcome, Message};
use super::{Raft, RoleState};
use crate::types::{Entries, LogIndex, LogPosition, NodeId, PersistId, Time};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// What is durable, what is on its way there, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Durability {
    /// The last request that was made.
    issued: PersistId,
    /// The last request that is done.
    persisted: PersistId,
    /// Requests that are not done, oldest first, each with the last index that is durable when it is.
    under_way: VecDeque<(PersistId, LogIndex)>,
    /// The log in memory is durable up to here.
    pub(super) index: LogIndex,
    /// The request that makes the current term and vote durable.
    pub(super) hard_state: PersistId,
    /// The term or the vote changed, and no request carries it yet.
    hard_state_changed: bool,
    /// Since when the disk has had work and finished none of it.
    busy_since: Option<Time>,
    /// Messages by the request that they wait for.
    held: BTreeMap<PersistId, Vec<(NodeId, Message)>>,
}

impl Durability {
    pub(super) fn new(index: LogIndex) -> Durability {
        Durability { index, ..Durability::default() }
    }

    pub(super) fn is_done(&self, id: PersistId) -> bool {
        id <= self.persisted
    }

    /// The request that makes the entry at `index` durable; one that is done when it is already.
    pub(super) fn request_for(&self, index: LogIndex) -> PersistId {
        if index <= self.index {
            return self.persisted;
        }
        let covering = self.under_way.iter().find(|(_, last)| *last >= index);
        covering.expect("an entry in memory is durable or on its way").0
    }

    /// The entries after `last` are void: nothing vouches for their indexes any more.
    pub(super) fn void_after(&mut self, last: LogIndex) {
        self.index = self.index.min(last);
        for (_, covered) in &mut self.under_way {
            *covered = (*covered).min(last);
        }
        for messages in self.held.values_mut() {
            messages.retain(|(_, message)| !vouches_after(message, last));
        }
    }

    /// Messages of an older term are of no use to anyone.
    pub(super) fn drop_held(&mut self) {
        self.held.clear();
    }

    /// Since when requests have been under way of which none was finished (`RAFT-21`).
    pub(super) fn busy_since(&self) -> Option<Time> {
        self.busy_since
    }

    /// A step ends at `now`, with or without requests under way.
    pub(super) fn watch(&mut self, now: Time) {
        if self.under_way.is_empty() {
            self.busy_since = None;
        } else {
            self.busy_since.get_or_insert(now);
        }
    }

    fn issue(&mut self, last: LogIndex) -> PersistId {
        self.issued = PersistId(self.issued.0 + 1);
        self.under_way.push_back((self.issued, last));
        self.issued
    }
}

/// Whether the message says that an entry after `last` is durable.
fn vouches_after(message: &Message, last: LogIndex) -> bool {
    match message {
        Message::AppendEntriesResponse { outcome: AppendOutcome::Matched(matched), .. } => *matched > last,
        Message::InstallSnapshotResponse { outcome: InstallOutcome::Installed(matched), .. } => *matched > last,
        Message::AppendEntriesResponse { outcome: AppendOutcome::Rejected { .. }, .. }
        | Message::InstallSnapshotResponse { outcome: InstallOutcome::Received { .. }, .. }
        | Message::PreVote { .. }
        | Message::PreVoteResponse { .. }
        | Message::RequestVote { .. }
        | Message::RequestVoteResponse { .. }
        | Message::AppendEntries { .. }
        | Message::InstallSnapshot { .. }
        | Message::TimeoutNow { .. }
        | Message::Forward { .. }
        | Message::ForwardResponse { .. }
        | Message::ReadIndex { .. }
        | Message::ReadIndexResponse { .. }
        | Message::RecoverLog { .. }
        | Message::RecoverLogResponse { .. } => false,
    }
}

impl Raft {
    /// The term or the vote changed in memory. The next request, made before the step ends, carries it.
    pub(super) fn mark_hard_state(&mut self) {
        self.durability.hard_state_changed = true;
        self.durability.hard_state = PersistId(self.durability.issued.0 + 1);
    }

    /// Makes `entries` durable, and the hard state with them if it changed.
    pub(super) fn persist(&mut self, entries: Entries, out: &mut Vec<Effect>) {
        let changed = core::mem::take(&mut self.durability.hard_state_changed);
        let last = entries.last().map_or(self.durability.index, |entry| entry.position.index);
        let id = self.durability.issue(last);
        out.push(Effect::Persist { id, hard_state: changed.then_some(self.hard_state), entries });
    }

    /// Makes a changed hard state durable if no entries carried it.
    pub(super) fn persist_hard_state(&mut self, out: &mut Vec<Effect>) {
        if self.durability.hard_state_changed {
            self.persist(Vec::new(), out);
        }
    }

    /// Restarts the durable log after `base`. The request's id, for those who wait for it.
    pub(super) fn persist_reset(&mut self, base: LogPosition, out: &mut Vec<Effect>) -> PersistId {
        self.persist_hard_state(out);
        let id = self.durability.issue(base.index);
        out.push(Effect::Reset { id, base });
        id
    }

    /// Sends a message that is true only once the request `after` is done (`RAFT-2`).
    pub(super) fn promise(&mut self, to: NodeId, message: Message, after: PersistId, out: &mut Vec<Effect>) {
        if self.durability.is_done(after) {
            out.push(Effect::Send { to, message });
        } else {
            self.durability.held.entry(after).or_default().push((to, message));
        }
    }

    /// Everything up to `id` is on disk.
    pub(super) fn on_persisted(&mut self, id: PersistId, now: Time, out: &mut Vec<Effect>) {
        let durability = &mut self.durability;
        assert!(id <= durability.issued, "request {} was never made", id.0);
        if id <= durability.persisted {
            return;
        }
        durability.persisted = id;
        durability.busy_since = None; // The disk works; what is left has until a patience from now.
        while let Some((_, last)) = durability.under_way.pop_front_if(|(request, _)| *request <= id) {
            durability.index = durability.index.max(last);
        }
        while let Some(waiting) = durability.held.first_entry().filter(|waiting| *waiting.key() <= id) {
            out.extend(waiting.remove().into_iter().map(|(to, message)| Effect::Send { to, message }));
        }
        match &self.role {
            RoleState::Candidate { .. } => self.on_ballot_persisted(now, out),
            RoleState::Leader(_) => {
                self.advance_commit(now, out);
                self.hand_over(out); // The own disk may have been the last that a commit waited for.
            }
            RoleState::Follower { .. } | RoleState::PreCandidate { .. } => {}
        }
        self.deliver(out);
        self.stand_down_if_gone(now, out);
    }
}
