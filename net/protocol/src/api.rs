//! The APIs that the broker advertises, and the versions of each that are handled.
//!
//! A range is what Kafka 4.3 handles. Four messages are written here in a version that the
//! generated code does not have: see [`next_version`](crate::next_version).

use kafka_protocol::protocol::{Message as _, VersionRange};

use crate::messages::{self, ApiKey};
use crate::next_version::Newest;
use crate::schema::{self, Message};

/// One API of the broker.
#[derive(Debug)]
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// The lowest version that is handled.
    pub min_version: i16,
    /// The highest version that is handled.
    pub max_version: i16,
    /// The lowest version that ApiVersions names. It differs for Produce alone: librdkafka takes
    /// a broker that does not name Produce 0 for one without compression and features
    /// (KAFKA-18659), so Kafka names it, and refuses it.
    pub advertised_min_version: i16,
    pub(crate) request: &'static Message,
    pub(crate) response: &'static Message,
}

impl Api {
    /// The API's number.
    pub fn id(&self) -> i16 {
        self.key as i16
    }

    /// Whether requests and responses of this version are handled.
    pub fn handles(&self, version: i16) -> bool {
        self.min_version <= version && version <= self.max_version
    }

    /// Whether this version has compact lengths and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        self.request.is_flexible(version)
    }

    /// Whether the header of this version's request ends with tagged fields (header version 2).
    pub fn request_header_is_flexible(&self, version: i16) -> bool {
        self.is_flexible(version)
    }

    /// Whether the header of this version's response ends with tagged fields (header version 1).
    /// That of ApiVersions never does, since its reader cannot know yet what the broker speaks.
    pub fn response_header_is_flexible(&self, version: i16) -> bool {
        !matches!(self.key, ApiKey::ApiVersions) && self.is_flexible(version)
    }
}

/// The advertised API with this number.
pub fn find(id: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.id() == id)
}

/// Every advertised API, by number.
pub const APIS: &[Api] = &[
    Api {
        advertised_min_version: 0,
        ..api(ApiKey::Produce, 3, 13, messages::ProduceRequest::VERSIONS)
    },
    api(ApiKey::Fetch, 4, 18, messages::FetchRequest::VERSIONS),
    api(
        ApiKey::ListOffsets,
        1,
        11,
        Newest::<messages::ListOffsetsRequest>::VERSIONS,
    ),
    api(ApiKey::Metadata, 0, 13, messages::MetadataRequest::VERSIONS),
    api(
        ApiKey::OffsetCommit,
        2,
        10,
        Newest::<messages::OffsetCommitRequest>::VERSIONS,
    ),
    api(
        ApiKey::OffsetFetch,
        1,
        10,
        Newest::<messages::OffsetFetchRequest>::VERSIONS,
    ),
    api(
        ApiKey::FindCoordinator,
        0,
        6,
        messages::FindCoordinatorRequest::VERSIONS,
    ),
    api(
        ApiKey::JoinGroup,
        0,
        9,
        messages::JoinGroupRequest::VERSIONS,
    ),
    api(
        ApiKey::Heartbeat,
        0,
        4,
        messages::HeartbeatRequest::VERSIONS,
    ),
    api(
        ApiKey::LeaveGroup,
        0,
        5,
        messages::LeaveGroupRequest::VERSIONS,
    ),
    api(
        ApiKey::SyncGroup,
        0,
        5,
        messages::SyncGroupRequest::VERSIONS,
    ),
    api(
        ApiKey::DescribeGroups,
        0,
        6,
        messages::DescribeGroupsRequest::VERSIONS,
    ),
    api(
        ApiKey::ListGroups,
        0,
        5,
        messages::ListGroupsRequest::VERSIONS,
    ),
    api(
        ApiKey::ApiVersions,
        0,
        4,
        messages::ApiVersionsRequest::VERSIONS,
    ),
    api(
        ApiKey::CreateTopics,
        2,
        7,
        messages::CreateTopicsRequest::VERSIONS,
    ),
    api(
        ApiKey::DeleteTopics,
        1,
        6,
        messages::DeleteTopicsRequest::VERSIONS,
    ),
    api(
        ApiKey::DeleteRecords,
        0,
        2,
        messages::DeleteRecordsRequest::VERSIONS,
    ),
    api(
        ApiKey::InitProducerId,
        0,
        5,
        messages::InitProducerIdRequest::VERSIONS,
    ),
    api(
        ApiKey::OffsetForLeaderEpoch,
        2,
        4,
        messages::OffsetForLeaderEpochRequest::VERSIONS,
    ),
    api(
        ApiKey::DescribeConfigs,
        1,
        4,
        messages::DescribeConfigsRequest::VERSIONS,
    ),
    api(
        ApiKey::AlterConfigs,
        0,
        2,
        messages::AlterConfigsRequest::VERSIONS,
    ),
    api(
        ApiKey::DescribeLogDirs,
        1,
        5,
        Newest::<messages::DescribeLogDirsRequest>::VERSIONS,
    ),
    api(
        ApiKey::CreatePartitions,
        0,
        3,
        messages::CreatePartitionsRequest::VERSIONS,
    ),
    api(
        ApiKey::DeleteGroups,
        0,
        2,
        messages::DeleteGroupsRequest::VERSIONS,
    ),
    api(
        ApiKey::IncrementalAlterConfigs,
        0,
        1,
        messages::IncrementalAlterConfigsRequest::VERSIONS,
    ),
    api(
        ApiKey::OffsetDelete,
        0,
        0,
        messages::OffsetDeleteRequest::VERSIONS,
    ),
    api(
        ApiKey::DescribeQuorum,
        0,
        2,
        messages::DescribeQuorumRequest::VERSIONS,
    ),
    api(
        ApiKey::DescribeCluster,
        0,
        2,
        messages::DescribeClusterRequest::VERSIONS,
    ),
    api(
        ApiKey::DescribeProducers,
        0,
        0,
        messages::DescribeProducersRequest::VERSIONS,
    ),
    api(
        ApiKey::ListConfigResources,
        0,
        1,
        messages::ListConfigResourcesRequest::VERSIONS,
    ),
    api(
        ApiKey::DescribeTopicPartitions,
        0,
        0,
        messages::DescribeTopicPartitionsRequest::VERSIONS,
    ),
];

