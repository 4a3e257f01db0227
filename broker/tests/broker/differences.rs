//! What the comparison with Apache Kafka (`scripts/compat differential`) found, kept as tests.

use millstream_protocol::messages::delete_topics_request::DeleteTopicState;
use millstream_protocol::messages::metadata_request::MetadataRequestTopic;
use millstream_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millstream_protocol::messages::{
    ApiKey, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, FetchRequest, GroupId, InitProducerIdRequest, MetadataRequest,
    OffsetCommitRequest, ProduceRequest, ProducerId,
};
use millstream_protocol::messages::{create_topics_request, describe_configs_request};
use millstream_protocol::record_batch::BatchHeader;
use millstream_protocol::{ErrorCode, StrBytes};

use crate::harness::{
    Cluster, batch, call, create_topic, fetch_request, find_coordinator, newest, produce,
    produce_request, text, topic_name, values,
};

fn data(topic: &str, partitions: &[(i32, &str)]) -> TopicProduceData {
    let partitions = partitions.iter().map(|(index, value)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(batch(&[value])))
    });
    TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(partitions.collect())
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_batch_counts() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![
                data("t", &[(0, "a"), (1, "b")]),
                data("t", &[(0, "c")]),
                data("none", &[]),
            ]);
        let answer = call(&connection, 9, &request).await;
        assert_eq!(answer.responses.len(), 1, "{answer:?}");
        let answered = answer.responses[0].partition_responses.iter();
        let mut codes: Vec<_> = answered.map(|each| (each.index, each.error_code)).collect();
        codes.sort_unstable();
        assert_eq!(codes, [(0, 0), (1, 0)]);
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer), [(0, "c".to_owned())]);
    });
}

#[test]
fn a_transactional_batch_without_a_transactional_id_is_refused_with_all_others() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        let whole = batch(&["a"]);
        let mut header = BatchHeader::parse(&whole).expect("a header");
        header.attributes = header.attributes.with_transactional(true);
        let mut forged = header.to_bytes().to_vec();
        forged.extend_from_slice(&whole[BatchHeader::SIZE..]);
        let mut request = produce_request("t", 0, -1, forged.into());
        request.topic_data.push(data("t", &[(1, "b")]));
        let answer = call(&connection, 9, &request).await;
        for partition in &answer.responses[0].partition_responses {
            let refused = ErrorCode::TransactionalIdAuthorizationFailed;
            assert_eq!(partition.error_code, refused.code(), "{partition:?}");
        }
        assert_eq!(answer.responses[0].partition_responses.len(), 2);
    });
}

#[test]
fn the_timeout_of_a_produce_is_for_replicas_and_not_for_the_leader() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let request = produce_request("t", 0, 1, batch(&["a"])).with_timeout_ms(0);
        let answer = call(&connection, 9, &request).await;
        let answered = &answer.responses[0].partition_responses[0];
        assert_eq!((answered.error_code, answered.base_offset), (0, 0));
    });
}

#[test]
fn a_producer_id_comes_with_its_epoch() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        for (id, epoch) in [(5, -1), (-1, 5)] {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(epoch);
            let answer = call(&connection, 4, &request).await;
            assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
            assert_eq!((answer.producer_id.0, answer.producer_epoch), (-1, -1));
        }
    });
}

#[test]
fn metadata_10_and_11_have_ids_that_nobody_may_ask_for() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        let id = create_topic(&connection, "t", 1, &[]).await;
        let wanted = MetadataRequestTopic::default()
            .with_name(Some(topic_name("t")))
            .with_topic_id(id);
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        for version in [10, 11] {
            let answer = call(&connection, version, &request).await;
            assert_eq!(
                answer.topics[0].error_code,
                ErrorCode::InvalidRequest.code()
            );
            assert!(answer.brokers.is_empty(), "{answer:?}");
        }
        let answer = call(&connection, 12, &request).await;
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    });
}

#[test]
fn a_name_that_collides_is_not_made_by_metadata_and_not_there() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "a.b", 1, &[]).await;
        let wanted = MetadataRequestTopic::default().with_name(Some(topic_name("a_b")));
        let request = MetadataRequest::default()
            .with_allow_auto_topic_creation(true)
            .with_topics(Some(vec![wanted]));
        for _ in 0..2 {
            let answer = call(&connection, 9, &request).await;
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            assert_eq!(answer.topics[0].error_code, unknown);
        }
    });
}

fn fetch_epoch(epoch: i32) -> FetchRequest {
    let mut request = fetch_request("t", 0, 0);
    request.topics[0].partitions[0].last_fetched_epoch = epoch;
    request
}

#[test]
fn a_last_fetched_epoch_that_the_log_does_not_know_is_out_of_range() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a"])).await;
        for (epoch, code) in [(-1, 0), (0, 0), (7, ErrorCode::OffsetOutOfRange.code())] {
            let answer = call(&connection, 12, &fetch_epoch(epoch)).await;
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(partition.error_code, code, "epoch {epoch}");
            assert_eq!(partition.diverging_epoch.epoch, -1, "epoch {epoch}");
        }
    });
}

#[test]
fn readers_of_committed_records_get_a_list_of_aborted_transactions() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        for (isolation, aborted) in [(0, None), (1, Some(Vec::new()))] {
            let request = fetch_request("t", 0, 0).with_isolation_level(isolation);
            let answer = call(&connection, 12, &request).await;
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(partition.aborted_transactions, aborted);
        }
    });
}

#[test]
fn a_topic_that_is_named_and_identified_in_one_deletion_stays() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        let id = create_topic(&connection, "t", 1, &[]).await;
        let by_name = DeleteTopicState::default().with_name(Some(topic_name("t")));
        let by_id = DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(id);
        let request = DeleteTopicsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![by_name, by_id]);
        let answer = call(&connection, 6, &request).await;
        assert_eq!(answer.responses.len(), 1, "{answer:?}");
        let refused = &answer.responses[0];
        assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    });
}

#[test]
fn what_is_allowed_on_a_group_is_told_to_who_asks() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        find_coordinator(&connection, "g").await;
        let request = OffsetCommitRequest::default().with_group_id(GroupId(text("g")));
        call(&connection, 8, &request).await;
        for (asked, operations) in [(false, i32::MIN), (true, 3400)] {
            let request = DescribeGroupsRequest::default()
                .with_groups(vec![GroupId(text("g"))])
                .with_include_authorized_operations(asked);
            let answer = call(&connection, 5, &request).await;
            assert_eq!(answer.groups[0].authorized_operations, operations);
        }
    });
}

#[test]
fn no_error_has_no_message_and_nobody_who_did_not_ask_gets_documentation() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(topic_name("t"))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![topic]);
        let version = newest(ApiKey::CreateTopics);
        let made = call(&connection, version, &request).await;
        assert_eq!(made.topics[0].error_message, None);
        let again = call(&connection, version, &request).await;
        let said = again.topics[0].error_message.as_ref();
        assert!(said.is_some_and(|said| !said.is_empty()));

        let wanted = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("t"));
        for asked in [false, true] {
            let request = DescribeConfigsRequest::default()
                .with_resources(vec![wanted.clone()])
                .with_include_documentation(asked);
            let answer = call(&connection, 4, &request).await;
            let documented = answer.results[0].configs.iter();
            assert!(documented.clone().count() > 20);
            assert!(
                documented
                    .clone()
                    .all(|key| key.documentation.is_some() == asked)
            );
        }
    });
}
