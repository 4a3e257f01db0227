//! One version more than the generated messages have.
//!
//! | API | Version | What it adds |
//! | --- | --- | --- |
//! | ListOffsets | 11 | a timestamp with a meaning (KIP-1023); no field |
//! | OffsetCommit | 10 | topics by id, no longer by name (KIP-848); the response is generated |
//! | OffsetFetch | 10 | topics by id, no longer by name (KIP-848); the response is generated |
//! | DescribeLogDirs | 5 | whether a folder is cordoned (KIP-1066) |
//!
//! [`Newest`] is such a message in all its versions: it leaves the old ones to the generated code
//! and writes and reads the last one itself. Its bytes are read by hand only after
//! [`schema`](crate::schema) has walked them, so every length is within the body; all the same each
//! one is checked again here. When the generated code learns the version, a constant no longer
//! evaluates, and the message can go from here.

mod compact_form;
mod describe_log_dirs;
mod list_offsets;
mod offset_commit;
mod offset_fetch;

use bytes::Bytes;
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, Request, VersionRange,
};

use crate::messages;

/// A message in all its versions, one more than its generated code has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Newest<T>(pub T);

/// A message whose generated code lacks its last version. By default that version looks like the
/// one before.
pub trait NextVersion: Message + Encodable + Decodable {
    /// The version that is lacking.
    const VERSION: i16;

    /// Reads a body of that version, which is all of `body`.
    fn decode_next(mut body: Bytes) -> anyhow::Result<Self> {
        let decoded = Self::decode(&mut body, Self::VERSION - 1)?;
        compact_form::expect_end(&body)?;
        Ok(decoded)
    }

    /// Writes a body of that version.
    fn encode_next(&self, out: &mut Vec<u8>) -> anyhow::Result<()> {
        self.encode(out, Self::VERSION - 1)
    }
}

impl<T: NextVersion> Message for Newest<T> {
    const VERSIONS: VersionRange = {
        assert!(T::VERSIONS.max + 1 == T::VERSION);
        VersionRange {
            min: T::VERSIONS.min,
            max: T::VERSION,
        }
    };
    const DEPRECATED_VERSIONS: Option<VersionRange> = T::DEPRECATED_VERSIONS;
}

impl<T: NextVersion> Decodable for Newest<T> {
    fn decode<B: ByteBuf>(buf: &mut B, version: i16) -> anyhow::Result<Newest<T>> {
        if version != T::VERSION {
            return T::decode(buf, version).map(Newest);
        }
        let length = buf.remaining();
        T::decode_next(buf.try_get_bytes(length)?).map(Newest)
    }
}

impl<T: NextVersion> Encodable for Newest<T> {
    fn encode<B: ByteBufMut>(&self, buf: &mut B, version: i16) -> anyhow::Result<()> {
        if version != T::VERSION {
            return self.0.encode(buf, version);
        }
        let mut body = Vec::new();
        self.0.encode_next(&mut body)?;
        buf.put_slice(&body);
        Ok(())
    }

    fn compute_size(&self, version: i16) -> anyhow::Result<usize> {
        if version != T::VERSION {
            return self.0.compute_size(version);
        }
        let mut body = Vec::new();
        self.0.encode_next(&mut body)?;
        Ok(body.len())
    }
}

impl<T: HeaderVersion> HeaderVersion for Newest<T> {
    fn header_version(version: i16) -> i16 {
        T::header_version(version)
    }
}

impl Request for Newest<messages::ListOffsetsRequest> {
    const KEY: i16 = messages::ListOffsetsRequest::KEY;
    type Response = Newest<messages::ListOffsetsResponse>;
}

impl Request for Newest<messages::OffsetCommitRequest> {
    const KEY: i16 = messages::OffsetCommitRequest::KEY;
    type Response = messages::OffsetCommitResponse;
}

impl Request for Newest<messages::OffsetFetchRequest> {
    const KEY: i16 = messages::OffsetFetchRequest::KEY;
    type Response = messages::OffsetFetchResponse;
}

impl Request for Newest<messages::DescribeLogDirsRequest> {
    const KEY: i16 = messages::DescribeLogDirsRequest::KEY;
    type Response = Newest<messages::DescribeLogDirsResponse>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrBytes;
    use crate::frame::{
        SIZE_BYTES, decode_request, decode_response, encode_request, encode_response,
        parse_request_header,
    };
    use crate::messages::list_offsets_request::ListOffsetsTopic;
    use crate::messages::{ListOffsetsRequest, TopicName};

    fn request() -> ListOffsetsRequest {
        let topic =
            ListOffsetsTopic::default().with_name(TopicName(StrBytes::from_static_str("orders")));
        ListOffsetsRequest::default().with_topics(vec![topic])
    }

    #[test]
    fn a_version_without_a_field_of_its_own_is_written_and_read_as_the_one_before() {
        let (mut before, mut written) = (Vec::new(), Vec::new());
        request().encode(&mut before, 10).expect("it encodes");
        let request = Newest(request());
        request.encode(&mut written, 11).expect("it encodes");
        assert_eq!(written, before);
        assert_eq!(request.compute_size(11).expect("it encodes"), before.len());
        let read = Newest::decode(&mut Bytes::from(written), 11).expect("it decodes");
        assert_eq!(read, request);
    }

    #[test]
    fn nothing_follows_a_message_that_is_read_by_hand() {
        fn check<T: NextVersion + Default>() {
            let mut written = Vec::new();
            let message = Newest(T::default());
            message
                .encode(&mut written, T::VERSION)
                .expect("it encodes");
            let decode =
                |bytes: &[u8]| Newest::<T>::decode(&mut Bytes::copy_from_slice(bytes), T::VERSION);
            assert!(decode(&written).is_ok());
            written.push(0);
            assert!(decode(&written).is_err());
        }
        check::<messages::ListOffsetsRequest>();
        check::<messages::ListOffsetsResponse>();
        check::<messages::OffsetCommitRequest>();
        check::<messages::OffsetFetchRequest>();
        check::<messages::DescribeLogDirsRequest>();
        check::<messages::DescribeLogDirsResponse>();
    }

    #[test]
    fn headers_of_all_versions_are_those_of_the_api() {
        fn check<T: Request<Response: Default> + Default>(min: i16, max: i16) {
            for version in min..=max {
                let frame = encode_request(7, Some("tester"), version, &T::default());
                let mut frame = frame.expect("it encodes").slice(SIZE_BYTES..);
                let header = parse_request_header(&mut frame).expect("a header");
                assert_eq!((header.api.id(), header.version), (T::KEY, version));
                decode_request::<T>(version, frame).expect("a request");

                let frame = encode_response(7, version, &T::Response::default());
                let frame = frame.expect("it encodes").slice(SIZE_BYTES..);
                decode_response::<T>(version, frame).expect("a response");
            }
        }
        check::<Newest<messages::ListOffsetsRequest>>(1, 11);
        check::<Newest<messages::OffsetCommitRequest>>(2, 10);
        check::<Newest<messages::OffsetFetchRequest>>(1, 10);
        check::<Newest<messages::DescribeLogDirsRequest>>(1, 5);
    }
}
