//! How cleaned segments take the place of others: beside readers, on failing disks, in crashes.

use std::cell::Cell;

use millstream_reactor::TaskQueue;

use super::*;

/// A log whose segments hold a record each; a cleaning makes one of three or four.
async fn open_small_segments(reactor: &Reactor, file_delete_delay: Duration) -> (Opened, Written) {
    let small = LogConfig {
        segment_bytes: 100,
        ..config()
    };
    let store = StoreConfig {
        tail_memory_bytes: 1 << 20,
        ..quiet()
    };
    let opened = open(reactor, store, small).await.expect("opens");
    let mut written = Written::default();
    for key in ["a", "k", "b", "k", "k", "c", "k", "d", "e", "k", "f", "g"] {
        let batch = keyed(key, 10, 100);
        write(&opened.log, &mut written, &batch, AppendOrigin::Client);
    }
    seen(&opened.log).await;
    opened.store.checkpoint().await.expect("made");
    opened.log.set_config(LogConfig {
        segment_bytes: 320,
        file_delete_delay,
        ..config()
    });
    (opened, written)
}

/// Opens the log on a disk that is well, and cleans it.
fn check_on_a_sound_disk(node: &Node, written: Written) -> Vec<i64> {
    node.clear_faults();
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(node, move |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        check(&read_all(&reactor, &opened.log, 900).await, &written, true);
        let names = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
        let left = |end: &str| names.iter().any(|entry| entry.name.ends_with(end));
        assert!(!left(".swap") && !left(".cleaned") && !left(".deleted"));
        let found = opened.log.segment_base_offsets();
        clean_all(&opened).await;
        check(&read_all(&reactor, &opened.log, 900).await, &written, true);
        found
    })
}

#[test]
fn a_disk_that_fails_while_a_log_is_compacted_costs_no_record() {
    let operations = [
        DiskOperation::Directory,
        DiskOperation::SyncDirectory,
        DiskOperation::Open,
        DiskOperation::Read,
        DiskOperation::Write,
        DiskOperation::Sync,
    ];
    for operation in operations {
        let mut failed = 0;
        loop {
            let (_simulation, node) = simulation(25);
            let disk = node.clone();
            let (met, written) = run(&node, move |reactor| async move {
                let (opened, written) = open_small_segments(&reactor, Duration::ZERO).await;
                let log = &opened.log;
                let before = log.segment_base_offsets();
                disk.inject(DiskFault::new(operation, DIR, EIO).after(failed));
                let went_further = opened.store.clean_dirtiest().await;
                let after = log.segment_base_offsets();
                if went_further {
                    assert!(after.len() < before.len());
                    return (false, written);
                }
                disk.clear_faults();
                if log.offline().is_none() {
                    check(&read_all(&reactor, log, 900).await, &written, true);
                }
                (true, written)
            });
            let found = check_on_a_sound_disk(&node, written);
            if !met {
                assert!(found.len() < 8, "it was compacted: {found:?}");
                break;
            }
            failed += 1;
        }
        assert!(failed > 0, "{operation:?} is part of it");
    }
}

#[test]
fn a_swap_whose_finish_fails_at_a_start_is_finished_by_the_next() {
    for operation in [DiskOperation::Directory, DiskOperation::SyncDirectory] {
        let mut failed = 0;
        loop {
            let (_simulation, node) = simulation(26);
            let disk = node.clone();
            let (before, written) = run(&node, move |reactor| async move {
                let (opened, written) = open_small_segments(&reactor, Duration::ZERO).await;
                let before = opened.log.segment_base_offsets();
                // The new file counts; not all of the old ones are gone.
                let old = segment_file(before[1], "log");
                disk.inject(DiskFault::new(DiskOperation::Directory, old, EIO));
                assert!(!opened.store.clean_dirtiest().await);
                assert!(opened.log.offline().is_some());
                (before, written)
            });
            node.crash(CrashOptions::keep(KeepUnsynced::None));
            let disk = node.clone();
            let opens = run(&node, move |reactor| async move {
                disk.inject(DiskFault::new(operation, DIR, EIO).after(failed));
                open(&reactor, quiet(), config()).await.is_ok()
            });
            let found = check_on_a_sound_disk(&node, written);
            assert!(found.len() < before.len(), "{found:?} of {before:?}");
            assert!(found.iter().all(|base| before.contains(base)));
            if opens {
                break;
            }
            failed += 1;
        }
        assert!(failed > 3, "{operation:?} is part of it");
    }
}

