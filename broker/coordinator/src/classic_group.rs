//! One classic group: its state, its generation, and its members.
//!
//! Invariants, kept here and relied on everywhere:
//! - a group has a leader if and only if it has members, and the leader is one of them;
//! - unless it is Empty, some protocol is supported by all of its members;
//! - an Empty group has no members (it may have pending ones, which were given an id and have
//!   not joined with it);
//! - the generation never goes back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millstream_protocol::messages::join_group_response::JoinGroupResponseMember;
use millstream_protocol::{ErrorCode, StrBytes};

use crate::classic_member::{AwaitedJoin, ClassicMember, MemberTerms};
use crate::consumer_subscription::subscribed_topics;
use crate::input::WriteId;
use crate::retained::retained;
use millstream_protocol::group_records::{GroupMetadataValue, GroupRecord, MemberMetadata};

/// The protocol type of consumers, whose subscriptions can be read.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    /// Kafka's name, as ListGroups and DescribeGroups give it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

#[derive(Debug)]
pub(crate) struct ClassicGroup {
    id: StrBytes,
    state: GroupState,
    /// The rebalance under way is the first since the group was Empty.
    is_initial_rebalance: bool,
    state_timestamp_ms: Option<i64>,
    protocol_type: Option<StrBytes>,
    protocol_name: Option<StrBytes>,
    generation: i32,
    leader: Option<StrBytes>,
    members: BTreeMap<StrBytes, ClassicMember>,
    /// Member ids by instance id.
    static_members: BTreeMap<StrBytes, StrBytes>,
    pending_members: BTreeSet<StrBytes>,
    pending_sync: BTreeSet<StrBytes>,
    awaiting_join: usize,
    /// How many members support each protocol.
    supporters: BTreeMap<StrBytes, usize>,
    /// None when the members' metadata cannot be read.
    subscribed_topics: Option<BTreeSet<StrBytes>>,
    /// A member came while the initial rebalance was waiting for more.
    pub(crate) new_member_added: bool,
    /// The write that records the group first, unless it was loaded.
    pub(crate) created_by: Option<WriteId>,
    /// A record of the group is committed, so readers may see it.
    pub(crate) is_visible: bool,
}

impl ClassicGroup {
    /// A group nobody has joined: the home of offsets committed without membership, or the
    /// beginning of one with members.
    pub(crate) fn new(id: &StrBytes, state_timestamp_ms: Option<i64>) -> ClassicGroup {
        ClassicGroup {
            id: retained(id),
            state: GroupState::Empty,
            is_initial_rebalance: false,
            state_timestamp_ms,
            protocol_type: None,
            protocol_name: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            supporters: BTreeMap::new(),
            subscribed_topics: None,
            new_member_added: false,
            created_by: None,
            is_visible: false,
        }
    }

