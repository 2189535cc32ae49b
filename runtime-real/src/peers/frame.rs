//! Frames on streams: what two nodes say to each other, cut into pieces with a length.
//!
//! A stream begins with a byte that says what is on it. On the control stream frame follows frame; every other stream
//! carries one. A frame is `u32 head length, u32 body length, head, body`, the lengths little-endian.
//!
//! - `FRAME-1` A length is judged before a byte of it is read, so a peer cannot make a node reserve more than it may send.
//! - `FRAME-2` A small frame that was read owns no more memory than its own bytes: the core keeps slices for long.
//! - `FRAME-3` What the half-read frames of one connection take is bounded, whatever its peer claims.
//!
//! The bytes: `docs/formats/peer-transport.md`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use quinn::{ReadError, ReadExactError, RecvStream};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How urgent a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// In order, and never behind bulk. A frame of more than [`CONTROL_SIZE_MAX`] goes on a stream of its own and may be
    /// overtaken.
    Control,
    /// On a stream of its own.
    Bulk,
}

/// What is sent to a peer. Neither part means anything to the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// How urgent it is.
    pub lane: Lane,
    /// The message: at most [`HEAD_SIZE_MAX`] bytes.
    pub head: Bytes,
    /// What goes with it uncopied, such as a shard: at most [`BODY_SIZE_MAX`] bytes.
    pub body: Bytes,
}

/// Bytes of a head at most.
pub const HEAD_SIZE_MAX: usize = 16 << 20;

/// Bytes of a body at most: a shard, or a piece of a snapshot.
pub const BODY_SIZE_MAX: usize = 4 << 20;

/// Bytes of a frame on the control stream at most.
pub const CONTROL_SIZE_MAX: usize = 256 << 10;

/// Bytes of a frame at most.
pub(super) const SINGLE_SIZE_MAX: usize = 16 << 20;

/// What one connection's half-read single frames may take. A correct peer has at most two windows and a frame under way.
const HALF_READ_MAX: usize = 128 << 20;

/// Bytes before a frame.
const LENGTHS: usize = 8;

/// What is on a stream: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum StreamKind {
    Control = 1,
    Single = 2,
}

impl StreamKind {
    fn of(byte: u8) -> Option<StreamKind> {
        [StreamKind::Control, StreamKind::Single].into_iter().find(|&kind| kind as u8 == byte)
    }

    fn size_max(self) -> usize {
        match self {
            StreamKind::Control => CONTROL_SIZE_MAX,
            StreamKind::Single => SINGLE_SIZE_MAX,
        }
    }
}

impl Frame {
    /// Bytes that it stands for in a queue.
    pub(super) fn size(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// On what kind of stream it goes, or nothing if it is too large for any.
    pub(super) fn kind(&self) -> Option<StreamKind> {
        if self.head.len() > HEAD_SIZE_MAX || self.body.len() > BODY_SIZE_MAX || self.size() > SINGLE_SIZE_MAX {
            return None;
        }
        Some(match self.lane {
            Lane::Control if self.size() <= CONTROL_SIZE_MAX => StreamKind::Control,
            Lane::Control | Lane::Bulk => StreamKind::Single,
        })
    }

    /// The lengths, which go before head and body.
    pub(super) fn lengths(&self) -> Bytes {
        let length = |part: &Bytes| u32::try_from(part.len()).expect("`kind` has judged it");
        let mut lengths = BytesMut::with_capacity(LENGTHS);
        lengths.put_u32_le(length(&self.head));
        lengths.put_u32_le(length(&self.body));
        lengths.freeze()
    }
}

/// Why a stream cannot be read on.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The connection or the stream was given up. Nothing is wrong with the peer.
    Lost,
    /// The first byte is none that a node of this version sends.
    Kind(u8),
    /// A frame is larger than its stream may carry.
    TooLarge { head: u32, body: u32 },
    /// The stream ended within a frame, or went on after its only one.
    Length,
    /// More was begun at the same time than any node sends.
    TooMuch,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Lost => f.write_str("the connection was lost"),
            FrameError::Kind(kind) => write!(f, "a stream of kind {kind}, which does not exist"),
            FrameError::TooLarge { head, body } => {
                write!(f, "a frame of {head} + {body} bytes, more than its stream may carry")
            }
            FrameError::Length => f.write_str("a stream that ends in the middle of a frame, or goes on after it"),
            FrameError::TooMuch => f.write_str("more frames at the same time than a node sends"),
        }
    }
}

impl From<ReadError> for FrameError {
    fn from(_: ReadError) -> FrameError {
        FrameError::Lost
    }
}

