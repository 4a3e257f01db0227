//! Requests as they come from the socket.
//!
//! ```text
//! length: i32 | api key: i16 | api version: i16 | correlation id: i32 | …
//! ```
//!
//! A frame that lies whole in one received chunk is cut out of it without a copy. Of a larger one
//! the known rest is received into one buffer of exactly its size: one copy from socket to frame.
//! Nothing is allocated before the length is checked and the shard's budget has room for it.

use std::io;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use millstream_reactor::Stream;
use thiserror::Error;

use crate::counters::{Counters, add};
use crate::memory_budget::{MemoryBudget, MemoryPermit};

/// Bytes of the length in front of a frame.
const LENGTH_SIZE: usize = 4;
/// Api key, version and correlation id: what every request begins with.
const MIN_REQUEST_SIZE: usize = 8;
/// The correlation id: what every response begins with.
const MIN_RESPONSE_SIZE: usize = 4;
/// A rest up to this size is taken from ordinary receives, which may bring the next frames with it.
const SMALL_REST: usize = 16 * 1024;

/// One request (or, for a client, one response), without its length.
pub struct RequestFrame {
    bytes: Bytes,
    permit: MemoryPermit,
}

/// Why no frame could be read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("receiving failed: {0}")]
    Io(#[from] io::Error),
    /// The stream ended within a frame.
    #[error("the stream ended after {received} of a frame's {expected} bytes")]
    Truncated {
        /// The bytes the frame should have, its length included where that is known.
        expected: usize,
        /// The bytes that came.
        received: usize,
    },
    /// The length is below what any request has, or negative.
    #[error("a frame of {len} bytes, less than any has{hint}")]
    TooShort {
        /// The length as sent.
        len: i32,
        /// What the other side seems to speak, or nothing.
        hint: &'static str,
    },
    /// The length is above the limit.
    #[error("a frame of {len} bytes, more than the {max} that are allowed{hint}")]
    TooLarge {
        /// The length as sent.
        len: i32,
        /// The limit.
        max: usize,
        /// What the other side seems to speak, or nothing.
        hint: &'static str,
    },
}

impl RequestFrame {
    /// The request from its api key on.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Which request it is.
    pub fn api_key(&self) -> i16 {
        i16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// What the answer repeats.
    pub fn correlation_id(&self) -> i32 {
        i32::from_be_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]])
    }

    /// The bytes, and the permit for their memory: keep it as long as slices of them are held, and
    /// drop it early where a request waits for something without needing its bytes any more.
    pub fn into_parts(self) -> (Bytes, MemoryPermit) {
        (self.bytes, self.permit)
    }
}

/// Cuts a stream into frames.
pub struct FrameReader {
    min_frame_bytes: usize,
    max_frame_bytes: usize,
    limit_hint: &'static str,
    budget: MemoryBudget,
    counters: Rc<Counters>,
    /// Received but not yet handed out.
    chunk: Bytes,
}

impl FrameReader {
    /// A reader at the beginning of a stream of requests.
    pub fn new(
        max_frame_bytes: usize,
        budget: MemoryBudget,
        counters: Rc<Counters>,
    ) -> FrameReader {
        FrameReader {
            min_frame_bytes: MIN_REQUEST_SIZE,
            max_frame_bytes,
            limit_hint: "; larger ones need a higher socket.request.max.bytes",
            budget,
            counters,
            chunk: Bytes::new(),
        }
    }

    /// A reader at the beginning of a stream of responses, for a client.
    pub fn for_responses(
        max_frame_bytes: usize,
        budget: MemoryBudget,
        counters: Rc<Counters>,
    ) -> FrameReader {
        FrameReader {
            min_frame_bytes: MIN_RESPONSE_SIZE,
            limit_hint: "",
            ..FrameReader::new(max_frame_bytes, budget, counters)
        }
    }

