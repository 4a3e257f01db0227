//! OffsetCommit 10: topics have ids and no names.
//!
//! ```text
//! group id | generation or member epoch i32 | member id | instance id? | [topic] | tagged
//! topic: topic id uuid | [partition] | tagged          partition: as in version 9
//! ```

use anyhow::Result;
use bytes::{BufMut, Bytes};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::NextVersion;
use super::compact_form::{
    expect_end, get_array, get_i32, get_nullable_text, get_text, get_uuid, put_array,
    put_no_tagged_fields, put_nullable_text, put_text, put_uuid, skip_tagged_fields,
};
use crate::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::messages::{GroupId, OffsetCommitRequest};

/// The version that partitions look like.
const PARTITION_VERSION: i16 = 9;

impl NextVersion for OffsetCommitRequest {
    const VERSION: i16 = 10;

    fn decode_next(mut body: Bytes) -> Result<OffsetCommitRequest> {
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(get_text(&mut body)?))
            .with_generation_id_or_member_epoch(get_i32(&mut body)?)
            .with_member_id(get_text(&mut body)?)
            .with_group_instance_id(get_nullable_text(&mut body)?)
            .with_topics(get_array(&mut body, get_topic)?);
        skip_tagged_fields(&mut body)?;
        expect_end(&body)?;
        Ok(request)
    }

    fn encode_next(&self, out: &mut Vec<u8>) -> Result<()> {
        put_text(out, &self.group_id)?;
        out.put_i32(self.generation_id_or_member_epoch);
        put_text(out, &self.member_id)?;
        put_nullable_text(out, self.group_instance_id.as_ref())?;
        put_array(out, &self.topics, put_topic)?;
        put_no_tagged_fields(out);
        Ok(())
    }
}

fn get_topic(body: &mut Bytes) -> Result<OffsetCommitRequestTopic> {
    let topic = OffsetCommitRequestTopic::default()
        .with_topic_id(get_uuid(body)?)
        .with_partitions(get_array(body, |body| {
            OffsetCommitRequestPartition::decode(body, PARTITION_VERSION)
        })?);
    skip_tagged_fields(body)?;
    Ok(topic)
}

fn put_topic(out: &mut Vec<u8>, topic: &OffsetCommitRequestTopic) -> Result<()> {
    put_uuid(out, topic.topic_id);
    put_array(out, &topic.partitions, |out, partition| {
        partition.encode(out, PARTITION_VERSION)
    })?;
    put_no_tagged_fields(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrBytes;
    use crate::next_version::Newest;
    use uuid::Uuid;

    const ID: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn request() -> OffsetCommitRequest {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(3)
            .with_committed_offset(42)
            .with_committed_leader_epoch(7)
            .with_committed_metadata(Some(text("m")));
        let topic = OffsetCommitRequestTopic::default()
            .with_topic_id(ID)
            .with_partitions(vec![partition]);
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id_or_member_epoch(5)
            .with_member_id(text("me"))
            .with_topics(vec![topic])
    }

    /// As the schema of Apache Kafka 4.3.1 says.
    const BYTES: &[u8] = &[
        2, b'g', 0, 0, 0, 5, 3, b'm', b'e', 0, // no instance id
        2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // one topic
        2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 7, 2, b'm', 0, // one partition
        0, 0,
    ];

    #[test]
    fn a_commit_by_id_is_written_and_read_as_kafka_has_it() {
        let mut written = Vec::new();
        let request = Newest(request());
        request.encode(&mut written, 10).expect("it encodes");
        assert_eq!(written, BYTES);
        assert_eq!(request.compute_size(10).expect("it encodes"), BYTES.len());
        let read = Newest::decode(&mut Bytes::from_static(BYTES), 10).expect("it decodes");
        assert_eq!(read, request);
    }

    #[test]
    fn null_is_refused_where_the_schema_has_none() {
        let decode = |bytes: &[u8]| {
            Newest::<OffsetCommitRequest>::decode(&mut Bytes::copy_from_slice(bytes), 10)
        };
        let mut without_group = BYTES.to_vec();
        without_group.splice(..2, [0]);
        assert!(decode(&without_group).is_err());
        let mut without_topics = BYTES[..10].to_vec();
        without_topics.extend([0, 0]);
        assert!(decode(&without_topics).is_err());
        without_topics[10] = 1;
        assert!(
            decode(&without_topics)
                .expect("no topic is none")
                .0
                .topics
                .is_empty()
        );
        for end in 0..BYTES.len() {
            assert!(decode(&BYTES[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn earlier_versions_are_the_generated_ones() {
        let mut request = request();
        request.topics[0].name.0 = text("orders");
        let (mut mine, mut generated) = (Vec::new(), Vec::new());
        Newest(request.clone())
            .encode(&mut mine, 9)
            .expect("it encodes");
        request.encode(&mut generated, 9).expect("it encodes");
        assert_eq!(mine, generated);
        assert!(Newest(request).encode(&mut mine, 11).is_err());
    }
}
