//! A group's way from one generation to the next: gathering members, closing the join phase,
//! giving up on those who do not come.

use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::GroupState;
use crate::desk::{Turn, timeout};
use crate::in_flight::Effect;
use crate::input::WriteId;
use crate::timers::{TimerEvent, TimerKey};

/// The least wait before a group whose members are all static and absent is looked at again. A
/// rebalance timeout of 0 would else keep the coordinator busy until their sessions expire.
const LEAST_JOIN_RETRY: Duration = Duration::from_millis(100);

impl Turn<'_> {
    /// Something has changed: rebalance, or go on with the rebalance that is under way.
    pub(crate) fn rebalance_or_complete_join(&mut self) -> Option<WriteId> {
        match self.group.state() {
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(),
            _ => self.prepare_rebalance(),
        }
    }

    pub(crate) fn prepare_rebalance(&mut self) -> Option<WriteId> {
        if self.group.state() == GroupState::CompletingRebalance {
            self.refuse_assignment(ErrorCode::RebalanceInProgress);
        }
        self.cancel_sync_timeout();
        self.group.prepare_rebalance(self.desk.wall_clock_ms);
        if self.group.is_initial_rebalance() {
            let delay = self.desk.config.initial_rebalance_delay;
            let most = timeout(self.group.rebalance_timeout_ms());
            let remaining = most.saturating_sub(delay);
            self.schedule_join(delay, TimerEvent::InitialDelay { delay, remaining });
            return None;
        }
        if self.group.has_all_members_joined() {
            return self.complete_join();
        }
        let delay = timeout(self.group.rebalance_timeout_ms());
        self.schedule_join(delay, TimerEvent::JoinTimeout);
        None
    }

    /// The initial rebalance ends by its delay alone; others when the last member has joined.
    pub(crate) fn complete_join_if_all_joined(&mut self) -> Option<WriteId> {
        let may_complete = self.group.state() == GroupState::PreparingRebalance
            && !self.group.is_initial_rebalance()
            && self.group.has_all_members_joined();
        if may_complete {
            self.complete_join()
        } else {
            None
        }
    }

    pub(crate) fn initial_delay_over(&mut self, delay: Duration, remaining: Duration) {
        if !self.group.new_member_added || remaining.is_zero() {
            self.complete_join();
            return;
        }
        self.group.new_member_added = false;
        let next = remaining.min(self.desk.config.initial_rebalance_delay);
        let remaining = remaining.saturating_sub(delay);
        self.schedule_join(
            next,
            TimerEvent::InitialDelay {
                delay: next,
                remaining,
            },
        );
    }

    /// Ends the join phase: those who have not rejoined are out, unless they are static and their
    /// session lasts, and a new generation begins with the rest.
    pub(crate) fn complete_join(&mut self) -> Option<WriteId> {
        self.cancel_join_timeout();
        for member_id in self.group.laggards() {
            self.drop_member(&member_id, ErrorCode::UnknownMemberId);
        }
        if !self.group.elect_joined_leader() && self.group.size() > 0 {
            let delay = timeout(self.group.rebalance_timeout_ms()).max(LEAST_JOIN_RETRY);
            self.schedule_join(delay, TimerEvent::JoinTimeout);
            return None;
        }
        self.group.begin_next_generation(self.desk.wall_clock_ms);
        if self.group.state() == GroupState::Empty {
            // If this write fails, the generation before it is loaded again and its members'
            // sessions expire: nothing is lost.
            let record = self.group.metadata_record(|_| Bytes::new());
            return Some(self.desk.append(vec![record], Effect::None));
        }
        self.answer_joined_members();
        let delay = timeout(self.group.rebalance_timeout_ms());
        self.desk
            .schedule(self.sync_key(), delay, TimerEvent::SyncTimeout);
        None
    }

    fn answer_joined_members(&mut self) {
        for member_id in self.group.member_ids() {
            if let Some(join) = self.group.take_awaited_join(&member_id) {
                let mut response = self.current_generation(&member_id);
                if self.group.is_leader(&member_id) {
                    response.members = self.group.members_for_leader();
                }
                self.desk.respond_join(join, response);
            }
            self.restart_session(&member_id);
            self.group
                .member_mut(&member_id)
                .expect("just listed")
                .is_new = false;
            self.group.add_pending_sync(member_id);
        }
    }

    /// The members of the generation that have not synced are out. There are such members: the
    /// timer is cancelled when the last has synced and when the generation is over.
    pub(crate) fn sync_timeout(&mut self) {
        for member_id in self.group.pending_sync() {
            self.drop_member(&member_id, ErrorCode::UnknownMemberId);
        }
        self.prepare_rebalance();
    }

    pub(crate) fn session_expired(&mut self, member_id: &StrBytes) {
        if self.group.remove_pending_member(member_id) {
            self.after_departure();
            return;
        }
        let Some(member) = self.group.member(member_id) else {
            return;
        };
        if member.is_excused_from_heartbeats() {
            return;
        }
        self.drop_member(member_id, ErrorCode::UnknownMemberId);
        match self.group.state() {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance();
            }
            GroupState::PreparingRebalance => self.after_departure(),
            GroupState::Empty => unreachable!("an Empty group had the member {member_id}"),
        }
    }

    /// The one who left may have been the last that the others waited for. Unlike a member's
    /// joining, this ends an initial rebalance early too.
    fn after_departure(&mut self) {
        let is_preparing = self.group.state() == GroupState::PreparingRebalance;
        if is_preparing && self.group.has_all_members_joined() {
            self.complete_join();
        }
    }

    /// Takes a member out of the group and tells those of its requests that wait here.
    pub(crate) fn drop_member(&mut self, member_id: &StrBytes, error: ErrorCode) {
        self.refuse_waiting(member_id, &StrBytes::new(), error);
        self.cancel_session(member_id);
        self.group.remove(member_id);
    }

    /// Answers the member's waiting requests with an error.
    pub(crate) fn refuse_waiting(
        &mut self,
        member_id: &StrBytes,
        told_member_id: &StrBytes,
        error: ErrorCode,
    ) {
        if let Some(join) = self.group.take_awaited_join(member_id) {
            self.desk.refuse_join(join, told_member_id, error);
        }
        let member = self.group.member_mut(member_id);
        if let Some(token) = member.and_then(|member| member.awaiting_sync.take()) {
            self.desk.refuse_sync(token, error);
        }
    }

    pub(crate) fn restart_session(&mut self, member_id: &StrBytes) {
        let member = self
            .group
            .member(member_id)
            .expect("only members have sessions to restart");
        let delay = timeout(member.terms.session_timeout_ms);
        self.schedule_session(member_id, delay);
    }

    pub(crate) fn schedule_session(&mut self, member_id: &StrBytes, delay: Duration) {
        let key = self.session_key(member_id);
        self.desk.schedule(key, delay, TimerEvent::SessionExpired);
    }

    pub(crate) fn cancel_session(&mut self, member_id: &StrBytes) {
        self.desk.timers.cancel(&self.session_key(member_id));
    }

    pub(crate) fn cancel_sync_timeout(&mut self) {
        self.desk.timers.cancel(&self.sync_key());
    }

    fn cancel_join_timeout(&mut self) {
        self.desk.timers.cancel(&self.join_key());
    }

    /// The group goes: the next of its name must not meet its timers.
    pub(crate) fn cancel_timers(&mut self) {
        let members = self.group.member_ids().into_iter();
        for member_id in members.chain(self.group.pending_member_ids()) {
            self.cancel_session(&member_id);
        }
        self.cancel_join_timeout();
        self.cancel_sync_timeout();
    }

    fn schedule_join(&mut self, delay: Duration, event: TimerEvent) {
        self.desk.schedule(self.join_key(), delay, event);
    }

    fn session_key(&self, member_id: &StrBytes) -> TimerKey {
        TimerKey::Session {
            group: self.group.id().clone(),
            member: member_id.clone(),
        }
    }

    fn join_key(&self) -> TimerKey {
        TimerKey::Join {
            group: self.group.id().clone(),
        }
    }

    fn sync_key(&self) -> TimerKey {
        TimerKey::Sync {
            group: self.group.id().clone(),
        }
    }
}
