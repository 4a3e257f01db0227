//! Which logs are compacted and when, how far and how fast; what stops it and what does not.

use super::*;

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
        // An old record stays before it in its segment.
        write_young("j");
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
    // Whether or not anything goes.
    let cases = cases
        .iter()
        .flat_map(|case| [(case.clone(), false), (case.clone(), true)]);
    for ((bases, high_watermark, segment_bytes, left), all_stays) in cases {
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
            for (index, base) in bases.iter().enumerate() {
                let key = if all_stays { 10 + index } else { 10 };
                let batch = stamped(&keyed(&key.to_string(), 50, 100), *base, 0);
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
                let went = disk.read_current(segment_file(*base, "log.deleted"));
                let is_there = disk.read_current(segment_file(*base, "log"));
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
            let old = disk.read_current(segment_file(*base, "log.deleted"));
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
fn nothing_is_compacted_while_a_recovery_would_start_below() {
    let (_simulation, node) = simulation(31);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut written = Written::default();
        let checkpoint = DiskFault::new(DiskOperation::Write, "millstream-checkpoint", ENOSPC);
        disk.inject(checkpoint.always());
        write_keys(&opened.log, &mut written, &["k"; 5]);
        seen(&opened.log).await;
        let before = opened.log.segment_base_offsets();
        assert!(!opened.store.clean_dirtiest().await);
        assert_eq!(opened.log.segment_base_offsets(), before);
        disk.clear_faults();
        assert!(opened.store.clean_dirtiest().await);
    });
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
