//! Reading as a property: whatever the sizes, a consumer that follows the answers gets every batch
//! exactly once, from memory and from disk, before and after a restart. And what is read for it:
//! no more than it takes, from files that stay open.

use std::rc::Rc;
use std::time::Duration;

use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::sim::{CrashOptions, DiskFault, DiskOperation, KeepUnsynced, Node};
use millstream_reactor::{Reactor, TaskQueue};
use millstream_storage::{
    AppendError, AppendOrigin, ColdRead, Log, LogConfig, ReadError, ReadPart, ReadPlan,
    StorageError, StoreConfig,
};
use proptest::prelude::*;

use crate::harness::*;
use crate::logging::Complaints;

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    /// Records of each batch, and bytes of each record.
    batches: Vec<(usize, usize)>,
    segment_bytes: u32,
    index_interval_bytes: u32,
    tail_memory_bytes: usize,
    cold_read: ColdRead,
    budgets: Vec<usize>,
    starts: Vec<prop::sample::Index>,
    uppers: Vec<prop::sample::Index>,
    rest: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let size = prop_oneof![
        20 => (1usize..5, 1usize..300),
        5 => (1usize..3, 300usize..6_000),
        1 => (1usize..3, 6_000usize..60_000),
    ];
    let budget = prop_oneof![Just(1usize), 1usize..2_000, 2_000usize..300_000];
    (
        any::<u64>(),
        prop::collection::vec(size, 1..120),
        prop_oneof![3_000u32..20_000, 20_000u32..400_000],
        prop_oneof![Just(0u32), 1u32..600, 600u32..9_000],
        prop_oneof![40_000usize..60_000, Just(1usize << 20)],
        prop_oneof![
            Just(ColdRead::Auto),
            Just(ColdRead::Buffered),
            Just(ColdRead::Direct)
        ],
        prop::collection::vec(budget, 2),
        prop::collection::vec(any::<prop::sample::Index>(), 3),
        prop::collection::vec(any::<prop::sample::Index>(), 3),
        any::<bool>(),
    )
        .prop_map(
            |(
                seed,
                batches,
                segment_bytes,
                index_interval_bytes,
                tail_memory_bytes,
                cold_read,
                budgets,
                starts,
                uppers,
                rest,
            )| Case {
                seed,
                batches,
                segment_bytes,
                index_interval_bytes,
                tail_memory_bytes,
                cold_read,
                budgets,
                starts,
                uppers,
                rest,
            },
        )
}

impl Case {
    fn store(&self) -> StoreConfig {
        StoreConfig {
            tail_memory_bytes: self.tail_memory_bytes,
            cold_read: self.cold_read,
            ..small_store()
        }
    }

    fn config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            index_interval_bytes: self.index_interval_bytes,
            ..LogConfig::default()
        }
    }
}

async fn fill(opened: &Opened, case: &Case) -> Model {
    let mut model = Model::default();
    for (index, &(count, len)) in case.batches.iter().enumerate() {
        // As a follower does, which takes batches larger than its own segments.
        let bytes = stamped(&batch(count, len, index as i64), model.end(), 0);
        loop {
            let room = opened.store.room().notified();
            match opened
                .log
                .append(&bytes, LeaderEpoch(0), AppendOrigin::Replication, 1)
            {
                Ok(_) => break,
                Err(AppendError::NoRoom) => room.await,
                Err(error) => panic!("{error}"),
            }
        }
        model.add(Offset(model.end()), bytes);
    }
    model
}