    /// The group as a record of it says: Stable with members, else Empty. The caller has checked
    /// the record (see [`replay`](crate::replay)).
    pub(crate) fn restore(
        id: &StrBytes,
        value: &GroupMetadataValue,
        members: Vec<ClassicMember>,
    ) -> ClassicGroup {
        let timestamp = Some(value.current_state_timestamp).filter(|timestamp| *timestamp >= 0);
        let mut group = ClassicGroup::new(id, timestamp);
        group.is_visible = true;
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol_name = value.protocol.clone();
        for member in members {
            group.insert(member, None);
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            let recorded = value
                .leader
                .clone()
                .filter(|id| group.members.contains_key(id));
            group.leader = recorded.or(group.leader);
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    pub(crate) fn id(&self) -> &StrBytes {
        &self.id
    }

    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) fn is_initial_rebalance(&self) -> bool {
        self.state == GroupState::PreparingRebalance && self.is_initial_rebalance
    }

    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn protocol_type(&self) -> Option<&StrBytes> {
        self.protocol_type.as_ref()
    }

    pub(crate) fn protocol_name(&self) -> Option<&StrBytes> {
        self.protocol_name.as_ref()
    }

    pub(crate) fn leader(&self) -> Option<&StrBytes> {
        self.leader.as_ref()
    }

    pub(crate) fn is_leader(&self, member_id: &StrBytes) -> bool {
        self.leader.as_ref() == Some(member_id)
    }

    pub(crate) fn state_timestamp_ms(&self) -> Option<i64> {
        self.state_timestamp_ms
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &ClassicMember> {
        self.members.values()
    }

    pub(crate) fn member_ids(&self) -> Vec<StrBytes> {
        self.members.keys().cloned().collect()
    }

    pub(crate) fn member(&self, member_id: &StrBytes) -> Option<&ClassicMember> {
        self.members.get(member_id)
    }

    pub(crate) fn member_mut(&mut self, member_id: &StrBytes) -> Option<&mut ClassicMember> {
        self.members.get_mut(member_id)
    }

    /// The write is of this group, and not of a former one of its name.
    pub(crate) fn is_recorded_by(&self, write: WriteId) -> bool {
        self.created_by.is_none_or(|first| first <= write)
    }

    /// Neither a member nor one to be.
    pub(crate) fn is_vacant(&self) -> bool {
        self.members.is_empty() && self.pending_members.is_empty()
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// The longest rebalance timeout of its members.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members
            .values()
            .map(|member| member.terms.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn static_member_id(&self, instance_id: &StrBytes) -> Option<&StrBytes> {
        self.static_members.get(instance_id)
    }

    /// The member exists, and bears the instance id if it names one.
    pub(crate) fn validate_member(
        &self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(bearer) if bearer != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if !self.members.contains_key(member_id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        Ok(())
    }

    /// A member with these protocols would leave the group one that all support.
    pub(crate) fn supports_protocols<'a>(
        &self,
        protocol_type: &StrBytes,
        mut names: impl Iterator<Item = &'a StrBytes>,
    ) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && names.next().is_some();
        }
        self.protocol_type.as_ref() == Some(protocol_type)
            && names.any(|name| self.is_candidate(name))
    }

    fn is_candidate(&self, protocol_name: &StrBytes) -> bool {
        self.supporters.get(protocol_name).copied().unwrap_or(0) == self.members.len()
    }

    /// The protocol that most members vote for among those that all support.
    pub(crate) fn select_protocol(&self) -> StrBytes {
        let mut votes: BTreeMap<&StrBytes, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.vote(|name| self.is_candidate(name));
            *votes
                .entry(vote.expect("some protocol is supported by all members"))
                .or_default() += 1;
        }
        let most = votes.values().copied().max().unwrap_or(0);
        let mut winners = votes.into_iter().filter(|(_, count)| *count == most);
        winners
            .next()
            .expect("only a group with members selects a protocol")
            .0
            .clone()
    }

    // Members and pending members.

    pub(crate) fn pending_count(&self) -> usize {
        self.pending_members.len()
    }

    pub(crate) fn pending_member_ids(&self) -> Vec<StrBytes> {
        self.pending_members.iter().cloned().collect()
    }

    pub(crate) fn add_pending_member(&mut self, member_id: StrBytes) {
        assert!(
            !self.members.contains_key(&member_id),
            "{member_id} is a member already"
        );
        self.pending_members.insert(member_id);
    }

    pub(crate) fn is_pending_member(&self, member_id: &StrBytes) -> bool {
        self.pending_members.contains(member_id)
    }

    pub(crate) fn remove_pending_member(&mut self, member_id: &StrBytes) -> bool {
        self.pending_members.remove(member_id)
    }

    /// Adds a member whose JoinGroup waits, and who agrees with the group's protocols.
    pub(crate) fn add(
        &mut self,
        member: ClassicMember,
        protocol_type: &StrBytes,
        waiting: AwaitedJoin,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(retained(protocol_type));
        }
        assert_eq!(
            self.protocol_type.as_ref(),
            Some(protocol_type),
            "group {}",
            self.id
        );
        if self.is_initial_rebalance() {
            self.new_member_added = true;
        }
        self.insert(member, Some(waiting));
    }

