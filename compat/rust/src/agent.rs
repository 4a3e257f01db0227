//! What rskafka can do: produce to a partition, read from an offset, list offsets, delete records,
//! make, list and delete topics. It has no consumer groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use serde_json::{Value, json};

use crate::{Failure, record};

const VERSION: &str = "0.6.0";
const REQUEST_MS: i32 = 20_000;
const FETCH_BYTES: i32 = 10_000_000;

pub struct Agent {
    bootstrap: String,
    shared: Option<Arc<Client>>,
}

impl Agent {
    pub fn new(bootstrap: String) -> Self {
        Self {
            bootstrap,
            shared: None,
        }
    }

    pub async fn carry_out(&mut self, command: &Value) -> Result<Value, Failure> {
        match text(command, "do")? {
            "version" => Ok(json!({"version": format!("rskafka {VERSION}")})),
            "produce" => self.produce(command).await,
            "consume" => self.consume(command).await,
            "offsets" => self.offsets(command).await,
            "offset_for_time" => self.offset_for_time(command).await,
            "delete_records" => self.delete_records(command).await,
            "create_topic" => self.create_topic(command).await,
            "delete_topic" => self.delete_topic(command).await,
            "topics" => self.topics().await,
            "quit" => Ok(json!({})),
            other => Err(format!("rskafka has no {other}").into()),
        }
    }

    async fn client(&mut self) -> Result<Arc<Client>, Failure> {
        if let Some(client) = &self.shared {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(
            ClientBuilder::new(vec![self.bootstrap.clone()])
                .build()
                .await?,
        );
        self.shared = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn partition(&mut self, topic: &str, number: i32) -> Result<PartitionClient, Failure> {
        let client = self.client().await?;
        // A topic that was just made may not be known yet.
        Ok(client
            .partition_client(topic, number, UnknownTopicHandling::Retry)
            .await?)
    }

    /// rskafka is told the partition: it has no partitioner.
    async fn produce(&mut self, command: &Value) -> Result<Value, Failure> {
        let topic = text(command, "topic")?;
        let codec = match command["codec"].as_str().unwrap_or("none") {
            "none" => Compression::NoCompression,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => return Err(format!("unknown codec {other}").into()),
        };
        let largest = command["max_request"].as_u64().unwrap_or(1_000_000) as usize;
        let sent = command["records"]
            .as_array()
            .ok_or_else(|| "records are a list".to_owned())?;
        let mut by_partition: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (index, each) in sent.iter().enumerate() {
            by_partition
                .entry(number(each, "p")?)
                .or_default()
                .push(index);
        }
        let mut offsets = vec![json!(null); sent.len()];
        for (partition, indexes) in by_partition {
            let client = self.partition(topic, partition).await?;
            let mut batch = Vec::new();
            let mut placed = Vec::new();
            let mut size = 0;
            for index in &indexes {
                let made = record::from_json(&sent[*index])?;
                if !batch.is_empty() && size + made.approximate_size() > largest {
                    placed.extend(client.produce(std::mem::take(&mut batch), codec).await?);
                    size = 0;
                }
                size += made.approximate_size();
                batch.push(made);
            }
            placed.extend(client.produce(batch, codec).await?);
            for (index, offset) in indexes.into_iter().zip(placed) {
                offsets[index] = json!([partition, offset]);
            }
        }
        Ok(json!({"offsets": offsets}))
    }

    async fn consume(&mut self, command: &Value) -> Result<Value, Failure> {
        let topic = text(command, "topic")?;
        let count = number(command, "count")? as usize;
        let deadline =
            Instant::now() + Duration::from_millis(number(command, "timeout_ms")? as u64);
        let mut readers = Vec::new();
        for start in command["starts"].as_array().into_iter().flatten() {
            let (partition, offset) = (start[0].as_i64(), start[1].as_i64());
            let (Some(partition), Some(offset)) = (partition, offset) else {
                return Err(format!("a start is [partition, offset]: {start}").into());
            };
            let partition = partition as i32;
            readers.push((partition, offset, self.partition(topic, partition).await?));
        }
        let mut records = Vec::new();
        while records.len() < count && Instant::now() < deadline {
            for (partition, next, client) in &mut readers {
                let (taken, _) = client.fetch_records(*next, 1..FETCH_BYTES, 200).await?;
                if let Some(last) = taken.last() {
                    *next = last.offset + 1;
                }
                records.extend(
                    taken
                        .iter()
                        .map(|each| record::to_json(topic, *partition, each)),
                );
            }
        }
        records.truncate(count);
        Ok(json!({"records": records}))
    }

    async fn offsets(&mut self, command: &Value) -> Result<Value, Failure> {
        let topic = text(command, "topic")?;
        let mut found = Vec::new();
        for partition in 0..number(command, "partitions")? {
            let client = self.partition(topic, partition).await?;
            let earliest = client.get_offset(OffsetAt::Earliest).await?;
            found.push([earliest, client.get_offset(OffsetAt::Latest).await?]);
        }
        Ok(json!({"offsets": found}))
    }

    async fn offset_for_time(&mut self, command: &Value) -> Result<Value, Failure> {
        let t = command["t"]
            .as_i64()
            .ok_or_else(|| "t is a number".to_owned())?;
        let at = DateTime::<Utc>::from_timestamp_millis(t)
            .ok_or_else(|| "a time out of bounds".to_owned())?;
        let client = self
            .partition(text(command, "topic")?, number(command, "partition")?)
            .await?;
        Ok(json!({"offset": client.get_offset(OffsetAt::Timestamp(at)).await?}))
    }

    async fn delete_records(&mut self, command: &Value) -> Result<Value, Failure> {
        let client = self
            .partition(text(command, "topic")?, number(command, "partition")?)
            .await?;
        let before = command["before"]
            .as_i64()
            .ok_or_else(|| "before is a number".to_owned())?;
        client.delete_records(before, REQUEST_MS).await?;
        Ok(json!({}))
    }

    async fn create_topic(&mut self, command: &Value) -> Result<Value, Failure> {
        let partitions = number(command, "partitions")?;
        let controller = self.client().await?.controller_client()?;
        controller
            .create_topic(text(command, "topic")?, partitions, 1, REQUEST_MS)
            .await?;
        Ok(json!({}))
    }

    async fn delete_topic(&mut self, command: &Value) -> Result<Value, Failure> {
        let controller = self.client().await?.controller_client()?;
        controller
            .delete_topic(text(command, "topic")?, REQUEST_MS)
            .await?;
        Ok(json!({}))
    }

    async fn topics(&mut self) -> Result<Value, Failure> {
        let listed = self.client().await?.list_topics().await?;
        let topics: BTreeMap<String, usize> = listed
            .into_iter()
            .map(|topic| (topic.name, topic.partitions.len()))
            .collect();
        Ok(json!({"topics": topics}))
    }
}

fn text<'a>(command: &'a Value, field: &str) -> Result<&'a str, Failure> {
    command[field]
        .as_str()
        .ok_or_else(|| Failure::Command(format!("{field} is a text: {command}")))
}

fn number(command: &Value, field: &str) -> Result<i32, Failure> {
    command[field]
        .as_i64()
        .and_then(|value| i32::try_from(value).ok())
        .ok_or_else(|| Failure::Command(format!("{field} is a number")))
}
