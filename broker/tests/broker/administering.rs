//! Topics, settings and metadata: what is made, refused and told (semantics of Kafka's
//! `ReplicationControlManager`, `ConfigurationControlManager` and `KRaftMetadataCache`).

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use millstream_protocol::messages::delete_topics_request::DeleteTopicState;
use millstream_protocol::messages::describe_topic_partitions_request::TopicRequest;
use millstream_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millstream_protocol::messages::metadata_request::MetadataRequestTopic;
use millstream_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeTopicPartitionsRequest, FindCoordinatorRequest,
    ListOffsetsRequest, MetadataRequest,
};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{
    Cluster, batch, call, create_topic, fetch_request, find_coordinator, metadata, newest, produce,
    text, topic_name, values,
};

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
}

/// The codes of creating these topics in one request.
async fn create(connection: &Connection, topics: &[CreatableTopic], validate: bool) -> Vec<i16> {
    let request = CreateTopicsRequest::default()
        .with_topics(topics.to_vec())
        .with_timeout_ms(10_000)
        .with_validate_only(validate);
    let answer = call(connection, newest(ApiKey::CreateTopics), &request).await;
    topics
        .iter()
        .map(|asked| {
            let result = answer.topics.iter().find(|topic| topic.name == asked.name);
            result.expect("each topic is answered").error_code
        })
        .collect()
}

#[test]
fn topics_that_cannot_be_are_refused_with_kafkas_codes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "there", 1, &[]).await;
        create_topic(&connection, "with.dot", 1, &[]).await;
        let assigned = |name: &str, brokers: &[&[i32]]| {
            let assignments = brokers.iter().enumerate().map(|(index, brokers)| {
                let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
                CreatableReplicaAssignment::default()
                    .with_partition_index(i32::try_from(index).expect("few"))
                    .with_broker_ids(brokers)
            });
            topic(name)
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_assignments(assignments.collect())
        };
        let configured = |name: &str, key: &str, value: &str| {
            let config = CreatableTopicConfig::default()
                .with_name(text(key))
                .with_value(Some(text(value)));
            topic(name).with_configs(vec![config])
        };
        let refused = [
            (topic("there"), ErrorCode::TopicAlreadyExists),
            (topic("with_dot"), ErrorCode::InvalidTopicException),
            (topic(".."), ErrorCode::InvalidTopicException),
            (topic("a/b"), ErrorCode::InvalidTopicException),
            (topic(&"x".repeat(250)), ErrorCode::InvalidTopicException),
            (
                topic("p0").with_num_partitions(0),
                ErrorCode::InvalidPartitions,
            ),
            (
                topic("p-2").with_num_partitions(-2),
                ErrorCode::InvalidPartitions,
            ),
            (
                topic("r0").with_replication_factor(0),
                ErrorCode::InvalidReplicationFactor,
            ),
            (
                topic("r2").with_replication_factor(2),
                ErrorCode::InvalidReplicationFactor,
            ),
            (
                assigned("other-broker", &[&[2]]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("twice", &[&[1, 1]]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("both", &[&[1]]).with_num_partitions(1),
                ErrorCode::InvalidRequest,
            ),
            (
                configured("key", "no.such.key", "1"),
                ErrorCode::InvalidConfig,
            ),
            (
                configured("value", "retention.ms", "soon"),
                ErrorCode::InvalidConfig,
            ),
        ];
        let topics: Vec<_> = refused.iter().map(|(topic, _)| topic.clone()).collect();
        let codes = create(&connection, &topics, false).await;
        for ((topic, wanted), code) in refused.iter().zip(codes) {
            assert_eq!(code, wanted.code(), "{:?}", topic.name);
        }
        let good = [assigned("assigned", &[&[1], &[1]])];
        assert_eq!(create(&connection, &good, false).await, [0]);
        let twice = [topic("same"), topic("same")];
        let wanted = ErrorCode::InvalidRequest.code();
        assert_eq!(create(&connection, &twice, false).await, [wanted; 2]);
    });
}

