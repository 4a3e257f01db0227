"""Topics, settings and the cluster as a client's admin interface shows them."""

import time

from ..agent import AgentError
from ..clients import (
    CLUSTER, DELETE_RECORDS, MORE_PARTITIONS, SETTINGS, TOPICS, TRANSACTIONS,
)
from ..records import numbered
from ..suite import CLIENT, NotServed, eventually
from .producing import assert_same

TOPIC_ALREADY_EXISTS = 36
INVALID_TOPIC = 17
INVALID_PARTITIONS = 37
TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53


def refused_with(code, action):
    try:
        action()
    except AgentError as error:
        assert error.code == code, f"code {error.code}, not {code}: {error}"
    else:
        raise AssertionError(f"was not refused with {code}")


@CLIENT.scenario(CLUSTER, feature="describe the cluster")
def cluster_described(ground):
    brokers, _ = ground.agent.cluster()
    assert brokers == 1 or ground.broker.kind == "running", f"{brokers} brokers"


@CLIENT.scenario(TOPICS, feature="create and delete topics")
def topics_created(ground):
    topic = ground.topic(5)
    refused_with(TOPIC_ALREADY_EXISTS, lambda: ground.agent.create_topic(topic, 1))
    refused_with(INVALID_TOPIC, lambda: ground.agent.create_topic("not/a topic", 1))
    refused_with(INVALID_PARTITIONS, lambda: ground.agent.create_topic(ground.unused(), 0))
    assert ground.agent.offsets(topic, 5) == [(0, 0)] * 5


@CLIENT.scenario(TOPICS, SETTINGS, feature="topic settings")
def topic_settings(ground):
    topic = ground.topic(1, {"retention.ms": "123456789"})
    config = ground.agent.topic_config(topic)
    wanted = {
        "retention.ms": "123456789",
        "cleanup.policy": "delete",
        "max.message.bytes": "1048588",
        "compression.type": "producer",
        "message.timestamp.type": "CreateTime",
        "min.insync.replicas": "1",
    }
    found = {name: config.get(name) for name in wanted}
    assert found == wanted, f"settings {found}"
    ground.agent.set_topic_config(topic, "retention.ms", "987654321")
    eventually(lambda: ground.agent.topic_config(topic)["retention.ms"] == "987654321", 10,
               "the changed setting is shown")


@CLIENT.scenario(MORE_PARTITIONS, feature="add partitions")
def partitions_added(ground):
    topic = ground.topic(2)
    ground.agent.add_partitions(topic, 5)
    eventually(lambda: ground.agent.topics().get(topic) == 5, 10, "five partitions are listed")
    assert ground.agent.offsets(topic, 5) == [(0, 0)] * 5
    refused_with(INVALID_PARTITIONS, lambda: ground.agent.add_partitions(topic, 3))


@CLIENT.scenario(DELETE_RECORDS, feature="delete records")
def records_deleted(ground):
    topic = ground.topic()
    sent = numbered(50, partitions=1)
    ground.agent.produce(topic, sent)
    ground.agent.delete_records(topic, 0, 20)
    assert ground.agent.offsets(topic, 1) == [(20, 50)]
    assert_same(sent[20:], ground.agent.consume(topic, [(0, 20)], 30))


@CLIENT.scenario(TRANSACTIONS, feature="transactions")
def transactions(ground):
    """Until they are served, a client is told at once, by a code that it takes as final."""
    start = time.monotonic()
    try:
        ground.agent.init_transactions(ground.unused("x"))
    except AgentError as error:
        took = time.monotonic() - start
        text = str(error).replace("_", "").replace(" ", "").lower()
        # KafkaJS knows no coordinator then, and keeps the code to itself.
        known = "transactionalid" in text or "coordinatornotfound" in text
        assert error.code == TRANSACTIONAL_ID_AUTHORIZATION_FAILED or known, text
        assert took < 5, f"the refusal took {took:.1f} s"
        raise NotServed(f"refused at once: {error}") from error