#[test]
fn what_a_cleaning_left_behind_goes_and_what_counts_is_taken() {
    let (_simulation, node) = simulation(27);
    let mut written = run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut written = Written::default();
        write_keys(
            &opened.log,
            &mut written,
            &["a", "k", "b", "k", "c", "k", "k"],
        );
        seen(&opened.log).await;
        assert_eq!(opened.log.segment_base_offsets(), [0, 2, 4, 6]);
        assert!(stop(&reactor, &opened).await);
        written
    });
    let before = node.read_current(FIRST_LOG).expect("it is there");
    let batch_len = keyed("a", 600, 100).len();
    // The first segment without its second record counts: it is below what is not done.
    node.plant_file(segment_file(0, "log.swap"), &before[..batch_len]);
    // As Kafka leaves a segment that it was about to split.
    node.plant_file(segment_file(2, "log.cleaned"), b"not whole");
    node.plant_file(segment_file(2, "index.swap"), b"12345678");
    node.plant_file(segment_file(4, "log.swap"), b"not to be read");
    let found = check_on_a_sound_disk(&node, written.clone());
    assert_eq!(found, [0, 2, 4, 6]);
    written.records.remove(&1);
    let kept = run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        read_all(&reactor, &opened.log, 900).await.records
    });
    assert!(kept.contains_key(&0) && !kept.contains_key(&1));
    assert!(kept.contains_key(&2) && kept.contains_key(&4));
}

#[test]
fn snapshots_of_segments_that_became_part_of_another_go() {
    let (_simulation, node) = simulation(28);
    run(&node, |reactor| async move {
        let small = LogConfig {
            segment_bytes: 100,
            ..config()
        };
        let opened = open(&reactor, quiet(), small).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        for sequence in 0..6 {
            let builder = BatchBuilder::new(Codec::None);
            let mut builder = builder.producer(ProducerId(7), 0, sequence);
            builder.push(100, Some(b"k"), Some(b"v"), &[]);
            let batch = builder.build().expect("not compressed");
            write(log, &mut written, &batch, AppendOrigin::Client);
            if sequence == 2 {
                opened.store.checkpoint().await.expect("made");
            }
        }
        seen(log).await;
        assert_eq!(snapshots(&reactor).await, [1, 2, 3, 4, 5]);
        log.set_config(config());
        assert!(opened.store.clean_dirtiest().await);
        assert_eq!(log.segment_base_offsets(), [0, 5]);
        assert_eq!(
            snapshots(&reactor).await,
            [5, 6],
            "of the active segment, and of the end"
        );
        drop(opened);
        let again = open(&reactor, quiet(), config()).await.expect("opens");
        let last = again
            .log
            .with_producer_states(|states| states.get(7).map(|state| state.last_sequence()));
        assert_eq!(last, Some(5));
    });
}

#[test]
fn a_cleaned_file_that_cannot_be_removed_is_told() {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node) = simulation(29);
        let disk = node.clone();
        run(&node, |reactor| async move {
            let opened = open(&reactor, quiet(), config()).await.expect("opens");
            let mut written = Written::default();
            write_keys(&opened.log, &mut written, &["a", "b", "c"]);
            seen(&opened.log).await;
            // It is made, and not needed.
            let removal = DiskFault::new(DiskOperation::Directory, ".log.cleaned", EIO).after(1);
            disk.inject(removal);
            assert!(opened.store.clean_dirtiest().await);
        });
    });
    let told = complaints.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("cannot remove") && told[0].contains(".log.cleaned"));
}

