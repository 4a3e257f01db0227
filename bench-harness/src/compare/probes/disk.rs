//! The disk's rates by O_DIRECT, and how long small writes take until they are flushed.
//!
//! The disk is written through the reactor's files, as the broker does: blocks of 1 MiB with
//! several under way. The file is written once before, so that the file system has nothing left to
//! allocate and the figures are the device's. That first time, in which the file grows as a log
//! does, is a figure by itself.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use millstream_reactor::uring::{ShardOptions, start_shard};
use millstream_reactor::{File, OpenOptions, Reactor, TailBuffer};

use super::{RATE, RECORD_BYTES, per_gb_in_and_out, thread_cpu_seconds};
use crate::compare::suite::ProbeSizes;

const BLOCK: usize = 1 << 20;
const IN_FLIGHT: u64 = 8;
/// Blocks between two flushes, of the durable rate.
const FLUSH_EVERY: u64 = 8;
/// Bytes of a small write.
const SMALL: usize = 4096;
/// Writes to one block before the next has its turn, as if each brought a record.
const WRITES_OF_A_BLOCK: u64 = (SMALL / RECORD_BYTES) as u64;
/// Blocks of the file that small writes go to.
const FLUSHED_BLOCKS: u64 = 1024;

/// What the disk gave.
pub(super) struct Disk {
    pub growing_write_mb_s: f64,
    pub write_mb_s: f64,
    pub write_cpu_s_per_gb: f64,
    pub durable_write_mb_s: f64,
    pub read_mb_s: f64,
    pub flushes: Flushes,
}

/// Asks the disk through a file at `path`, which stays behind.
pub(super) fn measure(path: &Path, sizes: &ProbeSizes, core: usize) -> io::Result<Disk> {
    let path = path.to_owned();
    let blocks = (sizes.disk_mb * 1_000_000).div_ceil(BLOCK as u64).max(1);
    let flush_seconds = Duration::from_secs_f64(sizes.flush_seconds);
    let options = ShardOptions {
        name: "probe".to_owned(),
        cpu: Some(core),
    };
    let shard = start_shard(options, async move |reactor| {
        let mut disk = rates(&reactor, &path, blocks).await?;
        disk.flushes = flushes(&reactor, &path, flush_seconds).await?;
        Ok(disk)
    });
    shard?.join()
}

/// Writes small blocks, one after another.
pub(super) async fn small_writes(reactor: &Reactor, path: &Path, count: u64) -> io::Result<()> {
    let file = created(reactor, path).await?;
    let buffer = filled(SMALL);
    for number in 0..count {
        let position = number * SMALL as u64;
        file.write_blocks(position, buffer.blocks(0..SMALL)).await?;
    }
    Ok(())
}

/// How long small writes took with their flushes.
#[derive(Default)]
pub(super) struct Flushes {
    /// From when each was due; in order of length.
    took: Vec<Duration>,
    cpu_seconds: f64,
}

impl Flushes {
    /// What this part of them exceeds, in milliseconds; none of none.
    pub fn exceeded_by_ms(&self, part: f64) -> Option<f64> {
        let at = ((1.0 - part) * self.took.len() as f64) as usize;
        let found = self.took.get(at.min(self.took.len().checked_sub(1)?))?;
        Some(found.as_secs_f64() * 1e3)
    }

