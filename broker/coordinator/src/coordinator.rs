//! The coordinator of one partition of `__consumer_offsets`: takes inputs, gives outputs.
//!
//! A response that tells of a change waits until the change's records are committed, and readers
//! see offsets and groups only then. What a group's members do in between (who has joined, who
//! has synced, whose session is how old) is in memory alone, as in Kafka: a coordinator that is
//! loaded again finds each group in its last recorded generation, with its members' sessions
//! begun anew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use millstream_protocol::messages::HeartbeatResponse;
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::ClassicGroup;
use crate::committed_offsets::CommittedOffsets;
use crate::config::GroupCoordinatorConfig;
use crate::desk::{Desk, Turn};
use crate::in_flight::InFlight;
use crate::input::{Input, Output};
use crate::request::{GroupRequest, GroupResponse, RequestContext, RequestToken};
use crate::timers::{TimerEvent, TimerKey, Timers};

/// Decides for the groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupCoordinator {
    pub(crate) phase: Phase,
    pub(crate) groups: BTreeMap<StrBytes, ClassicGroup>,
    pub(crate) offsets: CommittedOffsets,
    pub(crate) desk: Desk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The log is being replayed.
    Loading,
    Active,
    /// Every request is answered with this.
    Unloaded(ErrorCode),
}

impl GroupCoordinator {
    /// A coordinator that knows of nothing yet: replay the partition's records into it, then say
    /// [`Input::Loaded`].
    pub fn new(config: GroupCoordinatorConfig, now: Instant) -> GroupCoordinator {
        GroupCoordinator {
            phase: Phase::Loading,
            groups: BTreeMap::new(),
            offsets: CommittedOffsets::default(),
            desk: Desk {
                config,
                now,
                wall_clock_ms: 0,
                entropy: 0,
                timers: Timers::default(),
                in_flight: InFlight::default(),
                outputs: VecDeque::new(),
            },
        }
    }

    /// Takes one input, which happened at `now` (by the wall clock, `wall_clock_ms` after the
    /// epoch). `entropy` is fresh random bits: the member id that a JoinGroup may be given is
    /// made of them. Drain the outputs before the next input.
    pub fn handle(&mut self, now: Instant, wall_clock_ms: i64, entropy: u128, input: Input) {
        self.desk.now = now;
        self.desk.wall_clock_ms = wall_clock_ms;
        self.desk.entropy = entropy;
        match input {
            Input::Loaded => self.finish_loading(),
            Input::Request {
                token,
                context,
                request,
            } => self.request(token, &context, request),
            Input::Tick => {}
            Input::RecordsCommitted(write) => self.records_committed(write),
            Input::RecordsFailed(write, error) => self.records_failed(write, error),
            Input::TopicDeleted(topic) => self.topic_deleted(&topic),
            Input::Unload(error) => self.unload(error),
        }
        self.fire_due_timers();
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.desk.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due, unless another input changes it.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.desk.timers.next_deadline()
    }

    /// Requests are answered from the state, not with an error.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// The topics for which offsets are committed, each once for every group.
    pub fn topics_with_offsets(&self) -> impl Iterator<Item = StrBytes> {
        self.offsets.topics().cloned()
    }

