//! The settings of one topic: its own, and the node's for the rest.

use std::time::Duration;

use millstream_protocol::compression::Codec;
use millstream_protocol::recompression::Recompression;
use millstream_protocol::record_batch::TimestampType;
use millstream_storage::{CleanupPolicy, Durability, LogConfig};

use super::keys::{Key, Kind, Status, list, topic_key};
use super::settings::Settings;

/// The settings of one topic that the broker acts on.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// Records without a key are refused.
    pub compact: bool,
    /// Largest record batch taken.
    pub max_message_bytes: i32,
    /// Whose clock stamps records.
    pub timestamp_type: TimestampType,
    /// How far a timestamp may lie in the past.
    pub timestamp_before_max_ms: i64,
    /// How far a timestamp may lie in the future.
    pub timestamp_after_max_ms: i64,
    /// How batches are compressed; `None` where that is the producer's choice.
    pub recompression: Option<Recompression>,
    /// Replicas that must keep a record with acks=all.
    pub min_insync_replicas: i32,
    /// What the log needs to know.
    pub log: LogConfig,
}

impl TopicConfig {
    /// The settings of a topic with these values of its own. A value that does not parse, which a
    /// checked write cannot leave behind, counts as not there.
    pub fn resolve<'a>(settings: &Settings, own: impl Fn(&str) -> Option<&'a str>) -> TopicConfig {
        let text = |name: &str| -> String {
            match own(name) {
                Some(value) if check_topic_override(name, value).is_ok() => value.to_owned(),
                _ => settings
                    .topic_default(name)
                    .map(|(value, _)| value)
                    .unwrap_or_default(),
            }
        };
        let int = |name: &str| text(name).trim().parse::<i32>().unwrap_or(i32::MAX);
        let long = |name: &str| text(name).trim().parse::<i64>().unwrap_or(i64::MAX);
        let durability = match text("durability").to_ascii_lowercase().as_str() {
            _ if long("flush.messages") == 1 => Durability::Fsync,
            "written" => Durability::Written,
            "memory" => Durability::Memory,
            _ => Durability::Fsync,
        };
        let policy = text("cleanup.policy");
        let cleanup = CleanupPolicy {
            delete: list(&policy).any(|policy| policy == "delete"),
            compact: list(&policy).any(|policy| policy == "compact"),
        };
        let millis =
            |name: &str| Duration::from_millis(u64::try_from(long(name)).unwrap_or(u64::MAX));
        let unsigned = |name: &str| u32::try_from(long(name)).unwrap_or(u32::MAX);
        TopicConfig {
            compact: cleanup.compact,
            max_message_bytes: int("max.message.bytes"),
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            recompression: recompression(&text),
            min_insync_replicas: int("min.insync.replicas"),
            log: LogConfig {
                segment_bytes: unsigned("segment.bytes"),
                segment_ms: long("segment.ms"),
                segment_jitter_ms: long("segment.jitter.ms"),
                segment_index_bytes: unsigned("segment.index.bytes"),
                index_interval_bytes: unsigned("index.interval.bytes"),
                durability,
                producer_id_expiration_ms: settings.number("producer.id.expiration.ms"),
                max_message_bytes: unsigned("max.message.bytes"),
                cleanup,
                retention_ms: long("retention.ms"),
                retention_bytes: long("retention.bytes"),
                file_delete_delay: millis("file.delete.delay.ms"),
                min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio")
                    .trim()
                    .parse()
                    .unwrap_or(0.5),
                min_compaction_lag_ms: long("min.compaction.lag.ms"),
                max_compaction_lag_ms: long("max.compaction.lag.ms"),
                delete_retention_ms: long("delete.retention.ms"),
            },
        }
    }
}

fn recompression(text: &impl Fn(&str) -> String) -> Option<Recompression> {
    let level = |name: &str, default: i32| {
        let level = text(name).trim().parse().ok();
        level.filter(|level| *level != default)
    };
    let (codec, level) = match text("compression.type").to_ascii_lowercase().as_str() {
        "uncompressed" => (Codec::None, None),
        "gzip" => (Codec::Gzip, level("compression.gzip.level", -1)),
        "snappy" => (Codec::Snappy, None),
        "lz4" => (Codec::Lz4, None),
        "zstd" => (Codec::Zstd, level("compression.zstd.level", 3)),
        _ => return None,
    };
    Some(Recompression { codec, level })
}

/// Whether a topic may have this value of its own; the error is Kafka's message for
/// INVALID_CONFIG.
pub fn check_topic_override(name: &str, value: &str) -> Result<(), String> {
    let Some(key) = topic_key(name) else {
        return Err(format!("Unknown topic config name: {name}"));
    };
    key.key.kind.check(name, value)?;
    check_as_kafka(&key.key, value)?;
    if key.key.status == Status::Refused && key.key.default != Some(value) {
        return Err(format!("{name} cannot be set to {value}: {}", key.key.text));
    }
    Ok(())
}

/// What Kafka is stricter about for topics than for the keys of brokers.
fn check_as_kafka(key: &Key, value: &str) -> Result<(), String> {
    let value = value.trim();
    let problem = match (key.name, key.kind) {
        ("durability", _) => return Ok(()),
        (_, Kind::OneOf(words)) if !words.contains(&value) => {
            format!("String must be one of: {}", words.join(", "))
        }
        ("compression.gzip.level", _) if value == "0" => {
            "the level must be 1 to 9, or -1 for the usual one".to_owned()
        }
        (
            "leader.replication.throttled.replicas" | "follower.replication.throttled.replicas",
            _,
        ) if !is_replica_list(value) => {
            "give * or a list of partition:broker, separated by commas".to_owned()
        }
        _ => return Ok(()),
    };
    Err(format!(
        "Invalid value {value} for configuration {}: {problem}",
        key.name
    ))
}

fn is_replica_list(value: &str) -> bool {
    value == "*"
        || list(value).all(|replica| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            replica
                .split_once(':')
                .is_some_and(|(partition, broker)| digits(partition) && digits(broker))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_refuses_of_a_topic_is_refused() {
        for (name, value) in [
            ("message.timestamp.type", "logappendtime"),
            ("compression.gzip.level", "0"),
            ("leader.replication.throttled.replicas", "none"),
            ("follower.replication.throttled.replicas", "0:"),
            ("follower.replication.throttled.replicas", "0:1,x"),
        ] {
            assert!(
                check_topic_override(name, value).is_err(),
                "{name} = {value}"
            );
        }
        for (name, value) in [
            ("message.timestamp.type", "LogAppendTime"),
            ("compression.gzip.level", "-1"),
            ("leader.replication.throttled.replicas", "*"),
            ("follower.replication.throttled.replicas", ""),
            ("follower.replication.throttled.replicas", "0:1,1:1"),
            ("durability", "FSYNC"),
        ] {
            assert_eq!(check_topic_override(name, value), Ok(()), "{name}");
        }
    }
}
