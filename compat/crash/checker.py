"""Holds a partition's log against what its producer was told.

A log is the list of record numbers by offset, as a consumer read them; None stands for a value
that no producer sent. `self_test` feeds it wrong logs: a checker that cannot fail proves nothing.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Acknowledged:
    partition: int
    offset: int  # negative if the broker did not tell it
    number: int


def faults(log, acknowledged, idempotent):
    """What is wrong, in words; `log` maps each partition to its record numbers by offset."""
    return [
        *_kept(log, acknowledged),
        *(fault for partition, numbers in sorted(log.items())
          for fault in _in_order(partition, numbers, idempotent)),
    ]


def _kept(log, acknowledged):
    present = {partition: set(numbers) for partition, numbers in log.items()}
    for each in acknowledged:
        numbers = log.get(each.partition, [])
        if each.offset < 0:
            if each.number not in present.get(each.partition, ()):
                yield f"lost: record {each.number} of partition {each.partition}"
        elif each.offset >= len(numbers):
            yield (f"lost: record {each.number} at {each.partition}/{each.offset}, "
                   f"the log ends at {len(numbers)}")
        elif numbers[each.offset] != each.number:
            yield (f"changed: {each.partition}/{each.offset} was record {each.number}, "
                   f"is {numbers[each.offset]}")


def _in_order(partition, numbers, idempotent):
    """First occurrences rise; only a producer without idempotence may write one again."""
    seen, highest = set(), -1
    for offset, number in enumerate(numbers):
        if number is None:
            yield f"unknown: {partition}/{offset} holds what nobody sent"
        elif number in seen:
            if idempotent:
                yield f"duplicate: record {number} again at {partition}/{offset}"
        elif number < highest:
            yield f"order: record {number} at {partition}/{offset} comes after {highest}"
        else:
            seen.add(number)
            highest = number


def self_test():
    """Raises if a wrong log passes, or a right one does not."""
    right = {0: [0, 2, 4, 6], 1: [1, 3, 5, 7]}
    told = [Acknowledged(p, o, n) for p in right for o, n in enumerate(right[p])]
    cases = [
        ("right", right, told, True, None),
        ("more than was acknowledged", right, told[:-1], True, None),
        ("an unknown offset", right, [Acknowledged(0, -1, 4)], True, None),
        ("a retry without idempotence", {**right, 1: [1, 3, 1, 3, 5, 7]},
         [Acknowledged(1, 0, 1), Acknowledged(1, 5, 7)], False, None),
        ("the end is lost", {**right, 0: [0, 2, 4]}, told, True, "lost"),
        ("a partition is lost", {0: right[0]}, told, True, "lost"),
        ("lost without an offset", right, [Acknowledged(0, -1, 8)], True, "lost"),
        ("another record in its place", {**right, 0: [0, 2, 8, 6]}, told, True, "changed"),
        ("shifted by a duplicate", {**right, 0: [0, 0, 2, 4, 6]}, told, True, "duplicate"),
        ("a retry with idempotence", {**right, 1: [1, 3, 5, 7, 7]}, told, True, "duplicate"),
        ("swapped", {**right, 0: [0, 4, 2, 6]}, [], True, "order"),
        ("swapped without idempotence", {**right, 0: [0, 4, 2, 6]}, [], False, "order"),
        ("bytes nobody sent", {**right, 0: [0, 2, 4, 6, None]}, told, True, "unknown"),
    ]
    for name, log, acknowledged, idempotent, wanted in cases:
        found = faults(log, acknowledged, idempotent)
        kinds = {fault.split(":")[0] for fault in found}
        if (wanted is None and found) or (wanted is not None and wanted not in kinds):
            raise AssertionError(f"checker, {name}: wanted {wanted}, found {found}")
    return len(cases)