    pub(crate) fn turn(&mut self, group: &StrBytes) -> Option<Turn<'_>> {
        let group = self.groups.get_mut(group)?;
        Some(Turn {
            group,
            desk: &mut self.desk,
        })
    }

    /// The group as readers see it: once something of it is committed, and until its deletion is.
    pub(crate) fn visible_group(&self, group: &StrBytes) -> Option<&ClassicGroup> {
        let live = self.groups.get(group).filter(|live| live.is_visible);
        live.or_else(|| self.desk.in_flight.deleted_group(group))
    }

    fn request(&mut self, token: RequestToken, context: &RequestContext, request: GroupRequest) {
        let refusal = self.invalid(&request).or_else(|| self.unready(&request));
        if let Some(error) = refusal {
            let response = request.error_response(context.api_version, error);
            return self.desk.respond(token, response);
        }
        if self.phase == Phase::Loading {
            // A heartbeat that comes before its group is loaded is as good as one that came in
            // time: sessions begin when loading ends.
            return self.desk.respond(token, heartbeat_while_loading());
        }
        match request {
            GroupRequest::OffsetCommit(request) => self.commit_offsets(token, context, request),
            GroupRequest::OffsetFetch(request) => self.fetch_offsets(token, context, request),
            GroupRequest::JoinGroup(request) => self.join_group(token, context, request),
            GroupRequest::Heartbeat(request) => self.heartbeat(token, &request),
            GroupRequest::LeaveGroup(request) => self.leave_group(token, context, request),
            GroupRequest::SyncGroup(request) => self.sync_group(token, context, request),
            GroupRequest::DescribeGroups(request) => self.describe_groups(token, context, &request),
            GroupRequest::ListGroups(request) => self.list_groups(token, &request),
            GroupRequest::DeleteGroups(request) => self.delete_groups(token, request),
            GroupRequest::OffsetDelete(request) => self.delete_offsets(token, request),
        }
    }

    /// What is wrong with a request whatever the state. Committing, fetching, describing and
    /// deleting work for the empty group id too, as they always have.
    fn invalid(&self, request: &GroupRequest) -> Option<ErrorCode> {
        let group_id = match request {
            GroupRequest::JoinGroup(join) => {
                let config = &self.desk.config;
                let sessions = config.min_session_timeout_ms..=config.max_session_timeout_ms;
                if !join.group_id.is_empty() && !sessions.contains(&join.session_timeout_ms) {
                    return Some(ErrorCode::InvalidSessionTimeout);
                }
                &join.group_id
            }
            GroupRequest::SyncGroup(sync) => &sync.group_id,
            GroupRequest::Heartbeat(heartbeat) => &heartbeat.group_id,
            GroupRequest::LeaveGroup(leave) => &leave.group_id,
            GroupRequest::OffsetDelete(delete) => &delete.group_id,
            _ => return None,
        };
        group_id.is_empty().then_some(ErrorCode::InvalidGroupId)
    }

    fn unready(&self, request: &GroupRequest) -> Option<ErrorCode> {
        match (self.phase, request) {
            (Phase::Active, _) | (Phase::Loading, GroupRequest::Heartbeat(_)) => None,
            (Phase::Loading, _) => Some(ErrorCode::CoordinatorLoadInProgress),
            (Phase::Unloaded(error), _) => Some(error),
        }
    }

    fn fire_due_timers(&mut self) {
        let set_before = self.desk.timers.count();
        while let Some((key, event)) = self.desk.timers.pop_due(self.desk.now, set_before) {
            match key {
                TimerKey::Expiration => self.expire_offsets(),
                TimerKey::Session { group, member } => {
                    if let Some(mut turn) = self.turn(&group) {
                        turn.session_expired(&member);
                    }
                }
                TimerKey::Join { group } | TimerKey::Sync { group } => {
                    if let Some(mut turn) = self.turn(&group) {
                        turn.phase_timeout(event);
                    }
                }
            }
        }
    }
}

impl Turn<'_> {
    fn phase_timeout(&mut self, event: TimerEvent) {
        match event {
            TimerEvent::JoinTimeout => drop(self.complete_join()),
            TimerEvent::InitialDelay { delay, remaining } => {
                self.initial_delay_over(delay, remaining);
            }
            TimerEvent::SyncTimeout => self.sync_timeout(),
            TimerEvent::SessionExpired | TimerEvent::ExpirationDue => {
                unreachable!(
                    "{event:?} is never set for a phase of group {}",
                    self.group.id()
                )
            }
        }
    }
}

fn heartbeat_while_loading() -> GroupResponse {
    GroupResponse::Heartbeat(HeartbeatResponse::default())
}
