"""What the scripts of benchmarks run, and where they write."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
KAFKA = ROOT / "scripts" / "peers" / "kafka"
WITNESS = ROOT / "bench-harness" / "witness"
PAGE = ROOT / "docs" / "benchmarks.md"

sys.path.append(str(ROOT / "compat"))

from driver import toolchain  # noqa: E402


def run(command):
    """What a program prints that succeeds."""
    return subprocess.run([str(each) for each in command], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def release():
    """The folder of the release binaries, which are built."""
    target = toolchain.cargo_target()
    subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "millstream-broker", "-p",
                    "millstream-bench", "-p", "millstream-cli"], cwd=ROOT, check=True,
                   env={**os.environ, "CARGO_TARGET_DIR": str(target)})
    return target / "release"


def write_page(name, text):
    """Puts text between the marks of that name in docs/benchmarks.md."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, rest = PAGE.read_text().split(first)
    PAGE.write_text(f"{head}{first}\n\n{text}\n\n{last}{rest.split(last)[1]}")
