//! Finding records by time: what is found is what a reader of all records would find, however they
//! lie in segments and batches and whatever became of the files; and little is read for it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::compression::Codec;
use millstream_protocol::record_batch::BatchBuilder;
use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::sim::{CrashOptions, DiskFault, DiskOperation, KeepUnsynced, Node};
use millstream_reactor::{Reactor, TaskQueue};
use millstream_storage::{
    AppendOrigin, CleanerConfig, CleanupPolicy, Log, LogConfig, ReadError, StorageError,
    StoreConfig, TimestampOffset,
};
use proptest::prelude::*;

use crate::harness::*;
use crate::logging::Complaints;

const ALL: Offset = Offset(i64::MAX);

/// A store that looks for nothing by itself.
fn quiet() -> StoreConfig {
    StoreConfig {
        tail_memory_bytes: 4 << 20,
        initial_task_delay: Duration::from_secs(1 << 30),
        checkpoint_interval: Duration::from_secs(1 << 30),
        cleaner: CleanerConfig {
            enabled: false,
            ..CleanerConfig::default()
        },
        ..small_store()
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 200,
        segment_ms: i64::MAX,
        retention_ms: -1,
        ..LogConfig::default()
    }
}

/// A batch of a record of 60 bytes for each timestamp.
fn timed(codec: Codec, timestamps: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (index, &timestamp) in timestamps.iter().enumerate() {
        builder.push(timestamp, None, Some(&[index as u8 + 1; 60]), &[]);
    }
    builder.build().expect("compressed")
}

/// Appends a batch of one record for each timestamp.
fn append_each(log: &Rc<Log>, timestamps: impl IntoIterator<Item = i64>) {
    let mut model = Model::default();
    for timestamp in timestamps {
        append(log, &mut model, 0, &timed(Codec::None, &[timestamp]));
    }
}

async fn find(log: &Log, timestamp: i64, upper: Offset) -> Option<i64> {
    let found = log.offset_for_timestamp(timestamp, upper).await;
    found.expect("readable").map(|found| found.offset.0)
}

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    /// The timestamps of the records of each batch, and how they are compressed.
    batches: Vec<(Codec, Vec<i64>)>,
    segment_bytes: u32,
    index_interval_bytes: u32,
    deleted: prop::sample::Index,
    uppers: Vec<prop::sample::Index>,
}

fn cases() -> impl Strategy<Value = Case> {
    let timestamp = prop_oneof![1 => Just(-1i64), 8 => 0i64..30, 1 => 0i64..1_000];
    let batch = (
        prop::sample::select(&Codec::ALL[..]),
        prop::collection::vec(timestamp, 1..4),
    );
    (
        any::<u64>(),
        prop::collection::vec(batch, 1..60),
        prop_oneof![400u32..3_000, Just(1u32 << 20)],
        0u32..600,
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<prop::sample::Index>(), 2),
    )
        .prop_map(
            |(seed, batches, segment_bytes, index_interval_bytes, deleted, uppers)| Case {
                seed,
                batches,
                segment_bytes,
                index_interval_bytes,
                deleted,
                uppers,
            },
        )
}

impl Case {
    fn config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            index_interval_bytes: self.index_interval_bytes,
            ..config()
        }
    }

    /// Every record, as it would be found.
    fn records(&self) -> Vec<TimestampOffset> {
        let timestamps = self
            .batches
            .iter()
            .enumerate()
            .flat_map(|(batch, (_, of_it))| of_it.iter().map(move |&timestamp| (batch, timestamp)));
        timestamps
            .enumerate()
            .map(|(offset, (batch, timestamp))| TimestampOffset {
                timestamp,
                offset: Offset(offset as i64),
                leader_epoch: LeaderEpoch(batch as i32 / 7),
            })
            .collect()
    }
}

