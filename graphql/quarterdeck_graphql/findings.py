"""What is missing or wrong on the map, and how much of it is known and under control: of now, and of any moment."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Final

import strawberry

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.estate import coverage as counted
from quarterdeck_domain.estate import finding_types as found
from quarterdeck_domain.estate.findings import Assessment
from quarterdeck_graphql.at import At
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.estate import Asset, known_kinds, load_asset, moment_of, named, plain
from quarterdeck_graphql.finding_words import ControlWord, CoverageBy, FacetWord, FindingWord, SeverityWord, word_of
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import Connection, check_first, page
from quarterdeck_readmodels.assessing import assessor_of
from quarterdeck_readmodels.estate import Asset as AssetRow

MAX_VALUES: Final = 100


@strawberry.type(description="Something missing or wrong about an object, and what mends it.")
class Finding:
    type: FindingWord = strawberry.field(description="What it is.")
    severity: SeverityWord = strawberry.field(description="How bad it is.")
    asset_id: strawberry.ID = strawberry.field(description="The object.")
    subject: str = strawberry.field(
        description="What else it is about: a fact, a relation, another object. May be empty."
    )
    team: str | None = strawberry.field(description="The team that answers for the object, or for what it is part of.")
    message: str = strawberry.field(description="What is missing or wrong, in words.")
    fix: str = strawberry.field(
        description="The command that mends it. What only people can say stands in it in capitals."
    )
    at: strawberry.Private[At]

    @resolver("The object.")
    async def asset(self) -> Asset | None:
        return await load_asset(self.at, plain(self.asset_id))


@strawberry.input(description="Which findings. A list is any of its values.")
class FindingFilter:
    type: list[FindingWord] | None = strawberry.field(default=None, description="What they are.")
    severity: list[SeverityWord] | None = strawberry.field(default=None, description="How bad they are.")
    team: list[str] | None = strawberry.field(default=None, description="The team that answers for the object.")
    kind: list[str] | None = strawberry.field(default=None, description="What the object is.")
    asset: list[str] | None = strawberry.field(default=None, description="The object, `kind:name`.")


@strawberry.type(description="A page of findings.")
class Findings(Connection[Finding]):
    total: int = strawberry.field(description="How many there are in all.")
    unknown_teams: list[str] = strawberry.field(
        description="The teams of the filter that nothing in use belongs to: perhaps they are called otherwise."
    )


@strawberry.type(description="How many objects should have a control, and how many do.")
class ControlCoverage:
    control: ControlWord = strawberry.field(description="The control.")
    required: int = strawberry.field(description="How many objects should have it.")
    covered: int = strawberry.field(description="How many of them have it.")
    outlier: bool = strawberry.field(description="Whether that is far below the whole estate's share.")


@strawberry.type(description="Something that is not known of some objects.")
class MissingFacet:
    facet: FacetWord = strawberry.field(description="What.")
    objects: int = strawberry.field(description="Of how many objects.")


@strawberry.type(description="A group's objects in use, counted.")
class CoverageGroup:
    name: str | None = strawberry.field(description="The team or kind; null for what no team answers for.")
    objects: int = strawberry.field(description="How many there are.")
    completeness: float | None = strawberry.field(
        description="The share known of what should be known, 0 to 1; null where there is nothing to be known."
    )
    missing: list[MissingFacet] = strawberry.field(metadata=PART, description="What is not known, and how often.")
    controls: list[ControlCoverage] = strawberry.field(metadata=PART, description="Each control.")


@strawberry.type(description="How much of the estate is known and under control.")
class Coverage:
    total: int = strawberry.field(description="How many groups there are.")
    whole: CoverageGroup = strawberry.field(description="The whole estate.")
    groups: list[CoverageGroup] = strawberry.field(metadata=PART, description="The largest groups, then by name.")


async def assessed(at: At) -> Assessment:
    """Return what is found of the estate as of a view's moment.

    Raises:
        NotAllowed: the caller reads only what concerns itself.
        NotYet, Unavailable: the tables cannot be read just now.
    """
    context: Context = at.context
    context.require_all("what is found about the estate")
    view = "" if at.view is None else f"{at.view.moment.isoformat()} {at.view.recorded}"
    assessor = assessor_of(context.reader)
    return await assessor.assess(context.tenant, at.position, await moment_of(at), at.record, view=view)


async def findings_page(at: At, first: int, after: str | None, wanted: FindingFilter | None) -> Findings:
    """Return a page of findings, the worst first.

    Raises:
        NotAllowed: the caller reads only what concerns itself.
        InvalidInput, InvalidCursor: a page, a filter or a cursor that cannot be.
        NotFound: an object that is asked about is not there.
    """
    check_first(first)
    narrow = _Narrow(wanted)
    assessment = await assessed(at)
    cursors = await at.context.cursors("findings", narrow.fixed)
    await narrow.check(at)
    chosen = [item for item in assessment.findings if narrow.lets(item, assessment)]
    key = cursors.read(after)
    start = 0 if key is None else bisect_right(chosen, tuple(key), key=lambda item: item.place)
    here = chosen[start : start + first]
    shown = [_shown(at, item, assessment) for item in here]
    more = len(chosen) > start + first
    made = page(shown, [item.place for item in here], cursors, more=more, after=after)
    return Findings(
        edges=made.edges, page_info=made.page_info, total=len(chosen), unknown_teams=narrow.unknown_teams(assessment)
    )


class _Narrow:
    """A filter as sets of the domain's words."""

    def __init__(self, wanted: FindingFilter | None) -> None:
        given = wanted or FindingFilter()
        self.types = _set([item.value for item in given.type] if given.type is not None else None)
        self.severities = _set([item.value for item in given.severity] if given.severity is not None else None)
        self.teams = _set(None if given.team is None else [item.removeprefix("team:") for item in given.team])
        self.kinds = _set(None if given.kind is None else known_kinds(given.kind))
        self.assets = _set(None if given.asset is None else named(given.asset))
        parts = (self.types, self.severities, self.teams, self.kinds, self.assets)
        self.fixed = [None if part is None else sorted(part) for part in parts]

    async def check(self, at: At) -> None:
        """Let pass objects that are there.

        Raises:
            NotFound: one of them is not.
        """
        if self.assets:
            async with at.record() as record:
                there = await record.lean().many(AssetRow, sorted(self.assets))
            for name in sorted(self.assets - there.keys()):
                raise NotFound("there is no such object at that moment", asset=name)

    def unknown_teams(self, assessment: Assessment) -> list[str]:
        """Return the wanted teams that nothing in use belongs to."""
        return sorted((self.teams or frozenset()) - assessment.coverage.teams.keys())

    def lets(self, item: found.Finding, assessment: Assessment) -> bool:
        """Tell whether a finding is wanted."""
        return (
            (self.types is None or item.type in self.types)
            and (self.severities is None or item.severity in self.severities)
            and (self.assets is None or item.asset in self.assets)
            and (self.kinds is None or item.asset.partition(":")[0] in self.kinds)
            and (self.teams is None or assessment.team_of.get(item.asset) in self.teams)
        )


