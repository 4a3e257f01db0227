//! Transcripts: lines that begin a column in are requests, lines indented further are what the
//! coordinator must do in answer, in order. See [`play`].
//!
//! ```text
//! join A                          who asks; A's id, generation and instance are remembered
//!     A: MEMBER_ID_REQUIRED A#1   member ids are shown as the client's name and a count
//! after 3s                        time passes, timers fire
//! hold / commit / fail X          the fate of writes is held back, then decided
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use millstream_coordinator::{
    GroupCoordinatorConfig, GroupRequest, GroupResponse, Input, RequestToken,
};
use millstream_protocol::group_records::GroupRecord;
use millstream_protocol::messages::describe_groups_response::DescribedGroup;
use millstream_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use millstream_protocol::messages::leave_group_request::MemberIdentity;
use millstream_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millstream_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use millstream_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use millstream_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use millstream_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use crate::bench::{Bench, Event};

/// Plays a transcript against a coordinator with Kafka's defaults.
pub fn play(transcript: &str) {
    Stage::default().play(transcript);
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub struct Stage {
    pub bench: Bench,
    clients: BTreeMap<String, Client>,
    asked: BTreeMap<RequestToken, String>,
    /// Member ids by the names they are shown under.
    ids: BTreeMap<String, StrBytes>,
}

#[derive(Default, Clone)]
struct Client {
    member_id: StrBytes,
    generation: i32,
}

/// A request line: `verb who key=value…`
struct Line<'a> {
    who: &'a str,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn text(&self, key: &str, default: &'a str) -> StrBytes {
        StrBytes::from_string(self.options.get(key).copied().unwrap_or(default).to_owned())
    }

    fn optional(&self, key: &str) -> Option<StrBytes> {
        self.options
            .get(key)
            .map(|value| StrBytes::from_string((*value).to_owned()))
    }

    fn number(&self, key: &str, default: i64) -> i64 {
        let parse = |value: &&str| value.parse().unwrap_or_else(|_| panic!("{key}={value}"));
        self.options.get(key).map_or(default, parse)
    }

    fn int(&self, key: &str, default: i32) -> i32 {
        i32::try_from(self.number(key, default.into())).expect("an i32")
    }

    fn version(&self, default: i16) -> i16 {
        i16::try_from(self.number("v", default.into())).expect("an i16")
    }

    /// Nil unless it is told: the topic is named by name then.
    fn topic_id(&self) -> Uuid {
        Uuid::from_u128(self.number("topic-id", 0).unsigned_abs().into())
    }

    fn group(&self) -> GroupId {
        GroupId(self.text("group", "g"))
    }

    fn list(&self, key: &str) -> Vec<&'a str> {
        let list = self.options.get(key).copied().unwrap_or_default();
        list.split(',').filter(|item| !item.is_empty()).collect()
    }
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::new(GroupCoordinatorConfig::default())
    }
}

impl Stage {
    /// The group `g` is stable in its generation 1, with A, its leader, and B.
    pub fn with_stable_pair() -> Stage {
        let mut stage = Stage::default();
        stage.form_pair();
        stage
    }