    fn insert(&mut self, mut member: ClassicMember, waiting: Option<AwaitedJoin>) {
        let member_id = member.member_id.clone();
        if let Some(instance_id) = &member.group_instance_id {
            let previous = self
                .static_members
                .insert(instance_id.clone(), member_id.clone());
            assert_eq!(
                previous, None,
                "instance {instance_id} of group {} is taken",
                self.id
            );
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.count_supporters(&member.terms, 1);
        self.pending_members.remove(&member_id);
        self.awaiting_join += usize::from(waiting.is_some());
        member.awaiting_join = waiting;
        let previous = self.members.insert(member_id, member);
        assert!(
            previous.is_none(),
            "group {} has this member already",
            self.id
        );
    }

    /// Takes a member out, if it is one. The caller has answered its requests.
    pub(crate) fn remove(&mut self, member_id: &StrBytes) {
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        assert!(member.awaiting_join.is_none() && member.awaiting_sync.is_none());
        self.count_supporters(&member.terms, -1);
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_sync.remove(member_id);
    }

    /// Gives a static member's place to a new member id. The caller has answered its requests.
    pub(crate) fn replace_static_member(
        &mut self,
        instance_id: &StrBytes,
        old_member_id: &StrBytes,
        member_id: &StrBytes,
    ) {
        let mut member = self
            .members
            .remove(old_member_id)
            .expect("the caller has found it");
        assert!(member.awaiting_join.is_none() && member.awaiting_sync.is_none());
        member.member_id = member_id.clone();
        member.is_new = false;
        self.members.insert(member_id.clone(), member);
        if self.is_leader(old_member_id) {
            self.leader = Some(member_id.clone());
        }
        if self.pending_sync.remove(old_member_id) {
            self.pending_sync.insert(member_id.clone());
        }
        self.static_members
            .insert(instance_id.clone(), member_id.clone());
    }

    /// Takes over what a rejoining member says of itself; gives back what it said before.
    pub(crate) fn update_terms(&mut self, member_id: &StrBytes, terms: MemberTerms) -> MemberTerms {
        let member = self
            .members
            .get_mut(member_id)
            .expect("the caller has found it");
        let previous = std::mem::replace(&mut member.terms, terms.clone());
        self.count_supporters(&previous, -1);
        self.count_supporters(&terms, 1);
        previous
    }

    /// Lets the member's JoinGroup wait; gives back the one that waited before.
    pub(crate) fn await_join(
        &mut self,
        member_id: &StrBytes,
        waiting: AwaitedJoin,
    ) -> Option<AwaitedJoin> {
        let member = self
            .members
            .get_mut(member_id)
            .expect("the caller has found it");
        let previous = member.awaiting_join.replace(waiting);
        self.awaiting_join += usize::from(previous.is_none());
        previous
    }

    /// Takes the member's waiting JoinGroup, to answer it.
    pub(crate) fn take_awaited_join(&mut self, member_id: &StrBytes) -> Option<AwaitedJoin> {
        let waiting = self.members.get_mut(member_id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(waiting)
    }

    fn count_supporters(&mut self, terms: &MemberTerms, change: isize) {
        // A member that names a protocol twice supports it once.
        let names: BTreeSet<_> = terms.protocols.iter().map(|each| &each.name).collect();
        for name in names {
            let count = self.supporters.entry(name.clone()).or_default();
            *count = count
                .checked_add_signed(change)
                .expect("counted when the member came");
            if *count == 0 {
                self.supporters.remove(name);
            }
        }
    }

    // The join phase.

    pub(crate) fn awaiting_join_count(&self) -> usize {
        self.awaiting_join
    }

    pub(crate) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_members.is_empty()
    }

    /// The dynamic members that have not rejoined.
    pub(crate) fn laggards(&self) -> Vec<StrBytes> {
        let late = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none());
        late.filter(|member| !member.is_static())
            .map(|member| member.member_id.clone())
            .collect()
    }

    /// Sees to it that the leader is a member that has rejoined; false if there is none.
    pub(crate) fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &StrBytes| {
            self.members
                .get(id)
                .is_some_and(|m| m.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.keys().find(|id| has_joined(id)).cloned();
        if joined.is_none() {
            return false;
        }
        self.leader = joined;
        true
    }

    /// The members of a group that is not preparing a rebalance, with their metadata: what its
    /// leader needs.
    pub(crate) fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let describe = |member: &ClassicMember| {
            JoinGroupResponseMember::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_metadata(self.chosen_metadata(member))
        };
        self.members.values().map(describe).collect()
    }

    /// The member's metadata for the generation's protocol.
    pub(crate) fn chosen_metadata(&self, member: &ClassicMember) -> Bytes {
        let name = self
            .protocol_name
            .as_ref()
            .expect("a generation with members has a protocol");
        member
            .metadata(name)
            .expect("every member supports the chosen protocol")
            .clone()
    }

