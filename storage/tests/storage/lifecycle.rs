//! A log's ordinary life: append, read, close, open, truncate, delete; duplicates; lookups.

use std::time::Duration;

use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex};
use millstream_storage::{
    AppendError, AppendOrigin, Durability, Log, LogConfig, ReadError, StoreConfig,
};

use crate::harness::*;

fn roomy_store() -> StoreConfig {
    StoreConfig {
        tail_memory_bytes: 2 << 20,
        ..small_store()
    }
}

fn small_segments() -> LogConfig {
    LogConfig {
        segment_bytes: 20_000,
        index_interval_bytes: 500,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

#[test]
fn what_was_appended_is_read_before_and_after_a_clean_stop() {
    let (_simulation, node) = simulation(1);
    let model = run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        assert!(opened.recovery.created);
        let mut model = Model::default();
        for index in 0..200 {
            append(
                &opened.log,
                &mut model,
                0,
                &batch(1 + index % 5, 100, index as i64),
            );
        }
        opened.log.flush().await.expect("flushed");
        assert_eq!(opened.log.flushed_offset().0, model.end());
        assert_eq!(follow(&reactor, &opened.log, 0, 5_000).await, model.bytes());
        opened.log.set_high_watermark(Offset(77));
        assert!(stop(&reactor, &opened).await);
        model
    });
    assert!(node.read_durable("/data/.kafka_cleanshutdown").is_some());
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        assert!(opened.start.was_clean());
        assert_eq!(opened.start.clean_broker_epoch(), Some(7));
        assert_eq!(opened.recovery.scanned_bytes, 0);
        assert_eq!(opened.recovery.high_watermark, Offset(77));
        assert_eq!(opened.log.log_end_offset().0, model.end());
        assert_eq!(follow(&reactor, &opened.log, 0, 5_000).await, model.bytes());
        let mut model = model;
        append(&opened.log, &mut model, 1, &batch(3, 10, 5));
        assert_eq!(
            follow(&reactor, &opened.log, 0, 50_000).await,
            model.bytes()
        );
        assert_eq!(
            opened.log.end_offset_for_epoch(LeaderEpoch(0)),
            (LeaderEpoch(0), Offset(model.end() - 3))
        );
    });
}

#[test]
fn idle_logs_hold_nothing_and_wake_up() {
    let (_simulation, node) = simulation(2);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        let mut model = Model::default();
        for round in 0..5 {
            append(&opened.log, &mut model, 0, &batch(2, 300 + round, 1));
            reactor.sleep(Duration::from_secs(60)).await;
            let size = reactor
                .fs()
                .read(FIRST_LOG.as_ref())
                .await
                .expect("there")
                .len();
            assert_eq!(size, model.bytes().len(), "no space made ahead is left");
            assert_eq!(follow(&reactor, &opened.log, 0, 1).await, model.bytes());
            let operations = disk.disk_operations();
            reactor.sleep(Duration::from_secs(600)).await;
            assert_eq!(disk.disk_operations(), operations, "the disk is left alone");
        }
    });
}

#[test]
fn durability_decides_what_counts() {
    for durability in [Durability::Fsync, Durability::Written, Durability::Memory] {
        let (_simulation, node) = simulation(3);
        run(&node, move |reactor| async move {
            let config = LogConfig {
                durability,
                ..small_segments()
            };
            let opened = open(&reactor, roomy_store(), config).await.expect("opens");
            let log = &opened.log;
            let mut model = Model::default();
            append(log, &mut model, 0, &batch(1, 10, 1));
            let at_once = durability == Durability::Memory;
            assert_eq!(log.durable_offset().0, i64::from(at_once));
            let progress = log.progress();
            while log.durable_offset().0 < 1 {
                progress.notified().await;
            }
            match durability {
                Durability::Fsync => assert_eq!(log.flushed_offset().0, 1),
                Durability::Written => {
                    assert_eq!((log.written_offset().0, log.flushed_offset().0), (1, 0));
                }
                Durability::Memory => assert_eq!(log.written_offset().0, 0),
            }
        });
    }
}

