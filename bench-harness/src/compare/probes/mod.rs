//! What the machine itself gives: the disk's sequential rates by O_DIRECT and the latency of a small
//! write with its flush, what one core receives over loopback, and how long a core is taken away.
//! And the core that the disk interrupts.
//!
//! The disk is written through the reactor's files, as the broker does: blocks of 1 MiB with
//! several under way. The file is written once before, so that the file system has nothing left to
//! allocate and the figures are the device's.

use std::fs;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use millstream_reactor::uring::{ShardOptions, start_shard};
use millstream_reactor::{File, OpenOptions, Reactor, TailBuffer};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use super::error::CompareError;
use super::machine::bind_thread;
use super::stalls::Stalls;
use super::suite::ProbeSizes;

const BLOCK: usize = 1 << 20;
const IN_FLIGHT: u64 = 8;
/// Blocks between two flushes, of the durable rate.
const FLUSH_EVERY: u64 = 8;
/// Small writes by which the disk's interrupts are found.
const SMALL_WRITES: u64 = 500;
const SMALL: usize = 4096;

/// Time between two small writes whose flushes are measured: 1,000 in a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);
/// Writes to one block before the next has its turn, as if each brought 1 KiB.
const WRITES_OF_A_BLOCK: u64 = 4;
/// Blocks of the file that is written to.
const FLUSHED_BLOCKS: u64 = 1024;

/// What the machine gave in one round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Written, not flushed.
    pub disk_write_mb_s: Option<f64>,
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
}

/// A figure of a probe by its name.
type ProbeFigure = (&'static str, fn(&Probed) -> Option<f64>);

/// The figures by which expressions know them.
pub const PROBE_FIGURES: &[ProbeFigure] = &[
    ("disk_write_mb_s", |probed| probed.disk_write_mb_s),
    ("disk_durable_write_mb_s", |probed| {
        probed.disk_durable_write_mb_s
    }),
    ("disk_read_mb_s", |probed| probed.disk_read_mb_s),
    ("loopback_mb_s", |probed| probed.loopback_mb_s),
    ("loopback_cpu_s_per_gb", |probed| {
        probed.loopback_cpu_s_per_gb
    }),
    ("stall_p99_ms", |probed| probed.stall_p99_ms),
    ("stall_p999_ms", |probed| probed.stall_p999_ms),
    ("flush_p50_ms", |probed| probed.flush_p50_ms),
    ("flush_p99_ms", |probed| probed.flush_p99_ms),
    ("flush_p999_ms", |probed| probed.flush_p999_ms),
];

/// What a figure of a probe is, for people, with its unit.
pub fn probe_title(name: &str) -> (&'static str, &'static str) {
    match name {
        "disk_write_mb_s" => ("Disk, sequential O_DIRECT writes", "MB/s"),
        "disk_durable_write_mb_s" => ("The same, fdatasync after each 8 MiB", "MB/s"),
        "disk_read_mb_s" => ("Disk, sequential O_DIRECT reads", "MB/s"),
        "loopback_mb_s" => ("Loopback, received by one core", "MB/s"),
        "stall_p99_ms" => (
            "Latency of doing nothing (the core is taken away), p99",
            "ms",
        ),
        "stall_p999_ms" => ("The same, p99.9", "ms"),
        "flush_p50_ms" => ("Write of 4 KiB with its flush, 1,000/s, p50", "ms"),
        "flush_p99_ms" => ("The same, p99", "ms"),
        "flush_p999_ms" => ("The same, p99.9", "ms"),
        _ => ("The receiving core's CPU per GB", "s"),
    }
}

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
    let blocks = (sizes.disk_mb * 1_000_000).div_ceil(BLOCK as u64).max(1);
    let wanted = path.clone();
    let flush_seconds = Duration::from_secs_f64(sizes.flush_seconds);
    let disk = on_a_shard(broker_core, async move |reactor| {
        let rates = disk_rates(&reactor, &wanted, blocks).await?;
        Ok((
            rates,
            flush_latencies(&reactor, &wanted, flush_seconds).await?,
        ))
    });
    let removed = fs::remove_file(&path);
    let ([write, durable, read], flushes) =
        disk.map_err(|cause| CompareError::file(&path, cause))?;
    removed.map_err(|cause| CompareError::file(&path, cause))?;
    let loopback = loopback(sizes, broker_core, load_core)
        .map_err(|cause| CompareError::Machine(format!("loopback: {cause}")))?;
    let stalls = stalls(sizes, broker_core)
        .map_err(|cause| CompareError::Machine(format!("stalls: {cause}")))?;
    let wait_ms = |part| {
        let watched = sizes.stall_seconds > 0.0;
        watched.then(|| stalls.wait_exceeded_by(part).as_secs_f64() * 1e3)
    };
    Ok(Probed {
        disk_write_mb_s: Some(write),
        disk_durable_write_mb_s: Some(durable),
        disk_read_mb_s: Some(read),
        loopback_mb_s: Some(loopback.mb_s),
        loopback_cpu_s_per_gb: Some(loopback.cpu_s_per_gb),
        stall_p99_ms: wait_ms(0.01),
        stall_p999_ms: wait_ms(0.001),
        flush_p50_ms: exceeded_by(&flushes, 0.5),
        flush_p99_ms: exceeded_by(&flushes, 0.01),
        flush_p999_ms: exceeded_by(&flushes, 0.001),
    })
}

