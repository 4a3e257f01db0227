"""The brokers whose standing costs are measured, on all cores, each in a folder of its own."""

import re
import signal
import subprocess
import time

from driver.broker import free_port

from programs import KAFKA, run

STOP_SECONDS = 60


class Millstream:
    """Millstream in a folder."""

    def __init__(self, folder, release, settings):
        self.folder, self.release, self.settings = folder, release, settings

    def start(self):
        self.bootstrap = f"127.0.0.1:{free_port()}"
        command = [self.release / "millstreamd", "--set", f"log.dirs={self.folder}/data",
                   "--set", f"listeners=PLAINTEXT://{self.bootstrap}"]
        for each in self.settings:
            command += ["--set", each]
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
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
    """Apache Kafka in a folder."""

    def __init__(self, folder):
        self.node = folder / "node"

    def start(self):
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self.starting = subprocess.Popen(
            [KAFKA, "start", "--dir", self.node, "--port", str(port)],
            stdout=subprocess.PIPE, text=True)
        self.pid = None

    def started(self):
        """To be called once it answers: its pid is known then."""
        if self.pid:
            return
        said = self.starting.communicate()[0]
        self.pid = int(re.search(r"pid=(\d+)", said)[1])

    def kill(self):
        run([KAFKA, "stop", self.node, "--kill"])

    def stop(self):
        run([KAFKA, "stop", self.node])


def start(release, broker):
    """Starts the broker; the milliseconds until it answers a Metadata request."""
    began = time.monotonic()
    broker.start()
    run([release / "millstream-bench", "-b", broker.bootstrap, "first-answer"])
    millis = (time.monotonic() - began) * 1e3
    broker.started()
    return millis
