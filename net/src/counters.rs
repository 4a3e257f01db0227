//! What this shard's connections have done, as plain counters; the broker renders them.

use std::cell::Cell;
use std::time::Instant;

use crate::request_times::RequestTimes;

/// Counts since the start, of one shard.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted and served.
    pub connections_accepted: Cell<u64>,
    /// Connections closed at once because the limit was reached.
    pub connections_refused: Cell<u64>,
    /// Connections that ended, for whatever reason.
    pub connections_closed: Cell<u64>,
    /// Connections ended because nothing happened on them for too long.
    pub connections_idle_closed: Cell<u64>,
    /// Errors of accepting itself, such as no descriptor left.
    pub accept_errors: Cell<u64>,
    /// Whole frames read.
    pub frames_received: Cell<u64>,
    /// Bytes of these frames, lengths included.
    pub bytes_received: Cell<u64>,
    /// Frames that cost their connection its life: oversized, negative, cut off, not Kafka's.
    pub frames_refused: Cell<u64>,
    /// Replies sent whole.
    pub frames_sent: Cell<u64>,
    /// Bytes of these replies, lengths included.
    pub bytes_sent: Cell<u64>,
    /// Times that reading stopped because the shard's memory budget was used up.
    pub budget_waits: Cell<u64>,
    /// How long requests took.
    pub times: RequestTimes,
    /// Requests that took longer than they should.
    pub slow_requests: Cell<u64>,
    /// When one of them was last logged, and how many there were then.
    pub(crate) slow_logged: Cell<Option<(Instant, u64)>>,
}

impl Counters {
    /// Connections that are open now.
    pub fn open_connections(&self) -> u64 {
        self.connections_accepted.get() - self.connections_closed.get()
    }
}

/// Adds to one counter.
pub(crate) fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get().wrapping_add(count));
}
