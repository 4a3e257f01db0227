//! The requests a coordinator takes and the responses it gives, one variant for each API.

use millstream_protocol::messages::leave_group_response::MemberResponse;
use millstream_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use millstream_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use millstream_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use millstream_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse, delete_groups_response,
    describe_groups_response,
};
use millstream_protocol::{ErrorCode, StrBytes};

/// Names a request to the caller, who gives each a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// What the request's header and connection say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The version of the API, by which some answers differ.
    pub api_version: i16,
    /// The client's id from the header; empty when it gave none.
    pub client_id: StrBytes,
    /// The client's address as Kafka shows it: `/127.0.0.1`.
    pub client_host: StrBytes,
}

/// A request about groups.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRequest {
    /// OffsetCommit, versions 2–10. Partitions that do not exist were taken out before, with
    /// [`UnknownPartitions`](crate::UnknownPartitions).
    OffsetCommit(OffsetCommitRequest),
    /// OffsetFetch, versions 1–10. Topics have their names, whatever the version.
    OffsetFetch(OffsetFetchRequest),
    /// JoinGroup, versions 0–9.
    JoinGroup(JoinGroupRequest),
    /// Heartbeat, versions 0–4.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup, versions 0–5.
    LeaveGroup(LeaveGroupRequest),
    /// SyncGroup, versions 0–5.
    SyncGroup(SyncGroupRequest),
    /// DescribeGroups, versions 0–6.
    DescribeGroups(DescribeGroupsRequest),
    /// ListGroups, versions 0–5.
    ListGroups(ListGroupsRequest),
    /// DeleteGroups, versions 0–2.
    DeleteGroups(DeleteGroupsRequest),
    /// OffsetDelete, version 0.
    OffsetDelete(OffsetDeleteRequest),
}

/// The answer to the request of the same name, fit to be encoded in the request's version.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the message of its name")]
pub enum GroupResponse {
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    JoinGroup(JoinGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    SyncGroup(SyncGroupResponse),
    DescribeGroups(DescribeGroupsResponse),
    ListGroups(ListGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    OffsetDelete(OffsetDeleteResponse),
}

impl GroupRequest {
    /// The response that answers the whole request with `error`, in the place where a client of
    /// that version looks for it.
    pub fn error_response(&self, api_version: i16, error: ErrorCode) -> GroupResponse {
        let code = error.code();
        match self {
            GroupRequest::OffsetCommit(request) => {
                GroupResponse::OffsetCommit(offset_commit_error(request, code))
            }
            GroupRequest::OffsetFetch(request) => {
                GroupResponse::OffsetFetch(offset_fetch_error(request, api_version, code))
            }
            GroupRequest::JoinGroup(request) => GroupResponse::JoinGroup(fit_join_response(
                api_version,
                JoinGroupResponse::default()
                    .with_member_id(request.member_id.clone())
                    .with_error_code(code),
            )),
            GroupRequest::Heartbeat(_) => {
                GroupResponse::Heartbeat(HeartbeatResponse::default().with_error_code(code))
            }
            GroupRequest::LeaveGroup(_) => {
                GroupResponse::LeaveGroup(LeaveGroupResponse::default().with_error_code(code))
            }
            GroupRequest::SyncGroup(_) => {
                GroupResponse::SyncGroup(SyncGroupResponse::default().with_error_code(code))
            }
            GroupRequest::DescribeGroups(request) => {
                let groups = request.groups.iter().map(|group_id| {
                    describe_groups_response::DescribedGroup::default()
                        .with_group_id(group_id.clone())
                        .with_error_code(code)
                });
                GroupResponse::DescribeGroups(
                    DescribeGroupsResponse::default().with_groups(groups.collect()),
                )
            }
            GroupRequest::ListGroups(_) => {
                GroupResponse::ListGroups(ListGroupsResponse::default().with_error_code(code))
            }
            GroupRequest::DeleteGroups(request) => {
                let results = request.groups_names.iter().map(|group_id| {
                    delete_groups_response::DeletableGroupResult::default()
                        .with_group_id(group_id.clone())
                        .with_error_code(code)
                });
                GroupResponse::DeleteGroups(
                    DeleteGroupsResponse::default().with_results(results.collect()),
                )
            }
            GroupRequest::OffsetDelete(_) => {
                GroupResponse::OffsetDelete(OffsetDeleteResponse::default().with_error_code(code))
            }
        }
    }
}

impl GroupResponse {
    /// Turns an answer that was to follow a write into the answer for a write that failed.
    pub(crate) fn failed(self, error: ErrorCode) -> GroupResponse {
        let code = error.code();
        match self {
            GroupResponse::OffsetCommit(mut response) => {
                let partitions = response.topics.iter_mut().flat_map(|t| &mut t.partitions);
                partitions.for_each(|partition| partition.error_code = code);
                GroupResponse::OffsetCommit(response)
            }
            GroupResponse::DeleteGroups(mut response) => {
                response
                    .results
                    .iter_mut()
                    .for_each(|result| result.error_code = code);
                GroupResponse::DeleteGroups(response)
            }
            GroupResponse::LeaveGroup(_) => {
                GroupResponse::LeaveGroup(LeaveGroupResponse::default().with_error_code(code))
            }
            GroupResponse::OffsetDelete(_) => {
                GroupResponse::OffsetDelete(OffsetDeleteResponse::default().with_error_code(code))
            }
            other => panic!("no write carries this answer: {other:?}"),
        }
    }
}

/// Before version 7 the protocol's name is not nullable; from then on an empty one is null.
pub(crate) fn fit_join_response(
    api_version: i16,
    mut response: JoinGroupResponse,
) -> JoinGroupResponse {
    let name = response
        .protocol_name
        .take()
        .filter(|name| !name.is_empty());
    response.protocol_name = if api_version < 7 {
        Some(name.unwrap_or_default())
    } else {
        name
    };
    response
}

/// Before version 3 a client left alone, and its error is the response's.
pub(crate) fn fit_leave_response(
    api_version: i16,
    members: Vec<MemberResponse>,
) -> LeaveGroupResponse {
    if api_version >= 3 {
        return LeaveGroupResponse::default().with_members(members);
    }
    let code = members.first().map_or(0, |member| member.error_code);
    LeaveGroupResponse::default().with_error_code(code)
}

fn offset_commit_error(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn offset_fetch_error(
    request: &OffsetFetchRequest,
    api_version: i16,
    code: i16,
) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    if api_version >= 8 {
        let groups = request.groups.iter().map(|group| {
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id.clone())
                .with_error_code(code)
        });
        return response.with_groups(groups.collect());
    }
    if api_version >= 2 {
        return response.with_error_code(code);
    }
    let topics = request
        .topics
        .iter()
        .flatten()
        .map(|topic| fetch_topic_error(topic, code));
    response.with_topics(topics.collect())
}

fn fetch_topic_error(topic: &OffsetFetchRequestTopic, code: i16) -> OffsetFetchResponseTopic {
    let partitions = topic.partition_indexes.iter().map(|index| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(*index)
            .with_committed_offset(-1)
            .with_metadata(Some(StrBytes::new()))
            .with_error_code(code)
    });
    OffsetFetchResponseTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect())
}
