"""A proxy before PostgreSQL's socket that loses, cuts, halves and delays what passes, by a seed.

It has a thread and a loop of its own, so that it runs before the test's loop does and whatever that is doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_S: Final = 0.05


class Proxy:
    """Stands before a server's socket. Nothing is disturbed until `chance` is set, or `lose_answer_to`."""

    def __init__(self, directory: Path, server: Path, seed: int) -> None:
        self.chance = 0.0
        self.lose_answer_to: bytes | None = None
        self.done: Counter[str] = Counter()
        self._path = directory / _SOCKET
        self._server = server / _SOCKET
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, ready: threading.Event, ended: asyncio.Event) -> None:
        """Pass on what comes, until told to end."""
        server = await asyncio.start_unix_server(self._accept, self._path)
        ready.set()
        async with server:
            await ended.wait()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._pass(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, onward = await asyncio.open_unix_connection(self._server)
        lost = asyncio.Event()
        try:
            towards = asyncio.create_task(self._towards(reader, onward, lost))
            back = asyncio.create_task(self._back(upstream, writer, lost))
            try:
                await asyncio.wait({towards, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (towards, back):
                    task.cancel()
                await asyncio.gather(towards, back, return_exceptions=True)
        finally:
            onward.close()

    async def _towards(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while chunk := await reader.read(65_536):
            if self.lose_answer_to is not None and self.lose_answer_to in chunk:
                self.lose_answer_to = None
                lost.set()
            fault = self._fault()
            if fault == "cut":
                return
            if fault == "half":
                onward.write(chunk[: len(chunk) // 2])
                await onward.drain()
                return
            if fault == "delay":
                await asyncio.sleep(self._random.uniform(0, _LONGEST_S))
            onward.write(chunk)
            await onward.drain()
            if fault == "close":
                onward.write_eof()  # and the answer may still come
                await asyncio.Event().wait()

    async def _back(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while chunk := await upstream.read(65_536):
            if lost.is_set():
                self.done["lost"] += 1
                return
            fault = self._fault()
            if fault == "cut":
                return  # done, committed, and never told
            if fault == "half":
                writer.write(chunk[: len(chunk) // 2])
                await writer.drain()
                return
            if fault == "delay":
                await asyncio.sleep(self._random.uniform(0, _LONGEST_S))
            writer.write(chunk)
            await writer.drain()
            if fault == "close":
                writer.write_eof()
                await asyncio.Event().wait()

    def _fault(self) -> str | None:
        if self.chance == 0.0 or self._random.random() >= self.chance:
            return None
        fault = self._random.choice(("cut", "half", "close", "delay", "delay"))
        self.done[fault] += 1
        return fault


@contextlib.contextmanager
def proxy(directory: Path, server: Path, seed: int) -> Iterator[Proxy]:
    """Run a proxy for as long as a block lasts; its socket is in `directory`."""
    directory.mkdir(mode=0o700)
    made = Proxy(directory, server, seed)
    ready, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        try:
            loop.run_until_complete(made.serve(ready, ended))
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="proxy")
    thread.start()
    try:
        assert ready.wait(10)
        yield made
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
