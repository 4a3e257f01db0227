//! What goes from the front of a log: by age, by size, on request; and that it stays gone.

use std::rc::Rc;
use std::time::Duration;

use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex};
use millstream_reactor::sim::{CrashOptions, DiskFault, DiskOperation, KeepUnsynced, Node};
use millstream_reactor::{Reactor, TaskQueue};
use millstream_storage::{
    AppendError, AppendOrigin, CleanupPolicy, DeleteRecordsError, Log, LogConfig, ReadError,
    StoreConfig,
};

use crate::harness::*;
use crate::logging::Complaints;

/// Three batches of [`LEN`] fill a segment.
const LEN: usize = 300;
const PER_SEGMENT: i64 = 3;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1_150,
        retention_ms: -1,
        file_delete_delay: Duration::from_secs(60),
        ..LogConfig::default()
    }
}

/// A store that looks for nothing by itself.
fn quiet() -> StoreConfig {
    StoreConfig {
        initial_task_delay: Duration::from_secs(1 << 30),
        ..small_store()
    }
}

/// Appends batches of one record with these timestamps, all of them seen by consumers.
async fn fill(log: &Rc<Log>, model: &mut Model, timestamps: &[i64]) {
    for &timestamp in timestamps {
        append(log, model, 0, &batch(1, LEN, timestamp));
    }
    log.flush().await.expect("flushed");
    log.set_high_watermark(log.log_end_offset());
}

/// Appends eight batches of a producer, all of them seen by consumers.
async fn fill_by_producer(log: &Rc<Log>) -> Model {
    let mut model = Model::default();
    for _ in 0..8 {
        let batch = produced(1, LEN, (5, 0, model.end() as i32));
        append(log, &mut model, 0, &batch);
    }
    log.flush().await.expect("flushed");
    log.set_high_watermark(log.log_end_offset());
    model
}

async fn rest_of(reactor: &Reactor, log: &Log) -> Vec<u8> {
    follow(reactor, log, log.log_start_offset().0, 2_000).await
}

