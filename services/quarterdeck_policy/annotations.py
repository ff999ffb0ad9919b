"""What a policy says beside its rule: `@id`, `@reason`, `@approval`, `@obligation`. Any other annotation is refused.

An obligation is written like the end of a URL, so that any value can be said and none can be misread:
`@obligation("notification?to=ops%40example.com&body=A+refund+was+made")`; several are separated by spaces.

Source: AuthZEN obligations profile (draft), 'Normative Obligation Types'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import parse_qsl

import msgspec

from quarterdeck_domain.policy.events import Obligation

KNOWN: Final = frozenset({"id", "reason", "approval", "obligation"})
MAX_REASON: Final = 300
MAX_OBLIGATION: Final = 1_000
REQUIRED_PROPERTIES: Final[Mapping[str, frozenset[str]]] = {
    "step-up": frozenset({"acr_value"}),
    "notification": frozenset({"to", "body"}),
    "session_termination": frozenset({"subject"}),
    "custom": frozenset(),
}
"""Obligation types that can be issued, and the properties each must have."""

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,79}")
_PATH: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Annotations(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy adds to a verdict that it determines."""

    id: str
    effect: Literal["permit", "forbid"]
    reason: str = ""
    approval: str | None = None
    obligations: tuple[Obligation, ...] = ()


def read_annotations(effect: str, written: Mapping[str, str | None]) -> Annotations:
    """Return a policy's annotations.

    Raises:
        ValueError: no `@id`, an annotation that is not known, or a value that is malformed; the message names it.
    """
    unknown = sorted(written.keys() - KNOWN)
    if unknown:
        raise ValueError(f"@{unknown[0]} is not known; use @id, @reason, @approval and @obligation")
    policy_id = written.get("id") or ""
    if not _ID.fullmatch(policy_id):
        raise ValueError('every policy needs an @id("...") of 1 to 80 letters, digits and . _ : / -')
    reason = written.get("reason") or ""
    if len(reason) > MAX_REASON:
        raise ValueError(f"@reason is longer than {MAX_REASON} characters")
    approval = written["approval"] or "" if "approval" in written else None
    if approval is not None and not _PATH.fullmatch(approval):
        raise ValueError("@approval names an approval path: lower-case letters, digits and . _ -, at most 63")
    if approval is not None and effect != "permit":
        raise ValueError("@approval is for permit policies; a forbid cannot be approved away")
    obligations = _obligations(policy_id, written["obligation"] or "") if "obligation" in written else ()
    kind: Literal["permit", "forbid"] = "permit" if effect == "permit" else "forbid"
    return Annotations(id=policy_id, effect=kind, reason=reason, approval=approval, obligations=obligations)


def _obligations(policy_id: str, text: str) -> tuple[Obligation, ...]:
    if not text.strip() or len(text) > MAX_OBLIGATION:
        raise ValueError(f"@obligation has 1 to {MAX_OBLIGATION} characters")
    return tuple(_obligation(f"{policy_id}#{number}", one) for number, one in enumerate(text.split(), 1))


def _obligation(obligation_id: str, text: str) -> Obligation:
    kind, _, query = text.partition("?")
    if kind not in REQUIRED_PROPERTIES:
        raise ValueError(f"@obligation type {kind!r} is not one of {', '.join(sorted(REQUIRED_PROPERTIES))}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as error:
        raise ValueError(f"@obligation {text!r}: write type?key=value&key=value, percent-encoded ({error})") from None
    properties = dict(pairs)
    if len(properties) != len(pairs):
        raise ValueError(f"@obligation {text!r} has the same property twice")
    missing = sorted(REQUIRED_PROPERTIES[kind] - properties.keys())
    if missing:
        raise ValueError(f"@obligation {kind} needs the property {missing[0]!r}")
    return Obligation(id=obligation_id, type=kind, properties=properties)
