//! Decoding a message whose type is known only as a number: for fuzzing, tests and dumps.

use bytes::Bytes;

use crate::api::Api;
use crate::frame::{FrameError, decode_request, decode_response};
use crate::messages::{self, ApiKey};
use crate::next_version::Newest;

macro_rules! by_key {
    ($key:expr, $decode:ident, $version:expr, $bytes:expr, [$($api:ident $request:ty,)*]) => {
        match $key {
            $(ApiKey::$api => {
                $decode::<$request>($version, $bytes).map(|message| format!("{message:?}"))
            })*
            key => Err(FrameError::UnknownApi { key: key as i16, version: $version }),
        }
    };
}

macro_rules! with_every_api {
    ($key:expr, $decode:ident, $version:expr, $bytes:expr) => {
        by_key!($key, $decode, $version, $bytes, [
            Produce messages::ProduceRequest,
            Fetch messages::FetchRequest,
            ListOffsets Newest<messages::ListOffsetsRequest>,
            Metadata messages::MetadataRequest,
            OffsetCommit Newest<messages::OffsetCommitRequest>,
            OffsetFetch Newest<messages::OffsetFetchRequest>,
            FindCoordinator messages::FindCoordinatorRequest,
            JoinGroup messages::JoinGroupRequest,
            Heartbeat messages::HeartbeatRequest,
            LeaveGroup messages::LeaveGroupRequest,
            SyncGroup messages::SyncGroupRequest,
            DescribeGroups messages::DescribeGroupsRequest,
            ListGroups messages::ListGroupsRequest,
            ApiVersions messages::ApiVersionsRequest,
            CreateTopics messages::CreateTopicsRequest,
            DeleteTopics messages::DeleteTopicsRequest,
            DeleteRecords messages::DeleteRecordsRequest,
            InitProducerId messages::InitProducerIdRequest,
            OffsetForLeaderEpoch messages::OffsetForLeaderEpochRequest,
            DescribeConfigs messages::DescribeConfigsRequest,
            AlterConfigs messages::AlterConfigsRequest,
            DescribeLogDirs Newest<messages::DescribeLogDirsRequest>,
            CreatePartitions messages::CreatePartitionsRequest,
            DeleteGroups messages::DeleteGroupsRequest,
            IncrementalAlterConfigs messages::IncrementalAlterConfigsRequest,
            OffsetDelete messages::OffsetDeleteRequest,
            DescribeQuorum messages::DescribeQuorumRequest,
            DescribeCluster messages::DescribeClusterRequest,
            DescribeProducers messages::DescribeProducersRequest,
            ListConfigResources messages::ListConfigResourcesRequest,
            DescribeTopicPartitions messages::DescribeTopicPartitionsRequest,
        ])
    };
}

/// Decodes a request's body and describes it.
pub fn describe_request(api: &Api, version: i16, body: Bytes) -> Result<String, FrameError> {
    with_every_api!(api.key, decode_request, version, body)
}

/// Decodes a response's frame, header included, and describes it.
pub fn describe_response(api: &Api, version: i16, frame: Bytes) -> Result<String, FrameError> {
    with_every_api!(api.key, decode_response, version, frame)
}
