"""Produce: semantics.md 3.2 and 3.3, as far as one node without transactions goes."""

import time

from ..batches import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL, batch, record
from ..talk import IdOf
from . import sequence

HOUR_MS = 3600_000


def produce(talk, topic, records, version=None, label="", acks=-1, partition=0, on="main",
            client_id="differential"):
    return talk.ask("Produce", version, _request(topic, records, acks, partition), label, on,
                    client_id)


def _request(topic, records, acks=-1, partition=0):
    return {"TransactionalId": None, "Acks": acks, "TimeoutMs": 10000, "TopicData": [
        {"Name": topic, "TopicId": IdOf(topic), "PartitionData": [
            {"Index": partition, "Records": records}]}]}


@sequence(each="Produce")
def single_batches(talk, version):
    topic = talk.make_topic(talk.own("t"), 3)
    then = talk.moment - HOUR_MS

    def say(label, records, **more):
        produce(talk, topic, records, version, label, **more)

    say("one record", batch(1, timestamp=then))
    say("three records", batch(3, timestamp=then, step=5))
    say("gzip", batch(3, timestamp=then, codec="gzip"))
    say("acks 1", batch(1, timestamp=then), acks=1)
    for acks in (2, -2, 100, 32767):
        say(f"acks {acks}", batch(1, timestamp=then), acks=acks)
    say("partition 1", batch(1, timestamp=then), partition=1)
    say("no such partition", batch(1, timestamp=then), partition=3)
    say("partition -1", batch(1, timestamp=then), partition=-1)
    produce(talk, "no-such-topic", batch(1), version, "no such topic")
    produce(talk, "not a name!", batch(1), version, "no name")
    produce(talk, "__consumer_offsets", batch(1, timestamp=then), version, "an internal topic")
    say("a wrong CRC", batch(1, timestamp=then, wrong_crc=True))
    for magic in (-1, 0, 1, 3):
        say(f"magic {magic}", batch(1, timestamp=then, magic=magic))
    say("two batches", batch(1, timestamp=then) + batch(1, timestamp=then))
    say("no batch", b"")
    say("null", None)
    say("no record", batch(0, timestamp=then))
    say("half a header", batch(1, timestamp=then)[:30])
    say("a cut batch", batch(3, timestamp=then)[:-3])
    say("a length too small", batch(1, timestamp=then, length=20))
    say("a negative length", batch(1, timestamp=then, length=-1))
    say("the count too high", batch(2, timestamp=then, count=3))
    say("the count too low", batch(2, timestamp=then, count=1))
    say("a negative count", batch(1, timestamp=then, count=-1))
    say("last offset delta too high", batch(2, timestamp=then, last_offset_delta=2))
    say("last offset delta too low", batch(2, timestamp=then, last_offset_delta=0))
    say("negative last offset delta", batch(1, timestamp=then, last_offset_delta=-1))
    say("a base offset", batch(1, timestamp=then, base_offset=77))
    say("a negative base offset", batch(1, timestamp=then, base_offset=-5))
    say("a leader epoch", batch(1, timestamp=then, leader_epoch=9))
    say("control", batch(1, timestamp=then, attributes=CONTROL))
    say("transactional without an id", batch(
        1, timestamp=then, attributes=TRANSACTIONAL, producer_id=900001, producer_epoch=0,
        base_sequence=0))
    say("delete horizon", batch(1, timestamp=then, attributes=0x40))
    say("an unknown attribute", batch(1, timestamp=then, attributes=0x80))
    for codec in (5, 6, 7):
        say(f"codec {codec}", batch(1, timestamp=then, attributes=codec))
    say("not gzip", batch(1, timestamp=then, attributes=1))
    say("a wrong maximal timestamp", batch(1, timestamp=then, max_timestamp=then + 999))
    say("no maximal timestamp", batch(1, timestamp=then, max_timestamp=-1))
    say("no timestamp", batch(1, timestamp=-1))
    say("timestamp -2", batch(1, timestamp=-2))
    say("the year 1970", batch(1, timestamp=0))
    say("two hours from now", batch(1, timestamp=talk.moment + 2 * HOUR_MS))
    say("the last record two hours from now",
        batch(2, timestamp=talk.moment - 100 * HOUR_MS, step=102 * HOUR_MS))
    say("a key of null", batch([record(key=None)], timestamp=then))
    say("a value of null", batch([record(value=None)], timestamp=then))
    say("headers", batch([record(headers=[(b"a", b"1"), (b"a", None), (b"", b"")])],
                         timestamp=then))
    say("a record attribute", batch([record(attributes=1)], timestamp=then))
    say("a cut record", batch([record()[:-1]], timestamp=then))
    say("a record too long", batch([b"\x40" + record()[1:]], timestamp=then))
    say("negative header count", batch([record()[:-1] + b"\1"], timestamp=then))
    say("a sequence without a producer", batch(1, timestamp=then, base_sequence=0))
    say("a producer without a sequence", batch(1, timestamp=then, producer_id=900001,
                                                producer_epoch=0))
    say("a producer without an epoch", batch(1, timestamp=then, producer_id=900001,
                                              base_sequence=0))
    say("a negative producer", batch(1, timestamp=then, producer_id=-2, producer_epoch=0,
                                      base_sequence=0))
    fetch_all(talk, topic)
    # Apache Kafka takes these, and counts on from there.
    say("log append time asked for", batch(1, timestamp=then, attributes=LOG_APPEND_TIME),
        partition=2)
    say("bytes behind the batch", batch(1, timestamp=then) + b"\0\1\2", partition=2)
    say("offset deltas with a gap", batch(
        [record(offset_delta=0), record(offset_delta=2)], timestamp=then,
        last_offset_delta=1), partition=2)
    say("offset deltas in wrong order", batch(
        [record(offset_delta=1), record(offset_delta=0)], timestamp=then), partition=2)


