//! Properties of images: what replay, snapshots and deltas promise, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use millstream_metadata::{
    BrokerChangeRecord, BrokerRegistration, ClusterIdRecord, ConfigRecord, ConfigResource, Delta,
    Endpoint, FeatureLevelRecord, Image, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord,
    Record, RecoveryState, RegisterBrokerRecord, RemoveTopicRecord, ResourceType, SecurityProtocol,
    TopicRecord, decode_records, encode_records,
};
use millstream_protocol::{LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};
use proptest::prelude::*;
use uuid::Uuid;

/// Records of a small world, so that they often meet: some fit the image, some do not.
fn record() -> impl Strategy<Value = Record> {
    let node = (0_i32..3).prop_map(NodeId);
    let nodes = prop::collection::vec((0_i32..3).prop_map(NodeId), 0..3);
    let topic_id = (2_u128..8).prop_map(|id| TopicId(Uuid::from_u128(id)));
    let name = prop::sample::select(vec!["a", "b", "a.b", "a_b", "c"]).prop_map(str::to_owned);
    let index = (0_i32..4).prop_map(PartitionIndex);
    let resource =
        (prop::sample::select(vec![2_i8, 4, 16, 32]), name.clone()).prop_map(|(t, name)| {
            ConfigResource::new(ResourceType::from_code(t).expect("a known type"), name)
        });
    let broker = (node.clone(), any::<u128>(), 0_i64..3, any::<bool>()).prop_map(
        |(node_id, incarnation, epoch, fenced)| BrokerRegistration {
            node_id,
            incarnation_id: Uuid::from_u128(incarnation),
            epoch,
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "host".to_owned(),
                port: 9092,
                security_protocol: SecurityProtocol::Plaintext,
            }],
            rack: fenced.then(|| "rack".to_owned()),
            fenced,
        },
    );
    prop_oneof![
        1 => Just(Record::ClusterId(ClusterIdRecord { cluster_id: "cluster".to_owned() })),
        1 => (name.clone(), 0_i16..3)
            .prop_map(|(name, level)| Record::FeatureLevel(FeatureLevelRecord { name, level })),
        2 => broker
            .prop_map(|registration| Record::RegisterBroker(RegisterBrokerRecord { registration })),
        1 => (node.clone(), 0_i64..3, any::<bool>()).prop_map(|(node_id, epoch, fenced)| {
            Record::BrokerChange(BrokerChangeRecord { node_id, epoch, fenced })
        }),
        4 => (topic_id.clone(), name.clone())
            .prop_map(|(topic_id, name)| Record::Topic(TopicRecord { topic_id, name })),
        6 => (topic_id.clone(), index.clone(), nodes.clone(), node.clone()).prop_map(
            |(topic_id, index, replicas, leader)| Record::Partition(PartitionRecord {
                topic_id,
                index,
                isr: replicas.clone(),
                elr: Vec::new(),
                replicas,
                leader,
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
                recovery_state: RecoveryState::Recovered,
            }),
        ),
        4 => (topic_id.clone(), index, prop::option::of(nodes), prop::option::of(node.clone()))
            .prop_map(|(topic_id, index, isr, leader)| {
                Record::PartitionChange(PartitionChangeRecord {
                    isr,
                    leader,
                    ..PartitionChangeRecord::of(topic_id, index)
                })
            }),
        2 => topic_id
            .prop_map(|topic_id| Record::RemoveTopic(RemoveTopicRecord { topic_id })),
        4 => (resource, name, prop::option::of("[a-z]{0,5}"))
            .prop_map(|(resource, key, value)| Record::Config(ConfigRecord { resource, key, value })),
        1 => (node, 0_i64..5000).prop_map(|(node_id, next)| Record::ProducerIds(ProducerIdsRecord {
            node_id,
            broker_epoch: 0,
            next_producer_id: ProducerId(next),
        })),
    ]
}

