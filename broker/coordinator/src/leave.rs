//! LeaveGroup, versions 0–5: members go, of themselves or by an administrator's hand.
//!
//! Version 3 takes several members and answers for each (KIP-345); an administrator names a
//! static member by its instance id alone.

use millstream_protocol::messages::LeaveGroupRequest;
use millstream_protocol::messages::leave_group_request::MemberIdentity;
use millstream_protocol::messages::leave_group_response::MemberResponse;
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::GroupState;
use crate::coordinator::GroupCoordinator;
use crate::desk::Turn;
use crate::request::{GroupResponse, RequestContext, RequestToken, fit_leave_response};

impl GroupCoordinator {
    pub(crate) fn leave_group(
        &mut self,
        token: RequestToken,
        context: &RequestContext,
        request: LeaveGroupRequest,
    ) {
        let leaving = if context.api_version >= 3 {
            request.members
        } else {
            vec![MemberIdentity::default().with_member_id(request.member_id)]
        };
        let mut turn = self.turn(&request.group_id.0);
        let mut has_left = false;
        let mut responses = Vec::with_capacity(leaving.len());
        for identity in leaving {
            let outcome = match &mut turn {
                Some(turn) => turn.leave(&identity),
                None => Err(ErrorCode::UnknownMemberId),
            };
            has_left |= outcome.is_ok();
            let code = outcome.err().map_or(0, |error| error.code());
            let response = MemberResponse::default()
                .with_member_id(identity.member_id)
                .with_group_instance_id(identity.group_instance_id)
                .with_error_code(code);
            responses.push(response);
        }
        let write = match &mut turn {
            Some(turn) if has_left => match turn.group.state() {
                GroupState::Stable | GroupState::CompletingRebalance => turn.prepare_rebalance(),
                GroupState::PreparingRebalance => turn.complete_join_if_all_joined(),
                GroupState::Empty => None,
            },
            _ => None,
        };
        let response = fit_leave_response(context.api_version, responses);
        self.desk
            .respond_after(write, token, GroupResponse::LeaveGroup(response));
    }
}

impl Turn<'_> {
    fn leave(&mut self, identity: &MemberIdentity) -> Result<(), ErrorCode> {
        let member_id = self.leaving_member_id(identity)?;
        if self.group.remove_pending_member(&member_id) {
            self.cancel_session(&member_id);
            return Ok(());
        }
        self.drop_member(&member_id, ErrorCode::UnknownMemberId);
        Ok(())
    }

    fn leaving_member_id(&self, identity: &MemberIdentity) -> Result<StrBytes, ErrorCode> {
        let instance_id = identity.group_instance_id.as_ref();
        if identity.member_id.is_empty() {
            let bearer = instance_id.and_then(|id| self.group.static_member_id(id));
            return bearer.cloned().ok_or(ErrorCode::UnknownMemberId);
        }
        if !self.group.is_pending_member(&identity.member_id) {
            self.group
                .validate_member(&identity.member_id, instance_id)?;
        }
        Ok(identity.member_id.clone())
    }
}