impl From<ReadExactError> for FrameError {
    fn from(error: ReadExactError) -> FrameError {
        match error {
            ReadExactError::FinishedEarly(_) => FrameError::Length,
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

/// What the half-read frames of one connection take.
#[derive(Debug, Default)]
pub(super) struct HalfRead {
    bytes: AtomicUsize,
}

/// A part of it, given back when dropped.
struct Share<'a>(&'a HalfRead, usize);

impl HalfRead {
    fn take(&self, bytes: usize) -> Result<Share<'_>, FrameError> {
        let share = Share(self, bytes);
        // FRAME-3
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > HALF_READ_MAX {
            return Err(FrameError::TooMuch);
        }
        Ok(share)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Reads all frames of a stream and hands each over.
pub(super) async fn read_stream(
    mut stream: RecvStream,
    half_read: &HalfRead,
    mut deliver: impl FnMut(Bytes, Bytes),
) -> Result<(), FrameError> {
    let mut kind = [0];
    stream.read_exact(&mut kind).await?;
    let kind = StreamKind::of(kind[0]).ok_or(FrameError::Kind(kind[0]))?;
    if kind == StreamKind::Control {
        return read_control(stream, deliver).await;
    }
    let mut lengths = [0; LENGTHS];
    stream.read_exact(&mut lengths).await?;
    let (head, body) = check_lengths(&lengths, kind)?;
    let _share = half_read.take(head + body)?;
    let head = read_part(&mut stream, head).await?;
    let body = read_part(&mut stream, body).await?;
    if stream.read_chunk(1, true).await?.is_some() {
        return Err(FrameError::Length);
    }
    deliver(head, body);
    Ok(())
}

async fn read_control(mut stream: RecvStream, mut deliver: impl FnMut(Bytes, Bytes)) -> Result<(), FrameError> {
    let mut unread = BytesMut::new();
    while let Some(chunk) = stream.read_chunk(CONTROL_SIZE_MAX, true).await? {
        unread.extend_from_slice(&chunk.bytes);
        while let Some(lengths) = unread.first_chunk::<LENGTHS>() {
            let (head, body) = check_lengths(lengths, StreamKind::Control)?;
            if unread.len() < LENGTHS + head + body {
                break;
            }
            unread.advance(LENGTHS);
            // FRAME-2
            let mut part = |length| Bytes::copy_from_slice(&unread.split_to(length));
            let (head, body) = (part(head), part(body));
            deliver(head, body);
        }
    }
    if unread.is_empty() { Ok(()) } else { Err(FrameError::Length) }
}

// FRAME-1
fn check_lengths(mut lengths: &[u8], kind: StreamKind) -> Result<(usize, usize), FrameError> {
    let (head, body) = (lengths.get_u32_le(), lengths.get_u32_le());
    let too_large = FrameError::TooLarge { head, body };
    let size = |length: u32, size_max| usize::try_from(length).ok().filter(|&size| size <= size_max);
    match (size(head, HEAD_SIZE_MAX), size(body, BODY_SIZE_MAX)) {
        (Some(head), Some(body)) if head + body <= kind.size_max() => Ok((head, body)),
        _ => Err(too_large),
    }
}

/// Reads `length` bytes into memory that grows as they come.
async fn read_part(stream: &mut RecvStream, length: usize) -> Result<Bytes, FrameError> {
    const FIRST: usize = 1 << 20;
    let mut part = Vec::with_capacity(length.min(FIRST));
    while part.len() < length {
        let chunk = stream.read_chunk(length - part.len(), true).await?.ok_or(FrameError::Length)?;
        if part.capacity() < part.len() + chunk.bytes.len() {
            part.reserve_exact((length - part.len()).min(part.len().max(FIRST)));
        }
        part.extend_from_slice(&chunk.bytes);
    }
    Ok(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(lane: Lane, head: usize, body: usize) -> Frame {
        Frame { lane, head: vec![0; head].into(), body: vec![0; body].into() }
    }

    #[test]
    fn a_frame_goes_where_its_size_allows() {
        let kind = |lane, head, body| frame(lane, head, body).kind();
        assert_eq!(kind(Lane::Control, 100, CONTROL_SIZE_MAX - 100), Some(StreamKind::Control));
        assert_eq!(kind(Lane::Control, 100, CONTROL_SIZE_MAX - 99), Some(StreamKind::Single));
        assert_eq!(kind(Lane::Bulk, 1, 0), Some(StreamKind::Single));
        assert_eq!(kind(Lane::Bulk, SINGLE_SIZE_MAX, 0), Some(StreamKind::Single));
        assert_eq!(kind(Lane::Control, 1, BODY_SIZE_MAX), Some(StreamKind::Single));
        assert_eq!(kind(Lane::Bulk, 1, BODY_SIZE_MAX + 1), None);
        assert_eq!(kind(Lane::Bulk, SINGLE_SIZE_MAX, 1), None);
    }

    #[test]
    fn lengths_are_judged_by_the_stream_they_come_on() {
        // docs/formats/peer-transport.md
        let golden = frame(Lane::Control, 300, 2).lengths();
        assert_eq!(golden, [0x2C, 1, 0, 0, 2, 0, 0, 0].as_slice());
        assert_eq!(check_lengths(&golden, StreamKind::Control).unwrap(), (300, 2));
        let lengths = |head: u32, body: u32| [head.to_le_bytes(), body.to_le_bytes()].concat();
        for (kind, head, body) in [
            (StreamKind::Control, 256 << 10, 1),
            (StreamKind::Single, 16 << 20, 1),
            (StreamKind::Single, 0, (4 << 20) + 1),
            (StreamKind::Single, u32::MAX, u32::MAX),
        ] {
            let refused = check_lengths(&lengths(head, body), kind);
            assert!(matches!(refused, Err(FrameError::TooLarge { .. })), "{kind:?} {head} {body}");
        }
    }

    #[test]
    fn half_read_frames_are_bounded_and_given_back() {
        let half_read = HalfRead::default();
        let first = half_read.take(HALF_READ_MAX - 1).unwrap();
        assert!(matches!(half_read.take(2), Err(FrameError::TooMuch)));
        drop(first);
        assert!(half_read.take(HALF_READ_MAX).is_ok());
    }
}
