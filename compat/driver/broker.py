"""Brokers under test: Apache Kafka, Millstream, or one that runs already.

What is started here is ended here, by its process id and nothing else.
"""

import pathlib
import random
import re
import signal
import socket
import subprocess
import time

READY_SECONDS = 30
STOP_SECONDS = 30


class BrokerError(Exception):
    """The broker did not start, or did not stop."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lasting_port():
    """A free port for a broker that ends and starts again.

    It lies below those that the kernel gives to clients: while nobody listens, the connection of
    a client that tries again could be given the broker's own port, and keep it.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as ports:
        first_given = int(ports.read().split()[0])
    for port in random.sample(range(first_given // 2, first_given), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise BrokerError("no port is free")


class Running:
    """A broker that somebody else started."""

    kind = "running"
    data = None

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def stop(self):
        pass


class Kafka:
    """Apache Kafka, by scripts/peers/kafka."""

    kind = "kafka"

    def __init__(self, scripts, folder, settings, port=0, heap="512m", prefix=()):
        self.script = str(scripts / "peers" / "kafka")
        self.folder = folder
        command = [*prefix, self.script, "start", "--dir", str(folder), "--heap", heap]
        command += ["--port", str(port)]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        started = subprocess.run(command, capture_output=True, text=True)
        if started.returncode != 0:
            raise BrokerError(f"Apache Kafka did not start: {started.stderr}")
        said = dict(line.split("=", 1) for line in started.stdout.splitlines() if "=" in line)
        self.bootstrap = said["bootstrap"]
        self.pid = int(said["pid"])
        self.data = pathlib.Path(said["data"])
        self.log = pathlib.Path(said["log"])

    def stop(self):
        self._stop()

    def kill(self):
        self._stop("--kill")

    def _stop(self, *options):
        stopped = subprocess.run(
            [self.script, "stop", str(self.folder), *options], capture_output=True, text=True)
        if stopped.returncode != 0:
            raise BrokerError(f"Apache Kafka did not stop: {stopped.stderr}")


class Millstream:
    """The daemon `millstreamd`."""

    kind = "millstream"

    def __init__(self, binary, folder, settings, port=0, prefix=()):
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.log = folder / "millstreamd.log"
        port = port or free_port()
        settings = {
            "log.dirs": self.data,
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            **settings,
        }
        command = [*prefix, str(binary)]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        # A restart on the same folder goes on with the same file; only what is new counts.
        said_before = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True)
        self.pid = self.process.pid
        self.bootstrap = self._ready(said_before)

    def _ready(self, said_before):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with open(self.log, "rb") as log:
                log.seek(said_before)
                said = log.read().decode(errors="replace")
            found = re.search(r"listening on (?:\w+://)?(\S+:\d+)", said)
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                raise BrokerError(f"millstreamd ended with {self.process.returncode}:\n{said}")
            time.sleep(0.002)
        self.process.kill()
        self.process.wait()
        raise BrokerError(f"millstreamd was not ready within {READY_SECONDS} s:\n{said}")

    def stop(self):
        if self.process.poll() is not None:
            raise BrokerError(
                f"millstreamd had ended by itself with {self.process.returncode}; see {self.log}:\n"
                + "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]))
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError(f"millstreamd did not stop within {STOP_SECONDS} s") from None
        if code != 0:
            raise BrokerError(f"millstreamd stopped with {code}; see {self.log}")

    def kill(self):
        self.process.kill()
        self.process.wait()