    /// The writing thread's CPU seconds for each GB of records in and out; none of none.
    pub fn cpu_s_per_gb(&self) -> Option<f64> {
        let records = self.took.len() as u64;
        (records > 0).then(|| per_gb_in_and_out(self.cpu_seconds, records))
    }
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

/// Written for the first time, written, written and flushed, read.
async fn rates(reactor: &Reactor, path: &Path, blocks: u64) -> io::Result<Disk> {
    let file = created(reactor, path).await?;
    let buffer = filled(BLOCK);
    let write = |number: u64| {
        let (file, blocks) = (file.clone(), buffer.blocks(0..BLOCK));
        async move { file.write_blocks(number * BLOCK as u64, blocks).await }
    };
    let began = Instant::now();
    all(0..blocks, &write).await?;
    let growing_write_mb_s = rate(blocks, began.elapsed());
    file.sync_data().await?;

    let (began, used) = (Instant::now(), thread_cpu_seconds()?);
    all(0..blocks, &write).await?;
    let write_mb_s = rate(blocks, began.elapsed());
    let write_cpu = thread_cpu_seconds()? - used;

    let began = Instant::now();
    for first in (0..blocks).step_by(FLUSH_EVERY as usize) {
        all(first..blocks.min(first + FLUSH_EVERY), &write).await?;
        file.sync_data().await?;
    }
    let durable_write_mb_s = rate(blocks, began.elapsed());

    let read = |number: u64| {
        let file: File = file.clone();
        async move { file.read_at(number * BLOCK as u64, BLOCK).await.map(drop) }
    };
    let began = Instant::now();
    all(0..blocks, &read).await?;
    Ok(Disk {
        growing_write_mb_s,
        write_mb_s,
        write_cpu_s_per_gb: write_cpu / gigabytes(blocks),
        durable_write_mb_s,
        read_mb_s: rate(blocks, began.elapsed()),
        flushes: Flushes::default(),
    })
}

async fn flushes(reactor: &Reactor, path: &Path, duration: Duration) -> io::Result<Flushes> {
    let mut flushes = Flushes::default();
    if duration.is_zero() {
        return Ok(flushes);
    }
    let file = created(reactor, path).await?;
    file.write_zeros(0, FLUSHED_BLOCKS * SMALL as u64).await?;
    file.sync_data().await?;
    let buffer = filled(SMALL);
    let (began, used) = (Instant::now(), thread_cpu_seconds()?);
    let mut due = began;
    while due - began < duration {
        reactor.sleep_until(due).await;
        let block = flushes.took.len() as u64 / WRITES_OF_A_BLOCK % FLUSHED_BLOCKS;
        let position = block * SMALL as u64;
        file.write_blocks_durably(position, buffer.blocks(0..SMALL))
            .await?;
        flushes.took.push(due.elapsed());
        due += Duration::from_secs(1) / RATE;
    }
    flushes.cpu_seconds = thread_cpu_seconds()? - used;
    flushes.took.sort();
    Ok(flushes)
}

/// Does it for each number, with several under way.
async fn all<Work>(mut numbers: Range<u64>, work: &impl Fn(u64) -> Work) -> io::Result<()>
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

fn gigabytes(blocks: u64) -> f64 {
    (blocks * BLOCK as u64) as f64 / 1e9
}

fn rate(blocks: u64, elapsed: Duration) -> f64 {
    gigabytes(blocks) * 1e3 / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::machine::available_cores;

    #[test]
    fn the_disk_is_written_and_read_and_flushed_on_schedule() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = ProbeSizes {
            disk_mb: 11,
            flush_seconds: 0.03,
            ..ProbeSizes::default()
        };
        let path = folder.path().join("probe");
        let disk = measure(&path, &sizes, available_cores()[0]).unwrap();
        assert!(disk.growing_write_mb_s > 0.0);
        assert!(disk.write_mb_s > 0.0 && disk.write_cpu_s_per_gb > 0.0);
        assert!(disk.durable_write_mb_s > 0.0 && disk.read_mb_s > 0.0);
        let took = &disk.flushes.took;
        assert_eq!(took.len(), 30);
        assert!(took[0] > Duration::ZERO && took.is_sorted());
        assert!(disk.flushes.cpu_s_per_gb().unwrap() > 0.0);
    }

    #[test]
    fn nothing_is_flushed_in_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = ProbeSizes {
            disk_mb: 1,
            ..ProbeSizes::default()
        };
        let path = folder.path().join("probe");
        let disk = measure(&path, &sizes, available_cores()[0]).unwrap();
        assert_eq!(disk.flushes.cpu_s_per_gb(), None);
        assert_eq!(disk.flushes.exceeded_by_ms(0.5), None);
    }

    #[test]
    fn parts_of_flushes_are_exceeded() {
        let of = |count: u64| Flushes {
            took: (1..=count).map(Duration::from_millis).collect(),
            cpu_seconds: 0.0,
        };
        assert_eq!(of(1000).exceeded_by_ms(0.5), Some(501.0));
        assert_eq!(of(1000).exceeded_by_ms(0.01), Some(991.0));
        assert_eq!(of(1000).exceeded_by_ms(0.001), Some(1000.0));
        assert_eq!(of(1).exceeded_by_ms(0.001), Some(1.0));
    }
}
