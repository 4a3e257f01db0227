"""Classic groups: semantics.md 3.10."""

from ..talk import IdOf
from . import sequence

INSTANCE_FROM, REQUIRED_FROM = 5, 4
RANGE = [{"Name": "range", "Metadata": b"\0\1"}]


def join(talk, version, group, member="", label="", on="main", sending=False, instance=None,
         protocols=RANGE, kind="consumer", session=60000, rebalance=60000):
    ask = talk.send if sending else talk.ask
    return ask("JoinGroup", version, {
        "GroupId": group, "SessionTimeoutMs": session, "RebalanceTimeoutMs": rebalance,
        "MemberId": member, "GroupInstanceId": instance, "ProtocolType": kind,
        "Protocols": list(protocols), "Reason": None}, label, on)


def enter(talk, version, group, label="", on="main", **more):
    """Joins as a client does: with the id that it is given, if it must have one."""
    first = join(talk, version, group, "", label, on, **more)
    if first.get("ErrorCode") == 79:
        return join(talk, version, group, first["MemberId"], f"{label}, with its id", on, **more)
    return first


def sync(talk, version, group, generation, member, label="", on="main", sending=False,
         assignments=(), instance=None, kind="consumer", name="range"):
    ask = talk.send if sending else talk.ask
    return ask("SyncGroup", version, {
        "GroupId": group, "GenerationId": generation, "MemberId": member,
        "GroupInstanceId": instance, "ProtocolType": kind, "ProtocolName": name,
        "Assignments": [{"MemberId": each, "Assignment": data} for each, data in assignments]},
        label, on)


def heartbeat(talk, group, generation, member, label="", version=None, on="main", instance=None):
    return talk.ask("Heartbeat", version, {
        "GroupId": group, "GenerationId": generation, "MemberId": member,
        "GroupInstanceId": instance}, label, on)


def leave(talk, version, group, *members, label=""):
    """Members are ids, or pairs of an id and the name of the instance."""
    pairs = [each if isinstance(each, tuple) else (each, None) for each in members]
    return talk.ask("LeaveGroup", version, {
        "GroupId": group, "MemberId": pairs[0][0] if pairs else "", "Members": [
            {"MemberId": member, "GroupInstanceId": instance, "Reason": "tired"}
            for member, instance in pairs]}, label)


def describe(talk, group, label="", version=None):
    return talk.ask("DescribeGroups", version, {"Groups": [group]}, label)


@sequence(each="JoinGroup")
def one_member(talk, version):
    group = talk.own("g")
    describe(talk, group, "before")
    first = join(talk, version, group, label="first")
    member = first["MemberId"]
    # It is seen when its first record is committed, which nobody waits for.
    talk.eventually(lambda answer: answer["Groups"][0]["ErrorCode"] == 0, "DescribeGroups",
                    Groups=[group], label="who is expected")
    if first["ErrorCode"] == 79:
        heartbeat(talk, group, 0, member, "before it has joined")
        sync(talk, 3, group, 0, member, "before it has joined")
        join(talk, version, group, "nobody", "an id that nobody gave it")
        first = join(talk, version, group, member, "with its id")
    generation = first["GenerationId"]
    describe(talk, group, "joined")
    heartbeat(talk, group, generation, member, "before the sync")
    join(talk, version, group, member, "again, before the sync")
    sync(talk, 3, group, generation + 1, member, "a wrong generation")
    sync(talk, 3, group, generation, "nobody", "a wrong member")
    sync(talk, 5, group, generation, member, "a wrong protocol type", kind="connect")
    sync(talk, 5, group, generation, member, "a wrong protocol", name="roundrobin")
    sync(talk, 3, group, generation, member, "synced", assignments=[(member, b"all")])
    sync(talk, 3, group, generation, member, "synced again", assignments=[(member, b"other")])
    describe(talk, group, "stable")
    heartbeat(talk, group, generation, member, "as it should be")
    heartbeat(talk, group, generation - 1, member, "an old generation")
    heartbeat(talk, group, generation + 1, member, "a later generation")
    heartbeat(talk, group, generation, "nobody", "another member")
    again = join(talk, version, group, member, "the leader joins again")
    heartbeat(talk, group, again["GenerationId"], member, "before the second sync")
    sync(talk, 3, group, again["GenerationId"], member, "synced without assignments")
    join(talk, version, group, member, "no common protocol",
         protocols=[{"Name": "roundrobin", "Metadata": b""}])
    join(talk, version, group, member, "no protocol", protocols=[])
    join(talk, version, group, member, "another protocol type", kind="connect")
    join(talk, version, group, "", "a stranger without a common protocol",
         protocols=[{"Name": "roundrobin", "Metadata": b""}])
    join(talk, version, group, "", "a stranger of another protocol type", kind="connect")
    leave(talk, 4, group, "nobody", label="somebody else leaves")
    leave(talk, 4, group, member, label="leaves")
    leave(talk, 4, group, member, label="leaves again")
    describe(talk, group, "empty")
    heartbeat(talk, group, generation, member, "after leaving")
    sync(talk, 3, group, generation, member, "after leaving")
    join(talk, version, group, member, "joins with its old id")


