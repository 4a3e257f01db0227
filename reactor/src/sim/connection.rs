//! A TCP connection: two ends, and the bytes on their way between them.
//!
//! ```text
//! send ─► ends[a].in_flight ──(latency, loss, partition)──► ends[b].received ─► recv
//!         └──────────── together at most WINDOW bytes ────────────┘
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::random::Random;

/// Bytes that one direction holds, in flight and unread, before a sender waits.
pub(super) const WINDOW: usize = 256 * 1024;

/// The longest segment.
const SEGMENT: usize = 64 * 1024;

pub(super) struct Connection {
    pub(super) ends: [End; 2],
}

pub(super) struct End {
    pub(super) node: usize,
    pub(super) address: SocketAddr,
    /// A stream, or an entry in a backlog, still stands for this end.
    pub(super) held: bool,
    /// This end sends no more.
    pub(super) finished: bool,
    /// This end sends no more and answers what it receives with a reset.
    pub(super) shut: bool,
    /// This end knows that the connection was reset.
    pub(super) reset: bool,
    /// The other side's end of stream has arrived.
    pub(super) ended: bool,
    /// On its way to the other end.
    pub(super) in_flight: VecDeque<Segment>,
    in_flight_bytes: usize,
    /// When the last segment arrives: none may overtake another.
    pub(super) last_arrival: Duration,
    /// Arrived and not yet read.
    received: VecDeque<Bytes>,
    received_bytes: usize,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

pub(super) struct Segment {
    pub(super) arrives: Duration,
    pub(super) content: Content,
}

pub(super) enum Content {
    Data(Bytes),
    EndOfStream,
}

impl Connection {
    pub(super) fn new(ends: [(usize, SocketAddr); 2]) -> Connection {
        Connection {
            ends: ends.map(|(node, address)| End {
                node,
                address,
                held: true,
                finished: false,
                shut: false,
                reset: false,
                ended: false,
                in_flight: VecDeque::new(),
                in_flight_bytes: 0,
                last_arrival: Duration::ZERO,
                received: VecDeque::new(),
                received_bytes: 0,
                reader: None,
                writer: None,
            }),
        }
    }

    /// Bytes that `end` may still send.
    pub(super) fn room(&self, end: usize) -> usize {
        let used = self.ends[end].in_flight_bytes + self.ends[1 - end].received_bytes;
        WINDOW.saturating_sub(used)
    }

    /// Nobody will look at this connection again.
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.held)
    }
}

impl End {
    /// Whether arriving data finds somebody who may read it.
    pub(super) fn receives(&self) -> bool {
        self.held && !self.shut && !self.reset
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.in_flight_bytes += segment.len();
        self.last_arrival = segment.arrives;
        self.in_flight.push_back(segment);
    }

    /// The first segment, if it has arrived by now.
    pub(super) fn pop_arrived(&mut self, now: Duration) -> Option<Content> {
        if self.in_flight.front()?.arrives > now {
            return None;
        }
        let segment = self.in_flight.pop_front()?;
        self.in_flight_bytes -= segment.len();
        Some(segment.content)
    }

    /// Loses what is in flight from the `kept`th segment on.
    pub(super) fn truncate_in_flight(&mut self, kept: usize) {
        self.in_flight.truncate(kept);
        self.in_flight_bytes = self.in_flight.iter().map(Segment::len).sum();
    }

    pub(super) fn receive(&mut self, data: Bytes) {
        self.received_bytes += data.len();
        self.received.push_back(data);
    }

    pub(super) fn has_received(&self) -> bool {
        self.received_bytes > 0
    }

    /// Takes some of what was received, at least one byte, at most `most`.
    pub(super) fn take_received(&mut self, most: usize, random: &mut Random) -> Option<Bytes> {
        let first = self.received.front_mut()?;
        let len = piece_len(first.len().min(most), random);
        let piece = first.split_to(len);
        if first.is_empty() {
            self.received.pop_front();
        }
        self.received_bytes -= len;
        Some(piece)
    }

    pub(super) fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Segment {
    fn len(&self) -> usize {
        match &self.content {
            Content::Data(data) => data.len(),
            Content::EndOfStream => 0,
        }
    }
}

/// Where to cut `available` bytes: often at the end, sometimes anywhere, sometimes after a few.
pub(super) fn piece_len(available: usize, random: &mut Random) -> usize {
    let len = match random.below(8) {
        0 => random.index(available.min(16)) + 1,
        1 => random.index(available) + 1,
        _ => available,
    };
    len.min(SEGMENT)
}
