"""Who can reach something, through which tools, and under which controls."""

from __future__ import annotations

from collections.abc import Sequence

import strawberry

from quarterdeck_domain.estate.reach import Closed
from quarterdeck_graphql.at import At
from quarterdeck_graphql.estate import Asset, Path, PathControl, moment_of, path_of, plain
from quarterdeck_graphql.limits import PART
from quarterdeck_readmodels.reaching import Part, around


@strawberry.type(description="An object that can reach another.")
class Access:
    asset: Asset = strawberry.field(description="The object that can.")
    steps: int = strawberry.field(description="In how many steps at least.")
    tools: list[Asset] = strawberry.field(metadata=PART, description="The tools on its ways there, by name.")
    controls: list[PathControl] = strawberry.field(
        metadata=PART, description="The controls of everything on its ways there."
    )
    ungated: bool = strawberry.field(description="Whether there is a way on which nobody has to consent.")
    path: Path = strawberry.field(description="The shortest way.")


@strawberry.type(description="The objects that can reach another.")
class Accesses:
    total: int = strawberry.field(description="How many there are, of the kinds that were asked for.")
    accesses: list[Access] = strawberry.field(metadata=PART, description="At most `first` of them, by name.")


async def who_reaches(at: At, target: str, kinds: Sequence[str], hops: int, first: int) -> Accesses:
    """Return the objects that can reach another, with what stands between.

    Raises:
        NotFound: there is no such object.
        InvalidInput: too many steps, or too much is concerned.
    """
    at.context.require_all("reach")
    end, moment = plain(target), await moment_of(at)
    async with at.record() as record:
        part = await around(record, end, moment, hops=hops, backwards=True)
    steps = part.graph.within(end, backwards=True, hops=hops)
    wanted = sorted(name for name in steps if part.assets[name].kind in kinds)
    return Accesses(total=len(wanted), accesses=[_access(at, part, name, end, steps[name]) for name in wanted[:first]])


def _access(at: At, part: Part, start: str, end: str, steps: int) -> Access:
    graph = part.graph
    between = sorted({start, *graph.within(start)})  # everything in this part of the map leads to the end
    gated = frozenset(
        name for name in between if any(relation == "gated_by" for relation, _ in graph.controls.get(name, ()))
    )
    path = graph.shortest(start, end)
    assert path is not None  # noqa: S101  what is within reach has a way
    return Access(
        asset=Asset.of(part.assets[start], at),
        steps=steps,
        tools=[Asset.of(part.assets[name], at) for name in between if part.assets[name].kind == "tool"],
        controls=[
            PathControl(
                on=strawberry.ID(f"asset:{name}"), relation=relation, control=Asset.of(part.assets[control], at)
            )
            for name in between
            for relation, control in sorted(graph.controls.get(name, ()))
        ],
        ungated=graph.shortest(start, end, Closed(nodes=gated)) is not None,
        path=path_of(at, part, path),
    )
