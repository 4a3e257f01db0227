//! What is built, read again; and batches made anew with a part of their records.

use proptest::prelude::*;

use super::*;
use crate::compression::Decompressor;
use crate::record_batch::{BatchView, RecordsIter};

#[derive(Debug, Clone)]
struct Shape {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

type HeaderSlices<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

impl Shape {
    fn headers(&self) -> HeaderSlices<'_> {
        let headers = self.headers.iter();
        headers
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect()
    }

    fn push_to(&self, builder: &mut BatchBuilder) {
        let (key, value) = (self.key.as_deref(), self.value.as_deref());
        builder.push(self.timestamp, key, value, &self.headers());
    }

    fn is_read_as(&self, record: &Record<'_>) -> bool {
        let headers: HeaderSlices<'_> = record
            .headers
            .iter()
            .map(|header| {
                (
                    str::from_utf8(header.key).expect("it was text"),
                    header.value,
                )
            })
            .collect();
        record.key == self.key.as_deref()
            && record.value == self.value.as_deref()
            && record.headers.len() == self.headers.len()
            && record.headers.is_empty() == self.headers.is_empty()
            && headers == self.headers()
    }
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..100));
    let timestamp = prop_oneof![-1..2_i64, 1_000..1_000_000_i64, 0..i64::MAX];
    let headers = prop::collection::vec(("[a-z]{0,3}", bytes()), 0..3);
    let shape =
        (timestamp, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Shape {
            timestamp,
            key,
            value,
            headers,
        });
    prop::collection::vec(shape, 1..12)
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.as_slice())
}

/// Builders of batches as they lie in a log, whose records the broker stamps in some.
fn stored() -> impl Strategy<Value = BatchBuilder> {
    let sequence = prop_oneof![-1..2_i32, i32::MAX - 4..=i32::MAX];
    let flags = any::<[bool; 2]>();
    let append_time = prop::option::of(0..i64::MAX);
    (codecs(), 0..1_000_000_i64, sequence, flags, append_time).prop_map(
        |(codec, offset, sequence, [transactional, control], append_time)| {
            let mut builder = BatchBuilder::new(codec)
                .base_offset(Offset(offset))
                .leader_epoch(LeaderEpoch(7))
                .producer(ProducerId(5), 3, sequence);
            if transactional {
                builder = builder.transactional();
            }
            if control {
                builder = builder.control();
            }
            match append_time {
                Some(time) => builder.log_append_time(time),
                None => builder,
            }
        },
    )
}

/// A builder with these records.
fn filled(mut builder: BatchBuilder, shapes: &[Shape]) -> BatchBuilder {
    for shape in shapes {
        shape.push_to(&mut builder);
    }
    builder
}

