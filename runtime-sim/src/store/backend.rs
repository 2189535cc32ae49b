//! `redb`'s file, on a simulated drive.

use crate::world::disk::Disk;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// A handle on the state file of a drive, good for one life of the process: once the process is dead, the database
/// that is dropped with it cannot write (`WORLD-DISK-4`), as a real crash would not let it.
#[derive(Clone, Debug)]
pub struct SimBackend {
    disk: Arc<Mutex<Disk>>,
    life: u64,
}

impl SimBackend {
    /// A handle for the present life of the drive's process.
    pub fn new(disk: Arc<Mutex<Disk>>) -> SimBackend {
        let life = lock(&disk).life();
        SimBackend { disk, life }
    }
}

fn lock(disk: &Arc<Mutex<Disk>>) -> MutexGuard<'_, Disk> {
    disk.lock().expect("one thread runs the world, so nobody panicked while holding it")
}

impl StorageBackend for SimBackend {
    fn len(&self) -> io::Result<u64> {
        lock(&self.disk).state_size(self.life)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        lock(&self.disk).state_read(self.life, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.disk).state_resize(self.life, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        lock(&self.disk).state_sync(self.life)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        lock(&self.disk).state_write(self.life, offset, data)
    }
}
