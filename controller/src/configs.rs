//! Changing the settings of topics, brokers, groups and subscriptions to clients' metrics.

use std::collections::{BTreeMap, BTreeSet};

use millstream_metadata::{ConfigRecord, ConfigResource, Image, Record, ResourceType};
use millstream_protocol::{ErrorCode, NodeId};

use crate::api::{AlterConfigsResource, AlterConfigsResult, ConfigAlteration};
use crate::api_error::ApiError;
use crate::decision::{Context, Draft};
use crate::topic_name::validate_topic_name;

/// The longest value.
const MAX_VALUE_LEN: usize = i16::MAX as usize;

/// Changes each resource whole or not at all.
pub(crate) fn alter(
    draft: &mut Draft,
    resources: Vec<AlterConfigsResource>,
    context: &Context<'_>,
) -> Vec<AlterConfigsResult> {
    let mut seen = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    for resource in &resources {
        if !seen.insert(resource.resource.clone()) {
            duplicates.insert(resource.resource.clone());
        }
    }
    let mut results = Vec::with_capacity(resources.len());
    for AlterConfigsResource {
        resource,
        mut alterations,
        replaces,
    } in resources
    {
        if replaces {
            let current = draft.image.configs(&resource).into_iter().flatten();
            let gone =
                current.filter(|(key, _)| !alterations.iter().any(|(named, _)| named == *key));
            let gone: Vec<_> = gone
                .map(|(key, _)| (key.clone(), ConfigAlteration::Delete))
                .collect();
            alterations.extend(gone);
        }
        let result = if duplicates.contains(&resource) {
            Err(invalid_request("Each resource must appear at most once."))
        } else {
            alter_one(draft, &resource, alterations, context)
        };
        results.push(AlterConfigsResult { resource, result });
    }
    results
}

/// Whether a resource may have these settings.
pub(crate) fn validate(
    resource: &ConfigResource,
    configs: &BTreeMap<String, String>,
    context: &Context<'_>,
) -> Result<(), ApiError> {
    if configs.values().any(|value| value.len() > MAX_VALUE_LEN) {
        return Err(invalid_config(format!(
            "The configuration value cannot be added because it exceeds the maximum value size \
             of {MAX_VALUE_LEN} bytes."
        )));
    }
    context.rules.validate(resource, configs)
}

fn alter_one(
    draft: &mut Draft,
    resource: &ConfigResource,
    alterations: Vec<(String, ConfigAlteration)>,
    context: &Context<'_>,
) -> Result<(), ApiError> {
    let current = draft.image.configs(resource).cloned().unwrap_or_default();
    let mut altered = current.clone();
    for (key, alteration) in &check_shape(&alterations)? {
        let value = alter_value(
            resource.resource_type,
            key,
            current.get(*key),
            alteration,
            context,
        )?;
        match value {
            Some(value) => altered.insert((*key).to_owned(), value),
            None => altered.remove(*key),
        };
    }
    check_name(resource)?;
    validate(resource, &altered, context)?;
    check_existence(&draft.image, resource)?;
    for (key, _) in alterations {
        let value = altered.get(&key);
        // A broker reloads even what is set to the value it has, such as the path of a key store
        // whose content is another one now.
        if value != current.get(&key) || resource.resource_type == ResourceType::Broker {
            let (resource, value) = (resource.clone(), value.cloned());
            draft.add(Record::Config(ConfigRecord {
                resource,
                key,
                value,
            }));
        }
    }
    Ok(())
}

