//! Fetch, versions 4–18: records as they are stored.
//!
//! * Version 7 has sessions (KIP-227), in which a client names only what changes.
//! * Version 9 checks the leader's term, version 12 the term of the client's last record (KIP-320).
//! * Version 13 names topics by id; 16 says who leads now where this node does not (KIP-951).
//! * There are no followers yet: what claims to be one is read as a consumer.
//! * Records are never decoded or copied here; they leave as slices of memory or ranges of files.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_metadata::{Image, Topic};
use millstream_net::{FileRange, Part as ReplyPart, Reply};
use millstream_protocol::fetch_response::{
    AbortedTransaction, CurrentLeader, EpochEndOffset, FetchResponse, FetchedPartition,
    FetchedRecords, FetchedTopic, NodeEndpoint, Part,
};
use millstream_protocol::messages::FetchRequest;
use millstream_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use millstream_protocol::{
    ErrorCode, NodeId, Offset, PartitionIndex, StrBytes, TopicId, TopicPartition,
};
use millstream_storage::{ReadPart, ReadPlan};
use tracing::error;

use super::{RequestInfo, code, text};
use crate::fetch::{
    FetchContext, FetchLimits, FetchNews, FetchWant, PartitionRef, TopicRef, fetch_or_wait,
};
use crate::shard::{FetchPart, FetchResult, Isolation, Shard};

/// The first version that names topics by id.
const FIRST_WITH_IDS: i16 = 13;
/// The first version with sessions.
const FIRST_WITH_SESSIONS: i16 = 7;
/// The first version that says who leads now.
const FIRST_WITH_LEADERS: i16 = 16;

pub(super) async fn handle(shard: &Rc<Shard>, info: RequestInfo, request: FetchRequest) -> Reply {
    let by_id = info.version >= FIRST_WITH_IDS;
    let session = match info.version {
        version if version < FIRST_WITH_SESSIONS => (0, -1),
        _ => (request.session_id, request.session_epoch),
    };
    let wants = request
        .topics
        .iter()
        .flat_map(|topic| wants(topic, by_id))
        .collect();
    let forgotten: Vec<_> = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| forgotten(topic, by_id))
        .collect();
    let now = shard.reactor().now();
    let begun = shard
        .sessions()
        .borrow_mut()
        .begin(now, session, by_id, wants, &forgotten);
    let (context, wants) = match begun {
        Ok(begun) => begun,
        Err(error) => return send(shard, &info, failed(error)),
    };
    let image = shard.image();
    let found: Vec<Result<Arc<Topic>, ErrorCode>> = wants
        .iter()
        .map(|want| find(&image, &want.partition))
        .collect();
    let results = read(shard, &request, &wants, &found).await;
    let answered = Answered {
        shard,
        info: &info,
        image: &image,
        by_id,
        isolation: isolation(&request),
    };
    let response = answered.response(context, &wants, &found, results);
    send(shard, &info, response)
}

fn topic_ref(name: &StrBytes, id: uuid::Uuid, by_id: bool) -> TopicRef {
    if by_id {
        TopicRef::Id(TopicId(id))
    } else {
        TopicRef::Name(name.as_str().to_owned())
    }
}

fn wants(topic: &FetchTopic, by_id: bool) -> impl Iterator<Item = FetchWant> {
    let named = topic_ref(&topic.topic, topic.topic_id, by_id);
    topic.partitions.iter().map(move |partition| FetchWant {
        partition: PartitionRef {
            topic: named.clone(),
            partition: PartitionIndex(partition.partition),
        },
        fetch_offset: Offset(partition.fetch_offset),
        max_bytes: partition.partition_max_bytes,
        // Below −1 is as good as −1: not known.
        current_leader_epoch: partition.current_leader_epoch.max(-1),
        last_fetched_epoch: partition.last_fetched_epoch,
    })
}

fn forgotten(topic: &ForgottenTopic, by_id: bool) -> impl Iterator<Item = PartitionRef> {
    let named = topic_ref(&topic.topic, topic.topic_id, by_id);
    topic.partitions.iter().map(move |partition| PartitionRef {
        topic: named.clone(),
        partition: PartitionIndex(*partition),
    })
}

