//! Settings of topics, brokers and groups: described and changed.

use millstream_protocol::StrBytes;
use millstream_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use millstream_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use millstream_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use crate::client::{Client, Purpose};
use crate::connection::Connection;
use crate::error::{ClientError, Result};

/// What a configuration belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by its id.
    Broker(i32),
    /// All brokers, where they have no setting of their own.
    AllBrokers,
    /// A group, by its id.
    Group(String),
}

/// One setting.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; none if it is secret or not set.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it was set for this very resource.
    pub is_set_here: bool,
    /// Whether its value is kept secret.
    pub is_sensitive: bool,
    /// Whether it changes only with a restart.
    pub is_read_only: bool,
    /// What its values look like.
    pub kind: ConfigType,
    /// Where a value is looked for, first what counts first; empty unless it was asked for.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it does, if it was asked for and the broker says it.
    pub documentation: Option<String>,
}

/// A place where a value of a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Under which name.
    pub name: String,
    /// The value.
    pub value: Option<String>,
    /// Where.
    pub source: ConfigSource,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set for this topic.
    Topic,
    /// Set for this broker while it ran.
    Broker,
    /// Set for all brokers while they ran.
    AllBrokers,
    /// The broker's file of settings, or its command line.
    StaticBroker,
    /// What holds when nobody sets anything.
    Default,
    /// The level of a logger.
    BrokerLogger,
    /// A subscription to client metrics.
    ClientMetrics,
    /// Set for this group.
    Group,
    /// A place this client does not know, by its number.
    Unknown(i8),
}

impl ConfigSource {
    fn from_code(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::Topic,
            2 => ConfigSource::Broker,
            3 => ConfigSource::AllBrokers,
            4 => ConfigSource::StaticBroker,
            5 => ConfigSource::Default,
            6 => ConfigSource::BrokerLogger,
            7 => ConfigSource::ClientMetrics,
            8 => ConfigSource::Group,
            code => ConfigSource::Unknown(code),
        }
    }

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
            ConfigSource::Broker => "DYNAMIC_BROKER_CONFIG",
            ConfigSource::AllBrokers => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
            ConfigSource::Default => "DEFAULT_CONFIG",
            ConfigSource::BrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            ConfigSource::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
            ConfigSource::Group => "DYNAMIC_GROUP_CONFIG",
            ConfigSource::Unknown(_) => "UNKNOWN",
        }
    }
}

/// What the values of a setting look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A number of 32 bits.
    Int,
    /// A number of 16 bits.
    Short,
    /// A number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Values with commas between.
    List,
    /// The name of a class.
    Class,
    /// A secret.
    Password,
    /// The broker does not say.
    Unknown,
}

impl ConfigType {
    fn from_code(code: i8) -> ConfigType {
        match code {
            1 => ConfigType::Boolean,
            2 => ConfigType::String,
            3 => ConfigType::Int,
            4 => ConfigType::Short,
            5 => ConfigType::Long,
            6 => ConfigType::Double,
            7 => ConfigType::List,
            8 => ConfigType::Class,
            9 => ConfigType::Password,
            _ => ConfigType::Unknown,
        }
    }

    /// Kafka's name for it, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            ConfigType::Boolean => "boolean",
            ConfigType::String => "string",
            ConfigType::Int => "int",
            ConfigType::Short => "short",
            ConfigType::Long => "long",
            ConfigType::Double => "double",
            ConfigType::List => "list",
            ConfigType::Class => "class",
            ConfigType::Password => "password",
            ConfigType::Unknown => "unknown",
        }
    }
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// The setting.
    pub name: String,
    /// What becomes of it.
    pub operation: ConfigOperation,
}

/// What becomes of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOperation {
    /// It has this value.
    Set(String),
    /// It has no value of its own any more.
    Unset,
    /// Its list gets this entry.
    Append(String),
    /// Its list loses this entry.
    Subtract(String),
}

impl ConfigResource {
    /// Kafka's number and name for it.
    fn address(&self) -> (i8, String) {
        match self {
            ConfigResource::Topic(name) => (2, name.clone()),
            ConfigResource::Broker(id) => (4, id.to_string()),
            ConfigResource::AllBrokers => (4, String::new()),
            ConfigResource::Group(id) => (32, id.clone()),
        }
    }

    fn shown(&self) -> String {
        match self {
            ConfigResource::Topic(name) => format!("topic {name}"),
            ConfigResource::Broker(id) => format!("broker {id}"),
            ConfigResource::AllBrokers => "all brokers".to_owned(),
            ConfigResource::Group(id) => format!("group {id}"),
        }
    }

