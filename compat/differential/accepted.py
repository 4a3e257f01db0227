"""The differences that may remain, each with its reason, in accepted.json.

An entry names API, versions and field; it may name the case and the two values as well. In all of
these but versions `*` stands for anything.
"""

import dataclasses
import json
import pathlib
import re

from .schema import Versions

FILE = pathlib.Path(__file__).with_name("accepted.json")


@dataclasses.dataclass
class Accepted:
    api: str
    versions: str
    path: str
    reason: str
    source: str
    case: str = "*"
    kafka: str = "*"
    millstream: str = "*"
    sometimes: bool = False
    """It is a matter of timing: not every run has it."""
    count: int = 0

    def matches(self, difference):
        return (
            _like(self.api, difference.api)
            and difference.version in Versions.parse(self.versions)
            and _like(self.path, difference.path)
            and _like(self.case, difference.case)
            and _like(self.kafka, difference.kafka)
            and _like(self.millstream, difference.ours))


def load():
    """An entry whose path is a list stands for one entry each."""
    entries = []
    for entry in json.loads(FILE.read_text()):
        paths = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
        entries += [Accepted(**{**entry, "path": path}) for path in paths]
    return entries


def sort_out(differences, entries):
    """Those that nothing accepts. Each entry counts what it accepted."""
    left = []
    for each in differences:
        entry = next((entry for entry in entries if entry.matches(each)), None)
        if entry is None:
            left.append(each)
        else:
            entry.count += 1
    return left


def _like(pattern, value):
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    wild = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(wild, text, re.S) is not None
