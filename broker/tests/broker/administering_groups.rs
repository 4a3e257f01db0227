//! Groups described, listed and deleted, and offsets that go (semantics 3.10 and 3.12; Kafka's
//! `GroupMetadataManager` and `OffsetMetadataManager`).

use bytes::{BufMut, Bytes, BytesMut};
use millstream_client::Connection;
use millstream_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use millstream_protocol::messages::delete_topics_request::DeleteTopicState;
use millstream_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millstream_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use millstream_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use millstream_protocol::messages::{
    CreatePartitionsRequest, DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest,
    HeartbeatRequest, LeaveGroupRequest, ListGroupsRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use millstream_protocol::{ErrorCode as Code, StrBytes};
use millstream_reactor::sim::{DiskFault, DiskOperation, KeepUnsynced};

use crate::groups::{commit, committed, group, join};
use crate::harness::{Cluster, call, create_topic, find_coordinator, text, topic_name};

const UNKNOWN_OPERATIONS: i32 = i32::MIN;

/// The subscription of a member of the `consumer` protocol.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(topic.len()).expect("short"));
    bytes.put_slice(topic.as_bytes());
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Joins a member that is subscribed to `topic`, and assigns it something; its id.
async fn stable_member(connection: &Connection, id: &str, topic: &str, protocol: &str) -> StrBytes {
    let with = |member: &str| {
        let mut request = join(id, member);
        request.protocol_type = text(protocol);
        request.protocols[0].metadata = subscription(topic);
        request
    };
    let first = call(connection, 9, &with("")).await;
    let joined = call(connection, 9, &with(&first.member_id)).await;
    assert_eq!(joined.error_code, 0);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"all"));
    let sync = SyncGroupRequest::default()
        .with_group_id(group(id))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text(protocol)))
        .with_protocol_name(Some(text("range")))
        .with_assignments(vec![assignment]);
    assert_eq!(call(connection, 5, &sync).await.error_code, 0);
    joined.member_id
}

async fn leave(connection: &Connection, id: &str, member: StrBytes) {
    let leave = LeaveGroupRequest::default()
        .with_group_id(group(id))
        .with_member_id(member);
    assert_eq!(call(connection, 2, &leave).await.error_code, 0);
}

/// Groups and codes of a DeleteGroups, sorted.
async fn delete(connection: &Connection, version: i16, ids: &[&str]) -> Vec<(String, i16)> {
    let names = ids.iter().map(|id| group(id)).collect();
    let request = DeleteGroupsRequest::default().with_groups_names(names);
    let answer = call(connection, version, &request).await;
    let results = answer.results.iter();
    let mut told: Vec<_> = results
        .map(|result| (result.group_id.to_string(), result.error_code))
        .collect();
    told.sort();
    told
}

#[test]
fn groups_are_deleted_when_they_are_empty_and_stay_so() {
    let mut cluster = Cluster::new(&[("group.initial.rebalance.delay.ms", "0")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        // Without the topic of the groups nobody coordinates any.
        let told = delete(&connection, 2, &["g"]).await;
        assert_eq!(told, [("g".to_owned(), Code::NotCoordinator.code())]);
        create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        for id in ["a", "b", "c", "kept"] {
            assert_eq!(commit(&connection, id, "t", 7, "").await, 0);
        }
        let member = stable_member(&connection, "busy", "t", "consumer").await;
        let (busy, unknown) = (Code::NonEmptyGroup.code(), Code::GroupIdNotFound.code());
        let told = delete(&connection, 0, &["a", "busy", "absent", "a"]).await;
        let wanted = [("a", 0), ("absent", unknown), ("busy", busy)];
        assert_eq!(told, wanted.map(|(id, code)| (id.to_owned(), code)));
        assert_eq!(delete(&connection, 1, &["b"]).await, [("b".to_owned(), 0)]);
        assert_eq!(delete(&connection, 2, &["c"]).await, [("c".to_owned(), 0)]);
        assert_eq!(
            delete(&connection, 2, &["c"]).await,
            [("c".to_owned(), unknown)]
        );
        leave(&connection, "busy", member).await;
        assert_eq!(
            delete(&connection, 2, &["busy"]).await,
            [("busy".to_owned(), 0)]
        );
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for id in ["a", "b", "c"] {
            let found = committed(&connection, id, "t").await;
            assert_eq!(found, (0, -1, String::new()), "{id}");
        }
        assert_eq!(committed(&connection, "kept", "t").await.1, 7);
        let groups = listed(&connection, 5, &ListGroupsRequest::default()).await;
        assert_eq!(groups.iter().map(|g| &*g.0).collect::<Vec<_>>(), ["kept"]);
    });
}

