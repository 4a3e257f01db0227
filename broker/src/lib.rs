//! The broker: joins storage, replication, the controller and the coordinators into `millstreamd`.

pub mod config;
pub mod controller;
pub mod coordinator;
mod data_folder;
mod disk_reserve;
pub mod fetch;
mod handlers;
pub mod log_levels;
mod machine_memory;
pub mod metrics;
mod node;
pub mod reference;
pub mod shard;

pub use node::{BoundListener, ControllerStart, Node, NodeError, ShardStart, Supervisor};

/// The topic in which groups and their committed offsets are kept.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";
