"""Requests made from the schemas: for each API and version a valid one, then one field at a time
at each of its bounds, and bytes that break the format.

What a valid request is, the schemas do not tell; `VALID` says what is sent instead of a default.
"""

import copy
import random
import uuid

from .batches import batch
from .codec import Raw, encode
from .ground import GROUP, TOPIC, first_timestamp
from .schema import LIMITS, ZERO_UUID
from .talk import IdOf, unknown_id

NEW = "<new>"
"""Stands for a name that no other request of the API has."""
OWN_TOPIC = "<own topic>"
"""Stands for a topic that only the requests of one API and version touch."""
UNKNOWN = "<unknown>"
"""Stands for a name that nothing has, unless the requests of this API and version make it."""
LONG_NAME = "n" * 250
BAD_NAME = "not a name!"
# Not sent: what would make a broker wait, or end the life of what others need.
QUICK = {"TimeoutMs": [1000, (1 << 31) - 1], "timeoutMs": [1000, (1 << 31) - 1],
         "MaxWaitMs": [-1, 0, 1],
         "SessionTimeoutMs": [-1, 0, 99, 100, 6000, 1800000, 1800001, (1 << 31) - 1],
         "RebalanceTimeoutMs": [-1, 0, 1, 60000]}


def _fetch(moment):
    return {"ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 1, "MaxBytes": 1 << 20,
            "SessionEpoch": -1, "ForgottenTopicsData": [],
            "Topics[].Partitions[].PartitionMaxBytes": 1 << 20,
            "Topics[].Partitions[].LastFetchedEpoch": -1,
            "Topics[].Partitions[].CurrentLeaderEpoch": -1,
            "Topics[].Partitions[].LogStartOffset": -1}


# By API: fields that are not as the types alone would have them.
VALID = {
    "Produce": lambda moment: {
        "TransactionalId": None, "Acks": 1, "TimeoutMs": 10000,
        "TopicData[].Name": OWN_TOPIC, "TopicData[].TopicId": IdOf(OWN_TOPIC),
        "TopicData[].PartitionData[].Records": batch(2, timestamp=first_timestamp(moment))},
    "Fetch": _fetch,
    "ListOffsets": lambda moment: {
        "ReplicaId": -1, "IsolationLevel": 0, "TimeoutMs": 1000,
        "Topics[].Partitions[].CurrentLeaderEpoch": -1, "Topics[].Partitions[].Timestamp": -1},
    "Metadata": lambda moment: {
        "AllowAutoTopicCreation": False, "Topics[].TopicId": ZERO_UUID},
    "OffsetCommit": lambda moment: {
        "GroupId": NEW, "GenerationIdOrMemberEpoch": -1, "MemberId": "", "GroupInstanceId": None,
        "RetentionTimeMs": -1, "Topics[].Partitions[].CommittedLeaderEpoch": -1},
    "OffsetFetch": lambda moment: {
        "Groups[].MemberId": None, "Groups[].MemberEpoch": -1, "RequireStable": False},
    "FindCoordinator": lambda moment: {
        "Key": GROUP, "KeyType": 0, "CoordinatorKeys": [GROUP]},
    "JoinGroup": lambda moment: {
        "GroupId": NEW, "SessionTimeoutMs": 30000, "RebalanceTimeoutMs": 30000, "MemberId": "",
        "GroupInstanceId": None, "ProtocolType": "consumer", "Reason": None,
        "Protocols[].Name": "range", "Protocols[].Metadata": b"\0\1"},
    "Heartbeat": lambda moment: {"MemberId": "nobody", "GroupInstanceId": None},
    "LeaveGroup": lambda moment: {
        "MemberId": "nobody", "Members[].MemberId": "nobody", "Members[].GroupInstanceId": None,
        "Members[].Reason": None},
    "SyncGroup": lambda moment: {
        "MemberId": "nobody", "GroupInstanceId": None, "ProtocolType": "consumer",
        "ProtocolName": "range", "Assignments[].MemberId": "nobody"},
    "ListGroups": lambda moment: {"StatesFilter": [], "TypesFilter": []},
    "ApiVersions": lambda moment: {
        "ClientSoftwareName": "differential", "ClientSoftwareVersion": "1.0"},
    "CreateTopics": lambda moment: {
        "timeoutMs": 30000, "validateOnly": True, "Topics[].Name": NEW,
        "Topics[].NumPartitions": 1, "Topics[].ReplicationFactor": 1,
        "Topics[].Assignments": [], "Topics[].Configs": []},
    "DeleteTopics": lambda moment: {
        "TimeoutMs": 30000, "Topics[].Name": "no-such-topic", "Topics[].TopicId": ZERO_UUID,
        "TopicNames": ["no-such-topic"]},
    "DeleteRecords": lambda moment: {
        "TimeoutMs": 10000, "Topics[].Name": OWN_TOPIC,
        "Topics[].Partitions[].Offset": 0},
    "InitProducerId": lambda moment: {
        "TransactionalId": None, "TransactionTimeoutMs": 60000, "ProducerId": -1,
        "ProducerEpoch": -1},
    "OffsetForLeaderEpoch": lambda moment: {
        "ReplicaId": -1, "Topics[].Partitions[].CurrentLeaderEpoch": -1,
        "Topics[].Partitions[].LeaderEpoch": 0},
    "DescribeConfigs": lambda moment: {
        "Resources[].ResourceType": 2, "Resources[].ResourceName": TOPIC,
        "Resources[].ConfigurationKeys": None},
    "AlterConfigs": lambda moment: {
        "Resources[].ResourceType": 2, "Resources[].ResourceName": "ground-settings",
        "Resources[].Configs[].Name": "retention.ms", "Resources[].Configs[].Value": "123456",
        "ValidateOnly": True},
    "IncrementalAlterConfigs": lambda moment: {
        "Resources[].ResourceType": 2, "Resources[].ResourceName": "ground-settings",
        "Resources[].Configs[].Name": "retention.ms", "Resources[].Configs[].Value": "123456",
        "Resources[].Configs[].ConfigOperation": 0, "ValidateOnly": True},
    "CreatePartitions": lambda moment: {
        "TimeoutMs": 30000, "ValidateOnly": True, "Topics[].Count": 5,
        "Topics[].Assignments": None},
    "DeleteGroups": lambda moment: {"GroupsNames": ["no-such-group"]},
    "OffsetDelete": lambda moment: {"Topics[].Partitions[].PartitionIndex": 1},
    "DescribeQuorum": lambda moment: {"Topics[].TopicName": "__cluster_metadata"},
    "DescribeCluster": lambda moment: {"EndpointType": 1},
    "DescribeTopicPartitions": lambda moment: {"ResponsePartitionLimit": 2000, "Cursor": None},
    "ListConfigResources": lambda moment: {"ResourceTypes": [2]},
}

