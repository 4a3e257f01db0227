//! What opening a log after a crash reads, keeps, cuts off, mends and tells.

use std::collections::BTreeMap;
use std::path::Path;

use millstream_protocol::record_batch::BatchHeader;
use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{
    CrashOptions, DiskFault, DiskOperation, KeepUnsynced, Node, Simulation,
};
use millstream_storage::{AppendOrigin, Log, LogConfig, Recovery, StorageError};
use proptest::prelude::*;

use crate::harness::*;
use crate::logging::Complaints;

mod side_files;

/// Where the logs begin: far from 0, where offsets would also be distances.
pub const START: i64 = 1_000;
const CHECKPOINT: &str = "/data/millstream-checkpoint-0";
const KAFKAS_RECOVERY_POINTS: &str = "/data/recovery-point-offset-checkpoint";

pub fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 300,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

pub async fn opened(reactor: &Reactor) -> Opened {
    let opened = open(reactor, small_store(), config()).await;
    opened.expect("opens")
}

/// A log that begins at [`START`], and what is in it.
pub async fn begun(reactor: &Reactor) -> (Opened, Model) {
    let opened = opened(reactor).await;
    let started = opened.log.truncate_fully_and_start_at(Offset(START)).await;
    started.expect("it can start anywhere");
    let model = Model {
        start: START,
        ..Model::default()
    };
    (opened, model)
}

/// What a broker does with a log between two crashes.
#[derive(Debug, Clone)]
pub enum Step {
    Append {
        count: usize,
        len: usize,
        producer: i64,
        /// How much later its timestamps are than those before.
        later: i64,
        under_next_epoch: bool,
    },
    Flush,
    Checkpoint,
    /// Cuts off this part of the log, in hundredths.
    Truncate(i64),
}

pub fn appends(later: impl Strategy<Value = i64>) -> impl Strategy<Value = Step> {
    let fields = (1usize..4, 1usize..300, 0i64..3, later, 0u8..10);
    fields.prop_map(|(count, len, producer, later, epoch)| Step::Append {
        count,
        len,
        producer,
        later,
        under_next_epoch: epoch == 0,
    })
}

pub fn keeps() -> impl Strategy<Value = KeepUnsynced> {
    prop_oneof![
        Just(KeepUnsynced::All),
        Just(KeepUnsynced::None),
        Just(KeepUnsynced::Random)
    ]
}

fn header(batch: &Kept) -> BatchHeader {
    BatchHeader::parse(&batch.bytes).expect("a batch")
}

fn latest_epoch(model: &Model) -> i32 {
    let last = model.batches.last();
    last.map_or(0, |last| header(last).partition_leader_epoch.0)
}

async fn take(step: &Step, reactor: &Reactor, node: &Node, opened: &Opened, model: &mut Model) {
    let log = &opened.log;
    match *step {
        Step::Append {
            count,
            len,
            producer,
            later,
            under_next_epoch,
        } => {
            let last = model.batches.last();
            let timestamp = last.map_or(5_000, |last| header(last).max_timestamp + later);
            let sequence = log.with_producer_states(|states| {
                let state = states.get(producer);
                state.map_or(0, |state| state.last_sequence() + 1)
            });
            let producer = Some((producer, 0, sequence));
            let epoch = latest_epoch(model) + i32::from(under_next_epoch);
            append(log, model, epoch, &build(count, len, timestamp, producer));
        }
        Step::Flush => log.flush().await.expect("flushed"),
        Step::Checkpoint => opened.store.checkpoint().await.expect("made"),
        Step::Truncate(part) => {
            let end = model.end();
            let target = end - (end - model.start) * part / 100;
            let cut = log.truncate_to(Offset(target)).await.expect("truncated");
            model.truncate(target);
            assert_eq!(cut.0, model.end(), "cut between two batches");
            check_state(log, model).await;
            let snapshots = snapshots(reactor).await;
            assert!(snapshots.iter().all(|&snapshot| snapshot <= cut.0));
            if target < end && part % 2 == 0 {
                opened.store.checkpoint().await.expect("made");
                check_segments(reactor, node, log, model).await;
            }
        }
    }
}

