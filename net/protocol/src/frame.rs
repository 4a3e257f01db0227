//! Requests and responses as frames.
//!
//! ```text
//! request:  size i32 | key i16 | version i16 | correlation id i32 | client id nullable string
//!           [tagged fields] | body
//! response: size i32 | correlation id i32 | [tagged fields] | body
//! ```
//!
//! What is read comes without its size, as a frame of that many bytes; what is written has it.
//! No message is decoded before [`schema`](crate::schema) has bounded what that may allocate.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use thiserror::Error;

use crate::StrBytes;
use crate::api::{self, Api};
use crate::cursor::{Cursor, CursorError};
use crate::messages::ApiKey;
use crate::schema::{self, Message, WalkError};

/// Bytes of the size before a frame.
pub const SIZE_BYTES: usize = 4;

/// Why a frame could not be read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// No advertised API has this key.
    #[error("API key {key} (version {version}) is not known")]
    UnknownApi {
        /// The key.
        key: i16,
        /// The version that was asked for.
        version: i16,
    },
    /// The API is advertised, this version of it is not handled.
    ///
    /// ApiVersions answers this with error 35 and its version 0; for all others the connection is
    /// closed.
    #[error("version {version} of {:?} is not handled, {} to {} are", api.key, api.min_version, api.max_version)]
    UnsupportedVersion {
        /// The API.
        api: &'static Api,
        /// The version that was asked for.
        version: i16,
        /// What an answer must repeat.
        correlation_id: i32,
    },
    /// The header is cut short or malformed.
    #[error("the header is malformed: {0}")]
    Header(#[from] CursorError),
    /// The client id's length is negative, or it is not UTF-8.
    #[error("the client id is malformed")]
    ClientId,
    /// The body is not what its API and version say, or has more elements than are allowed.
    #[error("{api:?} version {version}: {source}")]
    Body {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What is wrong.
        source: WalkError,
    },
    /// The body's lengths are right, a value in it is not.
    #[error("{api:?} version {version}: {reason}")]
    Value {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What the decoder says.
        reason: String,
    },
}

/// Why a message could not be written: a fault of our own, such as a field that the version does
/// not have.
#[derive(Debug, Error)]
#[error("version {version} cannot be encoded: {reason}")]
pub struct EncodeError {
    /// The version.
    pub version: i16,
    /// What the encoder says.
    pub reason: String,
}

impl EncodeError {
    pub(crate) fn new(version: i16, reason: impl ToString) -> EncodeError {
        EncodeError {
            version,
            reason: reason.to_string(),
        }
    }
}

/// What precedes a request's body.
#[derive(Debug, Clone)]
pub struct RequestHeader {
    /// The API.
    pub api: &'static Api,
    /// A version of it that is handled.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<StrBytes>,
}

/// Takes the header off a request's frame and leaves the body.
pub fn parse_request_header(frame: &mut Bytes) -> Result<RequestHeader, FrameError> {
    let mut cursor = Cursor::new(frame);
    let key = cursor.i16()?;
    let version = cursor.i16()?;
    let correlation_id = cursor.i32()?;
    let Some(api) = api::find(key) else {
        return Err(FrameError::UnknownApi { key, version });
    };
    if !api.handles(version) {
        return Err(FrameError::UnsupportedVersion {
            api,
            version,
            correlation_id,
        });
    }
    let client_id = match cursor.i16()? {
        -1 => None,
        length => {
            let length = usize::try_from(length).map_err(|_| FrameError::ClientId)?;
            let text = frame.slice_ref(cursor.take(length)?);
            Some(StrBytes::from_utf8(text).map_err(|_| FrameError::ClientId)?)
        }
    };
    if api.request_header_is_flexible(version) {
        skip_tagged_fields(&mut cursor)?;
    }
    let header_size = cursor.position();
    frame.advance(header_size);
    Ok(RequestHeader {
        api,
        version,
        correlation_id,
        client_id,
    })
}

/// Decodes a request's body, which must end where the frame does. Strings, bytes and records of
/// the request are slices of the frame, not copies.
pub fn decode_request<T: Request>(version: i16, body: Bytes) -> Result<T, FrameError> {
    let api = handled::<T>(version)?;
    decode(api, api.request, version, body)
}

/// The correlation id at the start of a response's frame.
pub fn response_correlation_id(frame: &[u8]) -> Result<i32, FrameError> {
    Ok(Cursor::new(frame).i32()?)
}

/// Decodes the response to a `T` from its frame, header included.
pub fn decode_response<T: Request>(
    version: i16,
    mut frame: Bytes,
) -> Result<T::Response, FrameError> {
    let api = handled::<T>(version)?;
    let mut cursor = Cursor::new(&frame);
    cursor.i32()?;
    if api.response_header_is_flexible(version) {
        skip_tagged_fields(&mut cursor)?;
    }
    let header_size = cursor.position();
    frame.advance(header_size);
    decode(api, api.response, version, frame)
}

