//! What is no request ends its connection, and no other.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use millstream_net::{
    CloseReason, ConnectionOptions, FrameError, MemoryBudget, Part, Reply, RequestFrame, Shutdown,
    serve,
};
use millstream_reactor::OpenOptions;
use millstream_reactor::sim::Simulation;

use crate::harness::{Client, PRODUCE, Server, options, request};

/// Serves one connection on which `bytes` come, and then its end if `ends`.
fn reason_after(seed: u64, bytes: Vec<u8>, ends: bool) -> (CloseReason, usize) {
    let sim = Simulation::with_seed(seed);
    let server = sim.add_node("server");
    let client = sim.add_node("client");
    let (reactor, address) = (server.reactor(), server.address(9092));
    let listener = sim
        .block_on(reactor.listen(address))
        .expect("the port is free");
    let connected = sim.block_on(client.reactor().connect(address));
    let connected = connected.expect("the server listens");
    let accepted = sim.block_on(listener.accept()).expect("somebody connects");
    sim.block_on(connected.send(vec![bytes.into()]))
        .expect("the server is there");
    if ends {
        connected.shutdown();
    }
    let started = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = started.clone();
    let handler = move |_: RequestFrame| {
        counted.set(counted.get() + 1);
        async { Reply::Nothing }.boxed_local()
    };
    let options = ConnectionOptions {
        max_frame_bytes: 1000,
        ..ConnectionOptions::default()
    };
    let budget = MemoryBudget::new(10_000);
    let shutdown = Shutdown::new();
    let served = serve(
        reactor,
        accepted,
        options,
        budget.clone(),
        Default::default(),
        shutdown,
        handler,
    );
    let reason = sim.block_on(served);
    assert_eq!(budget.used(), 0, "all memory came back");
    (reason, started.get())
}

fn frame(len: i32, padding: usize) -> Vec<u8> {
    [&len.to_be_bytes()[..], &vec![0; padding]].concat()
}

#[test]
fn lengths_that_cannot_be_are_refused_with_their_cause() {
    for seed in 0..10 {
        for len in [-1, i32::MIN, 0, 7] {
            let (reason, started) = reason_after(seed, frame(len, 20), false);
            assert!(
                matches!(reason, CloseReason::Frame(FrameError::TooShort { len: l, .. }) if l == len),
                "{len}: {reason}"
            );
            assert_eq!(started, 0);
        }
        let (reason, _) = reason_after(seed, frame(1001, 20), false);
        assert!(
            reason.to_string().contains("socket.request.max.bytes"),
            "{reason}"
        );
        let (_, started) = reason_after(seed, frame(1000, 1000), true);
        assert_eq!(started, 1, "a frame of exactly the limit passes");
    }
}

#[test]
fn other_protocols_are_recognised() {
    let cases: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", "HTTP"),
        (b"POST /topics HTTP/1.1\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"\x16\x03\x03\x00\x31", "TLS"),
    ];
    for (bytes, name) in cases {
        let (reason, _) = reason_after(1, bytes.to_vec(), false);
        assert!(reason.to_string().contains(name), "{reason}");
    }
}

#[test]
fn an_end_within_a_frame_is_told_from_an_end_between_frames() {
    for seed in 0..10 {
        let whole = frame(500, 500);
        let (reason, started) = reason_after(seed, whole.clone(), true);
        assert!(matches!(reason, CloseReason::Ended), "{reason}");
        assert_eq!(started, 1);
        for cut in [1, 3, 4, 5, 250, 503] {
            let bytes = [&whole[..], &whole[..cut]].concat();
            let (reason, started) = reason_after(seed, bytes, true);
            assert!(
                matches!(reason, CloseReason::Frame(FrameError::Truncated { .. })),
                "{cut}: {reason}"
            );
            assert_eq!(started, 1);
        }
    }
}

#[test]
fn a_bad_frame_costs_no_other_connection_anything_and_earlier_requests_are_answered() {
    let server = Server::start(Simulation::with_seed(5), options(), 1 << 20);
    let (bad, good) = (server.connect(), server.connect());
    let http = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
    bad.send(vec![request(PRODUCE, 0, 100, 0, 0), http]);
    good.send(vec![request(PRODUCE, 7, 200, 0, 0)]);
    assert_eq!(server.sim.block_on(bad.responses()), [0]);
    assert_eq!(server.sim.block_on(good.response()), Some(7));
    assert_eq!(server.counters.frames_refused.get(), 1);
    bad.stream.shutdown();
    server.sim.run_for(Duration::from_millis(100));
    assert_eq!(server.counters.open_connections(), 1);
}

#[test]
fn replies_may_have_parts_of_files() {
    let sim = Simulation::with_seed(6);
    let server = sim.add_node("server");
    server.make_dir("/data");
    server.plant_file("/data/file", &[5; 100_000]);
    let (reactor, address) = (server.reactor(), server.address(9092));
    let listener = sim
        .block_on(reactor.listen(address))
        .expect("the port is free");
    let node = sim.add_node("client");
    let stream = sim.block_on(node.reactor().connect(address));
    let client = Client {
        node,
        stream: std::rc::Rc::new(stream.expect("the server listens")),
    };
    let accepted = sim.block_on(listener.accept()).expect("somebody connects");
    let opening = reactor.fs();
    let file =
        sim.block_on(opening.open(std::path::Path::new("/data/file"), OpenOptions::default()));
    let file = file.expect("the file is there");
    let handler = move |_: RequestFrame| {
        let parts = vec![
            Part::from(Bytes::from_static(b"head")),
            Part::File {
                file: file.clone(),
                position: 1000,
                len: 90_000,
            },
            Part::from(Bytes::from_static(b"tail")),
        ];
        async { Reply::Send(parts) }.boxed_local()
    };
    client.send(vec![
        request(PRODUCE, 0, 0, 0, 0),
        request(PRODUCE, 1, 0, 0, 0),
    ]);
    let reading = client.stream.clone();
    let task = {
        let serving = serve(
            reactor.clone(),
            accepted,
            ConnectionOptions::default(),
            MemoryBudget::new(1000),
            Default::default(),
            Shutdown::new(),
            handler,
        );
        reactor.spawn(millstream_reactor::TaskQueue::Requests, serving)
    };
    for _ in 0..2 {
        let reply = sim.block_on(reading.recv_exact(Default::default(), 90_008));
        let reply = reply.expect("the reply comes whole");
        assert_eq!(&reply[..4], b"head");
        assert!(reply[4..90_004].iter().all(|byte| *byte == 5));
        assert_eq!(&reply[90_004..], b"tail");
    }
    client.stream.shutdown();
    let timeout = reactor.timeout(Duration::from_secs(1), task);
    let reason = sim.block_on(timeout).expect("the connection ends");
    assert!(matches!(reason, Some(CloseReason::Ended)));
}
