//! Random histories: clients join, sync, commit, leave, come back and die in any order, writes
//! are committed late or fail, time passes. Invariants, whatever happens:
//!
//! - every request is answered once (checked by the bench for all tests);
//! - a generation has one leader, and it is among the generation's members;
//! - the generation never goes back;
//! - a member that syncs gets what its leader assigned to it in that generation;
//! - an offset that was answered as committed is what is read, until a later one is;
//! - a coordinator that loads the log has the same durable state.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millstream_coordinator::{GroupCoordinatorConfig, GroupRequest, GroupResponse, RequestToken};
use millstream_protocol::group_records::GroupRecord;
use millstream_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use millstream_protocol::messages::leave_group_request::MemberIdentity;
use millstream_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use millstream_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use millstream_protocol::messages::{
    DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use millstream_protocol::{ErrorCode, StrBytes};
use proptest::prelude::*;

use crate::bench::{Bench, Event};

const CLIENTS: usize = 5;
/// These clients are static members.
const STATIC_CLIENTS: usize = 2;
const MAX_GROUP_SIZE: usize = CLIENTS - 1;

#[derive(Debug, Clone)]
enum Step {
    /// What a client does that goes by its answers.
    Proceed {
        client: usize,
    },
    Join {
        client: usize,
        anew: bool,
        metadata: u8,
        v3: bool,
    },
    Sync {
        client: usize,
    },
    Beat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    CommitOffset {
        client: usize,
        offset: i64,
    },
    Pass {
        ms: u64,
    },
    CommitWrite,
    FailWrite,
    CompareWithReloaded,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let step = prop_oneof![
        24 => client.clone().prop_map(|client| Step::Proceed { client }),
        3 => (client.clone(), prop::bool::weighted(0.2), 0..2u8, prop::bool::weighted(0.1))
            .prop_map(|(client, anew, metadata, v3)| Step::Join { client, anew, metadata, v3 }),
        2 => client.clone().prop_map(|client| Step::Sync { client }),
        1 => client.clone().prop_map(|client| Step::Beat { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        3 => (client, 0..1000i64)
            .prop_map(|(client, offset)| Step::CommitOffset { client, offset }),
        4 => prop_oneof![4 => 1..200u64, 1 => 1_000..8_000u64].prop_map(|ms| Step::Pass { ms }),
        8 => Just(Step::CommitWrite),
        1 => Just(Step::FailWrite),
        1 => Just(Step::CompareWithReloaded),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..250)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Out,
    Joined,
    Synced,
}

#[derive(Debug, Clone, Default)]
struct Client {
    standing: Standing,
    member_id: StrBytes,
    generation: i32,
    /// The members to assign to, if this client leads its generation.
    led: Vec<StrBytes>,
}

struct History {
    bench: Bench,
    clients: Vec<Client>,
    asked: BTreeMap<RequestToken, (usize, i64)>,
    leaders: BTreeMap<i32, StrBytes>,
    generation: i32,
}

impl History {
    fn new(initial_rebalance_delay: Duration, holds_writes: bool) -> History {
        let mut bench = Bench::new(GroupCoordinatorConfig {
            initial_rebalance_delay,
            max_group_size: MAX_GROUP_SIZE,
            ..GroupCoordinatorConfig::default()
        });
        bench.holds_writes = holds_writes;
        History {
            bench,
            clients: vec![Client::default(); CLIENTS],
            asked: BTreeMap::new(),
            leaders: BTreeMap::new(),
            generation: 0,
        }
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Proceed { client } => self.proceed(client),
            Step::Join {
                client,
                anew,
                metadata,
                v3,
            } => self.join(client, anew, metadata, v3),
            Step::Sync { client } => self.sync(client),
            Step::Beat { client } => {
                let Client {
                    member_id,
                    generation,
                    ..
                } = self.clients[client].clone();
                let beat = HeartbeatRequest::default()
                    .with_group_id(group())
                    .with_member_id(member_id)
                    .with_group_instance_id(instance_id(client))
                    .with_generation_id(generation);
                self.ask(client, 4, 0, GroupRequest::Heartbeat(beat));
            }
            Step::Leave { client } => {
                let identity = MemberIdentity::default()
                    .with_member_id(self.clients[client].member_id.clone())
                    .with_group_instance_id(instance_id(client));
                let leave = LeaveGroupRequest::default()
                    .with_group_id(group())
                    .with_members(vec![identity]);
                self.ask(client, 5, 0, GroupRequest::LeaveGroup(leave));
            }
            Step::CommitOffset { client, offset } => self.commit_offset(client, offset),
            Step::Pass { ms } => self.bench.pass(Duration::from_millis(ms)),
            Step::CommitWrite => drop(self.bench.commit_one()),
            Step::FailWrite => self.fail_write(),
            Step::CompareWithReloaded => self.compare_with_reloaded(),
            Step::Restart => self.restart(),
        }
        self.look_at_events();
    }

    fn proceed(&mut self, client: usize) {
        if self.asked.values().any(|(asker, _)| *asker == client) {
            return;
        }
        match self.clients[client].standing {
            Standing::Out => self.join(client, false, 0, false),
            Standing::Joined => self.sync(client),
            Standing::Synced => self.beat(client),
        }
    }

    fn beat(&mut self, client: usize) {
        let Client {
            member_id,
            generation,
            ..
        } = self.clients[client].clone();
        let beat = HeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(member_id)
            .with_group_instance_id(instance_id(client))
            .with_generation_id(generation);
        self.ask(client, 4, 0, GroupRequest::Heartbeat(beat));
    }

    fn join(&mut self, client: usize, anew: bool, metadata: u8, v3: bool) {
        let member_id = if anew {
            StrBytes::new()
        } else {
            self.clients[client].member_id.clone()
        };
        let protocols = ["range", "rr"].map(|name| {
            JoinGroupRequestProtocol::default()
                .with_name(name.into())
                .with_metadata(Bytes::copy_from_slice(&[metadata]))
        });
        // Clients differ in what they prefer and in whether they know `rr` at all.
        let known = if client == 0 { 1 } else { 2 };
        let join = JoinGroupRequest::default()
            .with_group_id(group())
            .with_member_id(member_id)
            .with_group_instance_id(instance_id(client))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(15_000)
            .with_protocol_type("consumer".into())
            .with_protocols(protocols[..known].to_vec());
        let version = if v3 { 3 } else { 9 };
        self.ask(client, version, 0, GroupRequest::JoinGroup(join));
    }

    fn sync(&mut self, client: usize) {
        let Client {
            member_id,
            generation,
            led,
            ..
        } = self.clients[client].clone();
        let assignments = led.iter().map(|to| {
            SyncGroupRequestAssignment::default()
                .with_member_id(to.clone())
                .with_assignment(Bytes::from(format!("{generation}:{to}")))
        });
        let sync = SyncGroupRequest::default()
            .with_group_id(group())
            .with_member_id(member_id)
            .with_group_instance_id(instance_id(client))
            .with_generation_id(generation)
            .with_assignments(assignments.collect());
        self.ask(client, 4, generation.into(), GroupRequest::SyncGroup(sync));
    }

    fn commit_offset(&mut self, client: usize, offset: i64) {
        let Client {
            member_id,
            generation,
            ..
        } = self.clients[client].clone();
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName("t".into()))
            .with_partitions(vec![partition]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(member_id)
            .with_group_instance_id(instance_id(client))
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topic]);
        self.ask(client, 9, offset, GroupRequest::OffsetCommit(commit));
    }

    fn ask(&mut self, client: usize, version: i16, about: i64, request: GroupRequest) {
        let token = self.bench.request(version, &format!("c{client}"), request);
        self.asked.insert(token, (client, about));
    }

    /// What was recorded of a group without members is taken for granted: were it lost, the
    /// durable state would rightly be another.
    fn fail_write(&mut self) {
        let is_empty_generation = |record: &GroupRecord| match record {
            GroupRecord::GroupMetadata { value, .. } => {
                value.as_ref().is_none_or(|value| value.members.is_empty())
            }
            GroupRecord::OffsetCommit { .. } | GroupRecord::Unknown { .. } => false,
        };
        match self.bench.held.front() {
            Some((_, records)) if records.iter().any(is_empty_generation) => {
                self.bench.commit_one();
            }
            _ => {
                self.bench.fail_one(ErrorCode::NotEnoughReplicas);
            }
        }
    }

    /// The coordinator is killed with what it had not written; clients find a new one.
    fn restart(&mut self) {
        let holds_writes = self.bench.holds_writes;
        self.bench = self.bench.reloaded();
        self.bench.holds_writes = holds_writes;
        self.asked.clear();
        // Generations that were begun and never recorded are begun again, with other leaders.
        let recorded = self
            .bench
            .log
            .iter()
            .rev()
            .find_map(generation_of)
            .unwrap_or(0);
        self.generation = recorded;
        self.leaders.retain(|generation, _| *generation <= recorded);
    }

    fn commit_writes(&mut self) {
        while self.bench.commit_one() {
            self.look_at_events();
        }
    }

    fn compare_with_reloaded(&mut self) {
        self.commit_writes();
        let live = durable_state(&mut self.bench);
        let mut reloaded = self.bench.reloaded();
        let reloaded = durable_state(&mut reloaded);
        assert_eq!(live.offsets, reloaded.offsets);
        let members = members_in(&live);
        // A rebalance under way is in memory alone.
        if live.group.contains("Stable") && members > MAX_GROUP_SIZE {
            // Static members that stay away count among the members, but are not in the way of
            // those who join. Whoever loads such a group makes it smaller.
            let group = &reloaded.group;
            assert!(group.contains("PreparingRebalance"), "{group}");
            assert_eq!(members_in(&reloaded), members);
        } else if live.group.contains("Stable") || live.group.contains("Empty") {
            assert_eq!(live.group, reloaded.group);
        }
    }

    fn look_at_events(&mut self) {
        while let Some(event) = self.bench.events.pop_front() {
            match event {
                Event::Append(records) => records.iter().for_each(|record| self.appended(record)),
                Event::Answer(token, response) => {
                    if let Some((client, about)) = self.asked.remove(&token) {
                        self.answered(client, about, response);
                    }
                }
            }
        }
    }

    fn appended(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::GroupMetadata {
                value: Some(value), ..
            } => {
                self.advance(value.generation);
            }
            GroupRecord::GroupMetadata { value: None, .. } => {
                // The group was empty for long, and the next of its name is another.
                self.generation = 0;
                self.leaders.clear();
            }
            GroupRecord::OffsetCommit { .. } | GroupRecord::Unknown { .. } => {}
        }
    }

    fn answered(&mut self, client: usize, about: i64, response: GroupResponse) {
        let code = match &response {
            GroupResponse::JoinGroup(join) => join.error_code,
            GroupResponse::SyncGroup(sync) => sync.error_code,
            GroupResponse::Heartbeat(beat) => beat.error_code,
            _ => 0,
        };
        let known = &mut self.clients[client];
        if code != 0 {
            known.standing = Standing::Out;
        }
        if code == ErrorCode::UnknownMemberId.code() || code == ErrorCode::FencedInstanceId.code() {
            known.member_id = StrBytes::new();
        }
        match response {
            GroupResponse::JoinGroup(join) => self.joined(client, join),
            GroupResponse::SyncGroup(sync) if sync.error_code == 0 => {
                let assignment = String::from_utf8(sync.assignment.to_vec()).expect("as assigned");
                let (generation, member_id) = assignment.split_once(':').expect("as assigned");
                assert_eq!(generation, about.to_string(), "of another generation");
                // Up to the random part, which a static member that came back has anew.
                let prefix = |id: &str| id[..id.len() - 36].to_owned();
                let own = format!("{}-", instance_id(client).unwrap_or(name(client)));
                assert_eq!(prefix(member_id), own, "of another member");
                self.clients[client].standing = Standing::Synced;
            }
            GroupResponse::OffsetCommit(commit)
                if commit.topics[0].partitions[0].error_code == 0 =>
            {
                let read = durable_state(&mut self.bench).offsets;
                assert!(
                    read.contains(&format!("committed_offset: {about},")),
                    "{read}"
                );
            }
            _ => {}
        }
    }

    fn joined(&mut self, client: usize, join: JoinGroupResponse) {
        let is_told_id =
            join.error_code == 0 || join.error_code == ErrorCode::MemberIdRequired.code();
        if is_told_id {
            self.clients[client].member_id = join.member_id.clone();
        }
        if join.error_code != 0 {
            return;
        }
        self.advance(join.generation_id);
        let known = &mut self.clients[client];
        known.standing = Standing::Joined;
        known.generation = join.generation_id;
        known.led.clear();
        if join.leader != join.member_id {
            assert!(
                join.members.is_empty(),
                "only the leader learns of the members"
            );
            return;
        }
        let members = join.members.into_iter().map(|member| member.member_id);
        known.led = members.collect();
        assert!(
            known.led.contains(&join.member_id),
            "the leader is a member"
        );
        if !join.skip_assignment {
            let leader = self
                .leaders
                .entry(join.generation_id)
                .or_insert(join.member_id.clone());
            assert_eq!(
                *leader, join.member_id,
                "generation {} has two",
                join.generation_id
            );
        }
    }

    fn advance(&mut self, generation: i32) {
        assert!(
            generation >= self.generation,
            "from {} back to {generation}",
            self.generation
        );
        self.generation = generation;
    }

    /// When nothing more comes, every timeout fires and nobody is left waiting.
    fn finish(mut self) {
        self.commit_writes();
        self.bench.holds_writes = false;
        self.bench.pass(Duration::from_secs(3_600));
        self.look_at_events();
        assert_eq!(self.bench.waiting(), 0, "somebody still waits");
        self.compare_with_reloaded();
    }
}

