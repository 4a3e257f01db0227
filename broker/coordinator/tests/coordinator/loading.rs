//! What a coordinator takes from its log, and from when until when it answers.

use millstream_coordinator::{GroupCoordinatorConfig, Input, ReplayError};
use millstream_protocol::ErrorCode;
use millstream_protocol::group_records::{GroupMetadataValue, GroupRecord, MemberMetadata};

use crate::bench::Bench;
use crate::transcript::Stage;

#[test]
fn a_coordinator_is_active_from_when_it_is_loaded_until_it_is_unloaded() {
    let mut bench = Bench::loading(GroupCoordinatorConfig::default());
    assert!(!bench.coordinator.is_active());
    bench.input(Input::Loaded);
    assert!(bench.coordinator.is_active());
    bench.input(Input::Unload(ErrorCode::NotCoordinator));
    assert!(!bench.coordinator.is_active());
    assert_eq!(
        bench.coordinator.next_deadline(),
        None,
        "nothing is left to do"
    );
}

#[test]
fn the_topics_of_all_offsets_are_known() {
    let mut stage = Stage::default();
    stage.play(
        "
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        commit-offset admin topic=u offset=2
            append offset g u=2
            admin: ok
        commit-offset admin group=other offset=3
            append offset other t=3
            admin: ok
        reload
        ",
    );
    let topics = stage.bench.coordinator.topics_with_offsets();
    let topics: Vec<String> = topics.map(|topic| topic.to_string()).collect();
    assert_eq!(topics, ["t", "u", "t"]);
}

/// The record of a group with these members: their member ids and instance ids.
fn group(protocol: Option<&'static str>, members: &[(&'static str, &'static str)]) -> GroupRecord {
    let members = members
        .iter()
        .map(|(member_id, instance_id)| MemberMetadata {
            member_id: (*member_id).into(),
            group_instance_id: Some((*instance_id).into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: 60_000,
            session_timeout: 10_000,
            subscription: Default::default(),
            assignment: Default::default(),
        });
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 1,
        protocol: protocol.map(Into::into),
        leader: None,
        current_state_timestamp: 0,
        members: members.collect(),
    };
    GroupRecord::GroupMetadata {
        group: "g".into(),
        value: Some(value),
    }
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let twice = |member: &'static str| {
        Err(ReplayError::MemberTwice {
            group: "g".into(),
            member: member.into(),
        })
    };
    let no_protocol = ReplayError::NoProtocol { group: "g".into() };
    for (record, outcome) in [
        (group(Some("range"), &[("a", "i"), ("b", "j")]), Ok(())),
        (group(Some("range"), &[("a", "i"), ("a", "j")]), twice("a")),
        (group(Some("range"), &[("a", "i"), ("b", "i")]), twice("b")),
        (group(None, &[("a", "i")]), Err(no_protocol)),
        (group(None, &[]), Ok(())),
    ] {
        let mut bench = Bench::loading(GroupCoordinatorConfig::default());
        assert_eq!(
            bench.coordinator.replay(record.clone()),
            outcome,
            "{record:?}"
        );
    }
}
