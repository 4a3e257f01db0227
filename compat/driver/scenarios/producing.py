"""What is produced is what is read: content, order, codecs, errors."""

import random

from ..agent import AgentError
from ..clients import (
    ACKS, AUTO_CREATE, BINARY, EMPTY, ERROR_CODES, IDEMPOTENT, NULLS, OFFSETS_BACK, PARTITIONER,
    REPEATED, TOPICS,
)
from ..records import CODECS, Record, numbered, varied
from ..suite import CLIENT, eventually

MESSAGE_TOO_LARGE = 10


def assert_same(sent, taken):
    """The same content in the same order, at offsets that only rise."""
    for index, (wanted, got) in enumerate(zip(sent, taken)):
        assert wanted.content() == got.content(), (
            f"record {index}: sent {wanted.short()}, read {got.short()} at {got.offset}")
    assert len(taken) == len(sent), f"sent {len(sent)} records, read {len(taken)}"
    offsets = [got.offset for got in taken]
    assert offsets == sorted(set(offsets)), f"offsets do not rise: {offsets[:20]}..."


@CLIENT.scenario(feature="records, {}", parameters=CODECS)
def round_trip(ground, codec):
    topic = ground.topic()
    sent = varied(codec, nulls=ground.can(NULLS), binary=ground.can(BINARY),
                  repeated=ground.can(REPEATED), empty=ground.can(EMPTY))
    placed = ground.agent.produce(topic, sent, codec=codec)
    if ground.can(OFFSETS_BACK):
        assert placed == [(0, i) for i in range(len(sent))], f"placed at {placed[:5]}..."
    assert_same(sent, ground.agent.consume(topic, [(0, 0)], len(sent)))


@CLIENT.scenario(ACKS, feature="acks={}", parameters=["0", "1"])
@CLIENT.scenario(feature="acks={}", parameters=["all"])
def acks(ground, level):
    topic = ground.topic()
    sent = [Record(b"k", b"value %d" % i, partition=0) for i in range(200)]
    ground.agent.produce(topic, sent, acks=level)
    eventually(lambda: ground.agent.offsets(topic, 1) == [(0, len(sent))], 20, "all are there")
    assert_same(sent, ground.agent.consume(topic, [(0, 0)], len(sent)))


@CLIENT.scenario(IDEMPOTENT, feature="idempotent producer")
def idempotent(ground):
    topic = ground.topic(3)
    sent = numbered(3000, partitions=3)
    # No linger: many batches, so that sequence numbers are put to use.
    ground.agent.produce(topic, sent, idempotent=True, acks="all", linger_ms=0)
    assert ground.agent.offsets(topic, 3) == [(0, 1000)] * 3
    for partition in range(3):
        wanted = [record for record in sent if record.partition == partition]
        assert_same(wanted, ground.agent.consume(topic, [(partition, 0)], len(wanted)))


@CLIENT.scenario(PARTITIONER, feature="partitions by key")
def ten_thousand(ground):
    partitions = 6
    topic = ground.topic(partitions)
    sent = numbered(10_000)
    placed = ground.agent.produce(topic, sent, idempotent=ground.can(IDEMPOTENT), codec="lz4")
    ends = [latest for _, latest in ground.agent.offsets(topic, partitions)]
    assert sum(ends) == len(sent), f"{len(sent)} records ended as {ends}"
    assert sum(end > 0 for end in ends) > 1, f"all in one partition: {ends}"
    taken = ground.agent.consume(topic, [(p, 0) for p in range(partitions)], len(sent), 40)
    if placed:
        found = {(record.partition, record.offset): record for record in taken}
        for record, at in zip(sent, placed, strict=True):
            assert found[at].content() == record.content(), f"at {at}: {found[at].short()}"
    by_partition = {p: [r for r in taken if r.partition == p] for p in range(partitions)}
    for partition, records in by_partition.items():
        offsets = [record.offset for record in records]
        assert offsets == list(range(ends[partition])), f"{partition}: not all, or not in order"
        values = [record.value for record in records]
        assert values == sorted(values), f"partition {partition} is out of order"
    assert sorted(r.value for r in taken) == [r.value for r in sent], "not the same records"


@CLIENT.scenario(AUTO_CREATE, feature="topics made by producing")
def auto_create(ground):
    topic = ground.unused()
    sent = [Record(b"k", b"value %d" % i) for i in range(10)]
    ground.agent.produce(topic, sent)
    count = ground.agent.topics()[topic]
    if ground.broker.kind != "running":
        assert count == 3, f"num.partitions is 3, the topic has {count}"
    taken = ground.agent.consume(topic, [(p, 0) for p in range(count)], len(sent))
    assert sorted(r.value for r in taken) == [r.value for r in sent]


@CLIENT.scenario(TOPICS, feature="create and delete topics")
def delete_topic(ground):
    topic = ground.topic()
    old = [Record(b"k", b"old %d" % i, partition=0) for i in range(10)]
    ground.agent.produce(topic, old)
    ground.agent.delete_topic(topic)
    eventually(lambda: topic not in ground.agent.topics(), 10, "the topic is gone")
    ground.agent.create_topic(topic, 1)
    eventually(lambda: topic in ground.agent.topics(), 10, "the topic is there again")
    assert ground.agent.offsets(topic, 1) == [(0, 0)], "the topic came back with its records"
    new = [Record(b"k", b"new", partition=0)]
    assert ground.agent.produce(topic, new) == [(0, 0)]
    assert_same(new, ground.agent.consume(topic, [(0, 0)], 1))


@CLIENT.scenario(ERROR_CODES, feature="refused records")
def too_large(ground):
    topic = ground.topic()
    large = Record(b"k", random.Random(1).randbytes(1_500_000), partition=0)
    try:
        ground.agent.produce(topic, [large], max_request=3_000_000)
    except AgentError as error:
        assert error.code == MESSAGE_TOO_LARGE, f"code {error.code}: {error}"
    else:
        raise AssertionError("a record above max.message.bytes was accepted")
    after = [Record(b"k", b"v", partition=0)]
    ground.agent.produce(topic, after)
    assert_same(after, ground.agent.consume(topic, [(0, 0)], 1))