struct DurableState {
    group: String,
    offsets: String,
}

fn members_in(state: &DurableState) -> usize {
    state.group.matches("DescribedGroupMember {").count()
}

/// What readers see, asked without a trace in the bench's events.
fn durable_state(bench: &mut Bench) -> DurableState {
    let events = std::mem::take(&mut bench.events);
    let describe = DescribeGroupsRequest::default().with_groups(vec![group()]);
    bench.request(6, "reader", GroupRequest::DescribeGroups(describe));
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(group())
        .with_topics(None);
    let fetch = OffsetFetchRequest::default().with_groups(vec![wanted]);
    bench.request(9, "reader", GroupRequest::OffsetFetch(fetch));
    let answers = std::mem::replace(&mut bench.events, events);
    let mut shown = answers.into_iter().map(|event| match event {
        Event::Answer(_, response) => format!("{response:?}"),
        Event::Append(records) => panic!("reading appends {records:?}"),
    });
    let group = shown.next().expect("described");
    DurableState {
        group,
        offsets: shown.next().expect("fetched"),
    }
}

fn generation_of(record: &GroupRecord) -> Option<i32> {
    match record {
        GroupRecord::GroupMetadata {
            value: Some(value), ..
        } => Some(value.generation),
        _ => None,
    }
}

fn group() -> GroupId {
    GroupId("g".into())
}

fn name(client: usize) -> StrBytes {
    StrBytes::from_string(format!("c{client}"))
}

fn instance_id(client: usize) -> Option<StrBytes> {
    (client < STATIC_CLIENTS).then(|| StrBytes::from_string(format!("i{client}")))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn invariants_hold(
        steps in steps(),
        delay_ms in prop_oneof![Just(0u64), Just(3_000)],
        holds_writes: bool,
    ) {
        let mut history = History::new(Duration::from_millis(delay_ms), holds_writes);
        for step in &steps {
            history.perform(step);
        }
        history.finish();
    }
}
