//! What the logs of one store share: memory, open files, the checkpoint file, and the task that
//! makes checkpoints and lets the idle rest.

use std::rc::Rc;
use std::time::Duration;

use millstream_protocol::compression::Codec;
use millstream_protocol::record_batch::BatchBuilder;
use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{DiskFault, DiskOperation, Node};
use millstream_storage::{
    AppendOrigin, CleanerConfig, CleanupPolicy, ColdRead, Durability, Log, LogConfig, ReadPart,
    ShardStore, StartState, StoreConfig,
};

use crate::harness::*;

const CHECKPOINT: &str = "/data/millstream-checkpoint-0";

/// A store that does nothing by itself.
fn quiet() -> StoreConfig {
    StoreConfig {
        tail_memory_bytes: 256 << 10,
        checkpoint_interval: Duration::from_secs(1 << 30),
        ..small_store()
    }
}

async fn start(reactor: &Reactor, config: StoreConfig) -> Rc<ShardStore> {
    let start = StartState::take(reactor, &config.root).await;
    ShardStore::new(reactor.clone(), config, start.expect("readable"))
}

async fn open_partition(store: &Rc<ShardStore>, partition: i32, config: LogConfig) -> Rc<Log> {
    let partition = PartitionIndex(partition);
    let opened = Log::open(store, TOPIC, partition, topic_id(), config).await;
    opened.expect("opens").0
}

async fn open_partitions(store: &Rc<ShardStore>, count: i32, config: &LogConfig) -> Vec<Rc<Log>> {
    let mut logs = Vec::new();
    for partition in 0..count {
        logs.push(open_partition(store, partition, config.clone()).await);
    }
    logs
}

/// The recovery point of the first partition in the checkpoint file.
fn recovery_point(disk: &Node) -> Option<i64> {
    let text = String::from_utf8(disk.read_durable(CHECKPOINT)?).expect("text");
    let entry = text.lines().nth(1).expect("an entry");
    assert!(entry.starts_with("t 0 "), "{entry}");
    Some(entry.split(' ').nth(3)?.parse().expect("an offset"))
}

/// The offsets of one-record batches that are in memory.
async fn in_memory(log: &Log) -> Vec<i64> {
    let mut offsets = Vec::new();
    for offset in log.log_start_offset().0..log.log_end_offset().0 {
        let plan = log.read(Offset(offset), 1, Offset(i64::MAX), true).await;
        if let [ReadPart::Memory(_)] = plan.expect("readable").parts[..] {
            offsets.push(offset);
        }
    }
    offsets
}

#[test]
fn logs_are_read_apart_and_as_they_are_now() {
    for cold_read in [ColdRead::Buffered, ColdRead::Direct] {
        let (_simulation, node) = simulation(1);
        run(&node, move |reactor| async move {
            let store = StoreConfig {
                cold_read,
                open_files: 16,
                ..small_store()
            };
            let store = start(&reactor, store).await;
            let config = LogConfig {
                index_interval_bytes: 500,
                ..LogConfig::default()
            };
            let logs = open_partitions(&store, 3, &config).await;
            for round in 0..2 {
                let mut models = vec![Model::default(); 3];
                for (partition, (log, model)) in logs.iter().zip(&mut models).enumerate() {
                    log.truncate_fully_and_start_at(Offset(0))
                        .await
                        .expect("truncated");
                    for index in 0..100 {
                        let timestamp = (100 * index + 10 * round + partition) as i64;
                        append(log, model, 0, &batch(1, 200 + 9 * partition, timestamp));
                    }
                }
                reactor.sleep(Duration::from_secs(60)).await;
                for (log, model) in logs.iter().zip(&models) {
                    assert_eq!(in_memory(log).await, [0; 0]);
                    assert_eq!(follow(&reactor, log, 0, 3_000).await, model.bytes());
                }
            }
        });
    }
}

