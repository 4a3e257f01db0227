"""A consumer group under load: its members, and what they were told about its offsets."""

from driver import toolchain

from .journal import Journal
from .process import Process


class Group:
    def __init__(self, name, clients, topics, folder):
        self.name = name
        self.clients = clients
        self.topics = topics
        self.journals = [Journal(folder / f"{name}-{n}.journal") for n in range(len(clients))]
        self.processes = []
        self.commits = 0
        self.assignments = 0
        self.failed = []
        # By (topic, partition): the highest acknowledged commit, and what was read.
        self.committed = {}
        self.read = {}

    def start(self, python, bootstrap, log):
        program = toolchain.COMPAT / "python" / "crash_member.py"
        self.processes = [
            Process([python, program, client, bootstrap, self.name, journal.path, *self.topics],
                    log)
            for client, journal in zip(self.clients, self.journals)]

    def stop(self):
        for process in self.processes:
            process.stop()
        self.take_journal()

    def ended(self):
        return any(process.ended() for process in self.processes)

    def take_journal(self):
        for journal in self.journals:
            for kind, *fields in journal.take():
                if kind == "R":
                    place = (fields[0], int(fields[1]))
                    self.read.setdefault(place, Coverage()).add(int(fields[2]), int(fields[3]))
                elif kind == "C":
                    place, offset = (fields[0], int(fields[1])), int(fields[2])
                    self.committed[place] = max(self.committed.get(place, 0), offset)
                    self.commits += 1
                elif kind == "G":
                    self.assignments += 1
                else:
                    self.failed.append(" ".join(fields))

    def faults(self, reader, partitions):
        """Yields commits that were acknowledged and are gone, and offsets that nobody read."""
        # In this order: members go on committing, and never backwards.
        self.take_journal()
        wanted = dict(self.committed)
        kept = {(topic, partition): offset for topic, partition, offset in reader.do(
            "committed", group=self.name, topics=self.topics, partitions=partitions)["committed"]}
        self.take_journal()
        for (topic, partition), offset in sorted(wanted.items()):
            if kept.get((topic, partition), 0) < offset:
                yield (f"lost: group {self.name} committed {offset} of {topic}-{partition}, "
                       f"the broker says {kept.get((topic, partition))}")
        for (topic, partition), offset in sorted(self.committed.items()):
            covered = self.read[topic, partition].end_without_gap()
            if covered < offset:
                yield (f"skipped: group {self.name} committed {offset} of {topic}-{partition}, "
                       f"but no member had offset {covered}")


class Coverage:
    """Offsets that were read, from 0 on without a gap, and runs beyond."""

    def __init__(self):
        self.end = 0
        self.beyond = []

    def add(self, first, end):
        self.beyond.append((first, end))

    def end_without_gap(self):
        self.beyond.sort()
        left = []
        for first, end in self.beyond:
            if first <= self.end:
                self.end = max(self.end, end)
            else:
                left.append((first, end))
        self.beyond = left
        return self.end
