"""What stands at both brokers before the first request that is compared."""

import time

from .batches import batch
from .talk import EVENTUALLY_SECONDS, Talk

TOPIC, GROUP, MEMBERS = "ground", "ground-group", "ground-members"
SUBSCRIPTION = "ground-subscription"
PREFIX = "ground"

# Equal settings for both brokers: no delay but where a script asks for it, one partition for
# what groups write, small bounds where the usual ones would take long to reach.
SETTINGS = {
    "node.id": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 100,
    "group.max.size": 2,
    "num.partitions": 2,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "offset.metadata.max.bytes": 4096,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "log.segment.bytes": 1 << 24,
}
TOPICS = {
    TOPIC: (2, {}),
    "ground-empty": (1, {}),
    "ground-compact": (1, {"cleanup_policy": "compact"}),
    "ground-small": (1, {"max_message_bytes": 1000}),
    "ground-stamped": (1, {"message_timestamp_type": "LogAppendTime"}),
    "ground-settings": (1, {"retention_ms": 100000000, "cleanup_policy": "compact,delete"}),
    "ground-deletable": (2, {}),
    "ground.dotted": (1, {}),
}
BATCHES, RECORDS = 10, 3
RECORD_STEP_MS = 1000


def first_timestamp(moment):
    """When the first record of the ground was made: an hour before the run."""
    return moment - 3600_000


def prepare(side, common, moment):
    talk = Talk(side, common, "ground", moment)
    talk.make_topics(TOPICS)
    for topic in (TOPIC, "ground-deletable"):
        _fill(talk, topic, first_timestamp(moment))
    _find_coordinator(talk)
    _commit(talk)
    _join(talk)
    _wait_for_producer_ids(talk)
    _configure(talk)
    talk.close()


def _fill(talk, topic, timestamp):
    for number in range(BATCHES):
        records = batch(RECORDS, step=RECORD_STEP_MS,
                        timestamp=timestamp + number * RECORDS * RECORD_STEP_MS)
        answer = talk.quietly("Produce", 7, TransactionalId=None, Acks=-1, TimeoutMs=10000,
                              TopicData=[{"Name": topic, "PartitionData": [
                                  {"Index": 0, "Records": records}]}])
        told = answer["Responses"][0]["PartitionResponses"][0]
        assert told["ErrorCode"] == 0, f"the ground cannot be filled: {told}"


def _find_coordinator(talk):
    deadline = time.monotonic() + EVENTUALLY_SECONDS
    while True:
        found = talk.quietly("FindCoordinator", 3, Key=GROUP, KeyType=0)
        if found["ErrorCode"] == 0:
            fetched = talk.quietly("OffsetFetch", 7, GroupId=GROUP, Topics=None)
            if fetched["ErrorCode"] == 0:
                return
        assert time.monotonic() < deadline, f"no group coordinator: {found}"
        time.sleep(0.02)


def _wait_for_producer_ids(talk):
    deadline = time.monotonic() + EVENTUALLY_SECONDS
    while talk.quietly("InitProducerId", 4, TransactionalId=None)["ErrorCode"] != 0:
        assert time.monotonic() < deadline, "no producer ids"
        time.sleep(0.02)


def _configure(talk):
    """A group and a subscription to clients' metrics that have settings of their own."""
    settings = {(32, GROUP): {"consumer.session.timeout.ms": "50000"},
                (16, SUBSCRIPTION): {"interval.ms": "1000", "match": "client_id=a.*"}}
    answer = talk.quietly("IncrementalAlterConfigs", 1, Resources=[
        {"ResourceType": kind, "ResourceName": name, "Configs": [
            {"ConfigOperation": 0, "Name": key, "Value": value}
            for key, value in values.items()]}
        for (kind, name), values in settings.items()])
    codes = [each["ErrorCode"] for each in answer["Responses"]]
    assert codes == [0, 0], f"settings cannot be made: {answer}"


def _commit(talk):
    talk.quietly("OffsetCommit", 8, GroupId=GROUP, GenerationIdOrMemberEpoch=-1, MemberId="",
                 Topics=[{"Name": TOPIC, "Partitions": [
                     {"PartitionIndex": 0, "CommittedOffset": 7, "CommittedLeaderEpoch": 0,
                      "CommittedMetadata": "seven"}]}])


def _join(talk):
    """A group whose only member stays: its session outlasts the run."""
    told = dict(GroupId=MEMBERS, SessionTimeoutMs=1800000, RebalanceTimeoutMs=10000,
                GroupInstanceId="ground-instance", ProtocolType="consumer",
                Protocols=[{"Name": "range", "Metadata": b"\0\1"}])
    joined = talk.quietly("JoinGroup", 5, MemberId="", **told)
    assert joined["ErrorCode"] == 0, f"nobody can join: {joined}"
    talk.quietly("SyncGroup", 3, GroupId=MEMBERS, GenerationId=joined["GenerationId"],
                 MemberId=joined["MemberId"], GroupInstanceId="ground-instance",
                 Assignments=[{"MemberId": joined["MemberId"], "Assignment": b"\0\1\2"}])
