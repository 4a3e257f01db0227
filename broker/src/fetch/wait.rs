//! Reading what a fetch wants, within its limits, and waiting for more.
//!
//! Partitions are read in the order of the request. The first that has records gives at least one
//! whole batch, whatever the limits; after it the limits bind. A fetch that has too little waits,
//! and is woken when a partition moves or its deadline comes; it never polls.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::select;
use millstream_protocol::TopicPartition;

use crate::shard::{FetchPart, FetchRead, FetchResult, Isolation, Shard};

/// The limits of one fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Up to where the reader sees.
    pub isolation: Isolation,
    /// Longest wait.
    pub max_wait: Duration,
    /// Fewer bytes than this are waited for.
    pub min_bytes: u64,
    /// Most bytes in all.
    pub max_bytes: u64,
}

/// Reads `parts`, waiting as the limits say. `answer_now` for a request with an error of its own.
/// The results are in the order of the parts.
pub async fn fetch_or_wait(
    shard: &Rc<Shard>,
    limits: FetchLimits,
    parts: Vec<FetchPart>,
    answer_now: bool,
) -> Vec<FetchResult> {
    let may_wait = !answer_now && !limits.max_wait.is_zero() && !parts.is_empty();
    if !may_wait {
        return read(shard, &limits, &parts, None).await;
    }
    let deadline = shard.reactor().now() + limits.max_wait;
    let (watch, mut woken) = shard.new_watch();
    let guard = WatchGuard {
        shard,
        watch,
        partitions: ids(&parts),
    };
    loop {
        let results = read(shard, &limits, &parts, Some(watch)).await;
        let bytes: u64 = results.iter().map(|result| result.records.len).sum();
        let at_once = |result: &FetchResult| result.error.is_some() || result.diverging.is_some();
        if bytes >= limits.min_bytes || results.iter().any(at_once) {
            guard.finish();
            return results;
        }
        let now: Instant = shard.reactor().now();
        let left = deadline.saturating_duration_since(now);
        let woken_or_stopping = select(woken, shard.shutdown().wait());
        let waited = shard.reactor().timeout(left, woken_or_stopping).await;
        if waited.is_err() || shard.shutdown().is_triggered() {
            guard.finish();
            return results;
        }
        woken = shard.rearm_watch(watch);
    }
}

/// Ends the watch also when the connection goes away while the fetch waits.
struct WatchGuard<'a> {
    shard: &'a Rc<Shard>,
    watch: crate::shard::WatchId,
    partitions: Vec<TopicPartition>,
}

impl WatchGuard<'_> {
    fn finish(self) {
        drop(self);
    }
}

impl Drop for WatchGuard<'_> {
    fn drop(&mut self) {
        self.shard
            .end_watch(self.watch, std::mem::take(&mut self.partitions));
    }
}

fn ids(parts: &[FetchPart]) -> Vec<TopicPartition> {
    parts.iter().map(|part| part.partition).collect()
}

/// Reads every part as if it were alone, then cuts in the order of the request what the limits do
/// not allow. A cut is rare, and is read again with what is left.
async fn read(
    shard: &Rc<Shard>,
    limits: &FetchLimits,
    parts: &[FetchPart],
    watch: Option<crate::shard::WatchId>,
) -> Vec<FetchResult> {
    let all = parts.iter().enumerate().map(|(slot, part)| FetchPart {
        slot,
        max_bytes: part.max_bytes.min(limits.max_bytes),
        at_least_one: true,
        ..*part
    });
    let request = FetchRead {
        isolation: limits.isolation,
        watch: watch.map(|watch| (watch, limits.min_bytes)),
        parts: all.collect(),
    };
    let mut results: Vec<Option<FetchResult>> = parts.iter().map(|_| None).collect();
    for (slot, result) in shard.fetch(request).await {
        results[slot] = Some(result);
    }
    let mut left = limits.max_bytes;
    let mut empty_so_far = true;
    let mut answered = Vec::with_capacity(parts.len());
    for (slot, result) in results.into_iter().enumerate() {
        // A shard answers unless it has stopped, and with it the node.
        let mut result = result.unwrap_or_else(|| {
            FetchResult::failed(millstream_protocol::ErrorCode::NotLeaderOrFollower)
        });
        let allowed = parts[slot].max_bytes.min(left);
        if result.records.len > allowed && !empty_so_far {
            result = read_within(shard, limits.isolation, &parts[slot], allowed, result).await;
        }
        empty_so_far &= result.records.is_empty();
        left = left.saturating_sub(result.records.len);
        answered.push(result);
    }
    answered
}

async fn read_within(
    shard: &Rc<Shard>,
    isolation: Isolation,
    part: &FetchPart,
    max_bytes: u64,
    first: FetchResult,
) -> FetchResult {
    if max_bytes == 0 {
        return FetchResult {
            records: Default::default(),
            ..first
        };
    }
    let part = FetchPart {
        slot: 0,
        max_bytes,
        at_least_one: false,
        ..*part
    };
    let request = FetchRead {
        isolation,
        watch: None,
        parts: vec![part],
    };
    match shard.fetch(request).await.pop() {
        Some((_, result)) => result,
        None => FetchResult {
            records: Default::default(),
            ..first
        },
    }
}
