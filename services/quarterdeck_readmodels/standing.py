"""What stands of the objects that a declarative file names, and a whole estate as such a file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.declaration import MAX_ASSETS, MAX_RELATIONS, Declaration, Ending, Link
from quarterdeck_domain.estate.drift import OFFER, differs
from quarterdeck_domain.estate.merging import survivor
from quarterdeck_domain.estate.offers import asks_where, shut_places
from quarterdeck_domain.estate.standing import Ends, Standing, Word
from quarterdeck_domain.estate.values import FIELDS
from quarterdeck_domain.estate.voices import Voices, read
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.living import Live
from quarterdeck_readmodels.reader import Record

_CHUNK: Final = 2_000
_from_json: Final = msgspec.json.Decoder().decode


async def standing(recorded: Record, wanted: Declaration, now: datetime) -> Standing:
    """Return what is true of everything that a file names or leads to, also under another name by now; and of what came
    from its source, and what that said, if it is read whole.

    That is what holds now; of relations, and of objects that are announced, what does from when on the file is to hold.
    """
    imported = wanted.confidence != "declared"
    record = Live(recorded, now, lean=not imported)
    later = record.when(max(now, wanted.valid_from or now))
    known = _Known(record, later)
    await known.learn(
        {
            *wanted.assets,
            *(link.to for entry in wanted.assets.values() for links in entry.relations.values() for link in links),
            *(entry.ending.successor for entry in wanted.assets.values() if entry.ending.successor is not None),
        }
    )
    offered: list[Asset] = []
    if wanted.whole:
        offered = await record.matching(Asset, "offered_by", [wanted.source], most=MAX_ASSETS)
        await known.take(offered)
    lists = {name for name, entry in wanted.assets.items() if entry.relations or wanted.whole}
    lists |= {survivor(name, known.aliases) for name in lists} | {asset.id for asset in offered}
    if wanted.whole:
        lists |= await _speaks_of(later, wanted)
    sources = sorted(await known.every_name(lists))
    found: dict[Ends, Link] = {}
    said_by: dict[Ends, Word] = {}
    for start in range(0, len(sources), _CHUNK):
        for relation in await later.matching(Relation, "source", sources[start : start + _CHUNK], most=MAX_RELATIONS):
            if relation.declared:
                ends = (relation.source, relation.relation, relation.target)
                found[ends], said_by[ends] = _link(relation), Word(relation.said_by, relation.confidence)
    await known.learn({target for _, _, target in found})
    await known.learn({ending.successor for ending in known.endings.values() if ending.successor is not None})
    return Standing(
        facts=known.facts,
        relations=found,
        aliases=known.aliases,
        said_by=said_by,
        offered=frozenset(asset.id for asset in offered),
        offered_by=known.offered_by,
        endings=known.endings,
        voices=known.voices,
        shut=await _shut(record) if asks_where(wanted) else {},
        **(await _looked_at(recorded, known, wanted) if imported else {}),
    )


async def _shut(record: Live) -> dict[str, str]:
    """Return which MCP servers are in quarantine, by where they are reached."""
    rows = await record.matching(Asset, "kind", ["mcp_server"], most=MAX_RELATIONS)
    return shut_places((row.id, facts_of(row)) for row in rows)


async def _looked_at(record: Record, known: _Known, wanted: Declaration) -> dict[str, Any]:
    """Return what was noted of what an import is about, and since when it is known and reviewed."""
    rows = [known.rows[name] for name in wanted.assets.keys() | set(known.aliases.values()) if name in known.rows]
    drifted = [row.id for row in rows if differs(known.facts[row.id], known.facts[row.id])]
    offering = {row.id: row for row in rows if OFFER in row.since}
    noted: dict[str, set[str]] = {}
    reviewed = {name: datetime.fromisoformat(row.since[OFFER][0]) for name, row in offering.items()}
    names = sorted({*drifted, *offering})
    for start in range(0, len(names), _CHUNK):
        for drift in await record.matching(Drift, "asset", names[start : start + _CHUNK], most=MAX_RELATIONS):
            if drift.state == "open":
                noted.setdefault(drift.asset, set()).add(drift.found)
            elif drift.found == known.facts[drift.asset].get(OFFER):
                # Whoever accepted what a server offered had looked at what it offered then.
                reviewed[drift.asset] = drift.detected_at
    return {
        "noted": {name: frozenset(found) for name, found in noted.items()},
        "registered": {row.id: row.registered_at for row in rows},
        "reviewed": reviewed,
    }


class _Known:
    """The objects that were looked up so far."""

    def __init__(self, record: Live, later: Live) -> None:
        self._record, self._later = record, later
        self._asked: set[str] = set()
        self._called: dict[str, tuple[str, ...]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, str] = {}
        self.offered_by: dict[str, str] = {}
        self.voices: dict[str, Voices] = {}
        self.rows: dict[str, Asset] = {}
        self.endings: dict[str, Ending] = {}

    async def take(self, assets: Iterable[Asset]) -> None:
        """Keep what rows say; of objects that are announced, what they will say then."""
        found = {asset.id: asset for asset in assets}
        ahead = [asset.id for asset in found.values() if asset.valid_from and asset.valid_from > self._record.moment]
        for asset in (found | (await self._later.many(Asset, ahead) if ahead else {})).values():
            self._take(asset)

    def _take(self, asset: Asset) -> None:
        self._asked.add(asset.id)
        self.facts[asset.id] = facts_of(asset)
        self._called[asset.id] = asset.aliases
        if asset.lifecycle == "deprecated":
            self.endings[asset.id] = Ending(successor=asset.successor, sunset=asset.sunset)
        self.rows[asset.id] = asset
        if asset.voices or asset.contested:
            self.voices[asset.id] = read(asset.voices, asset.contested)
        if asset.merged_into is not None:
            self.aliases[asset.id] = asset.merged_into
        if asset.offered_by is not None:
            self.offered_by[asset.id] = asset.offered_by

    async def learn(self, names: set[str]) -> None:
        """Look objects up, and what they are part of by now."""
        waiting = sorted(names - self._asked)
        while waiting:
            self._asked |= set(waiting)
            for start in range(0, len(waiting), _CHUNK):
                await self.take((await self._record.many(Asset, waiting[start : start + _CHUNK])).values())
            waiting = sorted(set(self.aliases.values()) - self._asked)

    async def every_name(self, names: set[str]) -> set[str]:
        """Return names, and those of everything that was merged into what they name."""
        found, waiting = set(names), set(names)
        while waiting:
            await self.learn(waiting)
            waiting = {alias for name in waiting for alias in self._called.get(name, ())} - found
            found |= waiting
        return found


async def _speaks_of(record: Record, wanted: Declaration) -> set[str]:
    """Return the objects at which a relation begins that a source declared, whoever offered them."""
    found: set[str] = set()
    async with aclosing(record.walk(Relation, ("source", "declared", "said_by", "confidence"))) as pages:
        async for page in pages:
            found |= {
                start
                for start, declared, said_by, confidence in page
                if declared and said_by == wanted.source and Word(said_by, confidence).of(wanted)
            }
    return found


def facts_of(asset: Asset) -> dict[str, Any]:
    """Return what a row says of an object, flat; what nobody has said is left out."""
    values = {name: getattr(asset, name) for name in FIELDS}
    values["environments"] = list(asset.environments)
    said = {name: value for name, value in values.items() if value not in (None, [])}
    return said | {f"attributes.{name}": value for name, value in asset.attributes.items()}


async def as_file(record: Record, source: str) -> dict[str, Any]:
    """Return everything that is in use as a declarative file, with what holds at the record's moment: applied then to
    where it comes from, it changes nothing. What was merged into something is called by that one's name, also where
    relations name it."""
    assets: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}
    endings: dict[str, Ending] = {}
    async with aclosing(
        record.walk(Asset, ("id", "merged_into", "attributes", "successor", "sunset", *FIELDS))
    ) as pages:
        async for page in pages:
            for name, merged_into, attributes, successor, sunset, *facts in page:
                said = dict(zip(FIELDS, facts, strict=True))
                if merged_into is not None:
                    aliases[name] = merged_into
                elif said["lifecycle"] != "retired":
                    if said["lifecycle"] == "deprecated":
                        endings[name] = Ending(successor=successor, sunset=sunset)
                    assets[name] = _entry(said, attributes)
    for name, ending in endings.items():
        successor = survivor(ending.successor or "", aliases)
        assets[name] |= Ending(successor=successor if successor in assets else None, sunset=ending.sunset).told()
    exact: set[tuple[str, str, str]] = set()
    listed: dict[tuple[str, str], dict[str, Any]] = {}
    async with aclosing(
        record.walk(Relation, ("source", "relation", "target", "declared", "environment", "evidence"))
    ) as pages:
        async for page in pages:
            for start, relation, end, declared, environment, evidence in page:
                if not declared:
                    continue
                first = survivor(start, aliases) if start in aliases else start
                last = survivor(end, aliases) if end in aliases else end
                if first == last or first not in assets or last not in assets:
                    continue
                links = listed.setdefault((first, relation), {})
                # Of several that are one by now, what was said of the survivors themselves holds.
                if first == start and last == end:
                    exact.add((first, relation, last))
                elif (first, relation, last) in exact or last in links:
                    continue
                link = {"to": last}
                if environment is not None:
                    link["environment"] = environment
                if evidence:
                    link["evidence"] = evidence
                links[last] = link if len(link) > 1 else last
    for (start, relation), links in listed.items():
        assets[start].setdefault("relations", {})[relation] = list(links.values())
    return {"version": 1, "source": source, "assets": dict(sorted(assets.items()))}


def _entry(said: dict[str, Any], attributes: str) -> dict[str, Any]:
    said["environments"] = _from_json(said["environments"])
    # `live` is what is registered unless something else is said. Left out, an old file brings nothing back.
    if said["lifecycle"] == "live":
        del said["lifecycle"]
    entry = {name: value for name, value in said.items() if value is not None and value != []}
    if attributes != "{}":
        entry["attributes"] = _from_json(attributes)
    return entry


def _link(relation: Relation) -> Link:
    return Link(to=relation.target, environment=relation.environment, evidence=relation.evidence)
