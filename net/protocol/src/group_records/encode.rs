//! Writing group records as Kafka 4.2 does.

use bytes::{BufMut, Bytes};

use super::{
    EXPIRY_VERSION, FLEXIBLE_VERSION, GROUP_METADATA, GROUP_METADATA_VERSION, GroupMetadataValue,
    GroupRecord, GroupRecordError, MemberMetadata, OFFSET_COMMIT, OffsetCommitKey,
    OffsetCommitValue, TOPIC_ID_TAG,
};
use crate::cursor::put_unsigned_varint;

impl GroupRecord {
    /// The record's key and value; no value is a tombstone. A record that is [`Unknown`] has
    /// nothing to be written.
    ///
    /// [`Unknown`]: GroupRecord::Unknown
    pub fn encode(&self) -> Result<Option<(Bytes, Option<Bytes>)>, GroupRecordError> {
        match self {
            GroupRecord::OffsetCommit { key, value } => {
                let value = value.as_ref().map(encode_offset_commit).transpose()?;
                Ok(Some((encode_offset_commit_key(key)?, value)))
            }
            GroupRecord::GroupMetadata { group, value } => {
                let value = value.as_ref().map(encode_group_metadata).transpose()?;
                Ok(Some((encode_group_metadata_key(group)?, value)))
            }
            GroupRecord::Unknown { .. } => Ok(None),
        }
    }
}

fn encode_offset_commit_key(key: &OffsetCommitKey) -> Result<Bytes, GroupRecordError> {
    let mut bytes = Vec::with_capacity(10 + key.group.len() + key.topic.len());
    bytes.put_i16(OFFSET_COMMIT);
    put_string(&mut bytes, "group", &key.group)?;
    put_string(&mut bytes, "topic", &key.topic)?;
    bytes.put_i32(key.partition);
    Ok(bytes.into())
}

fn encode_group_metadata_key(group: &str) -> Result<Bytes, GroupRecordError> {
    let mut bytes = Vec::with_capacity(4 + group.len());
    bytes.put_i16(GROUP_METADATA);
    put_string(&mut bytes, "group", group)?;
    Ok(bytes.into())
}

fn encode_offset_commit(value: &OffsetCommitValue) -> Result<Bytes, GroupRecordError> {
    let mut bytes = Vec::with_capacity(48 + value.metadata.len());
    if value.expire_timestamp != -1 {
        bytes.put_i16(EXPIRY_VERSION);
        bytes.put_i64(value.offset);
        put_string(&mut bytes, "metadata", &value.metadata)?;
        bytes.put_i64(value.commit_timestamp);
        bytes.put_i64(value.expire_timestamp);
        return Ok(bytes.into());
    }
    let (field, length) = ("metadata", value.metadata.len());
    let compact = u32::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(1));
    bytes.put_i16(FLEXIBLE_VERSION);
    bytes.put_i64(value.offset);
    bytes.put_i32(value.leader_epoch);
    put_unsigned_varint(
        &mut bytes,
        compact.ok_or(GroupRecordError::TooLong { field, length })?,
    );
    bytes.put_slice(value.metadata.as_bytes());
    bytes.put_i64(value.commit_timestamp);
    if value.topic_id.is_nil() {
        bytes.put_u8(0);
    } else {
        bytes.put_u8(1);
        put_unsigned_varint(&mut bytes, TOPIC_ID_TAG);
        put_unsigned_varint(&mut bytes, value.topic_id.as_bytes().len() as u32);
        bytes.put_slice(value.topic_id.as_bytes());
    }
    Ok(bytes.into())
}

fn encode_group_metadata(value: &GroupMetadataValue) -> Result<Bytes, GroupRecordError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.put_i16(GROUP_METADATA_VERSION);
    put_string(&mut bytes, "protocolType", &value.protocol_type)?;
    bytes.put_i32(value.generation);
    put_nullable_string(&mut bytes, "protocol", value.protocol.as_deref())?;
    put_nullable_string(&mut bytes, "leader", value.leader.as_deref())?;
    bytes.put_i64(value.current_state_timestamp);
    put_length(&mut bytes, "members", value.members.len())?;
    for member in &value.members {
        put_member(&mut bytes, member)?;
    }
    Ok(bytes.into())
}

fn put_member(bytes: &mut Vec<u8>, member: &MemberMetadata) -> Result<(), GroupRecordError> {
    put_string(bytes, "memberId", &member.member_id)?;
    put_nullable_string(
        bytes,
        "groupInstanceId",
        member.group_instance_id.as_deref(),
    )?;
    put_string(bytes, "clientId", &member.client_id)?;
    put_string(bytes, "clientHost", &member.client_host)?;
    bytes.put_i32(member.rebalance_timeout);
    bytes.put_i32(member.session_timeout);
    put_length(bytes, "subscription", member.subscription.len())?;
    bytes.put_slice(&member.subscription);
    put_length(bytes, "assignment", member.assignment.len())?;
    bytes.put_slice(&member.assignment);
    Ok(())
}

fn put_nullable_string(
    bytes: &mut Vec<u8>,
    field: &'static str,
    text: Option<&str>,
) -> Result<(), GroupRecordError> {
    match text {
        Some(text) => put_string(bytes, field, text)?,
        None => bytes.put_i16(-1),
    }
    Ok(())
}

fn put_string(
    bytes: &mut Vec<u8>,
    field: &'static str,
    text: &str,
) -> Result<(), GroupRecordError> {
    let length = text.len();
    let fits = i16::try_from(length).map_err(|_| GroupRecordError::TooLong { field, length })?;
    bytes.put_i16(fits);
    bytes.put_slice(text.as_bytes());
    Ok(())
}

fn put_length(
    bytes: &mut Vec<u8>,
    field: &'static str,
    length: usize,
) -> Result<(), GroupRecordError> {
    let fits = i32::try_from(length).map_err(|_| GroupRecordError::TooLong { field, length })?;
    bytes.put_i32(fits);
    Ok(())
}
