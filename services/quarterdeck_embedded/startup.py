"""Asking a PostgreSQL server whether it takes connections: the first message of its protocol, without any driver.

Source: PostgreSQL documentation, "Message Formats" (StartupMessage, AuthenticationOk, ErrorResponse, Terminate).
"""

from __future__ import annotations

import socket
import struct
from enum import Enum
from pathlib import Path
from typing import Final

_PROTOCOL: Final = 3 << 16
_CANNOT_CONNECT_NOW: Final = b"C57P03"
_PATIENCE_S: Final = 2.0
_LARGEST_ANSWER: Final = 4096


class Answer(Enum):
    """What the server's socket said."""

    SILENT = "nobody listens"
    NOT_NOW = "it starts, recovers or shuts down"
    READY = "it takes connections"


def ask(path: Path, user: str, database: str) -> Answer:
    """Begin a connection on a Unix socket, end it at once, and return what the server said to it."""
    words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PATIENCE_S)
        try:
            client.connect(str(path))
            client.sendall(struct.pack("!II", 8 + len(words), _PROTOCOL) + words)
            answer = client.recv(_LARGEST_ANSWER)
            if answer.startswith(b"E"):
                # Any other refusal (no such database, too many clients) comes from a server at work.
                return Answer.NOT_NOW if _CANNOT_CONNECT_NOW in answer else Answer.READY
            client.sendall(b"X" + struct.pack("!I", 4))
        except OSError:
            return Answer.SILENT
    return Answer.READY if answer.startswith(b"R") else Answer.SILENT
