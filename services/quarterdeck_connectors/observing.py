"""From what traces show to what is recorded of it: `observe`, pure. What is seen and not registered becomes an object
of the estate with confidence `observed` (and so a finding); how objects were seen to be related is kept as evidence.

Such an object is recorded as live, for it is in use: as a draft it would be missing from the very question that it
matters for, which live agents can reach what. A relation is recorded when it is seen for the first time and then at
most once in a while, so the log grows with what is new and not with traffic; `count` is that of the request that was
recorded, and what the relation's row adds up to is a lower bound.

What a trace says of itself is a claim. The sender that was authenticated is the actor of every event; where the acting
object is known as another principal, the evidence says so.

Requirements: S0-05, S0-16, S0-52, S3-09.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from quarterdeck_connectors import semconv as names
from quarterdeck_connectors.otlp import Span
from quarterdeck_connectors.sightings import Seen, Sighting, Sightings, Thing, environment_of, named, shown
from quarterdeck_domain.checks import legible
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate import input_mix
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetRegistered,
    DriftDetected,
    DriftInput,
    RelationObserved,
)
from quarterdeck_domain.estate.relations import check_relation
from quarterdeck_domain.estate.values import check_facts, flat, nested
from quarterdeck_domain.events import Actor
from quarterdeck_domain.ids import make_id

EVERY: Final = timedelta(hours=1)
MAX_EVENTS: Final = 240
"""Of one request. What is beyond is told to the sender, and recorded when it is seen again."""
MAX_EVIDENCE: Final = 500
SOURCE: Final = "traces"
SERVES: Final = "serves"
_DRIFTS: Final = uuid.UUID("0d3d7a0e-6f2b-5d0e-8a55-3f8d7f6b1c94")
_PRINCIPAL: Final = "prn_"
_OFFERED: Final = frozenset({"tool", "dataset", "prompt"})

Ends = tuple[str, str, str]
Noticed = AssetRegistered | AssetChanged | RelationObserved | DriftDetected
"""What can come of traces."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of the objects that some traces may be about: facts (flat; of those that exist), what merged ones
    have become and by which other names MCP servers are known, and when relations were last recorded as seen."""

    facts: Mapping[str, Mapping[str, Any]]
    aliases: Mapping[str, str] = {}
    last_seen: Mapping[Ends, datetime] = {}
    drifts: frozenset[tuple[str, str, str]] = frozenset()
    """Drifts that nobody has looked at yet: object, field and what was found."""
    shut: Mapping[str, datetime] = {}
    """Since when objects are retired or in quarantine, of those that are."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recorded, objects before their relations, and how much was left out because there was too much.
    `news` of it was never recorded; `beyond` of what was left out is more news than the sender may show."""

    events: tuple[Noticed, ...] = ()
    left_out: int = 0
    news: int = 0
    beyond: int = 0


def candidates(sightings: Sightings, aliases: Mapping[str, str]) -> frozenset[str]:
    """Return every id that what was seen may be known by."""
    return frozenset(name for thing in sightings.things for name in _names(thing, aliases)).union(aliases.values())


def possible_ends(sightings: Sightings, standing: Standing) -> frozenset[Ends]:
    """Return every relation that was seen, once it is known which objects they are."""
    return frozenset(_resolved(sightings, standing))


def other_names(servers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return by which other names registered MCP servers may be seen: the host they answer on, and what they call
    themselves. What several have in common names none of them."""
    found: dict[str, set[str]] = {}
    for asset, facts in servers.items():
        for text in _other(facts):
            found.setdefault(f"mcp_server:{named(text)}", set()).add(asset)
    return {name: min(ids) for name, ids in found.items() if len(ids) == 1 and name not in servers}


def _other(facts: Mapping[str, Any]) -> Iterator[str]:
    endpoint, implementation = facts.get("attributes.endpoint"), facts.get("attributes.implementation")
    if isinstance(endpoint, str) and facts.get("attributes.transport") != "stdio":
        with contextlib.suppress(ValueError):
            parts = urlsplit(endpoint)
            if parts.hostname:
                yield parts.hostname if parts.port in (None, 80, 443) else f"{parts.hostname}:{parts.port}"
    if isinstance(implementation, str) and implementation.strip():
        yield implementation.split()[0]


