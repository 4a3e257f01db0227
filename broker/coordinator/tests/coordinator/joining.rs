//! JoinGroup, Heartbeat, LeaveGroup and the timers of the join phase.

use std::time::Duration;

use millstream_coordinator::{GroupCoordinatorConfig, GroupRequest, GroupResponse};
use millstream_protocol::ErrorCode;
use millstream_protocol::messages::JoinGroupRequest;

use crate::transcript::{Stage, play};

fn without_delay() -> Stage {
    Stage::new(GroupCoordinatorConfig {
        initial_rebalance_delay: Duration::ZERO,
        ..GroupCoordinatorConfig::default()
    })
}

#[test]
fn unknown_member_id_on_a_group_that_does_not_exist() {
    play(
        "
        join A id=nobody
            A: UNKNOWN_MEMBER_ID nobody
        list X
            X: []
        sync A id=nobody
            A: UNKNOWN_MEMBER_ID
        beat A id=nobody
            A: UNKNOWN_MEMBER_ID
        leave A id=nobody
            A: ok nobody=UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_dynamic_member_without_an_id_is_given_one_from_version_4() {
    play(
        "
        join A v=4
            A: MEMBER_ID_REQUIRED A#1
            append group g gen=0 []
        join B v=3 id=-
        after 3s
            B: joined B#1 gen=1 range leader=B#1 [B#1]
        ",
    );
}

#[test]
fn version_0_has_no_rebalance_timeout_and_takes_the_session_timeout() {
    // The initial delay is extended up to the session timeout: 3 s and 4 s more, not 57.
    play(
        "
        join A v=0 session=7000 rebalance=60000
            append group g gen=0 []
        after 2s
        join B v=0 session=7000 rebalance=60000
        after 2s
        join C v=0 session=7000 rebalance=60000
        after 2900ms
        after 100ms
            A: joined A#1 gen=1 range leader=A#1 [A#1 B#1 C#1]
            B: joined B#1 gen=1 range leader=A#1
            C: joined C#1 gen=1 range leader=A#1
        ",
    );
}

#[test]
fn a_refusal_names_no_protocol_which_is_null_from_version_7() {
    for (version, name) in [(6, Some("".into())), (7, None)] {
        let join = GroupRequest::JoinGroup(JoinGroupRequest::default());
        let response = join.error_response(version, ErrorCode::UnknownMemberId);
        let GroupResponse::JoinGroup(refusal) = response else {
            panic!("{response:?}")
        };
        assert_eq!(refusal.protocol_name, name, "version {version}");
    }
}

#[test]
fn a_pending_member_blocks_the_rebalance_until_it_rejoins() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join C session=45000
            C: MEMBER_ID_REQUIRED C#1
        join A
        join B
        join C session=45000
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1 C#1]
            B: joined B#1 gen=2 range leader=A#1
            C: joined C#1 gen=2 range leader=A#1
        ",
    );
}

#[test]
fn a_pending_member_blocks_the_rebalance_until_its_session_expires() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join C session=45000
            C: MEMBER_ID_REQUIRED C#1
        join A
        join B
        after 44999ms
        after 1ms
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        join C
            C: UNKNOWN_MEMBER_ID C#1
        ",
    );
}

#[test]
fn a_pending_member_that_leaves_lets_the_rebalance_go_on() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join C
            C: MEMBER_ID_REQUIRED C#1
        join A
        join B
        leave C
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
            C: ok C#1=ok
        ",
    );
}

#[test]
fn requests_that_are_wrong_whatever_the_state() {
    play(
        "
        join A session=5999
            A: INVALID_SESSION_TIMEOUT
        join A session=1800001
            A: INVALID_SESSION_TIMEOUT
        join A group=
            A: INVALID_GROUP_ID
        sync A group=
            A: INVALID_GROUP_ID
        beat A group=
            A: INVALID_GROUP_ID
        leave A group=
            A: INVALID_GROUP_ID
        delete-offset X group=
            X: INVALID_GROUP_ID
        list X
            X: []
        ",
    );
}

#[test]
fn no_common_protocol_or_another_type() {
    let mut stage = Stage::default();
    stage.play(
        "
        join A protocols=
            A: INCONSISTENT_GROUP_PROTOCOL
        join A type=
            A: INCONSISTENT_GROUP_PROTOCOL
        list X
            X: []
        ",
    );
    stage.form_pair();
    stage.play(
        "
        join C protocols=rr:
            C: INCONSISTENT_GROUP_PROTOCOL
        join C type=connect
            C: INCONSISTENT_GROUP_PROTOCOL
        join B protocols=rr:
            B: INCONSISTENT_GROUP_PROTOCOL B#1
        ",
    );
}

#[test]
fn the_protocol_with_most_votes_wins() {
    play(
        "
        join A v=3 protocols=range:,rr:
            append group g gen=0 []
        join B v=3 protocols=rr:,range:
        join C v=3 protocols=sticky:,rr:,range:
        after 6s
            A: joined A#1 gen=1 rr leader=A#1 [A#1 B#1 C#1]
            B: joined B#1 gen=1 rr leader=A#1
            C: joined C#1 gen=1 rr leader=A#1
        ",
    );
}

