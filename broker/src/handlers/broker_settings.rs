//! The settings of this node, and those given to all brokers, as clients see them.

use millstream_metadata::{ConfigResource, Image};
use millstream_protocol::ErrorCode;

use super::described_setting::Described;
use super::topic_settings::Setting;
use crate::config::{
    Kind, Source, Synonym, broker_key, broker_keys, broker_synonyms, is_dynamic, is_internal,
};
use crate::shard::Shard;

/// The settings of this node; with an empty name, those given to all brokers.
pub(super) fn broker_settings(
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
    let shown = broker_keys().filter(|key| !is_internal(key.name));
    let mut described: Vec<_> = shown
        .map(|key| {
            let synonyms = settings.synonyms(&broker_synonyms(key.name), key.name);
            let setting = Setting {
                key,
                value: settings.value(key.name).map(str::to_owned),
                source: synonyms
                    .first()
                    .map_or(Source::Default, |strongest| strongest.source),
                synonyms,
            };
            Described {
                read_only: !is_dynamic(key.name),
                // A broker's synonyms are all told as they were given.
                ..Described::of(setting, Source::Topic)
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
                kind: key.map_or(Described::UNKNOWN_KIND, |key| key.kind.protocol_code()),
                text: key.map(|key| key.text),
            }
        })
        .collect()
}
