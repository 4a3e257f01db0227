//! Offsets that are committed and fetched for topics named by id, from version 10 on.

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::delete_topics_request::DeleteTopicState;
use millstream_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use millstream_protocol::messages::{DeleteTopicsRequest, OffsetCommitRequest, OffsetFetchRequest};
use millstream_protocol::next_version::Newest;
use millstream_reactor::sim::KeepUnsynced;
use uuid::Uuid;

use crate::groups::{commit, commit_request, committed, group, join_new};
use crate::harness::{Cluster, call, create_topic, find_coordinator, topic_name};

const NOBODYS_ID: Uuid = Uuid::from_u128(0xd1ff_0000_0000_4000_8000_0000_0000_0001);
const OK: i16 = 0;
const UNKNOWN_ID: i16 = 100;
const UNKNOWN_PARTITION: i16 = 3;

/// Commits partitions of topics, each with an offset; the codes, by topic and partition.
async fn commit_by_id(
    connection: &Connection,
    id: &str,
    topics: &[(Uuid, &[(i32, i64)])],
) -> Vec<(Uuid, i32, i16)> {
    commit_by_ids(connection, request(id, topics)).await
}

fn request(id: &str, topics: &[(Uuid, &[(i32, i64)])]) -> OffsetCommitRequest {
    let topics = topics.iter().map(|(topic, partitions)| {
        let partitions = partitions.iter().map(|(index, offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(*offset)
        });
        OffsetCommitRequestTopic::default()
            .with_topic_id(*topic)
            .with_partitions(partitions.collect())
    });
    OffsetCommitRequest::default()
        .with_group_id(group(id))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect())
}

async fn commit_by_ids(
    connection: &Connection,
    request: OffsetCommitRequest,
) -> Vec<(Uuid, i32, i16)> {
    let answer = call(connection, 10, &Newest(request)).await;
    let topics = answer.topics.iter();
    topics
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|p| (topic.topic_id, p.partition_index, p.error_code))
        })
        .collect()
}

/// What some groups have committed for topics, or without a list for all; of each its id, partition,
/// offset and code.
async fn fetch_by_id(
    connection: &Connection,
    asked: &[(&str, Option<&[Uuid]>)],
) -> Vec<(String, Vec<(Uuid, i32, i64, i16)>)> {
    let groups = asked.iter().map(|(id, topics)| {
        let topic = |id: &Uuid| {
            OffsetFetchRequestTopics::default()
                .with_topic_id(*id)
                .with_partition_indexes(vec![0])
        };
        OffsetFetchRequestGroup::default()
            .with_group_id(group(id))
            .with_topics(topics.map(|topics| topics.iter().map(topic).collect()))
    });
    let request = Newest(OffsetFetchRequest::default().with_groups(groups.collect()));
    loop {
        let answer = call(connection, 10, &request).await;
        let is_loading = |code: i16| code == ErrorCode::CoordinatorLoadInProgress.code();
        if answer
            .groups
            .iter()
            .any(|group| is_loading(group.error_code))
        {
            continue;
        }
        let groups = answer.groups.iter().map(|group| {
            assert_eq!(group.error_code, 0);
            let partitions = group.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|p| {
                    assert!(p.metadata.as_ref().is_some_and(|words| words.is_empty()));
                    let id = topic.topic_id;
                    (id, p.partition_index, p.committed_offset, p.error_code)
                })
            });
            (group.group_id.to_string(), partitions.collect())
        });
        return groups.collect();
    }
}

async fn delete(connection: &Connection, topic: &str) {
    let state = DeleteTopicState::default().with_name(Some(topic_name(topic)));
    let request = DeleteTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(vec![state]);
    let answer = call(connection, 6, &request).await;
    assert_eq!(answer.responses[0].error_code, 0);
}

