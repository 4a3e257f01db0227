"""Frames and headers that no client sends."""

import struct

from . import sequence


def _header(key, version, client_id=b"\xff\xff"):
    return struct.pack(">hhi", key, version, 0) + client_id


def _frame(data):
    return struct.pack(">i", len(data)) + data


@sequence()
def frames(talk):
    talk.send_bytes(struct.pack(">i", -1), "a negative length")
    talk.send_bytes(struct.pack(">i", 0), "an empty frame")
    talk.send_bytes(struct.pack(">i", (1 << 31) - 1), "the largest length")
    talk.send_bytes(_frame(b"\0"), "one byte")
    talk.send_bytes(_frame(_header(18, 0)[:7]), "a cut header")
    talk.send_bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP")
    talk.send_bytes(bytes.fromhex("16030100b8010000b40303") + b"\0" * 200, "TLS")
    talk.send_bytes(_frame(_header(18, 0)), "as it should be")


@sequence()
def headers(talk):
    for key in (-1, 4, 5, 6, 7, 52, 56, 58, 62, 82, 93, 999, 32767):
        talk.send_bytes(_frame(_header(key, 0)), f"API {key}")
    talk.send_bytes(_frame(_header(3, -1) + b"\0" * 4), "a negative version")
    talk.send_bytes(_frame(_header(3, 14) + b"\0" * 4), "a version too high")
    talk.send_bytes(_frame(_header(0, 2) + b"\0" * 16), "Produce 2")
    talk.send_bytes(_frame(_header(18, 0, b"\0\0")), "an empty client id")
    talk.send_bytes(_frame(_header(18, 0, b"\0\2\xff\xfe")), "a client id without UTF-8")
    talk.send_bytes(_frame(_header(18, 0, b"\0\5a")), "a client id that is cut")
    talk.send_bytes(_frame(_header(18, 0, b"\xff\xfe")), "a client id of negative length")


@sequence()
def versions_of_api_versions(talk):
    for version in (0, 1, 2, 3, 4):
        talk.ask("ApiVersions", version, {
            "ClientSoftwareName": "differential", "ClientSoftwareVersion": "1"},
            label=f"version {version}")
    for version in (6, 99, 32767):
        talk.ask("ApiVersions", version, b"", label=f"version {version}")
    talk.ask("ApiVersions", 0, {}, label="the connection lives on")
