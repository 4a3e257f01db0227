//! A disk that refuses: failing at a write, a flush, a read, a change of a folder, or full. The
//! log goes offline (or, on a full disk, waits for room) with an error that names file and cause, answers no append as kept that is
//! not, and gives everything that was acknowledged when it is opened again.

use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, DiskFault, DiskOperation, KeepUnsynced, Node};
use millstream_storage::{
    AppendError, AppendOrigin, Durability, LogConfig, ReadError, StorageError,
};

use crate::harness::*;

fn config(durability: Durability) -> LogConfig {
    LogConfig {
        segment_bytes: 8_000,
        index_interval_bytes: 300,
        producer_id_expiration_ms: i64::MAX,
        durability,
        ..LogConfig::default()
    }
}

/// What a run with a fault came to.
struct Ended {
    model: Model,
    /// Below was acknowledged, and flushed.
    flushed: i64,
    offline: Option<StorageError>,
}

/// Appends, rolls, truncates, checkpoints and stops, as far as the disk lets it.
async fn work(reactor: Reactor, durability: Durability) -> Result<Ended, StorageError> {
    let opened = open(&reactor, small_store(), config(durability)).await?;
    let log = &opened.log;
    let mut model = Model::default();
    let mut truncating_to = i64::MAX;
    for index in 0..40 {
        let bytes = produced(2, 100 + index % 400, (3, 0, model.end() as i32));
        let progress = log.progress().notified();
        match log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1_000) {
            Ok(appended) => {
                let base = appended.base_offset;
                assert_eq!(base.0, model.end());
                model.add(base, stamped(&bytes, base.0, 0));
            }
            Err(AppendError::Offline(_) | AppendError::DiskFull(_)) => break,
            Err(error) => panic!("{error}"),
        }
        let refuses = log.offline().or(log.disk_full()).is_some();
        if index % 3 == 0 && log.durable_offset() < log.log_end_offset() && !refuses {
            // Somebody who waits is told, one way or the other.
            progress.await;
        }
        if index % 11 == 10 {
            let _ = opened.store.checkpoint().await;
        }
        if index == 25 {
            truncating_to = model.end() - 6;
            if log.truncate_to(Offset(truncating_to)).await.is_ok() {
                model.truncate(truncating_to);
                truncating_to = i64::MAX;
            }
        }
    }
    let all = log.flush().await;
    let flushed = log.flushed_offset().0;
    assert!(all.is_ok() || log.offline().or(log.disk_full()).is_some());
    if let Some(error) = log.offline() {
        check_offline(&reactor, &opened, &model, truncating_to, &error).await;
    } else if log.disk_full().is_none() {
        assert_eq!(flushed, model.end());
    }
    let offline = log.offline();
    let was_online = offline.is_none() && log.disk_full().is_none();
    let closed = opened.store.close().await;
    assert!(was_online || !closed.clean, "not clean: {offline:?}");
    Ok(Ended {
        model,
        flushed: flushed.min(truncating_to),
        offline,
    })
}

/// A log that is offline takes nothing, and gives what is durable.
async fn check_offline(
    reactor: &Reactor,
    opened: &Opened,
    model: &Model,
    truncating_to: i64,
    error: &StorageError,
) {
    let log = &opened.log;
    let StorageError::Io { path, cause, .. } = error else {
        panic!("{error}");
    };
    assert!(path.starts_with(ROOT), "{error}");
    assert!(cause.raw_os_error().is_some(), "{error}");
    let refused = log.append(&batch(1, 5, 1), LeaderEpoch(0), AppendOrigin::Client, 1_000);
    assert!(matches!(refused, Err(AppendError::Offline(_))));
    if truncating_to < i64::MAX {
        return;
    }
    let durable = log.durable_offset().0.min(log.flushed_offset().0);
    let expected: Vec<u8> = model
        .batches
        .iter()
        .filter(|batch| batch.next_offset <= durable)
        .flat_map(|batch| batch.bytes.clone())
        .collect();
    let plan = log
        .read(Offset(0), usize::MAX >> 1, Offset(durable), true)
        .await;
    let plan = plan.expect("readable").load_contiguous(reactor).await;
    assert_eq!(plan.expect("readable"), expected);
}

