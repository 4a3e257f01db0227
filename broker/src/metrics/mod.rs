//! What the node tells of itself: counters of its shards, rendered for Prometheus, and whether it
//! is alive and ready, on a port of its own (`metrics.listener`).
//!
//! Counters are plain and belong to one shard each; whoever renders asks every shard for a copy.

mod exposition;
mod process;
mod rendering;
mod server;
mod snapshot;

pub use exposition::Exposition;
pub use rendering::render;
pub use server::{Readiness, serve_metrics};
pub use snapshot::{NetworkMetrics, ShardMetrics, TopicMetrics, Traffic};
