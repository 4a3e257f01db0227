//! Classic groups and committed offsets on a whole node. The rules themselves are tested in
//! `broker/coordinator`; here is what the log, restarts and the wire add.

use std::time::Duration;

use bytes::Bytes;
use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use millstream_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use millstream_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use millstream_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{Cluster, call, create_topic, find_coordinator, text, topic_name};

pub fn group(id: &str) -> GroupId {
    GroupId(text(id))
}

/// Commits without being a member, as tools do; again while the coordinator is loading.
pub async fn commit(
    connection: &Connection,
    id: &str,
    topic: &str,
    offset: i64,
    words: &str,
) -> i16 {
    let request = commit_request(id, topic, offset, words);
    loop {
        let answer = call(connection, 9, &request).await;
        let code = answer.topics[0].partitions[0].error_code;
        if code != ErrorCode::CoordinatorLoadInProgress.code() {
            return code;
        }
    }
}

/// A commit for partition 0 by nobody's member.
pub fn commit_request(id: &str, topic: &str, offset: i64, words: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(words)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(id))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

pub async fn committed(connection: &Connection, id: &str, topic: &str) -> (i16, i64, String) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(id))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    loop {
        let answer = call(connection, 8, &request).await;
        let found = &answer.groups[0];
        if found.error_code == ErrorCode::CoordinatorLoadInProgress.code() {
            continue;
        }
        assert_eq!(found.error_code, 0);
        let partition = &found.topics[0].partitions[0];
        let words = partition
            .metadata
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        return (partition.error_code, partition.committed_offset, words);
    }
}

#[test]
fn committed_offsets_outlive_stops_and_crashes() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        for n in 0..20 {
            let id = format!("g{n}");
            find_coordinator(&connection, &id).await;
            for offset in 0..3 {
                let words = format!("{n} at {offset}");
                assert_eq!(commit(&connection, &id, "t", offset, &words).await, 0);
            }
        }
        let code = commit(&connection, "g0", "absent", 1, "").await;
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code());
        let code = commit(&connection, "g0", "t", 1, &"x".repeat(4097)).await;
        assert_eq!(code, ErrorCode::OffsetMetadataTooLarge.code());
    });
    for round in 0..3 {
        cluster.run(async |client| {
            let connection = client.connect().await;
            for n in 0..20 {
                let found = committed(&connection, &format!("g{n}"), "t").await;
                assert_eq!(found, (0, 2, format!("{n} at 2")));
            }
            assert_eq!(
                committed(&connection, "nobody", "t").await,
                (0, -1, String::new())
            );
        });
        match round {
            0 => cluster.restart(),
            _ => cluster.crash_and_restart(KeepUnsynced::None),
        }
    }
}

pub fn join(id: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"topics"));
    JoinGroupRequest::default()
        .with_group_id(group(id))
        .with_member_id(text(member))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins as a new member does: once to be given an id, once with it.
pub async fn join_new(connection: &Connection, id: &str) -> JoinGroupResponse {
    let first = call(connection, 9, &join(id, "")).await;
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    call(connection, 9, &join(id, &first.member_id)).await
}

#[test]
fn the_first_member_waits_for_others_as_long_as_it_is_set() {
    for (delay, least, most) in [("3000", 3_000, 3_100), ("0", 0, 100)] {
        let cluster = Cluster::new(&[("group.initial.rebalance.delay.ms", delay)]);
        cluster.run(async move |client| {
            let connection = client.connect().await;
            find_coordinator(&connection, "g").await;
            let began = client.reactor.now();
            let joined = join_new(&connection, "g").await;
            assert_eq!((joined.error_code, joined.generation_id), (0, 1));
            let waited = client.reactor.now() - began;
            let range = Duration::from_millis(least)..Duration::from_millis(most);
            assert!(
                range.contains(&waited),
                "{waited:?} with a delay of {delay}"
            );
        });
    }
}

#[test]
fn a_member_goes_on_after_the_coordinator_has_crashed() {
    let mut cluster = Cluster::new(&[("group.initial.rebalance.delay.ms", "0")]);
    let (member, generation) = cluster.run(async |client| {
        let connection = client.connect().await;
        find_coordinator(&connection, "g").await;
        let joined = join_new(&connection, "g").await;
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::from_static(b"partitions"));
        let sync = SyncGroupRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(vec![assignment]);
        let synced = call(&connection, 5, &sync).await;
        assert_eq!(
            (synced.error_code, &synced.assignment[..]),
            (0, &b"partitions"[..])
        );
        (joined.member_id, joined.generation_id)
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async move |client| {
        let connection = client.connect().await;
        let heartbeat = HeartbeatRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(generation)
            .with_member_id(member);
        assert_eq!(call(&connection, 4, &heartbeat).await.error_code, 0);
        // Its session ends when it is heard of no more.
        client.reactor.sleep(Duration::from_secs(11)).await;
        let code = call(&connection, 4, &heartbeat).await.error_code;
        assert_eq!(code, ErrorCode::UnknownMemberId.code());
    });
}

#[test]
fn members_that_wait_are_answered_when_the_node_stops() {
    let mut cluster = Cluster::new(&[]);
    let (_connection, waiting) = cluster.run(async |client| {
        let connection = client.connect().await;
        find_coordinator(&connection, "g").await;
        let first = call(&connection, 9, &join("g", "")).await;
        let request = join("g", &first.member_id);
        let waiting = connection.call_version(&request, 9, connection.request_timeout());
        (connection, waiting)
    });
    cluster.sim.run_for(Duration::from_secs(1));
    cluster.stop();
    let answer = cluster
        .sim
        .block_on(waiting)
        .expect("answered, not cut off");
    assert_eq!(answer.error_code, ErrorCode::CoordinatorNotAvailable.code());
}

/// Members that join all at once find each other, and nobody is told that it is unknown (semantics
/// 3.15).
#[test]
fn members_that_join_at_once_are_all_in_the_group() {
    for seed in 0..4 {
        let cluster = Cluster::with_seed(seed, &[("group.initial.rebalance.delay.ms", "100")]);
        cluster.run(async |client| {
            find_coordinator(&client.connect().await, "g").await;
            let member = async |client: crate::harness::Client| {
                let connection = client.connect().await;
                let first = call(&connection, 9, &join("g", "")).await;
                assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
                loop {
                    let joined = call(&connection, 9, &join("g", &first.member_id)).await;
                    assert_eq!(joined.error_code, 0);
                    let heartbeat = HeartbeatRequest::default()
                        .with_group_id(group("g"))
                        .with_generation_id(joined.generation_id)
                        .with_member_id(first.member_id.clone());
                    client.reactor.sleep(Duration::from_millis(500)).await;
                    let code = call(&connection, 4, &heartbeat).await.error_code;
                    if code == 0 {
                        return (joined.generation_id, joined.members.len());
                    }
                    assert_eq!(code, ErrorCode::RebalanceInProgress.code());
                }
            };
            let members = (0..20).map(|_| member(client.clone()));
            let mut joined = futures::future::join_all(members).await;
            joined.sort_unstable();
            let (generation, most) = joined[19];
            assert_eq!(most, 20, "the leader knows of all");
            assert!(joined.iter().all(|(of, _)| *of == generation), "{joined:?}");
        });
    }
}
