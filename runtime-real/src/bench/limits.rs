//! What the machine could do at most: `anvil bench limits`, and the raw sync rate beside `anvil bench kv`.
//!
//! Three rates. *Raw syncs*: 4 KiB written and synced in a loop, on one preallocated file. *Synced sequential bytes*: a file
//! that grows by writes of 4 MiB, each synced before the next, since a byte that is not synced is not stored. *Sealing*:
//! AES-256-GCM of 64 KiB in place on one thread, by the fastest implementation in this binary (ring's), whichever the node
//! uses.

use super::LimitsArgs;
use super::figures::{Figures, Samples, shown};
use super::load::payload;
use anyhow::Context as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the disk alone is measured beside other runs.
pub(super) const RAW_TIME: Duration = Duration::from_secs(2);

/// Bytes of one raw write.
const RAW_WRITE: usize = 4096;

/// Bytes of the file that is written over and over, as the log's preallocated segments are.
const RAW_FILE: usize = 4 << 20;

/// Bytes of one synced write in sequence.
const SEQUENTIAL_WRITE: usize = 4 << 20;

/// Bytes after which the sequence begins a new file, so that a fast disk is not filled.
const SEQUENTIAL_FILE: u64 = 1 << 30;

/// Bytes sealed at a time.
const SEALED: usize = 64 << 10;

#[expect(clippy::print_stdout, reason = "this is the command's output")]
pub(super) async fn bench(args: LimitsArgs) -> anyhow::Result<()> {
    let time = Duration::from_secs(args.seconds);
    let measured = tokio::task::spawn_blocking(move || {
        let raw = raw_syncs(&args.dir, time)?;
        let sequential = in_scratch_file(&args.dir, |file| sequential_writes(file, time))?;
        anyhow::Ok((raw, sequential, sealing(time)?))
    });
    let (raw, sequential, sealing) = measured.await??;
    if args.json {
        let document = serde_json::json!({
            "raw_syncs_per_second": raw.per_second,
            "raw_sync_p50_us": raw.p50.as_secs_f64() * 1e6,
            "sequential_mib_per_second": sequential.mib_per_second,
            "sealing_mib_per_second": sealing.mib_per_second,
        });
        println!("{document}");
    } else {
        println!("4 KiB written and synced:      {:>10.0} /s, p50 {}", raw.per_second, shown(raw.p50));
        println!("4 MiB appended and synced:     {:>10.0} MiB/s", sequential.mib_per_second);
        println!("AES-256-GCM on one core:       {:>10.0} MiB/s", sealing.mib_per_second);
    }
    Ok(())
}

/// Writes and syncs in a loop, in a file that has its blocks already, and removes it.
pub(super) fn raw_syncs(dir: &Path, time: Duration) -> anyhow::Result<Figures> {
    in_scratch_file(dir, |file| {
        file.write_all_at(&payload(RAW_FILE), 0)?;
        file.sync_all()?;
        let block = payload(RAW_WRITE);
        repeat(RAW_WRITE, time, |number| {
            let offset = number % (RAW_FILE / RAW_WRITE) * RAW_WRITE;
            file.write_all_at(&block, offset as u64)?;
            Ok(file.sync_data()?)
        })
    })
}

fn sequential_writes(file: &File, time: Duration) -> anyhow::Result<Figures> {
    let block = payload(SEQUENTIAL_WRITE);
    let mut offset = 0;
    repeat(SEQUENTIAL_WRITE, time, |_| {
        if offset >= SEQUENTIAL_FILE {
            file.set_len(0)?;
            offset = 0;
        }
        file.write_all_at(&block, offset)?;
        offset += SEQUENTIAL_WRITE as u64;
        Ok(file.sync_data()?)
    })
}

fn sealing(time: Duration) -> anyhow::Result<Figures> {
    let unusable = |_| anyhow::anyhow!("the cipher cannot be used");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(unusable)?);
    let mut bytes = payload(SEALED).to_vec();
    repeat(SEALED, time, |number| {
        // A key of a measurement, with a nonce that is never used twice all the same.
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let sealed = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes);
        sealed.map(drop).map_err(unusable)
    })
}

/// Does `act`, which takes the number of the turn, until the time is over.
fn repeat(size: usize, time: Duration, mut act: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<Figures> {
    let mut samples = Samples::default();
    let begun = Instant::now();
    for number in 0.. {
        let sent = Instant::now();
        act(number)?;
        samples.success(sent.elapsed());
        if begun.elapsed() >= time {
            break;
        }
    }
    Ok(samples.figures(size, begun.elapsed()))
}

fn in_scratch_file(dir: &Path, act: impl FnOnce(&File) -> anyhow::Result<Figures>) -> anyhow::Result<Figures> {
    let path = dir.join(format!("anvil-bench-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(anyhow::Error::from);
    let measured = file.and_then(|file| act(&file));
    // A file that was never made need not be removed.
    let _ = std::fs::remove_file(&path);
    measured.with_context(|| format!("the disk cannot be measured in {}", dir.display()))
}
