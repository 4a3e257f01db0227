//! Metadata, versions 0–13: brokers, topics, partitions and who leads them.
//!
//! * Version 0 takes an empty list for all topics; later ones null for all, empty for none.
//! * A topic that does not exist is made if the node and, from version 4, the request allow it; the
//!   request that made it is still answered UNKNOWN_TOPIC_OR_PARTITION, the client asks again.
//! * Version 6 tells LISTENER_NOT_FOUND from LEADER_NOT_AVAILABLE.
//! * Versions 8–10 can ask for the operations allowed on the cluster, 8 and later on topics.
//! * Version 10 answers topic ids, version 12 takes them.

use std::collections::BTreeSet;
use std::rc::Rc;

use millstream_metadata::{BrokerRegistration, Image, Partition, Topic};
use millstream_protocol::messages::metadata_request::MetadataRequestTopic;
use millstream_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use millstream_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use millstream_protocol::topic_name::check_topic_name;
use millstream_protocol::{ErrorCode, NodeId, TopicId};

use super::describe_cluster::CLUSTER_OPERATIONS;
use super::{RequestInfo, code, text};
use crate::shard::Shard;

/// Operations that anybody may do on a topic: read, write, create, delete, alter, describe,
/// describe and alter configs (KIP-430).
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: MetadataRequest,
) -> MetadataResponse {
    let image = shard.image();
    let asked = match &request.topics {
        None => None,
        Some(topics) if topics.is_empty() && info.version == 0 => None,
        Some(topics) => Some(topics),
    };
    let describe = Describe {
        image: &image,
        info: &info,
        request: &request,
    };
    if let Some(refused) = refuse_ids(&info, &request) {
        return refused;
    }
    let topics = match asked {
        None => image.topics().map(|topic| describe.topic(topic)).collect(),
        Some(asked) => describe.asked(shard, asked).await,
    };
    let brokers = image.unfenced_brokers().filter_map(|broker| {
        let endpoint = broker.endpoint(&info.connection.listener)?;
        Some(
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.node_id.0))
                .with_host(text(&endpoint.host))
                .with_port(endpoint.port.into())
                .with_rack(broker.rack.as_deref().map(text)),
        )
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(image.cluster_id().map(text))
        .with_controller_id(BrokerId(shard.node_id().0))
        .with_topics(topics);
    if (8..=10).contains(&info.version) && request.include_cluster_authorized_operations {
        response.with_cluster_authorized_operations(CLUSTER_OPERATIONS)
    } else {
        response
    }
}

/// Ids may be asked for from version 12 only, although 10 and 11 have the field.
fn refuse_ids(info: &RequestInfo, request: &MetadataRequest) -> Option<MetadataResponse> {
    let asked = request.topics.as_deref().unwrap_or_default();
    let by_id = |topic: &MetadataRequestTopic| topic.name.is_none() || !topic.topic_id.is_nil();
    if !(10..12).contains(&info.version) || !asked.iter().any(by_id) {
        return None;
    }
    let topics = asked.iter().map(|topic| {
        MetadataResponseTopic::default()
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
            .with_error_code(ErrorCode::InvalidRequest.code())
    });
    Some(MetadataResponse::default().with_topics(topics.collect()))
}

struct Describe<'a> {
    image: &'a Image,
    info: &'a RequestInfo,
    request: &'a MetadataRequest,
}

