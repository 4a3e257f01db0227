//! `millstream group reset-offsets`: where a group without members goes on reading.
//!
//! As Kafka's tool does, offsets are kept within what the log has, a time after the last record
//! means the end, and a group that has members is left alone.

use std::collections::BTreeMap;

use millstream_client::{Client, ClientError, NamedPartition, OffsetSpec};
use serde_json::{Value, json};

use super::description::group_state;
use super::no_such_group;
use crate::arguments::{PartitionChoice, ResetArguments, ResetTarget};
use crate::failure::Failure;
use crate::output::{Output, heading, number_or_dash, table};

/// Shows where the group would go on, or with `--execute` lets it.
pub async fn reset_offsets(
    client: &Client,
    arguments: ResetArguments,
    output: &Output,
) -> Result<(), Failure> {
    let group = &arguments.group;
    match group_state(client, group).await?.as_deref() {
        // A group that does not exist yet can be given offsets to begin with.
        None if arguments.scope.all_topics => return Err(no_such_group(group)),
        None | Some("Empty" | "Dead") => {}
        Some(state) => {
            return Err(Failure::Partial(format!(
                "group {group} has members ({state}): stop them first, or they would commit over \
                 what is set here"
            )));
        }
    }
    let committed = client.all_committed_offsets(group).await?;
    let partitions: Vec<NamedPartition> = match arguments.scope.all_topics {
        true => committed.keys().cloned().collect(),
        false => chosen_partitions(client, &arguments.scope.topics).await?,
    };
    if partitions.is_empty() {
        return Err(Failure::NotFound {
            what: format!("group {group} has committed no offsets"),
            mend: "name topics with --topic".to_owned(),
        });
    }
    let moves = plan(client, &arguments.target, &partitions, &committed).await?;
    if arguments.execute {
        let offsets = moves
            .iter()
            .map(|(partition, step)| (partition.clone(), step.target));
        client.set_group_offsets(group, &offsets.collect()).await?;
    }
    report(&arguments, &moves, output)
}

/// From where to where.
struct Move {
    current: Option<i64>,
    target: i64,
}

async fn chosen_partitions(
    client: &Client,
    choices: &[PartitionChoice],
) -> Result<Vec<NamedPartition>, Failure> {
    let mut chosen = Vec::new();
    for choice in choices {
        let topic = client.topic(&choice.topic, false).await?;
        let partitions = match &choice.partitions {
            None => topic.partitions.keys().copied().collect(),
            Some(partitions) => partitions.clone(),
        };
        for index in partitions {
            if !topic.partitions.contains_key(&index) {
                let missing = ClientError::UnknownPartition {
                    topic: topic.name.clone(),
                    partition: index,
                    count: topic.partitions.len(),
                };
                return Err(missing.into());
            }
            chosen.push((topic.name.clone(), index));
        }
    }
    Ok(chosen)
}

async fn plan(
    client: &Client,
    target: &ResetTarget,
    partitions: &[NamedPartition],
    committed: &BTreeMap<NamedPartition, i64>,
) -> Result<BTreeMap<NamedPartition, Move>, Failure> {
    let ask = async |spec| client.offsets_at(partitions, spec, false).await;
    let starts = ask(OffsetSpec::Earliest).await?;
    let ends = ask(OffsetSpec::Latest).await?;
    let now = client.reactor().wall_clock_ms();
    let time = match (target.to_time, target.by_duration) {
        (Some(moment), _) => Some(moment.resolve(now)),
        (None, Some(duration)) => Some(now.saturating_sub(duration)),
        (None, None) => None,
    };
    let at_time = match time {
        Some(time) => ask(OffsetSpec::Timestamp(time)).await?,
        None => BTreeMap::new(),
    };
    let mut moves = BTreeMap::new();
    for partition in partitions {
        let found = |offsets: &BTreeMap<NamedPartition, i64>| offsets.get(partition).copied();
        let (start, end) = (found(&starts).unwrap_or(0), found(&ends).unwrap_or(0));
        let current = committed.get(partition).copied();
        let wanted = if target.to_earliest {
            start
        } else if target.to_latest {
            end
        } else if target.to_current {
            current.unwrap_or(end)
        } else if let Some(offset) = target.to_offset {
            offset
        } else if let Some(shift) = target.shift_by {
            let Some(current) = current else {
                let (topic, index) = partition;
                return Err(Failure::Usage(format!(
                    "--shift-by needs an offset to shift, and the group has committed none for \
                     {topic}-{index}: use --to-earliest, --to-latest or --to-offset"
                )));
            };
            current.saturating_add(shift)
        } else {
            found(&at_time).unwrap_or(end)
        };
        let target = wanted.clamp(start, end.max(start));
        moves.insert(partition.clone(), Move { current, target });
    }
    Ok(moves)
}

fn report(
    arguments: &ResetArguments,
    moves: &BTreeMap<NamedPartition, Move>,
    output: &Output,
) -> Result<(), Failure> {
    let change = |step: &Move| Some(step.target - step.current?);
    output.print(
        || {
            let partitions = moves.iter().map(|((topic, index), step)| {
                json!({
                    "topic": &**topic,
                    "partition": index,
                    "current_offset": step.current,
                    "new_offset": step.target,
                    "change": change(step),
                })
            });
            json!({
                "group": arguments.group,
                "executed": arguments.execute,
                "partitions": partitions.collect::<Value>(),
            })
        },
        || {
            let mut rows = vec![heading(&["TOPIC", "PARTITION", "CURRENT", "NEW", "CHANGE"])];
            for ((topic, index), step) in moves {
                rows.push(vec![
                    topic.to_string(),
                    index.to_string(),
                    number_or_dash(step.current),
                    step.target.to_string(),
                    change(step).map_or("-".to_owned(), |change| format!("{change:+}")),
                ]);
            }
            let end = match arguments.execute {
                true => "",
                false => "nothing was changed: add --execute to do it\n",
            };
            table(&rows) + end
        },
    )
}
