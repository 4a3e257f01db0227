"""Fetch: semantics.md 3.5 and 3.6, sessions (KIP-227) included."""

from ..batches import batch
from ..ground import TOPIC
from ..talk import IdOf, unknown_id
from . import sequence
from .producing import produce

FIRST_WITH_SESSIONS, FIRST_WITH_IDS = 7, 13
HOUR_MS = 3600_000


def fetch(talk, version, partitions, label="", topic=TOPIC, wait=0, min_bytes=1,
          max_bytes=1 << 20, session=(0, -1), forgotten=(), isolation=0, on="main", sending=False):
    """`partitions` are pairs of index and offset, or triples with what else is said of them."""
    body = {
        "ReplicaId": -1, "MaxWaitMs": wait, "MinBytes": min_bytes, "MaxBytes": max_bytes,
        "IsolationLevel": isolation, "SessionId": session[0], "SessionEpoch": session[1],
        "Topics": [{"Topic": topic, "TopicId": IdOf(topic), "Partitions": [
            {"Partition": index, "FetchOffset": offset, "LogStartOffset": -1,
             "PartitionMaxBytes": 1 << 20, **(more[0] if more else {})}
            for index, offset, *more in partitions]}] if partitions else [],
        "ForgottenTopicsData": [{"Topic": topic, "TopicId": IdOf(topic),
                                 "Partitions": list(forgotten)}] if forgotten else [],
    }
    ask = talk.send if sending else talk.ask
    return ask("Fetch", version, body, label, on)


@sequence(each="Fetch")
def offsets_and_limits(talk, version):
    def say(label, *partitions, **more):
        fetch(talk, version, partitions, label, **more)

    for offset in (0, 1, 2, 3, 15, 29, 30, 31, 1000, -1, -2, (1 << 63) - 1, -(1 << 63)):
        say(f"offset {offset}", (0, offset))
    for size in (0, 1, 50, 90, 91, 92, 93, 200, 500, -1, -(1 << 31), (1 << 31) - 1):
        say(f"{size} bytes of the partition", (0, 4, {"PartitionMaxBytes": size}))
        say(f"{size} bytes of the answer", (0, 4), max_bytes=size)
        say(f"{size} bytes, and a second partition", (0, 27), (1, 0), max_bytes=size)
    for isolation in (1, 2, -1, 127):
        say(f"isolation {isolation}", (0, 25), isolation=isolation)
    say("an unknown partition", (5, 0))
    say("an unknown one and a known one", (5, 0), (0, 27), wait=10000)
    say("partition -1", (-1, 0))
    say("a partition twice", (0, 27), (0, 24))
    say("no partition")
    say("no partition, and waiting", wait=10000)
    say("an unknown topic", (0, 0), topic="no-such-topic", wait=10000)
    say("an empty topic", (0, 0), topic="ground-empty")
    say("behind an empty topic", (0, 1), topic="ground-empty", wait=10000)
    say("at the end, waiting a little", (0, 30), wait=20)
    say("more bytes than there are, waiting a little", (0, 0), wait=20, min_bytes=1 << 19)
    say("no bytes needed", (0, 30), wait=10000, min_bytes=0)
    for epoch in (-2, -1, 0, 1, 100):
        say(f"current leader epoch {epoch}", (0, 27, {"CurrentLeaderEpoch": epoch}))
    if version >= 12:
        for epoch in (-1, 0, 1, 7):
            say(f"last fetched epoch {epoch}", (0, 27, {"LastFetchedEpoch": epoch}))
            say(f"last fetched epoch {epoch} at the end", (0, 30, {"LastFetchedEpoch": epoch}))
            say(f"last fetched epoch {epoch} of an empty one",
                (0, 0, {"LastFetchedEpoch": epoch}), topic="ground-empty")
    if version >= FIRST_WITH_IDS:
        talk.ask("Fetch", version, {
            "MaxWaitMs": 10000, "MinBytes": 1, "MaxBytes": 1 << 20, "SessionEpoch": -1,
            "Topics": [{"TopicId": each, "Partitions": [
                {"Partition": 0, "FetchOffset": 27, "PartitionMaxBytes": 1 << 20}]}
                for each in (IdOf("ground-deletable"), unknown_id(), IdOf(TOPIC))]},
            "an unknown id among known ones")
    say("what could not be is over", (0, 29))


@sequence(each="Fetch")
def order_and_room(talk, version):
    topic = talk.make_topic(talk.own("t"), 3)
    for partition in range(3):
        for number in range(3):
            produce(talk, topic, batch(1, timestamp=talk.moment - HOUR_MS, size=300), 9,
                    f"{partition} {number}", partition=partition)
    for limit in (1, 300, 400, 800, 1200, 2500, 1 << 20):
        for order in ((0, 1, 2), (2, 1, 0)):
            fetch(talk, version, [(each, 0) for each in order], f"{limit} bytes, order {order}",
                  topic, max_bytes=limit)
            fetch(talk, version, [(each, 1, {"PartitionMaxBytes": limit}) for each in order],
                  f"{limit} bytes each, order {order}", topic)
        fetch(talk, version, [(0, 3), (1, 2), (2, 1)], f"{limit} bytes, the first at its end",
              topic, max_bytes=limit)
        fetch(talk, version, [(0, 9), (1, 2), (2, 1)], f"{limit} bytes, the first out of range",
              topic, max_bytes=limit)


