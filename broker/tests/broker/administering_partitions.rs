//! Partitions added, topics described in portions, topics deleted in either way (semantics of
//! Kafka's `ReplicationControlManager`, `ControllerApis` and `DescribeTopicPartitionsRequestHandler`).

use millstream_client::Connection;
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use millstream_protocol::messages::create_topics_request::CreatableTopic;
use millstream_protocol::messages::delete_topics_request::DeleteTopicState;
use millstream_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use millstream_protocol::messages::{
    ApiKey, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use millstream_reactor::sim::KeepUnsynced;
use uuid::Uuid;

use crate::harness::{
    Cluster, batch, call, create_topic, fetch_request, metadata, newest, produce, topic_name,
    values,
};

fn grow(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(count)
        .with_assignments(None)
}

fn assigned(name: &str, count: i32, assignments: &[&[i32]]) -> CreatePartitionsTopic {
    let assignments = assignments.iter().map(|brokers| {
        let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
        CreatePartitionsAssignment::default().with_broker_ids(brokers)
    });
    grow(name, count).with_assignments(Some(assignments.collect()))
}

fn request(topics: &[CreatePartitionsTopic]) -> CreatePartitionsRequest {
    CreatePartitionsRequest::default()
        .with_topics(topics.to_vec())
        .with_timeout_ms(10_000)
}

/// Names and codes of the answer, in its order.
async fn answers(
    connection: &Connection,
    version: i16,
    request: &CreatePartitionsRequest,
) -> Vec<(String, i16)> {
    let answer = call(connection, version, request).await;
    let results = answer.results.iter();
    results
        .map(|result| {
            let told = result.error_message.is_some();
            assert_eq!(told, result.error_code != 0, "a message with each error");
            (result.name.to_string(), result.error_code)
        })
        .collect()
}

async fn partitions(connection: &Connection, topic: &str) -> usize {
    let answer = metadata(connection, 12, Some(&[topic])).await;
    answer.topics[0].partitions.len()
}

#[test]
fn added_partitions_are_seen_and_served_by_every_shard_at_once_and_stay() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        produce(&connection, "t", 1, batch(&["old"])).await;
        for (version, count) in [(0, 3), (1, 4), (2, 7), (3, 12)] {
            let made = answers(&connection, version, &request(&[grow("t", count)])).await;
            assert_eq!(made, [("t".to_owned(), 0)]);
            let other = client.connect().await;
            assert_eq!(partitions(&other, "t").await, count as usize);
            for partition in 2..count {
                let kept = produce(&other, "t", partition, batch(&["a"])).await;
                assert_eq!(kept.error_code, 0, "partition {partition} of {count}");
            }
        }
        let answer = call(&connection, 12, &fetch_request("t", 1, 0)).await;
        assert_eq!(values(&answer), [(0, "old".to_owned())]);
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        assert_eq!(partitions(&connection, "t").await, 12);
        let answer = call(&connection, 12, &fetch_request("t", 11, 0)).await;
        assert_eq!(values(&answer), [(0, "a".to_owned())]);
    });
}

/// The answer once was empty in a broker of others (semantics 3.15).
#[test]
fn create_partitions_is_not_answered_with_nothing() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "a", 1, &[]).await;
        create_topic(&connection, "b", 1, &[]).await;
        let asked = request(&[grow("a", 2), grow("absent", 2), grow("b", 2)]);
        let mut made = answers(&connection, 3, &asked).await;
        made.sort();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let wanted = [("a", 0), ("absent", unknown), ("b", 0)];
        assert_eq!(made, wanted.map(|(name, code)| (name.to_owned(), code)));
        assert!(answers(&connection, 3, &request(&[])).await.is_empty());
    });
}

