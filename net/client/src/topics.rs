//! Administrative calls for topics: made, listed, made larger, emptied, deleted.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use millstream_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use millstream_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use millstream_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use millstream_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use crate::client::{Client, Purpose, topic_name};
use crate::error::{ClientError, Result};
use crate::metadata::TopicMetadata;
use crate::offsets::NamedPartition;

/// How long the broker itself may take over a change.
const ADMIN_TIMEOUT_MS: i32 = 30_000;

/// A topic to be made.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; the broker's default if not given.
    pub partitions: Option<i32>,
    /// How many replicas; the broker's default if not given.
    pub replication_factor: Option<i16>,
    /// Its configuration where it differs from the broker's.
    pub configs: Vec<(String, String)>,
}

/// A topic that was made.
#[derive(Debug, Clone)]
pub struct CreatedTopic {
    /// Its id; nil from a broker that says nothing.
    pub id: Uuid,
    /// How many partitions, if the broker says so.
    pub partitions: Option<i32>,
    /// How many replicas, if the broker says so.
    pub replication_factor: Option<i16>,
}

impl Client {
    /// Creates a topic; with `validate_only` it only checks whether it could.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic> {
        let configs = topic
            .configs
            .iter()
            .map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_string(name.clone()))
                    .with_value(Some(StrBytes::from_string(value.clone())))
            })
            .collect();
        let creatable = CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions.unwrap_or(-1))
            .with_replication_factor(topic.replication_factor.unwrap_or(-1))
            .with_configs(configs);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(ADMIN_TIMEOUT_MS)
            .with_validate_only(validate_only);
        let what = || format!("creating topic {}", topic.name);
        let created = self
            .retry(async || {
                let response = self.controller().await?.call(&request).await?;
                let created = response.topics.into_iter().next();
                let created = created.ok_or_else(|| ClientError::unanswered(&what()))?;
                ClientError::check(what, created.error_code, created.error_message.as_deref())?;
                Ok(created)
            })
            .await?;
        Ok(CreatedTopic {
            id: created.topic_id,
            partitions: (created.num_partitions > 0).then_some(created.num_partitions),
            replication_factor: (created.replication_factor > 0)
                .then_some(created.replication_factor),
        })
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let what = || format!("deleting topic {name}");
        self.retry(async || {
            let connection = self.controller().await?;
            let version = connection.version::<DeleteTopicsRequest>()?;
            let request = DeleteTopicsRequest::default().with_timeout_ms(ADMIN_TIMEOUT_MS);
            let request = match version {
                0..=5 => request.with_topic_names(vec![topic_name(name)]),
                _ => request.with_topics(vec![
                    DeleteTopicState::default().with_name(Some(topic_name(name))),
                ]),
            };
            let timeout = connection.request_timeout();
            let response = connection.call_version(&request, version, timeout).await?;
            let deleted = response.responses.into_iter().next();
            let deleted = deleted.ok_or_else(|| ClientError::unanswered(&what()))?;
            match ErrorCode::try_from_code(deleted.error_code) {
                // Retriable by the book, but nobody deletes what is not there.
                Some(code @ ErrorCode::UnknownTopicOrPartition) => Ok(Err(ClientError::Broker {
                    what: what().into(),
                    code,
                    message: deleted.error_message.as_deref().map(Rc::from),
                })),
                _ => ClientError::check(what, deleted.error_code, deleted.error_message.as_deref())
                    .map(Ok),
            }
        })
        .await??;
        self.forget(name);
        Ok(())
    }

    /// All topics.
    pub async fn list_topics(&self) -> Result<Vec<TopicMetadata>> {
        let metadata = self.retry(async || self.refresh(None, false).await).await?;
        Ok(metadata.topics.into_values().collect())
    }

    /// Gives a topic so many partitions in all; with `validate_only` it only checks whether it
    /// could.
    pub async fn create_partitions(
        &self,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<()> {
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![
                CreatePartitionsTopic::default()
                    .with_name(topic_name(name))
                    .with_count(count)
                    .with_assignments(None),
            ])
            .with_timeout_ms(ADMIN_TIMEOUT_MS)
            .with_validate_only(validate_only);
        let what = || format!("giving topic {name} {count} partitions");
        let done = self
            .retry(async || {
                let response = self.controller().await?.call(&request).await?;
                let result = response.results.into_iter().next();
                let result = result.ok_or_else(|| ClientError::unanswered(&what()))?;
                let message = result.error_message.as_deref();
                final_unless_transient(ClientError::check(what, result.error_code, message))
            })
            .await?;
        self.forget(name);
        done
    }

    /// Deletes the records before an offset of each partition; −1 stands for its high watermark.
    /// The answer has the first offset that each partition keeps.
    pub async fn delete_records(
        &self,
        before: &BTreeMap<NamedPartition, i64>,
    ) -> Result<BTreeMap<NamedPartition, i64>> {
        self.retry(async || {
            let answer = self.try_delete_records(before).await;
            if answer.as_ref().is_err_and(ClientError::is_retriable) {
                for (topic, _) in before.keys() {
                    self.forget(topic);
                }
            }
            answer
        })
        .await
    }

    async fn try_delete_records(
        &self,
        before: &BTreeMap<NamedPartition, i64>,
    ) -> Result<BTreeMap<NamedPartition, i64>> {
        let mut by_leader: BTreeMap<i32, BTreeMap<&Rc<str>, Vec<DeleteRecordsPartition>>> =
            BTreeMap::new();
        for ((topic, partition), offset) in before {
            let leader = self.leader(topic, *partition).await?;
            let asked = DeleteRecordsPartition::default()
                .with_partition_index(*partition)
                .with_offset(*offset);
            let topics = by_leader.entry(leader).or_default();
            topics.entry(topic).or_default().push(asked);
        }
        let mut kept = BTreeMap::new();
        for (leader, topics) in by_leader {
            let topics = topics.into_iter().map(|(name, partitions)| {
                DeleteRecordsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(partitions)
            });
            let request = DeleteRecordsRequest::default()
                .with_topics(topics.collect())
                .with_timeout_ms(ADMIN_TIMEOUT_MS);
            let connection = self.broker(leader, Purpose::Control).await?;
            for topic in connection.call(&request).await?.topics {
                let name: Rc<str> = topic.name.0.as_str().into();
                for partition in topic.partitions {
                    let index = partition.partition_index;
                    let what = || format!("deleting records of {name}-{index}");
                    ClientError::check(what, partition.error_code, None)?;
                    kept.insert((name.clone(), index), partition.low_watermark);
                }
            }
        }
        Ok(kept)
    }
}

/// That nobody changes what is not there is final, though retriable by the book.
fn final_unless_transient<T>(result: Result<T>) -> Result<Result<T>> {
    match result {
        Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}
