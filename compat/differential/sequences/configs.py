"""Settings described and changed."""

from . import sequence

SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3
TOPIC_TYPE, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32


def describe(talk, version, label, *resources, keys=None, synonyms=False, documents=False):
    talk.ask("DescribeConfigs", version, {
        "Resources": [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": keys}
                      for kind, name in resources],
        "IncludeSynonyms": synonyms, "IncludeDocumentation": documents}, label)


@sequence(each="DescribeConfigs")
def settings_described(talk, version):
    topic = (TOPIC_TYPE, "ground-settings")
    describe(talk, version, "a topic", topic)
    describe(talk, version, "a topic, with synonyms", topic, synonyms=True)
    describe(talk, version, "a topic, with documents", topic, documents=True)
    describe(talk, version, "a plain topic, with synonyms", (TOPIC_TYPE, "ground"), synonyms=True)
    describe(talk, version, "one key", topic, keys=["retention.ms"])
    describe(talk, version, "some keys", topic,
             keys=["retention.ms", "no.such.key", "cleanup.policy", "retention.ms"])
    describe(talk, version, "no key", topic, keys=[])
    for name in ("no-such-topic", "", "not a name!", "__consumer_offsets"):
        describe(talk, version, f"topic {name}", (TOPIC_TYPE, name), keys=["retention.ms"])
    describe(talk, version, "the broker", (BROKER, "1"), synonyms=True)
    describe(talk, version, "all brokers", (BROKER, ""), synonyms=True)
    describe(talk, version, "one key of the broker", (BROKER, "1"), keys=["log.retention.ms"],
             synonyms=True)
    for name in ("2", "-1", "one", "01"):
        describe(talk, version, f"broker {name}", (BROKER, name), keys=["num.partitions"])
    for kind in (0, 1, 3, 5, 6, 7, 64, 127, -1):
        describe(talk, version, f"type {kind}", (kind, "1"))
    describe(talk, version, "a group", (GROUP, "ground-group"), synonyms=True)
    describe(talk, version, "an unknown group", (GROUP, "no-such-group"), synonyms=True)
    describe(talk, version, "some keys of a group", (GROUP, "ground-group"),
             keys=["consumer.session.timeout.ms", "no.such.key"], documents=True)
    describe(talk, version, "no group", (GROUP, ""))
    describe(talk, version, "client metrics", (CLIENT_METRICS, "ground-subscription"),
             synonyms=True)
    describe(talk, version, "unknown client metrics", (CLIENT_METRICS, "any"), synonyms=True)
    describe(talk, version, "no client metrics", (CLIENT_METRICS, ""))
    for name in ("2", "", "-1", "one"):
        describe(talk, version, f"loggers of broker {name}", (BROKER_LOGGER, name))
    describe(talk, version, "no logger that there is", (BROKER_LOGGER, "1"),
             keys=["no.such.logger"])
    describe(talk, version, "some", topic, (TOPIC_TYPE, "no-such-topic"), (BROKER, "1"),
             keys=["retention.ms"])
    describe(talk, version, "one twice", topic, topic, keys=["retention.ms"])
    describe(talk, version, "nothing")


def alter(talk, version, label, *changes, name=None, kind=TOPIC_TYPE, validate=False):
    """`changes` are triples of operation, key and value."""
    talk.ask("IncrementalAlterConfigs", version, {"ValidateOnly": validate, "Resources": [
        {"ResourceType": kind, "ResourceName": name, "Configs": [
            {"ConfigOperation": operation, "Name": key, "Value": value}
            for operation, key, value in changes]}]}, label)


