//! Adding partitions to topics.

use millstream_metadata::{PartitionRecord, Record};
use millstream_protocol::{ErrorCode, NodeId, PartitionIndex, TopicId};

use crate::api::{MorePartitions, MorePartitionsResult};
use crate::api_error::ApiError;
use crate::assignment::{self, MAX_PARTITIONS_PER_REQUEST};
use crate::decision::Draft;
use crate::entropy::Entropy;

/// Gives each topic the partitions asked for, or none.
pub(crate) fn create(
    draft: &mut Draft,
    topics: Vec<MorePartitions>,
    entropy: &mut Entropy,
) -> Vec<MorePartitionsResult> {
    let mut left = MAX_PARTITIONS_PER_REQUEST;
    let mut results = Vec::with_capacity(topics.len());
    for topic in topics {
        let result = create_in(draft, &topic, &mut left, entropy);
        results.push(MorePartitionsResult {
            name: topic.name,
            result,
        });
    }
    results
}

fn create_in(
    draft: &mut Draft,
    asked: &MorePartitions,
    left: &mut usize,
    entropy: &mut Entropy,
) -> Result<TopicId, ApiError> {
    let Some(topic) = draft.image.topic_by_name(&asked.name) else {
        let message = "This server does not host this topic-partition.";
        return Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, message));
    };
    let (topic_id, present) = (topic.id, topic.partitions.len());
    let factor = topic.partitions[0].replicas.len();
    let added = added_to(present, asked)?;
    *left = left
        .checked_sub(added)
        .ok_or_else(assignment::too_many_partitions)?;
    let first = i32::try_from(present).expect("partitions are counted in i32");
    let indexes = || (first..).map(PartitionIndex);
    let replicas: Vec<Vec<NodeId>> = match &asked.assignments {
        None => assignment::place(&draft.image, added, factor, entropy)?,
        Some(given) => {
            for (index, replicas) in indexes().zip(given) {
                assignment::check(&draft.image, index, replicas, factor)?;
            }
            given.clone()
        }
    };
    for (index, replicas) in indexes().zip(replicas) {
        let partition = assignment::first_leadership(&draft.image, replicas);
        draft.add(Record::Partition(PartitionRecord::of(
            topic_id, index, &partition,
        )));
    }
    Ok(topic_id)
}

/// How many partitions are to be added.
fn added_to(present: usize, asked: &MorePartitions) -> Result<usize, ApiError> {
    let wanted = usize::try_from(asked.count).unwrap_or(0);
    let invalid = |message| ApiError::new(ErrorCode::InvalidPartitions, message);
    if wanted == present {
        return Err(invalid(format!(
            "Topic already has {present} partition(s)."
        )));
    }
    let Some(added) = wanted.checked_sub(present) else {
        return Err(invalid(format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            asked.name, asked.count
        )));
    };
    match &asked.assignments {
        Some(given) if given.len() != added => {
            let message = format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were \
                 specified.",
                given.len()
            );
            Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message))
        }
        _ => Ok(added),
    }
}
