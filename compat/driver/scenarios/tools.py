"""Kafka's command-line tools: console producer and consumer, topics, groups, settings, perf."""

import json
import re
import subprocess

from .. import toolchain
from ..agent import AgentError
from ..records import CODECS, numbered
from ..suite import TOOLS, Ground, eventually

TOOL_SECONDS = 90
PRODUCE_COLUMNS = ["parse.key=true", "parse.headers=true", "null.marker=NULL"]
CONSUME_COLUMNS = ["print.partition=true", "print.offset=true", "print.headers=true",
                   "print.key=true", "null.literal=NULL"]


class ToolsGround(Ground):
    suite = "kafka-tools"

    def __init__(self, broker, admin, run_id, log):
        super().__init__(broker, admin, run_id)
        self.log = log

    def run(self, tool, *arguments, stdin=""):
        command = [toolchain.SCRIPTS / "peers" / "kafka", "tool", tool, *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True,
                              timeout=TOOL_SECONDS)
        self.log.write(done.stderr)
        if done.returncode != 0:
            raise AgentError(f"{tool} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def tool(self, tool, *arguments, stdin=""):
        return self.run(tool, "--bootstrap-server", self.broker.bootstrap, *arguments, stdin=stdin)

    def produce(self, topic, lines, *arguments):
        properties = _each("--reader-property", PRODUCE_COLUMNS)
        self.tool("kafka-console-producer", "--topic", topic, *properties, *arguments,
                  stdin="".join(f"{line}\n" for line in lines))

    def consume(self, topic, count, *arguments):
        properties = _each("--formatter-property", CONSUME_COLUMNS)
        return self.tool("kafka-console-consumer", "--topic", topic, "--from-beginning",
                         "--max-messages", count, "--timeout-ms", 20_000, *properties,
                         *arguments).splitlines()


def _each(option, values):
    return [word for value in values for word in (option, value)]


@TOOLS.scenario()
def console_every_codec(ground):
    topic = ground.topic()
    sent = []
    for codec in CODECS:
        lines = [
            f"h1:{codec},h2:b\tkey\tvalue",
            "NULL\tNULL\tno key",
            "NULL\tno value\tNULL",
            f"NULL\tlarge\t{codec * 900_000}"[:900_000],
            *(f"n:{i}\tk{i}\tvalue {i}" for i in range(100)),
        ]
        ground.produce(topic, lines, "--compression-codec", codec)
        sent += lines
    wanted = [f"Partition:0\tOffset:{i}\t{re.sub('^NULL', 'NO_HEADERS', line)}"
              for i, line in enumerate(sent)]
    taken = ground.consume(topic, len(sent))
    for index, (want, got) in enumerate(zip(wanted, taken)):
        assert want == got, f"line {index}: sent {want[:60]!r}, read {got[:60]!r}"
    assert len(taken) == len(wanted), f"sent {len(wanted)}, read {len(taken)}"


@TOOLS.scenario()
def console_makes_the_topic(ground):
    """Nothing but a producer and a consumer, as in Kafka's own first steps."""
    topic = ground.unused()
    said = ground.tool("kafka-console-producer", "--topic", topic, stdin="one\ntwo\nthree\n")
    assert "rror" not in said, said
    read = ground.tool("kafka-console-consumer", "--topic", topic, "--from-beginning",
                       "--max-messages", 3, "--timeout-ms", 20_000)
    assert sorted(read.split()) == ["one", "three", "two"]


@TOOLS.scenario()
def console_group(ground):
    topic, group = ground.topic(), ground.unused("g")
    ground.produce(topic, [f"NULL\tk\tvalue {i}" for i in range(10)])
    first = ground.consume(topic, 4, "--group", group)
    rest = ground.consume(topic, 6, "--group", group)
    values = [line.split("\t")[-1] for line in [*first, *rest]]
    assert values == [f"value {i}" for i in range(10)], f"read {values}"

    described = ground.tool("kafka-consumer-groups", "--describe", "--group", group)
    row = next(line.split() for line in described.splitlines() if topic in line)
    # GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
    assert row[2:6] == ["0", "10", "10", "0"], described
    assert group in ground.tool("kafka-consumer-groups", "--list").split()


@TOOLS.scenario()
def topics(ground):
    topic = ground.unused()
    said = ground.tool("kafka-topics", "--create", "--topic", topic, "--partitions", 4,
                       "--replication-factor", 1)
    assert f"Created topic {topic}" in said, said
    assert topic in ground.tool("kafka-topics", "--list").split()
    described = ground.tool("kafka-topics", "--describe", "--topic", topic)
    rows = [line for line in described.splitlines() if f"Topic: {topic}\tPartition:" in line]
    assert len(rows) == 4, described
    assert all("Leader: none" not in row and "Isr: " in row for row in rows), described
    ground.tool("kafka-topics", "--delete", "--topic", topic)
    eventually(lambda: topic not in ground.tool("kafka-topics", "--list").split(), 15, "is gone")


@TOOLS.scenario()
def settings(ground):
    topic = ground.topic()
    entity = ["--entity-type", "topics", "--entity-name", topic]
    ground.tool("kafka-configs", "--alter", *entity, "--add-config", "retention.ms=7654321")
    said = ground.tool("kafka-configs", "--describe", *entity)
    assert "retention.ms=7654321" in said, said
    broker = ground.tool("kafka-configs", "--describe", "--all", "--entity-type", "brokers",
                         "--entity-name", 1)
    assert "message.max.bytes=1048588" in broker, broker[:2000]


@TOOLS.scenario()
def what_the_broker_tells(ground):
    versions = ground.tool("kafka-broker-api-versions")
    for api in ("Produce(0)", "Fetch(1)", "ApiVersions(18)", "JoinGroup(11)"):
        assert re.search(re.escape(api) + r".*usable", versions), f"{api} is not usable"
    cluster = ground.run("kafka-cluster", "cluster-id", "--bootstrap-server",
                         ground.broker.bootstrap)
    assert re.search(r"Cluster ID: \S+", cluster), cluster


@TOOLS.scenario()
def offsets_shown(ground):
    topic = ground.topic(2)
    ground.admin.produce(topic, numbered(30, partitions=2))
    for time, wanted in (("latest", 15), ("earliest", 0)):
        said = ground.tool("kafka-get-offsets", "--topic", topic, "--time", time)
        assert sorted(said.split()) == [f"{topic}:{p}:{wanted}" for p in (0, 1)], said


@TOOLS.scenario()
def perf_tests(ground):
    topic, count = ground.topic(3), 20_000
    said = ground.tool("kafka-producer-perf-test", "--topic", topic, "--num-records", count,
                       "--record-size", 1024, "--throughput", -1)
    assert f"{count} records sent" in said, said
    said = ground.tool("kafka-consumer-perf-test", "--topic", topic, "--num-records", count,
                       "--timeout", 30_000)
    row = said.splitlines()[-1].split(", ")
    assert int(row[4]) == count, said


@TOOLS.scenario()
def end_to_end_latency(ground):
    said = ground.tool("kafka-e2e-latency", "--topic", ground.topic(), "--num-records", 100,
                       "--producer-acks", "all", "--record-size", 100)
    assert "Percentiles: 50th" in said, said


@TOOLS.scenario()
def verifiable(ground):
    """Kafka's own system tests use these: each record is acknowledged by name."""
    topic, count = ground.topic(), 500
    said = ground.tool("kafka-verifiable-producer", "--topic", topic, "--max-messages", count)
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    done = [event for event in events if event["name"] == "producer_send_success"]
    assert sorted(event["offset"] for event in done) == list(range(count))
    said = ground.tool("kafka-verifiable-consumer", "--topic", topic, "--max-messages", count,
                       "--group-id", ground.unused("g"), "--reset-policy", "earliest",
                       "--verbose")
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    values = [event["value"] for event in events if event["name"] == "record_data"]
    assert values == [str(i) for i in range(count)], f"{len(values)} records"