#[test]
fn partitions_that_cannot_be_added_are_refused_with_kafkas_codes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 3, &[]).await;
        let refused = [
            (grow("t", 3), ErrorCode::InvalidPartitions),
            (grow("t", 2), ErrorCode::InvalidPartitions),
            (grow("t", 0), ErrorCode::InvalidPartitions),
            (grow("t", -1), ErrorCode::InvalidPartitions),
            (grow("t", i32::MIN), ErrorCode::InvalidPartitions),
            (grow("t", i32::MAX), ErrorCode::PolicyViolation),
            (grow("absent", 9), ErrorCode::UnknownTopicOrPartition),
            (grow("", 9), ErrorCode::UnknownTopicOrPartition),
            (
                assigned("t", 5, &[&[1]]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("t", 4, &[&[1], &[1]]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (assigned("t", 4, &[]), ErrorCode::InvalidReplicaAssignment),
            (
                assigned("t", 4, &[&[]]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("t", 4, &[&[2]]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("t", 4, &[&[1, 1]]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (assigned("t", 3, &[&[1]]), ErrorCode::InvalidPartitions),
        ];
        for (topic, wanted) in refused {
            let asked = request(std::slice::from_ref(&topic));
            let told = answers(&connection, 3, &asked).await;
            assert_eq!(told, [(topic.name.to_string(), wanted.code())], "{topic:?}");
        }
        let twice = request(&[grow("t", 5), grow("t", 6)]);
        let told = answers(&connection, 3, &twice).await;
        assert_eq!(told, [("t".to_owned(), ErrorCode::InvalidRequest.code())]);
        assert_eq!(partitions(&connection, "t").await, 3, "nothing was added");

        let chosen = request(&[assigned("t", 5, &[&[1], &[1]])]);
        assert_eq!(
            answers(&connection, 3, &chosen).await,
            [("t".to_owned(), 0)]
        );
        assert_eq!(partitions(&connection, "t").await, 5);
    });
}

#[test]
fn partitions_that_are_only_validated_are_not_added() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let asked = request(&[grow("t", 4), grow("absent", 4)]).with_validate_only(true);
        let told = answers(&connection, 3, &asked).await;
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(told, [("t".to_owned(), 0), ("absent".to_owned(), unknown)]);
        assert_eq!(partitions(&connection, "t").await, 1);
    });
}

#[test]
fn a_request_that_gives_no_time_is_refused_and_not_carried_out() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let timed_out = ErrorCode::RequestTimedOut.code();
        for timeout in [0, -1] {
            let more = request(&[grow("t", 4)]).with_timeout_ms(timeout);
            let told = answers(&connection, 3, &more).await;
            assert_eq!(told, [("t".to_owned(), timed_out)]);
            let topic = CreatableTopic::default()
                .with_name(topic_name("u"))
                .with_num_partitions(1)
                .with_replication_factor(1);
            let make = CreateTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(timeout);
            let told = call(&connection, 7, &make).await;
            assert_eq!(told.topics[0].error_code, timed_out);
            let delete = by_name("t").with_timeout_ms(timeout);
            let told = call(&connection, 6, &delete).await;
            assert_eq!(told.responses[0].error_code, timed_out);
        }
        let all = metadata(&connection, 12, None).await;
        let topics: Vec<_> = all.topics.iter().map(|t| t.partitions.len()).collect();
        assert_eq!(topics, [1]);
    });
}

fn by_name(name: &str) -> DeleteTopicsRequest {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
    DeleteTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000)
}

/// What a DeleteTopics of these names and ids is answered: name, id and code of each, sorted.
async fn deleted(
    connection: &Connection,
    topics: &[(Option<&str>, Uuid)],
) -> Vec<(Option<String>, Uuid, i16)> {
    let state = |(name, id): &(Option<&str>, Uuid)| {
        DeleteTopicState::default()
            .with_name(name.map(topic_name))
            .with_topic_id(*id)
    };
    let request = DeleteTopicsRequest::default()
        .with_topics(topics.iter().map(state).collect())
        .with_timeout_ms(10_000);
    let answer = call(connection, newest(ApiKey::DeleteTopics), &request).await;
    let mut told: Vec<_> = answer
        .responses
        .iter()
        .map(|topic| {
            let name = topic.name.as_ref().map(|name| name.as_str().to_owned());
            (name, topic.topic_id, topic.error_code)
        })
        .collect();
    told.sort();
    told
}

