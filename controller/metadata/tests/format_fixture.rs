//! The format of records on disk, as version 1 wrote it: later releases must read these bytes.

use millstream_metadata::{
    BrokerChangeRecord, BrokerRegistration, ClusterIdRecord, ConfigRecord, ConfigResource,
    Endpoint, FeatureLevelRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord,
    Record, RecoveryState, RegisterBrokerRecord, RemoveTopicRecord, SecurityProtocol, TopicRecord,
    decode_records, encode_records,
};
use millstream_protocol::{LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};
use uuid::Uuid;

const FIXTURE: &[u8] = include_bytes!("fixtures/records-v1.bin");

fn one_of_each() -> Vec<Record> {
    let topic_id = TopicId(Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef));
    vec![
        Record::ClusterId(ClusterIdRecord {
            cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        }),
        Record::FeatureLevel(FeatureLevelRecord {
            name: "group.version".to_owned(),
            level: 1,
        }),
        Record::RegisterBroker(RegisterBrokerRecord {
            registration: BrokerRegistration {
                node_id: NodeId(7),
                incarnation_id: Uuid::from_u128(0xfeed),
                epoch: 3,
                endpoints: vec![
                    Endpoint {
                        listener: "PLAINTEXT".to_owned(),
                        host: "127.0.0.1".to_owned(),
                        port: 9092,
                        security_protocol: SecurityProtocol::Plaintext,
                    },
                    Endpoint {
                        listener: "EXTERNAL".to_owned(),
                        host: "broker.example.org".to_owned(),
                        port: 9094,
                        security_protocol: SecurityProtocol::SaslSsl,
                    },
                ],
                rack: Some("eu-west-1a".to_owned()),
                fenced: true,
            },
        }),
        Record::BrokerChange(BrokerChangeRecord {
            node_id: NodeId(7),
            epoch: 3,
            fenced: false,
        }),
        Record::Topic(TopicRecord {
            topic_id,
            name: "orders".to_owned(),
        }),
        Record::Partition(PartitionRecord {
            topic_id,
            index: PartitionIndex(0),
            replicas: vec![NodeId(7), NodeId(8), NodeId(9)],
            isr: vec![NodeId(7), NodeId(8)],
            elr: vec![NodeId(9)],
            leader: NodeId(7),
            leader_epoch: LeaderEpoch(4),
            partition_epoch: 11,
            recovery_state: RecoveryState::Recovering,
        }),
        Record::PartitionChange(PartitionChangeRecord {
            topic_id,
            index: PartitionIndex(0),
            replicas: None,
            isr: Some(vec![NodeId(8)]),
            elr: Some(Vec::new()),
            leader: Some(NodeId(8)),
            recovery_state: Some(RecoveryState::Recovered),
        }),
        Record::Config(ConfigRecord {
            resource: ConfigResource::topic("orders"),
            key: "retention.ms".to_owned(),
            value: Some("604800000".to_owned()),
        }),
        Record::Config(ConfigRecord {
            resource: ConfigResource::topic("orders"),
            key: "cleanup.policy".to_owned(),
            value: None,
        }),
        Record::ProducerIds(ProducerIdsRecord {
            node_id: NodeId(7),
            broker_epoch: 3,
            next_producer_id: ProducerId(1000),
        }),
        Record::RemoveTopic(RemoveTopicRecord { topic_id }),
    ]
}

#[test]
fn records_of_version_1_are_read() {
    assert_eq!(decode_records(FIXTURE), Ok(one_of_each()));
}

#[test]
fn version_1_is_written_as_ever() {
    let written = encode_records(&one_of_each());
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/records-v1.bin");
        std::fs::write(path, &written).expect("the folder of fixtures is there");
    }
    assert_eq!(&written[..], FIXTURE);
}
