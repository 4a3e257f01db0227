"""The same batches compacted by both brokers: the same must be left.

A Java producer with each codec writes to a topic of Kafka's that is kept whole. Its batches, byte
for byte, go to topics of both brokers while these are not compacted; then the policy changes, and
when both say that they have cleaned up to the last segment, headers and records are compared.
So neither broker's moment of cleaning plays a part, and records without keys can be among them.
"""

import random
import time

from driver.records import CODECS, Record

from .wire import header

SOURCE = "source"
DAY_MS = 24 * 3600 * 1000
# Young enough that their producers are still known.
AGE_MS = 2 * 3600 * 1000
CLEANED_WITHIN_SECONDS = 30
POLL_SECONDS = 0.02
KEYS = 120
BATCHES_OF_RECORDS = 15
RECORDS_AT_ONCE = 30
STEP_MS = 500
# By the records' own times a segment holds about so many of them.
SEGMENT_MS = 80 * STEP_MS

KEPT = {"cleanup.policy": "delete", "retention.ms": -1, "segment.ms": SEGMENT_MS,
        "min.cleanable.dirty.ratio": 0.01}
TOPICS = {
    "tombstones-stay": {"delete.retention.ms": 30 * DAY_MS},
    "tombstones-go": {"delete.retention.ms": 0},
    "cut-at-the-front": {"delete.retention.ms": 0},
    "stamped": {"message.timestamp.type": "LogAppendTime", "segment.ms": 30 * DAY_MS,
                "delete.retention.ms": 0},
}