async fn check(reactor: &Reactor, opened: &Opened, model: &Model, case: &Case) {
    let log = &opened.log;
    assert_eq!(log.log_end_offset().0, model.end());
    for &budget in &case.budgets {
        assert_eq!(
            follow(reactor, log, 0, budget).await,
            model.bytes(),
            "budget {budget}"
        );
    }
    for start in &case.starts {
        let from = start.index(model.end() as usize) as i64;
        let read = follow(reactor, log, from, case.budgets[0]).await;
        assert_eq!(read, model.bytes_from(from), "from {from}");
    }
    for (start, upper) in case.starts.iter().zip(&case.uppers) {
        let from = start.index(model.end() as usize) as i64;
        let upper = from + upper.index((model.end() - from) as usize + 1) as i64;
        let expected: Vec<u8> = model
            .batches
            .iter()
            .filter(|batch| batch.next_offset > from && batch.next_offset <= upper)
            .flat_map(|batch| batch.bytes.clone())
            .collect();
        let plan = log
            .read(Offset(from), usize::MAX >> 1, Offset(upper), true)
            .await
            .expect("readable");
        let bytes = plan.load_contiguous(reactor).await.expect("readable");
        assert_eq!(bytes, expected, "[{from}, {upper})");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_is_read_exactly_once(case in cases()) {
        let (_simulation, node) = simulation(case.seed);
        let first = case.clone();
        let model = run(&node, |reactor| async move {
            let opened = open(&reactor, first.store(), first.config()).await.expect("opens");
            let model = fill(&opened, &first).await;
            check(&reactor, &opened, &model, &first).await;
            opened.log.flush().await.expect("flushed");
            if first.rest {
                opened.store.checkpoint().await.expect("made");
                reactor.sleep(std::time::Duration::from_secs(60)).await;
                check(&reactor, &opened, &model, &first).await;
            }
            model
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        for clean in [false, true] {
            let (case, model) = (case.clone(), model.clone());
            run(&node, |reactor| async move {
                let opened = open(&reactor, case.store(), case.config()).await.expect("opens");
                assert_eq!(opened.start.was_clean(), clean);
                check(&reactor, &opened, &model, &case).await;
                assert!(stop(&reactor, &opened).await);
            });
        }
    }
}

/// Larger than every buffer: the tail's, the search's, the recovery's.
#[test]
fn a_batch_larger_than_every_buffer() {
    let (_simulation, node) = simulation(1);
    let config = || LogConfig {
        segment_bytes: 8 << 20,
        ..LogConfig::default()
    };
    let model = run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        let mut model = Model::default();
        for len in [10, 3_000_000, 10, 1_500_000] {
            append(&opened.log, &mut model, 0, &batch(1, len, 1));
            opened.log.flush().await.expect("flushed");
        }
        assert_eq!(follow(&reactor, &opened.log, 0, 100).await, model.bytes());
        model
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        assert_eq!(follow(&reactor, &opened.log, 0, 100).await, model.bytes());
    });
}

const ALL: Offset = Offset(i64::MAX);

/// A node with a log of `count` batches of two records and as many bytes each, stopped cleanly.
fn written(
    seed: u64,
    count: usize,
    config: LogConfig,
) -> (millstream_reactor::sim::Simulation, Node, Model) {
    let (simulation, node) = simulation(seed);
    let model = run(&node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config).await.expect("opens");
        let mut model = Model::default();
        for index in 0..count {
            append(&opened.log, &mut model, 0, &batch(2, 50, index as i64));
            if index % 20 == 19 {
                opened.log.flush().await.expect("flushed");
            }
        }
        assert!(stop(&reactor, &opened).await);
        model
    });
    (simulation, node, model)
}

async fn plan(log: &Log, from: i64) -> Result<ReadPlan, ReadError> {
    log.read(Offset(from), 1, ALL, true).await
}

/// What a read gives, by the batches that are in the log.
fn expected(model: &Model, from: i64, max_bytes: usize, upper: i64, min_one: bool) -> Vec<&Kept> {
    let mut len = 0;
    let batches = model.batches.iter();
    let behind = batches.skip_while(|batch| batch.next_offset <= from);
    let fitting = behind.enumerate().take_while(|(index, batch)| {
        len += batch.bytes.len();
        batch.next_offset <= upper && (len <= max_bytes || (min_one && *index == 0))
    });
    fitting.map(|(_, batch)| batch).collect()
}

