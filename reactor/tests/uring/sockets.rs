//! Streams and listeners.

use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::poll_immediate;
use millstream_reactor::uring::start_shard;
use millstream_reactor::{
    File, OpenOptions, Reactor, SendFileError, Stream, TailBuffer, TaskQueue,
};

use crate::{any_port, connected, on_shard, options, pattern};

async fn receive(stream: &Stream, len: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < len {
        let piece = stream.recv().await.expect("receives");
        assert!(!piece.is_empty(), "the stream ended early");
        received.extend_from_slice(&piece);
    }
    received
}

/// Sends back what comes, until the end.
async fn echo(stream: Stream) {
    loop {
        let piece = stream.recv().await.expect("receives");
        if piece.is_empty() {
            return;
        }
        stream.send(vec![piece]).await.expect("sends");
    }
}

#[test]
fn messages_of_all_sizes_are_echoed() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        let server = reactor.spawn(TaskQueue::Requests, echo(server));
        for len in [
            1, 2, 255, 256, 4095, 4096, 16_383, 16_384, 16_385, 65_537, 300_000,
        ] {
            let data = pattern(len, len as u64);
            client
                .send(vec![Bytes::from(data.clone())])
                .await
                .expect("sends");
            assert!(receive(&client, len).await == data, "echo of {len} bytes");
        }
        drop(client);
        server.await.expect("the echo ends with its stream");
    });
}

#[test]
fn large_messages_go_straight_into_the_buffer() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        let len = 5_000_000;
        let data = pattern(len, 7);
        let sent = Bytes::from(data.clone());
        let sender = reactor.spawn(TaskQueue::Requests, async move {
            for _ in 0..3 {
                client
                    .send(vec![sent.slice(..10), sent.slice(10..)])
                    .await
                    .expect("sends");
                client
                    .send(vec![Bytes::from_static(b"small")])
                    .await
                    .expect("sends");
            }
            client
        });
        for _ in 0..3 {
            // The first bytes come as they arrive, the rest in one piece.
            let first = server.recv().await.expect("receives");
            let mut buffer = BytesMut::with_capacity(len);
            buffer.extend_from_slice(&first);
            let missing = len - first.len();
            let buffer = server.recv_exact(buffer, missing).await.expect("receives");
            assert!(buffer[..] == data[..]);
            let small = server
                .recv_exact(BytesMut::new(), 5)
                .await
                .expect("receives");
            assert_eq!(&small[..], b"small");
        }
        let client = sender.await.expect("the sender ends");
        drop(client);
        let error = server
            .recv_exact(BytesMut::new(), 1)
            .await
            .expect_err("the stream has ended");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_length_beyond_the_end_is_an_unexpected_end() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        client
            .send(vec![Bytes::from(pattern(40_000, 1))])
            .await
            .expect("sends");
        drop(client);
        let error = server
            .recv_exact(BytesMut::new(), 100_000)
            .await
            .expect_err("too short");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn thousands_of_parts_arrive_in_order() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        let parts: Vec<Bytes> = (0..5000)
            .map(|n| Bytes::from(pattern(1 + n % 700, n as u64)))
            .collect();
        let whole: Vec<u8> = parts.iter().flatten().copied().collect();
        let sender = reactor.spawn(TaskQueue::Requests, async move {
            client.send(parts).await.expect("sends");
        });
        let buffer = server
            .recv_exact(BytesMut::new(), whole.len())
            .await
            .expect("receives");
        assert!(buffer[..] == whole[..]);
        sender.await.expect("the sender ends");
    });
}

/// A buffer that holds `data`, and no more.
fn buffer_with(data: &[u8]) -> TailBuffer {
    let mut buffer = TailBuffer::with_capacity(data.len());
    buffer.append(data, |_| ());
    buffer
}

#[test]
fn slices_of_buffers_arrive_whole() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        let data = pattern(3_000_000, 3);
        let buffer = buffer_with(&data);
        let ranges = [
            0..3_000_000,
            4095..4097,
            7..7,
            2_999_999..3_000_000,
            1..1_300_001,
        ];
        let mut expected = Vec::new();
        for range in ranges.clone() {
            expected.extend_from_slice(b"head");
            expected.extend_from_slice(&data[range]);
        }
        expected.extend_from_slice(b"end");
        let sender = reactor.spawn(TaskQueue::Requests, async move {
            for range in ranges {
                let head = vec![Bytes::from_static(b"head")];
                client.send_more(head).await.expect("sends");
                let slice = buffer.slice(range);
                client.send_slice(slice, true).await.expect("sends");
            }
            let end = vec![Bytes::from_static(b"end")];
            client.send(end).await.expect("sends");
        });
        let received = server.recv_exact(BytesMut::new(), expected.len()).await;
        assert!(received.expect("receives")[..] == expected[..]);
        sender.await.expect("the sender ends");
    });
}

