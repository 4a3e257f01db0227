//! Each rule, broken once.

use proptest::prelude::*;

use super::*;
use crate::ProducerId;
use crate::record_batch::{BatchBuilder, ControlType, control_batch};

const NOW: i64 = 1_700_000_000_000;

fn builder(codec: Codec, count: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    for i in 0..count {
        builder.push(
            NOW + i % 3,
            Some(b"key"),
            Some(&[i as u8; 20]),
            &[("h", Some(b"v"))],
        );
    }
    builder
}

fn batch(codec: Codec, count: i64) -> Vec<u8> {
    builder(codec, count).build().unwrap().to_vec()
}

fn check(records: &[u8], settings: &ValidationSettings) -> Result<ValidatedBatch, InvalidBatch> {
    validate(records, 9, settings, NOW, &mut Decompressor::new())
}

fn refused(records: &[u8]) -> InvalidBatch {
    check(records, &ValidationSettings::default()).expect_err("it breaks a rule")
}

/// Changes the header, and the CRC with it.
fn with_header(mut batch: Vec<u8>, change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::parse(&batch).unwrap();
    change(&mut header);
    batch[..BatchHeader::SIZE].copy_from_slice(&header.to_bytes());
    reseal(batch)
}

fn reseal(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&batch[BatchHeader::CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn good_batches_of_every_codec_pass_unchanged() {
    for codec in Codec::ALL {
        let records = batch(codec, 10);
        let valid = check(&records, &ValidationSettings::default()).unwrap();
        assert_eq!(valid.header, BatchHeader::parse(&records).unwrap());
        assert!(!valid.header_changed);
        assert_eq!(valid.codec, codec);
        assert_eq!(valid.header.max_timestamp, NOW + 2);
        assert_eq!(valid.max_timestamp_offset_delta, 2);
        assert_eq!(valid.last_offset(Offset(100)), Offset(109));
        assert_eq!(valid.log_append_time_ms, -1);
        assert_eq!(valid.size_in_bytes(), records.len());
        assert_eq!(
            valid.uncompressed_bytes,
            builder(codec, 10).size_in_bytes() - 61
        );
    }
}

#[test]
fn what_is_not_one_whole_batch_of_magic_2_is_refused() {
    let good = batch(Codec::None, 2);
    assert_eq!(refused(&[]).code, ErrorCode::InvalidRecord);
    assert_eq!(
        refused(&good[..good.len() - 1]).code,
        ErrorCode::InvalidRecord
    );
    assert_eq!(refused(&good[..15]).code, ErrorCode::InvalidRecord);
    assert_eq!(
        refused(&[good.clone(), good.clone()].concat()).code,
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        refused(&[good.as_slice(), &[0; 5]].concat()).code,
        ErrorCode::InvalidRecord
    );

    for (magic, code) in [
        (0, ErrorCode::InvalidRecord),
        (1, ErrorCode::InvalidRecord),
        (3, ErrorCode::CorruptMessage),
        (255, ErrorCode::CorruptMessage),
    ] {
        let mut other = good.clone();
        other[16] = magic;
        assert_eq!(refused(&other).code, code, "magic {magic}");
    }
    // 14 bytes are the least that a message of an older format takes: such a one is told from noise.
    for (length, code) in [
        (13, ErrorCode::CorruptMessage),
        (14, ErrorCode::InvalidRecord),
    ] {
        let mut older = good.clone();
        older[8..12].copy_from_slice(&i32::to_be_bytes(length));
        older[16] = 0;
        assert_eq!(refused(&older).code, code, "length {length}");
    }
    for length in [-1, 0, 13, 48] {
        let short = with_header(good.clone(), |header| header.batch_length = length);
        assert_eq!(
            refused(&short).code,
            ErrorCode::CorruptMessage,
            "length {length}"
        );
    }
}

#[test]
fn a_wrong_crc_is_corruption() {
    let mut records = batch(Codec::None, 2);
    *records.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&records).code, ErrorCode::CorruptMessage);
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    type Change = fn(&mut BatchHeader);
    let changes: [Change; 8] = [
        |header| header.base_offset = Offset(1),
        |header| header.last_offset_delta = 2,
        |header| header.last_offset_delta = -1,
        |header| header.records_count = 0,
        |header| header.records_count = -1,
        |header| (header.records_count, header.last_offset_delta) = (3, 2),
        |header| (header.records_count, header.last_offset_delta) = (1, 0),
        |header| header.producer_id = ProducerId(4),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for codec in [Codec::None, Codec::Lz4] {
            let changed = with_header(batch(codec, 2), change);
            assert_eq!(
                refused(&changed).code,
                ErrorCode::InvalidRecord,
                "{codec} {number}"
            );
        }
    }
    let control = control_batch(ControlType::Commit, ProducerId(1), 0, 0, NOW);
    assert_eq!(refused(&control).code, ErrorCode::InvalidRecord);
    let extreme = with_header(batch(Codec::None, 2), |header| {
        (header.records_count, header.last_offset_delta) = (i32::MIN, i32::MAX);
    });
    assert_eq!(refused(&extreme).code, ErrorCode::InvalidRecord);
}

