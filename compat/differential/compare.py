"""Two transcripts of one script, held side by side field by field."""

import dataclasses

from .normalise import KEYED, Normaliser, Symbol
from .talk import ANSWERED

MISSING = "<missing>"
# Arrays of which a path names the element.
TOLD_BY_KEY = {"ApiKeys", "SupportedFeatures", "FinalizedFeatures", "Configs"}


@dataclasses.dataclass(frozen=True)
class Difference:
    api: str
    version: int
    case: str
    path: str
    """Elements of arrays stand as [], those of settings and the like as [name]."""
    kafka: object
    ours: object


def differences(script, kafka, ours, end_ms):
    """What differs between the talks of one script with Kafka and with Millstream."""
    eyes = Normaliser(kafka, end_ms), Normaliser(ours, end_ms)
    pairs = Pairs()
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
            for path, left, right in _exchange(eyes, pairs, theirs, mine)]
    if len(kafka.exchanges) != len(ours.exchanges):
        longer = max(kafka.exchanges, ours.exchanges, key=len)
        further = longer[min(len(kafka.exchanges), len(ours.exchanges))]
        found.append(Difference(
            further.api, further.version, f"{script}: {further.label}", "<script>",
            f"{len(kafka.exchanges)} answers", f"{len(ours.exchanges)} answers"))
    return found


def _exchange(eyes, pairs, theirs, mine):
    if theirs.outcome.kind != mine.outcome.kind:
        return [("<outcome>", _told(theirs.outcome), _told(mine.outcome))]
    if theirs.outcome.kind != ANSWERED:
        return ([] if theirs.outcome.body == mine.outcome.body
                else [("<outcome>", theirs.outcome.body, mine.outcome.body)])
    return list(Comparison(theirs.api, pairs).values(
        "", "", eyes[0].answer(theirs), eyes[1].answer(mine)))


def _told(outcome):
    return outcome.kind if outcome.kind == ANSWERED or not outcome.body else (
        f"{outcome.kind}: {outcome.body}")


class Pairs:
    """Which value of Kafka's stands for which of Millstream's, as first seen in a script."""

    def __init__(self):
        self.ours_by_kafka, self.kafka_by_ours = {}, {}

    def agree(self, kafka, ours):
        if (kafka.kind, kafka.prefix) != (ours.kind, ours.prefix):
            return False
        known = self.ours_by_kafka.setdefault(kafka, ours)
        return known == ours and self.kafka_by_ours.setdefault(ours, kafka) == kafka

    def name(self, symbol):
        """The same for two values that stand for each other, and for all that do not yet."""
        kafka = self.kafka_by_ours.get(symbol, symbol)
        return str(kafka.value) if kafka in self.ours_by_kafka else str(symbol)


class Comparison:
    """Of two answers to one request."""

    def __init__(self, api, pairs):
        self.api, self.pairs = api, pairs

    def values(self, plain, path, left, right):
        """`plain` is the path without keys, by which the tables know arrays."""
        if isinstance(left, dict) and isinstance(right, dict):
            for name in {**left, **right}:
                yield from self.values(
                    f"{plain}.{name}" if plain else name, f"{path}.{name}" if path else name,
                    left.get(name, MISSING), right.get(name, MISSING))
        elif isinstance(left, list) and isinstance(right, list):
            key = KEYED.get((self.api, plain))
            arrays = self._keyed if key else self._ordered
            yield from arrays(key, plain, path, left, right)
        elif isinstance(left, Symbol) and isinstance(right, Symbol):
            if not self.pairs.agree(left, right):
                yield path, str(left), str(right)
        elif left != right or type(left) is not type(right):
            yield path, _plain(left), _plain(right)

    def _ordered(self, _, plain, path, left, right):
        if len(left) != len(right):
            yield f"{path}.length", len(left), len(right)
        for one, other in zip(left, right):
            yield from self.values(f"{plain}[]", f"{path}[]", one, other)

    def _keyed(self, key, plain, path, left, right):
        left, right = self._by_key(key, left), self._by_key(key, right)
        if not left or not right:
            if left or right:
                yield path, f"{len(left)} elements", f"{len(right)} elements"
            return
        told = f"{path}[{{}}]" if plain.rsplit(".", 1)[-1] in TOLD_BY_KEY else f"{path}[]"
        for each in {**left, **right}:
            yield from self.values(f"{plain}[]", told.format(each),
                                   left.get(each, MISSING), right.get(each, MISSING))

    def _by_key(self, key, elements):
        keyed = {}
        for each in elements:
            names = key if isinstance(key, tuple) else key.split(" or ")
            parts = [self._key(each[part]) for part in names if part in each and each[part]]
            name = "/".join(parts) if isinstance(key, tuple) else parts[0] if parts else ""
            while name in keyed:
                name += "'"
            keyed[name] = each
        return keyed

    def _key(self, value):
        if isinstance(value, Symbol):
            return self.pairs.name(value)
        return str(value)


def _plain(value):
    """As it is told: symbols by their kind."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Symbol) else value
