//! DescribeConfigs, versions 1–4: settings, where they come from, and what they mean.
//!
//! Version 3 has the type of each value and can ask for the text about it. Of brokers, only this
//! node can be asked.

use std::rc::Rc;

use millstream_metadata::{ConfigResource, Image};
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::describe_configs_request::DescribeConfigsResource;
use millstream_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use millstream_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use millstream_protocol::topic_name::check_topic_name;

use super::text;
use super::topic_settings::{Setting, topic_settings};
use crate::config::{Kind, Source, Synonym, broker_key, broker_keys, broker_synonyms, is_dynamic};
use crate::shard::Shard;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The kind of a key that nobody knows.
const UNKNOWN_KIND: i8 = 0;

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
    let settings: Vec<Described> = match resource.resource_type {
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
                .into_iter()
                .map(Described::from)
                .collect()
        }
        BROKER => broker_settings(shard, &shard.image(), resource.resource_name.as_str())?,
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
    Ok(configs
        .map(|described| answer(request, described))
        .collect())
}

/// The settings of this node; with an empty name, those given to all brokers.
fn broker_settings(
    shard: &Shard,
    image: &Image,
    name: &str,
) -> Result<Vec<Described>, (ErrorCode, String)> {
    if name.is_empty() {
        return Ok(cluster_settings(image));
    }
    let node_id = shard.node_id();
    match name.parse::<i32>() {
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
            let synonyms = settings.synonyms(&broker_synonyms(key.name), key.name);
            Described {
                read_only: !is_dynamic(key.name),
                ..Described::from(Setting {
                    key,
                    value: settings.value(key.name).map(str::to_owned),
                    source: synonyms
                        .first()
                        .map_or(Source::Default, |strongest| strongest.source),
                    synonyms,
                })
            }
        })
        .collect();
    described.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(described)
}

fn cluster_settings(image: &Image) -> Vec<Described> {
    let given = image.configs(&ConfigResource::all_brokers());
    given
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let key = broker_key(name);
            Described {
                name: name.clone(),
                value: Some(value.clone()),
                read_only: !is_dynamic(name),
                source: Source::Cluster,
                secret: key.is_none_or(|key| key.kind == Kind::Password),
                synonyms: key
                    .map(|key| Synonym {
                        name: key.name,
                        value: value.clone(),
                        source: Source::Cluster,
                    })
                    .into_iter()
                    .collect(),
                kind: key.map_or(UNKNOWN_KIND, |key| key.kind.protocol_code()),
                text: key.map(|key| key.text),
            }
        })
        .collect()
}

/// A setting as it is told.
struct Described {
    name: String,
    value: Option<String>,
    read_only: bool,
    source: Source,
    secret: bool,
    synonyms: Vec<Synonym>,
    kind: i8,
    text: Option<&'static str>,
}

impl From<Setting> for Described {
    fn from(setting: Setting) -> Described {
        Described {
            name: setting.key.name.to_owned(),
            value: setting.value,
            read_only: false,
            source: setting.source,
            secret: setting.key.kind == Kind::Password,
            synonyms: setting.synonyms,
            kind: setting.key.kind.protocol_code(),
            text: Some(setting.key.text),
        }
    }
}

fn answer(request: &DescribeConfigsRequest, described: Described) -> DescribeConfigsResourceResult {
    let shown = |value: String| (!described.secret).then(|| text(value));
    let answer = DescribeConfigsResourceResult::default()
        .with_name(text(described.name))
        .with_value(described.value.and_then(shown))
        .with_read_only(described.read_only)
        .with_config_source(described.source.protocol_code())
        .with_is_sensitive(described.secret)
        .with_config_type(described.kind);
    let answer = if request.include_synonyms {
        let synonyms = described.synonyms.into_iter().map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(text(synonym.name))
                .with_value(shown(synonym.value))
                .with_source(synonym.source.protocol_code())
        });
        answer.with_synonyms(synonyms.collect())
    } else {
        answer
    };
    let documentation = described.text.filter(|_| request.include_documentation);
    answer.with_documentation(documentation.map(text))
}
