//! How connections end: idle, not reading, by the client, by shutdown.

use std::time::Duration;

use millstream_reactor::sim::Simulation;

use crate::harness::{CLOSING, FETCH, PRODUCE, Server, options, request};

#[test]
fn an_idle_connection_is_closed_in_time_and_a_waiting_one_is_not() {
    let server = Server::start(Simulation::with_seed(1), options(), 1 << 20);
    let (idle, waiting) = (server.connect(), server.connect());
    idle.send(vec![request(PRODUCE, 0, 0, 0, 0)]);
    waiting.send(vec![request(FETCH, 1, 200_000, 0, 0)]);
    assert_eq!(server.sim.block_on(idle.response()), Some(0));
    let begin = server.sim.elapsed();
    assert_eq!(server.sim.block_on(idle.response()), None);
    let after = (server.sim.elapsed() - begin).as_millis();
    assert!((59_000..61_000).contains(&after), "closed after {after} ms");
    assert_eq!(server.counters.connections_idle_closed.get(), 1);
    assert_eq!(server.sim.block_on(waiting.response()), Some(1));
}

#[test]
fn a_client_that_never_takes_its_reply_is_closed() {
    let server = Server::start(Simulation::with_seed(2), options(), 1 << 20);
    let client = server.connect();
    client.send(vec![request(FETCH, 0, 0, 50_000_000, 0)]);
    server.sim.run_for(Duration::from_secs(50));
    assert_eq!(server.counters.open_connections(), 1);
    server.sim.run_for(Duration::from_secs(100));
    assert_eq!(server.counters.open_connections(), 0);
}

#[test]
fn what_is_in_flight_when_the_client_ends_is_bounded_in_time() {
    let server = Server::start(Simulation::with_seed(3), options(), 1 << 20);
    let client = server.connect();
    client.send(vec![request(FETCH, 0, 3_600_000, 0, 0)]);
    server.sim.run_for(Duration::from_secs(1));
    client.stream.shutdown();
    server.sim.run_for(Duration::from_secs(10));
    assert_eq!(server.counters.open_connections(), 0);
    assert_eq!(server.seen.in_flight.get(), 0, "its request was given up");
}

#[test]
fn shutdown_answers_what_is_in_flight_and_nothing_more() {
    for seed in 0..20 {
        let mut server = Server::start(Simulation::with_seed(seed), options(), 1 << 20);
        let (busy, idle) = (server.connect(), server.connect());
        busy.send(
            (0..3)
                .map(|id| request(PRODUCE, id, 500, 100_000, 0))
                .collect(),
        );
        server.sim.run_for(Duration::from_millis(50));
        server.shutdown.trigger();
        busy.send(vec![request(PRODUCE, 9, 0, 0, 0)]);
        assert_eq!(server.sim.block_on(idle.responses()), Vec::<i32>::new());
        assert_eq!(server.sim.block_on(busy.responses()), [0, 1, 2]);
        let acceptor = server.acceptor.take().expect("it was started");
        assert_eq!(server.sim.block_on(acceptor), Some(()));
        assert_eq!(server.counters.open_connections(), 0);
        let late = server.node.reactor();
        let connecting = server.sim.block_on(late.connect(server.address));
        assert!(connecting.is_err(), "nobody listens any more");
    }
}

#[test]
fn answers_are_not_lost_when_input_is_left_unread() {
    for seed in 0..20 {
        let server = Server::start(Simulation::with_seed(seed), options(), 1 << 20);
        let client = server.connect();
        client.send(vec![
            request(PRODUCE, 0, 10, 200_000, 0),
            request(CLOSING, 1, 0, 0, 0),
            request(PRODUCE, 2, 0, 0, 100_000),
            request(PRODUCE, 3, 0, 0, 100_000),
        ]);
        assert_eq!(server.sim.block_on(client.responses()), [0], "seed {seed}");
        // The client goes on to hold its side; it is given a second.
        server.sim.run_for(Duration::from_millis(1_100));
        assert_eq!(server.counters.open_connections(), 0);
    }
}

#[test]
fn a_client_that_resets_costs_the_others_nothing() {
    for seed in 0..20 {
        let server = Server::start(Simulation::with_seed(seed), options(), 1 << 20);
        let (gone, other) = (server.connect(), server.connect());
        gone.send(vec![
            request(PRODUCE, 0, 0, 10, 0),
            request(PRODUCE, 1, 1_000, 10, 50_000),
            request(FETCH, 2, 0, 10, 50_000),
        ]);
        other.send((0..10).map(|id| request(PRODUCE, id, 300, 10, 0)).collect());
        server.sim.run_for(Duration::from_millis(100));
        // Closing with an unread answer resets the connection.
        drop(gone);
        for id in 0..10 {
            assert_eq!(server.sim.block_on(other.response()), Some(id));
        }
        server.sim.run_for(Duration::from_secs(2));
        assert_eq!(server.counters.open_connections(), 1);
        assert_eq!(server.seen.in_flight.get(), 0);
        assert_eq!(server.counters.frames_refused.get(), 0);
        let begin = server.sim.elapsed();
        other.send(vec![request(PRODUCE, 10, 0, 0, 900_000)]);
        assert_eq!(server.sim.block_on(other.response()), Some(10));
        assert!(
            server.sim.elapsed() - begin < Duration::from_millis(100),
            "no memory is missing"
        );
    }
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    let mut server = Server::start(Simulation::with_seed(7), options(), 1 << 20);
    let client = server.connect();
    client.send(vec![request(FETCH, 0, 3_600_000, 0, 0)]);
    server.sim.run_for(Duration::from_millis(50));
    server.shutdown.trigger();
    let begin = server.sim.elapsed();
    let acceptor = server.acceptor.take().expect("it was started");
    assert_eq!(server.sim.block_on(acceptor), Some(()));
    let took = server.sim.elapsed() - begin;
    assert!(took <= Duration::from_millis(5_100), "it took {took:?}");
    assert_eq!(server.seen.in_flight.get(), 0);
}
