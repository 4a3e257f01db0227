//! Files that others wrote: a folder of Apache Kafka 4.3.1 (`fixtures/kafka-4.3.1`, made by
//! `fixtures/make-kafka-folder`) and folders of Millstream's own (`fixtures/millstream-0.1`).
//! They open, every record is read, and the same batches give the same bytes.
//!
//! `MILLSTREAM_WRITE_FIXTURES=1` writes Millstream's own folders anew; only a version that changes
//! its formats on purpose does so, beside the old ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::compression::Codec;
use millstream_protocol::record_batch::{BatchBuilder, BatchHeader};
use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use millstream_reactor::Reactor;
use millstream_reactor::sim::{Node, Simulation};
use millstream_storage::segment_dump::SegmentDump;
use millstream_storage::{
    AppendOrigin, Log, LogConfig, Recovery, ShardStore, StartState, StoreConfig,
    finish_clean_shutdown,
};

use crate::harness::*;

const KAFKAS: &str = "kafka-4.3.1";
const KAFKAS_TOPIC: &str = "orders";
const KAFKAS_BROKER_EPOCH: i64 = 475;
const KAFKAS_END: i64 = 250;
/// Where the log ended when Kafka was stopped and started again.
const KAFKAS_RESTART: i64 = 125;

fn kafkas_id() -> TopicId {
    decode_id("Jq68hjKHQ_yJHU0wRuFwzw")
}

fn kafkas_config() -> LogConfig {
    LogConfig {
        segment_bytes: 6_000,
        index_interval_bytes: 500,
        segment_index_bytes: 200,
        ..LogConfig::default()
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The files below a folder by their paths in it.
fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the fixture is there") {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("plain names");
        if entry.path().is_dir() {
            let below = files_in(&entry.path());
            files.extend(
                below
                    .into_iter()
                    .map(|(path, content)| (format!("{name}/{path}"), content)),
            );
        } else {
            files.insert(name, std::fs::read(entry.path()).expect("readable"));
        }
    }
    files
}

/// Copies files to the node's disk.
fn plant(node: &Node, files: &BTreeMap<String, Vec<u8>>) {
    for (path, content) in files {
        let path = Path::new(ROOT).join(path);
        node.make_dir(path.parent().expect("within the root"));
        node.plant_file(path, content);
    }
}

/// A node with Kafka's folder, at the time when Kafka left it: its producers are not forgotten.
fn kafkas_node(seed: u64, files: &BTreeMap<String, Vec<u8>>) -> (Simulation, Node) {
    let (simulation, node) = simulation(seed);
    let stopped_ms = 1_700_001_700_000;
    node.set_clock_skew(stopped_ms - node.reactor().wall_clock_ms());
    plant(&node, files);
    (simulation, node)
}

/// The segments of a partition, one after the other, from the one with this base offset on.
fn log_bytes(files: &BTreeMap<String, Vec<u8>>, partition: &str, from: i64) -> Vec<u8> {
    let start = format!("{partition}/{from:020}.log");
    let logs = files
        .range(start..)
        .filter(|(path, _)| path.ends_with(".log"));
    let logs = logs.take_while(|(path, _)| path.starts_with(partition));
    logs.flat_map(|(_, content)| content.clone()).collect()
}

fn batches(mut bytes: &[u8]) -> Vec<(BatchHeader, Bytes)> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::parse(bytes).expect("whole batches");
        let (batch, rest) = bytes.split_at(header.size_in_bytes());
        batches.push((header, Bytes::copy_from_slice(batch)));
        bytes = rest;
    }
    batches
}

struct Partitions {
    start: StartState,
    store: Rc<ShardStore>,
    logs: Vec<(Rc<Log>, Recovery)>,
}

async fn open_kafkas(reactor: &Reactor) -> Partitions {
    let start = StartState::take(reactor, ROOT.as_ref())
        .await
        .expect("readable");
    let config = StoreConfig {
        tail_memory_bytes: 2 << 20,
        ..small_store()
    };
    let store = ShardStore::new(reactor.clone(), config, start.clone());
    let mut logs = Vec::new();
    for partition in 0..2 {
        let partition = PartitionIndex(partition);
        let opened = Log::open(
            &store,
            KAFKAS_TOPIC,
            partition,
            kafkas_id(),
            kafkas_config(),
        );
        logs.push(opened.await.expect("opens"));
    }
    Partitions { start, store, logs }
}

/// Stops as a broker with Kafka's broker epoch does.
async fn stop_kafkas(reactor: &Reactor, opened: &Partitions) {
    let closed = opened.store.close().await;
    let (root, start, shards) = (ROOT.as_ref(), &opened.start, [closed]);
    let clean = finish_clean_shutdown(reactor, root, start, &shards, KAFKAS_BROKER_EPOCH);
    assert!(clean.await.expect("the root can be written"));
}