#[test]
fn readers_see_each_record_as_it_was_written_while_segments_are_replaced() {
    for seed in 0..40 {
        let (_simulation, node) = simulation(seed);
        run(&node, move |reactor| async move {
            let (opened, written) = open_small_segments(&reactor, Duration::ZERO).await;
            // Out of memory, so that they need the files.
            reactor.sleep(Duration::from_secs(30)).await;
            let store = opened.store.clone();
            let cleaning = async move { store.clean_dirtiest().await };
            let cleaning = reactor.spawn(TaskQueue::Background, cleaning);
            let reading = |seed: u64| {
                let (reactor, log) = (reactor.clone(), opened.log.clone());
                let written = written.clone();
                async move {
                    let mut random = Random(seed);
                    for _ in 0..60 {
                        let from = Offset(random.below(12) as i64);
                        let plan =
                            log.read(from, 1 + random.below(2_000) as usize, Offset(12), true);
                        let plan = plan.await.expect("readable");
                        let mut read = Written::default();
                        read.take(&plan.load_contiguous(&reactor).await.expect("readable"));
                        for (offset, record) in &read.records {
                            assert_eq!(written.records.get(offset), Some(record));
                        }
                        assert!(read.end > from.0, "{} from {}", read.end, from.0);
                    }
                }
            };
            let readers =
                (0..3).map(|reader| reactor.spawn(TaskQueue::Requests, reading(seed * 3 + reader)));
            for reader in readers.collect::<Vec<_>>() {
                reader.await.expect("it ends");
            }
            assert!(cleaning.await.expect("it ends"));
            // One batch at a time, too: behind each there may be a gap.
            for max_bytes in [1, 900] {
                let read = read_all(&reactor, &opened.log, max_bytes).await;
                check(&read, &written, true);
            }
        });
    }
}