/// An alteration with the value it needs.
enum Checked<'a> {
    Set(&'a str),
    Delete,
    Append(&'a str),
    Subtract(&'a str),
}

fn check_shape(
    alterations: &[(String, ConfigAlteration)],
) -> Result<Vec<(&str, Checked<'_>)>, ApiError> {
    let mut keys = BTreeSet::new();
    if !alterations.iter().all(|(key, _)| keys.insert(key)) {
        return Err(invalid_request("Error due to duplicate config keys"));
    }
    let mut nulls = Vec::new();
    let mut checked = Vec::with_capacity(alterations.len());
    for (key, alteration) in alterations {
        let value = match alteration {
            ConfigAlteration::Set(Some(value)) => Checked::Set(value),
            ConfigAlteration::Append(Some(value)) => Checked::Append(value),
            ConfigAlteration::Subtract(Some(value)) => Checked::Subtract(value),
            ConfigAlteration::Delete => Checked::Delete,
            ConfigAlteration::Set(None)
            | ConfigAlteration::Append(None)
            | ConfigAlteration::Subtract(None) => {
                nulls.push(key.as_str());
                continue;
            }
        };
        checked.push((key.as_str(), value));
    }
    if nulls.is_empty() {
        Ok(checked)
    } else {
        Err(invalid_request(&format!(
            "Null value not supported for : {}",
            nulls.join(", ")
        )))
    }
}

fn alter_value(
    resource_type: ResourceType,
    key: &str,
    current: Option<&String>,
    alteration: &Checked<'_>,
    context: &Context<'_>,
) -> Result<Option<String>, ApiError> {
    let list = |operation: &str| {
        if !context.rules.is_list(resource_type, key) {
            let message = format!("Can't {operation} to key {key} because its type is not LIST.");
            return Err(invalid_config(message));
        }
        let value = current
            .cloned()
            .or_else(|| context.rules.default_value(resource_type, key));
        let value = value.unwrap_or_default();
        Ok(value
            .split(',')
            .filter(|e| !e.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>())
    };
    match alteration {
        Checked::Set(value) => Ok(Some((*value).to_owned())),
        Checked::Delete => Ok(None),
        Checked::Append(value) => {
            let mut entries = list("APPEND")?;
            for entry in value.split(',').filter(|entry| !entry.is_empty()) {
                if !entries.iter().any(|existing| existing == entry) {
                    entries.push(entry.to_owned());
                }
            }
            Ok(Some(entries.join(",")))
        }
        Checked::Subtract(value) => {
            let mut entries = list("SUBTRACT")?;
            for entry in value.split(',') {
                if let Some(position) = entries.iter().position(|existing| existing == entry) {
                    entries.remove(position);
                }
            }
            Ok(Some(entries.join(",")))
        }
    }
}

fn check_name(resource: &ConfigResource) -> Result<(), ApiError> {
    let name = resource.name.as_str();
    match resource.resource_type {
        ResourceType::Topic if name.is_empty() => {
            Err(invalid_request("Default topic resources are not allowed."))
        }
        ResourceType::Topic => validate_topic_name(name)
            .map_err(|message| ApiError::new(ErrorCode::InvalidTopicException, message)),
        ResourceType::Broker if name.is_empty() => Ok(()),
        ResourceType::Broker => match name.parse::<i32>() {
            Ok(id) if id >= 0 => Ok(()),
            Ok(_) => Err(invalid_request("Invalid negative broker ID.")),
            Err(_) => Err(invalid_request(
                "Unable to parse broker name as a base 10 number.",
            )),
        },
        ResourceType::Group if name.is_empty() => {
            Err(invalid_request("Default group resources are not allowed."))
        }
        ResourceType::ClientMetrics if name.is_empty() => {
            Err(invalid_request("Subscription name can't be empty"))
        }
        ResourceType::Group | ResourceType::ClientMetrics => Ok(()),
    }
}

fn check_existence(image: &Image, resource: &ConfigResource) -> Result<(), ApiError> {
    match resource.resource_type {
        ResourceType::Topic if image.topic_by_name(&resource.name).is_none() => {
            let message = format!("The topic '{}' does not exist.", resource.name);
            Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, message))
        }
        ResourceType::Broker if !resource.name.is_empty() => {
            let id = resource.name.parse().ok().map(NodeId);
            if id.and_then(|id| image.broker(id)).is_some() {
                return Ok(());
            }
            let message = format!("No node with id {} found.", resource.name);
            Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, message))
        }
        _ => Ok(()),
    }
}

fn invalid_request(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}

fn invalid_config(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidConfig, message)
}