/// The response's code, and each topic's name, partition and code.
async fn delete_offsets(
    connection: &Connection,
    id: &str,
    topics: &[(&str, i32)],
) -> (i16, Vec<(String, i32, i16)>) {
    let topics = topics.iter().map(|(name, partition)| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(*partition);
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(vec![partition])
    });
    let request = OffsetDeleteRequest::default()
        .with_group_id(group(id))
        .with_topics(topics.collect());
    let answer = call(connection, 0, &request).await;
    let mut told = Vec::new();
    for topic in &answer.topics {
        let partitions = topic.partitions.iter();
        told.extend(partitions.map(|p| (topic.name.to_string(), p.partition_index, p.error_code)));
    }
    told.sort();
    (answer.error_code, told)
}

#[test]
fn offsets_are_deleted_unless_a_member_is_subscribed_to_the_topic() {
    let mut cluster = Cluster::new(&[("group.initial.rebalance.delay.ms", "0")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "mine", 1, &[]).await;
        create_topic(&connection, "other", 1, &[]).await;
        let (none, unknown) = (Vec::new(), Code::UnknownTopicOrPartition.code());
        let told = delete_offsets(&connection, "g", &[("mine", 0)]).await;
        assert_eq!(told, (Code::NotCoordinator.code(), none.clone()));
        find_coordinator(&connection, "g").await;
        for topic in ["mine", "other"] {
            assert_eq!(commit(&connection, "g", topic, 7, "").await, 0);
        }
        let told = delete_offsets(&connection, "absent", &[("mine", 0), ("gone", 0)]).await;
        assert_eq!(told, (Code::GroupIdNotFound.code(), none.clone()));
        let told = delete_offsets(&connection, "", &[("mine", 0)]).await;
        assert_eq!(told, (Code::InvalidGroupId.code(), none.clone()));

        let member = stable_member(&connection, "g", "mine", "consumer").await;
        let asked = [("mine", 0), ("other", 0), ("gone", 0), ("other", 9)];
        let told = delete_offsets(&connection, "g", &asked).await;
        let wanted = [
            ("gone", 0, unknown),
            ("mine", 0, Code::GroupSubscribedToTopic.code()),
            ("other", 0, 0),
            ("other", 9, unknown),
        ];
        let wanted = wanted.map(|(topic, partition, code)| (topic.to_owned(), partition, code));
        assert_eq!(told, (0, wanted.to_vec()));
        assert_eq!(committed(&connection, "g", "mine").await.1, 7);
        assert_eq!(committed(&connection, "g", "other").await.1, -1);
        leave(&connection, "g", member).await;
        let told = delete_offsets(&connection, "g", &[("mine", 0)]).await;
        assert_eq!(told, (0, vec![("mine".to_owned(), 0, 0)]));

        // What members of other protocols are at work on nobody knows.
        stable_member(&connection, "connect", "mine", "connect").await;
        let told = delete_offsets(&connection, "connect", &[("other", 0)]).await;
        assert_eq!(told, (Code::NonEmptyGroup.code(), none));
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        assert_eq!(committed(&connection, "g", "mine").await.1, -1);
        assert_eq!(committed(&connection, "g", "other").await.1, -1);
    });
}

