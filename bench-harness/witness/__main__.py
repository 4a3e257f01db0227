"""Puts a tool that nobody here wrote on a broker, and prints what it found as one JSON object.

    python3 bench-harness/witness kafka-producer-perf-test --size 1024 --partitions 12 \\
        --records 1500000 --warm-up-records 300000 --batch-bytes 1000000
    python3 bench-harness/witness librdkafka-end-to-end --rate 1000 --seconds 20 --warm-up 3

The object has the shape of `millstream-bench load --output json`, as far as the tool tells that
much. Kafka's tools come from scripts/peers/kafka, librdkafka with confluent-kafka from the Python
environment of scripts/compat. The topic is made if it is not there.
"""

import argparse
import json
import os
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "compat"))
sys.dont_write_bytecode = True

from driver import toolchain  # noqa: E402


def in_environment():
    """Goes on in the Python that has confluent-kafka."""
    program = toolchain.python()
    if pathlib.Path(sys.prefix) != program.parents[1]:
        os.execv(program, [program, *sys.argv])


def cores(text):
    return [int(core) for core in text.split(",")]


def tool_parser(tools, name, about, timed=False):
    parser = tools.add_parser(name, help=about)
    parser.add_argument("--bootstrap-server", default="127.0.0.1:9092")
    parser.add_argument("--topic", default="witness")
    parser.add_argument("--partitions", type=int, default=1, help="of the topic, if it is made")
    parser.add_argument("--broker-pid", type=int, help="the process whose CPU time is told")
    parser.add_argument("--cores", type=cores, default=[0],
                        help="those that this program was bound to, of which it tells its part")
    if timed:
        parser.add_argument("--seconds", type=float, default=10, help="that are measured")
        parser.add_argument("--warm-up", type=float, default=2, help="seconds before them")
    return parser


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(dest="tool", required=True)

    producer = tool_parser(tools, "kafka-producer-perf-test", "produces as fast as it can")
    producer.add_argument("--records", type=int, default=1_000_000, help="all, with the warm-up's")
    producer.add_argument("--warm-up-records", type=int, default=0)

    consumer = tool_parser(tools, "kafka-consumer-perf-test", "consumes a topic once")
    consumer.add_argument("--records", type=int, default=1_000_000)
    consumer.add_argument("--warm-up", type=float, default=0, help="seconds that do not count")

    latency = tool_parser(tools, "kafka-e2e-latency", "sends and receives one record at a time")
    latency.add_argument("--records", type=int, default=10_000)

    produce = tool_parser(tools, "librdkafka-produce", "produces as fast as it can", timed=True)
    tool_parser(tools, "librdkafka-consume", "consumes a topic's first partition, again and again",
                timed=True)
    both = tool_parser(tools, "librdkafka-end-to-end", "sends on schedule, and receives", timed=True)
    both.add_argument("--rate", type=float, default=1000, help="records a second")

    for each in (producer, latency, produce, both):
        each.add_argument("--size", type=int, default=1024, help="bytes of a record")
    for each, linger_ms in ((producer, 5), (produce, 5), (both, 0)):
        each.add_argument("--linger-ms", type=float, default=linger_ms)
        each.add_argument("--batch-bytes", type=int, default=16384)
    return parser.parse_args()


def main():
    in_environment()
    # These need what the other Python may not have.
    import kafka_consumer_perf_test
    import kafka_e2e_latency
    import kafka_producer_perf_test
    import kafka_tool
    import librdkafka

    options = arguments()
    run = {
        "kafka-producer-perf-test": kafka_producer_perf_test.run,
        "kafka-consumer-perf-test": kafka_consumer_perf_test.run,
        "kafka-e2e-latency": kafka_e2e_latency.run,
        "librdkafka-produce": librdkafka.produce,
        "librdkafka-consume": librdkafka.consume,
        "librdkafka-end-to-end": librdkafka.end_to_end,
    }[options.tool]
    try:
        librdkafka.make_topic(options)
        found = run(options)
    except (kafka_tool.Unclear, librdkafka.KafkaException) as failed:
        sys.exit(f"{options.tool}: {failed}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