/// All that Kafka's clients wrote is there.
async fn check_kafkas(reactor: &Reactor, opened: &Partitions, files: &BTreeMap<String, Vec<u8>>) {
    let (log, _) = &opened.logs[0];
    assert_eq!(log.log_end_offset(), Offset(KAFKAS_END));
    let bytes = follow(reactor, log, 0, 3_000).await;
    assert_eq!(bytes, log_bytes(files, "orders-0", 0));
    let batches = batches(&bytes);
    let epochs: Vec<(i32, i64)> = epochs_of(log);
    assert_eq!(epochs, [(0, 0), (2, KAFKAS_RESTART)]);
    let mut latest: BTreeMap<i64, i32> = BTreeMap::new();
    for (header, _) in &batches {
        if header.has_producer_id() && header.base_offset.0 >= KAFKAS_RESTART {
            latest.insert(header.producer_id.0, header.last_sequence());
        }
    }
    assert_eq!(latest.len(), 5);
    let producers: BTreeMap<i64, i32> = log.with_producer_states(|states| {
        let states = states.iter();
        states
            .map(|(id, state)| (id, state.last_sequence()))
            .collect()
    });
    for (id, sequence) in &latest {
        assert_eq!(producers.get(id), Some(sequence), "producer {id}");
    }
    for (header, _) in &batches {
        let found = log
            .offset_for_timestamp(header.max_timestamp, Offset(i64::MAX))
            .await
            .expect("readable")
            .expect("there is one");
        assert!(found.timestamp >= header.max_timestamp);
        assert!(found.offset <= header.last_offset());
    }
}

fn epochs_of(log: &Log) -> Vec<(i32, i64)> {
    let epochs = log.leader_epochs();
    let epochs = epochs.iter();
    epochs
        .map(|entry| (entry.epoch.0, entry.start_offset.0))
        .collect()
}

#[test]
fn kafkas_folder_is_taken_over() {
    let files = files_in(&fixture(KAFKAS));
    let (_simulation, node) = kafkas_node(1, &files);
    run(&node, |reactor| async move {
        let opened = open_kafkas(&reactor).await;
        assert!(opened.start.was_clean());
        assert_eq!(opened.start.clean_broker_epoch(), Some(KAFKAS_BROKER_EPOCH));
        for (_, recovery) in &opened.logs {
            assert_eq!(recovery.scanned_bytes, 0);
            assert_eq!(recovery.high_watermark, Offset(KAFKAS_END));
        }
        check_kafkas(&reactor, &opened, &files).await;
        // Records below 40 were deleted, with the segment that held nothing else.
        let (log, _) = &opened.logs[1];
        assert_eq!(log.log_start_offset(), Offset(40));
        assert_eq!(epochs_of(log), [(0, 40), (2, KAFKAS_RESTART)]);
        let expected: Vec<u8> = batches(&log_bytes(&files, "orders-1", 0))
            .into_iter()
            .filter(|(header, _)| header.last_offset().0 >= 40)
            .flat_map(|(_, batch)| batch)
            .collect();
        assert_eq!(follow(&reactor, log, 40, 700).await, expected);
        // The log goes on where Kafka left it.
        let (log, _) = &opened.logs[0];
        let appended = log
            .append(
                &batch(2, 10, 5),
                LeaderEpoch(3),
                AppendOrigin::Client,
                1_000,
            )
            .expect("appended");
        assert_eq!(appended.base_offset, Offset(KAFKAS_END));
        stop_kafkas(&reactor, &opened).await;
        let opened = open_kafkas(&reactor).await;
        assert!(opened.start.was_clean());
        assert_eq!(opened.logs[0].0.log_end_offset(), Offset(KAFKAS_END + 2));
        assert_eq!(opened.logs[1].0.log_start_offset(), Offset(40));
    });
}

#[test]
fn kafkas_folder_is_recovered() {
    let original = files_in(&fixture(KAFKAS));
    let mut files = original.clone();
    // As after a kill, with the indexes lost.
    files.remove(".kafka_cleanshutdown");
    files.remove("recovery-point-offset-checkpoint");
    files.retain(|path, _| !path.ends_with("index") && !path.ends_with(".snapshot"));
    let (_simulation, node) = kafkas_node(2, &files);
    let originals = original.clone();
    run(&node, |reactor| async move {
        let opened = open_kafkas(&reactor).await;
        assert!(!opened.start.was_clean());
        let all = log_bytes(&originals, "orders-0", 0).len() as u64;
        assert_eq!(opened.logs[0].1.scanned_bytes, all);
        check_kafkas(&reactor, &opened, &originals).await;
        stop_kafkas(&reactor, &opened).await;
    });
    compare_indexes(&node, &original, &[0, 32, 152, 222]);
}

