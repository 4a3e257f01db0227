"""Offsets committed and fetched for topics named by id: semantics.md 3.10, KIP-848."""

from ..ground import TOPIC
from ..schema import ZERO_UUID
from ..talk import IdOf, unknown_id
from . import sequence
from .groups import enter, fetched, leave, sync

BY_ID_FROM = 10


def _commit(talk, version, label, group, *topics, generation=-1, member="", instance=None):
    """Topics are ids, each with pairs of a partition and an offset."""
    talk.ask("OffsetCommit", version, {
        "GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": member,
        "GroupInstanceId": instance, "Topics": [
            {"TopicId": topic, "Partitions": [
                {"PartitionIndex": index, "CommittedOffset": offset, "CommittedLeaderEpoch": -1,
                 "CommittedMetadata": "by id"} for index, offset in partitions]}
            for topic, partitions in topics]}, label)


def _fetch(talk, version, label, *groups, stable=False):
    """Groups are names, each with pairs of an id and partitions, or with none for all."""
    talk.ask("OffsetFetch", version, {"RequireStable": stable, "Groups": [
        {"GroupId": group, "MemberId": None, "MemberEpoch": -1, "Topics": topics and [
            {"TopicId": topic, "PartitionIndexes": indexes} for topic, indexes in topics]}
        for group, topics in groups]}, label)


@sequence(each="OffsetCommit", needs=("OffsetFetch",))
def topics_by_id(talk, version):
    if version < BY_ID_FROM:
        return
    group, one, two = talk.own("g"), talk.own("one"), talk.own("two")
    talk.make_topics({one: (2, {}), two: (1, {})})
    _commit(talk, version, "two topics", group, (IdOf(one), [(0, 1), (1, 2)]),
            (IdOf(two), [(0, 3)]))
    fetched(talk, group, one)
    _commit(talk, version, "an unknown id", group, (unknown_id(), [(0, 4), (7, 5)]))
    _commit(talk, version, "no id", group, (ZERO_UUID, [(0, 4)]))
    _commit(talk, version, "unknown ids among known ones", group,
            (unknown_id(1), [(0, 6)]), (IdOf(one), [(1, 7), (2, 8), (-1, 9)]),
            (ZERO_UUID, [(0, 10)]), (unknown_id(2), [(0, 11)]), (IdOf(two), [(0, 12)]))
    _commit(talk, version, "an unknown id twice", group, (unknown_id(), [(0, 13)]),
            (IdOf(one), [(0, 14)]), (unknown_id(), [(1, 15)]))
    _commit(talk, version, "a known id twice", group, (IdOf(one), [(0, 16)]),
            (IdOf(one), [(1, 17)]))
    _commit(talk, version, "a known id twice, one unknown", group, (IdOf(one), [(0, 18)]),
            (unknown_id(), [(0, 1)]), (IdOf(one), [(1, 19), (9, 20)]))
    _commit(talk, version, "an unknown id without partitions", group, (unknown_id(), []))
    _commit(talk, version, "a known id without partitions", group, (IdOf(one), []))
    _commit(talk, version, "both without partitions", group, (IdOf(one), []), (unknown_id(), []))
    _commit(talk, version, "no topics", group)
    _commit(talk, version, "no such group, a generation", talk.own("none"),
            (IdOf(one), [(0, 1)]), (unknown_id(), [(0, 1)]), generation=3, member="nobody")
    _commit(talk, version, "a group without a name", "", (IdOf(one), [(0, 1)]))
    fetched(talk, group, one)
    joined = enter(talk, 5, group, "joins")
    generation, member = joined["GenerationId"], joined["MemberId"]
    _commit(talk, version, "before the sync", group, (IdOf(one), [(0, 21)]),
            (unknown_id(), [(0, 21)]), generation=generation, member=member)
    sync(talk, 3, group, generation, member, "syncs")
    _commit(talk, version, "as a member", group, (IdOf(one), [(0, 22)]),
            generation=generation, member=member)
    _commit(talk, version, "a later generation", group, (IdOf(one), [(0, 23)]),
            (unknown_id(), [(0, 23)]), generation=generation + 1, member=member)
    _commit(talk, version, "a later generation, unknown ids alone", group,
            (unknown_id(), [(0, 23)]), generation=generation + 1, member=member)
    _commit(talk, version, "from outside", group, (IdOf(one), [(0, 24)]))
    leave(talk, 3, group, member, label="leaves")
    fetched(talk, group, one)


