//! The way from a front door (S3, `/kv`, the command line's server side) to the node's core loop.
//!
//! The intuition: one channel in, one oneshot back for each request. What must not leak when a client goes away (an
//! open object, a write under way) is a guard whose drop tells the node.
//!
//! - `CLIENT-1` Bytes in flight between doors and core are bounded: every stripe holds a permit until it is stored or
//!   handed to the client's socket.
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of any other kind is one and the same bug")]

use crate::node::{Inbox, Room, grows};
use anvil_core::node::{Reply, Request, Status, Target, Unavailable};
use anvil_core::state::{Answer, Object, ObjectName, Operation, Query, QueryAnswer, Refusal, SessionStamp};
use anvil_core::stripe::STRIPE_SIZE;
use anvil_core::types::{GroupId, RequestId};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Stripes that may be in flight at once, over all clients of the node.
const STRIPES_IN_FLIGHT_MAX: usize = 48;

/// Stripes that one reader or writer keeps in flight.
pub const STRIPES_AHEAD: usize = 4;

/// A request on its way to the core loop. Without `reply` nobody waits for the answer.
#[derive(Debug)]
pub struct Inbound {
    /// Its id.
    pub id: RequestId,
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: Option<oneshot::Sender<Reply>>,
}

/// A handle on the node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inbox: crossbeam_channel::Sender<Inbox>,
    next_id: Arc<AtomicU64>,
    stripes: Arc<Semaphore>,
    room: Option<Room>,
}

/// Why a request did not succeed, other than by the state machine's own refusal in an `Answer`.
#[derive(Debug)]
pub enum ClientError {
    /// The node could not do it.
    Unavailable(Unavailable),
    /// The state machine refused.
    Refused(Refusal),
    /// The node is stopping.
    Stopping,
}

impl Client {
    /// A client whose requests go to `inbox`.
    pub fn new(inbox: crossbeam_channel::Sender<Inbox>) -> Client {
        let stripes = Arc::new(Semaphore::new(STRIPES_IN_FLIGHT_MAX));
        Client { inbox, next_id: Arc::new(AtomicU64::new(1)), stripes, room: None }
    }

    /// The same client, which refuses what grows the state while the drive has no room for it.
    #[must_use]
    pub fn within(self, room: Room) -> Client {
        Client { room: Some(room), ..self }
    }

    fn check_room(&self) -> Result<(), ClientError> {
        let full = self.room.as_ref().is_some_and(|room| !room.takes_more());
        if full { Err(ClientError::Unavailable(Unavailable::DiskFull)) } else { Ok(()) }
    }

    fn post(&self, request: Request, reply: Option<oneshot::Sender<Reply>>) -> RequestId {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        // A closed inbox means the node is stopping; the dropped sender then tells whoever waits.
        let _ = self.inbox.send(Inbox::Client(Inbound { id, request, reply }));
        id
    }

    async fn ask(&self, request: Request) -> Result<Reply, ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.post(request, Some(sender));
        match receiver.await {
            Ok(Reply::Unavailable(why)) => Err(ClientError::Unavailable(why)),
            Ok(Reply::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(ClientError::Stopping),
        }
    }

    /// Decides a command in a group. A refusal by the state machine is `ClientError::Refused`.
    pub async fn command(
        &self,
        group: GroupId,
        session: Option<SessionStamp>,
        operation: Operation,
    ) -> Result<Answer, ClientError> {
        if grows(&operation) {
            self.check_room()?;
        }
        self.answer(Request::Command { group, session, operation }).await
    }