# By API and field: bounds besides those of the type.
BOUNDS = {
    ("ListOffsets", "Timestamp"): [-2, -3, -4, -5, -6, -7],
    ("Fetch", "FetchOffset"): [2, 3, 29, 30, 31],
    ("Fetch", "PartitionMaxBytes"): [60, 100, 300],
    ("Fetch", "MaxBytes"): [60, 100, 300],
    ("Fetch", "MinBytes"): [2, 5000],
    ("FindCoordinator", "KeyType"): [2, 3],
    ("DescribeConfigs", "ResourceType"): [2, 4, 8, 16, 32, 64],
    ("AlterConfigs", "ResourceType"): [2, 4, 8, 16, 32, 64],
    ("IncrementalAlterConfigs", "ResourceType"): [2, 4, 8, 16, 32, 64],
    ("IncrementalAlterConfigs", "ConfigOperation"): [2, 3, 4],
    ("DescribeConfigs", "ResourceName"): ["1", "2", "ground-settings", "ground-compact"],
    ("CreateTopics", "Name"): [".", "..", "ground_dotted", "__consumer_offsets", "n" * 249],
    ("CreateTopics", "NumPartitions"): [2, 100],
    ("CreateTopics", "ReplicationFactor"): [2, 3],
    ("CreatePartitions", "Count"): [2, 3],
    ("ListGroups", "StatesFilter"): ["Stable", "Empty", "stable", "Nonsense"],
    ("ListGroups", "TypesFilter"): ["classic", "consumer", "Classic", "nonsense"],
    ("DescribeCluster", "EndpointType"): [2, 3],
    ("OffsetForLeaderEpoch", "LeaderEpoch"): [5],
    ("JoinGroup", "MemberId"): ["nobody"],
    ("JoinGroup", "GroupInstanceId"): ["instance", "in.stance-1_2", "."],
    ("ListConfigResources", "ResourceTypes"): [2, 4, 8, 16, 32, 64],
    ("DeleteTopics", "TopicId"): [IdOf(TOPIC)],
    ("ApiVersions", "ClientSoftwareName"): ["a", "-a", "a-", "a.b-c", "a b"],
    ("ApiVersions", "ClientSoftwareVersion"): ["a", ".1", "1.", "1_0"],
}
# Fields that only followers or brokers of a cluster set.
NOT_VARIED = {("Fetch", "ReplicaId"), ("Fetch", "ReplicaState"), ("Fetch", "ClusterId"),
              ("Fetch", "ReplicaDirectoryId"), ("Fetch", "HighWatermark"),
              ("Fetch", "SessionId"), ("Fetch", "SessionEpoch"),
              ("ListOffsets", "ReplicaId"), ("OffsetForLeaderEpoch", "ReplicaId"),
              ("CreateTopics", "validateOnly"), ("CreatePartitions", "ValidateOnly"),
              ("AlterConfigs", "ValidateOnly"), ("IncrementalAlterConfigs", "ValidateOnly")}