#[test]
fn a_cold_read_finds_its_place_by_the_newest_entries_of_the_index() {
    let (_simulation, node) = simulation(2);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let store = StoreConfig {
            tail_memory_bytes: 1 << 20,
            ..small_store()
        };
        let store = start(&reactor, store).await;
        let config = LogConfig {
            index_interval_bytes: 500,
            ..LogConfig::default()
        };
        let log = open_partition(&store, 0, config).await;
        let mut model = Model::default();
        for _ in 0..2 {
            for _ in 0..100 {
                append(&log, &mut model, 0, &batch(1, 1_000, 1));
            }
            log.flush().await.expect("flushed");
            reactor.sleep(Duration::from_secs(60)).await;
            // The index would be known from here on.
            let plan = log.read(Offset(50), 1, Offset(i64::MAX), true).await;
            plan.expect("readable");
        }
        // To read a hundred batches takes more.
        disk.inject(DiskFault::new(DiskOperation::Read, FIRST_LOG, EIO).after(6));
        let plan = log.read(Offset(190), 1, Offset(i64::MAX), true).await;
        assert_eq!(plan.expect("few reads").first_offset, Some(Offset(190)));
    });
}

/// A store of 16 buffers of 16 KiB, and 32 while readers are behind.
fn growing() -> StoreConfig {
    StoreConfig {
        tail_memory_behind_bytes: 512 << 10,
        ..quiet()
    }
}

/// Appends batches that fill a buffer of 16 KiB each, a tenth of a second apart, and reads what is
/// at `reader` before each, if there is one.
async fn fill_buffers(
    reactor: &Reactor,
    log: &Rc<Log>,
    model: &mut Model,
    count: usize,
    reader: Option<(&Rc<Log>, i64)>,
) {
    for _ in 0..count {
        if let Some((log, offset)) = reader {
            let plan = log.read(Offset(offset), 1, Offset(i64::MAX), true).await;
            assert_eq!(plan.expect("readable").first_offset, Some(Offset(offset)));
        }
        append(log, model, 0, &batch(1, 12_000, 1));
        log.flush().await.expect("flushed");
        reactor.sleep(Duration::from_millis(100)).await;
    }
}

/// A log whose only reader has read the first of two batches, and no further while so many more
/// came.
async fn with_reader_behind(
    reactor: &Reactor,
    store: &Rc<ShardStore>,
    count: usize,
) -> (Rc<Log>, Model) {
    let log = open_partition(store, 0, LogConfig::default()).await;
    let mut model = Model::default();
    fill_buffers(reactor, &log, &mut model, 2, None).await;
    fill_buffers(reactor, &log, &mut model, count, Some((&log, 0))).await;
    (log, model)
}

#[test]
fn what_a_reader_has_before_it_stays_in_memory() {
    for (reads, kept) in [(true, vec![3, 4, 5, 6, 7]), (false, vec![])] {
        let (_simulation, node) = simulation(14);
        run(&node, move |reactor| async move {
            let store = start(&reactor, growing()).await;
            let logs = open_partitions(&store, 2, &LogConfig::default()).await;
            let mut models = vec![Model::default(); 2];
            fill_buffers(&reactor, &logs[0], &mut models[0], 8, None).await;
            let reader = reads.then_some((&logs[0], 2));
            fill_buffers(&reactor, &logs[1], &mut models[1], 40, reader).await;
            assert_eq!(in_memory(&logs[0]).await, kept);
            // There is no more memory for it than ever, and no less: an eighth is taken at a time.
            let others = in_memory(&logs[1]).await.len();
            assert!((14..=16).contains(&(others + kept.len())), "{others}");
        });
    }
}

