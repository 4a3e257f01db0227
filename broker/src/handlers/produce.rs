//! Produce, versions 3–13: batches appended to partitions.
//!
//! What a client pipelines is appended in the order it came: [`start`] appends, or sends to the
//! owning shard, before it returns; the future it returns only waits for the acknowledgements.
//!
//! * `acks=0` is not answered; an error closes the connection, so that the client looks again.
//! * Version 8 lists the records that are to blame (KIP-467).
//! * Version 10 says who leads now where this node does not (KIP-951).
//! * Version 13 names topics by id.
//! * Transactional batches are refused with INVALID_TXN_STATE: there are no transactions yet.

use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use millstream_metadata::{Image, Topic};
use millstream_net::Reply;
use millstream_protocol::batch_validation::{
    self, InvalidBatch, ValidatedBatch, ValidationSettings,
};
use millstream_protocol::frame::decode_request;
use millstream_protocol::messages::produce_request::TopicProduceData;
use millstream_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use millstream_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse};
use millstream_protocol::recompression::Recompression;
use millstream_protocol::record_batch::BatchHeader;
use millstream_protocol::{ErrorCode, PartitionIndex, TopicId, TopicPartition};
use millstream_replication::Acks;

use super::{RequestInfo, encoded, refuse, text};
use crate::config::TopicConfig;
use crate::shard::{ProduceFailure, ProducePart, ProduceResult, Shard};

/// The client id by which Kafka's own tools may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";

pub(super) fn start(
    shard: &Rc<Shard>,
    info: RequestInfo,
    body: Bytes,
) -> LocalBoxFuture<'static, Reply> {
    let request = match decode_request::<ProduceRequest>(info.version, body) {
        Ok(request) => request,
        Err(error) => return ready(refuse(&error)).boxed_local(),
    };
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let image = shard.image();
    // A transaction without its id is refused whole, before anything is appended.
    let no_transaction = request.transactional_id.is_none()
        && request.topic_data.iter().any(|data| {
            let mut partitions = data.partition_data.iter();
            partitions.any(|each| each.records.as_deref().is_some_and(is_transactional))
        });
    let topic_data = each_once(request.topic_data);
    let mut answers = Answers::new(&topic_data);
    let mut parts = Vec::new();
    for (topic_at, data) in topic_data.into_iter().enumerate() {
        let topic = find_topic(&image, &info, &data);
        for partition in data.partition_data {
            let slot = answers.next_slot(topic_at, partition.index);
            let checked = match acks {
                None => Err(ErrorCode::InvalidRequiredAcks.into()),
                Some(_) if no_transaction => {
                    Err(ErrorCode::TransactionalIdAuthorizationFailed.into())
                }
                Some(_) => check(shard, &info, &topic, partition.index, partition.records),
            };
            match checked {
                Ok((partition, batch)) => parts.push(ProducePart {
                    slot,
                    partition,
                    batch,
                }),
                Err(failure) => answers.set(slot, Err(failure)),
            }
        }
    }
    let timeout = Duration::from_millis(request.timeout_ms.max(0).unsigned_abs().into());
    let produced = shard.produce(acks.unwrap_or(Acks::None), timeout, parts);
    let shard = shard.clone();
    async move {
        for (slot, result) in produced.await {
            answers.set(slot, result);
        }
        if request.acks == 0 {
            return answers.without_acks();
        }
        encoded(
            info.correlation_id,
            info.version,
            &answers.response(&shard, &info),
        )
    }
    .boxed_local()
}

/// Whether the first batch says that it belongs to a transaction.
fn is_transactional(records: &[u8]) -> bool {
    BatchHeader::parse(records).is_ok_and(|header| header.attributes.is_transactional())
}