/// Opens the log on a disk that is well again.
fn reopen(node: &Node, ended: &Ended, durability: Durability) {
    node.clear_faults();
    node.set_disk_capacity(None);
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    let (mut model, flushed) = (ended.model.clone(), ended.flushed);
    run(node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config(durability)).await;
        let opened = opened.expect("opens");
        let end = opened.log.log_end_offset().0;
        // A batch that holds the target of a truncation goes with it.
        assert!(
            end >= flushed - 1,
            "ends at {end}, {flushed} was acknowledged"
        );
        model.truncate(end);
        assert_eq!(model.end(), end, "the log ends between two batches");
        append(&opened.log, &mut model, 5, &batch(2, 30, 9));
        opened.log.flush().await.expect("the disk is well");
        assert_eq!(follow(&reactor, &opened.log, 0, 1_000).await, model.bytes());
        assert!(stop(&reactor, &opened).await);
    });
}

fn every_fault(operation: DiskOperation, errors: &[i32]) {
    let mut went_offline = 0;
    for durability in [Durability::Fsync, Durability::Written] {
        for (skip, &error) in (0..60).flat_map(|skip| errors.iter().map(move |error| (skip, error)))
        {
            let (_simulation, node) = simulation(skip);
            node.inject(DiskFault::new(operation, DIR, error).after(skip).always());
            match run(&node, move |reactor| work(reactor, durability)) {
                Ok(ended) => {
                    went_offline += u32::from(ended.offline.is_some());
                    reopen(&node, &ended, durability);
                }
                Err(error) => {
                    assert!(matches!(error, StorageError::Io { .. }), "{error}");
                    let ended = Ended {
                        model: Model::default(),
                        flushed: 0,
                        offline: None,
                    };
                    reopen(&node, &ended, durability);
                }
            }
        }
    }
    assert!(went_offline > 10, "only {went_offline} logs went offline");
}

#[test]
fn writes_fail() {
    every_fault(DiskOperation::Write, &[EIO, ENOSPC]);
}

#[test]
fn flushes_fail() {
    every_fault(DiskOperation::Sync, &[EIO, ENOSPC]);
}

#[test]
fn changes_of_folders_fail() {
    every_fault(DiskOperation::Directory, &[EIO, ENOSPC]);
    every_fault(DiskOperation::SyncDirectory, &[EIO]);
}

#[test]
fn one_failed_flush_is_never_made_good() {
    let (_simulation, node) = simulation(1);
    node.inject(DiskFault::new(DiskOperation::Sync, FIRST_LOG, EIO));
    run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config(Durability::Fsync)).await;
        let opened = opened.expect("opens");
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &batch(2, 50, 1));
        // The fault is spent: another flush would succeed, and prove nothing.
        let error = opened.log.flush().await.expect_err("it failed");
        assert_eq!(opened.log.flushed_offset(), Offset(0));
        assert!(opened.log.flush().await.is_err());
        let message = error.to_string();
        assert!(
            message.contains(FIRST_LOG) && message.contains("flush"),
            "{message}"
        );
    });
}

#[test]
fn a_read_that_fails_fails_alone() {
    let (_simulation, node) = simulation(2);
    let reader = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config(Durability::Fsync)).await;
        let opened = opened.expect("opens");
        let log = &opened.log;
        let mut model = Model::default();
        for _ in 0..30 {
            append(log, &mut model, 0, &batch(2, 300, 1));
            log.flush().await.expect("flushed");
        }
        reactor.sleep(std::time::Duration::from_secs(60)).await;
        reader.inject(DiskFault::new(DiskOperation::Read, DIR, EIO).always());
        let failed = log.read(Offset(0), 1_000, Offset(i64::MAX), true).await;
        let error = match failed {
            Ok(plan) => plan.load(&reactor).await.expect_err("the disk fails"),
            Err(ReadError::Storage(error)) => error,
            Err(error) => panic!("{error}"),
        };
        let StorageError::Io { path, cause, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            path.starts_with(DIR) && cause.raw_os_error() == Some(EIO),
            "{error}"
        );
        reader.clear_faults();
        assert!(log.offline().is_none());
        assert_eq!(follow(&reactor, log, 0, 1_000).await, model.bytes());
    });
}

