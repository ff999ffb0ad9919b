"""Everything that touched an object of the estate, found in the log alone, so that it is never behind.

Events name what they concern by tags. An object is concerned under each of these: its own name, and those of what was
merged into it; as the subject or the resource of a decision, a request or a grant, or as something else that the
decision looked at; as the principal that an agent is known by; and in the story of each approval that was asked for it.

The one event that says what a whole file or an import did names its run, not its ten thousand objects: it is found from
the objects' own events, see `read`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_graphql.context import Context
from quarterdeck_ledger.entry import Entry

MAX_NAMES: Final = 50
"""How many merged objects are followed."""
MAX_APPROVALS: Final = 200
"""How many requests about an object are followed to their end: the latest. Of others there are the requests alone."""
MERGED: Final = "asset.merged"
_ROLES: Final = ("resource", "subject", "decided-about")
_RUN: Final = "estate-run:"
_APPLIED: Final = "estate.applied"
_SAID: Final = ("asset.registered", "asset.changed")
_LOOKED_AT: Final = 200


def asset_of(tag: str) -> str | None:
    """Return the object of the estate that a tag names, `kind:name`; None if it names something else."""
    prefix, _, asset = tag.partition(":")
    return asset if prefix == "asset" and asset.partition(":")[0] in KINDS else None


def is_of_the_map(tags: Iterable[str]) -> bool:
    """Tell whether one of these names an object of the estate or a relation."""
    return any(tag.startswith("relation:") or asset_of(tag) is not None for tag in tags)


async def concerning(context: Context, tag: str, *, stories: bool) -> list[str]:
    """Return every tag under which an event may concern what a tag names, the tag itself first.

    `stories`: those of the approvals asked for it, too.
    """
    asset = asset_of(tag)
    if asset is None:
        return [tag]
    names = await _names(context, asset)
    parties = [f"{role}:{name}" for name in names for role in _ROLES]
    if asset.startswith("agent:"):
        for principal in await _principals(context, names):
            parties += [f"subject:agent:{principal}", f"principal:{principal}"]
    found = [*(f"asset:{name}" for name in names), *parties]
    if stories:
        found += await _approvals(context, parties)
    return found


async def _names(context: Context, asset: str) -> list[str]:
    """Return an object's name and those of what was merged into it, and into that."""
    names, following = [asset], [asset]
    while following and len(names) < MAX_NAMES:
        merges = await _read(context, (MERGED,), (f"asset:{name}" for name in following))
        following = []
        for entry in merges:
            merged: str = entry.data["merged"]
            if entry.data["survivor"] in names and merged not in names:
                names.append(merged)
                following.append(merged)
    return names


async def later_merges(context: Context, tag: str) -> list[tuple[str, str]]:
    """Return the tags of the mergers by which what an object was merged into became part of another itself, and on."""
    asset = asset_of(tag)
    found: list[tuple[str, str]] = []
    passed: set[str] = set()
    while asset is not None and asset not in passed and len(found) < MAX_NAMES:
        passed.add(asset)
        merges = await _read(context, (MERGED,), (f"asset:{asset}",))
        into = next((entry.data["survivor"] for entry in merges if entry.data["merged"] == asset), None)
        if into is not None:
            found.append((f"asset:{asset}", f"asset:{into}"))
        asset = into
    return found[1:]  # the first names the object itself


async def _principals(context: Context, names: list[str]) -> list[str]:
    said: list[Any] = [
        entry.data["facts"].get("attributes.principal")
        for entry in await _read(context, _SAID, (f"asset:{name}" for name in names))
    ]
    return [name for name in dict.fromkeys(said) if isinstance(name, str)]


async def _approvals(context: Context, parties: Iterable[str]) -> list[str]:
    found = await _read(context, ("approval.requested",), parties, limit=MAX_APPROVALS)
    return [f"approval:{entry.data['approval_id']}" for entry in found]


async def _read(context: Context, types: tuple[str, ...], tags: Iterable[str], limit: int = _LOOKED_AT) -> list[Entry]:
    items = [DCBQueryItem(types=list(types), tags=[tag]) for tag in tags]
    return await context.log.read_sealed(context.tenant, DCBQuery(items=items), limit=limit, backwards=True)


async def read(
    context: Context,
    query: DCBQuery,
    types: frozenset[str] | None,
    *,
    after: int,
    until: int | None,
    limit: int,
    backwards: bool,
) -> list[Entry]:
    """Return the events that a query finds, of these types if they are given, and what applied each run they are of.

    A run's events are recorded in one append, what applied it first. So of the events between two places the applying
    one follows from those alone that the query finds, and pages fit together whatever their size.
    """
    found: list[Entry] = []
    while len(found) < limit:
        # Going backwards, the event at the place itself is looked at again: its run may lie before it.
        high = None if until is None else until + backwards
        whole = await context.log.read_sealed(
            context.tenant, query, after=after, until=high, limit=limit + 1, backwards=backwards
        )
        more = len(whole) > limit
        applied = await _applied(context, whole)
        every = {entry.position: entry for entry in (*applied, *whole)}
        if more and backwards:
            every = {place: entry for place, entry in every.items() if place >= whole[-1].position}
        last = max(every, default=0) if not backwards else min(every, default=0)
        found += [
            every[place]
            for place in sorted(every, reverse=backwards)
            if place > after and (until is None or place <= until) and (types is None or every[place].type in types)
        ]
        if not more:
            break
        after, until = (after, last - 1) if backwards else (last, until)
    return found[:limit]


async def _applied(context: Context, entries: Iterable[Entry]) -> list[Entry]:
    runs = sorted({tag for entry in entries for tag in entry.tags if tag.startswith(_RUN)})
    if not runs:
        return []
    items = [DCBQueryItem(types=[_APPLIED], tags=[run]) for run in runs]
    return await context.log.read_sealed(context.tenant, DCBQuery(items=items), limit=len(runs))
