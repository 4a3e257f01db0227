"""Raw batches to and from a broker, and what their headers say."""

import struct
import time

from differential.batches import HEADER, HEADER_SIZE
from differential.wire import ANSWERED, Connection

SECONDS = 20
PRODUCE, FETCH, DELETE_RECORDS = 8, 11, 1
INVALID_RECORD = 87
CONTROL, DELETE_HORIZON, LOG_APPEND_TIME = 0x20, 0x40, 0x08


class Wire:
    """One connection, for requests that no client library would send."""

    def __init__(self, bootstrap, apis):
        host, port = bootstrap.rsplit(":", 1)
        self.connection = Connection((host, int(port)), SECONDS)
        self.apis = apis

    def close(self):
        self.connection.close()

    def ask(self, api, version, **fields):
        outcome = self.connection.ask(self.apis[api], version, fields)
        assert outcome.kind == ANSWERED, f"{api}: {outcome}"
        return outcome.body

    def produce(self, topic, batch):
        """Appends a batch as it is, once the topic takes records without keys; its base offset."""
        # What a broker gave it is taken off, as no client sends it.
        batch = struct.pack(">q", 0) + batch[8:12] + struct.pack(">i", -1) + batch[16:]
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self.ask("Produce", PRODUCE, TransactionalId=None, Acks=-1, TimeoutMs=10000,
                              TopicData=[{"Name": topic, "PartitionData": [
                                  {"Index": 0, "Records": batch}]}])
            told = answer["Responses"][0]["PartitionResponses"][0]
            if told["ErrorCode"] != INVALID_RECORD or time.monotonic() > deadline:
                assert told["ErrorCode"] == 0, f"{self.connection.address}: {told}"
                return told["BaseOffset"]
            time.sleep(0.02)

    def fetch(self, topic, start):
        """All batches from an offset on, each as its bytes."""
        batches, offset = [], start
        while True:
            answer = self.ask(
                "Fetch", FETCH, ReplicaId=-1, MaxWaitMs=0, MinBytes=0, MaxBytes=50 << 20,
                IsolationLevel=0, SessionId=0, SessionEpoch=-1, ForgottenTopicsData=[], RackId="",
                Topics=[{"Topic": topic, "Partitions": [
                    {"Partition": 0, "CurrentLeaderEpoch": -1, "FetchOffset": offset,
                     "LogStartOffset": -1, "PartitionMaxBytes": 4 << 20}]}])
            told = answer["Responses"][0]["Partitions"][0]
            assert told["ErrorCode"] == 0, told
            found = split(told["Records"] or b"")
            batches += found
            if not found:
                assert offset >= told["HighWatermark"], f"nothing at {offset}: {told}"
                return batches
            offset = header(found[-1])["next"]

    def delete_records(self, topic, offset):
        answer = self.ask("DeleteRecords", DELETE_RECORDS, TimeoutMs=10000, Topics=[
            {"Name": topic, "Partitions": [{"PartitionIndex": 0, "Offset": offset}]}])
        told = answer["Topics"][0]["Partitions"][0]
        assert told["ErrorCode"] == 0, told
        return told["LowWatermark"]


def split(data):
    """The whole batches of an answer."""
    found, position = [], 0
    while len(data) - position >= HEADER_SIZE:
        size = struct.unpack_from(">i", data, position + 8)[0] + 12
        if position + size > len(data):
            break
        found.append(data[position:position + size])
        position += size
    return found


def header(batch):
    """What a batch says of itself, by names; without what depends on compression and on when."""
    (base, _, epoch, _, _, attributes, delta, first, last, producer, producer_epoch, sequence,
     count) = struct.unpack_from(HEADER, batch)
    return {
        "base": base, "next": base + delta + 1, "attributes": attributes,
        # With a delete horizon this is the moment of the compaction.
        "first_time": None if attributes & DELETE_HORIZON else first,
        "last_time": last, "producer": producer, "producer_epoch": producer_epoch,
        "sequence": sequence, "count": count,
    }