fn names(node: &Node, base: i64) -> Vec<String> {
    let suffixes = ["log", "index", "timeindex"];
    let mut found = Vec::new();
    for suffix in suffixes {
        for end in ["", ".deleted"] {
            let name = format!("{base:020}.{suffix}{end}");
            if node.read_current(format!("{DIR}/{name}")).is_some() {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn segments_go_when_their_newest_record_is_too_old() {
    let (_simulation, node) = simulation(1);
    run(&node, |reactor| async move {
        let with = LogConfig {
            retention_ms: 1_000,
            ..config()
        };
        let opened = open(&reactor, quiet(), with).await.expect("opens");
        let log = opened.log;
        let mut model = Model::default();
        // The second segment holds a record from the future between two old ones.
        let timestamps = [10, 20, 30, 40, 90_000, 50, 60, 70, 80, 95_000];
        fill(&log, &mut model, &timestamps).await;
        assert_eq!(log.segment_base_offsets(), [0, 3, 6, 9]);
        assert_eq!(
            log.apply_retention(1_030).await.expect("runs"),
            0,
            "not older"
        );
        assert_eq!(log.apply_retention(1_031).await.expect("runs"), 1);
        assert_eq!(log.log_start_offset(), Offset(3));
        assert_eq!(
            log.apply_retention(91_000).await.expect("runs"),
            0,
            "what is behind the one that stays, stays"
        );
        assert_eq!(log.apply_retention(91_001).await.expect("runs"), 2);
        assert_eq!(rest_of(&reactor, &log).await, model.bytes_from(9));
        assert!(matches!(
            log.read(Offset(8), 100, Offset(10), true).await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
    });
}

#[test]
fn an_idle_topic_drains_its_active_segment_too() {
    let (_simulation, node) = simulation(2);
    run(&node, |reactor| async move {
        let with = LogConfig {
            retention_ms: 1_000,
            ..config()
        };
        let opened = open(&reactor, quiet(), with.clone()).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[10, 20, 30, 40]).await;
        assert_eq!(opened.log.apply_retention(2_000).await.expect("runs"), 2);
        assert_eq!(opened.log.log_start_offset(), Offset(4));
        assert_eq!(opened.log.segment_base_offsets(), [4]);
        // An empty segment is not replaced by another.
        assert_eq!(opened.log.apply_retention(9_000).await.expect("runs"), 0);
        fill(&opened.log, &mut model, &[9_000]).await;
        assert_eq!(rest_of(&reactor, &opened.log).await, model.bytes_from(4));
        assert!(stop(&reactor, &opened).await);
        let again = open(&reactor, quiet(), with).await.expect("opens");
        assert_eq!(again.log.log_start_offset(), Offset(4));
        assert_eq!(rest_of(&reactor, &again.log).await, model.bytes_from(4));
    });
}

#[test]
fn whole_segments_go_while_the_others_hold_as_much_as_is_kept() {
    let (_simulation, node) = simulation(3);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = opened.log;
        let mut model = Model::default();
        fill(&log, &mut model, &[1; 9]).await;
        let segment = log.size() / 3;
        let keep = |bytes: u64| LogConfig {
            retention_bytes: bytes as i64,
            ..config()
        };
        log.set_config(keep(2 * segment + 1));
        assert_eq!(log.apply_retention(1).await.expect("runs"), 0);
        log.set_config(keep(2 * segment));
        assert_eq!(log.apply_retention(1).await.expect("runs"), 1);
        assert_eq!(log.size(), 2 * segment);
        log.set_config(keep(0));
        assert_eq!(opened.store.apply_retention().await, 2);
        assert_eq!((log.size(), log.log_start_offset()), (0, Offset(9)));
    });
}

#[test]
fn nothing_goes_above_the_high_watermark_or_against_the_policy() {
    let (_simulation, node) = simulation(4);
    run(&node, |reactor| async move {
        let with = |cleanup| LogConfig {
            retention_ms: 0,
            retention_bytes: 0,
            cleanup,
            ..config()
        };
        let opened = open(&reactor, quiet(), with(CleanupPolicy::DELETE))
            .await
            .expect("opens");
        let log = opened.log;
        let mut model = Model::default();
        fill(&log, &mut model, &[1; 9]).await;
        for (delete, compact) in [(false, false), (false, true)] {
            log.set_config(with(CleanupPolicy { delete, compact }));
            assert_eq!(log.apply_retention(1 << 40).await.expect("runs"), 0);
        }
        log.set_config(with(CleanupPolicy::DELETE));
        log.set_high_watermark(Offset(5));
        assert_eq!(log.apply_retention(1 << 40).await.expect("runs"), 1);
        assert_eq!(log.log_start_offset(), Offset(3));
        // What was deleted on request goes whatever the policy.
        log.set_high_watermark(Offset(9));
        log.delete_records(Offset(7)).await.expect("deleted");
        log.set_config(with(CleanupPolicy {
            delete: false,
            compact: true,
        }));
        assert_eq!(log.apply_retention(1).await.expect("runs"), 1);
        assert_eq!(log.segment_base_offsets(), [6]);
        assert_eq!(log.log_start_offset(), Offset(7));
    });
}

#[test]
fn files_are_renamed_and_go_after_the_delay_while_a_reader_goes_on() {
    let (simulation, node) = simulation(5);
    let (plan, model) = run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = opened.log;
        let mut model = Model::default();
        fill(&log, &mut model, &[1; 7]).await;
        // Out of memory, so that the reader has a file.
        reactor.sleep(Duration::from_secs(30)).await;
        let plan = log
            .read(Offset(0), 900, Offset(7), true)
            .await
            .expect("readable");
        log.delete_records(Offset(3)).await.expect("deleted");
        assert_eq!(log.apply_retention(1).await.expect("runs"), 1);
        (plan, model)
    });
    assert_eq!(
        names(&node, 0),
        [
            "00000000000000000000.log.deleted",
            "00000000000000000000.index.deleted",
            "00000000000000000000.timeindex.deleted"
        ]
    );
    simulation.run_for(Duration::from_secs(59));
    assert_eq!(names(&node, 0).len(), 3);
    let kept = run(&node, |reactor| async move {
        plan.load_contiguous(&reactor).await.expect("readable")
    });
    let expected: Vec<u8> = model.batches[..kept.len() / model.batches[0].bytes.len()]
        .iter()
        .flat_map(|batch| batch.bytes.clone())
        .collect();
    assert!(!kept.is_empty() && kept == expected);
    simulation.run_for(Duration::from_secs(2));
    assert_eq!(names(&node, 0), [""; 0]);
}

#[test]
fn what_a_crash_left_of_the_delay_goes_at_the_next_start() {
    let (_simulation, node) = simulation(6);
    let work = |reactor: Reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[1; 7]).await;
        opened.log.delete_records(Offset(4)).await.expect("deleted");
        opened.log.apply_retention(1).await.expect("runs");
    };
    run(&node, work);
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    assert!(!names(&node, 0).is_empty());
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        assert_eq!(opened.log.log_start_offset(), Offset(4));
        assert_eq!(opened.log.log_end_offset(), Offset(7));
    });
    assert_eq!(names(&node, 0), [""; 0]);
}

