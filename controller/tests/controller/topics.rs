//! Topics made and deleted, and the codes of those that are not.

use std::collections::BTreeMap;

use millstream_controller::{
    ApiError, ControllerRequest, ControllerResponse, DeletedTopic, NewTopic, TopicRef,
};
use millstream_metadata::{ConfigResource, Record};
use millstream_protocol::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use uuid::Uuid;

use crate::world::{World, nodes, sized};

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> NewTopic {
    let configs = configs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
    NewTopic {
        configs: configs.collect(),
        ..NewTopic::named(name)
    }
}

/// Partitions and their replicas.
type Assignments<'a> = &'a [(i32, &'a [i32])];

fn assigned(name: &str, assignments: Assignments<'_>) -> NewTopic {
    let assignments = assignments
        .iter()
        .map(|(index, replicas)| (PartitionIndex(*index), nodes(replicas)));
    NewTopic {
        assignments: assignments.collect(),
        ..NewTopic::named(name)
    }
}

#[test]
fn names_are_checked_and_may_not_collide() {
    let mut world = World::of_three();
    world.topic("there", 1, 1);
    world.topic("with.dot", 1, 1);
    let long = "x".repeat(249);
    assert!(world.create(NewTopic::named(&long)).is_ok());
    let too_long = "x".repeat(250);
    let cases = [
        ("there", ErrorCode::TopicAlreadyExists),
        ("with_dot", ErrorCode::InvalidTopicException),
        ("with.dot", ErrorCode::TopicAlreadyExists),
        ("", ErrorCode::InvalidTopicException),
        (".", ErrorCode::InvalidTopicException),
        ("..", ErrorCode::InvalidTopicException),
        ("a b", ErrorCode::InvalidTopicException),
        ("ä", ErrorCode::InvalidTopicException),
        (&too_long, ErrorCode::InvalidTopicException),
        ("__cluster_metadata", ErrorCode::InvalidRequest),
    ];
    for (name, wanted) in cases {
        let refused = world.create(NewTopic::named(name));
        assert_eq!(refused.err(), Some(wanted), "{name:?}");
        assert_eq!(world.records, [], "{name:?}");
    }
}

#[test]
fn sizes_are_checked_and_have_defaults() {
    let mut world = World::of_three();
    world.settings.default_partitions = 4;
    world.settings.default_replication_factor = 2;
    let made = world.create(NewTopic::named("defaults")).expect("made");
    assert_eq!((made.partitions, made.replication_factor), (4, 2));
    let cases = [
        (0, 1, ErrorCode::InvalidPartitions),
        (-2, 1, ErrorCode::InvalidPartitions),
        (i32::MIN, 1, ErrorCode::InvalidPartitions),
        (1, 0, ErrorCode::InvalidReplicationFactor),
        (1, -2, ErrorCode::InvalidReplicationFactor),
        (1, 4, ErrorCode::InvalidReplicationFactor),
        (0, 0, ErrorCode::InvalidReplicationFactor),
    ];
    for (partitions, replicas, wanted) in cases {
        let refused = world.create(sized("t", partitions, replicas));
        assert_eq!(refused.err(), Some(wanted), "{partitions} × {replicas}");
    }
}

#[test]
fn a_new_partition_is_led_by_its_first_live_replica_and_all_live_ones_are_in_sync() {
    let mut world = World::of_three();
    world.fence(2);
    let made = world.create(assigned("t", &[(0, &[2, 3, 1]), (1, &[1, 2, 3])]));
    let id = made.expect("made").topic_id;
    let topic = world.image.topic(id).expect("made");
    let first = topic.partition(PartitionIndex(0)).expect("made");
    assert_eq!(first.replicas, nodes(&[2, 3, 1]));
    assert_eq!((first.leader, &first.isr), (NodeId(3), &nodes(&[3, 1])));
    let second = topic.partition(PartitionIndex(1)).expect("made");
    assert_eq!((second.leader, &second.isr), (NodeId(1), &nodes(&[1, 3])));
    assert_eq!(
        (second.leader_epoch, second.partition_epoch),
        (LeaderEpoch(0), 0)
    );
}

#[test]
fn assignments_are_checked() {
    let mut world = World::of_three();
    world.fence(3);
    let invalid = ErrorCode::InvalidReplicaAssignment;
    let cases: [(Assignments<'_>, ErrorCode); 8] = [
        (&[(0, &[])], invalid),
        (&[(0, &[9])], invalid),
        (&[(0, &[1, 1])], invalid),
        (&[(0, &[1]), (0, &[2])], invalid),
        (&[(0, &[1]), (2, &[2])], invalid),
        (&[(1, &[1])], invalid),
        (&[(0, &[1]), (1, &[1, 2])], invalid),
        (&[(0, &[3])], invalid),
    ];
    for (assignments, wanted) in cases {
        let refused = world.create(assigned("t", assignments));
        assert_eq!(refused.err(), Some(wanted), "{assignments:?}");
    }
    for topic in [
        NewTopic {
            partitions: 1,
            ..assigned("t", &[(0, &[1])])
        },
        NewTopic {
            replication_factor: 1,
            ..assigned("t", &[(0, &[1])])
        },
    ] {
        assert_eq!(world.create(topic).err(), Some(ErrorCode::InvalidRequest));
    }
    // The order in which partitions are named does not matter.
    let made = world.create(assigned("t", &[(1, &[2, 1]), (0, &[1, 2])]));
    assert_eq!(made.expect("made").replication_factor, 2);
}

#[test]
fn settings_are_checked_and_recorded_with_the_topic() {
    let mut world = World::of_three();
    let cases: [&[(&str, Option<&str>)]; 4] = [
        &[("unknown", Some("1"))],
        &[("retention", Some("bad"))],
        &[("retention", None)],
        &[("retention", Some("1")), ("policy", None)],
    ];
    for configs in cases {
        let refused = world.create(configured("t", configs));
        assert_eq!(refused.err(), Some(ErrorCode::InvalidConfig), "{configs:?}");
        assert_eq!(world.image.topic_count(), 0);
    }
    let made = world.create(configured("t", &[("retention", Some("7"))]));
    let wanted = BTreeMap::from([("retention".to_owned(), "7".to_owned())]);
    assert_eq!(made.expect("made").configs, wanted);
    assert_eq!(world.image.topic_configs("t"), wanted);
}

#[test]
fn each_topic_of_a_request_is_made_whole_or_not_at_all() {
    let mut world = World::of_three();
    let topics = vec![
        sized("good", 2, 1),
        sized("bad", 0, 1),
        sized("twice", 1, 1),
        sized("a.b", 1, 1),
        sized("a_b", 1, 1),
        sized("twice", 1, 1),
    ];
    let codes: Vec<_> = world
        .create_all(topics, false)
        .into_iter()
        .map(|(name, result)| (name, result.err().map(|error| error.code)))
        .collect();
    let wanted = [
        ("good", None),
        ("bad", Some(ErrorCode::InvalidPartitions)),
        ("twice", Some(ErrorCode::InvalidRequest)),
        ("a.b", None),
        ("a_b", Some(ErrorCode::InvalidTopicException)),
    ];
    assert_eq!(codes, wanted.map(|(name, code)| (name.to_owned(), code)));
    assert_eq!(world.image.topic_count(), 2);
}

#[test]
fn what_is_only_validated_leaves_no_record() {
    let mut world = World::of_three();
    let results = world.create_all(vec![sized("t", 2, 3), sized("u", 2, 4)], true);
    assert!(results[0].1.is_ok());
    let refused = results[1].1.as_ref().map_err(|error| error.code);
    assert_eq!(refused, Err(ErrorCode::InvalidReplicationFactor));
    assert_eq!(world.records, []);
}

#[test]
fn a_request_for_too_many_partitions_makes_none() {
    let mut world = World::of_three();
    let topics = vec![sized("a", 5_000, 1), sized("b", 5_001, 1)];
    for (name, result) in world.create_all(topics, false) {
        let refused = result.map_err(|error| error.code);
        assert_eq!(refused, Err(ErrorCode::PolicyViolation), "{name}");
    }
    assert_eq!(world.records, []);
    let topics = vec![sized("a", 5_000, 1), sized("b", 5_000, 1)];
    let results = world.create_all(topics, false);
    assert!(results.iter().all(|(_, result)| result.is_ok()));
}

#[test]
fn without_a_live_broker_nothing_is_placed() {
    let mut world = World::of_three();
    (1..=3).for_each(|id| world.fence(id));
    let refused = world.create(sized("t", 1, 1)).err();
    assert_eq!(refused, Some(ErrorCode::InvalidReplicationFactor));
}

fn ensure(world: &mut World, names: &[&str]) -> Vec<Result<TopicId, ApiError>> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    match world.ask(ControllerRequest::EnsureTopics { names }) {
        ControllerResponse::EnsureTopics(topics) => topics.into_iter().map(|t| t.result).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ensured_topics_are_made_once() {
    let mut world = World::with_brokers(&[(1, None), (2, None)]);
    let first = ensure(&mut world, &["t", "__consumer_offsets", "a/b", "t"]);
    assert_eq!(first[0], first[3]);
    let refused = first[2].as_ref().map_err(|error| error.code);
    assert_eq!(refused, Err(ErrorCode::InvalidTopicException));
    // As many replicas as are wanted and there are brokers for.
    let offsets = world.image.topic_by_name("__consumer_offsets");
    let offsets = offsets.expect("made");
    assert_eq!(offsets.partitions.len(), 50);
    assert_eq!(offsets.partitions[0].replicas.len(), 2);
    let configs = world
        .image
        .configs(&ConfigResource::topic("__consumer_offsets"));
    let policy = configs.and_then(|configs| configs.get("cleanup.policy"));
    assert_eq!(policy.map(String::as_str), Some("compact"));
    let again = ensure(&mut world, &["t", "__consumer_offsets"]);
    assert_eq!(again, first[..2]);
    assert_eq!(world.records, []);
    let unused = ensure(&mut world, &["__transaction_state"]);
    let refused = unused[0].as_ref().map_err(|error| error.code);
    assert_eq!(refused, Err(ErrorCode::InvalidTopicException));
}

fn delete(world: &mut World, topics: Vec<TopicRef>) -> Vec<DeletedTopic> {
    match world.ask(ControllerRequest::DeleteTopics { topics }) {
        ControllerResponse::DeleteTopics(results) => results,
        other => panic!("{other:?}"),
    }
}

fn name(name: &str) -> TopicRef {
    TopicRef::Name(name.to_owned())
}

fn codes(results: &[DeletedTopic]) -> Vec<Option<ErrorCode>> {
    let code = |topic: &DeletedTopic| topic.result.as_ref().err().map(|error| error.code);
    results.iter().map(code).collect()
}

#[test]
fn topics_are_deleted_by_name_and_by_id_with_their_settings() {
    let mut world = World::of_three();
    world
        .create(configured("a", &[("retention", Some("7"))]))
        .expect("made");
    let b = world.topic("b", 1, 1);
    let results = delete(&mut world, vec![name("a"), TopicRef::Id(b)]);
    assert_eq!(codes(&results), [None, None]);
    assert_eq!(results[1].name.as_deref(), Some("b"));
    assert_eq!(world.image.topic_count(), 0);
    assert_eq!(world.image.config_resources().count(), 0);
    let is_removal = |record: &Record| matches!(record, Record::RemoveTopic(_));
    assert!(world.records.iter().all(is_removal));
    assert_ne!(world.topic("b", 1, 1), b, "another topic of that name");
}

#[test]
fn topics_that_cannot_be_deleted_stay() {
    let mut world = World::of_three();
    let a = world.topic("a", 1, 1);
    world.topic("b", 1, 1);
    let unknown = TopicRef::Id(TopicId(Uuid::from_u128(99)));
    let results = delete(&mut world, vec![name("absent"), unknown]);
    let wanted = [
        Some(ErrorCode::UnknownTopicOrPartition),
        Some(ErrorCode::UnknownTopicId),
    ];
    assert_eq!(codes(&results), wanted);
    let invalid = Some(ErrorCode::InvalidRequest);
    let results = delete(&mut world, vec![name("a"), name("b"), name("a")]);
    assert_eq!(codes(&results), [invalid, None]);
    for topics in [
        vec![TopicRef::Id(a), name("a")],
        vec![name("a"), TopicRef::Id(a)],
    ] {
        let results = delete(&mut world, topics);
        let [told] = results.as_slice() else {
            panic!("{results:?}");
        };
        assert_eq!((told.id, told.name.as_deref()), (Some(a), Some("a")));
        assert_eq!(codes(&results), [invalid]);
    }
    let results = delete(&mut world, vec![TopicRef::Id(TopicId::default())]);
    assert_eq!(codes(&results), [invalid]);
    assert!(world.image.topic(a).is_some());
    world.settings.delete_topic_enable = false;
    let results = delete(&mut world, vec![name("a"), TopicRef::Id(a)]);
    assert_eq!(codes(&results), [Some(ErrorCode::TopicDeletionDisabled); 2]);
}