#[test]
fn repeated_batches_are_answered_and_gaps_refused() {
    let (_simulation, node) = simulation(4);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        let log = &opened.log;
        let append = |batch: &[u8]| log.append(batch, LeaderEpoch(0), AppendOrigin::Client, 1_000);
        for batch in 0..6 {
            append(&produced(2, 10, (5, 0, batch * 2))).expect("in order");
        }
        let again = append(&produced(2, 10, (5, 0, 4))).expect("known");
        assert!(again.duplicate);
        assert_eq!((again.base_offset.0, again.last_offset.0), (4, 5));
        assert_eq!(log.log_end_offset().0, 12);
        assert!(matches!(
            append(&produced(2, 10, (5, 0, 14))),
            Err(AppendError::OutOfOrderSequence {
                sequence: 14,
                last_sequence: 11,
                ..
            })
        ));
        append(&produced(1, 10, (5, 1, 0))).expect("a new epoch");
        assert!(matches!(
            append(&produced(1, 10, (5, 0, 12))),
            Err(AppendError::InvalidProducerEpoch {
                epoch: 0,
                last_epoch: 1,
                ..
            })
        ));
        let replicated = stamped(&produced(1, 10, (5, 0, 99)), 13, 3);
        log.append(
            &replicated,
            LeaderEpoch(9),
            AppendOrigin::Replication,
            1_000,
        )
        .expect("a leader's batch is never refused");
        assert_eq!(log.leader_epochs().last().map(|last| last.epoch.0), Some(3));
        assert!(matches!(
            log.append(
                &replicated,
                LeaderEpoch(9),
                AppendOrigin::Replication,
                1_000
            ),
            Err(AppendError::OffsetMismatch { .. })
        ));
    });
}

#[test]
fn unfit_appends_are_refused() {
    let (_simulation, node) = simulation(5);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        let log = &opened.log;
        let append = |batch: &[u8]| log.append(batch, LeaderEpoch(0), AppendOrigin::Client, 1_000);
        let good = batch(2, 10, 1);
        assert!(matches!(append(&[]), Err(AppendError::Malformed { .. })));
        assert!(matches!(
            append(&good[..70]),
            Err(AppendError::Malformed { .. })
        ));
        let two = [good.clone(), good.clone()].concat();
        assert!(matches!(append(&two), Err(AppendError::Malformed { .. })));
        assert!(matches!(
            append(&batch(1, 30_000, 1)),
            Err(AppendError::LargerThanSegment { .. })
        ));
        assert_eq!(log.log_end_offset().0, 0);
        let coordinator = log
            .append(&two, LeaderEpoch(2), AppendOrigin::Coordinator, 1_000)
            .expect("several batches");
        assert_eq!(
            (coordinator.base_offset.0, coordinator.last_offset.0),
            (0, 3)
        );
        let expected = [stamped(&good, 0, 2), stamped(&good, 2, 2)].concat();
        assert_eq!(follow(&reactor, log, 0, 1).await, expected);
    });
}

#[test]
fn memory_is_bounded_and_room_comes_back() {
    let (_simulation, node) = simulation(6);
    run(&node, |reactor| async move {
        let config = LogConfig {
            segment_bytes: 1 << 20,
            ..LogConfig::default()
        };
        let opened = open(&reactor, small_store(), config).await.expect("opens");
        let mut model = Model::default();
        let big = batch(1, 10_000, 1);
        let mut refused = 0;
        while model.batches.len() < 50 {
            let room = opened.store.room();
            let room = room.notified();
            match opened
                .log
                .append(&big, LeaderEpoch(0), AppendOrigin::Client, 1_000)
            {
                Ok(appended) => {
                    model.add(
                        appended.base_offset,
                        stamped(&big, appended.base_offset.0, 0),
                    );
                }
                Err(AppendError::NoRoom) => {
                    refused += 1;
                    room.await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 0, "128 KiB do not hold 500 KB");
        assert_eq!(
            follow(&reactor, &opened.log, 0, 30_000).await,
            model.bytes()
        );
    });
}

#[test]
fn records_are_found_by_time() {
    let (_simulation, node) = simulation(7);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        let log = &opened.log;
        let mut model = Model::default();
        // Record `offset` has the timestamp 1000 + 10 × (offset / 3) + offset % 3.
        for index in 0..300 {
            append(log, &mut model, 4, &batch(3, 200, 1_000 + 10 * index));
        }
        // An old record at the end changes nothing.
        append(log, &mut model, 4, &batch(1, 10, 3));
        for restarted in [false, true] {
            if restarted {
                log.flush().await.expect("flushed");
                opened.store.checkpoint().await.expect("made");
            }
            let upper = Offset(i64::MAX);
            for offset in [0i64, 1, 2, 3, 299, 450, 898, 899] {
                let timestamp = 1_000 + 10 * (offset / 3) + offset % 3;
                let found = log
                    .offset_for_timestamp(timestamp, upper)
                    .await
                    .expect("readable");
                let found = found.expect("there is one");
                assert_eq!((found.offset.0, found.timestamp), (offset, timestamp));
                assert_eq!(found.leader_epoch, LeaderEpoch(4));
            }
            let between = log
                .offset_for_timestamp(1_005, upper)
                .await
                .expect("readable");
            assert_eq!(between.map(|found| found.offset.0), Some(3));
            let late = log
                .offset_for_timestamp(99_999, upper)
                .await
                .expect("readable");
            assert_eq!(late, None);
            let unseen = log
                .offset_for_timestamp(1_010, Offset(3))
                .await
                .expect("readable");
            assert_eq!(unseen, None);
            let max = log.max_timestamp_offset(upper).await.expect("readable");
            assert_eq!(
                max.map(|found| (found.offset.0, found.timestamp)),
                Some((899, 3_992))
            );
        }
    });
}

