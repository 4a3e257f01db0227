"""Messages to bytes and back, at any version, as their schemas say.

A message is a dictionary by the names of the schema. What is left out has its default; what a
version does not have is not written. `EncodeAsNull` and `Raw` write what no schema allows.
"""

import struct
import uuid

from .schema import LIMITS

NUMBERS = {
    "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q",
    "float64": ">d",
}


class Unreadable(Exception):
    """Bytes that do not follow the schema."""


class Raw(bytes):
    """Bytes that stand in the place of a field as they are."""


def encode(message, version, value):
    flexible = version in message.flexible
    out = bytearray()
    _write_fields(out, message.fields, value, version, flexible)
    return bytes(out)


def decode(message, version, data):
    reader = Reader(data)
    value = _read_fields(reader, message.fields, version, version in message.flexible)
    if reader.left():
        raise Unreadable(f"{reader.left()} bytes too many")
    return value


def write_varint(out, value):
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class Reader:
    def __init__(self, data):
        self.data = data
        self.position = 0

    def left(self):
        return len(self.data) - self.position

    def take(self, count):
        if count < 0 or count > self.left():
            raise Unreadable(f"{count} bytes wanted at {self.position}, {self.left()} left")
        self.position += count
        return bytes(self.data[self.position - count:self.position])

    def number(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 28:
                raise Unreadable(f"a varint at {self.position} is too long")

    def zigzag(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
            if shift > 63:
                raise Unreadable(f"a varint at {self.position} is too long")


def _write_fields(out, fields, value, version, flexible):
    unknown = value.keys() - {field.name for field in fields} - {"_tagged"}
    if unknown:
        raise ValueError(f"the schema has no {', '.join(sorted(unknown))}")
    tagged = []
    for field in fields:
        if version not in field.versions:
            continue
        given = value.get(field.name, field.default)
        if flexible and version in field.tagged:
            if field.name in value and given != field.default:
                content = bytearray()
                _write(content, field, given, version, flexible)
                tagged.append((field.tag, bytes(content)))
        else:
            _write(out, field, given, version, flexible)
    if flexible:
        tagged += value.get("_tagged", {}).items()
        write_varint(out, len(tagged))
        for tag, content in sorted(tagged):
            write_varint(out, tag)
            write_varint(out, len(content))
            out += content


def _write(out, field, value, version, flexible):
    if isinstance(value, Raw):
        out += value
    elif field.is_array:
        _write_length(out, value, ">i", flexible)
        element = field.element()
        for each in value or ():
            _write(out, element, each, version, flexible)
    elif field.fields:
        if version in field.nullable:
            out += struct.pack(">b", -1 if value is None else 1)
        if value is not None:
            _write_fields(out, field.fields, value, version, flexible)
    elif field.type in NUMBERS:
        out += struct.pack(NUMBERS[field.type], value)
    elif field.type == "bool":
        out.append(1 if value else 0)
    elif field.type == "uuid":
        out += value.bytes
    elif field.type == "string":
        data = None if value is None else value.encode("utf-8", "surrogateescape")
        _write_length(out, data, ">h", flexible)
        out += data or b""
    else:
        _write_length(out, value, ">i", flexible)
        out += value or b""


def _write_length(out, value, layout, flexible):
    if flexible:
        write_varint(out, 0 if value is None else len(value) + 1)
    else:
        out += struct.pack(layout, -1 if value is None else len(value))


def _read_fields(reader, fields, version, flexible):
    value = {}
    by_tag = {}
    for field in fields:
        if version not in field.versions:
            continue
        if flexible and version in field.tagged:
            by_tag[field.tag] = field
            value[field.name] = field.default
        else:
            value[field.name] = _read(reader, field, version, flexible)
    if flexible:
        last = -1
        for _ in range(reader.varint()):
            tag = reader.varint()
            if tag <= last:
                raise Unreadable(f"tag {tag} after {last}")
            last = tag
            content = Reader(reader.take(reader.varint()))
            if tag not in by_tag:
                value.setdefault("_tagged", {})[tag] = content.data.hex()
                continue
            field = by_tag[tag]
            value[field.name] = _read(content, field, version, flexible)
            if content.left():
                raise Unreadable(f"{field.name} has {content.left()} bytes too many")
    return value


def _read(reader, field, version, flexible):
    if field.is_array:
        count = _read_length(reader, ">i", flexible, field, version)
        if count is None:
            return None
        if count > reader.left() + 1:
            raise Unreadable(f"{field.name} cannot have {count} elements")
        element = field.element()
        return [_read(reader, element, version, flexible) for _ in range(count)]
    if field.fields:
        if version in field.nullable and reader.number(">b") < 0:
            return None
        return _read_fields(reader, field.fields, version, flexible)
    if field.type in NUMBERS:
        return reader.number(NUMBERS[field.type])
    if field.type == "bool":
        return reader.take(1) != b"\0"
    if field.type == "uuid":
        return uuid.UUID(bytes=reader.take(16))
    if field.type == "string":
        count = _read_length(reader, ">h", flexible, field, version)
        return None if count is None else reader.take(count).decode("utf-8", "surrogateescape")
    count = _read_length(reader, ">i", flexible, field, version)
    return None if count is None else reader.take(count)


def _read_length(reader, layout, flexible, field, version):
    count = reader.varint() - 1 if flexible else reader.number(layout)
    if count < 0:
        # Records may be null in every version, whatever the schema says of them.
        if version not in field.nullable and field.type != "records":
            raise Unreadable(f"{field.name} is null, which version {version} does not allow")
        return None
    return count


assert set(LIMITS) <= set(NUMBERS), "every number of a schema can be written"
