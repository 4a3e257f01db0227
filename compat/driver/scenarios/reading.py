"""Where reading starts, and that a waiting fetch is woken."""

import dataclasses
import time

from ..agent import poll_all, poll_until
from ..clients import GROUPS, TIMESTAMPS
from ..records import CODECS, numbered
from ..suite import CLIENT
from .producing import assert_same

FIRST_TIME = 1_700_000_000_000


@CLIENT.scenario(feature="read from an offset")
def seek_to_offset(ground):
    topic = ground.topic(2)
    sent = numbered(1000, partitions=2)
    # A long linger makes few large batches: the offset sought lies within one.
    ground.agent.produce(topic, sent, codec="gzip", linger_ms=200)
    wanted = [record for record in sent if record.partition == 1]
    for start in (0, 1, 7, 250, 499):
        taken = ground.agent.consume(topic, [(1, start)], 500 - start)
        assert taken[0].offset == start, f"sought {start}, got {taken[0].offset}"
        assert_same(wanted[start:], taken)
    assert ground.agent.offsets(topic, 2) == [(0, 500), (0, 500)]


@CLIENT.scenario(TIMESTAMPS, feature="offsets by time", parameters=CODECS)
def seek_to_time(ground, codec):
    topic = ground.topic()
    sent = [dataclasses.replace(record, timestamp=FIRST_TIME + 1000 * i)
            for i, record in enumerate(numbered(100, partitions=1))]
    ground.agent.produce(topic, sent, codec=codec, linger_ms=200)
    answers = {
        FIRST_TIME - 1: 0,
        FIRST_TIME: 0,
        FIRST_TIME + 1: 1,
        FIRST_TIME + 41_500: 42,
        FIRST_TIME + 99_000: 99,
        FIRST_TIME + 99_001: -1,
    }
    for t, offset in answers.items():
        found = ground.agent.offset_for_time(topic, 0, t)
        assert found == offset, f"at {t - FIRST_TIME:+} ms: offset {found}, not {offset}"
    taken = ground.agent.consume(topic, [(0, 42)], 58)
    assert_same(sent[42:], taken)
    assert [r.timestamp for r in taken] == [r.timestamp for r in sent[42:]]


@CLIENT.scenario(feature="offsets by time")
def seek_to_now(ground):
    """What is produced after a moment is found by the time of that moment."""
    topic = ground.topic()
    ground.agent.produce(topic, numbered(10, partitions=1))
    time.sleep(0.01)  # Two records of the same millisecond cannot be told apart.
    moment = time.time_ns() // 1_000_000
    later = numbered(5, partitions=1)
    ground.agent.produce(topic, later)
    assert ground.agent.offset_for_time(topic, 0, moment) == 10
    assert_same(later, ground.agent.consume(topic, [(0, 10)], 5))


@CLIENT.scenario(GROUPS, feature="long polls")
def fetch_woken_by_data(ground):
    """A fetch that may wait long is answered when data comes."""
    wait_ms, bound = 6_000, 4.0
    topic = ground.topic()
    member = ground.member("m1", ground.unused("g"), [topic], fetch_wait_ms=wait_ms)
    poll_until([member], lambda: member.partitions() == {0}, 20, "the partition is assigned")
    poll_all([member])
    for count in (1, 2, 3):
        ground.agent.produce(topic, numbered(1, partitions=1))
        took = poll_until([member], lambda n=count: len(member.records) == n, 20,
                          f"record {count} arrives")
        assert took < bound, f"record {count} took {took:.1f} s while a fetch was waiting"
