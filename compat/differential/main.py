"""The command line of `scripts/compat differential`."""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import traceback
import zlib

from driver import report as suites
from driver import toolchain
from driver.broker import Kafka, Millstream

from . import accepted, generated, ground, report, schema, sequences
from .compare import differences
from .talk import Side, Talk, common_versions

TALKS_AT_ONCE = 12
PAGE = toolchain.ROOT / "docs" / "compatibility.md"


def arguments(given):
    parser = argparse.ArgumentParser(
        prog="scripts/compat differential",
        description="Sends the same requests to Apache Kafka and to Millstream, and compares.")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT",
                        help="only scripts whose name contains TEXT, such as Fetch; may be "
                             "repeated, and the accepted list need not be used up then")
    parser.add_argument("--seed", type=int, default=1,
                        help="chooses what is sent in the versions between first and last")
    parser.add_argument("--millstreamd", metavar="PATH", help="the daemon; built if not given")
    parser.add_argument("--write", action="store_true",
                        help="write the table into docs/compatibility.md")
    parser.add_argument("--kafka", metavar="HOST:PORT",
                        help="an Apache Kafka that runs already, and is fresh")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    parser.add_argument("--details", metavar="FILE", type=pathlib.Path,
                        help="write every difference, accepted ones too, as JSON lines")
    parser.add_argument("--show", action="store_true", help="print every exchange")
    return parser.parse_args(given)


@dataclasses.dataclass
class Row:
    api: str
    versions: str
    pairs: int = 0
    accepted: int = 0
    different: int = 0


class Run:
    def __init__(self, options, apis, sides):
        self.options, self.apis, self.sides = options, apis, sides
        self.common = common_versions(sides, apis)
        self.moment = int(time.time() * 1000)
        self.done = 0
        self.lock = threading.Lock()

    def scripts(self):
        """All that the options leave, those that wait longest first."""
        found = sequences.scripts(self.common)
        for api, versions in self.common.items():
            for version in versions:
                found.append(sequences.Script(f"{api} {version} generated", functools.partial(
                    generated.run, api_name=api, version=version, seed=self.options.seed)))
        only = self.options.only
        return [each for each in found if not only or any(text in each.name for text in only)]

    def prepare(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda side: ground.prepare(side, self.common, self.moment),
                          self.sides))

    def talks(self, scripts):
        """Runs every script against both brokers; pairs of transcripts in the order given."""
        found = {}
        with concurrent.futures.ThreadPoolExecutor(TALKS_AT_ONCE) as pool:
            waves = [[script] for script in scripts if script.alone]
            waves.append([script for script in scripts if not script.alone])
            for wave in waves:
                begun = {script.name: [pool.submit(self._talk, script, side)
                                       for side in self.sides] for script in wave}
                found.update((name, [each.result() for each in pair])
                             for name, pair in begun.items())
        return [found[script.name] for script in scripts]

    def _talk(self, script, side):
        # Names of topics and groups are made of it, and must be as short as they are distinct.
        name = f"x{zlib.crc32(script.name.encode()):08x}"
        talk = Talk(side, self.common, name, self.moment)
        try:
            script.run(talk)
        except Exception as error:
            if self.options.show:
                traceback.print_exc()
            talk.broke(f"{type(error).__name__}: {error}")
        finally:
            talk.close()
        with self.lock:
            self.done += 1
            if sys.stderr.isatty():
                print(f"\r{self.done} talks", end="", file=sys.stderr, flush=True)
        return talk


def main(given):
    options = arguments(given)
    began = time.monotonic()
    try:
        home = pathlib.Path(toolchain.kafka().removesuffix("/*"))
        daemon = toolchain.millstreamd(options.millstreamd)
    except toolchain.Missing as missing:
        print(f"{'FAILED' if toolchain.in_ci() else 'skipped'}  differential: {missing}")
        return 1 if toolchain.in_ci() else 0
    apis = schema.load(next(home.glob("kafka-clients-*.jar")))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millstream-differential-"))
    with contextlib.ExitStack() as stack:
        if options.keep:
            print(f"the folder of the run is {folder}")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        kafka = options.kafka
        if not kafka:
            started = Kafka(toolchain.SCRIPTS, folder / "kafka", ground.SETTINGS)
            stack.callback(started.stop)
            kafka = started.bootstrap
        ours = Millstream(daemon, folder / "millstream", ground.SETTINGS)
        stack.callback(ours.stop)
        sides = [Side(kafka, apis), Side(ours.bootstrap, apis)]
        failed = compare(Run(options, apis, sides), options, began)
        said = suites.complaints(ours)
        if said:
            print(f"\nFAILED  millstreamd complains:\n{said}")
            failed = True
    return 1 if failed else 0


def compare(run, options, began):
    run.prepare()
    scripts = run.scripts()
    print(f"{len(scripts)} scripts for {len(run.common)} APIs, "
          f"after {time.monotonic() - began:.1f} s", flush=True)
    pairs = run.talks(scripts)
    end_ms = int(time.time() * 1000)
    entries = accepted.load()
    rows = {name: Row(name, f"{versions[0]}–{versions[-1]}")
            for name, versions in sorted(
                run.common.items(), key=lambda item: run.apis[item[0]].key)}
    left, everything = [], []
    for script, (theirs, mine) in zip(scripts, pairs):
        if options.show:
            show(script, theirs, mine)
        for exchange in theirs.exchanges:
            if exchange.api:
                rows[exchange.api].pairs += 1
        found = differences(script.name, theirs, mine, end_ms)
        remaining = accepted.sort_out(found, entries)
        for each in found:
            if each.api in rows:
                rows[each.api].accepted += each not in remaining
                rows[each.api].different += each in remaining
        left += remaining
        everything += found
    if options.details:
        report.write_details(options.details, everything)
    unused = [] if options.only else [
        each for each in entries if not each.count and not each.sometimes]
    report.print_differences(left)
    for each in unused:
        print(f"\naccepted, but no longer different: {each.api} {each.versions} {each.path} "
              f"({each.case})")
    report.print_table([row for row in rows.values() if row.pairs])
    total = sum(row.pairs for row in rows.values())
    print(f"\n{total} pairs of requests, {len(left)} differences that nothing accepts, "
          f"{len(unused)} accepted that no longer differ, "
          f"{time.monotonic() - began:.1f} s", flush=True)
    if options.write and not options.only:
        report.write_page(PAGE, list(rows.values()), entries, total, _kafka_version())
    return bool(left or unused or not total)


def show(script, theirs, mine):
    for one, other in zip(theirs.exchanges, mine.exchanges):
        print(f"\n{script.name}: {one.label}\n  {one.api} {one.version} {one.request}"
              f"\n  Kafka       {one.outcome}\n  Millstream  {other.outcome}")


def _kafka_version():
    return toolchain.run([toolchain.SCRIPTS / "peers" / "kafka", "version"], "version").strip()
