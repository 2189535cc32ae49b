//! A body on its way in: cut into stripes, hashed on the side, and decided only when every claim about it held.
//!
//! - `IN-1` Nothing is decided before the whole body has come, has its declared length, and matches its checksums.
//! - `IN-2` One stripe is buffered; what is full goes to the node, which holds a bounded number of them (`CLIENT-1`).
//! - `IN-3` Hashing a stripe happens beside the async workers, and overlaps with receiving the next one.

use super::chunks::Watch;
use super::digests::{Digests, Hashes};
use super::error::{from_body, from_client, from_fault, incomplete};
use crate::client::{Client, ClientError, Reader, Writer};
use anvil_core::node::Target;
use anvil_core::state::Answer;
use anvil_core::stripe::{INLINE_MAX, STRIPE_SIZE};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result};
use tokio::task::JoinHandle;

/// Hashing fewer bytes than this is cheaper than handing them to another thread.
const HASH_HERE_MAX: usize = 64 << 10;

/// A body being taken in. Dropping it gives the write up.
pub(super) struct Intake<'a> {
    client: &'a Client,
    buffer: BytesMut,
    writer: Option<Writer>,
    hashing: Hashing,
    size: u64,
}

impl<'a> Intake<'a> {
    /// A body that is empty so far.
    pub(super) fn new(client: &'a Client, hashes: Hashes) -> Intake<'a> {
        Intake { client, buffer: BytesMut::new(), writer: None, hashing: Hashing::Idle(hashes), size: 0 }
    }

    /// Takes a client's body of `length` bytes to its end.
    pub(super) async fn take_body(
        &mut self,
        body: Option<StreamingBlob>,
        length: u64,
        watch: Option<&Watch>,
    ) -> S3Result<()> {
        let Some(mut body) = body else { return if length == 0 { Ok(()) } else { Err(incomplete()) } };
        while let Some(next) = body.next().await {
            let bytes = next.map_err(|error| from_body(&error, watch))?;
            // A body of chunks may go on after its declared length, and nothing of that is wanted.
            if self.size + bytes.len() as u64 > length {
                return Err(incomplete());
            }
            self.take(bytes).await?;
        }
        // A guarded body that failed may look like a short one from here.
        match watch.and_then(Watch::fault) {
            Some(fault) => Err(from_fault(&fault)),
            None if self.size < length => Err(incomplete()),
            None => Ok(()),
        }
    }

    /// Takes what another object holds to its end.
    pub(super) async fn take_object(&mut self, mut reader: Reader) -> S3Result<()> {
        while let Some(next) = reader.next().await {
            self.take(next.map_err(from_client)?).await?;
        }
        Ok(())
    }

    async fn take(&mut self, mut bytes: Bytes) -> S3Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.buffer.is_empty() && bytes.len() >= STRIPE_SIZE {
                let stripe = bytes.split_to(STRIPE_SIZE);
                self.store(stripe).await?;
                continue;
            }
            let piece = bytes.split_to((STRIPE_SIZE - self.buffer.len()).min(bytes.len()));
            self.buffer.extend_from_slice(&piece);
            if self.buffer.len() == STRIPE_SIZE {
                // IN-2
                let stripe = std::mem::take(&mut self.buffer).freeze();
                self.store(stripe).await?;
            }
        }
        Ok(())
    }

    async fn store(&mut self, stripe: Bytes) -> S3Result<()> {
        self.hashing.feed(stripe.clone()).await?;
        if self.writer.is_none() {
            self.writer = Some(self.client.begin_write().await.map_err(from_client)?);
        }
        let writer = self.writer.as_mut().expect("a writer was begun above");
        writer.push(stripe).await.map_err(from_client)
    }

    /// The body is complete.
    pub(super) async fn finish(mut self) -> S3Result<Held<'a>> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        let inline = if self.writer.is_none() && rest.len() <= INLINE_MAX {
            self.hashing.feed(rest.clone()).await?;
            Some(rest)
        } else {
            if !rest.is_empty() {
                self.store(rest).await?;
            }
            None
        };
        let digests = self.hashing.finish().await?;
        let place = match (inline, self.writer) {
            (Some(bytes), None) => Place::Inline(bytes),
            (None, Some(writer)) => Place::Striped(writer),
            (Some(_), Some(_)) | (None, None) => unreachable!("a body is either inline or has a writer"),
        };
        Ok(Held { client: self.client, place, digests })
    }
}

enum Place {
    Inline(Bytes),
    Striped(Writer),
}

/// A complete body that is not yet anything.
pub(super) struct Held<'a> {
    client: &'a Client,
    place: Place,
    /// Of all its bytes.
    pub(super) digests: Digests,
}

impl Held<'_> {
    /// Makes the body what `target` says.
    pub(super) async fn decide(self, target: Target) -> Result<Answer, ClientError> {
        match self.place {
            Place::Inline(bytes) => self.client.put_inline(target, bytes).await,
            Place::Striped(writer) => writer.decide(target).await,
        }
    }
}

/// IN-3
enum Hashing {
    Idle(Hashes),
    Running(JoinHandle<Hashes>),
    /// Only while the hashes change hands.
    Moved,
}

impl Hashing {
    async fn settle(&mut self) -> S3Result<Hashes> {
        match std::mem::replace(self, Hashing::Moved) {
            Hashing::Idle(hashes) => Ok(hashes),
            Hashing::Running(task) => task.await.map_err(S3Error::internal_error),
            Hashing::Moved => {
                unreachable!("hashes are put back before the next use, unless an error ended the request")
            }
        }
    }

    async fn feed(&mut self, bytes: Bytes) -> S3Result<()> {
        let mut hashes = self.settle().await?;
        *self = if bytes.len() <= HASH_HERE_MAX {
            hashes.update(&bytes);
            Hashing::Idle(hashes)
        } else {
            Hashing::Running(tokio::task::spawn_blocking(move || {
                hashes.update(&bytes);
                hashes
            }))
        };
        Ok(())
    }

    async fn finish(mut self) -> S3Result<Digests> {
        Ok(self.settle().await?.finish())
    }
}
