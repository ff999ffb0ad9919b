"""HTTP/1.1 as cheaply as possible, and an agent's patience over several APIs: the same key until there is an answer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
ANSWER_S: Final = 8.0
PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.02


class Lost(Exception):
    """The connection ended, or nothing came, before an answer did: whether it was done is not known."""


@dataclass(frozen=True)
class Answer:
    """What an API answered."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def problem(self) -> str:
        """The code of the problem it is, if it is one."""
        found = self.body.get("type", "") if isinstance(self.body, dict) else ""
        return str(found).rpartition(":")[2]


def request(method: str, path: str, *, token: str, body: object = None, key: str | None = None) -> bytes:
    """Return a request as bytes."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: quarterdeck.test", f"Authorization: Bearer {token}"]
    if body is not None:
        lines += ["Content-Type: application/json"]
    if key is not None:
        lines.append(f"Idempotency-Key: {key}")
    lines.append(f"Content-Length: {len(content)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Return the next answer of a connection.

    Raises:
        Lost: it ended before.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        content = await reader.readexactly(int(headers.get("content-length", "0")))
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Lost(repr(error)) from None
    return Answer(int(head[0].split()[1]), headers, json.loads(content) if content else None)


class Connection:
    """A kept-alive connection to one port of this machine, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: bytes, *, within_s: float = ANSWER_S) -> Answer:
        """Send a request and return its answer.

        Raises:
            Lost: there was none.
        """
        try:
            async with asyncio.timeout(within_s):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = self._streams
                writer.write(message)
                answer = await read_answer(reader)
        except (OSError, TimeoutError, Lost) as error:
            self.close()
            raise Lost(repr(error)) from None
        except BaseException:
            self.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Patient:
    """One principal that repeats what was not answered, with the same key, at whichever API answers."""

    def __init__(self, ports: Sequence[int], token: str, *, seed: int = 0) -> None:
        self._connections = [Connection(port) for port in ports]
        self._token = token
        self._random = random.Random(seed)
        self._turn = seed
        self.repeats = 0

    async def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None, patience_s: float = PATIENCE_S
    ) -> Answer:
        """Return the first usable answer; anything but "try again" is one.

        Raises:
            AssertionError: none came for as long as the patience lasts, or an API failed in an unforeseen way.
        """
        message = request(method, path, token=self._token, body=body, key=key)
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        last = "nothing"
        self._turn += 1  # every API gets its share
        while loop.time() < end:
            connection = self._connections[self._turn % len(self._connections)]
            try:
                answer = await connection.send(message)
            except Lost as error:
                last = str(error)
                self._turn += 1
            else:
                if answer.status not in TRY_AGAIN:
                    assert answer.status != 500, (method, path, answer)
                    return answer
                assert answer.problem in {"unavailable", "busy", "timed_out", "not_yet"}, answer
                last = f"{answer.status} {answer.body}"
            self.repeats += 1
            await asyncio.sleep(_PAUSE_S * self._random.uniform(0.5, 1.5))
        raise AssertionError(f"{method} {path} got no usable answer in {patience_s:.0f} s; last: {last}")

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()
