//! Reading group records of every version.

use bytes::Bytes;
use uuid::Uuid;

use super::{
    EXPIRY_VERSION, FLEXIBLE_VERSION, GROUP_METADATA, GroupMetadataValue, GroupRecord,
    GroupRecordError, LEGACY_OFFSET_COMMIT, MemberMetadata, OFFSET_COMMIT, OffsetCommitKey,
    OffsetCommitValue, TOPIC_ID_TAG,
};
use crate::StrBytes;
use crate::cursor::{Cursor, CursorError};

/// Decodes a record; its texts and bytes are slices of `key` and `value`.
pub fn decode_group_record(
    key: &Bytes,
    value: Option<&Bytes>,
) -> Result<GroupRecord, GroupRecordError> {
    let mut reader = Reader {
        part: "key",
        bytes: key,
        cursor: Cursor::new(key),
        flexible: false,
    };
    let record_type = reader.read(Cursor::i16)?;
    let mut value = value.map(|bytes| Reader {
        part: "value",
        bytes,
        cursor: Cursor::new(bytes),
        flexible: false,
    });
    match record_type {
        LEGACY_OFFSET_COMMIT | OFFSET_COMMIT => Ok(GroupRecord::OffsetCommit {
            key: OffsetCommitKey {
                group: reader.string("group")?,
                topic: reader.string("topic")?,
                partition: reader.read(Cursor::i32)?,
            },
            value: match &mut value {
                Some(value) => Some(value.offset_commit(record_type)?),
                None => None,
            },
        }),
        GROUP_METADATA => Ok(GroupRecord::GroupMetadata {
            group: reader.string("group")?,
            value: match &mut value {
                Some(value) => Some(value.group_metadata()?),
                None => None,
            },
        }),
        record_type => Ok(GroupRecord::Unknown { record_type }),
    }
}

struct Reader<'a> {
    part: &'static str,
    bytes: &'a Bytes,
    cursor: Cursor<'a>,
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn offset_commit(&mut self, record_type: i16) -> Result<OffsetCommitValue, GroupRecordError> {
        let version = self.version(record_type)?;
        let mut value = OffsetCommitValue {
            offset: self.read(Cursor::i64)?,
            leader_epoch: if version >= 3 {
                self.read(Cursor::i32)?
            } else {
                -1
            },
            metadata: self.string("metadata")?,
            commit_timestamp: self.read(Cursor::i64)?,
            expire_timestamp: if version == EXPIRY_VERSION {
                self.read(Cursor::i64)?
            } else {
                -1
            },
            topic_id: Uuid::nil(),
        };
        self.tagged_fields(|tag, bytes| {
            if tag == TOPIC_ID_TAG {
                value.topic_id = Uuid::from_bytes(Cursor::new(bytes).array()?);
            }
            Ok(())
        })?;
        Ok(value)
    }

    fn group_metadata(&mut self) -> Result<GroupMetadataValue, GroupRecordError> {
        let version = self.version(GROUP_METADATA)?;
        let value = GroupMetadataValue {
            protocol_type: self.string("protocolType")?,
            generation: self.read(Cursor::i32)?,
            protocol: self.nullable_string("protocol")?,
            leader: self.nullable_string("leader")?,
            current_state_timestamp: if version >= 2 {
                self.read(Cursor::i64)?
            } else {
                -1
            },
            members: self.members(version)?,
        };
        self.tagged_fields(|_, _| Ok(()))?;
        Ok(value)
    }

    fn members(&mut self, version: i16) -> Result<Vec<MemberMetadata>, GroupRecordError> {
        let field = "members";
        let count = self
            .length(field, Cursor::i32)?
            .ok_or(self.bad_field(field))?;
        // A member takes 15 bytes at least; a greater count is refused before memory is taken.
        if count > self.cursor.remaining() / 15 {
            return Err(self.bad_field(field));
        }
        (0..count).map(|_| self.member(version)).collect()
    }

    fn member(&mut self, version: i16) -> Result<MemberMetadata, GroupRecordError> {
        let member = MemberMetadata {
            member_id: self.string("memberId")?,
            group_instance_id: match version {
                3.. => self.nullable_string("groupInstanceId")?,
                _ => None,
            },
            client_id: self.string("clientId")?,
            client_host: self.string("clientHost")?,
            rebalance_timeout: if version >= 1 {
                self.read(Cursor::i32)?
            } else {
                -1
            },
            session_timeout: self.read(Cursor::i32)?,
            subscription: self.byte_string("subscription")?,
            assignment: self.byte_string("assignment")?,
        };
        self.tagged_fields(|_, _| Ok(()))?;
        Ok(member)
    }

    fn version(&mut self, record_type: i16) -> Result<i16, GroupRecordError> {
        let version = self.read(Cursor::i16)?;
        if !(0..=FLEXIBLE_VERSION).contains(&version) {
            return Err(GroupRecordError::UnknownVersion {
                record_type,
                version,
            });
        }
        self.flexible = version == FLEXIBLE_VERSION;
        Ok(version)
    }

    fn string(&mut self, field: &'static str) -> Result<StrBytes, GroupRecordError> {
        self.nullable_string(field)?.ok_or(self.bad_field(field))
    }

    fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<StrBytes>, GroupRecordError> {
        let length = self.length(field, |cursor| cursor.i16().map(i32::from))?;
        let Some(length) = length else {
            return Ok(None);
        };
        let text = self.slice(length)?;
        StrBytes::from_utf8(text)
            .map(Some)
            .map_err(|_| self.bad_field(field))
    }

    fn byte_string(&mut self, field: &'static str) -> Result<Bytes, GroupRecordError> {
        let length = self
            .length(field, Cursor::i32)?
            .ok_or(self.bad_field(field))?;
        self.slice(length)
    }

    fn slice(&mut self, length: usize) -> Result<Bytes, GroupRecordError> {
        let slice = self.read(|cursor| cursor.take(length))?;
        Ok(self.bytes.slice_ref(slice))
    }

    /// A length; none stands for null.
    fn length(
        &mut self,
        field: &'static str,
        fixed: impl FnOnce(&mut Cursor<'a>) -> Result<i32, CursorError>,
    ) -> Result<Option<usize>, GroupRecordError> {
        let length = match self.flexible {
            true => i64::from(self.read(Cursor::unsigned_varint)?) - 1,
            false => i64::from(self.read(fixed)?),
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| self.bad_field(field)),
        }
    }

    fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &[u8]) -> Result<(), CursorError>,
    ) -> Result<(), GroupRecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.read(Cursor::unsigned_varint)? {
            let tag = self.read(Cursor::unsigned_varint)?;
            let size = self.read(Cursor::unsigned_varint)?;
            let bytes = self.read(|cursor| cursor.take(size as usize))?;
            known(tag, bytes).map_err(|source| GroupRecordError::Malformed {
                part: self.part,
                source,
            })?;
        }
        Ok(())
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Cursor<'a>) -> Result<T, CursorError>,
    ) -> Result<T, GroupRecordError> {
        read(&mut self.cursor).map_err(|source| GroupRecordError::Malformed {
            part: self.part,
            source,
        })
    }

    fn bad_field(&self, field: &'static str) -> GroupRecordError {
        GroupRecordError::BadField {
            part: self.part,
            field,
        }
    }
}
