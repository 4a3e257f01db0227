//! DeleteTopics, versions 1–6: topics and their records are gone for good.
//!
//! Version 5 has messages; version 6 takes topic ids. A topic named twice in one request, be it by
//! name and by id, is INVALID_REQUEST and stays. When deleting is switched off, versions before 3
//! are told INVALID_REQUEST, since their clients do not know the code for that.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_controller::{ApiError, DeletedTopic, TopicRef};
use millstream_protocol::messages::delete_topics_response::DeletableTopicResult;
use millstream_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use millstream_protocol::{ErrorCode, TopicId};

use super::deadline::{expired, time_left};
use super::{RequestInfo, text};
use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    info: RequestInfo,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    if !shard.config().delete_topic_enable {
        return all_refused(&request, info.version, disabled_code(info.version));
    }
    let Asked {
        topics,
        mut answers,
    } = asked(&request, info.version);
    if expired(request.timeout_ms).is_some() && !topics.is_empty() {
        return all_refused(&request, info.version, ErrorCode::RequestTimedOut);
    }
    match shard.controller().delete_topics(topics.clone()).await {
        Ok(deleted) => {
            for topic in deleted {
                if let (Ok(()), Some(id)) = (&topic.result, topic.id) {
                    let gone = shard.wait_for_removal(id);
                    // It is deleted all the same.
                    let wait = time_left(request.timeout_ms);
                    let _ = shard.reactor().timeout(wait, gone).await;
                }
                answers.push(answer(topic, info.version));
            }
        }
        Err(error) => answers.extend(
            topics
                .into_iter()
                .map(|topic| refused(topic, error.clone(), info.version)),
        ),
    }
    DeleteTopicsResponse::default().with_responses(answers)
}

/// A request taken apart.
struct Asked {
    /// What the controller is asked.
    topics: Vec<TopicRef>,
    /// Answers to what makes no sense.
    answers: Vec<DeletableTopicResult>,
}

fn asked(request: &DeleteTopicsRequest, version: i16) -> Asked {
    let mut answers = Vec::new();
    let mut times: BTreeMap<TopicRef, usize> = BTreeMap::new();
    for (name, id) in named(request, version) {
        let topic = match (name, id.0.is_nil()) {
            (Some(name), true) => TopicRef::Name(name.as_str().to_owned()),
            (None, false) => TopicRef::Id(id),
            (name, nil) => {
                let message = match nil {
                    true => "Neither topic name nor id were specified.",
                    false => "You may not specify both topic name and topic id.",
                };
                let answer = DeletedTopic {
                    id: Some(id),
                    name: name.map(|name| name.as_str().to_owned()),
                    result: Err(ApiError::new(ErrorCode::InvalidRequest, message)),
                };
                answers.push(self::answer(answer, version));
                continue;
            }
        };
        *times.entry(topic).or_default() += 1;
    }
    let mut topics = Vec::new();
    for (topic, times) in times {
        let message = match &topic {
            _ if times == 1 => {
                topics.push(topic);
                continue;
            }
            TopicRef::Name(_) => "Duplicate topic name.",
            TopicRef::Id(_) => "Duplicate topic id.",
        };
        let error = ApiError::new(ErrorCode::InvalidRequest, message);
        answers.push(refused(topic, error, version));
    }
    Asked { topics, answers }
}

/// The topics as the request has them, of which version 6 has names, ids, both or neither.
fn named(
    request: &DeleteTopicsRequest,
    version: i16,
) -> impl Iterator<Item = (Option<TopicName>, TopicId)> {
    let (old, new) = match version {
        ..6 => (request.topic_names.as_slice(), [].as_slice()),
        _ => ([].as_slice(), request.topics.as_slice()),
    };
    let old = old
        .iter()
        .map(|name| (Some(name.clone()), TopicId::default()));
    let new = new
        .iter()
        .map(|topic| (topic.name.clone(), TopicId(topic.topic_id)));
    old.chain(new)
}

fn disabled_code(version: i16) -> ErrorCode {
    match version {
        ..3 => ErrorCode::InvalidRequest,
        _ => ErrorCode::TopicDeletionDisabled,
    }
}

fn all_refused(
    request: &DeleteTopicsRequest,
    version: i16,
    error: ErrorCode,
) -> DeleteTopicsResponse {
    let answers = named(request, version).map(|(name, id)| {
        let answer = DeletableTopicResult::default()
            .with_name(name)
            .with_error_code(error.code());
        match version {
            ..6 => answer,
            _ => answer.with_topic_id(id.0),
        }
    });
    DeleteTopicsResponse::default().with_responses(answers.collect())
}

fn refused(topic: TopicRef, error: ApiError, version: i16) -> DeletableTopicResult {
    let (id, name) = match topic {
        TopicRef::Name(name) => (None, Some(name)),
        TopicRef::Id(id) => (Some(id), None),
    };
    let result = Err(error);
    answer(DeletedTopic { id, name, result }, version)
}

fn answer(topic: DeletedTopic, version: i16) -> DeletableTopicResult {
    let answer =
        DeletableTopicResult::default().with_name(topic.name.map(|name| TopicName(text(name))));
    let answer = match topic.id {
        Some(id) if version >= 6 => answer.with_topic_id(id.0),
        _ => answer,
    };
    match topic.result {
        Ok(()) => answer,
        Err(error) if version >= 5 => answer
            .with_error_code(error.code.code())
            .with_error_message(Some(text(error.message))),
        Err(error) => answer.with_error_code(error.code.code()),
    }
}