/// Looks for every time, and for the largest.
async fn check(log: &Log, records: &[TimestampOffset], uppers: &[Offset]) {
    let start = log.log_start_offset();
    let kept = || records.iter().filter(|record| record.offset >= start);
    let largest = kept().map(|record| record.timestamp).max().unwrap_or(-1);
    for &upper in uppers {
        let mut times: Vec<i64> = records.iter().map(|record| record.timestamp).collect();
        times.extend([0, largest + 1]);
        for &time in times.iter().filter(|&&time| time >= 0) {
            let first = kept().find(|record| record.timestamp >= time);
            let first = first.filter(|record| record.offset < upper).copied();
            let found = log.offset_for_timestamp(time, upper).await;
            assert_eq!(found.expect("readable"), first, "{time} below {upper}");
        }
        let first = kept().find(|record| record.timestamp == largest && largest >= 0);
        let first = first.filter(|record| record.offset < upper).copied();
        let found = log.max_timestamp_offset(upper).await;
        assert_eq!(found.expect("readable"), first, "largest below {upper}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// From memory and from files, before and after records were deleted.
    #[test]
    fn a_time_is_found_where_a_reader_of_everything_would_find_it(case in cases()) {
        let (_simulation, node) = simulation(case.seed);
        let records = case.records();
        let uppers: Vec<Offset> = case
            .uppers
            .iter()
            .map(|upper| Offset(upper.index(records.len() + 1) as i64))
            .chain([ALL])
            .collect();
        let first_life = case.clone();
        let (expected, below) = (records.clone(), uppers.clone());
        run(&node, |reactor| async move {
            let opened = open(&reactor, quiet(), first_life.config()).await.expect("opens");
            let log = &opened.log;
            let mut model = Model::default();
            for (index, (codec, timestamps)) in first_life.batches.iter().enumerate() {
                append(log, &mut model, index as i32 / 7, &timed(*codec, timestamps));
            }
            check(log, &expected, &below).await;
            log.flush().await.expect("flushed");
            opened.store.checkpoint().await.expect("made");
            check(log, &expected, &below).await;
            log.set_high_watermark(log.log_end_offset());
            let deleted = Offset(first_life.deleted.index(expected.len()) as i64);
            log.delete_records(deleted).await.expect("deleted");
            check(log, &expected, &below).await;
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        for _ in 0..2 {
            let (case, records, uppers) = (case.clone(), records.clone(), uppers.clone());
            run(&node, |reactor| async move {
                let opened = open(&reactor, quiet(), case.config()).await.expect("opens");
                check(&opened.log, &records, &uppers).await;
                assert!(stop(&reactor, &opened).await);
            });
        }
    }
}

/// A node with a log of 90 records, one a batch, whose timestamps are 10 × the offset, in segments
/// that the caller learns the base offsets of. It was stopped cleanly.
fn written(seed: u64) -> (millstream_reactor::sim::Simulation, Node, Vec<i64>) {
    let (simulation, node) = simulation(seed);
    let bases = run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        append_each(&opened.log, (0..90).map(|offset| 10 * offset));
        let bases = opened.log.segment_base_offsets();
        assert!(stop(&reactor, &opened).await);
        bases
    });
    assert!(bases.len() > 4, "{bases:?}");
    (simulation, node, bases)
}

/// Makes the first batch of a segment one that no search can pass.
fn spoil(node: &Node, base: i64) {
    node.corrupt(segment_file(base, "log"), 16, 0x40);
}

async fn reopen(reactor: &Reactor) -> Opened {
    open(reactor, quiet(), config()).await.expect("opens")
}

#[test]
fn nothing_above_the_upper_bound_is_read() {
    let (_simulation, node, bases) = written(1);
    let upper = bases[2];
    for &base in &bases[2..bases.len() - 1] {
        spoil(&node, base);
    }
    run(&node, move |reactor| async move {
        let log = reopen(&reactor).await.log;
        let below = 10 * (upper - 1);
        assert_eq!(find(&log, below, Offset(upper)).await, Some(upper - 1));
        assert_eq!(find(&log, below + 1, Offset(upper)).await, None);
        // Without the bound it would be.
        let found = log.offset_for_timestamp(below + 1, ALL).await;
        assert!(matches!(
            found,
            Err(ReadError::Storage(StorageError::Damaged { .. }))
        ));
    });
}

#[test]
fn segments_that_end_too_early_are_not_searched() {
    let (_simulation, node) = simulation(2);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = opened.log.clone();
        append_each(&log, (0..90).map(|offset| 10 * offset));
        opened.store.checkpoint().await.expect("made");
        log.flush().await.expect("flushed");
        let bases = log.segment_base_offsets();
        let fault = DiskFault::new(DiskOperation::Open, segment_file(bases[0], ""), EIO);
        disk.inject(fault.always());
        let time = 10 * bases[1];
        assert_eq!(find(&log, time, ALL).await, Some(bases[1]));
        assert_eq!(find(&log, time - 1, ALL).await, Some(bases[1]));
        let largest = log.max_timestamp_offset(ALL).await.expect("readable");
        assert_eq!(largest.map(|found| found.offset.0), Some(89));
    });
}

