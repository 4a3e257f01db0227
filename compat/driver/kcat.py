"""kcat as an agent: Debian's, which carries librdkafka 2.0.2.

It sends and prints text alone, and commits what it has read by itself.
"""

import itertools
import json
import queue
import re
import subprocess
import threading
import time

from .agent import AgentError
from .records import Taken

RUN_SECONDS = 30
SEPARATOR = "\x1f"


class Kcat:
    def __init__(self, program, bootstrap):
        self.base = [program, "-b", bootstrap]
        self.member = None

    def run(self, arguments, stdin=None, seconds=RUN_SECONDS):
        done = subprocess.run([*self.base, *arguments], input=stdin, capture_output=True,
                              timeout=seconds)
        if done.returncode != 0:
            raise AgentError(done.stderr.decode(errors="replace").strip())
        return done.stdout.decode()

    def version(self):
        said = subprocess.run([self.base[0], "-V"], capture_output=True, text=True).stdout
        return "kcat, " + re.search(r"librdkafka [0-9.]+", said).group()

    def produce(self, topic, records, codec="none", acks="all", idempotent=False,
                max_request=1_000_000, linger_ms=20):
        settings = {
            "acks": acks,
            "enable.idempotence": str(idempotent).lower(),
            "message.max.bytes": max_request,
            "linger.ms": linger_ms,
        }
        options = [each for key, value in settings.items() for each in ("-X", f"{key}={value}")]
        # One run sends one set of headers to one partition. Order counts within a partition.
        by_partition = sorted(records, key=lambda each: -1 if each.partition is None
                              else each.partition)
        for _, run in itertools.groupby(by_partition, lambda each: (each.headers, each.partition)):
            self._send(topic, list(run), [*options, "-z", codec])

    def _send(self, topic, run, options):
        arguments = ["-P", "-t", topic, "-Z", "-K", SEPARATOR, *options]
        if run[0].partition is not None:
            arguments += ["-p", str(run[0].partition)]
        for name, data in run[0].headers:
            arguments += ["-H", name if data is None else f"{name}={data.decode()}"]
        lines = []
        for record in run:
            key = b"" if record.key is None else record.key + SEPARATOR.encode()
            lines.append(key + (record.value or b""))
        self.run(arguments, b"\n".join(lines) + b"\n")

    def consume(self, topic, starts, count, seconds=20):
        found = []
        for partition, offset in starts:
            # -e ends at the end of the partition; -c bounds what an endless one would give.
            arguments = ["-C", "-t", topic, "-p", str(partition), "-o", str(offset), "-e", "-J"]
            said = self.run([*arguments, "-c", str(count)], seconds=seconds)
            found += [_taken(line) for line in said.splitlines()]
        return found[:count]

    def offsets(self, topic, partitions):
        asked = [(p, t) for p in range(partitions) for t in (-2, -1)]
        found = {(p, t): self._offset_at(topic, p, t) for p, t in asked}
        return [(found[p, -2], found[p, -1]) for p in range(partitions)]

    def offset_for_time(self, topic, partition, t):
        return self._offset_at(topic, partition, t)

    def _offset_at(self, topic, partition, t):
        said = self.run(["-Q", "-t", f"{topic}:{partition}:{t}"])
        return int(re.search(rf"\[{partition}\] offset (-?\d+)", said).group(1))

    def topics(self):
        listed = json.loads(self.run(["-L", "-J"]))["topics"]
        return {each["topic"]: len(each["partitions"]) for each in listed}

    def cluster(self):
        return len(json.loads(self.run(["-L", "-J"]))["brokers"]), None

    def subscribe(self, group, topics, session_ms=6000, reset="earliest", fetch_wait_ms=500,
                  assignor="range"):
        settings = {
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": assignor,
            "auto.offset.reset": reset,
            "auto.commit.interval.ms": 100,
            "fetch.wait.max.ms": fetch_wait_ms,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        options = [each for key, value in settings.items() for each in ("-X", f"{key}={value}")]
        self.member = GroupRun([*self.base, *options, "-J", "-u", "-G", group, *topics])

    def poll_ask(self, ms):
        self.poll_ms = ms

    def poll_answer(self):
        return self.member.poll(self.poll_ms / 1000)

    def close(self):
        self.member.close()
        self.member = None

    def kill(self):
        if self.member is not None:
            self.member.process.kill()
            self.member.process.wait()
            self.member = None

    def idle(self):
        self.quit()
        return True

    def quit(self):
        if self.member is not None:
            self.close()


class GroupRun:
    """A `kcat -G` that runs: records on its standard output, rebalances on its standard error."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said = queue.SimpleQueue()
        self.assigned = set()
        self.complaints = []
        for kind, stream in (("record", self.process.stdout), ("note", self.process.stderr)):
            threading.Thread(target=self._read, args=(kind, stream), daemon=True).start()

    def _read(self, kind, stream):
        for line in stream:
            self.said.put((kind, line))

    def poll(self, seconds):
        records, events = [], []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                kind, line = self.said.get(timeout=left)
            except queue.Empty:
                break
            if kind == "record":
                records.append(_taken(line))
            else:
                self._note(line, events)
        if self.process.poll() is not None:
            raise AgentError(f"kcat ended with {self.process.returncode}: {self.complaints}")
        return self.assigned, records, events

    def _note(self, line, events):
        # "% Group g rebalanced (memberid m): assigned: t [0], t [1]"
        found = re.search(r"rebalanced \(memberid [^)]*\): (assigned|revoked): ?(.*)", line)
        if not found:
            self.complaints.append(line.strip())
            return
        partitions = {(topic, int(number))
                      for topic, number in re.findall(r"(\S+) \[(\d+)\]", found.group(2))}
        self.assigned = partitions if found.group(1) == "assigned" else set()
        events.append((found.group(1), partitions))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AgentError(f"kcat did not leave within {RUN_SECONDS} s") from None


def _taken(line):
    fields = json.loads(line)
    flat = fields.get("headers", [])
    headers = tuple((name, None if data is None else data.encode())
                    for name, data in zip(flat[::2], flat[1::2], strict=True))
    return Taken(
        key=None if fields["key"] is None else fields["key"].encode(),
        value=None if fields["payload"] is None else fields["payload"].encode(),
        headers=headers,
        partition=fields["partition"],
        timestamp=fields["ts"],
        topic=fields["topic"],
        offset=fields["offset"],
    )
