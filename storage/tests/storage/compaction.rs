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

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

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

fn segment_file(base: i64, suffix: &str) -> String {
    format!("{DIR}/{base:020}{suffix}")
}

/// The sizes of the closed segments.
fn closed_sizes(disk: &Node, log: &Log) -> Vec<u64> {
    let bases = log.segment_base_offsets();
    let closed = &bases[..bases.len() - 1];
    let size = |base: &i64| {
        let bytes = disk.read_current(segment_file(*base, ".log"));
        bytes.expect("a segment has a file").len() as u64
    };
    closed.iter().map(size).collect()
}

async fn open_second(store: &Rc<millstream_storage::ShardStore>, config: LogConfig) -> Rc<Log> {
    let second = Log::open(store, TOPIC, PartitionIndex(1), topic_id(), config);
    second.await.expect("opens").0
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    let (_simulation, node) = simulation(1);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        for round in 0..30 {
            let codec = Codec::ALL[round % 5];
            let value = format!("value {round}").repeat(12);
            let own = format!("own {round}");
            let batch = pairs(codec, &[("same", Some(&value)), (&own, Some("v"))]);
            write(log, &mut written, &batch, AppendOrigin::Client);
        }
        seen(log).await;
        let before = log.size();
        assert_eq!(clean_all(&opened).await, 1);
        assert!(log.size() < before * 4 / 5, "{} of {before}", log.size());
        let read = read_all(&reactor, log, 700).await;
        check(&read, &written, true);
        let active = *log.segment_base_offsets().last().expect("one");
        let same: Vec<_> = read
            .records
            .iter()
            .filter(|(offset, record)| **offset < active && record.key.as_deref() == Some(b"same"))
            .collect();
        assert!(same.len() <= 1, "{same:?}");
        // Each answer to a look-up by time is there.
        let found = log.offset_for_timestamp(100, log.log_end_offset()).await;
        let found = found.expect("readable").expect("found");
        assert!(read.records.contains_key(&found.offset.0));
        assert!(stop(&reactor, &opened).await);
        let text = reactor
            .fs()
            .read("/data/cleaner-offset-checkpoint".as_ref())
            .await;
        let checkpoint = OffsetCheckpoint::parse(&text.expect("there")).expect("Kafka's");
        assert_eq!(
            checkpoint.get(TOPIC, PartitionIndex(0)),
            Some(Offset(active))
        );
        let again = open(&reactor, quiet(), config()).await.expect("opens");
        assert_eq!(again.log.first_dirty_offset(), Some(Offset(active)));
        check(&read_all(&reactor, &again.log, 9_000).await, &written, true);
    });
}

#[test]
fn tombstones_go_after_their_horizon_and_nothing_comes_back() {
    let (simulation, node) = simulation(2);
    let _ = simulation;
    run(&node, |reactor| async move {
        let with = LogConfig {
            delete_retention_ms: 5_000,
            ..config()
        };
        let opened = open(&reactor, quiet(), with).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        let filler = "x".repeat(700);
        write(
            log,
            &mut written,
            &pairs(Codec::None, &[("a", Some("1")), ("b", Some("1"))]),
            AppendOrigin::Client,
        );
        write(
            log,
            &mut written,
            &pairs(Codec::Lz4, &[("a", None), ("c", Some("1"))]),
            AppendOrigin::Client,
        );
        let has_a = |read: &Written| read.last_of_keys().contains_key(b"a".as_slice());
        let mut dropped = false;
        for round in 0..12 {
            let key = format!("filler {}", round % 2);
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[(&key, Some(&filler))]),
                AppendOrigin::Client,
            );
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[(&key, Some(&filler))]),
                AppendOrigin::Client,
            );
            seen(log).await;
            clean_all(&opened).await;
            let read = read_all(&reactor, log, 9_000).await;
            check(&read, &written, false);
            if round == 1 {
                assert!(has_a(&read), "it was met a moment ago");
                let batch = read.batches.get(&2).expect("the tombstone's");
                let horizon = batch
                    .delete_horizon_ms()
                    .expect("written by the first cleaning");
                assert!(horizon > reactor.wall_clock_ms());
                assert_eq!(read.records[&2].timestamp, 100, "its own time is kept");
            }
            dropped |= !has_a(&read);
            reactor.sleep(Duration::from_secs(2)).await;
        }
        assert!(dropped, "after its horizon it goes");
    });
}

#[test]
fn the_last_batch_of_a_producer_stays_and_sequences_go_on() {
    let (_simulation, node) = simulation(3);
    let build = |sequence: i32, key: &str, len: usize| {
        let mut builder = BatchBuilder::new(Codec::None).producer(ProducerId(7), 0, sequence);
        builder.push(100, Some(key.as_bytes()), Some(&vec![1; len]), &[]);
        builder.build().expect("not compressed")
    };
    let mut written = run(&node, move |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        write(log, &mut written, &build(0, "k", 10), AppendOrigin::Client);
        for _ in 0..6 {
            let filler = "x".repeat(500);
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[("k", Some(&filler))]),
                AppendOrigin::Client,
            );
        }
        seen(log).await;
        assert_eq!(clean_all(&opened).await, 1);
        let read = read_all(&reactor, log, 9_000).await;
        check(&read, &written, true);
        assert_eq!(read.batches[&0].records_count, 0, "only its header stays");
        written
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    // Without snapshots the producer is known from the batches alone.
    run(&node, move |reactor| async move {
        for entry in reactor.fs().read_dir(DIR.as_ref()).await.expect("there") {
            if entry.name.ends_with(".snapshot") {
                let path = std::path::Path::new(DIR).join(entry.name);
                reactor.fs().remove_file(&path).await.expect("removed");
            }
        }
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        write(
            &opened.log,
            &mut written,
            &build(1, "k", 10),
            AppendOrigin::Client,
        );
    });
}

