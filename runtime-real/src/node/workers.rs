//! Everything that takes time, and the threads that do it.
//!
//! - `POOL-1` Each drive has threads of its own, so that one that hangs stalls no other. The log has a thread to itself.

use super::core_loop::Inbox;
use super::disks::Disks;
use super::pool::Pool;
use super::state_threads::StateThreads;
use crate::mailbox::Sender;
use anvil_core::disk::{DiskOrder, OpId};
use anvil_core::node::{DiskUser, Event, Fatal, Task, WorkId};
use anvil_core::planted::Planted;
use anvil_core::types::DriveId;
use anvil_state_store::StateStore;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

/// Threads of each of several drives. Two, so that reads go on while a batch is being synced.
const THREADS_PER_DRIVE: usize = 2;

/// Threads of a drive that is the only one.
const THREADS_OF_ONE_DRIVE: usize = 4;

/// A disk order on its way.
pub(super) struct DiskJob {
    pub(super) user: DiskUser,
    pub(super) op: OpId,
    pub(super) order: DiskOrder,
}

/// A computation on its way.
pub(super) struct ComputeJob {
    pub(super) work: WorkId,
    pub(super) task: Task,
}

/// The running threads.
pub(super) struct Workers {
    log: Pool<DiskJob>,
    drives: DrivePools<DiskJob>,
    pub(super) compute: Pool<ComputeJob>,
    pub(super) state: StateThreads,
}

impl Workers {
    pub(super) fn start(
        disks: &Arc<Disks>,
        drives: impl ExactSizeIterator<Item = DriveId>,
        state: StateStore,
        inbox: &Sender<Inbox>,
    ) -> anyhow::Result<Workers> {
        let disk_work = || {
            let (disks, inbox) = (Arc::clone(disks), inbox.clone());
            move |job: DiskJob| {
                let outcome = disks.carry_out(job.order);
                let _ = inbox.send(Inbox::Event(Event::Disk { user: job.user, op: job.op, outcome }));
            }
        };
        let compute_work = || {
            let inbox = inbox.clone();
            move |job: ComputeJob| {
                let product = job.task.run(Planted::default());
                let _ = inbox.send(Inbox::Event(Event::Computed { work: job.work, product }));
            }
        };
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Ok(Workers {
            log: Pool::start("anvil-log", 1, disk_work)?,
            drives: DrivePools::start(drives, disk_work)?,
            compute: Pool::start("anvil-compute", cores, compute_work)?,
            state: StateThreads::start(state, inbox)?,
        })
    }

    pub(super) fn disk(&self, job: DiskJob) {
        match job.user {
            DiskUser::Log | DiskUser::HardStates => self.log.send(job),
            DiskUser::Shards(drive) => self.drives.send(drive, job),
        }
    }

    /// Lets everything under way end.
    pub(super) fn finish(self) -> Result<(), Fatal> {
        self.log.finish();
        self.drives.finish();
        self.compute.finish();
        self.state.finish().map_err(Fatal::State)
    }
}

/// A pool for each drive.
struct DrivePools<J> {
    pools: BTreeMap<DriveId, Pool<J>>,
}

impl<J: Send + 'static> DrivePools<J> {
    fn start<W: FnMut(J) + Send + 'static>(
        drives: impl ExactSizeIterator<Item = DriveId>,
        work: impl Fn() -> W,
    ) -> io::Result<DrivePools<J>> {
        let threads = if drives.len() == 1 { THREADS_OF_ONE_DRIVE } else { THREADS_PER_DRIVE };
        // POOL-1
        let pools = drives.map(|drive| Ok((drive, Pool::start(&format!("anvil-disk{drive}"), threads, &work)?)));
        Ok(DrivePools { pools: pools.collect::<io::Result<_>>()? })
    }

    fn send(&self, drive: DriveId, job: J) {
        self.pools.get(&drive).expect("the core has stores for the drives of this node only").send(job);
    }

    fn finish(self) {
        self.pools.into_values().for_each(Pool::finish);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Taken, mailbox};
    use std::time::{Duration, Instant};

    #[test]
    fn a_drive_that_hangs_stalls_no_other() {
        let (release, hung) = mailbox::<()>();
        let (done, ended) = mailbox();
        let drives = [DriveId(0), DriveId(1)];
        let pools = DrivePools::start(drives.into_iter(), || {
            let (hung, done) = (hung.clone(), done.clone());
            move |drive: DriveId| {
                if drive == DriveId(0) {
                    // It ends when the test lets go of the other end.
                    let _ = hung.recv();
                }
                done.send(drive).unwrap();
            }
        })
        .unwrap();
        (0..16).for_each(|_| pools.send(DriveId(0), DriveId(0)));
        pools.send(DriveId(1), DriveId(1));
        let mut first = Vec::new();
        assert_eq!(ended.take(1, Some(Instant::now() + Duration::from_secs(20)), &mut first), Taken::Some);
        assert_eq!(first, [DriveId(1)]);
        drop(release);
        pools.finish();
        assert_eq!(std::iter::from_fn(|| ended.try_recv()).count(), 16);
    }
}
