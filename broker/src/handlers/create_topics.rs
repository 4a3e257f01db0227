//! CreateTopics, versions 2–7: each topic is made whole or not at all.
//!
//! Version 4 takes −1 for the default of partitions and replicas; version 5 answers the topic's
//! settings, version 7 its id. A topic named twice in one request is INVALID_REQUEST.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_controller::{ApiError, CreatedTopic, NewTopic};
use millstream_protocol::messages::create_topics_request::CreatableTopic;
use millstream_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use millstream_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use millstream_protocol::{ErrorCode, NodeId, PartitionIndex};

use super::deadline::{expired, time_left};
use super::topic_settings::{Setting, topic_settings};
use super::{RequestInfo, text};
use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.as_str()).or_default() += 1;
    }
    let once = request.topics.iter();
    let once = once.filter(|topic| times[topic.name.as_str()] == 1);
    let topics: Vec<NewTopic> = once.map(new_topic).collect();
    if let Some(error) = expired(request.timeout_ms).filter(|_| !topics.is_empty()) {
        let names = request.topics.iter().map(|topic| topic.name.as_str());
        let answers = names.map(|name| refused(name, &error, info.version));
        return CreateTopicsResponse::default().with_topics(answers.collect());
    }
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let mut answers = Vec::with_capacity(times.len());
    match shard
        .controller()
        .create_topics(topics, request.validate_only)
        .await
    {
        Ok(results) => {
            for made in results {
                answers.push(match made.result {
                    Ok(created) => {
                        if !request.validate_only {
                            let seen = shard.wait_for_topic(created.topic_id);
                            // It is made all the same; another node would know it later too.
                            let wait = time_left(request.timeout_ms);
                            let _ = shard.reactor().timeout(wait, seen).await;
                        }
                        accepted(shard, &made.name, &created, info.version)
                    }
                    Err(error) => refused(&made.name, &error, info.version),
                });
            }
        }
        Err(error) => {
            answers.extend(names.iter().map(|name| refused(name, &error, info.version)));
        }
    }
    let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
    let repeated = times.iter().filter(|(_, times)| **times > 1);
    answers.extend(repeated.map(|(name, _)| refused(name, &error, info.version)));
    CreateTopicsResponse::default().with_topics(answers)
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.iter().map(|assignment| {
        let replicas = assignment.broker_ids.iter().map(|id| NodeId(id.0));
        (
            PartitionIndex(assignment.partition_index),
            replicas.collect(),
        )
    });
    let configs = topic.configs.iter().map(|config| {
        let value = config.value.as_ref().map(|value| value.as_str().to_owned());
        (config.name.as_str().to_owned(), value)
    });
    NewTopic {
        name: topic.name.as_str().to_owned(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

fn accepted(
    shard: &Shard,
    name: &str,
    created: &CreatedTopic,
    version: i16,
) -> CreatableTopicResult {
    let answer = CreatableTopicResult::default()
        .with_name(TopicName(text(name)))
        .with_error_message(None);
    if version < 5 {
        return answer;
    }
    let configs = topic_settings(shard, &created.configs)
        .into_iter()
        .map(|setting| {
            let Setting {
                key, value, source, ..
            } = setting;
            CreatableTopicConfigs::default()
                .with_name(text(key.name))
                .with_value(value.map(text))
                .with_config_source(source.protocol_code())
        });
    let answer = answer
        .with_num_partitions(created.partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs.collect()));
    if version >= 7 {
        answer.with_topic_id(created.topic_id.0)
    } else {
        answer
    }
}

fn refused(name: &str, error: &ApiError, version: i16) -> CreatableTopicResult {
    let answer = CreatableTopicResult::default()
        .with_name(TopicName(text(name)))
        .with_error_code(error.code.code())
        .with_error_message(Some(text(&error.message)));
    if version < 5 {
        return answer;
    }
    answer
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}
