"""The mixed load, by librdkafka: a process of its own, which runs until its standard input ends
and then prints as JSON what it did and what it saw go wrong.
"""

import json
import random
import socket
import struct
import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

PARTITIONS = 4
MEBIBYTE = 1 << 20
# Small segments, so that retention and compaction have something to do all the time.
TOPICS = {
    "soak-by-time": {"retention.ms": "30000", "segment.bytes": MEBIBYTE},
    "soak-by-size": {"retention.bytes": 8 * MEBIBYTE, "segment.bytes": MEBIBYTE},
    "soak-compacted": {"cleanup.policy": "compact", "segment.bytes": MEBIBYTE,
                       "min.cleanable.dirty.ratio": "0.1", "delete.retention.ms": "1000"},
}
GROUP = "soak"
MEMBERS = 3
KEYS = 1000
TOMBSTONE_EVERY = 50
VALUE_BYTES = 1000
# How long a member of the group stays before it leaves and another one comes.
STAY_SECONDS = 20
CHURN_SECONDS = 2
CONNECTIONS_AT_ONCE = 20
FAULTS_KEPT = 20
# Of syslog: librdkafka tells of each topic that goes, with a notice.
LOG_WARNING = 4
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


class Soak:
    def __init__(self, bootstrap, rate):
        self.bootstrap = bootstrap
        self.rate = rate
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(
            ["produced", "consumed", "joined", "topics", "connections", "changes"], 0)
        self.faults = []
        self.client = {"bootstrap.servers": bootstrap, "log_level": LOG_WARNING}
        self.admin = AdminClient(self.client)

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] += number

    def fault(self, what):
        with self.lock:
            if len(self.faults) < FAULTS_KEPT:
                self.faults.append(f"{time.strftime('%H:%M:%S')} {what}")

    def create(self, name, partitions, config):
        topic = NewTopic(name, partitions, 1, config={key: str(each) for key, each in config.items()})
        for future in self.admin.create_topics([topic]).values():
            future.result(30)

    def run(self):
        for name, config in TOPICS.items():
            self.create(name, PARTITIONS, config)
        work = [self.produce, self.churn, self.connect, self.administer]
        work += [lambda first=number: self.consume(first) for number in range(MEMBERS)]
        threads = [threading.Thread(target=self.guarded, args=(each,)) for each in work]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self.over.set()
        for thread in threads:
            thread.join()
        print(json.dumps({"counts": self.counts, "faults": self.faults}))

    def guarded(self, work):
        try:
            work()
        except Exception as error:  # Whatever it is, it is what this run looks for.
            self.fault(f"{getattr(work, '__name__', 'consume')}: {error!r}")

    def produce(self):
        producer = Producer({**self.client, "enable.idempotence": True,
                             "linger.ms": 5})
        chance = random.Random(1)
        began, sent = time.monotonic(), 0

        def delivered(error, _):
            if error:
                self.fault(f"not delivered: {error}")
            else:
                self.count("produced")

        while not self.over.is_set():
            for name in TOPICS:
                key = str(chance.randrange(KEYS)).encode()
                value = chance.randbytes(VALUE_BYTES)
                if name == "soak-compacted" and sent % TOMBSTONE_EVERY == 0:
                    value = None
                producer.produce(name, value, key, on_delivery=delivered)
                sent += 1
            producer.poll(0)
            ahead = sent / self.rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
        left = producer.flush(60)
        if left:
            self.fault(f"{left} records are not answered after 60 s")

    def consume(self, number):
        """Members come and go; each sees the offsets of its partitions grow."""
        turn = 0
        while not self.over.is_set():
            turn += 1
            member = Consumer({**self.client, "group.id": GROUP,
                               "auto.offset.reset": "earliest", "auto.commit.interval.ms": 1000})
            positions = {}

            def assigned(_, partitions):
                for partition in partitions:
                    positions.pop((partition.topic, partition.partition), None)

            member.subscribe(list(TOPICS), on_assign=assigned)
            self.count("joined")
            leave = time.monotonic() + STAY_SECONDS * (1 + number)
            while not self.over.is_set() and time.monotonic() < leave:
                for record in member.consume(500, 0.5):
                    if record.error():
                        # Retention may overtake a member that was away.
                        self.fault(f"member {number}: {record.error()}")
                        continue
                    place = (record.topic(), record.partition())
                    if record.offset() <= positions.get(place, -1):
                        self.fault(f"{place}: {record.offset()} after {positions[place]}")
                    positions[place] = record.offset()
                    self.count("consumed")
            member.close()

    def churn(self):
        """Topics come, are written and read, and go."""
        producer = Producer(self.client)
        reader = Consumer({**self.client, "group.id": "soak-churn",
                           "enable.auto.commit": False, "auto.offset.reset": "earliest"})
        number = 0
        while not self.over.wait(CHURN_SECONDS):
            number += 1
            name = f"soak-churn-{number}"
            self.create(name, 3, {})
            for each in range(30):
                producer.produce(name, str(each).encode(), partition=each % 3)
            if producer.flush(30):
                self.fault(f"{name}: not all records are answered")
            reader.assign([TopicPartition(name, each, 0) for each in range(3)])
            seen, until = 0, time.monotonic() + 30
            while seen < 30 and time.monotonic() < until:
                seen += sum(record.error() is None for record in reader.consume(30, 1))
            if seen != 30:
                self.fault(f"{name}: {seen} of 30 records read")
            reader.unassign()
            for future in self.admin.delete_topics([name]).values():
                future.result(30)
            self.count("topics")
        reader.close()

    def connect(self):
        """Connections come, ask something, and go, some without a word."""
        host, port = self.bootstrap.rsplit(":", 1)
        while not self.over.wait(0.5):
            opened = [socket.create_connection((host, int(port)), 10)
                      for _ in range(CONNECTIONS_AT_ONCE)]
            for connection in opened[::2]:
                connection.sendall(API_VERSIONS)
                if not connection.recv(4096):
                    self.fault("a connection was closed without an answer")
            for connection in opened:
                connection.close()
            self.count("connections", len(opened))

    def administer(self):
        """Settings change, groups and offsets are asked for."""
        number = 0
        while not self.over.wait(3):
            number += 1
            entry = ConfigEntry("retention.ms", str(30000 + number % 2),
                                incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ResourceType.TOPIC, "soak-by-time",
                                      incremental_configs=[entry])
            for future in self.admin.incremental_alter_configs([resource]).values():
                future.result(30)
            described = self.admin.describe_consumer_groups([GROUP])[GROUP].result(30)
            if described.group_id != GROUP:
                self.fault(f"the group is told as {described.group_id}")
            self.admin.list_topics(timeout=30)
            self.count("changes")


if __name__ == "__main__":
    Soak(sys.argv[1], float(sys.argv[2])).run()
