//! A connection that consumes: one fetch after another, each batch counted by its header.
//!
//! Records are not decoded, but for the first of each batch: it tells when the batch's records
//! were due, and how much of the batch is not keys and values. Compressed batches count as large as
//! they are, except where they must be decompressed for that first record.

use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use millstream_protocol::compression::{Codec, Decompressor};
use millstream_protocol::cursor::{Cursor, varint_size};
use millstream_protocol::frame::{decode_response, encode_request, response_correlation_id};
use millstream_protocol::messages::{FetchRequest, FetchResponse};
use millstream_protocol::record_batch::{BatchView, Batches};
use millstream_reactor::Stream;

use super::fetch_session::{FETCH_VERSION, FetchSession};
use super::stamp::Stamp;
use super::tally::Counts;
use super::topic;
use super::wire::{self, Answers};
use super::worker::Context;
use crate::failure::{Failure, accepted};

/// The name by which brokers know the load.
const CLIENT_ID: &str = "millstream-bench";
/// The largest batch when it is decompressed.
const DECOMPRESSED_MAX: usize = 1 << 30;
/// What is fetched, for messages about it.
const FETCHED: &str = "what was fetched";

/// A connection that is to consume.
#[derive(Debug)]
pub struct ConsumerLink {
    /// The broker.
    pub leader: SocketAddr,
    /// What is counted.
    pub purpose: Purpose,
    /// Its partitions, with where to begin and where their end was when the run was prepared.
    pub ranges: Vec<(i32, Range<i64>)>,
}

/// What a consumer's records count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// For the run's throughput and latency.
    Measured,
    /// It reads from the beginning, again and again.
    CatchUp,
}

/// Consumes until there is no more to consume, or it is dropped.
pub async fn consume(
    context: Rc<Context>,
    link: ConsumerLink,
    stream: Stream,
) -> Result<(), Failure> {
    let options = &context.plan.options;
    let starts = link.ranges.iter();
    let starts = starts.map(|(partition, range)| (*partition, range.start));
    let limits = (options.fetch_bytes, options.partition_fetch_bytes);
    let mut reader = Reader {
        context: &context,
        session: FetchSession::new(topic::name(&options.topic), limits, starts),
        decompressor: Decompressor::default(),
        link: &link,
    };
    let mut answers = Answers::default();
    let mut correlation_id = 0_i32;
    while !reader.has_all() {
        correlation_id = correlation_id.wrapping_add(1);
        let request = reader.session.request();
        let frame = encode_request(correlation_id, Some(CLIENT_ID), FETCH_VERSION, &request)
            .map_err(|error| Failure::malformed("a fetch", error))?;
        wire::send(&stream, vec![frame]).await?;
        let answer = answers.next(&stream).await?;
        let now = context.reactor.now();
        reader.take(&answer, correlation_id, now)?;
        answers.recycle(answer);
        if reader.is_at_end() && !reader.begin_again() {
            return Ok(());
        }
    }
    Ok(())
}

struct Reader<'a> {
    context: &'a Context,
    link: &'a ConsumerLink,
    session: FetchSession,
    decompressor: Decompressor,
}

