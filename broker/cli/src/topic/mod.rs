//! `millstream topic`: create, list, describe, alter, delete, add partitions, delete records.

mod description;
mod record_deletion;

use millstream_client::{
    Client, ClientError, ConfigChange, ConfigOperation, ConfigResource, NewTopic, TopicMetadata,
};
use millstream_protocol::ErrorCode;
use serde_json::json;

use self::description::Description;
use crate::arguments::{
    AddPartitionsArguments, TopicAlterArguments, TopicCommand, TopicCreateArguments,
};
use crate::failure::Failure;
use crate::output::{Output, counted, heading, table};

/// Runs a topic command.
pub async fn run(client: &Client, command: TopicCommand, output: &Output) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(arguments) => create(client, arguments, output).await,
        TopicCommand::List { internal } => list(client, internal, output).await,
        TopicCommand::Describe { topics } => describe(client, &topics, output).await,
        TopicCommand::Alter(arguments) => alter(client, arguments, output).await,
        TopicCommand::AddPartitions(arguments) => add_partitions(client, arguments, output).await,
        TopicCommand::DeleteRecords(arguments) => {
            record_deletion::delete_records(client, arguments, output).await
        }
        TopicCommand::Delete { topics, if_exists } => {
            delete(client, &topics, if_exists, output).await
        }
    }
}

async fn create(
    client: &Client,
    arguments: TopicCreateArguments,
    output: &Output,
) -> Result<(), Failure> {
    let name = arguments.topic;
    let topic = NewTopic {
        name: name.clone(),
        partitions: arguments.partitions,
        replication_factor: arguments.replication_factor,
        configs: arguments.configs,
    };
    let created = match client.create_topic(&topic, arguments.dry_run).await {
        Err(error)
            if arguments.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) =>
        {
            return output.print(
                || json!({"topic": name, "created": false}),
                || format!("topic {} is there already\n", output.strong(&name)),
            );
        }
        created => created?,
    };
    let partitions = created.partitions.or(topic.partitions);
    let replicas = created.replication_factor.or(topic.replication_factor);
    output.print(
        || {
            json!({
                "topic": name,
                "created": !arguments.dry_run,
                "id": created.id.to_string(),
                "partitions": partitions,
                "replication_factor": replicas,
            })
        },
        || {
            let done = match arguments.dry_run {
                true => "could create",
                false => "created",
            };
            let mut text = format!("{done} topic {}", output.strong(&name));
            if let (Some(partitions), Some(replicas)) = (partitions, replicas) {
                let partitions = counted(usize::try_from(partitions).unwrap_or(0), "partition");
                let replicas = counted(usize::try_from(replicas).unwrap_or(0), "replica");
                text.push_str(&format!(": {partitions}, {replicas} of each"));
            }
            text + "\n"
        },
    )
}

async fn list(client: &Client, internal: bool, output: &Output) -> Result<(), Failure> {
    let mut topics = client.list_topics().await?;
    topics.retain(|topic| internal || !topic.is_internal);
    output.print(
        || {
            let topics = topics.iter().map(|topic| {
                json!({
                    "topic": &*topic.name,
                    "id": topic.id.to_string(),
                    "partitions": topic.partitions.len(),
                    "replication_factor": replication_factor(topic),
                    "internal": topic.is_internal,
                })
            });
            topics.collect()
        },
        || {
            let mut rows = vec![heading(&["TOPIC", "PARTITIONS", "REPLICAS"])];
            rows.extend(topics.iter().map(|topic| {
                vec![
                    topic.name.to_string(),
                    topic.partitions.len().to_string(),
                    replication_factor(topic).to_string(),
                ]
            }));
            table(&rows)
        },
    )
}

async fn describe(client: &Client, names: &[String], output: &Output) -> Result<(), Failure> {
    let mut described = Vec::new();
    for name in names {
        described.push(Description::ask(client, name).await?);
    }
    output.print(
        || described.iter().map(Description::json).collect(),
        || {
            let texts: Vec<String> = described.iter().map(|topic| topic.text(output)).collect();
            texts.join("\n")
        },
    )
}

async fn delete(
    client: &Client,
    names: &[String],
    if_exists: bool,
    output: &Output,
) -> Result<(), Failure> {
    for name in names {
        let deleted = match client.delete_topic(name).await {
            Ok(()) => true,
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                if !if_exists {
                    let topic = name.as_str().into();
                    return Err(ClientError::UnknownTopic { topic }.into());
                }
                false
            }
            Err(error) => return Err(error.into()),
        };
        output.print(
            || json!({"topic": name, "deleted": deleted}),
            || match deleted {
                true => format!("deleted topic {}\n", output.strong(name)),
                false => format!("there is no topic {}\n", output.strong(name)),
            },
        )?;
    }
    Ok(())
}

async fn alter(
    client: &Client,
    arguments: TopicAlterArguments,
    output: &Output,
) -> Result<(), Failure> {
    let name = arguments.topic;
    let set = arguments.set.into_iter().map(|(name, value)| ConfigChange {
        name,
        operation: ConfigOperation::Set(value),
    });
    let unset = arguments.unset.into_iter().map(|name| ConfigChange {
        name,
        operation: ConfigOperation::Unset,
    });
    let changes: Vec<ConfigChange> = set.chain(unset).collect();
    let resource = ConfigResource::Topic(name.clone());
    let altered = client.alter_configs(&resource, &changes, arguments.dry_run);
    altered.await.map_err(|error| known_topic(error, &name))?;
    output.print(
        || json!({"topic": name, "altered": !arguments.dry_run}),
        || match arguments.dry_run {
            true => format!("could alter topic {}\n", output.strong(&name)),
            false => format!("altered topic {}\n", output.strong(&name)),
        },
    )
}

async fn add_partitions(
    client: &Client,
    arguments: AddPartitionsArguments,
    output: &Output,
) -> Result<(), Failure> {
    let name = arguments.topic;
    let has = client.refreshed_topic(&name, false).await?.partitions.len();
    let has = i32::try_from(has).unwrap_or(i32::MAX);
    let total = match (arguments.total, arguments.add) {
        (Some(total), _) => total,
        (None, add) => has.saturating_add(add.unwrap_or(0)),
    };
    if total == has {
        let mend = "name a larger --total, or --add some".to_owned();
        return Err(Failure::Usage(format!(
            "topic {name} has {has} partitions already: {mend}"
        )));
    }
    let made = client.create_partitions(&name, total, arguments.dry_run);
    made.await.map_err(|error| known_topic(error, &name))?;
    output.print(
        || {
            json!({
                "topic": name,
                "partitions_before": has,
                "partitions": total,
                "altered": !arguments.dry_run,
            })
        },
        || {
            let has_now = match arguments.dry_run {
                true => "could have",
                false => "has",
            };
            let partitions = counted(usize::try_from(total).unwrap_or(0), "partition");
            format!(
                "topic {} {has_now} {partitions}, before {has}\n",
                output.strong(&name)
            )
        },
    )
}

/// A broker's code for a missing topic, in the words that all commands have for it.
fn known_topic(error: ClientError, name: &str) -> Failure {
    match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition) => {
            ClientError::UnknownTopic { topic: name.into() }.into()
        }
        _ => error.into(),
    }
}

fn replication_factor(topic: &TopicMetadata) -> usize {
    let partitions = topic.partitions.values();
    partitions
        .map(|partition| partition.replicas.len())
        .max()
        .unwrap_or(0)
}
