//! What checkpoints, rest, a clean close and an open leave in a log's folder.

use std::time::Duration;

use millstream_protocol::Offset;
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, DiskFault, DiskOperation, KeepUnsynced};
use millstream_storage::{LogConfig, ReadError, StorageError};

use crate::harness::*;

const FIRST_INDEX: &str = "/data/t-0/00000000000000000000.index";
const FIRST_TIME_INDEX: &str = "/data/t-0/00000000000000000000.timeindex";

fn config() -> LogConfig {
    LogConfig {
        index_interval_bytes: 300,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

async fn opened(reactor: &Reactor, config: LogConfig) -> Opened {
    open(reactor, small_store(), config).await.expect("opens")
}

#[test]
fn a_checkpoint_keeps_the_snapshot_that_still_holds() {
    let (_simulation, node) = simulation(1);
    run(&node, |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &produced(1, 10, (5, 0, 0)));
        opened.store.checkpoint().await.expect("made");
        assert_eq!(snapshots(&reactor).await, [1]);
        // Of no producer.
        append(&opened.log, &mut model, 0, &batch(1, 10, 1));
        opened.store.checkpoint().await.expect("made");
        assert_eq!(snapshots(&reactor).await, [1]);
        append(&opened.log, &mut model, 0, &produced(1, 10, (5, 0, 1)));
        opened.store.checkpoint().await.expect("made");
        assert_eq!(snapshots(&reactor).await, [3]);
    });
}

#[test]
fn a_clean_close_replaces_the_snapshot_of_the_last_checkpoint() {
    let (_simulation, node) = simulation(2);
    run(&node, |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &produced(1, 10, (5, 0, 0)));
        opened.store.checkpoint().await.expect("made");
        append(&opened.log, &mut model, 0, &produced(1, 10, (5, 0, 1)));
        assert!(stop(&reactor, &opened).await);
        assert_eq!(snapshots(&reactor).await, [2]);
    });
}

#[test]
fn a_log_that_holds_nothing_is_closed_without_a_snapshot() {
    let (_simulation, node) = simulation(3);
    run(&node, |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &produced(1, 10, (5, 0, 0)));
        opened.log.truncate_to(Offset(0)).await.expect("truncated");
        assert!(stop(&reactor, &opened).await);
        assert_eq!(snapshots(&reactor).await, [0; 0]);
    });
}

#[test]
fn producers_forgotten_before_a_checkpoint_do_not_come_back_after_a_crash() {
    let config = || LogConfig {
        producer_id_expiration_ms: 1 << 60,
        ..config()
    };
    let (_simulation, node) = simulation(4);
    run(&node, move |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &produced(1, 10, (5, 0, 0)));
        opened.log.expire_producers(i64::MAX);
        append(&opened.log, &mut model, 0, &batch(1, 10, 1));
        opened.store.checkpoint().await.expect("made");
        assert_eq!(snapshots(&reactor).await, [0; 0]);
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, move |reactor| async move {
        let log = opened(&reactor, config()).await.log;
        assert_eq!(log.log_end_offset(), Offset(2));
        assert!(log.with_producer_states(|states| states.is_empty()));
    });
}

#[test]
fn a_checkpoint_leaves_indexes_alone_that_have_nothing_to_add() {
    let (_simulation, node) = simulation(5);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &batch(1, 10, 1));
        disk.inject(DiskFault::new(DiskOperation::Sync, FIRST_INDEX, 5).always());
        opened.store.checkpoint().await.expect("made");
        assert!(opened.log.offline().is_none());
        for _ in 0..5 {
            append(&opened.log, &mut model, 0, &batch(1, 100, 1));
        }
        opened.store.checkpoint().await.expect("made");
        assert!(opened.log.offline().is_some(), "there were entries");
    });
}

#[test]
fn an_open_cuts_indexes_behind_their_entries() {
    let (_simulation, node) = simulation(6);
    run(&node, |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        for timestamp in 0..20 {
            append(&opened.log, &mut model, 0, &batch(1, 100, timestamp));
        }
        assert!(stop(&reactor, &opened).await);
    });
    // As a file is that has space for entries made ahead.
    let indexes = [FIRST_INDEX, FIRST_TIME_INDEX];
    let entries = indexes.map(|path| node.read_current(path).expect("there"));
    for (path, entries) in indexes.iter().zip(&entries) {
        assert!(!entries.is_empty());
        node.plant_file(path, &[&entries[..], &[0; 240]].concat());
    }
    run(&node, |reactor| async move {
        opened(&reactor, config()).await;
    });
    let found = indexes.map(|path| node.read_durable(path).expect("there"));
    assert_eq!(found, entries);
}

#[test]
fn a_log_that_is_offline_does_not_tidy_up() {
    let (_simulation, node) = simulation(7);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        for _ in 0..10 {
            append(&opened.log, &mut model, 0, &batch(1, 100, 1));
        }
        opened.log.flush().await.expect("flushed");
        let len = || disk.read_current(FIRST_LOG).expect("there").len();
        let before = len();
        assert!(before > model.bytes().len(), "there is space made ahead");
        disk.inject(DiskFault::new(DiskOperation::Sync, FIRST_INDEX, 5));
        opened.store.checkpoint().await.expect("made");
        assert!(opened.log.offline().is_some());
        reactor.sleep(Duration::from_secs(60)).await;
        assert_eq!(len(), before);
    });
}

#[test]
fn a_read_under_way_gives_nothing_of_a_log_that_is_closed_or_deleted() {
    for deletes in [false, true] {
        let (_simulation, node) = simulation(8);
        run(&node, move |reactor| async move {
            let first = opened(&reactor, config()).await;
            let mut model = Model::default();
            append(&first.log, &mut model, 0, &batch(1, 100, 1));
            assert!(stop(&reactor, &first).await);
            // Nothing is in memory, and a close has nothing to write.
            let log = opened(&reactor, config()).await.log;
            let end = async {
                match deletes {
                    true => log.delete().await,
                    false => log.close().await,
                }
            };
            let reading = log.read(Offset(0), 1_000, Offset(1), true);
            let (read, ended) = futures::join!(reading, end);
            ended.expect("it ends");
            let read = read.map(|plan| plan.len);
            assert!(
                matches!(read, Err(ReadError::Storage(StorageError::Closed { .. }))),
                "{read:?}"
            );
        });
    }
}

#[test]
fn a_log_whose_cut_failed_keeps_the_recovery_point_below_the_cut() {
    let (_simulation, node) = simulation(9);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = opened(&reactor, config()).await;
        let mut model = Model::default();
        for _ in 0..10 {
            append(&opened.log, &mut model, 0, &batch(1, 100, 1));
        }
        opened.log.flush().await.expect("flushed");
        disk.inject(DiskFault::new(DiskOperation::Sync, FIRST_LOG, 5));
        let cut = opened.log.truncate_to(Offset(4)).await;
        assert!(cut.is_err() && opened.log.offline().is_some());
        opened.store.checkpoint().await.expect("made");
    });
    node.crash(CrashOptions::keep(KeepUnsynced::All));
    run(&node, |reactor| async move {
        let log = opened(&reactor, config()).await.log;
        assert_eq!(log.log_end_offset(), Offset(4));
    });
}
