//! Commands and reads of a replica that does not lead: handed to the leader, and answered here.
//!
//! Clients may ask any node. A command travels to the leader, which says where in the log it stands; the follower
//! applies the entry like any other and answers its own client. A read asks the leader for its ReadIndex (thesis §6.4,
//! last paragraph) and is answered from the follower's own state machine once that has applied the index. So answers
//! need no encoding of their own, and a follower takes the work of queries off its leader.
//!
//! - `RAFT-19`: an answer counts only for the question that it answers: questions are named by the life of the process
//!   and a number, and neither is ever used again, so nothing that was said to an earlier life of a node confirms a
//!   read of this one.
//! - `RAFT-20`: a command is handed over at most once, and taken once though the network may double it. One that was
//!   handed over and whose fate is not known is refused as `LostLead`. No leader denies one: the network may have
//!   brought another copy in time.
//!
//! Not here: how a leader proposes (`replication`) and confirms its lead (`reads`).

use super::event::{Effect, Refusal};
use super::message::{Ask, ForwardOutcome, Message};
use super::reads::Reader;
use super::{Raft, RoleState};
use crate::planted::planted;
use crate::types::{LogIndex, LogPosition, NodeId, RequestId, Term, Time};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

/// What a replica has asked others to do, and what waits for someone to ask.
#[derive(Debug)]
pub(super) struct Forward {
    /// Names this life of the replica (`RAFT-19`).
    life: u64,
    next: u64,
    /// For want of a leader.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Handed to the leader that this replica follows, by the number of the question.
    commands: BTreeMap<u64, Sent>,
    reads: BTreeMap<u64, Sent>,
}

#[derive(Debug)]
struct Waiting {
    id: RequestId,
    /// A command; without one it is a read.
    command: Option<Bytes>,
    until: Time,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    id: RequestId,
    until: Time,
}

impl Forward {
    pub(super) fn new(life: u64) -> Forward {
        let (commands, reads) = (BTreeMap::new(), BTreeMap::new());
        Forward { life, next: 1, waiting: VecDeque::new(), waiting_bytes: 0, commands, reads }
    }

    /// When the first of them has waited long enough.
    pub(super) fn deadline(&self) -> Option<Time> {
        let waiting = self.waiting.iter().map(|waiting| waiting.until);
        let sent = self.commands.values().chain(self.reads.values()).map(|sent| sent.until);
        waiting.chain(sent).min()
    }

    pub(super) fn ask(&mut self) -> Ask {
        let number = self.next;
        self.next += 1;
        Ask { life: self.life, number }
    }

    fn take_waiting(&mut self) -> VecDeque<Waiting> {
        self.waiting_bytes = 0;
        core::mem::take(&mut self.waiting)
    }
}

/// Commands of one follower that a leader remembers, so that a message which the network doubles is taken once.
const FORWARDS_MAX: usize = 4096;

/// Lives of one follower that a leader remembers.
const LIVES_MAX: usize = 4;

/// The commands that a follower has handed over in this term, by its lives, the latest last.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    lives: VecDeque<LifeForwards>,
}

#[derive(Debug)]
struct LifeForwards {
    life: u64,
    numbers: BTreeSet<u64>,
    /// Whatever is below was forgotten, and counts as seen.
    floor: u64,
}

impl Forwards {
    /// False when the command was handed over before, or too long ago to tell.
    fn note(&mut self, ask: Ask) -> bool {
        let known = self.lives.iter().position(|known| known.life == ask.life);
        let at = known.unwrap_or_else(|| {
            self.lives.push_back(LifeForwards { life: ask.life, numbers: BTreeSet::new(), floor: 0 });
            if self.lives.len() > LIVES_MAX {
                self.lives.pop_front();
            }
            self.lives.len() - 1
        });
        let LifeForwards { numbers, floor, .. } = &mut self.lives[at];
        let is_new = ask.number >= *floor && numbers.insert(ask.number);
        if numbers.len() > FORWARDS_MAX
            && let Some(oldest) = numbers.pop_first()
        {
            *floor = oldest + 1;
        }
        is_new
    }
}

impl Raft {
    /// A command, or a read when there is none, that this replica cannot take itself.
    pub(super) fn forward(&mut self, id: RequestId, command: Option<Bytes>, now: Time, out: &mut Vec<Effect>) {
        if self.config.forward_patience.is_zero() {
            out.push(Effect::Refused { id, reason: Refusal::NotLeader { leader: self.leader() } });
            return;
        }
        let bytes = self.forward.waiting_bytes.saturating_add(command.as_ref().map_or(0, Bytes::len));
        if self.forward.waiting_bytes > 0 && bytes > self.config.uncommitted_bytes_max {
            out.push(Effect::Refused { id, reason: Refusal::Busy });
            return;
        }
        let until = now.after(self.config.forward_patience);
        self.forward.waiting_bytes = bytes;
        self.forward.waiting.push_back(Waiting { id, command, until });
        self.forward_waiting(out);
    }

    /// Hands over what waits, if there is someone to take it.
    fn forward_waiting(&mut self, out: &mut Vec<Effect>) {
        let RoleState::Follower { following: Some(following), .. } = &self.role else { return };
        let (to, term) = (following.leader, self.hard_state.term);
        for Waiting { id, command, until } in self.forward.take_waiting() {
            let ask = self.forward.ask();
            let (sent, message) = match command {
                Some(command) => (&mut self.forward.commands, Message::Forward { term, ask, command }),
                None => (&mut self.forward.reads, Message::ReadIndex { term, ask }),
            };
            sent.insert(ask.number, Sent { id, until });
            out.push(Effect::Send { to, message });
        }
    }

