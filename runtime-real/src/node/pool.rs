//! A fixed number of threads that take jobs from one queue.

use std::io;
use std::thread::{self, JoinHandle};

/// The sending end of a pool's queue. The threads end when every sender is gone and the queue is empty.
#[derive(Debug)]
pub(super) struct Pool<J> {
    queue: crossbeam_channel::Sender<J>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static> Pool<J> {
    /// `threads` threads named `name`, each with its own `work`.
    pub(super) fn start<W: FnMut(J) + Send + 'static>(
        name: &str,
        threads: usize,
        mut work: impl FnMut() -> W,
    ) -> io::Result<Pool<J>> {
        let (queue, jobs) = crossbeam_channel::unbounded::<J>();
        let spawn = |_| {
            let (jobs, mut work) = (jobs.clone(), work());
            thread::Builder::new().name(name.to_owned()).spawn(move || jobs.iter().for_each(&mut work))
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<_>>()?;
        Ok(Pool { queue, threads })
    }

    pub(super) fn send(&self, job: J) {
        self.queue.send(job).expect("the pool's threads live as long as its handle");
    }

    /// Waits until every job is done and the threads have ended.
    pub(super) fn finish(self) {
        drop(self.queue);
        for thread in self.threads {
            thread.join().expect("a job does not panic");
        }
    }
}
