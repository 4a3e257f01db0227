"""One connection to a broker: frames out, frames in, and what else can become of a request."""

import dataclasses
import socket
import struct

from .codec import Reader, Unreadable, decode, encode, write_varint

ANSWERED, CLOSED, SILENT, UNREADABLE = "answered", "closed", "silent", "unreadable"
CLIENT_ID = "differential"
API_VERSIONS = 18


@dataclasses.dataclass
class Outcome:
    """What became of a request: `body` is the answer, or says what is wrong with it."""

    kind: str
    body: object = None


class Connection:
    """Connects when it must; after the broker closed it, the next request opens another."""

    def __init__(self, address, seconds):
        self.address = address
        self.seconds = seconds
        self.socket = None
        self.correlation_id = 0
        self.waiting = []

    def ask(self, api, version, body, client_id=CLIENT_ID):
        """Sends one request and takes its outcome."""
        self.send(api, version, body, client_id)
        return self.take()

    def send(self, api, version, body, client_id=CLIENT_ID):
        """Sends a request; `body` is a dictionary, or bytes that are taken as they are."""
        if not isinstance(body, (bytes, bytearray)):
            body = encode(api.request, version, body)
        self.correlation_id += 1
        header = bytearray(struct.pack(">hhi", api.key, version, self.correlation_id))
        name = None if client_id is None else client_id.encode()
        header += struct.pack(">h", -1 if name is None else len(name)) + (name or b"")
        if version in api.request.flexible:
            write_varint(header, 0)
        self.waiting.append((api, version, self.correlation_id))
        self.send_bytes(struct.pack(">i", len(header) + len(body)) + bytes(header) + bytes(body))

    def send_bytes(self, data):
        try:
            if self.socket is None:
                self.socket = socket.create_connection(self.address, self.seconds)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(data)
        except (ConnectionError, socket.timeout):
            # The outcome is told by whoever waits for the answer.
            self._drop()

    def take(self, seconds=None):
        """The outcome of the oldest request that has none yet."""
        api, version, correlation_id = self.waiting.pop(0)
        try:
            frame = self._frame(seconds)
        except socket.timeout:
            self.close()
            return Outcome(SILENT)
        if frame is None:
            self.close()
            return Outcome(CLOSED)
        try:
            return Outcome(ANSWERED, self._body(api, version, correlation_id, frame))
        except Unreadable as wrong:
            return Outcome(UNREADABLE, f"{wrong}: {frame.hex()}")

    def close(self):
        self._drop()
        self.waiting.clear()

    def _drop(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def _frame(self, seconds):
        if self.socket is None:
            return None
        self.socket.settimeout(seconds or self.seconds)
        size = self._exactly(4)
        return None if size is None else self._exactly(struct.unpack(">i", size)[0])

    def _exactly(self, count):
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self.socket.recv(min(count - len(parts), 1 << 16))
            except ConnectionError:
                return None
            if not part:
                return None
            parts += part
        return bytes(parts)

    def _body(self, api, version, correlation_id, frame):
        reader = Reader(frame)
        answered = reader.number(">i")
        if answered != correlation_id:
            raise Unreadable(f"correlation id {answered} instead of {correlation_id}")
        if version in api.response.flexible and api.key != API_VERSIONS:
            for _ in range(reader.varint()):
                reader.varint()
                reader.take(reader.varint())
        body = frame[reader.position:]
        if api.key == API_VERSIONS and version not in api.response.valid:
            # An unknown version of ApiVersions is answered in the first one.
            version = 0
        return decode(api.response, version, body)
