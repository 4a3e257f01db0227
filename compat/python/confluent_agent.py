"""The agent for librdkafka, through confluent-kafka. Takes the bootstrap address."""

import sys
import time

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
    libversion,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from command_loop import Refused, record, serve, to_bytes

ASSIGNORS = {"range": "range", "cooperative": "cooperative-sticky"}
REQUEST_SECONDS = 20
NO_LEADER_YET = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
)


def refused(error):
    return Refused(error.code(), error.str())


class ConfluentAgent:
    def __init__(self, bootstrap):
        self.common = {"bootstrap.servers": bootstrap, "log_level": 3}
        self.admin = AdminClient(self.common)
        self.member = None
        self.events = []

    @staticmethod
    def code_of(error):
        if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
            return error.args[0].code()
        return getattr(error, "code", None)

    def version(self):
        return {"version": f"librdkafka {libversion()[0]}"}

    def produce(self, topic, records, codec="none", acks="all", idempotent=False,
                max_request=1_000_000, linger_ms=20):
        producer = Producer({
            **self.common,
            "compression.type": codec,
            "acks": acks,
            "enable.idempotence": idempotent,
            "message.max.bytes": max_request,
            "linger.ms": linger_ms,
            "message.timeout.ms": REQUEST_SECONDS * 1000,
        })
        offsets = [None] * len(records)
        errors = []

        def delivered(index):
            def note(error, message):
                if error is not None:
                    errors.append(error)
                else:
                    offsets[index] = [message.partition(), message.offset()]
            return note

        for index, sent in enumerate(records):
            optional = {}
            if sent.get("p") is not None:
                optional["partition"] = sent["p"]
            if sent.get("t") is not None:
                optional["timestamp"] = sent["t"]
            producer.produce(
                topic,
                key=to_bytes(sent["k"]),
                value=to_bytes(sent["v"]),
                headers=[(name, to_bytes(data)) for name, data in sent["h"]],
                on_delivery=delivered(index),
                **optional,
            )
            producer.poll(0)
        producer.flush(REQUEST_SECONDS)
        if errors:
            raise refused(errors[0])
        return {"offsets": offsets}

    def consume(self, topic, starts, count, timeout_ms):
        consumer = Consumer({
            **self.common,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        })
        try:
            consumer.assign([TopicPartition(topic, p, offset) for p, offset in starts])
            deadline = time.monotonic() + timeout_ms / 1000
            records = []
            while len(records) < count and time.monotonic() < deadline:
                records += self.taken(consumer, count - len(records), 0.2)
            return {"records": records}
        finally:
            consumer.close()

    def taken(self, consumer, limit, seconds):
        # `consume` alone would wait for all it was asked for: wait for one, take what is there.
        first = consumer.poll(seconds)
        ready = [] if first is None else [first, *consumer.consume(limit - 1, 0)]
        taken = []
        for message in ready:
            if message.error():
                raise refused(message.error())
            taken.append(record(message.topic(), message.partition(), message.offset(),
                                message.timestamp()[1], message.key(), message.value(),
                                message.headers()))
        return taken

    def offsets(self, topic, partitions):
        asked = [TopicPartition(topic, p) for p in range(partitions)]
        earliest = self.listed(asked, OffsetSpec.earliest())
        latest = self.listed(asked, OffsetSpec.latest())
        return {"offsets": [[earliest[p], latest[p]] for p in range(partitions)]}

    def offset_for_time(self, topic, partition, t):
        asked = [TopicPartition(topic, partition)]
        return {"offset": self.listed(asked, OffsetSpec.for_timestamp(t))[partition]}

    def listed(self, asked, spec):
        """librdkafka does not ask again by itself while a new topic has no leader yet."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            answers = self.admin.list_offsets(
                dict.fromkeys(asked, spec), request_timeout=REQUEST_SECONDS)
            try:
                return {at.partition: future.result().offset for at, future in answers.items()}
            except KafkaException as error:
                if error.args[0].code() not in NO_LEADER_YET or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def subscribe(self, group, topics, session_ms=6000, instance=None, assignor="range",
                  reset="earliest", fetch_wait_ms=500):
        settings = {
            **self.common,
            "group.id": group,
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": ASSIGNORS[assignor],
            "auto.offset.reset": reset,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": fetch_wait_ms,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        if instance is not None:
            settings["group.instance.id"] = instance
        self.member = Consumer(settings)
        self.events = []
        self.member.subscribe(topics, on_assign=self.noted("assigned"),
                              on_revoke=self.noted("revoked"), on_lost=self.noted("lost"))

    def noted(self, kind):
        def note(_, partitions):
            self.events.append([kind, [[at.topic, at.partition] for at in partitions]])
        return note

    def poll(self, ms):
        records = self.taken(self.member, 10_000, ms / 1000)
        assigned = [[at.topic, at.partition] for at in self.member.assignment()]
        events, self.events = self.events, []
        return {"assigned": assigned, "records": records, "events": events}

    def commit(self, offsets):
        self.member.commit(
            offsets=[TopicPartition(topic, p, offset, metadata=metadata)
                     for topic, p, offset, metadata in offsets],
            asynchronous=False,
        )

    def committed(self, group, topic, partitions):
        asked = ConsumerGroupTopicPartitions(
            group, [TopicPartition(topic, p) for p in range(partitions)])
        answer = self.admin.list_consumer_group_offsets([asked])[group].result()
        found = [None] * partitions
        for at in answer.topic_partitions:
            if at.error:
                raise refused(at.error)
            if at.offset >= 0:
                found[at.partition] = [at.offset, at.metadata or ""]
        return {"committed": found}

    def close(self):
        self.member.close()
        self.member = None

    def init_transactions(self, transactional_id):
        Producer({**self.common, "transactional.id": transactional_id}).init_transactions(
            REQUEST_SECONDS)

    def create_topic(self, topic, partitions, configs=None):
        created = NewTopic(topic, partitions, 1, config=configs or {})
        self.admin.create_topics([created], operation_timeout=REQUEST_SECONDS)[topic].result()

    def delete_topic(self, topic):
        self.admin.delete_topics([topic], operation_timeout=REQUEST_SECONDS)[topic].result()

    def add_partitions(self, topic, partitions):
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()

    def delete_records(self, topic, partition, before):
        [future] = self.admin.delete_records([TopicPartition(topic, partition, before)]).values()
        future.result()

    def topics(self):
        listed = self.admin.list_topics(timeout=REQUEST_SECONDS).topics
        return {"topics": {name: len(topic.partitions) for name, topic in listed.items()}}

    def groups(self):
        listed = self.admin.list_consumer_groups().result()
        return {"groups": [group.group_id for group in listed.valid]}

    def describe_group(self, group):
        found = self.admin.describe_consumer_groups([group])[group].result()
        return {"state": found.state.name.title().replace("_", ""),
                "members": len(found.members)}

    def delete_group(self, group):
        self.admin.delete_consumer_groups([group])[group].result()

    def topic_config(self, topic):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        found = self.admin.describe_configs([resource])[resource].result()
        return {"config": {name: entry.value for name, entry in found.items()}}

    def set_topic_config(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result()

    def cluster(self):
        found = self.admin.describe_cluster().result()
        return {"brokers": len(found.nodes), "id": found.cluster_id}

    def quit(self):
        if self.member is not None:
            self.close()


if __name__ == "__main__":
    serve(ConfluentAgent(sys.argv[1]))