/// All that the log knows is what its batches say.
pub async fn check_state(log: &Log, model: &Model) {
    assert_eq!(log.log_end_offset().0, model.end());
    assert_eq!(log.log_start_offset().0, model.start);
    assert_eq!(log.size(), model.bytes().len() as u64);
    let (mut producers, mut epochs) = (BTreeMap::new(), Vec::new());
    let mut latest: Option<(i64, i64)> = None;
    for batch in &model.batches {
        let header = header(batch);
        producers.insert(
            header.producer_id.0,
            (header.last_sequence(), header.last_offset().0),
        );
        let epoch = header.partition_leader_epoch.0;
        if epochs.last().is_none_or(|&(last, _)| last < epoch) {
            epochs.push((epoch, batch.base_offset));
        }
        if latest.is_none_or(|(timestamp, _)| header.max_timestamp > timestamp) {
            latest = Some((header.max_timestamp, header.last_offset().0));
        }
    }
    let known: BTreeMap<i64, (i32, i64)> = log.with_producer_states(|states| {
        let last = states.iter().map(|(id, state)| {
            let last = state.batches.iter().last().expect("it wrote");
            (id, (last.last_sequence, last.last_offset))
        });
        last.collect()
    });
    assert_eq!(known, producers);
    let known = log.leader_epochs();
    let known: Vec<_> = known
        .iter()
        .map(|e| (e.epoch.0, e.start_offset.0))
        .collect();
    assert_eq!(known, epochs);
    let found = log.max_timestamp_offset(Offset(i64::MAX)).await;
    let found = found.expect("readable");
    assert_eq!(found.map(|found| (found.timestamp, found.offset.0)), latest);
}

/// Of the checkpoint that recovery would start from: the recovery point, and whether it says where
/// that lies.
fn recovery_point(node: &Node) -> Option<(i64, bool)> {
    let files = [CHECKPOINT, "/data/millstream-checkpoint-start"];
    let text = files.iter().find_map(|path| {
        // A rename may outlive the crash that it was not synced before.
        let text = String::from_utf8(node.read_current(path)?).expect("text");
        text.contains("\nt 0 ").then_some(text)
    })?;
    let line = text.lines().nth(1).expect("one log");
    let fields: Vec<&str> = line.split(' ').collect();
    let number = |field: usize| fields[field].parse::<i64>().expect("a number");
    Some((number(3), number(4) >= 0))
}

fn log_bytes(node: &Node, bases: &[i64]) -> u64 {
    let len = |base: &i64| {
        let content = node.read_current(format!("{DIR}/{base:020}.log"));
        content.expect("there").len() as u64
    };
    bases.iter().map(len).sum()
}

/// Opens the log after a crash before which all below `flushed` was flushed.
async fn check_recovery(reactor: &Reactor, node: &Node, model: &mut Model, flushed: i64) -> Opened {
    let point = recovery_point(node);
    let found = log_bytes(node, &bases_in_folder(reactor).await);
    let opened = opened(reactor).await;
    let log = &opened.log;
    let end = log.log_end_offset().0;
    assert!(end >= flushed, "ends at {end}, {flushed} was flushed");
    model.truncate(end);
    check_state(log, model).await;
    check_segments(reactor, node, log, model).await;
    assert_eq!(follow(reactor, log, model.start, 700).await, model.bytes());

    let bases = log.segment_base_offsets();
    let scanned_from = match point {
        Some((offset, true)) => offset,
        Some((offset, false)) => *bases.iter().rfind(|base| **base <= offset).expect("one"),
        None => model.start,
    };
    let scanned = model.bytes_from(scanned_from).len() as u64;
    assert_eq!(opened.recovery.scanned_bytes, scanned);
    assert_eq!(opened.recovery.truncated_bytes, found - log.size());

    check_epochs_file(node, log);
    let snapshots = snapshots(reactor).await;
    assert!(
        snapshots.iter().all(|offset| *offset <= end),
        "{snapshots:?}"
    );
    opened
}