#[test]
fn a_topic_that_is_only_validated_is_not_made() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        assert_eq!(create(&connection, &[topic("t")], true).await, [0]);
        let code = metadata(&connection, 12, Some(&["t"])).await.topics[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code());
    });
}

#[test]
fn a_new_topic_is_served_by_every_shard_at_once() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for round in 0..20 {
            let name = format!("t{round}");
            create_topic(&connection, &name, 7, &[]).await;
            for partition in 0..7 {
                let kept = produce(&connection, &name, partition, batch(&["a"])).await;
                assert_eq!(kept.error_code, 0, "partition {partition} in round {round}");
            }
        }
    });
}

#[test]
fn a_topic_made_on_demand_is_there_when_asked_for_again() {
    let cluster = Cluster::new(&[("num.partitions", "3")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        // From version 4 the request says whether it may.
        let answer = metadata(&connection, 12, Some(&["forbidden"])).await;
        assert_eq!(
            answer.topics[0].error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        let first = metadata(&connection, 3, Some(&["wanted"])).await;
        assert_eq!(
            first.topics[0].error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        let answer = loop {
            let answer = metadata(&connection, 3, Some(&["wanted"])).await;
            if answer.topics[0].error_code == 0 {
                break answer;
            }
        };
        assert_eq!(answer.topics[0].partitions.len(), 3);
        let all = metadata(&connection, 12, None).await;
        let names: Vec<_> = all.topics.iter().flat_map(|topic| &topic.name).collect();
        assert_eq!(
            names,
            [&topic_name("wanted")],
            "the forbidden one was never made"
        );
        // Produce does not make topics.
        let refused = produce(&connection, "other", 0, batch(&["a"])).await;
        assert_eq!(
            refused.error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        let invalid = metadata(&connection, 3, Some(&["a/b"])).await;
        assert_eq!(
            invalid.topics[0].error_code,
            ErrorCode::InvalidTopicException.code()
        );
    });
}

#[test]
fn a_topic_made_again_has_another_id_and_none_of_the_old_records() {
    let mut cluster = Cluster::new(&[]);
    let old = cluster.run(async |client| {
        let connection = client.connect().await;
        let old = create_topic(&connection, "t", 2, &[]).await;
        produce(&connection, "t", 0, batch(&["old"])).await;
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![
                DeleteTopicState::default()
                    .with_name(None)
                    .with_topic_id(old),
            ])
            .with_timeout_ms(10_000);
        let answer = call(&connection, newest(ApiKey::DeleteTopics), &request).await;
        assert_eq!(answer.responses[0].error_code, 0);
        let again = call(&connection, newest(ApiKey::DeleteTopics), &request).await;
        assert_eq!(
            again.responses[0].error_code,
            ErrorCode::UnknownTopicId.code()
        );
        let new = create_topic(&connection, "t", 2, &[]).await;
        assert_ne!(old, new);
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer), []);
        let mut by_id = fetch_request("", 0, 0);
        by_id.topics[0].topic_id = old;
        let answer = call(&connection, newest(ApiKey::Fetch), &by_id).await;
        let code = answer.responses[0].partitions[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicId.code());
        produce(&connection, "t", 0, batch(&["new"])).await;
        old
    });
    cluster.crash_and_restart(KeepUnsynced::Random);
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer), [(0, "new".to_owned())]);
        let topics = metadata(&connection, 12, Some(&["t"])).await.topics;
        assert_ne!(topics[0].topic_id, old);
    });
}

#[test]
fn deleting_can_be_switched_off() {
    let cluster = Cluster::new(&[("delete.topic.enable", "false")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![
                DeleteTopicState::default().with_name(Some(topic_name("t"))),
            ])
            .with_timeout_ms(10_000);
        let answer = call(&connection, newest(ApiKey::DeleteTopics), &request).await;
        assert_eq!(
            answer.responses[0].error_code,
            ErrorCode::TopicDeletionDisabled.code()
        );
    });
}