/// Encodes a request, its size and header before it.
pub fn encode_request<T: Request>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &T,
) -> Result<Bytes, EncodeError> {
    let id_length = client_id.map_or(Ok(-1), |id| i16::try_from(id.len()));
    let id_length = id_length.map_err(|error| EncodeError::new(version, error))?;
    let mut header = Vec::with_capacity(16 + client_id.map_or(0, str::len));
    header.put_i16(T::KEY);
    header.put_i16(version);
    header.put_i32(correlation_id);
    header.put_i16(id_length);
    header.put_slice(client_id.unwrap_or_default().as_bytes());
    if T::header_version(version) >= 2 {
        header.put_u8(0);
    }
    encode(&header, version, request)
}

/// Encodes a response, its size and header before it.
pub fn encode_response<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, EncodeError> {
    let mut header = Vec::with_capacity(5);
    header.put_i32(correlation_id);
    if R::header_version(version) >= 1 {
        header.put_u8(0);
    }
    encode(&header, version, response)
}

fn handled<T: Request>(version: i16) -> Result<&'static Api, FrameError> {
    match api::find(T::KEY) {
        None => Err(FrameError::UnknownApi {
            key: T::KEY,
            version,
        }),
        Some(api) if !api.handles(version) => Err(FrameError::UnsupportedVersion {
            api,
            version,
            correlation_id: -1,
        }),
        Some(api) => Ok(api),
    }
}

fn decode<T: Decodable>(
    api: &'static Api,
    shape: &'static Message,
    version: i16,
    mut body: Bytes,
) -> Result<T, FrameError> {
    let api = api.key;
    let taken = schema::walk(shape, version, &body).map_err(|source| FrameError::Body {
        api,
        version,
        source,
    })?;
    // Kafka does not look at what follows a body, and librdkafka's Metadata request of version 13
    // has 3 bytes too many.
    body.truncate(taken);
    let decoded = T::decode(&mut body, version).map_err(|error| FrameError::Value {
        api,
        version,
        reason: error.to_string(),
    })?;
    if !body.is_empty() {
        let reason = format!("the decoder left {} bytes of the body", body.len());
        return Err(FrameError::Value {
            api,
            version,
            reason,
        });
    }
    Ok(decoded)
}

fn encode<T: Encodable>(header: &[u8], version: i16, message: &T) -> Result<Bytes, EncodeError> {
    let body = message
        .compute_size(version)
        .map_err(|error| EncodeError::new(version, error))?;
    let size = i32::try_from(header.len() + body)
        .map_err(|_| EncodeError::new(version, "the message is longer than 2 GiB"))?;
    let mut frame = BytesMut::with_capacity(SIZE_BYTES + header.len() + body);
    frame.put_i32(size);
    frame.put_slice(header);
    message
        .encode(&mut frame, version)
        .map_err(|error| EncodeError::new(version, error))?;
    assert_eq!(
        frame.len(),
        SIZE_BYTES + size as usize,
        "the computed size is the encoded one"
    );
    Ok(frame.freeze())
}