/// Each topic and partition once, as Kafka takes them: of what is named twice the last counts,
/// and a topic without partitions is not answered.
fn each_once(asked: Vec<TopicProduceData>) -> Vec<TopicProduceData> {
    if let [topic] = asked.as_slice()
        && topic.partition_data.len() == 1
    {
        return asked;
    }
    let mut topics: Vec<TopicProduceData> = Vec::with_capacity(asked.len());
    let mut places = AHashMap::new();
    for mut data in asked {
        let at = *places
            .entry((data.name.clone(), data.topic_id))
            .or_insert(topics.len());
        let partitions = std::mem::take(&mut data.partition_data);
        if at == topics.len() {
            topics.push(data);
        }
        topics[at].partition_data.extend(partitions);
    }
    for topic in &mut topics {
        let mut last = AHashMap::with_capacity(topic.partition_data.len());
        for (at, partition) in topic.partition_data.iter().enumerate() {
            last.insert(partition.index, at);
        }
        let mut at = 0..;
        topic
            .partition_data
            .retain(|partition| at.next() == last.get(&partition.index).copied());
    }
    topics.retain(|topic| !topic.partition_data.is_empty());
    topics
}

fn find_topic(
    image: &Image,
    info: &RequestInfo,
    data: &TopicProduceData,
) -> Result<Arc<Topic>, ErrorCode> {
    let topic = if info.version >= 13 {
        image
            .topic(TopicId(data.topic_id))
            .ok_or(ErrorCode::UnknownTopicId)?
    } else {
        image
            .topic_by_name(&data.name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let is_admin = info.client_id.as_deref() == Some(ADMIN_CLIENT);
    if topic.is_internal() && !is_admin {
        return Err(ErrorCode::InvalidTopicException);
    }
    Ok(topic.clone())
}

/// Checks one partition's batch, as far as it can be without the partition.
fn check(
    shard: &Shard,
    info: &RequestInfo,
    topic: &Result<Arc<Topic>, ErrorCode>,
    index: i32,
    records: Option<Bytes>,
) -> Result<(TopicPartition, Bytes), ProduceFailure> {
    let topic = topic.as_ref().map_err(|error| *error)?;
    let partition = PartitionIndex(index);
    if topic.partition(partition).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition.into());
    }
    let now_ms = shard.reactor().wall_clock_ms();
    let config = shard.topic_config(topic);
    let settings = settings(&config);
    let records = records.unwrap_or_default();
    let validated = shard
        .with_decompressor(|decompressor| {
            batch_validation::validate(&records, info.version, &settings, now_ms, decompressor)
        })
        .map_err(failure)?;
    if validated.header.attributes.is_transactional() {
        return Err(ProduceFailure {
            error: ErrorCode::InvalidTxnState,
            message: Some("transactions are not there yet".into()),
            records: Vec::new(),
        });
    }
    let recompression = config
        .recompression
        .filter(|recompression| recompression.codec != validated.codec);
    let batch = match recompression {
        Some(recompression) => recompress(shard, recompression, &records, &validated, &settings)?,
        None if validated.header_changed => {
            let mut changed = BytesMut::with_capacity(records.len());
            changed.extend_from_slice(&validated.header.to_bytes());
            changed.extend_from_slice(&records[BatchHeader::SIZE..]);
            changed.freeze()
        }
        None => records,
    };
    Ok((
        TopicPartition {
            topic_id: topic.id,
            partition,
        },
        batch,
    ))
}

/// The batch in the topic's own codec.
fn recompress(
    shard: &Shard,
    recompression: Recompression,
    records: &[u8],
    validated: &ValidatedBatch,
    settings: &ValidationSettings,
) -> Result<Bytes, ProduceFailure> {
    let limit = settings.decompressed_max_bytes;
    let batch = shard
        .with_decompressor(|decompressor| {
            recompression.apply(records, &validated.header, limit, decompressor)
        })
        .map_err(|error| ProduceFailure {
            error: ErrorCode::UnknownServerError,
            message: Some(error.to_string()),
            records: Vec::new(),
        })?;
    batch_validation::check_size(batch.len(), settings).map_err(failure)?;
    Ok(batch)
}

fn settings(config: &TopicConfig) -> ValidationSettings {
    ValidationSettings {
        max_message_bytes: usize::try_from(config.max_message_bytes).unwrap_or(0),
        segment_bytes: config.log.segment_bytes as usize,
        timestamp_type: config.timestamp_type,
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        compacted: config.compact,
        ..ValidationSettings::default()
    }
}

fn failure(refused: InvalidBatch) -> ProduceFailure {
    let records = refused.record_errors.into_iter();
    ProduceFailure {
        error: refused.code,
        message: Some(refused.message),
        records: records
            .map(|record| (record.batch_index, record.message))
            .collect(),
    }
}

