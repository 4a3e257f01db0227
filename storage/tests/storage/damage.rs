//! Bytes that changed on the disk: an index or a snapshot is made anew, a damaged end is cut off,
//! and damage below the recovery point is an error that names file and position. Never a panic,
//! never records that were not written.

use std::path::Path;

use millstream_protocol::record_batch::{BatchHeader, BatchView};
use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, KeepUnsynced, Node};
use millstream_storage::{AppendOrigin, Log, LogConfig, ReadError, StorageError};
use proptest::prelude::*;

use crate::harness::*;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 6_000,
        index_interval_bytes: 300,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

/// A node with a log of several segments, and what is in it.
fn written(seed: u64, clean: bool) -> (millstream_reactor::sim::Simulation, Node, Model) {
    let (simulation, node) = simulation(seed);
    let model = run(&node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        let mut model = Model::default();
        for index in 0..60 {
            let batch = produced(2, 100 + index % 90, (3, 0, 2 * index as i32));
            append(&opened.log, &mut model, index as i32 / 25, &batch);
            if index == 40 {
                opened.store.checkpoint().await.expect("made");
            }
            opened.log.flush().await.expect("flushed");
        }
        if clean {
            assert!(stop(&reactor, &opened).await);
        }
        model
    });
    if !clean {
        node.crash(CrashOptions::keep(KeepUnsynced::All));
    }
    (simulation, node, model)
}

fn names(node: &Node, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = run(node, |reactor| async move {
        reactor.fs().read_dir(DIR.as_ref()).await.expect("there")
    });
    let names = entries.into_iter().map(|entry| entry.name);
    names.filter(|name| wanted(name)).collect()
}

/// Where batch `index` of the model lies: its segment's file and the position there.
fn place(node: &Node, model: &Model, index: usize) -> (String, u64) {
    let offset = model.batches[index].base_offset;
    let bases = names(node, |name| name.ends_with(".log"));
    let base: i64 = bases
        .iter()
        .map(|name| name[..20].parse().expect("an offset"))
        .rfind(|base| *base <= offset)
        .expect("the log starts at 0");
    let before = model.batches[..index].iter();
    let position = before
        .filter(|batch| batch.base_offset >= base)
        .map(|batch| batch.bytes.len() as u64)
        .sum();
    (format!("{DIR}/{base:020}.log"), position)
}

/// Everything is found by offset and by time.
async fn check(reactor: &Reactor, log: &Log, model: &Model) {
    for from in [0, model.end() / 3, model.end() / 2, model.end() - 1] {
        for budget in [1, 1_000] {
            let read = follow(reactor, log, from, budget).await;
            assert_eq!(read, model.bytes_from(from), "from {from}");
        }
    }
    let first = log
        .offset_for_timestamp(1_001, Offset(i64::MAX))
        .await
        .expect("readable");
    assert_eq!(first.map(|found| found.offset.0), Some(1));
    let sequence =
        log.with_producer_states(|states| states.get(3).expect("it wrote").last_sequence());
    assert_eq!(i64::from(sequence), model.end() - 1);
}

fn open_and_check(node: &Node, model: &Model) {
    let model = model.clone();
    run(node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        assert_eq!(opened.log.log_end_offset().0, model.end());
        check(&reactor, &opened.log, &model).await;
        // A truncation finds its place, too.
        let end = opened.log.truncate_to(Offset(model.end() / 2)).await;
        let mut model = model;
        model.truncate(end.expect("truncated").0);
        assert_eq!(model.end(), opened.log.log_end_offset().0);
        check(&reactor, &opened.log, &model).await;
    });
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip(u64, u8),
    Cut(u64),
    Garbage(u64),
    Remove,
}

fn harms() -> impl Strategy<Value = Harm> {
    prop_oneof![
        6 => (any::<u64>(), 0u8..8).prop_map(|(at, bit)| Harm::Flip(at, 1 << bit)),
        1 => any::<u64>().prop_map(Harm::Cut),
        1 => any::<u64>().prop_map(Harm::Garbage),
        1 => Just(Harm::Remove),
    ]
}

