"""Large bodies: kept on disk while they arrive, and worked on a few at a time, so that memory has a bound.

What a file becomes while it is read, planned and recorded is several times its length. So large files wait for one
another; small ones never do. Whoever would wait too long, or be one too many, is told to come again.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from typing import IO, Final

from starlette.requests import ClientDisconnect, Request

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_ledger.errors import Busy

SMALL: Final = 2**20
AT_ONCE: Final = 2
"""How many large files are worked on at a time."""
PRESENT: Final = 32
"""How many large files may be there at a time, arriving ones too."""
WAIT_S: Final = 15.0


class Turn:
    """A body that has arrived, and whose turn it is until `end`."""

    def __init__(self) -> None:
        self._body = b""
        self._ends = contextlib.ExitStack()

    def take(self) -> bytes:
        """Return the body, once: it need not be kept while what it says is worked on."""
        body, self._body = self._body, b""
        return body

    def end(self) -> None:
        """Let others go on."""
        self._body = b""
        self._ends.close()


class Bulk:
    """What one process lets in. For one event loop."""

    def __init__(self, *, at_once: int = AT_ONCE, present: int = PRESENT, wait_s: float = WAIT_S) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._room = present
        self._wait_s = wait_s

    async def read(self, request: Request) -> Turn:
        """Return a body when it is there and has its turn. Whoever asks for it ends it.

        Raises:
            Busy: too many large files are there, or have been worked on for too long.
            InvalidInput: the connection ended before the body did.
            BodyTooLarge: it is longer than this door reads.
        """
        turn = Turn()
        try:
            with tempfile.SpooledTemporaryFile(max_size=SMALL) as spool:
                if await self._arrived(request, spool, turn) > SMALL:
                    await self._wait(turn)
                spool.seek(0)
                turn._body = spool.read()
        except BaseException:
            turn.end()
            raise
        return turn

    async def _arrived(self, request: Request, spool: IO[bytes], turn: Turn) -> int:
        length = 0
        try:
            async for chunk in request.stream():
                if length <= SMALL < length + len(chunk):
                    self._enter(turn)
                length += len(chunk)
                spool.write(chunk)
        except ClientDisconnect:
            raise InvalidInput(f"the body ended after {length} bytes, before it was whole", received=length) from None
        return length

    def _enter(self, turn: Turn) -> None:
        if not self._room:
            raise Busy("too many large files are here already; try again", retry_after_s=int(self._wait_s))
        self._room -= 1
        turn._ends.callback(self._left)

    def _left(self) -> None:
        self._room += 1

    async def _wait(self, turn: Turn) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise Busy("other large files are being worked on; try again", retry_after_s=int(self._wait_s)) from None
        turn._ends.callback(self._turns.release)
