"""The brokers that are measured, and the cores and the folder that they get."""

import mmap
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

from .congestion import congestion_control

ROOT = pathlib.Path(__file__).resolve().parents[2]
KAFKA = ROOT / "scripts" / "peers" / "kafka"
PAGE = ROOT / "docs" / "benchmarks.md"
TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 60
PROBE_WRITES = 500


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, **options):
    return subprocess.run([str(each) for each in command], check=True, text=True,
                          stdout=subprocess.PIPE, **options).stdout


class Cores:
    """The core of the broker and another one for its clients."""

    def __init__(self, broker):
        self.broker = broker
        self.clients = min(os.sched_getaffinity(0) - {broker})


def pinned(core, command):
    return ["taskset", "-c", str(core), *command]


def on_its_core(cores, command):
    return pinned(cores.broker, command) if cores else command


def interrupts():
    """For each interrupt of a device: how often each core had it."""
    header, *lines = pathlib.Path("/proc/interrupts").read_text().splitlines()
    cores = len(header.split())
    rows = (line.split() for line in lines)
    return {row[0]: [int(count) for count in row[1:cores + 1]]
            for row in rows if row[0].rstrip(":").isdigit()}


def interrupted_core(folder):
    """The core that gets the interrupts of the disk of `folder`."""
    path = folder / "probe"
    block = mmap.mmap(-1, 4096)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    try:
        before = interrupts()
        for number in range(PROBE_WRITES):
            os.pwritev(file, [block], number * len(block))
        grown = [[new - old for new, old in zip(counts, before.get(name, counts))]
                 for name, counts in interrupts().items()]
    finally:
        os.close(file)
        path.unlink()
    busiest = max(grown, key=max)
    return busiest.index(max(busiest))


def binaries():
    cache = os.environ.get("MILLSTREAM_CACHE", os.path.expanduser("~/.cache/millstream"))
    target = os.environ.setdefault("CARGO_TARGET_DIR", f"{cache}/target")
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "millstream-broker", "-p",
                    "millstream-bench", "-p", "millstream-cli"], cwd=ROOT, check=True)
    return pathlib.Path(target) / "release"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_megabytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


class Millstream:
    """Millstream in a folder, on the core of `cores`, or on all if there are none."""

    def __init__(self, folder, cores, release, settings):
        self.folder, self.cores, self.release, self.settings = folder, cores, release, settings

    def start(self):
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        command = [self.release / "millstreamd", "--set", f"log.dirs={self.folder}/data",
                   "--set", f"listeners=PLAINTEXT://{self.bootstrap}"]
        for each in self.settings:
            command += ["--set", each]
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(
                on_its_core(self.cores, command), stdout=log, stderr=subprocess.STDOUT)
        self.pid = self.process.pid

    def started(self):
        pass

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(STOP_SECONDS) != 0:
            raise SystemExit(f"millstreamd ended badly: see {self.folder}/log")


class Kafka:
    """Apache Kafka in a folder, on the core of `cores`, or on all if there are none."""

    def __init__(self, folder, cores):
        self.folder, self.cores = folder, cores

    def start(self):
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        command = [KAFKA, "start", "--dir", self.folder / "node", "--port", str(port)]
        self.starting = subprocess.Popen(
            on_its_core(self.cores, [str(each) for each in command]),
            stdout=subprocess.PIPE, text=True)
        self.pid = None

    def started(self):
        """To be called once it answers: its pid is known then."""
        if self.pid:
            return
        said = self.starting.communicate()[0]
        self.pid = int(re.search(r"pid=(\d+)", said)[1])

    def kill(self):
        run([KAFKA, "stop", self.folder / "node", "--kill"])

    def stop(self):
        run([KAFKA, "stop", self.folder / "node"])


def bench(release, broker, *options):
    """What millstream-bench prints, run beside the broker."""
    command = [str(each) for each in (release / "millstream-bench", "-b", broker.bootstrap, *options)]
    return run(pinned(broker.cores.clients, command) if broker.cores else command).strip()


def start(release, broker):
    """Starts the broker; the milliseconds until it answers a Metadata request."""
    began = time.monotonic()
    broker.start()
    bench(release, broker, "first-answer")
    millis = (time.monotonic() - began) * 1e3
    broker.started()
    return millis


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
    kafka = run([KAFKA, "version"]).strip()
    return (f"Apache Kafka {kafka}, {os.cpu_count()} cores, Linux {os.uname().release}, "
            f"congestion control {congestion_control()}")


def write_page(name, text):
    """Puts text between the marks of that name in docs/benchmarks.md."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, rest = PAGE.read_text().split(first)
    PAGE.write_text(f"{head}{first}\n\n{text}\n\n{last}{rest.split(last)[1]}")