    pub fn form_pair(&mut self) {
        self.play(
            "
            join A
                A: MEMBER_ID_REQUIRED A#1
                append group g gen=0 []
            join A
            join B
                B: MEMBER_ID_REQUIRED B#1
            join B
            after 6s
                A: joined A#1 gen=1 range leader=A#1 [A#1 B#1]
                B: joined B#1 gen=1 range leader=A#1
            sync B
            sync A assign=A#1:a,B#1:b
                append group g gen=1 [A#1:a B#1:b]
                A: assigned a
                B: assigned b
            ",
        );
    }

    /// Plays a transcript, going on from where the last one ended.
    pub fn play(&mut self, transcript: &str) {
        let mut lines = transcript
            .lines()
            .filter(|line| !line.trim().is_empty())
            .peekable();
        let margin = lines.peek().map_or(0, |line| indent(line));
        let mut actual = String::new();
        let mut expected = String::new();
        while let Some(line) = lines.next() {
            assert_eq!(
                indent(line),
                margin,
                "a request begins at the margin: {line}"
            );
            for text in [&mut actual, &mut expected] {
                writeln!(text, "{}", line.trim()).expect("strings take all");
            }
            for happened in self.perform(line.trim()) {
                writeln!(actual, "    {happened}").expect("strings take all");
            }
            while let Some(line) = lines.next_if(|line| indent(line) > margin) {
                writeln!(expected, "    {}", line.trim()).expect("strings take all");
            }
        }
        assert!(
            actual == expected,
            "expected:\n{expected}\nbut was:\n{actual}"
        );
    }

    pub fn new(config: GroupCoordinatorConfig) -> Stage {
        Stage {
            bench: Bench::new(config),
            clients: BTreeMap::new(),
            asked: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    fn perform(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("blank lines are left out");
        let mut rest: Vec<&str> = words.collect();
        let who = match rest.first() {
            Some(word) if !word.contains('=') => rest.remove(0),
            _ => "-",
        };
        let option = |word: &&'_ str| -> Option<()> { word.contains('=').then_some(()) };
        assert!(
            rest.iter().all(|word| option(word).is_some()),
            "key=value, please: {line}"
        );
        let options = rest
            .iter()
            .map(|word| word.split_once('=').expect("checked"))
            .collect();
        self.act(verb, &Line { who, options });
        let events: Vec<Event> = self.bench.events.drain(..).collect();
        events.into_iter().map(|event| self.show(event)).collect()
    }

    fn act(&mut self, verb: &str, line: &Line<'_>) {
        match verb {
            "join" => self.ask(line, 9, |stage| stage.join(line)),
            "sync" => self.ask(line, 5, |stage| stage.sync(line)),
            "beat" => self.ask(line, 4, |stage| stage.beat(line)),
            "leave" => self.ask(line, 5, |stage| stage.leave(line)),
            "commit-offset" => self.ask(line, 9, |stage| stage.commit_offset(line)),
            "fetch-offset" => self.ask(line, 9, |stage| stage.fetch_offset(line)),
            "describe" => self.ask(line, 6, |_| {
                let groups = vec![line.group()];
                GroupRequest::DescribeGroups(DescribeGroupsRequest::default().with_groups(groups))
            }),
            "list" => self.ask(line, 5, |_| {
                let owned = |item: &str| StrBytes::from_string(item.to_owned());
                let list = ListGroupsRequest::default()
                    .with_states_filter(line.list("states").into_iter().map(owned).collect())
                    .with_types_filter(line.list("types").into_iter().map(owned).collect());
                GroupRequest::ListGroups(list)
            }),
            "delete" => self.ask(line, 2, |_| {
                let groups = vec![line.group()];
                GroupRequest::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(groups))
            }),
            "delete-offset" => self.ask(line, 0, |_| {
                let partition = OffsetDeleteRequestPartition::default();
                let topic = OffsetDeleteRequestTopic::default()
                    .with_name(TopicName(line.text("topic", "t")))
                    .with_partitions(vec![partition]);
                let delete = OffsetDeleteRequest::default()
                    .with_group_id(line.group())
                    .with_topics(vec![topic]);
                GroupRequest::OffsetDelete(delete)
            }),
            "after" => self.bench.pass(duration(line.who)),
            "hold" => self.bench.holds_writes = true,
            "commit" => assert!(self.bench.commit_one(), "nothing to commit"),
            "fail" => assert!(
                self.bench.fail_one(error_named(line.who)),
                "nothing to fail"
            ),
            "topic-deleted" => {
                let name = StrBytes::from_string(line.who.to_owned());
                self.bench.input(Input::TopicDeleted(name));
            }
            "unload" => self.bench.input(Input::Unload(error_named(line.who))),
            "begin-loading" => self.bench = Bench::loading(self.bench.config.clone()),
            "reload" => self.bench = self.bench.reloaded(),
            other => panic!("no such request: {other}"),
        }
    }

    fn ask(&mut self, line: &Line<'_>, version: i16, request: impl FnOnce(&Stage) -> GroupRequest) {
        let request = request(self);
        let token = self.bench.request(line.version(version), line.who, request);
        self.asked.insert(token, line.who.to_owned());
    }

    fn client(&self, who: &str) -> Client {
        self.clients.get(who).cloned().unwrap_or_default()
    }

    /// `id=` names a member id as it is shown, or is any other text; `-` is none.
    fn member_id(&self, line: &Line<'_>) -> StrBytes {
        match line.options.get("id") {
            Some(&"-") => StrBytes::new(),
            Some(name) => self.id_named(name),
            None => self.client(line.who).member_id,
        }
    }

    fn id_named(&self, name: &str) -> StrBytes {
        let known = self.ids.get(name).cloned();
        known.unwrap_or_else(|| StrBytes::from_string(name.to_owned()))
    }

    fn join(&self, line: &Line<'_>) -> GroupRequest {
        let protocols = line.options.get("protocols").copied().unwrap_or("range:");
        let protocols = protocols
            .split(',')
            .filter(|item| !item.is_empty())
            .map(|item| {
                let (name, metadata) = item.split_once(':').unwrap_or((item, ""));
                let metadata = match metadata.strip_prefix("topic/") {
                    Some(topic) => subscription(topic),
                    None => Bytes::from(metadata.to_owned()),
                };
                JoinGroupRequestProtocol::default()
                    .with_name(StrBytes::from_string(name.to_owned()))
                    .with_metadata(metadata)
            });
        let join = JoinGroupRequest::default()
            .with_group_id(line.group())
            .with_member_id(self.member_id(line))
            .with_group_instance_id(line.optional("instance"))
            .with_session_timeout_ms(line.int("session", 10_000))
            .with_rebalance_timeout_ms(line.int("rebalance", 60_000))
            .with_protocol_type(line.text("type", "consumer"))
            .with_protocols(protocols.collect());
        GroupRequest::JoinGroup(join)
    }

    fn sync(&self, line: &Line<'_>) -> GroupRequest {
        let assignments = line.list("assign").into_iter().map(|item| {
            let (name, assignment) = item.split_once(':').expect("member:assignment");
            SyncGroupRequestAssignment::default()
                .with_member_id(self.id_named(name))
                .with_assignment(Bytes::from(assignment.to_owned()))
        });
        let named = |key: &str, default: &'static str| match line.options.get(key) {
            Some(&"-") => None,
            Some(name) => Some(StrBytes::from_string((*name).to_owned())),
            None => Some(StrBytes::from_static_str(default)),
        };
        let sync = SyncGroupRequest::default()
            .with_group_id(line.group())
            .with_member_id(self.member_id(line))
            .with_group_instance_id(line.optional("instance"))
            .with_generation_id(line.int("gen", self.client(line.who).generation))
            .with_protocol_type(named("type", "consumer"))
            .with_protocol_name(named("name", "range"))
            .with_assignments(assignments.collect());
        GroupRequest::SyncGroup(sync)
    }

    fn beat(&self, line: &Line<'_>) -> GroupRequest {
        let beat = HeartbeatRequest::default()
            .with_group_id(line.group())
            .with_member_id(self.member_id(line))
            .with_group_instance_id(line.optional("instance"))
            .with_generation_id(line.int("gen", self.client(line.who).generation));
        GroupRequest::Heartbeat(beat)
    }

    /// `members=` lists several, `instances=` static ones by instance id alone.
    fn leave(&self, line: &Line<'_>) -> GroupRequest {
        let leave = LeaveGroupRequest::default().with_group_id(line.group());
        if line.version(5) < 3 {
            return GroupRequest::LeaveGroup(leave.with_member_id(self.member_id(line)));
        }
        let mut members: Vec<MemberIdentity> = line
            .list("members")
            .into_iter()
            .map(|name| MemberIdentity::default().with_member_id(self.id_named(name)))
            .collect();
        members.extend(line.list("instances").into_iter().map(|name| {
            let instance_id = StrBytes::from_string(name.to_owned());
            MemberIdentity::default().with_group_instance_id(Some(instance_id))
        }));
        if members.is_empty() {
            let identity = MemberIdentity::default()
                .with_member_id(self.member_id(line))
                .with_group_instance_id(line.optional("instance"));
            members.push(identity);
        }
        GroupRequest::LeaveGroup(leave.with_members(members))
    }

    /// `metadata-length=` repeats the metadata so many times.
    fn commit_offset(&self, line: &Line<'_>) -> GroupRequest {
        let metadata = match line.number("metadata-length", -1) {
            -1 => line.optional("metadata"),
            length => {
                let length = usize::try_from(length).expect("a length");
                Some(line.text("metadata", "m").repeat(length).into())
            }
        };
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(line.number("offset", 0))
            .with_committed_leader_epoch(line.int("epoch", -1))
            .with_committed_metadata(metadata);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(line.text("topic", "t")))
            .with_topic_id(line.topic_id())
            .with_partitions(vec![partition]);
        let is_member = line.who != "admin";
        let generation = if is_member {
            self.client(line.who).generation
        } else {
            -1
        };
        let commit = OffsetCommitRequest::default()
            .with_group_id(line.group())
            .with_member_id(self.member_id(line))
            .with_group_instance_id(line.optional("instance"))
            .with_generation_id_or_member_epoch(line.int("gen", generation))
            .with_retention_time_ms(line.number("retention", -1))
            .with_topics(vec![topic]);
        GroupRequest::OffsetCommit(commit)
    }

