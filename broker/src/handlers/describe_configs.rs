//! DescribeConfigs, versions 1–4: settings, where they come from, and what they mean.
//!
//! Version 3 has the type of each value and can ask for the text about it. Of brokers, only this
//! node can be asked.

use std::rc::Rc;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millstream_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use millstream_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use millstream_protocol::topic_name::check_topic_name;

use super::text;
use super::topic_settings::{DEFAULT, STATIC_BROKER, TopicSetting, topic_settings};
use crate::config::{Key, Kind, broker_keys};
use crate::shard::Shard;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub(super) fn handle(
    shard: &Rc<Shard>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(shard, &request, resource) {
            Ok(configs) => answer.with_configs(configs),
            Err((error, message)) => answer
                .with_error_code(error.code())
                .with_error_message(Some(text(message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    shard: &Shard,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let settings = match resource.resource_type {
        TOPIC => {
            let name = resource.resource_name.as_str();
            check_topic_name(name)
                .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
            let image = shard.image();
            if image.topic_by_name(name).is_none() {
                return Err((
                    ErrorCode::UnknownTopicOrPartition,
                    format!("This server does not host this topic-partition: {name}"),
                ));
            }
            topic_settings(shard, &image.topic_configs(name))
        }
        BROKER => broker_settings(shard, resource.resource_name.as_str())?,
        other => {
            let message = format!("Unsupported resource type: {other}");
            return Err((ErrorCode::InvalidRequest, message));
        }
    };
    let asked = |key: &Key| match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.iter().any(|asked| asked.as_str() == key.name),
    };
    let is_broker = resource.resource_type == BROKER;
    let configs = settings.into_iter().filter(|setting| asked(setting.key));
    Ok(configs
        .map(|setting| answer(request, is_broker, setting))
        .collect())
}

/// The settings of this node; with an empty name, those given to all nodes, of which there are
/// none.
fn broker_settings(shard: &Shard, name: &str) -> Result<Vec<TopicSetting>, (ErrorCode, String)> {
    let node_id = shard.config().node_id;
    match name.parse::<i32>() {
        _ if name.is_empty() => return Ok(Vec::new()),
        Ok(id) if id == node_id.0 => {}
        Ok(id) => {
            return Err((
                ErrorCode::InvalidRequest,
                format!(
                    "Unexpected broker id, expected {node_id} or empty string, but received {id}"
                ),
            ));
        }
        Err(_) => {
            let message = format!("Broker id must be an integer, but it is: {name}");
            return Err((ErrorCode::InvalidRequest, message));
        }
    }
    let settings = &shard.config().settings;
    let mut described: Vec<_> = broker_keys()
        .map(|key| {
            let given = settings.given(key.name).map(str::to_owned);
            let mut synonyms = Vec::new();
            if let Some(value) = &given {
                synonyms.push((key.name, Some(value.clone()), STATIC_BROKER));
            }
            if let Some(default) = settings.default_of(key.name) {
                synonyms.push((key.name, Some(default), DEFAULT));
            }
            let source = if given.is_some() {
                STATIC_BROKER
            } else {
                DEFAULT
            };
            let value = given.or_else(|| settings.default_of(key.name));
            TopicSetting {
                key,
                value,
                source,
                synonyms,
            }
        })
        .collect();
    described.sort_by_key(|setting| setting.key.name);
    Ok(described)
}

fn answer(
    request: &DescribeConfigsRequest,
    is_broker: bool,
    setting: TopicSetting,
) -> DescribeConfigsResourceResult {
    let TopicSetting {
        key,
        value,
        source,
        synonyms,
    } = setting;
    let secret = key.kind == Kind::Password;
    let synonyms = synonyms.into_iter().map(|(name, value, source)| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(value.filter(|_| !secret).map(text))
            .with_source(source)
    });
    let answer = DescribeConfigsResourceResult::default()
        .with_name(text(key.name))
        .with_value(value.filter(|_| !secret).map(text))
        // A node's settings are those it was started with.
        .with_read_only(is_broker)
        .with_config_source(source)
        .with_is_sensitive(secret)
        .with_config_type(key.kind.protocol_code());
    let answer = if request.include_synonyms {
        answer.with_synonyms(synonyms.collect())
    } else {
        answer
    };
    if request.include_documentation {
        answer.with_documentation(Some(text(key.text)))
    } else {
        answer
    }
}