#[test]
fn what_may_not_be_cleaned_is_left() {
    let (_simulation, node) = simulation(4);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        let now_ms = reactor.wall_clock_ms();
        for round in 0..12i64 {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(now_ms + round, Some(b"k"), Some(&[1; 600]), &[]);
            write(
                log,
                &mut written,
                &builder.build().expect("built"),
                AppendOrigin::Client,
            );
        }
        log.flush().await.expect("flushed");
        let size = log.size();
        log.set_high_watermark(Offset(3));
        assert_eq!(log.segment_base_offsets()[1], 2);
        clean_all(&opened).await;
        assert!(
            log.first_dirty_offset() <= Some(Offset(2)),
            "not above the high watermark"
        );
        log.set_high_watermark(log.log_end_offset());
        log.set_config(LogConfig {
            min_compaction_lag_ms: 60_000,
            ..config()
        });
        let read = read_all(&reactor, log, 9_000).await.records.len();
        clean_all(&opened).await;
        assert_eq!(
            read_all(&reactor, log, 9_000).await.records.len(),
            read,
            "too young"
        );
        log.set_config(LogConfig {
            min_cleanable_dirty_ratio: 1.0,
            ..config()
        });
        assert_eq!(clean_all(&opened).await, 0, "not dirty enough");
        reactor.sleep(Duration::from_secs(5)).await;
        log.set_config(LogConfig {
            min_cleanable_dirty_ratio: 1.0,
            max_compaction_lag_ms: 1_000,
            ..config()
        });
        assert!(clean_all(&opened).await > 0, "it has waited for too long");
        assert!(log.size() < size / 2);
        check(&read_all(&reactor, log, 9_000).await, &written, true);
    });
}

#[test]
fn markers_and_what_transactions_wrote_stay() {
    let (_simulation, node) = simulation(5);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        write(
            log,
            &mut written,
            &pairs(Codec::None, &[("k", Some("committed"))]),
            AppendOrigin::Client,
        );
        let mut builder = BatchBuilder::new(Codec::Zstd)
            .producer(ProducerId(9), 0, 0)
            .transactional();
        builder.push(100, Some(b"k"), Some(b"aborted"), &[]);
        write(
            log,
            &mut written,
            &builder.build().expect("built"),
            AppendOrigin::Client,
        );
        let marker = control_batch(ControlType::Abort, ProducerId(9), 0, 0, 100);
        write(log, &mut written, &marker, AppendOrigin::Coordinator);
        for round in 0..6 {
            let (key, filler) = (format!("other {round}"), "x".repeat(500));
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[(&key, Some(&filler))]),
                AppendOrigin::Client,
            );
        }
        seen(log).await;
        clean_all(&opened).await;
        let read = read_all(&reactor, log, 9_000).await;
        assert_eq!(
            read.records, written.records,
            "each key came once in a plain batch"
        );
        assert!(read.batches[&2].attributes.is_control());
    });
}

#[test]
fn a_log_that_rots_is_not_cleaned_and_says_where() {
    let (_simulation, node) = simulation(6);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        for _ in 0..8 {
            let filler = "x".repeat(500);
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[("k", Some(&filler))]),
                AppendOrigin::Client,
            );
        }
        seen(log).await;
        disk.corrupt(FIRST_LOG, 200, 1);
        assert_eq!(clean_all(&opened).await, 0);
        assert!(log.offline().is_none());
        assert_eq!(log.segment_base_offsets()[..2], [0, 2]);
    });
}

#[test]
fn segment_ms_and_a_step_back_of_the_clock() {
    let (_simulation, node) = simulation(7);
    run(&node, |reactor| async move {
        let with = LogConfig {
            segment_bytes: 1 << 20,
            segment_ms: 1_000,
            ..LogConfig::default()
        };
        let opened = open(&reactor, quiet(), with.clone()).await.expect("opens");
        let log = &opened.log;
        let mut model = Model::default();
        // By the records' own time: later, not late enough, far back, then late enough.
        for (timestamp, segments) in [
            (5_000, 1),
            (6_000, 1),
            (10, 1),
            (6_001, 2),
            (20, 2),
            (7_002, 3),
        ] {
            append(log, &mut model, 0, &batch(1, 10, timestamp));
            assert_eq!(log.segment_base_offsets().len(), segments, "at {timestamp}");
        }
        // A compacted log rolls in time for compaction.
        log.set_config(LogConfig {
            max_compaction_lag_ms: 100,
            cleanup: config().cleanup,
            ..with
        });
        append(log, &mut model, 0, &batch(1, 10, 7_150));
        assert_eq!(log.segment_base_offsets().len(), 4);
        let found = log.offset_for_timestamp(6_000, log.log_end_offset()).await;
        assert_eq!(found.expect("readable").expect("found").offset, Offset(1));
        log.flush().await.expect("flushed");
        assert_eq!(follow(&reactor, log, 0, 100).await, model.bytes());
    });
}

/// Where the dirty part of a log begins after one try to clean it. Its records were written at
/// these times, two in a segment, from now on; it is tried `wait_ms` from now.
fn first_dirty_after(config: LogConfig, times_ms: &[Option<i64>], wait_ms: i64) -> Option<i64> {
    let (_simulation, node) = simulation(9);
    let times_ms = times_ms.to_vec();
    run(&node, move |reactor| async move {
        let opened = open(&reactor, quiet(), config).await.expect("opens");
        let log = &opened.log;
        // Writing takes some of the time.
        let begun_ms = reactor.wall_clock_ms() + 10_000;
        let mut written = Written::default();
        for time_ms in times_ms {
            let timestamp = time_ms.map_or(-1, |time_ms| begun_ms + time_ms);
            let batch = keyed("k", 600, timestamp);
            write(log, &mut written, &batch, AppendOrigin::Client);
        }
        seen(log).await;
        let wait_ms = begun_ms + wait_ms - reactor.wall_clock_ms();
        reactor
            .sleep(Duration::from_millis(wait_ms.try_into().expect("to come")))
            .await;
        opened.store.clean_dirtiest().await;
        log.first_dirty_offset().map(|first| first.0)
    })
}

#[test]
fn records_are_compacted_neither_before_the_one_lag_nor_long_after_the_other() {
    let times = |times_ms: &[i64]| -> Vec<Option<i64>> {
        times_ms.iter().map(|&time_ms| Some(time_ms)).collect()
    };
    let with_min_lag = |min_compaction_lag_ms| LogConfig {
        min_compaction_lag_ms,
        ..config()
    };
    let young = times(&[-5_000, -5_000, -7_000, 0, -9_000, -9_000, 0]);
    for (wait_ms, first_dirty) in [(999, 2), (1_000, 6), (1_001, 6)] {
        let found = first_dirty_after(with_min_lag(1_000), &young, wait_ms);
        assert_eq!(found, Some(first_dirty), "after {wait_ms}");
    }
    let ahead = times(&[60_000; 5]);
    let found = first_dirty_after(with_min_lag(0), &ahead, 0);
    assert_eq!(found, Some(4), "of no age, and no age is asked for");

    let with_max_lag = LogConfig {
        min_cleanable_dirty_ratio: 1.0,
        max_compaction_lag_ms: 1_000,
        segment_ms: i64::MAX,
        ..config()
    };
    let old = times(&[0, 900, 900, 900, 900]);
    let old_behind = times(&[900, 900, 0, 900, 900]);
    for times in [old, old_behind] {
        for (wait_ms, first_dirty) in [(1_000, None), (1_001, Some(4))] {
            let found = first_dirty_after(with_max_lag.clone(), &times, wait_ms);
            assert_eq!(found, first_dirty, "{times:?} after {wait_ms}");
        }
    }
    let found = first_dirty_after(with_max_lag, &[None; 5], 1_001);
    assert_eq!(found, None, "it is not known whether they have waited");
}

