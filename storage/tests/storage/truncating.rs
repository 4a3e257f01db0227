//! What cutting a log off leaves: of its batches, its indexes, its checkpoint, its folder.

use std::time::Duration;

use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::TaskQueue;
use millstream_reactor::sim::{CrashOptions, DiskFault, DiskOperation, KeepUnsynced};
use millstream_storage::{AppendOrigin, LogConfig, StorageError};
use proptest::prelude::*;

use crate::harness::*;
use crate::logging::Complaints;
use crate::recovering::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_log_is_one_that_never_had_more(
        seed in any::<u64>(),
        lives in prop::collection::vec(
            (
                prop::collection::vec(
                    prop_oneof![
                        12 => appends(1i64..3),
                        1 => Just(Step::Flush),
                        1 => Just(Step::Checkpoint),
                        2 => (0i64..70).prop_map(Step::Truncate),
                    ],
                    0..25,
                ),
                keeps(),
            ),
            1..4,
        ),
    ) {
        live(seed, lives);
    }
}

/// A log that is open, with batches of one record as [`crashed`] makes them.
async fn filled(reactor: &millstream_reactor::Reactor, count: usize) -> (Opened, Model) {
    let (opened, mut model) = begun(reactor).await;
    fill(&opened, &mut model, count);
    opened.log.flush().await.expect("flushed");
    (opened, model)
}

fn fill(opened: &Opened, model: &mut Model, count: usize) {
    for _ in 0..count {
        let index = model.batches.len();
        let producer = Some((3, 0, index as i32));
        let bytes = build(1, 100, 5_000 + index as i64, producer);
        append(&opened.log, model, (index / 4) as i32, &bytes);
    }
}

#[test]
fn a_cut_at_the_end_or_behind_it_changes_nothing() {
    let (_simulation, node) = simulation(1);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let (opened, model) = filled(&reactor, 10).await;
        let log = &opened.log;
        log.assign_leader_epoch(LeaderEpoch(9));
        log.flush().await.expect("flushed");
        opened.store.checkpoint().await.expect("made");
        let operations = disk.disk_operations();
        for behind in [0, 1, 100] {
            let end = log.truncate_to(Offset(model.end() + behind)).await;
            assert_eq!(end.expect("nothing to do").0, model.end());
        }
        assert_eq!(disk.disk_operations(), operations);
        let epoch = log.leader_epochs().last().map(|last| last.epoch);
        assert_eq!(epoch, Some(LeaderEpoch(9)));
    });
}

#[test]
fn a_cut_before_the_first_segment_starts_the_log_there() {
    for before in [0, 1, 10] {
        let (_simulation, node) = simulation(2);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let (opened, _) = filled(&reactor, 30).await;
            let start = START - before;
            let end = opened.log.truncate_to(Offset(start)).await;
            assert_eq!(end.expect("truncated").0, start);
            let mut model = Model {
                start,
                ..Model::default()
            };
            check_state(&opened.log, &model).await;
            check_segments(&reactor, &disk, &opened.log, &model).await;
            fill(&opened, &mut model, 5);
            check_state(&opened.log, &model).await;
        });
    }
}

#[test]
fn a_log_that_starts_afresh_leaves_nothing_of_the_old_in_its_folder() {
    let (_simulation, node) = simulation(3);
    run(&node, |reactor| async move {
        let opened = opened(&reactor).await;
        let mut model = Model::default();
        fill(&opened, &mut model, 30);
        opened.store.checkpoint().await.expect("made");
        let started = opened.log.truncate_fully_and_start_at(Offset(40)).await;
        started.expect("it can");
        let entries = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
        let names = entries.into_iter().map(|entry| entry.name);
        let mut names: Vec<String> = names.filter(|name| name.starts_with("000")).collect();
        names.sort_unstable();
        let expected = ["index", "log", "timeindex"].map(|s| format!("{:020}.{s}", 40));
        // Snapshots of what came before do not harm, and none is of what comes.
        names.retain(|name| !name.ends_with(".snapshot"));
        assert_eq!(names, expected);
    });
}

#[test]
fn a_full_disk_leaves_a_log_uncut_that_can_be_cut_later() {
    let (_simulation, node) = simulation(4);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let (opened, mut model) = filled(&reactor, 5).await;
        let log = &opened.log;
        disk.inject(DiskFault::new(DiskOperation::Write, ".log", ENOSPC).always());
        fill(&opened, &mut model, 1);
        let error = log.truncate_to(Offset(START + 2)).await;
        let error = error.expect_err("what was appended cannot be written");
        assert!(error.to_string().contains(".log"), "{error}");
        assert!(log.offline().is_none());
        check_state(log, &model).await;
        disk.clear_faults();
        let end = log
            .truncate_to(Offset(START + 2))
            .await
            .expect("there is room");
        model.truncate(end.0);
        assert_eq!(end.0, START + 2);
        check_state(log, &model).await;
    });
}