/// The answer under way: topics and partitions in the order of the request.
struct Answers {
    topics: Vec<TopicProduceResponse>,
    slots: Vec<Slot>,
}

struct Slot {
    topic_at: usize,
    index: i32,
    result: ProduceResult,
}

impl Answers {
    fn new(topics: &[TopicProduceData]) -> Answers {
        let topics = topics.iter().map(|topic| {
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
        });
        Answers {
            topics: topics.collect(),
            slots: Vec::new(),
        }
    }

    fn next_slot(&mut self, topic_at: usize, index: i32) -> usize {
        // What no shard answers: its shard has stopped, and the node with it.
        let result = Err(ErrorCode::NotLeaderOrFollower.into());
        self.slots.push(Slot {
            topic_at,
            index,
            result,
        });
        self.slots.len() - 1
    }

    fn set(&mut self, slot: usize, result: ProduceResult) {
        self.slots[slot].result = result;
    }

    /// Nothing, or the end of the connection.
    fn without_acks(self) -> Reply {
        let failed = self
            .slots
            .iter()
            .find_map(|slot| Some((slot, slot.result.as_ref().err()?)));
        match failed {
            None => Reply::Nothing,
            Some((slot, failure)) => {
                let (topic, index) = (&self.topics[slot.topic_at].name, slot.index);
                let reason = format!(
                    "a produce request with acks=0 failed for {}-{index} with {:?}: closing makes \
                     the client look again",
                    topic.as_str(),
                    failure.error
                );
                Reply::Close {
                    reason: reason.into(),
                }
            }
        }
    }

    fn response(mut self, shard: &Shard, info: &RequestInfo) -> ProduceResponse {
        let mut lost_leader = false;
        for slot in self.slots {
            let topic = &mut self.topics[slot.topic_at];
            let answer = PartitionProduceResponse::default().with_index(slot.index);
            let answer = match slot.result {
                Ok(produced) => answer
                    .with_base_offset(produced.base_offset.0)
                    .with_log_append_time_ms(produced.log_append_time_ms)
                    .with_log_start_offset(produced.log_start_offset.0),
                Err(failure) => {
                    let answer = refused(answer, failure, info.version);
                    let lost = answer.error_code == ErrorCode::NotLeaderOrFollower.code();
                    lost_leader |= lost;
                    if lost && info.version >= 10 {
                        answer.with_current_leader(current_leader(shard, topic, slot.index))
                    } else {
                        answer
                    }
                }
            };
            topic.partition_responses.push(answer);
        }
        let response = ProduceResponse::default().with_responses(self.topics);
        if lost_leader && info.version >= 10 {
            response.with_node_endpoints(node_endpoints(shard, &info.connection.listener))
        } else {
            response
        }
    }
}

fn refused(
    answer: PartitionProduceResponse,
    failure: ProduceFailure,
    version: i16,
) -> PartitionProduceResponse {
    let answer = answer
        .with_error_code(failure.error.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1);
    if version < 8 {
        return answer;
    }
    let records = failure.records.into_iter().map(|(index, message)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(index)
            .with_batch_index_error_message(Some(text(message)))
    });
    answer
        .with_record_errors(records.collect())
        .with_error_message(failure.message.map(text))
}

fn current_leader(shard: &Shard, topic: &TopicProduceResponse, index: i32) -> LeaderIdAndEpoch {
    let image = shard.image();
    let known = image
        .topic_by_name(&topic.name)
        .or_else(|| image.topic(TopicId(topic.topic_id)))
        .and_then(|topic| topic.partition(PartitionIndex(index)));
    match known {
        Some(partition) => LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(partition.leader.0))
            .with_leader_epoch(partition.leader_epoch.0),
        None => LeaderIdAndEpoch::default(),
    }
}

fn node_endpoints(shard: &Shard, listener: &str) -> Vec<NodeEndpoint> {
    let image = shard.image();
    let endpoints = image.unfenced_brokers().filter_map(|broker| {
        let endpoint = broker.endpoint(listener)?;
        Some(
            NodeEndpoint::default()
                .with_node_id(BrokerId(broker.node_id.0))
                .with_host(text(&endpoint.host))
                .with_port(endpoint.port.into())
                .with_rack(broker.rack.as_deref().map(text)),
        )
    });
    endpoints.collect()
}
