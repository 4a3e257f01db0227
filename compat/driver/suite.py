"""Scenarios and the ground they run on.

A scenario is a function that takes a `Ground` and raises when the broker (or the client) did not
do what it should. A `Registry` keeps it with what it needs of the client.
"""

import dataclasses
import time
import traceback

from .agent import AgentError, Member

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
NOT_SERVED = "not served"


class NotServed(Exception):
    """The broker refused, as it says that it does, what it does not serve yet."""


@dataclasses.dataclass(frozen=True)
class Result:
    suite: str
    scenario: str
    outcome: str
    seconds: float = 0.0
    detail: str = ""
    feature: str = ""


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    run: object
    needs: frozenset
    brokers: frozenset | None  # where it can run; None for any
    delayed: bool  # runs on the broker with Kafka's own rebalance delay
    feature: str  # the row of the page for users that it belongs to


class Registry:
    """The scenarios of one kind of suite, in the order they were written."""

    def __init__(self):
        self.scenarios = []

    def scenario(self, *needs, feature="", parameters=(None,), brokers=None, delayed=False):
        """Registers a scenario, once for each parameter; `{}` in `feature` stands for that."""
        def register(function):
            for parameter in parameters:
                name = function.__name__
                run = function
                if parameter is not None:
                    name, run = f"{name}:{parameter}", _with(function, parameter)
                where = None if brokers is None else frozenset(brokers)
                self.scenarios.append(Scenario(
                    name, run, frozenset(needs), where, delayed, feature.format(parameter)))
            return function
        return register


CLIENT = Registry()  # for every client of its own
TOOLS = Registry()  # Kafka's command-line tools
TOGETHER = Registry()  # several clients on one topic or in one group


def _with(function, parameter):
    return lambda ground: function(ground, parameter)


class Ground:
    """What every scenario works with: a broker, and names nobody else uses."""

    suite = ""

    def __init__(self, broker, admin, run_id):
        self.broker = broker
        self.admin = admin
        self.run_id = run_id
        self.scenario = ""
        self.names = 0

    def begin(self, name):
        self.scenario = name.replace(":", "-")

    def can(self, _ability):
        return True

    def unused(self, what="t"):
        """A name for a topic or a group that nothing else uses."""
        self.names += 1
        return f"{self.run_id}-{self.suite}-{self.scenario}-{what}{self.names}"

    def topic(self, partitions=1, configs=None):
        name = self.unused()
        self.admin.create_topic(name, partitions, configs)
        eventually(lambda: self._serves(name, partitions), 10, f"{name} is served")
        return name

    def _serves(self, topic, partitions):
        """A Kafka lists a topic a moment before its leaders take requests, and not every client
        asks again."""
        if self.admin.topics().get(topic) != partitions:
            return False
        try:
            self.admin.offsets(topic, partitions)
        except AgentError:
            return False
        return True

    def end(self):
        """Ends what one scenario has opened."""

    def finish(self):
        """Ends what was kept for all of them."""


class ClientGround(Ground):
    """The ground of one client: also gives agents of it."""

    def __init__(self, client, prepared, broker, admin, run_id, log):
        super().__init__(broker, admin, run_id)
        self.suite = client.name
        self.client = client
        self.prepared = prepared
        self.log = log
        self.opened = []
        self.idle = []
        self.agent = client.connect(prepared, broker.bootstrap, log)
        self.version = self.agent.version()
        if self.can("topics"):
            self.admin = self.agent

    def can(self, ability):
        return ability in self.client.can

    def connect(self):
        if self.idle:
            agent = self.idle.pop()
        else:
            agent = self.client.connect(self.prepared, self.broker.bootstrap, self.log)
        self.opened.append(agent)
        return agent

    def members(self, count, group, topics, **options):
        return [self.member(f"m{i + 1}", group, topics, **options) for i in range(count)]

    def member(self, name, group, topics, **options):
        member = Member(name, self.connect())
        member.agent.subscribe(group, topics, **options)
        return member

    def end(self):
        """Keeps the agents that left well: starting one takes a second for some clients."""
        self.idle += [agent for agent in self.opened if agent.idle()]
        self.opened = []

    def finish(self):
        self.end()
        for agent in [*self.idle, self.agent]:
            agent.quit()


def eventually(holds, seconds, what):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def run_suite(registry, ground, delayed=False, only=None, report=lambda result: None):
    """Runs the scenarios that this ground can bear; what it cannot is left out or skipped."""
    results = []
    for chosen in registry.scenarios:
        if chosen.delayed != delayed or not all(ground.can(each) for each in chosen.needs):
            continue
        if only and only not in chosen.name:
            continue
        if chosen.brokers is not None and ground.broker.kind not in chosen.brokers:
            result = Result(ground.suite, chosen.name, SKIPPED, feature=chosen.feature,
                            detail=f"not on a broker that is {ground.broker.kind}")
        else:
            result = run_one(chosen, ground)
        report(result)
        results.append(result)
    return results


def run_one(chosen, ground):
    start = time.monotonic()
    ground.begin(chosen.name)
    try:
        chosen.run(ground)
        outcome, detail = PASSED, ""
    except NotServed as refused:
        outcome, detail = NOT_SERVED, str(refused)
    except Exception as error:
        lines = [f"{at.filename.rsplit('/', 1)[-1]}:{at.lineno}"
                 for at in traceback.extract_tb(error.__traceback__)
                 if "/scenarios/" in at.filename]
        where = ", called from ".join(reversed(lines))
        outcome, detail = FAILED, f"{type(error).__name__}: {error} {where}".strip()
    finally:
        ground.end()
    return Result(ground.suite, chosen.name, outcome, time.monotonic() - start, detail,
                  chosen.feature)