class Compaction:
    def __init__(self, kafka, ours, seed, rounds):
        self.sides = [kafka, ours]
        self.chance = random.Random(seed)
        self.rounds = rounds
        self.time = int(time.time() * 1000) - AGE_MS
        self.written = 0
        self.cut = 0
        """The base of a batch in the first third."""
        self.last = {}
        """The value of each key that was written last."""

    def topics(self):
        return list(TOPICS)

    def checks(self):
        yield "the topics are there", self.create
        for number in range(1, self.rounds + 1):
            yield f"round {number}: both take the batches", self.fill
            for topic in TOPICS:
                yield (f"round {number}: {topic}",
                       lambda topic=topic: self.compact_and_compare(topic))

    def create(self):
        self.sides[0].agent.create_topic(SOURCE, 1, {"retention.ms": -1})
        for side in self.sides:
            for topic, configs in TOPICS.items():
                side.agent.create_topic(topic, 1, {**KEPT, **configs})

    def fill(self):
        """Makes batches of every codec and gives them to both."""
        kafka = self.sides[0]
        for number in range(BATCHES_OF_RECORDS):
            codec = CODECS[number % len(CODECS)]
            # The first record is one that a topic takes only while it is not compacted.
            kafka.agent.produce(SOURCE, self._records(number == 0), codec=codec, linger_ms=50,
                                idempotent=number % 4 != 3)
        batches = kafka.wire.fetch(SOURCE, self.written)
        self.written = header(batches[-1])["next"]
        if self.cut == 0:
            self.cut = header(batches[len(batches) // 3])["base"]
        for side in self.sides:
            for topic in TOPICS:
                side.agent.set_topic_config(topic, "cleanup.policy", "delete")
                for batch in batches:
                    side.wire.produce(topic, batch)

    def _records(self, without_key):
        made = [Record(None, b"no key", (), 0, self.time)] if without_key else []
        for _ in range(RECORDS_AT_ONCE):
            key = b"key %d" % int(KEYS * self.chance.random() ** 2)
            if self.chance.random() < 0.03:
                key = None
            size = self.chance.choice([0, 10, 100, 1000, 3000])
            if self.chance.random() < 0.02:
                size = 60_000
            value = self.chance.randbytes(size)
            if key is not None and self.chance.random() < 0.15:
                value = None
            if key is not None:
                self.last[key] = value
            headers = (("h", b"x"), ("null", None)) if self.chance.random() < 0.2 else ()
            # Some are older than those before.
            back = 20 * STEP_MS if self.chance.random() < 0.05 else 0
            made.append(Record(key, value, headers, 0, self.time - back))
            self.time += STEP_MS
        return made

    def compact_and_compare(self, topic):
        if topic == "cut-at-the-front":
            lows = [side.wire.delete_records(topic, self.cut) for side in self.sides]
            assert lows == [self.cut, self.cut], lows
        bases = [segments(side, topic) for side in self.sides]
        assert len(bases[0]) > 3 or topic == "stamped", f"only {bases[0]}"
        # Elsewhere what may be cleaned would not be the same.
        assert bases[0][-1] == bases[1][-1], f"last segments: {bases[0][-3:]} and {bases[1][-3:]}"
        sizes = [size(side, topic) for side in self.sides]
        policy = "compact,delete" if topic == "cut-at-the-front" else "compact"
        for side in self.sides:
            side.agent.set_topic_config(topic, "cleanup.policy", policy)
        for side, own in zip(self.sides, bases):
            if own[-1] > own[0]:
                wait_until_cleaned(side, topic, own[-1])
        starts = [side.agent.offsets(topic, 1)[0] for side in self.sides]
        assert starts[0] == starts[1], f"bounds of the log: {starts}"
        start = starts[0][0]
        headers = [[header(batch) for batch in side.wire.fetch(topic, start)]
                   for side in self.sides]
        if topic == "stamped":
            headers = [[{**each, "first_time": None, "last_time": None} for each in side]
                       for side in headers]
        same(*headers, "batches")
        count = sum(each["count"] for each in headers[0])
        found = [side.agent.consume(topic, [[0, start]], count) for side in self.sides]
        if topic == "stamped":
            found = [[record.content() for record in side] for side in found]
        same(*found, "records")
        if topic != "stamped":
            self._check_values(found[0], bases[0][-1], start)
        after = [size(side, topic) for side in self.sides]
        assert after[1] < sizes[1] or len(bases[1]) == 1, f"{sizes[1]} bytes became {after[1]}"
        print(f"        {topic}: {count} of {self.written - start} records left, "
              f"{len(bases[0])} segments; bytes {sizes} became {after}", flush=True)

    def _check_values(self, records, active, start):
        """Whatever the brokers agree on: the last value of each key, and each key once."""
        seen = {}
        for record in records:
            seen[record.key] = record.value
        for key, value in self.last.items():
            if key in seen:
                assert seen[key] == value, f"the last value of {key} is another"
            else:
                assert value is None or start > 0, f"{key} is lost"
        closed = [record.key for record in records if record.offset < active]
        assert len(closed) == len(set(closed)), "a key is there twice"
        assert None not in closed, "a record without a key is there"


def segments(side, topic):
    """The base offsets of a topic's segments."""
    return sorted(int(path.stem) for path in (side.data / f"{topic}-0").glob("*.log"))


def size(side, topic):
    return sum(path.stat().st_size for path in (side.data / f"{topic}-0").glob("*.log"))


def wait_until_cleaned(side, topic, offset):
    """Until the broker has written down that it cleaned a log up to an offset."""
    deadline = time.monotonic() + CLEANED_WITHIN_SECONDS
    while (reached := cleaned(side, topic)) != offset:
        assert time.monotonic() < deadline, (
            f"{side.name} cleaned {topic} up to {reached} and not to {offset}")
        time.sleep(POLL_SECONDS)


def cleaned(side, topic):
    names = ("cleaner-offset-checkpoint", "millstream-cleaner-*")
    for path in [path for name in names for path in side.data.glob(name)]:
        for line in path.read_text().splitlines()[2:]:
            name, _, offset = line.split()
            if name == topic:
                reached = int(offset)
                break
        else:
            continue
        return reached
    return None


def same(theirs, mine, what):
    """The first difference, if there is one."""
    for number, (one, other) in enumerate(zip(theirs, mine)):
        assert one == other, f"{what}, number {number}:\nKafka      {one}\nMillstream {other}"
    assert len(theirs) == len(mine), f"{len(theirs)} {what} at Kafka, {len(mine)} at Millstream"
