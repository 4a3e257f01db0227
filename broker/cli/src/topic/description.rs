//! All there is to say of a topic.

use millstream_client::{
    Client, ConfigEntry, ConfigResource, NamedPartition, OffsetSpec, TopicMetadata,
};
use serde_json::{Value, json};

use super::replication_factor;
use crate::failure::Failure;
use crate::output::{Output, counted, heading, table};

/// What there is to say of a topic.
pub struct Description {
    topic: TopicMetadata,
    /// First and next offset of each partition.
    offsets: Vec<(i32, Option<i64>, Option<i64>)>,
    configs: Vec<ConfigEntry>,
}

impl Description {
    /// Asks the cluster.
    pub async fn ask(client: &Client, name: &str) -> Result<Description, Failure> {
        let topic = client.refreshed_topic(name, false).await?;
        let partitions: Vec<NamedPartition> = topic
            .partitions
            .keys()
            .map(|index| (topic.name.clone(), *index))
            .collect();
        let ask = async |spec| client.offsets_at(&partitions, spec, false).await;
        let starts = ask(OffsetSpec::Earliest).await?;
        let ends = ask(OffsetSpec::Latest).await?;
        let offsets = partitions
            .iter()
            .map(|partition| {
                let start = starts.get(partition).copied();
                (partition.1, start, ends.get(partition).copied())
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

    /// As JSON.
    pub fn json(&self) -> Value {
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

    /// As text.
    pub fn text(&self, output: &Output) -> String {
        let topic = &self.topic;
        let mut text = format!(
            "{}  {}, {} of each, id {}\n",
            output.strong(&topic.name),
            counted(topic.partitions.len(), "partition"),
            counted(replication_factor(topic), "replica"),
            topic.id,
        );
        for config in &self.configs {
            let value = config.value.as_deref().unwrap_or("(secret)");
            text.push_str(&format!("  {}={value}\n", config.name));
        }
        let names = [
            "  PARTITION",
            "LEADER",
            "REPLICAS",
            "IN SYNC",
            "START",
            "END",
        ];
        let mut rows = vec![heading(&names)];
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

fn joined(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}
