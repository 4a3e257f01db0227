//! The settings of groups, and of subscriptions to clients' metrics, as clients see them.
//!
//! Both are told for any name: a group may be given settings before it has members, and a
//! subscription that nobody made has the defaults.

use std::collections::BTreeMap;

use millstream_metadata::{ConfigResource, ResourceType};
use millstream_protocol::ErrorCode;

use super::described_setting::Described;
use super::topic_settings::Setting;
use crate::config::{GroupKey, Source, Synonym, broker_synonyms, client_metrics_keys, group_keys};
use crate::shard::Shard;

/// Every setting of a group.
pub(super) fn group_settings(
    shard: &Shard,
    group: &str,
) -> Result<Vec<Described>, (ErrorCode, String)> {
    if group.is_empty() {
        let message = "Group name must not be empty".to_owned();
        return Err((ErrorCode::InvalidRequest, message));
    }
    let own = own_settings(shard, ResourceType::Group, group);
    let settings = &shard.config().settings;
    let described = group_keys().iter().map(|group_key| {
        let GroupKey { key, broker } = group_key;
        let of_group = own.get(key.name).map(|value| Synonym {
            name: key.name,
            value: value.clone(),
            source: Source::Group,
        });
        let of_broker = match broker {
            Some(broker) => settings.synonyms(&broker_synonyms(broker), broker),
            None => vec![Synonym {
                name: key.name,
                value: settings.group_default(group_key),
                source: Source::Default,
            }],
        };
        let value = match &of_group {
            Some(own) => own.value.clone(),
            None => settings.group_default(group_key),
        };
        let synonyms: Vec<_> = of_group.into_iter().chain(of_broker).collect();
        let setting = Setting {
            key,
            value: Some(value),
            source: synonyms
                .first()
                .map_or(Source::Default, |strongest| strongest.source),
            synonyms,
        };
        Described::of(setting, Source::Group)
    });
    Ok(described.collect())
}

/// Every setting of a subscription.
pub(super) fn client_metrics_settings(
    shard: &Shard,
    subscription: &str,
) -> Result<Vec<Described>, (ErrorCode, String)> {
    if subscription.is_empty() {
        let message = "Client metrics subscription name must not be empty".to_owned();
        return Err((ErrorCode::InvalidRequest, message));
    }
    let own = own_settings(shard, ResourceType::ClientMetrics, subscription);
    let described = client_metrics_keys().iter().map(|key| {
        let given = own.get(key.name).map(|value| Synonym {
            name: key.name,
            value: value.clone(),
            source: Source::ClientMetrics,
        });
        let setting = Setting {
            key,
            value: match &given {
                Some(given) => Some(given.value.clone()),
                None => key.default.map(str::to_owned),
            },
            source: given.as_ref().map_or(Source::Default, |given| given.source),
            synonyms: given.into_iter().collect(),
        };
        Described::of(setting, Source::ClientMetrics)
    });
    Ok(described.collect())
}

fn own_settings(shard: &Shard, kind: ResourceType, name: &str) -> BTreeMap<String, String> {
    let resource = ConfigResource::new(kind, name);
    shard
        .image()
        .configs(&resource)
        .cloned()
        .unwrap_or_default()
}