#[test]
fn a_slice_in_a_socket_does_not_change_with_its_buffer() {
    on_shard(|reactor| async move {
        for huge in [false, true] {
            let len = if huge { 2 << 20 } else { 64 << 10 };
            let data = pattern(len, 4);
            let other = vec![0xee; len];
            let (client, server) = connected(&reactor).await;
            // Used again while the socket has it: by its owner, then by whoever gets its memory.
            let mut buffer = buffer_with(&data);
            let slice = buffer.slice(100..20_000);
            client.send_slice(slice, false).await.expect("sends");
            assert!(buffer.try_reset());
            buffer.append(&data, |_| ());
            let slice = buffer.slice(30_000..50_000);
            client.send_slice(slice, false).await.expect("sends");
            assert!(buffer.try_reset());
            buffer.append(&other, |_| ());
            drop(buffer);
            let buffers: Vec<_> = (0..64).map(|_| buffer_with(&other)).collect();
            let received = server.recv_exact(BytesMut::new(), 39_900).await;
            let received = received.expect("receives");
            assert!(received[..19_900] == data[100..20_000]);
            assert!(received[19_900..] == data[30_000..50_000]);
            drop(buffers);
        }
    });
}

#[test]
fn a_slow_client_gets_the_whole_slice_and_does_not_hold_up_others() {
    on_shard(|reactor| async move {
        let data = pattern(12_000_000, 6);
        let buffer = buffer_with(&data);
        let mut stalled = Vec::new();
        for _ in 0..4 {
            let (client, server) = connected(&reactor).await;
            let slice = buffer.slice(0..data.len());
            let task = reactor.spawn(TaskQueue::Requests, async move {
                server.send_slice(slice, false).await
            });
            stalled.push((client, task));
        }
        let (client, server) = connected(&reactor).await;
        let send = server.send_slice(buffer.slice(5..1_000_005), false);
        let receive = client.recv_exact(BytesMut::new(), 1_000_000);
        let (sent, received) = futures::future::join(send, receive).await;
        sent.expect("sends");
        assert!(received.expect("receives")[..] == data[5..1_000_005]);
        // One of the stalled goes on where it was; the others go away.
        let (slow, task) = stalled.swap_remove(0);
        let received = slow.recv_exact(BytesMut::new(), data.len()).await;
        assert!(received.expect("receives")[..] == data[..]);
        task.await.expect("ends").expect("sends");
        for (client, task) in stalled {
            drop(client);
            task.await.expect("ends").expect_err("the client is gone");
        }
        // What was not sent to them is nobody else's.
        let send = server.send_slice(buffer.slice(9..300_009), false);
        let receive = client.recv_exact(BytesMut::new(), 300_000);
        let (sent, received) = futures::future::join(send, receive).await;
        sent.expect("sends");
        assert!(received.expect("receives")[..] == data[9..300_009]);
    });
}

#[test]
fn a_half_closed_peer_still_receives() {
    on_shard(|reactor| async move {
        let listener = reactor.listen(any_port()).await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        let peer = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut peer = std::net::TcpStream::connect(address).expect("connects");
            peer.write_all(b"question").expect("sends");
            peer.shutdown(std::net::Shutdown::Write)
                .expect("half-closes");
            let mut answer = String::new();
            peer.read_to_string(&mut answer).expect("receives");
            answer
        });
        let stream = listener.accept().await.expect("accepts");
        assert_eq!(receive(&stream, 8).await, b"question");
        assert!(stream.recv().await.expect("receives").is_empty());
        assert!(stream.recv().await.expect("the end stays").is_empty());
        stream
            .send(vec![Bytes::from_static(b"answer")])
            .await
            .expect("sends");
        drop(stream);
        assert_eq!(peer.join().expect("the peer ends"), "answer");
    });
}

