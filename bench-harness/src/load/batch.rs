//! Batches whose records were encoded once.
//!
//! A whole batch costs its header and its first record: the others are sent from the template's
//! memory. The header has the producer, its sequence number and the time, the first record the
//! stamp; the CRC over all of it is put together from the CRC of these few bytes and the known one
//! of the rest. Only where that cannot be (keys, or a compressed batch that is stamped or not
//! whole) are records copied.

use bytes::Bytes;
use millstream_protocol::compression::{Codec, compress};
use millstream_protocol::cursor::{put_varint, varint_size};
use millstream_protocol::record_batch::{BatchAttributes, BatchHeader};
use millstream_protocol::{LeaderEpoch, Offset, ProducerId};

use super::payload::{self, Random};
use super::size::Sizes;
use super::stamp::Stamp;
use crate::failure::Failure;

/// Bytes of a key: its number in hexadecimal.
const KEY_BYTES: usize = 8;
/// Where sizes vary, templates are made until they hold so many records together.
const VARIETY_RECORDS: usize = 4096;
/// The memory that this may take on each core.
const VARIETY_BYTES: usize = 16 << 20;
/// The seed of what values hold.
const SEED: u64 = 0x6d69_6c6c;

/// What the batches of a run are like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// How large values are.
    pub sizes: Sizes,
    /// How many keys there are; 0 for records without one.
    pub keys: u64,
    /// How batches are compressed.
    pub codec: Codec,
    /// By how much values can be compressed.
    pub ratio: f64,
    /// The largest batch, before compression.
    pub batch_bytes: usize,
    /// The most records of a batch.
    pub batch_records: usize,
    /// Whether each batch tells when its records were due.
    pub stamped: bool,
}

/// The producer of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// What distinguishes a batch from others of its template.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// How many of the template's records it has, at least one.
    pub count: usize,
    /// When its records are due.
    pub stamp: Option<Stamp>,
    /// Its producer and the first record's sequence number.
    pub producer: Option<(Identity, i32)>,
    /// The time of its records.
    pub time_ms: i64,
}

/// The records of a batch.
pub struct Template {
    shape: Shape,
    /// Encoded, one after another.
    records: Bytes,
    /// Where each ends.
    ends: Vec<usize>,
    /// Bytes of keys and values up to each, itself included.
    contents: Vec<u64>,
    /// Where the first record's value starts.
    first_value: usize,
    /// Where keys start; empty without keys.
    keys: Vec<usize>,
    whole: Option<Whole>,
}

/// What all whole batches have in common.
struct Whole {
    /// What follows the part that is written anew.
    rest: Bytes,
    rest_crc: u32,
    /// What the CRC of the part before `rest` becomes by so many bytes that follow, bit by bit.
    shift: [u32; 32],
}

impl Template {
    /// The templates of a core: one where all values have one size, some more otherwise.
    pub fn prepare(shape: &Shape) -> Result<Vec<Template>, Failure> {
        let mut random = Random::new(SEED);
        let mut templates = vec![Template::new(shape, &mut random)?];
        if !shape.sizes.is_fixed() {
            let first = &templates[0];
            let by_records = VARIETY_RECORDS / first.ends.len();
            let by_bytes = VARIETY_BYTES / first.records.len().max(1);
            for _ in 1..by_records.min(by_bytes) {
                templates.push(Template::new(shape, &mut random)?);
            }
        }
        Ok(templates)
    }

    fn new(shape: &Shape, random: &mut Random) -> Result<Template, Failure> {
        let mut template = Template {
            shape: shape.clone(),
            records: Bytes::new(),
            ends: Vec::new(),
            contents: Vec::new(),
            first_value: 0,
            keys: Vec::new(),
            whole: None,
        };
        let mut records = Vec::new();
        let mut contents = 0;
        while template.ends.len() < shape.batch_records.max(1) {
            let mut value = vec![0; shape.sizes.draw(random)];
            payload::fill(&mut value, shape.ratio, random);
            let before = records.len();
            template.push(&mut records, &value);
            let is_first = template.ends.is_empty();
            if BatchHeader::SIZE + records.len() > shape.batch_bytes && !is_first {
                records.truncate(before);
                template.keys.truncate(template.ends.len());
                break;
            }
            contents += value.len() as u64;
            contents += if shape.keys > 0 { KEY_BYTES as u64 } else { 0 };
            template.ends.push(records.len());
            template.contents.push(contents);
        }
        template.records = records.into();
        template.whole = template.whole()?;
        Ok(template)
    }