impl Describe<'_> {
    async fn asked(
        &self,
        shard: &Rc<Shard>,
        asked: &[MetadataRequestTopic],
    ) -> Vec<MetadataResponseTopic> {
        let mut topics = Vec::with_capacity(asked.len());
        let mut missing = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for topic in asked {
            let Some(name) = &topic.name else {
                topics.push(self.by_id(TopicId(topic.topic_id)));
                continue;
            };
            if !seen.insert(name.as_str().to_owned()) {
                continue;
            }
            if self.info.version >= 12 && !topic.topic_id.is_nil() {
                topics.push(self.by_id(TopicId(topic.topic_id)));
                continue;
            }
            topics.push(match self.image.topic_by_name(name) {
                Some(topic) => self.topic(topic),
                None => {
                    let error = match check_topic_name(name) {
                        Ok(()) => {
                            missing.insert(name.as_str().to_owned());
                            ErrorCode::UnknownTopicOrPartition
                        }
                        Err(_) => ErrorCode::InvalidTopicException,
                    };
                    self.failed(Some(name.clone()), TopicId::default(), error)
                }
            });
        }
        let may_create = shard.config().auto_create_topics
            && (self.info.version < 4 || self.request.allow_auto_topic_creation);
        if may_create && !missing.is_empty() {
            self.create(shard, missing, &mut topics).await;
        }
        topics
    }

    /// Makes topics; those that cannot be made are answered with the reason.
    async fn create(
        &self,
        shard: &Rc<Shard>,
        missing: BTreeSet<String>,
        topics: &mut [MetadataResponseTopic],
    ) {
        let names = missing.into_iter().collect();
        let Ok(ensured) = shard.controller().ensure_topics(names).await else {
            return;
        };
        for topic in ensured {
            let Err(refused) = topic.result else { continue };
            let answer = topics.iter_mut().find(|answer| {
                answer
                    .name
                    .as_ref()
                    .is_some_and(|n| n.as_str() == topic.name)
            });
            if let Some(answer) = answer {
                // Whatever else is wrong, such as a name too like another's, the client is told
                // that there is no such topic, as Kafka does.
                if refused.code == ErrorCode::InvalidReplicationFactor {
                    answer.error_code = refused.code.code();
                }
            }
        }
    }

    fn by_id(&self, id: TopicId) -> MetadataResponseTopic {
        match self.image.topic(id) {
            Some(topic) => self.topic(topic),
            None => self.failed(None, id, ErrorCode::UnknownTopicId),
        }
    }

    fn failed(
        &self,
        name: Option<TopicName>,
        id: TopicId,
        error: ErrorCode,
    ) -> MetadataResponseTopic {
        // Before version 12 a name is never null.
        let name = if self.info.version < 12 {
            Some(name.unwrap_or_default())
        } else {
            name
        };
        let is_internal = name
            .as_ref()
            .is_some_and(|name| millstream_metadata::is_internal_topic(name));
        MetadataResponseTopic::default()
            .with_name(name)
            .with_topic_id(id.0)
            .with_is_internal(is_internal)
            .with_error_code(error.code())
    }

    fn topic(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic.iter().map(|(index, partition)| {
            let listener = &self.info.connection.listener;
            let leader = live_leader(self.image, partition);
            let error = match leader {
                None => Some(ErrorCode::LeaderNotAvailable),
                Some(broker) if broker.endpoint(listener).is_some() => None,
                Some(_) if self.info.version >= 6 => Some(ErrorCode::ListenerNotFound),
                Some(_) => Some(ErrorCode::LeaderNotAvailable),
            };
            let leader_id = leader.map_or(-1, |broker| broker.node_id.0);
            let ids = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.0)).collect();
            let offline = offline_replicas(self.image, partition, listener);
            MetadataResponsePartition::default()
                .with_error_code(code(error))
                .with_partition_index(index.0)
                .with_leader_id(BrokerId(leader_id))
                .with_leader_epoch(partition.leader_epoch.0)
                .with_replica_nodes(ids(&partition.replicas))
                .with_isr_nodes(ids(&partition.isr))
                .with_offline_replicas(offline)
        });
        let response = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text(&*topic.name))))
            .with_topic_id(topic.id.0)
            .with_is_internal(topic.is_internal())
            .with_partitions(partitions.collect());
        if self.info.version >= 8 && self.request.include_topic_authorized_operations {
            response.with_topic_authorized_operations(TOPIC_OPERATIONS)
        } else {
            response
        }
    }
}

/// The broker that leads a partition, if it is there.
pub(super) fn live_leader<'a>(
    image: &'a Image,
    partition: &Partition,
) -> Option<&'a BrokerRegistration> {
    let leader = image.broker(partition.leader)?;
    (!leader.fenced).then_some(leader)
}

/// The replicas of a partition whose brokers are not there, or not for this listener.
pub(super) fn offline_replicas(
    image: &Image,
    partition: &Partition,
    listener: &str,
) -> Vec<BrokerId> {
    let is_offline = |node: &NodeId| {
        let broker = image.broker(*node).filter(|broker| !broker.fenced);
        broker.is_none_or(|broker| broker.endpoint(listener).is_none())
    };
    let replicas = partition.replicas.iter().filter(|node| is_offline(node));
    replicas.map(|node| BrokerId(node.0)).collect()
}