    fn owns(&self, source: ConfigSource) -> bool {
        match self {
            ConfigResource::Topic(_) => source == ConfigSource::Topic,
            ConfigResource::Broker(_) => {
                matches!(source, ConfigSource::Broker | ConfigSource::StaticBroker)
            }
            ConfigResource::AllBrokers => source == ConfigSource::AllBrokers,
            ConfigResource::Group(_) => source == ConfigSource::Group,
        }
    }
}

impl Client {
    /// The settings of a resource, all of them.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>> {
        self.describe_config_keys(resource, None, false).await
    }

    /// Settings of a resource by their names, or all of them; with `explained`, their synonyms
    /// and what they do. A name that the resource does not have is left out.
    pub async fn describe_config_keys(
        &self,
        resource: &ConfigResource,
        keys: Option<&[String]>,
        explained: bool,
    ) -> Result<Vec<ConfigEntry>> {
        let (kind, name) = resource.address();
        let what = || format!("the configuration of {}", resource.shown());
        let keys = keys.map(|keys| {
            let keys = keys.iter().cloned().map(StrBytes::from_string);
            keys.collect()
        });
        let asked = DescribeConfigsRequest::default().with_resources(vec![
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_string(name))
                .with_configuration_keys(keys),
        ]);
        let result = self
            .retry(async || {
                let connection = self.config_broker(resource).await?;
                let version = connection.version::<DescribeConfigsRequest>()?;
                let mut request = asked.clone().with_include_synonyms(explained);
                request.include_documentation = explained && version >= 3;
                let timeout = connection.request_timeout();
                let response = connection.call_version(&request, version, timeout).await?;
                let result = response.results.into_iter().next();
                let result = result.ok_or_else(|| ClientError::unanswered(&what()))?;
                let message = result.error_message.as_deref();
                // A topic that does not exist will not come by waiting.
                Ok(ClientError::check(what, result.error_code, message).map(|()| result))
            })
            .await??;
        let configs = result.configs.into_iter();
        Ok(configs.map(|config| entry(resource, config)).collect())
    }

    /// Changes settings of a resource, all or none; with `validate_only` it only checks whether it
    /// could.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<()> {
        let (kind, name) = resource.address();
        let what = || format!("changing the configuration of {}", resource.shown());
        let configs = changes.iter().map(|change| {
            let (operation, value) = match &change.operation {
                ConfigOperation::Set(value) => (0, Some(value)),
                ConfigOperation::Unset => (1, None),
                ConfigOperation::Append(value) => (2, Some(value)),
                ConfigOperation::Subtract(value) => (3, Some(value)),
            };
            AlterableConfig::default()
                .with_name(StrBytes::from_string(change.name.clone()))
                .with_config_operation(operation)
                .with_value(value.cloned().map(StrBytes::from_string))
        });
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(vec![
                AlterConfigsResource::default()
                    .with_resource_type(kind)
                    .with_resource_name(StrBytes::from_string(name))
                    .with_configs(configs.collect()),
            ])
            .with_validate_only(validate_only);
        self.retry(async || {
            let connection = self.config_broker(resource).await?;
            let response = connection.call(&request).await?;
            let result = response.responses.into_iter().next();
            let result = result.ok_or_else(|| ClientError::unanswered(&what()))?;
            let message = result.error_message.as_deref();
            Ok(ClientError::check(what, result.error_code, message))
        })
        .await?
    }

    /// A broker checks its own settings itself; any broker serves the others.
    async fn config_broker(&self, resource: &ConfigResource) -> Result<Connection> {
        match resource {
            ConfigResource::Broker(id) => self.broker(*id, Purpose::Control).await,
            _ => self.any_broker().await,
        }
    }
}

fn entry(resource: &ConfigResource, config: DescribeConfigsResourceResult) -> ConfigEntry {
    let source = ConfigSource::from_code(config.config_source);
    let synonyms = config.synonyms.into_iter().map(|synonym| ConfigSynonym {
        name: synonym.name.to_string(),
        value: synonym.value.map(|value| value.to_string()),
        source: ConfigSource::from_code(synonym.source),
    });
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.map(|value| value.to_string()),
        source,
        is_set_here: resource.owns(source),
        is_sensitive: config.is_sensitive,
        is_read_only: config.read_only,
        kind: ConfigType::from_code(config.config_type),
        synonyms: synonyms.collect(),
        documentation: config.documentation.map(|text| text.to_string()),
    }
}