#[test]
fn what_is_clean_counts_for_the_ratio_and_waits_for_nothing() {
    let (_simulation, node) = simulation(10);
    let disk = node.clone();
    run(&node, |reactor| async move {
        // Records of long ago and of now in one segment.
        let config = || LogConfig {
            segment_ms: i64::MAX,
            ..config()
        };
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        write_keys(log, &mut written, &["a", "b", "c", "d", "e"]);
        seen(log).await;
        assert_eq!(clean_all(&opened).await, 1);
        assert_eq!(log.first_dirty_offset(), Some(Offset(4)));
        let clean: u64 = closed_sizes(&disk, log).iter().sum();
        let now_ms = reactor.wall_clock_ms();
        for key in ["e", "f", "g", "h"] {
            let batch = keyed(key, 600, now_ms);
            write(log, &mut written, &batch, AppendOrigin::Client);
        }
        seen(log).await;
        let all: u64 = closed_sizes(&disk, log).iter().sum();
        let ratio = (all - clean) as f64 / all as f64;
        assert!((0.3..0.7).contains(&ratio), "{ratio}");
        let with = |min_cleanable_dirty_ratio| LogConfig {
            min_cleanable_dirty_ratio,
            ..config()
        };
        log.set_config(with(ratio));
        assert_eq!(clean_all(&opened).await, 0, "not more than asked for");
        log.set_config(with(ratio - 0.001));
        assert_eq!(clean_all(&opened).await, 1);
        check(&read_all(&reactor, log, 9_000).await, &written, true);

        // All closed segments are clean, and old.
        reactor.sleep(Duration::from_secs(5)).await;
        let young_ms = reactor.wall_clock_ms();
        let mut write_young = |key| {
            let batch = keyed(key, 600, young_ms);
            write(log, &mut written, &batch, AppendOrigin::Client);
        };
        write_young("h");
        write_young("i");
        seen(log).await;
        log.set_config(config());
        assert_eq!(clean_all(&opened).await, 1);
        assert_eq!(log.first_dirty_offset(), Some(Offset(10)));
        write_young("i");
        write_young("i");
        seen(log).await;
        log.set_config(LogConfig {
            max_compaction_lag_ms: 1_000,
            ..with(1.0)
        });
        assert_eq!(clean_all(&opened).await, 0, "what is dirty is young");
        reactor.sleep(Duration::from_secs(2)).await;
        assert_eq!(clean_all(&opened).await, 1);
    });
}

#[test]
fn a_cleaning_keeps_to_its_bandwidth() {
    const BYTES_PER_SECOND: u64 = 2_000;
    let (_simulation, node) = simulation(11);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let mut store = quiet();
        store.cleaner.max_bytes_per_second = Some(BYTES_PER_SECOND);
        let opened = open(&reactor, store, config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        let mut clean = 0;
        for keys in [["a", "b", "a", "b", "c"], ["a", "d", "a", "d", "c"]] {
            write_keys(log, &mut written, &keys);
            seen(log).await;
            let all: u64 = closed_sizes(&disk, log).iter().sum();
            let begun = reactor.now();
            assert_eq!(clean_all(&opened).await, 1);
            let took_ms = (reactor.now() - begun).as_millis() as u64;
            let left: u64 = closed_sizes(&disk, log).iter().sum();
            // What is dirty is read for its keys, all is read, and what is left is written.
            let bytes = (all - clean) + all + left;
            let due_ms = bytes * 1_000 / BYTES_PER_SECOND;
            let tolerated = due_ms - 350..due_ms + 250;
            assert!(tolerated.contains(&took_ms), "{took_ms} ms, {due_ms} due");
            clean = left;
        }
        check(&read_all(&reactor, log, 9_000).await, &written, true);
    });
}

#[test]
fn small_segments_become_one_as_far_as_their_bytes_and_offsets_fit() {
    const FAR: i64 = 1 << 31;
    // The base offsets of segments of one batch each, the high watermark, and what is left.
    let mut cases = vec![
        (vec![0, 10, 20, 30, 40], i64::MAX, u32::MAX, vec![0, 40]),
        (vec![0, 10, 20, 30, 40], 30, u32::MAX, vec![0, 30, 40]),
        (
            vec![0, 10, FAR, FAR + 5, 2 * FAR, 2 * FAR + 5],
            i64::MAX,
            u32::MAX,
            vec![0, FAR, 2 * FAR, 2 * FAR + 5],
        ),
        (
            vec![0, 10, FAR + 1, FAR + 5],
            i64::MAX,
            u32::MAX,
            vec![0, 10, FAR + 5],
        ),
    ];
    let len = keyed("10", 50, 100).len() as u32;
    for (segment_bytes, left) in [
        (2 * len, vec![10, 30, 50]),
        (2 * len - 1, vec![10, 20, 30, 40, 50]),
    ] {
        cases.push((vec![10, 20, 30, 40, 50], i64::MAX, segment_bytes, left));
    }
    for (bases, high_watermark, segment_bytes, left) in cases {
        let (_simulation, node) = simulation(12);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let small = LogConfig {
                segment_bytes: 1,
                ..config()
            };
            let opened = open(&reactor, quiet(), small).await.expect("opens");
            let log = &opened.log;
            log.truncate_fully_and_start_at(Offset(bases[0]))
                .await
                .expect("it is empty");
            let mut written = Written::default();
            for base in &bases {
                let batch = stamped(&keyed("10", 50, 100), *base, 0);
                write(log, &mut written, &batch, AppendOrigin::Replication);
            }
            seen(log).await;
            assert_eq!(log.segment_base_offsets(), bases);
            log.set_high_watermark(log.log_end_offset().min(Offset(high_watermark)));
            log.set_config(LogConfig {
                segment_bytes,
                file_delete_delay: Duration::from_secs(60),
                ..config()
            });
            clean_all(&opened).await;
            assert_eq!(log.segment_base_offsets(), left);
            for base in &bases {
                let is_merged = !left.contains(base);
                let went = disk.read_current(segment_file(*base, ".log.deleted"));
                let is_there = disk.read_current(segment_file(*base, ".log"));
                assert_eq!(is_there.is_none(), is_merged);
                if is_merged {
                    assert!(went.is_some(), "{base} went into another");
                }
            }
        });
    }
}

