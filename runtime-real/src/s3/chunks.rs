//! A request body on its way to `s3s`: bounded, timed, and with its chunks checked.
//!
//! `s3s` holds a whole chunk of an `aws-chunked` body in memory before it passes it on, and a client may declare 4 GiB;
//! it takes the end of the stream for the end of the chunks; and it reads a size of nine digits as one of eight. So the
//! framing is parsed here first: signed chunks have a limit, unsigned ones (nothing depends on their bounds) are cut
//! into small ones, and the last chunk must be there.
//!
//! A body that fails is remembered in its [`Watch`], because `s3s` wraps or drops the reason on the way to the handler.
//!
//! - `CHUNK-1` At most [`SIGNED_CHUNK_MAX`] bytes of one signed chunk, and [`HELD_MAX`] of an unsigned one, wait in `s3s`.
//! - `CHUNK-2` A body that ends before its last chunk, or in the middle of one, is an error.
//! - `CHUNK-3` A client that sends next to nothing ([`PROGRESS_MIN`]) for [`IDLE`] loses its request. Only time in which
//!   the server waits for the client counts.
//! - `CHUNK-4` A document (XML) is compared with its `x-amz-content-sha256` and other checksums before `s3s` parses it.
//!
//! Source: AWS, "Signature calculations: transferring payload in multiple chunks".

use super::digests::{Claims, Hashes};
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Largest signed chunk, in bytes. SDKs send 64 KiB to 1 MiB.
pub(super) const SIGNED_CHUNK_MAX: u64 = 4 << 20;
/// Largest piece of an unsigned chunk that is passed on at once, in bytes.
const HELD_MAX: usize = 64 << 10;
/// Longest line of chunk size and signature, in bytes.
const LINE_MAX: usize = 256;
/// In this time of waiting for a client, it must send [`PROGRESS_MIN`] bytes, or the rest of the body. Less than the 60 s that
/// botocore waits for an answer, so that the client hears why.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// About a kibibyte in a second: slower than any line that people use, fast enough that a body ends.
const PROGRESS_MIN: usize = 32 << 10;

/// How the bytes of a body are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Not at all.
    Plain,
    /// `aws-chunked`, each chunk signed.
    SignedChunks,
    /// `aws-chunked`, only a trailer.
    UnsignedChunks,
}

