//! What lies beside the segments when a log is opened: indexes, snapshots, lists of epochs, folders.

use super::*;

#[test]
fn what_can_be_made_from_the_batches_may_be_missing() {
    let (_simulation, node, model) = crashed(13, 0, 10);
    let before = node.read_durable(format!("{DIR}/partition.metadata"));
    run(&node, |reactor| async move {
        let fs = reactor.fs();
        let entries = fs.read_dir(DIR.as_ref()).await.expect("there");
        for entry in entries.iter().filter(|entry| !entry.name.ends_with(".log")) {
            let path = format!("{DIR}/{}", entry.name);
            fs.remove_file(path.as_ref()).await.expect("it is there");
        }
    });
    let recovery = open_whole(&node, &model);
    assert!(!recovery.created);
    assert!(before.is_some());
    assert_eq!(
        node.read_durable(format!("{DIR}/partition.metadata")),
        before
    );
}

#[test]
fn what_others_left_in_the_folder_goes_or_is_passed_over() {
    let (_simulation, node, model) = crashed(14, 6, 10);
    let left = [
        "00000000000000000003.log.deleted",
        "leader-epoch-checkpoint.tmp",
    ];
    for name in left {
        node.plant_file(format!("{DIR}/{name}"), b"x");
    }
    node.plant_file(format!("{DIR}/notes.txt"), b"mine");
    node.make_dir(format!("{DIR}/00000000000000000001.log"));
    open_whole(&node, &model);
    for name in left {
        assert_eq!(node.read_current(format!("{DIR}/{name}")), None, "{name}");
    }
    let notes = node.read_current(format!("{DIR}/notes.txt"));
    assert_eq!(notes.as_deref(), Some(&b"mine"[..]));
}

#[test]
fn a_full_disk_does_not_keep_a_log_from_being_read() {
    for name in [".index", "leader-epoch-checkpoint"] {
        for error in [ENOSPC, EIO] {
            let (_simulation, node, model) = crashed(15, 0, 10);
            node.plant_file(format!("{DIR}/leader-epoch-checkpoint"), b"0\n0\n");
            node.inject(DiskFault::new(DiskOperation::Write, name, error).always());
            if error == EIO {
                assert!(
                    matches!(open_error(&node), StorageError::Io { .. }),
                    "{name}"
                );
                continue;
            }
            let disk = node.clone();
            let model = run(&node, move |reactor| async move {
                let opened = opened(&reactor).await;
                let mut model = model;
                check_state(&opened.log, &model).await;
                disk.clear_faults();
                let producer = Some((3, 0, 10));
                append(&opened.log, &mut model, 2, &build(1, 100, 6_000, producer));
                opened.store.checkpoint().await.expect("made");
                model
            });
            node.crash(CrashOptions::keep(KeepUnsynced::None));
            open_whole(&node, &model);
            let epochs = node.read_durable(format!("{DIR}/leader-epoch-checkpoint"));
            let expected = format!("0\n3\n0 {START}\n1 {}\n2 {}\n", START + 4, START + 8);
            assert_eq!(epochs, Some(expected.into_bytes()), "{name}");
        }
    }
}

#[test]
fn a_log_whose_records_were_all_deleted_goes_on_where_it_ended() {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node, _) = crashed(16, 6, 10);
        run(&node, |reactor| async move {
            let opened = opened(&reactor).await;
            let end = opened.log.log_end_offset();
            opened.log.set_high_watermark(end);
            let deleted = opened.log.delete_records(end).await;
            assert_eq!(deleted.expect("deleted"), end);
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        run(&node, |reactor| async move {
            let log = opened(&reactor).await.log;
            let end = Offset(START + 10);
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (end, end));
            // The producer goes on with its next sequence.
            let mut model = Model {
                start: end.0,
                ..Model::default()
            };
            append(&log, &mut model, 2, &produced(1, 10, (3, 0, 10)));
            log.flush().await.expect("flushed");
        });
    });
    assert_eq!(complaints.take(), [""; 0]);
}

