//! Clients that stall or go away, over a node that is played by the test.

use super::*;
use crossbeam_channel::Receiver;
use std::time::Duration;

/// Long enough for anything that does not wait for something else.
const LONG: Duration = Duration::from_secs(20);

/// Long enough to see that something waits.
const SHORT: Duration = Duration::from_millis(100);

fn node() -> (Client, Receiver<Inbox>) {
    let (inbox, queue) = crossbeam_channel::unbounded();
    (Client::new(inbox), queue)
}

fn next(queue: &Receiver<Inbox>) -> Inbound {
    match queue.try_recv() {
        Ok(Inbox::Client(inbound)) => inbound,
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
    queue.try_iter().filter_map(aborted).collect()
}

#[tokio::test]
async fn a_writer_that_goes_away_frees_nothing_that_a_stalled_drive_still_holds() {
    let (client, queue) = node();
    let mut held = Vec::new();
    while held.len() < STRIPES_IN_FLIGHT_MAX {
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
    assert_eq!(aborts(&queue).len(), STRIPES_IN_FLIGHT_MAX / STRIPES_AHEAD);
    tokio::time::timeout(LONG, writer.push(stripe())).await.expect("permits are back").expect("the node lives");
}

#[tokio::test]
async fn a_stripe_that_is_stored_frees_its_permit_though_its_client_stalls() {
    let (client, queue) = node();
    let mut stalled = Vec::new();
    for _ in 0..STRIPES_IN_FLIGHT_MAX {
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