#[test]
fn readers_of_files_take_no_place_of_a_reader_of_memory() {
    let (_simulation, node) = simulation(18);
    run(&node, |reactor| async move {
        let store = start(&reactor, growing()).await;
        let logs = open_partitions(&store, 2, &LogConfig::default()).await;
        let mut models = vec![Model::default(); 2];
        fill_buffers(&reactor, &logs[0], &mut models[0], 30, None).await;
        for _ in 0..20 {
            for offset in 0..10 {
                let plan = logs[0].read(Offset(offset), 1, Offset(i64::MAX), true);
                let plan = plan.await.expect("readable");
                assert!(matches!(plan.parts[..], [ReadPart::File(_)]), "{offset}");
            }
            let reader = Some((&logs[0], 24));
            fill_buffers(&reactor, &logs[1], &mut models[1], 1, reader).await;
        }
        assert_eq!(in_memory(&logs[0]).await, [25, 26, 27, 28, 29]);
    });
}

#[test]
fn memory_grows_while_a_reader_is_behind_and_no_longer() {
    let (_simulation, node) = simulation(15);
    run(&node, |reactor| async move {
        let store = start(&reactor, growing()).await;
        let (log, mut model) = with_reader_behind(&reactor, &store, 28).await;
        assert_eq!(in_memory(&log).await, (1..30).collect::<Vec<_>>());
        // Having gone through all of it, the reader is not behind any more. Whether one is, is
        // looked at for every eighth of the memory.
        fill_buffers(&reactor, &log, &mut model, 3, None).await;
        let left = in_memory(&log).await.len();
        assert!(left <= 16, "{left}");
    });
}

#[test]
fn memory_that_grew_is_given_back_when_little_is_appended() {
    let (_simulation, node) = simulation(17);
    run(&node, |reactor| async move {
        let config = StoreConfig {
            checkpoint_interval: Duration::from_secs(10),
            ..growing()
        };
        let store = start(&reactor, config).await;
        let (log, mut model) = with_reader_behind(&reactor, &store, 28).await;
        assert_eq!(in_memory(&log).await, (1..30).collect::<Vec<_>>());
        for _ in 0..12 {
            reactor.sleep(Duration::from_secs(1)).await;
            append(&log, &mut model, 0, &batch(1, 10, 1));
        }
        let kept = in_memory(&log).await;
        assert!((14..20).contains(&kept[0]), "{kept:?}");
    });
}

#[test]
fn a_reader_that_is_too_far_behind_does_not_count() {
    let (_simulation, node) = simulation(16);
    run(&node, |reactor| async move {
        let store = start(&reactor, growing()).await;
        let (log, _) = with_reader_behind(&reactor, &store, 60).await;
        let kept = in_memory(&log).await;
        assert!(kept.len() <= 16, "{kept:?}");
        assert_eq!(kept.last(), Some(&61));
    });
}

#[test]
fn when_memory_is_short_an_eighth_is_taken_from_the_logs_that_were_silent_longest() {
    let (_simulation, node) = simulation(3);
    run(&node, |reactor| async move {
        let store = start(&reactor, quiet()).await;
        let logs = open_partitions(&store, 8, &LogConfig::default()).await;
        let mut models = vec![Model::default(); logs.len()];
        // Each of these fills a buffer of 16 KiB, of which there are 16.
        let order = [6, 5, 2, 2, 2, 0, 3, 3, 1, 1, 1, 4, 4, 6, 6, 6];
        for partition in order {
            append(
                &logs[partition],
                &mut models[partition],
                0,
                &batch(1, 12_000, 1),
            );
            logs[partition].flush().await.expect("flushed");
            // Buffers that fill fast are followed by larger ones.
            reactor.sleep(Duration::from_secs(1)).await;
        }
        let mut expected = vec![];
        for (log, model) in logs.iter().zip(&models) {
            expected.push((0..model.end()).collect::<Vec<_>>());
            assert_eq!(in_memory(log).await, expected[expected.len() - 1]);
        }
        append(&logs[7], &mut models[7], 0, &batch(1, 12_000, 1));
        // 32 KiB: all of the first, and the oldest of the second.
        expected[5] = vec![];
        expected[2] = vec![1, 2];
        expected[7] = vec![0];
        for (log, expected) in logs.iter().zip(&expected) {
            assert_eq!(in_memory(log).await, *expected);
        }
    });
}

