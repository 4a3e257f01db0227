"""Kafka's tools that produce and consume: console, verifiable, perf and latency."""

import json
import re
import subprocess
import time

from .. import log_dump, toolchain
from ..agent import AgentError
from ..kafka_tools import TOOL_SECONDS, Tools, alike
from ..records import CODECS
from ..suite import TOOLS, Ground, eventually

PRODUCE_COLUMNS = ["parse.key=true", "parse.headers=true", "null.marker=NULL"]
CONSUME_COLUMNS = ["print.partition=true", "print.offset=true", "print.headers=true",
                   "print.key=true", "null.literal=NULL"]
# Stands for the broker's address in arguments, where a tool wants it elsewhere than first.
BOOTSTRAP = "BOOTSTRAP"
SHOWING = {"--describe", "--list", "describe", "describe-producers"}
SETTLED_SECONDS = 5
SUBCOMMANDS = {"cluster-id", "describe", "describe-producers", "list", "list-endpoints",
               "unregister"}


class ToolsGround(Ground):
    """Runs tools with the broker under test, and with Apache Kafka beside it if there is one."""

    suite = "kafka-tools"

    def __init__(self, brokers, connect, run_id, log):
        """`brokers` is the one under test and, or not, its peer; `connect` makes an agent."""
        self.brokers = brokers
        self.peer = brokers[1] if len(brokers) > 1 else None
        self.connect = connect
        self.opened = []
        self.admins = [connect(broker) for broker in brokers]
        super().__init__(brokers[0], self.admins[0], run_id)
        self.log = log
        self.tools = Tools(toolchain.java_tools(), log)
        self.served = {}
        self.unserved = {}

    def topic(self, partitions=1, configs=None):
        name = self.unused()
        for admin in self.admins:
            admin.create_topic(name, partitions, configs)
        for admin in self.admins:
            eventually(lambda: admin.topics().get(name) == partitions, 10, f"{name} is listed")
        return name

    def send(self, topic, records, **options):
        """Produces the same records to both brokers."""
        for admin in self.admins:
            admin.produce(topic, records, **options)

    def more_agents(self):
        """An agent for each broker."""
        agents = [self.connect(broker) for broker in self.brokers]
        self.opened += agents
        return agents

    def note(self, table, tool, arguments):
        options = [word for word in map(str, arguments)
                   if word in SUBCOMMANDS or word.startswith("--") and word != "--bootstrap-server"]
        table.setdefault(tool, {}).update(dict.fromkeys(options))

    def run(self, broker, tool, arguments, stdin=""):
        words = [str(word).replace(BOOTSTRAP, broker.bootstrap) for word in arguments]
        if BOOTSTRAP not in arguments:
            words = ["--bootstrap-server", broker.bootstrap, *words]
        said = self.tools.run(tool, words, stdin)
        self.log.write(said.err)
        return said

    def tool(self, tool, *arguments, stdin=""):
        """Runs a tool with the broker under test alone; returns its output."""
        said = self.run(self.broker, tool, arguments, stdin)
        if said.code != 0:
            raise AgentError(f"{tool} ended with {said.code}: {said.all()[-2000:]}")
        self.note(self.served, tool, arguments)
        return said.out

    def both(self, tool, *arguments, fails=False, only="", replaced=(), stdin=""):
        """Runs a tool with both brokers, whose answers must be alike; returns ours.

        `only` is a text of the lines that count, `replaced` what else may differ. What was
        changed may be shown a moment later: a tool that only shows is run again.
        """
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            said = self.run(self.broker, tool, arguments, stdin)
            if (said.code != 0) != fails:
                raise AgentError(f"{tool} ended with {said.code}: {said.all()[-2000:]}")
            different = self.differs(said, tool, arguments, stdin, only, replaced)
            if not different:
                break
            if not SHOWING.intersection(arguments) or time.monotonic() > deadline:
                words = " ".join(map(str, arguments))
                raise AssertionError(f"{tool} {words} says\n{different}")
        self.note(self.served, tool, arguments)
        return said.all()

    def differs(self, said, tool, arguments, stdin, only, replaced):
        """Runs a tool with the peer; returns what `said` has otherwise, as a text."""
        if self.peer is None:
            return ""
        wanted = self.run(self.peer, tool, arguments, stdin)
        if said.code != wanted.code:
            return f"    ended with {said.code}, with Kafka {wanted.code}: {wanted.all()[-500:]}"
        ours, theirs = (
            [line for line in alike(each.all(), broker, replaced) if only in line]
            for each, broker in ((said, self.broker), (wanted, self.peer)))
        return "" if ours == theirs else _difference(ours, theirs)

    def not_served(self, tool, *arguments):
        """Runs a tool that wants what is not served: it must say so, and not hang."""
        if self.broker.kind != "millstream":
            return
        said = self.run(self.broker, tool, arguments)
        assert re.search(r"UnsupportedVersion|does not support|not support", said.all()), (
            f"{tool} {' '.join(map(str, arguments))} is served, or fails otherwise: {said.all()}")
        self.note(self.unserved, tool, arguments)

    def alone(self, tool, *arguments):
        """Runs a tool in a process of its own, for it ends the process it is in."""
        command = [toolchain.SCRIPTS / "peers" / "kafka", "tool", tool, "--bootstrap-server",
                   self.broker.bootstrap, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS)
        self.log.write(done.stderr)
        if done.returncode != 0:
            raise AgentError(f"{tool} ended with {done.returncode}: {done.stdout}{done.stderr}")
        self.note(self.served, tool, arguments)
        return done.stdout

    def produce(self, topic, lines, *arguments):
        properties = _each("--reader-property", PRODUCE_COLUMNS)
        self.tool("kafka-console-producer", "--topic", topic, *properties, *arguments,
                  stdin="".join(f"{line}\n" for line in lines))

    def consume(self, topic, count, *arguments):
        properties = _each("--formatter-property", CONSUME_COLUMNS)
        return self.tool("kafka-console-consumer", "--topic", topic, "--from-beginning",
                         "--max-messages", count, "--timeout-ms", 20_000, *properties,
                         *arguments).splitlines()

    def table(self):
        """Each tool, the options it was run with, those that are not served."""
        # kafka-dump-log reads the folder when the broker has stopped.
        self.note(self.served, "kafka-dump-log", log_dump.OPTIONS)
        return [(tool, list(self.served.get(tool, ())), list(self.unserved.get(tool, ())))
                for tool in sorted({*self.served, *self.unserved})]

    def end(self):
        for agent in self.opened:
            agent.quit()
        self.opened = []

    def finish(self):
        for agent in self.admins:
            agent.quit()
        self.tools.quit()


def _each(option, values):
    return [word for value in values for word in (option, value)]


def _difference(ours, theirs):
    return "\n".join([*(f"    Millstream: {line}" for line in ours if line not in theirs),
                      *(f"    Kafka:      {line}" for line in theirs if line not in ours)]
                     or ["    the same lines, another number of times"])


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
    said = ground.alone("kafka-verifiable-producer", "--topic", topic, "--max-messages", count)
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    done = [event for event in events if event["name"] == "producer_send_success"]
    assert sorted(event["offset"] for event in done) == list(range(count))
    said = ground.alone("kafka-verifiable-consumer", "--topic", topic, "--max-messages", count,
                       "--group-id", ground.unused("g"), "--reset-policy", "earliest",
                       "--verbose")
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    values = [event["value"] for event in events if event["name"] == "record_data"]
    assert values == [str(i) for i in range(count)], f"{len(values)} records"