#[test]
fn a_log_that_ends_before_its_first_offset_starts_there_and_says_so() {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node, _) = crashed(17, 6, 10);
        let text = format!("0\n1\nt 0 {}\n", START + 11);
        node.plant_file(KAFKAS_RECOVERY_POINTS, text.as_bytes());
        node.plant_file("/data/log-start-offset-checkpoint", text.as_bytes());
        run(&node, |reactor| async move {
            let log = opened(&reactor).await.log;
            let end = Offset(START + 11);
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (end, end));
            assert_eq!(bases_in_folder(&reactor).await, [end.0]);
            assert_eq!(log.leader_epochs(), []);
        });
    });
    let told = complaints.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("starts afresh"), "{told:?}");
}

/// Removes the log's folder, and opens the log; where it starts.
fn start_without_folder(node: &Node) -> i64 {
    run(node, |reactor| async move {
        let removed = reactor.fs().remove_dir_all(DIR.as_ref()).await;
        removed.expect("it is there");
        let opened = opened(&reactor).await;
        assert!(opened.recovery.created);
        let log = &opened.log;
        assert_eq!(log.log_start_offset(), log.log_end_offset());
        assert_eq!(log.first_dirty_offset(), None);
        log.log_end_offset().0
    })
}

#[test]
fn a_log_whose_folder_is_lost_starts_where_ours_said_that_it_does() {
    let (_simulation, node, _) = crashed(18, 6, 10);
    assert_eq!(start_without_folder(&node), START);
    // Kafka's files may be about a topic of the same name that was deleted.
    let (_simulation, node, _) = crashed(18, 6, 10);
    let text = format!("0\n1\nt 0 {}\n", START + 5);
    for name in [
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "cleaner-offset-checkpoint",
    ] {
        node.plant_file(format!("/data/{name}"), text.as_bytes());
    }
    assert_eq!(start_without_folder(&node), 0);
}

#[test]
fn epochs_from_outside_the_log_are_cut_off_in_their_file() {
    // Each in force where the log begins or ends, and the two that are its own.
    let own = format!("0 {START}\n1 {}\n", START + 4);
    let before = format!("0 0\n1 {}\n", START + 4);
    let behind = format!("9 {}\n", START + 8);
    let cases = [
        format!("0\n2\n{own}"),
        format!("0\n3\n{own}{behind}"),
        format!("0\n2\n{before}"),
        format!("0\n3\n{before}{behind}"),
    ];
    for text in cases {
        let (_simulation, node, model) = crashed(19, 8, 8);
        let path = format!("{DIR}/leader-epoch-checkpoint");
        node.plant_file(&path, text.as_bytes());
        open_whole(&node, &model);
        let found = node.read_durable(&path);
        assert_eq!(found, Some(format!("0\n2\n{own}").into_bytes()), "{text}");
    }
}

#[test]
fn snapshots_behind_the_end_go() {
    let (_simulation, node, model) = crashed(20, 6, 10);
    let at = |offset: i64| segment_file(START + offset, "snapshot");
    let snapshot = node.read_durable(at(6)).expect("there");
    for offset in [10, 11, 50] {
        node.plant_file(at(offset), &snapshot);
    }
    open_whole(&node, &model);
    for (offset, stays) in [(6, true), (10, true), (11, false), (50, false)] {
        let found = node.read_durable(at(offset));
        assert_eq!(found.is_some(), stays, "at {offset}");
    }
}

