//! The settings of a topic as clients see them: the value in force, and where it comes from.

use std::collections::BTreeMap;

use crate::config::{Key, topic_keys};
use crate::shard::Shard;

/// The topic has the value of its own.
pub(super) const DYNAMIC_TOPIC: i8 = 1;
/// The node was started with it.
pub(super) const STATIC_BROKER: i8 = 4;
/// Nobody said otherwise.
pub(super) const DEFAULT: i8 = 5;

/// One setting of a topic.
pub(super) struct TopicSetting {
    /// The key.
    pub key: &'static Key,
    /// The value in force.
    pub value: Option<String>,
    /// Where it comes from, by Kafka's numbers.
    pub source: i8,
    /// All that there is to say about the key, the strongest first: name, value and source.
    pub synonyms: Vec<(&'static str, Option<String>, i8)>,
}

/// Every setting of a topic that has these of its own.
pub(super) fn topic_settings(shard: &Shard, own: &BTreeMap<String, String>) -> Vec<TopicSetting> {
    let settings = &shard.config().settings;
    let of_key = |topic_key: &'static crate::config::TopicKey| {
        let key = &topic_key.key;
        let mut synonyms = Vec::new();
        if let Some(value) = own.get(key.name) {
            synonyms.push((key.name, Some(value.clone()), DYNAMIC_TOPIC));
        }
        for name in topic_key.synonyms {
            if let Some(value) = settings.given(name) {
                synonyms.push((*name, Some(value.to_owned()), STATIC_BROKER));
            }
        }
        if let Some(name) = topic_key.synonyms.last() {
            synonyms.push((*name, settings.default_of(name), DEFAULT));
        }
        let (value, source) = match own.get(key.name) {
            Some(value) => (Some(value.clone()), DYNAMIC_TOPIC),
            None => match settings.topic_default(key.name) {
                Some((value, Some(_))) => (Some(value), STATIC_BROKER),
                Some((value, None)) => (Some(value), DEFAULT),
                None => (None, DEFAULT),
            },
        };
        TopicSetting {
            key,
            value,
            source,
            synonyms,
        }
    };
    topic_keys().iter().map(of_key).collect()
}
