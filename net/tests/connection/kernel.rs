//! The same code over the kernel's network.

use std::rc::Rc;

use bytes::{Buf, BytesMut};
use millstream_net::{Acceptor, Counters, MemoryBudget, Shutdown};
use millstream_reactor::TaskQueue;
use millstream_reactor::uring::{ShardOptions, start_shard};

use crate::harness::{PRODUCE, Seen, answer, options, request};

#[test]
fn requests_of_all_sizes_are_answered_in_order() {
    let shard = start_shard(ShardOptions::default(), async |reactor| {
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
            let reactor = reactor.clone();
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
        let sizes = [
            0, 1, 100, 4_000, 70_000, 16_364, 900_000, 3, 300_000, 20_000,
        ];
        let requests: Vec<_> = (0..100)
            .map(|id| request(PRODUCE, id, 0, id as u32 * 100, sizes[id as usize % 10]))
            .collect();
        let sender = client.clone();
        let sending = reactor.spawn(
            TaskQueue::Requests,
            async move { sender.send(requests).await },
        );
        for id in 0..100 {
            let head = client
                .recv_exact(BytesMut::new(), 8)
                .await
                .expect("a response");
            assert_eq!((&head[4..]).get_i32(), id);
            let rest = (&head[..4]).get_u32() as usize - 4;
            assert_eq!(rest, id as usize * 100);
            client
                .recv_exact(BytesMut::new(), rest)
                .await
                .expect("its rest");
        }
        sending.await.expect("not cancelled").expect("all is sent");
        shutdown.trigger();
        server.await.expect("not cancelled");
    });
    shard.expect("io_uring works here").join();
}
