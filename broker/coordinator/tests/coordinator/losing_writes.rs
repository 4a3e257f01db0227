//! Writes that fail: nothing of them is seen, and whoever waited learns of it.

use crate::transcript::{Stage, play};

#[test]
fn a_commit_that_fails_is_not_read() {
    play(
        "
        hold
        commit-offset admin offset=1
            append offset g t=1
        fetch-offset A stable=1
        fail NOT_ENOUGH_REPLICAS
            admin: COORDINATOR_NOT_AVAILABLE
            A: t=-1 epoch=-1 ''
        describe X
            X: GROUP_ID_NOT_FOUND Dead / []
        commit-offset admin offset=2
            append offset g t=2
        commit
            admin: ok
        fetch-offset A
            A: t=2 epoch=-1 ''
        ",
    );
}

#[test]
fn an_assignment_that_fails_rebalances() {
    Stage::with_stable_pair().play(
        "
        join A
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        hold
        sync B
        sync A assign=A#1:x
            append group g gen=2 [A#1:x B#1:]
        fail KAFKA_STORAGE_ERROR
            A: NOT_COORDINATOR
            B: NOT_COORDINATOR
        beat A
            A: REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn a_group_whose_creation_fails_was_never_there() {
    play(
        "
        hold
        join A v=3
            append group g gen=0 []
        list X
            X: []
        fail REQUEST_TIMED_OUT
            A: COORDINATOR_NOT_AVAILABLE A#1
        list X
            X: []
        join A
            A: UNKNOWN_MEMBER_ID A#1
        ",
    );
}

#[test]
fn a_group_whose_creation_fails_stays_for_what_is_on_its_way_to_it() {
    play(
        "
        hold
        commit-offset admin offset=1
            append offset g t=1
        commit-offset admin offset=2
            append offset g t=2
        fail REQUEST_TIMED_OUT
            admin: COORDINATOR_NOT_AVAILABLE
        commit
            admin: ok
        describe X
            X: ok Empty / []
        ",
    );
}

#[test]
fn a_group_whose_creation_fails_leaves_no_timers_to_the_next_of_its_name() {
    play(
        "
        hold
        join A v=3
            append group g gen=0 []
        fail REQUEST_TIMED_OUT
            A: COORDINATOR_NOT_AVAILABLE A#1
        join B
            B: MEMBER_ID_REQUIRED B#1
            append group g gen=0 []
        commit
        after 3s
        join B
        after 2999ms
        after 1ms
            B: joined B#1 gen=1 range leader=B#1 [B#1]
        ",
    );
}

#[test]
fn nothing_is_left_to_do_for_a_group_whose_creation_fails() {
    let pending = "
        hold
        join A
            A: MEMBER_ID_REQUIRED A#1
            append group g gen=0 []
        fail REQUEST_TIMED_OUT
        ";
    let joining = "
        hold
        join A v=3
            append group g gen=0 []
        fail REQUEST_TIMED_OUT
            A: COORDINATOR_NOT_AVAILABLE A#1
        ";
    let syncing = "
        hold
        join A v=3
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        fail REQUEST_TIMED_OUT
        ";
    for transcript in [pending, joining, syncing] {
        let mut stage = Stage::default();
        let before = stage.bench.coordinator.next_deadline();
        stage.play(transcript);
        assert_eq!(
            stage.bench.coordinator.next_deadline(),
            before,
            "{transcript}"
        );
    }
}

#[test]
fn a_static_member_whose_return_fails_keeps_its_old_id() {
    let mut stage = Stage::default();
    stage.play(
        "
        join A instance=a v=5
            append group g gen=0 []
        after 3s
            A: joined a#1 gen=1 range leader=a#1 [a#1]
        sync A instance=a assign=a#1:x
            append group g gen=1 [a#1:x]
            A: assigned x
        hold
        join A2 instance=a id=-
            append group g gen=1 [a#2:x]
        fail NOT_LEADER_OR_FOLLOWER
            A2: NOT_COORDINATOR
        beat A instance=a
            A: ok
        sync A instance=a
            A: assigned x
        ",
    );
}

#[test]
fn a_leave_whose_record_fails_is_told_so() {
    play(
        "
        join A v=3
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        hold
        leave A
            append group g gen=2 []
        fail MESSAGE_TOO_LARGE
            A: UNKNOWN_SERVER_ERROR
        ",
    );
}

#[test]
fn a_group_whose_deletion_fails_is_still_there() {
    play(
        "
        commit-offset admin offset=1
            append offset g t=1
            admin: ok
        hold
        delete X
            append no-offset g t; no-group g
        fail NOT_ENOUGH_REPLICAS
            X: COORDINATOR_NOT_AVAILABLE
        fetch-offset A
            A: t=1 epoch=-1 ''
        delete X
            append no-offset g t; no-group g
        commit
            X: ok
        ",
    );
}

#[test]
fn unloading_answers_everybody() {
    Stage::with_stable_pair().play(
        "
        hold
        commit-offset A offset=1
            append offset g t=1
        fetch-offset B stable=1
        join A
        unload NOT_COORDINATOR
            A: NOT_COORDINATOR
            B: NOT_COORDINATOR
            A: NOT_COORDINATOR A#1
        commit
        ",
    );
}
