"""Produces numbered records until it is stopped, and writes down what was acknowledged.

Lines of the journal: `A PARTITION OFFSET NUMBER` for an acknowledged record (the offset is
negative if the broker did not tell it), `E NUMBER TEXT` for a refused one, `S NUMBER` when the
program ends: the last number it sent. On SIGTERM it waits for what is on its way, on SIGINT not.
It ends with who started it, whose end of its standard input closes then.
"""

import argparse
import faulthandler
import os
import queue
import signal
import sys
import threading
import time

from confluent_kafka import Producer
from kafka import KafkaProducer

from payload import key, payload

IN_FLIGHT_RECORDS = 500
DELIVERY_MS = 120_000


class Librdkafka:
    """Idempotent, five requests under way."""

    def __init__(self, bootstrap):
        self.producer = Producer({
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "max.in.flight.requests.per.connection": 5,
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.timeout.ms": DELIVERY_MS,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "retry.backoff.ms": 50,
            "log_level": 0,
        })

    def send(self, topic, partition, number, done):
        def note(error, message):
            done(message.offset() if error is None else None, error)
        self.producer.produce(topic, payload(number), key(number), partition, on_delivery=note)

    def wait(self, seconds):
        self.producer.poll(seconds)

    def flush(self):
        self.producer.flush(DELIVERY_MS / 1000)


class KafkaPython:
    """Not idempotent: a retry may write a record again, but one request at a time keeps order."""

    def __init__(self, bootstrap):
        self.done = queue.SimpleQueue()
        self.producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            linger_ms=5,
            delivery_timeout_ms=DELIVERY_MS,
            request_timeout_ms=DELIVERY_MS // 4,
            reconnect_backoff_ms=20,
            reconnect_backoff_max_ms=200,
            retry_backoff_ms=50,
        )

    def send(self, topic, partition, number, done):
        # Its callbacks come from a thread of its own; `wait` hands them to this one.
        future = self.producer.send(topic, payload(number), key(number), partition=partition)
        future.add_callback(lambda stored: self.done.put((done, stored.offset, None)))
        future.add_errback(lambda error: self.done.put((done, None, error)))

    def wait(self, seconds):
        time.sleep(seconds)
        while not self.done.empty():
            done, offset, error = self.done.get()
            done(offset, error)

    def flush(self):
        self.producer.flush(DELIVERY_MS / 1000)
        self.wait(0.1)


CLIENTS = {"librdkafka": Librdkafka, "kafka-python": KafkaPython}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("journal")
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--first", type=int, required=True, help="number of the first record")
    parser.add_argument("--rate", type=int, required=True, help="records a second")
    options = parser.parse_args()

    end_with_parent()
    stopped = []
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda number, _: stopped.append(number))
    client = CLIENTS[options.client](options.bootstrap)
    with open(options.journal, "a", encoding="utf-8") as journal:
        number = load(client, options, journal, stopped)
        if stopped[0] == signal.SIGTERM:
            client.flush()
        else:
            client.wait(0)
        journal.write(f"S {number - 1}\n")
    # Closing would wait for what SIGINT gives up.
    os._exit(0)


def end_with_parent():
    # Where it hangs, for who asks.
    faulthandler.register(signal.SIGUSR1, all_threads=True)

    def wait():
        sys.stdin.read()
        os._exit(1)
    threading.Thread(target=wait, daemon=True).start()


def load(client, options, journal, stopped):
    waiting = 0

    def delivered(number, partition):
        def note(offset, error):
            nonlocal waiting
            waiting -= 1
            if error is None:
                journal.write(f"A {partition} {offset} {number}\n")
            else:
                journal.write(f"E {number} {error}\n")
        return note

    number, first, start = options.first, options.first, time.monotonic()
    while not stopped:
        due = first + (time.monotonic() - start) * options.rate
        while number < due and waiting < IN_FLIGHT_RECORDS:
            partition = number % options.partitions
            client.send(options.topic, partition, number, delivered(number, partition))
            waiting += 1
            number += 1
        if waiting >= IN_FLIGHT_RECORDS:
            # What could not be sent in time is not made up for in one burst.
            first, start = number, time.monotonic()
        client.wait(0.005)
        journal.flush()
    return number


if __name__ == "__main__":
    main()
