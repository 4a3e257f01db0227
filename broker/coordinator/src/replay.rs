//! The coordinator's memory as the log gives it: replaying records, and what begins when all of
//! them are replayed.

use std::collections::BTreeSet;

use millstream_protocol::StrBytes;
use thiserror::Error;

use crate::classic_group::ClassicGroup;
use crate::classic_member::{ClassicMember, MemberTerms, Protocol};
use crate::committed_offsets::OffsetAndMetadata;
use crate::coordinator::{GroupCoordinator, Phase};
use crate::request::RequestContext;
use crate::timers::{TimerEvent, TimerKey};
use millstream_protocol::group_records::{GroupMetadataValue, GroupRecord, MemberMetadata};

/// A record that contradicts itself: no coordinator has written it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// There are members without a protocol that they agreed on.
    #[error("the record of group {group} has members and no protocol")]
    NoProtocol {
        /// The group's id.
        group: StrBytes,
    },
    /// Two members have the same member id or instance id.
    #[error("the record of group {group} names the member {member} twice")]
    MemberTwice {
        /// The group's id.
        group: StrBytes,
        /// The member's id.
        member: StrBytes,
    },
}

impl GroupCoordinator {
    /// Takes in one record of the partition's log, in the log's order, before [`Loaded`].
    ///
    /// [`Loaded`]: crate::Input::Loaded
    pub fn replay(&mut self, record: GroupRecord) -> Result<(), ReplayError> {
        assert_eq!(
            self.phase,
            Phase::Loading,
            "records are replayed before requests are taken"
        );
        match record {
            GroupRecord::OffsetCommit { key, value } => {
                if value.is_some() {
                    // Offsets may belong to a group that never had members, of which no other
                    // record tells.
                    let group = self.groups.entry(key.group.clone());
                    group
                        .or_insert_with(|| ClassicGroup::new(&key.group, None))
                        .is_visible = true;
                }
                let value = value.as_ref().map(OffsetAndMetadata::from_record);
                self.offsets.replay(&key, value);
            }
            GroupRecord::GroupMetadata {
                group,
                value: Some(value),
            } => {
                let members = restored_members(&group, &value)?;
                let restored = ClassicGroup::restore(&group, &value, members);
                self.groups.insert(group, restored);
            }
            GroupRecord::GroupMetadata { group, value: None } => {
                self.groups.remove(&group);
            }
            // Of groups of other protocols.
            GroupRecord::Unknown { .. } => {}
        }
        Ok(())
    }

    pub(crate) fn finish_loading(&mut self) {
        assert_eq!(self.phase, Phase::Loading, "a coordinator is loaded once");
        self.phase = Phase::Active;
        let ids: Vec<StrBytes> = self.groups.keys().cloned().collect();
        for id in ids {
            let mut turn = self.turn(&id).expect("the group was just listed");
            for member_id in turn.group.member_ids() {
                turn.restart_session(&member_id);
            }
            if turn.group.size() > turn.desk.config.max_group_size {
                // The bound was lowered: a rebalance lets as many in as there is room for.
                turn.prepare_rebalance();
            }
        }
        self.schedule_expiration();
    }

    pub(crate) fn schedule_expiration(&mut self) {
        let delay = self.desk.config.offsets_retention_check_interval;
        self.desk
            .schedule(TimerKey::Expiration, delay, TimerEvent::ExpirationDue);
    }
}

fn restored_members(
    group: &StrBytes,
    value: &GroupMetadataValue,
) -> Result<Vec<ClassicMember>, ReplayError> {
    let Some(protocol) = &value.protocol else {
        let no_members = value.members.is_empty().then(Vec::new);
        return no_members.ok_or_else(|| ReplayError::NoProtocol {
            group: group.clone(),
        });
    };
    let mut member_ids = BTreeSet::new();
    let mut instance_ids = BTreeSet::new();
    for member in &value.members {
        let instance_is_free = member
            .group_instance_id
            .as_ref()
            .is_none_or(|id| instance_ids.insert(id));
        if !member_ids.insert(&member.member_id) || !instance_is_free {
            let member = member.member_id.clone();
            return Err(ReplayError::MemberTwice {
                group: group.clone(),
                member,
            });
        }
    }
    Ok(value
        .members
        .iter()
        .map(|member| restored_member(member, protocol))
        .collect())
}

fn restored_member(member: &MemberMetadata, protocol: &StrBytes) -> ClassicMember {
    let rebalance_timeout_ms = match member.rebalance_timeout {
        -1 => member.session_timeout,
        timeout => timeout,
    };
    let terms = MemberTerms {
        rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout,
        protocols: vec![Protocol {
            name: protocol.clone(),
            metadata: member.subscription.clone(),
        }],
    };
    let context = RequestContext {
        api_version: 0,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
    };
    let instance_id = member.group_instance_id.clone();
    let mut restored = ClassicMember::new(member.member_id.clone(), instance_id, &context, terms);
    restored.is_new = false;
    restored.assignment = member.assignment.clone();
    restored
}
