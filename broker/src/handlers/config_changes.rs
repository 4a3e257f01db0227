//! Changes to settings: what this node checks itself, and the way to the controller, for both APIs
//! that make them. Levels of loggers are changed here and now, by one of the APIs.

use std::collections::BTreeMap;

use millstream_controller::{AlterConfigsResource, ApiError, ConfigAlteration};
use millstream_metadata::{ConfigResource, ResourceType};
use millstream_protocol::{ErrorCode, StrBytes};

use super::loggers;
use crate::config::{Status, broker_key, is_dynamic};
use crate::shard::Shard;

/// The loggers of one broker, by Kafka's numbers.
pub(super) const BROKER_LOGGER: i8 = 8;

/// What a client asks of one resource.
pub(super) struct Change {
    /// The kind of resource, by Kafka's numbers.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: StrBytes,
    /// The changes, in the order given.
    pub alterations: Result<Vec<(String, ConfigAlteration)>, ApiError>,
    /// Whether settings that are not named go back to their defaults.
    pub replaces: bool,
}

/// What became of a change.
pub(super) struct Changed {
    /// The kind of resource, by Kafka's numbers.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: StrBytes,
    /// Whether it was made.
    pub result: Result<(), ApiError>,
}

impl Changed {
    /// The code of the error, 0 for none.
    pub fn error_code(&self) -> i16 {
        self.result
            .as_ref()
            .err()
            .map_or(0, |error| error.code.code())
    }

    /// What is wrong.
    pub fn error_message(&self) -> Option<StrBytes> {
        let error = self.result.as_ref().err()?;
        Some(StrBytes::from_string(error.message.clone()))
    }
}

/// Makes the changes, each resource whole or not at all; answers in the order asked.
pub(super) async fn make(shard: &Shard, changes: Vec<Change>, validate_only: bool) -> Vec<Changed> {
    let mut times: BTreeMap<(i8, StrBytes), usize> = BTreeMap::new();
    for change in &changes {
        *times.entry(key(change)).or_default() += 1;
    }
    let mut answers = Vec::with_capacity(changes.len());
    let mut accepted = Vec::new();
    for change in changes {
        let (resource_type, resource_name) = key(&change);
        let checked = if times[&(resource_type, resource_name.clone())] > 1 {
            Err(invalid_request("Each resource must appear at most once."))
        } else {
            check(shard, change, validate_only)
        };
        let result = checked.map(|resource| {
            accepted.extend(resource.map(|resource| (answers.len(), resource)));
        });
        answers.push(Changed {
            resource_type,
            resource_name,
            result,
        });
    }
    let (places, resources): (Vec<_>, Vec<_>) = accepted.into_iter().unzip();
    let made = shard
        .controller()
        .alter_configs(resources, validate_only)
        .await;
    match made {
        Ok(made) => {
            for (place, made) in places.into_iter().zip(made) {
                answers[place].result = made.result;
            }
        }
        Err(error) => {
            for place in places {
                answers[place].result = Err(error.clone());
            }
        }
    }
    answers
}

fn key(change: &Change) -> (i8, StrBytes) {
    (change.resource_type, change.resource_name.clone())
}

/// What the controller is to be asked; nothing for loggers, which are seen to here.
fn check(
    shard: &Shard,
    change: Change,
    validate_only: bool,
) -> Result<Option<AlterConfigsResource>, ApiError> {
    let alterations = change.alterations?;
    let name = change.resource_name.as_str();
    // Kafka's AlterConfigs knows no loggers: it would reset those that it does not name.
    if change.resource_type == BROKER_LOGGER && !change.replaces {
        return loggers::change(shard, name, &alterations, validate_only).map(|()| None);
    }
    let Some(resource_type) = ResourceType::from_code(change.resource_type) else {
        let message = format!("Unknown resource type {}", change.resource_type);
        return Err(invalid_request(message));
    };
    if resource_type == ResourceType::Broker {
        check_broker(shard, name, &alterations)?;
    }
    Ok(Some(AlterConfigsResource {
        resource: ConfigResource::new(resource_type, name),
        alterations,
        replaces: change.replaces,
    }))
}

/// The settings of brokers are checked by the broker that is asked: it knows which can change
/// while it runs.
fn check_broker(
    shard: &Shard,
    name: &str,
    alterations: &[(String, ConfigAlteration)],
) -> Result<(), ApiError> {
    if !name.is_empty() {
        let id: i32 = name.parse().map_err(|_| {
            invalid_request(format!("Node id must be an integer, but it is: {name}"))
        })?;
        let node_id = shard.node_id();
        if id != node_id.0 {
            let message = format!("Unexpected broker id, expected {node_id}, but received {name}");
            return Err(invalid_request(message));
        }
    }
    let given: Vec<(&str, &str)> = alterations
        .iter()
        .filter_map(|(key, alteration)| match alteration {
            ConfigAlteration::Set(value)
            | ConfigAlteration::Append(value)
            | ConfigAlteration::Subtract(value) => Some((key.as_str(), value.as_deref()?)),
            ConfigAlteration::Delete => None,
        })
        .collect();
    let fixed: Vec<&str> = given
        .iter()
        .map(|(key, _)| *key)
        .filter(|key| broker_key(key).is_some() && !is_dynamic(key))
        .collect();
    if !fixed.is_empty() {
        return Err(invalid_request(format!(
            "Cannot update these configs dynamically: [{}]",
            fixed.join(", ")
        )));
    }
    for (name, value) in given {
        // Kafka takes keys that it does not know, for plugins.
        let Some(key) = broker_key(name) else {
            continue;
        };
        key.kind.check(name, value).map_err(invalid_request)?;
        if key.status == Status::Refused && key.default != Some(value) {
            let message = format!("{name} cannot be set to {value}: {}", key.text);
            return Err(invalid_request(message));
        }
    }
    Ok(())
}

fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}