/// The indexes of these segments are as Kafka wrote them.
fn compare_indexes(node: &Node, files: &BTreeMap<String, Vec<u8>>, segments: &[i64]) {
    for base in segments {
        for suffix in ["index", "timeindex"] {
            let path = format!("orders-0/{base:020}.{suffix}");
            let found = node.read_durable(Path::new(ROOT).join(&path));
            assert_eq!(found.as_ref(), files.get(&path), "{path}");
        }
    }
}

#[test]
fn the_same_batches_give_kafkas_bytes() {
    let files = files_in(&fixture(KAFKAS));
    let appended = batches(&log_bytes(&files, "orders-0", 0));
    let (_simulation, node) = simulation(3);
    for (from, to) in [(0, KAFKAS_RESTART), (KAFKAS_RESTART, KAFKAS_END)] {
        let appended: Vec<(BatchHeader, Bytes)> = appended
            .iter()
            .filter(|(header, _)| (from..to).contains(&header.base_offset.0))
            .cloned()
            .collect();
        run(&node, move |reactor| async move {
            let opened = open_kafkas(&reactor).await;
            for (header, batch) in &appended {
                for (log, _) in &opened.logs {
                    let epoch = header.partition_leader_epoch;
                    log.append(batch, epoch, AppendOrigin::Replication, 1_000)
                        .expect("appended");
                    log.set_high_watermark(header.next_offset());
                }
            }
            stop_kafkas(&reactor, &opened).await;
        });
    }
    // The segment that Kafka went on with after its restart has other index entries, because Kafka
    // forgets how far it is from the last one. The file of log start offsets names only logs that
    // lost records.
    compare_indexes(&node, &files, &[0, 32, 152, 222]);
    let compared = files.iter().filter(|(path, _)| {
        path.starts_with("orders-0/") && !path.ends_with("index")
            || [
                "recovery-point-offset-checkpoint",
                "replication-offset-checkpoint",
                ".kafka_cleanshutdown",
            ]
            .contains(&path.as_str())
    });
    let mut count = 0;
    for (path, content) in compared {
        let found = node.read_durable(Path::new(ROOT).join(path));
        if path.ends_with(".snapshot") {
            let found = found.unwrap_or_else(|| panic!("{path} is there"));
            assert_eq!(kafkas_part(&found, content.len()), *content, "{path}");
        } else {
            assert_eq!(found.as_ref(), Some(content), "{path}");
        }
        count += 1;
    }
    assert_eq!(count, 16);
}

/// A snapshot without what follows behind Kafka's `len` bytes, its CRC adapted.
fn kafkas_part(snapshot: &[u8], len: usize) -> Vec<u8> {
    const CRC: std::ops::Range<usize> = 2..6;
    assert_eq!(
        snapshot[CRC],
        crc32c::crc32c(&snapshot[CRC.end..]).to_be_bytes()
    );
    let mut part = snapshot[..len].to_vec();
    let crc = crc32c::crc32c(&part[CRC.end..]);
    part[CRC].copy_from_slice(&crc.to_be_bytes());
    part
}

#[test]
fn kafkas_records_are_shown() {
    let mut codecs = BTreeMap::new();
    let mut offsets = Vec::new();
    for base in [0, 32, 119, 152, 222] {
        let path = fixture(KAFKAS).join(format!("orders-0/{base:020}.log"));
        for batch in SegmentDump::open(&path).expect("there") {
            let batch = batch.expect("whole");
            assert!(batch.crc_ok);
            let codec = batch.header.attributes.codec().expect("known");
            *codecs.entry(format!("{codec:?}")).or_insert(0) += 1;
            batch
                .for_each_record(|record| {
                    let null = record.value.is_none();
                    assert!(
                        null || record
                            .value
                            .is_some_and(|value| value.starts_with(b"value "))
                    );
                    offsets.push(record.offset.0);
                })
                .expect("readable");
        }
    }
    assert_eq!(codecs.len(), 5, "{codecs:?}");
    assert_eq!(offsets, (0..KAFKAS_END).collect::<Vec<_>>());
}

const OURS: &str = "millstream-0.1";

fn our_config() -> LogConfig {
    LogConfig {
        segment_bytes: 8_000,
        index_interval_bytes: 700,
        ..LogConfig::default()
    }
}

