"""Records as the driver sees them, and the sets of them that scenarios send."""

import base64
import dataclasses
import random

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
LARGE = 900_000


@dataclasses.dataclass(frozen=True)
class Record:
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int | None = None
    timestamp: int | None = None

    def to_json(self):
        return {
            "k": _text(self.key),
            "v": _text(self.value),
            "h": [[name, _text(data)] for name, data in self.headers],
            "p": self.partition,
            "t": self.timestamp,
        }

    def content(self):
        return (self.key, self.value, self.headers)

    def short(self):
        return f"key {_shown(self.key)} value {_shown(self.value)} headers {len(self.headers)}"


@dataclasses.dataclass(frozen=True)
class Taken(Record):
    """A record as a consumer got it."""

    topic: str = ""
    offset: int = -1

    @staticmethod
    def from_json(fields):
        return Taken(
            key=_bytes(fields["k"]),
            value=_bytes(fields["v"]),
            headers=tuple((name, _bytes(data)) for name, data in fields["h"]),
            partition=fields["p"],
            timestamp=fields["t"],
            topic=fields["topic"],
            offset=fields["o"],
        )


def varied(seed, nulls, binary, repeated=True, empty=True, largest=LARGE):
    """Every shape of key, value and headers.

    `nulls` allows headers without a value and records without key and value, `binary` bytes that
    are not text, `repeated` two headers of one name, `empty` what some take for null; some clients
    refuse them.
    """
    chance = random.Random(seed)
    large = chance.randbytes(largest) if binary else letters(chance, largest)
    shapes = [
        Record(b"key", b"value"),
        Record(None, b"no key"),
        Record(b"no value", None),
        Record(b"one header", b"v", (("name", b"data"),)),
        Record(b"headers", b"v", (("first", b"1"), ("second", b"2"), ("third", b"3"))),
        Record("ключ".encode(), "значение ✓".encode(), (("заголовок", "✓".encode()),)),
        Record(b"large", large),
        Record(b"repetitive", b"abcd" * 25_000),
        Record(b"after the large ones", b"v"),
    ]
    if repeated:
        shapes += [
            Record(b"same name twice", b"v", (("name", b"1"), ("name", b"2"), ("other", b"3"))),
        ]
    if binary:
        shapes += [
            Record(bytes(range(256)), bytes(range(255, -1, -1)), (("b", b"\x00\xff"),)),
        ]
    if binary and empty:
        shapes += [
            Record(b"", b""),
            Record(b"empty header", b"v", (("empty", b""),)),
        ]
    if nulls:
        shapes += [
            Record(None, None),
            Record(b"null header", b"v", (("null", None), ("name", b"data"))),
        ]
    shapes += [Record(b"k%d" % i, b"value %d" % i) for i in range(100)]
    return [dataclasses.replace(shape, partition=0) for shape in shapes]


def letters(chance, length):
    return base64.b64encode(chance.randbytes(length))[:length]


def numbered(count, partitions=None, keys=500):
    """`count` small records whose value says which one it is."""
    return [
        Record(
            b"k%d" % (i % keys),
            b"record %06d" % i,
            partition=None if partitions is None else i % partitions,
        )
        for i in range(count)
    ]


def _text(data):
    return None if data is None else base64.b64encode(data).decode()


def _bytes(text):
    return None if text is None else base64.b64decode(text)


def _shown(data):
    if data is None or len(data) <= 40:
        return repr(data)
    return f"{data[:16]!r}... ({len(data)} bytes)"
