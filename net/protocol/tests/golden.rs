//! Bytes that Apache Kafka 4.3.1 wrote: what is read from them, and what is written like them.

use bytes::Bytes;
use millstream_protocol::compression::{Codec, Decompressor};
use millstream_protocol::group_records::{
    GroupMetadataValue, GroupRecord, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
    decode_group_record,
};
use millstream_protocol::partitioning::{partition_for_group, partition_for_key};
use millstream_protocol::record_batch::{
    BatchBuilder, BatchHeader, BatchView, ControlType, control_batch, patch_base_offset,
    patch_leader_epoch,
};
use millstream_protocol::{LeaderEpoch, Offset, PartitionIndex, ProducerId, StrBytes};

macro_rules! golden {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!("golden/", $name, ".bin")))
    };
}

const RECORDS: i32 = 40;

/// The key, value and headers of the record with this number.
struct Written {
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(&'static str, Option<String>)>,
}

fn written(i: i32) -> Written {
    let value = || format!("value number {i} ").repeat(i as usize * 3);
    Written {
        timestamp: 1_700_000_000_000 + i64::from(i) * 7,
        key: (i % 3 != 0).then(|| format!("key-{i}")),
        value: (i % 4 != 1).then(value),
        headers: match i % 2 {
            0 => vec![("trace", Some(format!("t{i}"))), ("empty", None)],
            _ => Vec::new(),
        },
    }
}

fn batches() -> [(Codec, Bytes); 5] {
    [
        (Codec::None, golden!("batch-none")),
        (Codec::Gzip, golden!("batch-gzip")),
        (Codec::Snappy, golden!("batch-snappy")),
        (Codec::Lz4, golden!("batch-lz4")),
        (Codec::Zstd, golden!("batch-zstd")),
    ]
}

#[test]
fn batches_of_every_codec_are_read() {
    let mut decompressor = Decompressor::new();
    for (codec, bytes) in batches() {
        let batch = BatchView::parse(&bytes).expect("it is a batch");
        assert_eq!(batch.check_crc(), Ok(()), "{codec}");
        let header = batch.header();
        assert_eq!(header.attributes.codec(), Ok(codec));
        assert_eq!(header.base_offset, Offset(5000));
        assert_eq!(header.last_offset(), Offset(5039));
        assert_eq!(header.partition_leader_epoch, LeaderEpoch(9));
        assert_eq!(
            (header.producer_id, header.producer_epoch),
            (ProducerId(1234), 3)
        );
        assert_eq!((header.base_sequence, header.last_sequence()), (77, 116));
        let records = batch
            .records(&mut decompressor, 1 << 20)
            .expect("it decompresses");
        let mut count = 0;
        for record in records {
            let record = record.expect("it is a record");
            let expected = written(count);
            assert_eq!(record.offset, Offset(5000 + i64::from(count)));
            assert_eq!(record.timestamp, expected.timestamp);
            assert_eq!(record.sequence, 77 + count);
            assert_eq!(record.key, expected.key.as_deref().map(str::as_bytes));
            assert_eq!(record.value, expected.value.as_deref().map(str::as_bytes));
            let headers: Vec<_> = record.headers.iter().map(|h| (h.key, h.value)).collect();
            let expected: Vec<_> = expected
                .headers
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_deref().map(str::as_bytes)))
                .collect();
            assert_eq!(headers, expected);
            count += 1;
        }
        assert_eq!(count, RECORDS, "{codec}");
    }
}

#[test]
fn an_uncompressed_batch_is_written_byte_for_byte() {
    let mut builder = BatchBuilder::new(Codec::None)
        .base_offset(Offset(5000))
        .leader_epoch(LeaderEpoch(9))
        .producer(ProducerId(1234), 3, 77);
    for i in 0..RECORDS {
        let Written {
            timestamp,
            key,
            value,
            headers,
        } = written(i);
        let headers: Vec<_> = headers
            .iter()
            .map(|(key, v)| (*key, v.as_deref().map(str::as_bytes)))
            .collect();
        let (key, value) = (key.as_deref(), value.as_deref());
        builder.push(
            timestamp,
            key.map(str::as_bytes),
            value.map(str::as_bytes),
            &headers,
        );
    }
    assert!(builder.build().expect("nothing is compressed") == golden!("batch-none"));
}

#[test]
fn transaction_markers_are_written_byte_for_byte() {
    for (control_type, expected) in [
        (ControlType::Commit, golden!("batch-commit-marker")),
        (ControlType::Abort, golden!("batch-abort-marker")),
    ] {
        let made = control_batch(control_type, ProducerId(1234), 3, 11, 1_700_000_000_000);
        let mut made = made.to_vec();
        patch_base_offset(&mut made, Offset(42));
        patch_leader_epoch(&mut made, LeaderEpoch(6));
        assert_eq!(made, expected);
    }
}

