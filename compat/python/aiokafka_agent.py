"""The agent for aiokafka. Takes the bootstrap address.

The event loop runs in a thread of its own, so that heartbeats go on between commands.
"""

import asyncio
import logging
import sys
import threading
import time

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
    __version__,
)
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import OffsetAndMetadata

from command_loop import Refused, record, serve, to_bytes

ACKS = {"all": "all", "1": 1, "0": 0}
REQUEST_SECONDS = 20


class Events(ConsumerRebalanceListener):
    def __init__(self):
        self.seen = []

    def note(self, kind, partitions):
        self.seen.append([kind, [[at.topic, at.partition] for at in partitions]])

    async def on_partitions_assigned(self, assigned):
        self.note("assigned", assigned)

    async def on_partitions_revoked(self, revoked):
        self.note("revoked", revoked)


def accepted(code, text):
    if code:
        raise Refused(code, text)


class AioKafkaAgent:
    def __init__(self, bootstrap):
        self.common = {"bootstrap_servers": bootstrap}
        self.admin_client = None
        self.member = None
        self.joining = None
        self.taking = None
        self.events = Events()

    @staticmethod
    def code_of(error):
        return getattr(error, "code", None) or getattr(error, "errno", None)

    async def admin(self):
        if self.admin_client is None:
            self.admin_client = AIOKafkaAdminClient(
                **self.common, request_timeout_ms=REQUEST_SECONDS * 1000)
            await self.admin_client.start()
        return self.admin_client

    async def version(self):
        return {"version": f"aiokafka {__version__}"}

    async def produce(self, topic, records, codec="none", acks="all", idempotent=False,
                      max_request=1_048_576, linger_ms=20):
        producer = AIOKafkaProducer(
            **self.common,
            compression_type=None if codec == "none" else codec,
            acks=ACKS[acks],
            enable_idempotence=idempotent,
            max_request_size=max_request,
            linger_ms=linger_ms,
            request_timeout_ms=REQUEST_SECONDS * 1000,
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic,
                    key=to_bytes(each["k"]),
                    value=to_bytes(each["v"]),
                    headers=[(name, to_bytes(data)) for name, data in each["h"]],
                    partition=each.get("p"),
                    timestamp_ms=each.get("t"),
                )
                for each in records
            ]
            stored = await asyncio.gather(*sent)
        finally:
            await producer.stop()
        # Without acknowledgement there is nothing to tell.
        return {"offsets": [[at.partition, at.offset] for at in stored if at is not None]}

    async def consume(self, topic, starts, count, timeout_ms):
        consumer = AIOKafkaConsumer(
            **self.common, enable_auto_commit=False, auto_offset_reset="none")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, p) for p, _ in starts])
            for p, offset in starts:
                consumer.seek(TopicPartition(topic, p), offset)
            deadline = time.monotonic() + timeout_ms / 1000
            records = []
            while len(records) < count and time.monotonic() < deadline:
                records += await self.taken(consumer, count - len(records), 200)
            return {"records": records}
        finally:
            await consumer.stop()

    @staticmethod
    async def taken(consumer, limit, ms):
        polled = await consumer.getmany(timeout_ms=ms, max_records=limit)
        return [
            record(each.topic, each.partition, each.offset, each.timestamp, each.key,
                   each.value, each.headers)
            for batch in polled.values()
            for each in batch
        ]

    async def asking(self, ask):
        """What `ask` finds with a consumer of its own."""
        consumer = AIOKafkaConsumer(**self.common)
        await consumer.start()
        try:
            return await ask(consumer)
        finally:
            await consumer.stop()

    async def offsets(self, topic, partitions):
        asked = [TopicPartition(topic, p) for p in range(partitions)]

        async def ask(consumer):
            return await consumer.beginning_offsets(asked), await consumer.end_offsets(asked)
        earliest, latest = await self.asking(ask)
        return {"offsets": [[earliest[at], latest[at]] for at in asked]}

    async def offset_for_time(self, topic, partition, t):
        at = TopicPartition(topic, partition)
        found = (await self.asking(lambda consumer: consumer.offsets_for_times({at: t})))[at]
        return {"offset": -1 if found is None else found.offset}

    async def subscribe(self, group, topics, session_ms=6000, instance=None, assignor="range",
                        reset="earliest", fetch_wait_ms=500):
        assert assignor == "range", "aiokafka has no cooperative assignor"
        self.member = AIOKafkaConsumer(
            **self.common,
            group_id=group,
            group_instance_id=instance,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=500,
            partition_assignment_strategy=[RangePartitionAssignor],
            auto_offset_reset=reset,
            enable_auto_commit=False,
            fetch_max_wait_ms=fetch_wait_ms,
            metadata_max_age_ms=1000,
        )
        self.events = Events()
        self.member.subscribe(topics, listener=self.events)
        # It has started when it has joined, for which another member may have to poll.
        self.joining = asyncio.create_task(self.member.start())

    async def poll(self, ms):
        if self.taking is None:
            self.taking = asyncio.create_task(self.take(ms))
        # It also waits, for as long as it takes, while the group is rebalanced.
        done, _ = await asyncio.wait([self.taking], timeout=ms / 1000)
        records = []
        if done:
            taken, self.taking = self.taking, None
            records = taken.result()
        assigned = [[at.topic, at.partition] for at in self.member.assignment()]
        events, self.events.seen = self.events.seen, []
        return {"assigned": assigned, "records": records, "events": events}

    async def take(self, ms):
        await self.joining
        return await self.taken(self.member, 10_000, ms)

    async def commit(self, offsets):
        await self.member.commit({
            TopicPartition(topic, p): OffsetAndMetadata(offset, metadata)
            for topic, p, offset, metadata in offsets
        })

    async def committed(self, group, topic, partitions):
        admin = await self.admin()
        asked = [TopicPartition(topic, p) for p in range(partitions)]
        found = await admin.list_consumer_group_offsets(group, partitions=asked)
        return {"committed": [
            None if found[at].offset < 0 else [found[at].offset, found[at].metadata]
            for at in asked
        ]}

    async def close(self):
        for task in filter(None, (self.joining, self.taking)):
            task.cancel()
            await asyncio.wait([task])
        self.taking = None
        await self.member.stop()
        self.member = None

    async def init_transactions(self, transactional_id):
        producer = AIOKafkaProducer(**self.common, transactional_id=transactional_id)
        try:
            await producer.start()
        finally:
            await producer.stop()

    async def create_topic(self, topic, partitions, configs=None):
        created = NewTopic(topic, partitions, 1, topic_configs=configs or {})
        answer = await (await self.admin()).create_topics([created])
        for _, code, text in answer.topic_errors:
            accepted(code, text)

    async def delete_topic(self, topic):
        answer = await (await self.admin()).delete_topics([topic])
        for name, code in answer.topic_error_codes:
            accepted(code, name)

    async def add_partitions(self, topic, partitions):
        await (await self.admin()).create_partitions({topic: NewPartitions(partitions)})

    async def delete_records(self, topic, partition, before):
        at = TopicPartition(topic, partition)
        await (await self.admin()).delete_records({at: RecordsToDelete(before)})

    async def topics(self):
        found = await (await self.admin()).describe_topics()
        return {"topics": {each["topic"]: len(each["partitions"]) for each in found}}

    async def groups(self):
        listed = await (await self.admin()).list_consumer_groups()
        return {"groups": [group[0] for group in listed]}

    async def describe_group(self, group):
        [answer] = await (await self.admin()).describe_consumer_groups([group])
        code, _, state, _, _, members, *_ = answer.groups[0]
        accepted(code, group)
        return {"state": state, "members": len(members)}

    async def topic_config(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        [answer] = await (await self.admin()).describe_configs([resource])
        code, text, _, _, entries = answer.resources[0]
        accepted(code, text)
        return {"config": {entry[0]: entry[1] for entry in entries}}

    async def set_topic_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
        for answer in await (await self.admin()).alter_configs([resource]):
            for code, text, *_ in answer.resources:
                accepted(code, text)

    async def cluster(self):
        found = await (await self.admin()).describe_cluster()
        return {"brokers": len(found["brokers"]), "id": found["cluster_id"]}

    async def quit(self):
        if self.member is not None:
            await self.close()
        if self.admin_client is not None:
            await self.admin_client.close()


class InThread:
    """Runs the agent's commands, which are coroutines, in the thread of the loop."""

    def __init__(self, bootstrap):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.agent = AioKafkaAgent(bootstrap)
        self.code_of = self.agent.code_of

    def __getattr__(self, name):
        command = getattr(self.agent, name)

        def run(**fields):
            return asyncio.run_coroutine_threadsafe(command(**fields), self.loop).result()
        return run


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve(InThread(sys.argv[1]))
