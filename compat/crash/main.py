"""The command line of `scripts/test crash`."""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from driver import toolchain
from driver.agent import Agent, AgentError
from driver.broker import BrokerError, Kafka, Millstream, free_port

from . import checker
from .checker import Acknowledged

sys.path.insert(0, str(toolchain.COMPAT / "python"))
from payload import number_of  # noqa: E402

DURABILITIES = ["fsync", "written", "memory"]
PARTITIONS = 4
RATE = 1500
PROGRESS_SECONDS = 60
SHORT_ROUNDS = 6
READ_AT_ONCE = 20_000


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/test crash",
        description="Kills a broker with SIGKILL at random moments under load, starts it again "
        "on the same folder, and checks that it kept what it acknowledged.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--short", action="store_true", help=f"{SHORT_ROUNDS} rounds")
    parser.add_argument("--durability", choices=[*DURABILITIES, "all"], default="all")
    parser.add_argument("--broker", choices=["millstream", "kafka"], default="millstream")
    parser.add_argument("--millstreamd", metavar="PATH", help="the daemon; built if not given")
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    parser.add_argument("--self-test", action="store_true", help="only check the checker")
    parser.add_argument("--sabotage", action="store_true",
                        help="cut the end off the segments after each kill: the run must fail")
    return parser.parse_args()


class Load:
    """One producer program, its journal, and what was read of its topic so far."""

    def __init__(self, name, idempotent, folder):
        self.topic = name
        self.idempotent = idempotent
        self.journal = folder / f"{name}.journal"
        self.journal.touch()
        self.position = 0
        self.acknowledged = []
        self.checked = 0
        self.log = {partition: [] for partition in range(PARTITIONS)}
        self.next_number = 0
        self.refused = []
        self.process = None

    def start(self, python, bootstrap, log):
        command = [python, toolchain.COMPAT / "python" / "crash_load.py", bootstrap, self.topic,
                   self.journal, "--partitions", PARTITIONS, "--first", self.next_number,
                   "--rate", RATE]
        command += ["--idempotent"] if self.idempotent else []
        self.process = subprocess.Popen([str(word) for word in command], stderr=log)

    def take_journal(self):
        """Reads what the journal says since the last time; a half-written line waits."""
        with open(self.journal, "rb") as journal:
            journal.seek(self.position)
            said = journal.read()
        whole = said[: said.rfind(b"\n") + 1]
        self.position += len(whole)
        for line in whole.decode().splitlines():
            kind, *fields = line.split(maxsplit=3)
            if kind == "A":
                self.acknowledged.append(Acknowledged(*map(int, fields)))
            elif kind == "E":
                self.refused.append(line)
            else:
                self.next_number = int(fields[0]) + 1

    def until_progress(self, count):
        wanted = len(self.acknowledged) + count
        deadline = time.monotonic() + PROGRESS_SECONDS
        while len(self.acknowledged) < wanted:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self.topic}: only {len(self.acknowledged)} of {wanted} records were "
                    f"acknowledged within {PROGRESS_SECONDS} s")
            if self.process.poll() is not None:
                raise AssertionError(f"{self.topic}: the producer ended: {self.refused[-3:]}")
            time.sleep(0.02)
            self.take_journal()

    def stop(self, which):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(which)
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.take_journal()

    def ends(self, agent):
        return [latest for _, latest in agent.offsets(self.topic, PARTITIONS)]

    def read(self, agent, starts, ends):
        """Record numbers of each partition from its start to its end, and what was amiss."""
        found = {partition: [] for partition in range(PARTITIONS)}
        for partition in range(PARTITIONS):
            while (at := starts[partition] + len(found[partition])) < ends[partition]:
                count = min(READ_AT_ONCE, ends[partition] - at)
                taken = agent.consume(self.topic, [(partition, at)], count)
                if [record.offset for record in taken] != list(range(at, at + count)):
                    raise AssertionError(
                        f"{self.topic}/{partition}: asked for {count} records from {at}, "
                        f"got {[record.offset for record in taken][:5]}... ({len(taken)})")
                found[partition] += [number_of(record.value) for record in taken]
        return found

    def take_new(self, agent):
        """Reads on to the present end."""
        starts = [len(self.log[partition]) for partition in range(PARTITIONS)]
        for partition, numbers in self.read(agent, starts, self.ends(agent)).items():
            self.log[partition] += numbers

    def forget_the_unwritten(self, agent):
        """For `memory`: what lay behind the end the log has now may be lost; the rest may not."""
        ends = self.ends(agent)
        for partition, end in enumerate(ends):
            del self.log[partition][end:]
        kept = [each for each in self.acknowledged
                if each.offset >= 0 and each.offset < ends[each.partition]]
        forgotten = len(self.acknowledged) - len(kept)
        self.acknowledged = kept
        return forgotten

    def faults(self):
        return [f"{self.topic}: {fault}"
                for fault in checker.faults(self.log, self.acknowledged, self.idempotent)]


