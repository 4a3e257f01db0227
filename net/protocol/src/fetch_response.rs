//! Answers to Fetch, encoded around records that are never copied.
//!
//! The answer is a list of parts to be written one after another: bytes, and between them the
//! records of each partition that has any, as whatever the caller calls them (slices of a buffer,
//! a range of a file). Versions 4 to 18.

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::{EncodeError, SIZE_BYTES};
use crate::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, StrBytes, TopicId};

/// An answer, its records not yet encoded.
#[derive(Debug, Clone)]
pub struct FetchResponse<P> {
    /// How long the client was or will be held back.
    pub throttle_time_ms: i32,
    /// The request's error code; from version 7.
    pub error_code: i16,
    /// The fetch session, or 0; from version 7.
    pub session_id: i32,
    /// The topics, by name up to version 12 and by id from 13.
    pub topics: Vec<FetchedTopic<P>>,
    /// Where the leaders named by partitions are; from version 16.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// A topic of an answer.
#[derive(Debug, Clone)]
pub struct FetchedTopic<P> {
    /// Its name.
    pub name: StrBytes,
    /// Its id.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition<P>>,
}

/// A partition of an answer.
#[derive(Debug, Clone)]
pub struct FetchedPartition<P> {
    /// Its number.
    pub partition: PartitionIndex,
    /// Its error code.
    pub error_code: i16,
    /// Its high watermark, or −1.
    pub high_watermark: Offset,
    /// Its last stable offset, or −1.
    pub last_stable_offset: Offset,
    /// Its log start offset, or −1; from version 5.
    pub log_start_offset: Offset,
    /// Where the reader's log leaves the leader's; from version 12.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// The leader, for a reader that asked another broker; from version 12.
    pub current_leader: Option<CurrentLeader>,
    /// The aborted transactions among the records, for readers of committed records.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica to read from instead, or −1; from version 11.
    pub preferred_read_replica: NodeId,
    /// The records; without any, they are encoded as zero bytes and not as null.
    pub records: Option<FetchedRecords<P>>,
}

impl<P> FetchedPartition<P> {
    /// A partition with an error and no records.
    pub fn error(partition: PartitionIndex, error_code: i16) -> FetchedPartition<P> {
        FetchedPartition {
            partition,
            error_code,
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start_offset: Offset(-1),
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: NodeId(-1),
            records: None,
        }
    }
}

/// Records that stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedRecords<P> {
    /// Their bytes.
    pub size: usize,
    /// What stands for them.
    pub payload: P,
}

/// The end of an epoch in the leader's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The offset after its last record.
    pub end_offset: Offset,
}

/// A partition's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The broker.
    pub leader_id: NodeId,
    /// Its term.
    pub leader_epoch: LeaderEpoch,
}

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker.
    pub node_id: NodeId,
    /// Its host.
    pub host: StrBytes,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

/// A piece of an encoded answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<P> {
    /// Bytes to be written as they are.
    Bytes(Bytes),
    /// Records to be written from where they are; never of size 0.
    Records(FetchedRecords<P>),
}

impl<P> Part<P> {
    /// How many bytes it is on the wire.
    pub fn size(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::Records(records) => records.size,
        }
    }
}

impl<P> FetchResponse<P> {
    /// Encodes the answer, its frame's size and header first. The parts' sizes sum up to the
    /// frame's and its size field.
    pub fn encode(self, correlation_id: i32, version: i16) -> Result<Vec<Part<P>>, EncodeError> {
        if !(4..=18).contains(&version) {
            return Err(EncodeError::new(version, "Fetch has versions 4 to 18"));
        }
        let mut writer = Writer {
            bytes: BytesMut::with_capacity(256),
            version,
            cuts: Vec::new(),
        };
        writer.bytes.put_i32(0);
        writer.bytes.put_i32(correlation_id);
        writer.no_tagged_fields();
        writer.body(self)?;
        writer.into_parts()
    }
}

struct Writer<P> {
    bytes: BytesMut,
    version: i16,
    /// Records, and how many bytes precede them.
    cuts: Vec<(usize, FetchedRecords<P>)>,
}

impl<P> Writer<P> {
    fn body(&mut self, response: FetchResponse<P>) -> Result<(), EncodeError> {
        self.bytes.put_i32(response.throttle_time_ms);
        if self.version >= 7 {
            self.bytes.put_i16(response.error_code);
            self.bytes.put_i32(response.session_id);
        }
        self.array_length(response.topics.len())?;
        for topic in response.topics {
            self.topic(topic)?;
        }
        if self.version >= 16 && !response.node_endpoints.is_empty() {
            self.bytes.put_u8(1);
            let value = self.apart(|writer| writer.node_endpoints(&response.node_endpoints))?;
            self.tagged_field(0, &value)?;
        } else {
            self.no_tagged_fields();
        }
        Ok(())
    }

    fn topic(&mut self, topic: FetchedTopic<P>) -> Result<(), EncodeError> {
        if self.version >= 13 {
            self.bytes.put_slice(topic.topic_id.0.as_bytes());
        } else {
            self.string(&topic.name)?;
        }
        self.array_length(topic.partitions.len())?;
        for partition in topic.partitions {
            self.partition(partition)?;
        }
        self.no_tagged_fields();
        Ok(())
    }

