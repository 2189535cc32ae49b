//! One line for each event and effect: what a person wants to see, and all that the trace hash needs to cover.
//!
//! Bytes are shown as their length and a hash of their content, so that a replay's log stays readable and the hash
//! still notices a single changed byte.

use anvil_core::disk::{DiskOrder, DiskOutcome};
use anvil_core::node::peer::{ShardOrder, ShardOutcome};
use anvil_core::node::{Event, PeerMessage, Product, Reply};
use anvil_core::raft::Message;
use anvil_core::types::{Entry, Payload};
use std::fmt;

/// Shows an event.
pub(super) struct BriefEvent<'a>(pub(super) &'a Event);
/// Shows a disk order.
pub(super) struct BriefOrder<'a>(pub(super) &'a DiskOrder);

struct BriefBytes<'a>(&'a [u8]);
struct BriefEntries<'a>(&'a [Entry]);
struct BriefMessage<'a>(&'a Message);

impl fmt::Display for BriefEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Deadline => f.write_str("deadline"),
            Event::Peer { from, message } => {
                write!(f, "from n{from} ")?;
                brief_peer(f, message)
            }
            Event::PeerLost { node } => write!(f, "n{node} is not reached"),
            Event::Client { id, request } => {
                write!(f, "request {id}: ")?;
                brief_request(f, request)
            }
            Event::Disk { user, op, outcome } => {
                write!(f, "disk {user:?} op {}: ", op.0)?;
                match outcome {
                    DiskOutcome::Done => f.write_str("done"),
                    DiskOutcome::Read(bytes) => write!(f, "read {}", BriefBytes(bytes)),
                    DiskOutcome::Failed(error) => write!(f, "failed: {error}"),
                }
            }
            Event::Applied { group, through, answers } => {
                write!(f, "applied g{group} through {} at {}: {answers:?}", through.position.index, through.time)
            }
            Event::Queried { work, answer } => write!(f, "queried {}: {answer:?}", work.0),
            Event::Checkpointed => f.write_str("checkpointed"),
            Event::SnapshotTaken { group, snapshot } => {
                write!(f, "snapshot taken g{group} at {}: {}", snapshot.position.index, BriefBytes(&snapshot.rows))
            }
            Event::SnapshotInstalled { group, position } => {
                write!(f, "snapshot installed g{group} at {}", position.index)
            }
            Event::SnapshotRefused { group, why } => write!(f, "snapshot refused g{group}: {why}"),
            Event::Computed { work, product } => {
                write!(f, "computed {}: ", work.0)?;
                match product {
                    Product::Sealed(records) => {
                        records.iter().try_for_each(|record| write!(f, "{} ", BriefBytes(record)))
                    }
                    Product::Verified(is_sound) => write!(f, "sound: {is_sound}"),
                    Product::Opened(Ok(opened)) => {
                        write!(f, "{}, damaged {:?}", BriefBytes(&opened.plaintext), opened.damaged)
                    }
                    Product::SealedInline(bytes) | Product::OpenedInline(Ok(bytes)) => {
                        write!(f, "{}", BriefBytes(bytes))
                    }
                    Product::Opened(Err(error)) | Product::OpenedInline(Err(error)) => write!(f, "{error:?}"),
                }
            }
        }
    }
}

fn brief_peer(f: &mut fmt::Formatter<'_>, message: &PeerMessage) -> fmt::Result {
    match message {
        PeerMessage::Raft { group, message } => write!(f, "g{group}: {}", BriefMessage(message)),
        PeerMessage::Shard(ShardOrder::Put { ticket, drive, key, expires, record }) => {
            let bytes = BriefBytes(record);
            write!(f, "put #{} drive {drive} {key:?} until {expires}: {bytes}", ticket.number)
        }
        PeerMessage::ShardAnswer { ticket, outcome: ShardOutcome::Loaded(Some(record)) } => {
            write!(f, "answer #{}: {}", ticket.number, BriefBytes(record))
        }
        PeerMessage::ShardAnswer { ticket, outcome } => write!(f, "answer #{}: {outcome:?}", ticket.number),
        PeerMessage::Shard(order) => write!(f, "{order:?}"),
        PeerMessage::Members(_) | PeerMessage::Swim(_) | PeerMessage::Pins { .. } | PeerMessage::Pinned { .. } => {
            write!(f, "{message:?}")
        }
    }
}