@sequence(each="JoinGroup")
def two_members(talk, version):
    group = talk.own("g")
    one = enter(talk, version, group, "one", on="one")
    generation, first = one["GenerationId"], one["MemberId"]
    sync(talk, 3, group, generation, first, "one", assignments=[(first, b"one")])
    second = ""
    if version >= REQUIRED_FROM:
        second = join(talk, version, group, "", "two", on="two")["MemberId"]
        heartbeat(talk, group, generation, first, "two has only asked for an id")
    join(talk, version, group, second, "two", on="two", sending=True)
    talk.eventually(lambda answer: answer["ErrorCode"] == 27, "Heartbeat", 3, GroupId=group,
                    GenerationId=generation, MemberId=first, label="one must join again")
    describe(talk, group, "waits for one")
    sync(talk, 3, group, generation, first, "one syncs too early")
    talk.ask("OffsetCommit", 8, {
        "GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": first,
        "Topics": [{"Name": "ground", "Partitions": [
            {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": ""}]}]},
        "one commits while it should join")
    join(talk, version, group, first, "one again", on="one", sending=True)
    one = talk.take("one")
    two = talk.take("two")
    generation, second = one["GenerationId"], two["MemberId"]
    leader = one["Leader"]
    follower = second if leader == first else first
    sync(talk, 3, group, generation, follower, "waits for the leader", on="follower",
         sending=True)
    heartbeat(talk, group, generation, follower, "while it waits")
    talk.ask("OffsetCommit", 8, {
        "GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": first,
        "Topics": [{"Name": "ground", "Partitions": [
            {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": ""}]}]},
        "one commits before the sync")
    sync(talk, 3, group, generation, leader, "the leader", on="leader",
         assignments=[(first, b"one"), (second, b"two")])
    talk.take("follower")
    describe(talk, group, "both")
    join(talk, version, group, follower, "the follower again, as it was", on="two")
    heartbeat(talk, group, generation, leader, "no rebalance")
    join(talk, version, group, "", "one too many", on="three")
    if version >= INSTANCE_FROM:
        join(talk, version, group, "", "one too many, static", on="three", instance="i3")
    leave(talk, 0, group, leader, label="the leader leaves")
    describe(talk, group, "one is left")
    heartbeat(talk, group, generation, follower, "the follower must join again")
    alone = join(talk, version, group, follower, "the follower is the leader")
    sync(talk, 3, group, alone["GenerationId"], follower, "without assignments")
    leave(talk, 4, group, "nobody", follower, follower, label="leaves among others")
    describe(talk, group, "empty")


@sequence(each="JoinGroup")
def a_member_that_changes(talk, version):
    """A follower with other subscriptions makes the group rebalance."""
    group = talk.own("g")
    both = [{"Name": "range", "Metadata": b"1"}, {"Name": "sticky", "Metadata": b"1"}]
    one = enter(talk, version, group, "one", protocols=both)
    sync(talk, 3, group, one["GenerationId"], one["MemberId"], "one")
    join(talk, version, group, one["MemberId"], "the leader with other metadata", protocols=[
        {"Name": "sticky", "Metadata": b"2"}, {"Name": "range", "Metadata": b"2"}])
    describe(talk, group, "before the sync")
    join(talk, version, group, one["MemberId"], "and other metadata before the sync", protocols=[
        {"Name": "sticky", "Metadata": b"3"}])
    describe(talk, group, "sticky alone")


@sequence(each="JoinGroup")
def static_members(talk, version):
    if version < INSTANCE_FROM:
        return
    group = talk.own("g")
    one = join(talk, version, group, "", "one", instance="i1")
    generation, first = one["GenerationId"], one["MemberId"]
    sync(talk, 3, group, generation, first, "one", instance="i1", assignments=[(first, b"one")])
    describe(talk, group, "stable")
    heartbeat(talk, group, generation, first, "as itself", instance="i1")
    heartbeat(talk, group, generation, first, "as another instance", instance="i2")
    heartbeat(talk, group, generation, "nobody", "another member of its name", instance="i1")
    again = join(talk, version, group, "", "one comes back", instance="i1")
    heartbeat(talk, group, generation, first, "the old one", instance="i1")
    heartbeat(talk, group, generation, first, "the old one without its name")
    heartbeat(talk, group, again["GenerationId"], again["MemberId"], "the new one", instance="i1")
    join(talk, version, group, first, "joins with the old id", instance="i1")
    sync(talk, 3, group, again["GenerationId"], first, "syncs with the old id", instance="i1")
    sync(talk, 3, group, again["GenerationId"], again["MemberId"], "syncs again", instance="i1")
    describe(talk, group, "the new one")
    talk.ask("OffsetCommit", 8, {
        "GroupId": group, "GenerationIdOrMemberEpoch": again["GenerationId"], "MemberId": first,
        "GroupInstanceId": "i1", "Topics": [{"Name": "ground", "Partitions": [
            {"PartitionIndex": 0, "CommittedOffset": 1}]}]}, "the old one commits")
    other = join(talk, version, group, again["MemberId"], "with other metadata", instance="i1",
                 protocols=[{"Name": "range", "Metadata": b"\0\2"}])
    sync(talk, 3, group, other["GenerationId"], again["MemberId"], "after that", instance="i1",
         assignments=[(again["MemberId"], b"two")])
    back = join(talk, version, group, "", "comes back with other metadata", instance="i1",
                protocols=[{"Name": "range", "Metadata": b"\0\3"}])
    sync(talk, 3, group, back["GenerationId"], back["MemberId"], "after coming back",
         instance="i1")
    leave(talk, 4, group, ("nobody", "i1"), label="a wrong member of its name leaves")
    leave(talk, 4, group, ("", "i9"), label="an unknown instance leaves")
    leave(talk, 4, group, ("", "i1"), label="leaves by its name alone")
    describe(talk, group, "empty")


@sequence()
def a_session_that_ends(talk):
    group = talk.own("g")
    one = enter(talk, 7, group, "one", session=300, rebalance=300)
    sync(talk, 5, group, one["GenerationId"], one["MemberId"], "one",
         assignments=[(one["MemberId"], b"")])
    describe(talk, group, "alive")
    talk.eventually(lambda answer: answer["Groups"][0]["GroupState"] == "Empty",
                    "DescribeGroups", 5, Groups=[group], label="its session ended")
    heartbeat(talk, group, one["GenerationId"], one["MemberId"], "too late")
    two = enter(talk, 7, group, "another")
    sync(talk, 5, group, two["GenerationId"], two["MemberId"], "another")


@sequence()
def a_member_that_never_syncs(talk):
    group = talk.own("g")
    one = enter(talk, 7, group, "one", session=60000, rebalance=300)
    talk.eventually(lambda answer: answer["Groups"][0]["GroupState"] == "Empty",
                    "DescribeGroups", 5, Groups=[group], label="it was removed")
    sync(talk, 5, group, one["GenerationId"], one["MemberId"], "too late")


@sequence()
def a_member_that_does_not_join_again(talk):
    group = talk.own("g")
    one = enter(talk, 7, group, "one", rebalance=500)
    sync(talk, 5, group, one["GenerationId"], one["MemberId"], "one")
    two = enter(talk, 7, group, "two", on="two", rebalance=500)
    heartbeat(talk, group, one["GenerationId"], one["MemberId"], "the first is out")
    sync(talk, 5, group, two["GenerationId"], two["MemberId"], "the second is in")
    describe(talk, group, "the second alone")


@sequence()
def a_pending_member_that_stays_away(talk):
    """It holds up the rebalance until its session ends, and no longer."""
    group = talk.own("g")
    one = enter(talk, 7, group, "one")
    sync(talk, 5, group, one["GenerationId"], one["MemberId"], "one")
    join(talk, 7, group, "", "asks for an id", on="two", session=500)
    again = join(talk, 7, group, one["MemberId"], "one again")
    sync(talk, 5, group, again["GenerationId"], one["MemberId"], "one again")
    describe(talk, group, "stable")


@sequence()
def names_and_bounds(talk):
    for version in (0, 3, 4, 9):
        for session in (0, 99, 100, 1800000, 1800001):
            join(talk, version, talk.own(f"{version}s{session}"), "", f"session {session}",
                 session=session)
        join(talk, version, "", "", "no group")
        join(talk, version, talk.own(f"{version}-p"), "", "no protocol", protocols=[])
        join(talk, version, talk.own(f"{version}-k"), "", "no protocol type", kind="")
        join(talk, version, talk.own(f"{version}-m"), "nobody", "a member of no group")
    for version in (0, 3, 4):
        heartbeat(talk, talk.own("none"), 0, "nobody", "no such group", version)
        heartbeat(talk, "", 0, "nobody", "no name", version)
        heartbeat(talk, "ground-group", 0, "nobody", "a group of offsets alone", version)
    for version in (0, 2, 3, 5):
        sync(talk, version, talk.own("none"), 0, "nobody", "no such group")
        sync(talk, version, "", 0, "nobody", "no name")
        leave(talk, version, talk.own("none"), "nobody", label="no such group")
        leave(talk, version, "", "nobody", label="no name")
        leave(talk, version, "ground-group", "nobody", label="a group of offsets alone")


@sequence(each="OffsetCommit")
def commits(talk, version):
    topic = talk.make_topic(talk.own("t"), 2)

    def commit(label, group, *partitions, generation=-1, member="", instance=None, name=topic):
        return talk.ask("OffsetCommit", version, {
            "GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": member,
            "GroupInstanceId": instance, "RetentionTimeMs": -1, "Topics": [
                {"Name": name, "TopicId": IdOf(name), "Partitions": [
                    {"PartitionIndex": index, "CommittedOffset": offset,
                     "CommittedLeaderEpoch": -1, "CommittedMetadata": metadata}
                    for index, offset, metadata in partitions]}]}, label)

    group = talk.own("g")
    commit("a generation before there is a group", group, (0, 5, ""), generation=1, member="x")
    commit("a member before there is a group", group, (0, 5, ""), member="x")
    commit("without a group", group, (0, 5, "five"), (1, 6, None))
    fetched(talk, group, topic)
    commit("one unknown", group, (0, 7, ""), (5, 8, ""), (-1, 9, ""))
    commit("no topic", group, (0, 7, ""), name="no-such-topic")
    commit("negative offsets", group, (0, -1, ""), (1, -2, ""))
    commit("the highest offset", group, (0, (1 << 63) - 1, ""))
    commit("metadata as long as may be", group, (0, 10, "m" * 4096))
    commit("longer", group, (0, 11, "m" * 4097), (1, 12, "short"))
    commit("umlauts", group, (0, 13, "ä" * 2048), (1, 14, "ä" * 2049))
    commit("no partition", group)
    commit("a partition twice", group, (0, 15, "a"), (0, 16, "b"))
    commit("a generation", group, (0, 17, ""), generation=0)
    commit("a member", group, (0, 18, ""), member="nobody")
    commit("an instance", group, (0, 19, ""), instance="nobody")
    fetched(talk, group, topic)
    one = enter(talk, 5, group, "joins")
    generation, member = one["GenerationId"], one["MemberId"]
    commit("before the sync", group, (0, 21, ""), generation=generation, member=member)
    sync(talk, 3, group, generation, member, "syncs")
    commit("as a member", group, (0, 22, "mine"), generation=generation, member=member)
    commit("an old generation", group, (0, 23, ""), generation=generation - 1, member=member)
    commit("a later generation", group, (0, 23, ""), generation=generation + 1, member=member)
    commit("no generation", group, (0, 24, ""), member=member)
    commit("an unknown member", group, (0, 25, ""), generation=generation, member="nobody")
    commit("from outside", group, (0, 26, ""))
    commit("an unknown instance", group, (0, 27, ""), generation=generation, member=member,
           instance="nobody")
    fetched(talk, group, topic)
    leave(talk, 3, group, member, label="leaves")
    commit("the member that left", group, (0, 28, ""), generation=generation, member=member)
    commit("from outside, nobody there", group, (0, 29, "last"))
    fetched(talk, group, topic)


def fetched(talk, group, topic):
    talk.ask("OffsetFetch", 8, {"Groups": [{"GroupId": group, "Topics": [
        {"Name": topic, "PartitionIndexes": [0, 1, 5]}]}], "RequireStable": False}, "some")
    talk.ask("OffsetFetch", 8, {"Groups": [{"GroupId": group, "Topics": None}],
                                "RequireStable": True}, "all of them")


@sequence(each="OffsetFetch")
def committed_offsets(talk, version):
    def say(label, group, *topics, every=False):
        named = None if every else [
            {"Name": name, "PartitionIndexes": list(indexes)} for name, indexes in topics]
        with_ids = None if every else [{**each, "TopicId": IdOf(each["Name"])} for each in named]
        talk.ask("OffsetFetch", version, {
            "GroupId": group, "Topics": named, "RequireStable": False,
            "Groups": [{"GroupId": group, "MemberId": None, "MemberEpoch": -1,
                        "Topics": with_ids}]}, label)

    say("one", "ground-group", ("ground", [0]))
    say("one that has none", "ground-group", ("ground", [1]))
    say("one that does not exist", "ground-group", ("ground", [0, 77, -1]))
    say("no such topic", "ground-group", ("no-such-topic", [0]))
    say("no partition", "ground-group", ("ground", []))
    say("no topic", "ground-group")
    say("a topic twice", "ground-group", ("ground", [0]), ("ground", [1]))
    say("a partition twice", "ground-group", ("ground", [0, 0]))
    say("no such group", "no-such-group", ("ground", [0]))
    say("a group without a name", "", ("ground", [0]))
    say("a group with a member", "ground-members", ("ground", [0]))
    if version >= 2:
        say("all", "ground-group", every=True)
        say("all of no group", "no-such-group", every=True)
    if version >= 8:
        for groups in (["ground-group", "no-such-group"], [], ["ground-group"] * 2):
            talk.ask("OffsetFetch", version, {"Groups": [
                {"GroupId": each, "MemberId": None, "MemberEpoch": -1, "Topics": None}
                for each in groups], "RequireStable": False}, f"groups {groups}")
    if version >= 9:
        for member, epoch in (("nobody", -1), (None, 0), ("nobody", 5), ("", 0)):
            for group in ("ground-group", "ground-members", "no-such-group"):
                talk.ask("OffsetFetch", version, {"Groups": [
                    {"GroupId": group, "MemberId": member, "MemberEpoch": epoch,
                     "Topics": None}], "RequireStable": False}, f"{group}: {member} in {epoch}")


@sequence(each="DescribeGroups")
def groups_described(talk, version):
    for groups in (["ground-group"], ["ground-members"], ["no-such-group"], [],
                   ["ground-members", "no-such-group", "ground-group"], ["ground-members"] * 2):
        for allowed in (False, True):
            talk.ask("DescribeGroups", version, {
                "Groups": groups, "IncludeAuthorizedOperations": allowed},
                f"{groups}{', what is allowed' * allowed}")


@sequence(each="FindCoordinator")
def coordinators(talk, version):
    for key in ("ground-group", "", "any group", "n" * 300):
        for kind in (0, 2, 3, -1, 127):
            talk.ask("FindCoordinator", version, {
                "Key": key, "KeyType": kind, "CoordinatorKeys": [key]}, f"{key[:20]}, {kind}")
    for keys in ([], ["a", "b"], ["a", "a"], ["", "a"]):
        talk.ask("FindCoordinator", version, {
            "Key": "", "KeyType": 0, "CoordinatorKeys": keys}, f"keys {keys}")


@sequence(needs=("DeleteGroups",))
def groups_deleted(talk):
    group = talk.own("g")
    for version in talk.common["DeleteGroups"]:
        def say(label, *groups):
            talk.ask("DeleteGroups", version, {"GroupsNames": list(groups)}, label)

        say("no such group", "no-such-group")
        say("none")
        one = enter(talk, 5, group, "joins")
        say("with a member", group)
        leave(talk, 3, group, one["MemberId"], label="leaves")
        talk.quietly("OffsetCommit", 8, GroupId=group, GenerationIdOrMemberEpoch=-1, MemberId="",
                     Topics=[{"Name": "ground", "Partitions": [
                         {"PartitionIndex": 0, "CommittedOffset": 1}]}])
        say("empty, twice", group, group)
        say("and gone", group)
        describe(talk, group, "gone")
        fetched(talk, group, "ground")


@sequence(needs=("DeleteGroups", "OffsetCommit"), alone=True)
def group_without_a_name(talk):
    """Whoever asks for "" while the group is there would be told of it."""
    def commit(version):
        talk.ask("OffsetCommit", version, {
            "GroupId": "", "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": [
                {"Name": "ground", "TopicId": IdOf("ground"), "Partitions": [
                    {"PartitionIndex": 0, "CommittedOffset": 20, "CommittedMetadata": ""}]}]})

    def delete(version, label):
        talk.ask("DeleteGroups", version, {"GroupsNames": [""]}, label)

    newest = talk.latest("DeleteGroups")
    for version in talk.common["OffsetCommit"]:
        delete(newest, "not there")
        commit(version)
        fetched(talk, "", "ground")
        describe(talk, "", "there")
        delete(newest, "there")
    for version in talk.common["DeleteGroups"]:
        commit(8)
        delete(version, "there")
        delete(version, "gone")


@sequence(needs=("OffsetDelete",))
def offsets_deleted(talk):
    group = talk.own("g")

    def say(label, name, *partitions):
        talk.ask("OffsetDelete", 0, {"GroupId": name, "Topics": [
            {"Name": "ground", "Partitions": [{"PartitionIndex": each} for each in partitions]},
            {"Name": "no-such-topic", "Partitions": [{"PartitionIndex": 0}]}]}, label)

    say("no such group", "no-such-group", 0)
    say("no name", "", 0)
    talk.quietly("OffsetCommit", 8, GroupId=group, GenerationIdOrMemberEpoch=-1, MemberId="",
                 Topics=[{"Name": "ground", "Partitions": [
                     {"PartitionIndex": each, "CommittedOffset": 1} for each in (0, 1)]}])
    say("one, and unknown ones", group, 0, 9)
    fetched(talk, group, "ground")
    say("again", group, 0)
    subscribed = b"\0\0\0\0\0\1\0\6ground\xff\xff\xff\xff"
    one = enter(talk, 5, group, "subscribes", protocols=[
        {"Name": "range", "Metadata": subscribed}])
    sync(talk, 3, group, one["GenerationId"], one["MemberId"], "subscribes")
    say("a member subscribes to it", group, 1)
    leave(talk, 3, group, one["MemberId"], label="leaves")
    say("nobody subscribes to it", group, 1)
    fetched(talk, group, "ground")


@sequence()
def a_topic_that_goes_takes_its_offsets(talk):
    group, topic = talk.own("g"), talk.make_topic(talk.own("t"))
    talk.quietly("OffsetCommit", 8, GroupId=group, GenerationIdOrMemberEpoch=-1, MemberId="",
                 Topics=[{"Name": topic, "Partitions": [
                     {"PartitionIndex": 0, "CommittedOffset": 1}]}])
    fetched(talk, group, topic)
    talk.ask("DeleteTopics", 5, {"TopicNames": [topic], "TimeoutMs": 10000})
    talk.eventually(lambda answer: not answer["Groups"][0]["Topics"], "OffsetFetch", 8,
                    Groups=[{"GroupId": group, "Topics": None}], RequireStable=False,
                    label="without the topic")
