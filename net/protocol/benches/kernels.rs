//! What the produce and fetch paths do to each message, by itself: the CRC, the validation of a
//! batch, decoding a request, encoding an answer.
//!
//! `cargo bench -p millstream-protocol --bench kernels [-- FILTER]`

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use millstream_protocol::batch_validation::{ValidationSettings, validate};
use millstream_protocol::compression::{Codec, Decompressor};
use millstream_protocol::fetch_response::{
    FetchResponse, FetchedPartition, FetchedRecords, FetchedTopic,
};
use millstream_protocol::frame::{
    SIZE_BYTES, decode_request, encode_request, encode_response, parse_request_header,
};
use millstream_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millstream_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millstream_protocol::messages::produce_response::{
    PartitionProduceResponse, TopicProduceResponse,
};
use millstream_protocol::messages::{FetchRequest, ProduceRequest, ProduceResponse, TopicName};
use millstream_protocol::record_batch::{BatchBuilder, BatchView};
use millstream_protocol::{NodeId, Offset, PartitionIndex, Request, StrBytes, TopicId};

/// A version that names topics by name.
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const NOW_MS: i64 = 1_790_000_000_000;
/// Partitions of a request.
const PARTITIONS: &[usize] = &[1, 12, 100];

/// A batch: how many records of which size.
#[derive(Debug, Clone, Copy)]
struct Shape {
    records: usize,
    size: usize,
    codec: Codec,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shape {
            records,
            size,
            codec,
        } = self;
        write!(f, "{records} x {size} B, {codec:?}")
    }
}

const SHAPES: &[Shape] = &[
    plain(1, 1024),
    plain(15, 1024),
    plain(900, 1024),
    plain(9000, 100),
    Shape {
        records: 900,
        size: 1024,
        codec: Codec::Lz4,
    },
];

const fn plain(records: usize, size: usize) -> Shape {
    Shape {
        records,
        size,
        codec: Codec::None,
    }
}

fn main() {
    divan::main();
}

fn batch(shape: Shape) -> Bytes {
    let mut builder = BatchBuilder::new(shape.codec);
    let value: Vec<u8> = (0..shape.size).map(|n| (n * 31 % 251) as u8).collect();
    for _ in 0..shape.records {
        builder.push(NOW_MS, None, Some(&value), &[]);
    }
    builder.build().expect("the codec takes any bytes")
}

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str("measurements"))
}

fn indexes(count: usize) -> impl Iterator<Item = i32> {
    (0..).take(count)
}

#[divan::bench(args = [64, 1024, 16 * 1024, 1 << 20])]
fn crc(bencher: Bencher<'_, '_>, bytes: usize) {
    let data = vec![0x5a_u8; bytes];
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| crc32c::crc32c(black_box(&data)));
}

#[divan::bench(args = SHAPES)]
fn batch_crc(bencher: Bencher<'_, '_>, shape: Shape) {
    let batch = batch(shape);
    bencher.counter(BytesCount::new(batch.len())).bench(|| {
        let view = BatchView::parse(black_box(&batch)).expect("a batch");
        view.check_crc()
    });
}

#[divan::bench(args = SHAPES)]
fn batch_validation(bencher: Bencher<'_, '_>, shape: Shape) {
    let batch = batch(shape);
    let settings = ValidationSettings {
        max_message_bytes: 2 << 20,
        ..ValidationSettings::default()
    };
    let mut decompressor = Decompressor::default();
    bencher
        .counter(BytesCount::new(batch.len()))
        .counter(ItemsCount::new(shape.records))
        .bench_local(|| {
            let records = black_box(&batch);
            validate(
                records,
                PRODUCE_VERSION,
                &settings,
                NOW_MS,
                &mut decompressor,
            )
            .expect("a sound batch")
        });
}

#[divan::bench(args = PARTITIONS)]
fn produce_request_decode(bencher: Bencher<'_, '_>, partitions: usize) {
    let records = batch(plain(1, 100));
    let data = indexes(partitions).map(|index| {
        PartitionProduceData::default()
            .with_index(index)
            .with_records(Some(records.clone()))
    });
    let topic = TopicProduceData::default()
        .with_name(topic_name())
        .with_partition_data(data.collect());
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    bench_decode(bencher, PRODUCE_VERSION, &request);
}

#[divan::bench(args = PARTITIONS)]
fn fetch_request_decode(bencher: Bencher<'_, '_>, partitions: usize) {
    let wanted = indexes(partitions).map(|partition| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(1_000_000)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default()
        .with_topic(topic_name())
        .with_partitions(wanted.collect());
    let request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_topics(vec![topic]);
    bench_decode(bencher, FETCH_VERSION, &request);
}

/// From the frame as it is received, without its size.
fn bench_decode<R: Request>(bencher: Bencher<'_, '_>, version: i16, request: &R) {
    let frame = encode_request(7, Some("a-client"), version, request);
    let frame = frame
        .expect("the request has this version")
        .slice(SIZE_BYTES..);
    bencher
        .counter(BytesCount::new(frame.len()))
        .with_inputs(|| frame.clone())
        .bench_values(|mut frame| {
            let header = parse_request_header(&mut frame).expect("a header");
            decode_request::<R>(header.version, frame).expect("a request")
        });
}

#[divan::bench(args = PARTITIONS)]
fn produce_response_encode(bencher: Bencher<'_, '_>, partitions: usize) {
    let answers = indexes(partitions).map(|index| {
        PartitionProduceResponse::default()
            .with_index(index)
            .with_base_offset(1_000_000)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(0)
    });
    let topic = TopicProduceResponse::default()
        .with_name(topic_name())
        .with_partition_responses(answers.collect());
    let response = ProduceResponse::default().with_responses(vec![topic]);
    bencher
        .counter(ItemsCount::new(partitions))
        .bench(|| encode_response(7, PRODUCE_VERSION, black_box(&response)));
}

#[divan::bench(args = PARTITIONS)]
fn fetch_response_encode(bencher: Bencher<'_, '_>, partitions: usize) {
    let fetched = indexes(partitions).map(|partition| FetchedPartition {
        high_watermark: Offset(1_000_000),
        last_stable_offset: Offset(1_000_000),
        log_start_offset: Offset(0),
        preferred_read_replica: NodeId(-1),
        records: Some(FetchedRecords {
            size: 1 << 20,
            payload: (),
        }),
        ..FetchedPartition::error(PartitionIndex(partition), 0)
    });
    let response = FetchResponse {
        throttle_time_ms: 0,
        error_code: 0,
        session_id: 9,
        topics: vec![FetchedTopic {
            name: topic_name().0,
            topic_id: TopicId::default(),
            partitions: fetched.collect(),
        }],
        node_endpoints: Vec::new(),
    };
    bencher
        .counter(ItemsCount::new(partitions))
        .with_inputs(|| response.clone())
        .bench_values(|response| response.encode(7, FETCH_VERSION));
}