#[test]
fn a_checkpoint_is_made_after_so_many_bytes() {
    let (_simulation, node) = simulation(4);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let bytes = batch(1, 100, 1);
        let store = StoreConfig {
            checkpoint_bytes: 3 * bytes.len() as u64,
            ..quiet()
        };
        let store = start(&reactor, store).await;
        let log = open_partition(&store, 0, LogConfig::default()).await;
        let mut model = Model::default();
        for end in 1..=9 {
            append(&log, &mut model, 0, &bytes);
            reactor.sleep(Duration::from_secs(1)).await;
            let expected = (end >= 3).then_some(end / 3 * 3);
            assert_eq!(recovery_point(&disk), expected);
        }
    });
}

#[test]
fn bytes_appended_during_a_checkpoint_count_for_the_next() {
    let (_simulation, node) = simulation(13);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let bytes = batch(1, 100, 1);
        let store = StoreConfig {
            checkpoint_bytes: 3 * bytes.len() as u64,
            ..quiet()
        };
        let store = start(&reactor, store).await;
        let log = open_partition(&store, 0, LogConfig::default()).await;
        let mut model = Model::default();
        let mut append = |count| {
            for _ in 0..count {
                append(&log, &mut model, 0, &bytes);
            }
        };
        // By then the store waits for that many.
        reactor.sleep(Duration::from_secs(1)).await;
        append(3);
        while disk.read_current(format!("{CHECKPOINT}.tmp")).is_none() {
            reactor.sleep(Duration::from_micros(10)).await;
        }
        append(3);
        reactor.sleep(Duration::from_secs(1)).await;
        append(1);
        reactor.sleep(Duration::from_secs(1)).await;
        assert_eq!(recovery_point(&disk), Some(7));
    });
}

#[test]
fn a_checkpoint_is_made_when_a_segment_is_full_and_after_a_time() {
    let (_simulation, node) = simulation(5);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let store = StoreConfig {
            checkpoint_interval: Duration::from_secs(100),
            ..quiet()
        };
        let store = start(&reactor, store).await;
        let config = LogConfig {
            segment_bytes: 1_000,
            ..LogConfig::default()
        };
        let log = open_partition(&store, 0, config).await;
        let mut model = Model::default();
        append(&log, &mut model, 0, &batch(1, 600, 1));
        reactor.sleep(Duration::from_secs(50)).await;
        assert_eq!(recovery_point(&disk), None);
        append(&log, &mut model, 0, &batch(1, 600, 1));
        reactor.sleep(Duration::from_secs(1)).await;
        assert_eq!(recovery_point(&disk), Some(2));
        append(&log, &mut model, 0, &batch(1, 10, 1));
        // The one that was made sooner does not put off the one that is due.
        reactor.sleep(Duration::from_secs(48)).await;
        assert_eq!(recovery_point(&disk), Some(2));
        reactor.sleep(Duration::from_secs(2)).await;
        assert_eq!(recovery_point(&disk), Some(3));
    });
}

#[test]
fn one_checkpoint_file_serves_all_who_asked_for_it() {
    let (_simulation, node) = simulation(6);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let store = start(&reactor, quiet()).await;
        let logs = open_partitions(&store, 10, &LogConfig::default()).await;
        for log in &logs {
            let mut model = Model::default();
            append(log, &mut model, 0, &batch(1, 10, 1));
            append(log, &mut model, 0, &batch(1, 10, 1));
        }
        store.checkpoint().await.expect("made");
        assert_eq!(recovery_point(&disk), Some(2));
        // One is under way when the others ask.
        disk.inject(DiskFault::new(DiskOperation::Write, CHECKPOINT, EIO).after(2));
        let cuts = logs.iter().map(|log| log.truncate_to(Offset(1)));
        for cut in futures::future::join_all(cuts).await {
            assert_eq!(cut.expect("truncated"), Offset(1));
        }
        let text = disk.read_durable(CHECKPOINT).expect("there");
        let text = String::from_utf8(text).expect("text");
        let points = text.lines().filter(|line| line.starts_with("t "));
        let points: Vec<_> = points.map(|line| line.split(' ').nth(3)).collect();
        assert_eq!(points, [Some("1"); 10]);
    });
}