/// Leaves out what makes a topic under an id that was used before, which no controller does.
fn without_used_ids(histories: [Vec<Record>; 3]) -> [Vec<Record>; 3] {
    let mut used = BTreeSet::new();
    histories.map(|mut records| {
        records.retain(|record| match record {
            Record::Topic(topic) => used.insert(topic.topic_id),
            _ => true,
        });
        records
    })
}

/// Replays what fits; what does not must leave the image as it was.
fn replay(image: &mut Image, delta: &mut Delta, records: &[Record]) {
    for record in records {
        let before = image.clone();
        if image.apply(record, delta).is_err() {
            assert_eq!(*image, before, "{record:?}");
        }
    }
}

proptest! {
    #[test]
    fn an_image_from_its_snapshot_equals_the_one_from_the_log(
        records in prop::collection::vec(record(), 0..60),
    ) {
        let mut image = Image::default();
        replay(&mut image, &mut Delta::default(), &records);
        image.set_position(7, 3);
        let restored = Image::from_snapshot(7, 3, &image.to_snapshot());
        prop_assert_eq!(restored, Ok(image));
    }

    #[test]
    fn a_delta_names_all_that_differs_whichever_way_it_was_made(
        before in prop::collection::vec(record(), 0..40),
        first in prop::collection::vec(record(), 0..20),
        second in prop::collection::vec(record(), 0..20),
    ) {
        let [before, first, second] = without_used_ids([before, first, second]);
        let mut old = Image::default();
        replay(&mut old, &mut Delta::default(), &before);
        let mut image = old.clone();
        let (mut one, mut two) = (Delta::default(), Delta::default());
        replay(&mut image, &mut one, &first);
        replay(&mut image, &mut two, &second);
        let mut whole = Delta::default();
        replay(&mut old.clone(), &mut whole, &[first, second].concat());
        one.merge(&two);
        prop_assert_eq!(&one, &whole);

        // What compares different was named, and what was named as made or gone is so.
        let differs = Delta::between(&old, &image);
        prop_assert_eq!(&differs.topics_created, &whole.topics_created);
        prop_assert_eq!(
            differs.topics_deleted.keys().collect::<Vec<_>>(),
            whole.topics_deleted.keys().collect::<Vec<_>>()
        );
        for (id, partitions) in &differs.topics_changed {
            prop_assert!(partitions.is_subset(&whole.topics_changed[id]));
        }
        prop_assert!(differs.configs_changed.is_subset(&whole.configs_changed));
        prop_assert!(differs.brokers_changed.is_subset(&whole.brokers_changed));
        prop_assert!(!differs.features_changed || whole.features_changed);
    }

    #[test]
    fn no_two_topics_collide_and_settings_die_with_their_topic(
        records in prop::collection::vec(record(), 0..80),
    ) {
        let mut image = Image::default();
        replay(&mut image, &mut Delta::default(), &records);
        let mut names = BTreeMap::new();
        for topic in image.topics() {
            let taken = names.insert(topic.name.replace('.', "_"), topic.id);
            prop_assert_eq!(taken, None);
            prop_assert_eq!(image.topic_by_name(&topic.name), Some(topic));
        }
        for resource in image.config_resources() {
            if resource.resource_type == ResourceType::Topic {
                prop_assert!(image.topic_by_name(&resource.name).is_some());
            }
        }
    }

    #[test]
    fn records_come_back_as_they_went(records in prop::collection::vec(record(), 0..20)) {
        prop_assert_eq!(decode_records(&encode_records(&records)), Ok(records));
    }

    #[test]
    fn bad_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_records(&bytes).is_err());
    }

    /// The archive behind a good checksum is checked too: it may come from a broken peer.
    #[test]
    fn a_bad_archive_in_a_good_frame_never_panics(
        records in prop::collection::vec(record(), 1..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut payload = encode_records(&records)[millstream_metadata::frame::HEADER_LEN..].to_vec();
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let mut framed = bytes::BytesMut::new();
        millstream_metadata::frame::seal(1, 1, 0, &payload, &mut framed);
        // A change may also give other good records; then they must survive a round trip.
        if let Ok(read) = decode_records(&framed) {
            prop_assert_eq!(decode_records(&encode_records(&read)), Ok(read));
        }
    }
}
