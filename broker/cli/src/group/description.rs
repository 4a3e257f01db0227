//! `millstream group describe`: members, committed offsets, lag.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use millstream_client::{Client, GroupDescription, NamedPartition, OffsetSpec};
use millstream_protocol::ErrorCode;
use serde_json::{Value, json};

use super::lag::record_times;
use super::no_such_group;
use crate::duration::format_duration;
use crate::failure::Failure;
use crate::output::{Output, heading, number_or_dash, table};

/// Shows groups, each by itself.
pub async fn describe(client: &Client, groups: &[String], output: &Output) -> Result<(), Failure> {
    for (index, id) in groups.iter().enumerate() {
        let description = Description::ask(client, id).await?;
        output.print(
            || description.json(),
            || {
                let gap = if index > 0 { "\n" } else { "" };
                format!("{gap}{}", description.text(output))
            },
        )?;
    }
    Ok(())
}

/// What there is to say of a group.
struct Description {
    group: GroupDescription,
    /// Whether its members speak a protocol in which they cannot be described here (KIP-848).
    hides_members: bool,
    partitions: BTreeMap<NamedPartition, Reading>,
}

/// How far a partition is read.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    committed: Option<i64>,
    start: Option<i64>,
    end: Option<i64>,
    lag_ms: Option<i64>,
    /// Which of the group's members reads it.
    member: Option<usize>,
}

impl Reading {
    /// Records that were not read. Those that are no longer kept cannot be.
    fn lag(&self) -> Option<i64> {
        let from = self.committed?.max(self.start.unwrap_or(0));
        Some((self.end? - from).max(0))
    }
}

impl Description {
    async fn ask(client: &Client, id: &str) -> Result<Description, Failure> {
        let (group, hides_members) = find_group(client, id).await?;
        let mut partitions: BTreeMap<NamedPartition, Reading> = BTreeMap::new();
        for (index, member) in group.members.iter().enumerate() {
            for partition in &member.assignment {
                partitions.entry(partition.clone()).or_default().member = Some(index);
            }
        }
        for (partition, offset) in client.all_committed_offsets(id).await? {
            partitions.entry(partition).or_default().committed = Some(offset);
        }
        if group.state == "Dead" && partitions.is_empty() {
            return Err(no_such_group(id));
        }
        let mut description = Description {
            group,
            hides_members,
            partitions,
        };
        description.look_at_logs(client).await?;
        Ok(description)
    }

    async fn look_at_logs(&mut self, client: &Client) -> Result<(), Failure> {
        if self.partitions.is_empty() {
            return Ok(());
        }
        let topics: BTreeSet<Rc<str>> = self
            .partitions
            .keys()
            .map(|(topic, _)| topic.clone())
            .collect();
        let topics: Vec<Rc<str>> = topics.into_iter().collect();
        let metadata = client.refresh(Some(&topics), false).await?;
        // A topic may have been deleted since it was read.
        let has_leader = |(topic, index): &&NamedPartition| {
            let topic = metadata.topics.get(topic);
            let partition = topic.and_then(|topic| topic.partitions.get(index));
            partition.is_some_and(|partition| partition.leader.is_some())
        };
        let existing: Vec<NamedPartition> =
            self.partitions.keys().filter(has_leader).cloned().collect();
        let ask = async |spec| client.offsets_at(&existing, spec, false).await;
        let starts = ask(OffsetSpec::Earliest).await?;
        let ends = ask(OffsetSpec::Latest).await?;
        let mut unread: BTreeMap<NamedPartition, i64> = BTreeMap::new();
        for (partition, reading) in &mut self.partitions {
            reading.start = starts.get(partition).copied();
            reading.end = ends.get(partition).copied();
            match (reading.lag(), reading.committed) {
                (Some(0), _) => reading.lag_ms = Some(0),
                (Some(_), Some(committed)) => {
                    let first = committed.max(reading.start.unwrap_or(0));
                    unread.insert(partition.clone(), first);
                }
                _ => {}
            }
        }
        let now = client.reactor().wall_clock_ms();
        for (partition, time) in record_times(client, &unread).await? {
            if let Some(reading) = self.partitions.get_mut(&partition) {
                reading.lag_ms = Some(now.saturating_sub(time).max(0));
            }
        }
        Ok(())
    }