def _set(values: list[str] | None) -> frozenset[str] | None:
    if values is None:
        return None
    if len(values) > MAX_VALUES:
        raise InvalidInput(f"a filter takes at most {MAX_VALUES} values of one kind", limit=MAX_VALUES)
    return frozenset(values)


def _shown(at: At, item: found.Finding, assessment: Assessment) -> Finding:
    return Finding(
        type=word_of(item.type),
        severity=SeverityWord(item.severity),
        asset_id=strawberry.ID(f"asset:{item.asset}"),
        subject=item.subject,
        team=assessment.team_of.get(item.asset),
        message=item.message,
        fix=item.fix,
        at=at,
    )


async def coverage_of(at: At, by: CoverageBy, first: int) -> Coverage:
    """Return how much is known and under control, by team or by kind.

    Raises:
        NotAllowed: the caller reads only what concerns itself.
    """
    check_first(first)
    whole = (await assessed(at)).coverage
    groups = whole.teams if by is CoverageBy.TEAM else whole.kinds
    listed = counted.ordered(groups.values())[:first]
    return Coverage(total=len(groups), whole=_group(whole.whole), groups=[_group(item) for item in listed])


def _group(group: counted.Group) -> CoverageGroup:
    return CoverageGroup(
        name=group.name or None,
        objects=group.objects,
        completeness=round(group.completeness, 4) if group.objects else None,
        missing=[
            MissingFacet(facet=FacetWord(facet), objects=group.missing[facet])
            for facet in counted.FACETS
            if facet in group.missing
        ],
        controls=[
            ControlCoverage(
                control=ControlWord(control), required=item.required, covered=item.covered, outlier=item.outlier
            )
            for control, item in group.controls.items()
        ],
    )


Which = Annotated[FindingFilter | None, strawberry.argument(description="Which ones.")]
