//! How long requests took, by phase, for each API.
//!
//! ```text
//! whole frame ── queue ──▶ started ── local ──▶ returned ── remote ──▶ reply ── send ──▶ left
//! ```
//!
//! The phases are those of Kafka's request metrics: before its turn on the connection; in the
//! handler itself; waiting for a disk, another shard or new records; until the last byte was
//! handed to the kernel, the replies before it included.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Upper bounds of a histogram's buckets, in microseconds: powers of two, and all above.
pub const BUCKET_BOUNDS_US: [u64; 21] = {
    let mut bounds = [0; 21];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = 16 << at;
        at += 1;
    }
    bounds
};

/// Durations counted in buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket, the one above the last bound at the end.
    pub counts: [u64; BUCKET_BOUNDS_US.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKET_BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The times of one API's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiTimes {
    /// Until its turn came.
    pub queue: Histogram,
    /// In the handler.
    pub local: Histogram,
    /// Waiting for something.
    pub remote: Histogram,
    /// Until it had left.
    pub send: Histogram,
    /// From the whole frame until it had left.
    pub total: Histogram,
}

/// The times of one shard's requests, by api key.
#[derive(Debug, Default)]
pub struct RequestTimes {
    by_api: RefCell<BTreeMap<i16, ApiTimes>>,
}

impl RequestTimes {
    /// What was counted so far.
    pub fn snapshot(&self) -> BTreeMap<i16, ApiTimes> {
        self.by_api.borrow().clone()
    }

    pub(crate) fn record(&self, timing: &Timing, left: Instant) {
        let mut by_api = self.by_api.borrow_mut();
        let times = by_api.entry(timing.api_key).or_default();
        times.queue.record(timing.started - timing.received);
        times.local.record(timing.returned - timing.started);
        times.remote.record(timing.replied - timing.returned);
        times.send.record(left - timing.replied);
        times.total.record(left - timing.received);
    }
}

/// When one request got how far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub api_key: i16,
    pub correlation_id: i32,
    /// Whether to wait is what it was sent for.
    pub waits: bool,
    pub received: Instant,
    pub started: Instant,
    pub returned: Instant,
    pub replied: Instant,
}

impl Timing {
    /// What it took beyond what it was meant to wait.
    pub fn unwanted(&self, left: Instant) -> Duration {
        let total = left - self.received;
        if self.waits {
            total - (self.replied - self.returned)
        } else {
            total
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_they_reach() {
        let mut histogram = Histogram::default();
        for us in [0, 16, 17, 16 << 20, (16 << 20) + 1] {
            histogram.record(Duration::from_micros(us));
        }
        assert_eq!(histogram.counts[..2], [2, 1]);
        assert_eq!(histogram.counts[20..], [1, 1]);
        assert_eq!((histogram.count(), histogram.sum_us), (5, (32 << 20) + 34));
    }

    #[test]
    fn a_wait_that_was_wanted_is_not_held_against_a_request() {
        let at = Instant::now();
        let ms = Duration::from_millis;
        let timing = Timing {
            api_key: 1,
            correlation_id: 7,
            waits: true,
            received: at,
            started: at + ms(1),
            returned: at + ms(3),
            replied: at + ms(503),
        };
        assert_eq!(timing.unwanted(at + ms(507)), ms(7));
        let times = RequestTimes::default();
        times.record(&timing, at + ms(507));
        let snapshot = times.snapshot();
        assert_eq!(snapshot[&1].remote.sum_us, 500_000);
        assert_eq!(snapshot[&1].total.sum_us, 507_000);
    }
}
