//! The way down: what is written and flushed when, in which pieces, and what a fault of the disk on
//! the way comes to.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{
    CrashOptions, DiskFault, DiskOperation, DiskOptions, KeepUnsynced, Node, Simulation,
    SimulationOptions,
};
use millstream_storage::{
    AppendError, AppendOrigin, Durability, Log, LogConfig, StorageError, StoreConfig,
};

use crate::harness::*;

const MIB: usize = 1 << 20;

/// A store with memory for all that a test appends, which does nothing by itself.
fn roomy() -> StoreConfig {
    StoreConfig {
        tail_memory_bytes: 256 * MIB,
        tail_buffer_bytes: MIB,
        checkpoint_interval: Duration::from_secs(1 << 30),
        checkpoint_bytes: u64::MAX,
        ..StoreConfig::new(ROOT, 0)
    }
}

fn config(durability: Durability) -> LogConfig {
    LogConfig {
        durability,
        ..LogConfig::default()
    }
}

async fn opened(reactor: &Reactor, config: LogConfig) -> Rc<Log> {
    open(reactor, roomy(), config).await.expect("opens").log
}

/// A batch of exactly so many bytes.
fn sized(len: usize) -> Bytes {
    (60..100)
        .map(|around| batch(1, len - around, 1))
        .find(|batch| batch.len() == len)
        .expect("what is around the value takes less than that")
}

/// Where a log is written and flushed to, in bytes of batches of this length.
fn positions(log: &Log, len: usize) -> (usize, usize) {
    let bytes = |offset: Offset| offset.0 as usize * len;
    (bytes(log.written_offset()), bytes(log.flushed_offset()))
}

async fn written(log: &Log, offset: i64) {
    loop {
        let progress = log.progress().notified();
        if log.written_offset().0 >= offset {
            return;
        }
        progress.await;
    }
}

/// Whether all that was appended gets flushed together with its write.
async fn is_flushed_by_its_write(log: &Log) -> bool {
    loop {
        let progress = log.progress().notified();
        if log.written_offset() > log.flushed_offset() {
            return false;
        }
        if log.flushed_offset() == log.log_end_offset() {
            return true;
        }
        progress.await;
    }
}

/// What a power cut leaves of a log that is opened again.
fn check_after_power_cut(node: &Node, model: &Model) {
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    let expected = model.bytes();
    run(node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        assert_eq!(follow(&reactor, &log, 0, MIB).await, expected);
    });
}

#[test]
fn a_small_write_is_flushed_with_it_and_a_large_one_after_it() {
    let cases = [
        (&[100][..], true),
        (&[508 << 10], true),
        (&[512 << 10], false),
        // From two buffers, of which the first has 16 KiB.
        (&[10_000, 10_000], false),
    ];
    for (lens, together) in cases {
        let (_simulation, node) = simulation(1);
        run(&node, move |reactor| async move {
            let log = opened(&reactor, config(Durability::Fsync)).await;
            let mut model = Model::default();
            for &len in lens {
                append(&log, &mut model, 0, &sized(len));
            }
            assert_eq!(is_flushed_by_its_write(&log).await, together, "{lens:?}");
        });
    }
}

#[test]
fn a_buffer_of_which_only_the_last_block_is_new_is_written_as_part_of_the_next() {
    let (_simulation, node) = simulation(2);
    run(&node, |reactor| async move {
        let log = opened(&reactor, config(Durability::Fsync)).await;
        let mut model = Model::default();
        append(&log, &mut model, 0, &sized(8192));
        log.flush().await.expect("flushed");
        append(&log, &mut model, 0, &sized(1_000));
        // Has no place in the first buffer.
        append(&log, &mut model, 0, &sized(14_000));
        assert!(is_flushed_by_its_write(&log).await);
    });
}

#[test]
fn without_fsync_no_more_than_8_mib_wait_for_a_flush() {
    let (_simulation, node) = simulation(3);
    run(&node, |reactor| async move {
        let log = opened(&reactor, config(Durability::Written)).await;
        let (mut model, bytes) = (Model::default(), sized(MIB));
        for count in 1..=20 {
            append(&log, &mut model, 0, &bytes);
            written(&log, count).await;
            // Longer than a flush takes.
            reactor.sleep(Duration::from_millis(10)).await;
            assert_eq!(log.flushed_offset().0, count / 8 * 8);
        }
    });
}