impl Reader<'_> {
    /// Whether as many records were consumed as were asked for.
    fn has_all(&self) -> bool {
        let plan = &self.context.plan;
        let bound = plan.options.records.filter(|_| plan.producers == 0);
        bound.is_some_and(|records| self.context.shared.consumed_records() >= records)
    }

    /// Whether there was something to read, and all of it was read.
    fn is_at_end(&self) -> bool {
        let mut ranges = self.link.ranges.iter();
        ranges.clone().any(|(_, range)| !range.is_empty())
            && ranges.all(|(partition, range)| {
                let next = self.session.next(*partition);
                next.is_some_and(|next| next >= range.end)
            })
    }

    /// Goes back to where it began, or on to what may still come, if it is to.
    fn begin_again(&mut self) -> bool {
        let options = &self.context.plan.options;
        if options.again || self.link.purpose == Purpose::CatchUp {
            for (partition, range) in &self.link.ranges {
                self.session.seek(*partition, range.start);
            }
            return true;
        }
        options.records.is_some()
    }

    /// Counts what an answer brings.
    fn take(&mut self, answer: &Bytes, correlation_id: i32, now: Instant) -> Result<(), Failure> {
        let malformed = |cause: String| Failure::malformed("the answer to Fetch", cause);
        let found =
            response_correlation_id(answer).map_err(|error| malformed(error.to_string()))?;
        if found != correlation_id {
            return Err(malformed(format!(
                "it answers {found}, not {correlation_id}"
            )));
        }
        let answer: FetchResponse = decode_response::<FetchRequest>(FETCH_VERSION, answer.clone())
            .map_err(|error| malformed(error.to_string()))?;
        if !self.session.answered(answer.error_code, answer.session_id) {
            return Ok(());
        }
        accepted("fetching", answer.error_code)?;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let mut taken = Counts::default();
        for partition in partitions {
            accepted("fetching", partition.error_code)?;
            let Some(next) = self.session.next(partition.partition_index) else {
                let cause = format!("partition {} was not asked for", partition.partition_index);
                return Err(malformed(cause));
            };
            let records = partition.records.as_deref().unwrap_or_default();
            let reached = self.take_batches(records, next, now, &mut taken)?;
            if reached > next {
                self.session.seek(partition.partition_index, reached);
            }
        }
        // Stamped batches were counted one by one.
        if taken.records > 0 {
            taken.requests = 1;
            self.count(now, None, taken);
        }
        Ok(())
    }

    /// Counts the batches of a partition from the offset `next` on; gives the one that follows.
    fn take_batches(
        &mut self,
        records: &[u8],
        mut next: i64,
        now: Instant,
        taken: &mut Counts,
    ) -> Result<i64, Failure> {
        for batch in Batches::new(records) {
            let batch = batch.map_err(|error| Failure::malformed(FETCHED, error))?;
            let header = batch.header();
            let offsets = header.check_offsets();
            offsets.map_err(|error| Failure::malformed(FETCHED, error))?;
            if self.context.plan.options.verify {
                let crc = batch.check_crc();
                crc.map_err(|error| Failure::malformed(FETCHED, error))?;
            }
            let after = header.next_offset().0;
            if after <= next {
                continue;
            }
            next = after;
            if header.attributes.is_control() || header.records_count <= 0 {
                continue;
            }
            self.take_batch(&batch, now, taken)?;
        }
        Ok(next)
    }

    fn take_batch(
        &mut self,
        batch: &BatchView<'_>,
        now: Instant,
        taken: &mut Counts,
    ) -> Result<(), Failure> {
        let stamped = self.context.plan.shape.stamped && self.link.purpose == Purpose::Measured;
        let codec = batch.header().attributes.codec().unwrap_or_default();
        let mut counts = Counts {
            records: u64::from(batch.header().records_count.unsigned_abs()),
            bytes: batch.payload().len() as u64,
            requests: 0,
        };
        if codec != Codec::None && !stamped {
            taken.add(counts);
            return Ok(());
        }
        let records = batch.records(&mut self.decompressor, DECOMPRESSED_MAX);
        let mut records = records.map_err(|error| Failure::malformed(FETCHED, error))?;
        let Some(first) = records.next() else {
            return Ok(());
        };
        let first = first.map_err(|error| Failure::malformed(FETCHED, error))?;
        let value = first.value.unwrap_or_default();
        if codec == Codec::None {
            let content = first.key.map_or(0, <[u8]>::len) + value.len();
            counts.bytes = content_bytes(batch.payload(), counts.records, content as u64);
        }
        if !stamped {
            taken.add(counts);
            return Ok(());
        }
        if codec != Codec::None {
            counts.bytes = first.key.map_or(0, <[u8]>::len) as u64 + value.len() as u64;
            for record in records {
                let record = record.map_err(|error| Failure::malformed(FETCHED, error))?;
                let content = [record.key, record.value].into_iter().flatten();
                counts.bytes += content.map(|part| part.len() as u64).sum::<u64>();
            }
        }
        // Records of other runs are none of this one's.
        if let Some(stamp) = Stamp::read(&self.context.clock, value) {
            // An answer is one request, however many batches it has.
            counts.requests = 1 - std::mem::replace(&mut taken.requests, 1);
            self.count(now, Some(stamp), counts);
        }
        Ok(())
    }

    fn count(&self, now: Instant, stamp: Option<Stamp>, counts: Counts) {
        let context = self.context;
        let mut tally = context.tally.borrow_mut();
        if self.link.purpose == Purpose::CatchUp {
            return tally.caught_up(now, counts);
        }
        context.progress(now);
        let due = stamp.map(|stamp| stamp.due(&context.clock));
        tally.consumed(now, due, counts);
        if let (Some(stamp), Some(due)) = (stamp, due) {
            tally.latency(now, due, stamp.step(), counts.records);
        }
        let own = if stamp.is_some() { counts.records } else { 0 };
        context.shared.consumed(counts.records, counts.bytes, own);
    }
}

/// Bytes of keys and values of a batch that is not compressed: each record has as much besides as
/// the first, whose keys and values have `first` bytes, but for the size of its offset.
fn content_bytes(payload: &[u8], records: u64, first: u64) -> u64 {
    let mut cursor = Cursor::new(payload);
    let length = cursor.varint().unwrap_or(0);
    let size = varint_size(length) as u64 + u64::from(length.unsigned_abs());
    // Offsets take a second byte from the 64th record on, and a third from the 8,192nd on.
    let offsets = records.saturating_sub(64) + records.saturating_sub(8192);
    let besides = size.saturating_sub(first) * records + offsets;
    (payload.len() as u64).saturating_sub(besides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_protocol::record_batch::BatchBuilder;

    #[test]
    fn keys_and_values_are_told_from_the_rest() {
        for (count, key, size) in [
            (1, Some(&b"key"[..]), 10),
            (50, None, 1024),
            (9000, None, 100),
        ] {
            let mut builder = BatchBuilder::new(Codec::None);
            let value = vec![b'x'; size];
            for _ in 0..count {
                builder.push(7, key, Some(&value), &[]);
            }
            let bytes = builder.build().unwrap();
            let batch = BatchView::parse(&bytes).unwrap();
            let content = (size + key.map_or(0, <[u8]>::len)) as u64;
            assert_eq!(
                content_bytes(batch.payload(), count, content),
                content * count
            );
        }
    }
}
