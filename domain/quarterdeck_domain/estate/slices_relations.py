"""Commands on relations, one at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import CommandSlice
from quarterdeck_domain.checks import MAX_REASON, optional_line, prose
from quarterdeck_domain.errors import InvalidInput, NotFound, WrongState
from quarterdeck_domain.estate.asset import AssetFold
from quarterdeck_domain.estate.events import AssetsMerged, RelationDeclared, RelationWithdrawn
from quarterdeck_domain.estate.periods import Period, declare, telling, withdraw
from quarterdeck_domain.estate.relations import check_relation, find_circle, hierarchy
from quarterdeck_domain.estate.secrets import refuse_secrets
from quarterdeck_domain.estate.slices import EDITORS
from quarterdeck_domain.estate.values import check_not_over, check_validity, relation_id
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.slices import Decision, Slice, boundary

MAX_FORMER: Final = 50
"""Under so many other names, at most, it is looked for a relation that is not declared under those that were given."""


def _evidence(text: str) -> str:
    said = prose(text, "evidence", limit=MAX_REASON) or ""
    refuse_secrets(said, "evidence")
    return said


class _OnRelation(CommandSlice):
    """A command on one relation; it knows both ends."""

    def __init__(self, actor: Actor, source: str, relation: str, target: str) -> None:
        super().__init__(actor)
        self.source, self.target = AssetFold(source), AssetFold(target)
        check_relation(self.source.kind, relation, self.target.kind)
        if source == target:
            raise InvalidInput("nothing is related to itself", asset=source)
        self.ends = (source, relation, target)
        self.ranked: set[tuple[str, str]] = set()
        self.declared: RelationDeclared | None = None
        """What was said last of it, unless that it is no more."""
        self.periods: list[Period[datetime]] = []

    def consistency_boundary(self) -> DCBQuery:
        mine = ((RelationDeclared, RelationWithdrawn), (f"relation:{relation_id(*self.ends)}",))
        ranked = hierarchy(*self.ends)
        ranks = (((RelationDeclared, RelationWithdrawn), (f"hierarchy:{ranked}",)),) if ranked else ()
        return boundary(*self.house(), self.source.needs(), self.target.needs(), mine, *ranks)

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self.source.apply(event)
        self.target.apply(event)
        match event.payload:
            case RelationDeclared(source=source, relation=relation, target=target) as declared:
                self.ranked.add((source, target))
                if (source, relation, target) == self.ends:
                    self.declared = declared
                    period = Period(declared.valid_from or event.recorded_at, declared.valid_to, declared)
                    self.periods = declare(self.periods, period)
            case RelationWithdrawn(source=source, relation=relation, target=target, valid_to=until):
                self.ranked.discard((source, target))
                if (source, relation, target) == self.ends:
                    self.declared = None
                    self.periods = withdraw(self.periods, until or event.recorded_at)
            case _:
                pass


class RelateAssets(_OnRelation):
    """Declare that two objects are related, and say by what evidence."""

    def __init__(
        self,
        *,
        source: str,
        relation: str,
        target: str,
        actor: Actor,
        environment: str | None = None,
        evidence: str = "",
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> None:
        super().__init__(actor, source, relation, target)
        check_validity(valid_from, valid_to)
        self.event = RelationDeclared(
            source=source,
            relation=relation,
            target=target,
            environment=None if environment is None else optional_line(environment, "environment", limit=60),
            evidence=_evidence(evidence),
            valid_from=valid_from,
            valid_to=valid_to,
        )

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        check_not_over(self.event.valid_from, self.event.valid_to, now)
        self.source.require_in_use(now)
        self.target.require_in_use(now)
        if hierarchy(*self.ends) and (circle := find_circle({*self.ranked, (self.source.asset, self.target.asset)})):
            raise WrongState(
                f"this would close a circle: {' -> '.join(circle)}", relation=self.event.relation, circle=circle
            )
        return Decision() if self._is_said(now) else Decision(events=(self.event,))

    def _is_said(self, now: datetime) -> bool:
        """Tell whether nothing new is said: the same as last, or, without dates, what holds now for good."""
        if self.declared == self.event:
            return True
        here = telling(self.periods, now)
        if here is None or here.ends is not None or self.event.valid_from or self.event.valid_to:
            return False
        return bool(msgspec.structs.replace(here.said, valid_from=None, valid_to=None) == self.event)


class UnrelateAssets(_OnRelation):
    """Take back a relation that was declared, by the names under which it was. What was seen stays seen: if it goes on,
    it shows as drift.

    Where nothing is declared under these names, it knows what was merged into the ends, to say which names to give.
    """

    def __init__(
        self,
        *,
        source: str,
        relation: str,
        target: str,
        actor: Actor,
        reason: str = "",
        valid_to: datetime | None = None,
    ) -> None:
        super().__init__(actor, source, relation, target)
        check_validity(None, valid_to)
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)
        self.valid_to = valid_to
        self._called: tuple[tuple[str, ...], ...] = ((source,), (target,))
        """Each end by the names that are known of it: its own, and what was merged into it."""
        self._merged: set[tuple[str, str]] = set()
        self._others: dict[str, list[Period[datetime]]] = {}
        """When the relation is declared under other names, by these."""

    def consistency_boundary(self) -> DCBQuery:
        """Return what it must know; wider, of the other names of both ends, too."""
        merges = [((AssetsMerged,), (f"asset:{name}",)) for names in self._called for name in names[1:]]
        others = [((RelationDeclared, RelationWithdrawn), (f"relation:{name}",)) for name in self._others]
        return DCBQuery(
            items=[*super().consistency_boundary().items, *boundary(*merges).items, *boundary(*others).items]
        )

    def widened(self) -> Slice | None:
        """Return the same command that knows the other names of both ends, too, if nothing is declared by these."""
        called = tuple(self._also_called(names) for names in self._called)
        if self.declared is not None or called == self._called:
            return None
        source, relation, target = self.ends
        wider = UnrelateAssets(
            source=source,
            relation=relation,
            target=target,
            actor=self.actor,
            reason=self.reason,
            valid_to=self.valid_to,
        )
        wider._called = called
        pairs = [(one, other) for one in called[0] for other in called[1]][1:MAX_FORMER]  # the first was given
        wider._others = {relation_id(one, relation, other): [] for one, other in pairs}
        return wider

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case AssetsMerged(survivor=survivor, merged=merged):
                self._merged.add((survivor, merged))
            case RelationDeclared() | RelationWithdrawn() as said:
                name = relation_id(said.source, said.relation, said.target)
                if name in self._others:
                    told = self._others[name]
                    if isinstance(said, RelationDeclared):
                        told = declare(told, Period(said.valid_from or event.recorded_at, said.valid_to, said))
                    else:
                        told = withdraw(told, said.valid_to or event.recorded_at)
                    self._others[name] = told
            case _:
                pass

    def _also_called(self, names: tuple[str, ...]) -> tuple[str, ...]:
        more = sorted(merged for survivor, merged in self._merged if survivor in names and merged not in names)
        return (*names, *more)[:MAX_FORMER]

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        moment = self.valid_to or now
        if self.declared is None and not any(item.lasts(moment) for item in self.periods):
            others = sorted(name for name, told in self._others.items() if any(item.lasts(moment) for item in told))
            if not others:
                raise NotFound("no such relation is declared", relation=relation_id(*self.ends))
            raise NotFound(
                f"it is declared by names that were merged since: withdraw {' and '.join(others)}",
                relation=relation_id(*self.ends),
                recorded=others,
            )
        source, relation, target = self.ends
        withdrawn = RelationWithdrawn(
            source=source, relation=relation, target=target, reason=self.reason, valid_to=self.valid_to
        )
        return Decision(events=(withdrawn,))
