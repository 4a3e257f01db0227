"""Kafka's tools that administer: what they print with Apache Kafka they print with Millstream."""

import json
import re
import tempfile

from ..agent import Member, poll_until
from ..records import Record, numbered
from ..suite import TOOLS, eventually
from .tools import BOOTSTRAP

FIRST_TIME = 1_700_000_000_000
# Where the client's stack trace says how it waited, and when; the message before it counts.
TRACE = [(r"(?m)^\s*(at |Caused by: |\.\.\. \d+ (common frames|more)).*$", ""),
         (r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\]", "[TIME]")]
# A topic's settings have no order, and a Kafka that is formatted with a newer feature has one of
# the whole cluster.
CONFIGS = [(r"Configs: (\S*)", lambda found: "Configs: " + ",".join(
    sorted(set(found[1].split(",")) - {"min.insync.replicas=1", ""})))]


@TOOLS.scenario()
def topics(ground):
    topic = ground.unused()
    made = ["--create", "--topic", topic, "--partitions", 4, "--replication-factor", 1]
    said = ground.both("kafka-topics", *made, "--config", "retention.ms=7654321")
    assert f"Created topic {topic}." in said, said
    ground.both("kafka-topics", *made, fails=True, replaced=TRACE)
    ground.both("kafka-topics", *made, "--if-not-exists")
    for each in (["--topic", f"{topic}?", "--partitions", 1], ["--topic", f"{topic}x",
                 "--partitions", 0], ["--topic", f"{topic}x", "--config", "no.such=1"],
                 ["--topic", f"{topic}x", "--replication-factor", 3]):
        ground.both("kafka-topics", "--create", *each, fails=True, replaced=[
            *TRACE, (" or some brokers have all their log directories cordoned", "")])
    assert topic in ground.both("kafka-topics", "--list", only=topic).split()
    ground.both("kafka-topics", "--list", "--topic", f"{topic}.*", "--exclude-internal")

    described = ground.both("kafka-topics", "--describe", "--topic", topic, replaced=CONFIGS)
    assert described.count("Leader: 1") == 4, described
    ground.both("kafka-topics", "--describe", "--topics-with-overrides", only=topic,
                replaced=CONFIGS)
    for which in ("--unavailable-partitions", "--under-replicated-partitions",
                  "--under-min-isr-partitions", "--at-min-isr-partitions"):
        ground.both("kafka-topics", "--describe", "--topic", topic, which)

    ground.both("kafka-topics", "--alter", "--topic", topic, "--partitions", 6)
    ground.both("kafka-topics", "--alter", "--topic", topic, "--partitions", 5,
                fails=True, replaced=TRACE)
    described = ground.both("kafka-topics", "--describe", "--topic", topic, replaced=CONFIGS)
    assert "PartitionCount: 6" in described, described

    ground.both("kafka-topics", "--delete", "--topic", topic)
    eventually(lambda: topic not in ground.tool("kafka-topics", "--list").split(), 15, "is gone")
    ground.both("kafka-topics", "--describe", "--topic", topic, fails=True, replaced=TRACE)
    ground.both("kafka-topics", "--delete", "--topic", topic, fails=True, replaced=TRACE)
    ground.both("kafka-topics", "--delete", "--topic", topic, "--if-exists")


@TOOLS.scenario()
def topic_configs(ground):
    topic = ground.topic()
    entity = ["--entity-type", "topics", "--entity-name", topic]
    ground.both("kafka-configs", "--describe", *entity)
    ground.both("kafka-configs", "--alter", *entity, "--add-config",
                "retention.ms=7654321,cleanup.policy=[compact,delete]")
    said = ground.both("kafka-configs", "--describe", *entity)
    assert "retention.ms=7654321" in said and "cleanup.policy=compact,delete" in said, said
    for wrong in ("retention.ms=soon", "no.such.setting=1", "cleanup.policy=burn"):
        ground.both("kafka-configs", "--alter", *entity, "--add-config", wrong,
                    fails=True, replaced=TRACE)
    ground.both("kafka-configs", "--alter", *entity, "--delete-config", "retention.ms")
    said = ground.both("kafka-configs", "--describe", *entity)
    assert "retention.ms" not in said, said
    said = ground.tool("kafka-configs", "--describe", "--all", *entity)
    for line in ("max.message.bytes=1048588", "min.insync.replicas=1", "segment.bytes=1048576"):
        assert line in said, said
    ground.both("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name",
                ground.unused())


@TOOLS.scenario()
def broker_configs(ground):
    one = ["--entity-type", "brokers", "--entity-name", 1]
    default = ["--entity-type", "brokers", "--entity-default"]
    try:
        ground.both("kafka-configs", "--alter", *default, "--add-config",
                    "max.connections.per.ip=9000")
        # A Kafka that is formatted with a newer feature has min.insync.replicas there as well.
        ground.both("kafka-configs", "--describe", *default, only="max.connections.per.ip")
        ground.both("kafka-configs", "--alter", *one, "--add-config",
                    "max.connections.per.ip=8000")
        said = ground.both("kafka-configs", "--describe", *one, only="max.connections.per.ip")
        assert "max.connections.per.ip=8000" in said, said
        assert "DYNAMIC_DEFAULT_BROKER_CONFIG:max.connections.per.ip=9000" in said, said
        for wrong in ("max.connections.per.ip=many", "log.dirs=/elsewhere"):
            ground.both("kafka-configs", "--alter", *one, "--add-config", wrong,
                        fails=True, replaced=TRACE)
    finally:
        for entity in (one, default):
            ground.both("kafka-configs", "--alter", *entity, "--delete-config",
                        "max.connections.per.ip")
    said = ground.both("kafka-configs", "--describe", *one, only="max.connections.per.ip")
    assert "max.connections.per.ip" not in said, said
    said = ground.tool("kafka-configs", "--describe", "--all", *one)
    assert "message.max.bytes=1048588" in said, said[:2000]


def joined(ground, topic, group, count):
    """A member on each broker, which has read `count` records."""
    members = [Member("m", agent) for agent in ground.more_agents()]
    for member in members:
        member.agent.subscribe(group, [topic])
    poll_until(members, lambda: all(len(member.records) == count for member in members), 30,
               f"{count} records are read")
    return members


@TOOLS.scenario()
def consumer_groups(ground):
    topic, group = ground.topic(2), ground.unused("g")
    ground.send(topic, numbered(30, partitions=2))
    members = joined(ground, topic, group, 30)
    for member in members:
        member.agent.commit([[topic, 0, 7, ""], [topic, 1, 15, ""]])
    own = ["--group", group]
    said = ground.both("kafka-consumer-groups", "--describe", *own)
    assert re.search(rf"{group}\s+{topic}\s+0\s+7\s+15\s+8\s", said), said
    ground.both("kafka-consumer-groups", "--describe", *own, "--offsets", "--verbose")
    ground.both("kafka-consumer-groups", "--describe", *own, "--members")
    ground.both("kafka-consumer-groups", "--describe", *own, "--members", "--verbose")
    said = ground.both("kafka-consumer-groups", "--describe", *own, "--state")
    assert "Stable" in said, said
    ground.both("kafka-consumer-groups", "--describe", "--all-groups", "--state", only=group)
    said = ground.both("kafka-consumer-groups", "--list", "--state", "--type", only=group)
    assert re.search(rf"{group}\s+Classic\s+Stable", said), said
    ground.both("kafka-consumer-groups", "--list", "--state", "Empty", only=group)
    ground.both("kafka-consumer-groups", "--delete", *own, replaced=TRACE)
    ground.both("kafka-consumer-groups", "--reset-offsets", *own, "--topic", topic,
                "--to-earliest", "--execute", replaced=TRACE)
    for member in members:
        member.agent.close()
    ground.both("kafka-consumer-groups", "--describe", *own)
    said = ground.both("kafka-consumer-groups", "--describe", *own, "--state")
    assert "Empty" in said, said
    ground.both("kafka-consumer-groups", "--describe", *own, "--members")

    ground.both("kafka-consumer-groups", "--delete-offsets", *own, "--topic", f"{topic}:1")
    ground.both("kafka-consumer-groups", "--describe", *own)
    ground.both("kafka-consumer-groups", "--delete", *own)
    assert group not in ground.both("kafka-consumer-groups", "--list", only=group).split()
    ground.both("kafka-consumer-groups", "--delete", *own, replaced=TRACE)
    ground.both("kafka-consumer-groups", "--describe", *own, replaced=TRACE)


@TOOLS.scenario()
def offsets_reset(ground):
    topic, group = ground.topic(2), ground.unused("g")
    ground.send(topic, [Record(b"k", b"v", partition=i % 2, timestamp=FIRST_TIME + 1000 * i)
                        for i in range(40)])
    own = ["--reset-offsets", "--group", group, "--topic", topic]
    forms = {
        ("--to-latest",): 20,
        ("--shift-by", "-3"): 17,
        ("--to-current",): 17,
        ("--to-offset", 5): 5,
        ("--to-earliest",): 0,
        # Records 0, 2, 4, ... of partition 0 are two seconds apart.
        ("--to-datetime", "2023-11-14T22:13:30.000"): 5,
        ("--by-duration", "P1D"): 20,
        ("--to-offset", 1000): 20,
        ("--shift-by", -1000): 0,
    }
    for form, wanted in forms.items():
        said = ground.both("kafka-consumer-groups", *own, *form, "--execute", replaced=TRACE)
        assert re.search(rf"{topic}\s+0\s+{wanted}\b", said), f"{form}: {said}"
    ground.both("kafka-consumer-groups", *own, "--to-latest", "--dry-run")
    said = ground.both("kafka-consumer-groups", "--reset-offsets", "--group", group, "--topic",
                       f"{topic}:1", "--to-offset", 4, "--execute")
    assert re.search(rf"{topic}\s+1\s+4\b", said), said
    csv = ground.both("kafka-consumer-groups", *own, "--to-current", "--export", "--dry-run")
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as plan:
        plan.write("".join(f"{line}\n" for line in csv.splitlines() if line.startswith('"')))
        plan.flush()
        ground.both("kafka-consumer-groups", "--reset-offsets", "--group", group, "--from-file",
                    plan.name, "--execute")
    said = ground.both("kafka-consumer-groups", "--describe", "--group", group)
    assert re.search(rf"{topic}\s+1\s+4\s+20\s+16\b", said), said


@TOOLS.scenario()
def get_offsets(ground):
    topic = ground.topic(2)
    ground.send(topic, [Record(b"k", b"v", partition=i % 2, timestamp=FIRST_TIME + 1000 * i)
                        for i in range(30)])
    for time, wanted in (("latest", 15), ("-1", 15), ("earliest", 0), ("-2", 0),
                         ("max-timestamp", 14), ("earliest-local", 0), (FIRST_TIME + 10_000, 5)):
        said = ground.both("kafka-get-offsets", "--topic", topic, "--time", time)
        assert sorted(said.split()) == [f"{topic}:{p}:{wanted}" for p in (0, 1)], said
    ground.both("kafka-get-offsets", "--topic", topic, "--time", FIRST_TIME + 10**9)
    ground.both("kafka-get-offsets", "--topic", topic, "--time", "latest-tiered")
    ground.both("kafka-get-offsets", "--topic-partitions", f"{topic}:1", "--exclude-internal-topics")
    ground.both("kafka-get-offsets", "--topic", topic, "--partitions", "0,1,2")
    ground.both("kafka-get-offsets", "--topic", ground.unused(), fails=True, replaced=TRACE)


def plan_file(plan):
    file = tempfile.NamedTemporaryFile("w", suffix=".json")
    json.dump(plan, file)
    file.flush()
    return file


@TOOLS.scenario()
def delete_records(ground):
    topic = ground.topic(2)
    ground.send(topic, numbered(30, partitions=2))
    plan = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6},
                                         {"topic": topic, "partition": 1, "offset": -1}]}
    with plan_file(plan) as file:
        said = ground.both("kafka-delete-records", "--offset-json-file", file.name)
    assert "low_watermark: 6" in said and "low_watermark: 15" in said, said
    said = ground.both("kafka-get-offsets", "--topic", topic, "--time", "earliest")
    assert sorted(said.split()) == [f"{topic}:0:6", f"{topic}:1:15"], said
    beyond = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 99}]}
    with plan_file(beyond) as file:
        ground.both("kafka-delete-records", "--offset-json-file", file.name, replaced=TRACE)


