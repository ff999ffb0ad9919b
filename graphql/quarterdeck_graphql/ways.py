"""The ways from an object to another: what must hold on each, who watches, what is excepted, what would close all."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import Enum

import strawberry

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate import cuts
from quarterdeck_domain.estate.reach import Edge
from quarterdeck_domain.estate.relations import EXCEPTING, REFUSING, WATCHING
from quarterdeck_graphql.at import At
from quarterdeck_graphql.estate import MAX_PATHS, Asset, Relation, moment_of, plain
from quarterdeck_graphql.limits import PART
from quarterdeck_readmodels import estate as rows
from quarterdeck_readmodels.bitemporal import declares
from quarterdeck_readmodels.reached import between
from quarterdeck_readmodels.reaching import Part, check_hops, end_of_time


@strawberry.type(description="What stands over something on a way: a control, a grant, a watcher or an exception.")
class PathControl:
    on: strawberry.ID = strawberry.field(
        description="The object of the way that it is about; of a grant, who holds it."
    )
    relation: str = strawberry.field(description="How: `governed_by`, `gated_by`, `holds`, …")
    control: Asset = strawberry.field(description="The control, grant, watcher or exception.")
    expires_at: datetime | None = strawberry.field(
        description="When a grant or an exception is over; null: never, as far as anybody said."
    )


@strawberry.type(description="One way from an object to another.")
class Path:
    relations: list[Relation] = strawberry.field(metadata=PART, description="Its relations, in order.")
    controls: list[PathControl] = strawberry.field(
        metadata=PART,
        description="What must hold on it: the grants that it leads through, and the policies, gates, guardrails and "
        "budgets of everything that it passes, each of which can refuse.",
    )
    watchers: list[PathControl] = strawberry.field(
        metadata=PART, description="What monitors and evaluates what it passes: none of these can refuse."
    )
    exceptions: list[PathControl] = strawberry.field(
        metadata=PART, description="The exceptions that hold for what it passes: there nobody has to consent."
    )
    declared: bool = strawberry.field(description="Whether each of its relations is declared.")
    alleged: bool = strawberry.field(
        description="Whether it leads over a relation of which nothing but claims of others is known: `allegedBy`."
    )


@strawberry.type(description="Something that could be done to close ways.")
class CutStep:
    action: str = strawberry.field(
        description="`enforce` a control, `revoke`, `quarantine`; of a relation that is declared `withdraw`, of one "
        "that was only seen `stop`: nothing is there to take back, so stop it where it happens."
    )
    subject: str = strawberry.field(
        description="The control, grant or object, or the relation as it was recorded, by names that may have been "
        "merged since: as it is to be withdrawn or stopped."
    )
    relation: strawberry.ID | None = strawberry.field(
        description="The relation to withdraw or to stop, `relation:…`; null where the step is another."
    )
    seen: bool = strawberry.field(
        description="Whether the relation was seen: always of one to stop. To withdraw it takes back that it is "
        "declared; what was seen stays seen, and is to be stopped where it happens, too."
    )
    closes: list[strawberry.ID] = strawberry.field(metadata=PART, description="What nothing would pass through.")


@strawberry.enum(description="What was considered to close ways.")
class CutOver(Enum):
    EVERYTHING = strawberry.enum_value(
        "everything",
        description="Everything: controls, grants, objects to put into quarantine, relations to withdraw or to stop.",
    )
    CONTROLS = strawberry.enum_value("controls", description="Controls that can refuse, and grants to revoke.")


@strawberry.type(description="The least that would close every way, of any length.")
class Cut:
    steps: list[CutStep] = strawberry.field(
        metadata=PART,
        description="All of these together. Relations that are one since something was merged are a step each.",
    )
    exact: bool = strawberry.field(
        description="Of what was considered (`over`), no smaller set closes every way; otherwise none of these can be "
        "left out. It holds of all ways there are, also longer ones than `hops`."
    )
    over: CutOver = strawberry.field(description="What was considered.")
    considered: int = strawberry.field(description="How many possible steps were considered.")

    @classmethod
    def of(cls, cut: cuts.Cut, recorded: Mapping[str, rows.Relation], moment: datetime) -> Cut:
        """Return a cut as it is shown; `recorded` are the relations that it may withdraw, by id."""
        steps = [
            _step(item, recorded[item.name] if item.action == "withdraw" else None, moment) for item in cut.candidates
        ]
        return cls(steps=steps, exact=cut.exact, over=CutOver(cut.over), considered=cut.considered)


def _step(item: cuts.Candidate, row: rows.Relation | None, moment: datetime) -> CutStep:
    """Return a step as it is shown; `row` is the relation that it is to withdraw."""
    only_seen = row is not None and not declares(row, moment)
    return CutStep(
        action="stop" if only_seen else item.action,
        subject=item.name,
        relation=None if row is None else strawberry.ID(f"relation:{item.name}"),
        seen=row is not None and row.observed,
        closes=[strawberry.ID(f"asset:{name}") for name in sorted(item.nodes)],
    )


@strawberry.type(description="The ways from an object to another.")
class Ways:
    paths: list[Path] = strawberry.field(metadata=PART, description="The shortest of them, of at most `hops` steps.")
    more: bool = strawberry.field(description="Whether there are, or may be, others of at most `hops` steps.")
    beyond: bool = strawberry.field(
        description="Whether there are, or may be, ways of more than `hops` steps: none of these is shown."
    )
    cut: Cut | None = strawberry.field(
        description="What would close them all; null where there are none. It is a set of controls and grants wherever "
        "these can close every way; otherwise of everything that could be done."
    )
    smaller_cut: Cut | None = strawberry.field(
        description="Beside a `cut` of controls and grants: a smaller one that takes objects out of use, or withdraws "
        "or stops relations; null where none was found, or so much lies between that none is sought."
    )


async def ways_between(at: At, start: str, end: str, hops: int | None, first: int) -> Ways:
    """Return the ways from an object to another, the controls on each, and what would close them all. `hops` bounds
    what is shown; what would close them closes the longer ones, too.

    Raises:
        NotFound: there is no such object.
        InvalidInput: too many steps or paths, or too much is concerned.
    """
    at.context.require_all("reach")
    if not 1 <= first <= MAX_PATHS:
        raise InvalidInput(f"1 to {MAX_PATHS} paths are shown, not {first}", field="first", limit=MAX_PATHS)
    check_hops(hops)
    moment = await moment_of(at)
    async with at.record() as record:
        between_ = await between(record, plain(start), plain(end), moment)
    if between_ is None:
        return Ways(paths=[], more=False, beyond=False, cut=None, smaller_cut=None)
    part, target = between_
    graph, source = part.graph, part.start
    # Of the largest maps, this takes a second: others are answered meanwhile.
    found, more = await asyncio.to_thread(graph.paths, source, target, most=first, hops=hops)
    beyond = hops is not None and await asyncio.to_thread(graph.beyond, source, target, hops)
    apart = await asyncio.to_thread(part.apart)
    best = await asyncio.to_thread(cuts.least, apart, source, target)
    beside = await asyncio.to_thread(cuts.smaller, apart, source, target, best)
    recorded = {row.id: row for edge in graph.out.get(source, ()) for row in part.rows(edge)}
    return Ways(
        paths=[path_of(at, part, path) for path in found],
        more=more,
        beyond=beyond,
        cut=Cut.of(best, recorded, moment),
        smaller_cut=None if beside is None else Cut.of(beside, recorded, moment),
    )


def path_of(at: At, part: Part, path: tuple[Edge, ...]) -> Path:
    """Return a path with what stands over everything that it passes."""
    relations = [part.relation(edge) for edge in path]
    passed = [path[0].source, *(edge.target for edge in path)]
    return Path(
        relations=[Relation.of(row, at) for row in relations],
        controls=must_hold(at, part, passed, path),
        watchers=over_of(at, part, passed, WATCHING),
        exceptions=over_of(at, part, passed, {EXCEPTING}),
        declared=all(row.declared for row in relations),
        alleged=not part.alleged.isdisjoint(path),
    )


def must_hold(at: At, part: Part, passed: Iterable[str], edges: Iterable[Edge]) -> list[PathControl]:
    """Return what must hold of objects and on relations between them: grants, and what can refuse; by object."""
    places = {name: place for place, name in enumerate(passed)}
    grants = {(edge.source, edge.relation, edge.target) for edge in edges if edge.target.startswith("tool_grant:")}
    # A grant that a way begins at is held by nobody on it.
    held = {grant for _, _, grant in grants}
    grants |= {
        (edge.target, edge.relation, edge.source)
        for edge in edges
        if edge.source.startswith("tool_grant:") and edge.source not in held
    }
    found = [_shown(at, part, *item) for item in sorted(grants, key=lambda item: (places[item[0]], item))]
    found += over_of(at, part, places, REFUSING)
    return sorted(found, key=lambda item: places[plain(item.on)])


def over_of(at: At, part: Part, passed: Iterable[str], types: Collection[str]) -> list[PathControl]:
    """Return what stands over objects by relations of some types, in their order."""
    return [
        _shown(at, part, name, relation, control)
        for name in passed
        for relation, control in sorted(part.graph.controls.get(name, ()))
        if relation in types
    ]


def _shown(at: At, part: Part, on: str, relation: str, control: str) -> PathControl:
    asset = part.assets[control]
    return PathControl(
        on=strawberry.ID(f"asset:{on}"),
        relation=relation,
        control=Asset.of(asset, at),
        expires_at=end_of_time(asset),
    )