    /// Encodes a record that follows those in `records`.
    fn push(&mut self, records: &mut Vec<u8>, value: &[u8]) {
        let delta = i32::try_from(self.ends.len()).expect("a batch has fewer than 2³¹ records");
        let value_length = i32::try_from(value.len()).expect("sizes are bounded");
        let keyed = self.shape.keys > 0;
        let key_length = if keyed { KEY_BYTES as i32 } else { -1 };
        let key_size = varint_size(key_length) + if keyed { KEY_BYTES } else { 0 };
        let value_size = varint_size(value_length) + value.len();
        // Attributes, the delta of the time, and the count of headers take one byte each.
        let length = 3 + varint_size(delta) + key_size + value_size;
        put_varint(records, i32::try_from(length).expect("sizes are bounded"));
        records.extend_from_slice(&[0, 0]);
        put_varint(records, delta);
        put_varint(records, key_length);
        if keyed {
            self.keys.push(records.len());
            records.extend_from_slice(&[b'0'; KEY_BYTES]);
        }
        put_varint(records, value_length);
        if self.ends.is_empty() {
            self.first_value = records.len();
        }
        records.extend_from_slice(value);
        records.push(0);
    }

    fn whole(&self) -> Result<Option<Whole>, Failure> {
        if self.shape.keys > 0 {
            return Ok(None);
        }
        let rest = match self.shape.codec {
            Codec::None => self.records.slice(self.ends[0]..),
            _ if self.shape.stamped => return Ok(None),
            codec => shrink(codec, &self.records)?.into(),
        };
        let shift = std::array::from_fn(|bit| crc32c::crc32c_combine(1 << bit, 0, rest.len()));
        Ok(Some(Whole {
            rest_crc: crc32c::crc32c(&rest),
            rest,
            shift,
        }))
    }