#[test]
fn a_log_that_is_appended_to_does_not_rest() {
    let (_simulation, node) = simulation(7);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let store = start(&reactor, small_store()).await;
        let logs = open_partitions(&store, 2, &LogConfig::default()).await;
        let (mut busy, mut idle) = (Model::default(), Model::default());
        append(&logs[1], &mut idle, 0, &batch(1, 100, 1));
        let len = |path| disk.read_current(path).expect("there").len();
        for _ in 0..100 {
            append(&logs[0], &mut busy, 0, &batch(1, 10, 1));
            reactor.sleep(Duration::from_secs(1)).await;
            assert!(len(FIRST_LOG) >= 20 << 10, "there is space made ahead");
        }
        assert_eq!(
            len("/data/t-1/00000000000000000000.log"),
            idle.bytes().len()
        );
    });
}

#[test]
fn an_idle_log_rests_while_others_fill_their_segments() {
    let (_simulation, node) = simulation(7);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let store = start(&reactor, small_store()).await;
        let small_segments = LogConfig {
            segment_bytes: 4 << 10,
            ..LogConfig::default()
        };
        let busy_log = open_partition(&store, 0, small_segments).await;
        let idle_log = open_partition(&store, 1, LogConfig::default()).await;
        let (mut busy, mut idle) = (Model::default(), Model::default());
        append(&idle_log, &mut idle, 0, &batch(1, 100, 1));
        // A segment is full, and wants a checkpoint, every second.
        for _ in 0..25 {
            append(&busy_log, &mut busy, 0, &batch(1, 3 << 10, 1));
            reactor.sleep(Duration::from_secs(1)).await;
        }
        let file = disk.read_current("/data/t-1/00000000000000000000.log");
        assert_eq!(file.expect("there").len(), idle.bytes().len());
    });
}

#[test]
fn a_log_that_cannot_be_put_to_rest_goes_offline_unless_the_disk_is_full() {
    for (error, goes_offline) in [(EIO, true), (ENOSPC, false)] {
        let (_simulation, node) = simulation(8);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let store = start(&reactor, small_store()).await;
            let log = open_partition(&store, 0, LogConfig::default()).await;
            let mut model = Model::default();
            append(&log, &mut model, 0, &batch(1, 100, 1));
            log.flush().await.expect("flushed");
            disk.inject(DiskFault::new(DiskOperation::Write, FIRST_LOG, error));
            reactor.sleep(Duration::from_secs(60)).await;
            assert_eq!(log.offline().is_some(), goes_offline);
            if !goes_offline {
                append(&log, &mut model, 0, &batch(1, 100, 1));
                log.flush().await.expect("flushed");
                assert_eq!(follow(&reactor, &log, 0, 1_000).await, model.bytes());
            }
        });
    }
}

#[test]
fn a_checkpoint_that_fails_takes_its_log_offline_unless_the_disk_is_full() {
    for (error, goes_offline) in [(EIO, true), (ENOSPC, false)] {
        let (_simulation, node) = simulation(9);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let store = start(&reactor, quiet()).await;
            let logs = open_partitions(&store, 2, &LogConfig::default()).await;
            for log in &logs {
                append(log, &mut Model::default(), 0, &produced(1, 10, (5, 0, 0)));
            }
            let fault = DiskFault::new(DiskOperation::Write, "/data/t-0/", error);
            for log in &logs {
                log.flush().await.expect("flushed");
            }
            disk.inject(fault.always());
            store.checkpoint().await.expect("the root is well");
            assert_eq!(logs[0].offline().is_some(), goes_offline);
            assert!(logs[1].offline().is_none());
            assert_eq!(recovery_point(&disk), Some(0));
            disk.clear_faults();
            store.checkpoint().await.expect("the root is well");
            let expected = i64::from(!goes_offline);
            assert_eq!(recovery_point(&disk), Some(expected));
        });
    }
}