#[test]
fn producers_of_a_lost_snapshot_are_kept_by_the_next_checkpoint() {
    let (_simulation, node, model) = crashed(21, 6, 6);
    let (disk, expected) = (node.clone(), model.clone());
    run(&node, move |reactor| async move {
        let snapshot = segment_file(START + 6, "snapshot");
        let removed = reactor.fs().remove_file(snapshot.as_ref()).await;
        removed.expect("it is there");
        let opened = opened(&reactor).await;
        check_state(&opened.log, &expected).await;
        assert_eq!(disk.read_current(&snapshot), None);
        opened.store.checkpoint().await.expect("made");
        assert!(disk.read_durable(&snapshot).is_some());
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    assert_eq!(open_whole(&node, &model).scanned_bytes, 0);
}

#[test]
fn a_log_without_producers_is_not_read_below_its_recovery_point() {
    let (_simulation, node) = simulation(22);
    let mut model = Model::default();
    // The checkpoints are of a log that was made, that was found, and that was looked through for
    // producers after a clean stop.
    for life in 0..4 {
        let disk = node.clone();
        model = run(&node, move |reactor| async move {
            let opened = opened(&reactor).await;
            let log = &opened.log;
            assert_eq!(log.log_end_offset().0, model.end());
            assert_eq!(opened.recovery.scanned_bytes, 0);
            append(log, &mut model, 0, &batch(1, 100, 5_000));
            append(log, &mut model, 0, &batch(1, 100, 5_001));
            if life == 1 {
                assert!(stop(&reactor, &opened).await);
            } else {
                opened.store.checkpoint().await.expect("made");
            }
            // The last batch is one no more; in the second life that of the first is one again.
            let last = if life == 1 {
                1
            } else {
                model.batches.len() - 1
            };
            let before = model.batches[..last].iter();
            let position: usize = before.map(|batch| batch.bytes.len()).sum();
            disk.corrupt(FIRST_LOG, position as u64 + 16, 0xff);
            model
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
    }
}

#[test]
fn the_largest_timestamp_is_indexed_again_after_its_entry_was_lost() {
    let largest = 5_004;
    for cut in [false, true] {
        let complaints = Complaints::default();
        complaints.listen(|| {
            let (_simulation, node) = simulation(23);
            let path = segment_file(START, "timeindex");
            let add = |log: &std::rc::Rc<Log>, model: &mut Model, timestamps: &[i64]| {
                for &timestamp in timestamps {
                    append(log, model, 0, &batch(1, 100, timestamp));
                }
            };
            let times = path.clone();
            let mut model = run(&node, move |reactor| async move {
                let (mut opened, mut model) = begun(&reactor).await;
                add(
                    &opened.log,
                    &mut model,
                    &[5_000, 5_001, 5_002, 5_003, largest],
                );
                if cut {
                    add(&opened.log, &mut model, &[10, 11]);
                    let end = opened.log.truncate_to(Offset(START + 5)).await;
                    model.truncate(end.expect("truncated").0);
                } else {
                    assert!(stop(&reactor, &opened).await);
                    opened = self::opened(&reactor).await;
                }
                add(&opened.log, &mut model, &[20, 21, 22]);
                opened.store.checkpoint().await.expect("made");
                add(&opened.log, &mut model, &[23, 24, 25]);
                opened.log.flush().await.expect("flushed");
                model
            });
            node.crash(CrashOptions::keep(KeepUnsynced::All));
            node.plant_file(&path, b"");
            let disk = node.clone();
            run(&node, move |reactor| async move {
                let log = opened(&reactor).await.log;
                let entry = [&largest.to_be_bytes()[..], &4_u32.to_be_bytes()].concat();
                assert_eq!(disk.read_durable(times), Some(entry));
                append(&log, &mut model, 0, &batch(1, 100, 9_000));
                let found = log
                    .offset_for_timestamp(largest + 1, Offset(i64::MAX))
                    .await;
                let found = found.expect("readable").map(|found| found.offset.0);
                assert_eq!(found, Some(model.end() - 1));
            });
        });
        assert_eq!(complaints.take(), [""; 0]);
    }
}

#[test]
fn the_producers_of_a_clean_log_come_from_its_snapshot() {
    let (_simulation, node, model) = crashed(24, 6, 6);
    run(&node, |reactor| async move {
        let opened = opened(&reactor).await;
        assert!(stop(&reactor, &opened).await);
    });
    // The second batch is one no more, and need not be looked at.
    let position = model.batches[0].bytes.len() as u64;
    node.corrupt(segment_file(START, "log"), position + 16, 0xff);
    run(&node, move |reactor| async move {
        let opened = opened(&reactor).await;
        assert!(opened.start.was_clean());
        check_state(&opened.log, &model).await;
    });
}

#[test]
fn a_folder_of_another_topic_is_refused() {
    let (_simulation, node, model) = crashed(25, 6, 6);
    let id = "AAAAAAAAAAAAAAAAAAAAAg";
    let path = format!("{DIR}/partition.metadata");
    let own = node.read_durable(&path).expect("there");
    let other = format!("version: 0\ntopic_id: {id}\n");
    node.plant_file(&path, other.as_bytes());
    let error = open_error(&node);
    assert!(
        matches!(&error, StorageError::TopicIdMismatch { found, expected, .. }
            if *found == decode_id(id) && *expected == topic_id()),
        "{error}"
    );
    node.plant_file(&path, &own);
    open_whole(&node, &model);
}