@TOOLS.scenario()
def log_dirs(ground):
    topic = ground.topic(2)
    ground.send(topic, numbered(30, partitions=2))
    # Two logs of the same records need not take the same room, and lie in two folders.
    replaced = [(r'"logDir":"[^"]*"', '"logDir":"DIR"'), (r'"size":[1-9]\d*', '"size":SOME')]
    said = ground.both("kafka-log-dirs", "--describe", "--topic-list", topic, "--broker-list", 1,
                       replaced=replaced)
    found = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    partitions = found["brokers"][0]["logDirs"][0]["partitions"]
    assert sorted(each["partition"] for each in partitions) == [f"{topic}-0", f"{topic}-1"], said
    assert all(each["size"] > 0 for each in partitions), said


@TOOLS.scenario()
def the_cluster(ground):
    said = ground.both("kafka-cluster", "cluster-id", "--bootstrap-server", BOOTSTRAP)
    assert re.search(r"Cluster ID: \S+", said), said
    ground.both("kafka-cluster", "list-endpoints", "--bootstrap-server", BOOTSTRAP)
    # Offsets of two metadata logs, their times, and where a controller listens. The voters of a
    # Kafka that has them in its settings have no directory.
    replaced = [(r"(LeaderEpoch|HighWatermark): \d+", r"\1: N"),
                (r'"directoryId": "ID", ', ""), (r'"endpoints": \["[A-Z]+://[^"]*"\]', '"endpoints": SOME'),
                (r"(?m)^(\d+) ID \d+ 0 \d+ \d+ (\w+)", r"\1 ID N 0 N N \2")]
    said = ground.both("kafka-metadata-quorum", "--bootstrap-server", BOOTSTRAP, "describe",
                       "--status", replaced=replaced)
    assert re.search(r"LeaderId:\s+1\b", said), said
    ground.both("kafka-metadata-quorum", "--bootstrap-server", BOOTSTRAP, "describe",
                "--replication", replaced=replaced)


