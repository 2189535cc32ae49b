//! The way from a front door (S3, `/kv`, the command line's server side) to the node's core loop.
//!
//! The intuition: one channel in, one oneshot back for each request. What must not leak when a client goes away (an
//! open object, a write under way) is a guard whose drop tells the node.
//!
//! - `CLIENT-1` Bytes in flight between doors and core are bounded: every stripe holds a permit until it is stored or
//!   handed to the client's socket, whether or not the client is still there. So the permit travels with the request, and
//!   a write is given up only after the node has answered for all of its stripes.
//! - `CLIENT-2` A client that stops reading holds up no other: what it may keep is read ahead, and that has permits of its
//!   own. The permits of writes, and of stripes that somebody waits for, come back as fast as the drives work.
#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of any other kind is one and the same bug")]

use crate::mailbox::Sender;
use crate::node::{Inbox, Room, grows};
use anvil_core::node::{Reply, Request, Status, Target, Unavailable};
use anvil_core::state::{
    Answer, Object, ObjectName, Operation, Query, QueryAnswer, Refusal, SessionStamp, VersionName,
};
use anvil_core::stripe::STRIPE_SIZE;
use anvil_core::types::{GroupId, NodeId, RequestId};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Stripes on their way to the drives at once, over all clients of the node. Each is in memory up to three times, as
/// plaintext, sealed and framed, while the cores work on it.
const STRIPES_WRITTEN_MAX: usize = 8;

/// Stripes at once that a reader waits for.
const STRIPES_AWAITED_MAX: usize = 6;

/// Stripes at once that readers have asked for before they need them.
const STRIPES_READ_AHEAD_MAX: usize = 6;

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
    pub reply: Option<ReplyTo>,
}

/// Where an answer goes, and what the request holds until it comes.
#[derive(Debug)]
pub struct ReplyTo {
    sender: oneshot::Sender<Replied>,
    holds: Holds,
}

/// What a request holds until it is answered.
#[derive(Debug)]
enum Holds {
    Nothing,
    /// A stripe's bytes are on their way to the drives, and the write that they belong to is not given up yet.
    Stripe {
        _permit: OwnedSemaphorePermit,
        _write: Arc<WriteGuard>,
    },
    /// The answer brings a stripe's bytes, and the permit stays with them.
    Answer(OwnedSemaphorePermit),
}

/// An answer, with the permit for the bytes in it.
#[derive(Debug)]
struct Replied {
    reply: Reply,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ReplyTo {
    /// Answers. The client may have gone away; then the answer goes nowhere.
    pub fn send(self, reply: Reply) {
        // CLIENT-1: what was held for a stripe that is stored, or refused, ends here.
        let permit = match self.holds {
            Holds::Answer(permit) => Some(permit),
            Holds::Nothing | Holds::Stripe { .. } => None,
        };
        let _ = self.sender.send(Replied { reply, _permit: permit });
    }
}

/// A handle on the node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inbox: Sender<Inbox>,
    next_id: Arc<AtomicU64>,
    permits: Arc<Permits>,
    room: Option<Room>,
}

