"""The clients under test, and what each of them can do."""

import dataclasses
from collections.abc import Callable

from . import toolchain
from .agent import Agent
from .kcat import Kcat

# What a client can do; a scenario names what it needs.
ACKS = "acks"  # other levels than `all`
AUTO_CREATE = "auto create"  # a topic is made by producing to it
BINARY = "binary"  # keys and values of any bytes
CLUSTER = "cluster"  # tells the brokers
COMMIT = "commit"  # offsets committed by hand
COOPERATIVE = "cooperative"
DELETE_GROUPS = "delete groups"
DELETE_RECORDS = "delete records"
EMPTY = "empty"  # tells an empty key or value from none
ERROR_CODES = "error codes"
GROUPS = "groups"
IDEMPOTENT = "idempotent"
LIST_GROUPS = "list groups"
METADATA = "metadata"  # a text beside a committed offset
MORE_PARTITIONS = "more partitions"
NULLS = "nulls"  # headers without a value, records without key and value
OFFSETS_BACK = "offsets back"  # tells the offset of each produced record
PARTITIONER = "partitioner"  # chooses the partition by the key
RANGE = "range"  # can be in one group with clients of other languages
REPEATED = "repeated"  # two headers of one name in a record
SETTINGS = "settings"  # of topics
STATIC = "static members"
TIMESTAMPS = "timestamps"  # sends a record with a chosen timestamp
TOPICS = "topics"  # made and deleted by the client itself
TRANSACTIONS = "transactions"

EVERYTHING = frozenset({
    ACKS, AUTO_CREATE, BINARY, CLUSTER, COMMIT, COOPERATIVE, DELETE_GROUPS, DELETE_RECORDS, EMPTY,
    ERROR_CODES, GROUPS, IDEMPOTENT, LIST_GROUPS, METADATA, MORE_PARTITIONS, NULLS, OFFSETS_BACK,
    PARTITIONER, RANGE, REPEATED, SETTINGS, STATIC, TIMESTAMPS, TOPICS, TRANSACTIONS,
})


@dataclasses.dataclass(frozen=True)
class Client:
    name: str
    can: frozenset
    prepare: Callable  # brings the toolchain; returns what `connect` takes
    connect: Callable  # (prepared, bootstrap, log) -> agent


def _python_agent(program):
    def connect(python, bootstrap, log):
        return Agent([python, toolchain.COMPAT / "python" / program, bootstrap], log)
    return connect


def _agent(command, bootstrap, log):
    return Agent([*command, bootstrap], log)


def _go_agent(name):
    def connect(folder, bootstrap, log):
        return Agent([folder / name, bootstrap], log)
    return connect


CLIENTS = [
    Client("confluent", EVERYTHING, toolchain.python, _python_agent("confluent_agent.py")),
    Client("java", EVERYTHING, toolchain.java_agent, _agent),
    # kafka-python refuses headers without a value, and records without key and value.
    Client("kafka-python", EVERYTHING - {NULLS}, toolchain.python,
           _python_agent("kafka_python_agent.py")),
    # aiokafka refuses records without key and value.
    Client("aiokafka", EVERYTHING - {NULLS, COOPERATIVE, DELETE_GROUPS}, toolchain.python,
           _python_agent("aiokafka_agent.py")),
    Client("franz-go", EVERYTHING, toolchain.go_agents, _go_agent("franz-go")),
    Client("sarama", EVERYTHING, toolchain.go_agents, _go_agent("sarama")),
    # What kafka-go has of idempotence, transactions and static members are bare requests; members
    # of other languages cannot read its subscription, which says version 1 and has fields of 0.
    Client("kafka-go",
           EVERYTHING - {COOPERATIVE, DELETE_RECORDS, EMPTY, IDEMPOTENT, METADATA, RANGE, STATIC,
                         TRANSACTIONS},
           toolchain.go_agents, _go_agent("kafka-go")),
    # KafkaJS has an assignor of its own alone.
    Client("kafkajs", EVERYTHING - {COOPERATIVE, NULLS, RANGE, STATIC}, toolchain.node_agent,
           _agent),
    Client("rskafka",
           frozenset({BINARY, DELETE_RECORDS, EMPTY, ERROR_CODES, OFFSETS_BACK, TIMESTAMPS, TOPICS}),
           toolchain.rust_agent,
           lambda program, bootstrap, log: Agent([program, bootstrap], log)),
    Client("kcat", frozenset({ACKS, AUTO_CREATE, CLUSTER, GROUPS, IDEMPOTENT, PARTITIONER, RANGE,
                              REPEATED}),
           toolchain.kcat, lambda program, bootstrap, log: Kcat(program, bootstrap)),
]
