//! Every version by its bytes, and round trips of the versions that are written.

use proptest::prelude::*;

use super::*;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// Joins the parts of a record's bytes.
fn bytes(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

fn offset_key(record_type: u8) -> Bytes {
    bytes(&[&[0, record_type, 0, 1], b"g", &[0, 2], b"tp", &[0, 0, 0, 7]])
}

fn offset(leader_epoch: i32, expire_timestamp: i64, topic_id: u128) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: 0x0102,
        leader_epoch,
        metadata: text("me"),
        commit_timestamp: 0x0304,
        expire_timestamp,
        topic_id: Uuid::from_u128(topic_id),
    }
}

#[test]
fn offsets_of_every_version_are_read() {
    let number = |low: [u8; 2]| [0, 0, 0, 0, 0, 0, low[0], low[1]];
    let (at, time) = (number([1, 2]), number([3, 4]));
    let epoch = [0, 0, 0, 5];
    let tag = [[1, 0, 16].as_slice(), &[9; 16]].concat();
    let two_tags = [[2, 0, 16].as_slice(), &[9; 16], &[44, 1, 0xff]].concat();
    let id = u128::from_be_bytes([9; 16]);
    let versions: [(Bytes, OffsetCommitValue); 7] = [
        (
            bytes(&[&[0, 0], &at, &[0, 2], b"me", &time]),
            offset(-1, -1, 0),
        ),
        (
            bytes(&[&[0, 1], &at, &[0, 2], b"me", &time, &number([5, 6])]),
            offset(-1, 0x0506, 0),
        ),
        (
            bytes(&[&[0, 2], &at, &[0, 2], b"me", &time]),
            offset(-1, -1, 0),
        ),
        (
            bytes(&[&[0, 3], &at, &epoch, &[0, 2], b"me", &time]),
            offset(5, -1, 0),
        ),
        (
            bytes(&[&[0, 4], &at, &epoch, &[3], b"me", &time, &[0]]),
            offset(5, -1, 0),
        ),
        (
            bytes(&[&[0, 4], &at, &epoch, &[3], b"me", &time, &tag]),
            offset(5, -1, id),
        ),
        (
            bytes(&[&[0, 4], &at, &epoch, &[3], b"me", &time, &two_tags]),
            offset(5, -1, id),
        ),
    ];
    for (number, (value, expected)) in versions.into_iter().enumerate() {
        for record_type in [0, 1] {
            let record = decode_group_record(&offset_key(record_type), Some(&value)).unwrap();
            let key = OffsetCommitKey {
                group: text("g"),
                topic: text("tp"),
                partition: 7,
            };
            let value = Some(expected.clone());
            assert_eq!(
                record,
                GroupRecord::OffsetCommit { key, value },
                "case {number}"
            );
        }
    }
}

fn member(rebalance_timeout: i32, instance: Option<&'static str>) -> MemberMetadata {
    MemberMetadata {
        member_id: text("m"),
        group_instance_id: instance.map(text),
        client_id: text("c"),
        client_host: text("/h"),
        rebalance_timeout,
        session_timeout: 0x11,
        subscription: Bytes::from_static(b"sub"),
        assignment: Bytes::from_static(b"as"),
    }
}

