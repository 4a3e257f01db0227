//! The settings of the group coordinator, at Kafka's defaults.

use std::time::Duration;

/// What a coordinator is made with. The broker fills it from its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCoordinatorConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long a group that was empty waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: the most members a group may have.
    pub max_group_size: usize,
    /// The most members of one group that were given an id and have not joined with it. Kafka
    /// sets no such bound; this one keeps a client that never joins from filling the memory.
    pub max_pending_members: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval: Duration,
    /// How long a new member's JoinGroup may wait before the member is dropped: its session
    /// cannot be watched, since it has no id to send heartbeats with. Five minutes in Kafka.
    pub new_member_join_timeout: Duration,
}

impl Default for GroupCoordinatorConfig {
    fn default() -> GroupCoordinatorConfig {
        GroupCoordinatorConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay: Duration::from_millis(3_000),
            max_group_size: i32::MAX as usize,
            max_pending_members: 10_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention: Duration::from_secs(10_080 * 60),
            offsets_retention_check_interval: Duration::from_millis(600_000),
            new_member_join_timeout: Duration::from_secs(5 * 60),
        }
    }
}
