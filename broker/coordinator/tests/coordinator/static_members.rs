//! Static members (KIP-345).

use crate::transcript::Stage;

/// A, of the instance `a`, leads B, of the instance `b`, in the stable generation 1.
fn stable_static_pair() -> Stage {
    static_pair("")
}

/// Such a pair whose sessions last longer than the 20 s that a rebalance takes at most.
fn patient_static_pair() -> Stage {
    static_pair("session=300000 rebalance=20000")
}

fn static_pair(terms: &str) -> Stage {
    let mut stage = Stage::default();
    stage.play(&format!(
        "
        join A instance=a {terms}
            append group g gen=0 []
        join B instance=b {terms}
        after 6s
            A: joined a#1 gen=1 range leader=a#1 [a#1 b#1]
            B: joined b#1 gen=1 range leader=a#1
        sync B instance=b
        sync A instance=a assign=a#1:x,b#1:y
            append group g gen=1 [a#1:x b#1:y]
            A: assigned x
            B: assigned y
        ",
    ));
    stage
}

#[test]
fn a_follower_that_comes_back_does_not_rebalance_a_stable_group() {
    stable_static_pair().play(
        "
        join B instance=b id=-
            append group g gen=1 [a#1:x b#2:y]
            B: joined b#2 gen=1 range leader=a#1
        sync B instance=b
            B: assigned y
        beat A instance=a
            A: ok
        ",
    );
}

#[test]
fn a_leader_that_comes_back_is_told_to_skip_the_assignment_from_version_9() {
    stable_static_pair().play(
        "
        join A instance=a id=-
            append group g gen=1 [a#2:x b#1:y]
            A: joined a#2 gen=1 range leader=a#2 [a#2 b#1] skip-assignment
        sync A instance=a
            A: assigned x
        ",
    );
}

#[test]
fn a_leader_that_comes_back_is_told_its_old_id_as_the_leader_before_version_9() {
    stable_static_pair().play(
        "
        join A instance=a id=- v=8
            append group g gen=1 [a#2:x b#1:y]
            A: joined a#2 gen=1 range leader=a#1
        sync A instance=a
            A: assigned x
        ",
    );
}

#[test]
fn the_old_id_is_fenced() {
    stable_static_pair().play(
        "
        join B instance=b id=-
            append group g gen=1 [a#1:x b#2:y]
            B: joined b#2 gen=1 range leader=a#1
        beat B instance=b id=b#1
            B: FENCED_INSTANCE_ID
        sync B instance=b id=b#1
            B: FENCED_INSTANCE_ID
        commit-offset B instance=b id=b#1 offset=1
            B: FENCED_INSTANCE_ID
        join X instance=b id=b#1
            X: FENCED_INSTANCE_ID b#1
        beat B id=b#1
            B: UNKNOWN_MEMBER_ID
        leave B instance=b id=b#1
            B: ok b=FENCED_INSTANCE_ID
        ",
    );
}

#[test]
fn coming_back_with_a_change_of_the_chosen_protocol_rebalances() {
    let mut stage = Stage::default();
    stage.play(
        "
        join A instance=a protocols=range:,rr:
            append group g gen=0 []
        join B instance=b protocols=range:,rr:
        after 6s
            A: joined a#1 gen=1 range leader=a#1 [a#1 b#1]
            B: joined b#1 gen=1 range leader=a#1
        sync A instance=a
            append group g gen=1 [a#1: b#1:]
            A: assigned
        join B instance=b id=- protocols=rr:
        join A instance=a protocols=range:,rr:
            A: joined a#1 gen=2 rr leader=a#1 [a#1 b#2]
            B: joined b#2 gen=2 rr leader=a#1
        ",
    );
}

#[test]
fn coming_back_while_the_group_completes_a_rebalance_rebalances() {
    stable_static_pair().play(
        "
        join A instance=a
        join B instance=b
            A: joined a#1 gen=2 range leader=a#1 [a#1 b#1]
            B: joined b#1 gen=2 range leader=a#1
        sync B instance=b
        join B2 instance=b id=-
            B: FENCED_INSTANCE_ID
        join A instance=a
            A: joined a#1 gen=3 range leader=a#1 [a#1 b#2]
            B2: joined b#2 gen=3 range leader=a#1
        ",
    );
}

#[test]
fn a_static_member_that_does_not_rejoin_stays_while_its_session_lasts() {
    patient_static_pair().play(
        "
        join B instance=b session=300000 rebalance=20000 protocols=range:more
        after 19999ms
        after 1ms
            B: joined b#1 gen=2 range leader=b#1 [a#1 b#1]
        sync B instance=b assign=a#1:x,b#1:y
            append group g gen=2 [a#1:x b#1:y]
            B: assigned y
        sync A instance=a gen=2
            A: assigned x
        beat A instance=a gen=2
            A: ok
        ",
    );
}

#[test]
fn when_nobody_rejoins_and_all_are_static_the_group_waits_for_them() {
    patient_static_pair().play(
        "
        leave X instances=a
            X: ok a=ok
        after 20s
        beat B instance=b
            B: REBALANCE_IN_PROGRESS
        join B instance=b
            B: joined b#1 gen=2 range leader=b#1 [b#1]
        ",
    );
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    stable_static_pair().play(
        "
        leave X instances=b,c
            X: ok b=ok c=UNKNOWN_MEMBER_ID
        join A instance=a
            A: joined a#1 gen=2 range leader=a#1 [a#1]
        ",
    );
}

#[test]
fn static_members_survive_a_reload() {
    stable_static_pair().play(
        "
        reload
        beat B instance=b
            B: ok
        join B instance=b id=-
            append group g gen=1 [a#1:x b#2:y]
            B: joined b#2 gen=1 range leader=a#1
        ",
    );
}

#[test]
fn coming_back_twice_before_the_first_is_recorded() {
    stable_static_pair().play(
        "
        hold
        join B instance=b id=-
            append group g gen=1 [a#1:x b#2:y]
        join B2 instance=b id=-
            B: FENCED_INSTANCE_ID b#2
            append group g gen=1 [a#1:x b#3:y]
        commit
        commit
            B2: joined b#3 gen=1 range leader=a#1
        ",
    );
}

#[test]
fn coming_back_before_a_rebalance_that_begins_meanwhile_waits_for_its_end() {
    stable_static_pair().play(
        "
        hold
        join B instance=b id=-
            append group g gen=1 [a#1:x b#2:y]
        join C
            C: MEMBER_ID_REQUIRED C#1
        join A instance=a
        commit
        join C
            C: joined C#1 gen=2 range leader=a#1
            A: joined a#1 gen=2 range leader=a#1 [C#1 a#1 b#2]
            B: joined b#2 gen=2 range leader=a#1
        ",
    );
}

#[test]
fn a_pending_member_cannot_become_static() {
    Stage::default().play(
        "
        join A
            A: MEMBER_ID_REQUIRED A#1
            append group g gen=0 []
        join A instance=a
            A: UNKNOWN_SERVER_ERROR A#1
        ",
    );
}
