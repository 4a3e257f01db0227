//! The receiving side of a connection: frames, the large ones into memory that is used again.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use millstream_reactor::{Reactor, Stream};

use crate::failure::Failure;

/// The largest answer that is taken.
const ANSWER_MAX: usize = 256 << 20;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SIZE: usize = size_of::<i32>();

/// Connects to a broker.
pub async fn connect(reactor: &Reactor, address: SocketAddr) -> Result<Stream, Failure> {
    let connected = reactor.timeout(CONNECT_TIMEOUT, reactor.connect(address));
    match connected.await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(cause)) => Err(Failure::Client(format!("connecting to {address}: {cause}"))),
        Err(_) => Err(Failure::Late {
            what: "a connection",
            within: CONNECT_TIMEOUT,
        }),
    }
}

/// Sends the parts of a request.
pub async fn send(stream: &Stream, parts: Vec<Bytes>) -> Result<(), Failure> {
    let sent = stream.send(parts).await;
    sent.map_err(|cause| broken(stream, &cause.to_string()))
}

/// Cuts what a broker sends into answers.
#[derive(Default)]
pub struct Answers {
    /// Received but not yet handed out.
    chunk: Bytes,
    /// Memory of an earlier answer.
    spare: BytesMut,
}

impl Answers {
    /// The next answer, from its correlation id on.
    pub async fn next(&mut self, stream: &Stream) -> Result<Bytes, Failure> {
        while self.chunk.len() < SIZE {
            let more = receive(stream).await?;
            if self.chunk.is_empty() {
                self.chunk = more;
            } else {
                self.chunk = [&self.chunk[..], &more].concat().into();
            }
        }
        let size = i32::from_be_bytes(*self.chunk.first_chunk().expect("four bytes are there"));
        let size = match usize::try_from(size) {
            Ok(size) if (SIZE..=ANSWER_MAX).contains(&size) => size,
            _ => return Err(broken(stream, &format!("an answer of {size} bytes"))),
        };
        self.chunk.advance(SIZE);
        if self.chunk.len() >= size {
            return Ok(self.chunk.split_to(size));
        }
        let mut answer = std::mem::take(&mut self.spare);
        answer.reserve(size);
        answer.extend_from_slice(&std::mem::take(&mut self.chunk));
        let rest = size - answer.len();
        let received = stream.recv_exact(answer, rest).await;
        let answer = received.map_err(|cause| broken(stream, &cause.to_string()))?;
        Ok(answer.freeze())
    }

    /// Takes back an answer that nobody looks at any more.
    pub fn recycle(&mut self, answer: Bytes) {
        if let Ok(mut memory) = answer.try_into_mut()
            && memory.capacity() > self.spare.capacity()
        {
            memory.clear();
            self.spare = memory;
        }
    }
}

async fn receive(stream: &Stream) -> Result<Bytes, Failure> {
    match stream.recv().await {
        Ok(bytes) if bytes.is_empty() => Err(broken(stream, "the broker has closed it")),
        Ok(bytes) => Ok(bytes),
        Err(cause) => Err(broken(stream, &cause.to_string())),
    }
}

fn broken(stream: &Stream, cause: &str) -> Failure {
    Failure::Client(format!("connection to {}: {cause}", stream.peer_addr()))
}
