//! Our own checkpoint of the logs of a shard, from which recovery starts.
//!
//! Kafka's checkpoint names only an offset, so Kafka reads the whole segment that holds it. Ours
//! names the position too, and everything else that recovery would have to read for. A shard
//! replaces its file `millstream-checkpoint-<shard>` at each checkpoint; at start all are merged
//! into `millstream-checkpoint-start`, and at a clean stop they are removed, because then Kafka's
//! own files say all there is to say.
//!
//! ```text
//! millstream-checkpoint 1
//! <topic> <partition> <topic id> <recovery point> <segment> <position> <snapshot>
//!     <max timestamp> <its offset> <log start offset> <high watermark>      (one line each)
//! crc <CRC-32C of the lines above, hexadecimal>
//! ```

use std::collections::BTreeMap;

use millstream_protocol::{Offset, PartitionIndex, TopicId};

use crate::partition_metadata::{decode_id, encode_id};

const HEADER: &str = "millstream-checkpoint 1";
const PREFIX: &str = "millstream-checkpoint-";

/// The name of a shard's file.
pub(crate) fn file_name(shard: u32) -> String {
    format!("{PREFIX}{shard}")
}

/// The name of the file that the shards start from.
pub(crate) const START_FILE: &str = "millstream-checkpoint-start";

/// Whether a file at the root is a checkpoint of ours.
pub(crate) fn is_checkpoint(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| rest == "start" || rest.parse::<u32>().is_ok())
}

/// A topic's name and a partition of it.
pub type LogName = (String, PartitionIndex);

/// What a checkpoint knows of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// The topic; none in what was made from Kafka's files.
    pub topic_id: Option<TopicId>,
    /// All below was flushed.
    pub recovery_point: Offset,
    /// Where the recovery point lies, if that is known.
    pub place: Option<CheckpointPlace>,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// Records below are committed.
    pub high_watermark: Offset,
}

/// Where a recovery point lies, and what holds there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPlace {
    /// The base offset of the segment.
    pub segment: i64,
    /// The position of the recovery point in it; index entries up to there are flushed.
    pub position: u64,
    /// The producers' state at the recovery point is in this snapshot; −1 when there are none.
    pub snapshot: i64,
    /// The largest timestamp in the segment below the recovery point, or −1.
    pub max_timestamp: i64,
    /// The last offset of the batch that has it.
    pub max_timestamp_offset: i64,
}

/// The entries of a file.
pub(crate) type CheckpointEntries = BTreeMap<LogName, CheckpointEntry>;

/// The file's text.
pub(crate) fn to_text(entries: &CheckpointEntries) -> String {
    let mut text = format!("{HEADER}\n");
    for ((topic, partition), entry) in entries {
        let id = entry.topic_id.map_or_else(|| "-".to_owned(), encode_id);
        let place = entry.place.unwrap_or(CheckpointPlace {
            segment: -1,
            position: 0,
            snapshot: -1,
            max_timestamp: -1,
            max_timestamp_offset: -1,
        });
        text.push_str(&format!(
            "{topic} {partition} {id} {} {} {} {} {} {} {} {}\n",
            entry.recovery_point,
            place.segment,
            place.position,
            place.snapshot,
            place.max_timestamp,
            place.max_timestamp_offset,
            entry.log_start_offset,
            entry.high_watermark,
        ));
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("crc {crc:08x}\n"));
    text
}

/// The entries in a file's text, or none if it is damaged.
pub(crate) fn parse(text: &[u8]) -> Option<CheckpointEntries> {
    let text = std::str::from_utf8(text).ok()?;
    let crc_start = text.rfind("crc ")?;
    let (lines, crc) = text.split_at(crc_start);
    let crc = u32::from_str_radix(crc.strip_prefix("crc ")?.trim_end(), 16).ok()?;
    if crc32c::crc32c(lines.as_bytes()) != crc {
        return None;
    }
    let mut lines = lines.lines();
    if lines.next() != Some(HEADER) {
        return None;
    }
    lines.map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(LogName, CheckpointEntry)> {
    let mut fields = line.split(' ');
    let topic = fields.next()?.to_owned();
    let partition = PartitionIndex(fields.next()?.parse().ok()?);
    let topic_id = match fields.next()? {
        "-" => None,
        id => Some(decode_id(id)?),
    };
    let mut number = || fields.next()?.parse::<i64>().ok();
    let recovery_point = Offset(number()?);
    let place = CheckpointPlace {
        segment: number()?,
        position: u64::try_from(number()?).ok()?,
        snapshot: number()?,
        max_timestamp: number()?,
        max_timestamp_offset: number()?,
    };
    let entry = CheckpointEntry {
        topic_id,
        recovery_point,
        place: (place.segment >= 0).then_some(place),
        log_start_offset: Offset(number()?),
        high_watermark: Offset(number()?),
    };
    fields
        .next()
        .is_none()
        .then_some(((topic, partition), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> CheckpointEntries {
        let place = CheckpointPlace {
            segment: 100,
            position: 4_321,
            snapshot: 120,
            max_timestamp: 77,
            max_timestamp_offset: 119,
        };
        let entry = CheckpointEntry {
            topic_id: Some(TopicId(uuid::Uuid::from_u128(5))),
            recovery_point: Offset(123),
            place: Some(place),
            log_start_offset: Offset(3),
            high_watermark: Offset(122),
        };
        let unplaced = CheckpointEntry {
            topic_id: None,
            place: None,
            ..entry.clone()
        };
        BTreeMap::from([
            (("a".to_owned(), PartitionIndex(0)), entry),
            (("b.c".to_owned(), PartitionIndex(7)), unplaced),
        ])
    }

    #[test]
    fn round_trip_and_damage() {
        let text = to_text(&entries());
        assert!(text.starts_with(
            "millstream-checkpoint 1\n\
             a 0 AAAAAAAAAAAAAAAAAAAABQ 123 100 4321 120 77 119 3 122\n\
             b.c 7 - 123 -1 0 -1 -1 -1 3 122\ncrc "
        ));
        assert_eq!(parse(text.as_bytes()), Some(entries()));
        for index in 0..text.len() - 1 {
            let mut bad = text.clone().into_bytes();
            bad[index] ^= 1;
            assert_ne!(parse(&bad), Some(entries()), "byte {index}");
        }
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn names() {
        assert!(is_checkpoint(START_FILE));
        assert!(is_checkpoint(&file_name(3)));
        assert!(!is_checkpoint("millstream-checkpoint-3.tmp"));
        assert!(!is_checkpoint("recovery-point-offset-checkpoint"));
    }
}