def fetch_all(talk, topic, label="what was stored", version=11, partition=0):
    talk.ask("Fetch", version, {
        "ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 1, "MaxBytes": 1 << 20, "SessionEpoch": -1,
        "Topics": [{"Topic": topic, "Partitions": [
            {"Partition": partition, "FetchOffset": 0, "LogStartOffset": -1,
             "PartitionMaxBytes": 1 << 20}]}]}, label)


@sequence(each="Produce")
def settings_of_a_topic(talk, version):
    then = talk.moment - HOUR_MS
    compacted, small, stamped, bounded, tiny = (
        talk.own(each) for each in ("compacted", "small", "stamped", "bounded", "tiny"))
    talk.make_topics({
        compacted: (1, {"cleanup_policy": "compact"}),
        small: (1, {"max_message_bytes": 200}),
        stamped: (1, {"message_timestamp_type": "LogAppendTime"}),
        bounded: (1, {"message_timestamp_before_max_ms": 60000,
                      "message_timestamp_after_max_ms": 60000}),
        tiny: (1, {"segment_bytes": 1 << 20, "max_message_bytes": 1 << 22}),
    })
    produce(talk, compacted, batch(1, timestamp=then), version, "a key")
    produce(talk, compacted, batch([record(key=None)], timestamp=then), version, "no key")
    produce(talk, compacted, batch(
        [record(), record(key=None, offset_delta=1), record(key=None, offset_delta=2)],
        timestamp=then), version, "two without a key of three")
    produce(talk, compacted, batch([record(key=None)], timestamp=then, codec="gzip"), version,
            "no key, packed")
    produce(talk, compacted, batch([record(key=b"")], timestamp=then), version, "an empty key")
    fetch_all(talk, compacted)
    produce(talk, small, batch(1, timestamp=then, size=50), version, "small enough")
    produce(talk, small, batch(1, timestamp=then, size=200), version, "too large")
    produce(talk, small, batch(1, timestamp=then, size=200, codec="gzip"), version,
            "too large if it were not packed")
    for size in range(125, 131):
        produce(talk, small, batch(1, timestamp=then, size=size), version, f"{size} bytes")
    fetch_all(talk, small)
    produce(talk, stamped, batch(3, timestamp=then, step=5), version, "stamped by the broker")
    produce(talk, stamped, batch(1, timestamp=-1), version, "stamped, had no time")
    produce(talk, stamped, batch(1, timestamp=talk.moment + 10 * HOUR_MS), version,
            "stamped, had a future time")
    produce(talk, stamped, batch(1, timestamp=then, attributes=LOG_APPEND_TIME), version,
            "stamped, and says so")
    fetch_all(talk, stamped)
    produce(talk, bounded, batch(1, timestamp=then), version, "too old")
    produce(talk, bounded, batch(3, timestamp=talk.moment - 1000, step=HOUR_MS), version,
            "two of three too new")
    produce(talk, bounded, batch(1, timestamp=talk.moment), version, "in time")
    produce(talk, bounded, batch(1, timestamp=then, codec="gzip"), version, "too old, packed")
    fetch_all(talk, bounded)
    produce(talk, tiny, batch(1, timestamp=then, size=(1 << 20) + 100), version,
            "larger than a segment")
    produce(talk, tiny, batch(1, timestamp=then, size=(1 << 20) - 200), version,
            "as large as a segment")