/// What this version's folders hold: three producers and three leader epochs.
/// Not compressed, so that the bytes are the same whatever library compresses.
fn our_batches() -> Vec<(i32, Bytes)> {
    let mut sequences = [0; 3];
    (0..60usize)
        .map(|index| {
            let count = 1 + index % 4;
            let producer = index % 3;
            let mut builder = BatchBuilder::new(Codec::None).producer(
                ProducerId(1_000 + producer as i64),
                1,
                sequences[producer],
            );
            sequences[producer] += count as i32;
            for record in 0..count {
                let key = format!("key {index}");
                let value = format!("value {record} of batch {index}, ").repeat(1 + index % 17);
                let key = (record != 0).then_some(key.as_bytes());
                let value = (index % 9 != 0).then_some(value.as_bytes());
                // 2026, so that the producers are not forgotten.
                let timestamp = 1_767_225_600_000 + index as i64 * 10;
                builder.push(timestamp, key, value, &[("batch", Some(b"x"))]);
            }
            (index as i32 / 20, builder.build().expect("compressed"))
        })
        .collect()
}

fn our_model() -> Model {
    let mut model = Model::default();
    for (epoch, batch) in our_batches() {
        let base = model.end();
        model.add(Offset(base), stamped(&batch, base, epoch));
    }
    model
}

async fn write_ours(reactor: &Reactor) -> Opened {
    let opened = open(reactor, small_store(), our_config())
        .await
        .expect("opens");
    let mut model = Model::default();
    for (index, (epoch, batch)) in our_batches().iter().enumerate() {
        append(&opened.log, &mut model, *epoch, batch);
        opened.log.set_high_watermark(Offset(model.end()));
        opened.log.flush().await.expect("flushed");
        if index == 45 {
            opened.store.checkpoint().await.expect("made");
        }
    }
    opened
}

async fn check_ours(reactor: &Reactor, opened: &Opened) {
    let (log, model) = (&opened.log, our_model());
    assert_eq!(log.log_end_offset().0, model.end());
    assert_eq!(follow(reactor, log, 0, 2_000).await, model.bytes());
    let epochs: Vec<i32> = epochs_of(log).iter().map(|epoch| epoch.0).collect();
    assert_eq!(epochs, [0, 1, 2]);
    let count = log.with_producer_states(|states| states.iter().count());
    assert_eq!(count, 3);
}

fn our_files(node: &Node) -> BTreeMap<String, Vec<u8>> {
    run(node, |reactor| async move {
        let mut files = BTreeMap::new();
        for folder in ["", "t-0/"] {
            let path = Path::new(ROOT).join(folder);
            for entry in reactor.fs().read_dir(&path).await.expect("there") {
                if !entry.is_dir {
                    let content = reactor
                        .fs()
                        .read(&path.join(&entry.name))
                        .await
                        .expect("read");
                    files.insert(format!("{folder}{}", entry.name), content.to_vec());
                }
            }
        }
        files
    })
}

fn compare_with_fixture(name: &str, files: &BTreeMap<String, Vec<u8>>) {
    let folder = fixture(OURS).join(name);
    if std::env::var_os("MILLSTREAM_WRITE_FIXTURES").is_some() {
        for (path, content) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, content).expect("written");
        }
    }
    let kept = files_in(&folder);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(files), names(&kept));
    for (path, content) in files {
        assert!(kept[path] == *content, "{path} is not what it was");
    }
}

#[test]
fn a_clean_stop_leaves_what_it_left_before() {
    let (_simulation, node) = simulation(4);
    run(&node, |reactor| async move {
        let opened = write_ours(&reactor).await;
        assert!(stop(&reactor, &opened).await);
    });
    compare_with_fixture("clean", &our_files(&node));
}

#[test]
fn a_kill_leaves_what_it_left_before() {
    let (_simulation, node) = simulation(5);
    run(&node, |reactor| async move {
        let opened = write_ours(&reactor).await;
        // Whatever works beside the writer comes to its end.
        reactor.sleep(Duration::from_secs(1)).await;
        drop(opened);
    });
    compare_with_fixture("killed", &our_files(&node));
}

#[test]
fn folders_of_this_version_are_opened() {
    for name in ["clean", "killed"] {
        let files = files_in(&fixture(OURS).join(name));
        let (_simulation, node) = simulation(6);
        plant(&node, &files);
        run(&node, move |reactor| async move {
            let opened = open(&reactor, small_store(), our_config())
                .await
                .expect("opens");
            assert_eq!(opened.start.was_clean(), name == "clean");
            check_ours(&reactor, &opened).await;
            assert!(stop(&reactor, &opened).await);
            let opened = open(&reactor, small_store(), our_config())
                .await
                .expect("opens");
            check_ours(&reactor, &opened).await;
        });
    }
}
