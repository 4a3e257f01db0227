//! Crashes at every write, flush and change of a folder, with unsynced sectors kept, lost or torn:
//! what was acknowledged is there afterwards, in order, and nothing that was never appended.
//!
//! Each case lives several lives, so that what one crash leaves behind meets the next.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use millstream_protocol::record_batch::BatchHeader;
use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::sim::{CrashOptions, KeepUnsynced, Node};
use millstream_reactor::{Reactor, TaskQueue};
use millstream_storage::{
    AppendError, AppendOrigin, Durability, LogConfig, REMEMBERED_BATCHES, StoreConfig,
};

use crate::harness::*;

const LIVES: u64 = 3;

/// What a life told its clients before it ended.
#[derive(Default)]
struct Witness {
    model: Model,
    /// Offsets below survive a crash of the process.
    written: i64,
    /// Offsets below survive a power cut.
    flushed: i64,
    /// A truncation was under way: the log may end anywhere from here on.
    truncating_to: Option<i64>,
    /// Records below were deleted, and that was answered.
    start: i64,
    /// Records below may have been deleted.
    deleting_to: i64,
    failed: Option<String>,
}

#[derive(Clone, Copy)]
struct Case {
    seed: u64,
    durability: Durability,
    keep: KeepUnsynced,
    segment_bytes: u32,
}