#[test]
fn the_cluster_describes_itself_and_the_coordinator_is_found() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let described = call(&connection, 0, &DescribeClusterRequest::default()).await;
        assert_eq!(described.error_code, 0);
        assert_eq!(described.brokers.len(), 1);
        let all = metadata(&connection, 12, None).await;
        assert_eq!(all.cluster_id.as_ref(), Some(&described.cluster_id));
        assert_eq!(described.cluster_id.len(), 22);

        let keys =
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("a"), text("b")]);
        let found = call(&connection, newest(ApiKey::FindCoordinator), &keys).await;
        let nodes: Vec<_> = found
            .coordinators
            .iter()
            .map(|c| (c.error_code, c.node_id.0))
            .collect();
        assert_eq!(nodes, [(0, 1), (0, 1)]);
        let all = metadata(&connection, 12, None).await;
        let groups = all
            .topics
            .iter()
            .find(|topic| topic.name == Some(topic_name("__consumer_offsets")));
        let groups = groups.expect("made when a coordinator was first asked for");
        assert!(groups.is_internal);
        assert_eq!(groups.partitions.len(), 50);
    });
}

#[test]
fn the_versions_told_are_those_served() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1"));
        let answer = call(&connection, 3, &request).await;
        let told: Vec<_> = answer
            .api_keys
            .iter()
            .map(|a| (a.api_key, a.min_version, a.max_version))
            .collect();
        let served: Vec<_> = millstream_protocol::api::APIS
            .iter()
            .map(|api| match api.key {
                // As Kafka tells since 4.0: librdkafka takes its absence for a broker too old.
                ApiKey::Produce => (api.id(), 0, api.max_version),
                _ => (api.id(), api.min_version, api.max_version),
            })
            .collect();
        assert_eq!(told, served);
        let bad = request.with_client_software_name(text("not a name!"));
        let answer = call(&connection, 3, &bad).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
    });
}

/// Topics are made by those who ask for their metadata, and by nobody else (semantics 3.12).
#[test]
fn a_topic_is_not_made_by_the_wrong_api() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        find_coordinator(&connection, "g").await;
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let produced = produce(&connection, "absent", 0, batch(&["a"])).await;
        assert_eq!(produced.error_code, unknown);
        let fetched = call(&connection, 12, &fetch_request("absent", 0, 0)).await;
        assert_eq!(fetched.responses[0].partitions[0].error_code, unknown);
        let partition = ListOffsetsPartition::default()
            .with_current_leader_epoch(-1)
            .with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name("absent"))
            .with_partitions(vec![partition]);
        let offsets = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let listed = call(&connection, 7, &offsets).await;
        assert_eq!(listed.topics[0].partitions[0].error_code, unknown);
        let committed = crate::groups::commit(&connection, "g", "absent", 0, "").await;
        assert_eq!(committed, unknown);
        let described = DescribeTopicPartitionsRequest::default().with_topics(vec![
            TopicRequest::default().with_name(topic_name("absent")),
        ]);
        let described = call(&connection, 0, &described).await;
        assert_eq!(described.topics[0].error_code, unknown);
        let all = metadata(&connection, 12, None).await;
        let names: Vec<_> = all.topics.iter().flat_map(|topic| &topic.name).collect();
        assert_eq!(names, [&topic_name("__consumer_offsets")]);
    });
}

#[test]
fn no_list_is_all_topics_and_an_empty_one_is_none_but_in_version_zero() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "a", 1, &[]).await;
        create_topic(&connection, "b", 1, &[]).await;
        for version in 0..=newest(ApiKey::Metadata) {
            let none = metadata(&connection, version, Some(&[])).await;
            let wanted = if version == 0 { 2 } else { 0 };
            assert_eq!(
                none.topics.len(),
                wanted,
                "an empty list in version {version}"
            );
            if version > 0 {
                let all = metadata(&connection, version, None).await;
                assert_eq!(all.topics.len(), 2, "no list in version {version}");
            }
        }
    });
}

