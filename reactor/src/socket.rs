//! TCP: listeners and streams.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::buffer::TailSlice;
use crate::file::File;
use crate::{sim, uring};

/// A listening socket.
pub enum Listener {
    /// On the kernel's network.
    Uring(uring::Listener),
    /// On the simulated network.
    Sim(sim::Listener),
}

/// A connected stream. One task may receive while another sends.
pub enum Stream {
    /// On the kernel's network.
    Uring(uring::Stream),
    /// On the simulated network.
    Sim(sim::Stream),
}

/// Why a range of a file did not reach a socket.
#[derive(Debug, Error)]
pub enum SendFileError {
    /// The file could not be read; `UnexpectedEof` when it is shorter.
    #[error("reading failed: {0}")]
    File(#[source] io::Error),
    /// The socket failed.
    #[error("sending failed: {0}")]
    Socket(#[source] io::Error),
}

impl Listener {
    /// The next connection, with TCP_NODELAY.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Uring(listener) => Ok(Stream::Uring(listener.accept().await?)),
            Listener::Sim(listener) => Ok(Stream::Sim(listener.accept().await?)),
        }
    }

    /// Where it listens; the port is the one chosen when 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Listener::Uring(listener) => listener.local_addr(),
            Listener::Sim(listener) => listener.local_addr(),
        }
    }
}

impl Stream {
    /// What has arrived, at least one byte; empty at the end of the stream. For small messages.
    pub async fn recv(&self) -> io::Result<Bytes> {
        match self {
            Stream::Uring(stream) => stream.recv().await,
            Stream::Sim(stream) => stream.recv().await,
        }
    }

    /// Appends exactly `len` received bytes to `buffer`, without a copy in between; for the rest of
    /// a large message. `UnexpectedEof` when the stream ends first.
    pub async fn recv_exact(&self, buffer: BytesMut, len: usize) -> io::Result<BytesMut> {
        match self {
            Stream::Uring(stream) => stream.recv_exact(buffer, len).await,
            Stream::Sim(stream) => stream.recv_exact(buffer, len).await,
        }
    }

    /// Sends all parts, in order. Large parts are not copied.
    pub async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        match self {
            Stream::Uring(stream) => stream.send(parts).await,
            Stream::Sim(stream) => stream.send(parts).await,
        }
    }

    /// As [`Self::send`], where something is sent behind it at once: the last segment may wait for
    /// that.
    pub async fn send_more(&self, parts: Vec<Bytes>) -> io::Result<()> {
        match self {
            Stream::Uring(stream) => stream.send_more(parts).await,
            Stream::Sim(stream) => stream.send(parts).await,
        }
    }

    /// Sends a slice of a buffer without a copy: the socket refers to its pages, and the buffer
    /// gets new ones before it is used again, which costs about as much as a page fault for each
    /// of them. `more` as for [`Self::send_more`].
    pub async fn send_slice(&self, slice: TailSlice, more: bool) -> io::Result<()> {
        match self {
            Stream::Uring(stream) => stream.send_slice(slice, more).await,
            Stream::Sim(stream) => stream.send(vec![slice.into()]).await,
        }
    }

    /// Sends `[position, position + len)` of a file that is not `direct`, without a copy through
    /// this process (splice).
    pub async fn send_file(
        &self,
        file: &File,
        position: u64,
        len: u64,
    ) -> Result<(), SendFileError> {
        match self {
            Stream::Uring(stream) => {
                let file = file
                    .as_uring()
                    .expect("a stream and its files share a backend");
                stream.send_file(file, position, len).await
            }
            Stream::Sim(stream) => stream.send_file(file, position, len).await,
        }
    }

    /// Ends the sending direction after what was sent; receiving goes on. Later sends fail.
    pub fn finish(&self) {
        match self {
            Stream::Uring(stream) => stream.finish(),
            Stream::Sim(stream) => stream.finish(),
        }
    }

    /// Ends both directions: pending and later receives and sends fail or see the end.
    pub fn shutdown(&self) {
        match self {
            Stream::Uring(stream) => stream.shutdown(),
            Stream::Sim(stream) => stream.shutdown(),
        }
    }

    /// The address of the other side.
    pub fn peer_addr(&self) -> SocketAddr {
        match self {
            Stream::Uring(stream) => stream.peer_addr(),
            Stream::Sim(stream) => stream.peer_addr(),
        }
    }

    /// The address of this side.
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Stream::Uring(stream) => stream.local_addr(),
            Stream::Sim(stream) => stream.local_addr(),
        }
    }
}