@sequence(each="IncrementalAlterConfigs")
def settings_of_a_topic_changed(talk, version):
    topic = talk.make_topic(talk.own("t"))

    def say(label, *changes, **more):
        alter(talk, version, label, *changes, name=topic, **more)
        talk.settle()
        describe(talk, 1, f"{label}: described", (TOPIC_TYPE, topic), keys=[
            "retention.ms", "cleanup.policy", "segment.bytes",
            "leader.replication.throttled.replicas"])

    say("set", (SET, "retention.ms", "5000"))
    say("set, validating", (SET, "retention.ms", "6000"), validate=True)
    say("set two", (SET, "retention.ms", "7000"), (SET, "segment.bytes", "2000000"))
    say("delete", (DELETE, "segment.bytes", None))
    say("delete what is not set", (DELETE, "flush.ms", None))
    say("delete with a value", (DELETE, "retention.ms", "7000"))
    say("append", (APPEND, "cleanup.policy", "compact"))
    say("append again", (APPEND, "cleanup.policy", "compact"))
    say("subtract", (SUBTRACT, "cleanup.policy", "delete"))
    say("subtract what is not there", (SUBTRACT, "cleanup.policy", "delete"))
    say("subtract the last", (SUBTRACT, "cleanup.policy", "compact"))
    say("append a bad one", (APPEND, "cleanup.policy", "forget"))
    say("append two", (APPEND, "cleanup.policy", "delete,compact"))
    say("append to no list", (APPEND, "retention.ms", "1"))
    say("subtract from no list", (SUBTRACT, "retention.ms", "1"))
    say("append to an empty list", (APPEND, "leader.replication.throttled.replicas", "0:1"))
    say("append one more", (APPEND, "leader.replication.throttled.replicas", "1:1"))
    say("subtract one", (SUBTRACT, "leader.replication.throttled.replicas", "0:1"))
    say("a key twice", (SET, "retention.ms", "1"), (SET, "retention.ms", "2"))
    say("set and delete", (SET, "retention.ms", "1"), (DELETE, "retention.ms", None))
    say("an unknown key", (SET, "no.such.key", "1"))
    say("an unknown key deleted", (DELETE, "no.such.key", None))
    say("an empty key", (SET, "", "1"))
    say("a key of brokers", (SET, "log.retention.ms", "1"))
    say("no number", (SET, "retention.ms", "soon"))
    say("a number with blanks", (SET, "retention.ms", " 8000 "))
    say("a number with a fraction", (SET, "retention.ms", "1.5"))
    say("an empty value", (SET, "retention.ms", ""))
    say("null", (SET, "retention.ms", None))
    say("too small", (SET, "retention.ms", "-2"))
    say("the smallest", (SET, "retention.ms", "-1"))
    say("good and bad", (SET, "retention.ms", "9000"), (SET, "segment.bytes", "x"))
    say("nothing")
    for operation in (4, -1, 127):
        say(f"operation {operation}", (operation, "retention.ms", "1"))
    alter(talk, version, "no such topic", (SET, "retention.ms", "1"), name="no-such-topic")
    alter(talk, version, "no name", (SET, "retention.ms", "1"), name="")
    alter(talk, version, "a bad name", (SET, "retention.ms", "1"), name="not a name!")
    alter(talk, version, "an internal topic", (SET, "retention.ms", "1000000"),
          name="__consumer_offsets", validate=True)
    for kind in (0, 1, 3, 5, 64, -1):
        alter(talk, version, f"type {kind}", (SET, "retention.ms", "1"), name=topic, kind=kind)
    talk.ask("IncrementalAlterConfigs", version, {"Resources": [
        {"ResourceType": TOPIC_TYPE, "ResourceName": each, "Configs": [
            {"ConfigOperation": SET, "Name": "retention.ms", "Value": "10000"}]}
        for each in (topic, "no-such-topic", topic)]}, "a topic twice")
    talk.ask("IncrementalAlterConfigs", version, {"Resources": [
        {"ResourceType": TOPIC_TYPE, "ResourceName": each, "Configs": [
            {"ConfigOperation": SET, "Name": "retention.ms", "Value": "10000"}]}
        for each in (topic, "no-such-topic")]}, "one of two")
    talk.ask("IncrementalAlterConfigs", version, {"Resources": []}, "nothing at all")