fn brief_request(f: &mut fmt::Formatter<'_>, request: &anvil_core::node::Request) -> fmt::Result {
    use anvil_core::node::Request;
    match request {
        Request::Command { group, session, operation } => write!(f, "g{group} {session:?} {operation:?}"),
        Request::Query { group, query } => write!(f, "g{group} {query:?}"),
        Request::PutInline { target, bytes } => write!(f, "put inline {target:?} {}", BriefBytes(bytes)),
        Request::WriteStripe { write, index, bytes } => {
            write!(f, "write {write} stripe {index} {}", BriefBytes(bytes))
        }
        Request::BeginWrite
        | Request::DecideWrite { .. }
        | Request::AbortWrite { .. }
        | Request::Open { .. }
        | Request::ReadStripe { .. }
        | Request::Close { .. }
        | Request::ChangeMembership { .. }
        | Request::TransferLeader { .. }
        | Request::Scrub
        | Request::Status => write!(f, "{request:?}"),
    }
}

impl fmt::Display for BriefMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Message::AppendEntries { term, previous, entries, commit, round } => write!(
                f,
                "append t{term} after {}/t{} {} commit {commit} round {round}",
                previous.index,
                previous.term,
                BriefEntries(entries)
            ),
            Message::InstallSnapshot { term, chunk } => {
                let (index, membership, offset) = (chunk.position.index, &chunk.membership, chunk.offset);
                let rows = BriefBytes(&chunk.rows);
                write!(f, "snapshot t{term} at {index} {membership:?} {offset} of {} {rows}", chunk.size)
            }
            Message::PreVote { .. }
            | Message::PreVoteResponse { .. }
            | Message::RequestVote { .. }
            | Message::RequestVoteResponse { .. }
            | Message::AppendEntriesResponse { .. }
            | Message::InstallSnapshotResponse { .. }
            | Message::TimeoutNow { .. }
            | Message::Forward { .. }
            | Message::ForwardResponse { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexResponse { .. }
            | Message::RecoverLog { .. }
            | Message::RecoverLogResponse { .. } => write!(f, "{:?}", self.0),
        }
    }
}

impl fmt::Display for BriefEntries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for entry in self.0 {
            write!(f, "{}/t{} ", entry.position.index, entry.position.term)?;
            match &entry.payload {
                Payload::Noop => f.write_str("noop ")?,
                Payload::Membership(membership) => write!(f, "{membership:?} ")?,
                Payload::Command(bytes) => write!(f, "{} ", BriefBytes(bytes))?,
            }
        }
        f.write_str("]")
    }
}

impl fmt::Display for BriefOrder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DiskOrder::Write { file, offset, bytes } => write!(f, "write {file:?} at {offset} {}", BriefBytes(bytes)),
            DiskOrder::Create { .. } | DiskOrder::Sync { .. } | DiskOrder::Read { .. } | DiskOrder::Remove { .. } => {
                write!(f, "{:?}", self.0)
            }
        }
    }
}

impl fmt::Display for BriefBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes {:08x}>", self.0.len(), fingerprint(self.0) & 0xffff_ffff)
    }
}

/// A hash of bytes that is quick on megabytes.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        hash = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    for byte in words.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 29;
    }
    hash
}

/// A reply in a few words.
pub(super) fn brief_reply(reply: &Reply) -> String {
    match reply {
        Reply::Stripe(bytes) => format!("stripe of {} bytes {:08x}", bytes.len(), fingerprint(bytes)),
        Reply::Answer(_)
        | Reply::Queried(_)
        | Reply::Begun
        | Reply::StripeStored
        | Reply::Opened(_)
        | Reply::Refused(_)
        | Reply::Closed
        | Reply::Changed
        | Reply::TransferBegun
        | Reply::Status(_)
        | Reply::Unavailable(_) => format!("{reply:?}"),
    }
}

/// The hash of many rows.
pub(super) fn fingerprint_rows<'a>(rows: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>) -> u64 {
    rows.fold(0, |hash, (key, value)| {
        hash.rotate_left(7).wrapping_mul(0x0000_0100_0000_01b3) ^ fingerprint(key) ^ fingerprint(value).rotate_left(21)
    })
}