#[test]
fn a_write_takes_what_waits_up_to_4_mib_and_a_buffer() {
    for seed in 0..10 {
        let (_simulation, node) = simulation(seed);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let log = opened(&reactor, config(Durability::Written)).await;
            let (mut model, len) = (Model::default(), 100_003);
            let bytes = sized(len);
            for _ in 0..150 {
                append(&log, &mut model, 0, &bytes);
            }
            let (expected, mut before, mut writes) = (model.bytes(), 0, 0);
            while log.written_offset() < log.log_end_offset() {
                log.progress().notified().await;
                let (now, _) = positions(&log, len);
                if now > before {
                    assert!(now - before <= 5 * MIB, "[{before}, {now})");
                    let file = disk.read_current(FIRST_LOG).expect("there");
                    assert!(file[before..now] == expected[before..now]);
                    (before, writes) = (now, writes + 1);
                }
            }
            assert_eq!(writes, 4, "15 MB by 4 MiB");
        });
    }
}

#[test]
fn a_write_goes_on_from_the_end_of_one_buffer_into_the_next() {
    let (_simulation, node) = simulation(4);
    run(&node, |reactor| async move {
        let store = StoreConfig {
            tail_buffer_bytes: 4 * MIB,
            ..roomy()
        };
        let opened = open(&reactor, store, config(Durability::Written)).await;
        let log = opened.expect("opens").log;
        let (mut model, len) = (Model::default(), 100_003);
        let bytes = sized(len);
        // Three smaller buffers, and more than half of one of 4 MiB.
        for _ in 0..45 {
            append(&log, &mut model, 0, &bytes);
        }
        written(&log, 45).await;
        // The rest of it, and a part of another one.
        for _ in 0..25 {
            append(&log, &mut model, 0, &bytes);
        }
        log.progress().notified().await;
        while log.written_offset().0 == 45 {
            log.progress().notified().await;
        }
        assert_eq!(log.written_offset().0, 70);
    });
}

#[test]
fn a_flush_does_not_wait_for_what_is_appended_after_it_and_is_made_once() {
    let (_simulation, node) = simulation(5);
    run(&node, |reactor| async move {
        let log = opened(&reactor, config(Durability::Written)).await;
        let (mut model, bytes) = (Model::default(), sized(100_000));
        append(&log, &mut model, 0, &bytes);
        let more = async {
            for _ in 0..70 {
                append(&log, &mut model, 0, &bytes);
            }
        };
        let (flushed, ()) = futures::join!(log.flush(), more);
        flushed.expect("flushed");
        assert!(log.flushed_offset().0 >= 1);
        assert!(log.flushed_offset() < log.log_end_offset());
        log.flush().await.expect("flushed");
        let end = log.log_end_offset();
        assert_eq!(log.flushed_offset(), end);
        append(&log, &mut model, 0, &bytes);
        written(&log, end.0 + 1).await;
        reactor.sleep(Duration::from_millis(10)).await;
        assert_eq!(log.flushed_offset(), end, "nobody asked for another");
    });
}

/// The sizes that the file has one after the other when these batches are appended, each alone.
fn file_sizes(segment_bytes: u32, lens: &'static [usize], times: usize) -> Vec<usize> {
    let (_simulation, node) = simulation(6);
    let disk = node.clone();
    run(&node, move |reactor| async move {
        let config = LogConfig {
            segment_bytes,
            ..config(Durability::Fsync)
        };
        let log = opened(&reactor, config).await;
        let mut model = Model::default();
        let batches: Vec<Bytes> = lens.iter().map(|&len| sized(len)).collect();
        let mut sizes = Vec::new();
        for _ in 0..times {
            for bytes in &batches {
                append(&log, &mut model, 0, bytes);
                log.flush().await.expect("flushed");
                let size = disk.read_current(FIRST_LOG).expect("there").len();
                if sizes.last() != Some(&size) {
                    sizes.push(size);
                }
            }
        }
        sizes
    })
}

#[test]
fn space_is_made_ahead_by_the_size_of_writes_and_of_what_is_there() {
    const KIB: usize = 1 << 10;
    let large = 1 << 30;
    let kib = |sizes: &[usize]| sizes.iter().map(|size| size * KIB).collect::<Vec<_>>();
    // At least 16 KiB more than is needed.
    assert_eq!(file_sizes(large, &[1_000], 20), kib(&[20]));
    // Then as much more as is there, up to 64 times the write.
    let small = [20, 48, 104, 216, 440, 700, 960, 1_220];
    assert_eq!(file_sizes(large, &[1 << 10], 968), kib(&small));
    // Up to 4 MiB.
    let large_writes = [400, 1_200, 2_800, 6_000, 10_296, 14_496];
    assert_eq!(file_sizes(large, &[200 << 10], 60), kib(&large_writes));
    // No more than a segment takes.
    assert_eq!(file_sizes(30_000, &[1_000], 30), kib(&[20, 32]));
    // None for a write that is large.
    assert_eq!(file_sizes(large, &[512 << 10], 3), kib(&[512, 1024, 1536]));
    assert_eq!(file_sizes(large, &[508 << 10], 1), kib(&[1016]));
}

