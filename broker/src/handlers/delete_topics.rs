//! DeleteTopics, versions 1–6: topics and their records are gone for good.
//!
//! Version 5 has messages; version 6 takes topic ids. A topic named twice in one request is
//! INVALID_REQUEST in Kafka for both, and so it is here.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_controller::TopicRef;
use millstream_protocol::messages::delete_topics_response::DeletableTopicResult;
use millstream_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use millstream_protocol::{ErrorCode, TopicId};

use super::{RequestInfo, text};
use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let mut answers = Vec::new();
    let mut wanted = Vec::new();
    if info.version >= 6 {
        for topic in &request.topics {
            match (&topic.name, topic.topic_id.is_nil()) {
                (Some(name), true) => wanted.push(TopicRef::Name(name.as_str().to_owned())),
                (None, false) => wanted.push(TopicRef::Id(TopicId(topic.topic_id))),
                (name, _) => answers.push(
                    DeletableTopicResult::default()
                        .with_name(name.clone())
                        .with_topic_id(topic.topic_id)
                        .with_error_code(ErrorCode::InvalidRequest.code())
                        .with_error_message(Some(text("You must give either a name or an id."))),
                ),
            }
        }
    } else {
        let names = request.topic_names.iter();
        wanted.extend(names.map(|name| TopicRef::Name(name.as_str().to_owned())));
    }
    let mut times: BTreeMap<&TopicRef, usize> = BTreeMap::new();
    for topic in &wanted {
        *times.entry(topic).or_default() += 1;
    }
    let (once, repeated): (Vec<_>, Vec<_>) = times.into_iter().partition(|(_, times)| *times == 1);
    for (topic, _) in repeated {
        let message = "Duplicate topic in the request.";
        answers.push(refused(
            topic,
            ErrorCode::InvalidRequest,
            message,
            info.version,
        ));
    }
    let topics: Vec<TopicRef> = once.into_iter().map(|(topic, _)| topic.clone()).collect();
    match shard.controller().delete_topics(topics.clone()).await {
        Ok(deleted) => {
            for topic in deleted {
                answers.push(match topic.result {
                    Ok((id, name)) => {
                        shard.wait_for_removal(id).await;
                        let answer =
                            DeletableTopicResult::default().with_name(Some(TopicName(text(name))));
                        if info.version >= 6 {
                            answer.with_topic_id(id.0)
                        } else {
                            answer
                        }
                    }
                    Err(error) => refused(&topic.topic, error.code, &error.message, info.version),
                });
            }
        }
        Err(error) => answers.extend(
            topics
                .iter()
                .map(|topic| refused(topic, error.code, &error.message, info.version)),
        ),
    }
    DeleteTopicsResponse::default().with_responses(answers)
}

fn refused(
    topic: &TopicRef,
    error: ErrorCode,
    message: &str,
    version: i16,
) -> DeletableTopicResult {
    let answer = DeletableTopicResult::default().with_error_code(error.code());
    let answer = match topic {
        TopicRef::Name(name) => answer.with_name(Some(TopicName(text(name)))),
        TopicRef::Id(id) => answer.with_name(None).with_topic_id(id.0),
    };
    if version >= 5 {
        answer.with_error_message(Some(text(message)))
    } else {
        answer
    }
}
