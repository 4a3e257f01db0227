"""Produces numbered records until it is stopped, and writes down what was acknowledged.

Lines of the journal: `A PARTITION OFFSET NUMBER` for an acknowledged record (the offset is
negative if the broker did not tell it), `E NUMBER TEXT` for a refused one, `S NUMBER` when the
program ends: the last number it sent. On SIGTERM it waits for what is on its way, on SIGINT not.
"""

import argparse
import signal
import sys
import time

from confluent_kafka import KafkaException, Producer

from payload import payload

IN_FLIGHT_RECORDS = 500


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("journal")
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--first", type=int, required=True, help="number of the first record")
    parser.add_argument("--rate", type=int, required=True, help="records a second")
    parser.add_argument("--idempotent", action="store_true")
    options = parser.parse_args()

    stopped = []
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda number, _: stopped.append(number))
    producer = Producer({
        "bootstrap.servers": options.bootstrap,
        "acks": "all",
        "enable.idempotence": options.idempotent,
        # Without idempotence a retry may overtake what was sent after it.
        "max.in.flight.requests.per.connection": 5 if options.idempotent else 1,
        "linger.ms": 5,
        "message.timeout.ms": 120_000,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "retry.backoff.ms": 50,
        "log_level": 0,
    })
    with open(options.journal, "a", encoding="utf-8") as journal:
        number = load(producer, options, journal, stopped)
        if stopped[0] == signal.SIGTERM:
            producer.flush(60)
        else:
            producer.poll(0)
        journal.write(f"S {number - 1}\n")


def load(producer, options, journal, stopped):
    waiting = 0

    def delivered(number):
        def note(error, message):
            nonlocal waiting
            waiting -= 1
            if error is None:
                journal.write(f"A {message.partition()} {message.offset()} {number}\n")
            else:
                journal.write(f"E {number} {error.name()}\n")
        return note

    number = options.first
    start = time.monotonic()
    while not stopped:
        due = options.first + (time.monotonic() - start) * options.rate
        while number < due and waiting < IN_FLIGHT_RECORDS:
            try:
                producer.produce(options.topic, payload(number),
                                 partition=number % options.partitions,
                                 on_delivery=delivered(number))
            except (KafkaException, BufferError) as error:
                print(f"record {number}: {error}", file=sys.stderr)
                journal.write(f"E {number} {error}\n")
                return number
            waiting += 1
            number += 1
        if waiting >= IN_FLIGHT_RECORDS:
            # What could not be sent in time is not made up for in one burst.
            options.first, start = number, time.monotonic()
        producer.poll(0.005)
        journal.flush()
    return number


if __name__ == "__main__":
    main()