#[test]
fn a_log_whose_space_cannot_be_made_goes_offline_unless_the_disk_is_full() {
    for (error, goes_offline) in [(EIO, true), (ENOSPC, false)] {
        let (_simulation, node) = simulation(7);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let log = opened(&reactor, config(Durability::Fsync)).await;
            disk.inject(DiskFault::new(DiskOperation::Write, FIRST_LOG, error));
            append(&log, &mut Model::default(), 0, &batch(1, 100, 1));
            let flushed = log.flush().await;
            assert_eq!(flushed.is_err(), goes_offline);
            assert!(log.disk_full().is_none(), "there is room for the write");
            let offline = log.offline().map(|error| error.to_string());
            assert_eq!(offline.is_some(), goes_offline, "{offline:?}");
            let told = offline.is_none_or(|told| told.contains("make space in"));
            assert!(told);
            // What failed is not tried again: nobody knows what is on the disk.
            let (operations, flushed) = (disk.disk_operations(), log.flushed_offset());
            reactor.sleep(Duration::from_secs(1)).await;
            assert_eq!(disk.disk_operations(), operations);
            assert_eq!(log.flushed_offset(), flushed);
        });
    }
}

#[test]
fn an_epoch_without_records_is_not_written_and_one_with_records_before_them() {
    let (_simulation, node) = simulation(8);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let log = opened(&reactor, config(Durability::Fsync)).await;
        let mut model = Model::default();
        append(&log, &mut model, 0, &batch(1, 100, 1));
        log.flush().await.expect("flushed");
        let operations = disk.disk_operations();
        log.assign_leader_epoch(LeaderEpoch(3));
        reactor.sleep(Duration::from_secs(1)).await;
        assert_eq!(disk.disk_operations(), operations);
        append(&log, &mut model, 3, &batch(1, 100, 1));
        log.flush().await.expect("flushed");
        let path = format!("{DIR}/leader-epoch-checkpoint");
        let epochs = disk.read_durable(path).expect("there");
        assert_eq!(String::from_utf8(epochs).expect("text"), "0\n2\n0 0\n3 1\n");
    });
}

#[test]
fn a_log_goes_on_within_a_block_of_its_file_through_several_buffers() {
    // What is appended at once, by its length; only 16 KiB go into the first buffer.
    let cases: [&[&[usize]]; 5] = [
        &[&[100, 20_000]],
        &[&[100, 20_000, 100]],
        &[&[100], &[100, 20_000]],
        &[&[100], &[500, 20_000]],
        &[&[100], &[3_000, 500, 20_000]],
    ];
    for seed in 0..60 {
        let case = cases[seed % cases.len()];
        let (_simulation, node) = simulation(seed as u64);
        let mut model = run(&node, |reactor| async move {
            let opened = open(&reactor, roomy(), LogConfig::default()).await;
            let opened = opened.expect("opens");
            let mut model = Model::default();
            append(&opened.log, &mut model, 0, &sized(5_000));
            assert!(stop(&reactor, &opened).await);
            model
        });
        model = run(&node, move |reactor| async move {
            let log = opened(&reactor, LogConfig::default()).await;
            for at_once in case {
                for &len in *at_once {
                    append(&log, &mut model, 0, &sized(len));
                }
                log.flush().await.expect("flushed");
            }
            assert_eq!(follow(&reactor, &log, 0, MIB).await, model.bytes());
            model
        });
        check_after_power_cut(&node, &model);
    }
}

#[test]
fn a_block_that_was_completed_is_not_written_again() {
    let (_simulation, node) = simulation(12);
    run(&node, |reactor| async move {
        let mut model = Model::default();
        let opened = open(&reactor, roomy(), LogConfig::default()).await;
        let opened = opened.expect("opens");
        append(&opened.log, &mut model, 0, &sized(5_000));
        assert!(stop(&reactor, &opened).await);
        let log = self::opened(&reactor, LogConfig::default()).await;
        append(&log, &mut model, 0, &sized(8_192 - 5_000));
        log.flush().await.expect("flushed");
        append(&log, &mut model, 0, &sized(100));
        // What lies in two places takes a flush of its own.
        assert!(is_flushed_by_its_write(&log).await);
    });
}