/// CLIENT-1, CLIENT-2
#[derive(Debug)]
struct Permits {
    written: Arc<Semaphore>,
    awaited: Arc<Semaphore>,
    read_ahead: Arc<Semaphore>,
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
    pub fn new(inbox: Sender<Inbox>) -> Client {
        let permits = Permits {
            written: Arc::new(Semaphore::new(STRIPES_WRITTEN_MAX)),
            awaited: Arc::new(Semaphore::new(STRIPES_AWAITED_MAX)),
            read_ahead: Arc::new(Semaphore::new(STRIPES_READ_AHEAD_MAX)),
        };
        Client { inbox, next_id: Arc::new(AtomicU64::new(1)), permits: Arc::new(permits), room: None }
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

    /// Sends a request and returns where its answer will come.
    fn send(&self, request: Request, holds: Holds) -> (RequestId, oneshot::Receiver<Replied>) {
        let (sender, receiver) = oneshot::channel();
        (self.post(request, Some(ReplyTo { sender, holds })), receiver)
    }

    fn post(&self, request: Request, reply: Option<ReplyTo>) -> RequestId {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        // A closed inbox means the node is stopping; the dropped sender then tells whoever waits.
        let _ = self.inbox.send(Inbox::Client(Inbound { id, request, reply }));
        id
    }

    async fn ask(&self, request: Request) -> Result<Reply, ClientError> {
        let (_, receiver) = self.send(request, Holds::Nothing);
        Ok(replied(receiver).await?.reply)
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
        let (id, receiver) = self.send(Request::BeginWrite, Holds::Nothing);
        // From here on a dropped future must give the write up, begun or not.
        let write = Arc::new(WriteGuard { client: self.clone(), id, decided: AtomicBool::new(false) });
        match replied(receiver).await?.reply {
            Reply::Begun => Ok(Writer { write, next_stripe: 0, in_flight: VecDeque::new() }),
            other => unexpected(&other),
        }
    }

    /// Opens a version of an object for reading, the newest one without a name.
    pub async fn open(&self, object: ObjectName, version: Option<VersionName>) -> Result<OpenObject, ClientError> {
        let (id, receiver) = self.send(Request::Open { object, version }, Holds::Nothing);
        // From here on a dropped future must close the handle, opened or not.
        let guard = OpenGuard { client: self.clone(), id };
        match replied(receiver).await?.reply {
            Reply::Opened(object) => Ok(OpenObject { guard: Arc::new(guard), object: Arc::new(object) }),
            other => unexpected(&other),
        }
    }

    /// Hands the lead of a group to another voter. Whether it takes the lead, `status` tells.
    pub async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<(), ClientError> {
        match self.ask(Request::TransferLeader { group, to }).await? {
            Reply::TransferBegun => Ok(()),
            other => unexpected(&other),
        }
    }

    /// Begins to search the drives of this node for damage now. Returns the state before.
    pub async fn scrub(&self) -> Result<Status, ClientError> {
        match self.ask(Request::Scrub).await? {
            Reply::Status(status) => Ok(status),
            other => unexpected(&other),
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

/// The answer to a request, unless it says that the request did not succeed.
async fn replied(receiver: oneshot::Receiver<Replied>) -> Result<Replied, ClientError> {
    match receiver.await {
        Ok(Replied { reply: Reply::Unavailable(why), .. }) => Err(ClientError::Unavailable(why)),
        Ok(Replied { reply: Reply::Refused(refusal), .. }) => Err(ClientError::Refused(refusal)),
        Ok(replied) => Ok(replied),
        Err(_) => Err(ClientError::Stopping),
    }
}

async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ClientError> {
    Arc::clone(of).acquire_owned().await.map_err(|_| ClientError::Stopping)
}

/// A write under way. Dropping it gives the write up, unless it is being decided.
#[derive(Debug)]
struct WriteGuard {
    client: Client,
    id: RequestId,
    decided: AtomicBool,
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if !self.decided.load(Ordering::Relaxed) {
            self.client.post(Request::AbortWrite { write: self.id }, None);
        }
    }
}

/// A body being written. Dropping it before `decide` gives the write up, once its stripes in flight are answered: what
/// the node answers earlier could still lie in the queue of a drive (`CLIENT-1`).
#[derive(Debug)]
pub struct Writer {
    write: Arc<WriteGuard>,
    next_stripe: u32,
    in_flight: VecDeque<oneshot::Receiver<Replied>>,
}

impl Writer {
    /// Sends the next stripe: exactly `STRIPE_SIZE` bytes, but for the last. Waits while too many are in flight.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        assert!(!bytes.is_empty() && bytes.len() <= STRIPE_SIZE, "a stripe has 1 to STRIPE_SIZE bytes");
        if self.in_flight.len() >= STRIPES_AHEAD
            && let Some(oldest) = self.in_flight.pop_front()
        {
            stored(oldest).await?;
        }
        let client = &self.write.client;
        // CLIENT-1
        let holds = Holds::Stripe { _permit: permit(&client.permits.written).await?, _write: Arc::clone(&self.write) };
        let request = Request::WriteStripe { write: self.write.id, index: self.next_stripe, bytes };
        let (_, receiver) = client.send(request, holds);
        self.next_stripe += 1;
        self.in_flight.push_back(receiver);
        Ok(())
    }

    /// Waits for all stripes, then makes the body what `target` says.
    pub async fn decide(mut self, target: Target) -> Result<Answer, ClientError> {
        for stripe in std::mem::take(&mut self.in_flight) {
            stored(stripe).await?;
        }
        self.write.decided.store(true, Ordering::Relaxed);
        self.write.client.answer(Request::DecideWrite { write: self.write.id, target }).await
    }
}

async fn stored(receiver: oneshot::Receiver<Replied>) -> Result<(), ClientError> {
    match replied(receiver).await?.reply {
        Reply::StripeStored => Ok(()),
        other => unexpected(&other),
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
        let mut pieces = VecDeque::new();
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
        Reader { open: self.clone(), pieces, in_flight: VecDeque::new() }
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
    pieces: VecDeque<Piece>,
    in_flight: VecDeque<(oneshot::Receiver<Replied>, Range<usize>)>,
}

impl Reader {
    /// The next bytes; `None` at the end. An error ends the stream: nothing unverified is ever returned.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        if self.in_flight.is_empty() && !self.pieces.is_empty() {
            // CLIENT-2: this stripe is waited for below, so its permit comes back whatever the client does.
            let permit = match permit(&self.open.guard.client.permits.awaited).await {
                Ok(permit) => permit,
                Err(error) => return Some(Err(error)),
            };
            self.ask_for_next(permit);
        }
        while self.in_flight.len() < STRIPES_AHEAD && !self.pieces.is_empty() {
            // Reading ahead takes only what is free, so that readers cannot starve each other.
            let Ok(permit) = Arc::clone(&self.open.guard.client.permits.read_ahead).try_acquire_owned() else { break };
            self.ask_for_next(permit);
        }
        let (receiver, wanted) = self.in_flight.pop_front()?;
        // The permit ends with this call, which hands the bytes out.
        Some(match replied(receiver).await {
            Ok(Replied { reply: Reply::Stripe(bytes), .. }) => Ok(bytes.slice(wanted)),
            Ok(other) => unexpected(&other.reply),
            Err(error) => Err(error),
        })
    }

    /// Asks the node for the next stripe of the pieces.
    fn ask_for_next(&mut self, permit: OwnedSemaphorePermit) {
        let Some((body, stripe, wanted)) = self.next_stripe() else { return };
        let request = Request::ReadStripe { open: self.open.guard.id, body, stripe };
        // CLIENT-1
        let (_, receiver) = self.open.guard.client.send(request, Holds::Answer(permit));
        self.in_flight.push_back((receiver, wanted));
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
