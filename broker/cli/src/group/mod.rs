//! `millstream group`: list, describe, reset offsets, delete.

mod description;
mod lag;
mod offset_reset;

use millstream_client::{Client, ClientError, NamedPartition};
use millstream_protocol::ErrorCode;
use serde_json::json;

use crate::arguments::{GroupCommand, PartitionChoice};
use crate::failure::Failure;
use crate::output::{Output, heading, table};

/// Runs a group command.
pub async fn run(client: &Client, command: GroupCommand, output: &Output) -> Result<(), Failure> {
    match command {
        GroupCommand::List { state } => list(client, &state, output).await,
        GroupCommand::Describe { groups } => description::describe(client, &groups, output).await,
        GroupCommand::ResetOffsets(arguments) => {
            offset_reset::reset_offsets(client, arguments, output).await
        }
        GroupCommand::Delete { groups } => delete(client, &groups, output).await,
        GroupCommand::DeleteOffsets { group, topics } => {
            delete_offsets(client, &group, &topics, output).await
        }
    }
}

async fn list(client: &Client, states: &[String], output: &Output) -> Result<(), Failure> {
    let mut groups = client.list_groups().await?;
    groups.retain(|group| {
        let is = |state: &String| state.eq_ignore_ascii_case(&group.state);
        states.is_empty() || states.iter().any(is)
    });
    output.print(
        || {
            let groups = groups.iter().map(|group| {
                json!({
                    "group": group.id,
                    "type": group.protocol_type,
                    "protocol": group.group_type,
                    "state": group.state,
                })
            });
            groups.collect()
        },
        || {
            let mut rows = vec![heading(&["GROUP", "TYPE", "PROTOCOL", "STATE"])];
            rows.extend(groups.iter().map(|group| {
                vec![
                    group.id.clone(),
                    group.protocol_type.clone(),
                    group.group_type.clone(),
                    group.state.clone(),
                ]
            }));
            table(&rows)
        },
    )
}

async fn delete(client: &Client, groups: &[String], output: &Output) -> Result<(), Failure> {
    for group in groups {
        let deleted = client.delete_group(group).await;
        deleted.map_err(|error| known_group(error, group))?;
        output.print(
            || json!({"group": group, "deleted": true}),
            || format!("deleted group {}\n", output.strong(group)),
        )?;
    }
    Ok(())
}

async fn delete_offsets(
    client: &Client,
    group: &str,
    topics: &[PartitionChoice],
    output: &Output,
) -> Result<(), Failure> {
    let committed = client.all_committed_offsets(group).await?;
    let chosen: Vec<NamedPartition> = committed
        .into_keys()
        .filter(|(topic, index)| {
            topics.iter().any(|choice| {
                let partitions = choice.partitions.as_ref();
                choice.topic == **topic && partitions.is_none_or(|some| some.contains(index))
            })
        })
        .collect();
    if chosen.is_empty() {
        return Err(Failure::NotFound {
            what: format!("group {group} has committed no offsets for these topics"),
            mend: format!("`millstream group describe {group}` shows what it has committed"),
        });
    }
    let deleted = client.delete_group_offsets(group, &chosen).await;
    deleted.map_err(|error| known_group(error, group))?;
    output.print(
        || {
            let partitions = chosen
                .iter()
                .map(|(topic, index)| json!({"topic": &**topic, "partition": index}));
            json!({"group": group, "deleted": partitions.collect::<Vec<_>>()})
        },
        || {
            let mut rows = vec![heading(&["TOPIC", "PARTITION"])];
            let named = chosen.iter();
            rows.extend(named.map(|(topic, index)| vec![topic.to_string(), index.to_string()]));
            format!(
                "group {} has no offsets any more for\n{}",
                output.strong(group),
                table(&rows)
            )
        },
    )
}

/// A broker's code for a missing group, in words that name it.
fn known_group(error: ClientError, group: &str) -> Failure {
    match error.code() {
        Some(ErrorCode::GroupIdNotFound) => no_such_group(group),
        _ => error.into(),
    }
}

fn no_such_group(group: &str) -> Failure {
    Failure::NotFound {
        what: format!("group {group:?} does not exist"),
        mend: "`millstream group list` shows those there are".to_owned(),
    }
}
