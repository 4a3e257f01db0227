//! Compaction: whatever is written, whatever the sizes, and wherever a crash falls, a reader from
//! the beginning sees the last value of every key, and no deleted key comes back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::compression::{Codec, Decompressor};
use millstream_protocol::record_batch::{
    BatchBuilder, BatchHeader, Batches, ControlType, control_batch,
};
use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex, ProducerId};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, DiskFault, DiskOperation, KeepUnsynced, Node};
use millstream_storage::offset_index::OffsetIndexView;
use millstream_storage::{
    AppendOrigin, CleanerConfig, CleanupPolicy, Log, LogConfig, OffsetCheckpoint, StoreConfig,
};

use crate::harness::*;
use crate::logging::Complaints;

mod records;
mod schedule;
mod swaps;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1_500,
        index_interval_bytes: 200,
        producer_id_expiration_ms: i64::MAX,
        retention_ms: -1,
        file_delete_delay: Duration::ZERO,
        cleanup: CleanupPolicy {
            delete: false,
            compact: true,
        },
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: 1 << 40,
        ..LogConfig::default()
    }
}

/// A store that compacts only when it is told to.
fn quiet() -> StoreConfig {
    StoreConfig {
        initial_task_delay: Duration::from_secs(1 << 30),
        cleaner: CleanerConfig {
            enabled: false,
            ..CleanerConfig::default()
        },
        ..small_store()
    }
}

/// A record as it was written, or as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: usize,
}

/// Everything that was ever written, by offset, and the headers of its batches.
#[derive(Debug, Default, Clone)]
struct Written {
    records: BTreeMap<i64, Read>,
    batches: BTreeMap<i64, BatchHeader>,
    end: i64,
}

impl Written {
    fn take(&mut self, bytes: &[u8]) {
        for batch in Batches::new(bytes) {
            let batch = batch.expect("a batch");
            let header = *batch.header();
            batch.check_crc().expect("as it was written");
            assert!(header.base_offset.0 >= self.end, "offsets rise");
            self.end = header.next_offset().0;
            self.batches.insert(header.base_offset.0, header);
            let mut decompressor = Decompressor::new();
            let records = batch.records(&mut decompressor, 1 << 20).expect("readable");
            let mut count = 0;
            let mut last = header.base_offset.0 - 1;
            for record in records {
                let record = record.expect("readable");
                assert!(record.offset.0 > last && record.offset <= header.last_offset());
                last = record.offset.0;
                count += 1;
                self.records.insert(
                    record.offset.0,
                    Read {
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                        timestamp: record.timestamp,
                        headers: record.headers.iter().count(),
                    },
                );
            }
            assert_eq!(count, header.records_count);
        }
    }

    /// The last record of each key.
    fn last_of_keys(&self) -> BTreeMap<Vec<u8>, (i64, Read)> {
        let with_key = self
            .records
            .iter()
            .filter_map(|(offset, record)| Some((record.key.clone()?, (*offset, record.clone()))));
        with_key.collect()
    }
}

fn write(log: &Rc<Log>, written: &mut Written, bytes: &[u8], origin: AppendOrigin) {
    let appended = log
        .append(bytes, LeaderEpoch(0), origin, 1_000)
        .expect("it can be appended");
    written.take(&stamped(bytes, appended.base_offset.0, 0));
}

fn pairs(codec: Codec, pairs: &[(&str, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (index, (key, value)) in pairs.iter().enumerate() {
        let headers: &[(&str, Option<&[u8]>)] = &[("h", Some(b"x")), ("n", None)];
        let headers = if index % 2 == 0 { headers } else { &[] };
        builder.push(
            100 + index as i64 * 7,
            Some(key.as_bytes()),
            value.map(str::as_bytes),
            headers,
        );
    }
    builder.build().expect("compressed")
}

/// All that a consumer gets from the beginning.
async fn read_all(reactor: &Reactor, log: &Log, max_bytes: usize) -> Written {
    let mut read = Written::default();
    let mut offset = log.log_start_offset();
    loop {
        let plan = log
            .read(offset, max_bytes, Offset(i64::MAX), true)
            .await
            .expect("readable");
        let Some(next) = plan.next_offset else {
            return read;
        };
        assert!(next > offset, "the answer goes on");
        offset = next;
        read.take(&plan.load_contiguous(reactor).await.expect("readable"));
    }
}

/// What compaction promises, of a log into which `written` went.
fn check(read: &Written, written: &Written, tombstones_stay: bool) {
    for (offset, record) in &read.records {
        assert_eq!(Some(record), written.records.get(offset), "at {offset}");
    }
    for (base, header) in &read.batches {
        let original = written.batches.get(base).expect("no batch is made up");
        assert_eq!(header.last_offset(), original.last_offset());
        let identity = |h: &BatchHeader| {
            (
                h.producer_id,
                h.producer_epoch,
                h.base_sequence,
                h.partition_leader_epoch,
            )
        };
        assert_eq!(identity(header), identity(original));
        if header.records_count > 0 {
            assert_eq!(header.attributes.codec(), original.attributes.codec());
        }
    }
    let kept = read.last_of_keys();
    for (key, (offset, record)) in written.last_of_keys() {
        match kept.get(&key) {
            Some((kept_offset, _)) => assert_eq!(*kept_offset, offset, "{key:?}"),
            None => {
                assert!(record.value.is_none(), "{key:?} at {offset} is lost");
                assert!(
                    !tombstones_stay,
                    "the tombstone of {key:?} is gone too soon"
                );
            }
        }
    }
}

async fn clean_all(opened: &Opened) -> u32 {
    let mut cleanings = 0;
    while opened.store.clean_dirtiest().await {
        cleanings += 1;
        assert!(cleanings < 1_000, "it comes to an end");
    }
    cleanings
}

async fn seen(log: &Rc<Log>) {
    log.flush().await.expect("flushed");
    log.set_high_watermark(log.log_end_offset());
}

/// A batch of one record, whose size is told by the length of its value.
fn keyed(key: &str, len: usize, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(timestamp, Some(key.as_bytes()), Some(&vec![1; len]), &[]);
    builder.build().expect("not compressed")
}

/// Appends one record of 600 bytes for each key; two of them fill a segment.
fn write_keys(log: &Rc<Log>, written: &mut Written, keys: &[&str]) {
    for key in keys {
        write(log, written, &keyed(key, 600, 100), AppendOrigin::Client);
    }
}

/// The sizes of the closed segments.
fn closed_sizes(disk: &Node, log: &Log) -> Vec<u64> {
    let bases = log.segment_base_offsets();
    let closed = &bases[..bases.len() - 1];
    let size = |base: &i64| {
        let bytes = disk.read_current(segment_file(*base, "log"));
        bytes.expect("a segment has a file").len() as u64
    };
    closed.iter().map(size).collect()
}

async fn open_second(store: &Rc<millstream_storage::ShardStore>, config: LogConfig) -> Rc<Log> {
    let second = Log::open(store, TOPIC, PartitionIndex(1), topic_id(), config);
    second.await.expect("opens").0
}
