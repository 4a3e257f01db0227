//! The simulated network as the code above sees it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_reactor::sim::{CrashOptions, KeepUnsynced, LinkOptions, Node, Simulation};
use millstream_reactor::{Listener, OpenOptions, Reactor, SendFileError, Stream, TaskQueue};

const PORT: u16 = 9092;

/// More than both directions of a connection hold.
const MORE_THAN_FITS: usize = 3 << 20;

/// A client and a server with a connection between them.
struct Pair {
    simulation: Simulation,
    client_node: Node,
    server_node: Node,
    listener: Listener,
    client: Stream,
    server: Stream,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let simulation = Simulation::with_seed(seed);
        let client_node = simulation.add_node("client");
        let server_node = simulation.add_node("server");
        let (here, there) = (client_node.reactor(), server_node.reactor());
        let address = server_node.address(PORT);
        let (listener, client, server) = simulation.block_on(async {
            let listener = there.listen(address).await.unwrap();
            let (client, server) = futures::join!(here.connect(address), listener.accept());
            (listener, client.unwrap(), server.unwrap())
        });
        Pair {
            simulation,
            client_node,
            server_node,
            listener,
            client,
            server,
        }
    }
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|n| (n * 31 % 251) as u8).collect()
}

/// Everything up to the end of the stream, and the lengths it came in.
async fn recv_all(stream: &Stream) -> io::Result<(Vec<u8>, Vec<usize>)> {
    let (mut all, mut lengths) = (Vec::new(), Vec::new());
    loop {
        let piece = stream.recv().await?;
        if piece.is_empty() {
            return Ok((all, lengths));
        }
        all.extend_from_slice(&piece);
        lengths.push(piece.len());
    }
}

#[test]
fn streams_carry_bytes_in_order_in_arbitrary_pieces() {
    let mut all_lengths = BTreeSet::new();
    for seed in 0..20 {
        let pair = Pair::new(seed);
        let (client, server) = (pair.client, pair.server);
        assert_eq!(client.peer_addr(), server.local_addr());
        assert_eq!(client.local_addr(), server.peer_addr());
        assert_eq!(client.local_addr().ip(), pair.client_node.ip());
        let data = bytes(1 << 20);
        let sent = data.clone();
        let sending = async move {
            let parts = vec![sent.slice(..10), sent.slice(10..10), sent.slice(10..)];
            client.send(parts).await.unwrap();
        };
        let (_, received) = pair
            .simulation
            .block_on(async { futures::join!(sending, recv_all(&server)) });
        let (received, lengths) = received.unwrap();
        assert_eq!(received, data);
        assert!(lengths.len() > 16);
        all_lengths.insert(lengths);
    }
    assert_eq!(all_lengths.len(), 20, "every seed cuts otherwise");
}

#[test]
fn both_directions_go_at_once() {
    let pair = Pair::new(1);
    let data = bytes(MORE_THAN_FITS);
    pair.simulation.block_on(async {
        let exchange = async |stream: &Stream| {
            let send = stream.send(vec![data.clone()]);
            let recv = stream.recv_exact(BytesMut::from(&b"head"[..]), data.len());
            let (sent, received) = futures::join!(send, recv);
            sent.unwrap();
            let received = received.unwrap();
            assert_eq!(received[..4], b"head"[..]);
            assert_eq!(received[4..], data);
        };
        futures::join!(exchange(&pair.client), exchange(&pair.server));
    });
}

