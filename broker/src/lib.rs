//! The broker: joins storage, replication, the controller and the coordinators into `millstreamd`.

pub mod config;
pub mod controller;
pub mod coordinator;
pub mod fetch;
mod handlers;
pub mod shard;

/// The topic in which groups and their committed offsets are kept.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";