    /// All its lag, if any is known: records, and the longest time.
    fn total(&self) -> (Option<i64>, Option<i64>) {
        let readings = || self.partitions.values();
        let records = readings().filter_map(Reading::lag).reduce(|a, b| a + b);
        (
            records,
            readings().filter_map(|reading| reading.lag_ms).max(),
        )
    }

    fn json(&self) -> Value {
        let members = self.group.members.iter().map(|member| {
            json!({
                "member": member.member_id,
                "group_instance_id": member.group_instance_id,
                "client_id": member.client_id,
                "host": member.client_host,
            })
        });
        let partitions = self.partitions.iter().map(|(partition, reading)| {
            let member = reading
                .member
                .map(|index| &self.group.members[index].member_id);
            json!({
                "topic": &*partition.0,
                "partition": partition.1,
                "committed_offset": reading.committed,
                "end_offset": reading.end,
                "lag": reading.lag(),
                "lag_ms": reading.lag_ms,
                "member": member,
            })
        });
        let (lag, lag_ms) = self.total();
        json!({
            "group": self.group.id,
            "state": self.group.state,
            "protocol": self.group.protocol,
            "members": (!self.hides_members).then(|| members.collect::<Value>()),
            "partitions": partitions.collect::<Value>(),
            "lag": lag,
            "lag_ms": lag_ms,
        })
    }

    fn text(&self, output: &Output) -> String {
        let group = &self.group;
        let mut text = format!("{}  {}", output.strong(&group.id), group.state);
        if !group.protocol.is_empty() {
            text.push_str(&format!(", assignor {}", group.protocol));
        }
        if self.hides_members {
            text.push_str(", members not shown: they speak the consumer protocol (KIP-848)");
        }
        if let (Some(lag), lag_ms) = self.total() {
            text.push_str(&format!(", lag {lag}"));
            if let Some(ms) = lag_ms.filter(|ms| *ms > 0) {
                text.push_str(&format!(" ({})", format_duration(ms)));
            }
        }
        text.push('\n');
        let names = [
            "  TOPIC",
            "PARTITION",
            "COMMITTED",
            "END",
            "LAG",
            "BEHIND",
            "MEMBER",
        ];
        let mut rows = vec![heading(&names)];
        for (partition, reading) in &self.partitions {
            let member = reading.member.map(|index| &group.members[index]);
            rows.push(vec![
                format!("  {}", partition.0),
                partition.1.to_string(),
                number_or_dash(reading.committed),
                number_or_dash(reading.end),
                number_or_dash(reading.lag()),
                reading.lag_ms.map_or("-".to_owned(), format_duration),
                member.map_or("-".to_owned(), |member| {
                    format!("{} {}", member.client_id, member.client_host)
                }),
            ]);
        }
        text + &table(&rows)
    }
}

/// A group; of one whose members cannot be described, what the list of groups says.
async fn find_group(client: &Client, id: &str) -> Result<(GroupDescription, bool), Failure> {
    match client.describe_group(id).await {
        Ok(group) if group.state != "Dead" => return Ok((group, false)),
        Ok(_) => {}
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {}
        Err(error) => return Err(error.into()),
    }
    let groups = client.list_groups().await?;
    let Some(listed) = groups.into_iter().find(|group| group.id == id) else {
        return Err(no_such_group(id));
    };
    let group = GroupDescription {
        id: id.to_owned(),
        state: listed.state,
        protocol_type: listed.protocol_type,
        protocol: String::new(),
        members: Vec::new(),
    };
    Ok((group, true))
}

/// The state of a group, if there is one of this name.
pub async fn group_state(client: &Client, id: &str) -> Result<Option<String>, Failure> {
    match find_group(client, id).await {
        Ok((group, _)) => Ok(Some(group.state)),
        Err(Failure::NotFound { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}