#[test]
fn groups_of_every_version_are_read() {
    let key = bytes(&[&[0, 2, 0, 1], b"g"]);
    let start: &[u8] = &[0, 1, b'p', 0, 0, 0, 3, 0, 1, b'r', 0, 1, b'l'];
    let time: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 9];
    let id: &[u8] = &[0, 0, 0, 1, 0, 1, b'm'];
    let client: &[u8] = &[0, 1, b'c', 0, 2, b'/', b'h'];
    let rebalance: &[u8] = &[0, 0, 0, 0x22];
    let end: &[u8] = &[
        0, 0, 0, 0x11, 0, 0, 0, 3, b's', b'u', b'b', 0, 0, 0, 2, b'a', b's',
    ];
    let instance: &[u8] = &[0, 1, b'i'];
    let flexible: &[u8] = &[
        2, b'p', 0, 0, 0, 3, 2, b'r', 2, b'l', 0, 0, 0, 0, 0, 0, 0, 9, 2, 2, b'm', 0, 2, b'c', 3,
        b'/', b'h', 0, 0, 0, 0x22, 0, 0, 0, 0x11, 4, b's', b'u', b'b', 3, b'a', b's', 0, 0,
    ];
    let versions: [(Bytes, i64, MemberMetadata); 5] = [
        (
            bytes(&[&[0, 0], start, id, client, end]),
            -1,
            member(-1, None),
        ),
        (
            bytes(&[&[0, 1], start, id, client, rebalance, end]),
            -1,
            member(0x22, None),
        ),
        (
            bytes(&[&[0, 2], start, time, id, client, rebalance, end]),
            9,
            member(0x22, None),
        ),
        (
            bytes(&[&[0, 3], start, time, id, instance, client, rebalance, end]),
            9,
            member(0x22, Some("i")),
        ),
        (bytes(&[&[0, 4], flexible]), 9, member(0x22, None)),
    ];
    for (version, (value, current_state_timestamp, member)) in versions.into_iter().enumerate() {
        let record = decode_group_record(&key, Some(&value)).unwrap();
        let expected = GroupRecord::GroupMetadata {
            group: text("g"),
            value: Some(GroupMetadataValue {
                protocol_type: text("p"),
                generation: 3,
                protocol: Some(text("r")),
                leader: Some(text("l")),
                current_state_timestamp,
                members: vec![member],
            }),
        };
        assert_eq!(record, expected, "version {version}");
        if version == 3 {
            assert_eq!(expected.encode().unwrap(), Some((key.clone(), Some(value))));
        }
    }
}

#[test]
fn the_written_bytes_are_kafkas() {
    let key = OffsetCommitKey {
        group: text("g"),
        topic: text("tp"),
        partition: 7,
    };
    let record = |value| GroupRecord::OffsetCommit {
        key: key.clone(),
        value,
    };
    let encoded = |value| {
        record(value)
            .encode()
            .unwrap()
            .expect("it is of a known type")
    };
    assert_eq!(encoded(None), (offset_key(1), None));
    let plain = encoded(Some(offset(5, -1, 0))).1.unwrap();
    assert_eq!(plain[..2], [0, 4]);
    assert_eq!(plain.last(), Some(&0));
    let expiring = encoded(Some(offset(5, 100, 1))).1.unwrap();
    assert_eq!(expiring[..2], [0, 1]);
    // Version 1 has neither leader epoch nor topic id.
    let read = decode_group_record(&offset_key(1), Some(&expiring)).unwrap();
    assert_eq!(read, record(Some(offset(-1, 100, 0))));
}

#[test]
fn other_record_types_are_passed_over() {
    for record_type in [3i16, 5, 12, -1, i16::MAX] {
        let key = Bytes::copy_from_slice(&record_type.to_be_bytes());
        let value = Bytes::from_static(b"whatever it is");
        let record = decode_group_record(&key, Some(&value)).unwrap();
        assert_eq!(record, GroupRecord::Unknown { record_type });
        assert_eq!(record.encode(), Ok(None));
    }
}

#[test]
fn malformed_records_are_errors() {
    let key = offset_key(1);
    for end in 0..key.len() {
        assert!(
            decode_group_record(&key.slice(..end), None).is_err(),
            "cut at {end}"
        );
    }
    let future = Bytes::from_static(&[0, 5]);
    assert_eq!(
        decode_group_record(&key, Some(&future)),
        Err(GroupRecordError::UnknownVersion {
            record_type: 1,
            version: 5
        })
    );
    let null_group = Bytes::from_static(&[0, 2, 0xff, 0xff]);
    assert!(matches!(
        decode_group_record(&null_group, None),
        Err(GroupRecordError::BadField { field: "group", .. })
    ));
    let many_members = Bytes::from_static(&[
        0, 3, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff,
        0xff, 0, 0,
    ]);
    let group = Bytes::from_static(&[0, 2, 0, 0]);
    assert!(matches!(
        decode_group_record(&group, Some(&many_members)),
        Err(GroupRecordError::BadField {
            field: "members",
            ..
        })
    ));
}