#[test]
fn deletion_on_request_is_durable_when_it_is_answered() {
    let (_simulation, node) = simulation(7);
    let model = run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = opened.log;
        let mut model = Model::default();
        fill(&log, &mut model, &[1; 7]).await;
        log.assign_leader_epoch(LeaderEpoch(1));
        append(&log, &mut model, 1, &batch(1, LEN, 5));
        log.flush().await.expect("flushed");
        let deleted = log.delete_records(Offset(8)).await;
        assert!(matches!(
            deleted,
            Err(DeleteRecordsError::AboveHighWatermark { .. })
        ));
        assert_eq!(
            log.delete_records(Offset(5)).await.expect("deleted"),
            Offset(5)
        );
        // A lower one changes nothing.
        assert_eq!(
            log.delete_records(Offset(2)).await.expect("deleted"),
            Offset(5)
        );
        let epochs: Vec<_> = log
            .leader_epochs()
            .iter()
            .map(|e| e.start_offset.0)
            .collect();
        assert_eq!(epochs, [5, 7]);
        model
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        assert_eq!(opened.log.log_start_offset(), Offset(5));
        assert_eq!(rest_of(&reactor, &opened.log).await, model.bytes_from(5));
        assert!(matches!(
            opened.log.read(Offset(4), 100, Offset(8), true).await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
    });
}

#[test]
fn a_deletion_that_cannot_be_written_down_is_not_answered_and_may_be_repeated() {
    let (_simulation, node) = simulation(8);
    let handle = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[1; 7]).await;
        // Checkpoints of its own come to their end.
        reactor.sleep(Duration::from_secs(1)).await;
        handle.inject(DiskFault::new(
            DiskOperation::Write,
            "millstream-checkpoint",
            5,
        ));
        let failed = opened.log.delete_records(Offset(5)).await;
        assert!(matches!(failed, Err(DeleteRecordsError::Storage(_))));
        let repeated = opened.log.delete_records(Offset(5)).await;
        assert_eq!(repeated.expect("deleted"), Offset(5));
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        assert_eq!(opened.log.log_start_offset(), Offset(5));
    });
}

#[test]
fn a_topic_made_again_does_not_begin_where_the_old_one_did() {
    let (_simulation, node) = simulation(9);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[1; 7]).await;
        opened.log.delete_records(Offset(5)).await.expect("deleted");
        assert!(stop(&reactor, &opened).await);
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        opened.log.delete().await.expect("deleted");
        let id = decode_id("AAAAAAAAAAAAAAAAAAAAAg");
        let made = Log::open(&opened.store, TOPIC, PartitionIndex(0), id, config()).await;
        let (log, recovery) = made.expect("opens");
        assert!(recovery.created);
        assert_eq!(log.log_start_offset(), Offset(0));
    });
}