fn skip_tagged_fields(cursor: &mut Cursor<'_>) -> Result<(), CursorError> {
    for _ in 0..cursor.unsigned_varint()? {
        cursor.unsigned_varint()?;
        let size = cursor.unsigned_varint()?;
        cursor.take(size as usize)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::metadata_request::MetadataRequestTopic;
    use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::messages::{
        ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse, ProduceRequest,
        TopicName,
    };

    fn frame_of<T: Request>(version: i16, request: &T) -> Bytes {
        let bytes = encode_request(7, Some("tester"), version, request).expect("it encodes");
        let size = i32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
        assert_eq!(size as usize, bytes.len() - SIZE_BYTES);
        bytes.slice(SIZE_BYTES..)
    }

    fn metadata() -> MetadataRequest {
        let topic = MetadataRequestTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("orders"))));
        MetadataRequest::default().with_topics(Some(vec![topic]))
    }

    #[test]
    fn requests_come_back_in_flexible_and_older_versions() {
        for version in [4, 8, 9, 12] {
            let mut frame = frame_of(version, &metadata());
            let header = parse_request_header(&mut frame).unwrap();
            assert_eq!((header.version, header.correlation_id), (version, 7));
            assert!(matches!(header.api.key, ApiKey::Metadata));
            assert_eq!(header.client_id.as_deref(), Some("tester"));
            assert_eq!(
                decode_request::<MetadataRequest>(version, frame).unwrap(),
                metadata()
            );
        }
    }

    #[test]
    fn responses_come_back_with_their_header() {
        for version in [0, 8, 9, 13] {
            let response = MetadataResponse::default();
            let frame = encode_response(9, version, &response)
                .unwrap()
                .slice(SIZE_BYTES..);
            assert_eq!(response_correlation_id(&frame).unwrap(), 9);
            assert_eq!(
                decode_response::<MetadataRequest>(version, frame).unwrap(),
                response
            );
        }
    }

    #[test]
    fn tagged_fields_of_a_header_that_nobody_knows_are_skipped() {
        let request = MetadataRequest::default();
        let frame = frame_of(12, &request);
        // Key, version, correlation id and the client's id with its length; then no tagged field.
        let tags = 2 + 2 + 4 + 2 + "tester".len();
        assert_eq!(frame[tags], 0);
        let two = [2, 9, 3, b'a', b'b', b'c', 10, 0];
        let mut with_tags = Bytes::from([&frame[..tags], &two, &frame[tags + 1..]].concat());
        let header = parse_request_header(&mut with_tags).expect("a header");
        assert_eq!(header.correlation_id, 7);
        assert_eq!(with_tags, frame.slice(tags + 1..));
    }

    #[test]
    fn the_answer_to_api_versions_has_a_header_without_tagged_fields() {
        let response = ApiVersionsResponse::default();
        let frame = encode_response(1, 3, &response).unwrap();
        // Size, correlation id, and at once the error code.
        assert_eq!(&frame[4..10], [0, 0, 0, 1, 0, 0]);
        let decoded = decode_response::<ApiVersionsRequest>(3, frame.slice(SIZE_BYTES..));
        assert_eq!(decoded.unwrap(), response);
    }

    #[test]
    fn bad_headers_have_typed_errors() {
        let parse = |bytes: &[u8]| parse_request_header(&mut Bytes::copy_from_slice(bytes));
        assert!(matches!(parse(&[0, 3]), Err(FrameError::Header(_))));
        assert!(matches!(
            parse(&[0, 7, 0, 0, 0, 0, 0, 1]),
            Err(FrameError::UnknownApi { key: 7, version: 0 })
        ));
        assert!(matches!(
            parse(&[0, 18, 0, 99, 0, 0, 0, 5, 1, 2, 3]),
            Err(FrameError::UnsupportedVersion {
                version: 99,
                correlation_id: 5,
                ..
            })
        ));
        assert!(matches!(
            parse(&[0, 0, 0, 2, 0, 0, 0, 5, 0xff, 0xff]),
            Err(FrameError::UnsupportedVersion { version: 2, .. })
        ));
        assert!(matches!(
            parse(&[0, 18, 0, 0, 0, 0, 0, 5, 0xff, 0xfe]),
            Err(FrameError::ClientId)
        ));
        assert!(matches!(
            parse(&[0, 18, 0, 0, 0, 0, 0, 5, 0, 1, 0xff]),
            Err(FrameError::ClientId)
        ));
        assert!(matches!(
            parse(&[0, 18, 0, 0, 0, 0, 0, 5, 0, 9, b'x']),
            Err(FrameError::Header(CursorError::Truncated { .. }))
        ));
    }

    #[test]
    fn bytes_after_the_body_are_passed_over() {
        let mut frame = frame_of(9, &metadata());
        parse_request_header(&mut frame).unwrap();
        let mut longer = frame.to_vec();
        longer.push(0);
        let decoded = decode_request::<MetadataRequest>(9, longer.into()).unwrap();
        assert_eq!(decoded, metadata());
        let shorter = frame.slice(..frame.len() - 1);
        let refused = decode_request::<MetadataRequest>(9, shorter);
        assert!(
            matches!(refused, Err(FrameError::Body { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn produced_records_are_slices_of_the_frame() {
        let records = Bytes::from(vec![7; 3000]);
        let partition = PartitionProduceData::default().with_records(Some(records.clone()));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str("orders")))
            .with_partition_data(vec![partition]);
        for version in [3, 8, 9, 12] {
            let request = ProduceRequest::default().with_topic_data(vec![topic.clone()]);
            let frame = frame_of(version, &request);
            let range = frame.as_ptr_range();
            let mut body = frame.clone();
            parse_request_header(&mut body).unwrap();
            let decoded = decode_request::<ProduceRequest>(version, body).unwrap();
            let found = decoded.topic_data[0].partition_data[0]
                .records
                .as_ref()
                .unwrap();
            assert_eq!(found, &records);
            assert!(
                range.contains(&found.as_ptr()),
                "version {version} copies records"
            );
        }
    }

    #[test]
    fn a_client_need_not_name_itself() {
        for version in [8, 9] {
            let frame = encode_request(7, None, version, &metadata()).expect("it encodes");
            let mut frame = frame.slice(SIZE_BYTES..);
            let header = parse_request_header(&mut frame).expect("a header");
            assert_eq!(header.client_id, None);
            let decoded = decode_request::<MetadataRequest>(version, frame).expect("a body");
            assert_eq!(decoded, metadata());
        }
    }

    #[test]
    fn bodies_of_versions_that_are_not_handled_are_not_decoded() {
        for version in [-1, 14, 99] {
            let request = decode_request::<MetadataRequest>(version, Bytes::new()).map(drop);
            let response = decode_response::<MetadataRequest>(version, Bytes::new()).map(drop);
            for refused in [request, response] {
                let Err(FrameError::UnsupportedVersion {
                    api,
                    version: told,
                    correlation_id,
                }) = refused
                else {
                    panic!("version {version}: {refused:?}");
                };
                // Without a header there is no correlation id.
                assert_eq!((api.id(), told, correlation_id), (3, version, -1));
            }
        }
    }
}