#[test]
fn what_is_committed_by_id_is_read_by_id_and_by_name() {
    let mut cluster = Cluster::new(&[]);
    let (t, u) = cluster.run(async |client| {
        let connection = client.connect().await;
        let t = create_topic(&connection, "t", 2, &[]).await;
        let u = create_topic(&connection, "u", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        // Who commits by name says nothing of ids.
        assert_eq!(commit(&connection, "g", "u", 3, "").await, OK);
        let codes = commit_by_id(&connection, "g", &[(t, &[(0, 7), (1, 8)])]).await;
        assert_eq!(codes, [(t, 0, OK), (t, 1, OK)]);
        (t, u)
    });
    for _ in 0..2 {
        cluster.run(async move |client| {
            let connection = client.connect().await;
            let found = fetch_by_id(&connection, &[("g", Some(&[u, t]))]).await;
            let both = vec![(u, 0, 3, OK), (t, 0, 7, OK)];
            assert_eq!(found, [("g".to_owned(), both)]);
            let all = fetch_by_id(&connection, &[("g", None)]).await;
            let three = vec![(t, 0, 7, OK), (t, 1, 8, OK), (u, 0, 3, OK)];
            assert_eq!(all, [("g".to_owned(), three)]);
            let by_name = committed(&connection, "g", "t").await;
            assert_eq!(by_name, (0, 7, String::new()));
        });
        cluster.crash_and_restart(KeepUnsynced::None);
    }
}

#[test]
fn ids_that_no_topic_has_are_refused_one_by_one() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        let t = create_topic(&connection, "t", 1, &[]).await;
        let gone = create_topic(&connection, "gone", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        let codes = commit_by_id(&connection, "g", &[(gone, &[(0, 1)])]).await;
        assert_eq!(codes, [(gone, 0, OK)]);
        delete(&connection, "gone").await;

        let asked: [(Uuid, &[(i32, i64)]); 4] = [
            (NOBODYS_ID, &[(0, 1), (1, 1)]),
            (t, &[(0, 5), (1, 5), (-1, 5)]),
            (Uuid::nil(), &[(0, 1)]),
            (gone, &[(0, 2)]),
        ];
        let mut codes = commit_by_id(&connection, "g", &asked).await;
        codes.sort_by_key(|(id, index, _)| (*id == t, *id, *index));
        let mut expected = [
            (Uuid::nil(), 0, UNKNOWN_ID),
            (NOBODYS_ID, 0, UNKNOWN_ID),
            (NOBODYS_ID, 1, UNKNOWN_ID),
            (gone, 0, UNKNOWN_ID),
            (t, -1, UNKNOWN_PARTITION),
            (t, 0, OK),
            (t, 1, UNKNOWN_PARTITION),
        ];
        expected.sort_by_key(|(id, index, _)| (*id == t, *id, *index));
        assert_eq!(codes, expected);
        // Nobody is asked when nothing is left, and each id is answered once.
        let twice: [(Uuid, &[(i32, i64)]); 3] =
            [(gone, &[(0, 2)]), (NOBODYS_ID, &[]), (gone, &[(1, 2)])];
        let answer = call(&connection, 10, &Newest(request("g", &twice))).await;
        let topics = answer
            .topics
            .iter()
            .map(|t| (t.topic_id, t.partitions.len()));
        assert_eq!(topics.collect::<Vec<_>>(), [(gone, 2), (NOBODYS_ID, 0)]);

        let ids = [NOBODYS_ID, t, Uuid::nil(), gone];
        let found = fetch_by_id(&connection, &[("g", Some(&ids))]).await;
        let expected = vec![
            (t, 0, 5, OK),
            (NOBODYS_ID, 0, -1, UNKNOWN_ID),
            (Uuid::nil(), 0, -1, UNKNOWN_ID),
            (gone, 0, -1, UNKNOWN_ID),
        ];
        assert_eq!(found, [("g".to_owned(), expected)]);
        let all = fetch_by_id(&connection, &[("g", None)]).await;
        assert_eq!(all, [("g".to_owned(), vec![(t, 0, 5, OK)])]);
    });
}

