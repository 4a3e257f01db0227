"""What is read from what Kafka's tools print: real runs, with the time of each line in front."""

import pathlib
import unittest

import kafka_consumer_perf_test
import kafka_e2e_latency
import kafka_producer_perf_test
from kafka_tool import Line, Unclear

HERE = pathlib.Path(__file__).parent


def captured(name):
    lines = (HERE / f"{name}.txt").read_text().splitlines()
    return [Line(float(at), text) for at, text in (line.split(" ", 1) for line in lines)]


class ProducerPerfTest(unittest.TestCase):
    def test_what_came_after_the_warm_up_counts(self):
        lines = captured("kafka-producer-perf-test")
        found = kafka_producer_perf_test.parse(lines, 400_000, 100_000, 1024)
        self.assertEqual(found.records, 300_000)
        self.assertEqual(found.end, 1795318830.377)
        self.assertAlmostEqual(found.end - found.begin, 300_000 / 151591.712986, places=5)
        self.assertEqual(found.latency_us, {
            "count": 300_000, "mean": 9910.0, "p50": 9000.0, "p99": 27000.0, "p999": 30000.0,
            "max": 33000.0})
        self.assertEqual(found.series, [
            {"second": 1, "produced_bytes": 126328.0 * 1024, "max_us": 33000.0}])

    def test_without_a_warm_up_all_counts(self):
        lines = captured("kafka-producer-perf-test-cold")
        found = kafka_producer_perf_test.parse(lines, 50_000, 0, 100)
        self.assertEqual(found.end, 1795318833.997)
        self.assertAlmostEqual(found.end - found.begin, 1.615, places=3)
        self.assertEqual([point["max_us"] for point in found.series], [683000.0])

    def test_what_was_not_sent_is_noticed(self):
        lines = captured("kafka-producer-perf-test")
        with self.assertRaisesRegex(Unclear, "300000 records were sent of 399999"):
            kafka_producer_perf_test.parse(lines, 400_000, 1, 1024)
        with self.assertRaisesRegex(Unclear, "no line"):
            kafka_producer_perf_test.parse(lines[:-2], 400_000, 100_000, 1024)


class ConsumerPerfTest(unittest.TestCase):
    def test_a_line_tells_when_how_much_was_consumed(self):
        points = kafka_consumer_perf_test.parse(captured("kafka-consumer-perf-test"))
        self.assertEqual(len(points), 9)
        self.assertEqual((points[0].at, points[0].records), (1795318839.168, 1))
        self.assertEqual((points[-1].mib, points[-1].records), (384.6777, 393_910))

    def test_what_came_after_the_warm_up_counts(self):
        points = kafka_consumer_perf_test.parse(captured("kafka-consumer-perf-test"))
        warm = kafka_consumer_perf_test.window(points, 1.0)
        self.assertEqual([point.records for point in warm], [189_873, 252_228, 325_720, 393_910])
        self.assertEqual(kafka_consumer_perf_test.window(points, 0), points)
        with self.assertRaisesRegex(Unclear, "1.5 s of warm-up"):
            kafka_consumer_perf_test.window(points, 1.5)

    def test_a_warning_is_no_figure(self):
        lines = captured("kafka-consumer-perf-test")
        with self.assertRaisesRegex(Unclear, "columns"):
            kafka_consumer_perf_test.parse(lines[1:])
        lines.append(Line(0.0, "WARNING: Exiting before consuming the expected number of records: "
                               "timeout (10000 ms) exceeded. You can use the --timeout option to "
                               "increase the timeout."))
        with self.assertRaisesRegex(Unclear, "Exiting before"):
            kafka_consumer_perf_test.parse(lines)


class EndToEndLatency(unittest.TestCase):
    def test_it_is_measured_from_the_first_record_on(self):
        found = kafka_e2e_latency.parse(captured("kafka-e2e-latency"), 3000)
        self.assertEqual((found.begin, found.end), (1795318843.577, 1795318854.068))
        self.assertEqual(found.latency_us, {
            "count": 3000, "mean": 3492.2, "p50": 1000.0, "p99": 20000.0, "p999": 29000.0})

    def test_a_run_that_broke_off_is_noticed(self):
        with self.assertRaisesRegex(Unclear, "Avg"):
            kafka_e2e_latency.parse(captured("kafka-e2e-latency")[:-2], 3000)
