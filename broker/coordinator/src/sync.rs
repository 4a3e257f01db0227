//! SyncGroup, versions 0–5: the leader brings the assignment, every member fetches its own.
//!
//! The leader's assignment is recorded before anybody is told of it. From version 5 the request
//! must name the protocol's type and name, and they must be the group's (KIP-559).

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::GroupState;
use crate::coordinator::GroupCoordinator;
use crate::desk::Turn;
use crate::in_flight::Effect;
use crate::request::{GroupResponse, RequestContext, RequestToken};
use crate::retained::{retained, retained_bytes};

impl GroupCoordinator {
    pub(crate) fn sync_group(
        &mut self,
        token: RequestToken,
        context: &RequestContext,
        request: SyncGroupRequest,
    ) {
        let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        if context.api_version >= 5 && !names_protocol {
            return self
                .desk
                .refuse_sync(token, ErrorCode::InconsistentGroupProtocol);
        }
        match self.turn(&request.group_id.0) {
            Some(mut turn) => turn.sync(token, request),
            None => self.desk.refuse_sync(token, ErrorCode::UnknownMemberId),
        }
    }
}

impl Turn<'_> {
    fn sync(&mut self, token: RequestToken, request: SyncGroupRequest) {
        if let Err(error) = self.validate_sync(&request) {
            return self.desk.refuse_sync(token, error);
        }
        let member_id = &request.member_id;
        match self.group.state() {
            GroupState::PreparingRebalance => {
                self.desk.refuse_sync(token, ErrorCode::RebalanceInProgress);
            }
            GroupState::CompletingRebalance => {
                let member = self
                    .group
                    .member_mut(member_id)
                    .expect("the member was validated");
                if let Some(displaced) = member.awaiting_sync.replace(token) {
                    self.desk
                        .refuse_sync(displaced, ErrorCode::RebalanceInProgress);
                }
                self.note_sync(member_id);
                if self.group.is_leader(member_id) {
                    self.store_assignment(&request);
                }
            }
            GroupState::Stable => {
                self.note_sync(member_id);
                let member = self
                    .group
                    .member(member_id)
                    .expect("the member was validated");
                let assignment = member.assignment.clone();
                self.answer_sync(token, assignment);
            }
            GroupState::Empty => unreachable!("an Empty group had the member {member_id}"),
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let instance_id = request.group_instance_id.as_ref();
        self.group
            .validate_member(&request.member_id, instance_id)?;
        if request.generation_id != self.group.generation() {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |named: &Option<StrBytes>, own: Option<&StrBytes>| {
            named.is_some() && named.as_ref() != own
        };
        if differs(&request.protocol_type, self.group.protocol_type())
            || differs(&request.protocol_name, self.group.protocol_name())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn note_sync(&mut self, member_id: &StrBytes) {
        self.group.remove_pending_sync(member_id);
        if self.group.has_received_sync_from_all() {
            self.cancel_sync_timeout();
        }
    }

    /// A member that the leader has forgotten gets an assignment of no bytes.
    fn store_assignment(&mut self, request: &SyncGroupRequest) {
        let assignment: BTreeMap<StrBytes, Bytes> = request
            .assignments
            .iter()
            .filter(|given| self.group.member(&given.member_id).is_some())
            .map(|given| {
                (
                    retained(&given.member_id),
                    retained_bytes(&given.assignment),
                )
            })
            .collect();
        let record = self.group.metadata_record(|member| {
            assignment
                .get(&member.member_id)
                .cloned()
                .unwrap_or_default()
        });
        let group = self.group.id().clone();
        let generation = self.group.generation();
        self.desk.append(
            vec![record],
            Effect::StoreAssignment {
                group,
                generation,
                assignment,
            },
        );
    }

    /// The assignment is recorded: those who wait get theirs, and the group is stable.
    pub(crate) fn take_assignment(&mut self, assignment: &BTreeMap<StrBytes, Bytes>) {
        for member_id in self.group.member_ids() {
            let member = self.group.member_mut(&member_id).expect("just listed");
            member.assignment = assignment.get(&member_id).cloned().unwrap_or_default();
            let own = member.assignment.clone();
            if let Some(token) = member.awaiting_sync.take() {
                self.answer_sync(token, own);
                // While its request waited the member sent no heartbeats, and the end of its
                // session was passed over.
                self.restart_session(&member_id);
            }
        }
        self.group.become_stable(self.desk.wall_clock_ms);
    }

    fn answer_sync(&mut self, token: RequestToken, assignment: Bytes) {
        let response = SyncGroupResponse::default()
            .with_protocol_type(self.group.protocol_type().cloned())
            .with_protocol_name(self.group.protocol_name().cloned())
            .with_assignment(assignment);
        self.desk.respond(token, GroupResponse::SyncGroup(response));
    }
}
