"""Rounds of both brokers: idle, with many partitions or connections, and how soon they are there
again; and the table of them.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from programs import release as release_binaries
from programs import run, toolchain
from witness.usage import cpu_seconds, resident_bytes

from .brokers import Kafka, Millstream, start

MIB = 1 << 20
PARTITIONS_A_TOPIC = 1000
SETTLE_SECONDS = 5
IDLE_SECONDS = 10
MORE_MEGABYTES = 300
FILL_PARTITIONS = 8
FILL_RECORD_BYTES = 1024
FILLED = "filled"

API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)

ROWS = [
    ("start", "Start to the first Metadata answer, empty", "ms", 0),
    ("start_partitions", "the same, {partitions:,} partitions, after a clean stop", "ms", 0),
    ("resident", "Resident memory, idle", "MB", 0),
    ("resident_partitions", "the same, {partitions:,} idle partitions", "MB", 0),
    ("resident_connections", "the same, {connections:,} idle connections", "MB", 0),
    ("idle", "CPU of a core when idle", "%", 2),
    ("idle_partitions", "the same, {partitions:,} idle partitions", "%", 2),
    ("create", "1,000 partitions created by one request", "ms", 0),
]
RECOVERY = ("recovery", "Start after a kill, {recovery_gb} GB in {fill_partitions} partitions", "ms", 0)


def create(broker, release, topic):
    """Makes a topic; the milliseconds it took, the command's own start included."""
    began = time.monotonic()
    run([release / "millstream", "-b", broker.bootstrap, "topic", "create", topic,
         "--partitions", PARTITIONS_A_TOPIC])
    return (time.monotonic() - began) * 1e3


def idle(broker):
    """Percent of a core that the broker takes when nobody asks it for anything."""
    time.sleep(SETTLE_SECONDS)
    before = cpu_seconds(broker.pid)
    time.sleep(IDLE_SECONDS)
    return 100 * (cpu_seconds(broker.pid) - before) / IDLE_SECONDS


def connect(broker, stack):
    """One more connection that has been answered."""
    host, port = broker.bootstrap.rsplit(":", 1)
    connection = stack.enter_context(socket.create_connection((host, int(port))))
    connection.sendall(API_VERSIONS)
    if not connection.recv(4096):
        raise SystemExit("a connection was closed")


def measure(broker, release, options):
    """One round of one broker: a dictionary of figures."""
    start(release, broker)
    broker.stop()
    figures = {"start": start(release, broker)}
    try:
        figures["idle"] = idle(broker)
        figures["resident"] = resident_bytes(broker.pid) / MIB
        with contextlib.ExitStack() as stack:
            for _ in range(options.connections):
                connect(broker, stack)
            time.sleep(SETTLE_SECONDS)
            figures["resident_connections"] = resident_bytes(broker.pid) / MIB
        broker.stop()
        start(release, broker)
        figures["create"] = create(broker, release, "many-0")
        for number in range(1, options.partitions // PARTITIONS_A_TOPIC):
            create(broker, release, f"many-{number}")
        figures["idle_partitions"] = idle(broker)
        figures["resident_partitions"] = resident_bytes(broker.pid) / MIB
        broker.stop()
        figures["start_partitions"] = start(release, broker)
    finally:
        broker.stop()
    return figures


def recover(broker, release, options):
    """Milliseconds of starts after kills with much on the disk, each in the middle of more."""
    found = []
    start(release, broker)
    try:
        if fill(broker, release, int(options.recovery_gb * 1e9)).wait() != 0:
            raise SystemExit(f"{broker.bootstrap} was not filled with {options.recovery_gb} GB")
        for _ in range(options.rounds):
            filling = fill(broker, release, MORE_MEGABYTES * 10**6)
            time.sleep(1)
            broker.kill()
            filling.wait()
            found.append(start(release, broker))
    finally:
        broker.stop()
    return found


def fill(broker, release, count):
    return subprocess.Popen(
        [release / "millstream-bench", "-b", broker.bootstrap, "load", "produce",
         "--topic", FILLED, "--partitions", str(FILL_PARTITIONS),
         "--size", str(FILL_RECORD_BYTES), "--records", str(count // FILL_RECORD_BYTES)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(options, base):
    """Runs the rounds; the page's text."""
    release = release_binaries()
    contenders = {
        "Millstream": lambda folder: Millstream(folder, release, options.set),
        "Apache Kafka": lambda folder: Kafka(folder),
    }
    rounds = {name: [] for name in contenders}
    for number in range(1, options.rounds + 1):
        for name, contender in contenders.items():
            folder = pathlib.Path(tempfile.mkdtemp(dir=base))
            figures = measure(contender(folder), release, options)
            rounds[name].append(figures)
            say(f"round {number}/{options.rounds} {name}: "
                + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
            shutil.rmtree(folder)
    rows = list(ROWS)
    if options.recovery_gb:
        rows.append(RECOVERY)
        for name, contender in contenders.items():
            folder = pathlib.Path(tempfile.mkdtemp(dir=base))
            found = recover(contender(folder), release, options)
            say(f"{name}: recovery {found}")
            for figures, millis in zip(rounds[name], found):
                figures["recovery"] = millis
            shutil.rmtree(folder)
    words = {**vars(options), "fill_partitions": FILL_PARTITIONS}
    rows = [(key, title.format(**words), unit, digits) for key, title, unit, digits in rows]
    return (f"Medians of {options.rounds} rounds in turns (least and greatest in brackets), "
            f"{machine()}.\n\n{table(rows, rounds)}")


def cell(found, unit, digits):
    """The median of figures, with the least and the greatest."""
    low, high = min(found), max(found)
    return f"{statistics.median(found):.{digits}f} {unit} ({low:.{digits}f}–{high:.{digits}f})"


def table(rows, rounds):
    """Rows of (key, title, unit, digits) of the rounds' figures, by contender."""
    lines = ["| | " + " | ".join(rounds) + " |", "|---" * (len(rounds) + 1) + "|"]
    for key, title, unit, digits in rows:
        cells = (cell([figures[key] for figures in rounds[name]], unit, digits)
                 for name in rounds)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine():
    """What the figures were measured on."""
    return (f"Apache Kafka {toolchain.kafka_version()}, {os.cpu_count()} cores, "
            f"Linux {os.uname().release}")


def say(text):
    print(text, file=sys.stderr, flush=True)
