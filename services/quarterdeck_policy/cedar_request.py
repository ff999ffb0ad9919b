"""From an intent to Cedar's request: entity references and context, as values, never as Cedar source.

    subject, action, resource  ->  principal `type::"id"`, `Action::"name"`, `type::"id"`
    context.<member>           the request's own context, without protocol machinery
    context.subject, .action, .resource     the properties that came with the request: claims, nobody verified them
    context.decimal.subject, .action, .resource   those of them that are decimal numbers, as Cedar decimals
    context.request            {subject_type, subject_id, action, resource_type, resource_id}, for `like`
    context.verified           {caller, subject, now}: what the house knows itself

Entities have only the attributes that the bundle gives them, so no request can claim one.

Numbers: integers are Long; other numbers are the String that RFC 8785 makes of them. Arrays are sets, nulls are
absent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from quarterdeck_domain.events import Actor
from quarterdeck_domain.intent import Intent
from quarterdeck_domain.policy.values import SubjectFacts
from quarterdeck_policy import jcs

RESERVED: Final = frozenset({"subject", "action", "resource", "decimal", "request", "verified"})
"""Members of Cedar's context that only the house writes."""
PRESENTED: Final = frozenset({"approval"})
"""Members of AuthZEN's context that are protocol, not facts about the moment: policy never sees them."""

_KEYWORDS: Final = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"})
_ESCAPED: Final = re.compile(r"_x([0-9a-f]{0,6})_")
_UNUSABLE: Final = re.compile(r"[^A-Za-z0-9_]|^[0-9]")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9]|^[0-9]")
_ESCAPES_OF_JSON: Final = frozenset({"__entity", "__extn", "__expr"})
_DECIMAL: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,4})?")
_MAX_DECIMAL: Final = 922_337_203_685_477
Uid = tuple[str, str]
_NOTHING: Final[Mapping[str, Any]] = {}


class NotMappable(ValueError):
    """The request has something that must not reach Cedar."""


class CedarRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as `cedarpy` takes it: references as dicts, context as JSON text."""

    principal: Uid
    action: Uid
    resource: Uid
    context: Mapping[str, Any]

    def as_dict(self, context_members: Collection[str] | None = None) -> dict[str, Any]:
        """Return the form that `cedarpy.is_authorized` reads, with these members of the context alone (None: all).

        Most of a call is Cedar reading the context, so it gets what its policies read and no more.
        """
        context = self.context
        if context_members is not None:
            context = {name: context[name] for name in context_members if name in context}
        return {
            "principal": {"type": self.principal[0], "id": self.principal[1]},
            "action": {"type": self.action[0], "id": self.action[1]},
            "resource": {"type": self.resource[0], "id": self.resource[1]},
            "context": msgspec.json.encode(context).decode(),
        }


def cedar_request(
    intent: Intent, *, caller: Actor | None, subject: SubjectFacts, now: datetime | None = None
) -> CedarRequest:
    """Return Cedar's request for an intent.

    Raises:
        NotMappable: the request's context uses a reserved name, or a member is named like Cedar's JSON escapes.
    """
    own = {name: item for name, item in (intent.context or {}).items() if name not in PRESENTED}
    taken = sorted(RESERVED & own.keys())
    if taken:
        raise NotMappable(f"context.{taken[0]} is reserved; choose another name")
    claims = {
        "subject": intent.subject.properties or _NOTHING,
        "action": intent.action.properties or _NOTHING,
        "resource": intent.resource.properties or _NOTHING,
    }
    context = record(own)
    for name, properties in claims.items():
        context[name] = record(properties)
    context["decimal"] = {name: _decimals(properties) for name, properties in claims.items()}
    context["request"] = {
        "subject_type": intent.subject.type,
        "subject_id": intent.subject.id,
        "action": intent.action.name,
        "resource_type": intent.resource.type,
        "resource_id": intent.resource.id,
    }
    context["verified"] = _verified(caller, subject, now)
    return CedarRequest(
        principal=(cedar_type(intent.subject.type), intent.subject.id),
        action=("Action", intent.action.name),
        resource=(cedar_type(intent.resource.type), intent.resource.id),
        context=context,
    )


@lru_cache(maxsize=4096)
def cedar_type(name: str) -> str:
    """Return the Cedar entity type for an AuthZEN type.

    A name that Cedar accepts stands for itself. In any other, what Cedar does not accept becomes `_x<hex>_` by code
    point: `mcp-server` is `mcp_x2d_server`. Two types never become one, as the way back is unambiguous.
    """
    return "::".join(map(_cedar_name, name.split("::")))


def record(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object as a Cedar record.

    Raises:
        NotMappable: a member named `__entity`, `__extn` or `__expr`, which Cedar would take for an escape.
    """
    if not _ESCAPES_OF_JSON.isdisjoint(value):
        raise NotMappable("a member is named __entity, __extn or __expr, which policy reserves")
    return {key: _value(item) for key, item in value.items() if item is not None}


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return record(value)
    if isinstance(value, list):
        return [_value(item) for item in value if item is not None]
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= jcs.MAX_INTEGER else jcs.number(value)
    return value


def _decimals(properties: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in properties.items():
        if value is True or value is False or not isinstance(value, int | float | str):
            continue
        text = value if isinstance(value, str) else jcs.number(value)
        if len(text) <= 21 and _DECIMAL.fullmatch(text) and abs(int(text.partition(".")[0])) < _MAX_DECIMAL:
            found[name] = _extension("decimal", text if "." in text else f"{text}.0")
    return found


def _verified(caller: Actor | None, subject: SubjectFacts, now: datetime | None) -> dict[str, Any]:
    known: dict[str, Any] = {
        "known": subject.known,
        "kind": subject.kind,
        "roles": list(subject.roles),
        "deactivated": subject.deactivated,
    }
    if subject.owner is not None:
        known["owner"] = subject.owner
    verified: dict[str, Any] = {"subject": known}
    if caller is not None:
        verified["caller"] = {
            "principal": caller.principal,
            "kind": caller.kind,
            "on_behalf_of": list(caller.on_behalf_of),
        }
    if now is not None:
        moment = now.astimezone(UTC)
        verified["now"] = _extension("datetime", f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z")
    return verified


def _extension(function: str, argument: str) -> dict[str, Any]:
    return {"__extn": {"fn": function, "arg": argument}}


def _cedar_name(part: str) -> str:
    if not part:
        return "_x_"
    if part in _KEYWORDS:
        return _escape(part[0]) + part[1:]
    name = _UNUSABLE.sub(lambda match: _escape(match.group()), part)
    if _unescaped(name) == part:
        return name
    # The name looks like an escape itself: escape every underscore too, then nothing is ambiguous.
    return _NOT_PLAIN.sub(lambda match: _escape(match.group()), part)


def _escape(character: str) -> str:
    return f"_x{ord(character):x}_"


def _unescaped(name: str) -> str:
    return _ESCAPED.sub(
        lambda match: chr(int(match[1], 16)) if match[1] and int(match[1], 16) <= 0x10FFFF else "", name
    )
