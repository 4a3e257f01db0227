//! The shapes of messages, and the walk that bounds what decoding one may allocate.
//!
//! The generated decoders reserve memory for as many elements as an array's length says, before
//! an element is read: four bytes from outside could ask for gigabytes. So a message is walked
//! here first, by the shape that its definition gives it. The walk allocates nothing, and passes
//! only messages in which every length fits into the bytes that are there and the number of
//! elements stays within [`items_max`]. The decoder then meets no length that was not checked,
//! because both read the same bytes by the same shape; a test generates messages of every shape
//! and compares.

mod requests;
mod responses;
#[cfg(test)]
mod tests;
mod walk;

use crate::messages::ApiKey;

pub(crate) use walk::walk;
pub use walk::{WalkError, items_max};

/// The shape of a request or response over its versions.
#[derive(Debug)]
pub struct Message {
    flexible_since: i16,
    fields: &'static [Field],
}

impl Message {
    const fn new(flexible_since: i16, fields: &'static [Field]) -> Message {
        Message {
            flexible_since,
            fields,
        }
    }

    /// Whether this version has compact lengths and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_since
    }
}

/// A field and the versions that have it.
#[derive(Debug)]
struct Field {
    name: &'static str,
    since: i16,
    until: i16,
    tag: Option<u32>,
    ty: Type,
}

const fn field(name: &'static str, ty: Type) -> Field {
    Field {
        name,
        since: 0,
        until: i16::MAX,
        tag: None,
        ty,
    }
}

impl Field {
    const fn since(mut self, version: i16) -> Field {
        self.since = version;
        self
    }

    const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }

    const fn tagged(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }

    fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }
}

/// What a field holds. Whether it may be null does not matter here.
#[derive(Debug, Clone, Copy)]
enum Type {
    /// So many bytes.
    Fixed(usize),
    /// Text, its length in 16 bits unless compact.
    String,
    /// Bytes or records, their length in 32 bits unless compact.
    Bytes,
    /// Elements, their number in 32 bits unless compact.
    Array(&'static Type),
    /// Fields one after another, tagged ones at the end.
    Struct(&'static [Field]),
    /// A byte that is 1 before the fields, or tells that they are not there.
    Nullable(&'static [Field]),
}

const BOOL: Type = Type::Fixed(1);
const INT8: Type = Type::Fixed(1);
const INT16: Type = Type::Fixed(2);
const INT32: Type = Type::Fixed(4);
const INT64: Type = Type::Fixed(8);
const UUID: Type = Type::Fixed(16);

/// The shapes of an API's request and response; none for an API that is not advertised.
pub(crate) const fn shapes(key: ApiKey) -> Option<(&'static Message, &'static Message)> {
    macro_rules! shapes {
        ($($api:ident $name:ident,)*) => {
            match key {
                $(ApiKey::$api => Some((&requests::$name, &responses::$name)),)*
                _ => None,
            }
        };
    }
    shapes! {
        Produce PRODUCE,
        Fetch FETCH,
        ListOffsets LIST_OFFSETS,
        Metadata METADATA,
        OffsetCommit OFFSET_COMMIT,
        OffsetFetch OFFSET_FETCH,
        FindCoordinator FIND_COORDINATOR,
        JoinGroup JOIN_GROUP,
        Heartbeat HEARTBEAT,
        LeaveGroup LEAVE_GROUP,
        SyncGroup SYNC_GROUP,
        DescribeGroups DESCRIBE_GROUPS,
        ListGroups LIST_GROUPS,
        ApiVersions API_VERSIONS,
        CreateTopics CREATE_TOPICS,
        DeleteTopics DELETE_TOPICS,
        DeleteRecords DELETE_RECORDS,
        InitProducerId INIT_PRODUCER_ID,
        OffsetForLeaderEpoch OFFSET_FOR_LEADER_EPOCH,
        DescribeConfigs DESCRIBE_CONFIGS,
        AlterConfigs ALTER_CONFIGS,
        DescribeLogDirs DESCRIBE_LOG_DIRS,
        CreatePartitions CREATE_PARTITIONS,
        DeleteGroups DELETE_GROUPS,
        IncrementalAlterConfigs INCREMENTAL_ALTER_CONFIGS,
        OffsetDelete OFFSET_DELETE,
        DescribeQuorum DESCRIBE_QUORUM,
        DescribeCluster DESCRIBE_CLUSTER,
        DescribeProducers DESCRIBE_PRODUCERS,
        ListConfigResources LIST_CONFIG_RESOURCES,
        DescribeTopicPartitions DESCRIBE_TOPIC_PARTITIONS,
    }
}
