"""Reads one JSON command a line from standard input and answers each with one JSON line.

Owns the framing and the encoding of bytes that ../README.md describes; what a command does is
the agent's. An agent is an object with a method for each command, which takes the command's
fields and returns the answer's.
"""

import base64
import json
import sys


class Refused(Exception):
    """An error of Kafka's protocol, with its code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def to_text(data):
    return None if data is None else base64.b64encode(bytes(data)).decode()


def to_bytes(text):
    return None if text is None else base64.b64decode(text)


def record(topic, partition, offset, timestamp, key, value, headers):
    return {
        "topic": topic,
        "p": partition,
        "o": offset,
        "t": timestamp,
        "k": to_text(key),
        "v": to_text(value),
        "h": [[name, to_text(data)] for name, data in headers or []],
    }


def serve(agent):
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("do")
        try:
            answer = {"ok": True, **(getattr(agent, name)(**command) or {})}
        except Exception as error:  # Whatever went wrong is the driver's to judge.
            answer = {
                "ok": False,
                "code": agent.code_of(error),
                "error": f"{type(error).__name__}: {error}",
            }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if name == "quit":
            return