#[test]
fn a_store_gives_the_logs_that_are_open() {
    let (_simulation, node) = simulation(10);
    run(&node, |reactor| async move {
        let store = start(&reactor, quiet()).await;
        let logs = open_partitions(&store, 2, &LogConfig::default()).await;
        let is_open = |partition| {
            let found = store.log(TOPIC, PartitionIndex(partition));
            found.is_some_and(|log| Rc::ptr_eq(&log, &logs[partition as usize]))
        };
        assert!(is_open(0) && is_open(1));
        assert!(store.log(TOPIC, PartitionIndex(2)).is_none());
        assert!(store.log("u", PartitionIndex(0)).is_none());
        logs[0].delete().await.expect("deleted");
        assert!(store.log(TOPIC, PartitionIndex(0)).is_none());
        assert!(is_open(1));
    });
}

#[test]
fn a_store_that_was_closed_leaves_the_disk_alone() {
    let (_simulation, node) = simulation(11);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let config = LogConfig {
            durability: Durability::Memory,
            segment_bytes: 1_000,
            retention_bytes: 0,
            ..LogConfig::default()
        };
        let store = StoreConfig {
            tail_memory_bytes: 1 << 20,
            ..small_store()
        };
        let opened = open(&reactor, store, config).await.expect("opens");
        let mut model = Model::default();
        for _ in 0..10 {
            append(&opened.log, &mut model, 0, &batch(1, 600, 1));
        }
        opened.log.set_high_watermark(Offset(10));
        assert!(stop(&reactor, &opened).await);
        let operations = disk.disk_operations();
        reactor.sleep(Duration::from_secs(2_000)).await;
        assert_eq!(disk.disk_operations(), operations);
        assert!(disk.read_current(CHECKPOINT).is_none());
    });
}

#[test]
fn compaction_follows_settings_that_change_and_readers_follow_compaction() {
    let (_simulation, node) = simulation(12);
    run(&node, |reactor| async move {
        let with_backoff = |secs| CleanerConfig {
            backoff: Duration::from_secs(secs),
            ..CleanerConfig::default()
        };
        let store = StoreConfig {
            cleaner: with_backoff(100),
            ..quiet()
        };
        let store = start(&reactor, store).await;
        store.set_cleaner(with_backoff(1));
        let config = LogConfig {
            segment_bytes: 1_000,
            cleanup: CleanupPolicy {
                delete: false,
                compact: true,
            },
            min_cleanable_dirty_ratio: 0.0,
            ..LogConfig::default()
        };
        let log = open_partition(&store, 0, config).await;
        let (mut cleaned_to, mut first) = (vec![], vec![]);
        for pause in [101, 3] {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(1, Some(b"key"), Some(&[7; 300]), &[]);
            let bytes = builder.build().expect("not compressed");
            for _ in 0..8 {
                log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1_000)
                    .expect("it can be appended");
            }
            log.flush().await.expect("flushed");
            log.set_high_watermark(log.log_end_offset());
            reactor.sleep(Duration::from_secs(pause)).await;
            cleaned_to.push(log.first_dirty_offset().expect("cleaned").0);
            let plan = log.read(Offset(0), 1, Offset(i64::MAX), true).await;
            first.push(plan.expect("readable").first_offset);
        }
        // Two batches go into a segment, and the last one is not cleaned.
        assert_eq!(cleaned_to, [6, 14]);
        assert_eq!(first, [Some(Offset(5)), Some(Offset(13))]);
    });
}
