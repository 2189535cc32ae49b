//! Frames that wait for one peer, bounded in number and bytes.
//!
//! - `QUEUE-1` A queue never blocks who fills it. What it has no room for is refused: the core takes messages for losable
//!   and sends again what still matters.
//! - `QUEUE-2` A frame of any legal size fits into an empty queue, so none is refused for ever.

use super::frame::Frame;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How much a queue holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// Filled by any thread, emptied by one task.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Queue {
        Queue { waiting: Mutex::default(), filled: Notify::new(), limits }
    }

    /// Puts a frame at the end. False when it was dropped for lack of room.
    pub(super) fn push(&self, frame: Frame) -> bool {
        let mut waiting = self.lock();
        let size = frame.size();
        let fits = waiting.frames.len() < self.limits.frames && waiting.bytes.saturating_add(size) <= self.limits.bytes;
        // QUEUE-1, QUEUE-2
        if !fits && !waiting.frames.is_empty() {
            return false;
        }
        waiting.bytes += size;
        waiting.frames.push_back(frame);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// The first frames, as many as have `bytes_max` together, and at least one. Waits for it.
    pub(super) async fn take(&self, bytes_max: usize) -> Vec<Frame> {
        loop {
            let taken = self.lock().take(bytes_max);
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    /// Drops everything. Says how much that was.
    pub(super) fn clear(&self) -> usize {
        let mut waiting = self.lock();
        let count = waiting.frames.len();
        *waiting = Waiting::default();
        count
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, bytes_max: usize) -> Vec<Frame> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(frame) = self.frames.pop_front_if(|frame| bytes == 0 || bytes + frame.size() <= bytes_max) {
            bytes += frame.size().max(1);
            self.bytes -= frame.size();
            taken.push(frame);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::frame::Lane;

    fn frame(size: usize) -> Frame {
        Frame { lane: Lane::Bulk, head: vec![0; size].into(), body: bytes::Bytes::new() }
    }

    #[tokio::test]
    async fn a_queue_is_bounded_in_frames_and_bytes() {
        let queue = Queue::new(Limits { frames: 3, bytes: 100 });
        assert!(queue.push(frame(500)), "any frame fits into an empty queue");
        assert!(!queue.push(frame(0)), "and fills it");
        assert_eq!(queue.take(10).await.len(), 1);
        assert_eq!(queue.bytes(), 0);
        assert!(queue.push(frame(60)));
        assert!(!queue.push(frame(41)));
        assert!(queue.push(frame(40)));
        assert!(!queue.push(frame(1)));
        assert_eq!(queue.take(60).await.len(), 1, "the second would be too much at once");
        assert!(queue.push(frame(0)) && queue.push(frame(0)));
        assert!(!queue.push(frame(0)), "three frames wait");
        assert_eq!(queue.take(100).await.len(), 3);
        assert!(queue.push(frame(1)));
        assert_eq!((queue.clear(), queue.bytes()), (1, 0));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let queue = std::sync::Arc::new(Queue::new(Limits { frames: 3, bytes: 100 }));
        let waiting = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.take(1).await.len() }
        });
        tokio::task::yield_now().await;
        std::thread::spawn(move || queue.push(frame(5))).join().unwrap();
        assert_eq!(waiting.await.unwrap(), 1);
    }
}