#[test]
fn a_topic_made_again_has_another_id_and_no_offsets() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        let first = create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        commit_by_id(&connection, "g", &[(first, &[(0, 9)])]).await;
        delete(&connection, "t").await;
        let second = create_topic(&connection, "t", 1, &[]).await;
        assert_ne!(first, second);
        let found = fetch_by_id(&connection, &[("g", Some(&[first, second]))]).await;
        let expected = vec![(second, 0, -1, OK), (first, 0, -1, UNKNOWN_ID)];
        assert_eq!(found, [("g".to_owned(), expected)]);
    });
}

#[test]
fn each_group_is_told_of_its_own_unknown_topics() {
    // So many partitions that the groups have different coordinators.
    Cluster::new(&[("offsets.topic.num.partitions", "7")]).run(async |client| {
        let connection = client.connect().await;
        let t = create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g0").await;
        let other = Uuid::from_u128(NOBODYS_ID.as_u128() + 1);
        for n in 0..4 {
            let codes = commit_by_id(&connection, &format!("g{n}"), &[(t, &[(0, n)])]).await;
            assert_eq!(codes, [(t, 0, OK)]);
        }
        let asked: [(&str, Option<&[Uuid]>); 6] = [
            ("g0", Some(&[NOBODYS_ID, t])),
            ("g1", Some(&[t])),
            ("g2", None),
            ("g3", Some(&[])),
            ("g0", Some(&[other])),
            ("nobody", Some(&[other, t])),
        ];
        let mut found = fetch_by_id(&connection, &asked).await;
        found.sort_by_key(|(id, _)| id.clone());
        let expected = [
            ("g0", vec![(t, 0, 0, OK), (NOBODYS_ID, 0, -1, UNKNOWN_ID)]),
            ("g0", vec![(other, 0, -1, UNKNOWN_ID)]),
            ("g1", vec![(t, 0, 1, OK)]),
            ("g2", vec![(t, 0, 2, OK)]),
            ("g3", vec![]),
            ("nobody", vec![(t, 0, -1, OK), (other, 0, -1, UNKNOWN_ID)]),
        ];
        assert_eq!(found, expected.map(|(id, topics)| (id.to_owned(), topics)));
    });
}

#[test]
fn a_group_that_refuses_a_commit_by_id_answers_with_the_ids() {
    Cluster::new(&[("group.initial.rebalance.delay.ms", "0")]).run(async |client| {
        let connection = client.connect().await;
        let t = create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        let absent = request("g", &[(t, &[(0, 1)])]).with_generation_id_or_member_epoch(4);
        let codes = commit_by_ids(&connection, absent).await;
        assert_eq!(codes, [(t, 0, ErrorCode::GroupIdNotFound.code())]);
        let member = join_new(&connection, "g").await;
        let stale = request("g", &[(t, &[(0, 1)]), (NOBODYS_ID, &[(0, 1)])])
            .with_member_id(member.member_id.clone())
            .with_generation_id_or_member_epoch(member.generation_id + 1);
        let codes = commit_by_ids(&connection, stale).await;
        let illegal = ErrorCode::IllegalGeneration.code();
        assert_eq!(codes, [(NOBODYS_ID, 0, UNKNOWN_ID), (t, 0, illegal)]);
    });
}

#[test]
fn who_commits_by_name_is_answered_for_each_topic_that_is_unknown_once() {
    Cluster::new(&[]).run(async |client| {
        let connection = client.connect().await;
        find_coordinator(&connection, "g").await;
        let mut request = commit_request("g", "absent", 1, "");
        let mut bare = request.topics[0].clone();
        bare.name = topic_name("bare");
        bare.partitions.clear();
        request.topics.extend([request.topics[0].clone(), bare]);
        for version in [2, 8, 9] {
            let answer = call(&connection, version, &request).await;
            let topics = answer.topics.iter();
            let topics = topics.map(|t| (t.name.to_string(), t.partitions.len()));
            let expected = [("absent".to_owned(), 2), ("bare".to_owned(), 0)];
            assert_eq!(topics.collect::<Vec<_>>(), expected);
        }
    });
}
