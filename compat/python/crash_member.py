"""A member of a consumer group that commits what it has read, and writes down both.

Lines of the journal: `R TOPIC PARTITION FIRST END` for offsets it has read, `C TOPIC PARTITION
OFFSET` for an acknowledged commit, `X TEXT` for a commit that failed (nothing is concluded from
those), `G` for each assignment. It ends with who started it, or on SIGTERM.
"""

import argparse
import os
import signal
import time

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from crash_load import end_with_parent

SESSION_MS = 10_000
AT_ONCE = 2000
COMMIT_EVERY_SECONDS = 0.1


class Librdkafka:
    def __init__(self, bootstrap, group, topics, assigned):
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": 500,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
        })
        self.consumer.subscribe(topics, on_assign=lambda *_: assigned())

    def take(self):
        """(topic, partition, offset) of what has come."""
        return [(message.topic(), message.partition(), message.offset())
                for message in self.consumer.consume(AT_ONCE, 0.05) if message.error() is None]

    def commit(self, ends):
        """Returns the error, or None."""
        try:
            stored = self.consumer.commit(
                offsets=[ConfluentPartition(*place, end) for place, end in ends.items()],
                asynchronous=False)
        except KafkaException as error:
            return error
        return next((each.error for each in stored if each.error), None)

    def close(self):
        self.consumer.close()


class KafkaPython:
    def __init__(self, bootstrap, group, topics, assigned):
        class Assigned(ConsumerRebalanceListener):
            def on_partitions_assigned(self, _):
                assigned()

            def on_partitions_revoked(self, _):
                pass

        self.consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=500,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
            max_poll_records=AT_ONCE,
            reconnect_backoff_ms=20,
            reconnect_backoff_max_ms=200,
        )
        # Without metadata its first join knows no partition.
        for topic in topics:
            self.consumer.partitions_for_topic(topic)
        self.consumer.subscribe(topics, listener=Assigned())

    def take(self):
        # Returns with the first records. A join that outlasts the call is lost: kafka-python then
        # believes it is in the group, and fetches nothing.
        try:
            polled = self.consumer.poll(timeout_ms=3000)
        except KafkaError:
            # Nobody listens: it says so instead of waiting.
            time.sleep(0.05)
            return []
        return [(each.topic, each.partition, each.offset)
                for batch in polled.values() for each in batch]

    def commit(self, ends):
        try:
            self.consumer.commit({TopicPartition(*place): OffsetAndMetadata(end, "", -1)
                                  for place, end in ends.items()}, timeout_ms=5000)
        except KafkaError as error:
            return error
        return None

    def close(self):
        self.consumer.close()


CLIENTS = {"librdkafka": Librdkafka, "kafka-python": KafkaPython}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("bootstrap")
    parser.add_argument("group")
    parser.add_argument("journal")
    parser.add_argument("topics", nargs="+")
    options = parser.parse_args()

    end_with_parent()
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    with open(options.journal, "a", encoding="utf-8") as journal:
        member = CLIENTS[options.client](
            options.bootstrap, options.group, options.topics, lambda: journal.write("G\n"))
        follow(member, journal, stopped)
        member.close()
    os._exit(0)


def follow(member, journal, stopped):
    ends, due = {}, 0
    while not stopped:
        taken = member.take()
        for topic, partition, first, end in runs(taken):
            journal.write(f"R {topic} {partition} {first} {end}\n")
            ends[topic, partition] = end
        if ends and time.monotonic() >= due:
            error = member.commit(ends)
            if error is None:
                for (topic, partition), end in ends.items():
                    journal.write(f"C {topic} {partition} {end}\n")
            else:
                journal.write(f"X {' '.join(str(error).split())}\n")
            # What was not committed is not tried again: the partition may be another's by now.
            ends, due = {}, time.monotonic() + COMMIT_EVERY_SECONDS
        journal.flush()


def runs(taken):
    """Joins offsets that follow each other: (topic, partition, first, end)."""
    found = {}
    for topic, partition, offset in taken:
        of_place = found.setdefault((topic, partition), [])
        if of_place and of_place[-1][1] == offset:
            of_place[-1][1] = offset + 1
        else:
            of_place.append([offset, offset + 1])
    return [(*place, first, end) for place, each in found.items() for first, end in each]


if __name__ == "__main__":
    main()
