//! Shards: their start and end, wakes between them, timers, sleep and signals.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_reactor::uring::{ShardOptions, reserve_port, start_shard, terminate_signal};
use millstream_reactor::{TaskQueue, mailbox};
use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::{any_port, connected, on_shard, options};

#[test]
fn mailboxes_wake_a_sleeping_shard() {
    let (mut requests, mut request) = mailbox::<u32>(1);
    let (mut answers, mut answer) = mailbox::<u32>(1);
    let other = start_shard(options("other"), move |_| async move {
        while let Some(number) = request.recv().await {
            answers.send(number + 1).await.expect("is awaited");
        }
    })
    .expect("a shard starts");
    on_shard(move |_| async move {
        for number in 0..20_000 {
            requests.send(number).await.expect("is received");
            assert_eq!(answer.recv().await, Some(number + 1));
        }
    });
    other.join();
}

#[test]
fn mailboxes_reach_a_busy_shard_soon() {
    let (mut sender, mut receiver) = mailbox::<()>(1);
    let busy = start_shard(options("busy"), move |reactor| async move {
        let spinner = reactor.clone();
        let spin = reactor.spawn(TaskQueue::Requests, async move {
            loop {
                spinner.yield_now().await;
            }
        });
        receiver.recv().await.expect("is sent");
        spin.cancel();
    })
    .expect("a shard starts");
    on_shard(move |_| async move { sender.send(()).await.expect("is received") });
    busy.join();
}

#[test]
fn a_plain_thread_can_wake_a_task() {
    let (sender, receiver) = futures::channel::oneshot::channel();
    let shard = start_shard(options("sleeper"), |_| receiver).expect("a shard starts");
    sender.send(5).expect("is awaited");
    assert_eq!(shard.join(), Ok(5));
}

#[test]
fn an_idle_shard_uses_no_cpu() {
    fn cpu_time() -> Duration {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("threads have a clock");
        [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| Duration::from_micros(time.num_microseconds().unsigned_abs()))
            .sum()
    }
    let used = on_shard(|reactor| async move {
        let listener = reactor.listen(any_port()).await.expect("listens");
        let (client, _server) = connected(&reactor).await;
        let waiting = reactor.spawn(TaskQueue::Requests, async move { listener.accept().await });
        let receiving = reactor.spawn(TaskQueue::Background, async move { client.recv().await });
        let before = cpu_time();
        reactor.sleep(Duration::from_millis(500)).await;
        let used = cpu_time() - before;
        drop((waiting, receiving));
        used
    });
    assert!(used < Duration::from_millis(5), "{used:?} of 500 ms");
}

#[test]
fn timers_fire_in_order_and_not_early() {
    on_shard(|reactor| async move {
        let start = reactor.now();
        let order = Rc::new(Cell::new(0));
        let mut tasks = Vec::new();
        for (place, ms) in [(2, 30), (0, 10), (1, 20)] {
            let (reactor_there, order) = (reactor.clone(), order.clone());
            tasks.push(reactor.spawn(TaskQueue::Requests, async move {
                reactor_there.sleep(Duration::from_millis(ms)).await;
                assert_eq!(order.replace(place + 1), place);
                reactor_there.now()
            }));
        }
        for (task, ms) in tasks.into_iter().zip([30, 10, 20]) {
            let fired = task.await.expect("fires");
            assert!(fired - start >= Duration::from_millis(ms));
        }
        let never = reactor.sleep(Duration::MAX);
        assert!(
            reactor
                .timeout(Duration::from_millis(1), never)
                .await
                .is_err()
        );
        reactor.sleep_until(start).await;
    });
}

#[test]
fn background_work_does_not_hold_up_requests() {
    on_shard(|reactor| async move {
        let spinner = reactor.clone();
        let _spin = reactor.spawn(TaskQueue::Background, async move {
            loop {
                let until = Instant::now() + Duration::from_micros(100);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                spinner.yield_now().await;
            }
        });
        let (client, server) = connected(&reactor).await;
        let started = Instant::now();
        for _ in 0..50 {
            client
                .send(vec![Bytes::from_static(b"ping")])
                .await
                .expect("sends");
            assert_eq!(&server.recv().await.expect("receives")[..], b"ping");
        }
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    });
}

