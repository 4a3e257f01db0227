"""Topics made, described, grown, emptied and deleted: semantics.md 3.12."""

from ..ground import TOPIC
from ..talk import IdOf, unknown_id
from ..schema import ZERO_UUID
from . import sequence


def create(talk, version, label, *topics, validate=False, timeout=30000):
    return talk.ask("CreateTopics", version, {
        "timeoutMs": timeout, "validateOnly": validate, "Topics": list(topics)}, label)


def wanted(name, partitions=1, replicas=1, assignments=(), **configs):
    return {
        "Name": name, "NumPartitions": partitions, "ReplicationFactor": replicas,
        "Assignments": [{"PartitionIndex": index, "BrokerIds": list(brokers)}
                        for index, brokers in assignments],
        "Configs": [{"Name": key.replace("_", "."), "Value": value}
                    for key, value in configs.items()],
    }


def metadata(talk, label, *names, version=12, **more):
    talk.ask("Metadata", version, {
        "Topics": [{"Name": each, "TopicId": ZERO_UUID} for each in names],
        "AllowAutoTopicCreation": False, **more}, label)


@sequence(each="CreateTopics")
def topics_made(talk, version):
    def own(name):
        return talk.own(name)

    for validate in (True, False):
        mark = "v" if validate else "c"

        def say(label, *topics, **more):
            create(talk, version, f"{label}{', validating' * validate}", *topics,
                   validate=validate, **more)

        say("one", wanted(own(f"{mark}1")))
        say("again", wanted(own(f"{mark}1")))
        say("three partitions", wanted(own(f"{mark}2"), 3))
        say("the usual", wanted(own(f"{mark}3"), -1, -1))
        say("nothing", )
        say("exists", wanted(TOPIC))
        say("exists, and one that does not", wanted(TOPIC), wanted(own(f"{mark}4")))
        say("one twice", wanted(own(f"{mark}5")), wanted(own(f"{mark}5"), 2))
        say("one twice, another once", wanted(own(f"{mark}5")), wanted(own(f"{mark}5")),
            wanted(own(f"{mark}6")))
        say("no name", wanted(""))
        say("one dot", wanted("."))
        say("two dots", wanted(".."))
        say("249 letters", wanted(own(f"{mark}7").ljust(249, "x")))
        say("250 letters", wanted("x" * 250))
        say("a blank", wanted("a b"))
        say("a colon", wanted("a:b"))
        say("an umlaut", wanted("ä"))
        say("a dot for a line", wanted("ground_dotted"))
        say("both in one request", wanted(own(f"{mark}8") + ".x"), wanted(own(f"{mark}8") + "_x"))
        say("a topic of the cluster", wanted("__cluster_metadata"))
        say("an internal one that exists", wanted("__consumer_offsets"))
        for partitions in (0, -2, -(1 << 31)):
            say(f"{partitions} partitions", wanted(own(f"{mark}p"), partitions))
        for replicas in (0, -2, 2, 3, 32767, -32768):
            say(f"{replicas} replicas", wanted(own(f"{mark}r"), 1, replicas))
        say("an assignment", wanted(own(f"{mark}9"), -1, -1, [(0, [1]), (1, [1])]))
        say("an assignment in another order", wanted(own(f"{mark}10"), -1, -1,
                                                     [(1, [1]), (0, [1])]))
        bad = own(f"{mark}bad")
        say("an assignment and a number", wanted(bad, 1, -1, [(0, [1])]))
        say("an assignment and a factor", wanted(bad, -1, 1, [(0, [1])]))
        say("an assignment with a gap", wanted(bad, -1, -1, [(0, [1]), (2, [1])]))
        say("an assignment not from 0", wanted(bad, -1, -1, [(1, [1])]))
        say("an assignment below 0", wanted(bad, -1, -1, [(-1, [1])]))
        say("a partition assigned twice", wanted(bad, -1, -1, [(0, [1]), (0, [1])]))
        say("a broker twice", wanted(bad, -1, -1, [(0, [1, 1])]))
        say("an unknown broker", wanted(bad, -1, -1, [(0, [7])]))
        say("an unknown broker beside", wanted(bad, -1, -1, [(0, [1, 7])]))
        say("a negative broker", wanted(bad, -1, -1, [(0, [-1])]))
        say("no broker", wanted(bad, -1, -1, [(0, [])]))
        say("unequal factors", wanted(bad, -1, -1, [(0, [1]), (1, [1, 7])]))
        say("a setting", wanted(own(f"{mark}s1"), retention_ms="1000"))
        say("some settings", wanted(own(f"{mark}s2"), cleanup_policy="compact,delete",
                                    min_insync_replicas="1", compression_type="producer"))
        say("an unknown setting", wanted(bad, no_such_setting="1"))
        say("a setting of brokers", wanted(bad, log_retention_ms="1"))
        say("a number that is none", wanted(bad, retention_ms="soon"))
        say("a number too small", wanted(bad, segment_bytes="1"))
        say("a number too large", wanted(bad, segment_bytes="9999999999999"))
        say("a choice that is none", wanted(bad, cleanup_policy="forget"))
        say("a choice twice", wanted(bad, cleanup_policy="delete,delete"))
        say("no choice", wanted(bad, cleanup_policy=""))
        say("blanks around", wanted(bad, cleanup_policy=" compact , delete "))
        say("null", wanted(bad, retention_ms=None))
        say("lag bounds crossed", wanted(bad, min_compaction_lag_ms="10",
                                         max_compaction_lag_ms="5"))
        say("more in sync than there are", wanted(own(f"{mark}s3"), min_insync_replicas="2"))
        say("a bad one among good ones", wanted(own(f"{mark}11")), wanted(bad, 0),
            wanted(own(f"{mark}12")))
    talk.settle()
    metadata(talk, "what became of them", own("c1"), own("c2"), own("c3"), own("c4"), own("c5"),
             own("c6"), own("c8") + ".x", own("c8") + "_x", own("c9"), own("c10"), own("v1"))
    talk.ask("DescribeConfigs", 1, {"Resources": [
        {"ResourceType": 2, "ResourceName": own("c" + each),
         "ConfigurationKeys": ["cleanup.policy", "retention.ms", "min.insync.replicas"]}
        for each in ("s1", "s2", "s3", "11", "12")]}, "and of their settings")


