"""JSON Schemas of grants and effects, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from quarterdeck_api.authzen.schemas import EVALUATION
from quarterdeck_api.authzen.tokens import MAX_TOKEN
from quarterdeck_api.grants.redeem import EFFECT_CLASSES
from quarterdeck_domain.checks import MAX_COMMENT

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}

GRANT: Final[Schema] = {
    "type": "object",
    "required": ["id", "approval_id", "status", "redeemer", "action_digest", "minted_at", "expires_at"],
    "properties": {
        "id": _TEXT,
        "approval_id": _TEXT,
        "status": {"enum": ["unused", "redeemed", "revoked", "expired"]},
        "redeemer": _TEXT,
        "subject": _TEXT,
        "action": _TEXT,
        "resource": _TEXT,
        "action_digest": _TEXT,
        "minted_at": _TIME,
        "expires_at": _TIME,
        "redeemed_at": _TIME,
        "revoked_at": _TIME,
        "effect": {"type": "object"},
        "grant": {"type": "string", "description": "The signed grant (JWS, EdDSA): for its redeemer alone."},
    },
}
REDEMPTION: Final[Schema] = {
    "type": "object",
    "required": ["grant", "intent"],
    "properties": {
        "grant": {"type": "string", "minLength": 1, "maxLength": MAX_TOKEN},
        "intent": EVALUATION,
        "effect_class": {"enum": list(EFFECT_CLASSES), "default": "at_most_once"},
    },
}
REDEEMED: Final[Schema] = {
    "type": "object",
    "required": ["effect_id", "grant_id", "approval_id", "evaluation_id", "redeemed_at", "position"],
    "properties": {
        "effect_id": _TEXT,
        "grant_id": _TEXT,
        "approval_id": _TEXT,
        "evaluation_id": _TEXT,
        "effect_class": {"enum": list(EFFECT_CLASSES)},
        "action_digest": _TEXT,
        "redeemed_at": _TIME,
        "position": {"type": "integer"},
        "repeated": {"type": "boolean"},
        "obligations": {"type": "array", "items": {"type": "object"}},
    },
}
REPORT: Final[Schema] = {
    "type": "object",
    "required": ["outcome"],
    "additionalProperties": False,
    "properties": {
        "outcome": {"enum": ["committed", "failed", "unknown"]},
        "detail": {"type": "string", "maxLength": MAX_COMMENT},
    },
}
EFFECT: Final[Schema] = {
    "type": "object",
    "required": ["id", "grant_id", "approval_id", "outcome"],
    "properties": {
        "id": _TEXT,
        "grant_id": _TEXT,
        "approval_id": _TEXT,
        "class": {"enum": list(EFFECT_CLASSES)},
        "outcome": {"enum": ["started", "committed", "failed", "unknown"]},
        "started_at": _TIME,
        "reported_at": _TIME,
    },
}
