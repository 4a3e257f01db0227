//! Heartbeat, versions 0–4: a member is alive, and learns whether it must rejoin.

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::classic_group::GroupState;
use crate::coordinator::GroupCoordinator;
use crate::desk::Turn;
use crate::request::{GroupResponse, RequestToken};

impl GroupCoordinator {
    pub(crate) fn heartbeat(&mut self, token: RequestToken, request: &HeartbeatRequest) {
        let outcome = match self.turn(&request.group_id.0) {
            Some(mut turn) => turn.heartbeat(request),
            None => Err(ErrorCode::UnknownMemberId),
        };
        let code = outcome.err().map_or(0, |error| error.code());
        let response = HeartbeatResponse::default().with_error_code(code);
        self.desk.respond(token, GroupResponse::Heartbeat(response));
    }
}

impl Turn<'_> {
    fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let instance_id = request.group_instance_id.as_ref();
        self.group
            .validate_member(&request.member_id, instance_id)?;
        if request.generation_id != self.group.generation() {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.restart_session(&request.member_id);
        match self.group.state() {
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            // Consumers send heartbeats from the moment they have joined.
            _ => Ok(()),
        }
    }
}