#[test]
fn truncation_takes_everything_back() {
    let (_simulation, node) = simulation(8);
    let model = run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        let log = &opened.log;
        let mut model = Model::default();
        for index in 0..150 {
            let epoch = index / 50;
            append(log, &mut model, epoch, &produced(2, 200, (9, 0, index * 2)));
        }
        for target in [299, 150, 101] {
            let end = log.truncate_to(Offset(target)).await.expect("truncated");
            model.truncate(end.0);
            assert_eq!(end.0, target - target % 2);
            assert_eq!(log.log_end_offset(), end);
            assert_eq!(follow(&reactor, log, 0, 3_000).await, model.bytes());
            let sequence = log.with_producer_states(|states| {
                states
                    .get(9)
                    .map(millstream_storage::ProducerState::last_sequence)
            });
            assert_eq!(sequence, Some(end.0 as i32 - 1));
        }
        assert_eq!(log.leader_epochs().len(), 1);
        append(log, &mut model, 7, &produced(2, 200, (9, 0, 100)));
        assert_eq!(follow(&reactor, log, 0, 3_000).await, model.bytes());
        assert_eq!(
            log.end_offset_for_epoch(LeaderEpoch(3)),
            (LeaderEpoch(0), Offset(100))
        );
        log.flush().await.expect("flushed");
        model
    });
    node.crash(millstream_reactor::sim::CrashOptions::keep(
        millstream_reactor::sim::KeepUnsynced::None,
    ));
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        assert_eq!(follow(&reactor, &opened.log, 0, 3_000).await, model.bytes());
        opened
            .log
            .truncate_fully_and_start_at(Offset(1_000))
            .await
            .expect("truncated");
        assert_eq!(opened.log.log_start_offset(), Offset(1_000));
        assert_eq!(opened.log.leader_epochs(), []);
        let appended = opened
            .log
            .append(&batch(1, 5, 1), LeaderEpoch(8), AppendOrigin::Client, 1_000)
            .expect("appended");
        assert_eq!(appended.base_offset, Offset(1_000));
        assert!(matches!(
            opened.log.read(Offset(5), 10, Offset(9_999), true).await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
    });
}

#[test]
fn a_deleted_log_is_gone_and_its_name_free() {
    let (_simulation, node) = simulation(9);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments())
            .await
            .expect("opens");
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &batch(3, 10, 1));
        opened.log.delete().await.expect("deleted");
        let refused = opened.log.append(
            &batch(3, 10, 1),
            LeaderEpoch(0),
            AppendOrigin::Client,
            1_000,
        );
        assert!(matches!(refused, Err(AppendError::Offline(_))));
        reactor.sleep(Duration::from_secs(1)).await;
        let names: Vec<String> = reactor
            .fs()
            .read_dir(ROOT.as_ref())
            .await
            .expect("there")
            .into_iter()
            .map(|entry| entry.name)
            .filter(|name| name.starts_with("t-0"))
            .collect();
        assert_eq!(names, Vec::<String>::new());
        let other = decode_id("AAAAAAAAAAAAAAAAAAAAAg");
        let (log, recovery) = Log::open(
            &opened.store,
            TOPIC,
            PartitionIndex(0),
            other,
            small_segments(),
        )
        .await
        .expect("made anew");
        assert!(recovery.created);
        assert_eq!(log.log_end_offset(), Offset(0));
    });
}