#[test]
fn the_clock_of_the_store_removes_segments_and_forgets_producers() {
    let (_simulation, node) = simulation(10);
    run(&node, |reactor| async move {
        let with = LogConfig {
            retention_ms: 50_000,
            producer_id_expiration_ms: 50_000,
            ..config()
        };
        let opened = open(&reactor, small_store(), with).await.expect("opens");
        let log = opened.log;
        let now_ms = reactor.wall_clock_ms();
        let mut model = Model::default();
        fill(&log, &mut model, &[now_ms; 4]).await;
        let bytes = produced(1, 10, (5, 0, 0));
        log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, now_ms)
            .expect("appended");
        log.flush().await.expect("flushed");
        log.set_high_watermark(log.log_end_offset());
        reactor.sleep(Duration::from_secs(40)).await;
        assert_eq!(log.log_start_offset(), Offset(0));
        reactor.sleep(Duration::from_secs(300)).await;
        assert_eq!(log.log_start_offset(), Offset(5));
        reactor.sleep(Duration::from_secs(300)).await;
        assert!(log.with_producer_states(|states| states.is_empty()));
    });
}

#[test]
fn producers_and_epochs_outlive_the_segments_that_they_wrote() {
    let (_simulation, node) = simulation(11);
    run(&node, |reactor| async move {
        let with = LogConfig {
            producer_id_expiration_ms: i64::MAX,
            ..config()
        };
        let opened = open(&reactor, quiet(), with.clone()).await.expect("opens");
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &produced(1, LEN, (5, 0, 0)));
        fill(&opened.log, &mut model, &[1; 8]).await;
        opened.log.delete_records(Offset(8)).await.expect("deleted");
        assert_eq!(opened.log.apply_retention(1).await.expect("runs"), 2);
        let known = |log: &Log| {
            log.with_producer_states(|states| states.get(5).map(|state| state.last_sequence()))
        };
        assert_eq!(known(&opened.log), Some(0));
        opened.store.checkpoint().await.expect("checkpoint");
        drop(opened);
        let again = open(&reactor, quiet(), with).await.expect("opens");
        assert_eq!(known(&again.log), Some(0));
        assert_eq!(again.log.log_start_offset(), Offset(8));
        let epochs = again.log.leader_epochs();
        assert_eq!(epochs[0].start_offset, Offset(8));
    });
}

#[test]
fn segments_above_those_deleted_count_from_the_segment_they_fill() {
    let (_simulation, node) = simulation(12);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[1; 7]).await;
        for offset in 0..=7 {
            opened
                .log
                .delete_records(Offset(offset))
                .await
                .expect("deleted");
            opened.log.apply_retention(1).await.expect("runs");
            let first = opened.log.segment_base_offsets()[0];
            assert_eq!(first, offset / PER_SEGMENT * PER_SEGMENT);
            assert_eq!(
                rest_of(&reactor, &opened.log).await,
                model.bytes_from(offset)
            );
        }
    });
}

/// Keeps nothing that consumers may have seen.
fn keep_nothing() -> LogConfig {
    LogConfig {
        retention_bytes: 0,
        ..config()
    }
}

#[test]
fn a_retention_of_no_time_is_not_one_without_end() {
    let (_simulation, node) = simulation(13);
    run(&node, |reactor| async move {
        let with = LogConfig {
            retention_ms: 0,
            ..config()
        };
        let opened = open(&reactor, quiet(), with).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[10; 4]).await;
        assert_eq!(opened.log.apply_retention(10).await.expect("runs"), 0);
        assert_eq!(opened.log.apply_retention(11).await.expect("runs"), 2);
    });
}