#[test]
fn what_a_full_disk_kept_is_there_when_the_log_is_opened_again() {
    for capacity in (20_000..160_000).step_by(7_000) {
        let (_simulation, node) = simulation(capacity);
        node.set_disk_capacity(Some(capacity));
        let ended = run(&node, |reactor| async move {
            let config = LogConfig {
                segment_bytes: 1 << 20,
                ..config(Durability::Fsync)
            };
            let opened = open(&reactor, small_store(), config).await;
            let opened = opened.expect("opens");
            let mut model = Model::default();
            loop {
                let progress = opened.log.progress().notified();
                let room = opened.store.room().notified();
                let bytes = batch(2, 200, 1);
                let appended =
                    opened
                        .log
                        .append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1_000);
                match appended {
                    Ok(appended) => {
                        let base = appended.base_offset;
                        model.add(base, stamped(&bytes, base.0, 0));
                    }
                    Err(AppendError::DiskFull(error)) => {
                        let message = error.to_string();
                        assert!(message.contains("No space left"), "{message}");
                        break;
                    }
                    Err(AppendError::NoRoom) => {
                        room.await;
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                }
                progress.await;
            }
            // Little is wasted: what is made ahead is given up before the log is.
            let used: usize = model.bytes().len();
            assert!(used as u64 + 25_000 > capacity, "{used} of {capacity}");
            Ended {
                flushed: opened.log.flushed_offset().0,
                offline: opened.log.offline(),
                model,
            }
        });
        assert!(ended.offline.is_none());
        reopen(&node, &ended, Durability::Fsync);
    }
}

#[test]
fn a_log_goes_on_by_itself_when_a_full_disk_has_room_again() {
    for capacity in (30_000..90_000).step_by(6_000) {
        let (_simulation, node) = simulation(capacity);
        node.set_disk_capacity(Some(capacity));
        let disk = node.clone();
        let ended = run(&node, |reactor| async move {
            let config = config(Durability::Fsync);
            let opened = open(&reactor, small_store(), config).await;
            let opened = opened.expect("opens");
            let log = &opened.log;
            let mut model = Model::default();
            let mut sequence = 0;
            let refused = loop {
                let progress = log.progress().notified();
                let bytes = produced(2, 200, (3, 0, sequence));
                match log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1_000) {
                    Ok(appended) => {
                        let base = appended.base_offset;
                        model.add(base, stamped(&bytes, base.0, 0));
                        sequence += 2;
                    }
                    Err(AppendError::DiskFull(_)) => break bytes,
                    Err(AppendError::NoRoom) => (),
                    Err(error) => panic!("{error}"),
                }
                progress.await;
            };
            let kept = log.flushed_offset();
            assert!(kept < log.log_end_offset(), "the last one is not kept");
            assert!(log.flush().await.is_err(), "there is still no room");
            // Reads go on, also while checkpoints find no room.
            opened.store.checkpoint().await.ok();
            let plan = log.read(Offset(0), usize::MAX >> 1, kept, true).await;
            let bytes = plan.expect("readable").load_contiguous(&reactor).await;
            let expected: Vec<u8> = model
                .batches
                .iter()
                .filter(|batch| batch.next_offset <= kept.0)
                .flat_map(|batch| batch.bytes.clone())
                .collect();
            assert_eq!(bytes.expect("readable"), expected);
            disk.set_disk_capacity(None);
            log.flush().await.expect("there is room");
            while log.disk_full().is_some() {
                log.progress().notified().await;
            }
            assert!(log.offline().is_none());
            append(log, &mut model, 0, &refused);
            log.flush().await.expect("flushed");
            assert_eq!(follow(&reactor, log, 0, 1_000).await, model.bytes());
            Ended {
                flushed: model.end(),
                offline: None,
                model,
            }
        });
        reopen(&node, &ended, Durability::Fsync);
    }
}

/// How many bytes lie on the node's disk.
fn used(node: &Node) -> u64 {
    run(node, |reactor| async move {
        let space = reactor.fs().space(ROOT.as_ref()).await.expect("there");
        space.total_bytes - space.usable_bytes
    })
}

