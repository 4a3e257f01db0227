//! Offsets expire, and a group without members goes when it has none left.
//!
//! - A group that never had members: each offset counts from its commit.
//! - An Empty group: from when it became Empty.
//! - A stable group of consumers: from the commit, and only for topics that nobody in it is
//!   subscribed to.
//! - Any other group keeps its offsets.
//!
//! An offset whose client named a retention time of its own keeps to that.

use millstream_protocol::StrBytes;

use crate::classic_group::{ClassicGroup, GroupState};
use crate::committed_offsets::OffsetAndMetadata;
use crate::coordinator::GroupCoordinator;
use millstream_protocol::group_records::GroupRecord;

/// From when an offset's age counts.
#[derive(Clone, Copy)]
enum Since {
    Commit,
    Time(i64),
}

impl GroupCoordinator {
    pub(crate) fn expire_offsets(&mut self) {
        self.schedule_expiration();
        let mut records = Vec::new();
        let mut removed = Vec::new();
        let ids: Vec<StrBytes> = self.groups.keys().cloned().collect();
        for id in ids {
            let has_offsets_left = self.expire_offsets_of(&id, &mut records);
            let group = self.groups.get(&id).expect("the group was just listed");
            if !has_offsets_left && group.state() == GroupState::Empty {
                let group = self.groups.remove(&id).expect("the group was just found");
                records.push(group.tombstone());
                removed.push(group);
            }
        }
        if !records.is_empty() {
            self.append_removals(records, removed);
        }
    }

    /// Notes the tombstones of one group's expired offsets; true if it has others.
    fn expire_offsets_of(&self, id: &StrBytes, records: &mut Vec<GroupRecord>) -> bool {
        let group = self.groups.get(id).expect("the group was just listed");
        let since = expires_since(group);
        let mut has_offsets_left = false;
        for (key, found) in self.offsets.latest_of_group(id) {
            let is_expired = since.is_some_and(|since| self.is_expired(found, since));
            if is_expired && !group.is_subscribed_to(&key.topic) {
                records.push(GroupRecord::OffsetCommit { key, value: None });
            } else {
                has_offsets_left = true;
            }
        }
        has_offsets_left
    }

    fn is_expired(&self, found: &OffsetAndMetadata, since: Since) -> bool {
        let now_ms = self.desk.wall_clock_ms;
        if let Some(expire_timestamp_ms) = found.expire_timestamp_ms {
            return now_ms >= expire_timestamp_ms;
        }
        let since_ms = match since {
            Since::Commit => found.commit_timestamp_ms,
            Since::Time(time_ms) => time_ms,
        };
        let retention = self.desk.config.offsets_retention.as_millis();
        u128::try_from(now_ms.saturating_sub(since_ms)).is_ok_and(|age| age >= retention)
    }
}

fn expires_since(group: &ClassicGroup) -> Option<Since> {
    if group.protocol_type().is_none() {
        return Some(Since::Commit);
    }
    match group.state() {
        // Records written before Kafka 2.1 do not say since when.
        GroupState::Empty => Some(
            group
                .state_timestamp_ms()
                .map_or(Since::Commit, Since::Time),
        ),
        GroupState::Stable if group.knows_subscriptions() => Some(Since::Commit),
        _ => None,
    }
}