fn config(case: Case) -> LogConfig {
    LogConfig {
        segment_bytes: case.segment_bytes,
        index_interval_bytes: 300,
        durability: case.durability,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

fn store() -> StoreConfig {
    StoreConfig {
        checkpoint_interval: Duration::from_millis(20),
        ..small_store()
    }
}

/// Opens the log, compares it with what the last life told, and goes on.
async fn life(node: Node, reactor: Reactor, case: Case, witness: Rc<RefCell<Witness>>) {
    let opened = match open(&reactor, store(), config(case)).await {
        Ok(opened) => opened,
        Err(error) => {
            witness.borrow_mut().failed = Some(error.to_string());
            return;
        }
    };
    verify(&reactor, &opened, case, &witness).await;
    watch(&reactor, &opened, &witness);
    let mut random = Random(case.seed ^ opened.log.log_end_offset().0 as u64);
    let epoch = opened
        .log
        .leader_epochs()
        .last()
        .map_or(0, |last| last.epoch.0 + 1);
    opened.log.assign_leader_epoch(LeaderEpoch(epoch));
    for step in 0..14 {
        match random.below(10) {
            0 => {
                let _ = opened.store.checkpoint().await;
            }
            1 if step > 4 => truncate(&opened, &witness, &mut random).await,
            3 | 4 if step > 2 && case.seed.is_multiple_of(3) => {
                truncate(&opened, &witness, &mut random).await
            }
            5 => delete(&opened, &witness, &mut random).await,
            2 => reactor.sleep(Duration::from_millis(random.below(30))).await,
            _ => append_some(&opened, &witness, &mut random, epoch),
        }
        if random.below(3) == 0 {
            let progress = opened.log.progress().notified();
            if opened.log.durable_offset() < opened.log.log_end_offset() {
                progress.await;
            }
        }
        note_progress(&opened, &witness);
        check_device(&node, &opened, &witness.borrow().model);
    }
    if random.below(2) == 0 {
        stop(&reactor, &opened).await;
    } else {
        let _ = opened.log.flush().await;
    }
    note_progress(&opened, &witness);
}

/// Notes every advance of the offsets at once, as a broker that answers its clients does.
fn watch(reactor: &Reactor, opened: &Opened, witness: &Rc<RefCell<Witness>>) {
    let (log, witness) = (opened.log.clone(), witness.clone());
    let watcher = async move {
        let progress = log.progress();
        loop {
            progress.notified().await;
            let mut witness = witness.borrow_mut();
            witness.written = log.written_offset().0;
            witness.flushed = log.flushed_offset().0;
        }
    };
    reactor.spawn(TaskQueue::Requests, watcher).detach();
}

/// What counts as written can be read from the files, and what counts as flushed is durable.
fn check_device(node: &Node, opened: &Opened, model: &Model) {
    let written = opened.log.written_offset().0;
    let flushed = opened.log.flushed_offset().0;
    let bases: Vec<i64> = opened.log.segment_base_offsets();
    let first = bases[0];
    let bytes = |below: i64| -> Vec<u8> {
        let batches = model
            .batches
            .iter()
            .filter(|batch| batch.base_offset >= first && batch.next_offset <= below);
        batches.flat_map(|batch| batch.bytes.clone()).collect()
    };
    let files = |read: &dyn Fn(&str) -> Option<Vec<u8>>, below: i64| -> Vec<u8> {
        let mut all = Vec::new();
        for (index, base) in bases
            .iter()
            .enumerate()
            .take_while(|(_, base)| **base < below)
        {
            let mut file = read(&format!("{DIR}/{base:020}.log")).expect("a segment that counts");
            let next = bases.get(index + 1).copied().unwrap_or(i64::MAX).min(below);
            let len: usize = model
                .batches
                .iter()
                .filter(|batch| batch.base_offset >= *base && batch.next_offset <= next)
                .map(|batch| batch.bytes.len())
                .sum();
            assert!(
                file.len() >= len,
                "segment {base} is {} of {len}",
                file.len()
            );
            file.truncate(len);
            all.extend(file);
        }
        all
    };
    assert!(
        files(&|path| node.read_current(path), written) == bytes(written),
        "written"
    );
    assert!(
        files(&|path| node.read_durable(path), flushed) == bytes(flushed),
        "flushed"
    );
}

fn note_progress(opened: &Opened, witness: &RefCell<Witness>) {
    let mut witness = witness.borrow_mut();
    witness.written = opened.log.written_offset().0;
    witness.flushed = opened.log.flushed_offset().0;
}

fn append_some(opened: &Opened, witness: &RefCell<Witness>, random: &mut Random, epoch: i32) {
    let count = 1 + random.below(3) as usize;
    let len = match random.below(8) {
        0 => 3_000 + random.below(3_000) as usize,
        _ => 1 + random.below(400) as usize,
    };
    let producer = random.below(3) as i64;
    let sequence = opened.log.with_producer_states(|states| {
        states
            .get(producer)
            .map_or(0, |state| state.last_sequence() + 1)
    });
    let bytes = produced(count, len, (producer, 0, sequence));
    match opened
        .log
        .append(&bytes, LeaderEpoch(epoch), AppendOrigin::Client, 1_000)
    {
        Ok(appended) => {
            let base = appended.base_offset;
            let mut witness = witness.borrow_mut();
            assert_eq!(base.0, witness.model.end());
            witness.model.add(base, stamped(&bytes, base.0, epoch));
        }
        Err(AppendError::NoRoom) => (),
        Err(error) => panic!("{error}"),
    }
}

/// Deletes records as a client asks, or as the settings do.
async fn delete(opened: &Opened, witness: &RefCell<Witness>, random: &mut Random) {
    note_progress(opened, witness);
    let log = &opened.log;
    let (start, seen) = (log.log_start_offset().0, log.durable_offset().0);
    let seen = seen.min(log.flushed_offset().0);
    log.set_high_watermark(Offset(seen));
    if seen <= start {
        return;
    }
    let target = start + random.below((seen - start) as u64 / 2 + 1) as i64;
    {
        let mut witness = witness.borrow_mut();
        witness.deleting_to = witness.deleting_to.max(target);
    }
    if random.below(4) > 0 {
        let deleted = log.delete_records(Offset(target)).await.expect("deleted");
        assert_eq!(deleted.0, target.max(start));
        witness.borrow_mut().start = deleted.0;
    }
    let bytes = log.size() as i64;
    let config = log.config();
    if random.below(2) == 0 {
        witness.borrow_mut().deleting_to = seen;
        log.set_config(LogConfig {
            retention_bytes: random.below(bytes as u64 + 1) as i64,
            ..config.clone()
        });
        let removed = log.apply_retention(1_000).await.expect("removed");
        log.set_config(config);
        let start = log.log_start_offset().0;
        let mut witness = witness.borrow_mut();
        witness.deleting_to = start.max(target);
        if removed > 0 {
            witness.start = start;
        }
    }
}

async fn truncate(opened: &Opened, witness: &RefCell<Witness>, random: &mut Random) {
    note_progress(opened, witness);
    let end = opened.log.log_end_offset().0;
    // What consumers have seen is never truncated.
    let least = {
        let witness = witness.borrow();
        let mut batches = witness.model.batches.iter();
        let seen = batches.find(|batch| batch.next_offset >= witness.deleting_to);
        seen.map_or(0, |batch| batch.next_offset)
    };
    let target = (end - random.below(end as u64 / 3 + 1) as i64).max(least);
    witness.borrow_mut().truncating_to = Some(target);
    if let Ok(end) = opened.log.truncate_to(Offset(target)).await {
        let mut witness = witness.borrow_mut();
        witness.model.truncate(end.0);
        assert_eq!(witness.model.end(), end.0);
        witness.truncating_to = None;
    }
}

async fn verify(reactor: &Reactor, opened: &Opened, case: Case, witness: &RefCell<Witness>) {
    let log = &opened.log;
    let end = log.log_end_offset().0;
    {
        let mut witness = witness.borrow_mut();
        let kept = match case.keep {
            KeepUnsynced::All => witness.written,
            KeepUnsynced::None | KeepUnsynced::Random => witness.flushed,
        };
        // The batch that holds the target of a truncation may go, too.
        let least = match witness.truncating_to.take() {
            Some(target) => kept.min(target - 2),
            None => kept,
        };
        assert!(end >= least, "ends at {end}, {least} was acknowledged");
        witness.model.truncate(end);
        assert_eq!(witness.model.end(), end, "the log ends between two batches");
    }
    let expected = witness.borrow().model.clone();
    let start = log.log_start_offset().0;
    {
        let witness = witness.borrow();
        assert!(
            start >= witness.start,
            "starts at {start}, not {}",
            witness.start
        );
        assert!(start <= witness.deleting_to, "starts at {start}");
    }
    let bytes = follow(reactor, log, start, 2_000).await;
    assert_eq!(bytes, expected.bytes_from(start));
    verify_state(opened, &expected, start);
    note_progress(opened, witness);
}

/// Producers, all their batches that can be told again among them, and epochs are what the batches
/// say.
fn verify_state(opened: &Opened, expected: &Model, start: i64) {
    /// Last sequence and last offset of each batch, oldest first.
    type Remembered = BTreeMap<i64, Vec<(i32, i64)>>;

    let mut producers = Remembered::new();
    let mut epochs: Vec<(i32, i64)> = Vec::new();
    for batch in &expected.batches {
        let header = BatchHeader::parse(&batch.bytes).expect("a batch");
        let batches = producers.entry(header.producer_id.0).or_default();
        batches.push((header.last_sequence(), header.last_offset().0));
        if batches.len() > REMEMBERED_BATCHES {
            batches.remove(0);
        }
        let epoch = header.partition_leader_epoch.0;
        if epochs.last().is_none_or(|last| last.0 < epoch) {
            epochs.push((epoch, batch.base_offset));
        }
    }
    // The epoch that covers the first offset begins there.
    let covering = epochs.partition_point(|epoch| epoch.1 <= start);
    epochs.drain(..covering.saturating_sub(1));
    if let Some(first) = epochs.first_mut() {
        first.1 = first.1.max(start);
    }
    let found: Remembered = opened.log.with_producer_states(|states| {
        let batches = states.iter().map(|(id, state)| {
            let batches = state.batches.iter();
            (
                id,
                batches.map(|b| (b.last_sequence, b.last_offset)).collect(),
            )
        });
        batches.collect()
    });
    assert_eq!(found, producers);
    if start == expected.end() {
        // Whether an epoch without records is still known does not matter.
        return;
    }
    let found: Vec<(i32, i64)> = opened
        .log
        .leader_epochs()
        .iter()
        .map(|entry| (entry.epoch.0, entry.start_offset.0))
        .collect();
    assert_eq!(found, epochs);
}

/// Lives that end at random operations of the disk; how many of them were cut short.
fn lives(case: Case) -> u64 {
    let (_simulation, node) = simulation(case.seed);
    let witness = Rc::new(RefCell::new(Witness::default()));
    let mut random = Random(case.seed.wrapping_mul(77));
    let mut crashes = 0;
    for _ in 0..LIVES {
        let at = node.disk_operations() + 1 + random.below(110);
        node.crash_at_disk_operation(at);
        crashes += u64::from(live_once(&node, case, &witness));
    }
    // The last one is let live, and looks at what is there.
    live_once(&node, case, &witness);
    crashes
}

/// Whether the life was cut short.
fn live_once(node: &Node, case: Case, witness: &Rc<RefCell<Witness>>) -> bool {
    let ended = node.run(life(node.clone(), node.reactor(), case, witness.clone()));
    let failed = witness.borrow_mut().failed.take();
    if let Some(failed) = failed.filter(|_| ended.is_some()) {
        panic!("seed {}: cannot be opened: {failed}", case.seed);
    }
    node.crash(CrashOptions::keep(case.keep));
    ended.is_none()
}

fn many(durability: Durability, keep: KeepUnsynced, seeds: Range<u64>) {
    let mut crashes = 0;
    for seed in seeds {
        let case = Case {
            seed,
            durability,
            keep,
            segment_bytes: if seed % 2 == 0 { 20_000 } else { 60_000 },
        };
        let run = std::panic::catch_unwind(|| lives(case));
        match run {
            Ok(count) => crashes += count,
            Err(panic) => {
                eprintln!("seed {seed}, {durability:?}, {keep:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(crashes > 200, "only {crashes} lives were cut short");
}

/// Cuts a life short at each of its disk operations, and the recovery after it once more.
fn at_every_operation(durability: Durability, keeps: &[KeepUnsynced], seeds: Range<u64>) -> u64 {
    let mut cases = 0;
    for (seed, &keep) in seeds.flat_map(|seed| keeps.iter().map(move |keep| (seed, keep))) {
        let case = Case {
            seed,
            durability,
            keep,
            segment_bytes: 20_000,
        };
        let witness = || Rc::new(RefCell::new(Witness::default()));
        let (_simulation, node) = simulation(seed);
        assert!(!live_once(&node, case, &witness()));
        for at in 1..=node.disk_operations() {
            let run = std::panic::catch_unwind(|| {
                let (_simulation, node) = simulation(seed);
                let witness = witness();
                node.crash_at_disk_operation(at);
                let cut_short = live_once(&node, case, &witness);
                node.crash_at_disk_operation(node.disk_operations() + 1 + at % 13);
                live_once(&node, case, &witness);
                live_once(&node, case, &witness);
                cut_short
            });
            match run {
                Ok(cut_short) => cases += u64::from(cut_short),
                Err(panic) => {
                    eprintln!("seed {seed}, operation {at}, {durability:?}, {keep:?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    cases
}

const EVERY_LOSS: [KeepUnsynced; 3] = [KeepUnsynced::All, KeepUnsynced::None, KeepUnsynced::Random];

#[test]
fn fsync_at_every_operation() {
    assert!(at_every_operation(Durability::Fsync, &EVERY_LOSS, 60_000..60_003) > 700);
}

#[test]
fn written_at_every_operation() {
    assert!(at_every_operation(Durability::Written, &EVERY_LOSS, 61_000..61_002) > 400);
}

#[test]
fn memory_at_every_operation() {
    assert!(at_every_operation(Durability::Memory, &EVERY_LOSS, 62_000..62_002) > 400);
}

#[test]
fn fsync_survives_torn_writes() {
    many(Durability::Fsync, KeepUnsynced::Random, 0..200);
}

#[test]
fn fsync_survives_the_loss_of_all_that_is_unsynced() {
    many(Durability::Fsync, KeepUnsynced::None, 10_000..10_150);
}

#[test]
fn written_survives_the_death_of_the_process() {
    many(Durability::Written, KeepUnsynced::All, 20_000..20_150);
}

#[test]
fn written_keeps_a_prefix_after_a_power_cut() {
    many(Durability::Written, KeepUnsynced::Random, 30_000..30_200);
}

#[test]
fn memory_keeps_a_prefix() {
    many(Durability::Memory, KeepUnsynced::All, 40_000..40_150);
    many(Durability::Memory, KeepUnsynced::Random, 50_000..50_150);
}