#[test]
fn the_offsets_of_a_deleted_topic_go_and_do_not_come_back_with_its_name() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        create_topic(&connection, "kept", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        for n in 0..20 {
            for topic in ["t", "kept"] {
                assert_eq!(commit(&connection, &format!("g{n}"), topic, 7, "").await, 0);
            }
        }
        let topic = DeleteTopicState::default().with_name(Some(topic_name("t")));
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let answer = call(&connection, 6, &request).await;
        assert_eq!(answer.responses[0].error_code, 0);
        create_topic(&connection, "t", 1, &[]).await;
        for n in 0..20 {
            let id = format!("g{n}");
            // The coordinators record the end of the offsets on their own.
            while committed(&connection, &id, "t").await.1 != -1 {}
            assert_eq!(committed(&connection, &id, "kept").await.1, 7);
        }
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for n in 0..20 {
            let id = format!("g{n}");
            assert_eq!(committed(&connection, &id, "t").await.1, -1);
            assert_eq!(committed(&connection, &id, "kept").await.1, 7);
        }
    });
}

/// A node that goes down between a topic's deletion and the record of its offsets' end.
#[test]
fn the_offsets_of_a_deleted_topic_do_not_come_back_after_a_crash() {
    for seed in 0..8 {
        let mut cluster = Cluster::with_seed(seed, &[]);
        cluster.run(async |client| {
            let connection = client.connect().await;
            create_topic(&connection, "t", 1, &[]).await;
            find_coordinator(&connection, "g").await;
            for n in 0..10 {
                assert_eq!(commit(&connection, &format!("g{n}"), "t", 7, "").await, 0);
            }
            let topic = DeleteTopicState::default().with_name(Some(topic_name("t")));
            let request = DeleteTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(10_000);
            let answer = call(&connection, 6, &request).await;
            assert_eq!(answer.responses[0].error_code, 0);
        });
        cluster.crash_and_restart(KeepUnsynced::None);
        cluster.run(async move |client| {
            let connection = client.connect().await;
            for n in 0..10 {
                let id = format!("g{n}");
                let began = client.reactor.now();
                // Until the coordinator has recorded it after all.
                while committed(&connection, &id, "t").await.1 != -1 {
                    let waited = client.reactor.now() - began;
                    assert!(waited.as_secs() < 1, "{id} with seed {seed}");
                }
            }
        });
    }
}

/// A read that fails while groups are loaded costs them a moment, not the node's life.
#[test]
fn groups_whose_loading_fails_are_loaded_again() {
    let mut cluster = Cluster::new(&[("offsets.topic.num.partitions", "1")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        assert_eq!(commit(&connection, "g", "t", 7, "").await, 0);
    });
    cluster.stop();
    let mut refused = 0;
    for skip in 0..12 {
        let eio = std::io::ErrorKind::Other;
        let fault = DiskFault::new(DiskOperation::Read, "__consumer_offsets-0/", eio);
        cluster.broker.inject(fault.after(skip));
        cluster.start();
        let code = cluster.run(async |client| {
            let connection = client.connect().await;
            let request = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
            let answer = call(&connection, 5, &request).await;
            let first = answer.groups[0].error_code;
            client
                .reactor
                .sleep(std::time::Duration::from_secs(1))
                .await;
            let again = call(&connection, 5, &request).await.groups[0].error_code;
            (first, again)
        });
        // A log that cannot be opened stays closed; one that is open is read again.
        match code {
            (_, 0) => refused += usize::from(code.0 == Code::NotCoordinator.code()),
            (first, again) => assert_eq!((first, again), (code.0, Code::NotCoordinator.code())),
        }
        cluster.broker.clear_faults();
        cluster.stop();
    }
    assert!(refused > 0, "no read of the loading failed");
}