/// As many whole batches as fit, to the byte, through segments, up to the bound.
async fn check_limits(reactor: &Reactor, log: &Log, model: &Model) {
    let len = model.batches[0].bytes.len();
    for from in [0, 1, 6, 13, 20] {
        for upper in [from, from + 1, from + 2, from + 7, from + 8, model.end()] {
            for batches in [0, 1, 2, 7, 20] {
                for max_bytes in [(batches * len).saturating_sub(1), batches * len] {
                    for min_one in [true, false] {
                        let case = format!("{from} {upper} {max_bytes} {min_one}");
                        let batches = expected(model, from, max_bytes, upper, min_one);
                        let bytes: Vec<u8> = batches.iter().flat_map(|b| b.bytes.clone()).collect();
                        let plan = log
                            .read(Offset(from), max_bytes, Offset(upper), min_one)
                            .await
                            .expect("readable");
                        assert_eq!(plan.len, bytes.len() as u64, "{case}");
                        assert_eq!(plan.is_empty(), batches.is_empty(), "{case}");
                        let first = batches.first().map(|batch| Offset(batch.base_offset));
                        assert_eq!(plan.first_offset, first, "{case}");
                        let next = batches.last().map(|batch| Offset(batch.next_offset));
                        assert_eq!(plan.next_offset, next, "{case}");
                        let read = plan.load_contiguous(reactor).await.expect("readable");
                        assert_eq!(read, bytes, "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_answer_holds_as_many_whole_batches_as_fit() {
    for index_interval_bytes in [0, 300, 1 << 20] {
        let config = move || LogConfig {
            // Five batches each.
            segment_bytes: 5 * batch(2, 50, 1).len() as u32,
            index_interval_bytes,
            ..LogConfig::default()
        };
        let (_simulation, node, model) = written(1, 25, config());
        run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), config()).await;
            let log = opened.expect("opens").log;
            assert_eq!(log.segment_base_offsets(), [0, 10, 20, 30, 40]);
            check_limits(&reactor, &log, &model).await;
            let end = model.end();
            assert!(plan(&log, end).await.expect("the end").is_empty());
            for outside in [-1, end + 1] {
                let error = plan(&log, outside).await.err();
                let Some(ReadError::OffsetOutOfRange {
                    log_start_offset,
                    log_end_offset,
                    ..
                }) = error
                else {
                    panic!("{error:?}");
                };
                assert_eq!((log_start_offset, log_end_offset), (Offset(0), Offset(end)));
            }
        });
    }
}

#[test]
fn an_answer_that_ends_with_a_segment_does_not_need_the_next() {
    let segment_bytes = 5 * batch(2, 50, 1).len() as u32;
    let config = move || LogConfig {
        segment_bytes,
        ..LogConfig::default()
    };
    let (_simulation, node, model) = written(2, 15, config());
    // No search can pass it.
    node.corrupt("/data/t-0/00000000000000000010.log", 16, 0x40);
    run(&node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config()).await;
        let log = opened.expect("opens").log;
        let segment_bytes = segment_bytes as usize;
        for (max_bytes, upper) in [(segment_bytes, ALL), (1 << 20, Offset(10))] {
            let plan = log.read(Offset(0), max_bytes, upper, true).await;
            let plan = plan.expect("the first segment is sound");
            assert_eq!(plan.next_offset, Some(Offset(10)));
            let bytes = plan.load_contiguous(&reactor).await.expect("readable");
            assert_eq!(bytes, model.bytes()[..segment_bytes]);
        }
        assert!(plan(&log, 10).await.is_err(), "the next one is not");
    });
}

/// A store whose cold data leaves the disk in this way.
fn with_cold_read(cold_read: ColdRead) -> StoreConfig {
    StoreConfig {
        cold_read,
        ..small_store()
    }
}