#[test]
fn one_direction_may_end_before_the_other() {
    on_shard(|reactor| async move {
        let listener = reactor.listen(any_port()).await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        let client = reactor.connect(address).await.expect("connects");
        let server = listener.accept().await.expect("accepts");
        client
            .send(vec![Bytes::from_static(b"question")])
            .await
            .expect("sends");
        client.finish();
        let late = client.send(vec![Bytes::from_static(b"more")]).await;
        assert_eq!(
            late.expect_err("it has ended").kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(receive(&server, 8).await, b"question");
        assert!(server.recv().await.expect("receives").is_empty());
        server
            .send(vec![Bytes::from_static(b"answer")])
            .await
            .expect("sends");
        assert_eq!(receive(&client, 6).await, b"answer");
    });
}

#[test]
fn a_reset_is_an_error_and_not_a_signal() {
    on_shard(|reactor| async move {
        let listener = reactor.listen(any_port()).await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        let peer = std::net::TcpStream::connect(address).expect("connects");
        let stream = listener.accept().await.expect("accepts");
        // Closing with unread bytes sends a reset.
        stream
            .send(vec![Bytes::from_static(b"unread")])
            .await
            .expect("sends");
        std::io::Read::read_exact(&mut &peer, &mut [0; 1]).expect("it has arrived");
        drop(peer);
        let error = stream.recv().await.expect_err("the peer is gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = stream
            .send(vec![Bytes::from(vec![0; 1 << 20])])
            .await
            .expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn nobody_listening_refuses_the_connection() {
    on_shard(|reactor| async move {
        let listener = reactor.listen(any_port()).await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        drop(listener);
        // The listener closes when its accept has ended.
        loop {
            match reactor.connect(address).await {
                Ok(_) => reactor.yield_now().await,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                    break;
                }
            }
        }
    });
}

#[test]
fn dropped_futures_lose_nothing_and_block_nothing() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        for _ in 0..10 {
            let waited = reactor
                .timeout(Duration::from_millis(1), server.recv())
                .await;
            assert!(waited.is_err());
        }
        client
            .send(vec![Bytes::from_static(b"hello")])
            .await
            .expect("sends");
        assert_eq!(receive(&server, 5).await, b"hello");
        // A receive into a buffer that is given up leaves the buffer with the kernel.
        let given_up = server.recv_exact(BytesMut::new(), 1 << 20);
        assert!(
            reactor
                .timeout(Duration::from_millis(1), given_up)
                .await
                .is_err()
        );
        // A send that cannot end, because nobody receives.
        let stuck = client.send(vec![Bytes::from(vec![0; 64 << 20])]);
        assert!(
            reactor
                .timeout(Duration::from_millis(20), stuck)
                .await
                .is_err()
        );
        drop(client);
        drop(server);
    });
}

#[test]
fn shutdown_ends_a_pending_receive() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        let server = Rc::new(server);
        let receiver = server.clone();
        let task = reactor.spawn(TaskQueue::Requests, async move {
            receiver.recv().await.map(|piece| piece.len())
        });
        reactor.yield_now().await;
        server.shutdown();
        assert_eq!(task.await.expect("ends").expect("sees the end"), 0);
        assert!(client.recv().await.expect("sees the end").is_empty());
        server
            .send(vec![Bytes::from_static(b"x")])
            .await
            .expect_err("it was shut down");
    });
}

#[test]
fn a_receiver_that_waits_holds_its_peer_back() {
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        let len = 64 << 20;
        let data = Bytes::from(pattern(len, 11));
        let sent = data.clone();
        let sender = reactor.spawn(TaskQueue::Requests, async move {
            client.send(vec![sent]).await.expect("sends");
        });
        let first = server.recv().await.expect("receives");
        let ended = reactor.timeout(Duration::from_millis(100), sender).await;
        assert!(ended.is_err(), "64 MiB were taken in by nobody");
        assert!(!first.is_empty());
    });
}

#[test]
fn what_was_received_stays_as_it_came() {
    // More than the pool has buffers, of sizes that are handed out and that are copied.
    let lens = (0..600).map(|n| if n % 3 == 0 { 700 } else { 20_000 });
    on_shard(|reactor| async move {
        let (client, server) = connected(&reactor).await;
        let mut held: Vec<(Bytes, Vec<u8>)> = Vec::new();
        for (n, len) in lens.enumerate() {
            let data = pattern(len, n as u64);
            let sent = vec![Bytes::from(data.clone())];
            client.send(sent).await.expect("sends");
            let mut missing = &data[..];
            while !missing.is_empty() {
                let piece = server.recv().await.expect("receives");
                let (came, rest) = missing.split_at(piece.len());
                held.push((piece, came.to_vec()));
                missing = rest;
            }
            if n % 200 == 199 {
                assert!(held.iter().all(|(piece, came)| piece == came), "{n}");
                // The memory of these goes to what comes next, or to another thread.
                let gone = held.split_off(held.len() / 2);
                std::thread::spawn(|| drop(gone)).join().expect("drops");
                held.truncate(held.len() / 2);
            }
        }
        assert!(held.iter().all(|(piece, came)| piece == came));
    });
}