fn on_a_shard<T, F, Main>(core: usize, main: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce(Reactor) -> Main + Send + 'static,
    Main: Future<Output = io::Result<T>> + 'static,
{
    let options = ShardOptions {
        name: "probe".to_owned(),
        cpu: Some(core),
    };
    start_shard(options, main)?.join()
}

/// An empty file for blocks that pass by the page cache.
async fn created(reactor: &Reactor, path: &Path) -> io::Result<File> {
    let options = OpenOptions {
        write: true,
        create: true,
        truncate: true,
        direct: true,
        ..OpenOptions::default()
    };
    reactor.fs().open(path, options).await
}

/// MB/s: written, written and flushed, read.
async fn disk_rates(reactor: &Reactor, path: &Path, blocks: u64) -> io::Result<[f64; 3]> {
    let file = created(reactor, path).await?;
    let buffer = filled(BLOCK);
    let write = |number: u64| {
        let (file, blocks) = (file.clone(), buffer.blocks(0..BLOCK));
        async move { file.write_blocks(number * BLOCK as u64, blocks).await }
    };
    all(0..blocks, &write).await?;
    file.sync_data().await?;

    let began = Instant::now();
    all(0..blocks, &write).await?;
    let written = rate(blocks, began.elapsed());

    let began = Instant::now();
    for first in (0..blocks).step_by(FLUSH_EVERY as usize) {
        all(first..blocks.min(first + FLUSH_EVERY), &write).await?;
        file.sync_data().await?;
    }
    let durable = rate(blocks, began.elapsed());

    let read = |number: u64| {
        let file: File = file.clone();
        async move { file.read_at(number * BLOCK as u64, BLOCK).await.map(drop) }
    };
    let began = Instant::now();
    all(0..blocks, &read).await?;
    Ok([written, durable, rate(blocks, began.elapsed())])
}

/// How long writes of one block took with their flushes, from when each was due; in order of length.
async fn flush_latencies(
    reactor: &Reactor,
    path: &Path,
    duration: Duration,
) -> io::Result<Vec<Duration>> {
    if duration.is_zero() {
        return Ok(Vec::new());
    }
    let file = created(reactor, path).await?;
    file.write_zeros(0, FLUSHED_BLOCKS * SMALL as u64).await?;
    file.sync_data().await?;
    let buffer = filled(SMALL);
    let mut took = Vec::new();
    let began = Instant::now();
    let mut due = began;
    while due - began < duration {
        reactor.sleep_until(due).await;
        let block = took.len() as u64 / WRITES_OF_A_BLOCK % FLUSHED_BLOCKS;
        let position = block * SMALL as u64;
        file.write_blocks_durably(position, buffer.blocks(0..SMALL))
            .await?;
        took.push(due.elapsed());
        due += FLUSH_INTERVAL;
    }
    took.sort();
    Ok(took)
}

/// What this part of them exceeds, in milliseconds; none of none.
fn exceeded_by(sorted: &[Duration], part: f64) -> Option<f64> {
    let at = ((1.0 - part) * sorted.len() as f64) as usize;
    let found = sorted.get(at.min(sorted.len().checked_sub(1)?))?;
    Some(found.as_secs_f64() * 1e3)
}

/// Does it for each number, with several under way.
async fn all<Work>(mut numbers: std::ops::Range<u64>, work: &impl Fn(u64) -> Work) -> io::Result<()>
where
    Work: Future<Output = io::Result<()>>,
{
    let mut under_way: FuturesUnordered<Work> = numbers
        .by_ref()
        .take(IN_FLIGHT as usize)
        .map(work)
        .collect();
    while let Some(done) = under_way.next().await {
        done?;
        if let Some(number) = numbers.next() {
            under_way.push(work(number));
        }
    }
    Ok(())
}

fn filled(bytes: usize) -> TailBuffer {
    let mut buffer = TailBuffer::with_capacity(bytes);
    buffer.append(&vec![0x5a; bytes], |_| ());
    buffer
}

fn rate(blocks: u64, elapsed: Duration) -> f64 {
    (blocks * BLOCK as u64) as f64 / 1e6 / elapsed.as_secs_f64()
}

struct Loopback {
    mb_s: f64,
    cpu_s_per_gb: f64,
}

/// One core receives what another one sends, by plain system calls on messages of the size asked.
fn loopback(sizes: &ProbeSizes, receiver: usize, sender: usize) -> io::Result<Loopback> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let seconds = Duration::from_secs_f64(sizes.loopback_seconds);
    let message = vec![0x5a_u8; sizes.message_bytes.max(1)];
    let sending = thread::spawn(move || -> io::Result<()> {
        bind_thread(&[sender]).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(address)?;
        let began = Instant::now();
        while began.elapsed() < seconds {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let len = sizes.message_bytes.max(1);
    let receiving = thread::spawn(move || -> io::Result<Loopback> {
        bind_thread(&[receiver]).map_err(io::Error::other)?;
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; len];
        let (began, used) = (Instant::now(), thread_cpu_seconds()?);
        let mut received = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                bytes => received += bytes,
            }
        }
        Ok(Loopback {
            mb_s: received as f64 / 1e6 / began.elapsed().as_secs_f64(),
            cpu_s_per_gb: (thread_cpu_seconds()? - used) / (received as f64 / 1e9),
        })
    });
    let received = receiving.join().expect("the receiver does not panic");
    sending.join().expect("the sender does not panic")?;
    received
}

