//! A fixed number of threads that take jobs from one queue.

use crate::mailbox::{Sender, Taken, mailbox};
use std::io;
use std::thread::{self, JoinHandle};

/// The sending end of a pool's queue. The threads end when every sender is gone and the queue is empty.
#[derive(Debug)]
pub(super) struct Pool<J> {
    queue: Sender<J>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static> Pool<J> {
    /// `threads` threads named `name`, each with its own `work`.
    pub(super) fn start<W: FnMut(J) + Send + 'static>(
        name: &str,
        threads: usize,
        mut work: impl FnMut() -> W,
    ) -> io::Result<Pool<J>> {
        Pool::start_batched(name, threads, 1, || {
            let mut work = work();
            move |jobs: &mut Vec<J>| jobs.drain(..).for_each(&mut work)
        })
    }

    /// The same, for small jobs: a thread takes up to `most` that wait at a time. `work` leaves none of them.
    pub(super) fn start_batched<W: FnMut(&mut Vec<J>) + Send + 'static>(
        name: &str,
        threads: usize,
        most: usize,
        mut work: impl FnMut() -> W,
    ) -> io::Result<Pool<J>> {
        let (queue, jobs) = mailbox::<J>();
        let spawn = |_| {
            let (jobs, mut work) = (jobs.clone(), work());
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                let mut taken = Vec::new();
                while jobs.take(most, None, &mut taken) == Taken::Some {
                    work(&mut taken);
                    assert!(taken.is_empty(), "every job that was taken is done");
                }
            })
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<_>>()?;
        Ok(Pool { queue, threads })
    }

    pub(super) fn send(&self, job: J) {
        self.queue.send(job).expect("the pool's threads live as long as its handle");
    }

    pub(super) fn send_all(&self, jobs: impl IntoIterator<Item = J>) {
        self.queue.send_all(jobs).expect("the pool's threads live as long as its handle");
    }

    /// Waits until every job is done and the threads have ended.
    pub(super) fn finish(self) {
        drop(self.queue);
        for thread in self.threads {
            thread.join().expect("a job does not panic");
        }
    }
}