#[test]
fn a_deletion_that_is_written_down_is_not_written_again() {
    let (_simulation, node) = simulation(14);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[1; 7]).await;
        opened.log.delete_records(Offset(5)).await.expect("deleted");
        // What follows from it comes to its end.
        reactor.sleep(Duration::from_secs(1)).await;
        let operations = disk.disk_operations();
        for offset in [5, 2] {
            let start = opened.log.delete_records(Offset(offset)).await;
            assert_eq!(start.expect("deleted"), Offset(5));
        }
        assert_eq!(disk.disk_operations(), operations);
    });
}

#[test]
fn epochs_are_written_down_as_they_are_after_a_deletion() {
    let (_simulation, node) = simulation(15);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let in_file = async || {
            reactor.sleep(Duration::from_secs(1)).await;
            let text = disk.read_durable(format!("{DIR}/leader-epoch-checkpoint"));
            String::from_utf8(text.expect("it is there")).expect("text")
        };
        let mut model = Model::default();
        fill(log, &mut model, &[1; 7]).await;
        log.delete_records(Offset(3)).await.expect("deleted");
        assert_eq!(in_file().await, "0\n1\n0 3\n");
        // An epoch that is to be written with its first record.
        log.assign_leader_epoch(LeaderEpoch(1));
        log.delete_records(Offset(5)).await.expect("deleted");
        append(log, &mut model, 1, &batch(1, LEN, 1));
        log.flush().await.expect("flushed");
        assert_eq!(in_file().await, "0\n2\n0 5\n1 7\n");
    });
}

#[test]
fn records_that_come_while_old_segments_are_looked_for_stay() {
    let (_simulation, node) = simulation(16);
    run(&node, |reactor| async move {
        let with = LogConfig {
            retention_ms: 1_000,
            ..config()
        };
        let opened = open(&reactor, quiet(), with.clone()).await.expect("opens");
        let mut model = Model::default();
        fill(&opened.log, &mut model, &[1; 8]).await;
        assert!(stop(&reactor, &opened).await);
        // The times of the records are to be read from the files.
        let opened = open(&reactor, quiet(), with).await.expect("opens");
        let log = opened.log.clone();
        log.set_high_watermark(log.log_end_offset());
        let looking = {
            let log = log.clone();
            async move { log.apply_retention(5_000).await.expect("runs") }
        };
        let looking = reactor.spawn(TaskQueue::Background, looking);
        reactor.yield_now().await;
        append(&log, &mut model, 0, &batch(1, LEN, 1));
        assert_eq!(looking.await, Some(2), "the closed ones");
        assert_eq!(log.segment_base_offsets(), [6]);
        assert_eq!(rest_of(&reactor, &log).await, model.bytes_from(6));
        log.flush().await.expect("flushed");
        log.set_high_watermark(log.log_end_offset());
        assert_eq!(log.apply_retention(5_000).await.expect("runs"), 1);
        assert_eq!(log.segment_base_offsets(), [9]);
    });
}

#[test]
fn an_offline_log_keeps_its_front() {
    let (_simulation, node) = simulation(17);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), keep_nothing())
            .await
            .expect("opens");
        let log = &opened.log;
        let mut model = Model::default();
        fill(log, &mut model, &[1; 7]).await;
        opened.store.checkpoint().await.expect("made");
        disk.inject(DiskFault::new(DiskOperation::Write, ".log", EIO).always());
        append(log, &mut model, 0, &batch(1, LEN, 1));
        log.flush().await.expect_err("it cannot be written");
        assert!(log.offline().is_some());
        let operations = disk.disk_operations();
        assert_eq!(log.apply_retention(1).await.expect("runs"), 0);
        assert_eq!(disk.disk_operations(), operations);
        assert_eq!(log.log_start_offset(), Offset(0));
        assert_eq!(log.segment_base_offsets(), [0, 3, 6]);
    });
}

