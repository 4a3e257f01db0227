"""`scripts/test soak`: the command line; watches the broker while the load runs."""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from driver import toolchain
from driver.broker import Millstream

# Everything that happens now and then happens often here, and there is little memory for the newest
# records, so that it is full soon and what grows later is nothing of that. A producer
# that still knows a deleted topic asks for it and would have it made again: every topic that ever
# was would stay.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "log.retention.check.interval.ms": "2000",
    "log.cleaner.backoff.ms": "2000",
    "group.initial.rebalance.delay.ms": "0",
    "metrics.listener": "",
    "shard.memory.bytes": str(32 << 20),
}
SAMPLE_SECONDS = 5
# The first part of the run, in which caches and pools fill, is not judged.
WARM_UP_PART = 0.25
GROWTH_MEGABYTES = 8
GROWTH_PART = 0.05
# Connections that end meanwhile.
MORE_FILES = 8
# After its end is asked for: what is under way is answered, members leave.
LOAD_STOP_SECONDS = 120
# Warnings that the load itself brings about, and why.
EXPLAINED = {
    "a slow request": "the disk of a shared machine stalls now and then",
}


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/test soak",
        description="Producers, groups whose members come and go, topics made and deleted, "
        "retention, compaction and connections without end, for a long time; fails if memory or "
        "open files grow, if a client sees anything wrong, or if a warning is not explained.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=600, help="records a second")
    parser.add_argument("--millstreamd", metavar="PATH", help="the daemon; built if not given")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    return parser.parse_args()


def sample(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    kilobytes = int(re.search(r"VmRSS:\s+(\d+)", status)[1])
    return {"resident": kilobytes / 1024, "files": len(os.listdir(f"/proc/{pid}/fd"))}


def warnings(log):
    """The warnings and errors of the log that nothing explains."""
    lines = re.findall(r"^.*(?: WARN| ERROR|panicked).*$", log.read_text(errors="replace"), re.M)
    return [line for line in lines if not any(known in line for known in EXPLAINED)]


def watch(broker, load, seconds):
    """Samples until the time is over or the load ends."""
    began, samples = time.monotonic(), []
    while time.monotonic() - began < seconds and load.poll() is None:
        time.sleep(SAMPLE_SECONDS)
        samples.append(sample(broker.pid))
        if len(samples) % 60 == 0:
            now = samples[-1]
            print(f"{time.monotonic() - began:6.0f} s  {now['resident']:.1f} MB resident, "
                  f"{now['files']} files", flush=True)
    return samples


def judge(samples):
    """What grew between the first and the last third of what counts."""
    counted = samples[int(len(samples) * WARM_UP_PART):]
    third = max(len(counted) // 3, 1)
    faults = []
    for name, allowed in (("resident", lambda before: max(GROWTH_MEGABYTES, before * GROWTH_PART)),
                          ("files", lambda before: MORE_FILES)):
        before = statistics.median(each[name] for each in counted[:third])
        after = statistics.median(each[name] for each in counted[-third:])
        print(f"{name}: {before:.1f} in the first third, {after:.1f} in the last")
        if after - before > allowed(before):
            faults.append(f"{name} grew from {before:.1f} to {after:.1f}")
    return faults


def main():
    options = arguments()
    python = toolchain.python()
    daemon = toolchain.millstreamd(options.millstreamd)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millstream-soak-"))
    broker = Millstream(daemon, folder, SETTINGS)
    try:
        load = subprocess.Popen(
            [python, pathlib.Path(__file__).parent / "load.py", broker.bootstrap,
             str(options.rate)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        samples = watch(broker, load, options.minutes * 60)
        try:
            said = load.communicate(timeout=LOAD_STOP_SECONDS)[0]
        except subprocess.TimeoutExpired:
            load.kill()
            load.wait()
            said = ""
    finally:
        broker.stop()
    result = json.loads(said) if said else {"counts": {}, "faults": ["the load ended badly, or not at all"]}
    print("did: " + ", ".join(f"{count} {name}" for name, count in result["counts"].items()))
    faults = result["faults"] + judge(samples) + warnings(broker.log)
    for fault in faults:
        print(f"FAILED  {fault}")
    if options.keep or faults:
        print(f"kept {folder}")
    else:
        shutil.rmtree(folder)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
