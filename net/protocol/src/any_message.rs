//! Decoding a message whose type is known only as a number: for fuzzing, tests and dumps.

use bytes::Bytes;

use crate::api::Api;
use crate::frame::{FrameError, decode_request, decode_response};
use crate::messages::{self, ApiKey};

macro_rules! by_key {
    ($key:expr, $decode:ident, $version:expr, $bytes:expr, [$($api:ident $request:ident,)*]) => {
        match $key {
            $(ApiKey::$api => {
                $decode::<messages::$request>($version, $bytes).map(|message| format!("{message:?}"))
            })*
            key => Err(FrameError::UnknownApi { key: key as i16, version: $version }),
        }
    };
}

macro_rules! with_every_api {
    ($key:expr, $decode:ident, $version:expr, $bytes:expr) => {
        by_key!($key, $decode, $version, $bytes, [
            Produce ProduceRequest,
            Fetch FetchRequest,
            ListOffsets ListOffsetsRequest,
            Metadata MetadataRequest,
            OffsetCommit OffsetCommitRequest,
            OffsetFetch OffsetFetchRequest,
            FindCoordinator FindCoordinatorRequest,
            JoinGroup JoinGroupRequest,
            Heartbeat HeartbeatRequest,
            LeaveGroup LeaveGroupRequest,
            SyncGroup SyncGroupRequest,
            DescribeGroups DescribeGroupsRequest,
            ListGroups ListGroupsRequest,
            ApiVersions ApiVersionsRequest,
            CreateTopics CreateTopicsRequest,
            DeleteTopics DeleteTopicsRequest,
            DeleteRecords DeleteRecordsRequest,
            InitProducerId InitProducerIdRequest,
            OffsetForLeaderEpoch OffsetForLeaderEpochRequest,
            DescribeConfigs DescribeConfigsRequest,
            AlterConfigs AlterConfigsRequest,
            DescribeLogDirs DescribeLogDirsRequest,
            CreatePartitions CreatePartitionsRequest,
            DeleteGroups DeleteGroupsRequest,
            IncrementalAlterConfigs IncrementalAlterConfigsRequest,
            OffsetDelete OffsetDeleteRequest,
            DescribeQuorum DescribeQuorumRequest,
            DescribeCluster DescribeClusterRequest,
            DescribeProducers DescribeProducersRequest,
            ListConfigResources ListConfigResourcesRequest,
            DescribeTopicPartitions DescribeTopicPartitionsRequest,
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
