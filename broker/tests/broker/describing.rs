//! What a node tells of its disk, its quorum, its producers and its resources.

use millstream_client::Connection;
use millstream_protocol::compression::Codec;
use millstream_protocol::messages::create_topics_request::CreatableTopic;
use millstream_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use millstream_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use millstream_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, InitProducerIdRequest, ListConfigResourcesRequest,
    describe_producers_request, describe_quorum_request,
};
use millstream_protocol::next_version::Newest;
use millstream_protocol::record_batch::BatchBuilder;
use millstream_protocol::{ErrorCode, ProducerId};
use millstream_reactor::sim::{DiskFault, DiskOperation, KeepUnsynced};

use crate::harness::{Cluster, NOW_MS, batch, call, create_topic, newest, produce, topic_name};

async fn log_dirs(
    connection: &Connection,
    version: i16,
    topics: Option<&[(&str, &[i32])]>,
) -> DescribeLogDirsResult {
    let topics = topics.map(|topics| {
        let topic = |(name, partitions): &(&str, &[i32])| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions.to_vec())
        };
        topics.iter().map(topic).collect()
    });
    let request = Newest(DescribeLogDirsRequest::default().with_topics(topics));
    let Newest(mut answer) = call(connection, version, &request).await;
    assert_eq!((answer.error_code, answer.results.len()), (0, 1));
    answer.results.remove(0)
}

/// Topic, partition and size of everything in a folder.
fn sizes(folder: &DescribeLogDirsResult) -> Vec<(String, i32, i64)> {
    let topics = folder.topics.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
                let name = topic.name.to_string();
                (name, partition.partition_index, partition.partition_size)
            })
        })
        .collect()
}

#[test]
fn the_folder_of_data_tells_what_each_partition_takes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "a", 4, &[]).await;
        create_topic(&connection, "b", 1, &[]).await;
        let records = batch(&["one", "two"]);
        let size = i64::try_from(records.len()).expect("small");
        produce(&connection, "a", 2, records.clone()).await;
        produce(&connection, "a", 2, records.clone()).await;
        produce(&connection, "b", 0, records).await;
        let all = [
            ("a", 0, 0),
            ("a", 1, 0),
            ("a", 2, 2 * size),
            ("a", 3, 0),
            ("b", 0, size),
        ];
        let all = all.map(|(topic, partition, size)| (topic.to_owned(), partition, size));
        for version in 1..=5 {
            let folder = log_dirs(&connection, version, None).await;
            assert_eq!((folder.error_code, folder.log_dir.as_str()), (0, "/data"));
            assert_eq!(sizes(&folder), all, "version {version}");
            if version < 4 {
                assert_eq!((folder.total_bytes, folder.usable_bytes), (-1, -1));
            } else {
                assert!(folder.usable_bytes > 0 && folder.usable_bytes < folder.total_bytes);
            }
        }
        // What is not here is left out.
        let asked: [(&str, &[i32]); 3] = [("a", &[2, 9]), ("absent", &[0]), ("b", &[])];
        let folder = log_dirs(&connection, 4, Some(&asked)).await;
        assert_eq!(sizes(&folder), [("a".to_owned(), 2, 2 * size)]);
        assert_eq!(sizes(&log_dirs(&connection, 4, Some(&[])).await), []);
    });
}

#[test]
fn a_folder_whose_disk_does_not_answer_is_told_so() {
    let cluster = Cluster::new(&[]);
    let connection = cluster.run(async |client| client.connect().await);
    let io_error = std::io::ErrorKind::Other;
    let fault = DiskFault::new(DiskOperation::Read, "/data", io_error);
    cluster.broker.inject(fault);
    cluster.run(async move |_| {
        let folder = log_dirs(&connection, 4, None).await;
        assert_eq!(folder.error_code, ErrorCode::KafkaStorageError.code());
        assert_eq!(folder.topics, []);
    });
}

