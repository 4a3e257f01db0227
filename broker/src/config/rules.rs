//! What the table of keys tells the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_controller::ConfigRules;
use millstream_metadata::{ConfigResource, ResourceType};

use super::BrokerConfig;
use super::keys::{Kind, broker_key, topic_key};
use super::topic_config::check_topic_override;

/// The rules for the settings of topics.
pub struct TopicRules {
    /// The node's settings, from which defaults come.
    pub config: Arc<BrokerConfig>,
}

impl ConfigRules for TopicRules {
    fn validate(
        &self,
        resource: &ConfigResource,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        match resource.resource_type {
            ResourceType::Topic => {
                configs
                    .iter()
                    .try_for_each(|(name, value)| check_topic_override(name, value))?;
                self.check_lags(configs)
            }
            // Checked by the broker that was asked.
            ResourceType::Broker => Ok(()),
            _ => Err(format!("the settings of {resource} cannot be changed")),
        }
    }

    fn is_list(&self, resource_type: ResourceType, key: &str) -> bool {
        let kind = match resource_type {
            ResourceType::Topic => topic_key(key).map(|key| key.key.kind),
            ResourceType::Broker => broker_key(key).map(|key| key.kind),
            _ => None,
        };
        matches!(kind, Some(Kind::List | Kind::ListOf(_)))
    }

    fn default_value(&self, resource_type: ResourceType, key: &str) -> Option<String> {
        let settings = &self.config.settings;
        match resource_type {
            ResourceType::Topic => settings.topic_default(key).map(|(value, _)| value),
            ResourceType::Broker => broker_key(key)?.default.map(str::to_owned),
            _ => None,
        }
    }
}

impl TopicRules {
    /// The least time before compaction may not be longer than the most.
    fn check_lags(&self, configs: &BTreeMap<String, String>) -> Result<(), String> {
        let (least, most) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        let millis = |name: &str| -> Option<i64> {
            let own = configs.get(name).cloned();
            let default = || Some(self.config.settings.topic_default(name)?.0);
            own.or_else(default)?.trim().parse().ok()
        };
        match (millis(least), millis(most)) {
            (Some(shortest), Some(longest)) if shortest > longest => Err(format!(
                "{least} is {shortest} and {most} {longest}: the first may not be larger"
            )),
            _ => Ok(()),
        }
    }
}