/// Why a body failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ended too early (`CHUNK-2`).
    Incomplete,
    /// The chunks are not as they should be. Says what.
    Malformed(&'static str),
    /// A signed chunk is larger than [`SIGNED_CHUNK_MAX`].
    ChunkTooLarge,
    /// Next to nothing came for [`IDLE`].
    Idle,
    /// A document does not match a checksum given with it. Says which.
    Mismatch(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Incomplete => f.write_str("the body ended before its declared length"),
            Fault::Malformed(what) => write!(f, "the chunks of the body are malformed: {what}"),
            Fault::ChunkTooLarge => write!(f, "a signed chunk is larger than {SIGNED_CHUNK_MAX} bytes"),
            Fault::Idle => write!(f, "the client sent next to nothing for {} seconds", IDLE.as_secs()),
            Fault::Mismatch(which) => write!(f, "the body does not match its {which}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Remembers why a body failed, and whether anybody wanted it.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    fault: Option<Fault>,
    wanted: bool,
}

impl Watch {
    /// Why the body failed, if it did.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fault.clone()
    }

    /// Whether the body was asked for, which tells a client that waits to go on.
    pub(super) fn wanted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    fn set_fault(&self, fault: &Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fault = Some(fault.clone());
    }

    fn set_wanted(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wanted = true;
    }
}

/// What a document is compared with.
#[derive(Debug)]
pub(super) struct DocumentCheck {
    /// Bytes that it must have.
    pub(super) length: u64,
    /// What its headers claim, the SHA-256 of the payload among them.
    pub(super) claims: Claims,
    /// What was seen so far.
    pub(super) hashes: Hashes,
}

/// The body, guarded.
pub(super) struct Guarded {
    inner: axum::body::Body,
    chunks: Option<Chunks>,
    document: Option<DocumentCheck>,
    seen: u64,
    out: VecDeque<Bytes>,
    watch: Watch,
    idle: Pin<Box<Sleep>>,
    /// Bytes that have come since `idle` was set.
    progress: usize,
    /// When the last bytes were handed out: until the next are asked for, nobody waits for the client.
    handed: Option<Instant>,
    ended: bool,
    /// Whether anybody has asked for it.
    asked: bool,
}

impl Guarded {
    /// Guards `inner`, whose failures `watch` will know.
    pub(super) fn new(
        inner: axum::body::Body,
        framing: Framing,
        document: Option<DocumentCheck>,
        watch: Watch,
    ) -> Guarded {
        let chunks = match framing {
            Framing::Plain => None,
            Framing::SignedChunks => Some(Chunks::new(true)),
            Framing::UnsignedChunks => Some(Chunks::new(false)),
        };
        let idle = Box::pin(tokio::time::sleep(IDLE));
        let out = VecDeque::new();
        let (progress, handed) = (0, Some(Instant::now()));
        Guarded { inner, chunks, document, seen: 0, out, watch, idle, progress, handed, ended: false, asked: false }
    }

    /// CHUNK-3
    fn note_progress(&mut self, bytes: usize) {
        self.progress += bytes;
        if self.progress >= PROGRESS_MIN {
            self.progress = 0;
            self.idle.as_mut().reset(Instant::now() + IDLE);
        }
    }

    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.watch.set_fault(&fault);
        self.ended = true;
        Poll::Ready(Some(Err(fault)))
    }

    fn take(&mut self, bytes: Bytes) -> Result<(), Fault> {
        self.seen += bytes.len() as u64;
        if let Some(check) = &mut self.document {
            check.hashes.update(&bytes);
            // `s3s` stops reading as soon as it has seen all bytes, so the verdict comes with the last of them.
            if self.seen >= check.length {
                self.check_document()?;
            }
        }
        match &mut self.chunks {
            Some(chunks) => chunks.push(bytes, &mut self.out)?,
            None => self.out.push_back(bytes),
        }
        Ok(())
    }

    /// CHUNK-4
    fn check_document(&mut self) -> Result<(), Fault> {
        let Some(check) = self.document.take() else { return Ok(()) };
        if self.seen != check.length {
            return Err(Fault::Incomplete);
        }
        check.claims.verify(&check.hashes.finish(), None).map(drop).map_err(|error| Fault::Mismatch(error.name()))
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        if !this.asked {
            this.asked = true;
            this.watch.set_wanted();
        }
        if let Some(handed) = this.handed.take() {
            let deadline = this.idle.deadline() + handed.elapsed();
            this.idle.as_mut().reset(deadline);
        }
        loop {
            if let Some(bytes) = this.out.pop_front() {
                this.handed = Some(Instant::now());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    // CHUNK-3
                    ready!(this.idle.as_mut().poll(cx));
                    return this.fail(Fault::Idle);
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    this.note_progress(bytes.len());
                    if !bytes.is_empty()
                        && let Err(fault) = this.take(bytes)
                    {
                        return this.fail(fault);
                    }
                }
                // The connection broke, or closed before `Content-Length` bytes.
                Some(Err(_)) => return this.fail(Fault::Incomplete),
                None => {
                    // CHUNK-2
                    let complete = this.chunks.as_ref().is_none_or(Chunks::is_complete);
                    if !complete {
                        return this.fail(Fault::Incomplete);
                    }
                    if let Err(fault) = this.check_document() {
                        return this.fail(fault);
                    }
                    this.ended = true;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let unchecked = self.chunks.is_none() && self.document.is_none();
        self.out.is_empty() && (self.ended || (unchecked && self.inner.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        // Chunks are cut anew, and a body half read has bytes waiting here: only an untouched plain one keeps its size.
        if self.chunks.is_none() && self.out.is_empty() { self.inner.size_hint() } else { SizeHint::new() }
    }
}

/// Where the parser of an `aws-chunked` body stands.
#[derive(Debug)]
enum Expect {
    /// A line with the size; what there is of it.
    Line(Vec<u8>),
    /// This many bytes of data.
    Data(u64),
    /// The line end after the data; how much of it has come.
    LineEnd(u8),
    /// Anything: trailers, which `s3s` reads (16 KiB at most).
    Trailers,
}

/// The parser of an `aws-chunked` body.
#[derive(Debug)]
pub(super) struct Chunks {
    signed: bool,
    expect: Expect,
}

impl Chunks {
    /// A parser at the start of a body.
    pub(super) fn new(signed: bool) -> Chunks {
        Chunks { signed, expect: Expect::Line(Vec::new()) }
    }

    /// Whether the last chunk has come.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.expect, Expect::Trailers)
    }

    /// Takes the next bytes; puts out what `s3s` shall see.
    pub(super) fn push(&mut self, mut bytes: Bytes, out: &mut VecDeque<Bytes>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match &mut self.expect {
                Expect::Line(line) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
                    let taken = bytes.split_to(end.unwrap_or(bytes.len()));
                    if line.len() + taken.len() > LINE_MAX {
                        return Err(Fault::Malformed("a line of chunk size is too long"));
                    }
                    line.extend_from_slice(&taken);
                    if end.is_some() {
                        let line = std::mem::take(line);
                        self.expect = self.after_line(line, out)?;
                    }
                }
                Expect::Data(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let piece = bytes.split_to(if self.signed { most } else { most.min(HELD_MAX) });
                    *left -= piece.len() as u64;
                    let done = *left == 0;
                    if self.signed {
                        out.push_back(piece);
                    } else {
                        // CHUNK-1
                        out.push_back(Bytes::from(format!("{:x}\r\n", piece.len())));
                        out.push_back(piece);
                        out.push_back(Bytes::from_static(b"\r\n"));
                    }
                    if done {
                        self.expect = Expect::LineEnd(0);
                    }
                }
                Expect::LineEnd(seen) => {
                    if bytes.get_u8() != b"\r\n"[usize::from(*seen)] {
                        return Err(Fault::Malformed("a chunk is longer than its size"));
                    }
                    *seen += 1;
                    if *seen == 2 {
                        if self.signed {
                            out.push_back(Bytes::from_static(b"\r\n"));
                        }
                        self.expect = Expect::Line(Vec::new());
                    }
                }
                Expect::Trailers => out.push_back(std::mem::take(&mut bytes)),
            }
        }
        Ok(())
    }

    fn after_line(&self, line: Vec<u8>, out: &mut VecDeque<Bytes>) -> Result<Expect, Fault> {
        let text = line.strip_suffix(b"\r\n").ok_or(Fault::Malformed("a line of chunk size has no line end"))?;
        let text = std::str::from_utf8(text).map_err(|_| Fault::Malformed("a line of chunk size is not text"))?;
        let (size, signature) = match text.split_once(';') {
            Some((size, extension)) => (size, Some(extension)),
            None => (text, None),
        };
        let digits = (1..=8).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = match u64::from_str_radix(size, 16) {
            Ok(size) if digits => size,
            Ok(_) | Err(_) => return Err(Fault::Malformed("a chunk size is not a hexadecimal number")),
        };
        let signature = signature.map(|text| text.strip_prefix("chunk-signature="));
        match (self.signed, signature) {
            (true, Some(Some(signature))) if signature.len() == 64 => {}
            (true, _) => return Err(Fault::Malformed("a chunk has no signature")),
            (false, None) => {}
            (false, Some(_)) => return Err(Fault::Malformed("a chunk of an unsigned body is signed")),
        }
        // CHUNK-1
        if self.signed && size > SIGNED_CHUNK_MAX {
            return Err(Fault::ChunkTooLarge);
        }
        if self.signed || size == 0 {
            out.push_back(Bytes::from(line));
        }
        Ok(if size == 0 { Expect::Trailers } else { Expect::Data(size) })
    }
}