#[test]
fn segments_roll_by_age_and_index_size() {
    // By age at 1 011 and 2 012. Then when the time index is full, whose last slot is kept for the
    // end of the segment; or when four entries fill the offset index.
    let cases = [(24, &[0, 2, 4, 6, 8, 10][..]), (36, &[0, 2, 4, 9])];
    for (segment_index_bytes, expected) in cases {
        let (_simulation, node) = simulation(10);
        run(&node, move |reactor| async move {
            let config = LogConfig {
                segment_ms: 1_000,
                ..LogConfig::default()
            };
            let opened = open(&reactor, roomy_store(), config.clone())
                .await
                .expect("opens");
            let mut model = Model::default();
            for timestamp in [10, 1_010, 1_011, 1_500, 2_012] {
                append(&opened.log, &mut model, 0, &batch(1, 10, timestamp));
            }
            opened.log.set_config(LogConfig {
                segment_index_bytes,
                index_interval_bytes: 0,
                segment_ms: i64::MAX,
                ..config
            });
            for _ in 0..6 {
                append(&opened.log, &mut model, 0, &batch(1, 10, 2_012));
            }
            opened.log.flush().await.expect("flushed");
            assert_eq!(opened.log.segment_base_offsets(), expected);
            let logs: Vec<i64> = reactor
                .fs()
                .read_dir(DIR.as_ref())
                .await
                .expect("there")
                .iter()
                .filter_map(|entry| entry.name.strip_suffix(".log")?.parse().ok())
                .collect();
            assert_eq!(logs, expected);
            assert_eq!(follow(&reactor, &opened.log, 0, 99).await, model.bytes());
        });
    }
}

#[test]
fn a_segment_is_filled_to_the_last_byte() {
    let (_simulation, node) = simulation(11);
    run(&node, |reactor| async move {
        let bytes = batch(1, 100, 1);
        let config = LogConfig {
            segment_bytes: 3 * bytes.len() as u32,
            ..LogConfig::default()
        };
        let opened = open(&reactor, roomy_store(), config).await.expect("opens");
        let mut model = Model::default();
        for _ in 0..7 {
            append(&opened.log, &mut model, 0, &bytes);
        }
        assert_eq!(opened.log.segment_base_offsets(), [0, 3, 6]);
    });
}

#[test]
fn a_read_takes_what_its_budget_holds_exactly() {
    let (_simulation, node) = simulation(12);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments()).await;
        let log = opened.expect("opens").log;
        let mut model = Model::default();
        let bytes = batch(1, 100, 1);
        append(&log, &mut model, 0, &bytes);
        append(&log, &mut model, 0, &bytes);
        for (budget, expected) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)] {
            let budget = bytes.len() * budget / 2;
            let plan = log.read(Offset(0), budget, Offset(2), false).await;
            let len = plan.expect("readable").len;
            assert_eq!(len, expected * bytes.len() as u64, "{budget} bytes");
        }
    });
}

#[test]
fn a_follower_takes_what_there_is_memory_for() {
    let (_simulation, node) = simulation(13);
    run(&node, |reactor| async move {
        let config = LogConfig {
            segment_bytes: 1 << 20,
            ..LogConfig::default()
        };
        let opened = open(&reactor, small_store(), config).await.expect("opens");
        let mut model = Model::default();
        let big = batch(1, 10_000, 1);
        let fetched: Vec<Vec<u8>> = (0..30).map(|offset| stamped(&big, offset, 0)).collect();
        let (mut next, mut partly) = (0, 0);
        while next < fetched.len() {
            let room = opened.store.room();
            let room = room.notified();
            let rest = fetched[next..].concat();
            let origin = AppendOrigin::Replication;
            match opened.log.append(&rest, LeaderEpoch(0), origin, 1_000) {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, Offset(next as i64));
                    assert_eq!(appended.last_offset.0 + 1, opened.log.log_end_offset().0);
                    let end = appended.last_offset.0 as usize + 1;
                    for (offset, bytes) in fetched.iter().enumerate().take(end).skip(next) {
                        model.add(Offset(offset as i64), bytes.clone());
                    }
                    partly += usize::from(end < fetched.len());
                    next = end;
                }
                Err(AppendError::NoRoom) => room.await,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(partly > 0, "128 KiB do not hold 300 KB");
        assert_eq!(
            follow(&reactor, &opened.log, 0, 30_000).await,
            model.bytes()
        );
    });
}

#[test]
fn a_log_that_nobody_touched_is_left_as_it_is() {
    let (_simulation, node) = simulation(14);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments()).await;
        let opened = opened.expect("opens");
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &batch(1, 10, 1));
        assert!(stop(&reactor, &opened).await);
        let snapshot = format!("{DIR}/{:020}.snapshot", 1);
        let opened = open(&reactor, roomy_store(), small_segments()).await;
        let opened = opened.expect("opens");
        reactor
            .fs()
            .remove_file(snapshot.as_ref())
            .await
            .expect("it is there");
        assert!(stop(&reactor, &opened).await);
        let made = reactor.fs().exists(snapshot.as_ref()).await;
        assert!(!made.expect("known"), "nothing was to be written");
    });
}

#[test]
fn a_log_says_which_partition_it_is() {
    let (_simulation, node) = simulation(15);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy_store(), small_segments()).await;
        let log = opened.expect("opens").log;
        assert_eq!(*log.name(), (TOPIC.to_owned(), PartitionIndex(0)));
    });
}
