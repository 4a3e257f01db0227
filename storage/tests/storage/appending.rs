//! What an append comes to: its answer, the segment it goes to, and the memory that holds it.

use bytes::Bytes;
use millstream_protocol::compression::Codec;
use millstream_protocol::record_batch::BatchBuilder;
use millstream_protocol::{LeaderEpoch, Offset};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{DiskFault, DiskOperation};
use millstream_storage::{
    AppendError, AppendOrigin, Appended, Log, LogConfig, ReadPart, StoreConfig,
};
use std::rc::Rc;
use std::time::Duration;

use crate::harness::*;

fn roomy_store() -> StoreConfig {
    StoreConfig {
        tail_memory_bytes: 8 << 20,
        tail_buffer_bytes: 1 << 20,
        ..small_store()
    }
}

async fn opened(reactor: &Reactor, config: LogConfig) -> Rc<Log> {
    open(reactor, roomy_store(), config)
        .await
        .expect("opens")
        .log
}

fn append_at(log: &Rc<Log>, batch: &[u8], now_ms: i64) -> Appended {
    log.append(batch, LeaderEpoch(0), AppendOrigin::Client, now_ms)
        .expect("it can be appended")
}

/// The batch that holds an offset, and nothing else.
async fn batch_at(reactor: &Reactor, log: &Log, offset: i64) -> Bytes {
    let plan = log.read(Offset(offset), 1, Offset(i64::MAX), true).await;
    let bytes = plan.expect("readable").load_contiguous(reactor).await;
    bytes.expect("readable")
}

#[test]
fn the_answer_has_a_timestamp_only_if_the_broker_stamped_one() {
    let (_simulation, node) = simulation(1);
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        let appended = append_at(&log, &batch(2, 10, 70), 1_000);
        assert_eq!(appended.log_append_time, -1);
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(70, None, Some(b"stamped"), &[]);
        let stamped = builder.log_append_time(5_000).build();
        let appended = append_at(&log, &stamped.expect("not compressed"), 1_000);
        assert_eq!(appended.log_append_time, 5_000);
    });
}

#[test]
fn a_leader_epoch_begins_before_its_first_record() {
    let (_simulation, node) = simulation(2);
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        append_at(&log, &batch(2, 10, 1), 1_000);
        log.assign_leader_epoch(LeaderEpoch(4));
        let begin = LeaderEpoch(4);
        assert_eq!(log.end_offset_for_epoch(begin), (begin, Offset(2)));
        assert_eq!(log.leader_epochs().len(), 2);
        assert_eq!(log.leader_epochs()[1].start_offset, Offset(2));
    });
}

#[test]
fn a_coordinator_writes_nothing_for_a_producer_that_was_fenced() {
    let (_simulation, node) = simulation(3);
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        append_at(&log, &produced(1, 10, (5, 1, 0)), 1_000);
        let stale = produced(1, 10, (5, 0, 0));
        let behind_another = [produced(1, 10, (6, 0, 0)), stale.clone()].concat();
        for batches in [&stale[..], &behind_another] {
            let origin = AppendOrigin::Coordinator;
            let refused = log.append(batches, LeaderEpoch(0), origin, 1_000);
            assert!(matches!(
                refused,
                Err(AppendError::InvalidProducerEpoch {
                    epoch: 0,
                    last_epoch: 1,
                    ..
                })
            ));
        }
        assert_eq!(log.log_end_offset(), Offset(1));
    });
}

#[test]
fn a_batch_may_be_as_large_as_a_segment() {
    let (_simulation, node) = simulation(4);
    run(&node, |reactor| async move {
        let bytes = batch(1, 1_000, 1);
        let with = |segment_bytes| LogConfig {
            segment_bytes,
            ..LogConfig::default()
        };
        let log = opened(&reactor, with(bytes.len() as u32)).await;
        append_at(&log, &bytes, 1_000);
        log.set_config(with(bytes.len() as u32 - 1));
        let refused = log.append(&bytes, LeaderEpoch(0), AppendOrigin::Client, 1_000);
        assert!(matches!(
            refused,
            Err(AppendError::LargerThanSegment { .. })
        ));
    });
}

#[test]
fn a_segment_has_the_offsets_that_its_index_can_hold() {
    let (_simulation, node) = simulation(5);
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        let last = i64::from(i32::MAX);
        let (origin, one) = (AppendOrigin::Replication, batch(1, 10, 1));
        // Compaction leaves such gaps.
        log.append(&stamped(&one, last - 1, 0), LeaderEpoch(0), origin, 1_000)
            .expect("it can be appended");
        for offset in [last, last + 1] {
            let appended = append_at(&log, &one, 1_000);
            assert_eq!(appended.base_offset, Offset(offset));
        }
        assert_eq!(log.segment_base_offsets(), [0, last + 1]);
    });
}

#[test]
fn records_without_a_time_age_from_when_their_segment_was_made() {
    let (_simulation, node) = simulation(6);
    run(&node, |reactor| async move {
        let config = LogConfig {
            segment_ms: 1_000,
            ..LogConfig::default()
        };
        let log = opened(&reactor, config).await;
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(-1, None, Some(b"timeless"), &[]);
        let timeless = builder.build().expect("not compressed");
        let later = 1 << 50;
        for now_ms in [0, later, later + 1_000, later + 1_001] {
            append_at(&log, &timeless, now_ms);
        }
        assert_eq!(log.segment_base_offsets(), [0, 1, 3]);
    });
}

