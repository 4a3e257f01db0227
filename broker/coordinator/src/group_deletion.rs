//! DeleteGroups, versions 0–2, OffsetDelete, version 0, and the end of a topic: groups and
//! offsets that go before they expire.

use millstream_protocol::messages::delete_groups_response::DeletableGroupResult;
use millstream_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use millstream_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::{ClassicGroup, GroupState};
use crate::coordinator::{GroupCoordinator, Phase};
use crate::in_flight::Effect;
use crate::input::WriteId;
use crate::request::{GroupResponse, RequestToken};
use crate::retained::retained;
use millstream_protocol::group_records::{GroupRecord, OffsetCommitKey};

/// The most records of one write that no client asked for: it must not be larger than a batch.
const MOST_REMOVALS: usize = 1_000;

impl GroupCoordinator {
    pub(crate) fn delete_groups(&mut self, token: RequestToken, request: DeleteGroupsRequest) {
        let mut records = Vec::new();
        let mut removed = Vec::new();
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let outcome = self.may_delete(&group_id.0);
            let code = outcome.err().map_or(0, |error| error.code());
            if outcome.is_ok() {
                self.remove_group(&group_id.0, &mut records, &mut removed);
            }
            let result = DeletableGroupResult::default()
                .with_group_id(group_id)
                .with_error_code(code);
            results.push(result);
        }
        let response = DeleteGroupsResponse::default().with_results(results);
        let write = (!records.is_empty()).then(|| self.append_removals(records, removed));
        self.desk
            .respond_after(write, token, GroupResponse::DeleteGroups(response));
    }

    pub(crate) fn delete_offsets(&mut self, token: RequestToken, request: OffsetDeleteRequest) {
        let group_id = &request.group_id.0;
        let group = match self.groups.get(group_id) {
            None => return self.refuse_offset_delete(token, ErrorCode::GroupIdNotFound),
            Some(group) => group,
        };
        if group.state() != GroupState::Empty && !group.uses_consumer_protocol() {
            // Nobody knows what such members are at work on.
            return self.refuse_offset_delete(token, ErrorCode::NonEmptyGroup);
        }
        let mut records = Vec::new();
        let mut response = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let is_subscribed = group.is_subscribed_to(&topic.name);
            let error = is_subscribed.then_some(ErrorCode::GroupSubscribedToTopic);
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error.map_or(0, |error| error.code()))
            });
            let answer = OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect());
            response.topics.push(answer);
            if is_subscribed {
                continue;
            }
            for partition in topic
                .partitions
                .iter()
                .map(|partition| partition.partition_index)
            {
                if self
                    .offsets
                    .latest(group_id, &topic.name, partition)
                    .is_some()
                {
                    let key = OffsetCommitKey {
                        group: group.id().clone(),
                        topic: retained(&topic.name),
                        partition,
                    };
                    records.push(GroupRecord::OffsetCommit { key, value: None });
                }
            }
        }
        let write = (!records.is_empty()).then(|| self.append_offsets(records, Effect::None));
        self.desk
            .respond_after(write, token, GroupResponse::OffsetDelete(response));
    }

    /// What was committed for a topic says nothing about the next one of its name.
    pub(crate) fn topic_deleted(&mut self, topic: &StrBytes) {
        if self.phase != Phase::Active {
            return;
        }
        let keys = self.offsets.keys_of_topic(topic).into_iter();
        let records: Vec<GroupRecord> = keys
            .map(|key| GroupRecord::OffsetCommit { key, value: None })
            .collect();
        if !records.is_empty() {
            self.append_removals(records, Vec::new());
        }
    }

    /// Takes a group away and notes what to record of that.
    pub(crate) fn remove_group(
        &mut self,
        group_id: &StrBytes,
        records: &mut Vec<GroupRecord>,
        removed: &mut Vec<ClassicGroup>,
    ) {
        let offsets = self.offsets.latest_of_group(group_id);
        records.extend(offsets.map(|(key, _)| GroupRecord::OffsetCommit { key, value: None }));
        let group = self
            .groups
            .remove(group_id)
            .expect("the caller has found it");
        records.push(group.tombstone());
        removed.push(group);
    }

    /// Appends tombstones in as many writes as they need; gives the last.
    pub(crate) fn append_removals(
        &mut self,
        mut records: Vec<GroupRecord>,
        removed: Vec<ClassicGroup>,
    ) -> WriteId {
        assert!(!records.is_empty(), "there is something to remove");
        let mut last = self.desk.in_flight.next_id();
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(MOST_REMOVALS));
            last = self.append_offsets(records, Effect::None);
            records = rest;
        }
        // Readers see the groups until the last of it is done.
        let visible = removed.into_iter().filter(|group| group.is_visible);
        self.desk
            .in_flight
            .get_mut(last)
            .deleted_groups
            .extend(visible);
        last
    }

    fn may_delete(&self, group_id: &StrBytes) -> Result<(), ErrorCode> {
        match self.groups.get(group_id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(group) if group.state() != GroupState::Empty => Err(ErrorCode::NonEmptyGroup),
            Some(_) => Ok(()),
        }
    }

    fn refuse_offset_delete(&mut self, token: RequestToken, error: ErrorCode) {
        let response = OffsetDeleteResponse::default().with_error_code(error.code());
        self.desk
            .respond(token, GroupResponse::OffsetDelete(response));
    }
}
