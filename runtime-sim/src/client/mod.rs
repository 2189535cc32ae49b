//! Clients: actors that ask, wait, give up, try again elsewhere, and note in a history what they did and heard.
//!
//! The intuition: a client is a small state machine like everything else. It is woken by its own timers and by replies;
//! what it wants sent goes to a [`Desk`], and the driver carries it.

mod bodies;
pub mod builder;
pub mod keys;
pub mod objects;
pub mod operator;
pub mod reader;
pub mod versions;

use crate::check::Complaint;
use crate::check::keys::{KeyHistory, WriteId};
use crate::check::objects::ObjectHistory;
use crate::check::versions::VersionHistory;
use crate::world::SimTime;
use anvil_core::node::{Reply, Request};
use anvil_core::types::RequestId;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What all clients of a run did and heard.
#[derive(Debug, Default)]
pub struct Histories {
    /// User keys.
    pub keys: KeyHistory,
    /// Objects.
    pub objects: ObjectHistory,
    /// Versions.
    pub versions: VersionHistory,
    /// The size of the body of each put.
    pub sizes: BTreeMap<WriteId, usize>,
}

impl Histories {
    /// Operations with a known outcome.
    pub fn completed(&self) -> usize {
        self.keys.completed() + self.objects.completed() + self.versions.completed()
    }
}

/// A client's desk while it has the turn: what it may know, and where it puts what it wants done.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The seed, of which bodies are a function.
    pub seed: u64,
    /// True time; the client's own clock is good.
    pub now: SimTime,
    /// The nodes of the cluster.
    pub nodes: &'a [u64],
    /// Whether bytes may be reported as damaged beyond repair (the atlas says).
    pub may_lose_bytes: bool,
    /// Drives of each node where there are several nodes: a drive's number tells its node.
    pub drives_per_node: Option<u32>,
    /// Whether too few drives may answer for a while: while there is trouble in a cluster.
    pub may_be_unreachable: bool,
    /// What was done and heard.
    pub histories: &'a mut Histories,
    /// Ids of requests and writes, each used once in a run.
    pub next_id: &'a mut u64,
    /// Requests to send.
    pub sends: Vec<(u64, RequestId, Request)>,
    /// When to be woken, and the token to be woken with.
    pub wakes: Vec<(SimTime, u64)>,
    /// What the client must complain about at once.
    pub complaint: Option<Complaint>,
}

impl Desk<'_> {
    /// A number that nobody else has.
    pub fn fresh(&mut self) -> u64 {
        *self.next_id += 1;
        *self.next_id
    }

    /// Sends a request to a node.
    pub fn send(&mut self, node: u64, request: Request) -> RequestId {
        let id = RequestId(self.fresh());
        self.sends.push((node, id, request));
        id
    }

    /// Asks to be woken.
    pub fn wake(&mut self, after_micros: u64, token: u64) {
        self.wakes.push((self.now.after(after_micros), token));
    }

    /// Complains, if nobody did before.
    pub fn complain(&mut self, promise: &'static str, what: String) {
        self.complaint.get_or_insert(Complaint::new(promise, what));
    }
}

/// An actor outside of the cluster.
pub trait Client: Debug {
    /// A timer rang. Timers with an old token are to be ignored. The first wake has token 0.
    fn on_wake(&mut self, token: u64, desk: &mut Desk<'_>);

    /// An answer arrived.
    fn on_reply(&mut self, id: RequestId, reply: Reply, desk: &mut Desk<'_>);

    /// No new operation from here on; the one under way may end.
    fn stop(&mut self);

    /// Whether nothing is under way and nothing will begin.
    fn is_done(&self) -> bool;

    /// The run ends: what is under way has an unknown outcome.
    fn abandon(&mut self, desk: &mut Desk<'_>);

    /// Whether the client is a gateway inside of the node's own process, as the front doors are: its requests and their
    /// replies are not lost and not reordered while the process lives, and what it says on leaving is heard.
    fn is_gateway(&self) -> bool {
        false
    }

    /// What the objects that were found should have.
    fn found(&self) -> reader::Found {
        reader::Found::default()
    }
}
