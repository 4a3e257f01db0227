//! JoinGroup, versions 0–9: a member comes, comes back, or renews what it said of itself.
//!
//! - From version 4 a dynamic member without an id is given one (MEMBER_ID_REQUIRED) and joins
//!   with it; until then, or until its session is over, a rebalance waits for it (KIP-394).
//! - Version 5: static members (KIP-345), see [`static_member`](crate::static_member).
//! - Version 9: a returning static leader is told to skip the assignment (KIP-814).

use millstream_protocol::messages::JoinGroupRequest;
use millstream_protocol::{ErrorCode, StrBytes};
use uuid::Builder;

use crate::classic_group::{ClassicGroup, GroupState};
use crate::classic_member::{AwaitedJoin, ClassicMember, MemberTerms};
use crate::coordinator::GroupCoordinator;
use crate::desk::{Turn, timeout};
use crate::in_flight::Effect;
use crate::input::WriteId;
use crate::request::{RequestContext, RequestToken};
use crate::retained::retained;

/// A JoinGroup on its way through.
pub(crate) struct Join<'a> {
    pub(crate) context: &'a RequestContext,
    pub(crate) request: &'a JoinGroupRequest,
    pub(crate) terms: MemberTerms,
    pub(crate) waiting: AwaitedJoin,
}

impl GroupCoordinator {
    pub(crate) fn join_group(
        &mut self,
        token: RequestToken,
        context: &RequestContext,
        mut request: JoinGroupRequest,
    ) {
        if context.api_version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        let join = Join {
            context,
            request: &request,
            terms: MemberTerms::from_request(&request),
            waiting: AwaitedJoin {
                token,
                api_version: context.api_version,
            },
        };
        let group_id = &request.group_id.0;
        if let Some(mut turn) = self.turn(group_id) {
            turn.join(join);
            return;
        }
        if !request.member_id.is_empty() {
            let error = ErrorCode::UnknownMemberId;
            return self
                .desk
                .refuse_join(join.waiting, &request.member_id, error);
        }
        let mut group = ClassicGroup::new(group_id, Some(self.desk.wall_clock_ms));
        Turn {
            group: &mut group,
            desk: &mut self.desk,
        }
        .join(join);
        if group.is_vacant() {
            return;
        }
        group.created_by = Some(self.desk.in_flight.next_id());
        let record = group.creation_record();
        let group_id = group.id().clone();
        self.groups.insert(group_id.clone(), group);
        self.desk
            .append(vec![record], Effect::CreateGroup { group: group_id });
    }
}

