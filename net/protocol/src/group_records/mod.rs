//! The records of `__consumer_offsets` that committed offsets and classic groups are made of.
//!
//! ```text
//! key:   record type i16 | message      type 0 or 1: an offset, 2: a group
//! value: version i16     | message      none: a tombstone
//! ```
//!
//! All versions are read; what is written is what Kafka 4.2 writes: groups in version 3, offsets
//! in version 4, or in version 1 if they have an expiry of their own. Other record types belong
//! to groups of other protocols; they are named, not decoded, so that a reader passes over them.

mod decode;
mod encode;

use bytes::Bytes;
use thiserror::Error;
use uuid::Uuid;

use crate::StrBytes;
use crate::cursor::CursorError;

pub use decode::decode_group_record;

/// One record: a key with its value, or with none (a tombstone).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    /// A group's committed offset for one partition.
    OffsetCommit {
        /// What was committed for.
        key: OffsetCommitKey,
        /// The offset; none deletes it.
        value: Option<OffsetCommitValue>,
    },
    /// A classic group's generation.
    GroupMetadata {
        /// The group's id.
        group: StrBytes,
        /// The generation; none deletes the group.
        value: Option<GroupMetadataValue>,
    },
    /// A record of a type that is not decoded.
    Unknown {
        /// Its type.
        record_type: i16,
    },
}

/// Which offset.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OffsetCommitKey {
    /// The group's id.
    pub group: StrBytes,
    /// The topic's name.
    pub topic: StrBytes,
    /// The partition.
    pub partition: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitValue {
    /// The offset.
    pub offset: i64,
    /// The leader epoch of the last record consumed; −1 when not known.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: StrBytes,
    /// When it was committed, in milliseconds since the epoch.
    pub commit_timestamp: i64,
    /// When it expires, from clients that said so (OffsetCommit up to version 4); else −1.
    pub expire_timestamp: i64,
    /// The topic's id; nil when not known.
    pub topic_id: Uuid,
}

/// A generation of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadataValue {
    /// `consumer`, `connect`, …; empty for a group that never had members.
    pub protocol_type: StrBytes,
    /// The generation.
    pub generation: i32,
    /// The protocol that the members chose.
    pub protocol: Option<StrBytes>,
    /// The leader's member id.
    pub leader: Option<StrBytes>,
    /// When the group came to its state, in milliseconds since the epoch; −1 when not known.
    pub current_state_timestamp: i64,
    /// The members.
    pub members: Vec<MemberMetadata>,
}

/// A member of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMetadata {
    /// The member's id.
    pub member_id: StrBytes,
    /// The instance id of a static member.
    pub group_instance_id: Option<StrBytes>,
    /// The client's id.
    pub client_id: StrBytes,
    /// The client's host.
    pub client_host: StrBytes,
    /// The rebalance timeout in milliseconds; −1 in records older than it.
    pub rebalance_timeout: i32,
    /// The session timeout in milliseconds.
    pub session_timeout: i32,
    /// The member's metadata for the chosen protocol.
    pub subscription: Bytes,
    /// The member's assignment.
    pub assignment: Bytes,
}

/// Why a record could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GroupRecordError {
    /// The bytes end early, or an integer is malformed.
    #[error("the {part} of a group record: {source}")]
    Malformed {
        /// `key` or `value`.
        part: &'static str,
        /// What is wrong.
        source: CursorError,
    },
    /// A length is negative, a text is null or not UTF-8.
    #[error("the {part} of a group record: its field {field:?} is malformed")]
    BadField {
        /// `key` or `value`.
        part: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A value's version is beyond those known, so its meaning is too.
    #[error("a group record of type {record_type} has version {version}, 0 to 4 are known")]
    UnknownVersion {
        /// The record's type.
        record_type: i16,
        /// The value's version.
        version: i16,
    },
    /// A text is longer than the format can say.
    #[error("the field {field:?} has {length} bytes, which a group record cannot hold")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its bytes.
        length: usize,
    },
}

const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;
/// The first version of both values with compact lengths and tagged fields, and the last one.
const FLEXIBLE_VERSION: i16 = 4;
/// The version of groups that is written.
const GROUP_METADATA_VERSION: i16 = 3;
/// The only version of offsets that has an expiry.
const EXPIRY_VERSION: i16 = 1;
const TOPIC_ID_TAG: u32 = 0;

#[cfg(test)]
mod tests;
