//! One shard's counters, and the copy of them that may leave it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_net::{ApiTimes, Counters};

use crate::shard::Shard;

/// What went through one partition since it was opened.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of batches appended for producers.
    pub bytes_in: Cell<u64>,
    /// Records in them.
    pub records_in: Cell<u64>,
    /// Bytes handed out to fetches.
    pub bytes_out: Cell<u64>,
    /// Batches that were refused.
    pub refused: Cell<u64>,
}

impl Traffic {
    /// Adds to one of the counters.
    pub fn add(counter: &Cell<u64>, count: u64) {
        counter.set(counter.get().wrapping_add(count));
    }
}

/// A copy of one shard's counters.
#[derive(Debug, Clone, Default)]
pub struct ShardMetrics {
    /// The shard.
    pub shard: usize,
    /// Times of requests, by api key.
    pub requests: BTreeMap<i16, ApiTimes>,
    /// What its connections did.
    pub network: NetworkMetrics,
    /// Fetch sessions that are open.
    pub fetch_sessions: u64,
    /// The partitions it owns, by topic.
    pub topics: BTreeMap<Arc<str>, TopicMetrics>,
    /// The offset of the metadata it goes by.
    pub metadata_offset: u64,
}

/// What the connections of a shard did.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkMetrics {
    /// Connections that are open.
    pub open: u64,
    /// Connections taken.
    pub accepted: u64,
    /// Connections refused because of `max.connections`.
    pub refused: u64,
    /// Connections closed because nothing happened on them.
    pub idle_closed: u64,
    /// Connections closed for what came on them.
    pub frames_refused: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Times that reading stopped for want of memory.
    pub budget_waits: u64,
    /// Requests that took longer than `slow.request.log.ms`.
    pub slow_requests: u64,
}

/// What the partitions of one topic on one shard come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopicMetrics {
    /// How many there are.
    pub partitions: u64,
    /// How many cannot be written to.
    pub offline: u64,
    /// Bytes on the disk.
    pub size_bytes: u64,
    /// Bytes of batches appended for producers.
    pub bytes_in: u64,
    /// Records in them.
    pub records_in: u64,
    /// Bytes handed out to fetches.
    pub bytes_out: u64,
    /// Batches that were refused.
    pub refused: u64,
}

impl NetworkMetrics {
    fn of(counters: &Counters) -> NetworkMetrics {
        NetworkMetrics {
            open: counters.open_connections(),
            accepted: counters.connections_accepted.get(),
            refused: counters.connections_refused.get(),
            idle_closed: counters.connections_idle_closed.get(),
            frames_refused: counters.frames_refused.get(),
            bytes_received: counters.bytes_received.get(),
            bytes_sent: counters.bytes_sent.get(),
            budget_waits: counters.budget_waits.get(),
            slow_requests: counters.slow_requests.get(),
        }
    }
}

impl Shard {
    /// A copy of this shard's counters.
    pub fn metrics(&self) -> ShardMetrics {
        let mut topics: BTreeMap<Arc<str>, TopicMetrics> = BTreeMap::new();
        for partition in self.open_partitions() {
            let topic = topics.entry(partition.topic().clone()).or_default();
            let traffic = partition.traffic();
            topic.partitions += 1;
            let log = partition.log();
            let refuses = log.offline().is_some() || log.disk_full().is_some();
            topic.offline += u64::from(refuses);
            topic.size_bytes += partition.log().size();
            topic.bytes_in += traffic.bytes_in.get();
            topic.records_in += traffic.records_in.get();
            topic.bytes_out += traffic.bytes_out.get();
            topic.refused += traffic.refused.get();
        }
        for topic in self.broken_topics() {
            let topic = topics.entry(topic).or_default();
            topic.partitions += 1;
            topic.offline += 1;
        }
        ShardMetrics {
            shard: self.id().0,
            requests: self.counters().times.snapshot(),
            network: NetworkMetrics::of(self.counters()),
            fetch_sessions: self.sessions().borrow().len() as u64,
            topics,
            metadata_offset: self.image().offset(),
        }
    }
}