#[test]
fn a_cut_that_fails_takes_the_log_offline() {
    let second = 11;
    let cases = [
        (
            DiskOperation::Directory,
            segment_file(START + second, "log"),
        ),
        (
            DiskOperation::Directory,
            segment_file(START + second, "index"),
        ),
        (
            DiskOperation::Directory,
            segment_file(START + second, "timeindex"),
        ),
        (DiskOperation::Read, segment_file(START, "index")),
        (DiskOperation::Read, segment_file(START, "timeindex")),
        (DiskOperation::Write, segment_file(START, "log")),
        (DiskOperation::Sync, segment_file(START, "index")),
        (DiskOperation::Write, "leader-epoch-checkpoint".to_owned()),
    ];
    for (operation, path) in cases {
        let (_simulation, node) = simulation(5);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let (opened, _) = filled(&reactor, 15).await;
            opened.store.checkpoint().await.expect("made");
            disk.inject(DiskFault::new(operation, &path, EIO).always());
            let error = opened.log.truncate_to(Offset(START + 5)).await;
            let error = error.expect_err("it fails");
            assert!(matches!(error, StorageError::Io { .. }), "{error}");
            assert!(error.to_string().contains(&path), "{error}");
            assert!(opened.log.offline().is_some());
        });
    }
}

#[test]
fn a_cut_makes_lost_indexes_anew() {
    for lost in [vec!["index"], vec!["timeindex"], vec!["index", "timeindex"]] {
        let (_simulation, node) = simulation(6);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let (opened, mut model) = filled(&reactor, 15).await;
            opened.store.checkpoint().await.expect("made");
            for suffix in &lost {
                let path = segment_file(START, suffix);
                let removed = reactor.fs().remove_file(path.as_ref()).await;
                removed.expect("it is there");
            }
            let end = opened.log.truncate_to(Offset(START + 5)).await;
            model.truncate(end.expect("truncated").0);
            check_state(&opened.log, &model).await;
            for suffix in lost {
                assert!(disk.read_durable(segment_file(START, suffix)).is_some());
            }
            assert_eq!(follow(&reactor, &opened.log, START, 1).await, model.bytes());
        });
    }
}

#[test]
fn indexes_that_lie_are_made_anew_and_that_is_told() {
    let len = build(1, 100, 5_000, Some((3, 0, 0))).len() as u32;
    let offset_entry =
        |offset: u32, position: u32| [offset, position].map(u32::to_be_bytes).concat();
    let time_entry = |timestamp: i64, offset: u32| {
        [&timestamp.to_be_bytes()[..], &offset.to_be_bytes()].concat()
    };
    // The third and the fifth batch of a segment are in its indexes.
    let true_offsets = [offset_entry(2, 2 * len), offset_entry(4, 4 * len)].concat();
    let true_times = [time_entry(5_013, 2), time_entry(5_015, 4)].concat();
    let cases = [
        // The last offset entry is about a batch with other offsets, or about none.
        (
            "index",
            [offset_entry(2, 2 * len), offset_entry(3, 4 * len)].concat(),
        ),
        (
            "index",
            [offset_entry(2, 2 * len), offset_entry(4, 4 * len + 1)].concat(),
        ),
        // The last time entry has a time that its batch has not.
        (
            "timeindex",
            [time_entry(5_013, 2), time_entry(5_016, 4)].concat(),
        ),
    ];
    for cut_at in [5, 10] {
        for (suffix, lie) in &cases {
            let complaints = Complaints::default();
            complaints.listen(|| {
                let (_simulation, node) = simulation(7);
                let disk = node.clone();
                let (true_offsets, true_times) = (true_offsets.clone(), true_times.clone());
                let (suffix, lie) = (*suffix, lie.clone());
                run(&node, move |reactor| async move {
                    let (opened, mut model) = filled(&reactor, 30).await;
                    let second = opened.log.segment_base_offsets()[1];
                    assert_eq!(second, START + 11);
                    let index = disk
                        .read_current(segment_file(second, "index"))
                        .expect("there");
                    assert_eq!(index[..16], true_offsets);
                    let times = disk.read_current(segment_file(second, "timeindex"));
                    assert_eq!(times.expect("there")[..24], true_times);
                    disk.plant_file(segment_file(second, suffix), &lie);
                    let end = opened.log.truncate_to(Offset(second + cut_at)).await;
                    model.truncate(end.expect("truncated").0);
                    check_state(&opened.log, &model).await;
                    opened.store.checkpoint().await.expect("made");
                    check_segments(&reactor, &disk, &opened.log, &model).await;
                });
            });
            let told = complaints.take();
            let anew = told.iter().filter(|line| line.contains("made anew"));
            assert!(anew.count() >= 1, "{told:?}");
        }
    }
}

