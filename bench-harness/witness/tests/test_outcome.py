"""What is made of samples and latencies, and the shape of the object that is printed."""

import argparse
import json
import os
import pathlib
import unittest

import usage
from outcome import moved, outcome, percentiles
from usage import Sample, Watch, interpolated, sample

PRINTED = pathlib.Path(__file__).parent / "kafka-e2e-latency.json"


def shape(value):
    """The names in an object, and in the objects in it."""
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else None


class Outcome(unittest.TestCase):
    def test_it_has_the_shape_that_compare_reads(self):
        options = argparse.Namespace(
            tool="kafka-e2e-latency", bootstrap_server="127.0.0.1:9092", broker_pid=os.getpid(),
            cores=[1, 2], topic="t", partitions=1, records=11, size=100)
        begin, end = Sample(10.0, 1.0, 5.0, 0, 100), Sample(14.0, 5.0, 7.0, 10, 300)
        both_ways = moved(10, 100)
        made = outcome(options, begin, end, command="a b", produced=both_ways, consumed=both_ways,
                       latency="from send",
                       latency_us=dict.fromkeys(("count", "mean", "p50", "p99", "p999"), 1.0))
        self.assertEqual(shape(made), shape(json.loads(PRINTED.read_text())))
        self.assertEqual(made["produced"], {"records": 10, "bytes": 1000})
        self.assertEqual(made["client"], {"cores": [1, 2], "cpu_seconds": 4.0, "busy": 0.5})
        taken = {name: made["broker"][name] for name in ("cpu_seconds", "busy", "written_bytes")}
        self.assertEqual(taken, {"cpu_seconds": 2.0, "busy": 0.5, "written_bytes": 200})

    def test_percentiles_are_of_records(self):
        found = percentiles([number / 1e6 for number in range(1000, 0, -1)])
        self.assertEqual(found["count"], 1000)
        rounded = {name: round(found[name], 3) for name in ("mean", "p50", "p99", "p999", "max")}
        self.assertEqual(rounded, {"mean": 500.5, "p50": 500, "p99": 990, "p999": 999, "max": 1000})


class Usage(unittest.TestCase):
    def test_between_two_samples_it_grows_evenly(self):
        samples = [Sample(1.0, 0.0, 10.0, None, 0), Sample(3.0, 1.0, 14.0, None, 100)]
        self.assertEqual(interpolated(samples, 1.5), Sample(1.5, 0.25, 11.0, None, 25.0))
        self.assertEqual(interpolated(samples, 0.0), samples[0])
        self.assertEqual(interpolated(samples, 9.0), samples[1])

    def test_a_process_is_seen_until_it_is_gone(self):
        with Watch(os.getpid(), os.getpid()) as watch:
            first = watch.samples[0]
        later = watch.samples[-1]
        self.assertGreater(later.at, first.at)
        self.assertGreaterEqual(later.broker_cpu_seconds, first.broker_cpu_seconds)
        self.assertGreater(usage.resident_bytes(os.getpid()), 1 << 20)
        with self.assertRaises(FileNotFoundError):
            sample(broker_pid=1 << 30)