fn quorum_of(topic: &str, partitions: &[i32]) -> DescribeQuorumRequest {
    let partition = |index: &i32| {
        describe_quorum_request::PartitionData::default().with_partition_index(*index)
    };
    let topic = describe_quorum_request::TopicData::default()
        .with_topic_name(topic_name(topic))
        .with_partitions(partitions.iter().map(partition).collect());
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

#[test]
fn the_quorum_is_described_by_its_leader() {
    let mut cluster = Cluster::new(&[]);
    let mut epochs = Vec::new();
    for _ in 0..2 {
        epochs.push(cluster.run(async |client| {
            let connection = client.connect().await;
            let mut ends = Vec::new();
            for version in 0..=2 {
                let request = quorum_of("__cluster_metadata", &[0]);
                let answer = call(&connection, version, &request).await;
                assert_eq!(answer.error_code, 0);
                let partition = &answer.topics[0].partitions[0];
                assert_eq!(
                    (partition.error_code, partition.leader_id),
                    (0, BrokerId(1))
                );
                let [voter] = partition.current_voters.as_slice() else {
                    panic!("{partition:?}");
                };
                assert_eq!(voter.replica_id, BrokerId(1));
                assert_eq!(voter.log_end_offset, partition.high_watermark);
                assert_eq!(partition.observers, []);
                let times = [voter.last_fetch_timestamp, voter.last_caught_up_timestamp];
                match version {
                    0 => assert_eq!(times, [-1, -1]),
                    _ => assert!(times.iter().all(|time| *time >= NOW_MS), "{times:?}"),
                }
                assert_eq!(voter.replica_directory_id.is_nil(), version < 2);
                let nodes: Vec<_> = answer
                    .nodes
                    .iter()
                    .map(|node| (node.node_id, node.listeners[0].port))
                    .collect();
                match version {
                    2 => assert_eq!(nodes, [(BrokerId(1), 9092)]),
                    _ => assert_eq!(nodes, []),
                }
                ends.push((partition.leader_epoch, partition.high_watermark));
                create_topic(&connection, &format!("t{}-{version}", ends[0].0), 1, &[]).await;
            }
            assert!(ends.is_sorted() && ends[0].1 < ends[2].1, "{ends:?}");
            ends[0].0
        }));
        cluster.crash_and_restart(KeepUnsynced::None);
    }
    assert!(epochs[0] < epochs[1], "{epochs:?}");
}

#[test]
fn only_the_metadata_log_has_a_quorum() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        for request in [
            quorum_of("t", &[0]),
            quorum_of("__cluster_metadata", &[1]),
            quorum_of("__cluster_metadata", &[0, 0]),
        ] {
            let answer = call(&connection, 2, &request).await;
            assert_eq!(answer.error_code, 0);
            let asked = &request.topics[0].partitions;
            let told = &answer.topics[0].partitions;
            assert_eq!(told.len(), asked.len());
            for (partition, asked) in told.iter().zip(asked) {
                assert_eq!(partition.partition_index, asked.partition_index);
                let unknown = ErrorCode::UnknownTopicOrPartition.code();
                assert_eq!(partition.error_code, unknown, "{request:?}");
            }
        }
        let nothing = call(&connection, 2, &DescribeQuorumRequest::default()).await;
        assert_eq!((nothing.error_code, nothing.topics.len()), (0, 0));
    });
}

