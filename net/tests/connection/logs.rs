//! Whatever ends a connection is logged once, with its cause, and costs no other connection
//! anything.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millstream_net::AcceptorOptions;
use millstream_reactor::sim::Simulation;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::harness::{CLOSING, Client, FETCH, PRODUCE, Server, options, request};

/// Keeps the events of a thread.
#[derive(Clone, Default)]
struct Log {
    events: Arc<Mutex<Vec<(Level, String)>>>,
}

impl Log {
    fn take(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut *self.events.lock().expect("no test panicked with it"))
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("millstream_net")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let event = (*event.metadata().level(), text.0);
        let mut events = self.events.lock().expect("no test panicked with it");
        events.push(event);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

fn sends(client: Client, bytes: &'static [u8]) -> Option<Client> {
    client.send(vec![Bytes::from_static(bytes)]);
    Some(client)
}

/// What a client does, and the level and words of the one event that it causes.
type Case = (fn(Client) -> Option<Client>, Level, &'static str);

const CASES: [Case; 12] = [
    (
        |client| sends(client, b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"),
        Level::WARN,
        "HTTP",
    ),
    (
        |client| sends(client, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        Level::WARN,
        "TLS",
    ),
    (
        |client| sends(client, b"\x7f\xff\xff\xff\0\0\0\0\0\0\0\0"),
        Level::WARN,
        "socket.request.max.bytes",
    ),
    (
        |client| sends(client, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0"),
        Level::WARN,
        "a frame of -1 bytes",
    ),
    (
        |client| sends(client, b"\0\0\0\x03\0\0\0\0\0\0\0\0"),
        Level::WARN,
        "a frame of 3 bytes",
    ),
    (
        |client| {
            let request = request(PRODUCE, 0, 0, 0, 1_000);
            client.send(vec![request.slice(..600)]);
            Some(client)
        },
        Level::WARN,
        "after 600 of a frame's 1020 bytes",
    ),
    (
        |client| {
            client.send(vec![request(CLOSING, 0, 0, 0, 0)]);
            Some(client)
        },
        Level::INFO,
        "as the request asks",
    ),
    (Some, Level::DEBUG, "the client closed the connection"),
    (
        |client| {
            client.send(vec![request(PRODUCE, 0, 500_000, 0, 0)]);
            Some(client)
        },
        Level::DEBUG,
        "the client closed the connection",
    ),
    (
        |client| {
            client.send(vec![
                request(PRODUCE, 0, 0, 10, 0),
                request(FETCH, 1, 500, 10, 0),
            ]);
            None
        },
        Level::DEBUG,
        "failed: Connection reset",
    ),
    (
        |client| sends(client, b"\0\0"),
        Level::WARN,
        "after 2 of a frame's 4 bytes",
    ),
    (
        |client| {
            client.send(vec![
                request(FETCH, 0, 0, 10_000_000, 0),
                request(FETCH, 1, 0, 0, 0),
            ]);
            None
        },
        Level::DEBUG,
        "failed: Connection reset",
    ),
];

#[test]
fn each_cause_is_logged_once_and_other_connections_are_served() {
    let log = Log::default();
    with_default(log.clone(), || {
        let server = Server::start(Simulation::with_seed(1), options(), 1 << 20);
        let good = server.connect();
        for (id, (act, level, words)) in (0..).zip(CASES) {
            let bad = server.connect();
            let (node, stream) = (bad.node.clone(), bad.stream.clone());
            let kept = act(bad);
            good.send(vec![request(PRODUCE, id, 20, 100, 10_000)]);
            server.sim.run_for(Duration::from_millis(200));
            if kept.is_some() {
                stream.shutdown();
            }
            // Where answers lie unread, this resets the connection.
            drop((kept, stream, node));
            server.sim.run_for(Duration::from_secs(10));
            assert_eq!(server.sim.block_on(good.response()), Some(id), "{words}");
            let events = log.take();
            let [(logged, text)] = &events[..] else {
                panic!("{words}: {events:?}");
            };
            assert_eq!(*logged, level, "{text}");
            assert!(text.contains(words) && text.contains("peer="), "{text}");
            assert_eq!(server.counters.open_connections(), 1, "{words}");
        }
        assert_eq!(server.counters.frames_refused.get(), 7);
    });
}

#[test]
fn a_client_that_does_nothing_or_takes_nothing_is_logged_once() {
    let log = Log::default();
    with_default(log.clone(), || {
        let server = Server::start(Simulation::with_seed(2), options(), 1 << 20);
        let _idle = server.connect();
        server.sim.run_for(Duration::from_secs(100));
        assert_eq!(
            only(&log),
            (
                Level::DEBUG,
                "no request for connections.max.idle.ms".to_owned()
            )
        );
        let deaf = server.connect();
        deaf.send(vec![request(FETCH, 0, 0, 50_000_000, 0)]);
        server.sim.run_for(Duration::from_secs(200));
        let words = "the client took no reply for connections.max.idle.ms".to_owned();
        assert_eq!(only(&log), (Level::INFO, words));
    });
}

#[test]
fn a_flood_beyond_the_connection_limit_is_logged_once() {
    let log = Log::default();
    with_default(log.clone(), || {
        let options = AcceptorOptions {
            max_connections: Rc::new(Cell::new(1)),
            ..options()
        };
        let server = Server::start(Simulation::with_seed(3), options, 1 << 20);
        let served = server.connect();
        for _ in 0..50 {
            let refused = server.connect();
            assert_eq!(server.sim.block_on(refused.response()), None);
        }
        let events = log.take();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].0, Level::WARN);
        assert!(events[0].1.contains("max.connections"), "{events:?}");
        served.send(vec![request(PRODUCE, 1, 0, 0, 0)]);
        assert_eq!(server.sim.block_on(served.response()), Some(1));
    });
}

#[test]
fn slow_requests_are_all_counted_and_one_in_a_second_is_logged() {
    let log = Log::default();
    with_default(log.clone(), || {
        let mut options = options();
        options.connection.slow_request = Duration::from_millis(300);
        let server = Server::start(Simulation::with_seed(4), options, 1 << 20);
        let client = server.connect();
        for delay in [299, 310, 310, 310, 2_000] {
            client.send(vec![request(FETCH, 7, delay, 0, 0)]);
            assert_eq!(server.sim.block_on(client.response()), Some(7));
        }
        server.sim.run_for(Duration::from_millis(10));
        assert_eq!(server.counters.slow_requests.get(), 4);
        let events = log.take();
        let unlogged: Vec<bool> = ["unlogged=0 ", "unlogged=2 "]
            .into_iter()
            .zip(&events)
            .map(|(words, (level, text))| *level == Level::WARN && text.contains(words))
            .collect();
        assert_eq!(unlogged, [true, true], "{events:?}");
        assert_eq!(events.len(), 2);
        let (_, text) = &events[0];
        let told = [
            "api_key=1 ",
            "correlation_id=7 ",
            "remote=310",
            "queue=",
            "send=",
        ];
        assert!(told.iter().all(|words| text.contains(words)), "{text}");
    });
}

/// The cause in the only event there is.
fn only(log: &Log) -> (Level, String) {
    let events = log.take();
    let [(level, text)] = &events[..] else {
        panic!("not one event: {events:?}");
    };
    let (_, cause) = text.split_once("closed: ").expect("it says that it closed");
    let (cause, _) = cause.split_once(" peer=").unwrap_or((cause, ""));
    (*level, cause.trim_end().to_owned())
}