@TOOLS.scenario()
def api_versions(ground):
    said = ground.tool("kafka-broker-api-versions")
    for api in ("Produce(0)", "Fetch(1)", "ApiVersions(18)", "JoinGroup(11)"):
        assert re.search(re.escape(api) + r".*usable", said), f"{api} is not usable"
    assert "id: 1 rack: null" in said, said


@TOOLS.scenario()
def kinds_of_groups(ground):
    topic, group = ground.topic(), ground.unused("g")
    ground.send(topic, numbered(3, partitions=1))
    members = joined(ground, topic, group, 3)
    said = ground.both("kafka-groups", "--list", only=group)
    assert re.search(rf"{group}\s+Classic\s+consumer", said), said
    ground.both("kafka-groups", "--list", "--consumer", only=group)
    ground.both("kafka-groups", "--list", "--group-type", "classic", only=group)
    ground.both("kafka-groups", "--list", "--protocol", "consumer", only=group)
    for member in members:
        member.agent.close()


@TOOLS.scenario()
def producers(ground):
    topic = ground.topic()
    ground.send(topic, numbered(30, partitions=1), idempotent=True)
    said = ground.both("kafka-transactions", "describe-producers", "--topic", topic,
                       "--partition", 0, replaced=[
                           (r"(?m)^\d+ (\d+) (-?\d+) (-?\d+) \d+", r"N \1 \2 \3 TIME")])
    assert re.search(r"(?m)^\d+\s+0\s+", said), said


@TOOLS.scenario()
def client_metrics(ground):
    """None can be set, and none are listed."""
    ground.both("kafka-client-metrics", "--list")


@TOOLS.scenario(brokers=["millstream"])
def not_served(ground):
    """What wants an API that is not there says so, and ends."""
    topic = ground.topic()
    ground.not_served("kafka-leader-election", "--election-type", "preferred", "--topic", topic,
                      "--partition", 0)
    ground.not_served("kafka-reassign-partitions", "--list")
    ground.not_served("kafka-transactions", "list")
    ground.not_served("kafka-cluster", "unregister", "--bootstrap-server", BOOTSTRAP, "--id", 7)
    ground.not_served("kafka-acls", "--list")
    ground.not_served("kafka-share-groups", "--describe", "--group", "g")
