"""Topics, settings and the cluster as a client's admin interface shows them."""

from ..agent import AgentError
from ..clients import ADMIN
from ..suite import CLIENT, eventually

TOPIC_ALREADY_EXISTS = 36
INVALID_TOPIC = 17
INVALID_PARTITIONS = 37


def refused_with(code, action):
    try:
        action()
    except AgentError as error:
        assert error.code == code, f"code {error.code}, not {code}: {error}"
    else:
        raise AssertionError(f"was not refused with {code}")


@CLIENT.scenario()
def cluster_described(ground):
    brokers, _ = ground.agent.cluster()
    assert brokers == 1 or ground.broker.kind == "running", f"{brokers} brokers"


@CLIENT.scenario(ADMIN)
def topics_created(ground):
    topic = ground.topic(5)
    refused_with(TOPIC_ALREADY_EXISTS, lambda: ground.agent.create_topic(topic, 1))
    refused_with(INVALID_TOPIC, lambda: ground.agent.create_topic("not/a topic", 1))
    refused_with(INVALID_PARTITIONS, lambda: ground.agent.create_topic(ground.unused(), 0))
    assert ground.agent.offsets(topic, 5) == [(0, 0)] * 5


@CLIENT.scenario(ADMIN)
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
