//! The cluster as a whole: its brokers, its quorum of controllers, its features.

use millstream_protocol::StrBytes;
use millstream_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use millstream_protocol::messages::describe_quorum_response::ReplicaState;
use millstream_protocol::messages::{
    ApiVersionsResponse, DescribeClusterRequest, DescribeQuorumRequest, TopicName,
};

use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::metadata::Broker;

/// The partition in which the controllers keep the cluster's metadata.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The cluster and its brokers.
#[derive(Debug, Clone)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker that takes administrative requests; in KRaft any broker does.
    pub controller_id: i32,
    /// The brokers.
    pub brokers: Vec<Broker>,
}

/// The controllers' quorum.
#[derive(Debug, Clone)]
pub struct Quorum {
    /// The active controller, if there is one.
    pub leader_id: Option<i32>,
    /// How often there has been an election.
    pub leader_epoch: i32,
    /// Up to where the metadata log is agreed on.
    pub high_watermark: i64,
    /// Those that elect.
    pub voters: Vec<QuorumReplica>,
    /// Those that follow.
    pub observers: Vec<QuorumReplica>,
}

/// A node that has the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node.
    pub id: i32,
    /// How far its log reaches, if the leader knows.
    pub log_end_offset: Option<i64>,
    /// When it was level with the leader, in milliseconds since the epoch, if that is known.
    pub last_caught_up_ms: Option<i64>,
}

/// What a broker can do and what the cluster has agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// What this broker supports.
    pub supported: Vec<SupportedFeature>,
    /// What the cluster has agreed on.
    pub finalized: Vec<FinalizedFeature>,
    /// With which change it was agreed; none from brokers that do not say.
    pub finalized_epoch: Option<i64>,
}

/// A feature that a broker supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Kafka's name for it.
    pub name: String,
    /// The lowest level.
    pub min_version: i16,
    /// The highest level.
    pub max_version: i16,
}

/// A feature that the cluster uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalizedFeature {
    /// Kafka's name for it.
    pub name: String,
    /// At which level.
    pub version: i16,
}

impl Features {
    pub(crate) fn of(response: &ApiVersionsResponse) -> Features {
        let supported = response.supported_features.iter();
        let finalized = response.finalized_features.iter();
        Features {
            supported: supported
                .map(|feature| SupportedFeature {
                    name: feature.name.to_string(),
                    min_version: feature.min_version,
                    max_version: feature.max_version,
                })
                .collect(),
            finalized: finalized
                .map(|feature| FinalizedFeature {
                    name: feature.name.to_string(),
                    version: feature.max_version_level,
                })
                .collect(),
            finalized_epoch: known(response.finalized_features_epoch),
        }
    }
}

impl Client {
    /// The cluster and its brokers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let response = self
            .retry(async || {
                let connection = self.any_broker().await?;
                let response = connection.call(&DescribeClusterRequest::default()).await?;
                let message = response.error_message.as_deref();
                let what = || "DescribeCluster".to_owned();
                ClientError::check(what, response.error_code, message)?;
                Ok(response)
            })
            .await?;
        let brokers = response.brokers.into_iter().filter_map(|broker| {
            Some(Broker {
                id: broker.broker_id.0,
                host: broker.host.to_string(),
                port: u16::try_from(broker.port).ok()?,
                rack: broker.rack.map(|rack| rack.to_string()),
            })
        });
        Ok(ClusterDescription {
            cluster_id: response.cluster_id.to_string(),
            controller_id: response.controller_id.0,
            brokers: brokers.collect(),
        })
    }

    /// The controllers' quorum.
    pub async fn describe_quorum(&self) -> Result<Quorum> {
        let what = || "DescribeQuorum".to_owned();
        let request = DescribeQuorumRequest::default().with_topics(vec![
            TopicData::default()
                .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
                .with_partitions(vec![PartitionData::default().with_partition_index(0)]),
        ]);
        self.retry(async || {
            let response = self.any_broker().await?.call(&request).await?;
            let message = response.error_message.as_deref();
            ClientError::check(what, response.error_code, message)?;
            let partition = response
                .topics
                .into_iter()
                .flat_map(|topic| topic.partitions)
                .next()
                .ok_or_else(|| ClientError::unanswered(&what()))?;
            let message = partition.error_message.as_deref();
            ClientError::check(what, partition.error_code, message)?;
            let leader = partition.leader_id.0;
            Ok(Quorum {
                leader_id: (leader >= 0).then_some(leader),
                leader_epoch: partition.leader_epoch,
                high_watermark: partition.high_watermark,
                voters: partition.current_voters.iter().map(replica).collect(),
                observers: partition.observers.iter().map(replica).collect(),
            })
        })
        .await
    }
}

fn replica(state: &ReplicaState) -> QuorumReplica {
    QuorumReplica {
        id: state.replica_id.0,
        log_end_offset: known(state.log_end_offset),
        last_caught_up_ms: known(state.last_caught_up_timestamp),
    }
}

fn known(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}