@sequence(each="IncrementalAlterConfigs")
def settings_of_a_group_changed(talk, version):
    group = talk.own("g")

    def say(label, *changes, name=group, **more):
        alter(talk, version, label, *changes, name=name, kind=GROUP, **more)
        talk.settle()
        describe(talk, 4, f"{label}: described", (GROUP, group), synonyms=True)

    session, heartbeat = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
    say("set", (SET, session, "50000"))
    say("set, validating", (SET, session, "55000"), validate=True)
    say("set two", (SET, session, " 60000 "), (SET, "share.isolation.level", "read_committed"))
    say("a heartbeat", (SET, heartbeat, "15000"))
    say("delete", (DELETE, session, None))
    say("delete what is not set", (DELETE, "share.record.lock.duration.ms", None))
    say("delete an unknown key", (DELETE, "no.such.key", None))
    say("an unknown key", (SET, "no.such.key", "1"))
    say("a key of topics", (SET, "retention.ms", "1"))
    say("append", (APPEND, session, "50000"))
    say("subtract", (SUBTRACT, session, "50000"))
    say("null", (SET, session, None))
    say("a key twice", (SET, session, "50000"), (SET, session, "51000"))
    say("good and bad", (SET, heartbeat, "6000"), (SET, session, "1"))
    say("nothing")
    say("no name", (SET, session, "50000"), name="")
    say("a strange name", (SET, session, "50000"), name="not a name!")


@sequence(each="IncrementalAlterConfigs")
def a_subscription_changed(talk, version):
    name = talk.own("s")

    def say(label, *changes, name=name, **more):
        alter(talk, version, label, *changes, name=name, kind=CLIENT_METRICS, **more)
        talk.settle()
        describe(talk, 4, f"{label}: described", (CLIENT_METRICS, talk.own("s")), synonyms=True)

    say("set", (SET, "interval.ms", "1000"))
    say("set, validating", (SET, "interval.ms", "2000"), validate=True)
    say("set three", (SET, "interval.ms", "100"), (SET, "metrics", "a., b."),
        (SET, "match", "client_id=a.*, client_source_port=1"))
    say("all metrics", (SET, "metrics", "*"))
    say("no metrics", (SET, "metrics", ""))
    say("delete", (DELETE, "match", None))
    say("append", (APPEND, "metrics", "c."))
    say("subtract", (SUBTRACT, "metrics", "c."))
    say("an unknown key", (SET, "no.such.key", "1"))
    say("an unknown key deleted", (DELETE, "no.such.key", None))
    say("null", (SET, "metrics", None))
    say("no name", (SET, "interval.ms", "1000"), name="")
    for value in ("99", "3600000", "3600001", "-1", "soon", "", "1.5", " 500 "):
        say(f"interval.ms = {value}", (SET, "interval.ms", value))
    for value in ("a,a", "a,,b", ",", "a ,b"):
        say(f"metrics = {value}", (SET, "metrics", value))
    for value in ("client_id", "client_id=", "client_id=a=b", "=a", "colour=red", "client_id=[a",
                  "client_id=(a", "client_id=*", "client_id=a,client_id=b", "client_id = a",
                  "client_instance_id=x,client_software_name=y,client_software_version=1.*",
                  "client_source_address=1.2.3.4", ""):
        say(f"match = {value}", (SET, "match", value))


@sequence(each="IncrementalAlterConfigs", alone=True)
def levels_of_loggers_changed(talk, version):
    """The root alone has the same name at both. It is left at a level that shows complaints.
    Each version has to be through with it before another changes it: all share that one.
    """
    def say(label, *changes, name="1", **more):
        alter(talk, version, label, *changes, name=name, kind=BROKER_LOGGER, **more)
        describe(talk, 4, f"{label}: described", (BROKER_LOGGER, "1"), keys=["root"],
                 synonyms=True, documents=True)

    say("the root", (SET, "root", "WARN"))
    say("the root, validating", (SET, "root", "DEBUG"), validate=True)
    for level in ("warn", "LOUD", "", "OFF", "ALL"):
        say(f"level {level}", (SET, "root", level))
    say("null", (SET, "root", None))
    say("delete the root", (DELETE, "root", None))
    say("an unknown logger", (SET, "no.such.logger", "INFO"))
    say("an unknown logger deleted", (DELETE, "no.such.logger", None))
    say("append", (APPEND, "root", "INFO"))
    say("subtract", (SUBTRACT, "root", "INFO"))
    say("twice", (SET, "root", "WARN"), (SET, "root", "WARN"))
    say("good and bad", (SET, "root", "WARN"), (SET, "no.such.logger", "INFO"))
    say("nothing")
    for name in ("2", "", "-1", "one", "01"):
        say(f"broker {name}", (SET, "root", "WARN"), name=name)


