//! The APIs of groups: each request goes to the coordinators on the partitions of
//! `__consumer_offsets` that its groups fall on, and what they answer is put together.
//!
//! JoinGroup 0–9, SyncGroup 0–5, Heartbeat 0–4, LeaveGroup 0–5, OffsetCommit 2–9, OffsetFetch 1–9,
//! DescribeGroups 0–6, ListGroups 0–5. The rules are the coordinator's, in `broker/coordinator`.

use std::rc::Rc;

use futures::future::join_all;
use millstream_coordinator::{
    Fragment, GroupRequest, GroupResponse, Reassembly, Recipients, RequestContext,
    UnknownPartitions, route,
};
use millstream_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use millstream_protocol::{ErrorCode, PartitionIndex};

use super::{RequestInfo, text};
use crate::GROUP_METADATA_TOPIC;
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
    describe,
    DescribeGroups,
    DescribeGroupsRequest,
    DescribeGroupsResponse
);
forward!(list, ListGroups, ListGroupsRequest, ListGroupsResponse);

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
    let Some(count) = partitions(shard) else {
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

fn partitions(shard: &Shard) -> Option<i32> {
    let image = shard.image();
    let topic = image.topic_by_name(GROUP_METADATA_TOPIC)?;
    i32::try_from(topic.partitions.len())
        .ok()
        .filter(|count| *count > 0)
}

fn context(info: &RequestInfo) -> RequestContext {
    RequestContext {
        api_version: info.version,
        client_id: info.client_id.clone().unwrap_or_default(),
        client_host: text(format!("/{}", info.connection.peer.ip())),
    }
}
