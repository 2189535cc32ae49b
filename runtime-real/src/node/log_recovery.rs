//! The log read back at the start of a node, and put aside when it is damaged and others have what stood in it.
//!
//! The directory of a damaged log is renamed, not removed, until the node has started once with all it needs: should more
//! nodes be damaged than there is redundancy for, it is what is left. A log that cannot be opened at all is a mistake
//! (permissions, a limit) and no damage.
//!
//! - `LOSS-1` The log's directory is touched only after the copy of term and vote says durably that the log was lost
//!   (`HARD-3`): a start that dies in between, and every one after it, knows.

use super::checked_file::sync_parent;
use super::disks::Disks;
use anvil_core::disk::File;
use anvil_core::log::{self, HardStates, Log, RecoverError, RecoveredGroup};
use anvil_core::node::Config;
use anvil_core::types::{GroupId, Membership};
use anyhow::Context;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

/// What recovery found of the log.
type Recovered = (Log, BTreeMap<GroupId, RecoveredGroup>, Vec<log::Effect>);

/// How often the log is read before it counts as unreadable, and what lies between.
const READS: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(200);

/// How a directory begins that holds a log which was given up.
const PUT_ASIDE: &str = "log.damaged-";

/// The log in `home`, or an empty one in its place, and the copy of what the replicas promised.
///
/// # Errors
/// When the log cannot be opened, or is damaged and must not be given up: each says what to do.
pub(super) fn recover_log(
    log_config: log::Config,
    config: &Config,
    memberships: &BTreeMap<GroupId, Membership>,
    disks: &Disks,
    home: &Path,
) -> anyhow::Result<(Recovered, HardStates)> {
    let copy = read_copy(&disks.path(File::HardStates)).context("hard-state cannot be opened")?;
    let mut hard_states = HardStates::recover(log_config.cluster, log_config.node, copy.as_deref());
    let log = home.join("log");
    if hard_states.is_any_impaired() {
        // A start may have died between the two steps at the end of this one.
        fs::create_dir_all(&log)?;
    }
    let damage = match read_segments(disks) {
        Ok(segments) => match Log::recover(log_config, segments) {
            Ok(log) => {
                if !hard_states.is_any_impaired() {
                    forget_put_aside(home)?;
                }
                return Ok((log, hard_states));
            }
            Err(error @ RecoverError::Corrupt { .. }) => anyhow::Error::from(error),
            Err(error) => return Err(error.into()),
        },
        Err(error) if is_damage(&error) => anyhow::Error::from(error).context("the log cannot be read"),
        Err(error) => return Err(anyhow::Error::from(error).context("the log cannot be opened")),
    };
    if !config.can_repair_log(memberships) {
        return Err(damage);
    }
    // HARD-2
    if !hard_states.is_certain() {
        return Err(damage.context(
            "hard-state, which says what the node promised when its log is damaged, is missing or damaged too, so the node \
             cannot come back as the one it was",
        ));
    }
    let put_aside = unused_name(home)?;
    tracing::error!(
        "{damage:#}. The log goes to {}, and this node gets what stood in it from its peers; it does not vote until it \
         has. Check the drive",
        put_aside.display()
    );
    // LOSS-1
    let (offset, bytes) = hard_states.impair(&config.groups);
    write_copy(&disks.path(File::HardStates), offset, &bytes).context("hard-state cannot be written")?;
    fs::rename(&log, &put_aside).and_then(|()| fs::create_dir(&log)).and_then(|()| sync_parent(&log))?;
    Ok((Log::recover(log_config, Vec::new())?, hard_states))
}

/// Reads the log, several times if the drive fails: what was lost is had again, but the vote is missing meanwhile.
fn read_segments(disks: &Disks) -> io::Result<Vec<(u64, Bytes)>> {
    for _ in 1..READS {
        match disks.log_segments() {
            Err(error) if is_damage(&error) => std::thread::sleep(READ_PAUSE),
            read => return read,
        }
    }
    disks.log_segments()
}

/// Whether the drive could not give what it holds, in the operating system's words: EIO.
fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// The copy's bytes, synced before they are read (`DISK-4`); `None` when there is none. What the drive cannot read counts as
/// damaged.
fn read_copy(path: &Path) -> io::Result<Option<Bytes>> {
    let file = match fs::OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    file.sync_all()?;
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if is_damage(&error) => Ok(Some(Bytes::from_static(&[0xff; 8192]))),
        Err(error) => Err(error),
    }
}

fn write_copy(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all_at(bytes, offset)?;
    file.sync_all()
}

fn unused_name(home: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let path = home.join(format!("{PUT_ASIDE}{number}"));
        if !path.try_exists()? {
            return Ok(path);
        }
    }
    unreachable!("no drive has so many directories")
}

