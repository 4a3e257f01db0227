//! Deleting topics, by name or by id.

use std::collections::{BTreeMap, BTreeSet};

use millstream_metadata::{Record, RemoveTopicRecord};
use millstream_protocol::{ErrorCode, TopicId};

use crate::api::{DeletedTopic, TopicRef};
use crate::api_error::ApiError;
use crate::decision::{Context, Draft};

/// Deletes each topic that is there and asked for once, be it by name or by id.
pub(crate) fn delete(
    draft: &mut Draft,
    topics: Vec<TopicRef>,
    context: &Context<'_>,
) -> Vec<DeletedTopic> {
    let mut asked: BTreeMap<TopicRef, usize> = BTreeMap::new();
    for topic in &topics {
        *asked.entry(topic.clone()).or_default() += 1;
    }
    let twice = asked_both_ways(draft, &asked);
    let mut results = Vec::with_capacity(asked.len());
    for topic in topics {
        let Some(times) = asked.remove(&topic) else {
            continue;
        };
        let result = if !context.settings.delete_topic_enable {
            Err(ApiError::new(
                ErrorCode::TopicDeletionDisabled,
                "Topic deletion is disabled.",
            ))
        } else {
            match &topic {
                TopicRef::Id(id) if times == 1 && twice.contains(id) => continue,
                _ => delete_one(draft, &topic, times, &twice),
            }
        };
        results.push(match result {
            Ok((id, name)) => DeletedTopic {
                id: Some(id),
                name: Some(name),
                result: Ok(()),
            },
            Err(error) => refused(draft, topic, &twice, error),
        });
    }
    results
}

/// Topics that are asked for by their name and by their id: nobody can tell which was meant to be
/// the last word, so neither is carried out, and the answer is in the name's place.
fn asked_both_ways(draft: &Draft, asked: &BTreeMap<TopicRef, usize>) -> BTreeSet<TopicId> {
    let by_name = asked.keys().filter_map(|topic| match topic {
        TopicRef::Name(name) => draft.image.topic_by_name(name).map(|topic| topic.id),
        TopicRef::Id(_) => None,
    });
    by_name
        .filter(|id| asked.contains_key(&TopicRef::Id(*id)))
        .collect()
}

fn delete_one(
    draft: &mut Draft,
    topic: &TopicRef,
    times: usize,
    twice: &BTreeSet<TopicId>,
) -> Result<(TopicId, String), ApiError> {
    let invalid = |message: &str| ApiError::new(ErrorCode::InvalidRequest, message);
    let found = match topic {
        TopicRef::Name(_) if times > 1 => return Err(invalid("Duplicate topic name.")),
        TopicRef::Id(_) if times > 1 => return Err(invalid("Duplicate topic id.")),
        TopicRef::Name(name) => {
            let found = draft.image.topic_by_name(name).ok_or_else(|| {
                let message = "This server does not host this topic-partition.";
                ApiError::new(ErrorCode::UnknownTopicOrPartition, message)
            })?;
            if twice.contains(&found.id) {
                let message = "The provided topic name maps to an ID that was already supplied.";
                return Err(invalid(message));
            }
            found
        }
        TopicRef::Id(id) if id.0.is_nil() => {
            return Err(invalid("Neither topic name nor id were specified."));
        }
        TopicRef::Id(id) => draft.image.topic(*id).ok_or_else(|| {
            let message = "This server does not host this topic ID.";
            ApiError::new(ErrorCode::UnknownTopicId, message)
        })?,
    };
    let (topic_id, name) = (found.id, found.name.to_string());
    draft.add(Record::RemoveTopic(RemoveTopicRecord { topic_id }));
    Ok((topic_id, name))
}

fn refused(
    draft: &Draft,
    topic: TopicRef,
    twice: &BTreeSet<TopicId>,
    error: ApiError,
) -> DeletedTopic {
    let (id, name) = match topic {
        TopicRef::Id(id) => (Some(id), None),
        TopicRef::Name(name) => {
            let known = draft.image.topic_by_name(&name).map(|topic| topic.id);
            (known.filter(|id| twice.contains(id)), Some(name))
        }
    };
    DeletedTopic {
        id,
        name,
        result: Err(error),
    }
}
