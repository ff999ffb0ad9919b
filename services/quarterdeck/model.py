"""What the client speaks of: intents, decisions, tasks, grants, effects. Plain frozen values, made from answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from quarterdeck.errors import BadAnswer, NotConfigured

Outcome = Literal["permit", "denied", "approval_required"]
Status = Literal["pending", "approved", "denied", "expired", "cancelled", "failed", "partial"]
EffectClass = Literal["idempotent", "check_then_act", "at_most_once"]
EffectOutcome = Literal["committed", "failed", "unknown"]
Json = Mapping[str, Any]

STATUSES: Final = ("pending", "approved", "denied", "expired", "cancelled", "failed", "partial")


@dataclass(frozen=True, slots=True)
class Entity:
    """A subject or a resource: a type, an id, and what is claimed of it."""

    type: str
    id: str
    properties: Json | None = None

    @classmethod
    def of(cls, value: Entity | str | Json) -> Entity:
        """Return an entity from itself, from `type:id`, or from a mapping with `type` and `id`.

        Raises:
            NotConfigured: it is none of these.
        """
        if isinstance(value, Entity):
            return value
        if isinstance(value, str):
            kind, colon, name = value.partition(":")
            if kind and colon and name:
                return cls(kind, name)
        elif isinstance(value, Mapping):
            given = value.get("type"), value.get("id")
            if isinstance(given[0], str) and isinstance(given[1], str) and all(given):
                return cls(given[0], given[1], value.get("properties"))
        raise NotConfigured(f"{value!r} names no subject or resource; write 'type:id' or Entity(type, id)")

    def wire(self) -> dict[str, Any]:
        """Return it as AuthZEN writes it."""
        value: dict[str, Any] = {"type": self.type, "id": self.id}
        if self.properties is not None:
            value["properties"] = dict(self.properties)
        return value


@dataclass(frozen=True, slots=True)
class Intent:
    """Who wants to do what to what, in which circumstances. Change one argument and it is another intent."""

    subject: Entity
    action: str
    resource: Entity
    properties: Json = field(default_factory=dict)
    """The arguments of the action."""
    context: Json | None = None
    """Evidence about the moment; not part of what is approved, unless policy reads it."""

    def wire(self, *, with_context: bool = True) -> dict[str, Any]:
        """Return it as an AuthZEN evaluation request."""
        action: dict[str, Any] = {"name": self.action}
        if self.properties:
            action["properties"] = dict(self.properties)
        value = {"subject": self.subject.wire(), "action": action, "resource": self.resource.wire()}
        if with_context and self.context:
            value["context"] = dict(self.context)
        return value

    def text(self) -> str:
        """Return one text for equal actions: sorted keys, no spaces, the context left out."""
        return json.dumps(self.wire(with_context=False), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Obligation:
    """Something that must be done with a decision. Whoever cannot must treat a permit as a denial."""

    id: str
    type: str
    properties: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to an intent. It is in the log already."""

    intent: Intent
    outcome: Outcome
    evaluation_id: str | None = None
    reason: str = ""
    """Machine-readable: `denied`, `approval_required`, `policy_denied`, …"""
    message: str = ""
    """What the policy's author wrote for people."""
    next_action: str = "none"
    determining: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    access_request: Json | None = field(default=None, repr=False)

    @property
    def permitted(self) -> bool:
        """Whether it may be done now, without asking anybody."""
        return self.outcome == "permit"

    @classmethod
    def of(cls, intent: Intent, body: Json) -> Decision:
        """Return the decision in an answer. Only an explicit `true` permits.

        Raises:
            BadAnswer: the answer is not a decision.
        """
        verdict, context = body.get("decision"), _mapping(body.get("context"))
        if not isinstance(verdict, bool):
            raise BadAnswer("the answer to an evaluation has no decision")
        access_request = context.get("access_request")
        asking = not verdict and isinstance(access_request, Mapping)
        return cls(
            intent=intent,
            outcome="permit" if verdict else "approval_required" if asking else "denied",
            evaluation_id=_optional(context.get("evaluation_id")),
            reason=str(context.get("reason") or ("" if verdict else "denied")),
            message="; ".join(str(text) for text in _mapping(context.get("reason_user")).values()),
            next_action=str(context.get("next_action") or ("request" if asking else "none")),
            determining=tuple(str(item) for item in _list(context.get("determining"))),
            obligations=tuple(_obligation(item) for item in _list(context.get("obligations"))),
            access_request=access_request if asking else None,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """A request to a human. Its id is all that another process needs to go on."""

    id: str
    status: Status
    status_endpoint: str = ""
    expires_at: datetime | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    approved_until: datetime | None = None
    intent: Intent | None = field(default=None, repr=False)
    """What is asked for; None where only the task was read."""
    retry_after_s: float | None = field(default=None, compare=False, repr=False)

    @property
    def pending(self) -> bool:
        """Whether nobody has decided yet."""
        return self.status == "pending"

    @classmethod
    def of(cls, body: Json, intent: Intent | None = None, retry_after_s: float | None = None) -> Task:
        """Return the task in an answer.

        Raises:
            BadAnswer: the answer is not a task.
        """
        task = _mapping(body.get("task"))
        status, name = task.get("status"), task.get("id")
        if status not in STATUSES or not isinstance(name, str):
            raise BadAnswer("the answer to an access request has no task")
        approval = _mapping(_mapping(body.get("result")).get("approval"))
        return cls(
            id=name,
            status=status,
            status_endpoint=str(task.get("status_endpoint") or ""),
            expires_at=moment(task.get("expires_at")),
            links={str(key): str(value) for key, value in _mapping(task.get("links")).items()},
            approved_until=moment(approval.get("approved_until")),
            intent=intent,
            retry_after_s=retry_after_s,
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """The one use of an approval, bound to its redeemer and to one exact action."""

    id: str
    approval_id: str
    status: str
    token: str | None = field(default=None, repr=False)
    """The signed grant; there while it can be redeemed, and only for its redeemer."""
    action_digest: str = ""
    expires_at: datetime | None = None
    effect_id: str | None = None

    @classmethod
    def of(cls, body: Json) -> Grant:
        """Return the grant in an answer.

        Raises:
            BadAnswer: the answer is not a grant.
        """
        if not all(isinstance(body.get(name), str) for name in ("id", "approval_id", "status")):
            raise BadAnswer("the answer to asking for a grant is not one")
        return cls(
            id=body["id"],
            approval_id=body["approval_id"],
            status=body["status"],
            token=_optional(body.get("grant")),
            action_digest=str(body.get("action_digest") or ""),
            expires_at=moment(body.get("expires_at")),
            effect_id=_optional(_mapping(body.get("effect")).get("id")),
        )


@dataclass(frozen=True, slots=True)
class Effect:
    """A redeemed grant: from here on its effect counts as started, until its outcome is reported."""

    id: str
    grant_id: str
    approval_id: str
    effect_class: str = "at_most_once"
    obligations: tuple[Obligation, ...] = ()

    @classmethod
    def of(cls, body: Json) -> Effect:
        """Return the effect in the answer to a redemption.

        Raises:
            BadAnswer: the answer is not one.
        """
        name = body.get("effect_id")
        if not isinstance(name, str):
            raise BadAnswer("the answer to redeeming a grant names no effect")
        return cls(
            id=name,
            grant_id=str(body.get("grant_id") or ""),
            approval_id=str(body.get("approval_id") or ""),
            effect_class=str(body.get("effect_class") or "at_most_once"),
            obligations=tuple(_obligation(item) for item in _list(body.get("obligations"))),
        )


def moment(value: object) -> datetime | None:
    """Return an RFC 3339 timestamp as a moment; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _obligation(value: object) -> Obligation:
    item = _mapping(value)
    return Obligation(str(item.get("id") or ""), str(item.get("type") or ""), _mapping(item.get("properties")))


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _optional(value: object) -> str | None:
    return value if isinstance(value, str) else None
