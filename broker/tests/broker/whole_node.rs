//! A node from start to stop and through crashes.

use millstream_protocol::StrBytes;
use millstream_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use millstream_protocol::messages::{OffsetForLeaderEpochRequest, TopicName};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{Cluster, batch, call, create_topic, fetch_request, produce, values};

#[test]
fn what_was_acknowledged_is_there_after_a_stop_and_after_a_crash() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 6, &[]).await;
        for partition in 0..6 {
            let kept = produce(&connection, "t", partition, batch(&["a", "b"])).await;
            assert_eq!((kept.error_code, kept.base_offset), (0, 0));
        }
    });
    cluster.restart();
    cluster.run(async |client| {
        let connection = client.connect().await;
        for partition in 0..6 {
            let kept = produce(&connection, "t", partition, batch(&["c"])).await;
            assert_eq!((kept.error_code, kept.base_offset), (0, 2));
        }
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for partition in 0..6 {
            let answer = call(&connection, 12, &fetch_request("t", partition, 0)).await;
            let wanted = [
                (0, "a".to_owned()),
                (1, "b".to_owned()),
                (2, "c".to_owned()),
            ];
            assert_eq!(values(&answer), wanted, "partition {partition} {answer:?}");
        }
    });
}

#[test]
fn a_node_told_to_stop_while_it_starts_stops() {
    for seed in 0..20 {
        let mut cluster = Cluster::with_seed(seed, &[]);
        cluster.stop();
        cluster.stop_while_it_starts();
    }
}

#[test]
fn a_client_finds_where_the_term_before_a_restart_ended() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        produce(&connection, "t", 0, batch(&["a", "b"])).await;
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        produce(&connection, "t", 0, batch(&["c"])).await;
        let fetched = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&fetched).len(), 3);
        for version in 2..=4 {
            // The term before the restart, the present one, one that has not begun.
            let request = epoch_request("t", &[(0, 0), (0, 1), (0, 9), (1, 0)]);
            let answer = call(&connection, version, &request).await;
            let found: Vec<_> = answer.topics[0]
                .partitions
                .iter()
                .map(|each| (each.error_code, each.leader_epoch, each.end_offset))
                .collect();
            let wanted = [(0, 0, 2), (0, 1, 3), (0, -1, -1), (3, -1, -1)];
            assert_eq!(found, wanted, "version {version}");
        }
    });
}

fn epoch_request(topic: &'static str, asked: &[(i32, i32)]) -> OffsetForLeaderEpochRequest {
    let partitions = asked.iter().map(|(partition, epoch)| {
        OffsetForLeaderPartition::default()
            .with_partition(*partition)
            .with_leader_epoch(*epoch)
    });
    OffsetForLeaderEpochRequest::default().with_topics(vec![
        OffsetForLeaderTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str(topic)))
            .with_partitions(partitions.collect()),
    ])
}
