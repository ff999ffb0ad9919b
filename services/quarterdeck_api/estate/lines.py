"""Long work as a stream of JSON lines: `{"progress": …}` while it goes on, `{"result": …}` or `{"problem": …}` last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec

from quarterdeck_api.problems import problem_of, unexpected
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_importing.applying import Progress

NDJSON: Final = "application/x-ndjson"
_under_way: set[asyncio.Task[None]] = set()


def lines_of(work: Callable[[Progress], Awaitable[Any]], name: str) -> AsyncIterator[bytes]:
    """Begin some work and return what it says of itself. Whoever hangs up does not stop it, and be it at once: it ends
    by itself."""
    tell: asyncio.Queue[bytes | None] = asyncio.Queue()

    def progress(stage: str, done: int, of: int) -> None:
        tell.put_nowait(msgspec.json.encode({"progress": {"stage": stage, "done": done, "of": of}}) + b"\n")

    async def told() -> None:
        try:
            tell.put_nowait(msgspec.json.encode({"result": await work(progress)}) + b"\n")
        except QuarterdeckError as error:
            tell.put_nowait(b'{"problem":' + bytes(problem_of(error).body) + b"}\n")
        except Exception:
            tell.put_nowait(b'{"problem":' + bytes(unexpected().body) + b"}\n")
            raise
        finally:
            tell.put_nowait(None)

    task = asyncio.create_task(told(), name=name)
    _under_way.add(task)  # the loop itself holds tasks weakly
    task.add_done_callback(_under_way.discard)
    return _lines(tell, task)


async def _lines(tell: asyncio.Queue[bytes | None], task: asyncio.Task[None]) -> AsyncIterator[bytes]:
    while (line := await tell.get()) is not None:
        yield line
    await task
