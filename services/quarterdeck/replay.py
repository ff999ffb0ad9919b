"""The past again, at a pace of one's own: paused, gone on with, faster, slower, from anywhere.

The server keeps nothing of a replay. Events are fetched in pages, and the clock that lets them happen is here: so a
control is heard at once, and a connection that is lost meanwhile matters to nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from quarterdeck.errors import BadAnswer, NotConfigured, Problem, Refused

PAGE: Final = 100
LONGEST_GAP_S: Final = 10.0
"""Nobody waits longer than this for the next event, however long it was."""
_EVENTS: Final = """query Replay($first: Int!, $after: String, $filter: TimelineFilter) {
  timeline(first: $first, after: $after, filter: $filter) {
    edges { node {
      id position recordedAt type actor { principal kind onBehalfOf } tags data withheld { field reason }
    } }
    pageInfo { hasNextPage endCursor }
  }
}"""
_WHEN: Final = "query When($position: Position!) { at(position: $position) { recordedAt } }"

Event = Mapping[str, Any]
"""An event as GraphQL tells it: `position`, `recordedAt`, `type`, `actor`, `tags`, `data`, …"""
Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Asks a GraphQL question and returns its data."""


class Replay:
    """Events one after another, after the gaps that they had, divided by the speed. `async for` plays them.

    Others control it meanwhile: `pause`, `resume`, `set_speed`, `seek`. It ends where the log ended, or at `to`; after
    `seek` it can be played on.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        speed: float = 1.0,
        about: Sequence[str] = (),
        types: Sequence[str] = (),
        to: datetime | None = None,
    ) -> None:
        self.position = 0
        """Of the last event that happened again."""
        self.clock: datetime | None = None
        """The moment of the past that it has come to; None before its first event."""
        self.paused = False
        self._ask = ask
        given = {"about": list(about), "types": list(types), "to": None if to is None else _text(to)}
        self._filter = {name: value for name, value in given.items() if value}
        self._since: str | None = None
        self._cursor: str | None = None
        self._more = True
        self._read: deque[Event] = deque()
        self._sought: int | datetime | None = None
        self._controlled = asyncio.Event()
        self.set_speed(speed)

    def pause(self) -> None:
        """Let nothing happen until `resume`. What is left of the gap is kept."""
        self.paused = True
        self._controlled.set()

    def resume(self) -> None:
        """Go on."""
        self.paused = False
        self._controlled.set()

    def set_speed(self, speed: float) -> None:
        """Go on so much faster than it was; 0: without gaps.

        Raises:
            NotConfigured: less than 0, or no number.
        """
        if not 0 <= speed < float("inf"):
            raise NotConfigured(f"a speed is 0 or more, not {speed}")
        self.speed = speed
        self._controlled.set()

    def seek(self, *, position: int | None = None, time: datetime | None = None) -> None:
        """Go on after a position, or from a time on.

        Raises:
            NotConfigured: both or neither, or a time without a zone.
        """
        if (position is None) == (time is None):
            raise NotConfigured("seek a position or a time, one of them")
        if time is not None and time.tzinfo is None:
            raise NotConfigured("a time has a zone: datetime(…, tzinfo=UTC)")
        self._sought = position if time is None else time
        self._controlled.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """Return the next event once it is due.

        Raises:
            Refused: the server said no.
            Unreachable: no usable answer came; it can be played on later.
        """
        while True:
            self._controlled.clear()
            if self._sought is not None:
                await self._go_there(self._sought)
            event = await self._next()
            if event is None:
                raise StopAsyncIteration
            if await self._due(_moment(event)) and self._sought is None and not self.paused:
                self._read.popleft()
                self.position, self.clock = event["position"], _moment(event)
                return event

    async def _due(self, moment: datetime) -> bool:
        """Wait until something is due; tell whether it is, and nobody has said anything else meanwhile."""
        if self.paused:
            await self._controlled.wait()
            return False
        speed, clock = self.speed, self.clock
        if speed == 0 or clock is None or moment <= clock:
            return True
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(min((moment - clock).total_seconds() / speed, LONGEST_GAP_S)):
                await self._controlled.wait()
        except TimeoutError:
            self.clock = moment
            return True
        self.clock = min(moment, clock + timedelta(seconds=(loop.time() - began) * speed))
        return False

    async def _next(self) -> Event | None:
        while not self._read and self._more:
            wanted = self._filter | ({} if self._since is None else {"from": self._since})
            given = {"first": PAGE, "after": self._cursor, "filter": wanted}
            page = (await self._ask(_EVENTS, given))["timeline"]
            self._read += [edge["node"] for edge in page["edges"] if edge["node"]["position"] > self.position]
            self._cursor, self._more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        return self._read[0] if self._read else None

    async def _go_there(self, sought: int | datetime) -> None:
        since: str | None
        clock: datetime | None
        if isinstance(sought, datetime):
            since, clock, position = _text(sought), sought, 0
        else:
            since = (await self._ask(_WHEN, {"position": sought}))["at"]["recordedAt"]
            clock, position = None if since is None else datetime.fromisoformat(since), sought
        if self._sought is sought:
            self._sought = None
        self._since, self.clock, self.position = since, clock, position
        self._cursor, self._more = None, True
        self._read.clear()


def asking(send: Callable[..., Awaitable[Any]]) -> Ask:
    """Return what asks GraphQL over a transport's `send`."""

    async def ask(question: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = (await send("POST", "/graphql", body={"query": question, "variables": variables})).body
        errors, data = answer.get("errors"), answer.get("data")
        if errors:
            told = errors[0].get("extensions") or {}
            code, details = str(told.get("code", "refused")), told.get("details")
            raise Refused(
                Problem(
                    status=400,
                    type=f"urn:quarterdeck:problem:{code}",
                    detail=str(errors[0].get("message", "")),
                    details=details if isinstance(details, Mapping) else {},
                )
            )
        if not isinstance(data, Mapping):
            raise BadAnswer("what answered is not Quarterdeck: there is no data in it")
        return data

    return ask


def _moment(event: Event) -> datetime:
    return datetime.fromisoformat(event["recordedAt"])


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