#[test]
fn segments_of_which_all_stays_are_left_as_they_are() {
    let (_simulation, node) = simulation(13);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let with = LogConfig {
            file_delete_delay: Duration::from_secs(60),
            ..config()
        };
        let opened = open(&reactor, quiet(), with).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        // The first has nothing to lose, the second all, the third the first of two.
        write_keys(log, &mut written, &["a", "b", "k", "k", "k", "k", "c"]);
        seen(log).await;
        let before = log.segment_base_offsets();
        assert_eq!(before, [0, 2, 4, 6]);
        assert_eq!(clean_all(&opened).await, 1);
        let was_replaced = |base: &i64| {
            let old = disk.read_current(segment_file(*base, ".log.deleted"));
            old.is_some()
        };
        let replaced: Vec<bool> = before.iter().map(was_replaced).collect();
        assert_eq!(replaced, [false, true, true, false]);
        let read = read_all(&reactor, log, 9_000).await;
        check(&read, &written, true);
        let offsets: Vec<i64> = read.records.keys().copied().collect();
        assert_eq!(offsets, [0, 1, 5, 6]);
    });
}

#[test]
fn each_cleaning_goes_as_far_as_its_memory_and_the_next_one_goes_on_there() {
    let (_simulation, node) = simulation(14);
    run(&node, |reactor| async move {
        let mut store = quiet();
        // For 14 keys.
        store.cleaner.dedupe_buffer_bytes = 16 * 25;
        let opened = open(&reactor, store, config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        for round in 0..2 {
            for key in 0..20 {
                let batch = keyed(&format!("key {key}"), 50 + round, 100);
                write(log, &mut written, &batch, AppendOrigin::Client);
            }
        }
        write(
            log,
            &mut written,
            &keyed("last", 1_400, 100),
            AppendOrigin::Client,
        );
        seen(log).await;
        assert_eq!(log.segment_base_offsets().last(), Some(&40));
        let mut firsts = Vec::new();
        while opened.store.clean_dirtiest().await {
            firsts.extend(log.first_dirty_offset().map(|first| first.0));
            check(&read_all(&reactor, log, 9_000).await, &written, true);
        }
        assert_eq!(firsts, [14, 28, 40]);
        let read = read_all(&reactor, log, 9_000).await;
        let offsets: Vec<i64> = read.records.keys().copied().collect();
        let expected: Vec<i64> = (20..=40).collect();
        assert_eq!(offsets, expected, "each key once");
    });
}

#[test]
fn a_log_that_cannot_be_compacted_does_not_hold_up_others() {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node) = simulation(15);
        run(&node, |reactor| async move {
            let mut store = quiet();
            // For one key.
            store.cleaner.dedupe_buffer_bytes = 1;
            let opened = open(&reactor, store, config()).await.expect("opens");
            let two = pairs(Codec::None, &[("a", Some("1")), ("b", Some("1"))]);
            let mut written = Written::default();
            write(&opened.log, &mut written, &two, AppendOrigin::Client);
            write_keys(&opened.log, &mut written, &["a", "a", "a"]);
            seen(&opened.log).await;
            let second = open_second(&opened.store, config()).await;
            let mut written = Written::default();
            write_keys(&second, &mut written, &["k"; 5]);
            seen(&second).await;
            assert!(opened.store.clean_dirtiest().await);
            assert_eq!(opened.log.first_dirty_offset(), None);
            assert_eq!(second.first_dirty_offset(), Some(Offset(4)));
            check(&read_all(&reactor, &second, 9_000).await, &written, true);
        });
    });
    let told = complaints.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("log.cleaner.dedupe.buffer.size"),
        "{told:?}"
    );
}

#[test]
fn the_dirtiest_log_is_cleaned_first() {
    for is_second_dirtier in [false, true] {
        let (_simulation, node) = simulation(16);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let second = open_second(&opened.store, config()).await;
            let logs = [opened.log.clone(), second];
            for (index, log) in logs.iter().enumerate() {
                let mut written = Written::default();
                write_keys(log, &mut written, &["a", "b", "c"]);
                seen(log).await;
                clean_all(&opened).await;
                assert_eq!(log.first_dirty_offset(), Some(Offset(2)));
                let is_dirtier = (index == 1) == is_second_dirtier;
                let count = if is_dirtier { 8 } else { 4 };
                write_keys(log, &mut written, &vec!["c"; count]);
            }
            for log in &logs {
                seen(log).await;
            }
            let firsts = || {
                logs.each_ref()
                    .map(|log| log.first_dirty_offset().expect("known").0)
            };
            assert_eq!(firsts(), [2, 2]);
            assert!(opened.store.clean_dirtiest().await);
            let expected = if is_second_dirtier { [2, 10] } else { [10, 2] };
            assert_eq!(firsts(), expected);
            assert!(opened.store.clean_dirtiest().await);
            let expected = if is_second_dirtier { [6, 10] } else { [10, 6] };
            assert_eq!(firsts(), expected);
            assert!(!opened.store.clean_dirtiest().await);
        });
    }
}

#[test]
fn a_log_that_takes_no_appends_is_not_compacted() {
    for is_full in [false, true] {
        let (_simulation, node) = simulation(17);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let log = &opened.log;
            let mut written = Written::default();
            write_keys(log, &mut written, &["k"; 7]);
            seen(log).await;
            opened.store.checkpoint().await.expect("made");
            let error = if is_full { ENOSPC } else { EIO };
            disk.inject(DiskFault::new(DiskOperation::Write, ".log", error).always());
            write_keys(log, &mut written, &["k"]);
            log.flush().await.expect_err("it cannot be written");
            assert_eq!(log.disk_full().is_some(), is_full);
            assert_eq!(log.offline().is_some(), !is_full);
            let (operations, begun) = (disk.disk_operations(), reactor.now());
            assert!(!opened.store.clean_dirtiest().await);
            assert_eq!(disk.disk_operations(), operations);
            assert_eq!(reactor.now(), begun, "nothing is read for it");
        });
    }
}

