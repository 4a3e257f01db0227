"""Agents: one client of one library, driven by commands.

An agent program answers the commands of ../README.md; `Agent` is one such process. kcat and
Kafka's console tools have no agent program: kcat.py and console.py offer what they can do by the
same methods.
"""

import json
import queue
import subprocess
import threading
import time

from .records import Taken

ANSWER_SECONDS = 60


class AgentError(Exception):
    """What an agent answered to a command it could not carry out."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


class Agent:
    def __init__(self, command, log):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.answers = queue.SimpleQueue()
        self.subscribed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)

    def ask(self, command, /, **fields):
        """Sends a command; `answer` waits for what comes back."""
        try:
            self.process.stdin.write(json.dumps({"do": command, **fields}) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise AgentError(f"the agent has ended: {error}") from error

    def answer(self, seconds=ANSWER_SECONDS):
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise AgentError(f"no answer within {seconds} s") from None
        if line is None:
            raise AgentError(f"the agent ended with code {self.process.wait()}")
        fields = json.loads(line)
        if not fields["ok"]:
            raise AgentError(fields["error"], fields.get("code"))
        return fields

    def do(self, command, /, **fields):
        self.ask(command, **fields)
        return self.answer()

    def version(self):
        return self.do("version")["version"]

    def produce(self, topic, records, **options):
        """Sends the records; returns (partition, offset) of each."""
        sent = [record.to_json() for record in records]
        offsets = self.do("produce", topic=topic, records=sent, **options)["offsets"]
        return [tuple(at) for at in offsets]

    def consume(self, topic, starts, count, seconds=20):
        """Reads from (partition, offset)s until `count` records have come or the time is over."""
        fields = self.do(
            "consume", topic=topic, starts=starts, count=count, timeout_ms=int(seconds * 1000))
        return [Taken.from_json(each) for each in fields["records"]]

    def offsets(self, topic, partitions):
        """(earliest, latest) of each partition."""
        found = self.do("offsets", topic=topic, partitions=partitions)["offsets"]
        return [tuple(each) for each in found]

    def offset_for_time(self, topic, partition, t):
        return self.do("offset_for_time", topic=topic, partition=partition, t=t)["offset"]

    def subscribe(self, group, topics, **options):
        self.do("subscribe", group=group, topics=topics, **options)
        self.subscribed = True

    def commit(self, offsets):
        self.do("commit", offsets=offsets)

    def committed(self, group, topic, partitions):
        found = self.do("committed", group=group, topic=topic, partitions=partitions)["committed"]
        return [each and tuple(each) for each in found]

    def close(self):
        self.do("close")
        self.subscribed = False

    def create_topic(self, topic, partitions, configs=None):
        self.do("create_topic", topic=topic, partitions=partitions, configs=configs or {})

    def delete_topic(self, topic):
        self.do("delete_topic", topic=topic)

    def add_partitions(self, topic, partitions):
        self.do("add_partitions", topic=topic, partitions=partitions)

    def delete_records(self, topic, partition, before):
        self.do("delete_records", topic=topic, partition=partition, before=before)

    def topics(self):
        return self.do("topics")["topics"]

    def groups(self):
        return self.do("groups")["groups"]

    def describe_group(self, group):
        found = self.do("describe_group", group=group)
        return found["state"], found["members"]

    def delete_group(self, group):
        self.do("delete_group", group=group)

    def init_transactions(self, transactional_id):
        self.do("init_transactions", transactional_id=transactional_id)

    def topic_config(self, topic):
        return self.do("topic_config", topic=topic)["config"]

    def set_topic_config(self, topic, name, value):
        self.do("set_topic_config", topic=topic, name=name, value=value)

    def cluster(self):
        found = self.do("cluster")
        return found["brokers"], found["id"]

    def poll_ask(self, ms):
        self.ask("poll", ms=ms)

    def poll_answer(self):
        fields = self.answer()
        return (
            {(topic, partition) for topic, partition in fields["assigned"]},
            [Taken.from_json(each) for each in fields["records"]],
            [(kind, {tuple(at) for at in partitions}) for kind, partitions in fields["events"]],
        )

    def kill(self):
        """Ends the process as a crash would: nothing is said to the broker."""
        self.process.kill()
        self.process.wait()

    def idle(self):
        """Leaves its group; true if the process can serve another scenario."""
        try:
            if self.subscribed:
                self.close()
            return self.process.poll() is None
        except AgentError:
            self.kill()
            return False

    def quit(self):
        """Ends the process in good order, or by force if it does not answer."""
        if self.process.poll() is not None:
            return
        try:
            self.do("quit")
            self.process.wait(10)
        except (AgentError, subprocess.TimeoutExpired):
            self.kill()


class Member:
    """A member of a group, and all it has seen."""

    def __init__(self, name, agent):
        self.name = name
        self.agent = agent
        self.assigned = set()
        self.records = []
        self.events = []

    def partitions(self):
        return {partition for _, partition in self.assigned}


def poll_all(members, ms=200):
    """One poll of every member, at the same time: a rebalance needs all of them."""
    for member in members:
        member.agent.poll_ask(ms)
    for member in members:
        try:
            assigned, records, events = member.agent.poll_answer()
        except AgentError as error:
            raise AgentError(f"{member.name}: {error}", error.code) from error
        member.assigned = assigned
        member.records += records
        member.events += events


def poll_until(members, holds, seconds, what):
    """Polls until `holds()`; returns the seconds that took."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            seen = "; ".join(
                f"{m.name}: holds {sorted(m.partitions())}, {len(m.records)} records"
                for m in members)
            raise AssertionError(f"not within {seconds} s: {what} ({seen})")
        poll_all(members)
    return time.monotonic() - start