@sequence(each="DeleteTopics")
def topics_deleted(talk, version):
    names = [talk.own(each) for each in "abcdef"]
    talk.make_topics({each: (1, {}) for each in names})

    def say(label, *named, ids=()):
        talk.ask("DeleteTopics", version, {
            "TimeoutMs": 30000, "TopicNames": list(named), "Topics": [
                *({"Name": each, "TopicId": ZERO_UUID} for each in named),
                *({"Name": None, "TopicId": each} for each in ids)]}, label)

    say("one", names[0])
    say("gone", names[0])
    say("one and one that is not", names[1], "no-such-topic")
    say("one twice", names[2], names[2])
    say("none")
    say("no name", "")
    say("a bad name", "not a name!")
    if version >= 6:
        say("by id", ids=[IdOf(names[3])])
        say("by an unknown id", ids=[unknown_id()])
        say("by id twice", ids=[IdOf(names[4]), IdOf(names[4])])
        say("by name and by id", names[5], ids=[IdOf(names[5])])
        talk.ask("DeleteTopics", version, {"TimeoutMs": 30000, "Topics": [
            {"Name": names[5], "TopicId": IdOf(names[5])}]}, "both at once")
        talk.ask("DeleteTopics", version, {"TimeoutMs": 30000, "Topics": [
            {"Name": None, "TopicId": ZERO_UUID}]}, "neither")
    talk.settle()
    metadata(talk, "what is left", *names)


@sequence()
def a_topic_made_again(talk):
    name = talk.make_topic(talk.own("t"))
    first = talk.side.topic_ids[name]
    talk.ask("DeleteTopics", 6, {"TimeoutMs": 30000, "Topics": [
        {"Name": name, "TopicId": ZERO_UUID}]})
    talk.eventually(lambda answer: answer["Topics"][0]["ErrorCode"] == 3, "Metadata", 9,
                    Topics=[{"Name": name}], AllowAutoTopicCreation=False, label="gone")
    talk.make_topic(name)
    assert talk.side.topic_ids[name] != first, "the id is the old one"
    talk.ask("Metadata", 12, {"Topics": [{"Name": None, "TopicId": first}]}, "by the old id")
    talk.ask("Fetch", 13, {"MinBytes": 1, "MaxBytes": 1 << 20, "SessionEpoch": -1, "Topics": [
        {"TopicId": first, "Partitions": [{"Partition": 0, "PartitionMaxBytes": 1 << 20}]}]},
        "read by the old id")
    metadata(talk, "by its name", name)


