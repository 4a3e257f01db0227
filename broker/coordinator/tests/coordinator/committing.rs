//! OffsetCommit, OffsetFetch, what becomes of offsets, and DeleteGroups and OffsetDelete.

use std::time::Duration;

use millstream_coordinator::{GroupCoordinatorConfig, UnknownPartitions};
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millstream_protocol::messages::offset_commit_response::OffsetCommitResponsePartition;
use millstream_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};

use crate::transcript::{Stage, play};

#[test]
fn a_member_commits_and_reads_back() {
    Stage::with_stable_pair().play(
        "
        commit-offset A offset=42 epoch=3 metadata=where-I-was
            append offset g t=42
            A: ok
        fetch-offset A
            A: t=42 epoch=3 'where-I-was'
        fetch-offset A v=1
            A: t=42 epoch=3 'where-I-was'
        fetch-offset A topic=*
            A: t=42 epoch=3 'where-I-was'
        fetch-offset A v=7 topic=*
            A: t=42 epoch=3 'where-I-was'
        reload
        fetch-offset A
            A: t=42 epoch=3 'where-I-was'
        ",
    );
}

/// Offsets are kept by name, and may outlast for a while the topic that they are of.
#[test]
fn an_offset_of_another_topic_of_that_name_is_none() {
    play(
        "
        commit-offset admin v=10 topic-id=1 offset=7
            append offset g t=7
            admin: ok
        fetch-offset X v=10 topic-id=1
            X: t=7 epoch=-1 ''
        fetch-offset X v=10 topic-id=2
            X: t=-1 epoch=-1 ''
        fetch-offset X
            X: t=7 epoch=-1 ''
        fetch-offset X v=10 topic=*
            X: t=7 epoch=-1 ''
        reload
        fetch-offset X v=10 topic-id=2
            X: t=-1 epoch=-1 ''
        commit-offset admin offset=8
            append offset g t=8
            admin: ok
        fetch-offset X v=10 topic-id=2
            X: t=8 epoch=-1 ''
        ",
    );
}

#[test]
fn what_was_never_committed_is_no_error() {
    play(
        "
        fetch-offset A
            A: t=-1 epoch=-1 ''
        fetch-offset A v=1
            A: t=-1 epoch=-1 ''
        fetch-offset A v=7 stable=1
            A: t=-1 epoch=-1 ''
        fetch-offset A topic=*
            A: nothing
        ",
    );
}

#[test]
fn commits_of_those_who_are_no_members() {
    Stage::with_stable_pair().play(
        "
        commit-offset A id=nobody gen=1
            A: UNKNOWN_MEMBER_ID
        commit-offset A gen=0
            A: ILLEGAL_GENERATION
        commit-offset A instance=i
            A: UNKNOWN_MEMBER_ID
        commit-offset admin
            admin: UNKNOWN_MEMBER_ID
        commit-offset A gen=-1
            A: ILLEGAL_GENERATION
        ",
    );
}

#[test]
fn an_empty_group_takes_commits_from_anybody() {
    Stage::with_stable_pair().play(
        "
        leave A members=A#1,B#1
            append group g gen=2 []
            A: ok A#1=ok B#1=ok
        commit-offset admin offset=7
            append offset g t=7
            admin: ok
        commit-offset A offset=8
            A: UNKNOWN_MEMBER_ID
        commit-offset A offset=8 gen=0
            A: UNKNOWN_MEMBER_ID
        fetch-offset A
            A: t=7 epoch=-1 ''
        ",
    );
}

#[test]
fn a_group_that_does_not_exist_is_made_for_a_commit_without_a_generation() {
    play(
        "
        commit-offset admin offset=7
            append offset g t=7
            admin: ok
        describe X
            X: ok Empty / []
        commit-offset A group=other gen=1
            A: GROUP_ID_NOT_FOUND
        commit-offset A group=other gen=0
            A: GROUP_ID_NOT_FOUND
        commit-offset A group=other gen=1 v=8
            A: ILLEGAL_GENERATION
        describe X group=other
            X: GROUP_ID_NOT_FOUND Dead / []
        commit-offset admin group= offset=1
            append offset  t=1
            admin: ok
        fetch-offset admin group=
            admin: t=1 epoch=-1 ''
        ",
    );
}

