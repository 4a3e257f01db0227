//! Produce requests of version 7, which Kafka 2.1 and later have, as parts that are sent without
//! being joined.
//!
//! ```text
//! size i32 | key i16 = 0 | version i16 = 7 | correlation id i32 | client id string
//! transactional id nullable string | acks i16 | timeout i32
//! topics i32 = 1: name string | partitions i32: (index i32 | bytes i32 | batch)*
//! ```

use bytes::Bytes;
use millstream_protocol::messages::ProduceResponse;

use crate::failure::{Failure, accepted};

/// The version that is written.
pub const PRODUCE_VERSION: i16 = 7;
/// The name by which brokers know the load.
const CLIENT_ID: &str = "millstream-bench";
/// How long the broker may take.
const TIMEOUT_MS: i32 = 30_000;
/// The rest of a batch is sent from its own memory from this size on; a shorter one is copied.
const APART_MIN: usize = 8 * 1024;

/// Writes the requests of a connection.
pub struct ProduceFrame {
    /// From the key to the topic's name; the correlation id is patched.
    prefix: Vec<u8>,
    /// What is not sent from elsewhere.
    written: Vec<u8>,
    /// What is, and where in `written` it belongs.
    apart: Vec<(usize, Bytes)>,
    apart_bytes: usize,
    partitions: i32,
    next_correlation_id: i32,
}

impl ProduceFrame {
    /// Requests for one topic.
    pub fn new(topic: &str, acks: i16) -> ProduceFrame {
        let mut prefix = Vec::new();
        prefix.extend_from_slice(&[0, 0]);
        prefix.extend_from_slice(&PRODUCE_VERSION.to_be_bytes());
        prefix.extend_from_slice(&[0; 4]);
        put_string(&mut prefix, CLIENT_ID);
        prefix.extend_from_slice(&(-1_i16).to_be_bytes());
        prefix.extend_from_slice(&acks.to_be_bytes());
        prefix.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
        prefix.extend_from_slice(&1_i32.to_be_bytes());
        put_string(&mut prefix, topic);
        ProduceFrame {
            prefix,
            written: Vec::new(),
            apart: Vec::new(),
            apart_bytes: 0,
            partitions: 0,
            next_correlation_id: 0,
        }
    }

    /// Starts a request.
    pub fn begin(&mut self) {
        self.written.clear();
        self.apart.clear();
        (self.apart_bytes, self.partitions) = (0, 0);
        self.written.extend_from_slice(&[0; SIZE]);
        self.written.extend_from_slice(&self.prefix);
        self.written.extend_from_slice(&[0; SIZE]);
    }

    /// Adds a batch for a partition that the request does not have yet: `write` appends the start
    /// of the batch and gives what follows.
    pub fn push<E>(
        &mut self,
        partition: i32,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Bytes, E>,
    ) -> Result<(), E> {
        self.written.extend_from_slice(&partition.to_be_bytes());
        let length_at = self.written.len();
        self.written.extend_from_slice(&[0; SIZE]);
        let rest = write(&mut self.written)?;
        let length = self.written.len() - length_at - SIZE + rest.len();
        patch(&mut self.written, length_at, length);
        if rest.len() < APART_MIN {
            self.written.extend_from_slice(&rest);
        } else {
            self.apart_bytes += rest.len();
            self.apart.push((self.written.len(), rest));
        }
        self.partitions += 1;
        Ok(())
    }

    /// The request's parts, and the correlation id that its answer has.
    pub fn finish(&mut self) -> (i32, Vec<Bytes>) {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let size = self.written.len() - SIZE + self.apart_bytes;
        patch(&mut self.written, 0, size);
        self.written[CORRELATION_ID_AT..CORRELATION_ID_AT + SIZE]
            .copy_from_slice(&correlation_id.to_be_bytes());
        let partitions_at = SIZE + self.prefix.len();
        self.written[partitions_at..partitions_at + SIZE]
            .copy_from_slice(&self.partitions.to_be_bytes());
        let written = Bytes::copy_from_slice(&self.written);
        let mut parts = Vec::with_capacity(2 * self.apart.len() + 1);
        let mut from = 0;
        for (at, rest) in self.apart.drain(..) {
            parts.push(written.slice(from..at));
            parts.push(rest);
            from = at;
        }
        parts.push(written.slice(from..));
        (correlation_id, parts)
    }
}

const SIZE: usize = size_of::<i32>();
/// After size, key and version.
const CORRELATION_ID_AT: usize = 8;

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("names are shorter than 32 KiB");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn patch(bytes: &mut [u8], at: usize, length: usize) {
    let length = i32::try_from(length).expect("requests are bounded");
    bytes[at..at + SIZE].copy_from_slice(&length.to_be_bytes());
}

/// Whether the broker has taken all that was produced.
pub fn check_produced(answer: &ProduceResponse) -> Result<(), Failure> {
    let partitions = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    for partition in partitions {
        accepted("producing", partition.error_code)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_protocol::frame::{decode_request, parse_request_header};
    use millstream_protocol::messages::ProduceRequest;
    use std::convert::Infallible;

    #[test]
    fn requests_are_what_a_broker_reads() {
        let mut frame = ProduceFrame::new("orders", -1);
        for id in 0..2 {
            let batches = [vec![1; 100], vec![2; 20_000], vec![3; 7], vec![4; 9_000]];
            frame.begin();
            for (partition, batch) in (5..).zip(&batches) {
                let written = frame.push(partition, |head| {
                    head.extend_from_slice(&batch[..5]);
                    Ok::<_, Infallible>(Bytes::copy_from_slice(&batch[5..]))
                });
                assert!(written.is_ok());
            }
            let (correlation_id, parts) = frame.finish();
            assert_eq!((correlation_id, parts.len()), (id, 5));
            let mut bytes = Bytes::from(parts.concat());
            let size = bytes.split_to(SIZE);
            let size = i32::from_be_bytes(size[..].try_into().unwrap());
            assert_eq!(bytes.len(), size as usize);
            let header = parse_request_header(&mut bytes).unwrap();
            assert_eq!(
                (header.version, header.correlation_id),
                (PRODUCE_VERSION, id)
            );
            assert_eq!(header.client_id.as_deref(), Some(CLIENT_ID));
            let request: ProduceRequest = decode_request(PRODUCE_VERSION, bytes).unwrap();
            assert_eq!((request.acks, request.timeout_ms), (-1, TIMEOUT_MS));
            assert_eq!(request.transactional_id, None);
            let topic = &request.topic_data[0];
            assert_eq!(topic.name.as_str(), "orders");
            for ((partition, batch), index) in topic.partition_data.iter().zip(&batches).zip(5..) {
                assert_eq!(partition.index, index);
                assert_eq!(partition.records.as_deref(), Some(&batch[..]));
            }
        }
    }
}