#[test]
fn two_hundred_connections_echo_at_once() {
    let (addresses, address) = std::sync::mpsc::channel();
    let server = start_shard(options("server"), move |reactor| async move {
        let listener = reactor.listen(any_port()).await.expect("listens");
        addresses
            .send(listener.local_addr().expect("has an address"))
            .expect("is awaited");
        let mut tasks = Vec::new();
        for _ in 0..200 {
            let stream = listener.accept().await.expect("accepts");
            tasks.push(reactor.spawn(TaskQueue::Requests, echo(stream)));
        }
        for task in tasks {
            task.await.expect("the echo ends");
        }
    })
    .expect("a shard starts");
    let address = address.recv().expect("the server listens");
    on_shard(move |reactor| async move {
        let mut tasks = Vec::new();
        for n in 0..200_u64 {
            let client = reactor.connect(address).await.expect("connects");
            tasks.push(reactor.spawn(TaskQueue::Requests, async move {
                for round in 0..20 {
                    let data = pattern(1000 + n as usize, n * 100 + round);
                    client
                        .send(vec![Bytes::from(data.clone())])
                        .await
                        .expect("sends");
                    assert!(receive(&client, data.len()).await == data);
                }
            }));
        }
        for task in tasks {
            task.await.expect("the client ends");
        }
    });
    server.join();
}

/// A file with `data` in a folder of its own.
async fn file_with(
    reactor: &Reactor,
    data: &[u8],
) -> (tempfile::TempDir, millstream_reactor::File) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data");
    std::fs::write(&path, data).expect("written");
    let file = reactor
        .fs()
        .open(&path, OpenOptions::default())
        .await
        .expect("opens");
    (folder, file)
}

#[test]
fn files_are_spliced_into_sockets() {
    on_shard(|reactor| async move {
        let data = pattern(3_333_333, 5);
        let (_folder, file) = file_with(&reactor, &data).await;
        let (client, server) = connected(&reactor).await;
        for (position, len) in [
            (0, data.len()),
            (1, 1),
            (4095, 300_000),
            (3_333_332, 1),
            (7, 0),
        ] {
            let send = async { server.send_file(&file, position as u64, len as u64).await };
            let receive = client.recv_exact(BytesMut::new(), len);
            let (sent, received) = futures::future::join(send, receive).await;
            sent.expect("sends");
            assert!(received.expect("receives")[..] == data[position..position + len]);
        }
        let error = server
            .send_file(&file, 3_333_000, 1000)
            .await
            .expect_err("too short");
        assert!(
            matches!(&error, SendFileError::File(cause) if cause.kind() == ErrorKind::UnexpectedEof),
            "{error:?}"
        );
    });
}

/// Sends the beginning of a file to a client of its own.
async fn a_client_gets(reactor: &Reactor, file: &File, expected: &[u8]) {
    let (client, server) = connected(reactor).await;
    let send = server.send_file(file, 0, expected.len() as u64);
    let receive = client.recv_exact(BytesMut::new(), expected.len());
    let (sent, received) = futures::future::join(send, receive).await;
    sent.expect("sends");
    assert!(received.expect("receives")[..] == *expected);
}

#[test]
fn what_is_read_for_a_client_that_goes_reaches_no_other() {
    on_shard(|reactor| async move {
        let data = pattern(3_000_000, 5);
        let (_folder, file) = file_with(&reactor, &data).await;
        let (_client, server) = connected(&reactor).await;
        {
            let mut given_up = pin!(server.send_file(&file, 1_000_000, 1_000_000));
            assert!(poll_immediate(given_up.as_mut()).await.is_none());
            // Meanwhile the file is read for it.
            a_client_gets(&reactor, &file, &data[..1_000_000]).await;
        }
        a_client_gets(&reactor, &file, &data[..1_000_000]).await;
    });
}

#[test]
fn a_slow_client_gets_the_whole_file_and_does_not_hold_up_others() {
    on_shard(|reactor| async move {
        let data = Bytes::from(pattern(24_000_000, 6));
        let (_folder, file) = file_with(&reactor, &data).await;
        // More stalled clients than there are pipes.
        let mut stalled = Vec::new();
        for _ in 0..40 {
            let (client, server) = connected(&reactor).await;
            let file = file.clone();
            let task = reactor.spawn(TaskQueue::Requests, async move {
                server.send_file(&file, 0, 24_000_000).await
            });
            stalled.push((client, task));
        }
        a_client_gets(&reactor, &file, &data[..1_000_000]).await;
        // One of the stalled goes on where it was; the others go away.
        let (client, task) = stalled.swap_remove(0);
        let received = client
            .recv_exact(BytesMut::new(), data.len())
            .await
            .expect("receives");
        assert!(received[..] == data[..]);
        task.await.expect("ends").expect("sends");
        for (client, task) in stalled {
            drop(client);
            task.await.expect("ends").expect_err("the client is gone");
        }
    });
}
