//! The writes that were asked for and whose fate is not known yet, and what hangs on each.

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_protocol::StrBytes;
use millstream_protocol::messages::OffsetFetchRequest;

use crate::classic_group::ClassicGroup;
use crate::classic_member::MemberTerms;
use crate::input::WriteId;
use crate::request::{GroupResponse, RequestToken};
use millstream_protocol::group_records::GroupRecord;

/// What a write does to its group when its fate is known, beyond showing its records to readers.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The group is new; if the write fails it was never there.
    CreateGroup {
        /// The group's id.
        group: StrBytes,
    },
    /// The leader's assignment takes effect, or the members rebalance again.
    StoreAssignment {
        /// The group's id.
        group: StrBytes,
        /// The generation it is for.
        generation: i32,
        /// By member id.
        assignment: BTreeMap<StrBytes, Bytes>,
    },
    /// A static member came back under a new id, which others may now be told.
    ReplaceStaticMember(StaticReplacement),
}

/// A static member's return to a stable group.
#[derive(Debug)]
pub(crate) struct StaticReplacement {
    pub(crate) group: StrBytes,
    pub(crate) instance_id: StrBytes,
    pub(crate) old_member_id: StrBytes,
    pub(crate) member_id: StrBytes,
    pub(crate) old_terms: MemberTerms,
    /// Who led the group when the member came; its own old id, if it was that member.
    pub(crate) leader: StrBytes,
    /// The JoinGroup to answer.
    pub(crate) token: RequestToken,
}

/// An OffsetFetch that may not overlook an offset being committed.
#[derive(Debug)]
pub(crate) struct StableRead {
    pub(crate) token: RequestToken,
    pub(crate) api_version: i16,
    pub(crate) request: OffsetFetchRequest,
}

/// A write in flight.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) records: Vec<GroupRecord>,
    pub(crate) effect: Effect,
    /// Given when the records are committed; their failed form if not.
    pub(crate) answers: Vec<(RequestToken, GroupResponse)>,
    /// Read when the records are committed or have failed.
    pub(crate) stable_reads: Vec<StableRead>,
    /// The groups that the records delete, which readers still see.
    pub(crate) deleted_groups: Vec<ClassicGroup>,
}

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    next: u64,
    writes: BTreeMap<WriteId, Write>,
}

impl InFlight {
    pub(crate) fn next_id(&self) -> WriteId {
        WriteId(self.next)
    }

    pub(crate) fn push(&mut self, records: Vec<GroupRecord>, effect: Effect) -> WriteId {
        let id = self.next_id();
        self.next += 1;
        let write = Write {
            records,
            effect,
            answers: Vec::new(),
            stable_reads: Vec::new(),
            deleted_groups: Vec::new(),
        };
        self.writes.insert(id, write);
        id
    }

    pub(crate) fn get_mut(&mut self, id: WriteId) -> &mut Write {
        self.writes
            .get_mut(&id)
            .expect("a write just made is in flight")
    }

    /// The write that was asked for last.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Write> {
        self.writes.values_mut().next_back()
    }

    /// Takes the oldest write, whose fate the caller knows.
    pub(crate) fn finish(&mut self, id: WriteId) -> Write {
        let (oldest, write) = self
            .writes
            .pop_first()
            .expect("only writes in flight have a fate");
        assert_eq!(oldest, id, "writes are reported in their order");
        write
    }

    /// Takes every write: nobody waits for their fate any more.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Write> {
        std::mem::take(&mut self.writes).into_values()
    }

    /// A group that is deleted for the coordinator and not yet for its readers.
    pub(crate) fn deleted_group(&self, group: &StrBytes) -> Option<&ClassicGroup> {
        self.deleted_groups().find(|deleted| deleted.id() == group)
    }

    pub(crate) fn deleted_groups(&self) -> impl Iterator<Item = &ClassicGroup> {
        self.writes.values().flat_map(|write| &write.deleted_groups)
    }

    /// A write in flight gives the group something to stand on.
    pub(crate) fn names_group(&self, group: &StrBytes) -> bool {
        let mut records = self.writes.values().flat_map(|write| &write.records);
        records.any(|record| shown_group(record) == Some(group))
    }
}

/// The group that the record, once committed, gives readers something to see of.
pub(crate) fn shown_group(record: &GroupRecord) -> Option<&StrBytes> {
    match record {
        GroupRecord::OffsetCommit {
            key,
            value: Some(_),
        } => Some(&key.group),
        GroupRecord::GroupMetadata {
            group,
            value: Some(_),
        } => Some(group),
        _ => None,
    }
}
