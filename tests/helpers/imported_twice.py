"""What stands after a plan was carried out, by an independent fold of its events: to import a second time."""

from __future__ import annotations

from typing import Any

from quarterdeck_connectors.draft import Imported
from quarterdeck_domain.estate.declaration import Declaration, Link
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetRegistered,
    DriftDetected,
    RelationDeclared,
    RelationWithdrawn,
)
from quarterdeck_domain.estate.plan import Plan, make_plan
from quarterdeck_domain.estate.standing import Standing, Word

NOTHING = Standing(facts={}, relations={})


def after(plan: Plan, before: Standing = NOTHING) -> Standing:
    """Return what stands after a plan."""
    facts: dict[str, dict[str, Any]] = {name: dict(said) for name, said in before.facts.items()}
    relations, said_by = dict(before.relations), dict(before.said_by)
    noted = dict(before.noted)
    for event in plan.events:
        if isinstance(event, AssetRegistered):
            facts[event.asset] = dict(event.facts)
        elif isinstance(event, AssetChanged):
            said = facts[event.asset] | event.facts
            facts[event.asset] = {field: value for field, value in said.items() if value is not None}
        elif isinstance(event, RelationDeclared):
            link = Link(to=event.target, environment=event.environment, evidence=event.evidence)
            ends = (event.source, event.relation, event.target)
            relations[ends], said_by[ends] = link, Word(event.said_by, event.confidence)
        elif isinstance(event, RelationWithdrawn):
            del relations[event.source, event.relation, event.target]
        elif isinstance(event, DriftDetected) and before is not NOTHING:
            noted[event.asset] = noted.get(event.asset, frozenset()) | {event.found}
        else:  # nothing else may come of an import into an empty estate
            raise AssertionError(event)
    return Standing(facts=facts, relations=relations, said_by=said_by, noted=noted)


def settles(found: Imported | Declaration) -> Standing:
    """Return what stands after an import into an empty estate; importing it again must change nothing."""
    declaration = found.declaration if isinstance(found, Imported) else found
    standing = after(make_plan(declaration, NOTHING, "run_1"))
    again = make_plan(declaration, standing, "run_2")
    assert not again.steps, again.steps
    return standing
