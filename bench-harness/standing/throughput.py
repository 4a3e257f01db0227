"""Throughput, latency and their price, by Kafka's own tools and by an open loop."""

import json
import os
import pathlib
import re
import shutil
import tempfile
import time

from .brokers import (
    KAFKA,
    Cores,
    Kafka,
    Millstream,
    bench,
    binaries,
    cpu_seconds,
    interrupted_core,
    machine,
    pinned,
    resident_megabytes,
    run,
    say,
    start,
    table,
)


def children_cpu_seconds():
    times = os.times()
    return times.children_user + times.children_system


def timed_tool(core, name, *options):
    """What one of Kafka's tools says, and for how much of its time (%) it kept its core busy."""
    began, used = time.monotonic(), children_cpu_seconds()
    said = run(pinned(core, [KAFKA, "tool", name, *options]))
    return said, 100 * (children_cpu_seconds() - used) / (time.monotonic() - began)


def produce(broker, topic, records):
    before = cpu_seconds(broker.pid)
    said, client_busy = timed_tool(
        broker.cores.clients, "kafka-producer-perf-test", "--topic", topic,
        "--num-records", records, "--record-size", "1024", "--throughput", "-1",
        "--producer-props", f"bootstrap.servers={broker.bootstrap}", "acks=all")
    cpu = cpu_seconds(broker.pid) - before
    last = said.strip().splitlines()[-1]
    rate = float(re.search(r"\(([\d.]+) MB/sec\)", last)[1])
    return rate, cpu / (records * 1024 / 1e9), client_busy


def consume(broker, topic, records):
    before = cpu_seconds(broker.pid)
    said, client_busy = timed_tool(
        broker.cores.clients, "kafka-consumer-perf-test", "--topic", topic,
        "--num-records", records, "--bootstrap-server", broker.bootstrap)
    cpu = cpu_seconds(broker.pid) - before
    header, *_, last = [line.split(", ") for line in said.strip().splitlines() if ", " in line]
    rate = float(last[header.index("fetch.MB.sec")])
    return rate, cpu / (records * 1024 / 1e9), client_busy


def measure(broker, release, options):
    """One round of one broker: a dictionary of figures."""
    # The folder is made by a first start, which is not measured.
    start(release, broker)
    broker.stop()
    figures = {"start": start(release, broker)}
    try:
        produce(broker, "warm-up", options.records)
        consume(broker, "warm-up", options.records)
        latency = json.loads(bench(
            release, broker, "load", "end-to-end", "--seconds", str(options.latency_seconds),
            "--output", "json"))
        for name in ("p50", "p99", "p999"):
            figures[name] = latency["latency_us"][name] / 1e3
        figures["produce"], figures["produce_cpu"], figures["produce_client"] = produce(
            broker, "measured", options.records)
        figures["consume"], figures["consume_cpu"], figures["consume_client"] = consume(
            broker, "measured", options.records)
        figures["resident"] = resident_megabytes(broker.pid)
    finally:
        broker.stop()
    return figures


ROWS = [
    ("start", "Start to the first Metadata answer", "ms", 0),
    ("produce", "Produce, 1 KiB records, acks=all", "MB/s", 1),
    ("produce_cpu", "Broker CPU per GB produced", "s", 2),
    ("produce_client", "The producer's core busy", "%", 0),
    ("consume", "Consume", "MB/s", 1),
    ("consume_cpu", "Broker CPU per GB consumed", "s", 2),
    ("consume_client", "The consumer's core busy", "%", 0),
    ("resident", "Resident memory after that", "MB", 0),
    ("p50", "End to end at 1,000 records/s, p50", "ms", 2),
    ("p99", "the same, p99", "ms", 2),
    ("p999", "the same, p99.9", "ms", 2),
]


def main(options, base):
    """Runs the rounds; the page's text."""
    release = binaries()
    core = options.broker_core
    cores = Cores(interrupted_core(base) if core is None else core)
    say(f"brokers on core {cores.broker}, clients on core {cores.clients}")
    contenders = {
        "Millstream, fsync": lambda folder: Millstream(folder, cores, release, options.set),
        "Millstream, written": lambda folder: Millstream(
            folder, cores, release, [*options.set, "durability=written"]),
        "Apache Kafka, not flushed": lambda folder: Kafka(folder, cores),
    }
    rounds = {name: [] for name in contenders}
    for number in range(1, options.rounds + 1):
        for name, contender in contenders.items():
            folder = pathlib.Path(tempfile.mkdtemp(dir=base))
            load = os.getloadavg()[0]
            figures = measure(contender(folder), release, options)
            rounds[name].append(figures)
            say(f"round {number}/{options.rounds} {name} (load before: {load:.1f}): "
                + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
            shutil.rmtree(folder)
    return (f"Medians of {options.rounds} rounds in turns (least and greatest in brackets), "
            f"{options.records:,} records a run, {machine()}.\n\n{table(ROWS, rounds)}")
