//! Requests start and are answered in their order, and overlap only where they may.

use std::time::Duration;

use millstream_reactor::sim::{LinkOptions, Simulation, SimulationOptions};

use crate::harness::{CLOSING, FETCH, PRODUCE, SILENT, Server, options, request};

#[test]
fn pipelined_requests_are_answered_in_order_whatever_they_take() {
    for seed in 0..30 {
        let sim = Simulation::new(SimulationOptions {
            seed,
            link: LinkOptions {
                loss: 0.05,
                ..LinkOptions::default()
            },
            ..SimulationOptions::default()
        });
        let server = Server::start(sim, options(), 64 << 20);
        let clients = [server.connect(), server.connect()];
        for client in &clients {
            let requests = (0..50).map(|id| {
                let random = server.sim.random_u64();
                let api_key = if random.is_multiple_of(5) {
                    FETCH
                } else {
                    PRODUCE
                };
                let (delay, size) = ((random >> 8) as u32 % 50, (random >> 16) as u32 % 5000);
                let padding = match random >> 40 & 7 {
                    0 => (random >> 44) as usize % 200_000,
                    _ => (random >> 44) as usize % 300,
                };
                request(api_key, id, delay, size, padding)
            });
            client.send(requests.collect());
        }
        for client in &clients {
            for id in 0..50 {
                let response = server.sim.block_on(client.response());
                assert_eq!(response, Some(id), "seed {seed}");
            }
        }
        assert_eq!(server.counters.frames_received.get(), 100);
        assert_eq!(server.counters.frames_sent.get(), 100);
    }
}

#[test]
fn produce_requests_overlap_and_others_wait_for_all_before_them() {
    let server = Server::start(Simulation::with_seed(1), options(), 1 << 20);
    let client = server.connect();
    client.send(vec![
        request(PRODUCE, 0, 100, 0, 0),
        request(PRODUCE, 1, 100, 0, 0),
        request(FETCH, 2, 100, 0, 0),
        request(FETCH, 3, 100, 0, 0),
        request(PRODUCE, 4, 100, 0, 0),
        request(PRODUCE, 5, 100, 0, 0),
    ]);
    let started = |after_ms: u64| {
        let now = server.sim.elapsed();
        server
            .sim
            .run_for(Duration::from_millis(after_ms).saturating_sub(now));
        server.seen.started.borrow().clone()
    };
    let begin = server.sim.elapsed().as_millis() as u64;
    assert_eq!(started(begin + 50), [0, 1]);
    assert_eq!(started(begin + 150), [0, 1, 2]);
    assert_eq!(started(begin + 250), [0, 1, 2, 3]);
    assert_eq!(started(begin + 350), [0, 1, 2, 3, 4, 5]);
    for id in 0..6 {
        assert_eq!(server.sim.block_on(client.response()), Some(id));
    }
    let took = server.sim.elapsed().as_millis() as u64 - begin;
    assert!(
        (400..450).contains(&took),
        "four rounds of 100 ms took {took} ms"
    );
}

#[test]
fn a_late_answer_holds_back_the_early_ones_behind_it() {
    let server = Server::start(Simulation::with_seed(2), options(), 1 << 20);
    let client = server.connect();
    let delays = [300, 0, 200, 0];
    let requests = (0..)
        .zip(delays)
        .map(|(id, delay)| request(PRODUCE, id, delay, 0, 0));
    client.send(requests.collect());
    let begin = server.sim.elapsed();
    assert_eq!(server.sim.block_on(client.response()), Some(0));
    let first = server.sim.elapsed();
    assert!(first - begin >= Duration::from_millis(300));
    for id in 1..4 {
        assert_eq!(server.sim.block_on(client.response()), Some(id));
    }
    // Those behind it were ready and left in the same send.
    assert!(server.sim.elapsed() - first < Duration::from_millis(5));
}

#[test]
fn a_request_without_an_answer_gets_none_and_does_not_stop_the_others() {
    let server = Server::start(Simulation::with_seed(3), options(), 1 << 20);
    let client = server.connect();
    client.send(vec![
        request(SILENT, 0, 0, 0, 0),
        request(PRODUCE, 1, 0, 0, 0),
        request(SILENT, 2, 0, 0, 0),
        request(PRODUCE, 3, 0, 0, 0),
    ]);
    assert_eq!(server.sim.block_on(client.response()), Some(1));
    assert_eq!(server.sim.block_on(client.response()), Some(3));
    assert_eq!(server.counters.frames_sent.get(), 2);
}

#[test]
fn closing_comes_after_the_answers_before_it() {
    let server = Server::start(Simulation::with_seed(4), options(), 1 << 20);
    let client = server.connect();
    client.send(vec![
        request(PRODUCE, 0, 50, 10_000, 0),
        request(CLOSING, 1, 0, 0, 0),
        request(PRODUCE, 2, 0, 0, 0),
    ]);
    assert_eq!(server.sim.block_on(client.responses()), [0]);
    assert_eq!(*server.seen.started.borrow(), [0, 1]);
    client.stream.shutdown();
    server.sim.run_for(Duration::from_millis(100));
    assert_eq!(server.counters.connections_closed.get(), 1);
}