#[test]
fn group_max_size() {
    let mut stage = Stage::new(GroupCoordinatorConfig {
        max_group_size: 2,
        ..GroupCoordinatorConfig::default()
    });
    stage.form_pair();
    stage.play(
        "
        join C
            C: GROUP_MAX_SIZE_REACHED
        join A
        join C id=-
            C: MEMBER_ID_REQUIRED C#1
        join C
        join B
            B: GROUP_MAX_SIZE_REACHED
        ",
    );
}

#[test]
fn members_that_never_join_are_bounded() {
    let mut stage = Stage::new(GroupCoordinatorConfig {
        max_pending_members: 1,
        ..GroupCoordinatorConfig::default()
    });
    stage.play(
        "
        join A
            A: MEMBER_ID_REQUIRED A#1
            append group g gen=0 []
        join B
            B: GROUP_MAX_SIZE_REACHED
        join A
        join B
            B: MEMBER_ID_REQUIRED B#1
        ",
    );
}

#[test]
fn loading_not_coordinator_and_stopping() {
    play(
        "
        begin-loading
        join A
            A: COORDINATOR_LOAD_IN_PROGRESS
        sync A
            A: COORDINATOR_LOAD_IN_PROGRESS
        beat A
            A: ok
        leave A
            A: COORDINATOR_LOAD_IN_PROGRESS
        commit-offset A
            A: COORDINATOR_LOAD_IN_PROGRESS
        fetch-offset A
            A: COORDINATOR_LOAD_IN_PROGRESS
        fetch-offset A v=7
            A: COORDINATOR_LOAD_IN_PROGRESS
        fetch-offset A v=1
            A: t=-1 epoch=-1 ''COORDINATOR_LOAD_IN_PROGRESS
        describe A
            A: COORDINATOR_LOAD_IN_PROGRESS  / []
        list A
            A: COORDINATOR_LOAD_IN_PROGRESS
        unload NOT_COORDINATOR
        join A
            A: NOT_COORDINATOR
        beat A
            A: NOT_COORDINATOR
        ",
    );
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A
        unload COORDINATOR_NOT_AVAILABLE
            A: COORDINATOR_NOT_AVAILABLE A#1
        beat B
            B: COORDINATOR_NOT_AVAILABLE
        ",
    );
}

#[test]
fn the_first_join_of_an_empty_group_waits_for_more_members() {
    // Each new member within the delay extends it, up to the longest rebalance timeout.
    play(
        "
        join A v=3 rebalance=8000
            append group g gen=0 []
        after 2s
        join B v=3 rebalance=8000
        after 3s
        join C v=3 rebalance=8000
        after 2900ms
        after 100ms
            A: joined A#1 gen=1 range leader=A#1 [A#1 B#1 C#1]
            B: joined B#1 gen=1 range leader=A#1
            C: joined C#1 gen=1 range leader=A#1
        ",
    );
    play(
        "
        join A v=3
            append group g gen=0 []
        after 2999ms
        after 1ms
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        ",
    );
}

#[test]
fn without_a_delay_the_first_member_does_not_wait() {
    without_delay().play(
        "
        join A
            A: MEMBER_ID_REQUIRED A#1
            append group g gen=0 []
        join A
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        sync A assign=A#1:a
            append group g gen=1 [A#1:a]
            A: assigned a
        ",
    );
}

#[test]
fn stable_and_a_follower_joins_with_the_same_metadata() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join B
            B: joined B#1 gen=1 range leader=A#1
        describe X
            X: ok Stable consumer/range [A#1::a B#1::b]
        ",
    );
}

#[test]
fn stable_and_a_follower_joins_with_other_metadata() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join B protocols=range:more
        beat A
            A: REBALANCE_IN_PROGRESS
        join A
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        ",
    );
}

#[test]
fn stable_and_the_leader_joins() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A
        beat B
            B: REBALANCE_IN_PROGRESS
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        ",
    );
}

#[test]
fn completing_rebalance_and_the_same_metadata() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        join A
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
        join B
            B: joined B#1 gen=2 range leader=A#1
        sync A
            append group g gen=2 [A#1: B#1:]
            A: assigned
        ",
    );
}

#[test]
fn completing_rebalance_and_other_metadata() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        sync B
        join B protocols=range:more
            B: REBALANCE_IN_PROGRESS
        join A
            A: joined A#1 gen=3 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=3 range leader=A#1
        ",
    );
}

