//! The files `<offset>.snapshot`: the producers of a log as they were before that offset.
//!
//! Kafka's format, version 1, big endian:
//!
//! ```text
//! version i16 | CRC-32C u32 of what follows | count i32 | entries
//! entry: producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32
//!        | timestamp i64 | coordinator epoch i32 | first offset of the open transaction i64
//! ```
//!
//! That has the last batch of each producer only. A broker that was killed just after a snapshot
//! would not know the batches before it again when the producer repeats them; so they follow
//! behind the entries, where Kafka does not look, if there are any:
//!
//! ```text
//! for each entry, in order: count u8 | earlier batches, oldest first
//! batch: last sequence i32 | last offset i64 | offset delta i32 | timestamp i64
//! ```

use std::collections::VecDeque;

use crate::producer_state::{BatchMetadata, ProducerState, ProducerStates, REMEMBERED_BATCHES};

const VERSION: i16 = 1;
const ENTRIES_START: usize = 6;
const ENTRY_LEN: usize = 46;

/// The file's bytes; producers in the order of their ids.
pub fn encode(states: &ProducerStates) -> Vec<u8> {
    let mut entries: Vec<(i64, &ProducerState)> = states.iter().collect();
    entries.sort_by_key(|(id, _)| *id);
    let mut bytes = Vec::with_capacity(ENTRIES_START + 4 + entries.len() * ENTRY_LEN);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(entries.len() as i32).to_be_bytes());
    for (id, state) in &entries {
        let last = state.batches.back();
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&state.epoch.to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |b| b.last_sequence).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |b| b.last_offset).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(0, |b| b.offset_delta).to_be_bytes());
        bytes.extend_from_slice(&state.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&state.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    if entries.iter().any(|(_, state)| state.batches.len() > 1) {
        entries
            .iter()
            .for_each(|(_, state)| encode_earlier(state, &mut bytes));
    }
    let crc = crc32c::crc32c(&bytes[ENTRIES_START..]);
    bytes[2..ENTRIES_START].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The batches of a producer before its last.
fn encode_earlier(state: &ProducerState, bytes: &mut Vec<u8>) {
    let count = state.batches.len().saturating_sub(1);
    bytes.push(u8::try_from(count).expect("few batches are remembered"));
    for batch in state.batches.iter().take(count) {
        bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&batch.last_offset.to_be_bytes());
        bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&batch.timestamp.to_be_bytes());
    }
}

/// The producers in a file's bytes; an explanation if they are damaged.
pub fn decode(bytes: &[u8]) -> Result<ProducerStates, &'static str> {
    let mut reader = Reader(bytes);
    let version = i16::from_be_bytes(reader.take()?);
    if version != VERSION {
        return Err("the version of the snapshot is not known");
    }
    let crc = u32::from_be_bytes(reader.take()?);
    if crc32c::crc32c(reader.0) != crc {
        return Err("the CRC of the snapshot is wrong");
    }
    let count = i32::from_be_bytes(reader.take()?);
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(decode_entry(&mut reader)?);
    }
    if !reader.0.is_empty() {
        for (_, state) in &mut entries {
            decode_earlier(&mut reader, state)?;
        }
        if !reader.0.is_empty() {
            return Err("the snapshot has bytes left over");
        }
    }
    let mut states = ProducerStates::default();
    for (id, state) in entries {
        states.insert(id, state);
    }
    Ok(states)
}

