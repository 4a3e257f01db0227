//! One file for each API: from a request's frame to its reply.

mod alter_configs;
mod api_versions;
mod broker_settings;
mod config_changes;
mod create_partitions;
mod create_topics;
mod deadline;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod described_setting;
mod fetch;
mod find_coordinator;
mod group_settings;
mod groups;
mod incremental_alter_configs;
mod init_producer_id;
mod list_config_resources;
mod list_offsets;
mod loggers;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod topic_settings;

pub use api_versions::SUPPORTED_FEATURES;

use std::future::ready;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

use millstream_net::{Handler, Reply, RequestFrame};
use millstream_protocol::frame::{
    FrameError, RequestHeader, decode_request, encode_response, parse_request_header,
};
use millstream_protocol::messages::{
    AlterConfigsRequest, ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest, DescribeQuorumRequest,
    DescribeTopicPartitionsRequest, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
    SyncGroupRequest,
};
use millstream_protocol::next_version::Newest;
use millstream_protocol::{Encodable, ErrorCode, HeaderVersion, Request, StrBytes};
use tracing::warn;

use crate::shard::Shard;

/// One connection, as its requests see it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The name of the listener it came in by.
    pub listener: Rc<str>,
    /// The other side.
    pub peer: SocketAddr,
}

/// What a handler knows of a request besides its body.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// The connection.
    pub connection: Connection,
    /// The version of the API.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<StrBytes>,
}

/// Handles the requests of one connection.
pub struct ConnectionHandler {
    shard: Rc<Shard>,
    connection: Connection,
}

impl ConnectionHandler {
    /// A handler on the shard that accepted the connection.
    pub fn new(shard: Rc<Shard>, connection: Connection) -> ConnectionHandler {
        ConnectionHandler { shard, connection }
    }
}

impl Handler for ConnectionHandler {
    fn waits(&self, frame: &RequestFrame) -> bool {
        [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup]
            .into_iter()
            .any(|key| key as i16 == frame.api_key())
    }

    fn start(&mut self, frame: RequestFrame) -> LocalBoxFuture<'static, Reply> {
        let (mut bytes, permit) = frame.into_parts();
        let header = match parse_request_header(&mut bytes) {
            Ok(header) => header,
            Err(error) => return ready(refuse(&error)).boxed_local(),
        };
        let info = RequestInfo {
            connection: self.connection.clone(),
            version: header.version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.clone(),
        };
        let reply = start(&self.shard, &header, info, bytes);
        async move {
            let reply = reply.await;
            drop(permit);
            reply
        }
        .boxed_local()
    }
}

