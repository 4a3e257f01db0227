//! Brokers registered, fenced and let in, and the producer ids that they get.

use millstream_controller::{
    ApiError, ControllerRequest, ControllerResponse, HeartbeatReply, ProducerIdBlock,
};
use millstream_metadata::{Delta, ProducerIdsRecord, Record};
use millstream_protocol::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, ProducerId};
use uuid::Uuid;

use crate::world::{World, nodes};

fn heartbeat(
    world: &mut World,
    id: i32,
    broker_epoch: i64,
    metadata_offset: u64,
) -> Result<HeartbeatReply, ApiError> {
    let request = ControllerRequest::BrokerHeartbeat {
        node_id: NodeId(id),
        broker_epoch,
        metadata_offset,
        want_fence: false,
    };
    match world.ask(request) {
        ControllerResponse::BrokerHeartbeat(result) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_is_fenced_until_it_has_replayed_its_registration() {
    let mut world = World::of_three();
    let epoch = world.register(4, 44, Some("r")).expect("registered");
    assert_eq!(epoch, i64::try_from(world.image.offset()).expect("small"));
    assert!(world.image.broker(NodeId(4)).expect("registered").fenced);
    let replayed = epoch.unsigned_abs();
    let behind = heartbeat(&mut world, 4, epoch, replayed - 1).expect("answered");
    assert_eq!((behind.is_caught_up, behind.is_fenced), (false, true));
    let there = heartbeat(&mut world, 4, epoch, replayed).expect("answered");
    assert_eq!((there.is_caught_up, there.is_fenced), (true, false));
    heartbeat(&mut world, 4, epoch, replayed).expect("answered");
    assert_eq!(world.records, [], "it is let in already");
}

#[test]
fn who_speaks_for_no_registered_broker_is_refused() {
    let mut world = World::of_three();
    let epoch = world.image.broker(NodeId(1)).expect("registered").epoch;
    let refused = |result: Result<HeartbeatReply, ApiError>| result.map_err(|error| error.code);
    let unknown = refused(heartbeat(&mut world, 9, epoch, 100));
    assert_eq!(unknown, Err(ErrorCode::BrokerIdNotRegistered));
    let stale = refused(heartbeat(&mut world, 1, epoch - 1, 100));
    assert_eq!(stale, Err(ErrorCode::StaleBrokerEpoch));
    let negative = world.register(-1, 1, None).map_err(|error| error.code);
    assert_eq!(negative, Err(ErrorCode::InvalidRegistration));
    let request = ControllerRequest::RegisterBroker {
        node_id: NodeId(4),
        cluster_id: "another".to_owned(),
        incarnation_id: Uuid::from_u128(4),
        endpoints: Vec::new(),
        rack: None,
    };
    let ControllerResponse::RegisterBroker(result) = world.ask(request) else {
        panic!("answered with something else");
    };
    let code = result.map_err(|error| error.code);
    assert_eq!(code, Err(ErrorCode::InconsistentClusterId));
}

#[test]
fn a_broker_that_starts_again_leads_in_a_new_epoch() {
    let mut world = World::of_three();
    let id = world.topic("t", 6, 1);
    let led = |world: &World| -> Vec<(NodeId, LeaderEpoch)> {
        let topic = world.image.topic(id).expect("made");
        let partitions = topic.partitions.iter();
        partitions.map(|p| (p.leader, p.leader_epoch)).collect()
    };
    let before = led(&world);
    let epoch = world.image.broker(NodeId(1)).expect("registered").epoch;
    // The same run of it again: an amendment.
    assert_eq!(world.register(1, 1, Some("rack")).ok(), Some(epoch));
    assert!(!world.image.broker(NodeId(1)).expect("registered").fenced);
    assert_eq!(led(&world), before);
    let next = world.register(1, 111, None).expect("registered");
    assert!(next > epoch);
    assert!(world.image.broker(NodeId(1)).expect("registered").fenced);
    for ((leader, was), (_, is)) in before.into_iter().zip(led(&world)) {
        let wanted = was.0 + i32::from(leader == NodeId(1));
        assert_eq!(is, LeaderEpoch(wanted), "led by {leader}");
    }
    let partition = world.image.topic(id).expect("made");
    let partition = partition.partition(PartitionIndex(0)).expect("made");
    assert_eq!(partition.isr, nodes(&[partition.leader.0]));
}

fn allocate(world: &mut World, id: i32, broker_epoch: i64) -> Result<ProducerIdBlock, ErrorCode> {
    let request = ControllerRequest::AllocateProducerIds {
        node_id: NodeId(id),
        broker_epoch,
    };
    match world.ask(request) {
        ControllerResponse::AllocateProducerIds(result) => result.map_err(|error| error.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn producer_ids_are_given_out_once_and_to_registered_brokers() {
    let mut world = World::of_three();
    let epoch = |world: &World, id| world.image.broker(NodeId(id)).expect("registered").epoch;
    let mut next = 0;
    for id in [1, 2, 1, 3, 3] {
        let epoch = epoch(&world, id);
        let block = allocate(&mut world, id, epoch).expect("allocated");
        assert_eq!((block.first, block.len), (ProducerId(next), 1000));
        next += 1000;
        assert_eq!(world.image.next_producer_id(), ProducerId(next));
    }
    let stale = epoch(&world, 1) - 1;
    let refused = allocate(&mut world, 1, stale);
    assert_eq!(refused, Err(ErrorCode::StaleBrokerEpoch));
    let refused = allocate(&mut world, 9, stale);
    assert_eq!(refused, Err(ErrorCode::BrokerIdNotRegistered));
}

#[test]
fn producer_ids_end() {
    let mut world = World::of_three();
    let broker_epoch = world.image.broker(NodeId(1)).expect("registered").epoch;
    let record = Record::ProducerIds(ProducerIdsRecord {
        node_id: NodeId(1),
        broker_epoch,
        next_producer_id: ProducerId(i64::MAX - 999),
    });
    world
        .image
        .apply(&record, &mut Delta::default())
        .expect("fits");
    let refused = allocate(&mut world, 1, broker_epoch);
    assert_eq!(refused, Err(ErrorCode::UnknownServerError));
    assert_eq!(world.records, []);
}
