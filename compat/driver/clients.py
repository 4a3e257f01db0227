"""The clients under test, and what each of them can do."""

import dataclasses
from collections.abc import Callable

from . import toolchain
from .agent import Agent
from .kcat import Kcat

# What a client can do; a scenario names what it needs.
ADMIN = "admin"  # topics, groups and settings, by the client's own admin interface
COMMIT = "commit"  # offsets committed by hand, with metadata
COOPERATIVE = "cooperative"
GROUPS = "groups"
NULLS = "nulls"  # headers without a value, records without key and value
BINARY = "binary"  # keys and values of any bytes
OFFSETS_BACK = "offsets back"  # tells the offset of each produced record
STATIC = "static members"
TIMESTAMPS = "timestamps"  # sends a record with a chosen timestamp
ERROR_CODES = "error codes"

EVERYTHING = frozenset({ADMIN, COMMIT, COOPERATIVE, GROUPS, NULLS, BINARY, OFFSETS_BACK,
                        STATIC, TIMESTAMPS, ERROR_CODES})


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


CLIENTS = [
    Client("confluent", EVERYTHING, toolchain.python, _python_agent("confluent_agent.py")),
    Client("java", EVERYTHING, toolchain.java_agent,
           lambda command, bootstrap, log: Agent([*command, bootstrap], log)),
    # kafka-python refuses headers without a value, and records without key and value.
    Client("kafka-python", EVERYTHING - {NULLS}, toolchain.python,
           _python_agent("kafka_python_agent.py")),
    Client("franz-go", EVERYTHING, toolchain.go_agent,
           lambda program, bootstrap, log: Agent([program, bootstrap], log)),
    Client("kcat", frozenset({GROUPS}), toolchain.kcat,
           lambda program, bootstrap, log: Kcat(program, bootstrap)),
]
