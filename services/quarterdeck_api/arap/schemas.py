"""JSON Schemas of access requests: for the OpenAPI document, and for agents that build a request from one.

Source: ARAP draft, 'Machine-Readable Forms' and 'Access Request Submission'.
"""

from __future__ import annotations

from typing import Any, Final

from quarterdeck_api.arap.submission import EVENTS, JUSTIFICATION
from quarterdeck_api.authzen.schemas import ACTION, CONTEXT, ENTITY
from quarterdeck_domain.approvals.bundles import MAX_ITEMS
from quarterdeck_domain.approvals.slices_request import MAX_ENDPOINT
from quarterdeck_domain.checks import MAX_COMMENT, MAX_REASON

Schema = dict[str, Any]

_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_ACCESS: Final[Schema] = {
    "type": "object",
    "properties": {"requested_until": _TIME, "emergency": {"type": "boolean"}},
}
_DENIAL: Final[Schema] = {
    "type": "object",
    "required": ["expires_at"],
    "properties": {
        "evaluation_id": {"type": "string"},
        "evaluated_at": _TIME,
        "expires_at": _TIME,
        "reason": {"type": "string"},
        "binding_token": {"type": "string"},
        "template": {"type": "string"},
    },
}
_ACT: Final[Schema] = {"type": "object", "required": ["sub"], "properties": {"sub": {"type": "string"}}}
_CLIENT: Final[Schema] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "actor": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "minLength": 1},
                "issuer": {"type": "string"},
                "type": {"type": "string"},
                "act": _ACT,
            },
        },
        "source": {"type": "object"},
    },
}
_CALLBACK: Final[Schema] = {
    "type": "object",
    "required": ["endpoint"],
    "properties": {
        "endpoint": {"type": "string", "format": "uri", "minLength": 1, "maxLength": MAX_ENDPOINT},
        "state": {"type": "string"},
        "events": {"type": "array", "items": {"enum": list(EVENTS)}},
    },
}
_ITEM: Final[Schema] = {
    "type": "object",
    "required": ["resource", "action"],
    "properties": {"resource": ENTITY, "action": ACTION, "requested_access": _ACCESS, "denial": _DENIAL},
}
_COMMON: Final[Schema] = {
    "subject": ENTITY,
    "context": CONTEXT,
    "denial": _DENIAL,
    "requested_access": _ACCESS,
    "client": _CLIENT,
    "callback": _CALLBACK,
}
SUBMISSION: Final[Schema] = {
    "anyOf": [
        {
            "type": "object",
            "required": ["subject", "resource", "action", "denial"],
            "properties": _COMMON | {"resource": ENTITY, "action": ACTION},
        },
        {
            "type": "object",
            "required": ["subject", "items"],
            "properties": _COMMON | {"items": {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": _ITEM}},
        },
    ]
}
CANCELLATION: Final[Schema] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "minLength": 1, "maxLength": 100},
        "comment": {"type": "string", "minLength": 1, "maxLength": MAX_REASON},
    },
}
TASK: Final[Schema] = {
    "type": "object",
    "required": ["task"],
    "properties": {
        "task": {
            "type": "object",
            "required": ["id", "status", "status_endpoint"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "status": {"enum": ["pending", "approved", "denied", "expired", "cancelled", "failed", "partial"]},
                "status_endpoint": {"type": "string"},
                "progress": {"type": "object"},
                "expires_at": _TIME,
                "display": {"type": "object"},
                "links": {"type": "object"},
                "items": {"type": "array", "items": {"type": "object"}},
            },
        },
        "result": {"type": "object", "required": ["mode", "approval"]},
    },
}
REQUEST_FORM: Final[Schema] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "What an access request adds to the evaluation it asks on",
    "type": "object",
    "properties": {
        "context": {
            "type": "object",
            "properties": {
                JUSTIFICATION: {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_COMMENT,
                    "description": "Why you want to do this. Shown to the people who decide, as your claim.",
                }
            },
        },
        "requested_access": _ACCESS,
    },
    "if": {
        "required": ["requested_access"],
        "properties": {"requested_access": {"required": ["emergency"], "properties": {"emergency": {"const": True}}}},
    },
    "then": {"required": ["context"], "properties": {"context": {"required": [JUSTIFICATION]}}},
}