fn start(
    shard: &Rc<Shard>,
    header: &RequestHeader,
    info: RequestInfo,
    body: Bytes,
) -> LocalBoxFuture<'static, Reply> {
    let shard = shard.clone();
    match header.api.key {
        // What a produce appends, it appends before this returns.
        ApiKey::Produce => produce::start(&shard, info, body),
        ApiKey::Fetch => decoded(info, body, async move |info, request: FetchRequest| {
            fetch::handle(&shard, info, request).await
        }),
        ApiKey::ListOffsets => answered(
            info,
            body,
            async move |info, Newest(r): Newest<ListOffsetsRequest>| {
                Newest(list_offsets::handle(&shard, info, r).await)
            },
        ),
        ApiKey::OffsetForLeaderEpoch => answered(
            info,
            body,
            async move |info, r: OffsetForLeaderEpochRequest| {
                offset_for_leader_epoch::handle(&shard, info, r).await
            },
        ),
        ApiKey::Metadata => answered(info, body, async move |info, r: MetadataRequest| {
            metadata::handle(&shard, info, r).await
        }),
        ApiKey::OffsetCommit => answered(
            info,
            body,
            async move |info, Newest(r): Newest<OffsetCommitRequest>| {
                groups::offset_commit(&shard, info, r).await
            },
        ),
        ApiKey::OffsetFetch => answered(
            info,
            body,
            async move |info, Newest(r): Newest<OffsetFetchRequest>| {
                groups::offset_fetch(&shard, info, r).await
            },
        ),
        ApiKey::FindCoordinator => {
            answered(info, body, async move |info, r: FindCoordinatorRequest| {
                find_coordinator::handle(&shard, info, r).await
            })
        }
        ApiKey::JoinGroup => answered(info, body, async move |info, r: JoinGroupRequest| {
            groups::join(&shard, info, r).await
        }),
        ApiKey::Heartbeat => answered(info, body, async move |info, r: HeartbeatRequest| {
            groups::heartbeat(&shard, info, r).await
        }),
        ApiKey::LeaveGroup => answered(info, body, async move |info, r: LeaveGroupRequest| {
            groups::leave(&shard, info, r).await
        }),
        ApiKey::SyncGroup => answered(info, body, async move |info, r: SyncGroupRequest| {
            groups::sync(&shard, info, r).await
        }),
        ApiKey::DescribeGroups => {
            answered(info, body, async move |info, r: DescribeGroupsRequest| {
                groups::describe(&shard, info, r).await
            })
        }
        ApiKey::ListGroups => answered(info, body, async move |info, r: ListGroupsRequest| {
            groups::list(&shard, info, r).await
        }),
        ApiKey::ApiVersions => api_versions::start(&shard, info, body),
        ApiKey::CreateTopics => answered(info, body, async move |info, r: CreateTopicsRequest| {
            create_topics::handle(&shard, info, r).await
        }),
        ApiKey::DeleteTopics => answered(info, body, async move |info, r: DeleteTopicsRequest| {
            delete_topics::handle(&shard, info, r).await
        }),
        ApiKey::InitProducerId => answered(info, body, async move |_, r: InitProducerIdRequest| {
            init_producer_id::handle(&shard, r).await
        }),
        ApiKey::DescribeConfigs => {
            answered(info, body, async move |_, r: DescribeConfigsRequest| {
                describe_configs::handle(&shard, r)
            })
        }
        ApiKey::AlterConfigs => answered(info, body, async move |_, r: AlterConfigsRequest| {
            alter_configs::handle(&shard, r).await
        }),
        ApiKey::IncrementalAlterConfigs => answered(
            info,
            body,
            async move |_, r: IncrementalAlterConfigsRequest| {
                incremental_alter_configs::handle(&shard, r).await
            },
        ),
        ApiKey::DescribeCluster => {
            answered(info, body, async move |info, r: DescribeClusterRequest| {
                describe_cluster::handle(&shard, info, r)
            })
        }
        ApiKey::DeleteRecords => answered(info, body, async move |_, r: DeleteRecordsRequest| {
            delete_records::handle(&shard, r).await
        }),
        ApiKey::DescribeLogDirs => answered(
            info,
            body,
            async move |info, Newest(r): Newest<DescribeLogDirsRequest>| {
                Newest(describe_log_dirs::handle(&shard, info, r).await)
            },
        ),
        ApiKey::CreatePartitions => {
            answered(info, body, async move |_, r: CreatePartitionsRequest| {
                create_partitions::handle(&shard, r).await
            })
        }
        ApiKey::DeleteGroups => answered(info, body, async move |info, r: DeleteGroupsRequest| {
            groups::delete(&shard, info, r).await
        }),
        ApiKey::OffsetDelete => answered(info, body, async move |info, r: OffsetDeleteRequest| {
            groups::offset_delete(&shard, info, r).await
        }),
        ApiKey::DescribeQuorum => {
            answered(info, body, async move |info, r: DescribeQuorumRequest| {
                describe_quorum::handle(&shard, info, r).await
            })
        }
        ApiKey::DescribeProducers => {
            answered(info, body, async move |_, r: DescribeProducersRequest| {
                describe_producers::handle(&shard, r).await
            })
        }
        ApiKey::ListConfigResources => answered(
            info,
            body,
            async move |info, r: ListConfigResourcesRequest| {
                list_config_resources::handle(&shard, &info, &r)
            },
        ),
        ApiKey::DescribeTopicPartitions => answered(
            info,
            body,
            async move |info, r: DescribeTopicPartitionsRequest| {
                describe_topic_partitions::handle(&shard, &info, &r)
            },
        ),
        other => {
            let reason = format!("{other:?} is advertised and has no handler");
            ready(Reply::Close {
                reason: reason.into(),
            })
            .boxed_local()
        }
    }
}

/// Decodes the body and gives it to a handler that makes the whole reply.
fn decoded<T, H, F>(info: RequestInfo, body: Bytes, handle: H) -> LocalBoxFuture<'static, Reply>
where
    T: Request + 'static,
    H: FnOnce(RequestInfo, T) -> F + 'static,
    F: Future<Output = Reply> + 'static,
{
    match decode_request::<T>(info.version, body) {
        Ok(request) => handle(info, request).boxed_local(),
        Err(error) => ready(refuse(&error)).boxed_local(),
    }
}

/// Decodes the body, gives it to a handler, and encodes what it answers.
fn answered<T, R, H, F>(info: RequestInfo, body: Bytes, handle: H) -> LocalBoxFuture<'static, Reply>
where
    T: Request + 'static,
    R: Encodable + HeaderVersion,
    H: FnOnce(RequestInfo, T) -> F + 'static,
    F: Future<Output = R> + 'static,
{
    let (correlation_id, version) = (info.correlation_id, info.version);
    decoded(info, body, move |info, request| {
        handle(info, request).map(move |response| encoded(correlation_id, version, &response))
    })
}

/// A response as a reply.
fn encoded<R: Encodable + HeaderVersion>(correlation_id: i32, version: i16, response: &R) -> Reply {
    match encode_response(correlation_id, version, response) {
        Ok(frame) => Reply::bytes(frame),
        Err(error) => {
            warn!(%error, "a response could not be encoded: this is a fault of the broker");
            Reply::Close {
                reason: error.to_string().into(),
            }
        }
    }
}

/// What cannot be read ends the connection, as it does in Kafka, but for an unknown version of
/// ApiVersions.
fn refuse(error: &FrameError) -> Reply {
    if let FrameError::UnsupportedVersion {
        api,
        correlation_id,
        ..
    } = error
        && api.key == ApiKey::ApiVersions
    {
        return api_versions::unsupported(*correlation_id);
    }
    Reply::Close {
        reason: error.to_string().into(),
    }
}

/// The code of an error, 0 for none.
fn code(error: Option<ErrorCode>) -> i16 {
    error.map_or(0, |error| error.code())
}

/// Text of our own in a message.
fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
