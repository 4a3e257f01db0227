//! The kernel backend against the real kernel: sockets, files, wakes and idling.

mod uring {
    mod files;
    mod held_up;
    mod lifecycle;
    mod sockets;
}

use std::future::Future;
use std::net::SocketAddr;

use millstream_reactor::uring::{ShardOptions, start_shard};
use millstream_reactor::{Listener, Reactor, Stream};

/// Runs `main` on a shard and gives its value.
fn on_shard<T, F, Main>(main: F) -> T
where
    T: Send + 'static,
    F: FnOnce(Reactor) -> Main + Send + 'static,
    Main: Future<Output = T> + 'static,
{
    start_shard(options("test"), main)
        .expect("a shard starts")
        .join()
}

fn options(name: &str) -> ShardOptions {
    ShardOptions {
        name: name.to_owned(),
        ..ShardOptions::default()
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Two ends of a connection.
async fn connected(reactor: &Reactor) -> (Stream, Stream) {
    let listener: Listener = reactor.listen(any_port()).await.expect("listens");
    let address = listener.local_addr().expect("has an address");
    let client = reactor.connect(address).await.expect("connects");
    let server = listener.accept().await.expect("accepts");
    assert_eq!(client.local_addr(), server.peer_addr());
    assert_eq!(client.peer_addr(), server.local_addr());
    (client, server)
}

/// Bytes that differ from their neighbours.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
