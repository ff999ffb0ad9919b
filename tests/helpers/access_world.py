"""A tenant with a policy, people, agents and enforcement points, and short ways to ask, decide and redeem over HTTP."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from api_house import House, house, key_id_of, new_id

from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.events import Stage
from quarterdeck_domain.approvals.slices import PublishApprovalPath
from quarterdeck_domain.events import Actor
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.policy.values import BundleText

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
REQUESTS: Final = "/access/v1/requests"
URN: Final = "urn:openid:authzen:access-request:error:"
OURS: Final = "urn:quarterdeck:problem:"

POLICIES: Final = """
// The fixture of the AuthZEN certification scenario.
@id("cert.read") permit (principal is user, action == Action::"read", resource is record);
@id("cert.write") permit (principal == user::"alice", action == Action::"write", resource is record)
unless { context.resource has status && context.resource.status == "archived" };
@id("cert.admin") permit (principal is user, action == Action::"write", resource is record)
when { context.subject has role && context.subject.role == "admin" };
@id("cert.delete") permit (principal == user::"alice", action == Action::"delete", resource is record)
when { context.action has soft && context.action.soft == true };

// What asks a human.
@id("ask.refund") @reason("a human must approve refunds") @approval("default")
permit (principal, action == Action::"refund", resource)
when { !(context has region) || context.region == "eu" };
@id("ask.transfer") @reason("two people must approve transfers") @approval("two-stage")
permit (principal, action == Action::"transfer", resource);
@id("ask.nobody") @approval("nowhere")
permit (principal, action == Action::"lost", resource);

