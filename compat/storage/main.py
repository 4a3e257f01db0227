"""The command line of `scripts/compat storage`: both brokers up, compacted, their folders exchanged.

    1  the same batches go to both, both compact them, and what is left is compared
    2  each of them writes topics of every kind
    3  both stop, each gets the other's segments, both start and serve them
"""

import argparse
import contextlib
import pathlib
import shutil
import sys
import tempfile
import time
import traceback

from differential import schema
from driver import log_dump, report, toolchain
from driver.agent import Agent
from driver.broker import Kafka, Millstream
from driver.suite import FAILED, PASSED, Result

from .compaction import Compaction
from .exchange import Exchange
from .transactions import transactions
from .wire import Wire

SUITE = "storage"

# Equal for both. Compaction begins when a topic's policy lets it, and is done a moment later.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "log.cleaner.backoff.ms": 100,
    "log.cleaner.dedupe.buffer.size": 16 << 20,
    "log.segment.bytes": 1 << 20,
    # The smallest that Kafka starts its housekeeping with.
    "log.initial.task.delay.ms": 100,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
}


def arguments(given):
    parser = argparse.ArgumentParser(
        prog="scripts/compat storage",
        description="Compacts the same records in Apache Kafka and in Millstream and compares, "
        "and gives each of them the other's segments to serve.")
    parser.add_argument("--seed", type=int, default=1, help="of the records")
    parser.add_argument("--rounds", type=int, default=3, help="compactions of each topic")
    parser.add_argument("--millstreamd", metavar="PATH", help="the daemon; built if not given")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    return parser.parse_args(given)


class Side:
    """One of the two brokers, with what talks to it."""

    def __init__(self, name, start, apis, agent_command, agents_log):
        self.name = name
        self.start = start
        self.apis = apis
        self.agent_command = agent_command
        self.agents_log = agents_log
        self.begin()

    def begin(self):
        self.broker = self.start()
        self.agent = Agent([*self.agent_command, self.broker.bootstrap], self.agents_log)
        self.wire = Wire(self.broker.bootstrap, self.apis)

    def end(self):
        self.wire.close()
        self.agent.quit()
        self.broker.stop()

    @property
    def data(self):
        return self.broker.data


class Run:
    def __init__(self, options):
        self.options = options
        self.results = []

    def check(self, name, run, *given):
        """Runs one check and prints what came of it; what it returns, or None if it failed."""
        began = time.monotonic()
        try:
            value, outcome, detail = run(*given), PASSED, ""
        except Exception as error:
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            value, outcome, detail = None, FAILED, f"{type(error).__name__}: {error}"
        result = Result(SUITE, name, outcome, time.monotonic() - began, detail)
        self.results.append(result)
        report.print_result(result)
        return value

    def whole(self, folder, agents_log):
        home = pathlib.Path(toolchain.kafka().removesuffix("/*"))
        apis = schema.load(next(home.glob("kafka-clients-*.jar")))
        agent, daemon = toolchain.java_agent(), toolchain.millstreamd(self.options.millstreamd)
        with contextlib.ExitStack() as stack:
            kafka = Side("kafka", lambda: Kafka(toolchain.SCRIPTS, folder / "kafka", SETTINGS),
                         apis, agent, agents_log)
            stack.callback(self.check, "Kafka stops", kafka.end)
            ours = Side("millstream", lambda: Millstream(daemon, folder / "millstream", SETTINGS),
                        apis, agent, agents_log)
            stack.callback(self.check, "Millstream stops", ours.end)

            compaction = Compaction(kafka, ours, self.options.seed, self.options.rounds)
            for name, run in compaction.checks():
                self.check(name, run)
            exchange = Exchange(kafka, ours, daemon, compaction.topics())
            self.check("both write every kind", exchange.write, transactions())
            exchange.stop()
            self.check("Kafka reads our folder", self.dumped, ours.data)
            self.check("each gets the other's segments", exchange.swap)
            exchange.start()
            for name, run in exchange.checks():
                self.check(name, run)
        complaints = report.complaints(ours.broker)
        if complaints:
            self.results.append(Result(SUITE, "nothing to complain of", FAILED, 0, complaints))

    def dumped(self, data):
        """Kafka's kafka-dump-log finds no fault with our segments and indexes."""
        logs = sorted(data.glob("*-*/*.log"))
        assert logs, "there is no segment"
        invalid = [line for line in log_dump.dumped(logs, "--deep-iteration", "--print-data-log")
                   if b"isvalid: false" in line]
        assert not invalid, invalid[:5]
        for kind in ("index", "timeindex"):
            files = sorted(data.glob(f"*-*/*.{kind}"))
            for _ in log_dump.dumped(files, unjustified=about_records):
                pass


def about_records(complaints):
    """What is left of the complaints about time indexes without those about batches that lost all
    their records: the tool takes -1 for their time. Kafka's own folders have them too."""
    left = []
    for line in complaints:
        if line.endswith("log timestamp: -1"):
            continue
        if line.startswith("Found timestamp mismatch") and left and left[-1].startswith("Found t"):
            left.pop()
        left.append(line)
    if left and left[-1].startswith("Found timestamp mismatch"):
        left.pop()
    return left


def main(given):
    options = arguments(given)
    run = Run(options)
    began = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millstream-storage-"))
    try:
        with open(folder / "agents.log", "w") as agents_log:
            run.whole(folder, agents_log)
    except toolchain.Missing as missing:
        print(f"{'FAILED' if toolchain.in_ci() else 'skipped'}  storage: {missing}")
        return 1 if toolchain.in_ci() else 0
    finally:
        if options.keep or any(result.outcome == FAILED for result in run.results):
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    report.print_table(run.results, time.monotonic() - began)
    return report.print_total(run.results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