class Campaign:
    """All the rounds with one durability."""

    def __init__(self, options, python, durability, folder, chance):
        self.options = options
        self.python = python
        self.durability = durability
        self.folder = folder
        self.chance = chance
        self.port = free_port()
        self.loads = [Load("plain", False, folder), Load("idempotent", True, folder)]
        self.forgotten = 0
        self.broker = None

    def start_broker(self):
        settings = {"log.segment.bytes": 1 << 20, "num.partitions": PARTITIONS}
        if self.options.broker == "kafka":
            return Kafka(toolchain.SCRIPTS, self.folder / "broker", settings, self.port)
        settings["durability"] = self.durability
        binary = toolchain.millstreamd(self.options.millstreamd)
        return Millstream(binary, self.folder / "broker", settings, self.port)

    def run(self, rounds):
        loses = self.durability == "memory"
        with open(self.folder / "clients.log", "w") as log:
            self.broker = self.start_broker()
            agent = self.agent(log)
            try:
                for load in self.loads:
                    agent.create_topic(load.topic, PARTITIONS)
                    load.start(self.python, self.broker.bootstrap, log)
                for number in range(rounds):
                    self.round(number, agent, loses, log)
                self.last_look(agent)
            finally:
                for load in self.loads:
                    load.stop(signal.SIGINT)
                agent.kill()
                if self.broker is not None:
                    self.broker.kill()

    def agent(self, log):
        program = toolchain.COMPAT / "python" / "confluent_agent.py"
        return Agent([self.python, program, self.broker.bootstrap], log)

    def round(self, number, agent, loses, log):
        for load in self.loads:
            load.until_progress(200)
        time.sleep(self.chance.uniform(0, 1))
        self.broker.kill()
        if self.options.sabotage:
            cut_segments(self.broker.data)
        if loses:
            for load in self.loads:
                load.stop(signal.SIGINT)
        self.broker = None
        self.broker = self.start_broker()
        if loses:
            for load in self.loads:
                self.forgotten += load.forget_the_unwritten(agent)
        else:
            # The same producers go on: what was under way is sent again.
            for load in self.loads:
                load.until_progress(200)
        faults = []
        for load in self.loads:
            load.take_journal()
            load.take_new(agent)
            faults += load.faults()
        if faults:
            more = f"\n... and {len(faults) - 10} more" if len(faults) > 10 else ""
            raise AssertionError(f"round {number + 1}:\n" + "\n".join(faults[:10]) + more)
        if loses:
            for load in self.loads:
                load.start(self.python, self.broker.bootstrap, log)

    def last_look(self, agent):
        """Stops in good order and reads everything again, from the first record."""
        for load in self.loads:
            load.until_progress(1)
            load.stop(signal.SIGTERM)
            load.take_new(agent)
        self.broker.stop()
        self.broker = self.start_broker()
        for load in self.loads:
            ends = load.ends(agent)
            again = load.read(agent, [0] * PARTITIONS, ends)
            if again != load.log:
                raise AssertionError(f"{load.topic}: what was read before reads differently now")
            if faults := load.faults():
                raise AssertionError("at the end:\n" + "\n".join(faults[:10]))
            if load.refused:
                raise AssertionError(f"{load.topic}: refused: {load.refused[:5]}")
        self.broker.stop()
        self.broker = None


def cut_segments(data):
    """What a broker would leave that answers before it writes."""
    for segment in data.glob("*-*/*.log"):
        if not segment.parent.name.startswith("__"):
            with open(segment, "r+b") as file:
                size = segment.stat().st_size
                file.truncate(size - min(size, 3000))


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases = checker.self_test()
    print(f"ok      checker: {cases} right and wrong logs told apart", flush=True)
    if options.self_test:
        print(f"{cases} passed, 0 failed, 0 skipped")
        return 0
    try:
        python = toolchain.python()
        if options.broker == "millstream":
            options.millstreamd = toolchain.millstreamd(options.millstreamd)
        else:
            toolchain.kafka()
    except toolchain.Missing as missing:
        print(f"{'FAILED' if toolchain.in_ci() else 'skipped'}  crash: {missing}")
        print(f"1 passed, {int(toolchain.in_ci())} failed, {int(not toolchain.in_ci())} skipped")
        return int(toolchain.in_ci())
    chosen = DURABILITIES if options.durability == "all" else [options.durability]
    if options.broker == "kafka":
        chosen = ["written"]  # The only one of the three that a plain Apache Kafka has.
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    failed = sum(not campaign(options, python, durability, seed) for durability in chosen)
    print(f"{1 + len(chosen) - failed} passed, {failed} failed, 0 skipped")
    return min(failed, 1)


def campaign(options, python, durability, seed):
    rounds = SHORT_ROUNDS if options.short else options.rounds
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"millstream-crash-{durability}-"))
    one = Campaign(options, python, durability, folder, random.Random(f"{seed} {durability}"))
    start = time.monotonic()
    try:
        one.run(rounds)
        problem = None
        shutil.rmtree(folder, ignore_errors=True)
    except (AssertionError, AgentError, BrokerError) as error:
        problem = f"{type(error).__name__}: {error}\nkept: {folder}"
    records = sum(len(load.acknowledged) for load in one.loads)
    took = time.monotonic() - start
    kept = f"{records} acknowledged records kept"
    if durability == "memory":
        kept += f", {one.forgotten} not yet written when it died"
    print(f"{'FAILED' if problem else 'ok':8}crash: {durability}, {rounds} rounds, {kept}, "
          f"{took:.0f} s", flush=True)
    if problem:
        print(problem, flush=True)
    return problem is None