@sequence(each="Produce")
def many_partitions_in_a_request(talk, version):
    topic = talk.make_topic(talk.own("t"), 3)
    then = talk.moment - HOUR_MS
    good, bad = batch(1, timestamp=then), batch(1, timestamp=then, wrong_crc=True)

    def say(label, *topics, acks=-1):
        talk.ask("Produce", version, {
            "TransactionalId": None, "Acks": acks, "TimeoutMs": 10000, "TopicData": [
                {"Name": name, "TopicId": IdOf(name), "PartitionData": [
                    {"Index": index, "Records": records} for index, records in partitions]}
                for name, partitions in topics]}, label)

    say("one of three is bad", (topic, [(0, good), (1, bad), (2, good)]))
    say("an unknown one between", (topic, [(0, good), (7, good), (2, good)]))
    say("an unknown topic too", (topic, [(2, good), (0, good)]), ("no-such-topic", [(0, good)]))
    say("a partition twice", (topic, [(0, good), (0, good)]))
    say("a topic twice", (topic, [(0, good)]), (topic, [(1, good)]))
    say("no partition", (topic, []))
    say("no topic")
    say("wrong acks for all", (topic, [(0, good), (1, bad)]), acks=5)
    for partition in range(3):
        fetch_all(talk, topic, f"partition {partition}", partition=partition)


@sequence(each="Produce")
def acks_0(talk, version):
    topic = talk.make_topic(talk.own("t"))
    then = talk.moment - HOUR_MS
    tell = {"TransactionalId": None, "TimeoutMs": 1000, "Acks": 0}

    def say(label, name, records, partition=0):
        talk.tell("Produce", version, label, **tell, TopicData=[
            {"Name": name, "TopicId": IdOf(name), "PartitionData": [
                {"Index": partition, "Records": records}]}])

    say("good", topic, batch(1, timestamp=then))
    say("a wrong CRC", topic, batch(1, timestamp=then, wrong_crc=True))
    say("no such topic", "no-such-topic", batch(1, timestamp=then))
    say("no such partition", topic, batch(1, timestamp=then), 5)
    say("good again", topic, batch(1, timestamp=then))
    talk.eventually(lambda answer: answer["Topics"][0]["Partitions"][0]["Offset"] == 2,
                    "ListOffsets", 5, ReplicaId=-1, label="both have arrived", Topics=[
                        {"Name": topic, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}]}])
    fetch_all(talk, topic)


@sequence()
def an_admin_client_writes_to_an_internal_topic(talk):
    # The name is what counts; a batch that groups cannot read would stop the coordinator.
    produce(talk, "__consumer_offsets", batch(1, wrong_crc=True), label="by its name",
            client_id="__admin_client")
    produce(talk, "__consumer_offsets", batch(1, wrong_crc=True), label="no name",
            client_id=None)


