//! Decides on topics, brokers, configurations and producer ids. Pure.
//!
//! [`decide`] is the shape of every request: `(image, request, context) -> (records, response)`.
//! [`Controller`] puts it on a Raft log: records are proposed, and the response leaves when they
//! are committed.

mod api;
mod api_error;
mod assignment;
mod brokers;
mod configs;
mod controller;
mod decision;
mod entropy;
mod partition_creation;
mod placement;
mod producer_ids;
mod settings;
mod topic_creation;
mod topic_deletion;
mod topic_name;

pub use api::{
    AlterConfigsResource, AlterConfigsResult, ConfigAlteration, ControllerRequest,
    ControllerResponse, CreatedTopic, DeletedTopic, EnsuredTopic, HeartbeatReply, MorePartitions,
    MorePartitionsResult, NewTopic, NewTopicResult, ProducerIdBlock, QuorumReplica, QuorumStatus,
    TopicRef,
};
pub use api_error::ApiError;
pub use controller::{Controller, ControllerFault, Input, Output, RequestId};
pub use decision::{Context, Decision, decide};
pub use millstream_raft as raft;
pub use settings::{ConfigRules, ControllerSettings, InternalTopicSettings, SnapshotPolicy};
pub use topic_name::validate_topic_name;
