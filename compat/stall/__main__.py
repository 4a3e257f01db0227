"""`scripts/test stall`: the command line; asks for what needs no disk while the disk stands still."""

import argparse
import json
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import soak
from driver import toolchain
from driver.broker import Millstream
from stall.disk import Disk, DiskError

# Retention and compaction work all the time, and the load makes the topics it needs.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "log.retention.check.interval.ms": "2000",
    "log.cleaner.backoff.ms": "2000",
    "group.initial.rebalance.delay.ms": "0",
    "metrics.listener": "",
}
RATE = 600
# The files are there, and written to.
WARM_UP_SECONDS = 10
BETWEEN_SECONDS = 4
LOAD_STOP_SECONDS = 120
CONNECTIONS = 6
ASK_EVERY_SECONDS = 0.02
# An answer within this is no answer that waited for the disk: the machine may be busy.
PROMPT_SECONDS = 1
PATIENCE_SECONDS = 60
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/test stall",
        description="Makes the disk of a broker and of its log stand still under mixed load, again "
        "and again; fails if a client that asks for nothing of the disk waits, or if the load "
        "sees anything wrong. Needs root, and loop devices.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=8, help="for which it stands still")
    parser.add_argument("--millstreamd", metavar="PATH", help="the daemon; built if not given")
    return parser.parse_args()


class Client(threading.Thread):
    """Asks for the versions of APIs on one connection, again and again."""

    def __init__(self, address):
        super().__init__()
        self.connection = socket.create_connection(address, PATIENCE_SECONDS)
        self.over = threading.Event()
        self.longest = 0
        self.answers = 0
        self.fault = None
        self.start()

    def run(self):
        try:
            while not self.over.wait(ASK_EVERY_SECONDS):
                asked = time.monotonic()
                self.ask()
                self.longest = max(self.longest, time.monotonic() - asked)
                self.answers += 1
        except OSError as error:
            self.fault = repr(error)
        self.connection.close()

    def ask(self):
        self.connection.sendall(API_VERSIONS)
        (length,) = struct.unpack(">i", self.receive(4))
        self.receive(length)

    def receive(self, length):
        data = b""
        while len(data) < length:
            more = self.connection.recv(length - len(data))
            if not more:
                raise OSError("closed without an answer")
            data += more
        return data


def stand_still(disk, broker, seconds):
    """One time; what was wrong."""
    host, port = broker.bootstrap.rsplit(":", 1)
    clients = [Client((host, int(port))) for _ in range(CONNECTIONS)]
    held_up = disk.stand_still()
    try:
        time.sleep(seconds)
        stood = held_up.is_alive()
    finally:
        disk.go_on()
    for client in clients:
        client.over.set()
    for client in [*clients, held_up]:
        client.join()
    longest = max(client.longest for client in clients)
    answers = sum(client.answers for client in clients)
    print(f"{answers} answers while the disk stood still, none after more than "
          f"{longest * 1000:.1f} ms", flush=True)
    faults = [client.fault for client in clients if client.fault]
    if not stood:
        faults.append("the disk did not stand still: a write to it arrived")
    if longest > PROMPT_SECONDS:
        faults.append(f"a client waited {longest:.1f} s for an answer that needs no disk")
    return faults


def load_on(broker):
    load = pathlib.Path(soak.__file__).parent / "load.py"
    return subprocess.Popen([toolchain.python(), load, broker.bootstrap, str(RATE)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(load):
    """What the load saw go wrong."""
    try:
        said = json.loads(load.communicate(timeout=LOAD_STOP_SECONDS)[0])
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        load.kill()
        load.wait()
        return ["the load ended badly, or not at all"]
    print("did: " + ", ".join(f"{count} {name}" for name, count in said["counts"].items()))
    return said["faults"]


def stand_still_under_load(folder, daemon, options):
    """All rounds, on a disk in `folder`; what was wrong."""
    faults = []
    disk = Disk(folder)
    try:
        broker = Millstream(daemon, disk.path / "broker", SETTINGS)
        try:
            load = load_on(broker)
            time.sleep(WARM_UP_SECONDS)
            for _ in range(options.rounds):
                faults += stand_still(disk, broker, options.seconds)
                time.sleep(BETWEEN_SECONDS)
            faults += end(load)
        finally:
            broker.stop()
    finally:
        disk.remove()
    return faults


def main():
    options = arguments()
    daemon = toolchain.millstreamd(options.millstreamd)
    # So that the disk is removed also when this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    try:
        with tempfile.TemporaryDirectory(prefix="millstream-stall-") as folder:
            faults = stand_still_under_load(pathlib.Path(folder), daemon, options)
    except DiskError as error:
        sys.exit(f"scripts/test stall: {error}")
    for fault in faults:
        print(f"FAILED  {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