fn harm(node: &Node, path: &str, harm: Harm) {
    let mut content = node.read_current(path).expect("it is there");
    match harm {
        Harm::Flip(at, bit) if !content.is_empty() => {
            node.corrupt(path, at % content.len() as u64, bit);
            return;
        }
        Harm::Flip(..) => return,
        Harm::Cut(at) => content.truncate((at % (content.len() as u64 + 1)) as usize),
        Harm::Garbage(seed) => {
            let mut state = seed | 1;
            for byte in &mut content {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (state >> 33) as u8;
            }
        }
        Harm::Remove => {
            let path = path.to_owned();
            run(node, move |reactor| async move {
                reactor
                    .fs()
                    .remove_file(path.as_ref())
                    .await
                    .expect("removed");
                reactor.fs().sync_dir(DIR.as_ref()).await.expect("synced");
            });
            return;
        }
    }
    node.plant_file(path, &content);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn indexes_and_snapshots_are_made_anew(
        seed in any::<u64>(),
        clean in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), harms()), 1..5),
    ) {
        let (_simulation, node, model) = written(seed, clean);
        let files = names(&node, |name| name.ends_with("index") || name.ends_with(".snapshot"));
        let mut harmed = Vec::new();
        for (file, how) in damage {
            let name = file.get(&files);
            if !harmed.contains(name) {
                harmed.push(name.clone());
                harm(&node, &format!("{DIR}/{name}"), how);
            }
        }
        open_and_check(&node, &model);
    }

    #[test]
    fn a_harmed_checkpoint_costs_only_time(seed in any::<u64>(), how in harms()) {
        let (_simulation, node, model) = written(seed, false);
        harm(&node, "/data/millstream-checkpoint-0", how);
        open_and_check(&node, &model);
    }

    /// Whatever bit of a segment flips: what is read are batches that were written, or the one
    /// that was hit, which its CRC or its offset gives away.
    #[test]
    fn a_flipped_bit_never_gives_other_records(
        seed in any::<u64>(),
        hit in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        clean in any::<bool>(),
    ) {
        let (_simulation, node, model) = written(seed, clean);
        let index = hit.index(model.batches.len());
        let (path, position) = place(&node, &model, index);
        let len = model.batches[index].bytes.len();
        node.corrupt(&path, position + at.index(len) as u64, 1 << bit);
        run(&node, move |reactor| async move {
            match open(&reactor, small_store(), config()).await {
                Ok(opened) => read_what_can_be(&reactor, &opened.log, &model, index).await,
                Err(error) => assert!(
                    matches!(&error, StorageError::Damaged { path: found, .. }
                        if found == Path::new(&path)),
                    "{error}"
                ),
            }
        });
    }
}

/// Reads from every batch's offset.
async fn read_what_can_be(reactor: &Reactor, log: &Log, model: &Model, hit: usize) {
    let end = log.log_end_offset().0;
    for (index, batch) in model.batches.iter().enumerate() {
        if batch.base_offset >= end {
            assert!(hit <= index, "only what follows the damage is cut off");
            return;
        }
        let read = log
            .read(Offset(batch.base_offset), 1, Offset(i64::MAX), true)
            .await;
        let bytes = match read {
            Ok(plan) => plan.load_contiguous(reactor).await.expect("readable"),
            Err(ReadError::Storage(StorageError::Damaged { .. })) => continue,
            Err(error) => panic!("{error}"),
        };
        if bytes != batch.bytes {
            let view = BatchView::parse(&bytes);
            let bad = &model.batches[hit].bytes;
            let is_hit = view.is_err() || bytes.len() != bad.len() || {
                let differing = bytes.iter().zip(bad).filter(|(a, b)| a != b);
                differing.count() == 1
            };
            assert!(is_hit, "batch {index} is another than what was written");
        }
    }
}

#[test]
fn damage_below_the_recovery_point_is_named() {
    let (_simulation, node, model) = written(1, true);
    let hit = 20;
    let (path, position) = place(&node, &model, hit);
    // The magic byte, which every search looks at.
    node.corrupt(&path, position + 16, 0x40);
    run(&node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        let log = &opened.log;
        let offset = Offset(model.batches[hit].base_offset);
        let error = log.read(offset, 1, Offset(i64::MAX), true).await.err();
        let Some(ReadError::Storage(StorageError::Damaged {
            path: found,
            position: at,
            ..
        })) = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((found.as_path(), *at), (Path::new(&path), position));
        let message = error.expect("an error").to_string();
        assert!(
            message.contains(&format!("damaged at position {position}")),
            "{message}"
        );
        // What lies beside it is there, and the log goes on.
        let before = log.read(Offset(0), 1, Offset(i64::MAX), true).await;
        let before = before.expect("readable").load_contiguous(&reactor).await;
        assert_eq!(before.expect("readable"), model.batches[0].bytes);
        let mut model = model;
        append(log, &mut model, 9, &batch(1, 10, 1));
        log.flush().await.expect("flushed");
        assert!(log.offline().is_none());
    });
}