#[test]
fn topics_that_cannot_be_deleted_are_refused_with_kafkas_codes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let one = create_topic(&connection, "one", 1, &[]).await;
        let two = create_topic(&connection, "two", 1, &[]).await;
        let (nil, strange) = (Uuid::nil(), Uuid::from_u128(77));
        let (invalid, unknown) = (
            ErrorCode::InvalidRequest.code(),
            ErrorCode::UnknownTopicOrPartition.code(),
        );
        let named = |name: &str| Some(name.to_owned());
        let told = deleted(&connection, &[(Some("absent"), nil)]).await;
        assert_eq!(told, [(named("absent"), nil, unknown)]);
        let told = deleted(&connection, &[(None, strange)]).await;
        assert_eq!(told, [(None, strange, ErrorCode::UnknownTopicId.code())]);
        let told = deleted(&connection, &[(None, nil)]).await;
        assert_eq!(told, [(None, nil, invalid)]);
        let told = deleted(&connection, &[(Some("one"), one)]).await;
        assert_eq!(told, [(named("one"), one, invalid)], "both at once");
        let told = deleted(&connection, &[(Some("one"), nil), (Some("one"), nil)]).await;
        assert_eq!(told, [(named("one"), nil, invalid)], "twice by name");
        let told = deleted(&connection, &[(None, one), (None, one)]).await;
        assert_eq!(told, [(None, one, invalid)], "twice by id");
        let told = deleted(&connection, &[(None, one), (Some("one"), nil)]).await;
        assert_eq!(told, [(named("one"), one, invalid)], "by name and by id");
        assert_eq!(partitions(&connection, "one").await, 1, "it is still there");

        let told = deleted(&connection, &[(Some("one"), nil), (None, two)]).await;
        assert_eq!(told, [(named("one"), one, 0), (named("two"), two, 0)]);
        assert!(metadata(&connection, 12, None).await.topics.is_empty());
    });
}

#[test]
fn old_clients_are_told_in_their_words_that_deleting_is_switched_off() {
    let cluster = Cluster::new(&[("delete.topic.enable", "false")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        for version in 1..=6 {
            let request = match version {
                6 => by_name("t"),
                _ => DeleteTopicsRequest::default()
                    .with_topic_names(vec![topic_name("t")])
                    .with_timeout_ms(10_000),
            };
            let answer = call(&connection, version, &request).await;
            let wanted = match version {
                1 | 2 => ErrorCode::InvalidRequest,
                _ => ErrorCode::TopicDeletionDisabled,
            };
            let told: Vec<_> = answer.responses.iter().map(|t| t.error_code).collect();
            assert_eq!(told, [wanted.code()], "version {version}");
        }
    });
}

fn describe(topics: &[&str], limit: i32) -> DescribeTopicPartitionsRequest {
    let topic = |name: &&str| TopicRequest::default().with_name(topic_name(name));
    DescribeTopicPartitionsRequest::default()
        .with_topics(topics.iter().map(topic).collect())
        .with_response_partition_limit(limit)
}

fn at(topic: &str, partition: i32) -> Option<Cursor> {
    let cursor = Cursor::default()
        .with_topic_name(topic_name(topic))
        .with_partition_index(partition);
    Some(cursor)
}

/// The topics of an answer with the first of their partitions and how many, and its cursor.
#[expect(clippy::type_complexity, reason = "what a test compares at once")]
fn portion(
    answer: &DescribeTopicPartitionsResponse,
) -> (Vec<(String, i16, i32, usize)>, Option<(String, i32)>) {
    let topics = answer.topics.iter().map(|topic| {
        let first = topic.partitions.first().map_or(-1, |p| p.partition_index);
        let name = topic.name.as_ref().expect("each has a name").to_string();
        (name, topic.error_code, first, topic.partitions.len())
    });
    let cursor = answer.next_cursor.as_ref();
    let cursor = cursor.map(|c| (c.topic_name.to_string(), c.partition_index));
    (topics.collect(), cursor)
}

#[test]
fn topics_are_described_in_portions_in_the_order_of_their_names() {
    let cluster = Cluster::new(&[("max.request.partition.size.limit", "5")]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for (name, partitions) in [("c", 1), ("a", 4), ("b", 3)] {
            create_topic(&connection, name, partitions, &[]).await;
        }
        let ask = async |request: DescribeTopicPartitionsRequest| {
            portion(&call(&connection, 0, &request).await)
        };
        let topic = |name: &str, first, count| (name.to_owned(), 0, first, count);
        let next = |name: &str, partition| Some((name.to_owned(), partition));
        let first = ask(describe(&[], 2000)).await;
        assert_eq!(
            first,
            (vec![topic("a", 0, 4), topic("b", 0, 1)], next("b", 1)),
            "the node's limit"
        );
        let rest = ask(describe(&[], 2000).with_cursor(at("b", 1))).await;
        assert_eq!(rest, (vec![topic("b", 1, 2), topic("c", 0, 1)], None));
        let exact = ask(describe(&[], 4)).await;
        assert_eq!(exact, (vec![topic("a", 0, 4)], next("b", 0)));
        let least = ask(describe(&["c", "b"], -7)).await;
        assert_eq!(
            least,
            (vec![topic("b", 0, 1)], next("b", 1)),
            "at least one"
        );
        let beyond = ask(describe(&["b"], 2).with_cursor(at("b", 9))).await;
        assert_eq!(beyond, (vec![("b".to_owned(), 0, -1, 0)], None));
        // The topic of the cursor may be gone.
        let gone = ask(describe(&[], 2).with_cursor(at("bb", 3))).await;
        assert_eq!(gone, (vec![topic("c", 0, 1)], None));
    });
}

