//! Kafka's text format for checkpoints, and the offset checkpoints at the root of the folder.
//!
//! A line with the version `0`, a line with the number of entries, then one line for each. An
//! offset checkpoint's line is `topic partition offset`.

use std::collections::BTreeMap;

use millstream_protocol::{Offset, PartitionIndex};
use thiserror::Error;

/// Up to where each log was flushed.
pub const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
/// The first offset of each log.
pub const LOG_START_OFFSET_FILE: &str = "log-start-offset-checkpoint";
/// The high watermark of each log.
pub const HIGH_WATERMARK_FILE: &str = "replication-offset-checkpoint";

/// Up to where each log was compacted.
pub const CLEANER_OFFSET_FILE: &str = "cleaner-offset-checkpoint";

const SHARD_CLEANER_PREFIX: &str = "millstream-cleaner-";

/// The file in which a shard says up to where its logs were compacted.
pub(crate) fn shard_cleaner_file(shard: u32) -> String {
    format!("{SHARD_CLEANER_PREFIX}{shard}")
}

/// Whether a file at the root is one of those.
pub(crate) fn is_shard_cleaner_file(name: &str) -> bool {
    let number = name.strip_prefix(SHARD_CLEANER_PREFIX);
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The text of a checkpoint file is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// A version that is not known.
    #[error("version {0:?} is not known")]
    Version(String),
    /// A line that cannot be read.
    #[error("malformed line {0:?}")]
    Malformed(String),
    /// Lines are missing, or too many.
    #[error("{expected} entries announced, {found} found")]
    Count {
        /// As the second line says.
        expected: usize,
        /// As they are.
        found: usize,
    },
}

impl CheckpointError {
    pub(crate) fn malformed(line: &str) -> CheckpointError {
        CheckpointError::Malformed(line.chars().take(80).collect())
    }
}

/// The entries of a checkpoint file; none for an empty file.
pub(crate) fn parse_lines(text: &[u8]) -> Result<Vec<&str>, CheckpointError> {
    let text = std::str::from_utf8(text)
        .map_err(|_| CheckpointError::malformed("text that is not UTF-8"))?;
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(Vec::new()),
        Some("0") => (),
        Some(version) => return Err(CheckpointError::Version(version.chars().take(80).collect())),
    }
    let Some(count) = lines.next() else {
        return Ok(Vec::new());
    };
    let expected: usize = count
        .parse()
        .map_err(|_| CheckpointError::malformed(count))?;
    let entries: Vec<&str> = lines.collect();
    if entries.len() != expected {
        return Err(CheckpointError::Count {
            expected,
            found: entries.len(),
        });
    }
    Ok(entries)
}

/// The text of a checkpoint file.
pub(crate) fn write_lines(entries: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        text.push_str(&entry);
        text.push('\n');
    }
    text
}

/// Offsets by topic and partition, as in Kafka's offset checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetCheckpoint {
    /// The offsets.
    pub offsets: BTreeMap<(String, PartitionIndex), Offset>,
}

impl OffsetCheckpoint {
    /// Reads the file's text.
    pub fn parse(text: &[u8]) -> Result<OffsetCheckpoint, CheckpointError> {
        let mut checkpoint = OffsetCheckpoint::default();
        for line in parse_lines(text)? {
            let mut fields = line.split_whitespace();
            let entry = (|| {
                let topic = fields.next()?.to_owned();
                let partition = PartitionIndex(fields.next()?.parse().ok()?);
                let offset = Offset(fields.next()?.parse().ok()?);
                fields
                    .next()
                    .is_none()
                    .then_some(((topic, partition), offset))
            })();
            let (key, offset) = entry.ok_or_else(|| CheckpointError::malformed(line))?;
            checkpoint.offsets.insert(key, offset);
        }
        Ok(checkpoint)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        write_lines(
            self.offsets
                .iter()
                .map(|((topic, partition), offset)| format!("{topic} {partition} {offset}")),
        )
    }

    /// The offset of one partition.
    pub fn get(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        self.offsets.get(&(topic.to_owned(), partition)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_a_cleaner_file_of_its_own() {
        assert_eq!(shard_cleaner_file(12), "millstream-cleaner-12");
        assert!(is_shard_cleaner_file(&shard_cleaner_file(12)));
        assert!(!is_shard_cleaner_file("millstream-cleaner-x"));
        assert!(!is_shard_cleaner_file(CLEANER_OFFSET_FILE));
    }

    #[test]
    fn text_is_kafkas() {
        let text = b"0\n2\na 0 7\nb-c 12 -1\n";
        let checkpoint = OffsetCheckpoint::parse(text).expect("valid");
        assert_eq!(checkpoint.get("a", PartitionIndex(0)), Some(Offset(7)));
        assert_eq!(checkpoint.get("b-c", PartitionIndex(12)), Some(Offset(-1)));
        assert_eq!(checkpoint.to_text().as_bytes(), text);
    }

    #[test]
    fn damaged_text_is_refused() {
        assert!(matches!(
            OffsetCheckpoint::parse(b"1\n0\n"),
            Err(CheckpointError::Version(_))
        ));
        assert!(matches!(
            OffsetCheckpoint::parse(b"0\n1\na 0\n"),
            Err(CheckpointError::Malformed(_))
        ));
        assert!(matches!(
            OffsetCheckpoint::parse(b"0\n2\na 0 1\n"),
            Err(CheckpointError::Count { .. })
        ));
        assert!(OffsetCheckpoint::parse(b"\xff").is_err());
    }
}
