"""librdkafka, by confluent-kafka: what rdkafka_performance does, for a time and from Python.

`produce` and `consume` go as fast as they can. `end_to_end` sends record n when it is due, at
n / rate seconds, whatever has become of the earlier ones, and takes its latency from then until it
is received.
"""

import concurrent.futures
import gc
import pathlib
import sys
import threading
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from outcome import moved, outcome, percentiles
from usage import sample

WAIT_SECONDS = 30
# Records after which one looks at the clock, where many go together.
CHUNK = 1000
# A fetch at the end of what there is would keep the next round of reading back.
FETCH_WAIT_MS = 10
NUMBER_BYTES = 8


def make_topic(options):
    """Makes the topic, unless it is there."""
    admin = AdminClient({"bootstrap.servers": options.bootstrap_server})
    made = admin.create_topics([NewTopic(options.topic, options.partitions, 1)])
    try:
        made[options.topic].result(WAIT_SECONDS)
    except concurrent.futures.TimeoutError:
        sys.exit(f"{options.bootstrap_server} did not answer within {WAIT_SECONDS} s")
    except KafkaException as refused:
        if refused.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def producer(options):
    def failed(error, _message):
        if error:
            raise KafkaException(error)

    return Producer({
        "bootstrap.servers": options.bootstrap_server,
        "acks": "all",
        "batch.size": options.batch_bytes,
        "linger.ms": options.linger_ms,
        "delivery.report.only.error": True,
        "on_delivery": failed,
    })


def consumer(options, **settings):
    return Consumer({
        "bootstrap.servers": options.bootstrap_server,
        "group.id": "witness",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        **settings,
    })


def produce(options):
    """Keeps librdkafka's queue full."""
    sender, value = producer(options), bytes(options.size)
    sent = 0

    def until(deadline):
        nonlocal sent
        while time.monotonic() < deadline:
            try:
                for _ in range(CHUNK):
                    sender.produce(options.topic, value)
                    sent += 1
            except BufferError:
                sender.poll(0.001)

    def delivered():
        return sent - len(sender)

    warm = time.monotonic() + options.warm_up
    until(warm)
    begin, before = sample(options.broker_pid), delivered()
    until(warm + options.seconds)
    end, after = sample(options.broker_pid), delivered()
    if sender.flush(WAIT_SECONDS):
        sys.exit(f"{len(sender)} records were not answered within {WAIT_SECONDS} s")
    return outcome(options, begin, end, produced=moved(after - before, options.size))


def consume(options):
    """Reads the first partition from its beginning to its end, and from its beginning again."""
    receiver = consumer(options, **{
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        # With less in its queue it pauses for a second, as soon as small records fill that.
        "queued.min.messages": 1_000_000,
        "queued.max.messages.kbytes": 1_000_000,
    })
    place = TopicPartition(options.topic, 0, OFFSET_BEGINNING)
    _, high_watermark = receiver.get_watermark_offsets(place, WAIT_SECONDS)
    if high_watermark == 0:
        sys.exit(f"there is nothing in {options.topic}")
    receiver.assign([place])
    counts = {"records": 0, "bytes": 0}
    position = 0

    def until(deadline):
        nonlocal position
        while time.monotonic() < deadline:
            # Of more than there is it would wait for the rest.
            wanted = min(CHUNK, high_watermark - position)
            messages = receiver.consume(wanted, timeout=WAIT_SECONDS)
            if not messages:
                sys.exit(f"nothing came for {WAIT_SECONDS} s")
            for error in filter(None, map(Message.error, messages)):
                raise KafkaException(error)
            counts["records"] += len(messages)
            counts["bytes"] += sum(map(len, messages))
            position = messages[-1].offset() + 1
            if position >= high_watermark:
                receiver.seek(place)
                position = 0

    warm = time.monotonic() + options.warm_up
    until(warm)
    begin, before = sample(options.broker_pid), dict(counts)
    until(warm + options.seconds)
    end = sample(options.broker_pid)
    receiver.close()
    consumed = {name: counts[name] - before[name] for name in counts}
    return outcome(options, begin, end, consumed=consumed)


class Schedule:
    """When each record is due."""

    def __init__(self, options):
        self.rate = options.rate
        self.warm = round(options.rate * options.warm_up)
        self.records = self.warm + round(options.rate * options.seconds)
        self.begin = time.monotonic() + 0.2

    def due(self, number):
        return self.begin + number / self.rate


class Sending(threading.Thread):
    """Sends each record when it is due, with its number in front, and samples both processes."""

    def __init__(self, options, schedule):
        super().__init__()
        self.options, self.schedule = options, schedule
        self.sender = producer(options)
        self.begin = self.end = None

    def run(self):
        schedule, topic = self.schedule, self.options.topic
        padding = bytes(self.options.size - NUMBER_BYTES)
        for number in range(schedule.records):
            if number == schedule.warm:
                self.begin = sample(self.options.broker_pid)
            sleep_until(schedule.due(number))
            self.sender.produce(topic, number.to_bytes(NUMBER_BYTES, "big") + padding)
            self.sender.poll(0)
        sleep_until(schedule.due(schedule.records))
        self.end = sample(self.options.broker_pid)
        self.sender.flush(WAIT_SECONDS)


def sleep_until(moment):
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)


def end_to_end(options):
    if options.size < NUMBER_BYTES:
        sys.exit(f"a record has at least {NUMBER_BYTES} bytes")
    wake_exactly()
    receiver = consumer(options)
    places = [TopicPartition(options.topic, partition) for partition in range(options.partitions)]
    for place in places:
        _, place.offset = receiver.get_watermark_offsets(place, WAIT_SECONDS)
    receiver.assign(places)
    receiver.poll(0.1)
    schedule = Schedule(options)
    sending = Sending(options, schedule)
    sending.daemon = True
    sending.start()
    latencies = []
    for _ in range(schedule.records):
        message = receiver.poll(WAIT_SECONDS)
        now = time.monotonic()
        if message is None:
            sys.exit(f"nothing came for {WAIT_SECONDS} s")
        if message.error():
            raise KafkaException(message.error())
        number = int.from_bytes(message.value()[:NUMBER_BYTES], "big")
        if number >= schedule.warm:
            latencies.append(now - schedule.due(number))
    sending.join()
    receiver.close()
    both_ways = moved(len(latencies), options.size)
    return outcome(options, sending.begin, sending.end, produced=both_ways, consumed=both_ways,
                   latency="from due", latency_us=percentiles(latencies))


def wake_exactly():
    """Keeps what Python and the kernel add to a latency small."""
    gc.disable()
    sys.setswitchinterval(0.0002)
    # Otherwise a sleep may last 50 us longer than told.
    pathlib.Path("/proc/self/timerslack_ns").write_text("1")