def observe(
    sightings: Sightings,
    standing: Standing,
    *,
    sender: Actor,
    now: datetime,
    every: timedelta = EVERY,
    most: int = MAX_EVENTS,
    mixes: Mapping[str, Mapping[str, int]] = {},
    collects: bool = False,
    news: int | None = None,
) -> Observed:
    """Return what is new in what was seen. Seen again, with what is returned standing, it is nothing.

    No more than `news` objects and relations are new. With `collects` the sender speaks for others, as a collector
    does; else its word proves only what it does itself.

    `mixes` are what agents are asked, by size, of those of which there is enough to compare.
    """
    new: dict[str, AssetRegistered] = {}
    for thing, sighting in sightings.things.items():
        name = _identity(thing, standing)
        if name not in standing.facts and name not in new:
            new[name] = _registered(name, sighting, standing, sender)
    resolved = _resolved(sightings, standing)
    for version, relation, model in sorted(resolved):
        if relation == "version_of" and model.startswith("model:") and model in new:
            # What answers for it when it is seen first is its pin.
            facts = {f"attributes.{SERVES}": version.partition(":")[2]} | new[model].facts
            new[model] = msgspec.structs.replace(new[model], facts=facts)
    relations: list[RelationObserved] = []
    for ends, seen in resolved.items():
        first, last = _moment(seen.first_ns, now), _moment(seen.last_ns, now)
        before = standing.last_seen.get(ends)
        if before is None or last >= before + every or _shut_since(ends, before, last, standing):
            relations.append(_observed(ends, seen, first, last, standing, sender, collects=collects))
    # An object comes before what leads to it: a relation whose ends are left out is left out as well.
    allowed = len(new) + len(relations) if news is None else news
    assets = list(new.values())[: min(most, allowed)]
    there = {event.asset for event in assets}.union(standing.facts)
    whole = [event for event in relations if event.source in there and event.target in there]
    drifts = [*_answering(resolved, standing, sender, now), *_asked(mixes, standing, new, now)]
    unheard = [event for event in whole if _ends(event) not in standing.last_seen][max(0, allowed - len(assets)) :]
    beyond = {_ends(event) for event in unheard}
    whole = [event for event in whole if _ends(event) not in beyond][: most - len(assets)]
    events: tuple[Noticed, ...] = (*assets, *whole)
    left_out = len(new) + len(relations) - len(events)
    fresh = len(assets) + sum(_ends(event) not in standing.last_seen for event in whole)
    return Observed(
        events=(*events, *drifts[: max(0, most - len(events))]),
        left_out=left_out,
        news=fresh,
        beyond=left_out if fresh >= allowed else 0,
    )


def _ends(event: RelationObserved) -> Ends:
    return (event.source, event.relation, event.target)


def _shut_since(ends: Ends, before: datetime, last: datetime, standing: Standing) -> bool:
    """Tell whether one of the ends was taken out of use after a use was recorded, and is used since: that is news."""
    since = (standing.shut.get(name) for name in (ends[0], ends[2]))
    return any(when is not None and before <= when < last for when in since)


def asked_of(sightings: Sightings, standing: Standing) -> dict[str, dict[str, int]]:
    """Return how often which agent was asked something of which size, once it is known which objects they are."""
    found: dict[str, dict[str, int]] = {}
    for thing, counts in sightings.mixes.items():
        name = _identity(thing, standing)
        if name.startswith("agent:"):
            sizes = found.setdefault(name, {})
            for size, count in counts.items():
                sizes[size] = sizes.get(size, 0) + count
    return found


def _answering(
    resolved: Mapping[Ends, Seen], standing: Standing, sender: Actor, now: datetime
) -> Iterator[AssetChanged | DriftDetected]:
    """Yield which version answers for a model, where nobody has pinned one, and where it is not the pinned one."""
    pinned: dict[str, str] = {}
    for (version, relation, model), seen in sorted(resolved.items(), key=lambda item: item[0]):
        if relation != "version_of" or not model.startswith("model:") or model not in standing.facts:
            continue
        found = version.partition(":")[2]
        pin = pinned.get(model) or standing.facts.get(model, {}).get(f"attributes.{SERVES}")
        if not isinstance(pin, str):
            pinned[model] = found
            yield AssetChanged(asset=model, facts={f"attributes.{SERVES}": found}, source=SOURCE, confidence="observed")
        elif pin != found and not _known(standing, version, model, found):
            evidence = _evidence(seen.span, model, standing, sender)
            yield _drift(model, "model", SERVES, pin, found, evidence, now)


def _known(standing: Standing, version: str, model: str, found: str) -> bool:
    """Tell whether somebody has said that a version answers now, or has been told that it does."""
    current = standing.facts.get(version, {}).get("attributes.status") == "current"
    return current or (model, SERVES, found) in standing.drifts


def _asked(
    mixes: Mapping[str, Mapping[str, int]], standing: Standing, new: Mapping[str, AssetRegistered], now: datetime
) -> Iterator[AssetChanged | DriftDetected]:
    """Yield what agents are asked, where nobody has pinned it, and where it is not what was pinned."""
    for agent, counts in sorted(mixes.items()):
        if agent not in standing.facts and agent not in new:
            continue
        found = input_mix.told(counts)
        pin = standing.facts.get(agent, {}).get(f"attributes.{input_mix.FIELD}")
        if not isinstance(pin, str):
            facts = {f"attributes.{input_mix.FIELD}": found}
            yield AssetChanged(asset=agent, facts=facts, source=SOURCE, confidence="observed")
        elif input_mix.differs(pin, found) and not _noted(standing, agent):
            evidence = f"the last {sum(counts.values())} calls of models"
            yield _drift(agent, "input_mix", input_mix.FIELD, pin, found, evidence, now)


