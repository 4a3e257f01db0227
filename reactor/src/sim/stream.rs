//! Listeners and streams as tasks see them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;

use super::connection::{Content, piece_len};
use super::shard::Shard;
use crate::socket::SendFileError;

/// Connections that wait to be accepted; more are refused.
const MAX_BACKLOG: usize = 1024;

/// Waiting time between two attempts to connect to what does not answer, at first and at most.
const CONNECT_RETRY: Duration = Duration::from_secs(1);
const CONNECT_RETRY_MAX: Duration = Duration::from_secs(32);

/// After which a connect that gets no answer gives up, as Linux does by default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(127);

/// Bytes that `send_file` reads at a time.
const FILE_CHUNK: u64 = 64 * 1024;

/// A listening socket of a simulated node.
pub struct Listener {
    shard: Shard,
    backlog: Rc<Backlog>,
}

/// Connections made and not yet accepted.
pub(super) struct Backlog {
    pub(super) address: SocketAddr,
    connections: RefCell<VecDeque<u64>>,
    accepting: RefCell<Vec<Waker>>,
}

/// A connected stream of a simulated node.
pub struct Stream {
    shard: Shard,
    connection: u64,
    end: usize,
    local: SocketAddr,
    peer: SocketAddr,
}

/// Which of a connection's ends connected, and which accepted.
const CONNECTOR: usize = 0;
const ACCEPTOR: usize = 1;

impl Shard {
    pub(crate) async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        self.check_alive().await;
        let ip = address.ip();
        if !(ip.is_unspecified() || self.is_own(ip)) {
            return Err(Errno::EADDRNOTAVAIL.into());
        }
        let port = match address.port() {
            0 => self.free_port()?,
            port => port,
        };
        let backlog = Rc::new(Backlog {
            address: SocketAddr::new(ip, port),
            connections: RefCell::default(),
            accepting: RefCell::default(),
        });
        let mut network = self.world.network.borrow_mut();
        network.listen(self.node.index, backlog.clone());
        Ok(Listener {
            shard: self.clone(),
            backlog,
        })
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        self.check_alive().await;
        let here = self.node.index;
        let Some(there) = self.find_node(address.ip()) else {
            return Err(Errno::EHOSTUNREACH.into());
        };
        let started = self.world.clock.elapsed();
        let mut retry = CONNECT_RETRY;
        loop {
            self.sleep(self.world.latency(here, there)).await;
            if self.world.reaches(here, there) {
                // Held until the answer is here, so that it is closed if nobody waits for that.
                let stream = self.connect_at(there, address);
                self.sleep(self.world.latency(there, here)).await;
                if self.world.reaches(there, here) {
                    return stream;
                }
            }
            if self.world.clock.elapsed() - started > CONNECT_TIMEOUT {
                return Err(Errno::ETIMEDOUT.into());
            }
            self.sleep(retry).await;
            retry = (retry * 2).min(CONNECT_RETRY_MAX);
        }
    }

    /// What happens when the connection request arrives.
    fn connect_at(&self, there: usize, address: SocketAddr) -> io::Result<Stream> {
        let mut listeners = self.world.network.borrow().listeners(there, address);
        listeners.retain(|backlog| backlog.connections.borrow().len() < MAX_BACKLOG);
        if listeners.is_empty() {
            return Err(Errno::ECONNREFUSED.into());
        }
        let chosen = self.world.random.borrow_mut().index(listeners.len());
        let local_ip = if address.ip().is_loopback() {
            address.ip()
        } else {
            self.node.ip
        };
        let local = SocketAddr::new(local_ip, self.node.ephemeral_port());
        let ends = [(self.node.index, local), (there, address)];
        let connection = self.world.network.borrow_mut().connect(ends);
        listeners[chosen].push(connection);
        Ok(Stream {
            shard: self.clone(),
            connection,
            end: CONNECTOR,
            local,
            peer: address,
        })
    }

    /// Whether an address is this node's.
    fn is_own(&self, ip: IpAddr) -> bool {
        ip == self.node.ip || ip.is_loopback()
    }

    fn find_node(&self, ip: IpAddr) -> Option<usize> {
        if self.is_own(ip) || ip.is_unspecified() {
            return Some(self.node.index);
        }
        let nodes = self.world.nodes.borrow();
        nodes.iter().position(|node| node.ip == ip)
    }

    fn free_port(&self) -> io::Result<u16> {
        let network = self.world.network.borrow();
        (0..=u16::MAX)
            .map(|_| self.node.ephemeral_port())
            .find(|port| !network.is_listening(self.node.index, *port))
            .ok_or_else(|| Errno::EADDRINUSE.into())
    }
}