#[test]
fn commits_while_the_group_completes_a_rebalance() {
    Stage::with_stable_pair().play(
        "
        join A
        commit-offset B offset=5
            append offset g t=5
            B: ok
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        commit-offset B offset=6
            B: REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn a_commit_renews_the_session() {
    Stage::with_stable_pair().play(
        "
        after 9s
        beat A
            A: ok
        commit-offset B offset=1
            append offset g t=1
            B: ok
        after 9s
        beat A
            A: ok
        after 1s
        beat A
            A: REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn metadata_that_is_too_large() {
    play(
        "
        commit-offset admin metadata-length=4097
            admin: OFFSET_METADATA_TOO_LARGE
        describe X
            X: GROUP_ID_NOT_FOUND Dead / []
        commit-offset admin metadata-length=4096 offset=3
            append offset g t=3
            admin: ok
        ",
    );
}

/// In UTF-16, as Java counts: a letter is one, whatever its bytes, and an emoji is two.
#[test]
fn the_length_of_metadata_is_counted_as_java_counts() {
    play(
        "
        commit-offset admin metadata=é metadata-length=4096 offset=1
            append offset g t=1
            admin: ok
        commit-offset admin metadata=é metadata-length=4097
            admin: OFFSET_METADATA_TOO_LARGE
        commit-offset admin metadata=😀 metadata-length=2048 offset=2
            append offset g t=2
            admin: ok
        commit-offset admin metadata=😀 metadata-length=2049
            admin: OFFSET_METADATA_TOO_LARGE
        ",
    );
}

#[test]
fn readers_see_an_offset_when_it_is_committed() {
    play(
        "
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        hold
        commit-offset admin offset=2
            append offset g t=2
        fetch-offset A
            A: t=1 epoch=-1 ''
        fetch-offset B stable=1
        commit
            admin: ok
            B: t=2 epoch=-1 ''
        fetch-offset A stable=1
            A: t=2 epoch=-1 ''
        ",
    );
}

#[test]
fn offsets_without_a_group_expire_by_their_commit() {
    play(
        "
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        after 6d
        commit-offset admin topic=u offset=2
            append offset g u=2
            admin: ok
        after 86399s
        after 2s
            append no-offset g t
        after 6d
            append no-offset g u; no-group g
        describe X
            X: GROUP_ID_NOT_FOUND Dead / []
        ",
    );
}

#[test]
fn offsets_of_an_empty_group_expire_by_the_time_it_became_empty() {
    Stage::with_stable_pair().play(
        "
        commit-offset A offset=1
            append offset g t=1
            A: ok
        leave A members=A#1,B#1
            append group g gen=2 []
            A: ok A#1=ok B#1=ok
        after 6d
        commit-offset admin topic=u offset=2
            append offset g u=2
            admin: ok
        after 1d
        after 600s
            append no-offset g t; no-offset g u; no-group g
        ",
    );
}

#[test]
fn a_coordinator_that_loads_an_empty_group_knows_since_when_it_is_empty() {
    Stage::with_stable_pair().play(
        "
        commit-offset A offset=1
            append offset g t=1
            A: ok
        leave A members=A#1,B#1
            append group g gen=2 []
            A: ok A#1=ok B#1=ok
        after 6d
        commit-offset admin offset=2
            append offset g t=2
            admin: ok
        reload
        after 1d
            append no-offset g t; no-group g
        ",
    );
}

#[test]
fn offsets_of_topics_that_a_stable_group_is_subscribed_to_cannot_be_deleted() {
    Stage::default().play(
        "
        join A v=3 session=1800000 rebalance=1800000 protocols=range:topic/t
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        sync A
            append group g gen=1 [A#1:]
            A: assigned
        commit-offset A offset=1
            append offset g t=1
            A: ok
        commit-offset A topic=u offset=2
            append offset g u=2
            A: ok
        reload
        delete-offset X
            X: ok GROUP_SUBSCRIBED_TO_TOPIC
        delete-offset X topic=u
            append no-offset g u
            X: ok ok
        fetch-offset A topic=*
            A: t=1 epoch=-1 ''
        ",
    );
}

/// A coordinator that keeps offsets for a minute.
fn forgetful() -> Stage {
    Stage::new(GroupCoordinatorConfig {
        offsets_retention: Duration::from_secs(60),
        ..GroupCoordinatorConfig::default()
    })
}

#[test]
fn offsets_of_a_stable_group_expire_for_topics_it_is_not_subscribed_to() {
    forgetful().play(
        "
        join A v=3 session=1800000 rebalance=1800000 protocols=range:topic/t
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        sync A
            append group g gen=1 [A#1:]
            A: assigned
        commit-offset A offset=1
            append offset g t=1
            A: ok
        commit-offset A topic=u offset=2
            append offset g u=2
            A: ok
        after 600s
            append no-offset g u
        fetch-offset A topic=*
            A: t=1 epoch=-1 ''
        ",
    );
}

#[test]
fn offsets_of_a_stable_group_whose_subscriptions_are_unknown_stay() {
    forgetful().play(
        "
        join A v=3 type=connect session=1800000 rebalance=1800000
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        sync A type=connect
            append group g gen=1 [A#1:]
            A: assigned
        commit-offset A offset=1
            append offset g t=1
            A: ok
        after 600s
        fetch-offset A topic=*
            A: t=1 epoch=-1 ''
        ",
    );
}

#[test]
fn an_offset_keeps_to_the_retention_time_its_client_named() {
    play(
        "
        commit-offset admin v=4 retention=1000 offset=1
            append offset g t=1
            admin: ok
        after 600s
            append no-offset g t; no-group g
        ",
    );
}

#[test]
fn a_group_with_members_keeps_its_offsets_and_itself() {
    Stage::with_stable_pair().play(
        "
        commit-offset A offset=1
            append offset g t=1
            A: ok
        delete X
            X: NON_EMPTY_GROUP
        leave A members=A#1,B#1
            append group g gen=2 []
            A: ok A#1=ok B#1=ok
        hold
        delete X
            append no-offset g t; no-group g
        delete Y
            Y: GROUP_ID_NOT_FOUND
        describe Z
            Z: ok Empty consumer/ []
        commit
            X: ok
        describe Z
            Z: GROUP_ID_NOT_FOUND Dead / []
        fetch-offset A
            A: t=-1 epoch=-1 ''
        ",
    );
}

#[test]
fn a_group_is_listed_until_its_deletion_is_committed() {
    play(
        "
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        hold
        delete X
            append no-offset g t; no-group g
        list X
            X: [g/Empty/]
        commit
            X: ok
        list X
            X: []
        ",
    );
}

#[test]
fn a_group_that_is_made_again_while_it_goes_is_listed_once() {
    play(
        "
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        hold
        commit-offset admin offset=2
            append offset g t=2
        delete X
            append no-offset g t; no-group g
        commit-offset admin offset=3
            append offset g t=3
        commit
            admin: ok
        list X
            X: [g/Empty/]
        commit
            X: ok
        list X
            X: []
        commit
            admin: ok
        list X
            X: [g/Empty/]
        ",
    );
}

#[test]
fn a_group_that_waits_for_a_member_to_join_with_its_id_goes_if_it_has_no_offsets() {
    play(
        "
        join A session=1800000
            A: MEMBER_ID_REQUIRED A#1
            append group g gen=0 []
        after 600s
            append no-group g
        join A
            A: UNKNOWN_MEMBER_ID A#1
        ",
    );
}

#[test]
fn offsets_of_groups_that_are_not_consumers_go_only_when_the_group_is_empty() {
    Stage::default().play(
        "
        delete-offset X
            X: GROUP_ID_NOT_FOUND
        join A v=3 type=connect
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        delete-offset X
            X: NON_EMPTY_GROUP
        leave A
            append group g gen=2 []
            A: ok A#1=ok
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        delete-offset X
            append no-offset g t
            X: ok ok
        ",
    );
}

#[test]
fn offsets_of_a_deleted_topic_go() {
    play(
        "
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        commit-offset admin topic=u offset=2
            append offset g u=2
            admin: ok
        topic-deleted t
            append no-offset g t
        fetch-offset X topic=*
            X: u=2 epoch=-1 ''
        ",
    );
}

#[test]
fn partitions_that_do_not_exist_are_answered_one_by_one() {
    let partition = |index| OffsetCommitRequestPartition::default().with_partition_index(index);
    let topic = |name: &'static str, count| {
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(name.into()))
            .with_partitions((0..count).map(partition).collect())
    };
    let mut request =
        OffsetCommitRequest::default().with_topics(vec![topic("there", 3), topic("gone", 1)]);
    let partitions = |topic: &OffsetCommitRequestTopic| match topic.name.as_str() {
        "there" => Ok(2),
        _ => Err(ErrorCode::UnknownTopicOrPartition),
    };
    let unknown = UnknownPartitions::take_from(&mut request, &partitions);
    assert_eq!(request.topics, [topic("there", 2)]);

    let answer = |index, code| {
        OffsetCommitResponsePartition::default()
            .with_partition_index(index)
            .with_error_code(code)
    };
    let answered = OffsetCommitResponse::default().with_topics(vec![
        millstream_protocol::messages::offset_commit_response::OffsetCommitResponseTopic::default()
            .with_name(TopicName("there".into()))
            .with_partitions(vec![answer(0, 0), answer(1, 0)]),
    ]);
    let whole = unknown.merge(answered);
    assert_eq!(
        whole.topics[0].partitions,
        [answer(2, 3), answer(0, 0), answer(1, 0)]
    );
    assert_eq!(whole.topics[1].partitions, [answer(0, 3)]);
}