#[test]
fn zstd_needs_produce_7() {
    let settings = ValidationSettings::default();
    let records = batch(Codec::Zstd, 2);
    let mut decompressor = Decompressor::new();
    let error = validate(&records, 6, &settings, NOW, &mut decompressor).unwrap_err();
    assert_eq!(error.code, ErrorCode::UnsupportedCompressionType);
    assert!(validate(&records, 7, &settings, NOW, &mut decompressor).is_ok());
    let unknown = with_header(batch(Codec::None, 2), |header| header.attributes.0 = 5);
    assert_eq!(
        refused(&unknown).code,
        ErrorCode::UnsupportedCompressionType
    );
}

#[test]
fn sizes_are_bounded() {
    let records = batch(Codec::None, 4);
    let limit = |max_message_bytes, segment_bytes| ValidationSettings {
        max_message_bytes,
        segment_bytes,
        ..ValidationSettings::default()
    };
    let size = records.len();
    assert!(check(&records, &limit(size, size)).is_ok());
    let error = check(&records, &limit(size - 1, size)).unwrap_err();
    assert_eq!(error.code, ErrorCode::MessageTooLarge);
    let error = check(&records, &limit(size, size - 1)).unwrap_err();
    assert_eq!(error.code, ErrorCode::RecordListTooLarge);
    let bound = ValidationSettings {
        decompressed_max_bytes: 50,
        ..Default::default()
    };
    let error = check(&batch(Codec::Zstd, 4), &bound).unwrap_err();
    assert_eq!(error.code, ErrorCode::MessageTooLarge);
}

#[test]
fn records_without_a_key_are_listed_on_a_compacted_topic() {
    let mut builder = builder(Codec::Gzip, 2);
    builder.push(NOW, None, Some(b"no key"), &[]);
    builder.push(NOW, Some(b""), None, &[]);
    builder.push(NOW, None, None, &[]);
    let records = builder.build().unwrap();
    assert!(check(&records, &ValidationSettings::default()).is_ok());
    let compacted = ValidationSettings {
        compacted: true,
        ..Default::default()
    };
    let error = check(&records, &compacted).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidRecord);
    let indexes: Vec<i32> = error
        .record_errors
        .iter()
        .map(|error| error.batch_index)
        .collect();
    assert_eq!(indexes, [2, 4]);
}

#[test]
fn timestamps_outside_the_window_are_listed() {
    let settings = ValidationSettings {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 500,
        ..Default::default()
    };
    let with_timestamps = |timestamps: &[i64]| {
        let mut builder = BatchBuilder::new(Codec::None);
        for timestamp in timestamps {
            builder.push(*timestamp, None, None, &[]);
        }
        builder.build().unwrap()
    };
    let edges = [NOW - 1000, NOW + 500, -1];
    assert!(check(&with_timestamps(&edges), &settings).is_ok());
    let bad = [NOW - 1001, NOW, NOW + 501, i64::MIN, i64::MAX];
    let error = check(&with_timestamps(&bad), &settings).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidTimestamp);
    let indexes: Vec<i32> = error
        .record_errors
        .iter()
        .map(|error| error.batch_index)
        .collect();
    assert_eq!(indexes, [0, 2, 3, 4]);
}

#[test]
fn the_list_of_bad_records_is_bounded() {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..5000 {
        builder.push(NOW, None, None, &[]);
    }
    let compacted = ValidationSettings {
        compacted: true,
        ..Default::default()
    };
    let error = check(&builder.build().unwrap(), &compacted).unwrap_err();
    assert_eq!(error.record_errors.len(), RECORD_ERRORS_MAX);
    assert!(error.message.contains("5000"));
}