    fn partition(&mut self, partition: FetchedPartition<P>) -> Result<(), EncodeError> {
        self.bytes.put_i32(partition.partition.0);
        self.bytes.put_i16(partition.error_code);
        self.bytes.put_i64(partition.high_watermark.0);
        self.bytes.put_i64(partition.last_stable_offset.0);
        if self.version >= 5 {
            self.bytes.put_i64(partition.log_start_offset.0);
        }
        self.aborted_transactions(partition.aborted_transactions.as_deref())?;
        if self.version >= 11 {
            self.bytes.put_i32(partition.preferred_read_replica.0);
        }
        let size = partition.records.as_ref().map_or(0, |records| records.size);
        if self.is_flexible() {
            self.compact_length(size)?;
        } else {
            let size = self.fits_i32(size)?;
            self.bytes.put_i32(size);
        }
        if let Some(records) = partition.records.filter(|records| records.size > 0) {
            self.cuts.push((self.bytes.len(), records));
        }
        self.partition_tags(partition.diverging_epoch, partition.current_leader)
    }

    fn aborted_transactions(
        &mut self,
        transactions: Option<&[AbortedTransaction]>,
    ) -> Result<(), EncodeError> {
        let Some(transactions) = transactions else {
            if self.is_flexible() {
                self.bytes.put_u8(0);
            } else {
                self.bytes.put_i32(-1);
            }
            return Ok(());
        };
        self.array_length(transactions.len())?;
        for transaction in transactions {
            self.bytes.put_i64(transaction.producer_id.0);
            self.bytes.put_i64(transaction.first_offset.0);
            self.no_tagged_fields();
        }
        Ok(())
    }

    fn partition_tags(
        &mut self,
        diverging_epoch: Option<EpochEndOffset>,
        current_leader: Option<CurrentLeader>,
    ) -> Result<(), EncodeError> {
        if !self.is_flexible() {
            return Ok(());
        }
        let count = u8::from(diverging_epoch.is_some()) + u8::from(current_leader.is_some());
        self.bytes.put_u8(count);
        if let Some(EpochEndOffset { epoch, end_offset }) = diverging_epoch {
            let mut value = [0; 13];
            value[..4].copy_from_slice(&epoch.0.to_be_bytes());
            value[4..12].copy_from_slice(&end_offset.0.to_be_bytes());
            self.tagged_field(0, &value)?;
        }
        if let Some(CurrentLeader {
            leader_id,
            leader_epoch,
        }) = current_leader
        {
            let mut value = [0; 9];
            value[..4].copy_from_slice(&leader_id.0.to_be_bytes());
            value[4..8].copy_from_slice(&leader_epoch.0.to_be_bytes());
            self.tagged_field(1, &value)?;
        }
        Ok(())
    }

    fn node_endpoints(&mut self, endpoints: &[NodeEndpoint]) -> Result<(), EncodeError> {
        self.array_length(endpoints.len())?;
        for endpoint in endpoints {
            self.bytes.put_i32(endpoint.node_id.0);
            self.string(&endpoint.host)?;
            self.bytes.put_i32(endpoint.port);
            match &endpoint.rack {
                Some(rack) => self.string(rack)?,
                None => self.bytes.put_u8(0),
            }
            self.no_tagged_fields();
        }
        Ok(())
    }

    /// What `write` appends, taken off again.
    fn apart(
        &mut self,
        write: impl FnOnce(&mut Writer<P>) -> Result<(), EncodeError>,
    ) -> Result<Bytes, EncodeError> {
        let start = self.bytes.len();
        write(self)?;
        Ok(self.bytes.split_off(start).freeze())
    }

    fn is_flexible(&self) -> bool {
        self.version >= 12
    }

    fn no_tagged_fields(&mut self) {
        if self.is_flexible() {
            self.bytes.put_u8(0);
        }
    }

    fn tagged_field(&mut self, tag: u8, value: &[u8]) -> Result<(), EncodeError> {
        self.bytes.put_u8(tag);
        let size = self.fits_i32(value.len())?;
        self.unsigned_varint(size.cast_unsigned());
        self.bytes.put_slice(value);
        Ok(())
    }

    fn array_length(&mut self, length: usize) -> Result<(), EncodeError> {
        if self.is_flexible() {
            return self.compact_length(length);
        }
        let length = self.fits_i32(length)?;
        self.bytes.put_i32(length);
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), EncodeError> {
        let length = i16::try_from(text.len())
            .map_err(|_| EncodeError::new(self.version, "a string is longer than 32767 bytes"))?;
        if self.is_flexible() {
            self.compact_length(text.len())?;
        } else {
            self.bytes.put_i16(length);
        }
        self.bytes.put_slice(text.as_bytes());
        Ok(())
    }

    fn compact_length(&mut self, length: usize) -> Result<(), EncodeError> {
        let length = self.fits_i32(length)?;
        self.unsigned_varint((length + 1).cast_unsigned());
        Ok(())
    }

    fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8((value as u8) | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    fn fits_i32(&self, length: usize) -> Result<i32, EncodeError> {
        let length = i32::try_from(length)
            .ok()
            .filter(|length| *length < i32::MAX);
        length.ok_or_else(|| EncodeError::new(self.version, "a length is beyond 2 GiB"))
    }

    fn into_parts(mut self) -> Result<Vec<Part<P>>, EncodeError> {
        let records: usize = self.cuts.iter().map(|(_, records)| records.size).sum();
        let size = self.fits_i32(self.bytes.len() - SIZE_BYTES + records)?;
        self.bytes[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());

        let bytes = self.bytes.freeze();
        let mut parts = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut start = 0;
        for (end, records) in self.cuts {
            parts.push(Part::Bytes(bytes.slice(start..end)));
            parts.push(Part::Records(records));
            start = end;
        }
        if start < bytes.len() {
            parts.push(Part::Bytes(bytes.slice(start..)));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests;