#[test]
fn the_last_segment_stays_if_it_cannot_be_closed() {
    for (error, removed) in [(EIO, 0), (ENOSPC, 2)] {
        let (_simulation, node) = simulation(18);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let opened = open(&reactor, quiet(), keep_nothing())
                .await
                .expect("opens");
            let log = &opened.log;
            let mut model = Model::default();
            fill(log, &mut model, &[1; 8]).await;
            // The other segments are closed.
            reactor.sleep(Duration::from_secs(1)).await;
            opened.store.checkpoint().await.expect("made");
            let last = format!("{DIR}/{:020}.", 6);
            disk.inject(DiskFault::new(DiskOperation::Write, last, error).always());
            assert_eq!(log.apply_retention(1).await.expect("runs"), removed);
            assert_eq!(log.offline().is_some(), error == EIO);
            if error == ENOSPC {
                assert_eq!(log.log_start_offset(), Offset(6));
                assert_eq!(rest_of(&reactor, log).await, model.bytes_from(6));
                disk.clear_faults();
                // Closing goes on by itself.
                reactor.sleep(Duration::from_secs(60)).await;
                assert!(log.disk_full().is_none());
                assert_eq!(log.apply_retention(1).await.expect("runs"), 1);
                assert_eq!(log.segment_base_offsets(), [8]);
            }
        });
    }
}

#[test]
fn a_full_disk_is_no_reason_to_roll_or_to_keep_old_segments() {
    let (_simulation, node) = simulation(19);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), keep_nothing())
            .await
            .expect("opens");
        let log = &opened.log;
        let mut model = Model::default();
        fill(log, &mut model, &[1; 7]).await;
        reactor.sleep(Duration::from_secs(1)).await;
        disk.inject(DiskFault::new(DiskOperation::Write, ".log", ENOSPC).always());
        append(log, &mut model, 0, &batch(1, LEN, 1));
        log.flush().await.expect_err("it cannot be written");
        let refused = log.append(&batch(1, LEN, 1), LeaderEpoch(0), AppendOrigin::Client, 1);
        assert!(matches!(refused, Err(AppendError::DiskFull(_))));
        log.set_high_watermark(log.log_end_offset());
        assert_eq!(log.apply_retention(1).await.expect("runs"), 2);
        assert_eq!(log.segment_base_offsets(), [6], "no other was begun");
    });
}

#[test]
fn segments_go_without_a_checkpoint_only_on_a_full_disk() {
    for (error, removed) in [(ENOSPC, Some(2)), (EIO, None)] {
        let complaints = Complaints::default();
        complaints.listen(|| {
            let (_simulation, node) = simulation(20);
            let disk = node.clone();
            run(&node, move |reactor| async move {
                let opened = open(&reactor, quiet(), config()).await.expect("opens");
                let log = &opened.log;
                let mut model = Model::default();
                fill(log, &mut model, &[1; 7]).await;
                reactor.sleep(Duration::from_secs(1)).await;
                log.set_config(LogConfig {
                    retention_bytes: log.size() as i64 / 7,
                    ..config()
                });
                let file = "millstream-checkpoint";
                disk.inject(DiskFault::new(DiskOperation::Write, file, error).always());
                assert_eq!(log.apply_retention(1).await.ok(), removed);
                let first = if removed.is_some() { 6 } else { 0 };
                assert_eq!(log.segment_base_offsets()[0], first);
            });
        });
        let told = complaints.take();
        assert_eq!(told.is_empty(), removed.is_none(), "{told:?}");
        let what = "segments are removed without a checkpoint";
        assert!(told.iter().all(|line| line.contains(what)), "{told:?}");
    }
}

