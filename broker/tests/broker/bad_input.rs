//! What no client of Kafka's sends: each ends its connection, is logged once with its cause, and
//! costs no other client anything.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::startup_process::{Daemon, millstreamd};

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;

/// A frame with the header that all versions share; the client's id is null.
fn request(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7_i32.to_be_bytes());
    frame.extend_from_slice(&(-1_i16).to_be_bytes());
    frame.extend_from_slice(body);
    let mut sent = (frame.len() as i32).to_be_bytes().to_vec();
    sent.append(&mut frame);
    sent
}

/// The correlation id and what follows it.
fn response(mut stream: &TcpStream) -> (i32, Vec<u8>) {
    let mut head = [0; 8];
    stream.read_exact(&mut head).expect("an answer");
    let [len, correlation_id] =
        [0, 4].map(|at| i32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes")));
    let mut body = vec![0; usize::try_from(len).expect("a length") - 4];
    stream.read_exact(&mut body).expect("all of it");
    (correlation_id, body)
}

fn error_code(body: &[u8]) -> i16 {
    i16::from_be_bytes([body[0], body[1]])
}

/// Sends bytes, and the end where `ends`; the connection must be ended without an answer.
fn refused(daemon: &Daemon, bytes: &[u8], ends: bool) -> SocketAddr {
    let mut stream = daemon.connect();
    stream.write_all(bytes).expect("the server takes it");
    if ends {
        stream.shutdown(Shutdown::Write).expect("connected");
    }
    let mut answer = Vec::new();
    // It is closed, or reset where it had sent more than was read.
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    assert!(answer.is_empty(), "{answer:?}");
    stream.local_addr().expect("it was connected")
}

#[test]
fn each_is_refused_and_logged_once_with_its_cause() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let mut command = millstreamd(dir.path());
    command.args(["--set", "listeners=PLAINTEXT://127.0.0.1:0"]);
    command.args(["--set", "socket.request.max.bytes=1000000"]);
    let daemon = Daemon::start(&mut command);
    let good = daemon.connect();

    let cut_short = &request(METADATA, 1, &[0, 0, 0, 1])[..12];
    let oversize = [&2_000_000_i32.to_be_bytes()[..], &[0; 100]].concat();
    let cases: [(&[u8], bool, &str); 9] = [
        (
            b"GET /topics HTTP/1.1\r\nHost: broker\r\n\r\n",
            false,
            "HTTP",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            false,
            "TLS",
        ),
        (
            &oversize,
            false,
            "2000000 bytes, more than the 1000000 that are allowed",
        ),
        (
            b"\xff\xff\xff\xfe\0\0\0\0\0\0\0\0",
            false,
            "a frame of -2 bytes",
        ),
        (
            cut_short,
            true,
            "the stream ended after 12 of a frame's 18 bytes",
        ),
        (
            &request(9_999, 0, &[]),
            false,
            "API key 9999 (version 0) is not known",
        ),
        (
            &request(-1, 0, &[]),
            false,
            "API key -1 (version 0) is not known",
        ),
        (
            &request(METADATA, 99, &[]),
            false,
            "version 99 of Metadata is not handled",
        ),
        // A list of two billion topics in four bytes.
        (
            &request(METADATA, 1, &[0x7f, 0xff, 0xff, 0xff]),
            false,
            "Metadata version 1: ",
        ),
    ];
    let refusals = cases.map(|(bytes, ends, words)| {
        let peer = refused(&daemon, bytes, ends);
        (&good)
            .write_all(&request(API_VERSIONS, 0, &[]))
            .expect("it is connected");
        let (correlation_id, body) = response(&good);
        assert_eq!((correlation_id, error_code(&body)), (7, 0), "{words}");
        (peer, words)
    });

    // The one request that clients send in versions that the server may not know.
    let newer = daemon.connect();
    (&newer)
        .write_all(&request(API_VERSIONS, 99, &[]))
        .expect("it is connected");
    let (correlation_id, body) = response(&newer);
    assert_eq!(
        (correlation_id, error_code(&body)),
        (7, UNSUPPORTED_VERSION)
    );
    (&newer)
        .write_all(&request(API_VERSIONS, 0, &[]))
        .expect("it may try again");
    assert_eq!(error_code(&response(&newer).1), 0);
    drop((good, newer));

    let log = daemon.stop();
    for (peer, words) in refusals {
        let peer = format!("peer={peer}");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&peer)).collect();
        assert_eq!(lines.len(), 1, "{words}: {lines:?}\n{log}");
        assert!(lines[0].contains(words), "{words}: {}", lines[0]);
    }
    assert!(!log.contains("panicked"), "{log}");
}
