//! The group coordinator: classic groups and committed offsets, pure.
//!
//! One coordinator decides for one partition of `__consumer_offsets`. It is told what
//! arrives (requests, the passing of time, the fate of its writes) and says what to append and
//! what to answer; its caller owns the log, the clock, the randomness and the connections.
//!
//! Kafka's words are kept: group, generation, leader, session, rebalance, static member.

mod config;
mod input;
mod records;
mod request;
mod routing;

pub use config::GroupCoordinatorConfig;
pub use input::{Input, Output, WriteId};
pub use records::{
    GroupMetadataValue, GroupRecord, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
pub use request::{GroupRequest, GroupResponse, RequestContext, RequestToken};
pub use routing::{Fragment, Reassembly, Recipients, offsets_partition, route};
