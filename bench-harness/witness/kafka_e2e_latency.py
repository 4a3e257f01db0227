"""kafka-e2e-latency: a record is sent when the one before has been received.

It tells percentiles in whole milliseconds, cut off, and the mean exactly. What is measured begins
with the first record, whose line comes when it is there; percentiles and mean are with it.
"""

import dataclasses
import re

import kafka_tool
from outcome import moved, outcome

RECORD = re.compile(r"(\d+)\t([\d.E-]+)")
MEAN = re.compile(r"Avg latency: ([\d.]+) ms")
PERCENTILES = re.compile(r"Percentiles: 50th = (\d+), 99th = (\d+), 99\.9th = (\d+)")


@dataclasses.dataclass(frozen=True)
class Measured:
    begin: float
    end: float
    latency_us: dict


def parse(lines, records):
    def the_only(pattern):
        found = [(line.at, match) for line in lines if (match := pattern.fullmatch(line.text))]
        if not found:
            raise kafka_tool.Unclear(f"no line is like {pattern.pattern}")
        return found[0]

    begin, _ = the_only(RECORD)
    end, mean = the_only(MEAN)
    _, percentiles = the_only(PERCENTILES)
    p50, p99, p999 = (int(each) * 1e3 for each in percentiles.groups())
    return Measured(begin, end, {"count": records, "mean": float(mean[1]) * 1e3,
                                 "p50": p50, "p99": p99, "p999": p999})


def run(options):
    said = kafka_tool.run(
        options, "--bootstrap-server", options.bootstrap_server, "--topic", options.topic,
        "--num-records", options.records, "--producer-acks", "all",
        "--record-size", options.size)
    found = parse(said.lines, options.records)
    # The first record is there when the measured time begins.
    both_ways = moved(options.records - 1, options.size)
    return outcome(options, said.watch.at(found.begin), said.watch.at(found.end),
                   command=said.command, produced=both_ways, consumed=both_ways,
                   latency="from send, one at a time", latency_us=found.latency_us)
