//! `millstream topic`: create, list, describe, delete.

use millstream_client::{
    Client, ConfigEntry, ConfigResource, NamedPartition, NewTopic, OffsetSpec, TopicMetadata,
};
use millstream_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::arguments::{TopicCommand, TopicCreateArguments};
use crate::failure::Failure;
use crate::output::{Output, table};

/// Runs a topic command.
pub async fn run(client: &Client, command: TopicCommand, output: Output) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(arguments) => create(client, arguments, output).await,
        TopicCommand::List { internal } => list(client, internal, output).await,
        TopicCommand::Describe { topics } => describe(client, &topics, output).await,
        TopicCommand::Delete { topics, if_exists } => {
            delete(client, &topics, if_exists, output).await
        }
    }
}

async fn create(
    client: &Client,
    arguments: TopicCreateArguments,
    output: Output,
) -> Result<(), Failure> {
    let name = arguments.topic;
    let topic = NewTopic {
        name: name.clone(),
        partitions: arguments.partitions,
        replication_factor: arguments.replication_factor,
        configs: arguments.configs,
    };
    let created = match client.create_topic(&topic, false).await {
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
                "created": true,
                "id": created.id.to_string(),
                "partitions": partitions,
                "replication_factor": replicas,
            })
        },
        || {
            let mut text = format!("created topic {}", output.strong(&name));
            if let (Some(partitions), Some(replicas)) = (partitions, replicas) {
                let partitions = counted(i64::from(partitions), "partition");
                let replicas = counted(i64::from(replicas), "replica");
                text.push_str(&format!(": {partitions}, {replicas} of each"));
            }
            text + "\n"
        },
    )
}

async fn list(client: &Client, internal: bool, output: Output) -> Result<(), Failure> {
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
            let mut rows = vec![
                ["TOPIC", "PARTITIONS", "REPLICAS"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
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

async fn describe(client: &Client, names: &[String], output: Output) -> Result<(), Failure> {
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
    output: Output,
) -> Result<(), Failure> {
    for name in names {
        let deleted = match client.delete_topic(name).await {
            Ok(()) => true,
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                if !if_exists {
                    let topic = name.as_str().into();
                    return Err(millstream_client::ClientError::UnknownTopic { topic }.into());
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

/// What there is to say of a topic.
struct Description {
    topic: TopicMetadata,
    /// First and next offset of each partition.
    offsets: Vec<(i32, Option<i64>, Option<i64>)>,
    configs: Vec<ConfigEntry>,
}

impl Description {
    async fn ask(client: &Client, name: &str) -> Result<Description, Failure> {
        let topic = client.refreshed_topic(name, false).await?;
        let partitions: Vec<NamedPartition> = topic
            .partitions
            .keys()
            .map(|index| (topic.name.clone(), *index))
            .collect();
        let at = |spec: OffsetSpec| -> Vec<(NamedPartition, OffsetSpec)> {
            partitions
                .iter()
                .map(|partition| (partition.clone(), spec))
                .collect()
        };
        let starts = client
            .list_offsets(&at(OffsetSpec::Earliest), false)
            .await?;
        let ends = client.list_offsets(&at(OffsetSpec::Latest), false).await?;
        let offsets = partitions
            .iter()
            .map(|partition| {
                let start = starts.get(partition).copied().flatten();
                (partition.1, start, ends.get(partition).copied().flatten())
            })
            .collect();
        let resource = ConfigResource::Topic(name.to_owned());
        let mut configs = client.describe_configs(&resource).await?;
        configs.retain(|config| config.is_set_here);
        Ok(Description {
            topic,
            offsets,
            configs,
        })
    }

    fn json(&self) -> Value {
        let partitions = self.offsets.iter().map(|(index, start, end)| {
            let partition = &self.topic.partitions[index];
            json!({
                "partition": index,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "isr": partition.isr,
                "offline_replicas": partition.offline_replicas,
                "start_offset": start,
                "end_offset": end,
            })
        });
        let configs = self.configs.iter();
        let configs = configs.map(|config| (config.name.clone(), json!(config.value)));
        json!({
            "topic": &*self.topic.name,
            "id": self.topic.id.to_string(),
            "internal": self.topic.is_internal,
            "partitions": partitions.collect::<Value>(),
            "configs": Value::Object(configs.collect()),
        })
    }

    fn text(&self, output: Output) -> String {
        let topic = &self.topic;
        let mut text = format!(
            "{}  {}, {} of each, id {}\n",
            output.strong(&topic.name),
            counted(topic.partitions.len() as i64, "partition"),
            counted(replication_factor(topic) as i64, "replica"),
            topic.id,
        );
        for config in &self.configs {
            let value = config.value.as_deref().unwrap_or("(secret)");
            text.push_str(&format!("  {}={value}\n", config.name));
        }
        let mut rows = vec![
            [
                "  PARTITION",
                "LEADER",
                "REPLICAS",
                "IN SYNC",
                "START",
                "END",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for (index, start, end) in &self.offsets {
            let partition = &topic.partitions[index];
            let number = |number: Option<i64>| number.map_or("?".to_owned(), |n| n.to_string());
            rows.push(vec![
                format!("  {index}"),
                partition
                    .leader
                    .map_or("none".to_owned(), |leader| leader.to_string()),
                joined(&partition.replicas),
                joined(&partition.isr),
                number(*start),
                number(*end),
            ]);
        }
        text + &table(&rows)
    }
}

fn replication_factor(topic: &TopicMetadata) -> usize {
    let partitions = topic.partitions.values();
    partitions
        .map(|partition| partition.replicas.len())
        .max()
        .unwrap_or(0)
}

fn joined(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}

fn counted(count: i64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
