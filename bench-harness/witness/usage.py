"""What processes have taken of the machine until some moment: the tool and the broker.

A tool of others tells afterwards when it measured. So `Watch` looks at both processes now and then,
and works out what they had taken at that time.
"""

import bisect
import dataclasses
import os
import pathlib
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_EVERY_SECONDS = 0.05
NOT_TOLD = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was taken until `at`, in seconds since the epoch; None where nobody tells."""

    at: float
    client_cpu_seconds: float
    broker_cpu_seconds: float | None
    read_bytes: float | None
    written_bytes: float | None

    def towards(self, later, at):
        """What was taken until a moment between this one and a later one."""
        part = (at - self.at) / (later.at - self.at) if later.at > self.at else 0.0

        def between(name):
            first, last = getattr(self, name), getattr(later, name)
            return NOT_TOLD if first is None or last is None else first + part * (last - first)

        return Sample(at, *(between(field.name) for field in dataclasses.fields(Sample)[1:]))


def sample(broker_pid, tool_pid=None):
    """What this process, the tool that it runs and the broker have taken until now."""
    at = time.time()
    client = time.process_time() + (cpu_seconds(tool_pid) if tool_pid else 0.0)
    if not broker_pid:
        return Sample(at, client, NOT_TOLD, NOT_TOLD, NOT_TOLD)
    return Sample(at, client, cpu_seconds(broker_pid), *disk_bytes(broker_pid))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def disk_bytes(pid):
    """Bytes read and written, which only the process's owner may see."""
    try:
        text = pathlib.Path(f"/proc/{pid}/io").read_text()
    except PermissionError:
        return NOT_TOLD, NOT_TOLD
    told = dict(line.split(": ") for line in text.splitlines())
    return int(told["read_bytes"]), int(told["write_bytes"])


def resident_bytes(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Samples from its start to its end."""

    def __init__(self, broker_pid, tool_pid):
        self.pids = (broker_pid, tool_pid)
        self.samples = [sample(*self.pids)]
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _look(self):
        last = False
        while not last:
            last = self.ended.wait(LOOK_EVERY_SECONDS)
            try:
                self.samples.append(sample(*self.pids))
            except FileNotFoundError:
                return  # One of them is gone; the tool's end says more.

    def at(self, moment):
        return interpolated(self.samples, moment)


def interpolated(samples, moment):
    """What was taken until a moment; the nearest sample where it lies before or after them all."""
    index = bisect.bisect([each.at for each in samples], moment)
    if index == 0 or index == len(samples):
        return samples[max(index - 1, 0)]
    return samples[index - 1].towards(samples[index], moment)