fn find(image: &Image, wanted: &PartitionRef) -> Result<Arc<Topic>, ErrorCode> {
    let topic = match &wanted.topic {
        TopicRef::Id(id) => image.topic(*id).ok_or(ErrorCode::UnknownTopicId)?,
        TopicRef::Name(name) => image
            .topic_by_name(name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?,
    };
    match topic.partition(wanted.partition) {
        Some(_) => Ok(topic.clone()),
        None => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

fn isolation(request: &FetchRequest) -> Isolation {
    match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    }
}

/// Reads what can be found; the results are in the order of `wants`.
async fn read(
    shard: &Rc<Shard>,
    request: &FetchRequest,
    wants: &[FetchWant],
    found: &[Result<Arc<Topic>, ErrorCode>],
) -> Vec<FetchResult> {
    let unsigned = |value: i32| u64::try_from(value).unwrap_or(0);
    let limits = FetchLimits {
        isolation: isolation(request),
        max_wait: Duration::from_millis(unsigned(request.max_wait_ms)),
        min_bytes: unsigned(request.min_bytes),
        max_bytes: unsigned(request.max_bytes.min(shard.config().fetch_max_bytes)),
    };
    let mut parts = Vec::with_capacity(wants.len());
    for (slot, (want, topic)) in wants.iter().zip(found).enumerate() {
        let Ok(topic) = topic else { continue };
        parts.push(FetchPart {
            slot,
            partition: TopicPartition {
                topic_id: topic.id,
                partition: want.partition.partition,
            },
            fetch_offset: want.fetch_offset,
            max_bytes: unsigned(want.max_bytes),
            at_least_one: true,
            current_leader_epoch: want.current_leader_epoch,
            last_fetched_epoch: want.last_fetched_epoch,
        });
    }
    let slots: Vec<usize> = parts.iter().map(|part| part.slot).collect();
    let any_missing = parts.len() < wants.len();
    let mut results: Vec<FetchResult> = found
        .iter()
        .map(|topic| {
            FetchResult::failed(
                *topic
                    .as_ref()
                    .err()
                    .unwrap_or(&ErrorCode::UnknownServerError),
            )
        })
        .collect();
    let read = fetch_or_wait(shard, limits, parts, any_missing).await;
    for (slot, result) in slots.into_iter().zip(read) {
        results[slot] = result;
    }
    results
}

struct Answered<'a> {
    shard: &'a Rc<Shard>,
    info: &'a RequestInfo,
    image: &'a Image,
    by_id: bool,
    isolation: Isolation,
}

impl Answered<'_> {
    fn response(
        &self,
        context: FetchContext,
        wants: &[FetchWant],
        found: &[Result<Arc<Topic>, ErrorCode>],
        results: Vec<FetchResult>,
    ) -> FetchResponse<ReadPlan> {
        let news: Vec<_> = wants
            .iter()
            .zip(&results)
            .map(|(w, r)| (w, news(r)))
            .collect();
        let reactor = self.shard.reactor();
        let fresh_id = || i32::try_from(reactor.random_u64() >> 33).unwrap_or(i32::MAX);
        let finished =
            self.shard
                .sessions()
                .borrow_mut()
                .finish(reactor.now(), context, &news, fresh_id);
        let (session_id, told) = match finished {
            Ok(finished) => finished,
            Err(error) => return failed(error),
        };
        let mut topics: Vec<FetchedTopic<ReadPlan>> = Vec::new();
        let mut lost_leader = false;
        for (at, result) in results.into_iter().enumerate() {
            if !told[at] {
                continue;
            }
            let stale = matches!(
                result.error,
                Some(ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
            );
            let leader = found[at]
                .as_ref()
                .ok()
                .filter(|_| stale && self.info.version >= FIRST_WITH_LEADERS)
                .and_then(|topic| topic.partition(wants[at].partition.partition))
                .map(|partition| CurrentLeader {
                    leader_id: partition.leader,
                    leader_epoch: partition.leader_epoch,
                });
            lost_leader |= leader.is_some();
            let partition = fetched(
                wants[at].partition.partition,
                result,
                leader,
                self.isolation,
                found[at].is_ok(),
            );
            let (name, topic_id) = self.names(&wants[at].partition.topic);
            match topics.last_mut() {
                Some(last) if last.name == name && last.topic_id == topic_id => {
                    last.partitions.push(partition);
                }
                _ => topics.push(FetchedTopic {
                    name,
                    topic_id,
                    partitions: vec![partition],
                }),
            }
        }
        FetchResponse {
            throttle_time_ms: 0,
            error_code: 0,
            session_id,
            topics,
            node_endpoints: if lost_leader {
                self.node_endpoints()
            } else {
                Vec::new()
            },
        }
    }

    fn names(&self, topic: &TopicRef) -> (StrBytes, TopicId) {
        match topic {
            TopicRef::Id(id) => (StrBytes::default(), *id),
            TopicRef::Name(name) => {
                assert!(!self.by_id, "a session names topics in one way");
                (text(name), TopicId::default())
            }
        }
    }

    fn node_endpoints(&self) -> Vec<NodeEndpoint> {
        let endpoints = self.image.unfenced_brokers().filter_map(|broker| {
            let endpoint = broker.endpoint(&self.info.connection.listener)?;
            Some(NodeEndpoint {
                node_id: broker.node_id,
                host: text(&endpoint.host),
                port: endpoint.port.into(),
                rack: broker.rack.as_deref().map(text),
            })
        });
        endpoints.collect()
    }
}

fn news(result: &FetchResult) -> FetchNews {
    FetchNews {
        must_tell: !result.records.is_empty() || result.diverging.is_some(),
        is_error: result.error.is_some(),
        high_watermark: result.high_watermark.0,
        log_start_offset: result.log_start_offset.0,
    }
}

fn fetched(
    partition: PartitionIndex,
    result: FetchResult,
    current_leader: Option<CurrentLeader>,
    isolation: Isolation,
    was_found: bool,
) -> FetchedPartition<ReadPlan> {
    let records = (!result.records.is_empty()).then(|| FetchedRecords {
        size: usize::try_from(result.records.len).expect("bounded by the limits of the fetch"),
        payload: result.records,
    });
    FetchedPartition {
        partition,
        error_code: code(result.error),
        high_watermark: result.high_watermark,
        last_stable_offset: result.last_stable_offset,
        log_start_offset: result.log_start_offset,
        diverging_epoch: result
            .diverging
            .map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset }),
        current_leader,
        aborted_transactions: aborted_transactions(result.error, isolation, was_found),
        preferred_read_replica: NodeId(-1),
        records,
    }
}

