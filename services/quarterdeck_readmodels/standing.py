"""What stands of the objects that a declarative file names, and a whole estate as such a file."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.imports import survivor
from quarterdeck_domain.estate.plan import MAX_ASSETS, MAX_RELATIONS, Declaration, Link, Standing
from quarterdeck_domain.estate.values import FIELDS, nested
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.reader import Record

_CHUNK: Final = 2_000
_PAGE: Final = 1_000


async def standing(record: Record, wanted: Declaration) -> Standing:
    """Return what is true of everything that a file names or leads to, also under another name by now; and of what came
    from its source, if it is read whole."""
    named = sorted(
        {
            *wanted.assets,
            *(link.to for entry in wanted.assets.values() for links in entry.relations.values() for link in links),
        }
    )
    facts: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}
    offered_by: dict[str, str] = {}
    contested: dict[str, dict[str, Any]] = {}

    def take(asset: Asset) -> None:
        facts[asset.id] = facts_of(asset)
        if asset.contested:
            contested[asset.id] = asset.contested
        if asset.merged_into is not None:
            aliases[asset.id] = asset.merged_into
        if asset.offered_by is not None:
            offered_by[asset.id] = asset.offered_by

    while named:
        for start in range(0, len(named), _CHUNK):
            for asset in (await record.many(Asset, named[start : start + _CHUNK])).values():
                take(asset)
        named = sorted({name for name in aliases.values() if name not in facts})
    offered: list[Asset] = []
    if wanted.whole:
        offered = await record.matching(Asset, "offered_by", [wanted.source], most=MAX_ASSETS)
        for asset in offered:
            take(asset)
    lists = {name for name, entry in wanted.assets.items() if entry.relations or wanted.whole}
    sources = sorted({*lists, *(survivor(name, aliases) for name in lists), *(asset.id for asset in offered)})
    found: dict[tuple[str, str, str], Link] = {}
    said_by: dict[tuple[str, str, str], str] = {}
    for start in range(0, len(sources), _CHUNK):
        for relation in await record.matching(Relation, "source", sources[start : start + _CHUNK], most=MAX_RELATIONS):
            if relation.declared:
                ends = (relation.source, relation.relation, relation.target)
                found[ends], said_by[ends] = _link(relation), relation.said_by
    return Standing(
        facts=facts,
        relations=found,
        aliases=aliases,
        said_by=said_by,
        offered=frozenset(asset.id for asset in offered),
        offered_by=offered_by,
        contested=contested,
    )


def facts_of(asset: Asset) -> dict[str, Any]:
    """Return what a row says of an object, flat; what nobody has said is left out."""
    values = {name: getattr(asset, name) for name in FIELDS}
    values["environments"] = list(asset.environments)
    said = {name: value for name, value in values.items() if value not in (None, [])}
    return said | {f"attributes.{name}": value for name, value in asset.attributes.items()}


async def as_file(record: Record, source: str) -> dict[str, Any]:
    """Return everything that is in use as a declarative file: applied to where it comes from, it changes nothing."""
    assets: dict[str, dict[str, Any]] = {}
    after: int | None = None
    more = True
    while more:
        page = await record.page(Asset, first=_PAGE, after=after, newest_first=False)
        for asset in page.rows:
            if asset.merged_into is None and asset.lifecycle != "retired":
                assets[asset.id] = _entry(asset)
        after, more = (page.rows[-1].created_position if page.rows else None), page.more
    after, more = None, True
    while more:
        relations = await record.page(Relation, first=_PAGE, after=after, newest_first=False)
        for found in relations.rows:
            if found.declared and found.source in assets and found.target in assets:
                listed = assets[found.source].setdefault("relations", {}).setdefault(found.relation, [])
                link = _link(found)
                listed.append(found.target if link == Link(to=found.target) else msgspec.to_builtins(link))
        after, more = (relations.rows[-1].created_position if relations.rows else None), relations.more
    return {"version": 1, "source": source, "assets": dict(sorted(assets.items()))}


def _entry(asset: Asset) -> dict[str, Any]:
    facts = facts_of(asset)
    # What only a command can say is not for a file: it says that the object is in use.
    if facts.get("lifecycle") not in {"draft", "live"}:
        facts.pop("lifecycle", None)
    return nested(facts)


def _link(relation: Relation) -> Link:
    return Link(to=relation.target, environment=relation.environment, evidence=relation.evidence)