    /// `topic=*` asks for all there is.
    fn fetch_offset(&self, line: &Line<'_>) -> GroupRequest {
        let name = TopicName(line.text("topic", "t"));
        let is_all = *name.0 == *"*";
        let fetch =
            OffsetFetchRequest::default().with_require_stable(line.number("stable", 0) == 1);
        if line.version(9) < 8 {
            let topic = OffsetFetchRequestTopic::default()
                .with_name(name)
                .with_partition_indexes(vec![0]);
            let topics = (!is_all).then(|| vec![topic]);
            return GroupRequest::OffsetFetch(
                fetch.with_group_id(line.group()).with_topics(topics),
            );
        }
        let topic = OffsetFetchRequestTopics::default()
            .with_name(name)
            .with_topic_id(line.topic_id())
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(line.group())
            .with_topics((!is_all).then(|| vec![topic]));
        GroupRequest::OffsetFetch(fetch.with_groups(vec![group]))
    }

    fn show(&mut self, event: Event) -> String {
        match event {
            Event::Append(records) => {
                let shown: Vec<String> = records
                    .iter()
                    .map(|record| self.show_record(record))
                    .collect();
                format!("append {}", shown.join("; "))
            }
            Event::Answer(token, response) => {
                let who = self
                    .asked
                    .remove(&token)
                    .expect("only what was asked is answered");
                let shown = self.show_response(&who, response);
                format!("{who}: {shown}")
            }
        }
    }

