//! SyncGroup and the time members have for it.

use crate::transcript::Stage;

/// A#1 leads B#1; both have joined generation 2 and nobody has synced.
fn completing_pair() -> Stage {
    let mut stage = Stage::with_stable_pair();
    stage.play(
        "
        join A
        join B
            A: joined A#1 gen=2 range leader=A#1 [A#1 B#1]
            B: joined B#1 gen=2 range leader=A#1
        ",
    );
    stage
}

#[test]
fn sync_of_the_wrong_member_generation_or_protocol() {
    completing_pair().play(
        "
        sync A id=nobody
            A: UNKNOWN_MEMBER_ID
        sync A gen=1
            A: ILLEGAL_GENERATION
        sync A instance=i
            A: UNKNOWN_MEMBER_ID
        sync A type=connect
            A: INCONSISTENT_GROUP_PROTOCOL
        sync A name=rr
            A: INCONSISTENT_GROUP_PROTOCOL
        sync A name=-
            A: INCONSISTENT_GROUP_PROTOCOL
        sync A v=4 type=- name=-
            append group g gen=2 [A#1: B#1:]
            A: assigned
        ",
    );
}

#[test]
fn sync_while_preparing_a_rebalance() {
    Stage::with_stable_pair().play(
        "
        join A
        sync B
            B: REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn sync_of_a_stable_group_gives_the_assignment_again() {
    Stage::with_stable_pair().play(
        "
        sync B
            B: assigned b
        sync A assign=A#1:other
            A: assigned a
        ",
    );
}

#[test]
fn nobody_is_answered_before_the_assignment_is_recorded() {
    completing_pair().play(
        "
        hold
        sync B
        sync A assign=A#1:x,B#1:y
            append group g gen=2 [A#1:x B#1:y]
        after 59s
        commit
            A: assigned x
            B: assigned y
        beat A
            A: ok
        ",
    );
}

#[test]
fn a_member_the_leader_forgot_gets_no_bytes() {
    completing_pair().play(
        "
        sync B
        sync A assign=A#1:x,nobody:z
            append group g gen=2 [A#1:x B#1:]
            A: assigned x
            B: assigned
        ",
    );
}

#[test]
fn a_group_whose_members_have_all_synced_does_not_rebalance_at_the_rebalance_timeout() {
    Stage::default().play(
        "
        join A v=3 session=1800000 rebalance=60000
            append group g gen=0 []
        after 3s
            A: joined A#1 gen=1 range leader=A#1 [A#1]
        sync A assign=A#1:a
            append group g gen=1 [A#1:a]
            A: assigned a
        after 120s
        beat A
            A: ok
        ",
    );
}

#[test]
fn members_that_never_sync_are_removed_at_the_rebalance_timeout() {
    // KAFKA-9752. Heartbeats do not save them.
    completing_pair().play(
        "
        sync A
            append group g gen=2 [A#1: B#1:]
            A: assigned
        after 9s
        beat A
            A: ok
        beat B
            B: ok
        after 9s
        beat A
            A: ok
        beat B
            B: ok
        after 9s
        beat A
            A: ok
        beat B
            B: ok
        after 9s
        beat A
            A: ok
        beat B
            B: ok
        after 9s
        beat A
            A: ok
        beat B
            B: ok
        after 9s
        beat A
            A: ok
        beat B
            B: ok
        after 6s
        beat B
            B: UNKNOWN_MEMBER_ID
        join A
            A: joined A#1 gen=3 range leader=A#1 [A#1]
        ",
    );
}

#[test]
fn a_sync_sent_twice_is_answered_once_for_each() {
    completing_pair().play(
        "
        sync B
        sync B
            B: REBALANCE_IN_PROGRESS
        sync A assign=B#1:y
            append group g gen=2 [A#1: B#1:y]
            A: assigned
            B: assigned y
        ",
    );
}

#[test]
fn an_assignment_for_a_generation_that_is_over_takes_no_effect() {
    completing_pair().play(
        "
        hold
        sync A assign=A#1:x,B#1:y
            append group g gen=2 [A#1:x B#1:y]
        join B protocols=range:more
            A: REBALANCE_IN_PROGRESS
        commit
        describe X
            X: ok PreparingRebalance consumer/ [A#1:: B#1::]
        ",
    );
}
