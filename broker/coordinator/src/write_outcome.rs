//! What follows when a write is committed, when it fails, and when nobody will know.

use bytes::Bytes;
use millstream_protocol::messages::JoinGroupResponse;
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::GroupState;
use crate::coordinator::{GroupCoordinator, Phase};
use crate::desk::Turn;
use crate::in_flight::{Effect, StaticReplacement, Write, shown_group};
use crate::input::WriteId;
use crate::request::GroupRequest;
use millstream_protocol::group_records::GroupRecord;

impl GroupCoordinator {
    pub(crate) fn records_committed(&mut self, id: WriteId) {
        if matches!(self.phase, Phase::Unloaded(_)) {
            return;
        }
        let write = self.desk.in_flight.finish(id);
        for record in &write.records {
            if let GroupRecord::OffsetCommit { key, .. } = record {
                self.offsets.commit(key, id);
            }
            let shown = shown_group(record).and_then(|group| self.groups.get_mut(group));
            if let Some(group) = shown.filter(|group| group.is_recorded_by(id)) {
                group.is_visible = true;
            }
        }
        self.apply(write.effect);
        for (token, response) in write.answers {
            self.desk.respond(token, response);
        }
        for read in write.stable_reads {
            self.answer_offset_fetch(read.token, read.api_version, &read.request);
        }
    }

    pub(crate) fn records_failed(&mut self, id: WriteId, error: ErrorCode) {
        if matches!(self.phase, Phase::Unloaded(_)) {
            return;
        }
        let error = client_error(error);
        let write = self.desk.in_flight.finish(id);
        for record in &write.records {
            if let GroupRecord::OffsetCommit { key, .. } = record {
                self.offsets.abandon(key, id);
            }
        }
        for group in write.deleted_groups {
            self.groups.entry(group.id().clone()).or_insert(group);
        }
        self.revert(write.effect, error);
        for (token, response) in write.answers {
            self.desk.respond(token, response.failed(error));
        }
        for read in write.stable_reads {
            self.answer_offset_fetch(read.token, read.api_version, &read.request);
        }
    }

    /// Every request that waits is answered with `error`, as will be every later one.
    pub(crate) fn unload(&mut self, error: ErrorCode) {
        self.phase = Phase::Unloaded(error);
        self.desk.timers.clear();
        let writes: Vec<Write> = self.desk.in_flight.drain().collect();
        for write in writes {
            for (token, response) in write.answers {
                self.desk.respond(token, response.failed(error));
            }
            for read in write.stable_reads {
                let request = GroupRequest::OffsetFetch(read.request);
                let response = request.error_response(read.api_version, error);
                self.desk.respond(read.token, response);
            }
        }
        for group in self.groups.values_mut() {
            Turn {
                group,
                desk: &mut self.desk,
            }
            .refuse_all_waiting(error);
        }
        self.groups.clear();
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::None | Effect::CreateGroup { .. } => {}
            Effect::StoreAssignment {
                group,
                generation,
                assignment,
            } => {
                if let Some(mut turn) = self.turn_in_sync_phase(&group, generation) {
                    turn.take_assignment(&assignment);
                }
            }
            Effect::ReplaceStaticMember(replacement) => {
                if let Some(mut turn) = self.turn(&replacement.group) {
                    turn.welcome_static_member(&replacement);
                }
            }
        }
    }

    fn revert(&mut self, effect: Effect, error: ErrorCode) {
        match effect {
            Effect::None => {}
            Effect::CreateGroup { group } => self.revert_creation(&group, error),
            Effect::StoreAssignment {
                group, generation, ..
            } => {
                if let Some(mut turn) = self.turn_in_sync_phase(&group, generation) {
                    turn.refuse_assignment(error);
                    turn.prepare_rebalance();
                }
            }
            Effect::ReplaceStaticMember(replacement) => {
                if let Some(mut turn) = self.turn(&replacement.group) {
                    turn.revert_static_member(replacement, error);
                }
            }
        }
    }

    /// A write for a generation's assignment means nothing once the group has moved on.
    fn turn_in_sync_phase(&mut self, group: &StrBytes, generation: i32) -> Option<Turn<'_>> {
        let turn = self.turn(group)?;
        let is_current = turn.group.state() == GroupState::CompletingRebalance
            && turn.group.generation() == generation;
        is_current.then_some(turn)
    }

    fn revert_creation(&mut self, group: &StrBytes, error: ErrorCode) {
        let is_baseless = self
            .groups
            .get(group)
            .is_some_and(|group| !group.is_visible)
            && !self.desk.in_flight.names_group(group);
        if !is_baseless {
            return;
        }
        let mut turn = self.turn(group).expect("the group was just found");
        turn.refuse_all_waiting(error);
        turn.cancel_timers();
        self.groups.remove(group);
    }
}