@sequence(each="OffsetFetch", needs=("OffsetCommit",))
def offsets_by_topic_id(talk, version):
    if version < BY_ID_FROM:
        return
    ground, empty = IdOf(TOPIC), IdOf("ground-empty")
    for stable in (False, True):
        def say(label, *groups):
            _fetch(talk, version, f"{label}{', stable' * stable}", *groups, stable=stable)

        say("one", ("ground-group", [(ground, [0])]))
        say("more of it", ("ground-group", [(ground, [0, 1, 77, -1])]))
        say("an unknown id", ("ground-group", [(unknown_id(), [0, 5])]))
        say("no id", ("ground-group", [(ZERO_UUID, [0])]))
        say("unknown among known", ("ground-group", [
            (unknown_id(1), [0]), (ground, [0]), (ZERO_UUID, [0]), (empty, [0])]))
        say("an unknown id twice", ("ground-group", [(unknown_id(), [0]), (unknown_id(), [1])]))
        say("an id twice", ("ground-group", [(ground, [0]), (ground, [1])]))
        say("ids without partitions", ("ground-group", [(ground, []), (unknown_id(), [])]))
        say("no topic", ("ground-group", []))
        say("all", ("ground-group", None))
        say("no such group", ("no-such-group", [(ground, [0]), (unknown_id(), [0])]))
        say("a group without a name", ("", [(ground, [0]), (unknown_id(), [0])]))
        say("a group with a member", ("ground-members", [(ground, [0]), (unknown_id(), [0])]))
        say("groups", ("ground-group", [(ground, [0]), (unknown_id(), [0])]),
            ("ground-members", None), ("no-such-group", [(unknown_id(), [3])]))


@sequence(each="OffsetFetch", needs=("OffsetCommit", "DeleteTopics"))
def a_topic_that_goes_and_comes_back(talk, version):
    if version < BY_ID_FROM:
        return
    group, name, other = talk.own("g"), talk.own("t"), talk.own("o")
    talk.make_topics({name: (1, {}), other: (1, {})})
    old = talk.side.topic_ids[name]
    for number, topic in enumerate((name, other)):
        _commit(talk, version, f"before, {number}", group, (IdOf(topic), [(0, 5)]))
    _fetch(talk, version, "before", (group, [(old, [0]), (IdOf(other), [0])]))
    _fetch(talk, version, "all before", (group, None))
    talk.ask("DeleteTopics", 5, {"TopicNames": [name], "TimeoutMs": 10000})
    talk.settle()
    talk.eventually(lambda answer: len(answer["Groups"][0]["Topics"]) == 1, "OffsetFetch", 8,
                    Groups=[{"GroupId": group, "Topics": None}], RequireStable=False,
                    label="its offsets are gone")
    _fetch(talk, version, "deleted", (group, [(old, [0]), (IdOf(other), [0])]))
    _fetch(talk, version, "all that are left", (group, None))
    _commit(talk, version, "to the deleted one", group, (old, [(0, 6)]), (IdOf(other), [(0, 6)]))
    talk.make_topic(name)
    _fetch(talk, version, "made again", (group, [(old, [0]), (IdOf(name), [0])]))
    _commit(talk, version, "to both", group, (old, [(0, 7)]), (IdOf(name), [(0, 8)]))
    _fetch(talk, version, "both", (group, [(old, [0]), (IdOf(name), [0])]))
    talk.quietly("OffsetCommit", 8, GroupId=group, GenerationIdOrMemberEpoch=-1, MemberId="",
                 Topics=[{"Name": other, "Partitions": [
                     {"PartitionIndex": 0, "CommittedOffset": 9, "CommittedMetadata": "name"}]}])
    _fetch(talk, version, "what was committed by name", (group, [(IdOf(other), [0])]))
    _fetch(talk, version, "all in the end", (group, None))