impl Backlog {
    fn push(&self, connection: u64) {
        self.connections.borrow_mut().push_back(connection);
        for waker in self.accepting.take() {
            waker.wake();
        }
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        self.shard.check_alive().await;
        let connection = poll_fn(|cx| {
            if let Some(connection) = self.backlog.connections.borrow_mut().pop_front() {
                return Poll::Ready(connection);
            }
            self.backlog.accepting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.shard.check_alive().await;
        let network = self.shard.world.network.borrow();
        // A connector that is gone has left its end of the connection there.
        let ends = &network.connections.get(&connection);
        let ends = &ends.expect("an end in the backlog is held").ends;
        Ok(Stream {
            shard: self.shard.clone(),
            connection,
            end: ACCEPTOR,
            local: ends[ACCEPTOR].address,
            peer: ends[CONNECTOR].address,
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.backlog.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.shard.is_alive() {
            return;
        }
        let world = &self.shard.world;
        let node = self.shard.node.index;
        world
            .network
            .borrow_mut()
            .stop_listening(node, &self.backlog);
        for connection in self.backlog.connections.take() {
            world.abort(connection, ACCEPTOR);
        }
    }
}

impl Stream {
    pub(crate) async fn recv(&self) -> io::Result<Bytes> {
        self.recv_some(usize::MAX).await
    }

    pub(crate) async fn recv_exact(
        &self,
        mut buffer: BytesMut,
        len: usize,
    ) -> io::Result<BytesMut> {
        let end = buffer.len() + len;
        buffer.reserve(len);
        while buffer.len() < end {
            let piece = self.recv_some(end - buffer.len()).await?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer.extend_from_slice(&piece);
        }
        Ok(buffer)
    }

    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        for mut part in parts {
            while !part.is_empty() {
                let len = self.wait_for_room(part.len()).await?;
                let segment = part.split_to(len);
                let world = &self.shard.world;
                world.transmit(self.connection, self.end, Content::Data(segment));
            }
        }
        Ok(())
    }

    pub(crate) async fn send_file(
        &self,
        file: &crate::File,
        position: u64,
        len: u64,
    ) -> Result<(), SendFileError> {
        let file = file
            .as_sim()
            .expect("a stream and its files share a backend");
        assert!(!file.is_direct(), "a direct file is not sent by splice");
        let mut sent = 0;
        while sent < len {
            let chunk = (len - sent).min(FILE_CHUNK);
            let read = file.read_at(position + sent, chunk as usize).await;
            let data = read.map_err(SendFileError::File)?;
            if data.is_empty() {
                return Err(SendFileError::File(io::ErrorKind::UnexpectedEof.into()));
            }
            sent += data.len() as u64;
            let send = self.send(vec![data.into_bytes()]).await;
            send.map_err(SendFileError::Socket)?;
        }
        Ok(())
    }

    pub(crate) fn finish(&self) {
        if self.shard.is_alive() {
            self.shard.world.finish(self.connection, self.end);
        }
    }

    pub(crate) fn shutdown(&self) {
        if self.shard.is_alive() {
            self.shard.world.shut(self.connection, self.end);
        }
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What has arrived, at most `most` bytes of it.
    async fn recv_some(&self, most: usize) -> io::Result<Bytes> {
        let world = &self.shard.world;
        poll_fn(|cx| {
            if !self.shard.is_alive() {
                return Poll::Pending;
            }
            let mut network = world.network.borrow_mut();
            let connection = network.connections.get_mut(&self.connection);
            let connection = connection.expect("a stream holds its end");
            let [one, other] = &mut connection.ends;
            let (end, sender) = match self.end {
                CONNECTOR => (one, other),
                _ => (other, one),
            };
            let random = &mut world.random.borrow_mut();
            if let Some(data) = end.take_received(most, random) {
                if let Some(writer) = sender.writer.take() {
                    writer.wake();
                }
                return Poll::Ready(Ok(data));
            }
            if end.reset {
                return Poll::Ready(Err(Errno::ECONNRESET.into()));
            }
            if end.ended || end.shut {
                return Poll::Ready(Ok(Bytes::new()));
            }
            end.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// How many of `wanted` bytes may be sent now, at least one.
    async fn wait_for_room(&self, wanted: usize) -> io::Result<usize> {
        let world = &self.shard.world;
        poll_fn(|cx| {
            if !self.shard.is_alive() {
                return Poll::Pending;
            }
            let mut network = world.network.borrow_mut();
            let connection = network.connections.get_mut(&self.connection);
            let connection = connection.expect("a stream holds its end");
            let room = connection.room(self.end);
            let end = &mut connection.ends[self.end];
            if end.reset {
                return Poll::Ready(Err(Errno::ECONNRESET.into()));
            }
            if end.shut || end.finished {
                return Poll::Ready(Err(Errno::EPIPE.into()));
            }
            if room > 0 {
                let random = &mut world.random.borrow_mut();
                return Poll::Ready(Ok(piece_len(wanted.min(room), random)));
            }
            end.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.shard.is_alive() {
            self.shard.world.close(self.connection, self.end);
        }
    }
}
