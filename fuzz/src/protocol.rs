//! Inputs for the decoders of Kafka's protocol and record formats.

use bytes::Bytes;
use millstream_protocol::any_message::{describe_request, describe_response};
use millstream_protocol::api::{APIS, Api};
use millstream_protocol::batch_validation::{ValidationSettings, validate};
use millstream_protocol::compression::{Codec, Decompressor};
use millstream_protocol::first_bytes::explain_first_bytes;
use millstream_protocol::frame::parse_request_header;
use millstream_protocol::group_records::decode_group_record;
use millstream_protocol::record_batch::{BatchHeader, Batches};

const DECOMPRESSED_MAX: usize = 1 << 20;

/// A frame as it comes from a connection.
pub fn request_frame(data: &[u8]) {
    let _ = explain_first_bytes(data);
    let mut frame = Bytes::copy_from_slice(data);
    if let Ok(header) = parse_request_header(&mut frame) {
        let _ = describe_request(header.api, header.version, frame);
    }
}

/// The body of a request; two bytes before it choose API and version.
pub fn request_body(data: &[u8]) {
    if let Some((api, version, body)) = choose(data) {
        let _ = describe_request(api, version, body);
    }
}

/// The frame of a response; two bytes before it choose API and version.
pub fn response(data: &[u8]) {
    if let Some((api, version, frame)) = choose(data) {
        let _ = describe_response(api, version, frame);
    }
}

fn choose(data: &[u8]) -> Option<(&'static Api, i16, Bytes)> {
    let [api, version, body @ ..] = data else {
        return None;
    };
    let api = &APIS[usize::from(*api) % APIS.len()];
    let versions = api.max_version - api.min_version + 1;
    let version = api.min_version + i16::from(*version) % versions;
    Some((api, version, Bytes::copy_from_slice(body)))
}

/// Batches as they lie in a segment or a fetch answer, and as a client's record set. The CRC is
/// also put right, so that what lies behind it is reached.
pub fn record_batches(data: &[u8]) {
    let mut decompressor = Decompressor::new();
    for batch in Batches::new(data).map_while(Result::ok) {
        let _ = batch.check_crc();
        let _ = batch.header().check_offsets();
        let Ok(records) = batch.records(&mut decompressor, DECOMPRESSED_MAX) else {
            continue;
        };
        for record in records.map_while(Result::ok) {
            assert_eq!(record.headers.iter().count(), record.headers.len());
        }
    }
    produced(data, &mut decompressor);
    if data.len() >= BatchHeader::SIZE {
        let mut sealed = data.to_vec();
        let length = (data.len() - BatchHeader::LOG_OVERHEAD) as i32;
        sealed[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&sealed[BatchHeader::CRC_START..]);
        sealed[17..21].copy_from_slice(&crc.to_be_bytes());
        produced(&sealed, &mut decompressor);
    }
}

fn produced(records: &[u8], decompressor: &mut Decompressor) {
    let settings = ValidationSettings {
        decompressed_max_bytes: DECOMPRESSED_MAX,
        timestamp_before_max_ms: 1 << 40,
        compacted: records.len().is_multiple_of(2),
        ..ValidationSettings::default()
    };
    if let Ok(valid) = validate(records, 9, &settings, 1 << 40, decompressor) {
        assert_eq!(valid.size_in_bytes(), records.len());
        assert_eq!(valid.header.check_offsets(), Ok(()));
        let mut stored = records.to_vec();
        stored[..BatchHeader::SIZE].copy_from_slice(&valid.header.to_bytes());
        let batch = Batches::new(&stored)
            .next()
            .expect("a valid batch is whole");
        assert_eq!(batch.expect("a valid batch is one").check_crc(), Ok(()));
    }
}

/// Compressed data; a byte before it chooses the codec.
pub fn decompress(data: &[u8]) {
    let [codec, source @ ..] = data else {
        return;
    };
    let codec = Codec::ALL[usize::from(*codec) % Codec::ALL.len()];
    let mut decompressor = Decompressor::new();
    if let Ok(output) = decompressor.decompress(codec, source, DECOMPRESSED_MAX) {
        assert!(output.len() <= DECOMPRESSED_MAX);
    }
}

/// A record of `__consumer_offsets`; a byte before it is the key's length.
pub fn group_record(data: &[u8]) {
    let [key_length, data @ ..] = data else {
        return;
    };
    let (key, value) = data.split_at(usize::from(*key_length).min(data.len()));
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    let value = (!value.is_empty()).then_some(&value);
    let Ok(record) = decode_group_record(&key, value) else {
        return;
    };
    // What a version is read into may be more than it is written as, but that comes back.
    if let Ok(Some((key, value))) = record.encode() {
        let again = decode_group_record(&key, value.as_ref()).expect("we wrote it");
        assert_eq!(again.encode(), Ok(Some((key, value))));
    }
}