/// The device knows the leader epochs that the log knows.
fn check_epochs_file(node: &Node, log: &Log) {
    let epochs = log.leader_epochs();
    let lines = epochs
        .iter()
        .map(|e| format!("{} {}\n", e.epoch, e.start_offset));
    let expected = format!("0\n{}\n{}", epochs.len(), lines.collect::<String>());
    let text = node.read_durable(format!("{DIR}/leader-epoch-checkpoint"));
    let text = String::from_utf8(text.expect("there")).expect("text");
    assert_eq!(text, expected);
}

/// Lives of a log, each ended by a crash. Nothing that a recovery does is worth a warning.
pub fn live(seed: u64, lives: Vec<(Vec<Step>, KeepUnsynced)>) {
    let complaints = Complaints::default();
    complaints.listen(|| {
        let (_simulation, node) = simulation(seed);
        let mut model = run(&node, |reactor| async move {
            let (opened, model) = begun(&reactor).await;
            opened.store.checkpoint().await.expect("made");
            model
        });
        let mut flushed = START;
        for (steps, keep) in lives {
            let disk = node.clone();
            (model, flushed) = run(&node, move |reactor| async move {
                let opened = check_recovery(&reactor, &disk, &mut model, flushed).await;
                for step in &steps {
                    take(step, &reactor, &disk, &opened, &mut model).await;
                }
                (model, opened.log.flushed_offset().0)
            });
            node.crash(CrashOptions::keep(keep));
        }
        let disk = node.clone();
        run(&node, move |reactor| async move {
            check_recovery(&reactor, &disk, &mut model, flushed).await;
        });
    });
    assert_eq!(complaints.take(), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_recovered_log_is_one_that_never_crashed(
        seed in any::<u64>(),
        lives in prop::collection::vec(
            (
                prop::collection::vec(
                    prop_oneof![
                        8 => appends(0i64..3),
                        2 => Just(Step::Flush),
                        1 => Just(Step::Checkpoint),
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

/// Batches of one record, a producer's and two to an entry of the index, as a crash left them that
/// lost nothing; the first `below` are below the recovery point.
pub fn crashed(seed: u64, below: usize, count: usize) -> (Simulation, Node, Model) {
    let (simulation, node) = simulation(seed);
    let disk = node.clone();
    let (model, checkpoint) = run(&node, move |reactor| async move {
        let (opened, mut model) = begun(&reactor).await;
        opened.store.checkpoint().await.expect("made");
        let mut checkpoint = disk.read_durable(CHECKPOINT).expect("there");
        for index in 0..count {
            let producer = Some((3, 0, index as i32));
            let bytes = build(1, 100, 5_000 + index as i64, producer);
            append(&opened.log, &mut model, (index / 4) as i32, &bytes);
            opened.log.flush().await.expect("flushed");
            if index + 1 == below {
                opened.store.checkpoint().await.expect("made");
                checkpoint = disk.read_durable(CHECKPOINT).expect("there");
            }
        }
        (model, checkpoint)
    });
    node.crash(CrashOptions::keep(KeepUnsynced::All));
    // Full segments bring checkpoints of their own.
    node.plant_file(CHECKPOINT, &checkpoint);
    (simulation, node, model)
}

/// Opens the log, which holds all of the model, and says what opening it came to.
pub fn open_whole(node: &Node, model: &Model) -> Recovery {
    let (disk, model) = (node.clone(), model.clone());
    run(node, move |reactor| async move {
        let opened = opened(&reactor).await;
        check_state(&opened.log, &model).await;
        check_segments(&reactor, &disk, &opened.log, &model).await;
        check_epochs_file(&disk, &opened.log);
        opened.recovery
    })
}

fn open_error(node: &Node) -> StorageError {
    let error = run(node, |reactor| async move {
        open(&reactor, small_store(), config()).await.err()
    });
    error.expect("it cannot be opened")
}

/// What the segment with this base offset holds.
fn segment(node: &Node, base: i64) -> Vec<u8> {
    node.read_current(segment_file(base, "log")).expect("there")
}

#[test]
fn entries_about_batches_above_the_recovery_point_are_not_believed() {
    let (_simulation, node, model) = crashed(1, 6, 10);
    let batch_len = model.batches[0].bytes.len() as u32;
    let [index, time_index] = ["index", "timeindex"].map(|suffix| segment_file(START, suffix));
    let offsets = node.read_current(&index).expect("there");
    let times = node.read_current(&time_index).expect("there");
    assert_eq!((offsets.len(), times.len()), (2 * 8, 2 * 12));
    let offset_entry =
        |offset: u32, position: u32| [offset, position].map(u32::to_be_bytes).concat();
    let time_entry = |timestamp: i64, offset: u32| {
        [&timestamp.to_be_bytes()[..], &offset.to_be_bytes()].concat()
    };
    // The recovery point is at offset 6 of the segment, where the seventh batch begins.
    let lies = [
        (offset_entry(5, 6 * batch_len), vec![]),
        (offset_entry(6, 6 * batch_len - 1), vec![]),
        (offset_entry(9, 9 * batch_len), vec![]),
        (vec![], time_entry(9_000, 6)),
        (vec![], time_entry(9_000, 8)),
    ];
    for (offset_lie, time_lie) in lies {
        let (_simulation, node, model) = crashed(1, 6, 10);
        node.plant_file(&index, &[&offsets[..], &offset_lie].concat());
        node.plant_file(&time_index, &[&times[..], &time_lie].concat());
        let recovery = open_whole(&node, &model);
        assert_eq!(recovery.scanned_bytes, 4 * u64::from(batch_len));
    }
}

#[test]
fn space_made_ahead_in_an_index_goes_whatever_the_other_has() {
    for suffix in ["index", "timeindex"] {
        let (_simulation, node, model) = crashed(2, 6, 6);
        let path = segment_file(START, suffix);
        let entries = node.read_current(&path).expect("there");
        node.plant_file(&path, &[&entries[..], &[0; 24]].concat());
        open_whole(&node, &model);
    }
}

#[test]
fn indexes_that_are_complete_are_left_alone() {
    for clean in [false, true] {
        let (_simulation, node, model) = crashed(3, 6, 6);
        if clean {
            run(&node, |reactor| async move {
                let opened = opened(&reactor).await;
                assert!(stop(&reactor, &opened).await);
            });
        }
        for operation in [DiskOperation::Write, DiskOperation::Sync] {
            node.inject(DiskFault::new(operation, "index", EIO).always());
        }
        let model = model.clone();
        run(&node, move |reactor| async move {
            let opened = opened(&reactor).await;
            assert_eq!(opened.start.was_clean(), clean);
            check_state(&opened.log, &model).await;
        });
    }
}

#[test]
fn a_file_may_not_end_before_the_recovery_point() {
    let (_simulation, node, mut model) = crashed(4, 6, 10);
    model.truncate(START + 6);
    let bytes = model.bytes();
    let path = segment_file(START, "log");
    node.plant_file(&path, &bytes[..bytes.len() - 1]);
    let error = open_error(&node);
    assert!(
        matches!(&error, StorageError::Damaged { path: found, position, .. }
            if found == Path::new(&path) && *position == bytes.len() as u64 - 1),
        "{error}"
    );
    node.plant_file(&path, &bytes);
    let recovery = open_whole(&node, &model);
    assert_eq!((recovery.scanned_bytes, recovery.truncated_bytes), (0, 0));
}

#[test]
fn everything_is_read_when_the_segment_of_the_recovery_point_is_gone() {
    let (_simulation, node, mut model) = crashed(5, 25, 30);
    let bases = run(
        &node,
        |reactor| async move { bases_in_folder(&reactor).await },
    );
    let last = segment_file(*bases.last().expect("several"), "log");
    run(&node, |reactor| async move {
        let removed = reactor.fs().remove_file(last.as_ref()).await;
        removed.expect("it is there");
    });
    model.truncate(*bases.last().expect("several"));
    let disk = node.clone();
    run(&node, move |reactor| async move {
        let opened = opened(&reactor).await;
        assert_eq!(opened.recovery.scanned_bytes, model.bytes().len() as u64);
        check_state(&opened.log, &model).await;
        let kept = follow(&reactor, &opened.log, START, 700).await;
        assert_eq!(kept, model.bytes());
        assert!(disk.read_durable(segment_file(START, "log")).is_some());
    });
}

#[test]
fn kafkas_recovery_point_lets_whole_segments_out() {
    let (_simulation, node, model) = crashed(6, 0, 30);
    let bases = run(
        &node,
        |reactor| async move { bases_in_folder(&reactor).await },
    );
    assert_eq!(bases.len(), 3);
    let (second, third) = (bases[1], bases[2]);
    let cases = [
        (0, START),
        (second - 1, START),
        (second, second),
        (third - 1, second),
        (third, third),
        (model.end(), third),
        (i64::MAX, third),
    ];
    for (recovery_point, scanned_from) in cases {
        let (_simulation, node, model) = crashed(6, 0, 30);
        let text = |offset: i64| format!("0\n1\nt 0 {offset}\n");
        node.plant_file(KAFKAS_RECOVERY_POINTS, text(recovery_point).as_bytes());
        let starts = "/data/log-start-offset-checkpoint";
        node.plant_file(starts, text(START).as_bytes());
        let recovery = open_whole(&node, &model);
        let scanned = model.bytes_from(scanned_from).len() as u64;
        assert_eq!(recovery.scanned_bytes, scanned, "from {recovery_point}");
    }
}

/// Leaves of batch `torn` and all that follows in its segment only zeros, and of the segments
/// behind it only zeros from `kept` bytes on.
fn tear(node: &Node, model: &Model, torn: usize, kept: usize) -> (i64, u64) {
    let bases = run(
        node,
        |reactor| async move { bases_in_folder(&reactor).await },
    );
    let offset = model.batches[torn].base_offset;
    let base = *bases.iter().rfind(|base| **base <= offset).expect("one");
    let before = model.batches[..torn].iter();
    let before = before.filter(|batch| batch.base_offset >= base);
    let position: usize = before.map(|batch| batch.bytes.len()).sum();
    for later in bases.into_iter().filter(|later| *later >= base) {
        let mut bytes = segment(node, later);
        bytes[if later == base { position } else { kept }..].fill(0);
        node.plant_file(segment_file(later, "log"), &bytes);
    }
    (base, position as u64)
}

/// Tears a batch in the second of three segments: its first, or another.
const TORN: [usize; 2] = [11, 14];

#[test]
fn a_torn_batch_with_nothing_whole_behind_it_ends_the_log() {
    for torn in TORN {
        let (_simulation, node, mut model) = crashed(7, 0, 30);
        let (base, position) = tear(&node, &model, torn, 30);
        let bases = run(
            &node,
            |reactor| async move { bases_in_folder(&reactor).await },
        );
        let found = log_bytes(&node, &bases);
        model.truncate(START + torn as i64);
        let recovery = open_whole(&node, &model);
        assert_eq!(recovery.scanned_bytes, model.bytes().len() as u64);
        let kept = segment(&node, START).len() as u64 + position;
        assert_eq!(recovery.truncated_bytes, found - kept);
        let left = run(&node, |reactor| async move {
            let entries = reactor.fs().read_dir(DIR.as_ref()).await.expect("there");
            let names = entries.into_iter().map(|entry| entry.name);
            names
                .filter(|name| name.contains("index"))
                .collect::<Vec<_>>()
        });
        assert!(
            left.iter()
                .all(|name| name[..20].parse::<i64>().expect("an offset") <= base)
        );
    }
}

#[test]
fn a_recovery_that_is_cut_short_by_crashes_cuts_off_the_same() {
    for torn in TORN {
        let damaged = || {
            let (simulation, node, mut model) = crashed(8, 0, 30);
            tear(&node, &model, torn, 0);
            model.truncate(START + torn as i64);
            (simulation, node, model)
        };
        let (_simulation, node, model) = damaged();
        let before = node.disk_operations();
        open_whole(&node, &model);
        for at in before + 1..=node.disk_operations() {
            let (_simulation, node, model) = damaged();
            node.crash_at_disk_operation(at);
            let reactor = node.reactor();
            node.run(async move { open(&reactor, small_store(), config()).await.is_ok() });
            node.crash(CrashOptions::keep(KeepUnsynced::None));
            open_whole(&node, &model);
        }
    }
}

#[test]
fn a_torn_batch_before_whole_segments_is_an_error() {
    for torn in TORN {
        let (_simulation, node, model) = crashed(9, 0, 30);
        let batch_len = model.batches[0].bytes.len();
        let (base, torn_at) = tear(&node, &model, torn, batch_len);
        let bases = run(
            &node,
            |reactor| async move { bases_in_folder(&reactor).await },
        );
        let error = open_error(&node);
        assert!(
            matches!(&error, StorageError::Damaged { path, position, .. }
                if path == Path::new(&segment_file(base, "log")) && *position == torn_at),
            "{error}"
        );
        let left = run(
            &node,
            |reactor| async move { bases_in_folder(&reactor).await },
        );
        assert_eq!(left, bases, "nothing is removed");
    }
}

#[test]
fn segments_may_not_overlap() {
    let (_simulation, node, model) = crashed(10, 0, 30);
    let overlapping = segment_file(START + 5, "log");
    node.plant_file(&overlapping, &segment(&node, START));
    let error = open_error(&node);
    assert!(
        matches!(&error, StorageError::Damaged { path, .. } if path == Path::new(&overlapping)),
        "{error}"
    );
    assert_eq!(model.start, START);
}

#[test]
fn offsets_may_be_missing_between_segments() {
    let (_simulation, node) = simulation(11);
    let model = run(&node, |reactor| async move {
        let (opened, mut model) = begun(&reactor).await;
        for index in 0..15 {
            // As a leader has them whose log was compacted.
            let base_offset = START + 3 * index;
            let bytes = stamped(&batch(1, 500, 5_000 + index), base_offset, 0);
            let origin = AppendOrigin::Replication;
            let appended = opened.log.append(&bytes, LeaderEpoch(0), origin, 1_000);
            model.add(appended.expect("appended").base_offset, bytes);
            opened.log.flush().await.expect("flushed");
        }
        assert!(opened.log.segment_base_offsets().len() > 3);
        model
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    let disk = node.clone();
    run(&node, move |reactor| async move {
        let log = opened(&reactor).await.log;
        assert_eq!(log.log_end_offset().0, model.end());
        check_segments(&reactor, &disk, &log, &model).await;
    });
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_nothing_is_lost() {
    let names = [
        "partition.metadata",
        "leader-epoch-checkpoint",
        ".snapshot",
        ".index",
        ".timeindex",
        ".log",
    ];
    for name in names {
        let (_simulation, node, model) = crashed(12, 6, 10);
        node.inject(DiskFault::new(DiskOperation::Read, name, EIO).always());
        let error = open_error(&node);
        assert!(
            matches!(&error, StorageError::Io { path, .. }
                if path.to_str().is_some_and(|path| path.ends_with(name))),
            "{name}: {error}"
        );
        node.clear_faults();
        open_whole(&node, &model);
    }
}