const fn api(key: ApiKey, min: i16, max: i16, generated: VersionRange) -> Api {
    let Some((request, response)) = schema::shapes(key) else {
        panic!("an advertised API has shapes");
    };
    let min_version = if min > generated.min {
        min
    } else {
        generated.min
    };
    let max_version = if max < generated.max {
        max
    } else {
        generated.max
    };
    assert!(min_version <= max_version);
    Api {
        key,
        min_version,
        max_version,
        advertised_min_version: min_version,
        request,
        response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_apis_in_order() {
        let ids: Vec<i16> = APIS.iter().map(Api::id).collect();
        let expected = [
            0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 33, 35, 37,
            42, 44, 47, 55, 60, 61, 74, 75,
        ];
        assert_eq!(ids, expected);
        assert!(
            ids.iter()
                .all(|id| find(*id).is_some_and(|api| api.id() == *id))
        );
        assert!(find(7).is_none() && find(-1).is_none());
    }

    #[test]
    fn versions_end_where_the_generated_ones_do() {
        let generated = VersionRange { min: 3, max: 7 };
        let range = |min, max| {
            let api = api(ApiKey::Fetch, min, max, generated);
            (api.min_version, api.max_version)
        };
        assert_eq!(range(0, 99), (3, 7));
        assert_eq!(range(4, 6), (4, 6));
    }

    #[test]
    fn header_versions_are_those_of_the_generated_messages() {
        for api in APIS {
            for version in api.min_version..=api.max_version {
                let request = if api.request_header_is_flexible(version) {
                    2
                } else {
                    1
                };
                let response = i16::from(api.response_header_is_flexible(version));
                assert_eq!(api.key.request_header_version(version), request, "{api:?}");
                assert_eq!(
                    api.key.response_header_version(version),
                    response,
                    "{api:?}"
                );
            }
        }
    }

    #[test]
    fn produce_alone_advertises_more_than_it_handles() {
        for api in APIS {
            let produce = matches!(api.key, ApiKey::Produce);
            assert_eq!(
                api.advertised_min_version != api.min_version,
                produce,
                "{api:?}"
            );
        }
        assert!(!find(0).unwrap().handles(2));
    }
}