#[test]
fn the_same_seed_gives_the_same_trace_with_a_network() {
    let run = |seed| {
        let pair = Pair::new(seed);
        let exchange = async {
            let send = pair.client.send(vec![bytes(100_000)]);
            let recv = pair.server.recv_exact(BytesMut::new(), 100_000);
            let (sent, received) = futures::join!(send, recv);
            sent.and(received.map(drop)).unwrap();
        };
        pair.simulation.block_on(exchange);
        (pair.simulation.elapsed(), pair.simulation.trace_hash())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_sender_waits_for_a_slow_reader() {
    let pair = Pair::new(1);
    let reactor = pair.client_node.reactor();
    let sent = Rc::new(Cell::new(0));
    let (client, counter) = (pair.client, sent.clone());
    let sending = reactor.spawn(TaskQueue::Requests, async move {
        for _ in 0..MORE_THAN_FITS / 4096 {
            client.send(vec![bytes(4096)]).await.unwrap();
            counter.set(counter.get() + 4096);
        }
    });
    pair.simulation.run_for(Duration::from_secs(10));
    let before = sent.get();
    assert!((4096..=1 << 20).contains(&before), "{before}");
    pair.simulation.run_for(Duration::from_secs(10));
    assert_eq!(sent.get(), before);
    let (received, _) = pair.simulation.block_on(recv_all(&pair.server)).unwrap();
    assert_eq!(received.len(), MORE_THAN_FITS);
    pair.simulation.block_on(sending).unwrap();
}

#[test]
fn connecting_needs_somebody_who_listens() {
    let pair = Pair::new(1);
    let reactor = pair.client_node.reactor();
    let connect = |address| pair.simulation.block_on(reactor.connect(address));
    let refused = connect(pair.server_node.address(PORT + 1)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // A node's loopback addresses are its own.
    let loopback = "127.0.0.1:9092".parse().unwrap();
    let refused = connect(loopback).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let nobody = connect("10.9.9.9:9092".parse().unwrap()).err().unwrap();
    assert_eq!(nobody.kind(), ErrorKind::HostUnreachable);
    let listen = reactor.listen(pair.server_node.address(PORT));
    let foreign = pair.simulation.block_on(listen).err().unwrap();
    assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
    drop(pair.listener);
    let refused = connect(pair.server_node.address(PORT)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn shards_share_a_port_and_connections_are_spread() {
    let simulation = Simulation::with_seed(1);
    let node = simulation.add_node("a");
    let counts = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
    let accepting = |reactor: Reactor, address: &str, count: Rc<Cell<u32>>| {
        let address = address.parse().unwrap();
        let listener = simulation.block_on(reactor.listen(address)).unwrap();
        let bound = listener.local_addr().unwrap();
        let accept = async move {
            loop {
                drop(listener.accept().await.unwrap());
                count.set(count.get() + 1);
            }
        };
        reactor.spawn(TaskQueue::Requests, accept).detach();
        bound
    };
    let bound = accepting(node.reactor(), "0.0.0.0:0", counts[0].clone());
    assert_ne!(bound.port(), 0);
    let second = format!("127.0.0.1:{}", bound.port());
    accepting(node.reactor(), &second, counts[1].clone());
    let other = accepting(node.reactor(), "0.0.0.0:0", Rc::default());
    assert_ne!(other.port(), bound.port());
    let reactor = node.reactor();
    simulation.block_on(async {
        for _ in 0..100 {
            reactor.connect(second.parse().unwrap()).await.unwrap();
        }
    });
    simulation.run_for(Duration::from_secs(1));
    assert!(counts.iter().all(|count| count.get() > 20));
    assert_eq!(counts[0].get() + counts[1].get(), 100);
}

#[test]
fn a_partition_holds_bytes_back_until_it_is_mended() {
    let pair = Pair::new(1);
    let simulation = &pair.simulation;
    let reactor = pair.client_node.reactor();
    simulation.partition(&pair.client_node, &pair.server_node);
    let address = pair.server_node.address(PORT);
    simulation.block_on(async {
        pair.client.send(vec![bytes(1000)]).await.unwrap();
        let recv = pair.server.recv();
        let recv = reactor.timeout(Duration::from_secs(100), recv).await;
        assert!(recv.is_err(), "nothing gets through");
        let connect = reactor.connect(address).await.err().unwrap();
        assert_eq!(connect.kind(), ErrorKind::TimedOut);
    });
    simulation.heal(&pair.client_node, &pair.server_node);
    simulation.block_on(async {
        pair.client.send(vec![bytes(1000)]).await.unwrap();
        let received = pair.server.recv_exact(BytesMut::new(), 2000).await;
        assert_eq!(received.unwrap()[..], [bytes(1000), bytes(1000)].concat());
        reactor.connect(address).await.unwrap();
    });
}

#[test]
fn a_partition_may_cut_one_direction() {
    let pair = Pair::new(1);
    let simulation = &pair.simulation;
    simulation.partition_one_way(&pair.client_node, &pair.server_node);
    let reactor = pair.client_node.reactor();
    simulation.block_on(async {
        pair.server.send(vec![bytes(10)]).await.unwrap();
        pair.client.send(vec![bytes(10)]).await.unwrap();
        let answered = pair.client.recv_exact(BytesMut::new(), 10).await;
        assert_eq!(answered.unwrap()[..], bytes(10));
        let recv = reactor.timeout(Duration::from_secs(9), pair.server.recv());
        assert!(recv.await.is_err());
    });
    simulation.heal_all();
    let recv = pair.server.recv_exact(BytesMut::new(), 10);
    assert!(simulation.block_on(recv).is_ok());
}

#[test]
fn a_lossy_slow_link_keeps_order() {
    let pair = Pair::new(3);
    let link = LinkOptions {
        latency: Duration::from_millis(5)..=Duration::from_millis(80),
        loss: 0.2,
        reset: 0.0,
    };
    pair.simulation
        .set_link(&pair.client_node, &pair.server_node, link);
    let before = pair.simulation.elapsed();
    pair.simulation.block_on(async {
        let sending = async {
            for n in 0..200_u32 {
                let parts = vec![Bytes::copy_from_slice(&n.to_be_bytes())];
                pair.client.send(parts).await.unwrap();
            }
        };
        let receiving = async {
            for n in 0..200_u32 {
                let received = pair.server.recv_exact(BytesMut::new(), 4).await;
                assert_eq!(received.unwrap()[..], n.to_be_bytes());
            }
        };
        futures::join!(sending, receiving);
    });
    assert!(pair.simulation.elapsed() - before > Duration::from_millis(200));
}

#[test]
fn a_link_may_reset_connections() {
    let pair = Pair::new(3);
    let link = LinkOptions {
        reset: 0.05,
        ..LinkOptions::default()
    };
    pair.simulation
        .set_link(&pair.client_node, &pair.server_node, link);
    pair.simulation.block_on(async {
        let sending = async {
            loop {
                if let Err(error) = pair.client.send(vec![bytes(100)]).await {
                    return error;
                }
            }
        };
        let (sent, received) = futures::join!(sending, recv_all(&pair.server));
        assert_eq!(sent.kind(), ErrorKind::ConnectionReset);
        assert_eq!(received.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_stream_that_ends_is_read_to_its_end() {
    for shutdown in [false, true] {
        let pair = Pair::new(1);
        let reactor = pair.client_node.reactor();
        let (client, server) = (pair.client, pair.server);
        pair.simulation.block_on(async {
            client.send(vec![bytes(5000)]).await.unwrap();
            let mut client = Some(client);
            if shutdown {
                client.as_ref().unwrap().shutdown();
                let sent = client.as_ref().unwrap().send(vec![bytes(1)]).await;
                assert_eq!(sent.unwrap_err().kind(), ErrorKind::BrokenPipe);
                assert!(client.as_ref().unwrap().recv().await.unwrap().is_empty());
            } else {
                client = None;
            }
            let (received, _) = recv_all(&server).await.unwrap();
            assert_eq!(received, bytes(5000));
            let short = server.recv_exact(BytesMut::new(), 1).await;
            assert_eq!(short.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            // What is sent to one that reads no more comes back as a reset.
            server.send(vec![bytes(10)]).await.unwrap();
            reactor.sleep(Duration::from_secs(1)).await;
            let sent = server.send(vec![bytes(10)]).await.unwrap_err();
            assert_eq!(sent.kind(), ErrorKind::ConnectionReset);
            drop(client);
        });
    }
}

#[test]
fn one_direction_may_end_before_the_other() {
    let pair = Pair::new(1);
    pair.simulation.block_on(async {
        pair.client.send(vec![bytes(5000)]).await.unwrap();
        pair.client.finish();
        let late = pair.client.send(vec![bytes(1)]).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (received, _) = recv_all(&pair.server).await.unwrap();
        assert_eq!(received, bytes(5000));
        pair.server.send(vec![bytes(3000)]).await.unwrap();
        pair.server.shutdown();
        let (received, _) = recv_all(&pair.client).await.unwrap();
        assert_eq!(received, bytes(3000));
        pair.client.shutdown();
        assert!(pair.server.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_shutdown_wakes_who_waits() {
    let pair = Pair::new(1);
    pair.simulation.block_on(async {
        let sending = async {
            let error = pair.client.send(vec![bytes(MORE_THAN_FITS)]).await;
            assert_eq!(error.unwrap_err().kind(), ErrorKind::BrokenPipe);
        };
        let receiving = async { assert!(pair.client.recv().await.unwrap().is_empty()) };
        let stopping = async {
            let reactor = pair.client_node.reactor();
            reactor.sleep(Duration::from_secs(1)).await;
            pair.client.shutdown();
        };
        futures::join!(sending, receiving, stopping);
    });
}

#[test]
fn dropping_a_stream_with_unread_bytes_resets_it() {
    let pair = Pair::new(1);
    let (client, server) = (pair.client, pair.server);
    pair.simulation.block_on(async {
        client.send(vec![bytes(10)]).await.unwrap();
        server.recv_exact(BytesMut::new(), 1).await.unwrap();
        let reactor = pair.client_node.reactor();
        reactor.sleep(Duration::from_secs(1)).await;
        drop(server);
        reactor.sleep(Duration::from_secs(1)).await;
        let error = client.recv().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn connections_nobody_accepts_end_with_their_listener() {
    let pair = Pair::new(1);
    let reactor = pair.client_node.reactor();
    let connect = reactor.connect(pair.server_node.address(PORT));
    let stream = pair.simulation.block_on(connect).unwrap();
    drop(pair.listener);
    let error = pair.simulation.block_on(stream.recv()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_crash_resets_connections() {
    let pair = Pair::new(1);
    let crash = CrashOptions::keep(KeepUnsynced::All);
    pair.server_node.crash(crash);
    let error = pair.simulation.block_on(recv_all(&pair.client));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let reactor = pair.client_node.reactor();
    let connect = reactor.connect(pair.server_node.address(PORT));
    let error = pair.simulation.block_on(connect).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // Handles of the dead node do nothing, and may be dropped.
    drop((pair.server, pair.listener));
}

#[test]
fn a_silent_crash_is_noticed_when_the_node_is_back() {
    let pair = Pair::new(1);
    let crash = CrashOptions {
        keep: KeepUnsynced::None,
        silent: true,
    };
    pair.server_node.crash(crash);
    let reactor = pair.client_node.reactor();
    let address = pair.server_node.address(PORT);
    let recv = reactor.timeout(Duration::from_secs(1000), pair.client.recv());
    assert!(pair.simulation.block_on(recv).is_err());
    let error = pair.simulation.block_on(reactor.connect(address));
    assert_eq!(error.err().unwrap().kind(), ErrorKind::TimedOut);
    pair.simulation
        .block_on(pair.client.send(vec![bytes(10)]))
        .unwrap();
    pair.simulation.run_for(Duration::from_secs(10));
    let again = pair.server_node.reactor();
    let error = pair.simulation.block_on(pair.client.recv()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    pair.simulation.block_on(async {
        let listener = again.listen(address).await.unwrap();
        let (client, server) = futures::join!(reactor.connect(address), listener.accept());
        client.and(server).unwrap();
    });
}

#[test]
fn a_node_stopped_by_a_fault_point_resets_connections_once_it_crashes() {
    let pair = Pair::new(1);
    pair.server_node.crash_at_disk_operation(1);
    let fs = pair.server_node.reactor().fs();
    let stopped = pair.server_node.run(async move {
        let dir = Path::new("/d");
        fs.create_dir_all(dir).await
    });
    assert!(stopped.is_none());
    let reactor = pair.client_node.reactor();
    let recv = reactor.timeout(Duration::from_secs(10), pair.client.recv());
    assert!(pair.simulation.block_on(recv).is_err());
    pair.server_node
        .crash(CrashOptions::keep(KeepUnsynced::Random));
    let error = pair.simulation.block_on(pair.client.recv()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn files_are_sent_as_they_are() {
    let pair = Pair::new(1);
    let content = bytes(300_000);
    pair.server_node.plant_file("/log", &content);
    let fs = pair.server_node.reactor().fs();
    pair.simulation.block_on(async {
        let options = OpenOptions::default();
        let file = fs.open(Path::new("/log"), options).await.unwrap();
        let send = pair.server.send_file(&file, 1000, 200_000);
        let recv = pair.client.recv_exact(BytesMut::new(), 200_000);
        let (sent, received) = futures::join!(send, recv);
        sent.unwrap();
        assert_eq!(received.unwrap()[..], content[1000..201_000]);
        let short = pair.server.send_file(&file, 299_000, 2000).await;
        let short = short.unwrap_err();
        assert!(
            matches!(&short, SendFileError::File(cause) if cause.kind() == ErrorKind::UnexpectedEof),
            "{short:?}"
        );
    });
}
