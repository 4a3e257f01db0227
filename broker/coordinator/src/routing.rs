//! Which partition of `__consumer_offsets` coordinates a group, and how a request that names
//! several groups is dealt out to their coordinators and put together again.

use std::collections::BTreeMap;

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::GroupId;

use crate::request::{GroupRequest, GroupResponse};

/// The partition of `__consumer_offsets` that coordinates the group: Java's hash of the id, its
/// sign taken off, modulo the number of partitions. Tools compute it too.
pub fn offsets_partition(group_id: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has partitions, not {partitions}");
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Kafka's abs gives 0 for the one number whose negative does not fit.
    hash.checked_abs().unwrap_or(0) % partitions
}

/// Who must see a request.
#[derive(Debug)]
pub enum Recipients {
    /// These partitions' coordinators, each its own part; put the answers together with
    /// [`Reassembly`].
    Some(Vec<Fragment>),
    /// Every coordinator of this broker, each the same request (ListGroups).
    All(GroupRequest),
}

/// The part of a request that one partition's coordinator answers.
#[derive(Debug)]
pub struct Fragment {
    /// The partition of `__consumer_offsets`.
    pub partition: i32,
    /// What to ask its coordinator.
    pub request: GroupRequest,
}

/// Deals a request out.
pub fn route(request: GroupRequest, api_version: i16, partitions: i32) -> Recipients {
    let of = |group_id: &GroupId| offsets_partition(group_id, partitions);
    let partition = match &request {
        GroupRequest::ListGroups(_) => return Recipients::All(request),
        GroupRequest::OffsetFetch(fetch) if api_version >= 8 => {
            let parts = deal(fetch.groups.clone(), |group| of(&group.group_id));
            return fragments(parts, |groups| {
                GroupRequest::OffsetFetch(fetch.clone().with_groups(groups))
            });
        }
        GroupRequest::DescribeGroups(describe) => {
            let parts = deal(describe.groups.clone(), of);
            return fragments(parts, |groups| {
                GroupRequest::DescribeGroups(describe.clone().with_groups(groups))
            });
        }
        GroupRequest::DeleteGroups(delete) => {
            let parts = deal(delete.groups_names.clone(), of);
            return fragments(parts, |groups| {
                GroupRequest::DeleteGroups(delete.clone().with_groups_names(groups))
            });
        }
        GroupRequest::OffsetFetch(fetch) => of(&fetch.group_id),
        GroupRequest::OffsetCommit(commit) => of(&commit.group_id),
        GroupRequest::JoinGroup(join) => of(&join.group_id),
        GroupRequest::Heartbeat(heartbeat) => of(&heartbeat.group_id),
        GroupRequest::LeaveGroup(leave) => of(&leave.group_id),
        GroupRequest::SyncGroup(sync) => of(&sync.group_id),
        GroupRequest::OffsetDelete(delete) => of(&delete.group_id),
    };
    Recipients::Some(vec![Fragment { partition, request }])
}

fn deal<T>(items: Vec<T>, partition_of: impl Fn(&T) -> i32) -> BTreeMap<i32, Vec<T>> {
    let mut parts: BTreeMap<i32, Vec<T>> = BTreeMap::new();
    for item in items {
        parts.entry(partition_of(&item)).or_default().push(item);
    }
    parts
}

fn fragments<T>(
    parts: BTreeMap<i32, Vec<T>>,
    request: impl Fn(Vec<T>) -> GroupRequest,
) -> Recipients {
    let fragments = parts.into_iter().map(|(partition, items)| Fragment {
        partition,
        request: request(items),
    });
    Recipients::Some(fragments.collect())
}

/// Puts the coordinators' answers to one request together, in whatever order they come.
#[derive(Debug)]
pub struct Reassembly {
    whole: GroupResponse,
}

impl Reassembly {
    /// Starts from the answer that names no group: the right one if nobody was asked.
    pub fn new(request: &GroupRequest, api_version: i16) -> Reassembly {
        let nobody = match request {
            GroupRequest::OffsetFetch(fetch) => {
                GroupRequest::OffsetFetch(fetch.clone().with_groups(Vec::new()))
            }
            GroupRequest::DescribeGroups(describe) => {
                GroupRequest::DescribeGroups(describe.clone().with_groups(Vec::new()))
            }
            GroupRequest::DeleteGroups(delete) => {
                GroupRequest::DeleteGroups(delete.clone().with_groups_names(Vec::new()))
            }
            other => other.clone(),
        };
        let mut whole = nobody.error_response(api_version, ErrorCode::CoordinatorNotAvailable);
        if let GroupResponse::ListGroups(list) = &mut whole {
            list.error_code = 0;
        }
        Reassembly { whole }
    }

    /// Takes one coordinator's answer in.
    pub fn add(&mut self, part: GroupResponse) {
        match (&mut self.whole, part) {
            // Before version 8 one group is asked for, and its answer is the whole.
            (GroupResponse::OffsetFetch(whole), GroupResponse::OffsetFetch(part))
                if !part.groups.is_empty() =>
            {
                whole.groups.extend(part.groups);
            }
            (GroupResponse::DescribeGroups(whole), GroupResponse::DescribeGroups(part)) => {
                whole.groups.extend(part.groups);
            }
            (GroupResponse::DeleteGroups(whole), GroupResponse::DeleteGroups(part)) => {
                whole.results.extend(part.results);
            }
            (GroupResponse::ListGroups(whole), GroupResponse::ListGroups(part)) => {
                // Kafka fails the list if one of its coordinators is still loading, and passes
                // over those that have moved away.
                if part.error_code != 0 && part.error_code != ErrorCode::NotCoordinator.code() {
                    whole.error_code = part.error_code;
                    whole.groups.clear();
                } else if whole.error_code == 0 {
                    whole.groups.extend(part.groups);
                }
            }
            (whole, part) => *whole = part,
        }
    }

    /// The answer to the whole request.
    pub fn finish(self) -> GroupResponse {
        self.whole
    }
}