#[test]
fn members_are_as_many_as_their_bytes_allow() {
    let group = Bytes::from_static(&[0, 2, 0, 1, b'g']);
    // Four texts, two times, two byte strings and no tagged field.
    let least = [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0];
    for count in 0..10_u8 {
        let groups_value = |claimed: u8| {
            let before = [
                0,
                4,
                1,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                1 + claimed,
            ];
            let members = least.repeat(usize::from(count));
            bytes(&[&before, &members, &[0]])
        };
        let read = decode_group_record(&group, Some(&groups_value(count)));
        let Ok(GroupRecord::GroupMetadata { value, .. }) = read else {
            panic!("{count} members: {read:?}");
        };
        let members = value.expect("it has a value").members;
        assert_eq!(members.len(), usize::from(count));
        for claimed in [count + 1, 100] {
            assert_eq!(
                decode_group_record(&group, Some(&groups_value(claimed))),
                Err(GroupRecordError::BadField {
                    part: "value",
                    field: "members"
                }),
                "{claimed} of {count} members"
            );
        }
    }
}

#[test]
fn a_group_id_that_no_key_can_hold_is_an_error() {
    let group = StrBytes::from_string("g".repeat(40_000));
    let record = GroupRecord::GroupMetadata { group, value: None };
    assert_eq!(
        record.encode(),
        Err(GroupRecordError::TooLong {
            field: "group",
            length: 40_000
        })
    );
}

fn texts() -> impl Strategy<Value = StrBytes> {
    ".{0,20}".prop_map(StrBytes::from_string)
}

fn members() -> impl Strategy<Value = MemberMetadata> {
    let texts = (texts(), proptest::option::of(texts()), texts(), texts());
    (texts, any::<[i32; 2]>(), any::<Vec<u8>>(), any::<Vec<u8>>()).prop_map(
        |((member_id, group_instance_id, client_id, client_host), timeouts, sub, assigned)| {
            MemberMetadata {
                member_id,
                group_instance_id,
                client_id,
                client_host,
                rebalance_timeout: timeouts[0],
                session_timeout: timeouts[1],
                subscription: sub.into(),
                assignment: assigned.into(),
            }
        },
    )
}

fn records() -> impl Strategy<Value = GroupRecord> {
    let offset = (any::<[i64; 2]>(), any::<i32>(), texts(), any::<u128>()).prop_map(
        |(numbers, leader_epoch, metadata, topic_id)| OffsetCommitValue {
            offset: numbers[0],
            leader_epoch,
            metadata,
            commit_timestamp: numbers[1],
            expire_timestamp: -1,
            topic_id: Uuid::from_u128(topic_id),
        },
    );
    let offset = (texts(), texts(), any::<i32>(), proptest::option::of(offset)).prop_map(
        |(group, topic, partition, value)| GroupRecord::OffsetCommit {
            key: OffsetCommitKey {
                group,
                topic,
                partition,
            },
            value,
        },
    );
    let nullable = || proptest::option::of(texts());
    let members = proptest::collection::vec(members(), 0..4);
    let group = (
        texts(),
        any::<i32>(),
        nullable(),
        nullable(),
        any::<i64>(),
        members,
    )
        .prop_map(
            |(protocol_type, generation, protocol, leader, current_state_timestamp, members)| {
                GroupMetadataValue {
                    protocol_type,
                    generation,
                    protocol,
                    leader,
                    current_state_timestamp,
                    members,
                }
            },
        );
    let group = (texts(), proptest::option::of(group))
        .prop_map(|(group, value)| GroupRecord::GroupMetadata { group, value });
    prop_oneof![offset, group]
}

proptest! {
    #[test]
    fn records_come_back(record in records()) {
        let (key, value) = record.encode().unwrap().expect("it is of a known type");
        prop_assert_eq!(decode_group_record(&key, value.as_ref()).unwrap(), record);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        record_type in 0u8..4,
        key: Vec<u8>,
        version in 0u8..6,
        value: Vec<u8>,
    ) {
        let key = bytes(&[&[0, record_type], &key]);
        let value = bytes(&[&[0, version], &value]);
        let _ = decode_group_record(&key, Some(&value));
        let _ = decode_group_record(&offset_key(1), Some(&value));
    }

    #[test]
    fn damaged_records_are_decoded_or_refused(
        record in records(),
        at: proptest::sample::Index,
        byte: u8,
    ) {
        let (key, value) = record.encode().unwrap().expect("it is of a known type");
        let mut value = value.unwrap_or_default().to_vec();
        if !value.is_empty() {
            let at = at.index(value.len());
            value[at] = byte;
        }
        let _ = decode_group_record(&key, Some(&value.into()));
    }
}