@sequence(each="Metadata")
def metadata_asked_for(talk, version):
    def say(label, topics, **more):
        talk.ask("Metadata", version, {
            "Topics": topics, "AllowAutoTopicCreation": False, **more}, label)

    if version >= 4:
        for name in (TOPIC, "no-such-topic", "not a name!", "", ".", "ground_dotted",
                     "__consumer_offsets", "__transaction_state", "x" * 250):
            say(f"topic {name[:20]}", [{"Name": name, "TopicId": ZERO_UUID}])
        say("a topic twice", [{"Name": TOPIC, "TopicId": ZERO_UUID}] * 2)
        say("an unknown one twice", [{"Name": "no-such-topic", "TopicId": ZERO_UUID}] * 2)
        say("some", [{"Name": each, "TopicId": ZERO_UUID}
                     for each in ("no-such-topic", "ground-empty", "not a name!", TOPIC)])
    say("none", [])
    say("all", None if version else [])
    if version >= 8:
        for cluster in (False, True):
            for topic in (False, True):
                say(f"what is allowed, {cluster} {topic}", [
                    {"Name": TOPIC, "TopicId": ZERO_UUID},
                    {"Name": "no-such-topic", "TopicId": ZERO_UUID}],
                    IncludeClusterAuthorizedOperations=cluster,
                    IncludeTopicAuthorizedOperations=topic)
    if version >= 10:
        for name in (None, TOPIC, "no-such-topic"):
            for topic_id in (IdOf(TOPIC), IdOf("ground-empty"), unknown_id(), ZERO_UUID):
                say(f"name {name}, id {topic_id}", [{"Name": name, "TopicId": topic_id}])
        say("by name and by id", [{"Name": TOPIC, "TopicId": ZERO_UUID},
                                  {"Name": None, "TopicId": IdOf("ground-empty")},
                                  {"Name": None, "TopicId": unknown_id()}])


@sequence(each="Metadata")
def topics_that_make_themselves(talk, version):
    name = talk.own("t")
    asked = {"Topics": [{"Name": name, "TopicId": ZERO_UUID},
                        {"Name": "not a name!", "TopicId": ZERO_UUID},
                        {"Name": "ground_dotted", "TopicId": ZERO_UUID}],
             "AllowAutoTopicCreation": True}
    talk.ask("Metadata", version, asked, "the first time")
    talk.eventually(
        lambda answer: answer["Topics"] and all(
            each["ErrorCode"] == 0 and each["Partitions"] for each in answer["Topics"]
            if each["Name"] == name), "Metadata", version, **asked, label="made")


@sequence(each="DescribeCluster")
def the_cluster(talk, version):
    for allowed in (False, True):
        for kind in (0, 1, 2, 3, -1):
            for fenced in (False, True):
                talk.ask("DescribeCluster", version, {
                    "IncludeClusterAuthorizedOperations": allowed, "EndpointType": kind,
                    "IncludeFencedBrokers": fenced}, f"{allowed} {kind} {fenced}")


@sequence(each="CreatePartitions")
def partitions_added(talk, version):
    names = [talk.own(each) for each in "abc"]
    talk.make_topics({each: (2, {}) for each in names})

    def say(label, *topics, validate=False):
        talk.ask("CreatePartitions", version, {
            "TimeoutMs": 30000, "ValidateOnly": validate, "Topics": [
                {"Name": name, "Count": count, "Assignments": None if assigned is None else [
                    {"BrokerIds": list(brokers)} for brokers in assigned]}
                for name, count, assigned in topics]}, label)

    for validate in (True, False):
        mark = ", validating" * validate
        for count in (-1, 0, 1, 2):
            say(f"{count}{mark}", (names[0], count, None), validate=validate)
        say(f"no such topic{mark}", ("no-such-topic", 3, None), validate=validate)
        say(f"a bad name{mark}", ("not a name!", 3, None), validate=validate)
        say(f"no name{mark}", ("", 3, None), validate=validate)
        say(f"a topic twice{mark}", (names[0], 3, None), (names[0], 4, None), validate=validate)
        say(f"nothing{mark}", validate=validate)
        say(f"too few assigned{mark}", (names[1], 4, [[1]]), validate=validate)
        say(f"too many assigned{mark}", (names[1], 3, [[1], [1]]), validate=validate)
        say(f"an unknown broker{mark}", (names[1], 3, [[9]]), validate=validate)
        say(f"a broker twice{mark}", (names[1], 3, [[1, 1]]), validate=validate)
        say(f"no broker{mark}", (names[1], 3, [[]]), validate=validate)
        say(f"nothing assigned{mark}", (names[1], 3, []), validate=validate)
        say(f"unequal{mark}", (names[1], 4, [[1], [1, 2]]), validate=validate)
        say(f"an internal one{mark}", ("__consumer_offsets", 1, None), validate=validate)
        say(f"one more{mark}", (names[0], 3, None), validate=validate)
        say(f"two more, assigned{mark}", (names[1], 4, [[1], [1]]), validate=validate)
        say(f"good and bad{mark}", (names[2], 5, None), ("no-such-topic", 3, None),
            validate=validate)
    talk.settle()
    metadata(talk, "what became of them", *names)