fn stalls(sizes: &ProbeSizes, core: usize) -> io::Result<Stalls> {
    let seconds = Duration::from_secs_f64(sizes.stall_seconds);
    let watching = thread::spawn(move || {
        bind_thread(&[core]).map_err(io::Error::other)?;
        Ok(Stalls::watch(seconds))
    });
    watching.join().expect("the thread does not panic")
}

fn thread_cpu_seconds() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}

/// The core that gets the interrupts of the disk of `folder`; none where that does not show.
pub fn interrupted_core(folder: &Path) -> Option<usize> {
    let path = folder.join("interrupt-probe");
    let before = interrupts()?;
    let wanted = path.clone();
    let options = ShardOptions {
        name: "probe".to_owned(),
        ..ShardOptions::default()
    };
    let shard = start_shard(options, async move |reactor| {
        small_writes(&reactor, &wanted).await
    });
    let written = shard.ok().map(|shard| shard.join());
    // What is left behind goes with the folder.
    let _ = fs::remove_file(&path);
    written?.ok()?;
    most_interrupted(&before, &interrupts()?)
}

async fn small_writes(reactor: &Reactor, path: &Path) -> io::Result<()> {
    let file = created(reactor, path).await?;
    let buffer = filled(SMALL);
    for number in 0..SMALL_WRITES {
        file.write_blocks(number * SMALL as u64, buffer.blocks(0..SMALL))
            .await?;
    }
    Ok(())
}

