"""Key and value of record number N of a load: known to who sends it and to who checks it.

../go/load.go makes the same.
"""

import zlib


def key(number):
    return b"k%d" % number


def payload(number):
    """100 to 500 bytes, one in 97 of 20,000: batches of many and of few records."""
    length = 20_000 if number % 97 == 0 else 100 + number * 7919 % 400
    head = b"%012d " % number
    pattern = b"%08x" % zlib.crc32(head)
    return (head + pattern * (length // len(pattern) + 1))[:length]


def number_of(record_key, value):
    """The number of a record, or None if no load sends it so."""
    try:
        number = int(value[:12])
    except (TypeError, ValueError):
        return None
    return number if record_key == key(number) and value == payload(number) else None
