"""Two transcripts of one script, held side by side field by field."""

import dataclasses

from .normalise import KEYED, Normaliser
from .talk import ANSWERED

MISSING = "<missing>"


@dataclasses.dataclass(frozen=True)
class Difference:
    api: str
    version: int
    case: str
    path: str
    """Elements of ordered arrays stand as [], those that have a key as [key]."""
    kafka: object
    ours: object


def differences(script, kafka, ours, end_ms):
    """What differs between the talks of one script with Kafka and with Millstream."""
    eyes = Normaliser(kafka, end_ms), Normaliser(ours, end_ms)
    found = []
    for theirs, mine in zip(kafka.exchanges, ours.exchanges):
        case = f"{script}: {theirs.label}" if theirs.label else script
        if (theirs.api, theirs.version, theirs.label) != (mine.api, mine.version, mine.label):
            found.append(Difference(theirs.api, theirs.version, case, "<script>",
                                    f"{theirs.label} {theirs.outcome}",
                                    f"{mine.api} {mine.label} {mine.outcome}"))
            return found
        found += [
            Difference(theirs.api, theirs.version, case, path, left, right)
            for path, left, right in _exchange(eyes, theirs, mine)]
    if len(kafka.exchanges) != len(ours.exchanges):
        longer = max(kafka.exchanges, ours.exchanges, key=len)
        further = longer[min(len(kafka.exchanges), len(ours.exchanges))]
        found.append(Difference(
            further.api, further.version, f"{script}: {further.label}", "<script>",
            f"{len(kafka.exchanges)} answers", f"{len(ours.exchanges)} answers"))
    return found


def _exchange(eyes, theirs, mine):
    if theirs.outcome.kind != mine.outcome.kind:
        return [("<outcome>", _told(theirs.outcome), _told(mine.outcome))]
    if theirs.outcome.kind != ANSWERED:
        return ([] if theirs.outcome.body == mine.outcome.body
                else [("<outcome>", theirs.outcome.body, mine.outcome.body)])
    return list(_values(theirs.api, "", "", eyes[0].answer(theirs), eyes[1].answer(mine)))


def _told(outcome):
    return outcome.kind if outcome.kind == ANSWERED or not outcome.body else (
        f"{outcome.kind}: {outcome.body}")


def _values(api, plain, path, left, right):
    """`plain` is the path without keys, by which the tables know arrays."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in {**left, **right}:
            yield from _values(
                api, f"{plain}.{name}" if plain else name, f"{path}.{name}" if path else name,
                left.get(name, MISSING), right.get(name, MISSING))
    elif isinstance(left, list) and isinstance(right, list):
        key = KEYED.get((api, plain))
        if key:
            left, right = _by_key(key, left), _by_key(key, right)
            for each in {**left, **right}:
                yield from _values(api, f"{plain}[]", f"{path}[{each}]",
                                   left.get(each, MISSING), right.get(each, MISSING))
            return
        if len(left) != len(right):
            yield f"{path}.length", len(left), len(right)
        for one, other in zip(left, right):
            yield from _values(api, f"{plain}[]", f"{path}[]", one, other)
    elif left != right or type(left) is not type(right):
        yield path, left, right


def _by_key(key, elements):
    keyed = {}
    for each in elements:
        names = key if isinstance(key, tuple) else (key,)
        name = "/".join(str(each[part]) for part in names if part in each)
        while name in keyed:
            name += "'"
        keyed[name] = each
    return keyed