/// For each interrupt of a device, by name: how often each core had it.
type Interrupts = Vec<(String, Vec<u64>)>;

fn interrupts() -> Option<Interrupts> {
    Some(parse_interrupts(
        &fs::read_to_string("/proc/interrupts").ok()?,
    ))
}

fn parse_interrupts(text: &str) -> Interrupts {
    let mut lines = text.lines();
    let cores = lines.next().unwrap_or_default().split_whitespace().count();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.strip_suffix(':')?.to_owned();
        name.parse::<u32>().ok()?;
        let counts = words.map_while(|word| word.parse().ok()).take(cores);
        Some((name, counts.collect()))
    };
    lines.filter_map(row).collect()
}

fn most_interrupted(before: &Interrupts, after: &Interrupts) -> Option<usize> {
    let mut most = (0, None);
    for (name, counts) in after {
        let earlier = before.iter().find(|(other, _)| other == name);
        for (core, count) in counts.iter().enumerate() {
            let then = earlier.and_then(|(_, counts)| counts.get(core)).copied();
            let grown = count.saturating_sub(then.unwrap_or(0));
            if grown > most.0 {
                most = (grown, Some(core));
            }
        }
    }
    most.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_with_the_most_new_interrupts_is_found() {
        let text = |second: u32| {
            format!(
                "           CPU0       CPU1\n  1:   900000          2   IO-APIC   1-edge  i8042\n \
                 36:          5   {second}   PCI-MSIX-0000:00:02.0   1-edge   virtio1-req.0\n\
                 LOC:    5000000    6000000   Local timer interrupts\n"
            )
        };
        let (before, after) = (parse_interrupts(&text(100)), parse_interrupts(&text(620)));
        assert_eq!(before[1], ("36".to_owned(), vec![5, 100]));
        assert_eq!(before.len(), 2);
        assert_eq!(most_interrupted(&before, &after), Some(1));
        assert_eq!(most_interrupted(&before, &before), None);
    }

    #[test]
    fn loopback_receives_all_that_is_sent() {
        let sizes = ProbeSizes {
            disk_mb: 1,
            loopback_seconds: 0.05,
            stall_seconds: 0.01,
            flush_seconds: 0.0,
            message_bytes: 10_000,
        };
        let core = crate::compare::machine::available_cores()[0];
        let found = loopback(&sizes, core, core).unwrap();
        assert!(found.mb_s > 1.0 && found.cpu_s_per_gb > 0.0);
    }

    #[test]
    fn small_writes_are_flushed_on_schedule() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe");
        let core = crate::compare::machine::available_cores()[0];
        let took = on_a_shard(core, async move |reactor| {
            flush_latencies(&reactor, &path, Duration::from_millis(30)).await
        });
        let took = took.unwrap();
        assert_eq!(took.len(), 30);
        assert!(took[0] > Duration::ZERO && took.is_sorted());
    }

    #[test]
    fn parts_of_latencies_are_exceeded() {
        let sorted: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        assert_eq!(exceeded_by(&sorted, 0.5), Some(501.0));
        assert_eq!(exceeded_by(&sorted, 0.01), Some(991.0));
        assert_eq!(exceeded_by(&sorted, 0.001), Some(1000.0));
        assert_eq!(exceeded_by(&sorted[..1], 0.001), Some(1.0));
        assert_eq!(exceeded_by(&[], 0.5), None);
    }

    #[test]
    fn the_disk_is_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe");
        let core = crate::compare::machine::available_cores()[0];
        let wanted = path.clone();
        let rates = on_a_shard(core, async move |reactor| {
            disk_rates(&reactor, &wanted, 11).await
        });
        assert!(rates.unwrap().iter().all(|rate| *rate > 0.0));
        assert_eq!(fs::metadata(&path).unwrap().len(), 11 * BLOCK as u64);
    }
}
