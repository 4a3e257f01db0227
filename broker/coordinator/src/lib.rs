//! The group coordinator: classic groups and committed offsets, pure.
//!
//! One [`GroupCoordinator`] decides for one partition of `__consumer_offsets`. It is told what
//! arrives (requests, the passing of time, the fate of its writes) and says what to append and
//! what to answer; its caller owns the log, the clock, the randomness and the connections.
//!
//! Kafka's words are kept: group, generation, leader, session, rebalance, static member.

mod classic_group;
mod classic_member;
mod committed_offsets;
mod config;
mod consumer_subscription;
mod coordinator;
mod describe;
mod desk;
mod expiration;
mod group_deletion;
mod heartbeat;
mod in_flight;
mod input;
mod join;
mod known_partitions;
mod leave;
mod offset_commit;
mod offset_fetch;
mod rebalance;
mod replay;
mod request;
mod retained;
mod routing;
mod static_member;
mod sync;
mod timers;
mod write_outcome;

pub use config::GroupCoordinatorConfig;
pub use coordinator::GroupCoordinator;
pub use input::{Input, Output, WriteId};
pub use known_partitions::UnknownPartitions;
pub use replay::ReplayError;
pub use request::{GroupRequest, GroupResponse, RequestContext, RequestToken};
pub use routing::{Fragment, Reassembly, Recipients, offsets_partition, route};
