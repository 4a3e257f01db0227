//! A small Kafka client, shared by all that speak Kafka as a client.
//!
//! It is single-threaded `async` over a reactor, like everything else here, and speaks to any
//! Kafka broker: versions are agreed for each connection.
//!
//! * [`Connection`]: one broker, any request.
//! * [`Client`]: a cluster: who leads what, retries, administrative calls.
//! * [`Producer`] and [`Consumer`]: records in, records out, alone or in a group.

mod address;
mod backoff;
mod client;
mod cluster;
mod committed_offsets;
mod configs;
mod connection;
mod consumer;
mod error;
mod fetched_records;
mod group;
mod groups;
mod metadata;
mod offsets;
mod partitioner;
mod producer;
mod range_assignor;
mod record;
mod topics;

pub use address::{resolve, split_host_port};
pub use client::{Client, ClientConfig, Purpose};
pub use cluster::{
    ClusterDescription, Features, FinalizedFeature, Quorum, QuorumReplica, SupportedFeature,
};
pub use configs::{
    ConfigChange, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource, ConfigSynonym,
    ConfigType,
};
pub use connection::{Connection, ConnectionConfig};
pub use consumer::{Consumer, ConsumerConfig, StartPosition};
pub use error::{ClientError, Result};
pub use group::GroupConfig;
pub use groups::{GroupDescription, GroupListing, GroupMemberDescription};
pub use metadata::{Broker, Metadata, PartitionMetadata, TopicMetadata};
pub use offsets::{NamedPartition, OffsetSpec};
pub use partitioner::partition_for_key;
pub use producer::{Acks, Delivery, Producer, ProducerConfig};
pub use record::{ConsumerRecord, ProducerRecord, RecordMetadata};
pub use topics::{CreatedTopic, NewTopic};
