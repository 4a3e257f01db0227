//! The APIs of groups: each request goes to the coordinators on the partitions of
//! `__consumer_offsets` that its groups fall on, and what they answer is put together.
//!
//! JoinGroup 0–9, SyncGroup 0–5, Heartbeat 0–4, LeaveGroup 0–5, OffsetCommit 2–9, OffsetFetch 1–9,
//! DescribeGroups 0–6, ListGroups 0–5, DeleteGroups 0–2, OffsetDelete 0. The rules are the
//! coordinator's, in `broker/coordinator`; which partitions exist is known here.

use std::collections::BTreeSet;
use std::rc::Rc;

use futures::future::join_all;
use millstream_coordinator::{
    Fragment, GroupRequest, GroupResponse, Reassembly, Recipients, RequestContext,
    UnknownPartitions, route,
};
use millstream_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use millstream_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use millstream_protocol::{ErrorCode, PartitionIndex};

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
    offset_fetch,
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
    let asked_any = !request.topics.is_empty();
    let unknown = UnknownPartitions::take_from(&mut request, &|topic, index| {
        image
            .topic_by_name(topic)
            .is_some_and(|topic| topic.partition(PartitionIndex(index)).is_some())
    });
    if asked_any && request.topics.is_empty() {
        return unknown.merge(OffsetCommitResponse::default());
    }
    unknown.merge(commit_known(shard, info, request).await)
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
