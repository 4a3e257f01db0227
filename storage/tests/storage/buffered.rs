//! `StoreConfig::direct_io` off: the whole life of a log without O_DIRECT, on the simulated disk
//! and on the kernel's, where no file may be open with the flag.

use std::path::Path;

use millstream_protocol::Offset;
use millstream_reactor::Reactor;
use millstream_reactor::sim::{CrashOptions, KeepUnsynced};
use millstream_reactor::uring::{ShardOptions, start_shard};
use millstream_storage::{ColdRead, LogConfig, StoreConfig, finish_clean_shutdown};

use crate::harness::*;

/// How files are opened: with O_DIRECT or without, and how cold data leaves them.
#[derive(Debug, Clone, Copy)]
struct Mode {
    direct_io: bool,
    cold_read: ColdRead,
}

fn store(root: &Path, mode: Mode) -> StoreConfig {
    StoreConfig {
        root: root.to_owned(),
        direct_io: mode.direct_io,
        cold_read: mode.cold_read,
        ..small_store()
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 30_000,
        index_interval_bytes: 500,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

/// Appends, rolls, reads, truncates and makes a checkpoint; what is then in the log. Not closed.
async fn first_life(reactor: &Reactor, root: &Path, mode: Mode) -> (Opened, Model) {
    let opened = open(reactor, store(root, mode), config())
        .await
        .expect("opens");
    let log = &opened.log;
    let mut model = Model::default();
    for index in 0..150 {
        let bytes = produced(2, 50 + 7 * (index % 100), (4, 0, 2 * index as i32));
        append(log, &mut model, 0, &bytes);
        if index % 4 == 0 {
            log.flush().await.expect("flushed");
        }
        if index == 100 {
            opened.store.checkpoint().await.expect("made");
        }
    }
    log.flush().await.expect("flushed");
    assert!(log.segment_base_offsets().len() > 3);
    assert_eq!(follow(reactor, log, 0, 5_000).await, model.bytes());
    let end = log.truncate_to(Offset(271)).await.expect("truncated");
    model.truncate(end.0);
    assert_eq!(model.end(), 270);
    append(log, &mut model, 1, &produced(2, 20, (4, 0, 270)));
    log.flush().await.expect("flushed");
    assert_eq!(follow(reactor, log, 0, 5_000).await, model.bytes());
    (opened, model)
}

/// Recovers, goes on, stops cleanly, and opens once more.
async fn second_life(reactor: &Reactor, root: &Path, mode: Mode, mut model: Model) {
    let opened = open(reactor, store(root, mode), config())
        .await
        .expect("opens");
    assert!(!opened.start.was_clean());
    assert_eq!(opened.log.log_end_offset().0, model.end());
    assert_eq!(follow(reactor, &opened.log, 0, 1).await, model.bytes());
    append(&opened.log, &mut model, 2, &produced(1, 20, (4, 0, 272)));
    let closed = [opened.store.close().await];
    let clean = finish_clean_shutdown(reactor, root, &opened.start, &closed, 3).await;
    assert!(clean.expect("the root can be written"));
    let opened = open(reactor, store(root, mode), config())
        .await
        .expect("opens");
    assert!(opened.start.was_clean());
    assert_eq!(follow(reactor, &opened.log, 0, 700).await, model.bytes());
    let sequence = opened
        .log
        .with_producer_states(|states| states.get(4).expect("it wrote").last_sequence());
    assert_eq!(sequence, 272);
}

const BUFFERED: [Mode; 2] = [
    Mode {
        direct_io: false,
        cold_read: ColdRead::Buffered,
    },
    Mode {
        direct_io: false,
        cold_read: ColdRead::Direct,
    },
];

#[test]
fn a_life_without_direct_io_on_the_simulated_disk() {
    for (seed, mode) in BUFFERED.into_iter().enumerate() {
        let (_simulation, node) = simulation(seed as u64);
        let model = run(&node, move |reactor| async move {
            first_life(&reactor, ROOT.as_ref(), mode).await.1
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        run(&node, move |reactor| async move {
            second_life(&reactor, ROOT.as_ref(), mode, model).await;
        });
    }
}

#[test]
fn a_life_without_direct_io_on_the_kernels_disk() {
    for mode in BUFFERED {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().to_owned();
        let model = start_shard(ShardOptions::default(), move |reactor| async move {
            let (_opened, model) = first_life(&reactor, &root, mode).await;
            (model, direct_segments(&root))
        });
        let (model, (open, direct)) = model.expect("a shard starts").join();
        assert!(open > 0, "the segment that is written is open");
        assert_eq!(direct, 0);
        let root = folder.path().to_owned();
        start_shard(ShardOptions::default(), move |reactor| async move {
            second_life(&reactor, &root, mode, model).await;
        })
        .expect("a shard starts")
        .join();
    }
}

/// How many segments below a folder this process has open, and how many of them with O_DIRECT.
fn direct_segments(root: &Path) -> (u32, u32) {
    const O_DIRECT: u32 = 0o40_000;
    let (mut open, mut direct) = (0, 0);
    for entry in std::fs::read_dir("/proc/self/fd").expect("Linux") {
        let entry = entry.expect("readable");
        // Descriptors come and go in other tests.
        let Ok(path) = std::fs::read_link(entry.path()) else {
            continue;
        };
        let is_segment = path.extension().is_some_and(|suffix| suffix == "log");
        if !is_segment || !path.starts_with(root) {
            continue;
        }
        let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
        let info = std::fs::read_to_string(info).expect("the file is open");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.expect("it has flags").trim(), 8);
        open += 1;
        direct += u32::from(flags.expect("octal") & O_DIRECT != 0);
    }
    (open, direct)
}
