//! What the cluster says about itself: brokers, topics, leaders.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::MetadataResponse;
use uuid::Uuid;

/// What is known of the cluster. Topics appear in it once they were asked for.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker that takes administrative requests, if it is known.
    pub controller_id: Option<i32>,
    /// The brokers by their id.
    pub brokers: BTreeMap<i32, Broker>,
    /// Topics by name.
    pub topics: BTreeMap<Rc<str>, TopicMetadata>,
}

/// A broker and where clients reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Its advertised host.
    pub host: String,
    /// Its advertised port.
    pub port: u16,
    /// The rack it stands in.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct TopicMetadata {
    /// Its name.
    pub name: Rc<str>,
    /// Its id; nil from a broker that has none.
    pub id: Uuid,
    /// Whether it is one of Kafka's own.
    pub is_internal: bool,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, PartitionMetadata>,
    /// Why nothing more is said.
    pub error: Option<ErrorCode>,
}

/// A partition.
#[derive(Debug, Clone)]
pub struct PartitionMetadata {
    /// The broker that leads it.
    pub leader: Option<i32>,
    /// The leader's epoch, or −1.
    pub leader_epoch: i32,
    /// Brokers that have a replica.
    pub replicas: Vec<i32>,
    /// Replicas that are in sync.
    pub isr: Vec<i32>,
    /// Replicas whose broker or disk is away.
    pub offline_replicas: Vec<i32>,
    /// What is wrong with it.
    pub error: Option<ErrorCode>,
}

impl TopicMetadata {
    /// Whether every partition has a leader to talk to.
    pub fn is_ready(&self) -> bool {
        self.error.is_none()
            && !self.partitions.is_empty()
            && self
                .partitions
                .values()
                .all(|partition| partition.leader.is_some())
    }
}

impl Metadata {
    /// Takes over a response: brokers as they are now, and the topics that are in it.
    pub(crate) fn update(&mut self, response: MetadataResponse) {
        self.cluster_id = response.cluster_id.map(|id| id.to_string());
        self.controller_id = node(response.controller_id.0);
        self.brokers = response
            .brokers
            .into_iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                let id = broker.node_id.0;
                let broker = Broker {
                    id,
                    host: broker.host.to_string(),
                    port,
                    rack: broker.rack.map(|rack| rack.to_string()),
                };
                Some((id, broker))
            })
            .collect();
        for topic in response.topics {
            let Some(name) = topic.name else { continue };
            let name: Rc<str> = name.0.as_str().into();
            let partitions = topic
                .partitions
                .into_iter()
                .map(|partition| {
                    let ids = |ids: Vec<millstream_protocol::messages::BrokerId>| {
                        ids.into_iter().map(|id| id.0).collect()
                    };
                    let known = PartitionMetadata {
                        leader: node(partition.leader_id.0),
                        leader_epoch: partition.leader_epoch,
                        replicas: ids(partition.replica_nodes),
                        isr: ids(partition.isr_nodes),
                        offline_replicas: ids(partition.offline_replicas),
                        error: ErrorCode::try_from_code(partition.error_code),
                    };
                    (partition.partition_index, known)
                })
                .collect();
            let topic = TopicMetadata {
                name: name.clone(),
                id: topic.topic_id,
                is_internal: topic.is_internal,
                partitions,
                error: ErrorCode::try_from_code(topic.error_code),
            };
            self.topics.insert(name, topic);
        }
    }
}

fn node(id: i32) -> Option<i32> {
    (id >= 0).then_some(id)
}