WITH_OWN_TOPIC = {"Produce", "DeleteRecords"}
# Kafka takes text that is not UTF-8 here, and what it does then shows in later answers.
TAKEN_IN_ANY_CODE = {("Produce", "TransactionalId")}
# What stays behind under a name that others ask for would make their answers a matter of timing.
LASTING = {("JoinGroup", "GroupId"), ("OffsetCommit", "GroupId"), ("DescribeGroups", "Groups")}
FULL_SHARE = 0.34
"""How many of the bounds an old version gets; the newest and the first have all of them."""


def run(talk, api_name, version, seed):
    """Sends all that is made for one version of an API."""
    api = talk.side.apis[api_name]
    own = talk.make_topic(talk.own("topic")) if api_name in WITH_OWN_TOPIC else None
    maker = Maker(api, version, talk.moment)
    cases = list(maker.cases())
    if version not in (talk.common[api_name][0], talk.common[api_name][-1]):
        chooser = random.Random(f"{seed} {api_name} {version}")
        cases = [each for each in cases if each[0] == "valid" or chooser.random() < FULL_SHARE]
    for number, (label, body) in enumerate(cases):
        body = _fresh(body, talk.own(number), own, talk.own("unknown"))
        if api_name == "Produce" and body.get("Acks") == 0:
            talk.tell(api_name, version, label, **body)
        else:
            talk.ask(api_name, version, body, label)
    _broken(talk, api, version, _fresh(maker.valid(), talk.own("broken"), own, ""))


def _fresh(value, *names):
    """Puts names in place of those that stand for a new one, the own topic, an unknown one."""
    if isinstance(value, dict):
        return {key: _fresh(each, *names) for key, each in value.items()}
    if isinstance(value, list):
        return [_fresh(each, *names) for each in value]
    if isinstance(value, IdOf):
        return IdOf(_fresh(value.topic, *names))
    given = dict(zip((NEW, OWN_TOPIC, UNKNOWN), names))
    return given.get(value, value) if isinstance(value, str) else value


def _broken(talk, api, version, valid):
    """Bytes that do not follow the schema, and what the format lets stand."""
    flexible = version in api.request.flexible
    data = encode(api.request, version, talk.resolve(valid))
    if data.rstrip(b"\0"):
        _bytes(talk, api, version, data[:-1] if not flexible else data[:-2], "the end is cut off")
    _bytes(talk, api, version, data + b"\0\0\0", "bytes behind the end")
    _bytes(talk, api, version, b"\xff" * len(data), "nothing but ones")
    _bytes(talk, api, version, b"", "no body")
    if flexible:
        talk.ask(api.name, version, {**valid, "_tagged": {91: b"what is this"}},
                 label="an unknown tag")


def _bytes(talk, api, version, data, label):
    talk.ask(api.name, version, data, label)


