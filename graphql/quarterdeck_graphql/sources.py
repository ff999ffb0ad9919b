"""Where the estate is imported from, as the record shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from quarterdeck_graphql.at import Shown
from quarterdeck_graphql.enums import ImportTrigger, ModelDialect, OnDrift, SourceKind, SourceOutcome, SourceState
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import Node
from quarterdeck_readmodels import sources as rows


@strawberry.type(description="A server or address that the estate is imported from.")
class Source(Shown, Node):
    name: str = strawberry.field(description="How the house calls it.")
    kind: SourceKind = strawberry.field(description="What it is.")
    address: str = strawberry.field(description="Where it is read.")
    dialect: ModelDialect = strawberry.field(description="Of a list of models: whose.")
    every_s: int | None = strawberry.field(description="How often it is imported; null: only on request.")
    on_drift: OnDrift = strawberry.field(description="What becomes of an object that is not as it was pinned.")
    environment: str | None = strawberry.field(description="Where what it declares runs, unless it says so itself.")
    credential: str | None = strawberry.field(description="The name of the secret that it is read with.")
    state: SourceState = strawberry.field(description="Whether it is imported.")
    registered_at: datetime = strawberry.field(description="When it was registered.")
    changed_at: datetime = strawberry.field(description="When how it is read was changed last.")
    next_at: datetime | None = strawberry.field(
        description="When it is due next; in the past: overdue. Null: only on request."
    )
    last_outcome: SourceOutcome | None = strawberry.field(description="How its last import ended; null: none did.")
    last_at: datetime | None = strawberry.field(description="When its last import ended.")
    last_run: str | None = strawberry.field(description="The run of its last import, which its events carry.")
    last_trigger: ImportTrigger | None = strawberry.field(description="Why that was.")
    last_error: str | None = strawberry.field(description="The code of what was wrong.")
    last_message: str | None = strawberry.field(description="What was wrong, and what would be right.")
    synced_at: datetime | None = strawberry.field(description="When it was last read to its end.")
    digest: str | None = strawberry.field(description="The digest of what it declared then.")
    objects: int | None = strawberry.field(description="How many objects it declared then.")
    gone: int = strawberry.field(description="How many that came from it were not there any more.")
    counts: JSON = strawberry.field(description="How many steps of each kind that took.")
    notes: list[str] = strawberry.field(metadata=PART, description="What of it was not taken over, and why.")
    imports: int = strawberry.field(description="How often it was imported or failed to be.")
    failures: int = strawberry.field(description="How often that failed since it last went well.")

    @classmethod
    def instead(cls, row: rows.Source) -> dict[str, Any]:
        """Return the id as it is written everywhere."""
        return {"id": f"source:{row.id}", "name": row.id}


@strawberry.input(description="Which sources. A list is any of its values.")
class SourceFilter:
    state: list[SourceState] | None = strawberry.field(default=None, description="Whether they are imported.")
    kind: list[SourceKind] | None = strawberry.field(default=None, description="What they are.")
    last_outcome: list[SourceOutcome] | None = strawberry.field(
        default=None, description="How their last import ended."
    )
