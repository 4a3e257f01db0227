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
use millstream_protocol::{LeaderEpoch, Offset, ProducerId};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, KeepUnsynced, Node};
use millstream_storage::{
    AppendOrigin, CleanerConfig, CleanupPolicy, Log, LogConfig, OffsetCheckpoint, StoreConfig,
};

use crate::harness::*;

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
            checkpoint.get(TOPIC, millstream_protocol::PartitionIndex(0)),
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
