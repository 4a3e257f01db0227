//! What is no request ends its connection, and no other.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use millstream_net::{
    CloseReason, ConnectionOptions, FrameError, MemoryBudget, Reply, RequestFrame, Shared,
    Shutdown, serve,
};
use millstream_reactor::sim::Simulation;

use crate::harness::{PRODUCE, Server, options, request};

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
    let served = serve(
        accepted,
        options,
        Shared::new(reactor, budget.clone(), Default::default(), Shutdown::new()),
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
