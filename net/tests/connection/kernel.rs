//! The same code over the kernel's network.

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use millstream_net::{
    Acceptor, ConnectionOptions, Counters, MemoryBudget, Part, Reply, RequestFrame, Shared,
    Shutdown, serve,
};
use millstream_reactor::uring::{ShardOptions, start_shard};
use millstream_reactor::{Reactor, Stream, TailBuffer, Task, TaskQueue};

use crate::harness::{PRODUCE, Seen, answer, options, request};

/// A server on this shard, and a client of it.
struct Pair {
    client: Rc<Stream>,
    seen: Rc<Seen>,
    shutdown: Shutdown,
    server: Task<()>,
}

impl Pair {
    async fn connect(reactor: &Reactor) -> Pair {
        let any_port = "127.0.0.1:0".parse().expect("it is an address");
        let listener = reactor.listen(any_port).await.expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = Shutdown::new();
        let acceptor = Acceptor::new(
            reactor.clone(),
            options(),
            MemoryBudget::new(1 << 20),
            Rc::new(Counters::default()),
            shutdown.clone(),
        );
        let seen = Rc::new(Seen::default());
        let serving = {
            let (reactor, seen) = (reactor.clone(), seen.clone());
            async move {
                let handler = |_, _| {
                    let (reactor, seen) = (reactor.clone(), seen.clone());
                    move |frame| answer(&reactor, &seen, frame)
                };
                acceptor.run(listener, handler).await;
            }
        };
        let server = reactor.spawn(TaskQueue::Requests, serving);
        let client = Rc::new(reactor.connect(address).await.expect("it listens"));
        Pair {
            client,
            seen,
            shutdown,
            server,
        }
    }

    /// The correlation id and the size of the next response.
    async fn response(&self) -> (i32, usize) {
        let head = self.client.recv_exact(BytesMut::new(), 8).await;
        let head = head.expect("a response");
        let rest = (&head[..4]).get_u32() as usize - 4;
        let body = self.client.recv_exact(BytesMut::new(), rest).await;
        body.expect("its rest");
        ((&head[4..]).get_i32(), rest)
    }
}

#[test]
fn requests_of_all_sizes_are_answered_in_order() {
    let shard = start_shard(ShardOptions::default(), async |reactor| {
        let pair = Pair::connect(&reactor).await;
        let sizes = [
            0, 1, 100, 4_000, 70_000, 16_364, 900_000, 3, 300_000, 20_000,
        ];
        let requests: Vec<_> = (0..100)
            .map(|id| request(PRODUCE, id, 0, id as u32 * 100, sizes[id as usize % 10]))
            .collect();
        let sender = pair.client.clone();
        let sending = reactor.spawn(
            TaskQueue::Requests,
            async move { sender.send(requests).await },
        );
        for id in 0..100 {
            assert_eq!(pair.response().await, (id, id as usize * 100));
        }
        sending.await.expect("not cancelled").expect("all is sent");
        pair.client.shutdown();
        pair.shutdown.trigger();
        pair.server.await.expect("not cancelled");
    });
    shard.expect("io_uring works here").join();
}

#[test]
fn slices_leave_in_order_with_what_is_around_them() {
    let shard = start_shard(ShardOptions::default(), async |reactor| {
        let listener = reactor.listen("127.0.0.1:0".parse().expect("it is an address"));
        let listener = listener.await.expect("some port is free");
        let client = reactor.connect(listener.local_addr().expect("it is bound"));
        let client = client.await.expect("it listens");
        let accepted = listener.accept().await.expect("somebody connects");
        let mut buffer = TailBuffer::with_capacity(1 << 20);
        let content: Vec<u8> = (0..1 << 20).map(|at| (at ^ (at >> 8)) as u8).collect();
        buffer.append(&content, |_| ());
        let ranges = [
            0..1 << 20,
            5..6,
            100..400_000,
            7..7,
            1..131_072,
            1..131_073,
            400_000..1 << 20,
        ];
        let mut expected = b"|".to_vec();
        for range in ranges.clone() {
            expected.extend_from_slice(&content[range]);
        }
        let handler = move |_: RequestFrame| {
            let mut parts = vec![Part::from(Bytes::from_static(b"|"))];
            parts.extend(
                ranges
                    .iter()
                    .map(|range| Part::Slice(buffer.slice(range.clone()))),
            );
            parts.push(Part::from(Bytes::new()));
            async { Reply::Send(parts) }.boxed_local()
        };
        let shared = Shared::new(
            reactor.clone(),
            MemoryBudget::new(1000),
            Rc::default(),
            Shutdown::new(),
        );
        let serving = serve(accepted, ConnectionOptions::default(), shared, handler);
        let serving = reactor.spawn(TaskQueue::Requests, serving);
        for _ in 0..10 {
            let asked = client.send(vec![request(PRODUCE, 0, 0, 0, 0)]).await;
            asked.expect("the server takes it");
            let reply = client.recv_exact(BytesMut::new(), expected.len()).await;
            assert!(reply.expect("the reply comes whole") == expected);
        }
        client.shutdown();
        serving.await.expect("not cancelled");
    });
    shard.expect("io_uring works here").join();
}

#[test]
fn a_shutdown_loses_no_answer_though_the_client_sends_on() {
    let shard = start_shard(ShardOptions::default(), async |reactor| {
        let pair = Pair::connect(&reactor).await;
        let requests = (0..3).map(|id| request(PRODUCE, id, 50, 3_000_000, 0));
        let sent = pair.client.send(requests.collect()).await;
        sent.expect("the server takes them");
        while pair.seen.started.borrow().len() < 3 {
            reactor.yield_now().await;
        }
        pair.shutdown.trigger();
        // More than the server's side takes off the socket by itself.
        let late = vec![request(PRODUCE, 9, 0, 0, 1_000_000)];
        let sender = pair.client.clone();
        let sending = reactor.spawn(TaskQueue::Requests, async move { sender.send(late).await });
        for id in 0..3 {
            assert_eq!(pair.response().await, (id, 3_000_000));
        }
        let end = pair.client.recv().await.expect("no reset");
        assert!(end.is_empty());
        sending.await.expect("not cancelled").expect("no reset");
        pair.client.shutdown();
        pair.server.await.expect("not cancelled");
        assert_eq!(*pair.seen.started.borrow(), [0, 1, 2]);
    });
    shard.expect("io_uring works here").join();
}
