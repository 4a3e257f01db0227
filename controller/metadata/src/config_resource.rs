//! What a configuration belongs to.

use std::fmt;

use millstream_protocol::NodeId;

/// The kind of a resource that has settings, with Kafka's numbers.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[repr(u8)]
pub enum ResourceType {
    /// A topic, by name.
    Topic = 2,
    /// A broker, by node id; the empty name stands for all of them.
    Broker = 4,
    /// A client-metrics subscription, by name.
    ClientMetrics = 16,
    /// A group, by id.
    Group = 32,
}

/// A resource that has settings.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct ConfigResource {
    /// Its kind.
    pub resource_type: ResourceType,
    /// Its name within the kind.
    pub name: String,
}

impl ResourceType {
    /// The kind with this number of Kafka's; none for kinds whose settings are not kept here.
    pub fn from_code(code: i8) -> Option<ResourceType> {
        match code {
            2 => Some(ResourceType::Topic),
            4 => Some(ResourceType::Broker),
            16 => Some(ResourceType::ClientMetrics),
            32 => Some(ResourceType::Group),
            _ => None,
        }
    }

    /// Kafka's number.
    pub fn code(self) -> i8 {
        self as i8
    }
}

impl ConfigResource {
    /// The resource of that kind and name.
    pub fn new(resource_type: ResourceType, name: impl Into<String>) -> ConfigResource {
        ConfigResource {
            resource_type,
            name: name.into(),
        }
    }

    /// The settings of one broker.
    pub fn broker(id: NodeId) -> ConfigResource {
        ConfigResource::new(ResourceType::Broker, id.to_string())
    }

    /// The settings of all brokers.
    pub fn all_brokers() -> ConfigResource {
        ConfigResource::new(ResourceType::Broker, "")
    }

    /// A topic's settings.
    pub fn topic(name: impl Into<String>) -> ConfigResource {
        ConfigResource::new(ResourceType::Topic, name)
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.resource_type {
            ResourceType::Topic => "topic",
            ResourceType::Broker => "broker",
            ResourceType::ClientMetrics => "client-metrics",
            ResourceType::Group => "group",
        };
        write!(f, "{kind} '{}'", self.name)
    }
}
