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
