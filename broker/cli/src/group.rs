//! `millstream group`: list and describe.

use std::collections::BTreeMap;

use millstream_client::{Client, NamedPartition, OffsetSpec};
use serde_json::{Value, json};

use crate::arguments::GroupCommand;
use crate::failure::Failure;
use crate::output::{Output, table};

/// Runs a group command.
pub async fn run(client: &Client, command: GroupCommand, output: Output) -> Result<(), Failure> {
    match command {
        GroupCommand::List => list(client, output).await,
        GroupCommand::Describe { group } => describe(client, &group, output).await,
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let groups = client.list_groups().await?;
    output.print(
        || {
            let groups = groups.iter().map(|group| {
                json!({"group": group.id, "type": group.protocol_type, "state": group.state})
            });
            groups.collect()
        },
        || {
            let mut rows = vec![["GROUP", "TYPE", "STATE"].map(str::to_owned).to_vec()];
            rows.extend(groups.iter().map(|group| {
                vec![
                    group.id.clone(),
                    group.protocol_type.clone(),
                    group.state.clone(),
                ]
            }));
            table(&rows)
        },
    )
}

async fn describe(client: &Client, id: &str, output: Output) -> Result<(), Failure> {
    let group = client.describe_group(id).await?;
    let mut owners: BTreeMap<NamedPartition, usize> = BTreeMap::new();
    for (index, member) in group.members.iter().enumerate() {
        let assigned = member.assignment.iter();
        owners.extend(assigned.map(|partition| (partition.clone(), index)));
    }
    let committed = client.all_committed_offsets(id).await?;
    let mut offsets: BTreeMap<NamedPartition, Option<i64>> = owners
        .keys()
        .map(|partition| (partition.clone(), None))
        .collect();
    offsets.extend(
        committed
            .into_iter()
            .map(|(partition, offset)| (partition, Some(offset))),
    );
    let ends: Vec<_> = offsets
        .keys()
        .map(|partition| (partition.clone(), OffsetSpec::Latest))
        .collect();
    let ends = client.list_offsets(&ends, false).await?;
    let end = |partition: &NamedPartition| ends.get(partition).copied().flatten();
    let lag = |partition: &NamedPartition, offset: Option<i64>| Some(end(partition)? - offset?);
    output.print(
        || {
            let members = group.members.iter().map(|member| {
                json!({
                    "member": member.member_id,
                    "group_instance_id": member.group_instance_id,
                    "client_id": member.client_id,
                    "host": member.client_host,
                })
            });
            let partitions = offsets.iter().map(|(partition, offset)| {
                let owner = owners
                    .get(partition)
                    .map(|owner| &group.members[*owner].member_id);
                json!({
                    "topic": &*partition.0,
                    "partition": partition.1,
                    "committed_offset": offset,
                    "end_offset": end(partition),
                    "lag": lag(partition, *offset),
                    "member": owner,
                })
            });
            json!({
                "group": group.id,
                "state": group.state,
                "protocol": group.protocol,
                "members": members.collect::<Value>(),
                "partitions": partitions.collect::<Value>(),
            })
        },
        || {
            let mut text = format!("{}  {}", output.strong(id), group.state);
            if !group.protocol.is_empty() {
                text.push_str(&format!(", assignor {}", group.protocol));
            }
            text.push('\n');
            let heading = ["  TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"];
            let mut rows = vec![heading.map(str::to_owned).to_vec()];
            let number = |number: Option<i64>| number.map_or("-".to_owned(), |n| n.to_string());
            for (partition, offset) in &offsets {
                let owner = owners.get(partition).map(|owner| &group.members[*owner]);
                rows.push(vec![
                    format!("  {}", partition.0),
                    partition.1.to_string(),
                    number(*offset),
                    number(end(partition)),
                    number(lag(partition, *offset)),
                    owner.map_or("-".to_owned(), |member| {
                        format!("{} {}", member.client_id, member.client_host)
                    }),
                ]);
            }
            text + &table(&rows)
        },
    )
}
