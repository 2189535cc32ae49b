//! A queue between threads whose reader sleeps at once when there is nothing, and takes all there is when it wakes.
//!
//! A channel of a library spins for a while before its reader sleeps, which pays when cores are idle. A node shares its cores
//! with clients and often with other nodes, and there each turn of the spinning is a call of the scheduler. So this one is a
//! lock, a list and a condition variable.
//!
//! - `MAILBOX-1` Whoever sends wakes a sleeping reader only if no other was woken for what waits already: what comes until the
//!   reader runs goes with it.
//! - `MAILBOX-2` A message is taken once, and those of one sender in order.
//! - `MAILBOX-3` When all senders are gone, a reader gets what is left and then hears that it is closed. When all readers are
//!   gone, a sender hears it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The other side is gone for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// At least one message was taken.
    Some,
    /// The time was over.
    Timeout,
    /// Nothing is left and all senders are gone.
    Closed,
}

/// The end that sends.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that reads. Readers share the messages between them.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    senders: usize,
    readers: usize,
    /// Readers that sleep, and how many of them were woken and have not run yet.
    asleep: usize,
    woken: usize,
}

/// An empty mailbox. It holds whatever is sent; who sends is to be bounded elsewhere.
#[must_use]
pub fn mailbox<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { waiting: VecDeque::new(), senders: 1, readers: 1, asleep: 0, woken: 0 };
    let shared = Arc::new(Shared { state: Mutex::new(state), filled: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// MAILBOX-1
    fn wake_for(&self, mut state: MutexGuard<'_, State<T>>) {
        let wakes = state.woken == 0 && state.asleep > 0 && !state.waiting.is_empty();
        if wakes {
            state.woken += 1;
        }
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }
}

impl<T> Sender<T> {
    /// Puts a message at the end.
    ///
    /// # Errors
    /// When all readers are gone; the message is dropped.
    pub fn send(&self, message: T) -> Result<(), Closed> {
        self.send_all([message])
    }

    /// Puts messages at the end, all at once.
    ///
    /// # Errors
    /// When all readers are gone; the messages are dropped.
    pub fn send_all(&self, messages: impl IntoIterator<Item = T>) -> Result<(), Closed> {
        let mut state = self.0.lock();
        if state.readers == 0 {
            return Err(Closed);
        }
        state.waiting.extend(messages);
        self.0.wake_for(state);
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Takes up to `most` messages to the end of `out`, and waits for the first until `until`, or for ever.
    pub fn take(&self, most: usize, until: Option<Instant>, out: &mut Vec<T>) -> Taken {
        let mut state = self.0.lock();
        loop {
            if !state.waiting.is_empty() {
                let count = state.waiting.len().min(most);
                out.extend(state.waiting.drain(..count));
                // The rest is for another reader.
                self.0.wake_for(state);
                return Taken::Some;
            }
            if state.senders == 0 {
                return Taken::Closed;
            }
            state.asleep += 1;
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => {
                    state.asleep -= 1;
                    return Taken::Timeout;
                }
                Some(left) => self.0.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.asleep -= 1;
            state.woken = state.woken.saturating_sub(1);
        }
    }

    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<T> {
        self.0.lock().waiting.pop_front()
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When nothing is left and all senders are gone.
    pub fn recv(&self) -> Result<T, Closed> {
        let mut one = Vec::with_capacity(1);
        self.take(1, None, &mut one);
        one.pop().ok_or(Closed)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.0.lock().readers += 1;
        Receiver(Arc::clone(&self.0))
    }
}

// MAILBOX-3
impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        if state.senders == 0 {
            drop(state);
            self.0.filled.notify_all();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.readers -= 1;
        if state.readers == 0 {
            let nobody_reads = std::mem::take(&mut state.waiting);
            drop(state);
            drop(nobody_reads);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn each_message_is_taken_once_whoever_reads() {
        const SENDERS: u64 = 4;
        const MESSAGES: u64 = 20_000;
        let (sender, receiver) = mailbox();
        let readers: Vec<_> = (0..3)
            .map(|most| {
                let receiver = receiver.clone();
                thread::spawn(move || {
                    let mut taken: Vec<(u64, u64)> = Vec::new();
                    while receiver.take(1 + 7 * most, None, &mut taken) == Taken::Some {}
                    taken
                })
            })
            .collect();
        let senders = (0..SENDERS).map(|from| (from, sender.clone()));
        let senders: Vec<_> = senders
            .map(|(from, sender)| thread::spawn(move || (0..MESSAGES).for_each(|n| sender.send((from, n)).unwrap())))
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        drop(sender);
        let mut all = Vec::new();
        for reader in readers {
            let taken = reader.join().unwrap();
            for from in 0..SENDERS {
                let of_it: Vec<_> = taken.iter().filter(|(sender, _)| *sender == from).collect();
                assert!(of_it.is_sorted(), "MAILBOX-2: in order");
            }
            all.extend(taken);
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len() as u64, SENDERS * MESSAGES, "MAILBOX-2: once");
    }

    #[test]
    fn waiting_ends_in_time_and_with_the_last_of_the_other_side() {
        let (sender, receiver) = mailbox::<u8>();
        let mut taken = Vec::new();
        assert_eq!(receiver.take(9, Some(Instant::now() + Duration::from_millis(5)), &mut taken), Taken::Timeout);
        sender.send_all([1, 2, 3]).unwrap();
        assert_eq!(
            (receiver.take(2, Some(Instant::now()), &mut taken), taken.as_slice()),
            (Taken::Some, [1, 2].as_slice())
        );
        drop(sender.clone());
        let sleeper = thread::spawn(move || (receiver.recv(), receiver.recv()));
        thread::sleep(Duration::from_millis(20));
        drop(sender);
        assert_eq!(sleeper.join().unwrap(), (Ok(3), Err(Closed)), "MAILBOX-3");
        let (sender, receiver) = mailbox();
        drop(receiver);
        assert_eq!(sender.send(1), Err(Closed));
    }
}
