"""`scripts/test crash`: the command line, and one campaign for each durability."""

import argparse
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

from driver import toolchain
from driver.agent import AgentError
from driver.broker import BrokerError

from . import checker
from .campaign import Campaign, Programs

DURABILITIES = ["fsync", "written", "memory"]
SHORT_ROUNDS = 8
# A longer run begins again with an empty folder after so many kills: its load never ends.
CAMPAIGN_ROUNDS = 50


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/test crash",
        description="Kills a broker with SIGKILL at random moments under load, starts it again "
        "on the same folder, and checks that it kept what it acknowledged.")
    parser.add_argument("--rounds", type=int, default=SHORT_ROUNDS,
                        help=f"kills for each durability ({SHORT_ROUNDS} unless given)")
    parser.add_argument("--seconds", type=float, default=None,
                        help="begin no round after this time")
    parser.add_argument("--durability", choices=[*DURABILITIES, "all"], default="fsync")
    parser.add_argument("--rate", type=int, default=500,
                        help="records a second of each of the three producers")
    parser.add_argument("--broker", choices=["millstream", "kafka"], default="millstream",
                        help="Apache Kafka proves the checks themselves")
    parser.add_argument("--millstreamd", metavar="PATH", help="the daemon; built if not given")
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the run")
    parser.add_argument("--sabotage", action="store_true",
                        help="damage the folder after each kill: the run must fail")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases = checker.self_test()
    print(f"ok      checker: {cases} right and wrong logs told apart", flush=True)
    try:
        programs = Programs.bring(options)
    except toolchain.Missing as missing:
        failed = int(toolchain.in_ci())
        print(f"{'FAILED' if failed else 'SKIPPED'}  crash: {missing}")
        print(f"1 passed, {failed} failed, {1 - failed} skipped")
        return failed
    chosen = DURABILITIES if options.durability == "all" else [options.durability]
    if options.broker == "kafka":
        chosen = ["written"]  # The only one of the three that a plain Apache Kafka has.
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    until = None if options.seconds is None else time.monotonic() + options.seconds
    passed, failed = 1, 0
    for durability in chosen:
        chance = random.Random(f"{seed} {durability}")
        left = options.rounds
        while left > 0 and not failed and (until is None or time.monotonic() < until):
            rounds = min(left, CAMPAIGN_ROUNDS)
            if run(options, programs, durability, rounds, chance, until):
                passed += 1
            else:
                failed += 1
            left -= rounds
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return min(failed, 1)


def run(options, programs, durability, rounds, chance, until):
    """One campaign; says what came of it. Its folder stays if it failed."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"millstream-crash-{durability}-"))
    campaign = Campaign(options, programs, durability, folder, chance)
    start, problem = time.monotonic(), None
    try:
        campaign.run(rounds, until)
    except (AssertionError, AgentError, BrokerError) as error:
        problem = f"{type(error).__name__}: {error}"
    print(f"{'FAILED' if problem else 'ok':8}crash: {durability}, {campaign.summary()}, "
          f"{time.monotonic() - start:.0f} s", flush=True)
    if problem:
        print(problem, flush=True)
    if problem or options.keep:
        print(f"kept: {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return problem is None


if __name__ == "__main__":
    sys.exit(main())
