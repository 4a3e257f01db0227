//! CreatePartitions, versions 0–3: each topic gets the partitions asked for, or none.
//!
//! A topic named twice in one request is INVALID_REQUEST. Clients that ask after the answer see the
//! new partitions, whichever shard they ask. Version 3 may be throttled (KIP-599), of which there
//! is nothing here yet.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_controller::{ApiError, MorePartitions};
use millstream_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use millstream_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use millstream_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};
use millstream_protocol::{ErrorCode, NodeId};

use super::deadline::{expired, time_left};
use super::text;
use crate::shard::Shard;

pub(super) async fn handle(
    shard: &Rc<Shard>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut times: BTreeMap<&TopicName, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let once = request
        .topics
        .iter()
        .filter(|topic| times[&topic.name] == 1);
    let asked: Vec<MorePartitions> = once.map(more_partitions).collect();
    if let Some(error) = expired(request.timeout_ms).filter(|_| !asked.is_empty()) {
        let names = request.topics.iter().map(|topic| topic.name.as_str());
        let results = names.map(|name| result(name, Err(&error)));
        return CreatePartitionsResponse::default().with_results(results.collect());
    }
    let twice = times.iter().filter(|(_, times)| **times > 1);
    let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
    let mut results: Vec<_> = twice
        .map(|(name, _)| result(name.as_str(), Err(&error)))
        .collect();
    let counts: Vec<(String, i32)> = asked
        .iter()
        .map(|topic| (topic.name.clone(), topic.count))
        .collect();
    let made = shard
        .controller()
        .create_partitions(asked, request.validate_only)
        .await;
    match made {
        Ok(made) => {
            for (topic, (_, count)) in made.iter().zip(counts) {
                if let (Ok(id), Ok(count), false) =
                    (&topic.result, usize::try_from(count), request.validate_only)
                {
                    let seen = shard.wait_for_partitions(*id, count);
                    // They are made all the same; another node would know of them later too.
                    let wait = time_left(request.timeout_ms);
                    let _ = shard.reactor().timeout(wait, seen).await;
                }
                results.push(result(&topic.name, topic.result.as_ref().map(drop)));
            }
        }
        Err(error) => {
            let names = counts.iter().map(|(name, _)| name);
            results.extend(names.map(|name| result(name, Err(&error))));
        }
    }
    CreatePartitionsResponse::default().with_results(results)
}

fn more_partitions(topic: &CreatePartitionsTopic) -> MorePartitions {
    let replicas = |ids: &[millstream_protocol::messages::BrokerId]| {
        ids.iter().map(|id| NodeId(id.0)).collect()
    };
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let each = assignments.iter();
        each.map(|assignment| replicas(&assignment.broker_ids))
            .collect()
    });
    MorePartitions {
        name: topic.name.as_str().to_owned(),
        count: topic.count,
        assignments,
    }
}

fn result(name: &str, result: Result<(), &ApiError>) -> CreatePartitionsTopicResult {
    let answer = CreatePartitionsTopicResult::default().with_name(TopicName(text(name)));
    match result {
        Ok(()) => answer,
        Err(error) => answer
            .with_error_code(error.code.code())
            .with_error_message(Some(text(&error.message))),
    }
}
