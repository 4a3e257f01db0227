//! Which broker keys can be changed while the node runs: those of Kafka's, and ours beside them.
//!
//! Kafka can also change listeners and key stores; here these are read at start only.

use super::topic::KEYS as TOPIC_KEYS;

/// Besides the strongest broker key behind each topic key. In order of their names.
const ALSO: &[&str] = &[
    "background.threads",
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.threads",
    "max.connection.creation.rate",
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "metric.reporters",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "producer.id.expiration.ms",
    "remote.fetch.max.wait.ms",
    "remote.list.offsets.request.timeout.ms",
    "remote.log.index.file.cache.total.size.bytes",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.copy.max.bytes.per.second",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.fetch.max.bytes.per.second",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
    "replica.alter.log.dirs.io.max.bytes.per.second",
    "transaction.partition.verification.enable",
];

/// Whether a broker key can be changed while the node runs.
pub fn is_dynamic(name: &str) -> bool {
    ALSO.binary_search(&name).is_ok()
        || TOPIC_KEYS
            .iter()
            .any(|key| key.synonyms.first() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::super::broker_key;
    use super::*;

    #[test]
    fn every_key_that_can_change_is_in_the_table() {
        assert!(ALSO.is_sorted());
        for name in ALSO {
            // Limits of replication, which exist only as something that changes.
            let only_dynamic =
                name.ends_with("throttled.rate") || name.starts_with("replica.alter");
            assert!(only_dynamic || broker_key(name).is_some(), "{name}");
        }
        assert!(is_dynamic("log.retention.ms"));
        assert!(!is_dynamic("log.retention.hours"));
        assert!(!is_dynamic("node.id"));
    }
}
