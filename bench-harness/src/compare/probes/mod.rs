//! What the machine itself gives, and takes: the disk's sequential rates by O_DIRECT and the latency
//! of a small write with its flush, what one core receives over loopback, what it costs to exchange
//! the messages of a record, and how long a core is taken away. And the core that the disk
//! interrupts.
//!
//! A broker's figure means something beside these only: none can write faster than the disk, and
//! processor time is to be seen beside what plain system calls take for the same bytes.

mod disk;
mod exchange;
mod interrupts;
mod loopback;

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

pub use self::interrupts::interrupted_core;
use super::error::CompareError;
use super::machine::bind_thread;
use super::stalls::Stalls;
use super::suite::ProbeSizes;

/// Small writes, and exchanges, that are due in a second.
const RATE: u32 = 1000;
/// Payload of a record that is exchanged, and of one that a small write brings.
const RECORD_BYTES: usize = 1024;

/// What the machine gave in one round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Written to a file that grows, not flushed.
    pub disk_growing_write_mb_s: Option<f64>,
    /// Written, not flushed.
    pub disk_write_mb_s: Option<f64>,
    /// What the thread that has it written needs for it.
    pub disk_write_cpu_s_per_gb: Option<f64>,
    /// Written, with `fdatasync` after every 8 MiB.
    pub disk_durable_write_mb_s: Option<f64>,
    /// Read.
    pub disk_read_mb_s: Option<f64>,
    /// Received over loopback by one core.
    pub loopback_mb_s: Option<f64>,
    /// What that core needed for it.
    pub loopback_cpu_s_per_gb: Option<f64>,
    /// What one event in a hundred waits at least because the broker's core is taken away.
    pub stall_p99_ms: Option<f64>,
    /// The same for one in a thousand.
    pub stall_p999_ms: Option<f64>,
    /// From when a write of 4 KiB is due, 1,000 in a second, until it is flushed: the median.
    pub flush_p50_ms: Option<f64>,
    /// What one of these in a hundred exceeds.
    pub flush_p99_ms: Option<f64>,
    /// The same for one in a thousand.
    pub flush_p999_ms: Option<f64>,
    /// What the writing thread needs for them, for each GB of records of 1 KiB in and out.
    pub flush_cpu_s_per_gb: Option<f64>,
    /// What it costs to receive such a record, 1,000 in a second, answer its producer, send it to
    /// its consumer and receive the consumer's next request, in system calls alone; for each GB in
    /// and out.
    pub exchange_cpu_s_per_gb: Option<f64>,
}

/// A figure of the machine.
#[derive(Debug)]
pub struct ProbeFigure {
    /// By which expressions know it.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Where it is.
    pub of: fn(&Probed) -> Option<f64>,
}

impl ProbeFigure {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static ProbeFigure> {
        PROBE_FIGURES.iter().find(|figure| figure.name == name)
    }
}

macro_rules! figures {
    ($($name:ident, $title:literal, $unit:literal;)*) => {
        &[$(ProbeFigure {
            name: stringify!($name),
            title: $title,
            unit: $unit,
            of: |probed| probed.$name,
        }),*]
    };
}

/// The figures in the order in which they are shown.
pub const PROBE_FIGURES: &[ProbeFigure] = figures! {
    disk_growing_write_mb_s, "Disk, sequential O_DIRECT writes to a file that grows", "MB/s";
    disk_write_mb_s, "The same, to one that was written before", "MB/s";
    disk_write_cpu_s_per_gb, "The writing core's CPU per GB of these", "s";
    disk_durable_write_mb_s, "The same, fdatasync after each 8 MiB", "MB/s";
    disk_read_mb_s, "Disk, sequential O_DIRECT reads", "MB/s";
    loopback_mb_s, "Loopback, received by one core", "MB/s";
    loopback_cpu_s_per_gb, "The receiving core's CPU per GB", "s";
    stall_p99_ms, "Latency of doing nothing (the core is taken away), p99", "ms";
    stall_p999_ms, "The same, p99.9", "ms";
    flush_p50_ms, "Write of 4 KiB with its flush, 1,000/s, p50", "ms";
    flush_p99_ms, "The same, p99", "ms";
    flush_p999_ms, "The same, p99.9", "ms";
    flush_cpu_s_per_gb, "The writing core's CPU per GB of row 5a", "s";
    exchange_cpu_s_per_gb,
        "Row 5a's messages exchanged by a server that does nothing with them: its CPU per GB", "s";
};

