//! What a group needs while it is being dealt with: the time, the timers, and the places where
//! answers and writes are put.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use millstream_protocol::messages::JoinGroupResponse;
use millstream_protocol::messages::SyncGroupResponse;
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::ClassicGroup;
use crate::classic_member::AwaitedJoin;
use crate::config::GroupCoordinatorConfig;
use crate::in_flight::{Effect, InFlight};
use crate::input::{Output, WriteId};
use crate::request::{GroupResponse, RequestToken, fit_join_response};
use crate::timers::{TimerEvent, TimerKey, Timers};
use millstream_protocol::group_records::GroupRecord;

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) config: GroupCoordinatorConfig,
    pub(crate) now: Instant,
    pub(crate) wall_clock_ms: i64,
    pub(crate) entropy: u128,
    pub(crate) timers: Timers,
    pub(crate) in_flight: InFlight,
    pub(crate) outputs: VecDeque<Output>,
}

/// A group at the desk. The files named after requests say what happens to it there.
pub(crate) struct Turn<'a> {
    pub(crate) group: &'a mut ClassicGroup,
    pub(crate) desk: &'a mut Desk,
}

impl Desk {
    pub(crate) fn respond(&mut self, token: RequestToken, response: GroupResponse) {
        self.outputs.push_back(Output::Respond(token, response));
    }

    pub(crate) fn respond_join(&mut self, join: AwaitedJoin, response: JoinGroupResponse) {
        let fitted = fit_join_response(join.api_version, response);
        self.respond(join.token, GroupResponse::JoinGroup(fitted));
    }

    pub(crate) fn refuse_join(
        &mut self,
        join: AwaitedJoin,
        member_id: &StrBytes,
        error: ErrorCode,
    ) {
        let response = JoinGroupResponse::default()
            .with_member_id(member_id.clone())
            .with_error_code(error.code());
        self.respond_join(join, response);
    }

    pub(crate) fn refuse_sync(&mut self, token: RequestToken, error: ErrorCode) {
        let response = SyncGroupResponse::default().with_error_code(error.code());
        self.respond(token, GroupResponse::SyncGroup(response));
    }

    pub(crate) fn append(&mut self, records: Vec<GroupRecord>, effect: Effect) -> WriteId {
        let write = self.in_flight.push(records.clone(), effect);
        self.outputs.push_back(Output::Append { write, records });
        write
    }

    /// Answers when the write is committed; at once if there is none.
    pub(crate) fn respond_after(
        &mut self,
        write: Option<WriteId>,
        token: RequestToken,
        response: GroupResponse,
    ) {
        match write {
            Some(write) => self
                .in_flight
                .get_mut(write)
                .answers
                .push((token, response)),
            None => self.respond(token, response),
        }
    }

    pub(crate) fn schedule(&mut self, key: TimerKey, delay: Duration, event: TimerEvent) {
        self.timers.schedule(key, self.now + delay, event);
    }
}

/// A timeout that a client named; a negative one is none.
pub(crate) fn timeout(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}