impl Turn<'_> {
    fn refuse_all_waiting(&mut self, error: ErrorCode) {
        for member_id in self.group.member_ids() {
            self.refuse_waiting(&member_id, &member_id, error);
        }
    }

    fn welcome_static_member(&mut self, replacement: &StaticReplacement) {
        let member_id = &replacement.member_id;
        if !self.still_waits(replacement) {
            return;
        }
        if self.group.state() != GroupState::Stable {
            // A rebalance has begun meanwhile, and the request waits for its end like the others.
            return;
        }
        let join = self
            .group
            .take_awaited_join(member_id)
            .expect("the member still waits");
        let response = if join.api_version >= 9 {
            let is_leader = self.group.is_leader(member_id);
            let members = if is_leader {
                self.group.members_for_leader()
            } else {
                Vec::new()
            };
            self.current_generation(member_id)
                .with_members(members)
                .with_skip_assignment(is_leader)
        } else {
            // Told of the leader's former id, the member does not take itself for the leader and
            // assigns nothing.
            self.current_generation(member_id)
                .with_leader(replacement.leader.clone())
        };
        self.desk.respond_join(join, response);
    }

    fn revert_static_member(&mut self, replacement: StaticReplacement, error: ErrorCode) {
        if !self.still_waits(&replacement) {
            return;
        }
        let StaticReplacement {
            instance_id,
            old_member_id,
            member_id,
            ..
        } = replacement;
        let join = self
            .group
            .take_awaited_join(&member_id)
            .expect("the member still waits");
        let response = self
            .current_generation(&StrBytes::new())
            .with_leader(replacement.leader)
            .with_error_code(error.code());
        self.desk.respond_join(join, response);
        self.cancel_session(&member_id);
        self.group.update_terms(&member_id, replacement.old_terms);
        self.group
            .replace_static_member(&instance_id, &member_id, &old_member_id);
        self.restart_session(&old_member_id);
    }

    fn still_waits(&self, replacement: &StaticReplacement) -> bool {
        let member = self.group.member(&replacement.member_id);
        let waiting = member.and_then(|member| member.awaiting_join());
        waiting.is_some_and(|join| join.token == replacement.token)
    }

    /// What a member that is told of the group as it stands learns.
    pub(crate) fn current_generation(&self, member_id: &StrBytes) -> JoinGroupResponse {
        JoinGroupResponse::default()
            .with_member_id(member_id.clone())
            .with_generation_id(self.group.generation())
            .with_protocol_type(self.group.protocol_type().cloned())
            .with_protocol_name(self.group.protocol_name().cloned())
            .with_leader(self.group.leader().cloned().unwrap_or_default())
    }

    /// The assignment is dropped, and those who wait for it are told why.
    pub(crate) fn refuse_assignment(&mut self, error: ErrorCode) {
        for member_id in self.group.member_ids() {
            let member = self.group.member_mut(&member_id).expect("just listed");
            member.assignment = Bytes::new();
            if let Some(token) = member.awaiting_sync.take() {
                self.desk.refuse_sync(token, error);
                self.restart_session(&member_id);
            }
        }
    }
}

/// The error a client is told when an append failed with `error`.
fn client_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        other => other,
    }
}
