//! DescribeGroups, versions 0–6, and ListGroups, versions 0–5: what administrators see.
//!
//! - DescribeGroups of an unknown group: state `Dead` without an error; from version 6 with
//!   GROUP_ID_NOT_FOUND (KIP-1043). Who may do what with a group (version 3) is for the caller to
//!   fill in.
//! - ListGroups: version 4 filters by state (KIP-518), version 5 by type (KIP-848).

use millstream_protocol::messages::describe_groups_response::{
    DescribedGroup, DescribedGroupMember,
};
use millstream_protocol::messages::list_groups_response::ListedGroup;
use millstream_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ListGroupsRequest, ListGroupsResponse,
};
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_group::{ClassicGroup, GroupState};
use crate::coordinator::GroupCoordinator;
use crate::request::{GroupResponse, RequestContext, RequestToken};

/// The state of a group that does not exist.
const DEAD: StrBytes = StrBytes::from_static_str("Dead");
/// The type of every group there is so far.
const CLASSIC: &str = "classic";

impl GroupCoordinator {
    pub(crate) fn describe_groups(
        &mut self,
        token: RequestToken,
        context: &RequestContext,
        request: &DescribeGroupsRequest,
    ) {
        let groups = request
            .groups
            .iter()
            .map(|id| match self.visible_group(&id.0) {
                Some(group) => described(group),
                None => unknown(id, context.api_version),
            });
        let response = DescribeGroupsResponse::default().with_groups(groups.collect());
        self.desk
            .respond(token, GroupResponse::DescribeGroups(response));
    }

    pub(crate) fn list_groups(&mut self, token: RequestToken, request: &ListGroupsRequest) {
        let states: Vec<String> = request
            .states_filter
            .iter()
            .map(|state| state.trim().to_lowercase())
            .collect();
        let is_wanted = |group: &ClassicGroup| {
            let state = group.state().name().to_lowercase();
            (states.is_empty() || states.contains(&state))
                && (request.types_filter.is_empty()
                    || request
                        .types_filter
                        .iter()
                        .any(|name| name.eq_ignore_ascii_case(CLASSIC)))
        };
        let live = self.groups.values().filter(|group| group.is_visible);
        let going = self.desk.in_flight.deleted_groups();
        let going = going.filter(|gone| !self.groups.get(gone.id()).is_some_and(|g| g.is_visible));
        let groups = live
            .chain(going)
            .filter(|group| is_wanted(group))
            .map(listed);
        let response = ListGroupsResponse::default().with_groups(groups.collect());
        self.desk
            .respond(token, GroupResponse::ListGroups(response));
    }
}

fn listed(group: &ClassicGroup) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(GroupId(group.id().clone()))
        .with_protocol_type(group.protocol_type().cloned().unwrap_or_default())
        .with_group_state(group.state().name().into())
        .with_group_type(CLASSIC.into())
}

/// What members can do is known when the group is stable; before that only who they are.
fn described(group: &ClassicGroup) -> DescribedGroup {
    let is_stable = group.state() == GroupState::Stable;
    let members = group.members().map(|member| {
        let described = DescribedGroupMember::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_client_id(member.client_id.clone())
            .with_client_host(member.client_host.clone())
            .with_member_assignment(member.assignment.clone());
        if is_stable {
            described.with_member_metadata(group.chosen_metadata(member))
        } else {
            described
        }
    });
    let protocol = group.protocol_name().filter(|_| is_stable);
    DescribedGroup::default()
        .with_group_id(GroupId(group.id().clone()))
        .with_group_state(group.state().name().into())
        .with_protocol_type(group.protocol_type().cloned().unwrap_or_default())
        .with_protocol_data(protocol.cloned().unwrap_or_default())
        .with_members(members.collect())
}

fn unknown(id: &GroupId, api_version: i16) -> DescribedGroup {
    let dead = DescribedGroup::default()
        .with_group_id(id.clone())
        .with_group_state(DEAD);
    if api_version < 6 {
        return dead;
    }
    let message = format!("Group {} not found.", id.0);
    dead.with_error_code(ErrorCode::GroupIdNotFound.code())
        .with_error_message(Some(message.into()))
}
