"""JSON Schemas of the AuthZEN wire, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from quarterdeck_policy.authzen import MAX_ACTION, MAX_EVALUATIONS, MAX_ID, MAX_TYPE

Schema = dict[str, Any]

_PROPERTIES: Final[Schema] = {"type": "object", "description": "Further attributes. Any JSON."}


def _text(limit: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": limit}


ENTITY: Final[Schema] = {
    "type": "object",
    "required": ["type", "id"],
    "properties": {"type": _text(MAX_TYPE), "id": _text(MAX_ID), "properties": _PROPERTIES},
}
ACTION: Final[Schema] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _text(MAX_ACTION), "properties": _PROPERTIES},
}
CONTEXT: Final[Schema] = {"type": "object", "description": "The circumstances. `approval` presents an approval."}
_INTENT: Final[Schema] = {"subject": ENTITY, "action": ACTION, "resource": ENTITY, "context": CONTEXT}

EVALUATION: Final[Schema] = {
    "type": "object",
    "required": ["subject", "action", "resource"],
    "properties": _INTENT,
    "example": {
        "subject": {"type": "agent", "id": "prn_01k9z6w8h3q2m4v7c5x1t0e9rb"},
        "action": {"name": "refund", "properties": {"amount": "120.00", "currency": "EUR"}},
        "resource": {"type": "order", "id": "4711"},
    },
}
EVALUATIONS: Final[Schema] = {
    "type": "object",
    "properties": _INTENT
    | {
        "evaluations": {
            "type": "array",
            "maxItems": MAX_EVALUATIONS,
            "items": {"type": "object", "properties": _INTENT},
        },
        "options": {
            "type": "object",
            "properties": {
                "evaluations_semantic": {"enum": ["execute_all", "deny_on_first_deny", "permit_on_first_permit"]}
            },
        },
    },
}
DECISION: Final[Schema] = {
    "type": "object",
    "required": ["decision"],
    "properties": {"decision": {"type": "boolean"}, "context": {"type": "object"}},
}
DECISIONS: Final[Schema] = {
    "anyOf": [
        DECISION,
        {
            "type": "object",
            "required": ["evaluations"],
            "properties": {"evaluations": {"type": "array", "items": DECISION}},
        },
    ]
}
METADATA: Final[Schema] = {
    "type": "object",
    "required": ["policy_decision_point", "access_evaluation_endpoint"],
    "properties": {
        "policy_decision_point": {"type": "string"},
        "access_evaluation_endpoint": {"type": "string"},
        "access_evaluations_endpoint": {"type": "string"},
        "access_request_endpoint": {"type": "string"},
        "jwks_uri": {"type": "string"},
        "capabilities": {"type": "array", "items": {"type": "string"}},
        "supported_obligations": {"type": "array", "items": {"type": "string"}},
    },
}
JWK_SET: Final[Schema] = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
}


def json_body(schema: Schema, *, required: bool = True) -> Schema:
    """Return the OpenAPI description of a JSON request body, for `openapi_extra`."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