fn decode_earlier(reader: &mut Reader<'_>, state: &mut ProducerState) -> Result<(), &'static str> {
    let [count] = reader.take()?;
    if usize::from(count) >= REMEMBERED_BATCHES {
        return Err("the snapshot remembers too many batches of a producer");
    }
    for at in 0..usize::from(count) {
        let batch = BatchMetadata {
            last_sequence: i32::from_be_bytes(reader.take()?),
            last_offset: i64::from_be_bytes(reader.take()?),
            offset_delta: i32::from_be_bytes(reader.take()?),
            timestamp: i64::from_be_bytes(reader.take()?),
        };
        if batch.offset_delta < 0 {
            return Err("the snapshot has a negative offset delta");
        }
        state.batches.insert(at, batch);
    }
    Ok(())
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<(i64, ProducerState), &'static str> {
    let id = i64::from_be_bytes(reader.take()?);
    let epoch = i16::from_be_bytes(reader.take()?);
    let last_sequence = i32::from_be_bytes(reader.take()?);
    let last_offset = i64::from_be_bytes(reader.take()?);
    let offset_delta = i32::from_be_bytes(reader.take()?);
    let last_timestamp = i64::from_be_bytes(reader.take()?);
    let coordinator_epoch = i32::from_be_bytes(reader.take()?);
    let txn_first_offset = i64::from_be_bytes(reader.take()?);
    if offset_delta < 0 {
        return Err("the snapshot has a negative offset delta");
    }
    let mut batches = VecDeque::new();
    if last_offset >= 0 {
        batches.push_back(BatchMetadata {
            last_sequence,
            last_offset,
            offset_delta,
            timestamp: last_timestamp,
        });
    }
    let state = ProducerState {
        epoch,
        batches,
        last_timestamp,
        coordinator_epoch,
        current_txn_first_offset: (txn_first_offset >= 0).then_some(txn_first_offset),
    };
    Ok((id, state))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or("the snapshot is cut short")?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> ProducerStates {
        let mut states = ProducerStates::default();
        states.insert(
            4_000,
            ProducerState {
                epoch: 3,
                batches: VecDeque::from([BatchMetadata {
                    last_sequence: 11,
                    last_offset: 99,
                    offset_delta: 1,
                    timestamp: 1_700_000_000_000,
                }]),
                last_timestamp: 1_700_000_000_000,
                coordinator_epoch: -1,
                current_txn_first_offset: None,
            },
        );
        states
    }

    #[test]
    fn a_producer_without_batches_has_kafkas_placeholders() {
        let mut states = ProducerStates::default();
        let state = ProducerState {
            epoch: 3,
            batches: VecDeque::new(),
            last_timestamp: 5,
            coordinator_epoch: 2,
            current_txn_first_offset: None,
        };
        states.insert(4_000, state);
        let bytes = encode(&states);
        let batch = [&[0xff; 4][..], &[0xff; 8], &[0; 4]].concat();
        let start = ENTRIES_START + 4 + 8 + 2;
        assert_eq!(bytes[start..start + 16], batch);
    }

    #[test]
    fn bytes_are_kafkas() {
        let bytes = encode(&states());
        let expected = [
            &[0, 1][..],
            &bytes[2..6],
            &[0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0x0f, 0xa0],
            &[0, 3],
            &[0, 0, 0, 11],
            &[0, 0, 0, 0, 0, 0, 0, 99],
            &[0, 0, 0, 1],
            &[0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00],
            &[0xff; 4],
            &[0xff; 8],
        ]
        .concat();
        assert_eq!(bytes, expected);
        assert_eq!(bytes[2..6], crc32c::crc32c(&bytes[6..]).to_be_bytes());
        assert_eq!(decode(&bytes), Ok(states()));
    }

    /// Two producers, one of them with earlier batches.
    fn states_with_earlier() -> ProducerStates {
        let mut states = states();
        let batch = |last_sequence, last_offset| BatchMetadata {
            last_sequence,
            last_offset,
            offset_delta: 2,
            timestamp: 1_700_000_000_000 + last_offset,
        };
        let batches = VecDeque::from([batch(2, 5), batch(5, 40), batch(8, 43)]);
        states.insert(
            17,
            ProducerState {
                epoch: 0,
                last_timestamp: batches[2].timestamp,
                batches,
                coordinator_epoch: -1,
                current_txn_first_offset: None,
            },
        );
        states
    }

    #[test]
    fn earlier_batches_lie_behind_what_kafka_reads() {
        let states = states_with_earlier();
        let bytes = encode(&states);
        assert_eq!(decode(&bytes), Ok(states));
        let kafkas = ENTRIES_START + 4 + 2 * ENTRY_LEN;
        assert_eq!(bytes.len(), kafkas + (1 + 2 * 24) + 1);
        // Producer 17 comes first.
        assert_eq!(bytes[kafkas], 2);
        assert_eq!(bytes[kafkas + 1..kafkas + 5], [0, 0, 0, 2]);
        assert_eq!(bytes.last(), Some(&0));
    }

    #[test]
    fn damage_is_noticed() {
        let good = encode(&states_with_earlier());
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x40;
            assert!(decode(&bad).is_err(), "byte {index}");
            assert!(decode(&good[..index]).is_err(), "cut at {index}");
        }
    }
}
