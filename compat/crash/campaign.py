"""The rounds with one durability: load, kill, start, check."""

import dataclasses
import itertools
import pathlib
import signal
import time

from driver import log_dump, report, toolchain
from driver.agent import Agent
from driver.broker import Kafka, Millstream, lasting_port
from driver.suite import FAILED

from .group import Group
from .load import loads

PARTITIONS = 4
# The start after a kill, recovery included: a folder of this size and a machine that runs the
# whole load beside it.
READY_SECONDS = 10
PROGRESS_SECONDS = 60
PROGRESS_RECORDS = 100
KILL_WITHIN_SECONDS = 1.5
# How far back each round reads again what it knows; now and then, and at the end, all of it.
READ_BACK = 2000
READ_ALL_EVERY = 20
READ_ALL_BELOW = 50_000
FAULTS_SHOWN = 20


@dataclasses.dataclass
class Programs:
    python: pathlib.Path
    go_agent: pathlib.Path
    millstreamd: pathlib.Path | None

    @staticmethod
    def bring(options):
        python, go_agent = toolchain.python(), toolchain.go_agent()
        toolchain.kafka()  # Also for kafka-dump-log.
        if options.broker == "kafka":
            return Programs(python, go_agent, None)
        return Programs(python, go_agent, toolchain.millstreamd(options.millstreamd))


