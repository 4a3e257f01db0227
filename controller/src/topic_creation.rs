//! Making topics: for those who ask, and for clients that use one which is not there.

use std::collections::{BTreeMap, BTreeSet};

use millstream_metadata::{
    ConfigRecord, ConfigResource, Image, PartitionRecord, Record, TopicRecord, is_internal_topic,
    is_reserved_topic_id,
};
use millstream_protocol::{ErrorCode, NodeId, PartitionIndex, TopicId};

use crate::api::{CreatedTopic, EnsuredTopic, NewTopic, NewTopicResult};
use crate::api_error::ApiError;
use crate::assignment::{self, MAX_PARTITIONS_PER_REQUEST};
use crate::configs;
use crate::decision::{Context, Draft};
use crate::entropy::Entropy;
use crate::topic_name::validate_topic_name;

/// The name of Kafka's metadata log, which is no topic.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Makes each topic whole or not at all. A name that comes twice is answered once, with an error.
pub(crate) fn create(
    draft: &mut Draft,
    topics: Vec<NewTopic>,
    context: &Context<'_>,
    entropy: &mut Entropy,
) -> Vec<NewTopicResult> {
    let mut seen = BTreeSet::new();
    let duplicates: BTreeSet<String> = topics
        .iter()
        .filter(|t| !seen.insert(&t.name))
        .map(|t| t.name.clone())
        .collect();
    let too_many = total_partitions(&topics, context) > MAX_PARTITIONS_PER_REQUEST;
    let mut answered = BTreeSet::new();
    let mut results = Vec::with_capacity(topics.len());
    for topic in topics {
        if !answered.insert(topic.name.clone()) {
            continue;
        }
        let result = if duplicates.contains(&topic.name) {
            Err(ApiError::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name.",
            ))
        } else if too_many {
            Err(assignment::too_many_partitions())
        } else {
            create_one(draft, &topic, context, entropy)
        };
        results.push(NewTopicResult {
            name: topic.name,
            result,
        });
    }
    results
}

/// Makes the topics that are not there, with the defaults or, if they are Kafka's own, as those
/// have to be.
pub(crate) fn ensure(
    draft: &mut Draft,
    names: Vec<String>,
    context: &Context<'_>,
    entropy: &mut Entropy,
) -> Vec<EnsuredTopic> {
    names
        .into_iter()
        .map(|name| {
            let existing = draft.image.topic_by_name(&name).map(|topic| topic.id);
            let result = existing.map_or_else(
                || {
                    let topic = default_topic(&draft.image, &name, context)?;
                    create_one(draft, &topic, context, entropy).map(|created| created.topic_id)
                },
                Ok,
            );
            EnsuredTopic { name, result }
        })
        .collect()
}

fn default_topic(image: &Image, name: &str, context: &Context<'_>) -> Result<NewTopic, ApiError> {
    let mut topic = NewTopic::named(name);
    if let Some(internal) = context.settings.internal_topics.get(name) {
        let live = i16::try_from(image.unfenced_brokers().count()).unwrap_or(i16::MAX);
        topic.partitions = internal.partitions;
        topic.replication_factor = internal.replication_factor.min(live).max(1);
        let configs = internal.configs.iter();
        topic.configs = configs
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .collect();
    } else if is_internal_topic(name) {
        let message = format!("Topic '{name}' is internal, and nothing here uses it.");
        return Err(ApiError::new(ErrorCode::InvalidTopicException, message));
    }
    Ok(topic)
}

fn total_partitions(topics: &[NewTopic], context: &Context<'_>) -> usize {
    let of = |topic: &NewTopic| match topic.partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len(),
        -1 => usize::try_from(context.settings.default_partitions).unwrap_or(0),
        given => usize::try_from(given).unwrap_or(0),
    };
    topics.iter().map(of).fold(0, usize::saturating_add)
}

fn create_one(
    draft: &mut Draft,
    topic: &NewTopic,
    context: &Context<'_>,
    entropy: &mut Entropy,
) -> Result<CreatedTopic, ApiError> {
    check_name(&draft.image, &topic.name)?;
    let configs = check_configs(topic, context)?;
    let replicas = replicas_of(&draft.image, topic, context, entropy)?;
    let partitions = i32::try_from(replicas.len()).expect("a request makes few partitions");
    let replication_factor = i16::try_from(replicas[0].len()).expect("a cluster has few brokers");
    let topic_id = unused_id(&draft.image, entropy);
    let mut branch = draft.branch();
    branch.add(Record::Topic(TopicRecord {
        topic_id,
        name: topic.name.clone(),
    }));
    for (key, value) in &configs {
        let resource = ConfigResource::topic(&topic.name);
        let (key, value) = (key.clone(), Some(value.clone()));
        branch.add(Record::Config(ConfigRecord {
            resource,
            key,
            value,
        }));
    }
    for (index, replicas) in (0..).map(PartitionIndex).zip(replicas) {
        let partition = assignment::first_leadership(&draft.image, replicas);
        branch.add(Record::Partition(PartitionRecord::of(
            topic_id, index, &partition,
        )));
    }
    draft.accept(branch);
    Ok(CreatedTopic {
        topic_id,
        partitions,
        replication_factor,
        configs,
    })
}

