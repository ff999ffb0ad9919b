"""Blast radius over GraphQL: what is concerned if something is wrong with an object, up to the people to call."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import strawberry

from quarterdeck_domain.estate.blast import GROUPS, group_of
from quarterdeck_graphql.at import At
from quarterdeck_graphql.estate import Asset, Relation, moment_of, plain
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import check_first
from quarterdeck_readmodels.blasting import Blast, Responder, blast


def _value(word: str, description: str) -> Any:
    return strawberry.enum_value(word, description=description)


@strawberry.enum(name="BlastGroupKind", description="What concerned objects are, as an incident commander asks.")
class GroupWord(Enum):
    AGENTS = _value("agents", "Agents.")
    WORKFLOWS = _value("workflows", "Workflows and what orchestrates them.")
    APPLICATIONS = _value("applications", "Applications.")
    CHANNELS = _value("channels", "Output channels: who hears it.")
    DATA = _value("data", "Data that come from it or were written by what is concerned.")
    TOOLS = _value("tools", "Tools, servers and grants.")
    MODELS = _value("models", "Models, deployments, routes and prompts.")
    OTHERS = _value("others", "Everything else.")


@strawberry.type(description="An object that is concerned.")
class Concerned:
    steps: int = strawberry.field(description="In how many steps.")
    asset: Asset = strawberry.field(description="The object.")
    relation: Relation = strawberry.field(description="By which relation it is concerned.")
    alleged: bool = strawberry.field(
        description="Whether it is as far as others claim alone: what leads there has an `allegedBy`."
    )
    audience: str | None = strawberry.field(description="Who hears it, of an output channel.")


@strawberry.type(description="Concerned objects of one sort.")
class BlastGroup:
    group: GroupWord = strawberry.field(description="Of which sort.")
    total: int = strawberry.field(description="How many there are.")
    nearest: list[Concerned] = strawberry.field(metadata=PART, description="The nearest of them, then by id.")


@strawberry.type(description="Data that something concerned reads or writes.")
class TouchedData:
    steps: int = strawberry.field(description="In how many steps.")
    asset: Asset = strawberry.field(description="The data.")
    writes: bool = strawberry.field(description="Whether they are written; otherwise they are read.")
    relation: Relation = strawberry.field(description="By what.")
    alleged: bool = strawberry.field(description="Whether they are as far as others claim alone.")


@strawberry.type(description="Somebody to call. Neither owner nor team: nobody answers for these objects.")
class Responsible:
    owner: str | None = strawberry.field(description="The principal, role or rota that answers.")
    team: str | None = strawberry.field(description="The team that does.")
    on_call: str | None = strawberry.field(description="Where the team's rota is called.")
    channel: str | None = strawberry.field(description="Where the team is written to.")
    steps: int = strawberry.field(description="How near the nearest object is for which they answer; 0: the object.")
    nearest: strawberry.ID = strawberry.field(description="That object.")
    objects: int = strawberry.field(description="For how many concerned objects they answer.")


@strawberry.type(description="What is concerned if something is wrong with an object.")
class BlastRadius:
    of: Asset = strawberry.field(description="The object.")
    total: int = strawberry.field(description="How many other objects are concerned.")
    groups: list[BlastGroup] = strawberry.field(metadata=PART, description="These, by what they are.")
    data_total: int = strawberry.field(description="How much data is read or written.")
    data: list[TouchedData] = strawberry.field(metadata=PART, description="The nearest of it.")
    people: list[Responsible] = strawberry.field(metadata=PART, description="Whom to call, nearest first.")


MAX_PEOPLE: Final = 100


async def blast_radius(at: At, of: str, hops: int | None, first: int) -> BlastRadius:
    """Return what is concerned if something is wrong with an object, as of a view's moment.

    Raises:
        NotAllowed: the caller reads only what concerns itself.
        NotFound: there is no such object.
        InvalidInput: too many steps, or too much is concerned.
    """
    at.context.require_all("blast radius")
    check_first(first)
    moment = await moment_of(at)
    async with at.record() as record:
        found = await blast(record, plain(of), moment, hops=hops)
    return BlastRadius(
        of=Asset.of(found.of, at),
        total=len(found.hits),
        groups=_groups(at, found, first),
        data_total=len(found.touched),
        data=[
            TouchedData(
                steps=item.steps,
                asset=Asset.of(item.asset, at),
                writes=item.relation.relation == "writes",
                relation=Relation.of(item.relation, at),
                alleged=item.alleged,
            )
            for item in found.touched[:first]
        ],
        people=[_responsible(item) for item in found.responders[:MAX_PEOPLE]],
    )


def _groups(at: At, found: Blast, first: int) -> list[BlastGroup]:
    groups = []
    for name in GROUPS:
        hits = [hit for hit in found.hits if group_of(hit.asset.kind) == name]
        if hits:
            nearest = [
                Concerned(
                    steps=hit.steps,
                    asset=Asset.of(hit.asset, at),
                    relation=Relation.of(hit.relation, at),
                    alleged=hit.alleged,
                    audience=hit.asset.attributes.get("audience") if name == "channels" else None,
                )
                for hit in hits[:first]
            ]
            groups.append(BlastGroup(group=GroupWord(name), total=len(hits), nearest=nearest))
    return groups


def _responsible(item: Responder) -> Responsible:
    said = {} if item.team_asset is None else item.team_asset.attributes
    return Responsible(
        owner=item.owner,
        team=item.team,
        on_call=said.get("on_call"),
        channel=said.get("channel"),
        steps=item.steps,
        nearest=strawberry.ID(f"asset:{item.nearest}"),
        objects=item.objects,
    )