#[test]
fn jitter_makes_segments_shorter_and_none_longer() {
    let (_simulation, node) = simulation(7);
    run(&node, |reactor| async move {
        let config = LogConfig {
            segment_ms: 1_000,
            segment_jitter_ms: 1_000,
            ..LogConfig::default()
        };
        let log = opened(&reactor, config).await;
        for index in 0..400 {
            append_at(&log, &batch(1, 10, 100 * index), 1_000);
        }
        let bases = log.segment_base_offsets();
        let lens: Vec<i64> = bases.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // 11 batches span a second.
        assert!(lens.iter().all(|&len| len <= 11), "{lens:?}");
        assert!(lens.iter().any(|&len| len < 11), "{lens:?}");
    });
}

#[test]
fn jitter_is_anything_up_to_its_most() {
    let (_simulation, node) = simulation(7);
    run(&node, |reactor| async move {
        let config = LogConfig {
            segment_ms: 1_000,
            segment_jitter_ms: 1,
            ..LogConfig::default()
        };
        let log = opened(&reactor, config).await;
        for index in 0..100 {
            append_at(&log, &batch(1, 10, 1_000 * index), 1_000);
        }
        // The first segment has none.
        let bases = &log.segment_base_offsets()[1..];
        let lens: Vec<i64> = bases.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A millisecond less, and the second record is too late.
        assert!(lens.contains(&1) && lens.contains(&2), "{lens:?}");
    });
}

#[test]
fn a_busy_log_gets_few_large_buffers() {
    let (_simulation, node) = simulation(8);
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        for _ in 0..1_000 {
            append_at(&log, &batch(1, 1_000, 1), 1_000);
        }
        let plan = log.read(Offset(0), 2 << 20, Offset(1_000), true).await;
        let plan = plan.expect("readable");
        assert_eq!(plan.next_offset, Some(Offset(1_000)));
        let in_memory = |part: &ReadPart| matches!(part, ReadPart::Memory(_));
        assert!(plan.parts.iter().all(in_memory));
        // 16 KiB, then four times as much each time.
        assert_eq!(plan.parts.len(), 4);
    });
}

#[test]
fn each_batch_of_a_large_append_is_found_in_memory() {
    let (_simulation, node) = simulation(9);
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        append_at(&log, &batch(1, 10, 1), 1_000);
        let fetched: Vec<Vec<u8>> = (1..9)
            .map(|offset| stamped(&batch(1, 3_000, offset), offset, 0))
            .collect();
        let origin = AppendOrigin::Replication;
        log.append(&fetched.concat(), LeaderEpoch(0), origin, 1_000)
            .expect("it can be appended");
        // Backwards, so that no reader goes on where another stopped.
        for (index, expected) in fetched.iter().enumerate().rev() {
            let found = batch_at(&reactor, &log, index as i64 + 1).await;
            assert_eq!(found, expected[..]);
        }
    });
}

#[test]
fn what_is_in_memory_is_not_read_back_to_be_written() {
    let (_simulation, node) = simulation(10);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        let mut model = Model::default();
        append(&log, &mut model, 0, &batch(1, 100, 1));
        log.flush().await.expect("flushed");
        disk.inject(DiskFault::new(DiskOperation::Read, DIR, 5).always());
        // Through several buffers, of which each begins within a block.
        for _ in 0..100 {
            append(&log, &mut model, 0, &batch(1, 1_000, 1));
            log.flush().await.expect("flushed");
        }
        let file = disk.read_durable(FIRST_LOG).expect("there");
        assert_eq!(file[..model.bytes().len()], model.bytes());
    });
}

#[test]
fn when_memory_is_short_the_newest_batches_stay() {
    let (_simulation, node) = simulation(11);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let store = StoreConfig {
            checkpoint_interval: Duration::from_secs(1 << 30),
            ..small_store()
        };
        let opened = open(&reactor, store, LogConfig::default()).await;
        let log = opened.expect("opens").log;
        let mut model = Model::default();
        append(&log, &mut model, 0, &batch(1, 1_000, 1));
        log.flush().await.expect("flushed");
        disk.inject(DiskFault::new(DiskOperation::Read, DIR, 5).always());
        // 300 KB of which 128 KiB fit.
        for index in 1..300 {
            append(&log, &mut model, 0, &batch(1, 1_000, 1));
            log.flush().await.expect("flushed");
            let recent = (index - 40).max(0);
            let expected = &model.batches[recent as usize].bytes;
            assert_eq!(batch_at(&reactor, &log, recent).await, expected[..]);
        }
        let oldest = log.read(Offset(0), 1, Offset(1), true).await;
        let in_memory = oldest.is_ok_and(|plan| matches!(plan.parts[0], ReadPart::Memory(_)));
        assert!(!in_memory, "memory was never short");
    });
}

#[test]
fn nothing_is_appended_while_the_log_is_cut() {
    let (_simulation, node) = simulation(12);
    run(&node, |reactor| async move {
        let log = opened(&reactor, LogConfig::default()).await;
        append_at(&log, &batch(1, 10, 1), 1_000);
        append_at(&log, &batch(1, 10, 1), 1_000);
        let origin = AppendOrigin::Client;
        let meanwhile = async { log.append(&batch(1, 10, 1), LeaderEpoch(0), origin, 1_000) };
        let (cut, refused) = futures::join!(log.truncate_to(Offset(1)), meanwhile);
        assert_eq!(cut.expect("truncated"), Offset(1));
        assert!(matches!(refused, Err(AppendError::Truncating)));
        let appended = append_at(&log, &batch(1, 10, 1), 1_000);
        assert_eq!(appended.base_offset, Offset(1));
    });
}