#[test]
fn a_log_that_goes_offline_or_changes_while_it_is_cleaned_is_left_as_it_is() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Event {
        Nothing,
        Offline,
        Close,
        Delete,
        DeleteRecords,
        Truncate,
        TruncateToSegmentEnd,
    }
    for event in [
        Event::Nothing,
        Event::Offline,
        Event::Close,
        Event::Delete,
        Event::DeleteRecords,
        Event::Truncate,
        Event::TruncateToSegmentEnd,
    ] {
        // While its keys are read, and while it is written anew.
        for wait_ms in [1_200, 4_000] {
            let complaints = Complaints::default();
            complaints.listen(|| {
                let (_simulation, node) = simulation(18);
                let disk = node.clone();
                run(&node, move |reactor| async move {
                    let mut store = quiet();
                    store.cleaner.max_bytes_per_second = Some(2_000);
                    let with = LogConfig {
                        file_delete_delay: Duration::from_secs(60),
                        ..config()
                    };
                    let opened = open(&reactor, store, with).await.expect("opens");
                    let log = opened.log.clone();
                    let mut written = Written::default();
                    write_keys(&log, &mut written, &["k"; 9]);
                    seen(&log).await;
                    opened.store.checkpoint().await.expect("made");
                    let bases = log.segment_base_offsets();
                    let store = opened.store.clone();
                    let cleaning = async move { store.clean_dirtiest().await };
                    let cleaning =
                        reactor.spawn(millstream_reactor::TaskQueue::Background, cleaning);
                    reactor.sleep(Duration::from_millis(wait_ms)).await;
                    assert_eq!(log.segment_base_offsets(), bases, "it is under way");
                    match event {
                        Event::Nothing => (),
                        Event::Offline => {
                            disk.inject(DiskFault::new(DiskOperation::Write, ".log", EIO));
                            write_keys(&log, &mut written, &["k"]);
                            log.flush().await.expect_err("it cannot be written");
                        }
                        Event::Close => log.close().await.expect("closed"),
                        Event::Delete => log.delete().await.expect("deleted"),
                        Event::DeleteRecords => {
                            log.delete_records(Offset(6)).await.expect("deleted");
                            assert_eq!(log.apply_retention(1).await.expect("runs"), 3);
                        }
                        Event::Truncate => {
                            let end = log.truncate_to(Offset(3)).await.expect("cut");
                            assert_eq!(end, Offset(3));
                        }
                        Event::TruncateToSegmentEnd => {
                            let end = log.truncate_to(Offset(2)).await.expect("cut");
                            assert_eq!(end, Offset(2));
                        }
                    }
                    let before = log.segment_base_offsets();
                    let went_further = cleaning.await.expect("it ends");
                    assert_eq!(went_further, event == Event::Nothing, "{event:?}");
                    if event != Event::Nothing {
                        assert_eq!(log.segment_base_offsets(), before);
                        assert_eq!(log.first_dirty_offset(), None);
                    }
                    if event != Event::Delete {
                        let names = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
                        let left = names.iter().any(|entry| entry.name.contains(".cleaned"));
                        assert!(!left, "{event:?} at {wait_ms}");
                    }
                    let goes_on = [
                        Event::DeleteRecords,
                        Event::Truncate,
                        Event::TruncateToSegmentEnd,
                    ];
                    if goes_on.contains(&event) {
                        write_more_and_clean(&reactor, &opened).await;
                    }
                });
            });
            let told = complaints.take();
            let expected = usize::from(event == Event::Offline);
            assert_eq!(told.len(), expected, "{event:?} at {wait_ms}: {told:?}");
        }
    }
}

/// The log is compacted as ever.
async fn write_more_and_clean(reactor: &Reactor, opened: &Opened) {
    let log = &opened.log;
    let mut written = read_all(reactor, log, 9_000).await;
    write_keys(log, &mut written, &["k", "k", "k", "l"]);
    seen(log).await;
    assert!(opened.store.clean_dirtiest().await);
    assert!(log.first_dirty_offset() > Some(Offset(2)));
    check(&read_all(reactor, log, 9_000).await, &written, true);
}

#[test]
fn a_log_that_cannot_be_read_is_told_once_and_left_until_the_next_start() {
    let complaints = Complaints::default();
    let heard = complaints.clone();
    complaints.listen(|| {
        let (_simulation, node) = simulation(19);
        let disk = node.clone();
        run(&node, |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let log = &opened.log;
            let mut written = Written::default();
            write_keys(log, &mut written, &["k"; 7]);
            seen(log).await;
            disk.corrupt(FIRST_LOG, 200, 1);
            assert!(!opened.store.clean_dirtiest().await);
            let told = heard.take();
            assert_eq!(told.len(), 1, "{told:?}");
            let what = "not compacted any more until the next start";
            assert!(
                told[0].contains(what) && told[0].contains(FIRST_LOG),
                "{told:?}"
            );
            disk.corrupt(FIRST_LOG, 200, 1);
            assert!(!opened.store.clean_dirtiest().await);
            assert_eq!(heard.take(), [""; 0]);
            assert!(log.offline().is_none());
            assert!(stop(&reactor, &opened).await);
            let again = open(&reactor, quiet(), config()).await.expect("opens");
            assert!(again.store.clean_dirtiest().await);
            check(&read_all(&reactor, &again.log, 9_000).await, &written, true);
        });
    });
    assert_eq!(complaints.take(), [""; 0]);
}

#[test]
fn a_full_disk_stops_compaction_until_there_is_room() {
    let complaints = Complaints::default();
    let heard = complaints.clone();
    complaints.listen(|| {
        let (_simulation, node) = simulation(20);
        let disk = node.clone();
        run(&node, |reactor| async move {
            let with = LogConfig {
                segment_bytes: 2_100,
                ..config()
            };
            let opened = open(&reactor, quiet(), with).await.expect("opens");
            let log = &opened.log;
            let mut written = Written::default();
            // Of the three in the first segment two stay.
            write_keys(log, &mut written, &["k", "a", "k", "k"]);
            seen(log).await;
            opened.store.checkpoint().await.expect("made");
            for file in [".log.cleaned", ".index.cleaned", ".timeindex.cleaned"] {
                disk.inject(DiskFault::new(DiskOperation::Write, file, ENOSPC));
                assert!(!opened.store.clean_dirtiest().await);
                let told = heard.take();
                assert_eq!(told.len(), 1, "{told:?}");
                assert!(told[0].contains("not compacted: ") && told[0].contains(file));
                let names = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
                assert!(!names.iter().any(|entry| entry.name.contains(".cleaned")));
            }
            assert!(opened.store.clean_dirtiest().await);
            check(&read_all(&reactor, log, 9_000).await, &written, true);
        });
    });
    assert_eq!(complaints.take(), [""; 0]);
}

#[test]
fn a_cleaning_whose_end_is_not_written_down_is_told_and_counts() {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node) = simulation(21);
        let disk = node.clone();
        run(&node, |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let mut written = Written::default();
            write_keys(&opened.log, &mut written, &["k"; 5]);
            seen(&opened.log).await;
            let file = "millstream-cleaner-0";
            disk.inject(DiskFault::new(DiskOperation::Write, file, EIO));
            assert!(opened.store.clean_dirtiest().await);
            assert!(!opened.store.clean_dirtiest().await);
        });
    });
    let told = complaints.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("is not written down"), "{told:?}");
}