/// The node has all that it needs, so what is left of damaged logs can go.
fn forget_put_aside(home: &Path) -> io::Result<()> {
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PUT_ASIDE)) {
            tracing::info!("the node has back what stood in its damaged log, so {} is removed", path.display());
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::core_loop::{self, StartOptions};
    use crate::node::directory::NodeDirectory;
    use anvil_core::planted::Planted;
    use anvil_core::types::NodeId;

    /// A node with two others, or alone, whose log is damaged.
    struct Damaged {
        home: tempfile::TempDir,
        directory: NodeDirectory,
        is_alone: bool,
    }

    impl Damaged {
        fn new(is_alone: bool) -> Damaged {
            let home = tempfile::tempdir().unwrap();
            let directory = NodeDirectory::open(&[home.path().to_owned()], "node1", None).unwrap();
            let damaged = Damaged { home, directory, is_alone };
            let (offset, bytes) =
                HardStates::recover(damaged.directory.cluster, damaged.directory.node, None).impair(&[]);
            fs::write(damaged.home.path().join("hard-state"), vec![0; 4608]).unwrap();
            write_copy(&damaged.home.path().join("hard-state"), offset, &bytes).unwrap();
            fs::write(damaged.segment("log"), vec![0xa5; 1 << 14]).unwrap();
            damaged
        }

        fn segment(&self, directory: &str) -> PathBuf {
            self.home.path().join(directory).join("0000000000000001.log")
        }

        fn recover(&self) -> anyhow::Result<HardStates> {
            let config = core_loop::config(&self.directory, &StartOptions::default());
            let own = self.directory.node;
            let others = [NodeId(1), NodeId(2)].into_iter().filter(|_| !self.is_alone);
            let voters: Vec<NodeId> = others.chain([own]).collect();
            let membership = |group: &GroupId| (*group, Membership::of(&voters));
            let memberships = config.groups.iter().map(membership).collect();
            let log_config = log::Config {
                cluster: self.directory.cluster,
                node: own,
                segment_size: 1 << 14,
                planted: Planted::default(),
            };
            let disks = Disks::new(self.directory.drives.clone());
            recover_log(log_config, &config, &memberships, &disks, self.home.path()).map(|(_, hard_states)| hard_states)
        }
    }

    #[test]
    fn a_damaged_log_is_put_aside_and_that_is_remembered() {
        let damaged = Damaged::new(false);
        assert!(damaged.recover().unwrap().is_any_impaired());
        assert!(damaged.segment("log.damaged-1").exists() && !damaged.segment("log").exists());
        assert!(damaged.recover().unwrap().is_any_impaired(), "LOSS-1: the next start knows");
        assert!(damaged.segment("log.damaged-1").exists(), "not before all is back");
        // Damaged again before that.
        fs::write(damaged.segment("log"), vec![0xa5; 1 << 14]).unwrap();
        assert!(damaged.recover().unwrap().is_any_impaired());
        assert!(damaged.segment("log.damaged-1").exists() && damaged.segment("log.damaged-2").exists());
    }

    #[test]
    fn a_start_that_dies_after_any_step_is_made_again() {
        let damaged = Damaged::new(false);
        damaged.recover().unwrap();
        // After the log was put aside.
        fs::remove_dir(damaged.home.path().join("log")).unwrap();
        assert!(damaged.recover().unwrap().is_any_impaired());
        // Before.
        fs::remove_dir(damaged.home.path().join("log")).unwrap();
        fs::rename(damaged.home.path().join("log.damaged-1"), damaged.home.path().join("log")).unwrap();
        assert!(damaged.recover().unwrap().is_any_impaired());
        assert!(damaged.segment("log.damaged-1").exists());
    }

    #[test]
    fn a_log_is_not_given_up_where_nobody_else_has_it_or_the_vote_is_not_known() {
        let alone = Damaged::new(true);
        alone.recover().expect_err("a lone voter");
        assert!(alone.segment("log").exists());
        let uncertain = Damaged::new(false);
        fs::remove_file(uncertain.home.path().join("hard-state")).unwrap();
        let error = uncertain.recover().expect_err("HARD-2");
        assert!(uncertain.segment("log").exists() && format!("{error:#}").contains("hard-state"), "{error:#}");
    }

    #[test]
    fn what_was_put_aside_goes_at_a_start_that_needs_it_no_more() {
        let whole = Damaged::new(false);
        fs::create_dir(whole.home.path().join("log.damaged-1")).unwrap();
        fs::remove_file(whole.segment("log")).unwrap();
        assert!(!whole.recover().unwrap().is_any_impaired());
        assert!(!whole.home.path().join("log.damaged-1").exists());
    }
}
