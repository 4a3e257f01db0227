//! What it costs to hand a message over: on one core, and to another core and back.
//!
//! `cargo bench -p millstream-reactor --bench mailbox`

use divan::Bencher;
use divan::counter::ItemsCount;
use futures::executor::block_on;
use millstream_reactor::mailbox;
use millstream_reactor::uring::{ShardOptions, start_shard};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Round trips that are timed together.
const ROUND_TRIPS: usize = 1000;
/// Messages under way where there are many.
const UNDER_WAY: usize = 64;

fn main() {
    divan::main();
}

/// Without anybody who waits.
#[divan::bench]
fn push_and_pop(bencher: Bencher<'_, '_>) {
    let (mut sender, mut receiver) = mailbox::<u64>(1024);
    bencher.bench_local(|| {
        sender.try_send(7).expect("there is room");
        receiver.try_recv()
    });
}

/// Another shard answers; each message waits for the answer to the one before.
#[divan::bench(sample_count = 50)]
fn to_another_shard_and_back(bencher: Bencher<'_, '_>) {
    bench_round_trips(bencher, 1);
}

/// The same with many messages under way.
#[divan::bench(sample_count = 50)]
fn to_another_shard_and_back_pipelined(bencher: Bencher<'_, '_>) {
    bench_round_trips(bencher, UNDER_WAY);
}

fn bench_round_trips(bencher: Bencher<'_, '_>, under_way: usize) {
    let cores = cores();
    let (mut there, mut arrived) = mailbox::<u64>(1024);
    let (mut back, mut answers) = mailbox::<u64>(1024);
    let echo = start_shard(bound("echo", cores.last()), async move |_| {
        while let Some(message) = arrived.recv().await {
            if back.send(message).await.is_err() {
                break;
            }
        }
    });
    let echo = echo.expect("a shard starts");
    // What is timed runs on a shard as well, which is told when to go and tells when it is done.
    let (mut go, mut told) = mailbox::<()>(1);
    let (mut done, mut finished) = mailbox::<()>(1);
    let caller = start_shard(bound("caller", cores.first()), async move |_| {
        while told.recv().await.is_some() {
            for _ in 0..under_way {
                there.send(0).await.expect("the other shard lives");
            }
            for n in 0..ROUND_TRIPS {
                answers.recv().await.expect("the other shard lives");
                if n + under_way < ROUND_TRIPS {
                    there.send(1).await.expect("the other shard lives");
                }
            }
            done.send(()).await.expect("the benchmark waits");
        }
    });
    let caller = caller.expect("a shard starts");
    bencher
        .counter(ItemsCount::new(ROUND_TRIPS))
        .bench_local(|| {
            block_on(async {
                go.send(()).await.expect("the caller lives");
                finished.recv().await.expect("the caller lives");
            });
        });
    drop(go);
    caller.join();
    echo.join();
}

fn bound(name: &str, core: Option<&usize>) -> ShardOptions {
    ShardOptions {
        name: name.to_owned(),
        cpu: core.copied(),
    }
}

fn cores() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("a process knows its cores");
    let inside = |core: &usize| set.is_set(*core).unwrap_or(false);
    (0..CpuSet::count()).filter(inside).collect()
}
