"""From the events of the estate to what is known of a name, as of a position and a moment. Pure: events in, facts out.

`Looking` is told the names, says which events it must see, in rounds, and then what is known of each. Who decides reads
them from the log (`sight`); who explains a decision gives it the events of a slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.estate.asset import ASSET_EVENTS
from quarterdeck_domain.estate.events import (
    ACTS_AS,
    EXPOSED,
    SERVES,
    AssetChanged,
    AssetRegistered,
    AssetsMerged,
    RelationDeclared,
    RelationWithdrawn,
)
from quarterdeck_domain.estate.naming import names_for, tagged
from quarterdeck_domain.estate.values import MAX_NAME
from quarterdeck_domain.events import Event, RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_policy.estate import SERVED, TANGLED, Known, Name, Served
from quarterdeck_policy.objects import Exposed, Object

MAX_READ: Final = 384
"""How many names may hang on those of one request: what is more tangled cannot be judged, and is denied."""
_ASSET: Final = "asset"
_SERVER: Final = "mcp_server"
_TYPES: Final[Mapping[str, tuple[type[Event], ...]]] = {
    _ASSET: ASSET_EVENTS,
    EXPOSED: (RelationDeclared, RelationWithdrawn),
    SERVES: (RelationDeclared, RelationWithdrawn),
    ACTS_AS: (AssetRegistered, AssetChanged, AssetsMerged),
}


class Looking:
    """The events of the estate that a decision needs, and what they say."""

    def __init__(self, names: Iterable[Name]) -> None:
        """Take the names that are looked up."""
        self._names = tuple(names)
        self._asking: frozenset[str] = frozenset()
        self._asked: set[str] = set()
        self._tangled = False
        self._objects: dict[str, Object] = {}
        self._exposed: dict[str, Exposed] = {}
        self._acting: dict[str, set[str]] = {}
        self._serves: dict[str, set[str]] = {}

    def wanted(self) -> DCBQuery | None:
        """Return the query of the events to be given next, in order; None once all is known."""
        missing: dict[str, None] = {}
        for name in self._names:
            for tag in self._tags(name):
                if tag not in self._asked:
                    missing[tag] = None
        self._tangled = self._tangled or len(self._asked) + len(missing) > MAX_READ
        if not missing or self._tangled:
            return None
        self._asking = frozenset(missing)
        self._asked |= self._asking
        return boundary(*((_TYPES[tag.partition(":")[0]], (tag,)) for tag in missing))

    def take(self, events: Iterable[RecordedEvent]) -> None:
        """Fold the events of the last query."""
        for event in events:
            # What was asked for in another round has seen this event then.
            for tag in self._asking.intersection(event.tags):
                kind, _, name = tag.partition(":")
                if kind == _ASSET:
                    self._objects.setdefault(name, Object(name)).apply(event)
                elif kind == EXPOSED:
                    self._exposed.setdefault(name, Exposed(name)).apply(event)
                elif kind == SERVES:
                    self._serves.setdefault(name, set()).add(str(getattr(event.payload, "target", "")))
                else:
                    acting = getattr(event.payload, "asset", None) or getattr(event.payload, "survivor", "")
                    self._acting.setdefault(name, set()).add(str(acting))

    def found(self, moment: datetime) -> dict[Name, Known]:
        """Return what is known of each name at a moment."""
        return {name: self._known(name, moment) for name in self._names}

    def _known(self, name: Name, moment: datetime) -> Known:
        if self._tangled:
            return Known(problem=TANGLED)
        named, candidates = self._meant(name, moment)
        mine = [found for candidate in candidates if (found := self._survivor(candidate)) is not None]
        servers = self._servers(name, mine, moment)
        in_use = [item for item in mine if item.lifecycle(moment) != "retired"]
        tags = frozenset(self._tags(name))
        since, until = self._period(tags, moment)
        barred = [bar for item in mine if (bar := item.barred(named, moment, spared=bool(in_use))) is not None]
        barred += [bar for item, spared in servers if (bar := item.barred(named, moment, spared=spared)) is not None]
        return Known(
            assets=tuple(dict.fromkeys((*(item.asset for item in mine), *(item.asset for item, _ in servers)))),
            attributes=next((said for item in (*in_use, *mine) if (said := item.attributes(moment))), {}),
            barred=tuple(dict.fromkeys(barred)),
            tags=tags,
            since=since,
            until=until,
        )

    def _meant(self, name: Name, moment: datetime | None = None) -> tuple[str, list[str]]:
        """Return what a name says, and which objects it may mean, at a moment or at any, as far as it is known."""
        if isinstance(name, Served):
            *_, safe = names_for(name.kind, f"{name.server}/{name.name}")
            return f"{name.kind}:{safe}", self._of_server(name, moment)
        kind, _, named = name.partition(":")
        if kind == _ASSET:
            return named, [named]
        return named, sorted(self._acting.get(named, ())) if moment is None else self._acting_as(named, moment)

    def _of_server(self, served: Served, moment: datetime | None) -> list[str]:
        """Return what may be meant by a name of a server's: what is called after any name of the server, and what any
        of them exposes that is called after something else."""
        servers = self._all_servers(served)
        names = dict.fromkeys((served.server, *(server.partition(":")[2] for server in servers)))
        called = [f"{served.kind}:{own}" for name in names for own in names_for(served.kind, f"{name}/{served.name}")]
        exposed = (target for tag in self._served(served) for target in sorted(self._serves.get(tag, ())))
        if moment is not None:
            exposed = (target for target in exposed if servers.keys() & self._exposing(target, moment).keys())
        return list(dict.fromkeys((*called, *exposed)))

    def _all_servers(self, served: Served) -> dict[str, None]:
        called = (f"{_SERVER}:{name}" for name in names_for(_SERVER, served.server))
        return dict.fromkeys(alias for server in called for alias in self._all_names(server))

    def _mistakable(self, name: Name) -> Iterator[str]:
        """Yield servers that a name may mean where it is read less strictly: written in small letters, or with a slash
        in the name of the server."""
        whole, shortest = "", 0
        if isinstance(name, Served):
            whole, shortest = f"{name.server}/{name.name}", len(name.server)
        elif name.startswith(f"{_ASSET}:{_SERVER}:"):
            whole = name.split(":", 2)[2] + "/"
            shortest = len(whole) - 1
        for place, letter in enumerate(whole[: MAX_NAME + 1]):
            if letter == "/" and place >= shortest:
                for called in dict.fromkeys((whole[:place], whole[:place].lower())):
                    yield from (f"{_SERVER}:{one}" for one in names_for(_SERVER, called))

    def _served(self, served: Served) -> Iterator[str]:
        for server in self._all_servers(served):
            for name in names_for(served.kind, served.name):
                yield f"{served.kind}:{server.partition(':')[2]}/{name}"

    def _tags(self, name: Name) -> Iterator[str]:
        """Yield the tags of everything that a name hangs on, as far as it is known."""
        if isinstance(name, Served):
            yield from (f"{_ASSET}:{server}" for server in self._all_servers(name))
            yield from (f"{SERVES}:{tag}" for tag in self._served(name))
        else:
            yield name
        for server in self._mistakable(name):
            for alias in self._chain(server):
                yield f"{_ASSET}:{alias}"
        for candidate in self._meant(name)[1]:
            for alias in self._chain(candidate):
                yield f"{_ASSET}:{alias}"
            if candidate.partition(":")[0] in SERVED:
                for alias in self._all_names(candidate):
                    yield f"{_ASSET}:{alias}"
                    yield f"{EXPOSED}:{alias}"
                    for server in sorted(self._exposed[alias].servers if alias in self._exposed else ()):
                        for other in self._chain(server):
                            yield f"{_ASSET}:{other}"

    def _chain(self, asset: str) -> list[str]:
        """Return what an object was called, from a name to its last survivor."""
        names = [asset]
        while (found := self._objects.get(names[-1])) is not None and found.merged_into is not None:
            if found.merged_into in names:
                break
            names.append(found.merged_into)
        return names

    def _all_names(self, asset: str) -> list[str]:
        """Return every name of the object that a name belongs to."""
        names = dict.fromkeys(reversed(self._chain(asset)))
        waiting = list(names)
        while waiting:
            found = self._objects.get(waiting.pop())
            for alias in sorted(found.aliases if found is not None else ()):
                if alias not in names:
                    names[alias] = None
                    waiting.append(alias)
        return list(names)

    def _survivor(self, asset: str) -> Object | None:
        found = self._objects.get(self._chain(asset)[-1])
        return found if found is not None and found.known else None

    def _acting_as(self, principal: str, moment: datetime) -> list[str]:
        return [
            asset
            for asset in sorted(self._acting.get(principal, ()))
            if (found := self._objects.get(asset)) is not None
            and tagged(str(found.facts(moment).get("attributes.principal"))) == principal
        ]

    def _servers(self, name: Name, mine: Sequence[Object], moment: datetime) -> list[tuple[Object, bool]]:
        """Return the servers on which what a name means stands, and of each whether retiring it ended nothing.

        Who exposes it counts, who is named as its server, and who did expose it when it was put into quarantine: what
        is listed, observed, registered or merged meanwhile is no release; only people can say that another one offers
        it. Retiring one ends nothing while another offers the same, or people say that there is such a thing."""
        exposed = (server for item in mine if item.kind in SERVED for server in self._exposing(item.asset, moment))
        named = self._all_servers(name) if isinstance(name, Served) else {}
        standing = self._survivors(exposed if mine else named)
        in_use = any(item.lifecycle(moment) != "retired" for item in standing.values())
        known = any(item.by_people() and item.lifecycle(moment) != "retired" for item in mine)
        found = {item.asset: (item, False) for item in self._shut(mine, moment)}
        for item in standing.values():
            found.setdefault(item.asset, (item, in_use))
        for spared, servers in ((in_use or known, named), (True, self._mistakable(name))):
            for item in self._survivors(servers).values():
                # Whom an import alone says to be shut does not shut what others call like it.
                if item.by_people() or item.lifecycle(moment) != "quarantined":
                    found.setdefault(item.asset, (item, spared))
        return list(found.values())

    def _shut(self, mine: Iterable[Object], moment: datetime) -> Iterator[Object]:
        """Yield the servers in quarantine, or retired from there, that exposed an object when they came there or later,
        by whatever names."""
        names = (name for item in mine if item.kind in SERVED for name in self._all_names(item.asset))
        every = [self._exposed[name] for name in names if name in self._exposed]
        if any(self._goes_on(exposed, moment) for exposed in every):
            return
        for exposed in every:
            for server in sorted(exposed.servers):
                item = self._survivor(server)
                since = None if item is None else item.shut_since(moment)
                if item is not None and since is not None and exposed.offered_since(server, since):
                    yield item

    def _goes_on(self, exposed: Exposed, moment: datetime) -> bool:
        """Tell whether people say that a server in use exposes it."""
        servers = (self._survivor(server) for server in exposed.at(moment) if server in exposed.by_people)
        states = [item.lifecycle(moment) for item in servers if item is not None]
        return any(state not in {None, "quarantined", "retired"} for state in states)

    def _survivors(self, assets: Iterable[str]) -> dict[str, Object]:
        found = (self._survivor(asset) for asset in assets)
        return {item.asset: item for item in found if item is not None}

    def _exposing(self, asset: str, moment: datetime) -> dict[str, None]:
        """Return the servers that expose an object at a moment, by whatever names."""
        exposed = [self._exposed[name] for name in self._all_names(asset) if name in self._exposed]
        return dict.fromkeys(server for item in exposed for server in item.at(moment))

    def _period(self, tags: Iterable[str], moment: datetime) -> tuple[datetime | None, datetime | None]:
        since: datetime | None = None
        until: datetime | None = None
        for tag in tags:
            kind, _, name = tag.partition(":")
            found = self._objects.get(name) if kind == _ASSET else self._exposed.get(name)
            for edge in found.edges if found is not None else ():
                if edge <= moment:
                    since = edge if since is None else max(since, edge)
                else:
                    until = edge if until is None else min(until, edge)
        return since, until
