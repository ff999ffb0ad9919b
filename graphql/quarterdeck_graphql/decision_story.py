"""The story of a decision: the policies that decided, the events that it rests on, and those that it led to."""

from __future__ import annotations

import re
from typing import Final

import strawberry
from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_graphql.context import Context
from quarterdeck_ledger.entry import Entry
from quarterdeck_policy.cedar_text import split_policies

MAX_EVENTS: Final = 200
DECIDED: Final = "policy.decision_recorded"
_ID: Final = re.compile(r'@id\s*\(\s*"([^"\\]*)"\s*\)')


@strawberry.type(description="A policy that determined the decision.")
class DeterminingPolicy:
    id: str = strawberry.field(description="Its `@id`.")
    text: str | None = strawberry.field(description="What it says, as its bundle had it.")


def policy_texts(policies: str) -> dict[str, str]:
    """Return the text of each policy of a bundle by its `@id`."""
    found: dict[str, str] = {}
    for item in split_policies(policies):
        name = _ID.search(item.head)
        if name is not None:
            found[name[1]] = item.text
    return found


async def asked_for(context: Context, decision_tag: str) -> str | None:
    """Return the approval that was asked for because of a decision."""
    query = query_of((("approval.requested",), (decision_tag,)))
    found = await context.log.read_sealed(context.tenant, query, limit=1)
    return str(found[0].data["approval_id"]) if found else None


async def story_of(context: Context, entry: Entry, approval_id: str | None) -> list[Entry]:
    """Return the events that a decision rests on and those it led to, by position."""
    log, tenant, data = context.log, context.tenant, entry.data
    after = [((), (f"decision:{data['decision_id']}",))]
    if approval_id is not None:
        after.append(((), (f"approval:{approval_id}",)))
    story = {item.position: item for item in await log.read_sealed(tenant, query_of(*after), limit=MAX_EVENTS)}
    bundle_id = data["bundle_id"]
    if bundle_id is not None and context.sees_all:
        tag = (f"bundle:{bundle_id}",)
        for event_type in ("policy_bundle.published", "policy_bundle.mode_changed"):
            # Of its modes, the one it had when it decided.
            before = await log.read_sealed(
                tenant, query_of(((event_type,), tag)), until=data["estate_position"], limit=1, backwards=True
            )
            story.update((item.position, item) for item in before)
    return [story[position] for position in sorted(story)][:MAX_EVENTS]


def query_of(*items: tuple[tuple[str, ...], tuple[str, ...]]) -> DCBQuery:
    return DCBQuery(items=[DCBQueryItem(types=list(types), tags=list(tags)) for types, tags in items])
