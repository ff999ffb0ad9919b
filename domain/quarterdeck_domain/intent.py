"""The intent: what anybody asks to do, in AuthZEN's shape, and the digests that bind an answer to it.

Two digests. `binding_hash` is ARAP's: over subject, action and resource, so that it survives
re-evaluation with another context. `action_digest` is ours: over tenant, requester chain, action,
arguments and target, so that changing one argument makes another action.

The text that is hashed is RFC 8785 of whatever JSON came in (AuthZEN allows floats and any key), made at
the edge; this module only sees that text.

Source: AuthZEN Authorization API 1.0 sections 5 and 6; ARAP draft, denial binding.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import msgspec

from quarterdeck_domain.events import Actor

ACTION_DIGEST: Final = "sha256-action-v1"


class Entity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An AuthZEN subject or resource."""

    type: str
    id: str
    properties: dict[str, Any] | None = None

    @property
    def ref(self) -> str:
        """`type:id`, the form used in tags and events."""
        return f"{self.type}:{self.id}"


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An AuthZEN action. Arguments of a tool call travel in `properties`."""

    name: str
    properties: dict[str, Any] | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to do what to what, in which circumstances."""

    subject: Entity
    action: Action
    resource: Entity
    context: dict[str, Any] | None = None


def action_digest(tenant: str, requester: Actor, intent_jcs: str) -> str:
    """Return `sha256-action-v1:<hex>` of an intent as one requester chain means it in one tenant.

    `intent_jcs` is the RFC 8785 text of `{action, resource, subject}` with all their properties;
    context is evidence about the moment, not part of the action, and is left out.
    """
    chain = json.dumps([requester.principal, *requester.on_behalf_of], separators=(",", ":"))
    message = b"\x00".join((ACTION_DIGEST.encode(), tenant.encode(), chain.encode(), intent_jcs.encode()))
    return f"{ACTION_DIGEST}:{hashlib.sha256(message).hexdigest()}"


def acting_for(request: str) -> tuple[str, ...]:
    """Return the ids that a recorded request's subject names in `properties.act`: who acts for it, nearest first.

    Malformed members name nobody: whoever takes requests in refuses those.

    Source: ARAP draft, 'Delegation and On-Behalf-Of'; RFC 8693 section 4.1.
    """
    act: Any = json.loads(request)
    for member in ("subject", "properties", "act"):
        act = act.get(member) if isinstance(act, dict) else None
    names: list[str] = []
    while isinstance(act, dict):
        if isinstance(act.get("sub"), str):
            names.append(act["sub"])
        act = act.get("act")
    return tuple(names)
