"""The agent that reads what a crashed broker kept: numbers of records instead of their bytes."""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from command_loop import Refused, serve
from payload import number_of

REQUEST_SECONDS = 20
AT_ONCE = 10_000
# Errors of librdkafka's own: no broker has said any of them.
NOT_BACK_YET = (
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError._TIMED_OUT,
    KafkaError._UNKNOWN_PARTITION,
)
# What a Kafka says that serves already and does not lead or coordinate yet.
NOT_LEADING_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


class CrashReader:
    def __init__(self, bootstrap, broker):
        self.passing = NOT_BACK_YET + (NOT_LEADING_YET if broker == "kafka" else ())
        self.common = {
            "bootstrap.servers": bootstrap,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
        }
        self.consumer = self.member_of("crash-reader")
        self.groups = {}

    def member_of(self, group):
        """A consumer that asks about a group; it never joins."""
        return Consumer({
            **self.common,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
        })

    @staticmethod
    def code_of(error):
        return getattr(error, "code", None)

    def create(self, topic, partitions):
        admin = AdminClient(self.common)
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(REQUEST_SECONDS)

    def ends(self, topic, partitions):
        return {"ends": [self.asked(lambda p=partition: self.consumer.get_watermark_offsets(
            TopicPartition(topic, p), REQUEST_SECONDS)[1]) for partition in range(partitions)]}

    def read(self, topic, starts, ends):
        """Numbers of the records of each partition from its start to its end."""
        numbers = [[] for _ in starts]
        wanted = [TopicPartition(topic, p, start)
                  for p, (start, end) in enumerate(zip(starts, ends)) if start < end]
        missing = sum(end - start for start, end in zip(starts, ends) if start < end)
        self.consumer.assign(wanted)
        deadline = time.monotonic() + REQUEST_SECONDS
        while missing > 0:
            if time.monotonic() > deadline:
                reached = [start + len(each) for start, each in zip(starts, numbers)]
                raise Refused(None, f"{topic}: only read to {reached} of {ends} from {starts}")
            for message in self.consumer.consume(AT_ONCE, 0.1):
                if message.error() is not None:
                    if not message.error().retriable():
                        raise KafkaException(message.error())
                    continue
                deadline = time.monotonic() + REQUEST_SECONDS
                partition, offset = message.partition(), message.offset()
                own, at = numbers[partition], starts[partition] + len(numbers[partition])
                if at >= ends[partition]:
                    continue
                if offset != at:
                    raise Refused(None, f"{topic}-{partition}: offset {offset} came for {at}")
                own.append(number_of(message.key(), message.value()))
                missing -= 1
        self.consumer.unassign()
        return {"numbers": numbers}

    def committed(self, group, topics, partitions):
        if group not in self.groups:
            self.groups[group] = self.member_of(group)
        asked = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
        found = self.asked(lambda: self.groups[group].committed(asked, REQUEST_SECONDS))
        return {"committed": [[at.topic, at.partition, at.offset] for at in found
                              if at.offset >= 0]}

    def asked(self, question):
        """Asks again while librdkafka has not noticed yet that the broker is back."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return question()
            except KafkaException as error:
                if error.args[0].code() not in self.passing or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def quit(self):
        for consumer in (self.consumer, *self.groups.values()):
            consumer.close()


if __name__ == "__main__":
    serve(CrashReader(*sys.argv[1:]))