@sequence(each="DeleteRecords")
def records_deleted(talk, version):
    from ..batches import batch
    from .fetching import fetch
    from .producing import produce
    topic, compacted = talk.own("t"), talk.own("compacted")
    talk.make_topics({topic: (2, {}), compacted: (1, {"cleanup_policy": "compact"})})
    for name in (topic, compacted):
        for _ in range(3):
            produce(talk, name, batch(3, timestamp=talk.moment - 1000), 9)

    def say(label, *partitions, name=topic):
        talk.ask("DeleteRecords", version, {"TimeoutMs": 10000, "Topics": [
            {"Name": name, "Partitions": [
                {"PartitionIndex": index, "Offset": offset} for index, offset in partitions]}]},
            label)
        fetch(talk, 12, [(0, 0)], f"{label}: from 0", topic)
        talk.ask("ListOffsets", 7, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [
            {"PartitionIndex": 0, "Timestamp": -2}]}]}, f"{label}: the start")

    for offset in (0, 4, 3, 10, -2, 9223372036854775807):
        say(f"offset {offset}", (0, offset))
    fetch(talk, 12, [(0, 4)], "in the middle of a batch", topic)
    fetch(talk, 12, [(0, 3)], "before it", topic)
    say("an unknown partition too", (5, 1), (0, 5), (-1, 0))
    say("an empty partition", (1, -1))
    say("beyond an empty partition", (1, 1))
    say("all", (0, -1))
    say("all again", (0, -1))
    produce(talk, topic, batch(1, timestamp=talk.moment - 1000), 9)
    say("one came since", (0, 9))
    say("no such topic", (0, 1), name="no-such-topic")
    say("an internal topic", (0, 1), name="__consumer_offsets")
    say("a compacted topic", (0, 1), name=compacted)
    say("a partition twice", (0, 10), (0, 9))
    say("no partition")


@sequence(needs=("DescribeTopicPartitions",))
def pages_of_topics(talk):
    def say(label, names, limit=2000, cursor=None):
        talk.ask("DescribeTopicPartitions", 0, {
            "Topics": [{"Name": each} for each in names], "ResponsePartitionLimit": limit,
            "Cursor": cursor and {"TopicName": cursor[0], "PartitionIndex": cursor[1]}}, label)

    some = ["ground", "ground-empty", "ground-deletable"]
    for names in (["ground"], some, ["no-such-topic"], ["not a name!"], [""], ["ground"] * 2,
                  ["ground", "no-such-topic"], ["__consumer_offsets"]):
        say(f"{names}", names)
    for limit in (-1, 0, 1, 2, 3, 4, 5, 2001):
        say(f"limit {limit}", some, limit)
    for cursor in (("ground", 1), ("ground", 0), ("ground-deletable", 1), ("ground", 2),
                   ("ground", 7), ("ground", -1), ("zzz", 0), ("", 0), ("ground-deletable", 0),
                   ("ground-b", 3)):
        say(f"from {cursor}", some, 2, cursor)


@sequence(each="DescribeLogDirs")
def sizes_on_disk(talk, version):
    def say(label, topics):
        talk.ask("DescribeLogDirs", version, {"Topics": topics}, label)

    say("one", [{"Topic": TOPIC, "Partitions": [0, 1]}])
    say("an unknown partition", [{"Topic": TOPIC, "Partitions": [0, 7]}])
    say("no such topic", [{"Topic": "no-such-topic", "Partitions": [0]}])
    say("no partition", [{"Topic": TOPIC, "Partitions": []}])
    say("none", [])
    say("all", None)
    say("a topic twice", [{"Topic": TOPIC, "Partitions": [each]} for each in (0, 1)])


@sequence(needs=("DescribeProducers",))
def producers_described(talk):
    from ..batches import batch
    from .producing import produce
    topic = talk.make_topic(talk.own("t"), 2)
    for sequence_number in (0, 1):
        produce(talk, topic, batch(2 - sequence_number, timestamp=talk.moment - 1000,
                                   producer_id=900401, producer_epoch=3,
                                   base_sequence=sequence_number * 2), 9)
    produce(talk, topic, batch(1, timestamp=talk.moment - 1000, producer_id=900402,
                               producer_epoch=0, base_sequence=7), 9)
    for name, partitions in ((topic, [0]), (topic, [1, 0, 5]), ("no-such-topic", [0]),
                             (topic, []), ("not a name!", [0]), ("__consumer_offsets", [0])):
        talk.ask("DescribeProducers", 0, {"Topics": [
            {"Name": name, "PartitionIndexes": partitions}]}, f"{name[-20:]} {partitions}")


@sequence(each="DescribeQuorum")
def the_quorum(talk, version):
    for name in ("__cluster_metadata", "ground", "no-such-topic"):
        for partitions in ([0], [1], [], [0, 1]):
            talk.ask("DescribeQuorum", version, {"Topics": [
                {"TopicName": name, "Partitions": [
                    {"PartitionIndex": each} for each in partitions]}]}, f"{name} {partitions}")
    talk.ask("DescribeQuorum", version, {"Topics": []}, "nothing")
