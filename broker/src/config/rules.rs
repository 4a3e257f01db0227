//! What the table of keys tells the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_controller::{ApiError, ConfigRules};
use millstream_metadata::{ConfigResource, ResourceType};
use millstream_protocol::ErrorCode;

use super::BrokerConfig;
use super::client_metrics_rules::check_client_metrics;
use super::group_rules::check_group;
use super::keys::{Kind, broker_key, topic_key};
use super::topic_config::check_topic_override;

/// The rules for settings that are changed while the node runs.
pub struct SettingRules {
    /// The node's settings, from which defaults come.
    pub config: Arc<BrokerConfig>,
}

impl ConfigRules for SettingRules {
    fn validate(
        &self,
        resource: &ConfigResource,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let checked = match resource.resource_type {
            ResourceType::Topic => configs
                .iter()
                .try_for_each(|(name, value)| check_topic_override(name, value))
                .and_then(|()| self.check_lags(configs)),
            // Checked by the broker that was asked.
            ResourceType::Broker => Ok(()),
            ResourceType::Group => check_group(&self.config.settings, configs),
            ResourceType::ClientMetrics => return check_client_metrics(configs),
        };
        checked.map_err(|message| ApiError::new(ErrorCode::InvalidConfig, message))
    }

    /// As in Kafka, not those of groups and of subscriptions: their lists are set as a whole.
    fn is_list(&self, resource_type: ResourceType, key: &str) -> bool {
        let kind = match resource_type {
            ResourceType::Topic => topic_key(key).map(|key| key.key.kind),
            ResourceType::Broker => broker_key(key).map(|key| key.kind),
            ResourceType::Group | ResourceType::ClientMetrics => None,
        };
        matches!(kind, Some(Kind::List | Kind::ListOf(_)))
    }

    fn default_value(&self, resource_type: ResourceType, key: &str) -> Option<String> {
        let settings = &self.config.settings;
        match resource_type {
            ResourceType::Topic => settings.topic_default(key).map(|(value, _)| value),
            ResourceType::Broker => broker_key(key)?.default.map(str::to_owned),
            ResourceType::Group | ResourceType::ClientMetrics => None,
        }
    }
}

impl SettingRules {
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
