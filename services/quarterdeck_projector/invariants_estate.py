"""I13: nothing is permitted, and no grant used, of what is in quarantine or retired.

Told anew from the events, naively: what was shut, under which names it could be asked for, from where to where in the
log; and then every decision that named it there, be it by what an importer had to rename. Decisions name their subject
and resource in clear; what stands in their sealed requests is not looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import product
from typing import Final

import msgspec
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.approvals.events import GrantRedeemed
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.estate.naming import names_for
from quarterdeck_domain.events import Event
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.entry import parse_entry
from quarterdeck_ledger.store import Store
from quarterdeck_projector.invariants import Violation

INVARIANT: Final = "I13"
_PAGE: Final = 1_000
_AS: Final = ("agent", "service", "user")
"""The types that a principal is asked about as."""
_SERVED: Final = ("tool", "prompt", "dataset")
_SHUTS: Final = boundary(
    ((estate.AssetQuarantined, estate.AssetReleased, estate.AssetRetired, estate.AssetsMerged), ())
)


class Span(msgspec.Struct, frozen=True):
    """A stretch of the log, `after < position < before`, in which nothing of a name may be permitted."""

    name: str
    """`type:id`, as a decision may name it."""
    after: int
    before: int | None
    why: str

    def holds(self, position: int) -> bool:
        """Tell whether a position is in it."""
        return self.after < position and (self.before is None or position < self.before)


async def check_estate(store: Store, tenant: str) -> AsyncIterator[Violation]:
    """Yield every decision, and every use of a grant, that the estate should have barred."""
    spans = [span async for span in _spans(store, tenant)]
    by_name: dict[str, list[Span]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    if not spans:
        return
    first = min(span.after for span in spans)
    # What a name was made of cannot be asked for by tags: every decision since is looked at, once.
    async for position, decision in _events(store, tenant, boundary(((DecisionRecorded,), ())), first, None):
        if isinstance(decision, DecisionRecorded) and decision.outcome != "deny":
            for span in _barring(decision, by_name, position):
                what = f"{decision.outcome} for {span.name}, and {span.why}"
                yield Violation(invariant=INVARIANT, tenant=tenant, what=what, position=position)
    async for position, used in _events(store, tenant, boundary(((GrantRedeemed,), ())), first, None):
        if not isinstance(used, GrantRedeemed):
            continue
        query = boundary(((DecisionRecorded,), (f"decision:{used.decision_id}",)))
        async for _, decision in _events(store, tenant, query, 0, None):
            for span in _barring(decision, by_name, position) if isinstance(decision, DecisionRecorded) else ():
                what = f"a grant for {span.name} was used, and {span.why}"
                yield Violation(invariant=INVARIANT, tenant=tenant, what=what, position=position)


def _barring(decision: DecisionRecorded, by_name: Mapping[str, list[Span]], position: int) -> Iterator[Span]:
    """Yield what should have barred a decision at a position, or the use of its grant there."""
    names: dict[str, None] = {}
    for named in (decision.resource, decision.subject):
        kind, _, called = named.partition(":")
        kind = kind.lower().replace("-", "_")
        names |= dict.fromkeys((named, *(f"{kind}:{name}" for name in names_for(kind, called))))
    return (span for name in names for span in by_name.get(name, ()) if span.holds(position))


async def _spans(store: Store, tenant: str) -> AsyncIterator[Span]:
    shut: list[tuple[str, int, int | None, str]] = []
    open_: dict[str, tuple[int, str]] = {}
    names: dict[str, dict[str, int]] = {}
    one: dict[str, dict[str, int]] = {}
    """By server: what else it is called, since when."""

    def end(asset: str, position: int) -> None:
        if asset in open_:
            after, how = open_.pop(asset)
            shut.append((asset, after, position, how))

    async for position, event in _events(store, tenant, _SHUTS, 0, None):
        match event:
            case estate.AssetQuarantined(asset=asset):
                open_.setdefault(asset, (position, "in quarantine"))
            case estate.AssetRetired(asset=asset):
                end(asset, position)
                open_[asset] = (position, "retired")
            case estate.AssetReleased(asset=asset):
                end(asset, position)
            case estate.AssetsMerged(survivor=survivor, merged=merged):
                end(merged, position)
                older = names.pop(merged, {}) | {merged: position}
                names.setdefault(survivor, {}).update((name, position) for name in older)
                if survivor.startswith("mcp_server:"):
                    ours, theirs = (survivor, *one.get(survivor, ())), (merged, *one.get(merged, ()))
                    for mine, other in product(ours, theirs):
                        one.setdefault(mine, {}).setdefault(other, position)
                        one.setdefault(other, {}).setdefault(mine, position)
            case _:
                pass
    shut += [(asset, after, None, how) for asset, (after, how) in open_.items()]
    for asset, after, before, how in shut:
        why = f"{asset} is {how} since {after}"
        for name, since in ({asset: 0} | names.get(asset, {})).items():
            if before is None or since < before:
                yield Span(name, max(after, since), before, why)
                if how == "in quarantine":
                    for other, so in _within(name, one):
                        if before is None or so < before:
                            yield Span(other, max(after, since, so), before, why)
        if how == "in quarantine":
            async for name, since, until in _through(store, tenant, asset):
                if (until is None or until > after) and (before is None or since < before):
                    ends = [item for item in (until, before) if item is not None]
                    yield Span(name, max(after, since), min(ends, default=None), why)


def _within(asset: str, one: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, int]]:
    """Yield what a thing is called after the other names of its server, and since when."""
    kind, _, called = asset.partition(":")
    server, slash, own = called.partition("/")
    if kind in _SERVED and slash:
        for other, since in one.get(f"mcp_server:{server}", {}).items():
            yield f"{kind}:{other.partition(':')[2]}/{own}", since


async def _through(store: Store, tenant: str, asset: str) -> AsyncIterator[tuple[str, int, int | None]]:
    """Yield what stands and falls with an object, and from where to where: the principal it acts as, and the tools and
    prompts that it exposes as a server."""
    held: dict[str, int] = {}
    query = boundary(
        (
            (estate.AssetRegistered, estate.AssetChanged, estate.RelationDeclared, estate.RelationWithdrawn),
            (f"asset:{asset}",),
        )
    )
    async for position, event in _events(store, tenant, query, 0, None):
        begun: Iterable[str] = ()
        ended: Iterable[str] = ()
        match event:
            case estate.AssetRegistered(facts=facts) | estate.AssetChanged(facts=facts):
                if "attributes.principal" in facts and getattr(event, "valid_from", None) is None:
                    ended = [name for name in held if name.partition(":")[0] in _AS]
                    begun = [f"{kind}:{facts['attributes.principal']}" for kind in _AS]
            case estate.RelationDeclared(source=source, relation="exposes", target=target, valid_to=None):
                if source == asset and source.startswith("mcp_server:") and target.startswith(("tool:", "prompt:")):
                    begun = [target]
            case estate.RelationWithdrawn(source=source, relation="exposes", target=target):
                ended = [target] if source == asset else ()
            case _:
                pass
        for name in ended:
            if name in held:
                yield name, held.pop(name), position
        for name in begun:
            held.setdefault(name, position)
    for name, since in held.items():
        yield name, since, None


async def _events(
    store: Store, tenant: str, query: DCBQuery, after: int, before: int | None
) -> AsyncIterator[tuple[int, Event]]:
    """Yield the events that can be read, in order; what cannot is another check's violation."""
    while True:
        page = await store.read(tenant, query, after, None if before is None else before - 1, _PAGE, False)
        for position, raw in page:
            try:
                entry = parse_entry(raw)
                payload = REGISTRY.from_data(entry.type, entry.version, entry.data)
            except (ValueError, TypeError, LookupError, RecursionError, msgspec.MsgspecError, QuarterdeckError):
                continue
            yield position, payload
        if len(page) < _PAGE:
            return
        after = page[-1][0]
