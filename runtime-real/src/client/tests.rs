//! Clients that go away, over a node that is played by the test.

use super::*;
use crossbeam_channel::Receiver;

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

fn aborts(queue: &Receiver<Inbox>) -> Vec<RequestId> {
    let aborted = |inbox| match inbox {
        Inbox::Client(Inbound { request: Request::AbortWrite { write }, .. }) => Some(write),
        _ => None,
    };
    queue.try_iter().filter_map(aborted).collect()
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
