//! Whatever ends a connection is logged once, with its cause, and costs no other connection
//! anything.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millstream_net::AcceptorOptions;
use millstream_reactor::sim::Simulation;
use tracing::Level;
use tracing::subscriber::with_default;

use crate::harness::{CLOSING, Client, FETCH, PRODUCE, Server, options, request};

/// Keeps the events of a thread, a line for each.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
}

impl Log {
    fn listen(&self, work: impl FnOnce()) {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_target(false)
            .with_ansi(false)
            .without_time()
            .with_writer(move || log.clone())
            .finish();
        with_default(subscriber, work);
    }

    fn take(&self) -> Vec<(Level, String)> {
        let lines = std::mem::take(&mut *self.lines.lock().expect("no test panicked with it"));
        let lines = String::from_utf8(lines).expect("text");
        let event = |line: &str| {
            let (level, text) = line.trim_start().split_once(' ').expect("a level, a text");
            (level.parse().expect("a level"), format!("{text} "))
        };
        lines.lines().map(event).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines.lock().expect("no test panicked with it");
        lines.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    log.listen(|| {
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
    log.listen(|| {
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
    log.listen(|| {
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
    log.listen(|| {
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
