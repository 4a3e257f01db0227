//! Kafka's wire protocol and record formats, pure: no clock, no files, no sockets.

pub mod any_message;
pub mod api;
pub mod batch_validation;
pub mod compression;
pub mod cursor;
pub mod fetch_response;
pub mod first_bytes;
pub mod frame;
pub mod group_records;
mod ids;
pub mod next_version;
pub mod partitioning;
pub mod recompression;
pub mod record_batch;
pub mod schema;
pub mod software_name;
pub mod topic_id_text;
pub mod topic_name;

pub use ids::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId, TopicPartition};
/// The error codes of the protocol, by Kafka's names.
pub use kafka_protocol::ResponseError as ErrorCode;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
