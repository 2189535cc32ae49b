//! Clients that stall or go away, over a node that is played by the test.

use super::*;
use crate::mailbox::{Receiver, mailbox};
use anvil_core::state::{Body, BucketName, ETag, Md5, Metadata, Place};
use anvil_core::stripe::{Profile, WrappedKey};
use anvil_core::types::{DriveId, TenantId, VersionId, WallTime};
use std::time::Duration;

/// Long enough for anything that does not wait for something else.
const LONG: Duration = Duration::from_secs(20);

/// Long enough to see that something waits.
const SHORT: Duration = Duration::from_millis(100);

fn node() -> (Client, Receiver<Inbox>) {
    let (inbox, queue) = mailbox();
    (Client::new(inbox), queue)
}

fn next(queue: &Receiver<Inbox>) -> Inbound {
    match queue.try_recv() {
        Some(Inbox::Client(inbound)) => inbound,
        other => panic!("a client's request was expected, and {other:?} came"),
    }
}

fn stripe() -> Bytes {
    Bytes::from_static(&[7; 100])
}

async fn begin(client: &Client, queue: &Receiver<Inbox>) -> Writer {
    let answer = async { next(queue).reply.expect("somebody waits").send(Reply::Begun) };
    // The first is polled first, so the request is there when the second looks for it.
    let (writer, ()) = tokio::join!(biased; client.begin_write(), answer);
    writer.expect("the write was begun")
}

fn aborts(queue: &Receiver<Inbox>) -> Vec<RequestId> {
    let aborted = |inbox| match inbox {
        Inbox::Client(Inbound { request: Request::AbortWrite { write }, .. }) => Some(write),
        _ => None,
    };
    std::iter::from_fn(|| queue.try_recv()).filter_map(aborted).collect()
}

#[tokio::test]
async fn a_writer_that_goes_away_frees_nothing_that_a_stalled_drive_still_holds() {
    let (client, queue) = node();
    let mut held = Vec::new();
    while held.len() < STRIPES_WRITTEN_MAX {
        let mut writer = begin(&client, &queue).await;
        for _ in 0..STRIPES_AHEAD {
            writer.push(stripe()).await.expect("there are permits");
            held.push(next(&queue));
        }
    }
    assert!(aborts(&queue).is_empty(), "an abort would be answered for stripes that are still in the queue of a drive");
    let mut writer = begin(&client, &queue).await;
    assert!(tokio::time::timeout(SHORT, writer.push(stripe())).await.is_err(), "all permits are taken");

    held.drain(..).for_each(|inbound| inbound.reply.expect("a permit is held here").send(Reply::StripeStored));
    assert_eq!(aborts(&queue).len(), STRIPES_WRITTEN_MAX / STRIPES_AHEAD);
    tokio::time::timeout(LONG, writer.push(stripe())).await.expect("permits are back").expect("the node lives");
}

#[tokio::test]
async fn a_stripe_that_is_stored_frees_its_permit_though_its_client_stalls() {
    let (client, queue) = node();
    let mut stalled = Vec::new();
    for _ in 0..STRIPES_WRITTEN_MAX {
        let mut writer = begin(&client, &queue).await;
        for _ in 0..STRIPES_AHEAD {
            tokio::time::timeout(LONG, writer.push(stripe()))
                .await
                .expect("there are permits")
                .expect("the node lives");
            next(&queue).reply.expect("a permit is held here").send(Reply::StripeStored);
        }
        stalled.push(writer);
    }
}

#[tokio::test]
async fn a_write_whose_beginning_nobody_awaits_is_given_up() {
    let (client, queue) = node();
    tokio::select! {
        biased;
        _ = client.begin_write() => panic!("nobody answered"),
        () = std::future::ready(()) => {}
    }
    let begun = next(&queue);
    assert!(matches!(begun.request, Request::BeginWrite));
    assert_eq!(aborts(&queue), [begun.id]);
}

fn object(stripes: usize) -> Object {
    let size = (stripes * STRIPE_SIZE) as u64;
    let place = Place::Striped { profile: Profile { data: 1, parity: 0 }, drives: vec![DriveId(0)] };
    let body = Body { version: VersionId(1), size, key: WrappedKey(Vec::new()), place };
    Object {
        version: VersionId(1),
        size,
        etag: ETag { md5: Md5([0; 16]), parts: 0 },
        modified: WallTime(0),
        metadata: Metadata::default(),
        bodies: vec![body],
        name: None,
        attributes: Box::default(),
    }
}

/// Answers whatever comes.
fn serve(queue: &Receiver<Inbox>) {
    while let Ok(inbox) = queue.recv() {
        let Inbox::Client(Inbound { request, reply: Some(reply), .. }) = inbox else { continue };
        reply.send(match request {
            Request::Open { .. } => Reply::Opened(object(16)),
            Request::ReadStripe { .. } => Reply::Stripe(Bytes::from_static(&[0; STRIPE_SIZE])),
            Request::BeginWrite => Reply::Begun,
            Request::WriteStripe { .. } => Reply::StripeStored,
            other => panic!("{other:?} was not expected"),
        });
    }
}

#[tokio::test]
async fn readers_that_stall_hold_up_neither_writers_nor_other_readers() {
    let (client, queue) = node();
    let serving = std::thread::spawn(move || serve(&queue));
    let name =
        || ObjectName { bucket: BucketName { tenant: TenantId(0), name: "bucket".to_owned() }, key: "key".to_owned() };
    let mut stalled = Vec::new();
    for reader in 0..64 {
        let open = tokio::time::timeout(LONG, client.open(name(), None)).await.expect("opening takes no permit");
        let mut read = open.expect("the node lives").read(0..16 * STRIPE_SIZE as u64);
        let first = tokio::time::timeout(LONG, read.next()).await;
        assert!(matches!(first, Ok(Some(Ok(_)))), "reader {reader} got {first:?}");
        stalled.push(read);
    }
    let mut writer = client.begin_write().await.expect("the node lives");
    for _ in 0..2 * STRIPES_WRITTEN_MAX {
        tokio::time::timeout(LONG, writer.push(stripe()))
            .await
            .expect("no reader is in the way")
            .expect("it is stored");
    }
    let ahead: usize = stalled.iter().map(|read| read.in_flight.len()).sum();
    assert!(ahead <= STRIPES_READ_AHEAD_MAX, "stalled readers hold {ahead} stripes");
    drop((stalled, writer, client));
    serving.join().expect("the node of the test does not panic");
}
