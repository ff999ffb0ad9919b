"""What of a plan is about relations: whether they may be, which begin and which end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import MAX_PROBLEMS, Declaration, Link
from quarterdeck_domain.estate.events import RelationDeclared, RelationWithdrawn
from quarterdeck_domain.estate.merging import survivor
from quarterdeck_domain.estate.plan_draft import Draft
from quarterdeck_domain.estate.relations import find_circle, hierarchy
from quarterdeck_domain.estate.standing import Ends, Standing
from quarterdeck_domain.estate.unsaid import where_it_was
from quarterdeck_domain.estate.values import relation_id

Held = Mapping[tuple[str, str], Mapping[str, list[Ends]]]
"""By where relations begin and by type: where they lead, and the ends as they were recorded."""


def held_by_source(standing: Standing) -> Held:
    """Return what is declared, by what its ends are called now: of each, the ends as they were recorded; those that are
    called so still come first. What mergers have joined with itself is left out."""
    found: dict[tuple[str, str], dict[str, list[Ends]]] = {}
    for ends in standing.relations:
        source, target = survivor(ends[0], standing.aliases), survivor(ends[2], standing.aliases)
        if source != target:
            found.setdefault((source, ends[1]), {}).setdefault(target, []).append(ends)
            found[source, ends[1]][target].sort(key=lambda item: (item[0] != source) + (item[2] != target))
    return found


def check_ends(wanted: Declaration, standing: Standing, held: Held) -> None:
    """Check that what is wanted leads to what there is, and in no circle.

    Raises:
        InvalidInput: a relation leads to nothing, to something retired, or in a circle; an object was merged into
            another; `problems` lists what is wrong.
    """
    problems: list[str] = []
    ranked: dict[str, set[tuple[str, str]]] = {}
    stood: dict[str, set[tuple[str, str]]] = {}
    for (source, relation), targets in held.items():
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


def plan_links(draft: Draft, held: Held) -> None:
    """Make the relations of each type that an object lists those that are listed."""
    for name, entry in draft.wanted.assets.items():
        for relation, links in entry.relations.items():
            _plan_list(draft, name, relation, links, held.get((name, relation), {}))


def plan_unsaid(draft: Draft) -> None:
    """End the relations that a source which is read whole no longer says."""
    wanted, standing = draft.wanted, draft.standing
    for ends in sorted(standing.relations):
        listed = ends[1] in _listed(wanted, survivor(ends[0], standing.aliases))
        if not listed and standing.own(wanted, ends):
            _withdraw(draft, ends)


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


def _plan_list(draft: Draft, name: str, relation: str, links: tuple[Link, ...], held: Mapping[str, list[Ends]]) -> None:
    wanted, standing = draft.wanted, draft.standing
    imported = wanted.confidence != "declared"
    listed = {link.to for link in links}
    for target, ends in [(called, ends) for called in sorted(held) for ends in held[called]]:
        # An import says anew, by the present names, what it said by former ones; what a file declared stays as it is.
        if target in listed and not (imported and ends != (name, relation, target)):
            continue
        # What is retired is in no file that is exported, and its relations stay for whoever looks at it.
        over = standing.facts.get(target, {}).get("lifecycle") == "retired"
        if standing.mine(wanted, ends) and (imported or not over):
            _withdraw(draft, ends)
    for link in links:
        exact = (name, relation, link.to)
        before = [exact] if exact in standing.relations else [] if imported else held.get(link.to, [])
        link = where_it_was(wanted, standing, link, exact)
        if any(msgspec.structs.replace(standing.relations[ends], to=link.to) == link for ends in before):
            continue
        if not before or any(standing.mine(wanted, ends) for ends in before):
            draft.add("relate", relation_id(*exact), _declared(draft, name, relation, link))


def _withdraw(draft: Draft, ends: Ends) -> None:
    source, relation, target = ends
    event = RelationWithdrawn(source=source, relation=relation, target=target, run=draft.run)
    draft.add("unrelate", relation_id(*ends), event)


def _declared(draft: Draft, source: str, relation: str, link: Link) -> RelationDeclared:
    return RelationDeclared(
        source=source,
        relation=relation,
        target=link.to,
        environment=link.environment,
        evidence=link.evidence,
        confidence=draft.wanted.confidence,
        said_by=draft.wanted.source,
        valid_from=draft.wanted.valid_from,
        run=draft.run,
    )
