"""Runs `millstream-bench compare` on a suite, in a folder of its own, and publishes what it found."""

import argparse
import pathlib
import subprocess
import sys
import time

from programs import KAFKA, WITNESS, release, run, toolchain, write_page


def arguments(about):
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", action="store_true", help="all rounds, into the docs")
    parser.add_argument("--output-dir", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, help="turns of each broker")
    return parser.parse_known_args()


def new_folder():
    return toolchain.cache() / "bench" / time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())


def main(about, mark, suite, suite_to_publish, rounds=None):
    """`rounds` is for a run that is not published; the suite has a number of its own."""
    options, further = arguments(about)
    folder = options.output_dir or new_folder()
    run([KAFKA, "fetch"])
    bench = release() / "millstream-bench"
    rounds = options.rounds or (None if options.publish else rounds)
    compared = subprocess.run([
        bench, "compare", "--suite", suite_to_publish if options.publish else suite,
        *(["--rounds", str(rounds)] if rounds else []),
        "--kafka", KAFKA, "--witness", WITNESS, "--output-dir", folder, *further])
    if compared.returncode != 0:
        sys.exit(compared.returncode)
    if options.publish:
        write_page(mark, run([bench, "report", folder / "results.json", "--markdown"]).strip())
