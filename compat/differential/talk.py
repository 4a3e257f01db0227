"""A broker as the run knows it, and one script's talk with it.

A script is run once against each broker, at the same time and apart from the other. What it asks
and what it gets is its transcript; two transcripts are compared when both are complete.
"""

import dataclasses
import time
import uuid

from .schema import ZERO_UUID
from .wire import ANSWERED, CLIENT_ID, CLOSED, SILENT, Connection, Outcome

SILENCE_SECONDS = 8
EVENTUALLY_SECONDS = 20
POLL_SECONDS = 0.005
BROKEN = "broken"
NO_ANSWER = "no answer, as it should be"


@dataclasses.dataclass(frozen=True)
class IdOf:
    """Stands in a request for the id that a topic has at the broker which is asked."""

    topic: str


@dataclasses.dataclass
class Exchange:
    api: str
    version: int
    label: str
    request: object
    outcome: Outcome


class Answer(dict):
    """A decoded answer; empty if there was none, and then `outcome` says why."""

    outcome = None


class Side:
    """One of the two brokers."""

    def __init__(self, bootstrap, apis):
        host, port = bootstrap.rsplit(":", 1)
        self.address = (host, int(port))
        self.apis = apis
        self.topic_ids = {}
        self.versions = self._advertised()

    def _advertised(self):
        api = self.apis["ApiVersions"]
        connection = Connection(self.address, SILENCE_SECONDS)
        outcome = connection.ask(api, 3, {
            "ClientSoftwareName": "differential", "ClientSoftwareVersion": "1"})
        connection.close()
        return {each["ApiKey"]: (each["MinVersion"], each["MaxVersion"])
                for each in outcome.body["ApiKeys"]}


def common_versions(sides, apis):
    """For each API's name, the versions that both brokers advertise and the schemas have."""
    common = {}
    for name, api in apis.items():
        if all(api.key in side.versions for side in sides):
            first = max(side.versions[api.key][0] for side in sides)
            last = min(side.versions[api.key][1] for side in sides)
            versions = [each for each in range(first, last + 1)
                        if each in api.request.valid and each in api.response.valid]
            if versions:
                common[name] = versions
    return common


