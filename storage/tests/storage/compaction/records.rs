//! Which records stay, and how they lie in the log afterwards.

use super::*;

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    let (_simulation, node) = simulation(1);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        for round in 0..30 {
            let codec = Codec::ALL[round % 5];
            let value = format!("value {round}").repeat(12);
            let own = format!("own {round}");
            let batch = pairs(codec, &[("same", Some(&value)), (&own, Some("v"))]);
            write(log, &mut written, &batch, AppendOrigin::Client);
        }
        seen(log).await;
        let before = log.size();
        assert_eq!(clean_all(&opened).await, 1);
        assert!(log.size() < before * 4 / 5, "{} of {before}", log.size());
        let read = read_all(&reactor, log, 700).await;
        check(&read, &written, true);
        let active = *log.segment_base_offsets().last().expect("one");
        let same: Vec<_> = read
            .records
            .iter()
            .filter(|(offset, record)| **offset < active && record.key.as_deref() == Some(b"same"))
            .collect();
        assert!(same.len() <= 1, "{same:?}");
        // Each answer to a look-up by time is there.
        let found = log.offset_for_timestamp(100, log.log_end_offset()).await;
        let found = found.expect("readable").expect("found");
        assert!(read.records.contains_key(&found.offset.0));
        assert!(stop(&reactor, &opened).await);
        let text = reactor
            .fs()
            .read("/data/cleaner-offset-checkpoint".as_ref())
            .await;
        let checkpoint = OffsetCheckpoint::parse(&text.expect("there")).expect("Kafka's");
        assert_eq!(
            checkpoint.get(TOPIC, PartitionIndex(0)),
            Some(Offset(active))
        );
        let again = open(&reactor, quiet(), config()).await.expect("opens");
        assert_eq!(again.log.first_dirty_offset(), Some(Offset(active)));
        check(&read_all(&reactor, &again.log, 9_000).await, &written, true);
    });
}

#[test]
fn tombstones_go_after_their_horizon_and_nothing_comes_back() {
    let (simulation, node) = simulation(2);
    let _ = simulation;
    run(&node, |reactor| async move {
        let with = LogConfig {
            delete_retention_ms: 5_000,
            ..config()
        };
        let opened = open(&reactor, quiet(), with).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        let filler = "x".repeat(700);
        write(
            log,
            &mut written,
            &pairs(Codec::None, &[("a", Some("1")), ("b", Some("1"))]),
            AppendOrigin::Client,
        );
        write(
            log,
            &mut written,
            &pairs(Codec::Lz4, &[("a", None), ("c", Some("1"))]),
            AppendOrigin::Client,
        );
        let has_a = |read: &Written| read.last_of_keys().contains_key(b"a".as_slice());
        let mut dropped = false;
        for round in 0..12 {
            let key = format!("filler {}", round % 2);
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[(&key, Some(&filler))]),
                AppendOrigin::Client,
            );
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[(&key, Some(&filler))]),
                AppendOrigin::Client,
            );
            seen(log).await;
            clean_all(&opened).await;
            let read = read_all(&reactor, log, 9_000).await;
            check(&read, &written, false);
            if round == 1 {
                assert!(has_a(&read), "it was met a moment ago");
                let batch = read.batches.get(&2).expect("the tombstone's");
                let horizon = batch
                    .delete_horizon_ms()
                    .expect("written by the first cleaning");
                assert!(horizon > reactor.wall_clock_ms());
                assert_eq!(read.records[&2].timestamp, 100, "its own time is kept");
            }
            dropped |= !has_a(&read);
            reactor.sleep(Duration::from_secs(2)).await;
        }
        assert!(dropped, "after its horizon it goes");
    });
}

#[test]
fn the_last_batch_of_a_producer_stays_and_sequences_go_on() {
    let (_simulation, node) = simulation(3);
    let build = |sequence: i32, key: &str, len: usize| {
        let mut builder = BatchBuilder::new(Codec::None).producer(ProducerId(7), 0, sequence);
        builder.push(100, Some(key.as_bytes()), Some(&vec![1; len]), &[]);
        builder.build().expect("not compressed")
    };
    let mut written = run(&node, move |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        write(log, &mut written, &build(0, "k", 10), AppendOrigin::Client);
        for _ in 0..6 {
            let filler = "x".repeat(500);
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[("k", Some(&filler))]),
                AppendOrigin::Client,
            );
        }
        seen(log).await;
        assert_eq!(clean_all(&opened).await, 1);
        let read = read_all(&reactor, log, 9_000).await;
        check(&read, &written, true);
        assert_eq!(read.batches[&0].records_count, 0, "only its header stays");
        written
    });
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    // Without snapshots the producer is known from the batches alone.
    run(&node, move |reactor| async move {
        for entry in reactor.fs().read_dir(DIR.as_ref()).await.expect("there") {
            if entry.name.ends_with(".snapshot") {
                let path = std::path::Path::new(DIR).join(entry.name);
                reactor.fs().remove_file(&path).await.expect("removed");
            }
        }
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        write(
            &opened.log,
            &mut written,
            &build(1, "k", 10),
            AppendOrigin::Client,
        );
    });
}

