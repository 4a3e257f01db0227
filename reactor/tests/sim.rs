//! The simulated backend as the code above sees it: time, tasks, disks, crashes, fault points.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_reactor::sim::{
    CrashOptions, DiskFault, DiskOperation, KeepUnsynced, Node, Simulation, SimulationOptions,
};
use millstream_reactor::{
    BLOCK_SIZE, File, FileSystem, Notify, OpenOptions, Reactor, TailBuffer, TaskQueue, mailbox,
};

const SECTOR: usize = 512;

fn create() -> OpenOptions {
    OpenOptions {
        write: true,
        create: true,
        ..OpenOptions::default()
    }
}

fn direct() -> OpenOptions {
    OpenOptions {
        direct: true,
        ..create()
    }
}

/// Blocks filled with one byte.
fn tail(fill: u8, blocks: usize) -> TailBuffer {
    let mut tail = TailBuffer::with_capacity(blocks * BLOCK_SIZE);
    tail.append(&vec![fill; blocks * BLOCK_SIZE], |_| ());
    tail
}

async fn write_fill(file: &File, fill: u8, blocks: usize) {
    let tail = tail(fill, blocks);
    let blocks = tail.blocks(0..tail.len());
    file.write_blocks(0, blocks).await.unwrap();
}

/// Runs `act` and gives the text of its panic.
fn panic_text(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it panics");
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

/// Tasks that wait, write and talk over a mailbox; what they did, in order, and the trace.
fn workload(seed: u64) -> (Vec<(u64, u64)>, u64) {
    let simulation = Simulation::with_seed(seed);
    let node = simulation.add_node("a");
    let log = Rc::new(RefCell::new(Vec::new()));
    let (mut sender, mut receiver) = mailbox::<u64>(4);
    let other = node.reactor();
    for worker in 0..8 {
        let (reactor, log) = (node.reactor(), log.clone());
        let work = async move {
            let path = format!("/{worker}");
            let fs = reactor.fs();
            let file = fs.open(Path::new(&path), create()).await.unwrap();
            for turn in 0..4 {
                let data = Bytes::from(vec![worker as u8; 700]);
                file.write_at(turn * 700, data).await.unwrap();
                file.sync_data().await.unwrap();
                log.borrow_mut().push((worker, turn));
                reactor.sleep(Duration::from_micros(50)).await;
            }
        };
        other.spawn(TaskQueue::Requests, work).detach();
    }
    let sending = other.spawn(TaskQueue::Background, async move {
        for n in 0..100 {
            sender.send(n).await.unwrap();
        }
    });
    simulation.block_on(async {
        let mut expected = 0;
        while let Some(n) = receiver.recv().await {
            assert_eq!(n, expected);
            expected += 1;
        }
        assert_eq!(expected, 100);
        sending.await.unwrap();
    });
    simulation.run_for(Duration::from_millis(100));
    (log.take(), simulation.trace_hash())
}

#[test]
fn one_seed_gives_one_trace() {
    let (log, trace) = workload(7);
    assert_eq!(log.len(), 32);
    assert_eq!((log.clone(), trace), workload(7));
    let (other_log, other_trace) = workload(8);
    assert_ne!(trace, other_trace);
    assert_ne!(log, other_log);
}

#[test]
fn timers_fire_in_order_at_their_virtual_time() {
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    let reactor = node.reactor();
    let fired = Rc::new(RefCell::new(Vec::new()));
    for seconds in [5_u64, 1, 86_400, 3] {
        let (timer, fired) = (reactor.clone(), fired.clone());
        let begin = reactor.now();
        let wait = async move {
            timer.sleep(Duration::from_secs(seconds)).await;
            assert_eq!((timer.now() - begin).as_secs(), seconds);
            fired.borrow_mut().push(seconds);
        };
        reactor.spawn(TaskQueue::Requests, wait).detach();
    }
    simulation.run_for(Duration::from_secs(4));
    assert_eq!(*fired.borrow(), [1, 3]);
    assert_eq!(simulation.elapsed(), Duration::from_secs(4));
    simulation.run_for(Duration::from_secs(100_000));
    assert_eq!(*fired.borrow(), [1, 3, 5, 86_400]);
}

#[test]
fn a_timeout_that_is_not_needed_leaves_no_timer_behind() {
    let simulation = Simulation::with_seed(1);
    let reactor = simulation.add_node("a").reactor();
    let value = simulation.block_on(async {
        let quick = reactor.sleep(Duration::from_millis(1));
        reactor.timeout(Duration::from_secs(60), quick).await
    });
    assert_eq!(value, Ok(()));
    let slow = async {
        let slow = reactor.sleep(Duration::from_secs(60));
        reactor.timeout(Duration::from_millis(1), slow).await
    };
    assert!(simulation.block_on(slow).is_err());
    assert_eq!(simulation.elapsed(), Duration::from_millis(2));
    // With a timer left the clock would go to it instead of failing here.
    let text = panic_text(|| simulation.block_on(std::future::pending()));
    assert!(text.contains("deadlock"), "{text}");
    assert_eq!(simulation.elapsed(), Duration::from_millis(2));
}

#[test]
fn yielding_lets_those_ready_run_first() {
    for seed in 0..50 {
        let simulation = Simulation::with_seed(seed);
        let reactor = simulation.add_node("a").reactor();
        let ran = Rc::new(Cell::new(0));
        simulation.block_on(async {
            for _ in 0..10 {
                let ran = ran.clone();
                let count = async move { ran.set(ran.get() + 1) };
                reactor.spawn(TaskQueue::Requests, count).detach();
            }
            reactor.yield_now().await;
            assert_eq!(ran.get(), 10);
        });
    }
}

#[test]
fn wall_clocks_are_skewed_by_node() {
    let simulation = Simulation::with_seed(1);
    let (one, other) = (simulation.add_node("a"), simulation.add_node("b"));
    other.set_clock_skew(-5000);
    simulation.run_for(Duration::from_millis(1500));
    let (one, other) = (one.reactor(), other.reactor());
    assert_eq!(one.wall_clock_ms(), 1_767_225_601_500);
    assert_eq!(one.wall_clock_ms() - other.wall_clock_ms(), 5000);
    assert_eq!(one.now(), other.now());
}

#[test]
fn failures_name_the_seed_and_the_task() {
    let simulation = Simulation::with_seed(4711);
    let node = simulation.add_node("alpha");
    let task = async { panic!("it broke") };
    node.reactor().spawn(TaskQueue::Requests, task).detach();
    let text = panic_text(|| simulation.run_for(Duration::from_secs(1)));
    for part in ["seed 4711", "alpha", "it broke", "tests/sim.rs"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = panic_text(|| simulation.block_on(async { panic!("so did this") }));
    assert!(text.contains("seed 4711") && text.contains("so did this"));
}

#[test]
fn endless_loops_meet_a_bound() {
    let simulation = Simulation::new(SimulationOptions {
        max_steps: 1000,
        max_virtual_time: Duration::from_secs(10),
        ..SimulationOptions::default()
    });
    let reactor = simulation.add_node("a").reactor();
    let busy = async {
        loop {
            reactor.yield_now().await;
        }
    };
    let text = panic_text(|| simulation.block_on(busy));
    assert!(text.contains("within 1000 steps"), "{text}");
    let idle = async {
        loop {
            reactor.sleep(Duration::from_secs(1)).await;
        }
    };
    let text = panic_text(|| simulation.block_on(idle));
    assert!(text.contains("within 10s of virtual time"), "{text}");
}

#[test]
fn dropped_tasks_are_cancelled_and_a_simulation_drops_all() {
    let token = Rc::new(());
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    let reactor = node.reactor();
    let waiting = |reactor: Reactor, token: Rc<()>| async move {
        let notify = Notify::new();
        let file = reactor.fs().open(Path::new("/f"), create()).await;
        notify.notified().await;
        drop((reactor, token, file));
    };
    let cancelled = waiting(reactor.clone(), token.clone());
    let cancelled = reactor.spawn(TaskQueue::Requests, cancelled);
    let detached = waiting(reactor.clone(), token.clone());
    reactor.spawn(TaskQueue::Requests, detached).detach();
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(Rc::strong_count(&token), 3);
    drop(cancelled);
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(Rc::strong_count(&token), 2);
    drop(simulation);
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
fn a_crash_drops_tasks_and_later_shards_begin_anew() {
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    let old = node.reactor();
    let task = old.spawn(TaskQueue::Requests, std::future::pending::<()>());
    simulation.run_for(Duration::from_millis(1));
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    assert_eq!(simulation.block_on(task), None);
    let late = old.spawn(TaskQueue::Requests, async { 1 });
    assert_eq!(simulation.block_on(late), None, "a dead shard runs nothing");
    assert_eq!(node.run(async { 2 }), Some(2));
}

#[test]
fn files_and_folders_behave() {
    let simulation = Simulation::with_seed(3);
    let fs = simulation.add_node("a").reactor().fs();
    simulation.block_on(async move {
        let dir = Path::new("/data/topic-0");
        fs.create_dir_all(dir).await.unwrap();
        fs.create_dir_all(dir).await.unwrap();
        let path = dir.join("log");
        let missing = fs.open(&path, OpenOptions::default()).await;
        assert_eq!(missing.err().unwrap().kind(), ErrorKind::NotFound);
        let file = fs.open(&path, create()).await.unwrap();
        let hello = Bytes::from_static(b"hello");
        file.write_at(10, hello).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 15);
        assert_eq!(&file.read_at(8, 100).await.unwrap()[..], b"\0\0hello");
        assert_eq!(file.read_at(15, 100).await.unwrap().len(), 0);
        file.set_len(12).await.unwrap();
        file.write_zeros(11, 4).await.unwrap();
        assert_eq!(&fs.read(&path).await.unwrap()[9..], b"\0h\0\0\0\0");

        let again = OpenOptions {
            create_new: true,
            ..create()
        };
        let error = fs.open(&path, again).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let readable = fs.open(&path, OpenOptions::default()).await.unwrap();
        let refused = readable.write_at(0, Bytes::from_static(b"x")).await;
        assert!(refused.is_err());

        fs.rename(&path, &dir.join("new")).await.unwrap();
        assert!(!fs.exists(&path).await.unwrap());
        let error = fs.remove_file(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        fs.create_dir_all(&dir.join("sub")).await.unwrap();
        let names = fs.read_dir(dir).await.unwrap();
        let names: Vec<_> = names.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        assert_eq!(names, [("new", false), ("sub", true)]);
        let into_itself = fs.rename(Path::new("/data"), &dir.join("sub/data")).await;
        assert_eq!(into_itself.unwrap_err().kind(), ErrorKind::InvalidInput);
        fs.remove_dir_all(Path::new("/data")).await.unwrap();
        assert!(fs.read_dir(Path::new("/data")).await.is_err());
        // The file lives on for those who have it open.
        assert_eq!(file.size().await.unwrap(), 15);
        let data = Bytes::from_static(b"y");
        file.write_at(0, data).await.unwrap();
    });
}

#[test]
fn locks_exclude_other_handles_until_they_are_gone() {
    let simulation = Simulation::with_seed(3);
    let node = simulation.add_node("a");
    let path = Path::new("/lock");
    let (one, other) = (node.reactor().fs(), node.reactor().fs());
    let held = simulation.block_on(one.lock(path)).unwrap();
    let error = simulation.block_on(other.lock(path)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(held);
    let held = simulation.block_on(other.lock(path)).unwrap();
    node.crash(CrashOptions::keep(KeepUnsynced::All));
    let after = node.reactor().fs();
    assert!(simulation.block_on(after.lock(path)).is_ok());
    drop(held);
}

#[test]
fn a_file_is_shared_between_shards() {
    let simulation = Simulation::with_seed(3);
    let node = simulation.add_node("a");
    let (one, other) = (node.reactor(), node.reactor());
    let (mut sender, mut receiver) = mailbox(1);
    let opening = one.clone().spawn(TaskQueue::Requests, async move {
        let file = one.fs().open(Path::new("/f"), create()).await.unwrap();
        let data = Bytes::from_static(b"shared");
        file.write_at(0, data).await.unwrap();
        sender.send(file.share()).await.unwrap();
    });
    let content = simulation.block_on(async {
        let shared = receiver.recv().await.unwrap();
        opening.await.unwrap();
        other.fs().adopt(&shared).read_at(0, 6).await.unwrap()
    });
    assert_eq!(&content[..], b"shared");
}

#[test]
fn direct_files_refuse_what_is_not_aligned() {
    let simulation = Simulation::with_seed(3);
    let fs = simulation.add_node("a").reactor().fs();
    let opening = fs.open(Path::new("/f"), direct());
    let file = simulation.block_on(opening).unwrap();
    let refused = [
        panic_text(|| drop(simulation.block_on(file.read_at(512, BLOCK_SIZE)))),
        panic_text(|| drop(simulation.block_on(file.read_at(0, 512)))),
        panic_text(|| drop(simulation.block_on(file.write_at(0, Bytes::new())))),
        panic_text(|| drop(simulation.block_on(file.write_zeros(0, 100)))),
    ];
    for text in refused {
        assert!(text.contains("block"), "{text}");
    }
    let blocks = tail(1, 1).blocks(0..1);
    let text = panic_text(|| drop(simulation.block_on(file.write_blocks(512, blocks))));
    assert!(text.contains("512 is not a multiple of 4096"), "{text}");
}

/// A synced block of 1s under unsynced blocks of 2s in a file whose name is durable; a crash; what
/// is there then.
fn overwrite_and_crash(seed: u64, keep: KeepUnsynced, in_flight: bool) -> Vec<u8> {
    let simulation = Simulation::with_seed(seed);
    let node = simulation.add_node("a");
    let reactor = node.reactor();
    let fs = reactor.fs();
    let writing = reactor.clone().spawn(TaskQueue::Requests, async move {
        let file = fs.open(Path::new("/f"), direct()).await.unwrap();
        write_fill(&file, 1, 2).await;
        file.sync_data().await.unwrap();
        fs.sync_dir(Path::new("/")).await.unwrap();
        if in_flight {
            let write = async move { write_fill(&file, 2, 4).await };
            reactor.spawn(TaskQueue::Requests, write).detach();
            reactor.yield_now().await;
        } else {
            write_fill(&file, 2, 4).await;
        }
    });
    simulation.block_on(writing).unwrap();
    node.crash(CrashOptions::keep(keep));
    let durable = node.read_durable("/f").unwrap();
    let fs = node.reactor().fs();
    let content = simulation.block_on(fs.read(Path::new("/f"))).unwrap();
    if keep != KeepUnsynced::All {
        assert_eq!(&content[..], durable, "what a power cut left is durable");
    }
    content.to_vec()
}

#[test]
fn unsynced_writes_are_lost_and_synced_ones_kept() {
    for seed in 0..20 {
        let none = overwrite_and_crash(seed, KeepUnsynced::None, false);
        assert_eq!(none, vec![1; 2 * BLOCK_SIZE]);
        let all = overwrite_and_crash(seed, KeepUnsynced::All, false);
        assert_eq!(all, vec![2; 4 * BLOCK_SIZE]);
    }
}

#[test]
fn what_a_kill_leaves_is_still_not_durable() {
    let simulation = Simulation::with_seed(3);
    let node = simulation.add_node("a");
    let fs = node.reactor().fs();
    let path = Path::new("/f");
    let file = simulation.block_on(fs.open(path, create())).unwrap();
    simulation.block_on(fs.sync_dir(Path::new("/"))).unwrap();
    let write = file.write_at(0, Bytes::from_static(b"data"));
    simulation.block_on(write).unwrap();
    node.crash(CrashOptions::keep(KeepUnsynced::All));
    assert_eq!(node.read_current(path).unwrap(), b"data");
    assert_eq!(node.read_durable(path).unwrap(), b"");
    node.crash(CrashOptions::keep(KeepUnsynced::None));
    assert_eq!(node.read_current(path).unwrap(), b"");
}

#[test]
fn a_sync_covers_only_writes_that_ended_before_it() {
    // A write may end before the sync that began with it, and is not covered all the same.
    for seed in 0..100 {
        let simulation = Simulation::with_seed(seed);
        let node = simulation.add_node("a");
        let fs = node.reactor().fs();
        simulation.block_on(async {
            let file = fs.open(Path::new("/f"), create()).await.unwrap();
            fs.sync_dir(Path::new("/")).await.unwrap();
            let write = file.write_at(0, Bytes::from_static(b"data"));
            let (write, sync) = futures::join!(write, file.sync_data());
            write.and(sync).unwrap();
            assert_eq!(node.read_durable("/f").unwrap(), b"");
            file.sync_data().await.unwrap();
            assert_eq!(node.read_durable("/f").unwrap(), b"data");
        });
    }
}

/// Every sector of the outcomes is old or new (or beyond the old end and zero), and some outcomes
/// mix them.
fn check_torn(outcomes: impl Iterator<Item = Vec<u8>>) {
    let (mut mixed, mut old, mut new) = (0, 0, 0);
    for content in outcomes {
        let mut kinds = BTreeSet::new();
        for (index, sector) in content.chunks(SECTOR).enumerate() {
            let first = sector[0];
            assert!(sector.iter().all(|byte| *byte == first), "a mixed sector");
            let overwritten = index < 2 * BLOCK_SIZE / SECTOR;
            assert!(first == 2 || first == u8::from(overwritten), "{first}");
            kinds.insert(first);
        }
        match kinds.into_iter().collect::<Vec<_>>()[..] {
            [1] => old += 1,
            [2] => new += 1,
            _ => mixed += 1,
        }
    }
    assert!(mixed > 5 && old > 5 && new > 5, "{mixed} {old} {new}");
}

#[test]
fn a_power_cut_tears_unsynced_writes_at_sectors() {
    check_torn((0..200).map(|seed| overwrite_and_crash(seed, KeepUnsynced::Random, false)));
}

#[test]
fn a_kill_tears_writes_in_flight() {
    check_torn((0..200).map(|seed| overwrite_and_crash(seed, KeepUnsynced::All, true)));
}

#[test]
fn a_block_appended_to_in_flight_keeps_what_was_submitted() {
    for seed in 0..100 {
        let simulation = Simulation::with_seed(seed);
        let node = simulation.add_node("a");
        let fs = node.reactor().fs();
        simulation.block_on(async {
            let file = fs.open(Path::new("/f"), direct()).await.unwrap();
            let mut tail = TailBuffer::with_capacity(BLOCK_SIZE);
            tail.append(&[1; 700], |_| ());
            let blocks = tail.blocks(0..700);
            let write = async {
                if seed % 2 == 0 {
                    file.write_blocks(0, blocks).await?;
                    file.sync_data().await
                } else {
                    file.write_blocks_durably(0, blocks).await
                }
            };
            let append = async { tail.append(&[2; 900], |_| ()) };
            futures::join!(write, append).0.unwrap();
            fs.sync_dir(Path::new("/")).await.unwrap();
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        let content = node.read_durable("/f").unwrap();
        assert_eq!(content.len(), BLOCK_SIZE);
        assert_eq!(content[..700], [1; 700]);
        assert!(content[700..1600].iter().all(|byte| [0, 2].contains(byte)));
    }
}

/// Renames a durable file over another, syncs the folder or not, and crashes: which of the names
/// are there, with what.
fn rename_and_crash(seed: u64, keep: KeepUnsynced, sync: bool) -> [Option<Vec<u8>>; 2] {
    let simulation = Simulation::with_seed(seed);
    let node = simulation.add_node("a");
    node.make_dir("/d");
    node.plant_file("/d/old", b"old");
    node.plant_file("/d/new", b"new");
    let fs = node.reactor().fs();
    simulation.block_on(async {
        let (from, to) = (Path::new("/d/new"), Path::new("/d/old"));
        fs.rename(from, to).await.unwrap();
        if sync {
            fs.sync_dir(Path::new("/d")).await.unwrap();
        }
    });
    node.crash(CrashOptions::keep(keep));
    ["/d/old", "/d/new"].map(|path| node.read_current(path))
}

#[test]
fn a_rename_is_kept_whole_or_lost_until_its_folder_is_synced() {
    let lost = [Some(b"old".to_vec()), Some(b"new".to_vec())];
    let kept = [Some(b"new".to_vec()), None];
    let mut outcomes = BTreeSet::new();
    for seed in 0..50 {
        assert_eq!(rename_and_crash(seed, KeepUnsynced::None, false), lost);
        assert_eq!(rename_and_crash(seed, KeepUnsynced::All, false), kept);
        assert_eq!(rename_and_crash(seed, KeepUnsynced::None, true), kept);
        outcomes.insert(rename_and_crash(seed, KeepUnsynced::Random, false));
    }
    assert_eq!(outcomes, BTreeSet::from([lost, kept]));
}

#[test]
fn a_made_file_needs_every_folder_above_it_synced() {
    for synced in [&["/"][..], &["/d"], &["/", "/d"]] {
        let simulation = Simulation::with_seed(1);
        let node = simulation.add_node("a");
        let fs = node.reactor().fs();
        simulation.block_on(async {
            fs.create_dir_all(Path::new("/d")).await.unwrap();
            let file = fs.open(Path::new("/d/f"), create()).await.unwrap();
            let data = Bytes::from_static(b"x");
            file.write_at(0, data).await.unwrap();
            file.sync_data().await.unwrap();
            for dir in synced {
                fs.sync_dir(Path::new(dir)).await.unwrap();
            }
        });
        node.crash(CrashOptions::keep(KeepUnsynced::None));
        assert_eq!(node.read_current("/d/f").is_some(), synced.len() == 2);
    }
}

#[test]
fn a_removed_file_may_come_back_until_its_folder_is_synced() {
    for (sync, keep, there) in [
        (false, KeepUnsynced::None, true),
        (false, KeepUnsynced::All, false),
        (true, KeepUnsynced::None, false),
    ] {
        let simulation = Simulation::with_seed(1);
        let node = simulation.add_node("a");
        node.plant_file("/f", b"content");
        let fs = node.reactor().fs();
        simulation.block_on(async {
            fs.remove_file(Path::new("/f")).await.unwrap();
            if sync {
                fs.sync_dir(Path::new("/")).await.unwrap();
            }
        });
        node.crash(CrashOptions::keep(keep));
        let content = node.read_current("/f");
        assert_eq!(content, there.then(|| b"content".to_vec()));
    }
}

/// How a small file is replaced.
#[derive(Clone, Copy, PartialEq)]
enum Replace {
    Atomically,
    /// Without a sync of the new file before its rename: wrong.
    WithoutSync,
}

async fn replace(fs: &FileSystem, how: Replace, data: Bytes) {
    let (path, temporary) = (Path::new("/meta"), Path::new("/meta.part"));
    if how == Replace::Atomically {
        return fs.write_atomic(path, data).await.unwrap();
    }
    let file = fs.open(temporary, create()).await.unwrap();
    file.write_at(0, data).await.unwrap();
    fs.rename(temporary, path).await.unwrap();
    fs.sync_dir(Path::new("/")).await.unwrap();
}

/// Replaces a file twice, stops at operation `n`, crashes. The number of operations begun, and
/// whether the file is whole and no older than what was acknowledged.
fn replace_and_stop(seed: u64, how: Replace, n: Option<u64>, keep: KeepUnsynced) -> (u64, bool) {
    let simulation = Simulation::with_seed(seed);
    let node = simulation.add_node("a");
    let contents = [1_u8, 2, 3].map(|fill| vec![fill; 3000]);
    node.plant_file("/meta", &contents[0]);
    if let Some(n) = n {
        node.crash_at_disk_operation(n);
    }
    let acknowledged = Rc::new(Cell::new(0));
    let (fs, done, data) = (node.reactor().fs(), acknowledged.clone(), contents.clone());
    let finished = node.run(async move {
        for (index, content) in data.into_iter().enumerate().skip(1) {
            replace(&fs, how, Bytes::from(content)).await;
            done.set(index);
        }
    });
    assert_eq!(finished.is_none(), n.is_some());
    assert_eq!(node.is_stopped(), n.is_some());
    let operations = node.disk_operations();
    node.crash(CrashOptions::keep(keep));
    let content = node.read_current("/meta");
    let known = contents.iter().position(|c| Some(c) == content.as_ref());
    let whole = known.is_some_and(|known| known >= acknowledged.get());
    (operations, whole)
}

#[test]
fn every_fault_point_of_an_atomic_replacement_is_survived() {
    let how = Replace::Atomically;
    let (operations, whole) = replace_and_stop(0, how, None, KeepUnsynced::None);
    assert!(whole);
    // Make, write, sync, rename, sync the folder; twice.
    assert_eq!(operations, 10);
    for n in 1..=operations {
        for seed in 0..30 {
            for keep in [KeepUnsynced::All, KeepUnsynced::None, KeepUnsynced::Random] {
                let (stopped_at, whole) = replace_and_stop(seed, how, Some(n), keep);
                assert_eq!(stopped_at, n);
                assert!(whole, "operation {n}, seed {seed}, {keep:?}");
            }
        }
    }
}

#[test]
fn fault_points_find_a_missing_sync() {
    let whole =
        |seed, n| replace_and_stop(seed, Replace::WithoutSync, Some(n), KeepUnsynced::Random).1;
    assert!((0..30).any(|seed| (1..=8).any(|n| !whole(seed, n))));
}

#[test]
fn a_stopped_node_says_so() {
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    node.crash_at_disk_operation(1);
    let fs = node.reactor().fs();
    let text = panic_text(|| drop(simulation.block_on(fs.open(Path::new("/f"), create()))));
    assert!(text.contains("node a (stopped by a fault point)"), "{text}");
    assert!(panic_text(|| drop(node.reactor())).contains("crash it"));
}

#[test]
fn injected_errors_hit_their_operation_and_path() {
    const EIO: i32 = 5;
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    let fs = node.reactor().fs();
    node.inject(DiskFault::new(DiskOperation::Sync, ".log", EIO).after(1));
    node.inject(DiskFault::new(DiskOperation::Read, "b.log", ErrorKind::TimedOut).times(2));
    simulation.block_on(async {
        let file = fs.open(Path::new("/a.log"), create()).await.unwrap();
        fs.sync_dir(Path::new("/")).await.unwrap();
        file.sync_data().await.unwrap();
        let error = file.sync_data().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EIO));
        file.sync_data().await.unwrap();
        let other = fs.open(Path::new("/b.log"), create()).await.unwrap();
        for _ in 0..2 {
            let error = other.read_at(0, 10).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        assert!(other.read_at(0, 10).await.is_ok());
        node.inject(DiskFault::new(DiskOperation::Write, "", EIO).always());
        for _ in 0..3 {
            let write = other.write_at(0, Bytes::from_static(b"x"));
            write.await.unwrap_err();
        }
        node.clear_faults();
        let write = other.write_at(0, Bytes::from_static(b"x"));
        write.await.unwrap();
    });
}

#[test]
fn a_failed_sync_may_lose_its_writes_for_good() {
    let lost = (0..50).filter(|seed| {
        let simulation = Simulation::with_seed(*seed);
        let node = simulation.add_node("a");
        node.plant_file("/f", &[1; 512]);
        let fault = DiskFault::new(DiskOperation::Sync, "/f", ErrorKind::Other);
        node.inject(fault);
        let fs = node.reactor().fs();
        simulation.block_on(async {
            let file = fs.open(Path::new("/f"), create()).await.unwrap();
            let data = Bytes::from(vec![2; 512]);
            file.write_at(0, data).await.unwrap();
            file.sync_data().await.unwrap_err();
            // It looks written, and a second sync says it is.
            file.sync_data().await.unwrap();
            assert_eq!(file.read_at(0, 512).await.unwrap()[..], [2; 512]);
        });
        node.read_durable("/f").unwrap() == [1; 512]
    });
    let lost = lost.count();
    assert!((5..45).contains(&lost), "{lost}");
}

#[test]
fn a_full_disk_refuses_to_grow_until_something_is_removed() {
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    node.set_disk_capacity(Some(3 * BLOCK_SIZE as u64));
    let fs = node.reactor().fs();
    simulation.block_on(async {
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        let file = fs.open(a, create()).await.unwrap();
        let data = |fill| Bytes::from(vec![fill; 5000]);
        file.write_at(0, data(1)).await.unwrap();
        let other = fs.open(b, create()).await.unwrap();
        other.write_zeros(0, 4096).await.unwrap();
        let error = other.write_at(4096, Bytes::from_static(b"x")).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::StorageFull);
        // Overwriting needs no room.
        file.write_at(0, data(2)).await.unwrap();
        fs.remove_file(a).await.unwrap();
        let error = other.set_len(8192).await;
        assert!(error.is_err(), "the removed file is still open");
        drop(file);
        other.set_len(8192).await.unwrap();
    });
}

#[test]
fn rot_changes_one_byte_for_good() {
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    node.plant_file("/f", b"abc");
    node.corrupt("/f", 1, 0x01);
    assert_eq!(node.read_current("/f").unwrap(), b"acc");
    assert_eq!(node.read_durable("/f").unwrap(), b"acc");
}

#[test]
fn ten_thousand_simulations_are_cheap() {
    // Without a clock, so that it cannot fail by chance: a leak or a needless cost shows as a test
    // that takes minutes.
    for seed in 0..10_000 {
        let simulation = Simulation::with_seed(seed);
        let node = simulation.add_node("a");
        assert_eq!(node.run(async move { seed }), Some(seed));
    }
}

#[test]
fn a_node_is_writing_until_a_while_after_its_last_write() {
    let simulation = Simulation::with_seed(3);
    let (writer, other) = (simulation.add_node("a"), simulation.add_node("b"));
    let is_writing = |node: &Node| node.reactor().fs().is_writing();
    let fs = writer.reactor().fs();
    let file = simulation
        .block_on(fs.open(Path::new("/f"), direct()))
        .unwrap();
    assert!(!is_writing(&writer));
    simulation.block_on(write_fill(&file, 1, 1));
    assert!(is_writing(&writer) && !is_writing(&other));
    simulation.run_for(Duration::from_millis(15));
    simulation.block_on(file.sync_data()).unwrap();
    simulation.run_for(Duration::from_millis(10));
    assert!(is_writing(&writer));
    simulation.run_for(Duration::from_millis(20));
    assert!(!is_writing(&writer));
}
