//! The records of `__consumer_offsets` that classic groups and committed offsets are made of.

use bytes::Bytes;
use millstream_protocol::StrBytes;
use uuid::Uuid;

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
}

/// Which offset.
#[derive(Debug, Clone, PartialEq, Eq)]
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