#[test]
fn how_far_a_log_was_compacted_outlives_a_crash() {
    let (_simulation, node) = simulation(22);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut written = Written::default();
        write_keys(&opened.log, &mut written, &["k"; 5]);
        seen(&opened.log).await;
        assert!(opened.store.clean_dirtiest().await);
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        assert_eq!(opened.log.first_dirty_offset(), Some(Offset(4)));
    });
}

#[test]
fn a_store_compacts_by_its_clock_while_it_is_open_and_may() {
    for (enabled, stops, cleans) in [
        (true, false, true),
        (false, false, false),
        (true, true, false),
    ] {
        let (_simulation, node) = simulation(23);
        run(&node, move |reactor| async move {
            let mut store = quiet();
            store.cleaner.enabled = enabled;
            store.cleaner.backoff = Duration::from_secs(5);
            let opened = open(&reactor, store, config()).await.expect("opens");
            let second = open_second(&opened.store, config()).await;
            let logs = [opened.log.clone(), second];
            for log in &logs {
                let mut written = Written::default();
                write_keys(log, &mut written, &["k"; 5]);
                seen(log).await;
            }
            reactor.sleep(Duration::from_millis(4_500)).await;
            let firsts = || logs.each_ref().map(|log| log.first_dirty_offset());
            assert_eq!(firsts(), [None; 2], "not before its time");
            if stops {
                assert!(stop(&reactor, &opened).await);
            }
            reactor.sleep(Duration::from_secs(1)).await;
            let expected = cleans.then_some(Offset(4));
            assert_eq!(firsts(), [expected; 2]);
        });
    }
}

/// A log whose segments hold a record each; a cleaning makes one of three or four.
async fn open_small_segments(reactor: &Reactor, file_delete_delay: Duration) -> (Opened, Written) {
    let small = LogConfig {
        segment_bytes: 100,
        ..config()
    };
    let store = StoreConfig {
        tail_memory_bytes: 1 << 20,
        ..quiet()
    };
    let opened = open(reactor, store, small).await.expect("opens");
    let mut written = Written::default();
    for key in ["a", "k", "b", "k", "k", "c", "k", "d", "e", "k", "f", "g"] {
        let batch = keyed(key, 10, 100);
        write(&opened.log, &mut written, &batch, AppendOrigin::Client);
    }
    seen(&opened.log).await;
    opened.store.checkpoint().await.expect("made");
    opened.log.set_config(LogConfig {
        segment_bytes: 320,
        file_delete_delay,
        ..config()
    });
    (opened, written)
}

/// Opens the log on a disk that is well, and cleans it.
fn check_on_a_sound_disk(node: &Node, written: Written) -> Vec<i64> {
    node.clear_faults();
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(node, move |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        check(&read_all(&reactor, &opened.log, 900).await, &written, true);
        let names = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
        let left = |end: &str| names.iter().any(|entry| entry.name.ends_with(end));
        assert!(!left(".swap") && !left(".cleaned") && !left(".deleted"));
        let found = opened.log.segment_base_offsets();
        clean_all(&opened).await;
        check(&read_all(&reactor, &opened.log, 900).await, &written, true);
        found
    })
}

#[test]
fn a_disk_that_fails_while_a_log_is_compacted_costs_no_record() {
    let operations = [
        DiskOperation::Directory,
        DiskOperation::SyncDirectory,
        DiskOperation::Open,
        DiskOperation::Read,
        DiskOperation::Write,
        DiskOperation::Sync,
    ];
    for operation in operations {
        let mut failed = 0;
        loop {
            let (_simulation, node) = simulation(25);
            let disk = node.clone();
            let (met, written) = run(&node, move |reactor| async move {
                let (opened, written) = open_small_segments(&reactor, Duration::ZERO).await;
                let log = &opened.log;
                let before = log.segment_base_offsets();
                disk.inject(DiskFault::new(operation, DIR, EIO).after(failed));
                let went_further = opened.store.clean_dirtiest().await;
                let after = log.segment_base_offsets();
                if went_further {
                    assert!(after.len() < before.len());
                    return (false, written);
                }
                disk.clear_faults();
                if log.offline().is_none() {
                    check(&read_all(&reactor, log, 900).await, &written, true);
                }
                (true, written)
            });
            let found = check_on_a_sound_disk(&node, written);
            if !met {
                assert!(found.len() < 8, "it was compacted: {found:?}");
                break;
            }
            failed += 1;
        }
        assert!(failed > 0, "{operation:?} is part of it");
    }
}

#[test]
fn a_swap_whose_finish_fails_at_a_start_is_finished_by_the_next() {
    for operation in [DiskOperation::Directory, DiskOperation::SyncDirectory] {
        let mut failed = 0;
        loop {
            let (_simulation, node) = simulation(26);
            let disk = node.clone();
            let (before, written) = run(&node, move |reactor| async move {
                let (opened, written) = open_small_segments(&reactor, Duration::ZERO).await;
                let before = opened.log.segment_base_offsets();
                // The new file counts; not all of the old ones are gone.
                let old = segment_file(before[1], ".log");
                disk.inject(DiskFault::new(DiskOperation::Directory, old, EIO));
                assert!(!opened.store.clean_dirtiest().await);
                assert!(opened.log.offline().is_some());
                (before, written)
            });
            node.crash(CrashOptions::keep(KeepUnsynced::None));
            let disk = node.clone();
            let opens = run(&node, move |reactor| async move {
                disk.inject(DiskFault::new(operation, DIR, EIO).after(failed));
                open(&reactor, quiet(), config()).await.is_ok()
            });
            let found = check_on_a_sound_disk(&node, written);
            assert!(found.len() < before.len(), "{found:?} of {before:?}");
            assert!(found.iter().all(|base| before.contains(base)));
            if opens {
                break;
            }
            failed += 1;
        }
        assert!(failed > 3, "{operation:?} is part of it");
    }
}

