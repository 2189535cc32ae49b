//! Disk orders carried out on files.

use super::checked_file::sync_parent;
use super::descriptors::{Descriptors, Use, Written};
use super::room;
use anvil_core::disk::{DiskError, DiskOrder, DiskOutcome, File, Purpose};
use anvil_core::shards;
use anvil_core::types::DriveId;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Zeros are written in pieces of this size.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// The drives of a node, with the files that are open. Shared by the threads that carry out orders.
#[derive(Debug)]
pub(super) struct Disks {
    roots: BTreeMap<DriveId, PathBuf>,
    /// The drive with the log: the first.
    log: DriveId,
    open: Mutex<Descriptors>,
}

impl Disks {
    pub(super) fn new(roots: BTreeMap<DriveId, PathBuf>) -> Disks {
        let (&log, _) = roots.first_key_value().expect("a node has a drive");
        Disks { roots, log, open: Mutex::new(Descriptors::default()) }
    }

    /// Carries out one order. Blocks.
    pub(super) fn carry_out(&self, order: DiskOrder) -> DiskOutcome {
        let done = |result: io::Result<()>| result.map(|()| DiskOutcome::Done);
        let outcome = match order {
            DiskOrder::Create { file, size, purpose } => done(self.create(file, size, purpose)),
            DiskOrder::Write { file, offset, bytes } => done(self.write(file, offset, &bytes)),
            DiskOrder::Sync { file } => done(self.sync(file)),
            DiskOrder::Read { file, offset, length } => self.read(file, offset, length).map(DiskOutcome::Read),
            DiskOrder::Remove { file } => done(self.remove(file)),
        };
        outcome.unwrap_or_else(|error| DiskOutcome::Failed(disk_error(&error)))
    }

    fn read(&self, file: File, offset: u64, length: u32) -> io::Result<Bytes> {
        let (open, _) = self.file(file, Use::ReadOrSync)?;
        read_at(&open, offset, length)
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (open, _) = self.file(file, Use::Write)?;
        let written = open.write_all_at(bytes, offset);
        self.lock().end_write(file);
        written
    }

    fn sync(&self, file: File) -> io::Result<()> {
        let (open, written) = self.file(file, Use::ReadOrSync)?;
        open.sync_data()?;
        self.lock().end_sync(file, written);
        Ok(())
    }

    /// Opens a file for the caller alone.
    pub(super) fn open(&self, file: File) -> io::Result<fs::File> {
        OpenOptions::new().read(true).write(true).open(self.path(file))
    }

    /// Whether there is anything of a log.
    pub(super) fn has_log_segments(&self) -> io::Result<bool> {
        let directory = self.roots[&self.log].join("log");
        Ok(directory.try_exists()? && !list(&directory, "log")?.is_empty())
    }

    /// The content of every log segment, in sequence. Each is synced before it is read, and the directory too: a process
    /// that was killed may have left writes in the page cache that no sync covered, and the log takes what it reads
    /// for durable.
    pub(super) fn log_segments(&self) -> io::Result<Vec<(u64, Bytes)>> {
        let directory = self.roots[&self.log].join("log");
        fs::File::open(&directory)?.sync_all()?;
        let mut segments = Vec::new();
        for (sequence, path) in list(&directory, "log")? {
            OpenOptions::new().write(true).open(&path)?.sync_all()?;
            segments.push((sequence, fs::read(path)?.into()));
        }
        Ok(segments)
    }

    /// The extents of a drive. The directory is synced first: a removal that a killed process left unsynced would be
    /// undone by a power loss. The content is synced by the shard store itself.
    pub(super) fn extents(&self, drive: DriveId) -> io::Result<shards::Listing> {
        let directory = self.roots[&drive].join("shards");
        fs::File::open(&directory)?.sync_all()?;
        let files = list(&directory, "ext")?;
        let sized = files.into_iter().map(|(sequence, path)| Ok((sequence, fs::metadata(path)?.len())));
        Ok(shards::Listing { extents: sized.collect::<io::Result<_>>()? })
    }

    pub(super) fn path(&self, file: File) -> PathBuf {
        match file {
            File::LogSegment(sequence) => self.roots[&self.log].join("log").join(format!("{sequence:016x}.log")),
            File::HardStates => self.roots[&self.log].join("hard-state"),
            File::Extent(drive, sequence) => self.roots[&drive].join("shards").join(format!("{sequence:016x}.ext")),
        }
    }

    fn file(&self, file: File, what_for: Use) -> io::Result<(Arc<fs::File>, Written)> {
        if let Some(found) = self.lock().get(file, what_for) {
            return Ok(found);
        }
        let opened = self.open(file)?;
        let mut open = self.lock();
        open.keep(file, opened);
        let found = open.get(file, what_for).expect("it was just put there");
        open.trim();
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Descriptors> {
        // Each change is one insertion, removal or count, so it is whole even if a thread died holding it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, file: File, size: u64, purpose: Purpose) -> io::Result<()> {
        let path = self.path(file);
        if let File::Extent(drive, _) = file {
            room::check_extent(&self.roots[&drive], size, purpose)?;
        }
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let allocated = match file {
            // Written, not only allocated: a sync of a later write then changes no metadata of the file.
            File::LogSegment(_) | File::HardStates => write_zeros(&made, size),
            File::Extent(..) => allocate(&made, size),
        };
        let written = allocated.and_then(|()| made.sync_all()).and_then(|()| sync_parent(&path));
        if let Err(error) = written {
            // The core will try again under the same name once there is space.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let mut open = self.lock();
        open.keep(file, made);
        open.trim();
        Ok(())
    }

    fn remove(&self, file: File) -> io::Result<()> {
        self.lock().forget(file);
        let path = self.path(file);
        fs::remove_file(&path)?;
        sync_parent(&path)
    }
}

/// Reads up to `length` bytes; fewer at the end of the file.
pub(super) fn read_at(file: &fs::File, offset: u64, length: u32) -> io::Result<Bytes> {
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// Reserves space that reads as zeros, so that a full drive says so here and not in the middle of a write.
fn allocate(file: &fs::File, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        // Some file systems cannot reserve.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(size),
        outcome => Ok(outcome?),
    }
}

fn write_zeros(file: &fs::File, size: u64) -> io::Result<()> {
    let mut offset = 0;
    while offset < size {
        let piece = usize::try_from(size - offset).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all_at(&ZEROS[..piece], offset)?;
        offset += piece as u64;
    }
    Ok(())
}

/// Files named `<16 hex digits>.<extension>`, in sequence. Other names are left alone.
fn list(directory: &Path, extension: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == 16);
        let sequence = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
        if let Some(sequence) = sequence.filter(|_| path.extension().is_some_and(|found| found == extension)) {
            files.push((sequence, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The operating system's error in the core's words.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of which two kinds matter here")]
pub(super) fn disk_error(error: &io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
        io::ErrorKind::NotFound => DiskError::Missing,
        _ => DiskError::Io(error.to_string()),
    }
}