#[test]
fn what_may_not_be_cleaned_is_left() {
    let (_simulation, node) = simulation(4);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        let now_ms = reactor.wall_clock_ms();
        for round in 0..12i64 {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(now_ms + round, Some(b"k"), Some(&[1; 600]), &[]);
            write(
                log,
                &mut written,
                &builder.build().expect("built"),
                AppendOrigin::Client,
            );
        }
        log.flush().await.expect("flushed");
        let size = log.size();
        log.set_high_watermark(Offset(3));
        assert_eq!(log.segment_base_offsets()[1], 2);
        clean_all(&opened).await;
        assert!(
            log.first_dirty_offset() <= Some(Offset(2)),
            "not above the high watermark"
        );
        log.set_high_watermark(log.log_end_offset());
        log.set_config(LogConfig {
            min_compaction_lag_ms: 60_000,
            ..config()
        });
        let read = read_all(&reactor, log, 9_000).await.records.len();
        clean_all(&opened).await;
        assert_eq!(
            read_all(&reactor, log, 9_000).await.records.len(),
            read,
            "too young"
        );
        log.set_config(LogConfig {
            min_cleanable_dirty_ratio: 1.0,
            ..config()
        });
        assert_eq!(clean_all(&opened).await, 0, "not dirty enough");
        reactor.sleep(Duration::from_secs(5)).await;
        log.set_config(LogConfig {
            min_cleanable_dirty_ratio: 1.0,
            max_compaction_lag_ms: 1_000,
            ..config()
        });
        assert!(clean_all(&opened).await > 0, "it has waited for too long");
        assert!(log.size() < size / 2);
        check(&read_all(&reactor, log, 9_000).await, &written, true);
    });
}

#[test]
fn markers_and_what_transactions_wrote_stay() {
    let (_simulation, node) = simulation(5);
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        write(
            log,
            &mut written,
            &pairs(Codec::None, &[("k", Some("committed"))]),
            AppendOrigin::Client,
        );
        let mut builder = BatchBuilder::new(Codec::Zstd)
            .producer(ProducerId(9), 0, 0)
            .transactional();
        builder.push(100, Some(b"k"), Some(b"aborted"), &[]);
        write(
            log,
            &mut written,
            &builder.build().expect("built"),
            AppendOrigin::Client,
        );
        let marker = control_batch(ControlType::Abort, ProducerId(9), 0, 0, 100);
        write(log, &mut written, &marker, AppendOrigin::Coordinator);
        for round in 0..6 {
            let (key, filler) = (format!("other {round}"), "x".repeat(500));
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[(&key, Some(&filler))]),
                AppendOrigin::Client,
            );
        }
        seen(log).await;
        clean_all(&opened).await;
        let read = read_all(&reactor, log, 9_000).await;
        assert_eq!(
            read.records, written.records,
            "each key came once in a plain batch"
        );
        assert!(read.batches[&2].attributes.is_control());
    });
}

#[test]
fn a_log_that_rots_is_not_cleaned_and_says_where() {
    let (_simulation, node) = simulation(6);
    let disk = node.clone();
    run(&node, |reactor| async move {
        let opened = open(&reactor, quiet(), config()).await.expect("opens");
        let log = &opened.log;
        let mut written = Written::default();
        for _ in 0..8 {
            let filler = "x".repeat(500);
            write(
                log,
                &mut written,
                &pairs(Codec::None, &[("k", Some(&filler))]),
                AppendOrigin::Client,
            );
        }
        seen(log).await;
        disk.corrupt(FIRST_LOG, 200, 1);
        assert_eq!(clean_all(&opened).await, 0);
        assert!(log.offline().is_none());
        assert_eq!(log.segment_base_offsets()[..2], [0, 2]);
    });
}
