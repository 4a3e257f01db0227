"""Kafka's own message schemas, read from the jar of its clients.

They are JSON with // comments. Nothing here knows a single message: what a request or an answer
looks like at a version is what Kafka's developers wrote down, not what Millstream believes.
"""

import dataclasses
import json
import re
import uuid
import zipfile

FOLDER = "common/message/"
ZERO_UUID = uuid.UUID(int=0)
LIMITS = {
    "int8": (-(1 << 7), (1 << 7) - 1),
    "int16": (-(1 << 15), (1 << 15) - 1),
    "uint16": (0, (1 << 16) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "uint32": (0, (1 << 32) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
}


@dataclasses.dataclass(frozen=True)
class Versions:
    """A range of versions; an empty one has `first` above `last`."""

    first: int
    last: int

    @classmethod
    def parse(cls, text):
        text = (text or "none").strip()
        if text == "none":
            return cls(1, 0)
        if text.endswith("+"):
            return cls(int(text[:-1]), 1 << 15)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))

    def __contains__(self, version):
        return self.first <= version <= self.last


@dataclasses.dataclass(frozen=True)
class Field:
    name: str
    type: str
    """Without the brackets of an array."""
    is_array: bool
    versions: Versions
    nullable: Versions
    tagged: Versions
    tag: int
    default: object
    entity: str
    fields: tuple
    """Of a struct, or of the structs in an array."""
    map_key: bool

    def is_struct(self):
        return bool(self.fields) and not self.is_array

    def element(self):
        """What stands in this array, as a field of its own."""
        return dataclasses.replace(
            self, is_array=False, nullable=Versions(1, 0), default=_default(self.type, None))


@dataclasses.dataclass(frozen=True)
class Message:
    name: str
    key: int
    kind: str
    valid: Versions
    flexible: Versions
    fields: tuple


@dataclasses.dataclass(frozen=True)
class Api:
    name: str
    key: int
    request: Message
    response: Message


def load(jar):
    """Every API that the jar has schemas of, by name."""
    messages = {}
    with zipfile.ZipFile(jar) as archive:
        for entry in archive.namelist():
            if entry.startswith(FOLDER) and entry.endswith(".json"):
                document = _document(archive.read(entry).decode())
                # What was removed has a schema without fields.
                if document["type"] in ("request", "response") and "fields" in document:
                    messages[document["name"]] = _message(document)
    apis = {}
    for name, message in messages.items():
        if message.kind == "request":
            api = name.removesuffix("Request")
            apis[api] = Api(api, message.key, message, messages[f"{api}Response"])
    return apis


def _document(text):
    return json.loads(re.sub(r"^\s*//.*$|(?<=[,\[{}\]])\s*//.*$", "", text, flags=re.M))


def _message(document):
    structs = {each["name"]: each["fields"] for each in document.get("commonStructs", [])}
    fields = _fields(document["fields"], structs)
    return Message(
        document["name"], document.get("apiKey"), document["type"],
        Versions.parse(document["validVersions"]), Versions.parse(document["flexibleVersions"]),
        fields)


def _fields(documents, structs):
    return tuple(_field(each, structs) for each in documents)


def _field(document, structs):
    is_array = document["type"].startswith("[]")
    kind = document["type"].removeprefix("[]")
    inner = document.get("fields") or structs.get(kind) or []
    return Field(
        name=document["name"],
        type=kind,
        is_array=is_array,
        versions=Versions.parse(document.get("versions", "0+")),
        nullable=Versions.parse(document.get("nullableVersions")),
        tagged=Versions.parse(document.get("taggedVersions")),
        tag=document.get("tag", -1),
        default=_array_default(document) if is_array else _default(kind, document.get("default")),
        entity=document.get("entityType", ""),
        fields=_fields(inner, structs),
        map_key=document.get("mapKey", False),
    )


def _array_default(document):
    return None if document.get("default") == "null" else ()


def _default(kind, text):
    if text == "null":
        return None
    if kind == "bool":
        return str(text).lower() == "true"
    if kind in LIMITS:
        return int(text, 0) if isinstance(text, str) and text else int(text or 0)
    if kind == "float64":
        return float(text or 0)
    if kind == "string":
        return text or ""
    if kind == "uuid":
        return ZERO_UUID
    if kind in ("bytes", "records"):
        return b""
    # A struct: each of its fields has its own default.
    return {}
