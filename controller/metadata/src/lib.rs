//! Metadata records, the image they build, and deltas. Pure.
//!
//! The controller writes [`Record`]s; everybody else replays them, in order, into an [`Image`]. An
//! image is immutable once shared: applying records makes the next one, which shares whatever did
//! not change. A [`Delta`] says what that was.

mod archive;
mod broker;
mod codec;
mod config_resource;
mod delta;
pub mod frame;
mod image;
mod record;
mod shared_map;
mod topic;

pub use broker::{BrokerRegistration, Endpoint, SecurityProtocol};
pub use codec::{DecodeError, FORMAT_VERSION, decode_records, encode_records};
pub use config_resource::{ConfigResource, ResourceType};
pub use delta::Delta;
pub use image::{ApplyError, Image, SnapshotError};
pub use record::{
    BrokerChangeRecord, ClusterIdRecord, ConfigRecord, FeatureLevelRecord, PartitionChangeRecord,
    PartitionRecord, ProducerIdsRecord, Record, RegisterBrokerRecord, RemoveTopicRecord,
    TopicRecord,
};
pub use shared_map::SharedMap;
pub use topic::{
    METADATA_TOPIC_ID, NO_LEADER, Partition, RecoveryState, Topic, collision_key,
    is_internal_topic, is_reserved_topic_id,
};
