"""The agent for kafka-python. Takes the bootstrap address."""

import logging
import sys
import time

from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
    __version__,
)
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor

from command_loop import Refused, record, serve, to_bytes

ASSIGNORS = {"range": RangePartitionAssignor, "cooperative": CooperativeStickyAssignor}
ACKS = {"all": "all", "1": 1, "0": 0}
REQUEST_SECONDS = 20


class Events(ConsumerRebalanceListener):
    def __init__(self):
        self.seen = []

    def note(self, kind, partitions):
        self.seen.append([kind, [[at.topic, at.partition] for at in partitions]])

    def on_partitions_assigned(self, assigned):
        self.note("assigned", assigned)

    def on_partitions_revoked(self, revoked):
        self.note("revoked", revoked)

    def on_partitions_lost(self, lost):
        self.note("lost", lost)


class KafkaPythonAgent:
    def __init__(self, bootstrap):
        self.common = {"bootstrap_servers": bootstrap}
        self.admin_client = None
        self.member = None
        self.events = Events()

    @property
    def admin(self):
        if self.admin_client is None:
            self.admin_client = KafkaAdminClient(**self.common)
        return self.admin_client

    @staticmethod
    def code_of(error):
        return getattr(error, "code", None) or getattr(error, "errno", None)

    def version(self):
        return {"version": f"kafka-python {__version__}"}

    def produce(self, topic, records, codec="none", acks="all", idempotent=False,
                max_request=1_048_576, linger_ms=20):
        producer = KafkaProducer(
            **self.common,
            compression_type=None if codec == "none" else codec,
            acks=ACKS[acks],
            enable_idempotence=idempotent,
            max_request_size=max_request,
            linger_ms=linger_ms,
            delivery_timeout_ms=REQUEST_SECONDS * 1000,
            request_timeout_ms=REQUEST_SECONDS * 500,
        )
        try:
            sent = [
                producer.send(
                    topic,
                    key=to_bytes(each["k"]),
                    value=to_bytes(each["v"]),
                    headers=[(name, to_bytes(data)) for name, data in each["h"]],
                    partition=each.get("p"),
                    timestamp_ms=each.get("t"),
                )
                for each in records
            ]
            producer.flush(REQUEST_SECONDS)
            stored = [future.get(REQUEST_SECONDS) for future in sent]
            return {"offsets": [[at.partition, at.offset] for at in stored]}
        finally:
            producer.close(REQUEST_SECONDS)

    def consume(self, topic, starts, count, timeout_ms):
        consumer = KafkaConsumer(
            **self.common, enable_auto_commit=False, auto_offset_reset="none")
        try:
            consumer.assign([TopicPartition(topic, p) for p, _ in starts])
            for p, offset in starts:
                consumer.seek(TopicPartition(topic, p), offset)
            deadline = time.monotonic() + timeout_ms / 1000
            records = []
            while len(records) < count and time.monotonic() < deadline:
                records += self.taken(consumer, count - len(records), 200)
            return {"records": records}
        finally:
            consumer.close()

    @staticmethod
    def taken(consumer, limit, ms):
        polled = consumer.poll(timeout_ms=ms, max_records=limit)
        return [
            record(each.topic, each.partition, each.offset, each.timestamp, each.key,
                   each.value, each.headers)
            for batch in polled.values()
            for each in batch
        ]

    def offsets(self, topic, partitions):
        consumer = KafkaConsumer(**self.common)
        try:
            asked = [TopicPartition(topic, p) for p in range(partitions)]
            earliest, latest = consumer.beginning_offsets(asked), consumer.end_offsets(asked)
            return {"offsets": [[earliest[at], latest[at]] for at in asked]}
        finally:
            consumer.close()

    def offset_for_time(self, topic, partition, t):
        consumer = KafkaConsumer(**self.common)
        try:
            at = TopicPartition(topic, partition)
            found = consumer.offsets_for_times({at: t})[at]
            return {"offset": -1 if found is None else found.offset}
        finally:
            consumer.close()

    def subscribe(self, group, topics, session_ms=6000, instance=None, assignor="range",
                  reset="earliest", fetch_wait_ms=500):
        self.member = KafkaConsumer(
            **self.common,
            group_id=group,
            group_instance_id=instance,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=500,
            partition_assignment_strategy=[ASSIGNORS[assignor]],
            auto_offset_reset=reset,
            enable_auto_commit=False,
            fetch_max_wait_ms=fetch_wait_ms,
            metadata_max_age_ms=1000,
        )
        self.events = Events()
        # Without metadata the first join knows no partition, a second one follows at once, and
        # now and then kafka-python loses its heartbeat between them, on Apache Kafka too.
        for topic in topics:
            self.member.partitions_for_topic(topic)
        self.member.subscribe(topics, listener=self.events)

    def poll(self, ms):
        records = self.taken(self.member, 10_000, ms)
        assigned = [[at.topic, at.partition] for at in self.member.assignment()]
        events, self.events.seen = self.events.seen, []
        return {"assigned": assigned, "records": records, "events": events}

    def commit(self, offsets):
        self.member.commit({
            TopicPartition(topic, p): OffsetAndMetadata(offset, metadata, -1)
            for topic, p, offset, metadata in offsets
        })

    def committed(self, group, topic, partitions):
        consumer = KafkaConsumer(**self.common, group_id=group, enable_auto_commit=False)
        try:
            found = [
                consumer.committed(TopicPartition(topic, p), metadata=True)
                for p in range(partitions)
            ]
            return {"committed": [at and [at.offset, at.metadata] for at in found]}
        finally:
            consumer.close()

    def close(self):
        self.member.close()
        self.member = None

    def init_transactions(self, transactional_id):
        producer = KafkaProducer(**self.common, transactional_id=transactional_id)
        try:
            producer.init_transactions()
        finally:
            producer.close(0)

    def create_topic(self, topic, partitions, configs=None):
        self.admin.create_topics(
            {topic: {"num_partitions": partitions, "configs": configs or {}}},
            timeout_ms=REQUEST_SECONDS * 1000,
        )

    def delete_topic(self, topic):
        self.admin.delete_topics([topic], timeout_ms=REQUEST_SECONDS * 1000)

    def add_partitions(self, topic, partitions):
        self.admin.create_partitions({topic: partitions})

    def delete_records(self, topic, partition, before):
        self.admin.delete_records({TopicPartition(topic, partition): before})

    def topics(self):
        found = self.admin.describe_topics()
        return {"topics": {each["name"]: len(each["partitions"]) for each in found}}

    def groups(self):
        return {"groups": [group["group_id"] for group in self.admin.list_groups()]}

    def describe_group(self, group):
        found = self.admin.describe_groups([group])[group]
        return {"state": found["group_state"], "members": len(found["members"])}

    def delete_group(self, group):
        said = self.admin.delete_groups([group])[group]
        if said != "OK":
            raise Refused(None, said)

    def topic_config(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = self.admin.describe_configs([resource], config_filter="all")
        entries = found["topic"][topic]
        return {"config": {name: entry["value"] for name, entry in entries.items()}}

    def set_topic_config(self, topic, name, value):
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])

    def cluster(self):
        found = self.admin.describe_cluster()
        return {"brokers": len(found["brokers"]), "id": found["cluster_id"]}

    def quit(self):
        if self.member is not None:
            self.close()
        if self.admin_client is not None:
            self.admin_client.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve(KafkaPythonAgent(sys.argv[1]))
