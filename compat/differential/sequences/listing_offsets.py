"""ListOffsets and OffsetForLeaderEpoch: semantics.md 3.7."""

from ..batches import batch
from ..ground import RECORD_STEP_MS, TOPIC, first_timestamp
from . import sequence
from .producing import produce


def _list(talk, version, label, *partitions, topic=TOPIC, isolation=0):
    talk.ask("ListOffsets", version, {
        "ReplicaId": -1, "IsolationLevel": isolation, "TimeoutMs": 5000, "Topics": [
            {"Name": topic, "Partitions": [
                {"PartitionIndex": index, "Timestamp": timestamp, "CurrentLeaderEpoch": epoch}
                for index, timestamp, epoch in partitions]}]}, label)


@sequence(each="ListOffsets")
def offsets_by_time(talk, version):
    first = first_timestamp(talk.moment)
    for record in (0, 1, 2, 3, 4, 28, 29):
        for shift in (-1, 0, 1):
            _list(talk, version, f"record {record}, {shift} ms",
                  (0, first + record * RECORD_STEP_MS + shift, -1))
    for timestamp in (0, 1, (1 << 63) - 1, -1, -2, -3, -4, -5, -6, -7, -100, -(1 << 63)):
        _list(talk, version, f"timestamp {timestamp}", (0, timestamp, -1))
        _list(talk, version, f"timestamp {timestamp}, nothing stored", (0, timestamp, -1),
              topic="ground-empty")
        _list(talk, version, f"timestamp {timestamp}, committed only", (0, timestamp, -1),
              isolation=1)
    for epoch in (-2, 0, 1, 9):
        _list(talk, version, f"leader epoch {epoch}", (0, -1, epoch))
        _list(talk, version, f"leader epoch {epoch}, by time", (0, first, epoch))
        for timestamp in (-2, -4, -5, -6):
            _list(talk, version, f"leader epoch {epoch}, timestamp {timestamp}",
                  (0, timestamp, epoch))
    _list(talk, version, "a partition twice", (0, -1, -1), (0, -2, -1), (1, -1, -1))
    _list(talk, version, "an unknown one too", (0, -1, -1), (9, -1, -1), (1, -2, -1))
    _list(talk, version, "an unknown topic", (0, -1, -1), topic="no-such-topic")
    _list(talk, version, "names of offsets in an unknown partition", (7, -5, -1), (8, -6, -1),
          (9, -7, -1))
    _list(talk, version, "no partition")


@sequence(each="ListOffsets")
def times_that_go_back(talk, version):
    topic = talk.make_topic(talk.own("t"))
    then = first_timestamp(talk.moment)
    for codec in ("none", "gzip"):
        produce(talk, topic, batch(3, timestamp=then + 5000, step=-1000,
                                   max_timestamp=then + 5000, codec=codec), 9)
        produce(talk, topic, batch(2, timestamp=then, step=100, codec=codec), 9)
    produce(talk, topic, batch(1, timestamp=then + 9000), 9)
    produce(talk, topic, batch(1, timestamp=then + 9000), 9)
    produce(talk, topic, batch(1, timestamp=-1), 9)
    for shift in (-1, 0, 50, 100, 101, 2999, 3000, 3500, 4000, 5000, 5001, 8999, 9000, 9001):
        _list(talk, version, f"{shift} ms", (0, then + shift, -1))
    for timestamp in (-1, -2, -3, -4, -5, -6):
        _list(talk, version, f"timestamp {timestamp}", (0, timestamp, -1))


@sequence(each="OffsetForLeaderEpoch")
def ends_of_epochs(talk, version):
    for topic in (TOPIC, "ground-empty", "no-such-topic", "not a name!"):
        for epoch in (-2, -1, 0, 1, 5, (1 << 31) - 1):
            for current in (-1, 0, 1):
                talk.ask("OffsetForLeaderEpoch", version, {"ReplicaId": -1, "Topics": [
                    {"Topic": topic, "Partitions": [
                        {"Partition": index, "CurrentLeaderEpoch": current,
                         "LeaderEpoch": epoch} for index in (0, 1, 2)]}]},
                    f"{topic}, epoch {epoch}, current {current}")
