"""One producer program, what it was told, and what was read of its topic so far."""

import signal

from driver import toolchain

from .checker import PartitionLog
from .journal import Journal
from .process import Process


class Load:
    def __init__(self, name, program, idempotent, partitions, folder):
        self.topic = name
        self.program = program
        self.journal = Journal(folder / f"{name}.journal")
        self.logs = [PartitionLog(f"{name}-{p}", idempotent) for p in range(partitions)]
        # (offset, number) of each partition: not held against the log yet, and all.
        self.fresh = [[] for _ in self.logs]
        self.told = [[] for _ in self.logs]
        self.acknowledged = 0
        self.next_number = 0
        self.refused = []
        self.process = None

    def start(self, bootstrap, rate, log):
        self.process = Process(
            [*self.program, "--partitions", len(self.logs), "--first", self.next_number,
             "--rate", rate, bootstrap, self.topic, self.journal.path], log)

    def stop(self, which=signal.SIGTERM):
        if self.process is not None:
            self.process.stop(which)
        self.take_journal()

    def take_journal(self):
        for kind, *fields in self.journal.take():
            if kind == "A":
                partition, offset, number = map(int, fields)
                self.fresh[partition].append((offset, number))
                self.acknowledged += 1
            elif kind == "E":
                self.refused.append(" ".join(fields))
            else:
                self.next_number = int(fields[0]) + 1

    def known_ends(self):
        return [len(log.numbers) for log in self.logs]

    def take(self, reader, back):
        """Reads on to the present end, `back` records of what is known again; yields faults."""
        # In this order: what was acknowledged until now lies before these ends.
        self.take_journal()
        ends = reader.do("ends", topic=self.topic, partitions=len(self.logs))["ends"]
        for log, end in zip(self.logs, ends):
            yield from log.shorter_than_known(end)
        known = self.known_ends()
        starts = [max(0, min(end, own) - back) for end, own in zip(ends, known)]
        found = reader.do("read", topic=self.topic, starts=starts, ends=ends)["numbers"]
        for log, start, end, numbers in zip(self.logs, starts, known, found):
            yield from log.compare(start, numbers[:end - start])
            yield from log.extend(numbers[end - start:])
        for log, told, fresh in zip(self.logs, self.told, self.fresh):
            yield from log.missing(fresh)
            told += fresh
            fresh.clear()
        yield from (f"refused: {self.topic}: record {text}" for text in self.refused)

    def everything(self):
        """Holds all that was ever acknowledged against the log; yields faults."""
        for log, told in zip(self.logs, self.told):
            yield from log.missing(told)

    def forget_behind_the_end(self, reader):
        """For `memory`: what lay behind the end the log has now may be lost; the rest may not."""
        self.take_journal()
        ends = reader.do("ends", topic=self.topic, partitions=len(self.logs))["ends"]
        forgotten = 0
        for partition, end in enumerate(ends):
            self.logs[partition].cut(end)
            for pairs in (self.told[partition], self.fresh[partition]):
                kept = [each for each in pairs if 0 <= each[0] < end]
                forgotten += len(pairs) - len(kept)
                pairs[:] = kept
        return forgotten


def loads(python, go_agent, partitions, folder):
    """The three producers: one of each library."""
    script = toolchain.COMPAT / "python" / "crash_load.py"
    return [
        Load("librdkafka", [python, script, "librdkafka"], True, partitions, folder),
        Load("kafka-python", [python, script, "kafka-python"], False, partitions, folder),
        Load("franz-go", [go_agent, "load"], True, partitions, folder),
    ]