impl Turn<'_> {
    fn join(&mut self, join: Join<'_>) -> Option<WriteId> {
        let member_id = retained(&join.request.member_id);
        if !self.has_room_for(&member_id) {
            self.group.remove_pending_member(&member_id);
            self.drop_member(&member_id, ErrorCode::UnknownMemberId);
            return self.refuse(&join, &StrBytes::new(), ErrorCode::GroupMaxSizeReached);
        }
        let names = join.terms.protocols.iter().map(|protocol| &protocol.name);
        if !self
            .group
            .supports_protocols(&join.request.protocol_type, names)
        {
            return self.refuse(&join, &member_id, ErrorCode::InconsistentGroupProtocol);
        }
        if member_id.is_empty() {
            return self.join_without_id(join);
        }
        let instance_id = join.request.group_instance_id.as_ref();
        if self.group.is_pending_member(&member_id) {
            if instance_id.is_some() {
                // Only dynamic members are ever pending. Kafka fails on this too.
                return self.refuse(&join, &member_id, ErrorCode::UnknownServerError);
            }
            return self.add_member(member_id, join);
        }
        if let Err(error) = self.group.validate_member(&member_id, instance_id) {
            return self.refuse(&join, &member_id, error);
        }
        self.rejoin(member_id, join)
    }

    fn join_without_id(&mut self, join: Join<'_>) -> Option<WriteId> {
        let instance_id = join.request.group_instance_id.as_ref();
        let member_id = self.make_member_id(instance_id.unwrap_or(&join.context.client_id));
        if let Some(instance_id) = instance_id {
            if let Some(old_member_id) = self.group.static_member_id(instance_id).cloned() {
                return self.rejoin_static_member(old_member_id, member_id, join);
            }
            return self.add_member(member_id, join);
        }
        if join.context.api_version < 4 {
            return self.add_member(member_id, join);
        }
        if self.group.pending_count() >= self.desk.config.max_pending_members {
            return self.refuse(&join, &StrBytes::new(), ErrorCode::GroupMaxSizeReached);
        }
        self.group.add_pending_member(member_id.clone());
        self.schedule_session(&member_id, timeout(join.terms.session_timeout_ms));
        self.refuse(&join, &member_id, ErrorCode::MemberIdRequired)
    }

    /// A member that is known joins again.
    fn rejoin(&mut self, member_id: StrBytes, join: Join<'_>) -> Option<WriteId> {
        let member = self
            .group
            .member(&member_id)
            .expect("the member was validated");
        let is_unchanged = member.terms.protocols == join.terms.protocols;
        let is_leader = self.group.is_leader(&member_id);
        let repeats_answer = match self.group.state() {
            // The answer may have been lost.
            GroupState::CompletingRebalance => is_unchanged,
            // A leader that joins again wants a rebalance: something other than the members'
            // metadata has changed, such as a topic's partitions.
            GroupState::Stable => is_unchanged && !is_leader,
            GroupState::PreparingRebalance => false,
            GroupState::Empty => unreachable!("an Empty group had the member {member_id}"),
        };
        if !repeats_answer {
            self.renew(&member_id, join.terms, join.waiting);
            return self.rebalance_or_complete_join();
        }
        let mut response = self.current_generation(&member_id);
        if is_leader {
            response.members = self.group.members_for_leader();
        }
        self.desk.respond_join(join.waiting, response);
        None
    }

    fn add_member(&mut self, member_id: StrBytes, join: Join<'_>) -> Option<WriteId> {
        let instance_id = join.request.group_instance_id.as_ref().map(retained);
        let member = ClassicMember::new(member_id.clone(), instance_id, join.context, join.terms);
        self.group
            .add(member, &join.request.protocol_type, join.waiting);
        // A new member cannot send heartbeats while its request waits, and if its client goes
        // away nobody notices. Such members must not pile up in a long rebalance.
        let wait = self.desk.config.new_member_join_timeout;
        self.schedule_session(&member_id, wait);
        self.rebalance_or_complete_join()
    }

    /// Takes over the member's new terms and lets its request wait.
    pub(crate) fn renew(
        &mut self,
        member_id: &StrBytes,
        terms: MemberTerms,
        waiting: AwaitedJoin,
    ) -> MemberTerms {
        let previous_terms = self.group.update_terms(member_id, terms);
        if let Some(displaced) = self.group.await_join(member_id, waiting) {
            self.desk
                .refuse_join(displaced, member_id, ErrorCode::RebalanceInProgress);
        }
        previous_terms
    }

    /// While members gather, those that have joined are counted: when there are too many, the
    /// last to rejoin have no place.
    fn has_room_for(&self, member_id: &StrBytes) -> bool {
        let most = self.desk.config.max_group_size;
        let member = self.group.member(member_id);
        match self.group.state() {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join().is_some())
                    || self.group.awaiting_join_count() < most
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.group.size() < most
            }
        }
    }

    fn refuse(
        &mut self,
        join: &Join<'_>,
        member_id: &StrBytes,
        error: ErrorCode,
    ) -> Option<WriteId> {
        self.desk.refuse_join(join.waiting, member_id, error);
        None
    }

    fn make_member_id(&self, prefix: &StrBytes) -> StrBytes {
        let random = Builder::from_random_bytes(self.desk.entropy.to_be_bytes()).into_uuid();
        StrBytes::from_string(format!("{prefix}-{random}"))
    }
}
