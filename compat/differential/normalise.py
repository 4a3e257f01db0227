"""What may differ between two brokers that do the same, and is replaced before comparing.

The table is the whole list. Everything that it does not name is compared as it is.
"""

import dataclasses
import fnmatch
import re

from .batches import take_apart
from .codec import Unreadable
from .ground import PREFIX
from .schema import ZERO_UUID



@dataclasses.dataclass(frozen=True)
class Symbol:
    """A value that a broker chose: it must be the same where the other's is the same."""

    kind: str
    value: object
    prefix: str = ""

    def __str__(self):
        return f"{self.prefix}<{self.kind}>"


MEMBER_ID = re.compile(r"^(.*-)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
FIRST_LITERAL_PRODUCER_ID = 900_000
CLOCK_SLACK_MS = 5_000


class Normaliser:
    """The eyes for one script's answers from one broker."""

    def __init__(self, talk, end_ms):
        self.talk = talk
        self.end_ms = end_ms
        self.names_by_id = {each: name for name, each in talk.side.topic_ids.items()}

    def answer(self, exchange):
        api = self.talk.side.apis[exchange.api]
        return self._struct(exchange, api.response.fields, exchange.outcome.body, "")

    def _struct(self, exchange, fields, value, path):
        by_name = {each.name: each for each in fields}
        out = {}
        for name, each in value.items():
            if name not in by_name:
                out[name] = each
                continue
            inner = f"{path}.{name}" if path else name
            out[name] = self._field(exchange, by_name[name], each, inner)
        return out

    def _field(self, exchange, field, value, path):
        for rule in RULES:
            if rule.matches(exchange.api, path):
                value = rule.action(self, exchange, value)
        if field.is_array and isinstance(value, list):
            if field.fields:
                return [self._struct(exchange, field.fields, each, f"{path}[]") for each in value]
            return [self._plain(each) for each in value]
        if field.fields and isinstance(value, dict):
            return self._struct(exchange, field.fields, value, path)
        if field.type == "records" and value:
            return self._records(exchange, value, path)
        return self._plain(value)

    def _records(self, exchange, value, path):
        try:
            batches = take_apart(value)
        except (Unreadable, OSError) as wrong:
            return f"no batches: {wrong}"
        for each in batches:
            each["ProducerId"] = _producer_id(self, exchange, each["ProducerId"])
            each["MaxTimestamp"] = _time(self, exchange, each["MaxTimestamp"])
            each["BaseTimestamp"] = _time(self, exchange, each["BaseTimestamp"])
        return batches

    def _plain(self, value):
        if isinstance(value, bytes):
            return value.hex()
        plain = value is None or isinstance(value, (bool, int, float, str, Symbol))
        return value if plain else str(value)


class Rule:
    def __init__(self, api, path, action, why):
        self.api, self.path, self.action, self.why = api, path, action, why
        self.known = {}

    def matches(self, api, path):
        found = self.known.get((api, path))
        if found is None:
            pattern = re.sub(r"\[\]", "[[]]", self.path)
            found = fnmatch.fnmatchcase(api, self.api) and (
                fnmatch.fnmatchcase(path, pattern)
                or fnmatch.fnmatchcase(path.rsplit(".", 1)[-1], pattern))
            self.known[(api, path)] = found
        return found


def _any(eyes, exchange, value):
    return "<any>"


def _host(eyes, exchange, value):
    return "<host>" if value == eyes.talk.side.address[0] else value


def _port(eyes, exchange, value):
    return "<port>" if value == eyes.talk.side.address[1] else value


def _text(eyes, exchange, value):
    return "<text>" if value else value


def _cluster(eyes, exchange, value):
    return "<cluster>" if value else value


def _topic_id(eyes, exchange, value):
    if not hasattr(value, "bytes") or value == ZERO_UUID:
        return value
    if value in eyes.names_by_id:
        return f"<id of {eyes.names_by_id[value]}>"
    return str(value) if value.bytes[:2] == b"\xd1\xff" else Symbol("topic id", value)


def _directory(eyes, exchange, value):
    return value if value == ZERO_UUID else Symbol("directory", value)


def _member_id(eyes, exchange, value):
    found = MEMBER_ID.match(value) if isinstance(value, str) else None
    return Symbol("member", value, found[1]) if found else value


def _producer_id(eyes, exchange, value):
    if not isinstance(value, int) or not 0 <= value < FIRST_LITERAL_PRODUCER_ID:
        return value
    return Symbol("producer", value)


def _session(eyes, exchange, value):
    return Symbol("session", value) if value else value


def _time(eyes, exchange, value):
    began = eyes.talk.moment - CLOCK_SLACK_MS
    is_now = isinstance(value, int) and began <= value <= eyes.end_ms + CLOCK_SLACK_MS
    return "<now>" if is_now else value


def _own(key):
    """Only what stands on the ground, or what was asked for: others work at the same time."""
    def keep(eyes, exchange, value):
        if not isinstance(value, list):
            return value
        mine = (PREFIX, "__consumer_offsets") if exchange.api != "DescribeLogDirs" else (PREFIX,)
        if isinstance(exchange.request, dict) and exchange.request.get("Topics"):
            mine += (f"{eyes.talk.name}-",)
        return [each for each in value if (each[key] or PREFIX).startswith(mine)]
    return keep


RULES = [
    Rule("*", "ThrottleTimeMs", _any, "quotas are off, but Kafka may mention a connection's"),
    Rule("*", "Host", _host, "each has its own"),
    Rule("*", "Port", _port, "each has its own"),
    Rule("DescribeGroups", "ClientHost", _text, "how a client's address is written is free"),
    Rule("*", "ClusterId", _cluster, "each has its own"),
    Rule("*", "ErrorMessage", _text, "that there is a message counts, not its words"),
    Rule("*", "BatchIndexErrorMessage", _text, "as ErrorMessage"),
    Rule("DescribeConfigs", "Documentation", _text, "Millstream describes keys in its own words"),
    Rule("*", "TopicId", _topic_id, "drawn by chance"),
    Rule("*", "MemberId", _member_id, "the client's name and a UUID"),
    Rule("JoinGroup", "Leader", _member_id, "the same member ids"),
    Rule("*", "ProducerId", _producer_id, "given out in blocks"),
    Rule("Fetch", "SessionId", _session, "drawn by chance"),
    Rule("*", "*Timestamp", _time, "the time of the run; others are set by the scripts"),
    Rule("*", "*TimeMs", _time, "the time of the run; others are set by the scripts"),
    Rule("Metadata", "Topics", _own("Name"), "other scripts make topics meanwhile"),
    Rule("ListGroups", "Groups", _own("GroupId"), "other scripts make groups meanwhile"),
    Rule("DescribeTopicPartitions", "Topics", _own("Name"), "as Metadata"),
    Rule("DescribeLogDirs", "Results[].Topics", _own("Name"), "as Metadata"),
    Rule("ListConfigResources", "ConfigResources", _own("ResourceName"), "as Metadata"),
    Rule("ApiVersions", "FinalizedFeaturesEpoch", _any, "how often metadata changed"),
    Rule("DescribeQuorum", "HighWatermark", _any, "each has a log of metadata of its own"),
    Rule("DescribeQuorum", "LogEndOffset", _any, "as HighWatermark"),
    Rule("DescribeQuorum", "LeaderEpoch", _any, "as HighWatermark"),
    Rule("*", "*DirectoryId", _directory, "drawn by chance"),
    Rule("DescribeLogDirs", "LogDir", _any, "each has its own folder"),
    Rule("DescribeLogDirs", "UsableBytes", _any, "the disk is used meanwhile"),
]

# Arrays that have no order of their own, and what tells their elements apart: one field, some
# together, or the first that is set.
KEYED = {
    ("ApiVersions", "ApiKeys"): "ApiKey",
    ("ApiVersions", "SupportedFeatures"): "Name",
    ("ApiVersions", "FinalizedFeatures"): "Name",
    ("Metadata", "Topics"): "Name or TopicId",
    ("Metadata", "Topics[].Partitions"): "PartitionIndex",
    ("Metadata", "Brokers"): "NodeId",
    ("DescribeCluster", "Brokers"): "BrokerId",
    ("CreateTopics", "Topics"): "Name",
    ("CreateTopics", "Topics[].Configs"): "Name",
    ("DeleteTopics", "Responses"): ("Name", "TopicId"),
    ("CreatePartitions", "Results"): "Name",
    ("DescribeConfigs", "Results"): ("ResourceType", "ResourceName"),
    ("DescribeConfigs", "Results[].Configs"): "Name",
    ("IncrementalAlterConfigs", "Responses"): ("ResourceType", "ResourceName"),
    ("AlterConfigs", "Responses"): ("ResourceType", "ResourceName"),
    ("ListGroups", "Groups"): "GroupId",
    ("DescribeGroups", "Groups[].Members"): "MemberId",
    ("DescribeGroups", "Groups"): "GroupId",
    ("JoinGroup", "Members"): "MemberId",
    ("OffsetFetch", "Topics"): ("Name", "TopicId"),
    ("OffsetFetch", "Topics[].Partitions"): "PartitionIndex",
    ("OffsetFetch", "Groups"): "GroupId",
    ("OffsetFetch", "Groups[].Topics"): ("Name", "TopicId"),
    ("OffsetFetch", "Groups[].Topics[].Partitions"): "PartitionIndex",
    ("OffsetCommit", "Topics"): ("Name", "TopicId"),
    ("OffsetCommit", "Topics[].Partitions"): "PartitionIndex",
    ("OffsetForLeaderEpoch", "Topics"): "Topic",
    ("OffsetForLeaderEpoch", "Topics[].Partitions"): "Partition",
    ("ListOffsets", "Topics"): "Name",
    ("ListOffsets", "Topics[].Partitions"): "PartitionIndex",
    ("Fetch", "Responses"): ("Topic", "TopicId"),
    ("Fetch", "Responses[].Partitions"): "PartitionIndex",
    ("Produce", "Responses"): ("Name", "TopicId"),
    ("Produce", "Responses[].PartitionResponses"): "Index",
    ("DeleteGroups", "Results"): "GroupId",
    ("DeleteRecords", "Topics"): "Name",
    ("DeleteRecords", "Topics[].Partitions"): "PartitionIndex",
    ("DescribeLogDirs", "Results[].Topics"): "Name",
    ("DescribeLogDirs", "Results[].Topics[].Partitions"): "PartitionIndex",
    ("DescribeProducers", "Topics[].Partitions[].ActiveProducers"): "ProducerId",
    ("ListConfigResources", "ConfigResources"): ("ResourceType", "ResourceName"),
    ("OffsetDelete", "Topics"): "Name",
    ("OffsetDelete", "Topics[].Partitions"): "PartitionIndex",
}
