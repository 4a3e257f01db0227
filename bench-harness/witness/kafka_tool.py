"""Runs one of Kafka's command-line tools, and notes when it said what."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import time

import usage

KAFKA = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "peers" / "kafka"


class Unclear(Exception):
    """A tool did not say what is looked for, or did not do all that it was told."""


@dataclasses.dataclass(frozen=True)
class Line:
    at: float  # seconds since the epoch
    text: str


@dataclasses.dataclass(frozen=True)
class Said:
    command: str
    lines: list
    watch: usage.Watch


def run(options, *arguments):
    """What the tool said, and what it and the broker took meanwhile."""
    words = [str(each) for each in arguments]
    # The tool goes when this program is killed, which is how it is ended when it takes too long.
    command = ["setpriv", "--pdeathsig", "KILL", KAFKA, "tool", options.tool, *words]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as tool:
        with usage.Watch(options.broker_pid, tool.pid) as watch:
            lines = [Line(time.time(), text.rstrip("\n")) for text in tool.stdout]
        code = tool.wait()
    if code != 0:
        sys.exit(f"{options.tool} ended with {code}: {' | '.join(each.text for each in lines[-5:])}")
    return Said(" ".join([options.tool, *words]), lines, watch)
