"""Kafka's command-line tools, run in one JVM, and what of their output may differ.

`Tools` is the process of ../java/Tools.java. `alike` is the whole list of what is replaced before
the output of a tool with Millstream is held against its output with Apache Kafka.
"""

import dataclasses
import json
import queue
import re
import subprocess
import threading

from . import toolchain

TOOL_SECONDS = 90
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclasses.dataclass(frozen=True)
class Said:
    """What one run of a tool printed, and its exit code."""

    code: int
    out: str
    err: str

    def all(self):
        return self.out + self.err


class ToolsEnded(Exception):
    """The process of the tools is gone."""


class Tools:
    def __init__(self, command, log):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.answers = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def run(self, tool, arguments, stdin=""):
        command = {"class": toolchain.class_of(tool), "arguments": arguments, "stdin": stdin,
                   "seconds": TOOL_SECONDS}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.answers.get(timeout=TOOL_SECONDS + 30)
        if line is None:
            raise ToolsEnded(f"{tool} ended the process with {self.process.wait()}")
        fields = json.loads(line)
        return Said(fields["code"], fields["out"], fields["err"])

    def quit(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def alike(text, broker, replaced=()):
    """The lines of an output without what two brokers cannot have in common, sorted."""
    rules = [
        (re.escape(broker.bootstrap), "HOST:PORT"),
        # Columns with a port of its own.
        (rf"\b{broker.bootstrap.rpartition(':')[2]}\b", "PORT"),
        (UUID, "UUID"),
        # Ids of topics, clusters and directories.
        (r"(?<![\w-])[\w-]{22}(?![\w-])", "ID"),
        # Columns are as wide as their widest value.
        (r"[ \t]+", " "),
        *replaced,
    ]
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return sorted(line.strip() for line in text.splitlines() if line.strip())