/// There are no transactions yet, and so no aborted ones: an empty list for who reads committed
/// records, and, as in Kafka, for a partition that was not there when the fetch came.
fn aborted_transactions(
    error: Option<ErrorCode>,
    isolation: Isolation,
    was_found: bool,
) -> Option<Vec<AbortedTransaction>> {
    let is_read = error.is_none() && isolation == Isolation::ReadCommitted;
    (is_read || !was_found).then(Vec::new)
}

fn failed(error: ErrorCode) -> FetchResponse<ReadPlan> {
    FetchResponse {
        throttle_time_ms: 0,
        error_code: error.code(),
        session_id: 0,
        topics: Vec::new(),
        node_endpoints: Vec::new(),
    }
}

fn send(shard: &Shard, info: &RequestInfo, response: FetchResponse<ReadPlan>) -> Reply {
    let parts = match response.encode(info.correlation_id, info.version) {
        Ok(parts) => parts,
        Err(cause) => {
            error!(%cause, "a fetch response could not be encoded: this is a fault of the broker");
            return Reply::Close {
                reason: cause.to_string().into(),
            };
        }
    };
    let mut reply = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Bytes(bytes) => reply.push(ReplyPart::Bytes(bytes)),
            Part::Records(records) => {
                push_records(shard, records.payload, &mut reply);
            }
        }
    }
    Reply::Send(reply)
}

fn push_records(shard: &Shard, plan: ReadPlan, reply: &mut Vec<ReplyPart>) {
    for part in plan.parts {
        reply.push(match part {
            ReadPart::Memory(slice) => ReplyPart::Slice(slice),
            ReadPart::File(range) => ReplyPart::File(FileRange {
                file: shard.reactor().fs().adopt(&range.file),
                path: range.path,
                position: range.position,
                len: range.len,
            }),
        });
    }
}