#[test]
fn a_log_whose_file_became_shorter_goes_offline() {
    let (_simulation, node) = simulation(9);
    run(&node, |reactor| async move {
        let opened = open(&reactor, roomy(), LogConfig::default()).await;
        let opened = opened.expect("opens");
        append(&opened.log, &mut Model::default(), 0, &sized(6_000));
        assert!(stop(&reactor, &opened).await);
    });
    let disk = node.clone();
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        let file = disk.read_durable(FIRST_LOG).expect("there");
        disk.plant_file(FIRST_LOG, &file[..5_000]);
        log.append(&sized(100), LeaderEpoch(0), AppendOrigin::Client, 1_000)
            .expect("it is in memory");
        let error = log.flush().await.expect_err("the file is damaged");
        assert!(
            matches!(
                &error,
                StorageError::Damaged { path, position: 5_000, .. } if path.ends_with(FIRST_LOG)
            ),
            "{error}"
        );
        assert!(log.offline().is_some());
    });
}

#[test]
fn a_flush_of_more_than_its_own_write_is_not_tried_again_on_a_full_disk() {
    for earlier in [false, true] {
        let (_simulation, node) = simulation(10);
        let disk = node.clone();
        run(&node, move |reactor| async move {
            let durability = match earlier {
                true => Durability::Written,
                false => Durability::Fsync,
            };
            let log = opened(&reactor, config(durability)).await;
            let mut model = Model::default();
            append(&log, &mut model, 0, &sized(1_000));
            if earlier {
                written(&log, 1).await;
            } else {
                log.flush().await.expect("flushed");
            }
            let operations = disk.disk_operations();
            append(&log, &mut model, 0, &sized(30_000));
            while disk.disk_operations() == operations {
                reactor.yield_now().await;
            }
            // Space is being made for the write, which then brings its flush with it.
            log.set_config(config(Durability::Fsync));
            disk.inject(DiskFault::new(DiskOperation::Sync, FIRST_LOG, ENOSPC));
            log.flush().await.expect_err("there was no room");
            assert_eq!(log.offline().is_some(), earlier);
            if !earlier {
                log.flush().await.expect("there is room");
            }
        });
    }
}

#[test]
fn a_flush_that_succeeds_does_not_mean_that_there_is_room() {
    let (_simulation, node) = simulation(11);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let log = opened(&reactor, config(Durability::Written)).await;
        let mut model = Model::default();
        append(&log, &mut model, 0, &sized(1_000));
        written(&log, 1).await;
        disk.set_disk_capacity(Some(0));
        append(&log, &mut model, 0, &sized(100_000));
        while log.disk_full().is_none() {
            log.progress().notified().await;
        }
        log.set_config(config(Durability::Fsync));
        while log.flushed_offset().0 < 1 {
            log.progress().notified().await;
        }
        let refused = log.append(&sized(100), LeaderEpoch(0), AppendOrigin::Client, 1_000);
        assert!(matches!(refused, Err(AppendError::DiskFull(_))));
        disk.set_disk_capacity(None);
        log.flush().await.expect("there is room");
        assert_eq!(follow(&reactor, &log, 0, MIB).await, model.bytes());
    });
}

#[test]
fn what_is_appended_while_a_log_goes_to_rest_is_kept() {
    let micros = Duration::from_micros;
    for seed in 0..20 {
        // Only writes take long, of which one is the cut of a file that goes to rest.
        let simulation = Simulation::new(SimulationOptions {
            seed,
            disk: DiskOptions {
                write_latency: micros(1_000)..=micros(10_000),
                sync_latency: micros(10)..=micros(10),
                directory_latency: micros(10)..=micros(10),
                ..DiskOptions::default()
            },
            ..SimulationOptions::default()
        });
        let node = simulation.add_node("broker");
        node.make_dir(ROOT);
        let disk = node.clone();
        let model = run(&node, |reactor| async move {
            let store = StoreConfig {
                checkpoint_interval: Duration::from_secs(10),
                ..roomy()
            };
            let opened = open(&reactor, store, LogConfig::default()).await;
            let log = opened.expect("opens").log;
            let mut model = Model::default();
            append(&log, &mut model, 0, &sized(1_000));
            reactor.sleep(Duration::from_millis(19_900)).await;
            // It rests after the second checkpoint, whose file is first written under another name.
            let file_is_written = || disk.read_current("/data/millstream-checkpoint-0.tmp");
            while file_is_written().is_none() {
                reactor.sleep(micros(10)).await;
            }
            while file_is_written().is_some() {
                reactor.sleep(micros(10)).await;
            }
            reactor.sleep(micros(500)).await;
            let size = || disk.read_current(FIRST_LOG).expect("there").len();
            assert!(size() > 1_000, "it is not yet cut");
            append(&log, &mut model, 0, &sized(1_000));
            while size() > 1_000 {
                reactor.sleep(micros(10)).await;
            }
            log.flush().await.expect("flushed");
            model
        });
        check_after_power_cut(&node, &model);
    }
}
