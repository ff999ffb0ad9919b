"""The decisions that AuthZEN's certification fixture demands can be written as a bundle, and come out as demanded.

Source: AuthZEN Authorization API 1.0, certification scenario, 'Required Policy Behaviour'. Serves S0-82, DC-07.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from quarterdeck_domain.policy.values import BundleText
from quarterdeck_policy.authzen import parse_evaluation
from quarterdeck_policy.engine import Engine, LoadedBundle

# Properties travel with the request here, because the fixture's enforcement point is trusted to send them.
FIXTURE = """
@id("alice") permit (principal == user::"alice", action in [Action::"read", Action::"write"], resource is record);
@id("bob-reads") permit (principal == user::"bob", action == Action::"read", resource is record);
@id("admins-write") permit (principal, action == Action::"write", resource is record)
when { context.subject has role && context.subject.role == "admin" };
@id("archived") forbid (principal, action == Action::"write", resource is record)
when { context.resource has status && context.resource.status == "archived" }
unless { context.subject has role && context.subject.role == "admin" };
@id("soft-delete") permit (principal == user::"alice", action == Action::"delete", resource is record)
when { context.action has soft && context.action.soft };
"""


@pytest.fixture(scope="module")
def fixture() -> LoadedBundle:
    return Engine().load(BundleText(policies=FIXTURE))


@pytest.mark.parametrize("context", [None, {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}])
@pytest.mark.parametrize(
    ("subject", "role", "action", "soft", "resource", "status", "permitted"),
    [
        ("alice", None, "read", None, "record-1", None, True),
        ("alice", None, "write", None, "record-1", None, True),
        ("bob", None, "read", None, "record-1", None, True),
        ("bob", None, "write", None, "record-1", None, False),
        ("alice", None, "write", None, "record-2", "archived", False),
        ("bob", "admin", "write", None, "record-2", "archived", True),
        ("alice", None, "delete", True, "record-1", None, True),
        ("alice", None, "delete", False, "record-1", None, False),
    ],
)
def test_the_eight_decisions(
    fixture: LoadedBundle,
    subject: str,
    role: str | None,
    action: str,
    soft: bool | None,
    resource: str,
    status: str | None,
    permitted: bool,
    context: dict[str, Any] | None,
) -> None:
    request: dict[str, Any] = {
        "subject": {"type": "user", "id": subject} | _properties(role=role),
        "action": {"name": action} | _properties(soft=soft),
        "resource": {"type": "record", "id": resource} | _properties(status=status),
    }
    if context is not None:
        request["context"] = context
    verdict = fixture.evaluate(parse_evaluation(json.dumps(request).encode()))
    assert (verdict.outcome == "permit", verdict.errors) == (permitted, ())


def _properties(**given: object) -> dict[str, Any]:
    found = {name: value for name, value in given.items() if value is not None}
    return {"properties": found} if found else {}