class Campaign:
    def __init__(self, options, programs, durability, folder, chance):
        self.options = options
        self.programs = programs
        self.durability = durability
        self.folder = folder
        self.chance = chance
        self.port = lasting_port()
        self.loads = loads(programs.python, programs.go_agent, PARTITIONS, folder)
        topics = [load.topic for load in self.loads]
        # What is only in memory may be lost, and offsets with it: groups have no promise then.
        self.groups = [] if self.loses() else [
            Group("pair", ["librdkafka", "librdkafka"], topics, folder),
            Group("alone", ["kafka-python"], topics, folder),
        ]
        self.broker = None
        self.reader = None
        self.rounds = 0
        self.forgotten = 0
        self.slowest_start = 0

    def loses(self):
        return self.durability == "memory"

    def summary(self):
        said = (f"{self.rounds} kills, {self.acknowledged()} acknowledged records and "
                f"{sum(group.commits for group in self.groups)} commits kept, "
                f"ready within {self.slowest_start:.2f} s")
        return said + (f", {self.forgotten} records not written yet" if self.loses() else "")

    def acknowledged(self):
        return sum(load.acknowledged for load in self.loads)

    def run(self, rounds, until):
        with open(self.folder / "clients.log", "w") as log:
            try:
                self.start_broker()
                self.start_clients(log)
                for _ in range(rounds):
                    if until is not None and time.monotonic() > until:
                        break
                    self.round(rounds, log)
                self.last_look()
            finally:
                for load in self.loads:
                    load.stop(signal.SIGKILL)
                for group in self.groups:
                    for process in group.processes:
                        process.kill()
                if self.reader is not None:
                    self.reader.kill()
                if self.broker is not None:
                    self.broker.kill()

    def start_broker(self):
        """Returns the seconds until it was ready."""
        settings = {
            "log.segment.bytes": 1 << 20,
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.num.partitions": 5,
        }
        start = time.monotonic()
        if self.options.broker == "kafka":
            self.broker = Kafka(toolchain.SCRIPTS, self.folder / "broker", settings, self.port)
            return 0
        settings["durability"] = self.durability
        # The daemon ends with us, whatever ends us.
        self.broker = Millstream(self.programs.millstreamd, self.folder / "broker", settings,
                                 self.port, prefix=("setpriv", "--pdeathsig", "KILL"))
        return time.monotonic() - start

    def start_clients(self, log):
        program = toolchain.COMPAT / "python" / "crash_reader.py"
        self.reader = Agent([self.programs.python, program, self.broker.bootstrap,
                             self.options.broker], log)
        for load in self.loads:
            self.reader.do("create", topic=load.topic, partitions=PARTITIONS)
            load.start(self.broker.bootstrap, self.options.rate, log)
        for group in self.groups:
            group.start(self.programs.python, self.broker.bootstrap, log)

    def round(self, rounds, log):
        begun, before = time.monotonic(), self.acknowledged()
        self.until_progress()
        time.sleep(self.chance.uniform(0, KILL_WITHIN_SECONDS))
        self.kill()
        if self.loses():
            for load in self.loads:
                load.stop(signal.SIGINT)
        ready = self.start_broker()
        self.slowest_start = max(self.slowest_start, ready)
        self.rounds += 1
        if self.loses():
            self.forgotten += sum(load.forget_behind_the_end(self.reader) for load in self.loads)
        else:
            # The same clients go on: what was under way is sent again.
            self.until_progress()
        faults = [] if ready <= READY_SECONDS else [
            f"slow: the start after the kill took {ready:.1f} s, not {READY_SECONDS} s"]
        faults += self.check(self.rounds % READ_ALL_EVERY == 0
                             or self.acknowledged() < READ_ALL_BELOW)
        now = self.acknowledged()
        print(f"{'FAILED' if faults else 'ok':8}{self.durability} {self.rounds:>3}/{rounds}: "
              f"ready after {ready:.2f} s, {now - before} records more, {now} in all, "
              f"{time.monotonic() - begun:.1f} s", flush=True)
        raise_if(faults)
        if self.loses():
            for load in self.loads:
                load.start(self.broker.bootstrap, self.options.rate, log)

    def until_progress(self):
        """Waits until each producer and each group has got on since the broker started."""
        wanted = [load.acknowledged + PROGRESS_RECORDS for load in self.loads]
        commits = [group.commits + 1 for group in self.groups]
        deadline = time.monotonic() + PROGRESS_SECONDS
        while True:
            for each in (*self.loads, *self.groups):
                each.take_journal()
            behind = [
                f"{load.topic}: {load.acknowledged} records acknowledged, {count} wanted"
                for load, count in zip(self.loads, wanted) if load.acknowledged < count
            ] + [
                f"group {group.name}: {group.commits} commits, {count} wanted; the last errors: "
                f"{group.failed[-3:]}"
                for group, count in zip(self.groups, commits) if group.commits < count
            ]
            if not behind:
                return
            if self.broker_has_ended():
                raise AssertionError("the broker ended by itself: " + self.last_words())
            for each in (*(load.process for load in self.loads), *self.groups):
                assert not each.ended(), f"a client ended by itself; see {self.folder}/clients.log"
            if time.monotonic() > deadline:
                self.ask_where_they_hang()
                raise AssertionError(f"no progress in {PROGRESS_SECONDS} s:\n" + "\n".join(behind))
            time.sleep(0.02)

    def ask_where_they_hang(self):
        """Every client writes its stacks to clients.log; the one of Go ends by that."""
        processes = [load.process for load in self.loads]
        for process in itertools.chain(processes, *(group.processes for group in self.groups)):
            process.process.send_signal(signal.SIGUSR1)
        time.sleep(1)

    def broker_has_ended(self):
        return self.options.broker != "kafka" and self.broker.process.poll() is not None

    def last_words(self):
        lines = self.broker.log.read_text(errors="replace").splitlines()
        return f"see {self.broker.log}\n" + "\n".join(lines[-10:])

    def kill(self):
        if self.broker_has_ended():
            raise AssertionError("the broker ended before it was killed: " + self.last_words())
        self.broker.kill()
        if self.options.sabotage:
            cut_segments(self.broker.data)

    def check(self, all_of_it):
        back = 1 << 62 if all_of_it else READ_BACK
        faults = [fault for load in self.loads
                  for fault in itertools.islice(load.take(self.reader, back), FAULTS_SHOWN)]
        for group in self.groups:
            faults += itertools.islice(group.faults(self.reader, PARTITIONS), FAULTS_SHOWN)
        if said := report.complaints(self.broker):
            faults.append(f"the broker's log has errors:\n{said}")
        return faults

    def last_look(self):
        """Stops in good order, starts again, reads everything, and lets kafka-dump-log read it."""
        self.until_progress()
        for each in (*self.loads, *self.groups):
            each.stop()
        self.broker.stop()
        self.start_broker()
        raise_if(self.check(True))
        raise_if([fault for load in self.loads for fault in load.everything()])
        ends = {(load.topic, partition): end
                for load in self.loads for partition, end in enumerate(load.known_ends())}
        self.broker.stop()
        data, self.broker = self.broker.data, None
        raise_if([f"kafka-dump-log: {result.scenario}: {result.detail}"
                  for result in log_dump.check(data, {} if self.loses() else ends)
                  if result.outcome == FAILED])


def raise_if(faults):
    if faults:
        more = f"\n... and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise AssertionError("\n".join(faults[:FAULTS_SHOWN]) + more)


def cut_segments(data):
    """What a broker would leave that answers before it writes: the last bytes are missing."""
    for segment in data.glob("*-*/*.log"):
        if segment.parent.name.startswith("__"):
            continue
        written = len(segment.read_bytes().rstrip(b"\0"))
        with open(segment, "r+b") as file:
            file.truncate(max(0, written - 3000))