#[test]
fn a_log_is_opened_and_read_on_a_full_disk_and_takes_appends_when_there_is_room() {
    for (seed, keep) in [KeepUnsynced::None, KeepUnsynced::All, KeepUnsynced::Random]
        .into_iter()
        .cycle()
        .take(30)
        .enumerate()
    {
        let (_simulation, node) = simulation(seed as u64);
        let config = LogConfig {
            segment_bytes: 1 << 20,
            ..config(Durability::Fsync)
        };
        let with = config.clone();
        let mut model = run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), with).await.expect("opens");
            let mut model = Model::default();
            for round in 0..=seed {
                append(&opened.log, &mut model, round as i32, &batch(2, 400, 1));
                opened.log.flush().await.expect("flushed");
            }
            model
        });
        node.crash(CrashOptions::keep(keep));
        // What a start notes at the root has its block, and nothing else has one: not what a
        // crash left unindexed, and not the epochs of a lost end.
        node.set_disk_capacity(Some(used(&node) + 4096));
        let disk = node.clone();
        let (with, expected) = (config.clone(), model.clone());
        model = run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), with).await.expect("opens");
            let (log, mut model) = (&opened.log, expected);
            assert_eq!(log.log_end_offset().0, model.end());
            assert_eq!(follow(&reactor, log, 0, 2_000).await, model.bytes());
            loop {
                let progress = log.progress().notified();
                let bytes = batch(2, 3_000, 1);
                match log.append(&bytes, LeaderEpoch(99), AppendOrigin::Client, 1_000) {
                    Ok(appended) => {
                        let base = appended.base_offset;
                        model.add(base, stamped(&bytes, base.0, 99));
                    }
                    Err(AppendError::DiskFull(_)) => break,
                    Err(AppendError::NoRoom) => (),
                    Err(error) => panic!("{error}"),
                }
                progress.await;
            }
            disk.set_disk_capacity(None);
            log.flush().await.expect("there is room");
            assert_eq!(follow(&reactor, log, 0, 2_000).await, model.bytes());
            model
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), config).await.expect("opens");
            assert_eq!(follow(&reactor, &opened.log, 0, 2_000).await, model.bytes());
            let epochs = opened.log.leader_epochs();
            assert_eq!(epochs.last().expect("epochs").epoch, LeaderEpoch(99));
        });
    }
}

#[test]
fn a_full_disk_gets_room_from_retention() {
    let (_simulation, node) = simulation(4);
    let disk = node.clone();
    let end = run(&node, |reactor| async move {
        let config = LogConfig {
            retention_bytes: 20_000,
            file_delete_delay: std::time::Duration::ZERO,
            ..config(Durability::Fsync)
        };
        let opened = open(&reactor, small_store(), config).await;
        let log = opened.expect("opens").log;
        // Four segments and their small files, each in whole blocks, are half of it.
        disk.set_disk_capacity(Some(160_000));
        let mut end = 0;
        loop {
            let progress = log.progress().notified();
            let bytes = batch(2, 200, 1);
            match log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1_000) {
                Ok(appended) => end = appended.last_offset.0 + 1,
                Err(AppendError::DiskFull(_)) => break,
                Err(AppendError::NoRoom) => (),
                Err(error) => panic!("{error}"),
            }
            progress.await;
        }
        // What waits in memory may fill the disk again.
        for _ in 0..20 {
            log.set_high_watermark(log.flushed_offset());
            log.apply_retention(1_000).await.expect("removed");
            if log.flush().await.is_ok() {
                break;
            }
        }
        assert_eq!(log.flushed_offset(), Offset(end));
        assert!(log.log_start_offset().0 > 0);
        end
    });
    node.set_disk_capacity(None);
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config(Durability::Fsync)).await;
        let log = opened.expect("opens").log;
        assert!(log.log_start_offset().0 > 0);
        assert_eq!(log.log_end_offset(), Offset(end));
        follow(&reactor, &log, log.log_start_offset().0, 1_000).await;
    });
}

#[test]
fn a_folder_that_cannot_be_read_is_named() {
    for operation in [DiskOperation::Read, DiskOperation::Open] {
        let (_simulation, node) = simulation(3);
        run(&node, |reactor| async move {
            let opened = open(&reactor, small_store(), config(Durability::Fsync)).await;
            opened.expect("opens").log.flush().await.expect("flushed");
        });
        node.crash(CrashOptions::keep(KeepUnsynced::All));
        node.inject(DiskFault::new(operation, DIR, EIO).always());
        let error = run(&node, |reactor| async move {
            open(&reactor, small_store(), config(Durability::Fsync))
                .await
                .err()
        });
        let error = error.expect("the disk fails");
        assert!(
            matches!(&error, StorageError::Io { path, .. } if path.starts_with(DIR)),
            "{error}"
        );
    }
}