#[test]
fn producers_are_described_by_the_owners_of_their_partitions() {
    let mut cluster = Cluster::new(&[]);
    let (now_ms, ids) = cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 4, &[]).await;
        let init = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        // Of late: who has been silent for long is forgotten.
        let now_ms = client.reactor.wall_clock_ms();
        let mut ids = Vec::new();
        for partition in 0..3 {
            let made = call(&connection, newest(ApiKey::InitProducerId), &init).await;
            let id = ProducerId(made.producer_id.0);
            for sequence in 0..=partition {
                let mut records = BatchBuilder::new(Codec::None);
                records.push(now_ms, None, Some(b"a"), &[]);
                let records = records.producer(id, 0, sequence).build();
                let records = records.expect("not compressed");
                assert_eq!(
                    produce(&connection, "t", partition, records)
                        .await
                        .error_code,
                    0
                );
            }
            ids.push(id.0);
        }
        (now_ms, ids)
    });
    cluster.restart();
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let topics = [
            ("t", vec![0, 1, 2, 3, 9]),
            ("absent", vec![0]),
            ("a/b", vec![5]),
        ];
        let topics = topics.map(|(name, partitions)| {
            describe_producers_request::TopicRequest::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions)
        });
        let request = DescribeProducersRequest::default().with_topics(topics.to_vec());
        let answer = call(&connection, 0, &request).await;
        let names: Vec<_> = answer.topics.iter().map(|t| t.name.to_string()).collect();
        assert_eq!(names, ["t", "absent", "a/b"]);
        for (partition, id) in (0..3).zip(ids) {
            let told = &answer.topics[0].partitions[partition as usize];
            assert_eq!((told.partition_index, told.error_code), (partition, 0));
            let [producer] = told.active_producers.as_slice() else {
                panic!("{told:?}");
            };
            assert_eq!((producer.producer_id.0, producer.producer_epoch), (id, 0));
            assert_eq!(
                (producer.last_sequence, producer.last_timestamp),
                (partition, now_ms)
            );
            assert_eq!(
                (
                    producer.coordinator_epoch,
                    producer.current_txn_start_offset
                ),
                (-1, -1)
            );
        }
        let idle = &answer.topics[0].partitions[3];
        assert_eq!((idle.error_code, idle.active_producers.len()), (0, 0));
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(answer.topics[0].partitions[4].error_code, unknown);
        let absent = &answer.topics[1].partitions[0];
        assert_eq!(absent.error_code, unknown);
        assert!(absent.error_message.is_some());
        let invalid = &answer.topics[2].partitions[0];
        let wanted = (5, ErrorCode::InvalidTopicException.code());
        assert_eq!((invalid.partition_index, invalid.error_code), wanted);
    });
}

#[test]
fn resources_with_settings_are_listed_by_kind() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        create_topic(&connection, "u", 1, &[]).await;
        let ask = async |version: i16, kinds: &[i8]| {
            let request = ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
            let answer = call(&connection, version, &request).await;
            let resources = answer.config_resources.iter();
            let mut told: Vec<_> = resources
                .map(|resource| (resource.resource_type, resource.resource_name.to_string()))
                .collect();
            told.sort();
            (answer.error_code, told)
        };
        let resource = |kind: i8, name: &str| (kind, name.to_owned());
        let all = [
            resource(2, "t"),
            resource(2, "u"),
            resource(4, "1"),
            resource(8, "1"),
        ];
        assert_eq!(ask(1, &[]).await, (0, all.to_vec()));
        assert_eq!(ask(1, &[4]).await, (0, vec![resource(4, "1")]));
        assert_eq!(ask(1, &[2, 2, 32]).await, (0, all[..2].to_vec()));
        assert_eq!(ask(0, &[]).await, (0, Vec::new()), "client metrics alone");
        let unsupported = ErrorCode::UnsupportedVersion.code();
        for kind in [0, 1, 3, 64, -1] {
            assert_eq!(ask(1, &[2, kind]).await, (unsupported, Vec::new()));
        }
    });
}

#[test]
fn a_topic_whose_name_differs_in_dot_and_underscore_is_refused_in_one_request_too() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let topics = ["a.b", "a_b"].map(|name| {
            CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(1)
                .with_replication_factor(1)
        });
        let request = CreateTopicsRequest::default()
            .with_topics(topics.to_vec())
            .with_timeout_ms(10_000);
        let answer = call(&connection, 7, &request).await;
        let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::InvalidTopicException.code()]);
    });
}
