//! Partitions added to topics.

use millstream_controller::{ControllerRequest, ControllerResponse, MorePartitions};
use millstream_metadata::Record;
use millstream_protocol::{ErrorCode, NodeId, PartitionIndex};

use crate::world::{World, nodes};

fn more(name: &str, count: i32) -> MorePartitions {
    MorePartitions {
        name: name.to_owned(),
        count,
        assignments: None,
    }
}

fn chosen(name: &str, count: i32, assignments: &[&[i32]]) -> MorePartitions {
    let assignments = assignments.iter().map(|replicas| nodes(replicas));
    MorePartitions {
        assignments: Some(assignments.collect()),
        ..more(name, count)
    }
}

fn add(
    world: &mut World,
    topics: Vec<MorePartitions>,
    validate_only: bool,
) -> Vec<Option<ErrorCode>> {
    let request = ControllerRequest::CreatePartitions {
        topics,
        validate_only,
    };
    match world.ask(request) {
        ControllerResponse::CreatePartitions(results) => results
            .into_iter()
            .map(|topic| topic.result.err().map(|error| error.code))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn partitions_are_added_behind_those_there_with_as_many_replicas() {
    let mut world = World::of_three();
    let id = world.topic("t", 2, 2);
    let before = world.image.topic(id).expect("made").partitions.clone();
    assert_eq!(add(&mut world, vec![more("t", 5)], false), [None]);
    let topic = world.image.topic(id).expect("made");
    assert_eq!(topic.partitions[..2], before);
    assert_eq!(topic.partitions.len(), 5);
    for (index, partition) in topic.iter().skip(2) {
        assert_eq!(partition.replicas.len(), 2, "{index}");
        assert_eq!(partition.isr, partition.replicas);
        assert_eq!(partition.leader, partition.replicas[0]);
    }
    let is_partition = |record: &Record| matches!(record, Record::Partition(_));
    assert!(world.records.len() == 3 && world.records.iter().all(is_partition));
}

#[test]
fn chosen_replicas_are_taken_and_fenced_ones_are_not_in_sync() {
    let mut world = World::of_three();
    let id = world.topic("t", 1, 2);
    world.fence(3);
    let asked = chosen("t", 3, &[&[3, 2], &[1, 3]]);
    assert_eq!(add(&mut world, vec![asked], false), [None]);
    let topic = world.image.topic(id).expect("made");
    let second = topic.partition(PartitionIndex(1)).expect("added");
    assert_eq!((second.leader, &second.isr), (NodeId(2), &nodes(&[2])));
    assert_eq!(second.replicas, nodes(&[3, 2]));
}

#[test]
fn partitions_that_cannot_be_added_are_refused() {
    let mut world = World::of_three();
    world.topic("t", 3, 2);
    world.fence(3);
    let assignment = ErrorCode::InvalidReplicaAssignment;
    let cases = [
        (more("absent", 9), ErrorCode::UnknownTopicOrPartition),
        (more("t", 3), ErrorCode::InvalidPartitions),
        (more("t", 1), ErrorCode::InvalidPartitions),
        (more("t", -1), ErrorCode::InvalidPartitions),
        (more("t", 10_004), ErrorCode::PolicyViolation),
        (more("t", i32::MAX), ErrorCode::PolicyViolation),
        (chosen("t", 5, &[&[1, 2]]), assignment),
        (chosen("t", 4, &[]), assignment),
        (chosen("t", 4, &[&[]]), assignment),
        (chosen("t", 4, &[&[1]]), assignment),
        (chosen("t", 4, &[&[1, 2, 3]]), assignment),
        (chosen("t", 4, &[&[1, 1]]), assignment),
        (chosen("t", 4, &[&[1, 9]]), assignment),
        (chosen("t", 5, &[&[1, 2], &[1, 9]]), assignment),
        (chosen("t", 3, &[&[1, 2]]), ErrorCode::InvalidPartitions),
    ];
    for (asked, wanted) in cases {
        let told = add(&mut world, vec![asked.clone()], false);
        assert_eq!(told, [Some(wanted)], "{asked:?}");
        assert_eq!(world.records, [], "{asked:?}");
    }
    world.fence(2);
    world.fence(1);
    let told = add(&mut world, vec![more("t", 4)], false);
    assert_eq!(told, [Some(ErrorCode::InvalidReplicationFactor)]);
    let told = add(&mut world, vec![chosen("t", 4, &[&[1, 2]])], false);
    assert_eq!(told, [Some(assignment)]);
}

#[test]
fn the_topics_of_a_request_share_its_bound() {
    let mut world = World::of_three();
    world.topic("a", 1, 1);
    world.topic("b", 1, 1);
    let told = add(&mut world, vec![more("a", 6_001), more("b", 4_002)], false);
    assert_eq!(told, [None, Some(ErrorCode::PolicyViolation)]);
    assert_eq!(add(&mut world, vec![more("b", 10_001)], false), [None]);
}

#[test]
fn what_is_only_validated_leaves_no_record() {
    let mut world = World::of_three();
    world.topic("t", 1, 1);
    let asked = vec![more("t", 4), more("t", 1)];
    let told = add(&mut world, asked, true);
    assert_eq!(told, [None, Some(ErrorCode::InvalidPartitions)]);
    assert_eq!(world.records, []);
}