#[test]
fn entries_that_lead_behind_a_cut_go() {
    let len = build(1, 100, 5_000, Some((3, 0, 0))).len() as u32;
    // The cut is at offset 6 of the segment, where the seventh batch begins.
    let cases = [
        ("index", [5, 6 * len].map(u32::to_be_bytes).concat()),
        ("index", [6, 5 * len].map(u32::to_be_bytes).concat()),
        (
            "timeindex",
            [&9_000_i64.to_be_bytes()[..], &6_u32.to_be_bytes()].concat(),
        ),
    ];
    for (suffix, lie) in cases {
        let complaints = Complaints::default();
        complaints.listen(|| {
            let (_simulation, node) = simulation(8);
            let disk = node.clone();
            run(&node, move |reactor| async move {
                let (opened, mut model) = filled(&reactor, 10).await;
                opened.store.checkpoint().await.expect("made");
                let path = segment_file(START, suffix);
                let mut index = disk.read_current(&path).expect("there");
                // Of the four entries the first two are about batches before the cut.
                index.truncate(index.len() / 2);
                index.extend(lie);
                disk.plant_file(&path, &index);
                let end = opened.log.truncate_to(Offset(START + 6)).await;
                model.truncate(end.expect("truncated").0);
                check_state(&opened.log, &model).await;
                check_segments(&reactor, &disk, &opened.log, &model).await;
            });
        });
        assert_eq!(complaints.take(), [""; 0]);
    }
}

#[test]
fn of_equal_timestamps_the_first_is_indexed_after_a_cut() {
    // Of the larger ones the third is in the index already when it is cut off.
    for len in [60, 100] {
        let (_simulation, node) = simulation(15);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let (opened, mut model) = begun(&reactor).await;
            for count in [3, 4] {
                for _ in 0..count {
                    append(&opened.log, &mut model, 0, &batch(1, len, 5_000));
                }
                let end = opened.log.truncate_to(Offset(model.end() - 1)).await;
                model.truncate(end.expect("truncated").0);
                opened.store.checkpoint().await.expect("made");
                check_segments(&reactor, &disk, &opened.log, &model).await;
            }
        });
    }
}

#[test]
fn a_segment_cut_to_nothing_is_young_again() {
    for (kept, segments) in [(0, 1), (1, 2)] {
        let (_simulation, node) = simulation(9);
        run(&node, move |reactor| async move {
            let config = LogConfig {
                segment_ms: 1_000,
                ..config()
            };
            let opened = open(&reactor, small_store(), config).await.expect("opens");
            let mut model = Model::default();
            for timestamp in [10, 20, 30] {
                append(&opened.log, &mut model, 0, &batch(1, 10, timestamp));
            }
            let end = opened.log.truncate_to(Offset(kept)).await;
            model.truncate(end.expect("truncated").0);
            for timestamp in [1_005, 1_500] {
                append(&opened.log, &mut model, 0, &batch(1, 10, timestamp));
            }
            let bases = opened.log.segment_base_offsets();
            assert_eq!(bases.len(), segments, "{bases:?}");
        });
    }
}

