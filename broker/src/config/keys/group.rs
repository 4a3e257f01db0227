//! Keys of groups, each with the broker key that gives its default.

use super::{GroupKey, Key, Kind, Status};

/// Why the keys of the consumer protocol do nothing.
const CONSUMER: &str = "groups of the consumer protocol (KIP-848) are not there yet";
/// Why the keys of share groups do nothing.
const SHARE: &str = "share groups are not there yet";
/// Why the keys of streams groups do nothing.
const STREAMS: &str = "streams groups are not there yet";

/// In order of their names.
// One line for each key: a table is read down its columns.
#[rustfmt::skip]
pub(super) const KEYS: &[GroupKey] = &[
    GroupKey { key: accepted("consumer.assignment.interval.ms", Kind::Int(0, i32::MAX), "1000", CONSUMER), broker: Some("group.consumer.assignment.interval.ms") },
    GroupKey { key: accepted("consumer.heartbeat.interval.ms", Kind::Int(1, i32::MAX), "5000", CONSUMER), broker: Some("group.consumer.heartbeat.interval.ms") },
    GroupKey { key: accepted("consumer.session.timeout.ms", Kind::Int(1, i32::MAX), "45000", CONSUMER), broker: Some("group.consumer.session.timeout.ms") },
    GroupKey { key: accepted("share.assignment.interval.ms", Kind::Int(0, i32::MAX), "1000", SHARE), broker: Some("group.share.assignment.interval.ms") },
    GroupKey { key: accepted("share.auto.offset.reset", Kind::Text, "latest", SHARE), broker: None },
    GroupKey { key: accepted("share.delivery.count.limit", Kind::Int(2, i32::MAX), "5", SHARE), broker: Some("group.share.delivery.count.limit") },
    GroupKey { key: accepted("share.heartbeat.interval.ms", Kind::Int(1, i32::MAX), "5000", SHARE), broker: Some("group.share.heartbeat.interval.ms") },
    GroupKey { key: accepted("share.isolation.level", Kind::OneOf(&["read_committed", "read_uncommitted"]), "read_uncommitted", SHARE), broker: None },
    GroupKey { key: accepted("share.partition.max.record.locks", Kind::Int(100, i32::MAX), "2000", SHARE), broker: Some("group.share.partition.max.record.locks") },
    GroupKey { key: accepted("share.record.lock.duration.ms", Kind::Int(1000, i32::MAX), "30000", SHARE), broker: Some("group.share.record.lock.duration.ms") },
    GroupKey { key: accepted("share.renew.acknowledge.enable", Kind::Boolean, "true", SHARE), broker: None },
    GroupKey { key: accepted("share.session.timeout.ms", Kind::Int(1, i32::MAX), "45000", SHARE), broker: Some("group.share.session.timeout.ms") },
    GroupKey { key: accepted("streams.assignment.interval.ms", Kind::Int(0, i32::MAX), "1000", STREAMS), broker: Some("group.streams.assignment.interval.ms") },
    GroupKey { key: accepted("streams.heartbeat.interval.ms", Kind::Int(1, i32::MAX), "5000", STREAMS), broker: Some("group.streams.heartbeat.interval.ms") },
    GroupKey { key: accepted("streams.initial.rebalance.delay.ms", Kind::Int(0, i32::MAX), "3000", STREAMS), broker: Some("group.streams.initial.rebalance.delay.ms") },
    GroupKey { key: accepted("streams.num.standby.replicas", Kind::Int(0, i32::MAX), "0", STREAMS), broker: Some("group.streams.num.standby.replicas") },
    GroupKey { key: accepted("streams.session.timeout.ms", Kind::Int(1, i32::MAX), "45000", STREAMS), broker: Some("group.streams.session.timeout.ms") },
];

const fn accepted(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    text: &'static str,
) -> Key {
    Key::new(name, kind, Some(default), Status::Accepted, text)
}