    fn show_record(&mut self, record: &GroupRecord) -> String {
        match record {
            GroupRecord::OffsetCommit { key, value } => match value {
                Some(value) => format!("offset {} {}={}", key.group, key.topic, value.offset),
                None => format!("no-offset {} {}", key.group, key.topic),
            },
            GroupRecord::GroupMetadata { group, value: None } => format!("no-group {group}"),
            GroupRecord::Unknown { record_type } => panic!("a record of type {record_type}"),
            GroupRecord::GroupMetadata {
                group,
                value: Some(value),
            } => {
                let members: Vec<String> = value
                    .members
                    .iter()
                    .map(|m| format!("{}:{}", self.name(&m.member_id), utf8(&m.assignment)))
                    .collect();
                format!(
                    "group {group} gen={} [{}]",
                    value.generation,
                    members.join(" ")
                )
            }
        }
    }

    fn show_response(&mut self, who: &str, response: GroupResponse) -> String {
        match response {
            GroupResponse::JoinGroup(join) => {
                let client = self.clients.entry(who.to_owned()).or_default();
                if !join.member_id.is_empty() {
                    client.member_id = join.member_id.clone();
                }
                if join.error_code == 0 {
                    client.generation = join.generation_id;
                }
                let member_id = self.name(&join.member_id);
                if join.error_code != 0 {
                    return format!("{} {member_id}", error(join.error_code))
                        .trim()
                        .to_owned();
                }
                let members: Vec<String> = join
                    .members
                    .iter()
                    .map(|m| self.name(&m.member_id))
                    .collect();
                let mut shown = format!(
                    "joined {member_id} gen={} {} leader={}",
                    join.generation_id,
                    join.protocol_name.unwrap_or_default(),
                    self.name(&join.leader)
                );
                if !members.is_empty() {
                    write!(shown, " [{}]", members.join(" ")).expect("strings take all");
                }
                if join.skip_assignment {
                    shown.push_str(" skip-assignment");
                }
                shown
            }
            GroupResponse::SyncGroup(sync) if sync.error_code == 0 => {
                format!("assigned {}", utf8(&sync.assignment))
                    .trim()
                    .to_owned()
            }
            GroupResponse::SyncGroup(sync) => error(sync.error_code),
            GroupResponse::Heartbeat(beat) => error(beat.error_code),
            GroupResponse::LeaveGroup(leave) => {
                let mut shown = error(leave.error_code);
                for member in leave.members {
                    let name = match &member.group_instance_id {
                        Some(instance_id) => instance_id.to_string(),
                        None => self.name(&member.member_id),
                    };
                    write!(shown, " {name}={}", error(member.error_code)).expect("strings");
                }
                shown
            }
            GroupResponse::OffsetCommit(commit) => {
                let partitions = commit.topics.iter().flat_map(|topic| &topic.partitions);
                let shown: Vec<String> = partitions.map(|p| error(p.error_code)).collect();
                shown.join(" ")
            }
            GroupResponse::OffsetFetch(fetch) => show_offset_fetch(fetch),
            GroupResponse::DescribeGroups(describe) => {
                let groups = describe.groups.iter().map(|group| self.show_group(group));
                groups.collect::<Vec<String>>().join(" ")
            }
            GroupResponse::ListGroups(list) if list.error_code == 0 => {
                let groups = list.groups.iter().map(|group| {
                    let type_of = &group.protocol_type;
                    format!("{}/{}/{type_of}", *group.group_id, group.group_state)
                });
                format!("[{}]", groups.collect::<Vec<String>>().join(" "))
            }
            GroupResponse::ListGroups(list) => error(list.error_code),
            GroupResponse::DeleteGroups(delete) => {
                let shown: Vec<String> = delete
                    .results
                    .iter()
                    .map(|result| error(result.error_code))
                    .collect();
                shown.join(" ")
            }
            GroupResponse::OffsetDelete(delete) => {
                let partitions = delete.topics.iter().flat_map(|topic| &topic.partitions);
                let shown = partitions.map(|p| format!(" {}", error(p.error_code)));
                format!("{}{}", error(delete.error_code), shown.collect::<String>())
            }
        }
    }