#[test]
fn a_large_segment_is_written_in_large_parts_with_indexes_that_hold() {
    let (_simulation, node) = simulation(24);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let with = LogConfig {
            segment_bytes: 4 << 20,
            index_interval_bytes: 4_096,
            ..config()
        };
        let store = StoreConfig {
            tail_memory_bytes: 8 << 20,
            ..quiet()
        };
        let opened = open(&reactor, store, with).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        // 2.5 MB stay of 3.
        for index in 0..60 {
            let key = format!("key {}", index % 50);
            let batch = keyed(&key, 50_000 + index, 100 + index as i64);
            write(log, &mut written, &batch, AppendOrigin::Client);
        }
        log.set_config(LogConfig {
            segment_bytes: 60_000,
            ..config()
        });
        write_keys(log, &mut written, &["last"]);
        seen(log).await;
        assert_eq!(log.segment_base_offsets(), [0, 60]);
        // Three writes are enough for it.
        let fourth = DiskFault::new(DiskOperation::Write, ".log.cleaned", EIO).after(3);
        disk.inject(fourth);
        assert_eq!(clean_all(&opened).await, 1);
        check(&read_all(&reactor, log, 200_000).await, &written, true);
        assert_eq!(
            log.size(),
            closed_sizes(&disk, log)[0] + keyed("last", 600, 100).len() as u64
        );

        let bytes = |suffix: &str| {
            let path = segment_file(0, suffix);
            let bytes = disk.read_current(&path).expect("it is there");
            assert_eq!(disk.read_durable(&path).as_ref(), Some(&bytes), "{suffix}");
            bytes
        };
        let (log_bytes, index) = (bytes("log"), bytes("index"));
        let entries = OffsetIndexView::checked(&index);
        assert_eq!(entries.len(), 49, "all but the first batch");
        for index in 0..entries.len() {
            let entry = entries.entry(index);
            let batch = BatchHeader::parse(&log_bytes[entry.position as usize..]);
            let last = batch.expect("a batch begins there").last_offset();
            assert_eq!(last.0, i64::from(entry.relative_offset));
        }
        assert_eq!(bytes("timeindex").len(), 49 * 12);
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

/// Readers that are at many other files when one that they come to is replaced.
#[test]
fn a_read_that_a_swap_overtakes_begins_again() {
    for seed in 0..10 {
        let (_simulation, node) = simulation(seed);
        run(&node, move |reactor| async move {
            let with = |segment_bytes| LogConfig {
                segment_bytes,
                ..config()
            };
            let store = StoreConfig {
                tail_memory_bytes: 4 << 20,
                ..quiet()
            };
            let opened = open(&reactor, store, with(300)).await.expect("opens");
            let log = &opened.log;
            let mut written = Written::default();
            // One to a segment: what stays as it is, then what becomes less.
            for index in 0..100 {
                let batch = keyed(&format!("large {index}"), 200, 100);
                write(log, &mut written, &batch, AppendOrigin::Client);
            }
            log.set_config(with(100));
            for key in ["k", "k", "k", "k", "last"] {
                let batch = keyed(key, 10, 100);
                write(log, &mut written, &batch, AppendOrigin::Client);
            }
            seen(log).await;
            log.set_config(with(500));
            // Out of memory, so that readers need the files.
            reactor.sleep(Duration::from_secs(30)).await;
            let store = opened.store.clone();
            let is_over = Rc::new(Cell::new(false));
            let over = is_over.clone();
            let cleaning = async move {
                let cleaned = store.clean_dirtiest().await;
                over.set(true);
                cleaned
            };
            let cleaning = reactor.spawn(TaskQueue::Background, cleaning);
            let readers = (0..3).map(|_| {
                let (inner, log) = (reactor.clone(), log.clone());
                let (written, is_over) = (written.clone(), is_over.clone());
                let reading = async move {
                    while !is_over.get() {
                        let plan = log.read(Offset(0), 1 << 20, Offset(i64::MAX), true).await;
                        let plan = plan.expect("readable");
                        let mut read = Written::default();
                        read.take(&plan.load_contiguous(&inner).await.expect("readable"));
                        check(&read, &written, true);
                    }
                };
                reactor.spawn(TaskQueue::Requests, reading)
            });
            for reader in readers.collect::<Vec<_>>() {
                reader.await.expect("it ends");
            }
            assert!(cleaning.await.expect("it ends"));
            assert_eq!(log.segment_base_offsets().len(), 102);
        });
    }
}

#[test]
fn what_comes_behind_a_swap_stays_in_memory() {
    let (_simulation, node) = simulation(32);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let mut written = Written::default();
        write_keys(&opened.log, &mut written, &["k"; 5]);
        seen(&opened.log).await;
        assert!(opened.store.clean_dirtiest().await);
        assert_eq!(opened.log.first_dirty_offset(), Some(Offset(4)));
        let active = segment_file(4, "log");
        disk.inject(DiskFault::new(DiskOperation::Read, active, EIO).always());
        let read = read_all(&reactor, &opened.log, 900).await;
        check(&read, &written, true);
    });
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
    let random = (0..20).map(|seed| (KeepUnsynced::Random, seed));
    let all_or_none = [(KeepUnsynced::All, 8), (KeepUnsynced::None, 8)];
    for (keep, seed) in all_or_none.into_iter().chain(random) {
        for at in (operations / 3)..=operations {
            let (_simulation, node) = simulation(seed);
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
            let disk = node.clone();
            run(&node, move |reactor| async move {
                let opened = open(&reactor, quiet(), config()).await.expect("opens");
                check(&read_all(&reactor, &opened.log, 900).await, &written, true);
                let names = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
                let left = |end: &str| names.iter().any(|entry| entry.name.ends_with(end));
                assert!(!left(".swap") && !left(".cleaned") && !left(".deleted"));
                for base in opened.log.segment_base_offsets() {
                    let index = segment_file(base, "index");
                    assert!(disk.read_current(&index).is_some(), "{index}");
                }
                clean_all(&opened).await;
                check(&read_all(&reactor, &opened.log, 900).await, &written, true);
            });
        }
    }
    assert!(
        finished > 200,
        "only {finished} crashes fell into the compaction"
    );
}
