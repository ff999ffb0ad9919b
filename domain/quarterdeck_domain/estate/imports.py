"""What is particular to imports: names that have become part of others, and objects that a source no longer offers.

A file that people write names objects as they are called now; a server goes on naming what it always named. So an
import is read with aliases followed. And a registered source is read whole (`Declaration.whole`): what came from it
first and is not in it any more is gone from there. Its relations end, and it is noted (`attributes.gone`), with a
finding that says what to do; nothing is retired without somebody who says so.

What an import may say is what it found. How an object lives, as which principal it acts and whether a server is trusted
is for people to say: an import says no more than how a new object begins, and what it calls retired it does not offer.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.declaration import Declaration, Entry, Link
from quarterdeck_domain.estate.drift import DIGEST, OFFER, PARTS, PINNED, PINNED_PARTS
from quarterdeck_domain.estate.merging import survivor
from quarterdeck_domain.estate.standing import Standing

GONE: Final = "attributes.gone"
"""The source that an object came from and that offers it no longer. It is noted, and nobody's to say."""
CAUTIONS: Final = "attributes.cautions"
_PRINCIPAL: Final = "attributes.principal"
_TRUST: Final = "attributes.trust"
COMPARED: Final = frozenset({DIGEST, PARTS, CAUTIONS})
"""What is said of an object under an alias too, so that a change of it is noticed."""
_PINS: Final = (PINNED, PINNED_PARTS, OFFER)


def modest(wanted: Declaration, standing: Standing) -> Declaration:
    """Return what an import declares, as far as an import may."""
    if wanted.confidence == "declared":
        return wanted
    over = {name for name, entry in wanted.assets.items() if entry.facts.get("lifecycle") == "retired"}
    assets = {
        name: _modest(entry, over, known=name in standing.facts)
        for name, entry in wanted.assets.items()
        if name not in over
    }
    return msgspec.structs.replace(wanted, assets=assets)


def _modest(entry: Entry, over: Set[str], *, known: bool) -> Entry:
    facts, first = (
        {
            field: value
            for field, value in said.items()
            if field not in {_PRINCIPAL, GONE}
            and not (field == _TRUST and value == "trusted")
            and not (field == "lifecycle" and known)
        }
        for said in (entry.facts, entry.first)
    )
    relations = entry.relations
    if over:
        relations = {
            relation: tuple(link for link in links if link.to not in over) for relation, links in relations.items()
        }
    return msgspec.structs.replace(entry, facts=facts, first=first, relations=relations)


def followed(wanted: Declaration, standing: Standing) -> Declaration:
    """Return what an import declares, of objects as they are called now.

    Of an object that became part of another, the survivor's facts hold: what the import says fills gaps alone. Its
    digest is compared as before, unless the survivor is another source's, whose own digest it has.
    """
    aliases = standing.aliases
    if wanted.confidence == "declared" or not aliases:
        return wanted
    assets: dict[str, Entry] = {}
    for name, entry in wanted.assets.items():
        called = survivor(name, aliases)
        found = msgspec.structs.replace(entry, relations=_relations(called, entry, aliases))
        if called != name:
            found = _gaps(found, compared=standing.offered_by.get(called) in {None, wanted.source})
        if called in assets or (called != name and called in wanted.assets):
            own = assets.get(called) or msgspec.structs.replace(
                wanted.assets[called], relations=_relations(called, wanted.assets[called], aliases)
            )
            found = _joined(own if called != name else found, found if called != name else own)
        assets[called] = found
    return msgspec.structs.replace(wanted, assets=assets)


def missing(wanted: Declaration, standing: Standing) -> tuple[str, ...]:
    """Return what came from a source that is read whole, and is not in it: in use, by name."""
    return tuple(
        sorted(
            name
            for name in standing.offered - wanted.assets.keys()
            if standing.facts[name].get("lifecycle") != "retired" and name not in standing.aliases
        )
    )


def trusted(wanted: Declaration, said_by: str, environment: str | None) -> Declaration:
    """Return what a server declares, as far as a server may: under its own name, from now on, and not what was pinned
    when people looked at something. `environment` is where it runs, unless it says so itself."""
    return msgspec.structs.replace(
        wanted,
        source=said_by,
        confidence="imported",
        valid_from=None,
        whole=True,
        placed=True,
        assets={name: _without_pins(entry, environment) for name, entry in wanted.assets.items()},
    )


def _without_pins(entry: Entry, environment: str | None) -> Entry:
    pins = {field: entry.facts[field] for field in _PINS if entry.facts.get(field) is not None}
    facts = {field: value for field, value in entry.facts.items() if field not in {*_PINS, GONE}}
    first = pins | entry.first
    relations = entry.relations
    if environment is not None:
        if not facts.get("environments"):
            first["environments"] = [environment]
        relations = {
            relation: tuple(
                msgspec.structs.replace(link, environment=link.environment or environment) for link in links
            )
            for relation, links in entry.relations.items()
        }
    return msgspec.structs.replace(entry, facts=facts, first=first, relations=relations)


def _gaps(entry: Entry, *, compared: bool) -> Entry:
    kept = {field: value for field, value in entry.facts.items() if compared and field in COMPARED}
    rest = {field: value for field, value in entry.facts.items() if value is not None and field not in COMPARED}
    first: dict[str, Any] = {field: value for field, value in (rest | entry.first).items() if field != "lifecycle"}
    if not compared:
        first = {field: value for field, value in first.items() if field not in {PINNED, PINNED_PARTS}}
    return msgspec.structs.replace(entry, facts=kept, first=first)


def _relations(called: str, entry: Entry, aliases: Mapping[str, str]) -> dict[str, tuple[Link, ...]]:
    found: dict[str, tuple[Link, ...]] = {}
    for relation, links in entry.relations.items():
        named: dict[str, Link] = {}
        for link in links:
            to = survivor(link.to, aliases)
            if to != called:
                named.setdefault(to, msgspec.structs.replace(link, to=to))
        found[relation] = tuple(named.values())
    return found


def _joined(own: Entry, other: Entry) -> Entry:
    """Return two entries of one object as one: what the first says holds."""
    relations = dict(own.relations)
    for relation, links in other.relations.items():
        known = {link.to for link in relations.get(relation, ())}
        relations[relation] = (*relations.get(relation, ()), *(link for link in links if link.to not in known))
    rest = {field: value for field, value in other.facts.items() if value is not None and field not in COMPARED}
    first = {
        field: value
        for field, value in (rest | other.first | own.first).items()
        if field not in own.facts and (field in own.first or field not in {PINNED, PINNED_PARTS})
    }
    return msgspec.structs.replace(own, relations=relations, first=first)
