"""The value of record number N of a load: known to who sends it and to who checks it."""

import zlib


def payload(number):
    """100 to 500 bytes, one in 97 of 20,000: batches of many and of few records."""
    length = 20_000 if number % 97 == 0 else 100 + number * 7919 % 400
    head = b"%012d " % number
    pattern = b"%08x" % zlib.crc32(head)
    return (head + pattern * (length // len(pattern) + 1))[:length]


def number_of(value):
    """The number a value says it has, or None if it is not the value of any."""
    try:
        number = int(value[:12])
    except (TypeError, ValueError):
        return None
    return number if payload(number) == value else None