class Talk:
    """What a script asks one broker, over as many connections as it names."""

    def __init__(self, side, common, name, moment):
        self.side = side
        self.common = common
        self.name = name
        self.moment = moment
        """Milliseconds since the epoch, the same for both brokers: when the run began."""
        self.exchanges = []
        self.connections = {}
        self.pending = {}
        self.settled = 0

    # What a script says.

    def ask(self, api, version=None, body=None, label="", on="main", client_id=CLIENT_ID,
            **fields):
        """One request and its answer, kept in the transcript."""
        self.send(api, version, body, label, on, client_id, **fields)
        return self.take(on)

    def send(self, api, version=None, body=None, label="", on="main", client_id=CLIENT_ID,
             **fields):
        """Sends without waiting; `take` takes the answers of a connection in their order."""
        version = self.latest(api) if version is None else version
        request = self.resolve(fields if body is None else body)
        self.pending.setdefault(on, []).append((api, version, label, request))
        self._connection(on).send(self.side.apis[api], version, request, client_id)

    def take(self, on="main", seconds=None):
        api, version, label, request = self.pending[on].pop(0)
        outcome = self._connection(on).take(seconds)
        if outcome.kind in (CLOSED, SILENT):
            # What was sent after it goes down with the connection.
            for lost in self.pending[on]:
                self.exchanges.append(Exchange(*lost, outcome))
            self.pending[on].clear()
        return self._keep(api, version, label, request, outcome)

    def tell(self, api, version=None, label="", on="main", **fields):
        """A request that has no answer: that none came shows by the answer to the next one."""
        version = self.latest(api) if version is None else version
        request = self.resolve(fields)
        connection = self._connection(on)
        # The broker is known to serve the connection before the request that may end it.
        connection.ask(self.side.apis["ApiVersions"], 0, {})
        connection.send(self.side.apis[api], version, request)
        connection.waiting.clear()
        connection.send(self.side.apis["ApiVersions"], 0, {})
        outcome = connection.take()
        if outcome.kind == ANSWERED:
            outcome = Outcome(NO_ANSWER)
        return self._keep(api, version, label, request, outcome)

    def eventually(self, condition, api, version=None, on="main", label="", **fields):
        """Asks again until the answer is as wanted; only the last one is compared."""
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while True:
            answer = self.quietly(api, version, on=on, **fields)
            if condition(answer) or time.monotonic() > deadline:
                version = self.latest(api) if version is None else version
                return self._keep(api, version, label, self.resolve(fields), answer.outcome)
            time.sleep(POLL_SECONDS)

    def quietly(self, api, version=None, on="main", **fields):
        """A request that prepares something, and is not compared."""
        version = self.latest(api) if version is None else version
        outcome = self._connection(on).ask(self.side.apis[api], version, self.resolve(fields))
        return _answer(outcome)

    def send_bytes(self, data, label, api="ApiVersions", version=0, on="main"):
        """Bytes that are no request; what the broker does with the connection is compared."""
        connection = self._connection(on)
        connection.waiting.append((self.side.apis[api], version, 0))
        connection.send_bytes(data)
        return self._keep(api, version, label, data, connection.take())

    def latest(self, api):
        return self.common[api][-1]

    def own(self, name):
        """A name that no other script uses."""
        return f"{self.name}-{name}"

    def resolve(self, value):
        if isinstance(value, IdOf):
            return self.side.topic_ids.get(value.topic, ZERO_UUID)
        if isinstance(value, dict):
            return {key: self.resolve(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.resolve(each) for each in value]
        return value

    # What many scripts need first.

    def make_topic(self, name, partitions=1, **configs):
        """Makes a topic, waits until it can be used, and returns its name. Not compared."""
        self.make_topics({name: (partitions, configs)})
        return name

    def make_topics(self, topics):
        answer = self.quietly("CreateTopics", timeoutMs=30000, Topics=[
            {"Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
             "Configs": [{"Name": key.replace("_", "."), "Value": str(value)}
                         for key, value in configs.items()]}
            for name, (partitions, configs) in topics.items()])
        for each in answer["Topics"]:
            assert each["ErrorCode"] == 0, f"{each['Name']} was not made: {each}"
            self.side.topic_ids[each["Name"]] = each["TopicId"]
        self.wait_for_leaders({name: partitions for name, (partitions, _) in topics.items()})

    def settle(self):
        """Until the broker has applied all that it was told to change: changes go in order, so
        the last one shows. Not compared."""
        marker = self.own("marker")
        if not self.settled:
            self.make_topic(marker)
        self.settled += 1
        value = str(1_000_000_000 + self.settled)
        resource = {"ResourceType": 2, "ResourceName": marker}
        self.quietly("IncrementalAlterConfigs", Resources=[{**resource, "Configs": [
            {"ConfigOperation": 0, "Name": "retention.ms", "Value": value}]}])
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while True:
            answer = self.quietly("DescribeConfigs", Resources=[
                {**resource, "ConfigurationKeys": ["retention.ms"]}])
            if [each["Value"] for each in answer["Results"][0]["Configs"]] == [value]:
                return
            assert time.monotonic() < deadline, f"a setting does not change: {answer}"
            time.sleep(POLL_SECONDS)

    def wait_for_leaders(self, topics):
        """Until each partition answers: metadata may run ahead of the partitions themselves."""
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while True:
            answer = self.quietly("ListOffsets", ReplicaId=-1, Topics=[
                {"Name": name, "Partitions": [
                    {"PartitionIndex": index, "Timestamp": -1} for index in range(partitions)]}
                for name, partitions in topics.items()])
            codes = {each["ErrorCode"] for topic in answer.get("Topics", ())
                     for each in topic["Partitions"]}
            if codes == {0}:
                return
            assert time.monotonic() < deadline, f"{list(topics)} cannot be used: {codes}"
            time.sleep(POLL_SECONDS)

    def close(self):
        for connection in self.connections.values():
            connection.close()

    def broke(self, error):
        """The script could not go on: a difference, unless the other side has it too."""
        self.exchanges.append(Exchange("", 0, "the script", None, Outcome(BROKEN, str(error))))

    def _connection(self, on):
        if on not in self.connections:
            self.connections[on] = Connection(self.side.address, SILENCE_SECONDS)
        return self.connections[on]

    def _keep(self, api, version, label, request, outcome):
        self.exchanges.append(Exchange(api, version, label, request, outcome))
        return _answer(outcome)


def _answer(outcome):
    answer = Answer(outcome.body if outcome.kind == ANSWERED else {})
    answer.outcome = outcome
    return answer


def unknown_id(number=0):
    """A topic id that nobody has given out."""
    return uuid.UUID(int=0xD1FF << 112 | 4 << 76 | 2 << 62 | number)