    /// The most records of a batch.
    pub fn records_max(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of keys and values of the first `count` records.
    pub fn content_bytes(&self, count: usize) -> u64 {
        self.contents[count - 1]
    }

    /// Writes the start of a batch behind what is in `head` and gives what follows it.
    pub fn write(
        &self,
        label: &Label,
        random: &mut Random,
        head: &mut Vec<u8>,
    ) -> Result<Bytes, Failure> {
        let begin = head.len();
        head.extend_from_slice(&[0; BatchHeader::SIZE]);
        let is_whole = label.count == self.ends.len();
        let plain = self.shape.codec == Codec::None && self.shape.keys == 0;
        if plain {
            self.write_first(label, head);
        }
        let shared = self.whole.as_ref().filter(|_| is_whole);
        let rest = match shared {
            Some(whole) => whole.rest.clone(),
            None if plain => self.records.slice(self.ends[0]..self.ends[label.count - 1]),
            None => self.copy(label, random)?,
        };
        let length = head.len() - begin - BatchHeader::LOG_OVERHEAD + rest.len();
        let header = self.header(label, length);
        head[begin..begin + BatchHeader::SIZE].copy_from_slice(&header.to_bytes());
        let crc = crc32c::crc32c(&head[begin + BatchHeader::CRC_START..]);
        let crc = match shared {
            Some(whole) => whole.crc_behind(crc),
            None => crc32c::crc32c_append(crc, &rest),
        };
        let crc_at = begin + BatchHeader::CRC_START - size_of::<u32>();
        head[crc_at..crc_at + size_of::<u32>()].copy_from_slice(&crc.to_be_bytes());
        Ok(rest)
    }

    /// Appends the first record.
    fn write_first(&self, label: &Label, head: &mut Vec<u8>) {
        let at = head.len();
        head.extend_from_slice(&self.records[..self.ends[0]]);
        if let Some(stamp) = &label.stamp {
            stamp.write(&mut head[at + self.first_value..]);
        }
    }

    /// The records of a batch that shares none of them.
    fn copy(&self, label: &Label, random: &mut Random) -> Result<Bytes, Failure> {
        let mut records = self.records[..self.ends[label.count - 1]].to_vec();
        if let Some(stamp) = &label.stamp {
            stamp.write(&mut records[self.first_value..]);
        }
        for key in self.keys.iter().take(label.count) {
            let number = random.below(self.shape.keys);
            let text = format!("{number:0KEY_BYTES$x}");
            records[*key..key + KEY_BYTES].copy_from_slice(text.as_bytes());
        }
        match self.shape.codec {
            Codec::None => Ok(records.into()),
            codec => Ok(shrink(codec, &records)?.into()),
        }
    }

    fn header(&self, label: &Label, batch_length: usize) -> BatchHeader {
        let count = i32::try_from(label.count).expect("a batch has fewer than 2³¹ records");
        let (identity, base_sequence) = label
            .producer
            .unwrap_or((Identity { id: -1, epoch: -1 }, -1));
        BatchHeader {
            base_offset: Offset(0),
            batch_length: i32::try_from(batch_length).expect("batches are bounded"),
            partition_leader_epoch: LeaderEpoch::NONE,
            crc: 0,
            attributes: BatchAttributes::default().with_codec(self.shape.codec),
            last_offset_delta: count - 1,
            base_timestamp: label.time_ms,
            max_timestamp: label.time_ms,
            producer_id: ProducerId(identity.id),
            producer_epoch: identity.epoch,
            base_sequence,
            records_count: count,
        }
    }
}

impl Whole {
    /// The CRC of a part with that CRC and the rest behind it.
    fn crc_behind(&self, crc: u32) -> u32 {
        let bits = self.shift.iter().enumerate();
        let set = bits.filter(|(bit, _)| crc >> bit & 1 == 1);
        set.fold(self.rest_crc, |shifted, (_, by)| shifted ^ by)
    }
}

fn shrink(codec: Codec, records: &[u8]) -> Result<Vec<u8>, Failure> {
    compress(codec, records).map_err(|cause| Failure::System(cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::stamp::RunClock;
    use millstream_protocol::compression::Decompressor;
    use millstream_protocol::record_batch::BatchView;
    use std::time::{Duration, Instant};

    fn shape(codec: Codec, keys: u64, stamped: bool) -> Shape {
        Shape {
            sizes: "20..200".parse().unwrap(),
            keys,
            codec,
            ratio: 3.0,
            batch_bytes: 4096,
            batch_records: usize::MAX,
            stamped,
        }
    }

    fn bytes(template: &Template, label: &Label) -> Vec<u8> {
        let mut head = b"before".to_vec();
        let rest = template
            .write(label, &mut Random::new(5), &mut head)
            .unwrap();
        [&head[b"before".len()..], &rest].concat()
    }

    /// Every way to make a batch makes a right one, with what was asked for in it.
    #[test]
    fn batches_are_right() {
        let clock = RunClock::new(9);
        for codec in Codec::ALL {
            for (keys, stamped) in [(0, false), (0, true), (50, false), (50, true)] {
                let template = &Template::prepare(&shape(codec, keys, stamped)).unwrap()[0];
                for count in [1, 2, template.records_max()] {
                    let due = Instant::now() + Duration::from_secs(1);
                    let stamp = stamped.then(|| Stamp::new(&clock, due, Duration::from_nanos(3)));
                    let producer = Some((Identity { id: 77, epoch: 3 }, 1000));
                    let label = Label {
                        count,
                        stamp,
                        producer,
                        time_ms: 1_700_000_000_000,
                    };
                    let bytes = bytes(template, &label);
                    let batch = BatchView::parse(&bytes).unwrap();
                    let what = format!("{codec} {keys} keys, stamped {stamped}, {count}");
                    assert_eq!(batch.bytes().len(), bytes.len(), "{what}");
                    assert_eq!(batch.check_crc(), Ok(()), "{what}");
                    let header = batch.header();
                    assert_eq!(header.producer_id, ProducerId(77));
                    assert_eq!((header.producer_epoch, header.base_sequence), (3, 1000));
                    let mut decompressor = Decompressor::default();
                    let records = batch.records(&mut decompressor, 1 << 20).unwrap();
                    let records: Vec<_> = records.map(|record| record.unwrap()).collect();
                    assert_eq!(records.len(), count, "{what}");
                    assert_eq!(records[count - 1].timestamp, 1_700_000_000_000);
                    let first = records[0].value.unwrap();
                    assert_eq!(
                        stamp.and_then(|_| Stamp::read(&clock, first)),
                        stamp,
                        "{what}"
                    );
                    let content = records.iter().map(|record| {
                        record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
                    });
                    assert_eq!(content.sum::<usize>() as u64, template.content_bytes(count));
                    for record in records {
                        assert_eq!(record.key.is_some(), keys > 0);
                    }
                }
            }
        }
    }

    #[test]
    fn batches_are_filled_to_their_limit() {
        let mut shape = shape(Codec::None, 0, false);
        for template in Template::prepare(&shape).unwrap() {
            let label = Label {
                count: template.records_max(),
                stamp: None,
                producer: None,
                time_ms: 0,
            };
            let len = bytes(&template, &label).len();
            assert!((4096 - 220..=4096).contains(&len), "{len}");
        }
        assert!(Template::prepare(&shape).unwrap().len() > 10);
        shape.batch_records = 3;
        assert_eq!(Template::prepare(&shape).unwrap()[0].records_max(), 3);
        // A record larger than a batch has one to itself.
        shape.batch_bytes = 10;
        assert_eq!(Template::prepare(&shape).unwrap()[0].records_max(), 1);
        shape.sizes = Sizes::fixed(100);
        assert_eq!(Template::prepare(&shape).unwrap().len(), 1);
    }

    #[test]
    fn every_key_comes() {
        let template = &Template::prepare(&shape(Codec::None, 16, false)).unwrap()[0];
        let mut found = std::collections::BTreeSet::new();
        let mut random = Random::new(1);
        for _ in 0..100 {
            let mut bytes = Vec::new();
            let label = Label {
                count: template.records_max(),
                stamp: None,
                producer: None,
                time_ms: 0,
            };
            let rest = template.write(&label, &mut random, &mut bytes).unwrap();
            bytes.extend_from_slice(&rest);
            let batch = BatchView::parse(&bytes).unwrap();
            let mut decompressor = Decompressor::default();
            for record in batch.records(&mut decompressor, 1 << 20).unwrap() {
                found.insert(record.unwrap().key.unwrap().to_vec());
            }
        }
        assert_eq!(found.len(), 16);
    }
}