# Keys of a group, and values that are good or bad.
VALUES_OF_GROUPS = {
    "consumer.session.timeout.ms": ["45000", "44999", "60000", "60001", "0", "x"],
    "consumer.heartbeat.interval.ms": ["5000", "4999", "15000", "15001", "0"],
    "consumer.assignment.interval.ms": ["0", "-1", "15000", "15001"],
    "share.session.timeout.ms": ["45000", "44999", "60000", "60001"],
    "share.heartbeat.interval.ms": ["5000", "4999", "15000", "15001"],
    "share.record.lock.duration.ms": ["15000", "14999", "999", "60000", "60001"],
    "share.delivery.count.limit": ["1", "2", "10", "11", "0"],
    "share.partition.max.record.locks": ["99", "100", "4000", "4001"],
    "share.auto.offset.reset": ["earliest", "latest", "none", "", "Earliest", "by_duration:PT1H",
                                "by_duration:P1D", "by_duration:-PT1H", "by_duration:1h",
                                "by_duration:", "by_duration"],
    "share.isolation.level": ["read_committed", "read_uncommitted", "READ_COMMITTED", "x"],
    "share.renew.acknowledge.enable": ["true", "false", "FALSE", "x"],
    "share.assignment.interval.ms": ["0", "-1", "15000", "15001"],
    "streams.session.timeout.ms": ["45000", "44999", "60000", "60001"],
    "streams.heartbeat.interval.ms": ["5000", "4999", "15000", "15001"],
    "streams.num.standby.replicas": ["0", "2", "3", "-1"],
    "streams.initial.rebalance.delay.ms": ["0", "-1", "3600000"],
    "streams.assignment.interval.ms": ["0", "-1", "15000", "15001"],
    "consumer.assignor.offload.enable": ["true"],
    "share.assignor.offload.enable": ["true"],
    "streams.assignor.offload.enable": ["true"],
    "errors.deadletterqueue.topic.name": ["t"],
}


@sequence()
def values_of_groups(talk):
    """Every key at values that are good or bad."""
    group = talk.own("g")
    for key, values in VALUES_OF_GROUPS.items():
        for value in values:
            alter(talk, 1, f"{key} = {value}", (SET, key, value), name=group, kind=GROUP)
            talk.settle()
            describe(talk, 4, f"{key} = {value}, described", (GROUP, group), keys=[key],
                     synonyms=True)
        alter(talk, 1, f"{key} deleted", (DELETE, key, None), name=group, kind=GROUP)


# Keys of a topic, a value that is fine, and some that are not.
VALUES = {
    "cleanup.policy": ["delete", "compact", "compact,delete", "delete,compact", "", "x",
                       "compact,compact", "Delete"],
    "compression.type": ["gzip", "snappy", "lz4", "zstd", "none", "uncompressed", "producer",
                         "GZIP", "brotli", ""],
    "compression.gzip.level": ["1", "9", "-1", "0", "10", "x"],
    "compression.lz4.level": ["1", "17", "0", "18"],
    "compression.zstd.level": ["3", "22", "-131072", "23", "-131073"],
    "delete.retention.ms": ["0", "1", "-1"],
    "file.delete.delay.ms": ["0", "-1"],
    "flush.messages": ["1", "0", "9223372036854775807"],
    "flush.ms": ["0", "-1"],
    "follower.replication.throttled.replicas": ["*", "0:1", "0:1,1:1", "x", "0:", ""],
    "index.interval.bytes": ["0", "-1", "1"],
    "leader.replication.throttled.replicas": ["*", "none", "0:1"],
    "local.retention.bytes": ["-2", "-3", "1"],
    "local.retention.ms": ["-2", "-3", "1"],
    "max.compaction.lag.ms": ["1", "0"],
    "max.message.bytes": ["0", "-1", "2147483647", "2147483648"],
    "message.timestamp.after.max.ms": ["0", "-1"],
    "message.timestamp.before.max.ms": ["0", "-1"],
    "message.timestamp.type": ["CreateTime", "LogAppendTime", "createtime", ""],
    "min.cleanable.dirty.ratio": ["0", "1", "0.5", "1.1", "-0.1", "x", "1e-1"],
    "min.compaction.lag.ms": ["0", "-1"],
    "min.insync.replicas": ["1", "0", "2", "-1"],
    "preallocate": ["true", "false", "TRUE", "yes", ""],
    "remote.log.copy.disable": ["true", "false"],
    "remote.log.delete.on.disable": ["true", "false"],
    "remote.storage.enable": ["false", "true"],
    "retention.bytes": ["-1", "0", "-2"],
    "retention.ms": ["-1", "0", "-2"],
    "segment.bytes": ["1048576", "1048575", "14", "13", "2147483647"],
    "segment.index.bytes": ["4", "3", "0"],
    "segment.jitter.ms": ["0", "-1"],
    "segment.ms": ["1", "0"],
    "unclean.leader.election.enable": ["true", "false", "maybe"],
}


