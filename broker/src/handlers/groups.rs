//! The APIs of groups: each request goes to the coordinators on the partitions of
//! `__consumer_offsets` that its groups fall on, and what they answer is put together.
//!
//! JoinGroup 0–9, SyncGroup 0–5, Heartbeat 0–4, LeaveGroup 0–5, OffsetCommit 2–10, OffsetFetch 1–10,
//! DescribeGroups 0–6, ListGroups 0–5, DeleteGroups 0–2, OffsetDelete 0. The rules are the
//! coordinator's, in `broker/coordinator`; which partitions exist is known here, and which topic
//! has which id: from version 10 on, commits and fetches name topics by id alone (KIP-848), and
//! coordinators know them by name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use futures::future::join_all;
use millstream_coordinator::{
    Fragment, GroupRequest, GroupResponse, Reassembly, Recipients, RequestContext,
    UnknownPartitions, route,
};
use millstream_metadata::Image;
use millstream_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use millstream_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics;
use millstream_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use millstream_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse, TopicName,
};
use millstream_protocol::{ErrorCode, PartitionIndex, TopicId};
use uuid::Uuid;

use super::{RequestInfo, text};
use crate::shard::Shard;

macro_rules! forward {
    ($name:ident, $variant:ident, $request:ty, $response:ty) => {
        pub(super) async fn $name(
            shard: &Rc<Shard>,
            info: RequestInfo,
            request: $request,
        ) -> $response {
            match ask(shard, &info, GroupRequest::$variant(request)).await {
                GroupResponse::$variant(response) => response,
                other => unreachable!("answered with {other:?}"),
            }
        }
    };
}

forward!(join, JoinGroup, JoinGroupRequest, JoinGroupResponse);
forward!(sync, SyncGroup, SyncGroupRequest, SyncGroupResponse);
forward!(heartbeat, Heartbeat, HeartbeatRequest, HeartbeatResponse);
forward!(leave, LeaveGroup, LeaveGroupRequest, LeaveGroupResponse);
forward!(
    commit_known,
    OffsetCommit,
    OffsetCommitRequest,
    OffsetCommitResponse
);
forward!(
    fetch_named,
    OffsetFetch,
    OffsetFetchRequest,
    OffsetFetchResponse
);
forward!(
    describe_known,
    DescribeGroups,
    DescribeGroupsRequest,
    DescribeGroupsResponse
);
forward!(list, ListGroups, ListGroupsRequest, ListGroupsResponse);
forward!(
    delete_distinct,
    DeleteGroups,
    DeleteGroupsRequest,
    DeleteGroupsResponse
);
forward!(
    offset_delete_known,
    OffsetDelete,
    OffsetDeleteRequest,
    OffsetDeleteResponse
);