#[test]
fn log_append_time_rewrites_the_header_and_its_crc() {
    let settings = ValidationSettings {
        timestamp_type: TimestampType::LogAppendTime,
        timestamp_before_max_ms: 0,
        ..Default::default()
    };
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec).producer(ProducerId(3), 1, 0);
        builder.push(5, None, Some(b"old"), &[]);
        builder.push(9, None, Some(b"older"), &[]);
        let mut records = builder.build().unwrap().to_vec();
        let valid = check(&records, &settings).unwrap();
        assert!(valid.header_changed);
        assert_eq!(valid.header.max_timestamp, NOW);
        assert_eq!(
            (valid.max_timestamp_offset_delta, valid.log_append_time_ms),
            (0, NOW)
        );
        records[..BatchHeader::SIZE].copy_from_slice(&valid.header.to_bytes());
        let view = BatchView::parse(&records).unwrap();
        assert_eq!(view.check_crc(), Ok(()), "{codec}");
        let mut decompressor = Decompressor::new();
        for record in view.records(&mut decompressor, 1 << 20).unwrap() {
            assert_eq!(record.unwrap().timestamp, NOW);
        }
    }
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let records = with_header(batch(Codec::None, 3), |header| header.max_timestamp = 1);
    let valid = check(&records, &ValidationSettings::default()).unwrap();
    assert!(valid.header_changed);
    let mut fixed = records;
    fixed[..BatchHeader::SIZE].copy_from_slice(&valid.header.to_bytes());
    assert_eq!(BatchView::parse(&fixed).unwrap().check_crc(), Ok(()));
    assert_eq!(valid.header.max_timestamp, NOW + 2);
}

#[test]
fn a_producer_may_not_claim_the_brokers_timestamp_type() {
    let mut builder = BatchBuilder::new(Codec::None).log_append_time(NOW);
    builder.push(NOW, None, None, &[]);
    let error = refused(&builder.build().unwrap());
    assert_eq!(
        (error.code, error.record_errors.len()),
        (ErrorCode::InvalidTimestamp, 1)
    );
}

#[test]
fn records_that_lie_about_themselves_are_refused() {
    let good = batch(Codec::None, 3);
    let first = BatchHeader::SIZE;
    // The record's length, its offset delta, its key's length, and its headers count.
    for (at, value) in [
        (first, 0x50),
        (first + 3, 4),
        (first + 4, 0x7f),
        (first + 30, 0x60),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(
            refused(&reseal(bad)).code,
            ErrorCode::InvalidRecord,
            "at {at}"
        );
    }
    let mut longer = good.clone();
    longer.push(0);
    let longer = with_header(longer, |header| header.batch_length += 1);
    assert_eq!(refused(&longer).code, ErrorCode::InvalidRecord);
}

#[test]
fn undecodable_compression_is_refused() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut bad = batch(codec, 3);
        bad.truncate(BatchHeader::SIZE + 10);
        let length = bad.len() as i32 - 12;
        let bad = with_header(bad, |header| header.batch_length = length);
        assert_eq!(refused(&bad).code, ErrorCode::InvalidRecord, "{codec}");
    }
}

proptest! {
    #[test]
    fn any_bytes_pass_or_are_refused(bytes: Vec<u8>, seal: bool) {
        let mut records = batch(Codec::None, 1);
        records.truncate(BatchHeader::SIZE);
        records.extend(bytes);
        let length = records.len() as i32 - 12;
        let records = match seal {
            true => with_header(records, |header| header.batch_length = length),
            false => records,
        };
        let _ = check(&records, &ValidationSettings::default());
    }

    #[test]
    fn damaged_batches_pass_or_are_refused(
        codec in 0u8..5,
        at: proptest::sample::Index,
        value: u8,
    ) {
        let mut records = batch(Codec::from_id(codec).unwrap(), 5);
        let at = at.index(records.len());
        let changed = records[at] != value;
        records[at] = value;
        let result = check(&records, &ValidationSettings::default());
        // Only the leader epoch is not covered by a check.
        prop_assert!(!changed || result.is_err() || (12..16).contains(&at));
        let _ = check(&reseal(records), &ValidationSettings::default());
    }
}
