"""Holds a partition's log against what its producer was told.

`self_test` feeds it wrong logs: a checker that cannot fail proves nothing.
"""


class PartitionLog:
    """Record numbers by offset as a consumer read them; None is a record that nobody sent so."""

    def __init__(self, name, idempotent):
        self.name = name
        self.idempotent = idempotent
        self.numbers = []
        self.seen = set()
        self.highest = -1

    def extend(self, numbers):
        """Takes what was read behind the end so far; yields what is wrong with it.

        First occurrences rise; only a producer without idempotence may write one again.
        """
        for offset, number in enumerate(numbers, len(self.numbers)):
            if number is None:
                yield f"unknown: {self.name} offset {offset} holds what nobody sent"
            elif number in self.seen:
                if self.idempotent:
                    yield f"duplicate: record {number} again at {self.name} offset {offset}"
            elif number < self.highest:
                yield (f"order: record {number} at {self.name} offset {offset} comes after "
                       f"{self.highest}")
            else:
                self.seen.add(number)
                self.highest = number
        self.numbers += numbers

    def compare(self, start, numbers):
        """Yields where what is read again from `start` differs from what was read before."""
        before = self.numbers[start:start + len(numbers)]
        if before == numbers:
            return
        if len(before) < len(numbers):
            yield f"beyond: {self.name} was read again behind the end {len(self.numbers)}"
        for offset, (was, now) in enumerate(zip(before, numbers), start):
            if was != now:
                yield f"changed: {self.name} offset {offset} was record {was}, is {now}"

    def shorter_than_known(self, end):
        """Yields the loss of records that a consumer has had already."""
        if end < len(self.numbers):
            yield (f"lost: {self.name} ends at {end}, but record {self.numbers[end]} was read at "
                   f"offset {end} and {len(self.numbers) - end - 1} more behind it")

    def cut(self, end):
        """Forgets what lay behind an end that may move back."""
        kept = self.numbers[:end]
        self.numbers, self.seen, self.highest = [], set(), -1
        for _ in self.extend(kept):
            pass

    def missing(self, acknowledged):
        """Yields each acknowledged (offset, number) that is not there."""
        for offset, number in acknowledged:
            if offset < 0:
                if number not in self.seen:
                    yield f"lost: record {number} of {self.name}"
            elif offset >= len(self.numbers):
                yield (f"lost: record {number} at {self.name} offset {offset}: the log ends at "
                       f"{len(self.numbers)}")
            elif self.numbers[offset] != number:
                yield (f"lost: record {number} at {self.name} offset {offset}: there is "
                       f"{self.numbers[offset]}")


def self_test():
    """Raises if a wrong log passes, or a right one does not; returns the number of cases."""
    told = list(enumerate([1, 3, 5, 7]))
    cases = [
        ("right", [1, 3, 5, 7], told, True, None),
        ("more than was acknowledged", [1, 3, 5, 7], told[:-1], True, None),
        ("an unknown offset", [1, 3, 5, 7], [(-1, 5)], True, None),
        ("a retry without idempotence", [1, 3, 1, 3, 5, 7], [(0, 1), (5, 7)], False, None),
        ("the end is lost", [1, 3, 5], told, True, "lost"),
        ("all is lost", [], told, True, "lost"),
        ("lost without an offset", [1, 3, 5, 7], [(-1, 9)], True, "lost"),
        ("another record in its place", [1, 3, 9, 7], told, True, "lost"),
        ("shifted by a duplicate", [1, 1, 3, 5, 7], told, True, "duplicate"),
        ("a retry with idempotence", [1, 3, 5, 7, 7], told, True, "duplicate"),
        ("swapped", [1, 5, 3, 7], [], True, "order"),
        ("swapped without idempotence", [1, 5, 3, 7], [], False, "order"),
        ("bytes nobody sent", [1, 3, 5, 7, None], told, True, "unknown"),
    ]
    for name, numbers, acknowledged, idempotent, wanted in cases:
        log = PartitionLog(name, idempotent)
        _expect(name, [*log.extend(numbers), *log.missing(acknowledged)], wanted)
    log = PartitionLog("kept", True)
    _expect("kept", log.extend([1, 3, 5, 7]), None)
    _expect("read again", log.compare(2, [5, 7]), None)
    _expect("read again, changed", log.compare(2, [5, 9]), "changed")
    _expect("same end", log.shorter_than_known(4), None)
    _expect("earlier end", log.shorter_than_known(3), "lost")
    log.cut(2)
    _expect("written again behind a cut", log.extend([9, 11]), None)
    return len(cases) + 6


def _expect(name, faults, wanted):
    found = list(faults)
    kinds = {fault.split(":")[0] for fault in found}
    if (wanted is None and found) or (wanted is not None and wanted not in kinds):
        raise AssertionError(f"checker, {name}: wanted {wanted}, found {found}")