#[test]
fn tasks_left_over_are_dropped_with_the_shard() {
    struct Flag(std::sync::mpsc::Sender<()>);
    impl Drop for Flag {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (dropped, drops) = std::sync::mpsc::channel();
    on_shard(move |reactor| async move {
        let (client, server) = connected(&reactor).await;
        for stream in [client, server] {
            let flag = Flag(dropped.clone());
            let waiter = reactor.clone();
            let waiting = async move {
                let _flag = flag;
                let _ = stream.recv().await;
                waiter.sleep(Duration::MAX).await;
            };
            reactor.spawn(TaskQueue::Requests, waiting).detach();
        }
        reactor.yield_now().await;
    });
    assert_eq!(drops.iter().count(), 2);
}

#[test]
fn a_cancelled_task_gives_nothing() {
    on_shard(|reactor| async move {
        let waiter = reactor.clone();
        let task = reactor.spawn(TaskQueue::Requests, async move {
            waiter.sleep(Duration::MAX).await;
        });
        reactor.yield_now().await;
        task.cancel();
        let done = reactor.spawn(TaskQueue::Replication, async { 7 });
        assert_eq!(done.await, Some(7));
    });
}

#[test]
fn a_panic_reaches_who_joins() {
    let shard =
        start_shard(options("panics"), |_| async { panic!("on purpose") }).expect("a shard starts");
    let join = std::panic::AssertUnwindSafe(|| -> () { shard.join() });
    std::panic::catch_unwind(join).expect_err("the panic is passed on");
}

#[test]
fn a_shard_on_a_missing_core_does_not_start() {
    let options = ShardOptions {
        cpu: Some(1023),
        ..options("nowhere")
    };
    assert!(start_shard(options, |_| async {}).is_err());
}

#[test]
fn random_numbers_and_clocks_differ() {
    on_shard(|reactor| async move {
        let mut numbers: Vec<u64> = (0..100).map(|_| reactor.random_u64()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 100);
        assert!(reactor.wall_clock_ms() > 1_700_000_000_000);
    });
}

#[test]
fn a_reserved_port_is_refused_to_others() {
    let (address, reservation) = reserve_port(any_port()).expect("a port is free");
    assert_ne!(address.port(), 0);
    let error = reserve_port(address).err().expect("it is reserved");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    // A program with SO_REUSEADDR, as the standard library's listeners have.
    let error = std::net::TcpListener::bind(address).expect_err("it is reserved");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    // Our shards share it.
    on_shard(move |reactor| async move {
        let first = reactor.listen(address).await.expect("listens");
        let second = reactor.listen(address).await.expect("listens");
        let client = reactor.connect(address).await.expect("connects");
        let accepted = {
            let (first, second) = (Box::pin(first.accept()), Box::pin(second.accept()));
            futures::future::select(first, second)
                .await
                .factor_first()
                .0
        };
        assert_eq!(accepted.expect("accepts").peer_addr(), client.local_addr());
        let error = reserve_port(address).err().expect("somebody listens");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
    drop(reservation);
    reserve_port(address).expect("connections in TIME_WAIT do not count");
}

#[test]
fn a_signal_ends_the_wait() {
    on_shard(|reactor| async move {
        let waiter = reactor.clone();
        let mut waiting = Box::pin(async move { terminate_signal(&waiter).await });
        let early = reactor
            .timeout(Duration::from_millis(1), &mut waiting)
            .await;
        assert!(early.is_err());
        // SAFETY: the handler was installed by the first poll.
        unsafe { libc::raise(libc::SIGTERM) };
        waiting.await.expect("the signal came");
        terminate_signal(&reactor).await.expect("it stays");
    });
}