@sequence(each="Fetch")
def waiting_for_records(talk, version):
    topic = talk.make_topic(talk.own("t"))
    fetch(talk, version, [(0, 0)], "woken by a record", topic, wait=15000, on="reader",
          sending=True)
    produce(talk, topic, batch(1, timestamp=talk.moment - HOUR_MS), 9)
    talk.take("reader")
    fetch(talk, version, [(0, 1)], "not woken by too few bytes", topic, wait=15000,
          min_bytes=250, on="reader", sending=True)
    for _ in range(3):
        produce(talk, topic, batch(1, timestamp=talk.moment - HOUR_MS, size=30), 9)
    talk.take("reader")
    fetch(talk, version, [(0, 4)], "woken by the end of its topic", topic, wait=15000,
          on="reader", sending=True)
    talk.ask("DeleteTopics", 5, {"TopicNames": [topic], "TimeoutMs": 10000})
    talk.take("reader")


@sequence(each="Fetch")
def sessions(talk, version):
    if version < FIRST_WITH_SESSIONS:
        return
    topic = talk.make_topic(talk.own("t"), 3)

    def append(partition):
        produce(talk, topic, batch(1, timestamp=talk.moment - HOUR_MS), 9, partition=partition)

    def say(label, session, *partitions, **more):
        return fetch(talk, version, partitions, label, topic, session=session, **more)

    append(0)
    one = say("a new one", (0, 0), (0, 0), (1, 0))["SessionId"]
    assert one, "no session was made"
    say("nothing new", (one, 1))
    append(1)
    say("a record in partition 1", (one, 2))
    say("partition 1 goes on", (one, 3), (1, 1))
    say("partition 0 goes on", (one, 4), (0, 1))
    say("partition 2 joins", (one, 5), (2, 0))
    append(2)
    say("a record in partition 2", (one, 6))
    say("partition 2 is forgotten", (one, 7), forgotten=[2])
    say("an unknown one is forgotten", (one, 8), forgotten=[9])
    say("forgotten and asked for", (one, 9), (2, 0), forgotten=[2])
    say("forgotten again", (one, 10), forgotten=[2])
    append(2)
    append(0)
    say("only what is left", (one, 11))
    say("partition 0 goes on", (one, 12), (0, 2))
    say("an epoch again", (one, 12))
    say("an epoch left out", (one, 15))
    say("and goes on", (one, 13))
    say("out of range", (one, 14), (0, 55))
    say("still out of range", (one, 15))
    say("in range again", (one, 16), (0, 2))
    say("unknown partition", (one, 17), (8, 0))
    say("still unknown", (one, 18))
    say("unknown one forgotten", (one, 19), forgotten=[8])
    say("a session that never was", (one + 1, 1), (0, 0))
    say("a session that never was, closing", (one + 1, -1), (0, 0))
    say("a session that never was, new", (one + 1, 0), (0, 0))
    say("an epoch without a session", (0, 5), (0, 0))
    say("a negative session", (-7, 3), (0, 0))
    say("without a session", (0, -1), (0, 0))
    say("epoch -2", (one, -2), (0, 0))
    say("forgets all", (one, 20), forgotten=[0, 1])
    say("is empty", (one, 21))
    two = say("once more, empty", (0, 0))["SessionId"]
    say("closed", (two, -1), (0, 0))
    say("and gone", (two, 1))
    three = say("another", (0, 0), (0, 0))["SessionId"]
    four = say("in place of another", (three, 0), (1, 0))["SessionId"]
    say("the old one", (three, 1))
    say("the new one", (four, 1))
    if version >= FIRST_WITH_IDS:
        talk.ask("Fetch", 12, {"MinBytes": 1, "MaxBytes": 1 << 20, "SessionId": four,
                               "SessionEpoch": 2, "Topics": [
                                   {"Topic": topic, "Partitions": [
                                       {"Partition": 0, "PartitionMaxBytes": 1 << 20}]}]},
                 "from ids to names")
    else:
        talk.ask("Fetch", 13, {"MinBytes": 1, "MaxBytes": 1 << 20, "SessionId": four,
                               "SessionEpoch": 2, "Topics": [
                                   {"TopicId": IdOf(topic), "Partitions": [
                                       {"Partition": 0, "PartitionMaxBytes": 1 << 20}]}]},
                 "from names to ids")
    say("after that", (four, 2))
    say("after that, one later", (four, 3))


@sequence(each="Fetch")
def a_session_whose_topic_goes(talk, version):
    if version < FIRST_WITH_SESSIONS:
        return
    gone, stays = talk.make_topic(talk.own("gone")), talk.make_topic(talk.own("stays"))
    session = talk.ask("Fetch", version, {
        "MinBytes": 1, "MaxBytes": 1 << 20, "SessionEpoch": 0, "Topics": [
            {"Topic": each, "TopicId": IdOf(each), "Partitions": [
                {"Partition": 0, "PartitionMaxBytes": 1 << 20}]} for each in (gone, stays)]},
        "both")["SessionId"]
    talk.ask("DeleteTopics", 5, {"TopicNames": [gone], "TimeoutMs": 10000})
    talk.eventually(lambda answer: answer["Topics"][0]["ErrorCode"] == 3, "Metadata", 9,
                    Topics=[{"Name": gone}], AllowAutoTopicCreation=False)
    fetch(talk, version, [], "one has gone", session=(session, 1))
    fetch(talk, version, [], "it stays away", session=(session, 2))
    produce(talk, stays, batch(1, timestamp=talk.moment - HOUR_MS), 9)
    fetch(talk, version, [], "the other goes on", session=(session, 3))