#[test]
fn a_cut_is_covered_by_the_next_checkpoint() {
    let (_simulation, node) = simulation(10);
    let model = run(&node, |reactor| async move {
        let (opened, mut model) = filled(&reactor, 10).await;
        opened.store.checkpoint().await.expect("made");
        let end = opened.log.truncate_to(Offset(START + 6)).await;
        model.truncate(end.expect("truncated").0);
        opened.store.checkpoint().await.expect("made");
        model
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    assert_eq!(open_whole(&node, &model).scanned_bytes, 0);
}

#[test]
fn a_checkpoint_that_a_cut_overtakes_counts_nothing_that_went() {
    for delay in 0..80 {
        let (_simulation, node) = simulation(delay);
        let model = run(&node, move |reactor| async move {
            let (opened, mut model) = filled(&reactor, 30).await;
            // The checkpoint that the last new segment asked for is through; there is one to make.
            opened.store.checkpoint().await.expect("made");
            fill(&opened, &mut model, 1);
            let log = opened.log.clone();
            let cutting = async move { log.truncate_to(Offset(START + 4)).await };
            let cutting = reactor.spawn(TaskQueue::Requests, cutting);
            reactor.sleep(Duration::from_micros(50 * delay)).await;
            opened.store.checkpoint().await.expect("made");
            let end = cutting.await.expect("it goes on to its end");
            model.truncate(end.expect("truncated").0);
            // No batch begins where one of those that went did.
            for index in 0..30 {
                let bytes = build(1, 130, 9_000, Some((4, 0, index)));
                append(&opened.log, &mut model, 9, &bytes);
            }
            opened.log.flush().await.expect("flushed");
            model
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        open_whole(&node, &model);
    }
}

#[test]
fn a_cut_above_the_recovery_point_leaves_the_checkpoint_as_it_is() {
    let (_simulation, node) = simulation(11);
    let disk = node.clone();
    let end = run(&node, |reactor| async move {
        let (opened, mut model) = filled(&reactor, 6).await;
        opened.store.checkpoint().await.expect("made");
        fill(&opened, &mut model, 4);
        disk.inject(DiskFault::new(DiskOperation::Write, "millstream-checkpoint", EIO).always());
        for target in [START + 8, START + 6] {
            let end = opened.log.truncate_to(Offset(target)).await;
            model.truncate(end.expect("truncated").0);
            check_state(&opened.log, &model).await;
        }
        // The file is written for another reason.
        disk.clear_faults();
        opened.log.set_high_watermark(opened.log.log_end_offset());
        let deleted = opened.log.delete_records(Offset(START + 1)).await;
        assert_eq!(deleted.expect("deleted").0, START + 1);
        model.end()
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, move |reactor| async move {
        let opened = opened(&reactor).await;
        assert_eq!(opened.log.log_end_offset().0, end);
        assert_eq!(opened.recovery.scanned_bytes, 0);
    });
}

#[test]
fn nothing_is_cut_below_the_recovery_point_before_that_is_lowered() {
    let (_simulation, node) = simulation(12);
    let disk = node.clone();
    let model = run(&node, |reactor| async move {
        let (opened, model) = filled(&reactor, 6).await;
        opened.store.checkpoint().await.expect("made");
        disk.inject(DiskFault::new(DiskOperation::Write, "millstream-checkpoint", EIO).always());
        let cut = opened.log.truncate_to(Offset(START + 5)).await;
        cut.expect_err("a crash would trust what was cut");
        model
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    node.clear_faults();
    open_whole(&node, &model);
}

#[test]
fn the_snapshot_at_a_cut_stays_and_those_behind_it_go() {
    for (cut_at, left) in [(10, vec![START + 10]), (9, vec![])] {
        let (_simulation, node) = simulation(13);
        run(&node, move |reactor| async move {
            let (opened, mut model) = filled(&reactor, 10).await;
            opened.store.checkpoint().await.expect("made");
            assert_eq!(snapshots(&reactor).await, [START + 10]);
            fill(&opened, &mut model, 1);
            let end = opened.log.truncate_to(Offset(START + cut_at)).await;
            model.truncate(end.expect("truncated").0);
            assert_eq!(snapshots(&reactor).await, left);
            check_state(&opened.log, &model).await;
        });
    }
}

#[test]
fn a_cut_where_offsets_are_missing_ends_the_log_there() {
    // Of batches at 1000, 1010 and so on, three to a segment.
    let cases = [
        (1_010, 1),
        (1_005, 1),
        (1_025, 3),
        (1_030, 3),
        (1_031, 4),
        (1_055, 6),
    ];
    for (target, kept) in cases {
        let (_simulation, node) = simulation(14);
        run(&node, move |reactor| async move {
            let (opened, mut model) = begun(&reactor).await;
            for index in 0..9 {
                let base_offset = START + 10 * index;
                let bytes = stamped(&batch(1, 500, 5_000 + index), base_offset, 0);
                let origin = AppendOrigin::Replication;
                let appended = opened.log.append(&bytes, LeaderEpoch(0), origin, 1_000);
                model.add(appended.expect("appended").base_offset, bytes);
            }
            opened.log.flush().await.expect("flushed");
            assert_eq!(opened.log.segment_base_offsets(), [1_000, 1_030, 1_060]);
            let end = opened.log.truncate_to(Offset(target)).await;
            assert_eq!(end.expect("truncated").0, target);
            model.batches.truncate(kept);
            let all = opened
                .log
                .read(Offset(START), 1 << 20, Offset(target), true)
                .await;
            let all = all.expect("readable").load_contiguous(&reactor).await;
            assert_eq!(all.expect("readable"), model.bytes(), "cut at {target}");
            let origin = AppendOrigin::Client;
            let next = batch(1, 10, 6_000);
            let next = opened.log.append(&next, LeaderEpoch(0), origin, 1_000);
            assert_eq!(next.expect("appended").base_offset.0, target);
        });
    }
}