// What obliges, and what is forbidden.
@id("oblige.export") @obligation("notification?to=dpo%40example.com&body=An+export+was+made")
permit (principal, action == Action::"export", resource);
@id("oblige.refund") @obligation("custom?vendor=acme&action=watermark")
permit (principal, action == Action::"refund", resource) when { context.action has watermark };
@id("no.wipe") @reason("nobody wipes") forbid (principal, action == Action::"wipe", resource);
@id("broken") permit (principal, action == Action::"break", resource) when { context.action.missing > 1 };
"""
_tenants = itertools.count(1)


class World:
    """One tenant over a running API. Everybody is called by a name."""

    def __init__(self, api: House, tenant: str) -> None:
        self.api = api
        self.tenant = tenant
        self.services = api.services
        self.client = api.client

    def id(self, name: str) -> str:
        """Return the id of a principal."""
        return self.api.ids[self.tenant, name]

    def auth(self, name: str) -> dict[str, str]:
        """Return the credentials of a principal, or of a delegated key kept under that name."""
        return self.api.bearer(self.tenant, name)

    async def delegate(self, name: str, holder: str, *acts_for: str) -> None:
        """Keep under a name a key of a holder that acts for others, nearest first."""
        key = await self.api.issue_key(
            self.tenant, self.id(holder), acts_for=tuple(self.id(other) for other in acts_for)
        )
        self.api.keys[self.tenant, name] = key
        self.api.ids[self.tenant, name] = self.id(holder)

    async def enforce(self, policies: str) -> str:
        """Put policies in force; return the bundle's id."""
        bundle = new_id("bnd")
        name = f"test-{uuid.uuid4().hex[:8]}"
        await self.api.run(self.tenant, PublishBundle(bundle, name, BundleText(policies=policies), actor=SYSTEM))
        await self.api.run(self.tenant, ChangeBundleMode(bundle, "enforced", "for the test", actor=SYSTEM))
        return bundle

    async def path(self, path_id: str, *stages: Stage, **times: int) -> None:
        """Publish an approval path."""
        before = [fact for fact in await self.log("approval_path.published") if fact.path_id == path_id]
        given = {"remind_after_s": 600, "expires_after_s": 3_600, "grant_lifetime_s": 900, **times}
        given["remind_after_s"] = min(given["remind_after_s"], given["expires_after_s"])
        given["replaces"] = len(before)
        await self.api.run(
            self.tenant,
            PublishApprovalPath(path_id=path_id, stages=stages or (Stage(name="review"),), actor=SYSTEM, **given),
        )

    def intent(self, by: str = "bot", action: str | dict[str, Any] = "refund", **changes: Any) -> dict[str, Any]:
        """Return an evaluation of somebody about itself; `changes` replace whole members, None removes one."""
        whole: dict[str, Any] = {
            "subject": {"type": "agent", "id": self.id(by)},
            "action": {"name": action, "properties": {"amount": "120.00", "currency": "EUR"}}
            if isinstance(action, str)
            else action,
            "resource": {"type": "order", "id": "4711"},
        }
        whole.update(changes)
        return {name: value for name, value in whole.items() if value is not None}

    async def evaluate(self, body: object, by: str = "bot", **headers: str) -> httpx.Response:
        """Ask for a decision."""
        return await self.client.post(EVALUATION, json=body, headers=self.auth(by) | headers)

    async def denied(self, by: str = "bot", **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Evaluate what asks a human; return the intent and the decision's context."""
        intent = self.intent(by, **changes)
        answer = (await self.evaluate(intent, by)).json()
        assert answer["decision"] is False, answer
        return intent, answer["context"]

    async def submit(self, body: object, by: str = "bot", *, key: str | None = None, **headers: str) -> httpx.Response:
        """Submit an access request."""
        keys = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(REQUESTS, json=body, headers=self.auth(by) | keys | headers)

    async def request(self, by: str = "bot", *, key: str | None = None, **changes: Any) -> dict[str, Any]:
        """Evaluate and submit; return the task."""
        intent, context = await self.denied(by, **changes)
        answer = await self.submit(submission(intent, context), by, key=key)
        assert answer.status_code == 202, answer.text
        task: dict[str, Any] = answer.json()["task"]
        return task

    async def status(self, task_id: str, by: str = "bot", **headers: str) -> httpx.Response:
        """Ask for a task's status."""
        return await self.client.get(f"{REQUESTS}/{task_id}", headers=self.auth(by) | headers)

    async def approval(self, approval_id: str, by: str = "carol") -> httpx.Response:
        """Look at an approval."""
        return await self.client.get(f"/v1/approvals/{approval_id}", headers=self.auth(by))

    async def vote(
        self, approval_id: str, verdict: str = "approve", by: str = "carol", *, key: str | None = None, **body: Any
    ) -> httpx.Response:
        """Decide on what one is shown."""
        shown = (await self.approval(approval_id, by)).json()
        keys = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(
            f"/v1/approvals/{approval_id}/{verdict}",
            json={"action_digest": shown.get("action_digest"), **body},
            headers=self.auth(by) | keys,
        )

    async def approved(self, by: str = "bot", **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Evaluate, submit and approve; return the intent and `result.approval`."""
        task = await self.request(by, **changes)
        vote = await self.vote(task["id"])
        assert vote.json().get("status") == "approved", vote.text
        done = (await self.status(task["id"], by)).json()
        return self.intent(by, **changes), done["result"]["approval"]

    async def grant(self, approval_id: str, by: str = "bot") -> dict[str, Any]:
        """Return the grant of an approval."""
        answer = await self.client.get(f"/v1/approvals/{approval_id}/grant", headers=self.auth(by))
        assert answer.status_code == 200, answer.text
        grant: dict[str, Any] = answer.json()
        return grant

    async def redeem(
        self, grant: str, intent: Mapping[str, Any], by: str = "bot", *, key: str | None = None, **more: Any
    ) -> httpx.Response:
        """Redeem a grant."""
        keys = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(
            "/v1/grants/redeem", json={"grant": grant, "intent": intent, **more}, headers=self.auth(by) | keys
        )

    async def log(self, *types: str) -> list[Any]:
        """Return the payloads of the events of these types."""
        events = await self.services.ledger.read(self.tenant)
        return [event.payload for event in events if not types or event.type in types]

    async def revoke_key(self, key: str) -> None:
        """Have the administrator revoke an API key."""
        done = await self.api.command(
            "revoke_api_key", {"key_id": key_id_of(key), "reason": "leaked"}, by=(self.tenant, "admin")
        )
        assert done.status_code == 200, done.text

    def let_time_pass(self, **duration: float) -> None:
        """Let the house believe that the database's clock is later than it is, from now on: `minutes=11`."""
        ledger, ahead = self.services.ledger, timedelta(**duration)
        real = type(ledger).now

        async def later() -> datetime:
            return await real(ledger) + ahead

        ledger.now = later  # type: ignore[method-assign]

    async def position(self) -> int:
        """Return the length of the log."""
        return await self.api.position(self.tenant)

    def actor(self, name: str, kind: str = "agent") -> Actor:
        """Return somebody as an actor."""
        return Actor(principal=self.id(name), kind=kind)


def denial(context: Mapping[str, Any], /, **changes: Any) -> dict[str, Any]:
    """Return the denial that an enforcement point echoes from a decision's context; None removes a member."""
    access = context["access_request"]
    whole = {
        "evaluation_id": context["evaluation_id"],
        "evaluated_at": context["evaluated_at"],
        "expires_at": access["expires_at"],
        "reason": context["reason"],
        "binding_token": access["binding_token"],
        "template": access["template"],
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not None}


def submission(intent: Mapping[str, Any], context: Mapping[str, Any], /, **changes: Any) -> dict[str, Any]:
    """Return an access request on a denial; None removes a member."""
    whole = {**intent, "denial": denial(context), **changes}
    return {name: value for name, value in whole.items() if value is not None}


def assert_problem(answer: httpx.Response, status: int, type_: str) -> dict[str, Any]:
    """Assert that an answer is that problem, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == type_
    assert body["status"] == status
    assert body["title"]
    assert body.get("detail")
    return body


@contextlib.asynccontextmanager
async def world(
    url: str, data_dir: Path, *, policies: str = POLICIES, also: Sequence[str] = (), **settings: Any
) -> AsyncIterator[World]:
    """Run an API with one tenant of its own, furnished; `also` names tenants beside it, bare."""
    tenant = f"t{next(_tenants)}-{uuid.uuid4().hex[:8]}"
    given = {"default_tenant": tenant, "public_url": "https://pdp.example.test", **settings}
    async with house(url, data_dir, tenants=(tenant, *also), **given) as api:
        made = World(api, tenant)
        await api.add(tenant, "carol", "approver")
        await api.add(tenant, "dave", "approver")
        await api.add(tenant, "olga", "operator")
        await api.add(tenant, "ann", "auditor")
        await api.add(tenant, "alice")
        await api.add(tenant, "bot", "agent", kind="agent")
        await api.add(tenant, "rival", "agent", kind="agent")
        await api.add(tenant, "pep", "agent", kind="service")
        await made.enforce(policies)
        await made.path("default")
        await made.path("two-stage", Stage(name="first"), Stage(name="second", roles=("operator",)))
        yield made
