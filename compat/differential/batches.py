"""Record batches (magic 2): built to order, right or wrong, and taken apart again."""

import gzip
import struct

from .codec import Reader, Unreadable

HEADER = ">qiibIhiqqqhii"
HEADER_SIZE = struct.calcsize(HEADER)
CODECS = {"none": 0, "gzip": 1}
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20


def _table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(key=b"k", value=b"v", headers=(), offset_delta=0, timestamp_delta=0, attributes=0):
    body = bytearray([attributes])
    body += _zigzag(timestamp_delta) + _zigzag(offset_delta)
    for each in (key, value):
        body += _zigzag(-1) if each is None else _zigzag(len(each)) + each
    body += _zigzag(len(headers))
    for name, content in headers:
        body += _zigzag(len(name)) + name
        body += _zigzag(-1) if content is None else _zigzag(len(content)) + content
    return _zigzag(len(body)) + bytes(body)


def batch(records=1, *, timestamp=0, step=0, codec="none", base_offset=0, leader_epoch=-1, magic=2,
          attributes=0, last_offset_delta=None, max_timestamp=None, producer_id=-1,
          producer_epoch=-1, base_sequence=-1, count=None, wrong_crc=False, length=None, size=0):
    """A batch of so many records, or of those given as bytes; each part can be falsified.

    Records are `step` milliseconds apart; `size` is that of their values.
    """
    if isinstance(records, int):
        records = [
            record(f"k{at}".encode(), b"v" * size or f"v{at}".encode(), offset_delta=at,
                   timestamp_delta=at * step)
            for at in range(records)]
    number = len(records)
    payload = b"".join(records)
    if codec == "gzip":
        payload = gzip.compress(payload, mtime=0)
    if max_timestamp is None:
        max_timestamp = timestamp + max(number - 1, 0) * step
    checked = struct.pack(
        ">hiqqqhii", attributes | CODECS.get(codec, 0),
        number - 1 if last_offset_delta is None else last_offset_delta,
        timestamp, max_timestamp, producer_id, producer_epoch, base_sequence,
        number if count is None else count) + payload
    crc = crc32c(checked) ^ (1 if wrong_crc else 0)
    rest = struct.pack(">ibI", leader_epoch, magic, crc) + checked
    return struct.pack(">qi", base_offset, len(rest) if length is None else length) + rest


def take_apart(data):
    """The batches of a fetched answer, each a dictionary; what is cut at the end is left out."""
    taken, reader = [], Reader(data)
    while reader.left() >= HEADER_SIZE:
        start = reader.position
        (base_offset, length, epoch, magic, crc, attributes, delta, first, last, producer,
         producer_epoch, sequence, count) = struct.unpack(HEADER, reader.take(HEADER_SIZE))
        if length < HEADER_SIZE - 12:
            raise Unreadable(f"a batch of {length} bytes")
        if length + 12 > len(data) - start:
            break
        payload = reader.take(length + 12 - HEADER_SIZE)
        whole = data[start + 21:reader.position]
        taken.append({
            "BaseOffset": base_offset, "PartitionLeaderEpoch": epoch, "Magic": magic,
            "CrcIsRight": crc32c(whole) == crc, "Attributes": attributes,
            "LastOffsetDelta": delta, "BaseTimestamp": first, "MaxTimestamp": last,
            "ProducerId": producer, "ProducerEpoch": producer_epoch, "BaseSequence": sequence,
            "Count": count, "Payload": _unpacked(attributes, payload).hex(),
        })
    return taken


def _unpacked(attributes, payload):
    return gzip.decompress(payload) if attributes & 7 == CODECS["gzip"] else payload


def _zigzag(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