/// By entries in the file of a closed segment, and in that of the last one.
#[test]
fn a_search_begins_where_the_time_index_says() {
    let (_simulation, node, bases) = written(3);
    let (closed, last) = (bases[1], *bases.last().expect("some"));
    for base in [closed, last] {
        let index = node.read_current(segment_file(base, "timeindex"));
        assert!(index.expect("there").len() > 12, "more than one entry");
    }
    let disk = node.clone();
    let next = bases[2];
    run(&node, move |reactor| async move {
        let opened = reopen(&reactor).await;
        let log = &opened.log;
        spoil(&disk, closed);
        spoil(&disk, last);
        for offset in [next - 1, 89] {
            let found = log.offset_for_timestamp(10 * offset, ALL).await;
            let found = found.expect("readable").expect("there");
            assert_eq!(found.offset, Offset(offset));
        }
        // The first of them lie where nothing can be read.
        for offset in [closed, last] {
            let found = log.offset_for_timestamp(10 * offset, ALL).await;
            assert!(found.is_err(), "{found:?}");
        }
    });
}

#[test]
fn a_search_begins_where_entries_say_that_are_not_in_the_file_yet() {
    let (_simulation, node) = simulation(10);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let store = StoreConfig {
            tail_memory_bytes: small_store().tail_memory_bytes,
            ..quiet()
        };
        let with = LogConfig {
            segment_bytes: 1 << 20,
            ..config()
        };
        let opened = open(&reactor, store, with).await.expect("opens");
        let log = &opened.log;
        let mut model = Model::default();
        // More than there is memory for, so that the first of them are in the file alone.
        for offset in 0..2_000 {
            append(log, &mut model, 0, &timed(Codec::None, &[10 * offset]));
            if offset % 100 == 0 {
                log.flush().await.expect("flushed");
            }
        }
        log.flush().await.expect("flushed");
        let index = disk.read_current(segment_file(0, "timeindex"));
        assert_eq!(index.expect("there"), b"");
        spoil(&disk, 0);
        assert_eq!(find(log, 10 * 1_999, ALL).await, Some(1_999));
        let first = log.offset_for_timestamp(0, ALL).await;
        assert!(first.is_err(), "{first:?}");
    });
}

#[test]
fn the_largest_timestamp_is_looked_for_behind_the_last_entry_of_the_index() {
    let (_simulation, node, bases) = written(4);
    let (base, next) = (bases[1], bases[2]);
    // Without the entry that closed it: the index of a segment that was not closed in order.
    let path = segment_file(base, "timeindex");
    let mut index = node.read_current(&path).expect("there");
    index.truncate(index.len() - 12);
    assert!(index.len() >= 12);
    node.plant_file(&path, &index);
    for base in &bases[..bases.len() - 1] {
        spoil(&node, *base);
    }
    run(&node, move |reactor| async move {
        let log = reopen(&reactor).await.log;
        assert_eq!(
            find(&log, 10 * (next - 1), Offset(next)).await,
            Some(next - 1)
        );
        assert_eq!(find(&log, 10 * (next - 1) + 1, Offset(next)).await, None);
        let largest = log.max_timestamp_offset(ALL).await.expect("readable");
        assert_eq!(largest.map(|found| found.offset.0), Some(89));
    });
}

/// Zero is a time as any other, −1 is none.
#[test]
fn the_earliest_time_is_found_and_no_time_is_not() {
    for (timestamp, largest) in [(0, Some(0)), (-1, None)] {
        let (_simulation, node) = simulation(7);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let log = &opened.log;
            append_each(log, [timestamp; 3]);
            let found = log.max_timestamp_offset(ALL).await.expect("readable");
            assert_eq!(found.map(|found| found.offset.0), largest);
            assert_eq!(find(log, 0, ALL).await, largest);
        });
    }
}

#[test]
fn only_batches_that_may_have_the_time_are_opened() {
    let (_simulation, node) = simulation(8);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let with = LogConfig {
            segment_bytes: 1 << 20,
            index_interval_bytes: 1 << 20,
            ..config()
        };
        let first = open(&reactor, quiet(), with.clone()).await.expect("opens");
        append_each(&first.log, (0..20).map(|offset| 10 * offset));
        let len = timed(Codec::None, &[0]).len() as u64;
        assert!(stop(&reactor, &first).await);
        let log = open(&reactor, quiet(), with).await.expect("opens").log;
        // The first byte behind a header: no record of these can be read.
        for batch in 3..9 {
            disk.corrupt(FIRST_LOG, batch * len + 61, 0xff);
        }
        assert_eq!(find(&log, 20, ALL).await, Some(2));
        assert!(log.offset_for_timestamp(30, ALL).await.is_err());
        assert_eq!(find(&log, 90, ALL).await, Some(9));
        log.set_high_watermark(log.log_end_offset());
        log.delete_records(Offset(9)).await.expect("deleted");
        assert_eq!(find(&log, 30, ALL).await, Some(9));
    });
}