#[test]
fn cold_data_leaves_the_disk_as_configured() {
    for (cold_read, direct_io, while_writing, is_direct) in [
        (ColdRead::Auto, true, false, false),
        (ColdRead::Auto, true, true, true),
        (ColdRead::Auto, false, true, false),
        (ColdRead::Buffered, true, true, false),
        (ColdRead::Direct, true, false, true),
        (ColdRead::Direct, false, false, false),
    ] {
        let config = LogConfig::default;
        let (_simulation, node, model) = written(3, 10, config());
        run(&node, move |reactor| async move {
            let store = StoreConfig {
                direct_io,
                ..with_cold_read(cold_read)
            };
            let log = open(&reactor, store, config()).await.expect("opens").log;
            reactor.sleep(Duration::from_secs(1)).await;
            if while_writing {
                let mut model = model.clone();
                append(&log, &mut model, 0, &batch(1, 10, 1));
                log.flush().await.expect("flushed");
            }
            let plan = log.read(Offset(6), 1, ALL, true).await.expect("readable");
            let case = format!("{cold_read:?} {direct_io} {while_writing}");
            match &plan.parts[..] {
                [ReadPart::File(range)] => {
                    let file = reactor.fs().adopt(&range.file);
                    assert_eq!(file.is_direct(), is_direct, "{case}");
                }
                parts => panic!("{} parts, {case}", parts.len()),
            }
            let bytes = plan.load_contiguous(&reactor).await.expect("readable");
            assert_eq!(bytes, model.batches[3].bytes, "{case}");
        });
    }
}

#[test]
fn files_and_indexes_stay_open_between_reads() {
    for cold_read in [ColdRead::Buffered, ColdRead::Direct] {
        let config = || LogConfig {
            index_interval_bytes: 300,
            ..LogConfig::default()
        };
        let (_simulation, node, model) = written(4, 100, config());
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let store = with_cold_read(cold_read);
            let log = open(&reactor, store, config()).await.expect("opens").log;
            plan(&log, 50).await.expect("readable");
            disk.inject(DiskFault::new(DiskOperation::Open, DIR, EIO).always());
            for index in (0..100).rev() {
                let plan = plan(&log, 2 * index as i64).await.expect("readable");
                let bytes = plan.load_contiguous(&reactor).await.expect("readable");
                assert_eq!(bytes, model.batches[index].bytes);
            }
        });
    }
}

#[test]
fn a_search_without_an_index_reads_many_headers_at_once() {
    for cold_read in [ColdRead::Buffered, ColdRead::Direct] {
        let config = || LogConfig {
            index_interval_bytes: 1 << 20,
            ..LogConfig::default()
        };
        let (_simulation, node, model) = written(5, 400, config());
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let store = with_cold_read(cold_read);
            let log = open(&reactor, store, config()).await.expect("opens").log;
            // Blocks of two pages, and one to see how long the answer is.
            let reads = model.bytes().len() as u64 / 8_000 + 2;
            let fault = DiskFault::new(DiskOperation::Read, FIRST_LOG, EIO);
            disk.inject(fault.after(reads).always());
            let plan = plan(&log, 799).await.expect("readable");
            assert_eq!(plan.first_offset, Some(Offset(798)));
            disk.clear_faults();
            let bytes = plan.load_contiguous(&reactor).await.expect("readable");
            assert_eq!(bytes, model.batches[399].bytes);
        });
    }
}

/// Changes a field of the header of a batch.
fn overwrite(node: &Node, path: &str, position: usize, bytes: &[u8]) {
    let mut content = node.read_current(path).expect("it is there");
    content[position..position + bytes.len()].copy_from_slice(bytes);
    node.plant_file(path, &content);
}

