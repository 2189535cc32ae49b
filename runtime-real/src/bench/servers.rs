//! The processor time of the servers under load, as the kernel counts it for their processes.

use anyhow::{Context as _, bail};
use std::time::Duration;

/// Processes on this machine.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    pids: Vec<u32>,
}

impl Servers {
    pub(super) fn new(pids: &[u32]) -> Servers {
        Servers { pids: pids.to_vec() }
    }

    /// What all of them have used since they began, or `None` when there are none.
    ///
    /// # Errors
    /// When one of them is not there.
    pub(super) fn processor_time(&self) -> anyhow::Result<Option<Duration>> {
        if self.pids.is_empty() {
            return Ok(None);
        }
        let mut ticks = 0;
        for pid in &self.pids {
            let path = format!("/proc/{pid}/stat");
            let stat =
                std::fs::read_to_string(&path).with_context(|| format!("--server-pid {pid}: cannot read {path}"))?;
            ticks += ticks_of(&stat).with_context(|| format!("{path} is not as expected"))?;
        }
        let of_a_second = rustix::param::clock_ticks_per_second();
        if of_a_second == 0 {
            bail!("the kernel does not say how it counts processor time");
        }
        Ok(Some(Duration::from_nanos(ticks * 1_000_000_000 / of_a_second)))
    }
}

/// User and kernel time of all threads of a process, in ticks: fields 14 and 15 (Linux, proc_pid_stat(5)).
pub(super) fn ticks_of(stat: &str) -> Option<u64> {
    // The name stands in parentheses and may hold any character, even a closing one.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(kernel)
}
