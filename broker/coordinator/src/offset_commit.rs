//! OffsetCommit, versions 2–10: offsets are recorded for a group, by a member of it or by anybody
//! while it has none.
//!
//! - Versions 2–4 may name how long to keep the offsets; later ones keep them as the broker says.
//! - Version 6: leader epochs. Version 7: static members.
//! - Version 9: an unknown group is GROUP_ID_NOT_FOUND instead of ILLEGAL_GENERATION.
//! - Version 10: topics are named by id (KIP-848). Offsets are kept by name all the same, with the
//!   id beside; the caller has put the names in.
//!
//! Whether a partition exists is not asked here (see [`UnknownPartitions`]), nor are its bounds:
//! any offset may be committed.
//!
//! [`UnknownPartitions`]: crate::UnknownPartitions

use millstream_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use millstream_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use millstream_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::{ClassicGroup, GroupState};
use crate::committed_offsets::OffsetAndMetadata;
use crate::coordinator::GroupCoordinator;
use crate::desk::Turn;
use crate::in_flight::Effect;
use crate::input::WriteId;
use crate::request::{GroupRequest, GroupResponse, RequestContext, RequestToken};
use crate::retained::retained;
use millstream_protocol::group_records::{GroupRecord, OffsetCommitKey, OffsetCommitValue};

impl GroupCoordinator {
    pub(crate) fn commit_offsets(
        &mut self,
        token: RequestToken,
        context: &RequestContext,
        request: OffsetCommitRequest,
    ) {
        let api_version = context.api_version;
        let permission = match self.turn(&request.group_id.0) {
            Some(mut turn) => turn.permit_commit(&request),
            None if request.generation_id_or_member_epoch < 0 => Ok(()),
            None if api_version >= 9 => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        };
        if let Err(error) = permission {
            let request = GroupRequest::OffsetCommit(request);
            return self
                .desk
                .respond(token, request.error_response(api_version, error));
        }
        let (records, response) = self.offset_records(&request);
        let response = GroupResponse::OffsetCommit(response);
        if records.is_empty() {
            return self.desk.respond(token, response);
        }
        let effect = self.home_for_offsets(&request.group_id.0);
        let write = self.append_offsets(records, effect);
        self.desk.respond_after(Some(write), token, response);
    }

    /// Appends records among which are offsets.
    pub(crate) fn append_offsets(&mut self, records: Vec<GroupRecord>, effect: Effect) -> WriteId {
        let write = self.desk.in_flight.next_id();
        for record in &records {
            if let GroupRecord::OffsetCommit { key, value } = record {
                let value = value.as_ref().map(OffsetAndMetadata::from_record);
                self.offsets.begin(key, write, value);
            }
        }
        self.desk.append(records, effect)
    }

    /// Offsets need a group to be found under: one without members will do.
    fn home_for_offsets(&mut self, group_id: &StrBytes) -> Effect {
        if self.groups.contains_key(group_id) {
            return Effect::None;
        }
        let mut group = ClassicGroup::new(group_id, Some(self.desk.wall_clock_ms));
        group.created_by = Some(self.desk.in_flight.next_id());
        let group_id = group.id().clone();
        self.groups.insert(group_id.clone(), group);
        Effect::CreateGroup { group: group_id }
    }

    fn offset_records(
        &self,
        request: &OffsetCommitRequest,
    ) -> (Vec<GroupRecord>, OffsetCommitResponse) {
        let now_ms = self.desk.wall_clock_ms;
        let expire_timestamp = match request.retention_time_ms {
            -1 => -1,
            retention_ms => now_ms.saturating_add(retention_ms),
        };
        let group = retained(&request.group_id);
        let mut records = Vec::new();
        let mut response = OffsetCommitResponse::default();
        for topic in &request.topics {
            let name = retained(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let is_too_large = self.is_metadata_too_large(partition);
                let error = is_too_large.then_some(ErrorCode::OffsetMetadataTooLarge);
                let answer = OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error.map_or(0, |error| error.code()));
                partitions.push(answer);
                if is_too_large {
                    continue;
                }
                let key = OffsetCommitKey {
                    group: group.clone(),
                    topic: name.clone(),
                    partition: partition.partition_index,
                };
                let value = OffsetCommitValue {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch.max(-1),
                    metadata: partition
                        .committed_metadata
                        .as_ref()
                        .map(retained)
                        .unwrap_or_default(),
                    commit_timestamp: now_ms,
                    expire_timestamp,
                    topic_id: topic.topic_id,
                };
                records.push(GroupRecord::OffsetCommit {
                    key,
                    value: Some(value),
                });
            }
            let answer = OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions);
            response.topics.push(answer);
        }
        (records, response)
    }

    /// Kafka counts what Java calls the length of a string.
    fn is_metadata_too_large(&self, partition: &OffsetCommitRequestPartition) -> bool {
        let most = self.desk.config.offset_metadata_max_bytes;
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        metadata.encode_utf16().nth(most).is_some()
    }
}

impl Turn<'_> {
    /// A member's commit is a sign of life, too.
    fn permit_commit(&mut self, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let member_id = &request.member_id;
        let instance_id = request.group_instance_id.as_ref();
        let is_empty = self.group.state() == GroupState::Empty;
        if generation < 0 && is_empty {
            return Ok(());
        }
        self.group.validate_member(member_id, instance_id)?;
        if generation != self.group.generation() {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.group.state() == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.restart_session(member_id);
        Ok(())
    }
}