#[test]
fn what_a_cleaning_left_behind_goes_and_what_counts_is_taken() {
    let (_simulation, node) = simulation(27);
    let mut written = run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut written = Written::default();
        write_keys(
            &opened.log,
            &mut written,
            &["a", "k", "b", "k", "c", "k", "k"],
        );
        seen(&opened.log).await;
        assert_eq!(opened.log.segment_base_offsets(), [0, 2, 4, 6]);
        assert!(stop(&reactor, &opened).await);
        written
    });
    let before = node.read_current(FIRST_LOG).expect("it is there");
    let batch_len = keyed("a", 600, 100).len();
    // The first segment without its second record counts: it is below what is not done.
    node.plant_file(segment_file(0, ".log.swap"), &before[..batch_len]);
    // As Kafka leaves a segment that it was about to split.
    node.plant_file(segment_file(2, ".log.cleaned"), b"not whole");
    node.plant_file(segment_file(2, ".index.swap"), b"12345678");
    node.plant_file(segment_file(4, ".log.swap"), b"not to be read");
    let found = check_on_a_sound_disk(&node, written.clone());
    assert_eq!(found, [0, 2, 4, 6]);
    written.records.remove(&1);
    let kept = run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        read_all(&reactor, &opened.log, 900).await.records
    });
    assert!(kept.contains_key(&0) && !kept.contains_key(&1));
    assert!(kept.contains_key(&2) && kept.contains_key(&4));
}

#[test]
fn snapshots_of_segments_that_became_part_of_another_go() {
    let (_simulation, node) = simulation(28);
    run(&node, |reactor| async move {
        let small = LogConfig {
            segment_bytes: 100,
            ..config()
        };
        let opened = open(&reactor, quiet(), small).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        for sequence in 0..6 {
            let builder = BatchBuilder::new(Codec::None);
            let mut builder = builder.producer(ProducerId(7), 0, sequence);
            builder.push(100, Some(b"k"), Some(b"v"), &[]);
            let batch = builder.build().expect("not compressed");
            write(log, &mut written, &batch, AppendOrigin::Client);
            if sequence == 2 {
                opened.store.checkpoint().await.expect("made");
            }
        }
        seen(log).await;
        let fs = reactor.fs();
        let snapshots = async || {
            let names = fs.read_dir(DIR.as_ref()).await.expect("there");
            let names = names.into_iter().map(|entry| entry.name);
            let snapshots = names.filter_map(|name| {
                Some(
                    name.strip_suffix(".snapshot")?
                        .parse::<i64>()
                        .expect("an offset"),
                )
            });
            snapshots.collect::<Vec<_>>()
        };
        assert_eq!(snapshots().await, [1, 2, 3, 4, 5]);
        log.set_config(config());
        assert!(opened.store.clean_dirtiest().await);
        assert_eq!(log.segment_base_offsets(), [0, 5]);
        assert_eq!(
            snapshots().await,
            [5, 6],
            "of the active segment, and of the end"
        );
        drop(opened);
        let again = open(&reactor, quiet(), config()).await.expect("opens");
        let last = again
            .log
            .with_producer_states(|states| states.get(7).map(|state| state.last_sequence()));
        assert_eq!(last, Some(5));
    });
}

#[test]
fn a_cleaned_file_that_cannot_be_removed_is_told() {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node) = simulation(29);
        let disk = node.clone();
        run(&node, |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let mut written = Written::default();
            write_keys(&opened.log, &mut written, &["a", "b", "c"]);
            seen(&opened.log).await;
            // It is made, and not needed.
            let removal = DiskFault::new(DiskOperation::Directory, ".log.cleaned", EIO).after(1);
            disk.inject(removal);
            assert!(opened.store.clean_dirtiest().await);
        });
    });
    let told = complaints.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("cannot remove") && told[0].contains(".log.cleaned"));
}

#[test]
fn readers_see_each_record_as_it_was_written_while_segments_are_replaced() {
    for seed in 0..40 {
        let (_simulation, node) = simulation(seed);
        run(&node, move |reactor| async move {
            let (opened, written) = open_small_segments(&reactor, Duration::ZERO).await;
            // Out of memory, so that they need the files.
            reactor.sleep(Duration::from_secs(30)).await;
            let store = opened.store.clone();
            let cleaning = async move { store.clean_dirtiest().await };
            let cleaning = reactor.spawn(millstream_reactor::TaskQueue::Background, cleaning);
            let reading = |seed: u64| {
                let (reactor, log) = (reactor.clone(), opened.log.clone());
                let written = written.clone();
                async move {
                    let mut random = Random(seed);
                    for _ in 0..60 {
                        let from = Offset(random.below(12) as i64);
                        let plan = log.read(from, 1 + random.below(400) as usize, Offset(12), true);
                        let plan = plan.await.expect("readable");
                        let mut read = Written::default();
                        read.take(&plan.load_contiguous(&reactor).await.expect("readable"));
                        for (offset, record) in &read.records {
                            assert_eq!(written.records.get(offset), Some(record));
                        }
                        assert!(read.end > from.0, "{} from {}", read.end, from.0);
                    }
                }
            };
            let readers = (0..3).map(|reader| {
                reactor.spawn(
                    millstream_reactor::TaskQueue::Requests,
                    reading(seed * 3 + reader),
                )
            });
            for reader in readers.collect::<Vec<_>>() {
                reader.await.expect("it ends");
            }
            assert!(cleaning.await.expect("it ends"));
            // One batch at a time, too: behind each there may be a gap.
            for max_bytes in [1, 900] {
                let read = read_all(&reactor, &opened.log, max_bytes).await;
                check(&read, &written, true);
            }
        });
    }
}

#[test]
fn a_large_segment_is_written_in_large_parts_with_indexes_that_hold() {
    let (_simulation, node) = simulation(24);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let with = LogConfig {
            segment_bytes: 4 << 20,
            index_interval_bytes: 4_096,
            ..config()
        };
        let store = StoreConfig {
            tail_memory_bytes: 8 << 20,
            ..quiet()
        };
        let opened = open(&reactor, store, with).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        // 2.5 MB stay of 3.
        for index in 0..60 {
            let key = format!("key {}", index % 50);
            let batch = keyed(&key, 50_000 + index, 100 + index as i64);
            write(log, &mut written, &batch, AppendOrigin::Client);
        }
        log.set_config(LogConfig {
            segment_bytes: 60_000,
            ..config()
        });
        write_keys(log, &mut written, &["last"]);
        seen(log).await;
        assert_eq!(log.segment_base_offsets(), [0, 60]);
        // Three writes are enough for it.
        let fourth = DiskFault::new(DiskOperation::Write, ".log.cleaned", EIO).after(3);
        disk.inject(fourth);
        assert_eq!(clean_all(&opened).await, 1);
        check(&read_all(&reactor, log, 200_000).await, &written, true);
        assert_eq!(
            log.size(),
            closed_sizes(&disk, log)[0] + keyed("last", 600, 100).len() as u64
        );

        let bytes = |suffix: &str| {
            let path = segment_file(0, suffix);
            let bytes = disk.read_current(&path).expect("it is there");
            assert_eq!(disk.read_durable(&path).as_ref(), Some(&bytes), "{suffix}");
            bytes
        };
        let (log_bytes, index) = (bytes(".log"), bytes(".index"));
        let entries = OffsetIndexView::checked(&index);
        assert_eq!(entries.len(), 49, "all but the first batch");
        for index in 0..entries.len() {
            let entry = entries.entry(index);
            let batch = BatchHeader::parse(&log_bytes[entry.position as usize..]);
            let last = batch.expect("a batch begins there").last_offset();
            assert_eq!(last.0, i64::from(entry.relative_offset));
        }
        assert_eq!(bytes(".timeindex").len(), 49 * 12);
    });
}

