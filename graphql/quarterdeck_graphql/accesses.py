"""Who can reach something, through which tools, and under which controls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import strawberry

from quarterdeck_domain.estate.reach import Closed
from quarterdeck_domain.estate.relations import EXCEPTING, GATE, WATCHING
from quarterdeck_graphql.at import At
from quarterdeck_graphql.estate import Asset, known_kinds, moment_of, part_info, plain
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import PageInfo
from quarterdeck_graphql.ways import Path, PathControl, must_hold, over_of, path_of
from quarterdeck_readmodels.reaching import Part, around, check_hops


@strawberry.type(description="An object that can reach another.")
class Access:
    asset: Asset = strawberry.field(description="The object that can.")
    steps: int = strawberry.field(description="In how many steps at least.")
    tools: list[Asset] = strawberry.field(metadata=PART, description="The tools on its ways there, by name.")
    controls: list[PathControl] = strawberry.field(
        metadata=PART,
        description="The controls that can refuse of everything on its ways there, and the grants that these lead "
        "through. One way may pass some of them, and another way others.",
    )
    watchers: list[PathControl] = strawberry.field(
        metadata=PART, description="What monitors and evaluates what is on its ways there: none of these can refuse."
    )
    exceptions: list[PathControl] = strawberry.field(
        metadata=PART, description="The exceptions that hold for what is on its ways there."
    )
    ungated: bool = strawberry.field(
        description="Whether there is a way, however long, on which nobody has to consent: no object on it is gated, "
        "or each that is has an exception that holds. Ways that are only alleged count where there are no others."
    )
    alleged: bool = strawberry.field(
        description="Whether it can as far as others claim alone: each way leads over a relation with an `allegedBy`."
    )
    path: Path = strawberry.field(description="The shortest way; one that is not only alleged, if there is one.")


@strawberry.type(description="The objects that can reach another.")
class Accesses:
    total: int = strawberry.field(description="How many there are, of the kinds that were asked for.")
    beyond: int = strawberry.field(description="How many others there are that need more than `hops` steps.")
    accesses: list[Access] = strawberry.field(
        metadata=PART, description="At most `first` of them, or of those after `after`, by name."
    )
    page_info: PageInfo = strawberry.field(description="Where these stand among all of them.")


async def who_reaches(
    at: At, target: str, kinds: Sequence[str], hops: int | None, first: int, after: str | None
) -> Accesses:
    """Return the objects that can reach another, with what stands between on all ways of any length. `hops` bounds
    which objects are shown.

    Raises:
        NotFound: there is no such object.
        InvalidInput: too many steps, or too much is concerned.
        InvalidCursor: a cursor of another question.
    """
    at.context.require_all("reach")
    check_hops(hops)
    known_kinds(kinds)
    cursors = await at.context.cursors("reachedBy", plain(target), sorted(kinds), hops)
    last = cursors.read(after)
    moment = await moment_of(at)
    async with at.record() as record:
        part = await around(record, plain(target), moment, backwards=True)
    end = part.start
    steps = {
        name: count for name, count in part.graph.within(end, backwards=True).items() if part.assets[name].kind in kinds
    }
    wanted = sorted(name for name, count in steps.items() if hops is None or count <= hops)
    following = [name for name in wanted if last is None or name > last[0]]
    here = following[:first]
    shown = await asyncio.to_thread(lambda: [_access(at, part, name, end) for name in here])
    return Accesses(
        total=len(wanted),
        beyond=len(steps) - len(wanted),
        accesses=shown,
        page_info=part_info([(name,) for name in here], cursors, more=len(following) > len(here), after=after),
    )


def _access(at: At, part: Part, start: str, end: str) -> Access:
    graph = part.graph
    between = sorted({start, *graph.within(start)})  # everything in this part of the map leads to the end
    edges = [edge for name in between for edge in graph.out.get(name, ())]
    gated = frozenset(name for name in between if _is_gated(part, name))
    known = graph.shortest(start, end, Closed(edges=part.alleged))
    path = known or graph.shortest(start, end)
    assert path is not None  # noqa: S101  what is within reach has a way
    claims = frozenset() if known is None else part.alleged
    return Access(
        asset=Asset.of(part.assets[start], at),
        steps=len(path),
        tools=[Asset.of(part.assets[name], at) for name in between if part.assets[name].kind == "tool"],
        controls=must_hold(at, part, between, edges),
        watchers=over_of(at, part, between, WATCHING),
        exceptions=over_of(at, part, between, {EXCEPTING}),
        ungated=graph.shortest(start, end, Closed(nodes=gated, edges=claims)) is not None,
        alleged=known is None,
        path=path_of(at, part, path),
    )


def _is_gated(part: Part, name: str) -> bool:
    """Tell whether somebody has to consent to what an object does."""
    types = {relation for relation, _ in part.graph.controls.get(name, ())}
    return GATE in types and EXCEPTING not in types