#[test]
fn after_segments_went_a_crash_costs_no_reading_of_what_is_left() {
    let (_simulation, node) = simulation(21);
    let store = || StoreConfig {
        checkpoint_interval: Duration::from_secs(1 << 30),
        ..quiet()
    };
    let model = run(&node, move |reactor| async move {
        let opened = open(&reactor, store(), config()).await.expect("opens");
        let log = &opened.log;
        let model = fill_by_producer(log).await;
        log.delete_records(Offset(3)).await.expect("deleted");
        assert_eq!(log.apply_retention(1).await.expect("runs"), 1);
        model
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, move |reactor| async move {
        let opened = open(&reactor, store(), config()).await.expect("opens");
        let log = &opened.log;
        assert_eq!(opened.recovery.scanned_bytes, 0);
        assert_eq!(log.log_start_offset(), Offset(3));
        assert_eq!(rest_of(&reactor, log).await, model.bytes_from(3));
        assert_eq!(snapshots(&reactor).await, [3, 6, 8]);
    });
}

#[test]
fn snapshots_go_with_the_segments_before_them() {
    let (_simulation, node) = simulation(22);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        fill_by_producer(log).await;
        for (before, stay) in [(3, &[3, 6, 8][..]), (6, &[6, 8])] {
            log.delete_records(Offset(before)).await.expect("deleted");
            assert_eq!(log.apply_retention(1).await.expect("runs"), 1);
            assert_eq!(snapshots(&reactor).await, stay, "from {before} on");
        }
    });
}

#[test]
fn an_old_file_that_cannot_be_removed_is_told_unless_it_is_gone() {
    #[derive(Clone, Copy, PartialEq)]
    enum Event {
        Nothing,
        Fault,
        Delete,
    }
    for event in [Event::Nothing, Event::Fault, Event::Delete] {
        let complaints = Complaints::default();
        complaints.listen(|| {
            let (_simulation, node) = simulation(22);
            let disk = node.clone();
            run(&node, move |reactor| async move {
                let opened = open(&reactor, quiet(), config()).await.expect("opens");
                let mut model = Model::default();
                fill(&opened.log, &mut model, &[1; 7]).await;
                opened.log.delete_records(Offset(3)).await.expect("deleted");
                assert_eq!(opened.log.apply_retention(1).await.expect("runs"), 1);
                match event {
                    Event::Nothing => (),
                    Event::Fault => {
                        let old = ".index.deleted";
                        disk.inject(DiskFault::new(DiskOperation::Directory, old, EIO));
                    }
                    Event::Delete => opened.log.delete().await.expect("deleted"),
                }
                reactor.sleep(Duration::from_secs(61)).await;
            });
            let left = if event == Event::Fault { 1 } else { 0 };
            assert_eq!(names(&node, 0).len(), left);
        });
        let told = complaints.take();
        assert_eq!(told.len(), usize::from(event == Event::Fault), "{told:?}");
        assert!(told.iter().all(|line| line.contains("cannot remove it")));
    }
}

#[test]
fn a_reader_whose_segment_goes_is_told_that_its_offset_is_gone() {
    for seed in 0..40 {
        let (_simulation, node) = simulation(seed);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let log = opened.log.clone();
            let mut model = Model::default();
            fill(&log, &mut model, &[1; 10]).await;
            // Out of memory, so that readers need the files.
            reactor.sleep(Duration::from_secs(30)).await;
            let readers: Vec<_> = (0..6)
                .map(|reader| {
                    let (log, model) = (log.clone(), model.clone());
                    let inner = reactor.clone();
                    let reading = async move {
                        for _ in 0..=reader {
                            inner.yield_now().await;
                        }
                        for _ in 0..20 {
                            match log.read(Offset(reader), 900, Offset(10), true).await {
                                Ok(plan) => {
                                    let bytes = plan.load_contiguous(&inner).await;
                                    let bytes = bytes.expect("readable");
                                    let expected = model.bytes_from(reader);
                                    assert!(!bytes.is_empty() && expected.starts_with(&bytes));
                                }
                                Err(ReadError::OffsetOutOfRange { .. }) => return,
                                Err(error) => panic!("{error}"),
                            }
                        }
                    };
                    reactor.spawn(TaskQueue::Requests, reading)
                })
                .collect();
            log.delete_records(Offset(6)).await.expect("deleted");
            assert_eq!(log.apply_retention(1).await.expect("runs"), 2);
            for reader in readers {
                reader.await.expect("it ends");
            }
        });
    }
}