/// What a life knows when it is cut short.
#[derive(Default)]
struct Witness {
    written: Written,
    flushed: i64,
}

/// Writes, compacts, deletes a few records, now and then; checks at its start and end.
async fn life(reactor: Reactor, seed: u64, witness: Rc<RefCell<Witness>>) {
    let mut random = Random(seed);
    let tombstones_stay = !seed.is_multiple_of(3);
    let with = LogConfig {
        segment_bytes: 1_500 + random.below(3_000) as u32,
        delete_retention_ms: if tombstones_stay { 1 << 40 } else { 1 },
        ..config()
    };
    let mut store = quiet();
    // Down to a map for a handful of keys.
    store.cleaner.dedupe_buffer_bytes = [25 * 16, 25 * 64, 1 << 20][random.below(3) as usize];
    let opened = open(&reactor, store, with).await.expect("opens");
    let log = &opened.log;
    {
        let end = log.log_end_offset().0;
        let mut witness = witness.borrow_mut();
        assert!(end >= witness.flushed, "ends at {end}");
        let written = &mut witness.written;
        written.records.retain(|offset, _| *offset < end);
        written.batches.retain(|offset, _| *offset < end);
        written.end = end;
    }
    let expected = witness.borrow().written.clone();
    check(
        &read_all(&reactor, log, 2_000).await,
        &expected,
        tombstones_stay,
    );
    for _ in 0..10 {
        for _ in 0..random.below(5) {
            let count = 1 + random.below(4) as usize;
            let chosen: Vec<(String, Option<String>)> = (0..count)
                .map(|_| {
                    let key = format!("key {}", random.below(9));
                    let len = random.below(300) as usize;
                    (key, (random.below(4) > 0).then(|| "v".repeat(len)))
                })
                .collect();
            let borrowed: Vec<(&str, Option<&str>)> = chosen
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_deref()))
                .collect();
            let batch = pairs(Codec::ALL[random.below(5) as usize], &borrowed);
            write(
                log,
                &mut witness.borrow_mut().written,
                &batch,
                AppendOrigin::Client,
            );
        }
        seen(log).await;
        witness.borrow_mut().flushed = log.flushed_offset().0;
        if random.below(2) == 0 {
            opened.store.clean_dirtiest().await;
        }
        reactor.sleep(Duration::from_millis(random.below(20))).await;
    }
    clean_all(&opened).await;
    let expected = witness.borrow().written.clone();
    check(
        &read_all(&reactor, log, 2_000).await,
        &expected,
        tombstones_stay,
    );
    if random.below(2) == 0 {
        assert!(stop(&reactor, &opened).await);
    }
}

fn lives(seed: u64, keep: KeepUnsynced) -> u32 {
    let (_simulation, node) = simulation(seed);
    let witness = Rc::new(RefCell::new(Witness::default()));
    let mut random = Random(seed ^ 0x55);
    let mut cut_short = 0;
    let live = |node: &Node| {
        // What tombstones may do is the same in all lives of a case.
        let ended = node.run(life(node.reactor(), seed, witness.clone()));
        node.crash(CrashOptions::keep(keep));
        u32::from(ended.is_none())
    };
    for _ in 0..3 {
        node.crash_at_disk_operation(node.disk_operations() + 1 + random.below(400));
        cut_short += live(&node);
    }
    live(&node);
    cut_short
}

#[test]
fn crashes_lose_no_last_value_and_bring_no_deleted_key_back() {
    let mut cut_short = 0;
    for (index, keep) in [KeepUnsynced::All, KeepUnsynced::None, KeepUnsynced::Random]
        .into_iter()
        .enumerate()
    {
        for seed in 0..60 {
            let seed = seed + 1_000 * index as u64;
            let run = std::panic::catch_unwind(|| lives(seed, keep));
            match run {
                Ok(count) => cut_short += count,
                Err(panic) => {
                    eprintln!("seed {seed}, {keep:?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    assert!(cut_short > 100, "only {cut_short} lives were cut short");
}

#[test]
fn a_swap_is_finished_or_undone_at_whatever_operation_it_ends() {
    let (_simulation, node) = simulation(8);
    let prepare = |reactor: Reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut written = Written::default();
        for round in 0..12 {
            let filler = "x".repeat(400);
            let own = format!("own {round}");
            let batch = pairs(Codec::Snappy, &[("k", Some(&filler)), (&own, Some("v"))]);
            write(&opened.log, &mut written, &batch, AppendOrigin::Client);
        }
        seen(&opened.log).await;
        opened.store.checkpoint().await.expect("made");
        (opened, written)
    };
    run(&node, move |reactor| async move {
        let (opened, _) = prepare(reactor).await;
        clean_all(&opened).await;
    });
    let operations = node.disk_operations();
    let mut finished = 0;
    for keep in [KeepUnsynced::All, KeepUnsynced::None, KeepUnsynced::Random] {
        for at in (operations / 3)..=operations {
            let (_simulation, node) = simulation(8);
            let kept = Rc::new(RefCell::new(None));
            let witness = kept.clone();
            node.crash_at_disk_operation(at);
            let reactor = node.reactor();
            let _ = node.run(async move {
                let (opened, written) = prepare(reactor).await;
                *witness.borrow_mut() = Some(written);
                clean_all(&opened).await;
            });
            node.crash(CrashOptions::keep(keep));
            let Some(written) = kept.borrow_mut().take() else {
                continue;
            };
            finished += 1;
            run(&node, move |reactor| async move {
                let opened = open(&reactor, quiet(), config()).await.expect("opens");
                check(&read_all(&reactor, &opened.log, 900).await, &written, true);
                let names = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
                let left = |end: &str| names.iter().any(|entry| entry.name.ends_with(end));
                assert!(!left(".swap") && !left(".cleaned") && !left(".deleted"));
                clean_all(&opened).await;
                check(&read_all(&reactor, &opened.log, 900).await, &written, true);
            });
        }
    }
    assert!(
        finished > 60,
        "only {finished} crashes fell into the compaction"
    );
}

/// A small generator, so that a case is its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
