"""Pages of everything that touched an object fit together, whatever their size, and requests are noted by turns.

Serves S0-120, DC-06.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from eventsourcing.dcb.api import DCBQuery, DCBQueryItem
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_api.graphql_mount import Asked
from quarterdeck_domain.events import Actor, Cause
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.touching import read
from quarterdeck_graphql.turns import Turns
from quarterdeck_ledger.entry import Entry

ABOUT = DCBQuery(items=[DCBQueryItem(types=[], tags=["asset:tool:a"])])


class Log:
    """A log that answers what is asked of the real one."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries

    async def read_sealed(
        self,
        tenant: str,
        query: DCBQuery,
        *,
        after: int = 0,
        until: int | None = None,
        limit: int,
        backwards: bool = False,
    ) -> list[Entry]:
        """Return a page of what matches."""
        found = [
            entry
            for entry in self.entries
            if after < entry.position <= (until if until is not None else len(self.entries))
            and any(
                (not item.types or entry.type in item.types) and set(item.tags) <= set(entry.tags)
                for item in query.items
            )
        ]
        return (found[::-1] if backwards else found)[:limit]


def entry(position: int, type_: str, *tags: str) -> Entry:
    """Return an event."""
    return Entry(
        actor=Actor(principal="prn_x", kind="human"),
        cause=Cause(),
        data={},
        id=uuid.UUID(int=position),
        position=position,
        recorded_at=datetime(2026, 11, 21, tzinfo=UTC),
        tags=tags,
        tenant="acme",
        type=type_,
        version=1,
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Return a log of commands and runs: a run's events follow what applied it, in one append."""
    found: list[Entry] = []
    for number in range(draw(st.integers(0, 8))):
        run = (f"estate-run:run_{number}",) if draw(st.booleans()) else ()
        if run:
            found.append(entry(len(found) + 1, "estate.applied", *run))
        for mine in draw(st.lists(st.booleans(), min_size=1, max_size=4)):
            tags = ("asset:tool:a",) if mine else ("asset:tool:b",)
            found.append(entry(len(found) + 1, "asset.changed", *tags, *run))
    return found


def touched(log: Sequence[Entry], types: frozenset[str] | None) -> list[int]:
    """Return what touched the object, told without pages."""
    mine = [entry for entry in log if "asset:tool:a" in entry.tags]
    runs = {tag for entry in mine for tag in entry.tags if tag.startswith("estate-run:")}
    return [
        entry.position
        for entry in log
        if (entry in mine or (entry.type == "estate.applied" and runs & set(entry.tags)))
        and (types is None or entry.type in types)
    ]


@given(logs(), st.integers(1, 5), st.booleans(), st.sampled_from([None, frozenset({"estate.applied"})]))
async def test_pages_of_any_size_are_the_whole(
    log: list[Entry], size: int, backwards: bool, types: frozenset[str] | None
) -> None:
    """Nothing twice, nothing left out, in order, in both directions, and narrowed by type."""
    context = cast(Context, SimpleNamespace(log=Log(log), tenant="acme"))
    found: list[int] = []
    after, until = 0, None if not backwards else len(log)
    while True:
        page = await read(context, ABOUT, types, after=after, until=until, limit=size, backwards=backwards)
        found += [item.position for item in page]
        if len(page) < size:
            break
        after, until = (after, page[-1].position - 1) if backwards else (page[-1].position, until)
        if until is not None and after >= until:
            break
    whole = touched(log, types)
    assert found == (whole[::-1] if backwards else whole)


async def test_a_request_is_noted_when_it_comes_and_when_it_is_answered() -> None:
    """So that streams rest; the opening of a socket is none, and a request that fails is one."""
    noted: list[str] = []
    turns = Turns()
    turns.asked = lambda: noted.append("asked")  # type: ignore[method-assign]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        noted.append(scope["type"])
        if scope["path"] == "/broken":
            raise LookupError

    asked = Asked(app, turns)
    nothing: Any = None
    await asked({"type": "http", "path": "/v1/me"}, nothing, nothing)
    await asked({"type": "websocket", "path": "/graphql"}, nothing, nothing)
    try:
        await asked({"type": "http", "path": "/broken"}, nothing, nothing)
    except LookupError:
        noted.append("failed")
    assert noted == ["asked", "http", "asked", "websocket", "asked", "http", "asked", "failed"]