    async fn answer(&self, request: Request) -> Result<Answer, ClientError> {
        match self.ask(request).await? {
            Reply::Answer(Answer::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Reply::Answer(answer) => Ok(answer),
            other => unexpected(&other),
        }
    }

    /// Asks a linearizable question.
    pub async fn query(&self, group: GroupId, query: Query) -> Result<QueryAnswer, ClientError> {
        match self.ask(Request::Query { group, query }).await? {
            Reply::Queried(QueryAnswer::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Reply::Queried(answer) => Ok(answer),
            other => unexpected(&other),
        }
    }

    /// Stores a body of at most `stripe::INLINE_MAX` bytes and decides it.
    pub async fn put_inline(&self, target: Target, bytes: Bytes) -> Result<Answer, ClientError> {
        self.check_room()?;
        self.answer(Request::PutInline { target, bytes }).await
    }

    /// Begins a write of any size.
    pub async fn begin_write(&self) -> Result<Writer, ClientError> {
        self.check_room()?;
        let (sender, receiver) = oneshot::channel();
        let id = self.post(Request::BeginWrite, Some(sender));
        // From here on a dropped future must give the write up, begun or not.
        let writer = Writer { client: self.clone(), id, next_stripe: 0, in_flight: Vec::new(), ended: false };
        match receiver.await {
            Ok(Reply::Begun) => Ok(writer),
            Ok(Reply::Unavailable(why)) => Err(ClientError::Unavailable(why)),
            Ok(Reply::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Ok(other) => unexpected(&other),
            Err(_) => Err(ClientError::Stopping),
        }
    }

    /// Opens the current version of an object for reading.
    pub async fn open(&self, object: ObjectName) -> Result<OpenObject, ClientError> {
        let (sender, receiver) = oneshot::channel();
        let id = self.post(Request::Open { object }, Some(sender));
        // From here on a dropped future must close the handle, opened or not.
        let guard = OpenGuard { client: self.clone(), id };
        match receiver.await {
            Ok(Reply::Opened(object)) => Ok(OpenObject { guard: Arc::new(guard), object: Arc::new(object) }),
            Ok(Reply::Unavailable(why)) => Err(ClientError::Unavailable(why)),
            Ok(Reply::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Ok(other) => unexpected(&other),
            Err(_) => Err(ClientError::Stopping),
        }
    }

    /// The node's state.
    pub async fn status(&self) -> Result<Status, ClientError> {
        match self.ask(Request::Status).await? {
            Reply::Status(status) => Ok(status),
            other => unexpected(&other),
        }
    }
}

fn unexpected<T>(reply: &Reply) -> T {
    panic!("the core answered a request with a reply of another kind: {reply:?}")
}

type StripeAnswer = (oneshot::Receiver<Reply>, OwnedSemaphorePermit);

/// A body being written. Dropping it before `decide` gives the write up.
#[derive(Debug)]
pub struct Writer {
    client: Client,
    id: RequestId,
    next_stripe: u32,
    in_flight: Vec<StripeAnswer>,
    ended: bool,
}

impl Writer {
    /// Sends the next stripe: exactly `STRIPE_SIZE` bytes, but for the last. Waits while too many are in flight.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        assert!(!bytes.is_empty() && bytes.len() <= STRIPE_SIZE, "a stripe has 1 to STRIPE_SIZE bytes");
        if self.in_flight.len() >= STRIPES_AHEAD {
            let oldest = self.in_flight.remove(0);
            stored(oldest).await?;
        }
        // CLIENT-1
        let permit = Arc::clone(&self.client.stripes).acquire_owned().await.map_err(|_| ClientError::Stopping)?;
        let (sender, receiver) = oneshot::channel();
        let request = Request::WriteStripe { write: self.id, index: self.next_stripe, bytes };
        self.client.post(request, Some(sender));
        self.next_stripe += 1;
        self.in_flight.push((receiver, permit));
        Ok(())
    }

    /// Waits for all stripes, then makes the body what `target` says.
    pub async fn decide(mut self, target: Target) -> Result<Answer, ClientError> {
        for stripe in std::mem::take(&mut self.in_flight) {
            stored(stripe).await?;
        }
        self.ended = true;
        self.client.answer(Request::DecideWrite { write: self.id, target }).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended {
            self.client.post(Request::AbortWrite { write: self.id }, None);
        }
    }
}

async fn stored((receiver, _permit): StripeAnswer) -> Result<(), ClientError> {
    match receiver.await {
        Ok(Reply::StripeStored) => Ok(()),
        Ok(Reply::Unavailable(why)) => Err(ClientError::Unavailable(why)),
        Ok(other) => unexpected(&other),
        Err(_) => Err(ClientError::Stopping),
    }
}

#[derive(Debug)]
struct OpenGuard {
    client: Client,
    id: RequestId,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.client.post(Request::Close { open: self.id }, None);
    }
}

/// An object that stays readable while this handle, or a reader made from it, lives.
#[derive(Clone, Debug)]
pub struct OpenObject {
    guard: Arc<OpenGuard>,
    object: Arc<Object>,
}

impl OpenObject {
    /// What was opened.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Reads `range` of the object's bytes; `range.end` is at most its size.
    pub fn read(&self, range: Range<u64>) -> Reader {
        assert!(range.start <= range.end && range.end <= self.object.size, "the range lies inside the object");
        let mut pieces = std::collections::VecDeque::new();
        let mut body_start = 0u64;
        for (index, body) in self.object.bodies.iter().enumerate() {
            let body_range = body_start..body_start + body.size;
            body_start = body_range.end;
            let wanted = range.start.max(body_range.start)..range.end.min(body_range.end);
            if wanted.start < wanted.end {
                let body = u32::try_from(index).expect("an object has at most 10,000 parts");
                pieces.push_back(Piece { body, range: wanted.start - body_range.start..wanted.end - body_range.start });
            }
        }
        Reader { open: self.clone(), pieces, in_flight: std::collections::VecDeque::new() }
    }
}

/// A range of one body.
#[derive(Debug)]
struct Piece {
    body: u32,
    range: Range<u64>,
}

/// Bytes of an open object, in order, read ahead by a few stripes.
#[derive(Debug)]
pub struct Reader {
    open: OpenObject,
    pieces: std::collections::VecDeque<Piece>,
    in_flight: std::collections::VecDeque<(StripeAnswer, Range<usize>)>,
}

impl Reader {
    /// The next bytes; `None` at the end. An error ends the stream: nothing unverified is ever returned.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        while self.in_flight.len() < STRIPES_AHEAD {
            let stripes = Arc::clone(&self.open.guard.client.stripes);
            let permit = if self.in_flight.is_empty() {
                if self.pieces.is_empty() {
                    return None;
                }
                stripes.acquire_owned().await.ok()?
            } else {
                // Reading ahead takes only what is free, so that readers cannot starve each other.
                match stripes.try_acquire_owned() {
                    Ok(permit) => permit,
                    Err(_) => break,
                }
            };
            let Some((body, stripe, wanted)) = self.next_stripe() else { break };
            let (sender, receiver) = oneshot::channel();
            let request = Request::ReadStripe { open: self.open.guard.id, body, stripe };
            self.open.guard.client.post(request, Some(sender));
            self.in_flight.push_back(((receiver, permit), wanted));
        }
        let ((receiver, _permit), wanted) = self.in_flight.pop_front()?;
        Some(match receiver.await {
            Ok(Reply::Stripe(bytes)) => Ok(bytes.slice(wanted)),
            Ok(Reply::Unavailable(why)) => Err(ClientError::Unavailable(why)),
            Ok(other) => unexpected(&other),
            Err(_) => Err(ClientError::Stopping),
        })
    }

    /// Takes the next stripe off the pieces: body, stripe number, and which of its bytes are wanted.
    fn next_stripe(&mut self) -> Option<(u32, u32, Range<usize>)> {
        let size = STRIPE_SIZE as u64;
        let piece = self.pieces.front_mut()?;
        let stripe = piece.range.start / size;
        let stripe_end = ((stripe + 1) * size).min(piece.range.end);
        let within = |at: u64| usize::try_from(at - stripe * size).expect("an offset in a stripe fits");
        let wanted = within(piece.range.start)..within(stripe_end);
        let body = piece.body;
        piece.range.start = stripe_end;
        if piece.range.start == piece.range.end {
            self.pieces.pop_front();
        }
        Some((body, u32::try_from(stripe).expect("an object has fewer than 2^32 stripes"), wanted))
    }
}

#[cfg(test)]
mod tests;
