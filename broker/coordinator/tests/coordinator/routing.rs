//! Dealing requests out to coordinators, and the way back.

use millstream_coordinator::{
    GroupRequest, GroupResponse, Reassembly, Recipients, offsets_partition, route,
};
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::list_groups_response::ListedGroup;
use millstream_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use millstream_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponseTopic,
};
use millstream_protocol::messages::{
    DescribeGroupsRequest, GroupId, HeartbeatRequest, ListGroupsRequest, ListGroupsResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};

#[test]
fn groups_have_the_partition_that_kafka_gives_them() {
    // Java: Math.abs("…".hashCode()) % 50, as Kafka's Utils.abs has it.
    assert_eq!(offsets_partition("", 50), 0);
    assert_eq!(offsets_partition("a", 50), 47);
    assert_eq!(
        offsets_partition("console-consumer-12345", 50),
        java("console-consumer-12345")
    );
    // Its hash is the one number that has no negative.
    assert_eq!(offsets_partition("polygenelubricants", 50), 0);
    assert_eq!(offsets_partition("groupé😀", 50), java("groupé😀"));
}

/// Java's hash, another way: by powers of 31.
fn java(id: &str) -> i32 {
    let units: Vec<u16> = id.encode_utf16().collect();
    let hash = units.iter().rev().fold((0i64, 1i64), |(sum, power), unit| {
        (
            (sum + i64::from(*unit) * power) % (1 << 32),
            power * 31 % (1 << 32),
        )
    });
    let hash = hash.0 as u32 as i32;
    hash.unsigned_abs() as i32 % 50
}

#[test]
fn offsets_are_asked_for_one_group_before_version_8_and_for_several_from_then_on() {
    let ids = ["a", "b", "c"].map(|id| GroupId(id.into()));
    let groups = ids.map(|id| OffsetFetchRequestGroup::default().with_group_id(id));
    let several = OffsetFetchRequest::default().with_groups(groups.to_vec());
    let one = OffsetFetchRequest::default().with_group_id(GroupId("a".into()));
    for (version, fetch, partitions) in [(7, one, vec![47]), (8, several, vec![47, 48, 49])] {
        let request = GroupRequest::OffsetFetch(fetch);
        let Recipients::Some(fragments) = route(request, version, 50) else {
            panic!("not for all")
        };
        let asked: Vec<i32> = fragments.iter().map(|part| part.partition).collect();
        assert_eq!(asked, partitions, "version {version}");
    }
}

#[test]
fn the_offsets_of_several_groups_are_put_together() {
    let request = GroupRequest::OffsetFetch(OffsetFetchRequest::default());
    let part = |id: &'static str, error: i16| {
        OffsetFetchResponseGroup::default()
            .with_group_id(GroupId(id.into()))
            .with_error_code(error)
    };
    let answer =
        |groups| GroupResponse::OffsetFetch(OffsetFetchResponse::default().with_groups(groups));
    let mut whole = Reassembly::new(&request, 8);
    whole.add(answer(vec![part("a", 0), part("b", 0)]));
    whole.add(answer(vec![part("c", ErrorCode::NotCoordinator.code())]));
    let both = vec![
        part("a", 0),
        part("b", 0),
        part("c", ErrorCode::NotCoordinator.code()),
    ];
    assert_eq!(whole.finish(), answer(both));
}

#[test]
fn the_offsets_of_one_group_come_back_as_they_are_before_version_8() {
    let request = GroupRequest::OffsetFetch(OffsetFetchRequest::default());
    let nothing = OffsetFetchResponse::default();
    let topics = vec![OffsetFetchResponseTopic::default()];
    let error = ErrorCode::NotCoordinator.code();
    for answer in [
        nothing.clone(),
        nothing.clone().with_topics(topics),
        nothing.with_error_code(error),
    ] {
        let mut whole = Reassembly::new(&request, 7);
        whole.add(GroupResponse::OffsetFetch(answer.clone()));
        assert_eq!(whole.finish(), GroupResponse::OffsetFetch(answer));
    }
}

#[test]
fn a_request_for_several_groups_is_dealt_out_and_put_together() {
    let ids = ["a", "b", "c", "a"].map(|id| GroupId(id.into()));
    let describe = DescribeGroupsRequest::default().with_groups(ids.to_vec());
    let request = GroupRequest::DescribeGroups(describe);
    let mut whole = Reassembly::new(&request, 6);
    let Recipients::Some(fragments) = route(request, 6, 2) else {
        panic!("not for all")
    };
    assert_eq!(fragments.len(), 2);
    for fragment in fragments {
        let GroupRequest::DescribeGroups(part) = &fragment.request else {
            panic!("{fragment:?}")
        };
        assert!(
            part.groups
                .iter()
                .all(|id| offsets_partition(id, 2) == fragment.partition)
        );
        whole.add(
            fragment
                .request
                .error_response(6, ErrorCode::NotCoordinator),
        );
    }
    let GroupResponse::DescribeGroups(whole) = whole.finish() else {
        panic!("another API")
    };
    let mut answered: Vec<&str> = whole
        .groups
        .iter()
        .map(|group| group.group_id.as_str())
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, ["a", "a", "b", "c"]);
}

#[test]
fn a_request_for_one_group_comes_back_as_it_is() {
    let request = GroupRequest::Heartbeat(HeartbeatRequest::default());
    let mut whole = Reassembly::new(&request, 4);
    let Recipients::Some(fragments) = route(request, 4, 50) else {
        panic!("not for all")
    };
    assert_eq!(fragments.len(), 1);
    let answer = fragments[0]
        .request
        .error_response(4, ErrorCode::UnknownMemberId);
    whole.add(answer.clone());
    assert_eq!(whole.finish(), answer);
}

#[test]
fn a_list_passes_over_coordinators_that_moved_and_fails_with_one_that_loads() {
    let request = GroupRequest::ListGroups(ListGroupsRequest::default());
    let part = |code: i16| {
        let groups = if code == 0 {
            vec![ListedGroup::default()]
        } else {
            Vec::new()
        };
        let list = ListGroupsResponse::default()
            .with_error_code(code)
            .with_groups(groups);
        GroupResponse::ListGroups(list)
    };
    let list = |parts: [i16; 3]| {
        let mut whole = Reassembly::new(&request, 5);
        parts.into_iter().for_each(|code| whole.add(part(code)));
        let GroupResponse::ListGroups(whole) = whole.finish() else {
            panic!("another API")
        };
        (whole.error_code, whole.groups.len())
    };
    let (moved, loading) = (
        ErrorCode::NotCoordinator.code(),
        ErrorCode::CoordinatorLoadInProgress.code(),
    );
    assert_eq!(list([0, 0, 0]), (0, 3));
    assert_eq!(list([0, moved, 0]), (0, 2));
    assert_eq!(list([0, loading, 0]), (loading, 0));
}