    /// The next frame; `None` when the stream ended between frames.
    pub async fn next(&mut self, stream: &Stream) -> Result<Option<RequestFrame>, FrameError> {
        let Some(len) = self.read_length(stream).await? else {
            return Ok(None);
        };
        let permit = match self.budget.try_acquire(len) {
            Some(permit) => permit,
            None => {
                add(&self.counters.budget_waits, 1);
                self.budget.acquire(len).await
            }
        };
        let bytes = if self.chunk.len() >= len {
            self.chunk.split_to(len)
        } else {
            self.read_rest(stream, len).await?
        };
        add(&self.counters.frames_received, 1);
        add(&self.counters.bytes_received, (LENGTH_SIZE + len) as u64);
        Ok(Some(RequestFrame { bytes, permit }))
    }

    async fn read_length(&mut self, stream: &Stream) -> Result<Option<usize>, FrameError> {
        if self.chunk.is_empty() {
            self.chunk = stream.recv().await?;
            if self.chunk.is_empty() {
                return Ok(None);
            }
        }
        if self.chunk.len() < LENGTH_SIZE {
            // The length itself was torn: join it with what follows.
            let mut joined = BytesMut::from(&self.chunk[..]);
            while joined.len() < LENGTH_SIZE {
                let more = stream.recv().await?;
                if more.is_empty() {
                    return Err(FrameError::Truncated {
                        expected: LENGTH_SIZE,
                        received: joined.len(),
                    });
                }
                joined.extend_from_slice(&more);
            }
            self.chunk = joined.freeze();
        }
        let len = i32::from_be_bytes(
            self.chunk[..LENGTH_SIZE]
                .try_into()
                .expect("the slice has four bytes"),
        );
        let size = usize::try_from(len).unwrap_or(0);
        if size < self.min_frame_bytes {
            return Err(FrameError::TooShort {
                len,
                hint: foreign_protocol_hint(&self.chunk),
            });
        }
        if size > self.max_frame_bytes {
            return Err(FrameError::TooLarge {
                len,
                max: self.max_frame_bytes,
                hint: match foreign_protocol_hint(&self.chunk) {
                    "" => self.limit_hint,
                    hint => hint,
                },
            });
        }
        self.chunk.advance(LENGTH_SIZE);
        Ok(Some(size))
    }

    async fn read_rest(&mut self, stream: &Stream, len: usize) -> Result<Bytes, FrameError> {
        let mut frame = BytesMut::with_capacity(len);
        frame.extend_from_slice(&std::mem::take(&mut self.chunk));
        while frame.len() < len {
            let rest = len - frame.len();
            if rest > SMALL_REST {
                let received = frame.len();
                frame = match stream.recv_exact(frame, rest).await {
                    Ok(frame) => frame,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Err(truncated(len, received));
                    }
                    Err(error) => return Err(error.into()),
                };
                break;
            }
            let mut more = stream.recv().await?;
            if more.is_empty() {
                return Err(truncated(len, frame.len()));
            }
            frame.extend_from_slice(&more.split_to(rest.min(more.len())));
            self.chunk = more;
        }
        assert_eq!(frame.len(), len, "a frame is received to its exact length");
        Ok(frame.freeze())
    }
}

fn truncated(len: usize, received: usize) -> FrameError {
    FrameError::Truncated {
        expected: LENGTH_SIZE + len,
        received: LENGTH_SIZE + received,
    }
}

/// Names the protocol whose first bytes were taken for a length.
fn foreign_protocol_hint(first: &[u8]) -> &'static str {
    const HTTP: [&[u8]; 8] = [
        b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN",
    ];
    if first.starts_with(&[0x16, 0x03]) {
        "; it looks like TLS: the client uses SSL on a PLAINTEXT listener"
    } else if HTTP.iter().any(|method| first.starts_with(method)) {
        "; it looks like HTTP: this port speaks Kafka's protocol"
    } else {
        ""
    }
}