proptest! {
    #[test]
    fn what_is_built_is_read_and_its_header_tells_of_it(builder in stored(), shapes in shapes()) {
        let builder = filled(builder, &shapes);
        let count = shapes.len() as i32;
        prop_assert_eq!(builder.records_count(), count);
        let (header, size) = (builder.header, builder.size_in_bytes());
        let batch = builder.build().expect("it compresses");
        let view = BatchView::parse(&batch).expect("it is a batch");
        prop_assert_eq!(view.check_crc(), Ok(()));
        let mut decompressor = Decompressor::new();
        let records: Vec<Record<'_>> = view
            .records(&mut decompressor, size - BatchHeader::SIZE)
            .expect("it decompresses")
            .map(|record| record.expect("it is a record"))
            .collect();
        prop_assert_eq!(records.len(), shapes.len());
        let stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        for (number, (record, shape)) in records.iter().zip(&shapes).enumerate() {
            prop_assert!(shape.is_read_as(record));
            prop_assert_eq!(record.offset, header.base_offset.plus(number as i64));
            let timestamp = if stamped { header.max_timestamp } else { shape.timestamp };
            prop_assert_eq!(record.timestamp, timestamp);
        }

        let read = view.header();
        let (first, last) = (&records[0], &records[records.len() - 1]);
        prop_assert_eq!(read.records_count, count);
        prop_assert_eq!(first.sequence, read.base_sequence);
        prop_assert_eq!(last.sequence, read.last_sequence());
        prop_assert_eq!(read.last_sequence() == -1, read.base_sequence == -1);
        prop_assert_eq!(last.offset, read.last_offset());
        prop_assert_eq!(last.offset.next(), read.next_offset());
        let greatest = records.iter().map(|record| record.timestamp).max();
        prop_assert_eq!(Some(read.max_timestamp), greatest);
        prop_assert_eq!(read.delete_horizon_ms(), None);
    }

    #[test]
    fn kept_records_stay_what_they_were_where_they_were(
        builder in stored(),
        shapes in shapes(),
        kept: [bool; 12],
        codec in codecs(),
        horizon in prop::option::of(0..i64::MAX),
        had_horizon: bool,
    ) {
        let batch = filled(builder, &shapes).build().expect("it compresses");
        let view = BatchView::parse(&batch).expect("it is a batch");
        let mut original = *view.header();
        let mut decompressor = Decompressor::new();
        let codec_before = original.attributes.codec().expect("it has a name");
        let payload = decompressor
            .decompress(codec_before, view.payload(), 1 << 20)
            .expect("it decompresses");
        original.attributes = original.attributes.with_delete_horizon(had_horizon);
        let records: Vec<Record<'_>> = RecordsIter::new(&original, payload)
            .map(|record| record.expect("it is a record"))
            .zip(kept)
            .filter_map(|(record, is_kept)| is_kept.then_some(record))
            .collect();

        let mut rewriting = BatchBuilder::rewriting(&original, codec);
        if let Some(horizon) = horizon {
            rewriting = rewriting.delete_horizon(horizon);
        }
        for record in &records {
            rewriting.push_kept(record);
        }
        prop_assert_eq!(rewriting.records_count(), records.len() as i32);
        let batch = rewriting.build().expect("it compresses");
        let view = BatchView::parse(&batch).expect("it is a batch");
        let mut decompressor = Decompressor::new();
        let read: Vec<Record<'_>> = view
            .records(&mut decompressor, 1 << 20)
            .expect("it decompresses")
            .map(|record| record.expect("it is a record"))
            .collect();
        prop_assert_eq!(&read, &records);

        let header = view.header();
        prop_assert_eq!(view.check_crc(), Ok(()));
        prop_assert_eq!(header.delete_horizon_ms(), horizon);
        let stamped = original.attributes.timestamp_type() == TimestampType::LogAppendTime;
        let greatest = records.iter().map(|record| record.timestamp).max().unwrap_or(-1);
        let first = records.first().map_or(-1, |record| record.timestamp);
        let expected = BatchHeader {
            attributes: original
                .attributes
                .with_codec(codec)
                .with_delete_horizon(horizon.is_some()),
            records_count: records.len() as i32,
            base_timestamp: horizon.unwrap_or(first),
            max_timestamp: if stamped { original.max_timestamp } else { greatest },
            batch_length: header.batch_length,
            crc: header.crc,
            ..original
        };
        prop_assert_eq!(*header, expected);
    }

    #[test]
    fn an_emptied_batch_keeps_its_place_its_producer_and_its_greatest_timestamp(
        builder in stored(),
        shapes in shapes(),
        horizon: bool,
    ) {
        let batch = filled(builder, &shapes).build().expect("it compresses");
        let mut original = BatchHeader::parse(&batch).expect("it is a header");
        original.attributes = original.attributes.with_delete_horizon(horizon);
        let emptied = BatchBuilder::emptied(&original);
        let view = BatchView::parse(&emptied).expect("it is a batch");
        prop_assert_eq!(view.bytes().len(), BatchHeader::SIZE);
        prop_assert_eq!(view.check_crc(), Ok(()));
        let expected = BatchHeader {
            attributes: original
                .attributes
                .with_codec(Codec::None)
                .with_delete_horizon(false),
            records_count: 0,
            base_timestamp: -1,
            batch_length: view.header().batch_length,
            crc: view.header().crc,
            ..original
        };
        prop_assert_eq!(*view.header(), expected);
    }

    #[test]
    fn no_record_adds_more_than_its_bound(shapes in shapes()) {
        // A length, a timestamp delta and an offset delta that take a byte each instead of 5, 10
        // and 5.
        const SLACK: usize = 4 + 9 + 4;
        let mut builder = BatchBuilder::new(Codec::None);
        for shape in &shapes {
            let before = builder.size_in_bytes();
            shape.push_to(&mut builder);
            let added = builder.size_in_bytes() - before;
            let (key, value) = (shape.key.as_deref(), shape.value.as_deref());
            let most = BatchBuilder::record_size_max(key, value, &shape.headers());
            prop_assert!((added..=added + SLACK).contains(&most), "{added} of {most}");
        }
    }
}

#[test]
fn what_a_batch_has_not_is_told_by_minus_one_and_zero_is_a_producer() {
    let header = BatchBuilder::new(Codec::None).header;
    assert_eq!(header.partition_leader_epoch.0, -1);
    assert_eq!((header.producer_id.0, header.producer_epoch), (-1, -1));
    assert_eq!((header.base_sequence, header.last_sequence()), (-1, -1));
    assert!(!header.has_producer_id());
    let builder = BatchBuilder::new(Codec::None).producer(ProducerId(0), 0, 0);
    assert!(builder.header.has_producer_id());
}
