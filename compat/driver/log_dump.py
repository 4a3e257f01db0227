"""A stopped broker's data folder, read with Kafka's own kafka-dump-log.

Every batch must be valid, offsets must follow each other without a gap, indexes must agree with
the segments, and each partition must end where the broker said it ends.
"""

import collections
import re
import subprocess
import time

from . import toolchain
from .suite import FAILED, PASSED, Result

SUITE = "dump-log"
# One argument of a command may be 128 KiB long on Linux.
ARGUMENT_BYTES = 100_000
OPTIONS = ["--files", "--deep-iteration", "--print-data-log", "--offsets-decoder"]
BATCH = re.compile(rb"baseOffset: (\d+) lastOffset: (\d+) count: (\S+) .* isvalid: (\w+)")
RECORD = re.compile(rb"\| offset: (\d+) .*?(?: payload: (.*))?$")

# "Non-consecutive offsets" is not among them: this tool says so of every segment that does not
# begin at 0. Gaps are found here instead.
COMPLAINT = re.compile(
    rb"Mismatches in|Found |Index offset|The following|  Index |Exception|Error")


class Segment:
    def __init__(self):
        self.first = None
        self.next = None
        self.records = 0
        self.faults = []
        self.numbered = []

    def batch(self, base, last, count, valid):
        if self.first is None:
            self.first = base
        elif base != self.next:
            self.faults.append(f"batch at {base} after an end at {self.next}")
        if valid != b"true":
            self.faults.append(f"batch at {base} is not valid")
        if count != b"null" and int(count) != last - base + 1:
            self.faults.append(f"batch at {base} ends at {last} with {int(count)} records")
        self.next = last + 1

    def record(self, offset, payload):
        if offset != self.first + self.records:
            self.faults.append(f"record at {offset} is number {self.records} from {self.first}")
        self.records += 1
        if payload and payload.startswith(b"record "):
            self.numbered.append(payload)


def check(data, ends):
    """Checks all segments below `data`; `ends` maps (topic, partition) to the end offset."""
    logs = sorted(path for path in data.glob("*-*/*.log")
                  if not path.parent.name.startswith("__"))
    yield _result("segments", lambda: _segments(logs, ends))
    for kind in ("index", "timeindex"):
        files = sorted(path for path in data.glob(f"*-*/*.{kind}")
                       if not path.parent.name.startswith("__cluster_metadata"))
        yield _result(kind, lambda files=files: _indexes(files))
    yield _result("consumer offsets", lambda: _consumer_offsets(data, bool(ends)))


def _result(name, run):
    start = time.monotonic()
    try:
        run()
        outcome, detail = PASSED, ""
    except AssertionError as error:
        outcome, detail = FAILED, str(error)
    return Result(SUITE, name, outcome, time.monotonic() - start, detail)


def _segments(logs, ends):
    assert logs, "there is no segment"
    segments = collections.defaultdict(Segment)
    current = None
    for line in dumped(logs, "--deep-iteration", "--print-data-log"):
        if line.startswith(b"Dumping "):
            current = segments[line[8:].strip().decode()]
        elif found := BATCH.match(line):
            base, last, count, valid = found.groups()
            current.batch(int(base), int(last), count, valid)
        elif found := RECORD.match(line):
            current.record(int(found.group(1)), found.group(2))
    faults = [f"{path}: {fault}" for path, segment in segments.items() for fault in segment.faults]
    assert len(segments) == len(logs), f"{len(logs)} segments, {len(segments)} dumped"

    numbered = collections.Counter()
    reached = {}
    for path in logs:
        segment = segments[str(path)]
        topic, _, number = path.parent.name.rpartition("-")
        place = (topic, int(number))
        base = int(path.stem)
        if place in reached and base != reached[place]:
            faults.append(f"{path} begins after an end at {reached[place]}")
        if segment.first is not None and segment.first != base:
            faults.append(f"{path} begins with {segment.first}")
        reached[place] = base if segment.next is None else segment.next
        if "ten_thousand" in topic:
            numbered.update((topic, payload) for payload in segment.numbered)
    for place, end in ends.items():
        if reached.get(place) != end:
            faults.append(f"{place} ends at {reached.get(place)}, the broker said {end}")
    for topic in {topic for topic, _ in numbered}:
        own = {payload: n for (at, payload), n in numbered.items() if at == topic}
        if len(own) != 10_000 or set(own.values()) != {1}:
            faults.append(f"{topic} holds {len(own)} different records of 10000")
    assert not faults, "\n".join(faults[:20])


def _indexes(files):
    assert files, "there is no index"
    for _ in dumped(files):
        pass


def _consumer_offsets(data, expected):
    logs = sorted(data.glob("__consumer_offsets-*/*.log"))
    assert logs or not expected, "there is no __consumer_offsets"
    said = b"".join(dumped(logs, "--deep-iteration", "--print-data-log", "--offsets-decoder"))
    assert b"isvalid: false" not in said, "a batch is not valid"
    if expected:
        # Keys of type 0 and 1 are committed offsets, of type 2 groups.
        for kind, name in ((b'key: {"type":"1"', "committed offset"), (b'key: {"type":"2"', "group")):
            assert kind in said, f"no record of a {name}"


def dumped(files, *options, unjustified=lambda complaints: complaints):
    """The lines of the dump; any complaint fails that `unjustified` does not take for right."""
    for names in _batches([str(path) for path in files]):
        command = [toolchain.SCRIPTS / "peers" / "kafka", "tool", "kafka-dump-log", *options,
                   "--files", ",".join(names)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as dump:
            complaints = []
            for line in dump.stdout:
                if COMPLAINT.match(line):
                    complaints.append(line.decode(errors="replace").strip())
                yield line
        complaints = unjustified(complaints)
        assert not complaints, "\n".join(complaints[:20])
        assert dump.returncode == 0, f"kafka-dump-log ended with {dump.returncode}"


def _batches(names):
    batch, length = [], 0
    for name in names:
        if batch and length + len(name) > ARGUMENT_BYTES:
            yield batch
            batch, length = [], 0
        batch.append(name)
        length += len(name) + 1
    if batch:
        yield batch
