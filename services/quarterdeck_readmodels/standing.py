"""What stands of the objects that a declarative file names, and a whole estate as such a file."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.imports import survivor
from quarterdeck_domain.estate.plan import MAX_ASSETS, MAX_RELATIONS, Declaration, Link, Standing
from quarterdeck_domain.estate.values import FIELDS
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.reader import Record

_CHUNK: Final = 2_000
_from_json: Final = msgspec.json.Decoder().decode


async def standing(record: Record, wanted: Declaration) -> Standing:
    """Return what is true of everything that a file names or leads to, also under another name by now; and of what came
    from its source, if it is read whole."""
    record = record.lean()
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
    async for page in record.walk(Asset, ("id", "merged_into", "attributes", *FIELDS)):
        for name, merged_into, attributes, *facts in page:
            said = dict(zip(FIELDS, facts, strict=True))
            if merged_into is None and said["lifecycle"] != "retired":
                assets[name] = _entry(said, attributes)
    async for page in record.walk(Relation, ("source", "relation", "target", "declared", "environment", "evidence")):
        for start, relation, end, declared, environment, evidence in page:
            if declared and start in assets and end in assets:
                listed = assets[start].setdefault("relations", {}).setdefault(relation, [])
                more = {"environment": environment} if environment is not None else {}
                more |= {"evidence": evidence} if evidence else {}
                listed.append({"to": end, **more} if more else end)
    return {"version": 1, "source": source, "assets": dict(sorted(assets.items()))}


def _entry(said: dict[str, Any], attributes: str) -> dict[str, Any]:
    said["environments"] = _from_json(said["environments"])
    # What only a command can say is not for a file: it says that the object is in use.
    if said["lifecycle"] not in {"draft", "live"}:
        del said["lifecycle"]
    entry = {name: value for name, value in said.items() if value is not None and value != []}
    if attributes != "{}":
        entry["attributes"] = _from_json(attributes)
    return entry


def _link(relation: Relation) -> Link:
    return Link(to=relation.target, environment=relation.environment, evidence=relation.evidence)
