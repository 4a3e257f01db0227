//! Keys of topics, each with the broker keys that give its default, the strongest first.

use super::{Key, Kind, Status, TopicKey};

/// In order of their names.
// One line for each key: a table is read down its columns.
#[rustfmt::skip]
pub(super) const KEYS: &[TopicKey] = &[
    TopicKey { key: Key::new("cleanup.policy", Kind::ListOf(&["compact", "delete"]), Some("delete"), Status::Works, "What happens to old records: delete, compact or both. Records without a key are refused where it has compact."), synonyms: &["log.cleanup.policy"] },
    TopicKey { key: Key::new("compression.gzip.level", Kind::Int(-1, 9), Some("-1"), Status::Works, "Level of gzip where `compression.type` says that; -1 for its default."), synonyms: &["compression.gzip.level"] },
    TopicKey { key: Key::new("compression.lz4.level", Kind::Int(1, 17), Some("9"), Status::Accepted, "LZ4 has one level here"), synonyms: &["compression.lz4.level"] },
    TopicKey { key: Key::new("compression.type", Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Some("producer"), Status::Works, "Codec of the batches; a batch in another one is compressed anew. producer leaves it to the producer."), synonyms: &["compression.type"] },
    TopicKey { key: Key::new("compression.zstd.level", Kind::Int(-131_072, 22), Some("3"), Status::Works, "Level of zstd where `compression.type` says that."), synonyms: &["compression.zstd.level"] },
    TopicKey { key: Key::new("delete.retention.ms", Kind::Long(0, i64::MAX), Some("86400000"), Status::Works, "How long compaction keeps tombstones after it first met them."), synonyms: &["log.cleaner.delete.retention.ms"] },
    TopicKey { key: Key::new("durability", Kind::OneOf(&["fsync", "written", "memory"]), Some("fsync"), Status::Works, "When `acks=all` is answered: after the flush to the device (fsync), after the device has the write (written), or once in memory (memory)."), synonyms: &["durability"] },
    TopicKey { key: Key::new("file.delete.delay.ms", Kind::Long(0, i64::MAX), Some("60000"), Status::Works, "How long the files of a segment that has gone stay, for those who still read them."), synonyms: &["log.segment.delete.delay.ms"] },
    TopicKey { key: Key::new("flush.messages", Kind::Long(1, i64::MAX), Some("9223372036854775807"), Status::Works, "1 means `durability=fsync`; Kafka's default, and any other number, leave `durability` to decide."), synonyms: &["log.flush.interval.messages"] },
    TopicKey { key: Key::new("flush.ms", Kind::Long(0, i64::MAX), Some("9223372036854775807"), Status::Accepted, "`durability` says when records are flushed"), synonyms: &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"] },
    TopicKey { key: Key::new("follower.replication.throttled.replicas", Kind::List, Some(""), Status::Accepted, "one node has no followers"), synonyms: &[] },
    TopicKey { key: Key::new("index.interval.bytes", Kind::Int(0, i32::MAX), Some("4096"), Status::Works, "Bytes of records between two entries of the offset index."), synonyms: &["log.index.interval.bytes"] },
    TopicKey { key: Key::new("leader.replication.throttled.replicas", Kind::List, Some(""), Status::Accepted, "one node has no followers"), synonyms: &[] },
    TopicKey { key: Key::new("local.retention.bytes", Kind::Long(-2, i64::MAX), Some("-2"), Status::Accepted, "tiered storage is not there yet"), synonyms: &["log.local.retention.bytes"] },
    TopicKey { key: Key::new("local.retention.ms", Kind::Long(-2, i64::MAX), Some("-2"), Status::Accepted, "tiered storage is not there yet"), synonyms: &["log.local.retention.ms"] },
    TopicKey { key: Key::new("max.compaction.lag.ms", Kind::Long(1, i64::MAX), Some("9223372036854775807"), Status::Works, "Longest wait of a record for compaction."), synonyms: &["log.cleaner.max.compaction.lag.ms"] },
    TopicKey { key: Key::new("max.message.bytes", Kind::Int(0, i32::MAX), Some("1048588"), Status::Works, "Largest record batch taken, after compression."), synonyms: &["message.max.bytes"] },
    TopicKey { key: Key::new("message.timestamp.after.max.ms", Kind::Long(0, i64::MAX), Some("3600000"), Status::Works, "How far a record's timestamp may lie in the future."), synonyms: &["log.message.timestamp.after.max.ms"] },
    TopicKey { key: Key::new("message.timestamp.before.max.ms", Kind::Long(0, i64::MAX), Some("9223372036854775807"), Status::Works, "How far a record's timestamp may lie in the past."), synonyms: &["log.message.timestamp.before.max.ms"] },
    TopicKey { key: Key::new("message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), Some("CreateTime"), Status::Works, "Whose clock stamps records: the producer's (CreateTime) or the broker's (LogAppendTime)."), synonyms: &["log.message.timestamp.type"] },
    TopicKey { key: Key::new("min.cleanable.dirty.ratio", Kind::Double(0.0, 1.0), Some("0.5"), Status::Works, "Part of the bytes that must be new before the log is compacted."), synonyms: &["log.cleaner.min.cleanable.ratio"] },
    TopicKey { key: Key::new("min.compaction.lag.ms", Kind::Long(0, i64::MAX), Some("0"), Status::Works, "Age below which records are not compacted."), synonyms: &["log.cleaner.min.compaction.lag.ms"] },
    TopicKey { key: Key::new("min.insync.replicas", Kind::Int(1, i32::MAX), Some("1"), Status::Works, "Replicas that must keep a record of a producer with acks=all."), synonyms: &["min.insync.replicas"] },
    TopicKey { key: Key::new("preallocate", Kind::Boolean, Some("false"), Status::Accepted, "space is always made ahead"), synonyms: &["log.preallocate"] },
    TopicKey { key: Key::new("remote.log.copy.disable", Kind::Boolean, Some("false"), Status::Accepted, "tiered storage is not there yet"), synonyms: &[] },
    TopicKey { key: Key::new("remote.log.delete.on.disable", Kind::Boolean, Some("false"), Status::Accepted, "tiered storage is not there yet"), synonyms: &[] },
    TopicKey { key: Key::new("remote.storage.enable", Kind::Boolean, Some("false"), Status::Refused, "tiered storage is not there yet"), synonyms: &[] },
    TopicKey { key: Key::new("retention.bytes", Kind::LONG, Some("-1"), Status::Works, "Bytes kept of each partition; negative for all. Whole segments go."), synonyms: &["log.retention.bytes"] },
    TopicKey { key: Key::new("retention.ms", Kind::Long(-1, i64::MAX), Some("604800000"), Status::Works, "Age at which a segment goes, by its newest record; -1 for never."), synonyms: &["log.retention.ms", "log.retention.minutes", "log.retention.hours"] },
    TopicKey { key: Key::new("segment.bytes", Kind::Int(1_048_576, i32::MAX), Some("1073741824"), Status::Works, "Size of a segment at which it is rolled."), synonyms: &["log.segment.bytes"] },
    TopicKey { key: Key::new("segment.index.bytes", Kind::Int(4, i32::MAX), Some("10485760"), Status::Works, "Largest offset index; a segment is rolled when its index is full."), synonyms: &["log.index.size.max.bytes"] },
    TopicKey { key: Key::new("segment.jitter.ms", Kind::Long(0, i64::MAX), Some("0"), Status::Works, "Most that is taken off the age at which a segment is rolled, at random."), synonyms: &["log.roll.jitter.ms", "log.roll.jitter.hours"] },
    TopicKey { key: Key::new("segment.ms", Kind::Long(1, i64::MAX), Some("604800000"), Status::Works, "Age of a segment at which it is rolled."), synonyms: &["log.roll.ms", "log.roll.hours"] },
    TopicKey { key: Key::new("unclean.leader.election.enable", Kind::Boolean, Some("false"), Status::Accepted, "one node has no followers"), synonyms: &["unclean.leader.election.enable"] },
];
