//! OffsetFetch 10: topics have ids and no names.
//!
//! ```text
//! [group] | require stable bool | tagged
//! group: group id | member id? | member epoch i32 | [topic]? | tagged
//! topic: topic id uuid | [partition i32] | tagged
//! ```

use anyhow::Result;
use bytes::{BufMut, Bytes};

use super::NextVersion;
use super::compact_form::{
    expect_end, get_array, get_bool, get_i32, get_nullable_array, get_nullable_text, get_text,
    get_uuid, put_array, put_no_tagged_fields, put_null_array, put_nullable_text, put_text,
    put_uuid, skip_tagged_fields,
};
use crate::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::messages::{GroupId, OffsetFetchRequest};

impl NextVersion for OffsetFetchRequest {
    const VERSION: i16 = 10;

    fn decode_next(mut body: Bytes) -> Result<OffsetFetchRequest> {
        let request = OffsetFetchRequest::default()
            .with_groups(get_array(&mut body, get_group)?)
            .with_require_stable(get_bool(&mut body)?);
        skip_tagged_fields(&mut body)?;
        expect_end(&body)?;
        Ok(request)
    }

    fn encode_next(&self, out: &mut Vec<u8>) -> Result<()> {
        put_array(out, &self.groups, put_group)?;
        out.put_u8(u8::from(self.require_stable));
        put_no_tagged_fields(out);
        Ok(())
    }
}

fn get_group(body: &mut Bytes) -> Result<OffsetFetchRequestGroup> {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(get_text(body)?))
        .with_member_id(get_nullable_text(body)?)
        .with_member_epoch(get_i32(body)?)
        .with_topics(get_nullable_array(body, get_topic)?);
    skip_tagged_fields(body)?;
    Ok(group)
}

fn put_group(out: &mut Vec<u8>, group: &OffsetFetchRequestGroup) -> Result<()> {
    put_text(out, &group.group_id)?;
    put_nullable_text(out, group.member_id.as_ref())?;
    out.put_i32(group.member_epoch);
    match &group.topics {
        Some(topics) => put_array(out, topics, put_topic)?,
        None => put_null_array(out)?,
    }
    put_no_tagged_fields(out);
    Ok(())
}

fn get_topic(body: &mut Bytes) -> Result<OffsetFetchRequestTopics> {
    let topic = OffsetFetchRequestTopics::default()
        .with_topic_id(get_uuid(body)?)
        .with_partition_indexes(get_array(body, get_i32)?);
    skip_tagged_fields(body)?;
    Ok(topic)
}

fn put_topic(out: &mut Vec<u8>, topic: &OffsetFetchRequestTopics) -> Result<()> {
    put_uuid(out, topic.topic_id);
    put_array(out, &topic.partition_indexes, |out, index| {
        out.put_i32(*index);
        Ok(())
    })?;
    put_no_tagged_fields(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrBytes;
    use crate::next_version::Newest;
    use kafka_protocol::protocol::{Decodable, Encodable};
    use uuid::Uuid;

    #[test]
    fn a_fetch_by_id_is_written_and_read_as_kafka_has_it() {
        let id = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let topic = OffsetFetchRequestTopics::default()
            .with_topic_id(id)
            .with_partition_indexes(vec![0, 258]);
        let some = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_static_str("g")))
            .with_member_id(Some(StrBytes::from_static_str("me")))
            .with_member_epoch(6)
            .with_topics(Some(vec![topic]));
        let all = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_static_str("h")))
            .with_member_id(None)
            .with_member_epoch(-1)
            .with_topics(None);
        let request = Newest(
            OffsetFetchRequest::default()
                .with_groups(vec![some, all])
                .with_require_stable(true),
        );
        // As the schema of Apache Kafka 4.3.1 says.
        let bytes: &[u8] = &[
            3, 2, b'g', 3, b'm', b'e', 0, 0, 0, 6, // the first of two groups
            2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // one topic
            3, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, // two partitions
            2, b'h', 0, 0xff, 0xff, 0xff, 0xff, 0, 0, // no list of topics
            1, 0,
        ];
        let mut written = Vec::new();
        request.encode(&mut written, 10).expect("it encodes");
        assert_eq!(written, bytes);
        let read = Newest::decode(&mut Bytes::copy_from_slice(bytes), 10).expect("it decodes");
        assert_eq!(read, request);
        for end in 0..bytes.len() {
            let mut cut = Bytes::copy_from_slice(&bytes[..end]);
            assert!(Newest::<OffsetFetchRequest>::decode(&mut cut, 10).is_err());
        }
    }
}