#[test]
fn a_batch_that_compaction_emptied_is_read() {
    let bytes = golden!("batch-empty");
    let batch = BatchView::parse(&bytes).expect("it is a batch");
    assert_eq!(batch.check_crc(), Ok(()));
    assert_eq!(batch.bytes().len(), BatchHeader::SIZE);
    assert_eq!(batch.header().last_offset(), Offset(109));
    let mut decompressor = Decompressor::new();
    assert_eq!(
        batch
            .records(&mut decompressor, 100)
            .expect("it has none")
            .count(),
        0
    );
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

#[test]
fn offset_commits_of_every_version_are_read_and_those_of_today_written() {
    let values = [
        golden!("offset-value-0"),
        golden!("offset-value-1"),
        golden!("offset-value-2"),
        golden!("offset-value-3"),
        golden!("offset-value-4"),
    ];
    for (version, bytes) in values.into_iter().enumerate() {
        let record = decode_group_record(&golden!("offset-key"), Some(&bytes));
        let id = if version == 4 {
            0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10
        } else {
            0
        };
        let expected = GroupRecord::OffsetCommit {
            key: OffsetCommitKey {
                group: text("billing"),
                topic: text("orders"),
                partition: 12,
            },
            value: Some(OffsetCommitValue {
                offset: 987_654_321,
                leader_epoch: if version >= 3 { 5 } else { -1 },
                metadata: text("where I was: ü"),
                commit_timestamp: 1_700_000_000_123,
                expire_timestamp: if version == 1 { 1_700_000_009_999 } else { -1 },
                topic_id: uuid::Uuid::from_u128(id),
            }),
        };
        assert_eq!(record.as_ref(), Ok(&expected), "version {version}");
        if version == 1 || version == 4 {
            let written = expected
                .encode()
                .expect("it fits")
                .expect("its type is known");
            assert_eq!(
                written,
                (golden!("offset-key"), Some(bytes)),
                "version {version}"
            );
        }
    }
}

#[test]
fn groups_of_every_version_are_read_and_those_of_today_written() {
    let values = [
        golden!("group-value-0"),
        golden!("group-value-1"),
        golden!("group-value-2"),
        golden!("group-value-3"),
        golden!("group-value-4"),
    ];
    for (version, bytes) in values.into_iter().enumerate() {
        let member = |i: u8, assignment: &'static [u8]| MemberMetadata {
            member_id: StrBytes::from_string(format!("member-{i}")),
            group_instance_id: (version >= 3 && i == 0).then(|| text("static-0")),
            client_id: text("client"),
            client_host: StrBytes::from_string(format!("/10.0.0.{i}")),
            rebalance_timeout: if version >= 1 { 300_000 } else { -1 },
            session_timeout: 45_000,
            subscription: vec![1, 2, 3, i].into(),
            assignment: Bytes::from_static(assignment),
        };
        let expected = GroupRecord::GroupMetadata {
            group: text("billing"),
            value: Some(GroupMetadataValue {
                protocol_type: text("consumer"),
                generation: 17,
                protocol: Some(text("range")),
                leader: Some(text("member-0")),
                current_state_timestamp: if version >= 2 { 1_700_000_000_456 } else { -1 },
                members: vec![member(0, &[9]), member(1, &[])],
            }),
        };
        let record = decode_group_record(&golden!("group-key"), Some(&bytes));
        assert_eq!(record.as_ref(), Ok(&expected), "version {version}");
        if version == 3 {
            let written = expected
                .encode()
                .expect("it fits")
                .expect("its type is known");
            assert_eq!(written, (golden!("group-key"), Some(bytes)));
        }
    }
}

#[test]
fn a_group_without_members_is_written_byte_for_byte() {
    let record = GroupRecord::GroupMetadata {
        group: text("billing"),
        value: Some(GroupMetadataValue {
            protocol_type: text(""),
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp: 5,
            members: Vec::new(),
        }),
    };
    let (_, value) = record
        .encode()
        .expect("it fits")
        .expect("its type is known");
    assert_eq!(value, Some(golden!("group-value-empty")));
}

#[test]
fn groups_and_keys_fall_where_java_puts_them() {
    assert_eq!(partition_for_group("billing-ü-😀", 50), PartitionIndex(18));
    assert_eq!(partition_for_key(b"customer-17", 12), PartitionIndex(4));
}