def _noted(standing: Standing, agent: str) -> bool:
    return any(asset == agent and field == input_mix.FIELD for asset, field, _ in standing.drifts)


def _drift(
    asset: str, input_: DriftInput, field: str, expected: str, found: str, evidence: str, now: datetime
) -> DriftDetected:
    return DriftDetected(
        drift_id=make_id("drf", uuid.uuid5(_DRIFTS, f"{asset} {field} {found} {now.isoformat()}")),
        asset=asset,
        input=input_,
        field=field,
        expected=expected,
        found=found,
        evidence=evidence,
    )


def _names(thing: Thing, aliases: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ids that something may be known by, the likeliest first; what an MCP server offers is named within it,
    however the server is known here."""
    found: list[str] = []
    for name in thing.names:
        found += [_within(name, aliases), name]
    return tuple(dict.fromkeys(found))


def _within(name: str, aliases: Mapping[str, str]) -> str:
    kind, _, rest = name.partition(":")
    host, slash, part = rest.partition("/")
    server = aliases.get(f"mcp_server:{host}", "") if slash and kind in _OFFERED else ""
    return f"{kind}:{server.partition(':')[2]}/{part}" if server else name


def _identity(thing: Thing, standing: Standing) -> str:
    """Return which object of the estate something is: the first of its names that stands there, else a new one."""
    for name in _names(thing, standing.aliases):
        here, passed = name, set[str]()
        while here in standing.aliases and here not in passed:
            passed.add(here)
            here = standing.aliases[here]
        if here in standing.facts:
            return here
    return _within(thing.otherwise, standing.aliases)


def _resolved(sightings: Sightings, standing: Standing) -> dict[Ends, Seen]:
    found: dict[Ends, Seen] = {}
    for (source, relations, target), seen in sightings.links.items():
        begin, end = _identity(source, standing), _identity(target, standing)
        relation = _fitting(begin, relations, end)
        if relation is None or begin == end:
            continue
        ends = (begin, relation, end)
        if ends in found:
            found[ends].add(seen)
        else:
            found[ends] = Seen(count=seen.count, first_ns=seen.first_ns, last_ns=seen.last_ns, span=seen.span)
    return found


def _fitting(source: str, relations: tuple[str, ...], target: str) -> str | None:
    for relation in relations:
        try:
            return check_relation(source.partition(":")[0], relation, target.partition(":")[0]).name
        except InvalidInput:
            continue
    return None


def _registered(name: str, sighting: Sighting, standing: Standing, sender: Actor) -> AssetRegistered:
    kind = name.partition(":")[0]
    evidence = _evidence(sighting.span, name, standing, sender)
    facts: dict[str, Any] = {"lifecycle": "live", "description": f"Seen in use: {evidence}", **sighting.facts}
    try:
        given = nested(facts)
        facts = flat(given, check_facts(kind, given))
    except InvalidInput:
        # A claim that does not fit is no reason not to notice what makes it.
        facts = {"lifecycle": "live"}
    return AssetRegistered(asset=name, facts=facts, source=SOURCE, confidence="observed")


def _observed(
    ends: Ends, seen: Seen, first: datetime, last: datetime, standing: Standing, sender: Actor, *, collects: bool
) -> RelationObserved:
    source, relation, target = ends
    return RelationObserved(
        source=source,
        relation=relation,
        target=target,
        environment=environment_of(seen.span),
        evidence=_evidence(seen.span, source, standing, sender),
        count=seen.count,
        first_seen=first,
        last_seen=last,
        sender=None if collects else sender.principal,
    )


def _evidence(span: Span, about: str, standing: Standing, sender: Actor) -> str:
    said = [f"trace {span.trace} span {span.id}"]
    if service := span.resource.get(names.SERVICE):
        said.append(f"service {shown(service, 100)}")
    claimed = {
        shown(text, 60)
        for text in (span.said.get(names.AGENT_ID), *span.resource.values())
        if text is not None and text.startswith(_PRINCIPAL) and text != sender.principal
    }
    known = standing.facts.get(about, {}).get("attributes.principal")
    if isinstance(known, str) and known != sender.principal:
        claimed.add(known)
    if claimed:
        # Whoever sends for others (a collector) says so too; an agent that speaks as another is a forgery or a mistake.
        word = "in conflict with its sender" if sender.kind == "agent" else "passed on by its sender"
        said.append(f"{word}: it claims to be {', '.join(sorted(claimed))}, and {sender.principal} sent it")
    return legible("; ".join(said), limit=MAX_EVIDENCE)


def _moment(nanoseconds: int, now: datetime) -> datetime:
    """Return when something was seen: as the span says, but never later than now, and now where it says nothing."""
    try:
        said = datetime.fromtimestamp(nanoseconds // 1_000 / 1_000_000, UTC) if nanoseconds > 0 else now
    except (OverflowError, OSError, ValueError):
        return now
    return min(said, now)
