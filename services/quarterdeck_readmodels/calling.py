"""Which tools objects can call by themselves: those that grants they hold permit, and those that they call straight or
through a server. Where they hold grants for what a server offers, these say which, and not that they are connected to
it; also while the grants, or the tools, are in quarantine, and when a grant's time is over. What was merged into
another counts as that one. What another agent can call in their place is reach, not this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from quarterdeck_domain.estate.values import LIVE
from quarterdeck_readmodels.bitemporal import holds
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.naming import Names
from quarterdeck_readmodels.reaching import MAX_RELATIONS, end_of_time
from quarterdeck_readmodels.reader import Record

_CALLING: Final = frozenset({"holds", "permits", "calls", "exposes"})
_THERE: Final = LIVE | {"quarantined"}
_BETWEEN: Final = frozenset({"tool_grant", "mcp_server"})


class CallableTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool, the grants that permit it (none: it is called without one), and what may be done with it."""

    tool: Asset
    grants: tuple[str, ...]
    privileges: tuple[str, ...]


async def callable_tools(record: Record, starts: Sequence[str], moment: datetime) -> list[tuple[CallableTool, ...]]:
    """Return, for each of several objects, the tools that it can call, in order of name.

    Raises:
        InvalidInput: more relations than can be answered at once.
    """
    names: Names[Asset] = Names(partial(record.many, Asset))
    assets: dict[str, Asset] = {}
    edges: dict[str, set[str]] = {}
    await names.see(starts)
    frontier = {names.now(name) for name in starts}
    while frontier:
        called = await names.called(frontier)
        found = await record.matching(Relation, "source", called, most=MAX_RELATIONS)
        taken = [item for item in found if item.relation in _CALLING and holds(item, moment)]
        await names.see(item.target for item in taken)
        for item in taken:
            edges.setdefault(names.now(item.source), set()).add(names.now(item.target))
        fresh = {names.now(item.target) for item in taken} - assets.keys()
        there = {name: asset for name in fresh if (asset := names.known[name]) is not None and _is_there(asset)}
        assets |= there
        frontier = {name for name, asset in there.items() if asset.kind in _BETWEEN}
    over = {name for name, asset in assets.items() if (end := end_of_time(asset)) is not None and end <= moment}
    return [_of(assets, edges, over, names.now(name)) for name in starts]


def _is_there(asset: Asset) -> bool:
    return asset.lifecycle in _THERE and not asset.merged_into


def _of(
    assets: Mapping[str, Asset], edges: Mapping[str, set[str]], over: set[str], start: str
) -> tuple[CallableTool, ...]:
    def there(name: str, kind: str) -> set[str]:
        return {end for end in edges.get(name, ()) if end in assets and assets[end].kind == kind}

    def after(name: str, kind: str) -> set[str]:
        return {end for end in there(name, kind) if assets[end].lifecycle in LIVE}

    def permits(name: str) -> set[str]:
        return after(name, "tool").union(*(after(server, "tool") for server in after(name, "mcp_server")))

    permitted: dict[str, set[str | None]] = {tool: {None} for tool in after(start, "tool")}
    for grant in after(start, "tool_grant") - over:
        for tool in permits(grant):
            permitted.setdefault(tool, set()).add(grant)
    held = there(start, "tool_grant")
    servers = {end for grant in held for end in there(grant, "mcp_server")}
    bound = servers.union(*(there(name, "tool") for name in (*held, *servers)))
    for server in after(start, "mcp_server"):
        if server not in bound and bound.isdisjoint(there(server, "tool")):
            for tool in after(server, "tool"):
                permitted.setdefault(tool, set()).add(None)
    return tuple(
        CallableTool(
            tool=assets[name],
            grants=tuple(sorted(filter(None, grants))),
            privileges=_privileges(assets, name, grants),
        )
        for name, grants in sorted(permitted.items())
    )


def _privileges(assets: Mapping[str, Asset], tool: str, grants: set[str | None]) -> tuple[str, ...]:
    able = set(assets[tool].attributes.get("privileges") or ())
    said = [None if grant is None else assets[grant].attributes.get("privileges") or None for grant in grants]
    # Without a grant, and with one that does not say what it permits, everything that the tool can do is permitted.
    return tuple(sorted(able if None in said else able & {name for names in said for name in names or ()}))
