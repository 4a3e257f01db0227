//! Replies with parts of files, spliced or read ahead of the socket.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::join_all;
use millstream_net::{
    CloseReason, ConnectionOptions, FileRange, MemoryBudget, Part, Reply, RequestFrame, Shared,
    Shutdown, serve,
};
use millstream_reactor::sim::{Node, Simulation};
use millstream_reactor::{File, OpenOptions, Reactor, Stream, Task, TaskQueue};

use crate::harness::{PRODUCE, request};

const PATH: &str = "/data/file";

/// A node with a file, each request to which is answered with parts of it.
struct FileServer {
    sim: Simulation,
    node: Node,
    content: Vec<u8>,
    shared: Shared,
}

/// A range of the file: opened with O_DIRECT or not, position, length.
type Range = (bool, usize, usize);

impl FileServer {
    fn new(seed: u64, size: usize) -> FileServer {
        let sim = Simulation::with_seed(seed);
        let node = sim.add_node("server");
        let content: Vec<u8> = (0..size).map(|at| (at ^ (at >> 8)) as u8).collect();
        node.make_dir("/data");
        node.plant_file(PATH, &content);
        let shared = Shared::new(
            node.reactor(),
            MemoryBudget::new(1000),
            Default::default(),
            Shutdown::new(),
        );
        FileServer {
            sim,
            node,
            content,
            shared,
        }
    }

    fn open(&self, options: OpenOptions) -> File {
        let fs = self.node.reactor().fs();
        let opened = self.sim.block_on(fs.open(Path::new(PATH), options));
        opened.expect("the file is there")
    }

    /// A connection whose requests are answered with `ranges`, a byte before and after each.
    fn connect(&self, ranges: &[Range]) -> (Rc<Stream>, Task<CloseReason>) {
        let reactor = self.node.reactor();
        let any_port = self.node.address(0);
        let listener = self.sim.block_on(reactor.listen(any_port));
        let listener = listener.expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        let client = self.sim.add_node("client").reactor();
        let stream = self.sim.block_on(client.connect(address));
        let accepted = self.sim.block_on(listener.accept());
        let files = [false, true].map(|direct| {
            self.open(OpenOptions {
                direct,
                ..OpenOptions::default()
            })
        });
        let ranges = ranges.to_vec();
        let handler = move |_: RequestFrame| {
            let mut parts = vec![Part::from(Bytes::from_static(b"|"))];
            for &(direct, position, len) in &ranges {
                parts.push(Part::File(FileRange {
                    file: files[usize::from(direct)].clone(),
                    path: Path::new(PATH).into(),
                    position: position as u64,
                    len: len as u64,
                }));
                parts.push(Part::from(Bytes::from_static(b"|")));
            }
            async { Reply::Send(parts) }.boxed_local()
        };
        let serving = serve(
            accepted.expect("somebody connects"),
            ConnectionOptions::default(),
            self.shared.clone(),
            handler,
        );
        let task = reactor.spawn(TaskQueue::Requests, serving);
        let stream = Rc::new(stream.expect("the server listens"));
        self.ask(&stream);
        (stream, task)
    }

    fn ask(&self, stream: &Stream) {
        let asked = stream.send(vec![request(PRODUCE, 0, 0, 0, 0)]);
        self.sim.block_on(asked).expect("the server is there");
    }

    fn expected(&self, ranges: &[Range]) -> Vec<u8> {
        let mut expected = b"|".to_vec();
        for &(_, position, len) in ranges {
            expected.extend_from_slice(&self.content[position..position + len]);
            expected.push(b'|');
        }
        expected
    }

    fn receive(&self, stream: &Stream, len: usize) -> BytesMut {
        let reply = self.sim.block_on(stream.recv_exact(BytesMut::new(), len));
        reply.expect("the reply comes whole")
    }
}

/// Writes to a file of its own, over and over.
fn keep_writing(reactor: &Reactor) -> Task<()> {
    let (fs, waiting) = (reactor.fs(), reactor.clone());
    reactor.spawn(TaskQueue::Requests, async move {
        let options = OpenOptions {
            write: true,
            create: true,
            ..OpenOptions::default()
        };
        let path = Path::new("/data/other");
        let file = fs.open(path, options).await.expect("it is made");
        loop {
            let written = file.write_at(0, Bytes::from_static(b"x")).await;
            written.expect("the disk takes it");
            waiting.sleep(Duration::from_millis(5)).await;
        }
    })
}

#[test]
fn parts_of_files_arrive_whole_and_in_order() {
    let server = FileServer::new(6, 6_000_000);
    let ranges = [
        (true, 1000, 3_000_000),
        (true, 262_144, 262_144),
        (false, 77, 90_000),
        (true, 5_999_990, 10),
        (true, 4095, 2),
    ];
    let expected = server.expected(&ranges);
    let (stream, task) = server.connect(&ranges);
    assert!(server.receive(&stream, expected.len()) == expected);
    let writing = keep_writing(&server.node.reactor());
    server.ask(&stream);
    assert!(server.receive(&stream, expected.len()) == expected);
    drop(writing);
    stream.shutdown();
    assert!(matches!(
        server.sim.block_on(task),
        Some(CloseReason::Ended)
    ));
}

#[test]
fn clients_that_take_nothing_for_a_while_hold_up_no_other() {
    let server = FileServer::new(7, 4_000_000);
    let _writing = keep_writing(&server.node.reactor());
    let ranges = [(true, 10, 3_900_000)];
    let expected = server.expected(&ranges);
    let stalled: Vec<_> = (0..20).map(|_| server.connect(&ranges)).collect();
    let mixed = [(true, 10, 9), (false, 10, 3_900_000), (true, 10, 3_900_000)];
    let _mixed = server.connect(&mixed);
    server.sim.run_for(Duration::from_millis(100));
    let (stream, _task) = server.connect(&ranges);
    let reply = stream.recv_exact(BytesMut::new(), expected.len());
    let in_time = server.node.reactor();
    let reply = server
        .sim
        .block_on(in_time.timeout(Duration::from_secs(20), reply));
    assert!(reply.expect("in time").expect("the reply comes whole") == expected);
    server.sim.run_for(Duration::from_secs(1));
    let received = RefCell::new(0);
    let readers = stalled.iter().map(|(stream, _)| async {
        let reply = stream.recv_exact(BytesMut::new(), expected.len()).await;
        assert!(reply.expect("the reply comes whole") == expected);
        *received.borrow_mut() += 1;
    });
    server.sim.block_on(join_all(readers));
    assert_eq!(received.into_inner(), stalled.len());
}

#[test]
fn a_file_that_ends_too_early_ends_the_connection() {
    for direct in [false, true] {
        let server = FileServer::new(8, 100_000);
        let (_stream, task) = server.connect(&[(direct, 90_000, 10_001)]);
        let reason = server.sim.block_on(task);
        assert!(
            matches!(&reason, Some(CloseReason::File { path, cause, .. })
                if **path == *Path::new(PATH) && cause.kind() == ErrorKind::UnexpectedEof),
            "{reason:?}"
        );
    }
}