/// An id of zeros in an answer sends clients astray (semantics 3.15).
#[test]
fn topics_are_told_with_their_ids_and_asked_for_by_them() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let id = create_topic(&connection, "t", 2, &[]).await;
        assert!(!id.is_nil());
        for version in 10..=newest(ApiKey::Metadata) {
            let named = metadata(&connection, version, Some(&["t"])).await;
            assert_eq!(named.topics[0].topic_id, id, "version {version}");
        }
        let by_id = |id: uuid::Uuid| {
            let topic = MetadataRequestTopic::default()
                .with_name(None)
                .with_topic_id(id);
            MetadataRequest::default().with_topics(Some(vec![topic]))
        };
        for version in 12..=newest(ApiKey::Metadata) {
            let found = call(&connection, version, &by_id(id)).await;
            let topic = &found.topics[0];
            assert_eq!((topic.error_code, &topic.name), (0, &Some(topic_name("t"))));
            assert_eq!(topic.partitions.len(), 2);
            let strange = uuid::Uuid::from_u128(77);
            let absent = call(&connection, version, &by_id(strange)).await;
            let topic = &absent.topics[0];
            assert_eq!(topic.error_code, ErrorCode::UnknownTopicId.code());
            assert_eq!((topic.topic_id, &topic.name), (strange, &None));
        }
    });
}

#[test]
fn a_new_topic_is_told_as_far_as_the_version_goes() {
    let cluster = Cluster::new(&[("num.partitions", "3")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for version in 2..=7 {
            let config = CreatableTopicConfig::default()
                .with_name(text("retention.ms"))
                .with_value(Some(text("7")));
            let size = if version < 4 { 3 } else { -1 };
            let asked = topic(&format!("t{version}"))
                .with_num_partitions(size)
                .with_configs(vec![config]);
            let request = CreateTopicsRequest::default()
                .with_topics(vec![asked])
                .with_timeout_ms(10_000);
            let answer = call(&connection, version, &request).await;
            let made = &answer.topics[0];
            assert_eq!(made.error_code, 0, "version {version}");
            assert_eq!(made.topic_id.is_nil(), version < 7);
            let told = (made.num_partitions, made.replication_factor);
            if version < 5 {
                assert_eq!(told, (-1, -1), "version {version}");
                continue;
            }
            assert_eq!(told, (3, 1), "version {version}");
            let configs = made.configs.as_ref().expect("from version 5 on");
            let of = |name: &str| {
                let config = configs.iter().find(|config| config.name.as_str() == name);
                let config = config.expect("each key is told");
                let value = config.value.as_ref().map(ToString::to_string);
                (value, config.config_source)
            };
            assert_eq!(of("retention.ms"), (Some("7".to_owned()), 1));
            assert_eq!(of("cleanup.policy"), (Some("delete".to_owned()), 5));
        }
    });
}

#[test]
fn brokers_are_told_with_their_racks_and_partitions_with_all_their_lists() {
    let cluster = Cluster::new(&[("broker.rack", "here")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        for version in 1..=newest(ApiKey::Metadata) {
            let answer = metadata(&connection, version, Some(&["t"])).await;
            let broker = &answer.brokers[0];
            let rack = broker.rack.as_ref().map(ToString::to_string);
            assert_eq!(rack.as_deref(), Some("here"), "version {version}");
            assert_eq!(answer.controller_id, broker.node_id);
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(partition.leader_id, broker.node_id);
            assert_eq!(partition.replica_nodes, [broker.node_id]);
            assert_eq!(partition.isr_nodes, [broker.node_id]);
            assert!(partition.offline_replicas.is_empty());
        }
    });
}
