//! The broker: joins storage, replication, the controller and the coordinators into `millstreamd`.

pub mod config;
pub mod controller;
pub mod coordinator;
mod data_folder;
mod disk_reserve;
pub mod fetch;
mod handlers;
pub mod log_levels;
pub mod log_writer;
pub mod metrics;
mod node;
pub mod reference;
pub mod shard;
mod shard_memory;

pub use node::{BoundListener, ControllerStart, Node, NodeError, ShardStart, Supervisor};
pub use shard_memory::machine_memory;

/// The topic in which groups and their committed offsets are kept.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";
