"""The command line of scripts/compat: brokers up, suites run, a table printed."""

import argparse
import concurrent.futures
import functools
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

from . import log_dump, page, report, scenarios, toolchain  # noqa: F401
from .broker import BrokerError, Kafka, Millstream, Running
from .clients import CLIENTS
from .scenarios.together import TogetherGround
from .scenarios.tools import ToolsGround
from .suite import (
    CLIENT, FAILED, NOT_SERVED, PASSED, SKIPPED, TOGETHER, TOOLS, ClientGround, Result, run_suite,
)

SUITES_AT_ONCE = 2
TOOLS_SUITE, TOGETHER_SUITE, DUMP_SUITE = "kafka-tools", "together", "dump-log"
PAGE = toolchain.ROOT / "docs" / "compatibility.md"
SUITES = [*(client.name for client in CLIENTS), TOOLS_SUITE, TOGETHER_SUITE, DUMP_SUITE]

# No delay but where it is measured, more than one partition for a topic made by itself, segments
# of Kafka's smallest size so that the suites roll many, and no end to records of years ago.
SETTINGS = {
    "group.initial.rebalance.delay.ms": 0,
    "num.partitions": 3,
    "log.segment.bytes": 1 << 20,
    "log.retention.hours": -1,
}


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/compat clients",
        description="Runs stock Kafka clients against a broker and checks what they see.")
    parser.add_argument("--broker", choices=["millstream", "kafka"], default="millstream")
    parser.add_argument("--bootstrap", metavar="HOST:PORT",
                        help="use a broker that runs already, and leave it running")
    parser.add_argument("--only", action="append", choices=SUITES, metavar="SUITE",
                        help=f"run this suite alone; may be repeated: {', '.join(SUITES)}")
    parser.add_argument("--scenario", metavar="TEXT",
                        help="run only the scenarios whose name contains TEXT")
    parser.add_argument("--millstreamd", metavar="PATH", help="the daemon; built if not given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="one more setting for the broker")
    parser.add_argument("--dump-log", metavar="DIR", type=pathlib.Path,
                        help="only check the data folder DIR of a stopped broker")
    parser.add_argument("--write", action="store_true",
                        help="put the table of clients and tools into docs/compatibility.md")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    return parser.parse_args()


class Run:
    def __init__(self, options):
        self.options = options
        self.chosen = options.only or SUITES
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millstream-compat-"))
        self.id = f"c{os.getpid()}"
        self.results = []
        self.prepared = {}
        self.versions = {}
        self.tools = None
        self.lock = threading.Lock()
        self.settings = {**SETTINGS, **dict(each.split("=", 1) for each in options.set)}

    def note(self, result):
        with self.lock:
            self.results.append(result)
            report.print_result(result)

    def prepare(self, name, bring):
        """Brings a toolchain; without it its suite is skipped, or fails in CI."""
        start = time.monotonic()
        try:
            self.prepared[name] = bring()
        except toolchain.Missing as missing:
            outcome = FAILED if toolchain.in_ci() else SKIPPED
            self.note(Result(name, "toolchain", outcome, time.monotonic() - start, str(missing)))

    def prepare_all(self):
        self.prepare("reference", toolchain.python)
        for client in CLIENTS:
            if client.name in self.chosen:
                self.prepare(client.name, client.prepare)
        for name in (TOOLS_SUITE, DUMP_SUITE):
            if name in self.chosen:
                self.prepare(name, toolchain.kafka)

    def start(self, name, settings):
        folder = self.folder / name
        if self.options.broker == "kafka":
            return Kafka(toolchain.SCRIPTS, folder, settings)
        return Millstream(toolchain.millstreamd(self.options.millstreamd), folder, settings)

    def reference(self, broker):
        """An agent for what a client cannot do itself: making topics, asking for offsets."""
        return CLIENTS[0].connect(self.prepared["reference"], broker.bootstrap, self.agents_log)

    def client_suite(self, client, broker, delayed=False):
        admin = self.reference(broker)
        ground = ClientGround(
            client, self.prepared[client.name], broker, admin, self.id, self.agents_log)
        self.versions[client.name] = ground.version
        try:
            self.scenarios(CLIENT, ground, delayed)
        finally:
            ground.finish()
            admin.quit()

    def tools_suite(self, broker):
        """Beside Millstream an Apache Kafka is started, to compare what the tools print."""
        brokers = [broker]
        if broker.kind == "millstream":
            brokers.append(Kafka(toolchain.SCRIPTS, self.folder / "peer", self.settings))
        try:
            self.tools = ToolsGround(brokers, self.reference, self.id, self.agents_log)
            try:
                self.scenarios(TOOLS, self.tools)
            finally:
                self.tools.finish()
        finally:
            for peer in brokers[1:]:
                peer.stop()

    def together_suite(self, broker):
        admin = self.reference(broker)
        clients = {client.name: (client, self.prepared[client.name])
                   for client in CLIENTS if client.name in self.prepared}
        ground = TogetherGround(clients, broker, admin, self.id, self.agents_log)
        try:
            self.scenarios(TOGETHER, ground)
        finally:
            ground.finish()
            admin.quit()

    def scenarios(self, registry, ground, delayed=False):
        run_suite(registry, ground, delayed, self.options.scenario, self.note)

    def at_once(self, jobs, limit):
        """Runs (suite, job) pairs, a few at a time; a suite that breaks is a failure."""
        def guarded(suite, job):
            try:
                job()
            except Exception as error:
                traceback.print_exc()
                self.note(Result(suite, "suite", FAILED, 0, f"{type(error).__name__}: {error}"))
        with concurrent.futures.ThreadPoolExecutor(limit) as pool:
            list(pool.map(lambda each: guarded(*each), jobs))

    def main_suites(self, broker):
        jobs = [(client.name, functools.partial(self.client_suite, client, broker))
                for client in CLIENTS if client.name in self.prepared]
        if TOOLS_SUITE in self.prepared:
            # Started early: it is among the longest.
            jobs.insert(1, (TOOLS_SUITE, functools.partial(self.tools_suite, broker)))
        self.at_once(jobs, SUITES_AT_ONCE)
        if TOGETHER_SUITE in self.chosen:
            for client in CLIENTS:
                if client.name not in self.prepared:
                    self.prepare(client.name, client.prepare)
            self.at_once([(TOGETHER_SUITE, functools.partial(self.together_suite, broker))], 1)

    def delayed_suites(self, clients):
        """These mostly wait: all at the same time."""
        settings = {**self.settings, "group.initial.rebalance.delay.ms": 3000}
        broker = self.start("delayed", settings)
        try:
            jobs = [(client.name, functools.partial(self.client_suite, client, broker, True))
                    for client in clients]
            self.at_once(jobs, len(jobs))
        finally:
            broker.stop()

    def whole(self):
        self.prepare_all()
        if "reference" not in self.prepared:
            return
        with open(self.folder / "agents.log", "w") as self.agents_log:
            if self.options.bootstrap:
                self.main_suites(Running(self.options.bootstrap))
                return
            broker = self.start("broker", self.settings)
            print(f"{broker.kind} at {broker.bootstrap}, data in {broker.data}", flush=True)
            clients = [client for client in CLIENTS if client.name in self.prepared]
            ends = {}
            try:
                self.main_suites(broker)
                ends = self.ends(broker)
            finally:
                self.stop(broker)
            wanted = self.options.scenario
            if clients and (wanted is None or any(
                    each.delayed and wanted in each.name for each in CLIENT.scenarios)):
                self.delayed_suites(clients)
            if DUMP_SUITE in self.prepared:
                self.at_once([(DUMP_SUITE, lambda: self.dump(broker.data, ends))], 1)
            if self.is_whole():
                self.check_page()

    def is_whole(self):
        """True if everything was run against Millstream, so that the page can be made of it."""
        options = self.options
        return (options.broker == "millstream" and not options.only and not options.scenario
                and not options.set and all(result.outcome in (PASSED, NOT_SERVED)
                                            for result in self.results))

    def check_page(self):
        made = page.block(self.results, self.versions, self.tools.table(), toolchain.kafka_version())
        if self.options.write:
            page.write(PAGE, made)
        outcome, detail = PASSED, ""
        if not page.agrees(PAGE, made):
            outcome, detail = FAILED, "it is out of date; scripts/compat clients --write mends it"
        self.note(Result("page", PAGE.name, outcome, 0, detail))

    def ends(self, broker):
        """The end offset of every partition of this run, to hold the data folder against."""
        agent = self.reference(broker)
        try:
            topics = {name: count for name, count in agent.topics().items()
                      if name.startswith(f"{self.id}-")}
            return {(name, partition): latest
                    for name, count in topics.items()
                    for partition, (_, latest) in enumerate(agent.offsets(name, count))}
        finally:
            agent.quit()

    def stop(self, broker):
        start = time.monotonic()
        try:
            broker.stop()
            said = report.complaints(broker)
            outcome, detail = (FAILED, said) if said else (PASSED, "")
        except BrokerError as error:
            outcome, detail = FAILED, str(error)
        self.note(Result("broker", "stops in good order", outcome,
                         time.monotonic() - start, detail))

    def dump(self, data, ends):
        for result in log_dump.check(data, ends):
            self.note(result)


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(options)
    start = time.monotonic()
    try:
        if options.dump_log:
            run.prepare(DUMP_SUITE, toolchain.kafka)
            if DUMP_SUITE in run.prepared:
                run.dump(options.dump_log, {})
        else:
            run.whole()
    except (BrokerError, toolchain.Missing) as error:
        run.note(Result("broker", "starts", FAILED, 0, str(error)))
    finally:
        failed = any(result.outcome == FAILED for result in run.results)
        if failed or options.keep:
            print(f"kept: {run.folder}")
        else:
            shutil.rmtree(run.folder, ignore_errors=True)
    report.print_table(run.results, time.monotonic() - start)
    return report.print_total(run.results)
