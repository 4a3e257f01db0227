//! DescribeLogDirs 5: the request is as in version 4; of each folder is told whether it is cordoned,
//! behind what version 4 tells of it.
//!
//! ```text
//! response: throttle time i32 | error i16 | [folder] | tagged
//! folder:   error i16 | path | [topic] | total bytes i64 | usable bytes i64 | cordoned bool | tagged
//! topic:    as in version 4
//! ```
//!
//! No folder of Millstream's can be cordoned, so the flag is written as false and passed over when
//! it is read.

use anyhow::Result;
use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::NextVersion;
use super::compact_form::{
    expect_end, get_array, get_bool, get_i32, get_text, put_array, put_no_tagged_fields, put_text,
    skip_tagged_fields,
};
use crate::messages::describe_log_dirs_response::{DescribeLogDirsResult, DescribeLogDirsTopic};
use crate::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

/// The version that topics look like.
const TOPIC_VERSION: i16 = 4;

impl NextVersion for DescribeLogDirsRequest {
    const VERSION: i16 = 5;
}

impl NextVersion for DescribeLogDirsResponse {
    const VERSION: i16 = 5;

    fn decode_next(mut body: Bytes) -> Result<DescribeLogDirsResponse> {
        let response = DescribeLogDirsResponse::default()
            .with_throttle_time_ms(get_i32(&mut body)?)
            .with_error_code(body.try_get_i16()?)
            .with_results(get_array(&mut body, get_folder)?);
        skip_tagged_fields(&mut body)?;
        expect_end(&body)?;
        Ok(response)
    }

    fn encode_next(&self, out: &mut Vec<u8>) -> Result<()> {
        out.put_i32(self.throttle_time_ms);
        out.put_i16(self.error_code);
        put_array(out, &self.results, put_folder)?;
        put_no_tagged_fields(out);
        Ok(())
    }
}

fn get_folder(body: &mut Bytes) -> Result<DescribeLogDirsResult> {
    let folder = DescribeLogDirsResult::default()
        .with_error_code(body.try_get_i16()?)
        .with_log_dir(get_text(body)?)
        .with_topics(get_array(body, |body| {
            DescribeLogDirsTopic::decode(body, TOPIC_VERSION)
        })?)
        .with_total_bytes(body.try_get_i64()?)
        .with_usable_bytes(body.try_get_i64()?);
    get_bool(body)?;
    skip_tagged_fields(body)?;
    Ok(folder)
}

fn put_folder(out: &mut Vec<u8>, folder: &DescribeLogDirsResult) -> Result<()> {
    out.put_i16(folder.error_code);
    put_text(out, &folder.log_dir)?;
    put_array(out, &folder.topics, |out, topic| {
        topic.encode(out, TOPIC_VERSION)
    })?;
    out.put_i64(folder.total_bytes);
    out.put_i64(folder.usable_bytes);
    let is_cordoned = false;
    out.put_u8(u8::from(is_cordoned));
    put_no_tagged_fields(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrBytes;
    use crate::messages::TopicName;
    use crate::messages::describe_log_dirs_response::DescribeLogDirsPartition;
    use crate::next_version::Newest;

    fn folder() -> DescribeLogDirsResult {
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(1)
            .with_partition_size(2);
        let topic = DescribeLogDirsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![partition]);
        DescribeLogDirsResult::default()
            .with_log_dir(StrBytes::from_static_str("/d"))
            .with_topics(vec![topic])
            .with_total_bytes(9)
            .with_usable_bytes(8)
    }

    #[test]
    fn no_folder_is_cordoned() {
        let response = DescribeLogDirsResponse::default().with_results(vec![folder()]);
        let (mut before, mut written) = (Vec::new(), Vec::new());
        response.encode(&mut before, 4).expect("it encodes");
        let response = Newest(response);
        response.encode(&mut written, 5).expect("it encodes");
        // Before the tagged fields of the folder and of the response.
        before.insert(before.len() - 2, 0);
        assert_eq!(written, before);
        let read = Newest::decode(&mut Bytes::from(written.clone()), 5).expect("it decodes");
        assert_eq!(read, response);
        let flag = written.len() - 3;
        written[flag] = 1;
        let read = Newest::decode(&mut Bytes::from(written), 5).expect("it decodes");
        assert_eq!(read, response);
    }
}