    fn show_group(&mut self, group: &DescribedGroup) -> String {
        let members: Vec<String> = group
            .members
            .iter()
            .map(|m| {
                let (metadata, assignment) = (utf8(&m.member_metadata), utf8(&m.member_assignment));
                format!("{}:{metadata}:{assignment}", self.name(&m.member_id))
            })
            .collect();
        let state = &group.group_state;
        let protocol = format!("{}/{}", group.protocol_type, group.protocol_data);
        format!(
            "{} {state} {protocol} [{}]",
            error(group.error_code),
            members.join(" ")
        )
    }

    /// A member id as transcripts show it: what is before its uuid, and the how-manieth of those.
    fn name(&mut self, member_id: &StrBytes) -> String {
        if let Some((name, _)) = self.ids.iter().find(|(_, id)| *id == member_id) {
            return name.clone();
        }
        let Some(length) = member_id.len().checked_sub(37) else {
            return member_id.to_string();
        };
        let prefix = &member_id[..length];
        let count = (1..).find(|n| !self.ids.contains_key(&format!("{prefix}#{n}")));
        let name = format!("{prefix}#{}", count.expect("there is a number left"));
        self.ids.insert(name.clone(), member_id.clone());
        name
    }
}

fn show_offset_fetch(fetch: millstream_protocol::messages::OffsetFetchResponse) -> String {
    if fetch.error_code != 0 {
        return error(fetch.error_code);
    }
    let mut shown = Vec::new();
    let mut show =
        |topic: &StrBytes, offset: i64, epoch: i32, metadata: &Option<StrBytes>, code| {
            let metadata = metadata.clone().unwrap_or_else(|| "null".into());
            let told = if code == 0 {
                String::new()
            } else {
                error(code)
            };
            shown.push(format!("{topic}={offset} epoch={epoch} '{metadata}'{told}"));
        };
    for topic in &fetch.topics {
        for p in &topic.partitions {
            let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
            show(&topic.name, offset, epoch, &p.metadata, p.error_code);
        }
    }
    for group in &fetch.groups {
        if group.error_code != 0 {
            return error(group.error_code);
        }
        for topic in &group.topics {
            for p in &topic.partitions {
                let (offset, epoch) = (p.committed_offset, p.committed_leader_epoch);
                show(&topic.name, offset, epoch, &p.metadata, p.error_code);
            }
        }
    }
    if shown.is_empty() {
        "nothing".to_owned()
    } else {
        shown.join(" ")
    }
}

/// The metadata of a consumer of one topic.
pub fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend(
        i16::try_from(topic.len())
            .expect("a short name")
            .to_be_bytes(),
    );
    bytes.extend(topic.as_bytes());
    Bytes::from(bytes)
}

fn utf8(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn duration(text: &str) -> Duration {
    let number = |digits: &str| {
        digits
            .parse()
            .unwrap_or_else(|_| panic!("a duration: {text}"))
    };
    if let Some(digits) = text.strip_suffix("ms") {
        return Duration::from_millis(number(digits));
    }
    if let Some(digits) = text.strip_suffix('d') {
        return Duration::from_secs(number(digits) * 86_400);
    }
    Duration::from_secs(number(text.strip_suffix('s').expect("a unit")))
}

fn error_named(name: &str) -> ErrorCode {
    let mut codes = (-1..140).filter_map(ErrorCode::try_from_code);
    codes
        .find(|code| error(code.code()) == name)
        .unwrap_or_else(|| panic!("no error {name}"))
}

/// `ok`, or the error's name as Kafka writes it.
fn error(code: i16) -> String {
    let Some(error) = ErrorCode::try_from_code(code) else {
        return "ok".to_owned();
    };
    let mut name = String::new();
    for letter in format!("{error:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
