//! DeleteRecords on whole nodes (semantics 3.5; Kafka's `Partition.deleteRecordsOnLeader`).

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::DeleteRecordsRequest;
use millstream_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{
    Cluster, batch, call, create_topic, fetch_request, find_coordinator, produce, topic_name,
    values,
};

/// Topic, partition, low watermark and code of each, sorted.
async fn delete(
    connection: &Connection,
    version: i16,
    partitions: &[(&str, i32, i64)],
) -> Vec<(String, i32, i64, i16)> {
    let topics = partitions.iter().map(|(topic, index, offset)| {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(*index)
            .with_offset(*offset);
        DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition])
    });
    let request = DeleteRecordsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(10_000);
    let answer = call(connection, version, &request).await;
    let mut told = Vec::new();
    for topic in &answer.topics {
        told.extend(topic.partitions.iter().map(|partition| {
            (
                topic.name.to_string(),
                partition.partition_index,
                partition.low_watermark,
                partition.error_code,
            )
        }));
    }
    told.sort();
    told
}

async fn fill(connection: &Connection, topic: &str, partition: i32, records: usize) {
    for n in 0..records {
        let kept = produce(connection, topic, partition, batch(&[&n.to_string()])).await;
        assert_eq!(kept.error_code, 0);
    }
}

#[test]
fn records_below_the_offset_are_gone_for_good() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 4, &[]).await;
        for partition in 0..4 {
            fill(&connection, "t", partition, 5).await;
        }
        for version in 0..=2 {
            let offset = i64::from(version) + 1;
            let told = delete(&connection, version, &[("t", 0, offset)]).await;
            assert_eq!(told, [("t".to_owned(), 0, offset, 0)]);
            let below = call(&connection, 12, &fetch_request("t", 0, offset - 1)).await;
            let code = below.responses[0].partitions[0].error_code;
            assert_eq!(code, ErrorCode::OffsetOutOfRange.code());
            let rest = call(&connection, 12, &fetch_request("t", 0, offset)).await;
            assert_eq!(values(&rest)[0], (offset, offset.to_string()));
        }
        // What is gone already stays gone, and is no error.
        let told = delete(&connection, 2, &[("t", 0, 1)]).await;
        assert_eq!(told, [("t".to_owned(), 0, 3, 0)]);
        let all = delete(&connection, 2, &[("t", 1, -1), ("t", 2, 5), ("t", 3, 0)]).await;
        let wanted = [(1, 5), (2, 5), (3, 0)];
        let wanted = wanted.map(|(index, low)| ("t".to_owned(), index, low, 0));
        assert_eq!(all, wanted);
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let told = delete(&connection, 2, &[("t", 0, 0), ("t", 1, 0)]).await;
        let wanted = [(0, 3), (1, 5)].map(|(index, low)| ("t".to_owned(), index, low, 0));
        assert_eq!(told, wanted);
        let kept = produce(&connection, "t", 1, batch(&["next"])).await;
        assert_eq!((kept.error_code, kept.base_offset), (0, 5));
    });
}

#[test]
fn records_that_cannot_be_deleted_are_refused_with_kafkas_codes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let compacted = [("cleanup.policy", "compact")];
        create_topic(&connection, "compacted", 1, &compacted).await;
        let both = [("cleanup.policy", "compact,delete")];
        create_topic(&connection, "both", 1, &both).await;
        find_coordinator(&connection, "g").await;
        fill(&connection, "t", 0, 3).await;
        let cases = [
            ("t", 0, 4, ErrorCode::OffsetOutOfRange),
            ("t", 0, -2, ErrorCode::OffsetOutOfRange),
            ("t", 0, i64::MAX, ErrorCode::OffsetOutOfRange),
            ("t", 0, i64::MIN, ErrorCode::OffsetOutOfRange),
            ("t", 1, 0, ErrorCode::UnknownTopicOrPartition),
            ("t", -1, 0, ErrorCode::UnknownTopicOrPartition),
            ("absent", 0, 0, ErrorCode::UnknownTopicOrPartition),
            ("a/b", 0, 0, ErrorCode::UnknownTopicOrPartition),
            ("compacted", 0, 0, ErrorCode::PolicyViolation),
            ("__consumer_offsets", 0, 0, ErrorCode::InvalidTopicException),
        ];
        for (topic, index, offset, wanted) in cases {
            let told = delete(&connection, 2, &[(topic, index, offset)]).await;
            let wanted = (topic.to_owned(), index, -1, wanted.code());
            assert_eq!(told, [wanted], "offset {offset}");
        }
        let mixed = [("both", 0, 0), ("t", 0, 9), ("t", 7, 0)];
        let told = delete(&connection, 2, &mixed).await;
        let wanted = [
            ("both", 0, 0, 0),
            ("t", 0, -1, ErrorCode::OffsetOutOfRange.code()),
            ("t", 7, -1, ErrorCode::UnknownTopicOrPartition.code()),
        ];
        let wanted = wanted.map(|(topic, index, low, code)| (topic.to_owned(), index, low, code));
        assert_eq!(told, wanted);
        assert_eq!(delete(&connection, 2, &[]).await, []);
        let rest = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&rest).len(), 3, "nothing was deleted");
    });
}
