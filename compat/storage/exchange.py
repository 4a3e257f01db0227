"""Each broker serves segments that the other wrote, put into the folder of a topic of its own.

What is done is what somebody does who moves a partition from one to the other, and as
docs/formats.md tells it: a topic of the same settings is made, both brokers stop, all files of its
partition's folder but `partition.metadata` go, the other's take their place.
"""

import dataclasses
import pathlib
import shutil
import subprocess

from driver.records import CODECS, Record, varied

from .compaction import same
from .wire import CONTROL, header

STAMPS = ["CreateTime", "LogAppendTime"]
CONFIGS = {"segment.bytes": 1 << 20, "index.interval.bytes": 1000, "retention.ms": -1,
           "message.timestamp.type": "CreateTime"}
TRANSACTIONAL = "transactional"
OWN_FILES = {"partition.metadata"}


@dataclasses.dataclass
class Moved:
    """A partition on its way, and what its consumers saw before."""

    topic: str
    source: object
    target: object
    configs: dict
    name: str
    """Of the topic that it becomes."""
    bounds: tuple = ()
    records: list = ()
    headers: list = ()
    at_times: dict = dataclasses.field(default_factory=dict)


class Exchange:
    def __init__(self, kafka, ours, daemon, compacted):
        self.kafka, self.ours = kafka, ours
        self.tool = pathlib.Path(daemon).with_name("millstream")
        self.compacted = compacted
        self.moved = []
        for source, target in ((kafka, ours), (ours, kafka)):
            for topic in compacted:
                # Not compacted any more: what is there is to be compared.
                stamp = "LogAppendTime" if topic == "stamped" else "CreateTime"
                configs = {**CONFIGS, "message.timestamp.type": stamp}
                self._add(topic, source, target, configs)
            for codec in CODECS:
                for stamp in STAMPS:
                    configs = {**CONFIGS, "message.timestamp.type": stamp}
                    self._add(f"{codec}-{stamp}", source, target, configs)
        self._add(TRANSACTIONAL, kafka, ours, CONFIGS)

    def _add(self, topic, source, target, configs):
        name = f"{topic}-of-{source.name}"
        self.moved.append(Moved(topic, source, target, configs, name))

    def write(self, transactions):
        for number, each in enumerate(self.moved):
            each.target.agent.create_topic(each.name, 1, each.configs)
            if each.topic not in self.compacted:
                each.source.agent.create_topic(each.topic, 1, each.configs)
                if each.topic == TRANSACTIONAL:
                    transactions(each.source.broker.bootstrap, each.topic)
                else:
                    codec = each.topic.split("-")[0]
                    each.source.agent.produce(
                        each.topic, varied(number, True, True), codec=codec, idempotent=True)
        for each in self.moved:
            each.bounds = tuple(each.source.agent.offsets(each.topic, 1)[0])
            self._see(each, each.source, each.topic)
            for record in each.records[::17]:
                each.at_times[record.timestamp] = each.source.agent.offset_for_time(
                    each.topic, 0, record.timestamp)

    def _see(self, each, side, topic):
        start = each.bounds[0]
        each.headers = [header(batch) for batch in side.wire.fetch(topic, start)]
        each.records = self._records(side, topic, start, each.headers)

    def _records(self, side, topic, start, headers):
        # Control records are not for consumers.
        count = sum(found["count"] for found in headers if not found["attributes"] & CONTROL)
        taken = side.agent.consume(topic, [[0, start]], count)
        return [dataclasses.replace(record, topic="") for record in taken]

    def stop(self):
        for side in (self.kafka, self.ours):
            side.end()

    def swap(self):
        for each in self.moved:
            source = each.source.data / f"{each.topic}-0"
            target = each.target.data / f"{each.name}-0"
            for path in target.iterdir():
                if path.name not in OWN_FILES:
                    path.unlink()
            for path in source.iterdir():
                if path.name not in OWN_FILES:
                    shutil.copy2(path, target / path.name)

    def start(self):
        for side in (self.kafka, self.ours):
            side.begin()

    def checks(self):
        yield "millstream log verify", self.verify
        for each in self.moved:
            yield f"{each.target.name} serves {each.topic}", lambda each=each: self.served(each)

    def verify(self):
        """Our own tool finds no fault with any folder, whoever wrote it."""
        folders = [each.target.data / f"{each.name}-0" for each in self.moved]
        done = subprocess.run([self.tool, "log", "verify", *folders],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def served(self, each):
        side = each.target
        bounds = tuple(side.agent.offsets(each.name, 1)[0])
        assert bounds[1] == each.bounds[1], f"ends at {bounds[1]}, before at {each.bounds[1]}"
        # Only whole segments go: where a log was cut within one, the first offset is Kafka's and
        # ours to keep, beside the segments.
        assert bounds[0] <= each.bounds[0], f"begins at {bounds[0]}, before at {each.bounds[0]}"
        start = each.bounds[0]
        headers = [header(batch) for batch in side.wire.fetch(each.name, start)]
        same(each.headers, headers, "batches")
        same(each.records, self._records(side, each.name, start, headers), "records")
        if bounds[0] == each.bounds[0]:
            for timestamp, offset in each.at_times.items():
                found = side.agent.offset_for_time(each.name, 0, timestamp)
                assert found == offset, f"time {timestamp}: {found}, before {offset}"
        # And it goes on from there.
        own = [Record(b"after", b"the move", (), 0, each.records[-1].timestamp)]
        end = bounds[1]
        assert side.agent.produce(each.name, own, codec="lz4", idempotent=True) == [(0, end)]
        taken = side.agent.consume(each.name, [[0, end]], 1)
        assert [record.content() for record in taken] == [own[0].content()], taken