class Maker:
    """Requests for one version of one API."""

    def __init__(self, api, version, moment):
        self.api, self.version = api, version
        self.special = VALID.get(api.name, lambda moment: {})(moment)

    def valid(self):
        return self._struct(self.api.request.fields, "")

    def cases(self):
        """Pairs of a label and a request."""
        yield "valid", self.valid()
        yield "nothing but defaults", {}
        yield from self._varied(self.api.request.fields, (), "")

    def _struct(self, fields, path):
        return {field.name: self._value(field, f"{path}{field.name}")
                for field in fields if self._is_written(field)}

    def _is_written(self, field):
        return self.version in field.versions and not (
            self.version in field.tagged and self.version in self.api.request.flexible)

    def _value(self, field, path):
        if path in self.special:
            return copy.deepcopy(self.special[path])
        if field.is_array:
            if field.fields:
                return [self._struct(field.fields, f"{path}[].")]
            return [self._plain(field)]
        if field.fields:
            return self._struct(field.fields, f"{path}.")
        return self._plain(field)

    def _plain(self, field):
        if field.entity == "topicName" or field.name in ("TopicName", "TopicNames"):
            return TOPIC
        if field.entity == "groupId" or field.name in ("Groups", "GroupId"):
            return GROUP
        if field.type == "uuid":
            return IdOf(TOPIC)
        if field.entity == "brokerId":
            return 1
        return field.default if not field.is_array else field.element().default

    def _varied(self, fields, place, path):
        for field in fields:
            if not self._is_written(field) or (self.api.name, field.name) in NOT_VARIED:
                continue
            inner = f"{path}{field.name}"
            for text, value in self._bounds(field, inner):
                yield f"{inner} = {text}", self._with((*place, field.name), value)
            if field.fields:
                step = (field.name, 0) if field.is_array else (field.name,)
                here = self._value(field, inner)
                if here or not field.is_array and here is not None:
                    yield from self._varied(
                        field.fields, (*place, *step), f"{inner}[]." if field.is_array
                        else f"{inner}.")

    def _with(self, place, value):
        body = self.valid()
        target = body
        for step in place[:-1]:
            target = target[step]
        target[place[-1]] = value
        return body

    def _bounds(self, field, path):
        flexible = self.version in self.api.request.flexible
        if field.is_array:
            yield "[]", []
            if self.version in field.nullable:
                yield "null", None
            else:
                yield "null, not allowed", Raw(b"\0" if flexible else b"\xff" * 4)
            yield "a million", Raw(b"\xc1\x84\x3d" if flexible else b"\x00\x0f\x42\x40")
            one = self._value(field, path)
            if one:
                yield "twice", [one[0], copy.deepcopy(one[0])]
            if not field.fields:
                for text, value in self._plain_bounds(field.element(), flexible):
                    yield f"[{text}]", [value]
        elif not field.fields:
            yield from self._plain_bounds(field, flexible)
        elif self.version in field.nullable:
            yield "null", None
            yield "all default", {}

    def _plain_bounds(self, field, flexible):
        seen = []
        for text, value in self._all_bounds(field, flexible):
            if value not in seen:
                seen.append(value)
                yield text, value

    def _all_bounds(self, field, flexible):
        for value in BOUNDS.get((self.api.name, field.name), ()):
            yield repr(value)[:40], value
        if field.type in LIMITS:
            values = QUICK.get(field.name, [-1, 0, 1, *LIMITS[field.type]])
            for value in values:
                yield str(value), value
        elif field.type == "bool":
            yield "false", False
            yield "true", True
        elif field.type == "uuid":
            yield "zero", ZERO_UUID
            yield "unknown", unknown_id()
            yield "reserved", uuid.UUID(int=1)
        elif field.type == "string":
            yield "unknown", UNKNOWN
            if (self.api.name, field.name) in LASTING:
                return
            yield "empty", ""
            yield "bad", BAD_NAME
            yield "long", LONG_NAME
            yield "umlaut", "käse"
            if (self.api.name, field.name) not in TAKEN_IN_ANY_CODE:
                yield "no UTF-8", "\udcff\udcfe"
            yield from self._null(field, flexible, b"\xff\xff")
        elif field.type in ("bytes", "records"):
            yield "empty", b""
            yield "nonsense", b"\1\2\3"
            yield from self._null(field, flexible, b"\xff" * 4)
            if field.type == "records":
                for name, value in _records():
                    yield name, value

    def _null(self, field, flexible, inflexible):
        if self.version in field.nullable:
            yield "null", None
        else:
            yield "null, not allowed", Raw(b"\0" if flexible else inflexible)


def _records():
    whole = batch(1)
    yield "cut in the header", whole[:40]
    yield "cut in the records", whole[:-1]
    yield "zeros", b"\0" * 100