    /// The role or the leader is another one. What was handed to the one before is settled, and the rest finds its way.
    pub(super) fn reroute(&mut self, now: Time, out: &mut Vec<Effect>) {
        for sent in core::mem::take(&mut self.forward.commands).into_values() {
            out.push(Effect::Refused { id: sent.id, reason: Refusal::LostLead }); // RAFT-20
        }
        // A read has no effect, so it may be asked again.
        for Sent { id, until } in core::mem::take(&mut self.forward.reads).into_values() {
            self.forward.waiting.push_back(Waiting { id, command: None, until });
        }
        if self.is_leader() {
            for Waiting { id, command, .. } in self.forward.take_waiting() {
                match command {
                    Some(command) => self.on_propose(id, command, now, out),
                    None => self.on_read(id, now, out),
                }
            }
        } else {
            self.forward_waiting(out);
        }
    }

    /// Gives up what has waited long enough.
    pub(super) fn expire_forwards(&mut self, now: Time, out: &mut Vec<Effect>) {
        let leader = self.leader();
        let forward = &mut self.forward;
        let mut waiting_bytes = 0;
        forward.waiting.retain(|waiting| {
            let expired = now >= waiting.until;
            if expired {
                out.push(Effect::Refused { id: waiting.id, reason: Refusal::NotLeader { leader } });
            } else {
                waiting_bytes += waiting.command.as_ref().map_or(0, Bytes::len);
            }
            !expired
        });
        forward.waiting_bytes = waiting_bytes;
        // RAFT-20: nobody said what became of the command.
        for (sent, reason) in
            [(&mut forward.commands, Refusal::LostLead), (&mut forward.reads, Refusal::NotLeader { leader })]
        {
            sent.retain(|_, Sent { id, until }| {
                let expired = now >= *until;
                if expired {
                    out.push(Effect::Refused { id: *id, reason });
                }
                !expired
            });
        }
    }

    /// A follower's command.
    pub(super) fn on_forward(&mut self, from: NodeId, term: Term, ask: Ask, command: Bytes, out: &mut Vec<Effect>) {
        // RAFT-20: silence, since another copy of the message may have been taken.
        if !self.serves(from, term) || !self.note_forward(from, ask) {
            return;
        }
        let outcome = match self.take_command(command, out) {
            Ok(position) => {
                self.note_asked(from, position.index);
                ForwardOutcome::Proposed(position.index)
            }
            Err(_) => ForwardOutcome::Busy,
        };
        out.push(Effect::Send { to: from, message: Message::ForwardResponse { term, ask, outcome } });
    }

    /// Notes that a follower handed this command over; false when it did so before.
    fn note_forward(&mut self, from: NodeId, ask: Ask) -> bool {
        let RoleState::Leader(leader) = &mut self.role else { return false };
        let is_new = leader.peers.get_mut(&from).is_some_and(|progress| progress.forwards.note(ask));
        is_new || planted!(self.config.planted, ForwardTwice)
    }

    /// Whether a question that was put to the leader of `term` is for this replica.
    pub(super) fn serves(&self, from: NodeId, term: Term) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        term == self.hard_state.term && leader.peers.contains_key(&from)
    }

    /// What the leader of `term` did with a command.
    pub(super) fn on_forward_response(&mut self, term: Term, ask: Ask, outcome: ForwardOutcome, out: &mut Vec<Effect>) {
        // RAFT-19
        if ask.life != self.forward.life {
            return;
        }
        let Some(Sent { id, .. }) = self.forward.commands.remove(&ask.number) else { return };
        match outcome {
            ForwardOutcome::Proposed(index) if term == self.hard_state.term && index > self.delivered => {
                out.push(Effect::Proposed { id, position: LogPosition { index, term } });
            }
            // The answer was overtaken by what it announced, or by another leader.
            ForwardOutcome::Proposed(_) => out.push(Effect::Refused { id, reason: Refusal::LostLead }),
            ForwardOutcome::Busy => out.push(Effect::Refused { id, reason: Refusal::Busy }),
        }
    }

    /// A follower's read.
    pub(super) fn on_read_index(&mut self, from: NodeId, term: Term, ask: Ask, now: Time, out: &mut Vec<Effect>) {
        if self.serves(from, term) {
            self.take_read(Reader::Peer(from, ask), now, out);
        }
    }

    /// The leader's confirmed index. It was committed after the question was put, whoever leads by now.
    pub(super) fn on_read_index_response(&mut self, ask: Ask, index: LogIndex, out: &mut Vec<Effect>) {
        // RAFT-19
        if ask.life != self.forward.life {
            return;
        }
        if let Some(Sent { id, .. }) = self.forward.reads.remove(&ask.number) {
            out.push(Effect::ReadReady { id, index });
        }
    }

    /// A follower waits for the entry at `index`: it will hear at once that it is committed.
    pub(super) fn note_asked(&mut self, peer: NodeId, index: LogIndex) {
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(progress) = leader.peers.get_mut(&peer)
        {
            progress.asked = progress.asked.max(index);
        }
    }

    /// Tells followers that wait for what is committed by now.
    pub(super) fn tell_commit(&mut self, out: &mut Vec<Effect>) {
        let commit = self.commit;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let mut waiting = Vec::new();
        for (peer, progress) in &mut leader.peers {
            if progress.told < progress.asked.min(commit) {
                progress.told = commit;
                waiting.push((*peer, progress.next.prev()));
            }
        }
        for (peer, index) in waiting {
            if let Some(term) = self.log.term(index) {
                self.send(peer, LogPosition { index, term }, Vec::new(), out);
            }
        }
    }
}