/// Asks the disk of `folder`, and loopback.
///
/// # Errors
/// The disk or the network refuses.
pub fn probe(
    folder: &Path,
    sizes: &ProbeSizes,
    broker_core: usize,
    load_core: usize,
) -> Result<Probed, CompareError> {
    let path = folder.join("disk-probe");
    let disk = disk::measure(&path, sizes, broker_core);
    let removed = fs::remove_file(&path);
    let disk = disk.map_err(|cause| CompareError::file(&path, cause))?;
    removed.map_err(|cause| CompareError::file(&path, cause))?;
    let machine = |what: &'static str| {
        move |cause: io::Error| CompareError::Machine(format!("{what}: {cause}"))
    };
    let loopback = loopback::measure(sizes, broker_core, load_core).map_err(machine("loopback"))?;
    let exchange_cpu =
        exchange::measure(sizes, broker_core, load_core).map_err(machine("exchange"))?;
    let stalls = stalls(sizes, broker_core).map_err(machine("stalls"))?;
    let wait_ms = |part| {
        let watched = sizes.stall_seconds > 0.0;
        watched.then(|| stalls.wait_exceeded_by(part).as_secs_f64() * 1e3)
    };
    Ok(Probed {
        disk_growing_write_mb_s: Some(disk.growing_write_mb_s),
        disk_write_mb_s: Some(disk.write_mb_s),
        disk_write_cpu_s_per_gb: Some(disk.write_cpu_s_per_gb),
        disk_durable_write_mb_s: Some(disk.durable_write_mb_s),
        disk_read_mb_s: Some(disk.read_mb_s),
        loopback_mb_s: Some(loopback.mb_s),
        loopback_cpu_s_per_gb: Some(loopback.cpu_s_per_gb),
        stall_p99_ms: wait_ms(0.01),
        stall_p999_ms: wait_ms(0.001),
        flush_p50_ms: disk.flushes.exceeded_by_ms(0.5),
        flush_p99_ms: disk.flushes.exceeded_by_ms(0.01),
        flush_p999_ms: disk.flushes.exceeded_by_ms(0.001),
        flush_cpu_s_per_gb: disk.flushes.cpu_s_per_gb(),
        exchange_cpu_s_per_gb: exchange_cpu,
    })
}

fn stalls(sizes: &ProbeSizes, core: usize) -> io::Result<Stalls> {
    let seconds = Duration::from_secs_f64(sizes.stall_seconds);
    let watching = thread::spawn(move || {
        bind_thread(&[core]).map_err(io::Error::other)?;
        Ok(Stalls::watch(seconds))
    });
    watching.join().expect("the thread does not panic")
}

/// What this thread used so far.
fn thread_cpu_seconds() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}

/// Seconds that some records took, for each GB that came in and went out, as a broker's are given.
fn per_gb_in_and_out(cpu_seconds: f64, records: u64) -> f64 {
    cpu_seconds / (records as f64 * 2.0 * RECORD_BYTES as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_names_of_their_own() {
        let mut names: Vec<_> = PROBE_FIGURES.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROBE_FIGURES.len());
        let probed = Probed {
            flush_cpu_s_per_gb: Some(3.0),
            ..Probed::default()
        };
        let figure = ProbeFigure::named("flush_cpu_s_per_gb").unwrap();
        assert_eq!((figure.of)(&probed), Some(3.0));
        assert!(ProbeFigure::named("flush").is_none());
    }

    #[test]
    fn a_record_counts_as_it_comes_in_and_as_it_goes_out() {
        assert_eq!(per_gb_in_and_out(1.0, 1_000_000), 1.0 / 2.048);
    }
}
