//! Decides on topics, brokers, configurations and producer ids. Pure.

mod api;
mod api_error;
mod settings;

pub use api::{
    AlterConfigsResource, AlterConfigsResult, ConfigAlteration, ControllerRequest,
    ControllerResponse, CreatedTopic, DeletedTopic, EnsuredTopic, HeartbeatReply, NewTopic,
    NewTopicResult, ProducerIdBlock, TopicRef,
};
pub use api_error::ApiError;
pub use settings::{ConfigRules, ControllerSettings, InternalTopicSettings, SnapshotPolicy};
