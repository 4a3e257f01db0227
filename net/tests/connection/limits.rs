//! What a connection and a shard may hold is bounded; beyond it the client is held back.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use millstream_net::AcceptorOptions;
use millstream_reactor::sim::Simulation;

use crate::harness::{FETCH, PRODUCE, Server, options, request};

#[test]
fn requests_in_flight_are_bounded_in_number() {
    let mut options = options();
    options.connection.max_in_flight = 4;
    let server = Server::start(Simulation::with_seed(1), options, 1 << 20);
    let client = server.connect();
    client.send((0..20).map(|id| request(PRODUCE, id, 100, 0, 0)).collect());
    for id in 0..20 {
        assert_eq!(server.sim.block_on(client.response()), Some(id));
    }
    assert_eq!(server.seen.max_in_flight.get(), 4);
}

#[test]
fn requests_in_flight_are_bounded_in_bytes_and_one_may_go_beyond() {
    let mut options = options();
    options.connection.max_in_flight_bytes = 25_000;
    let server = Server::start(Simulation::with_seed(2), options, 1 << 20);
    let client = server.connect();
    let sizes = [10_000, 10_000, 100_000, 10_000, 10_000, 10_000];
    let requests = (0..)
        .zip(sizes)
        .map(|(id, size)| request(PRODUCE, id, 100, 0, size));
    client.send(requests.collect());
    for id in 0..6 {
        assert_eq!(server.sim.block_on(client.response()), Some(id));
    }
    let max = server.seen.max_in_flight_bytes.get();
    assert!(
        (100_000..125_000).contains(&max),
        "{max} bytes were in flight"
    );
}

#[test]
fn the_memory_of_all_connections_together_is_bounded() {
    for seed in 0..10 {
        let server = Server::start(Simulation::with_seed(seed), options(), 100_000);
        let clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
        for client in &clients {
            client.send(
                (0..5)
                    .map(|id| request(PRODUCE, id, 20, 0, 30_000))
                    .collect(),
            );
        }
        for client in &clients {
            for id in 0..5 {
                assert_eq!(server.sim.block_on(client.response()), Some(id));
            }
        }
        let max = server.seen.max_in_flight_bytes.get();
        assert!(
            max <= 100_000,
            "{max} bytes of a budget of 100000 were held"
        );
        assert!(server.counters.budget_waits.get() > 0);
    }
}

#[test]
fn a_request_larger_than_the_whole_budget_passes_though_others_wait_for_long() {
    let server = Server::start(Simulation::with_seed(3), options(), 10_000);
    let (waiting, large) = (server.connect(), server.connect());
    waiting.send(vec![request(FETCH, 0, 10_000, 0, 5_000)]);
    server.sim.run_for(Duration::from_millis(10));
    large.send(
        (0..3)
            .map(|id| request(PRODUCE, id, 10, 0, 500_000))
            .collect(),
    );
    let begin = server.sim.elapsed();
    for id in 0..3 {
        assert_eq!(server.sim.block_on(large.response()), Some(id));
    }
    assert!(server.sim.elapsed() - begin < Duration::from_secs(5));
    assert!(
        server.seen.max_in_flight_bytes.get() < 600_000,
        "one at a time"
    );
    assert_eq!(server.sim.block_on(waiting.response()), Some(0));
}

#[test]
fn a_client_that_does_not_read_is_given_no_more_answers_to_hold() {
    let server = Server::start(Simulation::with_seed(4), options(), 1 << 20);
    let (client, other) = (server.connect(), server.connect());
    client.send(
        (0..100)
            .map(|id| request(FETCH, id, 0, 1_000_000, 0))
            .collect(),
    );
    server.sim.run_for(Duration::from_secs(10));
    let started = server.seen.started.borrow().len();
    assert!(started < 20, "{started} requests were started");
    assert!(server.seen.max_in_flight.get() <= 1);
    other.send(
        (100..200)
            .map(|id| request(FETCH, id, 0, 10_000, 0))
            .collect(),
    );
    for id in 100..200 {
        assert_eq!(
            server.sim.block_on(other.response()),
            Some(id),
            "others are served"
        );
    }
    for id in 0..100 {
        assert_eq!(server.sim.block_on(client.response()), Some(id));
    }
}

#[test]
fn connections_beyond_the_limit_are_closed_until_there_is_room() {
    let options = AcceptorOptions {
        max_connections: Rc::new(Cell::new(2)),
        ..options()
    };
    let server = Server::start(Simulation::with_seed(5), options, 1 << 20);
    let clients = [server.connect(), server.connect()];
    let refused = server.connect();
    assert_eq!(server.sim.block_on(refused.response()), None);
    assert_eq!(server.counters.connections_refused.get(), 1);
    clients[0].stream.shutdown();
    server.sim.run_for(Duration::from_millis(100));
    let welcome = server.connect();
    for client in [&clients[1], &welcome] {
        client.send(vec![request(PRODUCE, 1, 0, 0, 0)]);
        assert_eq!(server.sim.block_on(client.response()), Some(1));
    }
}