@sequence()
def values_of_topics(talk):
    """Every key at values that are good or bad."""
    topic = talk.make_topic(talk.own("t"))
    for key, values in VALUES.items():
        for value in values:
            alter(talk, 1, f"{key} = {value}", (SET, key, value), name=topic)
            talk.settle()
            describe(talk, 4, f"{key} = {value}, described", (TOPIC_TYPE, topic), keys=[key],
                     synonyms=True)
        alter(talk, 1, f"{key} deleted", (DELETE, key, None), name=topic)


@sequence(each="AlterConfigs")
def settings_replaced(talk, version):
    topic = talk.make_topic(talk.own("t"))

    def say(label, *settings, name=topic, kind=TOPIC_TYPE, validate=False):
        talk.ask("AlterConfigs", version, {"ValidateOnly": validate, "Resources": [
            {"ResourceType": kind, "ResourceName": name, "Configs": [
                {"Name": key, "Value": value} for key, value in settings]}]}, label)
        talk.settle()
        describe(talk, 1, f"{label}: described", (TOPIC_TYPE, topic),
                 keys=["retention.ms", "segment.bytes", "cleanup.policy"])

    say("two", ("retention.ms", "5000"), ("segment.bytes", "2000000"))
    say("one, validating", ("cleanup.policy", "compact"), validate=True)
    say("one", ("cleanup.policy", "compact"))
    say("one twice", ("retention.ms", "1"), ("retention.ms", "2"))
    say("unknown", ("no.such.key", "1"))
    say("bad", ("retention.ms", "soon"))
    say("null", ("retention.ms", None))
    say("none")
    say("no such topic", ("retention.ms", "1"), name="no-such-topic")
    say("no name", ("retention.ms", "1"), name="")
    for kind in (0, 1, 3, 64, -1):
        say(f"type {kind}", ("retention.ms", "1"), kind=kind)
    say("a group", ("consumer.session.timeout.ms", "50000"), name=talk.own("g"), kind=GROUP)
    say("another key of it", ("share.isolation.level", "read_committed"), name=talk.own("g"),
        kind=GROUP)
    describe(talk, 4, "the group described", (GROUP, talk.own("g")), synonyms=True)
    say("a bad value of it", ("share.isolation.level", "x"), name=talk.own("g"), kind=GROUP)
    say("no group", ("share.isolation.level", "read_committed"), name="", kind=GROUP)
    say("a subscription", ("interval.ms", "1000"), name=talk.own("s"), kind=CLIENT_METRICS)
    say("another key of it", ("match", "client_id=a"), name=talk.own("s"), kind=CLIENT_METRICS)
    describe(talk, 4, "the subscription described", (CLIENT_METRICS, talk.own("s")),
             synonyms=True)
    say("a bad value of it", ("interval.ms", "1"), name=talk.own("s"), kind=CLIENT_METRICS)
    say("no subscription", ("interval.ms", "1000"), name="", kind=CLIENT_METRICS)
    say("loggers", ("root", "WARN"), name="1", kind=BROKER_LOGGER)


@sequence(needs=("ListConfigResources",))
def resources_listed(talk):
    for version in talk.common["ListConfigResources"]:
        for kinds in ([], [2], [4], [8], [16], [32], [2, 4], [2, 2], [64], [0], [-1]):
            talk.ask("ListConfigResources", version, {"ResourceTypes": kinds}, f"{kinds}")