/// Operations that anybody may do on a group: read, delete, describe, describe and alter configs
/// (KIP-430).
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Describes groups; from version 3 a client may ask what it may do with them.
pub(super) async fn describe(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let asks = info.version >= 3 && request.include_authorized_operations;
    let mut response = describe_known(shard, info, request).await;
    for group in &mut response.groups {
        if asks && group.error_code == 0 {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    response
}

/// Deletes groups; one that is named twice is answered once.
pub(super) async fn delete(
    shard: &Rc<Shard>,
    info: RequestInfo,
    mut request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut seen = BTreeSet::new();
    request
        .groups_names
        .retain(|group| seen.insert(group.clone()));
    delete_distinct(shard, info, request).await
}

/// Deletes the offsets of partitions that exist; the others are refused here, unless the group
/// itself is.
pub(super) async fn offset_delete(
    shard: &Rc<Shard>,
    info: RequestInfo,
    mut request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let image = shard.image();
    let mut unknown = Vec::new();
    for topic in &mut request.topics {
        let found = image.topic_by_name(&topic.name);
        let exists = |index| found.is_some_and(|t| t.partition(PartitionIndex(index)).is_some());
        let absent = topic
            .partitions
            .extract_if(.., |partition| !exists(partition.partition_index));
        let refused: Vec<_> = absent
            .map(|partition| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
            })
            .collect();
        if !refused.is_empty() {
            let answer = OffsetDeleteResponseTopic::default().with_name(topic.name.clone());
            unknown.push(answer.with_partitions(refused));
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let mut response = offset_delete_known(shard, info, request).await;
    if response.error_code != 0 {
        return response;
    }
    for topic in unknown {
        let mut answered = response.topics.iter_mut();
        match answered.find(|answer| answer.name == topic.name) {
            Some(answer) => answer.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    response
}

/// Commits for the partitions that exist; the others are refused here.
pub(super) async fn offset_commit(
    shard: &Rc<Shard>,
    info: RequestInfo,
    mut request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let image = shard.image();
    let by_id = info.version >= TOPIC_ID_VERSION;
    if by_id {
        for topic in &mut request.topics {
            topic.name = name_of(&image, topic.topic_id);
        }
    }
    let unknown = UnknownPartitions::take_from(&mut request, &|topic| match image
        .topic_by_name(&topic.name)
    {
        Some(topic) => Ok(topic.partitions.len()),
        None if by_id => Err(ErrorCode::UnknownTopicId),
        None => Err(ErrorCode::UnknownTopicOrPartition),
    });
    if request.topics.is_empty() {
        return unknown.merge(OffsetCommitResponse::default());
    }
    unknown.merge(commit_known(shard, info, request).await)
}

/// Tells what groups have committed. Topics whose ids are unknown are answered here, unless the
/// group itself is refused.
pub(super) async fn offset_fetch(
    shard: &Rc<Shard>,
    info: RequestInfo,
    mut request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if info.version < TOPIC_ID_VERSION {
        return fetch_named(shard, info, request).await;
    }
    let image = shard.image();
    // A group that is named twice is answered twice, in this order.
    let mut unknown: BTreeMap<GroupId, VecDeque<Vec<OffsetFetchResponseTopics>>> = BTreeMap::new();
    for group in &mut request.groups {
        let topics = group.topics.iter_mut().flatten();
        topics.for_each(|topic| topic.name = name_of(&image, topic.topic_id));
        let refused = group.topics.as_mut().map_or_else(Vec::new, |topics| {
            let nameless = topics.extract_if(.., |topic| topic.name.is_empty());
            nameless.map(unknown_topic).collect()
        });
        let of_group = unknown.entry(group.group_id.clone()).or_default();
        of_group.push_back(refused);
    }
    let mut response = fetch_named(shard, info, request).await;
    for group in &mut response.groups {
        let refused = unknown
            .get_mut(&group.group_id)
            .and_then(VecDeque::pop_front);
        if group.error_code != 0 {
            continue;
        }
        // Who asks for all topics has named none, and is told those that still are.
        group.topics.retain_mut(|topic| {
            if topic.topic_id.is_nil()
                && let Some(known) = image.topic_by_name(&topic.name)
            {
                topic.topic_id = known.id.0;
            }
            !topic.topic_id.is_nil()
        });
        group.topics.extend(refused.unwrap_or_default());
    }
    response
}

/// The version of OffsetCommit and of OffsetFetch from which on topics have ids and no names.
const TOPIC_ID_VERSION: i16 = 10;

/// The name of the topic with this id; empty, which no topic's is, if there is none.
fn name_of(image: &Image, id: Uuid) -> TopicName {
    let topic = image.topic(TopicId(id));
    topic.map_or_else(TopicName::default, |topic| TopicName(text(&*topic.name)))
}

fn unknown_topic(topic: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter().map(|index| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(text("")))
            .with_error_code(ErrorCode::UnknownTopicId.code())
    });
    OffsetFetchResponseTopics::default()
        .with_topic_id(topic.topic_id)
        .with_partitions(partitions.collect())
}

async fn ask(shard: &Rc<Shard>, info: &RequestInfo, request: GroupRequest) -> GroupResponse {
    let version = info.version;
    let mut whole = Reassembly::new(&request, version);
    let Some(count) = shard.group_partitions() else {
        return match request {
            GroupRequest::ListGroups(_) => whole.finish(),
            other => other.error_response(version, ErrorCode::NotCoordinator),
        };
    };
    let fragments = match route(request, version, count) {
        Recipients::Some(fragments) => fragments,
        Recipients::All(request) => (0..count)
            .map(|partition| Fragment {
                partition,
                request: request.clone(),
            })
            .collect(),
    };
    let answers = fragments
        .into_iter()
        .map(|Fragment { partition, request }| {
            shard.group(PartitionIndex(partition), context(info), request)
        });
    for answer in join_all(answers).await {
        whole.add(answer);
    }
    whole.finish()
}

fn context(info: &RequestInfo) -> RequestContext {
    RequestContext {
        api_version: info.version,
        client_id: info.client_id.clone().unwrap_or_default(),
        client_host: text(format!("/{}", info.connection.peer.ip())),
    }
}