#[test]
fn a_damaged_end_is_cut_off() {
    let (_simulation, node, mut model) = written(2, false);
    let last = model.batches.len() - 1;
    let (path, position) = place(&node, &model, last);
    node.corrupt(&path, position + 100, 4);
    model.truncate(model.batches[last].base_offset);
    run(&node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        assert!(opened.recovery.truncated_bytes > 0);
        assert_eq!(opened.log.log_end_offset().0, model.end());
        check(&reactor, &opened.log, &model).await;
    });
}

#[test]
fn damage_before_whole_batches_is_not_cut_off() {
    let (_simulation, node, model) = written(3, false);
    let (path, position) = place(&node, &model, model.batches.len() - 3);
    node.corrupt(&path, position + 100, 4);
    run(&node, move |reactor| async move {
        let Err(error) = open(&reactor, small_store(), config()).await else {
            panic!("acknowledged records would be lost");
        };
        assert!(
            matches!(&error, StorageError::Damaged { path: found, position: at, .. }
                if found == Path::new(&path) && *at == position),
            "{error}"
        );
    });
}

#[test]
fn an_unreadable_list_of_epochs_is_named() {
    let (_simulation, node, _) = written(4, true);
    node.corrupt("/data/t-0/leader-epoch-checkpoint", 2, 0x40);
    run(&node, |reactor| async move {
        let error = open(&reactor, small_store(), config()).await.err();
        let error = error.expect("it cannot be read").to_string();
        assert!(error.contains("leader-epoch-checkpoint"), "{error}");
    });
}

/// A batch within a record looks like a batch, and is none.
#[test]
fn a_batch_within_a_record_is_never_read_as_one() {
    let (_simulation, node) = simulation(5);
    run(&node, |reactor| async move {
        let opened = open(&reactor, small_store(), config())
            .await
            .expect("opens");
        let mut model = Model::default();
        let inner = stamped(&batch(1, 50, 1), 2, 0);
        for _ in 0..20 {
            let mut builder = millstream_protocol::record_batch::BatchBuilder::new(
                millstream_protocol::compression::Codec::None,
            );
            builder.push(1, None, Some(&inner), &[]);
            append(
                &opened.log,
                &mut model,
                0,
                &builder.build().expect("not compressed"),
            );
        }
        opened.log.flush().await.expect("flushed");
        assert_eq!(follow(&reactor, &opened.log, 0, 1).await, model.bytes());
        let header = BatchHeader::parse(&inner).expect("a batch");
        assert_eq!(header.base_offset, Offset(2));
        let replicated = opened
            .log
            .append(&inner, LeaderEpoch(0), AppendOrigin::Replication, 1);
        assert!(replicated.is_err(), "its offset is taken");
    });
}

/// Reads the batches around `index`, in a segment whose first batch cannot be read.
fn read_behind_damage(node: &Node, model: &Model, lying_index: bool) {
    let model = model.clone();
    let (first, _) = place(node, &model, 0);
    let (path, position) = place(node, &model, 12);
    assert!(path == first && position > 3_000, "{position} in {path}");
    let damaged = node.clone();
    run(node, move |reactor| async move {
        let opened = open(&reactor, small_store(), config()).await;
        let log = opened.expect("opens").log;
        let read = |offset| {
            let (log, reactor) = (log.clone(), reactor.clone());
            async move {
                let plan = log.read(Offset(offset), 1, Offset(i64::MAX), true).await;
                let bytes = plan.expect("readable").load_contiguous(&reactor).await;
                bytes.expect("readable")
            }
        };
        if lying_index {
            // The search goes astray, and the index is made anew.
            let batch = &model.batches[9];
            assert_eq!(read(batch.base_offset).await, batch.bytes);
        }
        damaged.corrupt(&first, 16, 0xff);
        let batch = &model.batches[12];
        assert_eq!(read(batch.base_offset).await, batch.bytes);
    });
}

#[test]
fn a_search_does_not_read_what_lies_far_before() {
    let (_simulation, node, model) = written(6, true);
    read_behind_damage(&node, &model, false);
}

#[test]
fn an_index_that_was_made_anew_serves_the_next_search() {
    let (_simulation, node, model) = written(6, true);
    let lie = [1_u32, 17, 2, 35].map(u32::to_be_bytes).concat();
    node.plant_file(FIRST_LOG.replace(".log", ".index"), &lie);
    read_behind_damage(&node, &model, true);
}