#[test]
fn what_cannot_be_described_is_told_with_kafkas_codes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let id = create_topic(&connection, "t", 1, &[]).await;
        let answer = call(&connection, 0, &describe(&["t", "absent", "a/b"], 2000)).await;
        let (topics, cursor) = portion(&answer);
        let codes: Vec<_> = topics.iter().map(|t| (t.0.as_str(), t.1)).collect();
        let invalid = ErrorCode::InvalidTopicException.code();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(codes, [("a/b", invalid), ("absent", unknown), ("t", 0)]);
        assert_eq!(cursor, None);
        let found = &answer.topics[2];
        assert_eq!((found.topic_id, found.is_internal), (id, false));
        assert_eq!(
            found.topic_authorized_operations, 0b1101_1111_1000,
            "as Metadata tells them"
        );
        let partition = &found.partitions[0];
        assert_eq!((partition.leader_id, partition.leader_epoch), (1.into(), 0));
        assert_eq!(partition.replica_nodes, [BrokerId(1)]);
        assert_eq!(partition.isr_nodes, [BrokerId(1)]);
        assert!(partition.offline_replicas.is_empty());
        // Lists without entries, not null: Kafka's leaders know who is eligible.
        assert_eq!(partition.eligible_leader_replicas, Some(Vec::new()));
        assert_eq!(partition.last_known_elr, Some(Vec::new()));

        let refused = ErrorCode::InvalidRequest.code();
        for cursor in [at("other", 0), at("t", -1)] {
            let asked = describe(&["t"], 2000).with_cursor(cursor);
            let (topics, _) = portion(&call(&connection, 0, &asked).await);
            assert_eq!(topics, [("t".to_owned(), refused, -1, 0)]);
        }
        let asked = describe(&[], 2000).with_cursor(at("t", -1));
        let (topics, cursor) = portion(&call(&connection, 0, &asked).await);
        assert_eq!(
            (topics, cursor),
            (Vec::new(), None),
            "nothing carries the code"
        );
    });
}

#[test]
fn a_fetch_that_waits_on_a_topic_is_answered_when_the_topic_goes() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let (reader, admin) = (client.connect().await, client.connect().await);
        create_topic(&admin, "t", 1, &[]).await;
        let mut wanted = fetch_request("t", 0, 0).with_max_wait_ms(500_000);
        (wanted.session_id, wanted.session_epoch) = (0, 0);
        let began = client.reactor.now();
        let waiting = reader.call_version(&wanted, 12, reader.request_timeout());
        let gone = call(&admin, 6, &by_name("t")).await;
        assert_eq!(gone.responses[0].error_code, 0);
        let answer = waiting.await.expect("answered");
        assert!(client.reactor.now() - began < std::time::Duration::from_secs(5));
        let told = answer.responses[0].partitions[0].error_code;
        assert_eq!(told, ErrorCode::UnknownTopicOrPartition.code());
        // The session goes on to say so for as long as the client asks.
        let mut again = fetch_request("t", 0, 0);
        again.topics.clear();
        (again.session_id, again.session_epoch) = (answer.session_id, 1);
        let answer = call(&reader, 12, &again).await;
        let told = answer.responses[0].partitions[0].error_code;
        assert_eq!(told, ErrorCode::UnknownTopicOrPartition.code());
        // And the client takes the topic out of it.
        let forgotten = millstream_protocol::messages::fetch_request::ForgottenTopic::default()
            .with_topic(topic_name("t"))
            .with_partitions(vec![0]);
        again.forgotten_topics_data = vec![forgotten];
        again.session_epoch = 2;
        let answer = call(&reader, 12, &again).await;
        assert_eq!((answer.error_code, answer.responses.len()), (0, 0));
    });
}