#[test]
fn members_that_have_not_rejoined_by_the_rebalance_timeout_are_removed() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A rebalance=20000
        after 9s
        beat B
            B: REBALANCE_IN_PROGRESS
        after 9s
        beat B
            B: REBALANCE_IN_PROGRESS
        after 9s
        beat B
            B: REBALANCE_IN_PROGRESS
        after 9s
        beat B
            B: REBALANCE_IN_PROGRESS
        after 9s
        beat B
            B: REBALANCE_IN_PROGRESS
        after 9s
        beat B
            B: REBALANCE_IN_PROGRESS
        after 5900ms
        after 100ms
            A: joined A#1 gen=2 range leader=A#1 [A#1]
        beat B
            B: UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_member_whose_session_expires_is_removed() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        after 9999ms
        beat A
            A: ok
        after 1ms
        beat A
            A: REBALANCE_IN_PROGRESS
        join A
            A: joined A#1 gen=2 range leader=A#1 [A#1]
        beat B
            B: UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_leader_that_does_not_rejoin_is_replaced() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join B protocols=range:more
        after 10s
            B: joined B#1 gen=2 range leader=B#1 [B#1]
        ",
    );
}

#[test]
fn a_member_that_is_removed_while_it_waits_is_waited_for_no_more() {
    Stage::with_stable_pair().play(
        "
        join C
            C: MEMBER_ID_REQUIRED C#1
        join C
        leave X members=C#1
            C: UNKNOWN_MEMBER_ID
            X: ok C#1=ok
        join A
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        ",
    );
}

#[test]
fn heartbeats() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        beat A
            A: ok
        beat A gen=0
            A: ILLEGAL_GENERATION
        beat A id=nobody
            A: UNKNOWN_MEMBER_ID
        beat A instance=i
            A: UNKNOWN_MEMBER_ID
        join A
        beat B
            B: REBALANCE_IN_PROGRESS
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        beat B
            B: ok
        leave A members=A#1,B#1
            append group g gen=3 []
            A: ok A#1=ok B#1=ok
        beat A
            A: UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_batch_of_members_leaves_with_an_answer_for_each() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        leave A members=B#1,nobody
            A: ok B#1=ok nobody=UNKNOWN_MEMBER_ID
        beat A
            A: REBALANCE_IN_PROGRESS
        join A
            A: joined A#1 gen=2 range leader=A#1 [A#1]
        leave A v=2
            append group g gen=3 []
            A: ok
        leave A v=2
            A: UNKNOWN_MEMBER_ID
        describe X
            X: ok Empty consumer/ []
        ",
    );
}

#[test]
fn nobody_has_to_join_again_for_one_who_was_not_there_to_leave() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        leave X members=nobody
            X: ok nobody=UNKNOWN_MEMBER_ID
        beat A
            A: ok
        beat B
            B: ok
        ",
    );
}

#[test]
fn a_member_that_leaves_has_its_waiting_requests_answered() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A
        leave X members=A#1
            A: UNKNOWN_MEMBER_ID
            X: ok A#1=ok
        join B
            B: joined B#1 gen=2 range leader=B#1 [B#1]
        ",
    );
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        sync B
        leave X members=B#1
            B: UNKNOWN_MEMBER_ID
            X: ok B#1=ok
        ",
    );
}

#[test]
fn members_that_leave_leave_no_timers() {
    let mut stage = Stage::default();
    let before = stage.bench.coordinator.next_deadline();
    stage.form_pair();
    stage.play(
        "
        join C
            C: MEMBER_ID_REQUIRED C#1
        leave X members=A#1,C#1
            X: ok A#1=ok C#1=ok
        join B
            B: joined B#1 gen=2 range leader=B#1 [B#1]
        leave B
            append group g gen=3 []
            B: ok B#1=ok
        ",
    );
    assert_eq!(stage.bench.coordinator.next_deadline(), before);
}

#[test]
fn unknown_groups_are_described_as_dead() {
    play(
        "
        describe X v=5
            X: ok Dead / []
        describe X v=6
            X: GROUP_ID_NOT_FOUND Dead / []
        ",
    );
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        commit-offset admin group=simple offset=1
            append offset simple t=1
            admin: ok
        list X
            X: [g/Stable/consumer simple/Empty/]
        list X states=stable
            X: [g/Stable/consumer]
        list X states=Empty,Dead
            X: [simple/Empty/]
        list X types=Classic
            X: [g/Stable/consumer simple/Empty/]
        list X types=share,consumer
            X: []
        ",
    );
}

#[test]
fn a_loaded_group_is_as_it_was_with_its_sessions_begun_anew() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        after 9s
        reload
        describe X
            X: ok Stable consumer/range [A#1::a B#1::b]
        after 9s
        beat A
            A: ok
        sync B
            B: assigned b
        join B
            B: joined B#1 gen=1 range leader=A#1
        after 1s
        beat A
            A: REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn a_new_member_whose_client_went_away_is_dropped_after_five_minutes() {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A rebalance=1000000 session=600000
        join B rebalance=1000000 session=600000
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        sync A
            append group g gen=2 [A#1: B#1:]
            A: assigned
        sync B
            B: assigned
        join C v=3
        after 299999ms
        after 1ms
            C: UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_rebalance_timeout_of_nothing_does_not_spin() {
    play(
        "
        join A v=3 rebalance=0
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
            append group g gen=2 []
        ",
    );
}

#[test]
fn a_protocol_named_twice_counts_once() {
    play(
        "
        join A v=3 id=- protocols=range:,range:
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        ",
    );
}
