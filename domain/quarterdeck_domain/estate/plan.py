"""What applying a declarative file would do: the difference between what is and what the file says, as events.

A file says what should be true of the objects it names. A fact that it does not mention is left alone, `null` unsets
one. For each type of relation that an object lists, the list is the whole of its declared relations of that type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from quarterdeck_domain import canonical
from quarterdeck_domain.checks import legible, line, optional_line, prose
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.drift import DIGEST, PINNED, PINNED_PARTS, find_drift, first_pin
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetQuarantined,
    AssetRegistered,
    AssetRetired,
    DriftDetected,
    EstateApplied,
    RelationDeclared,
    RelationWithdrawn,
)
from quarterdeck_domain.estate.imports import COMPARED, GONE, followed, missing, survivor
from quarterdeck_domain.estate.offers import added, hinted, shut
from quarterdeck_domain.estate.relations import RELATION_TYPES, check_relation, find_circle, hierarchy
from quarterdeck_domain.estate.secrets import refuse_secrets
from quarterdeck_domain.estate.values import Confidence, check_facts, check_validity, flat, relation_id, split
from quarterdeck_domain.events import Event

MAX_ASSETS: Final = 50_000
MAX_RELATIONS: Final = 200_000
MAX_PROBLEMS: Final = 20
MAX_DIGESTED: Final = 256 * 2**20

_MEMBERS: Final = frozenset({"version", "source", "assets", "valid_from"})
Ends = tuple[str, str, str]
Action = Literal["register", "change", "retire", "relate", "unrelate", "drift", "quarantine"]


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The other end of a relation, as a file gives it where the name alone does not say enough."""

    to: str
    environment: str | None = None
    evidence: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of one object: its facts, flat (None unsets), and its relations by type. `first` are facts that
    an importer says only where nobody has said them yet: first guesses that people correct, and pins."""

    facts: dict[str, Any]
    relations: dict[str, tuple[Link, ...]] = {}
    first: dict[str, Any] = {}


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file, or what an importer found. `on_drift` says what becomes of an object that is not as pinned.
    `valid_from` says since when there is what it registers and relates, where that is not from now on."""

    source: str
    assets: dict[str, Entry]
    valid_from: datetime | None = None
    confidence: Confidence = "declared"
    on_drift: Literal["note", "quarantine"] = "note"
    whole: bool = False
    """Whether it is all that its source says: what came from there and is not in it is gone from there."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is: facts of the objects that a file names or leads to (flat; those that exist), aliases of merged ones, and
    the declared relations that begin at objects which the file names."""

    facts: Mapping[str, Mapping[str, Any]]
    relations: Mapping[Ends, Link]
    aliases: Mapping[str, str] = {}
    said_by: Mapping[Ends, str] = {}
    """Who declared each relation, where that is known."""
    offered: frozenset[str] = frozenset()
    """What came from a source first that is read whole; also those that it does not name now."""
    offered_by: Mapping[str, str] = {}
    """The import that an object came from first."""
    contested: Mapping[str, Mapping[str, Mapping[str, Any]]] = {}
    """By object and fact: what other sources say than the one whose word holds."""

    def mine(self, wanted: Declaration, ends: Ends) -> bool:
        """Tell whether a declaration may change a relation: a file that people write may change any, an import only
        what it said itself."""
        return wanted.confidence == "declared" or self.said_by.get(ends) == wanted.source


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One fact before and after."""

    field: str
    before: Any = None
    after: Any = None


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that would be done, to an object or to a relation as it reads."""

    action: Action
    subject: str
    fields: tuple[FieldChange, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that would be done, in order, and the events that do it."""

    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    digest: str
    gone: tuple[str, ...] = ()
    """What came from the source and is not in it any more, noted now or before."""

    def counts(self) -> dict[str, int]:
        """Return how many steps there are of each action; of drift and quarantine only where there are any."""
        found: dict[str, int] = dict.fromkeys(("register", "change", "retire", "relate", "unrelate"), 0)
        for step in self.steps:
            found[step.action] = found.get(step.action, 0) + 1
        return found


def read_declaration(document: Any) -> Declaration:
    """Return a file's contents, checked. Everything wrong with it is said at once, up to `MAX_PROBLEMS`.

    Raises:
        InvalidInput: it is not what a file may say; `problems` says where and what would be right.
    """
    if not isinstance(document, dict):
        raise InvalidInput("an estate file is a mapping with `version`, `source` and `assets`")
    unknown = sorted(legible(str(name), limit=80) for name in set(document) - _MEMBERS)
    if unknown or type(document.get("version")) is not int or document["version"] != 1:
        raise InvalidInput(
            "an estate file has `version: 1`, `source` and `assets`, maybe `valid_from`, and nothing else",
            unknown=unknown,
        )
    source, assets = document.get("source"), document.get("assets")
    if not isinstance(source, str) or not isinstance(assets, dict):
        raise InvalidInput("`source` names who says this, and `assets` is a mapping from kind:name to what is true")
    line(source, "source", limit=120)
    if len(assets) > MAX_ASSETS:
        raise InvalidInput(f"a file has at most {MAX_ASSETS} objects, not {len(assets)}", limit=MAX_ASSETS)
    entries: dict[str, Entry] = {}
    problems: list[str] = []
    for name, said in assets.items():
        try:
            entries[name] = _entry(name, said)
        except InvalidInput as error:
            problems.append(f"{legible(str(name), limit=80)}: {error.message}")
            if len(problems) == MAX_PROBLEMS:
                break
    if problems:
        raise InvalidInput(f"{problems[0]}" if len(problems) == 1 else f"{len(problems)} problems", problems=problems)
    if sum(len(links) for entry in entries.values() for links in entry.relations.values()) > MAX_RELATIONS:
        raise InvalidInput(f"a file has at most {MAX_RELATIONS} relations", limit=MAX_RELATIONS)
    return Declaration(source=source, assets=entries, valid_from=_since(document.get("valid_from")))


def _since(said: Any) -> datetime | None:
    try:
        begins = datetime.fromisoformat(said) if isinstance(said, str) else said
    except ValueError:
        begins = said
    if begins is not None and not isinstance(begins, datetime):
        raise InvalidInput("`valid_from` is a moment: write it like 2026-01-31T12:00:00Z", field="valid_from")
    check_validity(begins, None)
    return begins


def _entry(name: Any, said: Any) -> Entry:
    if not isinstance(name, str):
        raise InvalidInput("an object is named by text, kind:name")
    kind = split(name).kind
    refuse_secrets(name, "the name")
    if said is None:
        said = {}
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise InvalidInput("what is said of an object is a mapping")
    given = {key: value for key, value in said.items() if key != "relations"}
    attributes = given.get("attributes")
    unset: dict[str, None] = {key: None for key, value in given.items() if value is None}
    given = {key: value for key, value in given.items() if value is not None}
    if isinstance(attributes, dict):
        unset |= {f"attributes.{key}": None for key, value in attributes.items() if value is None}
        given["attributes"] = {key: value for key, value in attributes.items() if value is not None}
    checked = check_facts(kind, given)
    if unset.keys() & {"lifecycle"}:
        raise InvalidInput("lifecycle has always a value")
    if checked.lifecycle not in {"draft", "live", "retired"}:
        raise InvalidInput("a file may say that something is draft, live or retired; the rest are commands")
    facts = unset | flat(given, checked)
    return Entry(facts=facts, relations=_links(kind, said.get("relations")))


def _links(kind: str, said: Any) -> dict[str, tuple[Link, ...]]:
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise InvalidInput("`relations` is a mapping from a type of relation to a list of objects")
    found: dict[str, tuple[Link, ...]] = {}
    for relation, targets in said.items():
        if not isinstance(relation, str) or not isinstance(targets, list):
            raise InvalidInput(f"what {legible(str(relation), limit=60)} leads to is a list")
        if relation not in RELATION_TYPES:
            raise InvalidInput(
                f"there is no relation {relation[:60]!r}", relation=relation, known=sorted(RELATION_TYPES)
            )
        links: dict[str, Link] = {}
        for target in targets:
            link = _link(target)
            check_relation(kind, relation, split(link.to).kind)
            if link.to in links:
                raise InvalidInput(f"{relation} leads to {link.to} twice")
            links[link.to] = link
        found[relation] = tuple(links.values())
    return found


def _link(target: Any) -> Link:
    if isinstance(target, str):
        return Link(to=target)
    try:
        link = msgspec.convert(target, Link)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"an end of a relation is kind:name, or a mapping with `to`: {legible(str(error))}"
        ) from None
    optional_line(link.environment or "", "environment", limit=60)
    refuse_secrets(prose(link.evidence, "evidence", limit=500) or "", "evidence")
    return link


def make_plan(wanted: Declaration, standing: Standing, run: str) -> Plan:
    """Return what would make the declaration true. Nothing, if it is true already.

    Raises:
        InvalidInput: a relation leads to nothing, to something retired, or in a circle; an object was merged into
            another; `problems` lists what is wrong.
    """
    wanted = hinted(followed(wanted, standing), standing)
    _check_ends(wanted, standing)
    steps: list[Step] = []
    events: list[Event] = []
    for name, entry in wanted.assets.items():
        _plan_asset(wanted, standing, run, name, entry, steps, events)
    _plan_added(wanted, standing, run, steps, events)
    gone = missing(wanted, standing) if wanted.whole else ()
    _plan_gone(wanted, standing, run, gone, steps, events)
    held = _held(standing)
    for name, entry in wanted.assets.items():
        for relation, links in entry.relations.items():
            _plan_links(wanted, standing, run, (name, relation), links, held.get((name, relation), {}), steps, events)
    return Plan(steps=tuple(steps), events=tuple(events), digest=digest_of(steps), gone=gone)


def digest_of(said: object) -> str:
    """Return the digest of a declaration or of a plan's steps, however long."""
    return canonical.digest(msgspec.to_builtins(said), max_bytes=MAX_DIGESTED)


def applied(plan: Plan, wanted: Declaration, run: str, digest: str) -> EstateApplied:
    """Return the event that says that a plan was carried out."""
    counts = plan.counts()
    return EstateApplied(
        run=run,
        source=wanted.source,
        digest=digest,
        plan_digest=plan.digest,
        registered=counts["register"],
        changed=counts["change"],
        retired=counts["retire"],
        related=counts["relate"],
        unrelated=counts["unrelate"],
        drifted=counts.get("drift", 0),
        quarantined=counts.get("quarantine", 0),
    )


def _check_ends(wanted: Declaration, standing: Standing) -> None:
    problems: list[str] = []
    ranked: dict[str, set[tuple[str, str]]] = {}
    stood: dict[str, set[tuple[str, str]]] = {}
    for (source, relation), targets in _held(standing).items():
        for target in targets:
            if name := hierarchy(source, relation, target):
                stood.setdefault(name, set()).add((source, target))
                if relation not in _listed(wanted, source):
                    ranked.setdefault(name, set()).add((source, target))
    for source, entry in wanted.assets.items():
        if source in standing.aliases:
            problems.append(f"{source} was merged into {standing.aliases[source]}: name that one")
        for relation, links in entry.relations.items():
            for link in links:
                problems += _wrong_end(wanted, standing, source, relation, link.to)
                if name := hierarchy(source, relation, link.to):
                    ranked.setdefault(name, set()).add((source, link.to))
    for name, edges in ranked.items():
        # What mergers have made a circle of stands as it is, and is not the file's doing.
        if not edges <= stood.get(name, set()) and (circle := find_circle(edges)):
            problems.append(f"a circle: {' -> '.join(circle)}")
    if problems:
        shown = problems[:MAX_PROBLEMS]
        raise InvalidInput(shown[0] if len(problems) == 1 else f"{len(problems)} problems", problems=shown)


def _listed(wanted: Declaration, source: str) -> Iterable[str]:
    entry = wanted.assets.get(source)
    return entry.relations if entry is not None else ()


def _wrong_end(wanted: Declaration, standing: Standing, source: str, relation: str, target: str) -> list[str]:
    if target == source:
        return [f"{source} {relation} itself"]
    if target in standing.aliases:
        return [f"{source} {relation} {target}, which was merged into {standing.aliases[target]}: name that one"]
    said = wanted.assets.get(target)
    if said is None and target not in standing.facts:
        return [f"{source} {relation} {target}, which is neither in the file nor in the estate"]
    lifecycle = said.facts.get("lifecycle") if said is not None else None
    lifecycle = lifecycle or standing.facts.get(target, {}).get("lifecycle")
    old = (source, relation, target) in standing.relations
    # A server may offer what people have retired: that is so, and for people to see.
    barred = lifecycle == "retired" and not old and wanted.confidence == "declared"
    return [f"{source} {relation} {target}, which is retired"] if barred else []


def _held(standing: Standing) -> dict[tuple[str, str], dict[str, list[Ends]]]:
    """Return what is declared, by what its ends are called now: of each, the ends as they were recorded; those that are
    called so still come first. What mergers have joined with itself is left out."""
    found: dict[tuple[str, str], dict[str, list[Ends]]] = {}
    for ends in standing.relations:
        source, target = survivor(ends[0], standing.aliases), survivor(ends[2], standing.aliases)
        if source != target:
            found.setdefault((source, ends[1]), {}).setdefault(target, []).append(ends)
            found[source, ends[1]][target].sort(key=lambda item: (item[0] != source) + (item[2] != target))
    return found


def _plan_links(
    wanted: Declaration,
    standing: Standing,
    run: str,
    lists: tuple[str, str],
    links: tuple[Link, ...],
    held: Mapping[str, list[Ends]],
    steps: list[Step],
    events: list[Event],
) -> None:
    """Make the relations of one type that begin at one object those that are listed."""
    name, relation = lists
    imported = wanted.confidence != "declared"
    listed = {link.to for link in links}
    for target, ends in [(called, ends) for called in sorted(held) for ends in held[called]]:
        # An import says anew, by the present names, what it said by former ones; what a file declared stays as it is.
        if target in listed and not (imported and ends != (name, relation, target)):
            continue
        # What is retired is in no file that is exported, and its relations stay for whoever looks at it.
        over = standing.facts.get(target, {}).get("lifecycle") == "retired"
        if standing.mine(wanted, ends) and (imported or not over):
            steps.append(Step(action="unrelate", subject=relation_id(*ends)))
            events.append(RelationWithdrawn(source=ends[0], relation=relation, target=ends[2], run=run))
    for link in links:
        exact = (name, relation, link.to)
        before = [exact] if exact in standing.relations else [] if imported else held.get(link.to, [])
        if any(msgspec.structs.replace(standing.relations[ends], to=link.to) == link for ends in before):
            continue
        if not before or any(standing.mine(wanted, ends) for ends in before):
            steps.append(Step(action="relate", subject=relation_id(*exact)))
            events.append(_declared(wanted, run, name, relation, link))


def _plan_asset(
    wanted: Declaration, standing: Standing, run: str, name: str, entry: Entry, steps: list[Step], events: list[Event]
) -> None:
    before = standing.facts.get(name)
    first = {field: value for field, value in entry.first.items() if same((before or {}).get(field), None)}
    if PINNED not in first:
        first.pop(PINNED_PARTS, None)
    said = first | _kept_pin(wanted, name, before or {}, _unsaid(wanted, standing, name, entry.facts))
    if wanted.whole and before is not None and before.get(GONE) == wanted.source:
        said |= {GONE: None}  # it is back
    if before is None:
        if wanted.confidence != "declared":
            said = first_pin(name, {}, said) | said
        facts = {"lifecycle": "live"} | {field: value for field, value in said.items() if value is not None}
        if facts["lifecycle"] == "retired":
            raise InvalidInput(f"{name} is retired in the file and was never in the estate", asset=name)
        steps.append(Step(action="register", subject=name, fields=_fields({}, facts)))
        events.append(
            AssetRegistered(
                asset=name,
                facts=facts,
                source=wanted.source,
                confidence=wanted.confidence,
                valid_from=wanted.valid_from,
                run=run,
            )
        )
        return
    pin = {} if wanted.confidence == "declared" else first_pin(name, before, said)
    said = pin | said
    contested = standing.contested.get(name, {})
    changed = {
        field: value
        for field, value in said.items()
        # Where it said otherwise before, that it agrees now is news, too.
        if not same(before.get(field), value) or wanted.source in contested.get(field, {})
    }
    if changed.get("lifecycle") == "retired":
        changed.pop("lifecycle")
        steps.append(Step(action="retire", subject=name))
        events.append(AssetRetired(asset=name, reason=f"said by {wanted.source}", run=run))
    elif "lifecycle" in changed and before.get("lifecycle") in {"quarantined", "retired"}:
        raise InvalidInput(
            f"{name} is {before['lifecycle']}: a file cannot bring it back", asset=name, lifecycle=before["lifecycle"]
        )
    if changed:
        steps.append(Step(action="change", subject=name, fields=_fields(before, changed)))
        events.append(
            AssetChanged(asset=name, facts=changed, source=wanted.source, confidence=wanted.confidence, run=run)
        )
    # A file says what should be; only what an importer found can differ from what was pinned.
    if wanted.confidence != "declared" and (drift := find_drift(name, {**before, **pin}, said, run)):
        _plan_drift(wanted, before, drift, steps, events)


def _unsaid(wanted: Declaration, standing: Standing, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an import says of an object that is not known to be its word. Where sources differ, each is heard
    once, and the word holds of the one that the object came from first: else they would undo each other's for ever."""
    contested = standing.contested.get(name, {})
    if wanted.confidence == "declared" or standing.offered_by.get(name) == wanted.source:
        return dict(facts)
    before = standing.facts.get(name, {})
    heard = {
        field
        for field, value in facts.items()
        if not same(before.get(field), value)
        and wanted.source in contested.get(field, {})
        and same(contested[field][wanted.source], value)
    }
    if DIGEST in heard:
        heard |= COMPARED
    return {field: value for field, value in facts.items() if field not in heard}


def _kept_pin(wanted: Declaration, name: str, before: Mapping[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return what is said without a pin, where there is one: that moves by accepting a drift alone.

    Raises:
        InvalidInput: a file that people write says another pin.
    """
    if not before.get(PINNED):
        return facts
    moved = [field for field in (PINNED, PINNED_PARTS) if field in facts and not same(before.get(field), facts[field])]
    if moved and wanted.confidence == "declared":
        raise InvalidInput(
            f"{name} is pinned already, and a file does not move {moved[0]}: accept the drift instead, or leave it out",
            asset=name,
            field=moved[0],
        )
    return {field: value for field, value in facts.items() if field not in {PINNED, PINNED_PARTS}}


def _plan_gone(
    wanted: Declaration,
    standing: Standing,
    run: str,
    gone: tuple[str, ...],
    steps: list[Step],
    events: list[Event],
) -> None:
    """Note what a source no longer offers, and end the relations that it no longer says."""
    if not wanted.whole:
        return
    for name in gone:
        if standing.facts[name].get(GONE) != wanted.source:
            facts = {GONE: wanted.source}
            steps.append(Step(action="change", subject=name, fields=_fields(standing.facts[name], facts)))
            events.append(
                AssetChanged(
                    asset=name,
                    facts=facts,
                    source=wanted.source,
                    confidence=wanted.confidence,
                    reason=f"{wanted.source} no longer offers it",
                    run=run,
                )
            )
    for source, relation, target in sorted(standing.relations):
        listed = relation in _listed(wanted, survivor(source, standing.aliases))
        if not listed and standing.said_by.get((source, relation, target)) == wanted.source:
            steps.append(Step(action="unrelate", subject=relation_id(source, relation, target)))
            events.append(RelationWithdrawn(source=source, relation=relation, target=target, run=run))


def _plan_drift(
    wanted: Declaration, before: Mapping[str, Any], drift: DriftDetected, steps: list[Step], events: list[Event]
) -> None:
    lifecycle = before.get("lifecycle") or "live"
    shut = wanted.on_drift == "quarantine" and lifecycle not in {"quarantined", "retired"}
    fields = (FieldChange(field=drift.field, before=drift.expected, after=drift.found),)
    steps.append(Step(action="drift", subject=drift.asset, fields=fields))
    events.append(msgspec.structs.replace(drift, quarantined=shut))
    if shut:
        steps.append(Step(action="quarantine", subject=drift.asset))
        reason = f"its {drift.field} is not as it was pinned, says {wanted.source}"
        events.append(AssetQuarantined(asset=drift.asset, reason=reason, previous_lifecycle=lifecycle))


def _plan_added(wanted: Declaration, standing: Standing, run: str, steps: list[Step], events: list[Event]) -> None:
    """Note what servers offer beyond what was reviewed; where policy says so, it waits in quarantine."""
    for found in added(wanted, standing, run):
        drift = found.drift
        fields = (FieldChange(field=drift.field, before=drift.expected, after=drift.found),)
        steps.append(Step(action="drift", subject=drift.asset, fields=fields))
        events.append(drift)
        for tool in found.tools if wanted.on_drift == "quarantine" else ():
            if kept := shut(tool, drift.asset, standing.facts.get(tool)):
                steps.append(Step(action="quarantine", subject=tool))
                events.append(kept)


def _declared(wanted: Declaration, run: str, source: str, relation: str, link: Link) -> RelationDeclared:
    return RelationDeclared(
        source=source,
        relation=relation,
        target=link.to,
        environment=link.environment,
        evidence=link.evidence,
        confidence=wanted.confidence,
        said_by=wanted.source,
        valid_from=wanted.valid_from,
        run=run,
    )


def same(before: Any, after: Any) -> bool:
    """Tell whether two facts say the same: nothing, and no members, is what nobody has said."""
    empty: tuple[Any, ...] = (None, [], (), {})
    if before in empty and after in empty:
        return True
    return bool(before == after)


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(field=name, before=before.get(name), after=value) for name, value in sorted(after.items()))