/// What became of a write on a full disk nobody knows at first; what the log has in the end counts.
#[test]
fn groups_come_back_when_a_full_disk_has_room_again() {
    let mut cluster = Cluster::new(&[("offsets.topic.num.partitions", "1")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        assert_eq!(commit(&connection, "g", "t", 0, "").await, 0);
    });
    cluster.broker.set_disk_capacity(Some(1));
    // There is space made ahead, so it takes some commits.
    let kept = cluster.run(async |client| {
        let connection = client.connect().await;
        let words = "x".repeat(4_000);
        let mut kept = 0;
        while commit(&connection, "g", "t", kept + 1, &words).await == 0 {
            kept += 1;
            assert!(kept < 10_000, "the disk is not full");
        }
        let refused = commit(&connection, "g", "t", kept + 1, "").await;
        assert_eq!(refused, Code::NotCoordinator.code());
        kept
    });
    cluster.broker.set_disk_capacity(None);
    let found = cluster.run(async move |client| {
        let connection = client.connect().await;
        let began = client.reactor.now();
        while commit(&connection, "other", "t", 1, "").await != 0 {
            let pause = std::time::Duration::from_millis(100);
            client.reactor.sleep(pause).await;
            assert!((client.reactor.now() - began).as_secs() < 30);
        }
        let found = committed(&connection, "g", "t").await.1;
        assert!(found == kept || found == kept + 1, "{found} after {kept}");
        found
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async move |client| {
        let connection = client.connect().await;
        assert_eq!(committed(&connection, "g", "t").await.1, found);
        assert_eq!(committed(&connection, "other", "t").await.1, 1);
    });
}

/// Groups with their states and types, sorted.
async fn listed(
    connection: &Connection,
    version: i16,
    request: &ListGroupsRequest,
) -> Vec<(String, String, String)> {
    let answer = call(connection, version, request).await;
    assert_eq!(answer.error_code, 0);
    let groups = answer.groups.iter();
    let mut told: Vec<_> = groups
        .map(|group| {
            (
                group.group_id.to_string(),
                group.group_state.to_string(),
                group.group_type.to_string(),
            )
        })
        .collect();
    told.sort();
    told
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let cluster = Cluster::new(&[("group.initial.rebalance.delay.ms", "0")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let all = listed(&connection, 5, &ListGroupsRequest::default()).await;
        assert_eq!(all, [], "without a coordinator there is no group");
        find_coordinator(&connection, "g").await;
        assert_eq!(commit(&connection, "empty", "t", 1, "").await, 0);
        stable_member(&connection, "stable", "t", "consumer").await;
        let names = |groups: &[(String, String, String)]| -> Vec<String> {
            groups.iter().map(|group| group.0.clone()).collect()
        };
        for version in 0..=5 {
            let all = listed(&connection, version, &ListGroupsRequest::default()).await;
            assert_eq!(names(&all), ["empty", "stable"], "version {version}");
            let state = if version >= 4 { "Stable" } else { "" };
            let kind = if version >= 5 { "classic" } else { "" };
            assert_eq!((&*all[1].1, &*all[1].2), (state, kind), "version {version}");
        }
        let by_state = |states: &[&str]| {
            let states = states.iter().map(|state| text(state)).collect();
            ListGroupsRequest::default().with_states_filter(states)
        };
        let by_type = |types: &[&str]| {
            let types = types.iter().map(|name| text(name)).collect();
            ListGroupsRequest::default().with_types_filter(types)
        };
        let cases = [
            (by_state(&["stable"]), &["stable"][..]),
            (by_state(&["EMPTY", " Stable "]), &["empty", "stable"]),
            (by_state(&["Dead", "nonsense"]), &[]),
            (by_type(&["Classic"]), &["empty", "stable"]),
            (by_type(&["consumer", "share"]), &[]),
            (by_type(&["nonsense"]), &[]),
        ];
        for (request, wanted) in cases {
            let found = listed(&connection, 5, &request).await;
            assert_eq!(names(&found), wanted, "{request:?}");
        }
    });
}

#[test]
fn an_unknown_group_is_dead_and_from_version_six_not_found() {
    let cluster = Cluster::new(&[("group.initial.rebalance.delay.ms", "0")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        find_coordinator(&connection, "g").await;
        create_topic(&connection, "t", 1, &[]).await;
        assert_eq!(commit(&connection, "there", "t", 1, "").await, 0);
        for version in 0..=6 {
            let request = DescribeGroupsRequest::default()
                .with_groups(vec![group("absent"), group("there")])
                .with_include_authorized_operations(version >= 3);
            let mut answer = call(&connection, version, &request).await;
            answer.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
            let [absent, there] = answer.groups.as_slice() else {
                panic!("{:?}", answer.groups);
            };
            let code = match version {
                6 => Code::GroupIdNotFound.code(),
                _ => 0,
            };
            assert_eq!(
                (absent.error_code, absent.group_state.as_str()),
                (code, "Dead")
            );
            assert_eq!(absent.error_message.is_some(), version == 6);
            assert_eq!((there.error_code, there.group_state.as_str()), (0, "Empty"));
            // Read, delete, describe, describe and alter configs.
            let operations = match version {
                3.. => 0b1101_0100_1000,
                _ => UNKNOWN_OPERATIONS,
            };
            assert_eq!(there.authorized_operations, operations, "version {version}");
            let of_absent = match code {
                0 => operations,
                _ => UNKNOWN_OPERATIONS,
            };
            assert_eq!(absent.authorized_operations, of_absent);
        }
        let unasked = DescribeGroupsRequest::default().with_groups(vec![group("there")]);
        let answer = call(&connection, 6, &unasked).await;
        assert_eq!(answer.groups[0].authorized_operations, UNKNOWN_OPERATIONS);
    });
}

#[test]
fn a_commit_renews_the_session_of_its_member() {
    let cluster = Cluster::new(&[("group.initial.rebalance.delay.ms", "0")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        let member = stable_member(&connection, "g", "t", "consumer").await;
        let mut request = crate::groups::commit_request("g", "t", 1, "");
        request.generation_id_or_member_epoch = 1;
        request.member_id = member.clone();
        // Its session is 10 s long.
        for _ in 0..4 {
            client
                .reactor
                .sleep(std::time::Duration::from_secs(7))
                .await;
            let answer = call(&connection, 9, &request).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        }
        let heartbeat = HeartbeatRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(1)
            .with_member_id(member);
        assert_eq!(call(&connection, 4, &heartbeat).await.error_code, 0);
    });
}

/// Kafka's coordinators count the partitions of their topic when the broker starts.
#[test]
fn groups_keep_their_coordinators_when_their_topic_gets_partitions() {
    let cluster = Cluster::new(&[("offsets.topic.num.partitions", "3")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        for n in 0..20 {
            assert_eq!(commit(&connection, &format!("g{n}"), "t", n, "").await, 0);
        }
        let more = CreatePartitionsTopic::default()
            .with_name(topic_name("__consumer_offsets"))
            .with_count(7)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![more])
            .with_timeout_ms(10_000);
        let answer = call(&connection, 3, &request).await;
        assert_eq!(answer.results[0].error_code, 0);
        // From every shard.
        for _ in 0..6 {
            let connection = client.connect().await;
            for n in 0..20 {
                let found = committed(&connection, &format!("g{n}"), "t").await;
                assert_eq!(found.1, n, "g{n}");
            }
        }
        let groups = listed(&connection, 5, &ListGroupsRequest::default()).await;
        assert_eq!(groups.len(), 20);
    });
}

/// No list and an empty one are two things (semantics 3.15).
#[test]
fn offsets_of_all_topics_are_fetched_without_a_list_and_none_with_an_empty_one() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        create_topic(&connection, "u", 1, &[]).await;
        find_coordinator(&connection, "g").await;
        for topic in ["t", "u"] {
            assert_eq!(commit(&connection, "g", topic, 7, "").await, 0);
        }
        for version in 2..=7 {
            let all = OffsetFetchRequest::default()
                .with_group_id(group("g"))
                .with_topics(None);
            let answer = call(&connection, version, &all).await;
            assert_eq!((answer.error_code, answer.topics.len()), (0, 2));
            let none = all.with_topics(Some(Vec::new()));
            let answer = call(&connection, version, &none).await;
            assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
        }
        for version in 8..=9 {
            for (topics, wanted) in [(None, 2), (Some(Vec::new()), 0)] {
                let asked = OffsetFetchRequestGroup::default()
                    .with_group_id(group("g"))
                    .with_topics(topics);
                let request = OffsetFetchRequest::default().with_groups(vec![asked]);
                let answer = call(&connection, version, &request).await;
                let found = &answer.groups[0];
                assert_eq!((found.error_code, found.topics.len()), (0, wanted));
            }
        }
    });
}