#[test]
fn a_header_that_cannot_be_where_it_is_is_damage() {
    let len = batch(2, 50, 1).len();
    let config = move || LogConfig {
        segment_bytes: 5 * len as u32,
        // The search goes from batch to batch.
        index_interval_bytes: 1 << 20,
        ..LogConfig::default()
    };
    let path = "/data/t-0/00000000000000000010.log";
    let base_offset = |offset: i64| (0, offset.to_be_bytes().to_vec());
    let length = |len: usize| (8, (len as u32 - 12).to_be_bytes().to_vec());
    // Of the batch with the offsets 14 and 15, in the segment of 10 to 19.
    for ((at, bytes), reason) in [
        (base_offset(9), "an offset is below its segment"),
        (base_offset(19), "an offset belongs to a later segment"),
        (
            base_offset(13),
            "an offset is below that of the batch before",
        ),
        (length(3 * len + 1), "a batch is longer than its segment"),
    ] {
        let (_simulation, node, _) = written(6, 15, config());
        overwrite(&node, path, 2 * len + at, &bytes);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), config()).await;
            let log = opened.expect("opens").log;
            assert!(plan(&log, 13).await.is_ok(), "{reason}");
            let error = plan(&log, 15).await.err();
            match &error {
                Some(ReadError::Storage(StorageError::Damaged {
                    path: found,
                    position,
                    reason: told,
                })) => {
                    assert_eq!(found.to_str(), Some(path));
                    assert_eq!((*position, *told), (2 * len as u64, reason));
                }
                other => panic!("{other:?}, not {reason}"),
            }
        });
    }
    // As far as it can be.
    for (at, bytes) in [base_offset(18), length(3 * len)] {
        let (_simulation, node, _) = written(7, 15, config());
        overwrite(&node, path, 2 * len + at, &bytes);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), config()).await;
            let log = opened.expect("opens").log;
            assert!(plan(&log, 15).await.is_ok());
        });
    }
}

/// And what lies behind it is found by the index, as before.
#[test]
fn damage_is_not_blamed_on_a_sound_index() {
    let len = batch(2, 50, 1).len() as u32;
    for index_interval_bytes in [0, len - 1, len, 2 * len, 2 * len + 1] {
        let complaints = Complaints::default();
        complaints.listen(|| {
            let config = move || LogConfig {
                segment_bytes: 20 * len,
                index_interval_bytes,
                ..LogConfig::default()
            };
            let (_simulation, node, model) = written(8, 45, config());
            let disk = node.clone();
            run(&node, move |reactor| async move {
                let opened = open(&reactor, small_store(), config()).await;
                let log = opened.expect("opens").log;
                let path = "/data/t-0/00000000000000000040.log";
                disk.corrupt(path, u64::from(10 * len) + 16, 0x40);
                for offset in [60, 61] {
                    let error = plan(&log, offset).await.err();
                    assert!(
                        matches!(
                            &error,
                            Some(ReadError::Storage(StorageError::Damaged { .. }))
                        ),
                        "{error:?}"
                    );
                }
                for index in (20..30).chain(34..45) {
                    let plan = plan(&log, 2 * index as i64).await.expect("sound");
                    let bytes = plan.load_contiguous(&reactor).await.expect("readable");
                    assert_eq!(bytes, model.batches[index].bytes);
                }
            });
        });
        let told = complaints.take();
        assert_eq!(told, [""; 0], "an entry every {index_interval_bytes} bytes");
    }
}

/// Cuts the log, and fills it again with other batches.
async fn replace_end(log: Rc<Log>, at: i64, model: Model) -> Model {
    let mut model = model;
    let end = log.truncate_to(Offset(at)).await.expect("truncated");
    model.truncate(end.0);
    for index in 0..40 {
        append(&log, &mut model, 1, &batch(1, 70 + index, 7));
    }
    log.flush().await.expect("flushed");
    model
}

