//! DescribeConfigs, versions 1–4: settings, where they come from, and what they mean.
//!
//! Version 3 has the type of each value and can ask for the text about it. Of brokers and their
//! loggers, only this node's can be asked for.

use std::rc::Rc;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millstream_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use millstream_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use millstream_protocol::topic_name::check_topic_name;

use super::broker_settings::broker_settings;
use super::config_changes::BROKER_LOGGER;
use super::described_setting::Described;
use super::group_settings::{client_metrics_settings, group_settings};
use super::topic_settings::topic_settings;
use super::{loggers, text};
use crate::config::Source;
use crate::shard::Shard;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

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
    let name = resource.resource_name.as_str();
    let settings = match resource.resource_type {
        TOPIC => settings_of_topic(shard, name)?,
        BROKER => broker_settings(shard, &shard.image(), name)?,
        BROKER_LOGGER => loggers::describe(shard, name)?,
        CLIENT_METRICS => client_metrics_settings(shard, name)?,
        GROUP => group_settings(shard, name)?,
        other => {
            let message = format!("Unsupported resource type: {other}");
            return Err((ErrorCode::InvalidRequest, message));
        }
    };
    let asked = |described: &Described| match &resource.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| key.as_str() == described.name),
        _ => true,
    };
    let configs = settings.into_iter().filter(asked);
    Ok(configs.map(|described| described.answer(request)).collect())
}

fn settings_of_topic(shard: &Shard, name: &str) -> Result<Vec<Described>, (ErrorCode, String)> {
    check_topic_name(name)
        .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
    let image = shard.image();
    if image.topic_by_name(name).is_none() {
        return Err((
            ErrorCode::UnknownTopicOrPartition,
            format!("This server does not host this topic-partition: {name}"),
        ));
    }
    let settings = topic_settings(shard, &image.topic_configs(name));
    Ok(settings
        .into_iter()
        .map(|setting| Described::of(setting, Source::Topic))
        .collect())
}
