//! Settings: one table of keys, from which parsing, validation, help and DescribeConfigs come.

mod broker_config;
mod client_metrics_rules;
mod group_rules;
mod iso_duration;
mod keys;
mod listeners;
mod properties;
mod rules;
mod settings;
mod topic_config;

pub use broker_config::BrokerConfig;
pub use keys::{
    GroupKey, Key, Kind, Status, TopicKey, broker_key, broker_keys, broker_synonyms,
    client_metrics_keys, group_key, group_keys, is_dynamic, is_internal, topic_key, topic_keys,
};
pub use listeners::Endpoint;
pub use properties::{PropertiesError, parse_properties};
pub use rules::SettingRules;
pub use settings::{Settings, SettingsError, Source, Synonym};
pub use topic_config::{TopicConfig, check_topic_override};