/// Whatever a truncation overtakes: a read gives what was there before or what is there after.
#[test]
fn a_read_meets_a_truncation() {
    let config = || LogConfig {
        segment_bytes: 1_000,
        index_interval_bytes: 300,
        ..LogConfig::default()
    };
    let mut overtaken = 0;
    for delay in 0..80 {
        let (_simulation, node, before) = written(delay, 40, config());
        overtaken += run(&node, move |reactor| async move {
            let store = StoreConfig {
                tail_memory_bytes: 4 << 20,
                ..small_store()
            };
            let log = open(&reactor, store, config()).await.expect("opens").log;
            let cutting = replace_end(log.clone(), 31, before.clone());
            let cutting = reactor.spawn(TaskQueue::Requests, cutting);
            reactor.sleep(Duration::from_micros(50 * delay)).await;
            let reads = [(0, 1_500), (28, 1_500), (30, 900), (60, 200)];
            let mut plans = Vec::new();
            for (from, max_bytes) in reads {
                let plan = log.read(Offset(from), max_bytes, ALL, true).await;
                plans.push((from, max_bytes, plan));
            }
            let after = cutting.await.expect("it goes on to its end");
            let mut changed = 0;
            for (from, max_bytes, plan) in plans {
                let old = expected(&before, from, max_bytes, i64::MAX, true);
                let new = expected(&after, from, max_bytes, i64::MAX, true);
                let told = match &plan {
                    Ok(plan) => (plan.len, plan.next_offset),
                    // For a moment the log ends at the cut.
                    Err(ReadError::OffsetOutOfRange { log_end_offset, .. }) => {
                        assert_eq!(*log_end_offset, Offset(30));
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                let of = |batches: &[&Kept]| {
                    let len = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
                    (len, batches.last().map(|batch| Offset(batch.next_offset)))
                };
                let mut cut = before.clone();
                cut.truncate(30);
                let short = of(&expected(&cut, from, max_bytes, i64::MAX, true));
                assert!(
                    told == of(&old) || told == of(&new) || told == short,
                    "from {from} after {delay}: {told:?}"
                );
                changed += u32::from(of(&old) != of(&new) && told == of(&new));
            }
            changed
        });
    }
    assert!(overtaken > 20, "{overtaken} reads were late enough");
}

/// A read of many files, the last of which go while it is at the first.
#[test]
fn a_read_that_a_truncation_overtakes_begins_again() {
    let config = || LogConfig {
        segment_bytes: 1_000,
        ..LogConfig::default()
    };
    let mut overtaken = 0;
    for delay in 0..20 {
        let (_simulation, node, before) = written(delay, 400, config());
        overtaken += run(&node, move |reactor| async move {
            let log = open(&reactor, small_store(), config()).await;
            let log = log.expect("opens").log;
            let read_from = log.clone();
            let reading = async move { read_from.read(Offset(0), 1 << 20, ALL, true).await };
            let reading = reactor.spawn(TaskQueue::Requests, reading);
            reactor.sleep(Duration::from_micros(100 * delay)).await;
            let end = log.truncate_to(Offset(31)).await.expect("truncated");
            let plan = reading.await.expect("it ends").expect("readable");
            let mut cut = before.clone();
            cut.truncate(end.0);
            if plan.len == before.bytes().len() as u64 {
                return 0;
            }
            assert_eq!(plan.len, cut.bytes().len() as u64);
            assert_eq!(plan.next_offset, Some(end));
            1
        });
    }
    assert!(overtaken > 5, "{overtaken} reads were overtaken");
}

#[test]
fn an_index_that_cannot_be_read_is_an_error_that_names_it() {
    let config = || LogConfig {
        segment_bytes: 5 * batch(2, 50, 1).len() as u32,
        ..LogConfig::default()
    };
    let (_simulation, node, _) = written(9, 15, config());
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config()).await;
        let log = opened.expect("opens").log;
        let index = "/data/t-0/00000000000000000010.index";
        disk.inject(DiskFault::new(DiskOperation::Open, index, EIO));
        let error = plan(&log, 14).await.err();
        match &error {
            Some(ReadError::Storage(StorageError::Io { path, .. })) => {
                assert_eq!(path.to_str(), Some(index));
            }
            other => panic!("{other:?}"),
        }
        assert!(plan(&log, 14).await.is_ok(), "it was only once");
    });
}

