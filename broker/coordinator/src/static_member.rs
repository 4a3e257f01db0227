//! A static member that comes back without its member id (KIP-345): it takes its old place under
//! a new id, and a stable group does not rebalance for it.

use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::GroupState;
use crate::desk::Turn;
use crate::in_flight::{Effect, StaticReplacement};
use crate::input::WriteId;
use crate::join::Join;

impl Turn<'_> {
    pub(crate) fn rejoin_static_member(
        &mut self,
        old_member_id: StrBytes,
        member_id: StrBytes,
        join: Join<'_>,
    ) -> Option<WriteId> {
        let instance_id = self.known_instance_id(&old_member_id);
        let leader = self.group.leader().cloned().unwrap_or_default();
        // A second client with the same instance id is told at once that it is fenced.
        self.refuse_waiting(&old_member_id, &old_member_id, ErrorCode::FencedInstanceId);
        self.cancel_session(&old_member_id);
        self.group
            .replace_static_member(&instance_id, &old_member_id, &member_id);
        self.restart_session(&member_id);
        let token = join.waiting.token;
        let old_terms = self.renew(&member_id, join.terms, join.waiting);
        match self.group.state() {
            GroupState::Stable => {
                if self.group.protocol_name() != Some(&self.group.select_protocol()) {
                    return self.prepare_rebalance();
                }
                let record = self
                    .group
                    .metadata_record(|member| member.assignment.clone());
                let replacement = StaticReplacement {
                    group: self.group.id().clone(),
                    instance_id,
                    old_member_id,
                    member_id,
                    old_terms,
                    leader,
                    token,
                };
                let effect = Effect::ReplaceStaticMember(replacement);
                Some(self.desk.append(vec![record], effect))
            }
            // The leader may be assigning to the old id, which would leave the new one without.
            GroupState::CompletingRebalance => self.prepare_rebalance(),
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(),
            GroupState::Empty => unreachable!("an Empty group had the member {old_member_id}"),
        }
    }

    fn known_instance_id(&self, member_id: &StrBytes) -> StrBytes {
        let member = self
            .group
            .member(member_id)
            .expect("static members are members");
        member
            .group_instance_id
            .clone()
            .expect("static members have an instance id")
    }
}