    // The sync phase.

    pub(crate) fn add_pending_sync(&mut self, member_id: StrBytes) {
        self.pending_sync.insert(member_id);
    }

    pub(crate) fn remove_pending_sync(&mut self, member_id: &StrBytes) {
        self.pending_sync.remove(member_id);
    }

    pub(crate) fn has_received_sync_from_all(&self) -> bool {
        self.pending_sync.is_empty()
    }

    pub(crate) fn pending_sync(&self) -> Vec<StrBytes> {
        self.pending_sync.iter().cloned().collect()
    }

    // From state to state.

    pub(crate) fn prepare_rebalance(&mut self, wall_clock_ms: i64) {
        assert_ne!(
            self.state,
            GroupState::PreparingRebalance,
            "group {}",
            self.id
        );
        self.is_initial_rebalance = self.state == GroupState::Empty;
        self.new_member_added = false;
        self.enter(GroupState::PreparingRebalance, wall_clock_ms);
    }

    pub(crate) fn begin_next_generation(&mut self, wall_clock_ms: i64) {
        assert_eq!(
            self.state,
            GroupState::PreparingRebalance,
            "group {}",
            self.id
        );
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol_name = None;
            self.enter(GroupState::Empty, wall_clock_ms);
        } else {
            self.protocol_name = Some(self.select_protocol());
            self.enter(GroupState::CompletingRebalance, wall_clock_ms);
        }
        self.subscribed_topics = self.compute_subscribed_topics();
    }

    pub(crate) fn become_stable(&mut self, wall_clock_ms: i64) {
        assert_eq!(
            self.state,
            GroupState::CompletingRebalance,
            "group {}",
            self.id
        );
        self.enter(GroupState::Stable, wall_clock_ms);
    }

    fn enter(&mut self, state: GroupState, wall_clock_ms: i64) {
        self.state = state;
        self.state_timestamp_ms = Some(wall_clock_ms);
    }

    // Subscriptions.

    pub(crate) fn knows_subscriptions(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    /// A consumer group whose metadata cannot be read might be subscribed to anything.
    pub(crate) fn is_subscribed_to(&self, topic: &StrBytes) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<StrBytes>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let name = self.protocol_name.as_ref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.append(&mut subscribed_topics(member.metadata(name)?)?);
        }
        Some(all)
    }

    // Records.

    /// The record of the generation as it stands, with these assignments.
    pub(crate) fn metadata_record(
        &self,
        assignment: impl Fn(&ClassicMember) -> Bytes,
    ) -> GroupRecord {
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.terms.rebalance_timeout_ms,
            session_timeout: member.terms.session_timeout_ms,
            subscription: self.chosen_metadata(member),
            assignment: assignment(member),
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.recorded_state_timestamp(),
            members: members.collect(),
        };
        GroupRecord::GroupMetadata {
            group: self.id.clone(),
            value: Some(value),
        }
    }

    /// The record that says of a new group only that it is there.
    pub(crate) fn creation_record(&self) -> GroupRecord {
        let value = GroupMetadataValue {
            protocol_type: StrBytes::new(),
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp: self.recorded_state_timestamp(),
            members: Vec::new(),
        };
        GroupRecord::GroupMetadata {
            group: self.id.clone(),
            value: Some(value),
        }
    }

    /// −1 for a group of a record without it, as they were before Kafka 2.1.
    fn recorded_state_timestamp(&self) -> i64 {
        self.state_timestamp_ms.unwrap_or(-1)
    }

    pub(crate) fn tombstone(&self) -> GroupRecord {
        GroupRecord::GroupMetadata {
            group: self.id.clone(),
            value: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_written_as_it_was_read_with_and_without_a_time() {
        for current_state_timestamp in [-1, 0, 1_700_000_000_000] {
            let value = GroupMetadataValue {
                protocol_type: "consumer".into(),
                generation: 7,
                protocol: None,
                leader: None,
                current_state_timestamp,
                members: Vec::new(),
            };
            let group = ClassicGroup::restore(&"g".into(), &value, Vec::new());
            let record = GroupRecord::GroupMetadata {
                group: "g".into(),
                value: Some(value),
            };
            assert_eq!(group.metadata_record(|_| Bytes::new()), record);
        }
    }
}