/// An entry that leads to the end of its segment would hide what is before it.
#[test]
fn an_entry_that_leads_behind_its_segment_is_not_followed() {
    let len = batch(2, 50, 1).len() as u32;
    let config = move || LogConfig {
        segment_bytes: 5 * len,
        ..LogConfig::default()
    };
    for position in [5 * len, 5 * len + 1] {
        let (_simulation, node, model) = written(10, 15, config());
        let lie = [1, position].map(u32::to_be_bytes).concat();
        node.plant_file("/data/t-0/00000000000000000010.index", &lie);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), config()).await;
            let log = opened.expect("opens").log;
            let bytes = follow(&reactor, &log, 14, 1).await;
            assert_eq!(bytes, model.bytes_from(14));
        });
    }
}

/// One that leads to a batch, but to one behind what is looked for, would hide what is between.
#[test]
fn an_entry_that_leads_too_far_is_not_followed_and_told() {
    let len = batch(2, 50, 1).len() as u32;
    let config = move || LogConfig {
        segment_bytes: 10 * len,
        index_interval_bytes: 4 * len,
        ..LogConfig::default()
    };
    for by_time in [false, true] {
        let complaints = Complaints::default();
        complaints.listen(|| {
            let (_simulation, node, model) = written(11, 30, config());
            // Offset 23 is in the second batch of its segment, not in the seventh.
            let lie = [3, 6 * len].map(u32::to_be_bytes).concat();
            node.plant_file("/data/t-0/00000000000000000020.index", &lie);
            run(&node, move |reactor| async move {
                let opened = open(&reactor, small_store(), config()).await;
                let log = opened.expect("opens").log;
                if by_time {
                    // The index of times has an entry that is below, and in the index.
                    let found = log.offset_for_timestamp(18, ALL).await;
                    let offset = found.expect("readable").map(|found| found.offset.0);
                    assert_eq!(offset, Some(35));
                } else {
                    let bytes = follow(&reactor, &log, 24, 1).await;
                    assert_eq!(bytes, model.bytes_from(24));
                }
            });
        });
        let told = complaints.take();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("the offset index of segment 20 was made anew"));
    }
}

#[test]
fn the_end_of_a_long_answer_is_found_by_the_index() {
    let config = || LogConfig {
        index_interval_bytes: 300,
        ..LogConfig::default()
    };
    let (_simulation, node, model) = written(11, 400, config());
    let disk = node.clone();
    run(&node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config()).await;
        let log = opened.expect("opens").log;
        let len = model.batches[0].bytes.len();
        for (max_bytes, upper) in [(300 * len + 1, ALL), (1 << 20, Offset(601))] {
            // Where it begins, and where it ends.
            let fault = DiskFault::new(DiskOperation::Read, FIRST_LOG, EIO);
            disk.inject(fault.after(2).always());
            let plan = log.read(Offset(0), max_bytes, upper, true).await;
            let plan = plan.expect("two reads are enough");
            assert_eq!(plan.next_offset, Some(Offset(600)));
            disk.clear_faults();
        }
    });
}

#[test]
fn an_answer_is_loaded_in_large_pieces() {
    let config = LogConfig::default;
    let (_simulation, node) = simulation(12);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        let mut model = Model::default();
        append(&opened.log, &mut model, 0, &batch(1, 1 << 20, 1));
        assert!(stop(&reactor, &opened).await);
        let log = open(&reactor, small_store(), config()).await;
        let plan = plan(&log.expect("opens").log, 0).await.expect("readable");
        disk.inject(
            DiskFault::new(DiskOperation::Read, FIRST_LOG, EIO)
                .after(5)
                .always(),
        );
        let bytes = plan.load_contiguous(&reactor).await.expect("five reads");
        assert_eq!(bytes, model.bytes());
    });
}