fn check_name(image: &Image, name: &str) -> Result<(), ApiError> {
    if name == METADATA_TOPIC {
        let message = format!("Creation of internal topic {name} is prohibited.");
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    let invalid = |message| ApiError::new(ErrorCode::InvalidTopicException, message);
    validate_topic_name(name).map_err(invalid)?;
    match image.colliding_topic(name) {
        None => Ok(()),
        Some(existing) if *existing.name == *name => {
            let message = format!("Topic '{name}' already exists.");
            Err(ApiError::new(ErrorCode::TopicAlreadyExists, message))
        }
        Some(existing) => Err(invalid(format!(
            "Topic '{name}' collides with existing topic: {}",
            existing.name
        ))),
    }
}

fn check_configs(
    topic: &NewTopic,
    context: &Context<'_>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut configs = BTreeMap::new();
    let mut nulls = Vec::new();
    for (key, value) in &topic.configs {
        match value {
            Some(value) => {
                configs.insert(key.clone(), value.clone());
            }
            None => nulls.push(key.as_str()),
        }
    }
    if !nulls.is_empty() {
        let message = format!(
            "Null value not supported for topic configs: {}",
            nulls.join(",")
        );
        return Err(ApiError::new(ErrorCode::InvalidConfig, message));
    }
    configs::validate(&ConfigResource::topic(&topic.name), &configs, context)?;
    Ok(configs)
}

/// The replicas of each partition: as given, or placed.
fn replicas_of(
    image: &Image,
    topic: &NewTopic,
    context: &Context<'_>,
    entropy: &mut Entropy,
) -> Result<Vec<Vec<NodeId>>, ApiError> {
    if !topic.assignments.is_empty() {
        return assigned_replicas(image, topic);
    }
    let factor_error = |message| ApiError::new(ErrorCode::InvalidReplicationFactor, message);
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(factor_error(message.to_owned()));
    }
    if topic.partitions < -1 || topic.partitions == 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(ApiError::new(ErrorCode::InvalidPartitions, message));
    }
    let settings = context.settings;
    let or_default = |given: i32, default: i32| if given == -1 { default } else { given };
    let partitions = or_default(topic.partitions, settings.default_partitions);
    let factor = or_default(
        topic.replication_factor.into(),
        settings.default_replication_factor.into(),
    );
    let as_count = |number: i32| usize::try_from(number).expect("the default is positive too");
    assignment::place(image, as_count(partitions), as_count(factor), entropy)
}

fn assigned_replicas(image: &Image, topic: &NewTopic) -> Result<Vec<Vec<NodeId>>, ApiError> {
    for (is_default, name) in [
        (topic.replication_factor == -1, "replication factor"),
        (topic.partitions == -1, "numPartitions"),
    ] {
        if !is_default {
            let message = format!(
                "A manual partition assignment was specified, but {name} was not set to -1."
            );
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
    }
    let invalid = |message| ApiError::new(ErrorCode::InvalidReplicaAssignment, message);
    let mut assigned: BTreeMap<PartitionIndex, &Vec<NodeId>> = BTreeMap::new();
    let factor = topic.assignments[0].1.len();
    for (index, replicas) in &topic.assignments {
        if assigned.insert(*index, replicas).is_some() {
            return Err(invalid(format!(
                "Found multiple manual partition assignments for partition {index}"
            )));
        }
        assignment::check(image, *index, replicas, factor)?;
    }
    if !assigned
        .keys()
        .copied()
        .eq((0..).map(PartitionIndex).take(assigned.len()))
    {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return Err(invalid(message.to_owned()));
    }
    Ok(assigned.into_values().cloned().collect())
}

fn unused_id(image: &Image, entropy: &mut Entropy) -> TopicId {
    loop {
        let id = entropy.topic_id();
        if !is_reserved_topic_id(id) && image.topic(id).is_none() {
            return id;
        }
    }
}