#[test]
fn an_entry_behind_those_that_the_last_segment_has_in_its_file_is_not_used() {
    let (_simulation, node) = simulation(9);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let with = LogConfig {
            segment_bytes: 1 << 20,
            ..config()
        };
        let opened = open(&reactor, quiet(), with).await.expect("opens");
        let log = &opened.log;
        append_each(log, [500, 1, 2, 3, 4, 5]);
        opened.store.checkpoint().await.expect("made");
        let path = segment_file(0, "timeindex");
        let mut index = disk.read_current(&path).expect("there");
        assert_eq!(index.len(), 12);
        for timestamp in [900, 600] {
            let bytes = timed(Codec::None, &[timestamp]);
            log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1)
                .expect("appended");
        }
        // As a crash may have left it, and true by chance.
        index.extend(600i64.to_be_bytes());
        index.extend(7u32.to_be_bytes());
        disk.plant_file(&path, &index);
        assert_eq!(find(log, 700, ALL).await, Some(6));
    });
}

#[test]
fn an_entry_that_is_not_true_is_not_used_and_told() {
    // Against the segment's first offset, where the record is whose time the entry tells; both may
    // be off.
    for (number, (timestamp, offset)) in [(1, 3), (0, 4), (-45, 6), (900, 2), (0, 4_000_000)]
        .into_iter()
        .enumerate()
    {
        let complaints = Complaints::default();
        complaints.listen(|| {
            let (_simulation, node, bases) = written(5 + number as u64);
            let base = bases[1];
            let mut lie = (10 * (base + 3) + timestamp).to_be_bytes().to_vec();
            lie.extend((offset as u32).to_be_bytes());
            node.plant_file(segment_file(base, "timeindex"), &lie);
            run(&node, move |reactor| async move {
                let log = reopen(&reactor).await.log;
                for offset in base - 2..base + 8 {
                    assert_eq!(find(&log, 10 * offset, ALL).await, Some(offset));
                    assert_eq!(find(&log, 10 * offset - 3, ALL).await, Some(offset));
                }
                let largest = log.max_timestamp_offset(ALL).await.expect("readable");
                assert_eq!(largest.map(|found| found.offset.0), Some(89));
            });
        });
        let told = complaints.take();
        let path = "timeindex: an entry is not true";
        assert!(!told.is_empty(), "({timestamp}, {offset})");
        for line in told {
            assert!(line.contains("an entry is not true"), "{path} in {line}");
        }
    }
}

/// Segments of one key each are joined into one while records in them are looked for.
#[test]
fn a_look_up_meets_a_compaction() {
    let config = || LogConfig {
        cleanup: CleanupPolicy {
            delete: false,
            compact: true,
        },
        min_cleanable_dirty_ratio: 0.0,
        file_delete_delay: Duration::ZERO,
        ..config()
    };
    for begun_after in 0..60 {
        let (_simulation, node) = simulation(begun_after);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let log = &opened.log;
            for offset in 0..60i64 {
                let mut builder = BatchBuilder::new(Codec::None);
                // Half of the records go.
                let key = if offset % 2 == 0 { offset } else { 1_000 };
                let key = key.to_be_bytes();
                builder.push(10 * offset, Some(&key), Some(&[1; 100]), &[]);
                let bytes = builder.build().expect("not compressed");
                log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1)
                    .expect("appended");
            }
            log.flush().await.expect("flushed");
            log.set_high_watermark(log.log_end_offset());
            let before = log.segment_base_offsets().len();
            log.set_config(LogConfig {
                segment_bytes: 20_000,
                ..config()
            });
            let store = opened.store.clone();
            let cleaning = reactor.spawn(TaskQueue::Background, async move {
                while store.clean_dirtiest().await {}
            });
            reactor
                .sleep(Duration::from_micros(100 * begun_after))
                .await;
            for offset in [20, 30, 40] {
                assert_eq!(find(log, 10 * offset, ALL).await, Some(offset));
            }
            let largest = log.max_timestamp_offset(ALL).await.expect("readable");
            assert_eq!(largest.map(|found| found.offset.0), Some(59));
            cleaning.await;
            assert!(log.segment_base_offsets().len() < before);
        });
    }
}

#[test]
fn nothing_is_found_in_a_log_that_is_closed() {
    let (_simulation, node, _) = written(6);
    run(&node, |reactor| async move {
        let log = reopen(&reactor).await.log;
        log.close().await.expect("closed");
        for found in [
            log.offset_for_timestamp(0, ALL).await,
            log.max_timestamp_offset(ALL).await,
        ] {
            assert!(matches!(
                found,
                Err(ReadError::Storage(StorageError::Closed { .. }))
            ));
        }
    });
}