@sequence(each="Produce")
def idempotent_producer(talk, version):
    topic = talk.make_topic(talk.own("t"), 2)
    then = talk.moment - HOUR_MS
    given = talk.ask("InitProducerId", 4, {"TransactionalId": None, "TransactionTimeoutMs": 60000,
                                           "ProducerId": -1, "ProducerEpoch": -1})
    pid = given["ProducerId"]

    def say(label, sequence, records=1, epoch=0, producer=pid, partition=0, timestamp=then):
        produce(talk, topic, batch(
            records, timestamp=timestamp, producer_id=producer, producer_epoch=epoch,
            base_sequence=sequence), version, label, partition=partition)

    say("first", 0)
    say("second, of three records", 1, 3)
    say("duplicate of the second", 1, 3)
    say("duplicate of the first", 0)
    say("a gap", 6)
    say("a gap once more", 6)
    say("overlaps the second", 3, 3)
    say("part of the second", 2, 2)
    say("longer than the second", 1, 4)
    say("third", 4)
    for sequence_number in range(5, 10):
        say(f"sequence {sequence_number}", sequence_number)
    for sequence_number in (9, 8, 7, 6, 5, 4, 1, 0):
        say(f"again sequence {sequence_number}", sequence_number,
            3 if sequence_number == 1 else 1)
    say("a higher epoch not from 0", 10, epoch=1)
    say("a higher epoch", 0, epoch=1)
    say("the lower epoch", 10, epoch=0)
    say("the lower epoch, a duplicate", 9, epoch=0)
    say("the higher epoch goes on", 1, epoch=1)
    say("epoch 5", 0, epoch=5)
    say("a negative epoch", 2, epoch=-1)
    say("the other partition starts anywhere", 17, partition=1)
    say("and goes on", 18, partition=1)
    say("and has a gap", 20, partition=1)
    other = 900100 + version
    say("an id that nobody gave out", 3, producer=other)
    say("goes on", 4, producer=other)
    say("not from 0 in a new epoch", 5, producer=other, epoch=3)
    wrap = 900200 + version
    say("before the highest sequence", (1 << 31) - 2, producer=wrap)
    say("the highest sequence and 0", (1 << 31) - 1, 2, producer=wrap)
    say("after the turn", 1, producer=wrap)
    say("the turn once more", (1 << 31) - 1, 2, producer=wrap)
    say("highest to highest", 5, producer=wrap, epoch=32767)
    say("a new producer from the highest", 0, producer=wrap + 1000, epoch=32767)
    fetch_all(talk, topic)
    fetch_all(talk, topic, partition=1)


@sequence()
def a_pipeline_of_an_idempotent_producer(talk):
    topic = talk.make_topic(talk.own("t"))
    then = talk.moment - HOUR_MS

    def send(sequence, wrong_crc=False):
        talk.send("Produce", 9, _request(topic, batch(
            1, timestamp=then, producer_id=900301, producer_epoch=0, base_sequence=sequence,
            wrong_crc=wrong_crc)), f"sequence {sequence}{' with a wrong CRC' * wrong_crc}")

    for sequence in (0, 1, 2, 3, 4):
        send(sequence)
    send(5, wrong_crc=True)
    for sequence in (6, 7, 5, 6):
        send(sequence)
    for _ in range(10):
        talk.take()
    fetch_all(talk, topic)


@sequence(each="InitProducerId")
def producer_ids(talk, version):
    def say(label, txid=None, timeout=60000, pid=-1, epoch=-1):
        return talk.ask("InitProducerId", version, {
            "TransactionalId": txid, "TransactionTimeoutMs": timeout, "ProducerId": pid,
            "ProducerEpoch": epoch}, label)

    first = say("first")
    second = say("second")
    assert first["ProducerId"] != second["ProducerId"], "two producers, one id"
    say("a negative timeout", timeout=-1)
    say("no timeout", timeout=0)
    say("its own id again", pid=first["ProducerId"], epoch=0)
    say("an id without an epoch", pid=5)
    say("an epoch without an id", epoch=5)
    say("an empty transactional id", txid="")


@sequence()
def a_batch_is_read_as_it_was_written(talk):
    """Everything a producer may choose comes back."""
    topic = talk.make_topic(talk.own("t"))
    now = int(time.time() * 1000)
    assert now >= talk.moment, "the clock went back"
    for codec in ("none", "gzip"):
        produce(talk, topic, batch(
            [record(b"k", b"v" * 500, [(b"h", b"\0\xff")], timestamp_delta=7),
             record(None, None, offset_delta=1)],
            timestamp=talk.moment - HOUR_MS, max_timestamp=talk.moment - HOUR_MS + 7, codec=codec,
            leader_epoch=4), label=codec)
    fetch_all(talk, topic)
