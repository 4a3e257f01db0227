//! The settings of a topic as clients see them: the value in force, and where it comes from.

use std::collections::BTreeMap;

use crate::config::{Key, Source, Synonym, TopicKey, broker_synonyms, topic_keys};
use crate::shard::Shard;

/// One setting of a topic or of the node.
pub(super) struct Setting {
    /// The key.
    pub key: &'static Key,
    /// The value in force.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// All that there is to say about the key, the strongest first.
    pub synonyms: Vec<Synonym>,
}

/// Every setting of a topic that has these of its own.
pub(super) fn topic_settings(shard: &Shard, own: &BTreeMap<String, String>) -> Vec<Setting> {
    let config = shard.config();
    let of_key = |TopicKey { key, synonyms }: &'static TopicKey| {
        let of_topic = own.get(key.name).map(|value| Synonym {
            name: key.name,
            value: value.clone(),
            source: Source::Topic,
        });
        let of_broker = synonyms.first().map(|strongest| {
            let names = broker_synonyms(strongest);
            config.settings.synonyms(&names, strongest)
        });
        let value = match &of_topic {
            Some(own) => Some(own.value.clone()),
            None => config
                .settings
                .topic_default(key.name)
                .map(|(value, _)| value),
        };
        let synonyms: Vec<Synonym> = of_topic
            .into_iter()
            .chain(of_broker.into_iter().flatten())
            .collect();
        Setting {
            key,
            value,
            source: synonyms
                .first()
                .map_or(Source::Default, |strongest| strongest.source),
            synonyms,
        }
    };
    topic_keys().iter().map(of_key).collect()
}
