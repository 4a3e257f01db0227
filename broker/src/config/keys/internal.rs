//! Which broker keys Kafka takes but does not show: those it defines for itself.

/// In order of their names.
const KEYS: &[&str] = &[
    "controller.performance.always.log.threshold.ms",
    "controller.performance.sample.period.ms",
    "group.consumer.regex.refresh.interval.ms",
    "group.share.initialize.retry.interval.ms",
    "group.share.persister.class.name",
    "internal.metadata.delete.delay.millis",
    "internal.metadata.log.segment.bytes",
    "internal.metadata.max.batch.size.in.bytes",
    "log.initial.task.delay.ms",
    "producer.id.expiration.check.interval.ms",
    "remote.log.index.file.cache.ttl.ms",
    "remote.log.manager.task.retry.backoff.max.ms",
    "remote.log.manager.task.retry.backoff.ms",
    "remote.log.manager.task.retry.jitter",
    "server.max.startup.time.ms",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.state.topic.prune.interval.ms",
    "unclean.leader.election.interval.ms",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
];

/// Whether DescribeConfigs leaves the key out, as Kafka's does.
pub fn is_internal(name: &str) -> bool {
    KEYS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::broker_key;
    use super::*;

    #[test]
    fn every_key_that_is_not_shown_is_in_the_table() {
        assert!(KEYS.is_sorted());
        for name in KEYS {
            assert!(broker_key(name).is_some(), "{name}");
        }
    }
}
