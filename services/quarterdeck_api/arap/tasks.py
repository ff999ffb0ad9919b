"""Tasks: approvals as the profile shows them to whoever asked. Closed objects: no member that the profile lacks.

A pending task's `expires_at` is the moment until which it may be decided. Ended, the handle stays valid for a day
beyond the end, or beyond the approval's own, so that whoever was away can still learn of it.

Source: ARAP draft, 'Access Request Response', 'Task Status Endpoint', 'Completion Semantics'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from quarterdeck_api.arap.errors import TaskExpired, UnknownTask
from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen import tokens
from quarterdeck_api.authzen.reevaluation import approval_claims
from quarterdeck_api.authzen.state import ApprovalState, is_id, read_approvals, read_decision, read_electorate
from quarterdeck_api.authzen.wire import REQUESTS_PATH, stamp
from quarterdeck_api.services import Services
from quarterdeck_domain.approvals.bundles import APPROVAL, BUNDLE, MAX_ITEMS, is_bundle, item_ids
from quarterdeck_domain.approvals.values import Vote, open_stage
from quarterdeck_domain.ids import uuid_of
from quarterdeck_domain.policy.events import DecisionRecorded

HANDLE_LIVES: Final = timedelta(hours=24)
READERS: Final = frozenset({"administrator", "approver", "auditor", "operator"})
"""Roles that may see everybody's tasks."""
DECIDERS: Final = frozenset({"administrator", "approver", "operator"})

_DISPLAY: Final = {
    "pending": ("Waiting for a human", "People who may decide have been asked to approve exactly this action."),
    "approved": ("Approved", "Evaluate again with the approval, and redeem its grant once."),
    "denied": ("Denied", "A human said no."),
    "expired": ("Expired", "Nobody decided in time."),
    "cancelled": ("Cancelled", "The request was taken back."),
    "partial": ("Decided in part", "Look at each item: not all came to the same."),
}


class Task:
    """A task and the approvals it is about: one, or those of a bundle in order."""

    def __init__(self, task_id: str, states: Sequence[ApprovalState]) -> None:
        self.id = task_id
        self.states = tuple(states)

    @property
    def bundled(self) -> bool:
        """Whether it was submitted with `items`."""
        return self.id.startswith(f"{BUNDLE}_")

    @property
    def position(self) -> int:
        """The position of the last event that concerns it."""
        return max(state.position for state in self.states)

    def status(self, now: datetime) -> str:
        """Return the aggregate status."""
        found = {state.status(now) for state in self.states}
        if "pending" in found:
            return "pending"
        return found.pop() if len(found) == 1 else "partial"

    def next_deadline(self, now: datetime) -> datetime | None:
        """Return when the next of its pending approvals expires, or None if none is pending."""
        pending = [state.request.expires_at for state in self.states if state.status(now) == "pending"]
        return min(pending, default=None)

    def expires_at(self, now: datetime) -> datetime:
        """Return until when the handle is valid."""
        deadline = self.next_deadline(now)
        if deadline is not None:
            return max(state.request.expires_at for state in self.states if state.status(now) == "pending")
        ends = [max(state.end(now) or now, state.approved_until or state.requested_at) for state in self.states]
        return max(ends) + HANDLE_LIVES


async def read_task(services: Services, caller: Caller, task_id: str) -> Task:
    """Return a task that the caller may see.

    Raises:
        UnknownTask: there is none, or it is not for this caller.
        TaskExpired: its handle is no longer valid.
    """
    ids = approval_ids(task_id)
    found = await read_approvals(services.ledger, caller.tenant, ids)
    states = [found[approval_id] for approval_id in ids if approval_id in found]
    if not states or not may_see(caller, states):
        raise UnknownTask("there is no such task, or it is not yours to see")
    task = Task(task_id, states)
    now = await services.ledger.now()
    if now >= task.expires_at(now):
        raise TaskExpired(
            "this task ended long ago; its record is kept, its handle is not", status_was=task.status(now)
        )
    return task


def approval_ids(task_id: str) -> tuple[str, ...]:
    """Return the ids of the approvals that a task may have; none for what is no task's id."""
    if is_id(task_id, APPROVAL):
        return (task_id,)
    if is_id(task_id, BUNDLE) and is_bundle(value := uuid_of(task_id)):
        return item_ids(value, MAX_ITEMS)
    return ()


def may_see(caller: Caller, states: Sequence[ApprovalState]) -> bool:
    """Whoever asked may see a task, with any of its credentials that act for the same people; so may people's roles."""
    if not READERS.isdisjoint(caller.roles) and caller.actor.kind != "agent":
        return True
    return all(state.actor == caller.actor for state in states)


async def show(services: Services, caller: Caller, task: Task) -> dict[str, Any]:
    """Return the response body for a task: `task`, and `result` where it is approved."""
    now = await services.ledger.now()
    body: dict[str, Any] = {"task": await _task(services, caller, task, now)}
    if not task.bundled and task.status(now) == "approved":
        body["result"] = await _result(services, caller.tenant, task.states[0])
    return body


def status_endpoint(services: Services, task_id: str) -> str:
    """Return the address at which a task's status is asked."""
    return f"{services.settings.base_url}{REQUESTS_PATH}/{task_id}"


async def _task(services: Services, caller: Caller, task: Task, now: datetime) -> dict[str, Any]:
    status = task.status(now)
    title, description = _DISPLAY[status]
    shown: dict[str, Any] = {
        "id": task.id,
        "status": status,
        "status_endpoint": status_endpoint(services, task.id),
        "expires_at": stamp(task.expires_at(now)),
        "display": {"title": title, "description": description},
    }
    links = _links(services, caller, task, status)
    if links:
        shown["links"] = links
    if task.bundled:
        shown["items"] = [await _item(services, caller.tenant, state, now) for state in task.states]
    elif status == "pending" and len(task.states[0].request.stages) > 1:
        shown["progress"] = await _progress(services, caller.tenant, task.states[0])
    return shown


def _links(services: Services, caller: Caller, task: Task, status: str) -> dict[str, str]:
    base = services.settings.base_url
    links: dict[str, str] = {}
    if not task.bundled:
        record = f"{base}/v1/approvals/{task.id}"
        links["ticket"] = record
        if not DECIDERS.isdisjoint(caller.roles) and caller.actor.kind == "human":
            links["review"] = record
    if status == "pending" and all(state.actor == caller.actor for state in task.states):
        links["cancel"] = f"{status_endpoint(services, task.id)}/cancel"
    return links


async def _item(services: Services, tenant: str, state: ApprovalState, now: datetime) -> dict[str, Any]:
    asked = json.loads(state.request.request) if state.request.request is not None else {}
    item: dict[str, Any] = {
        "resource": asked.get("resource", _erased(state.request.resource)),
        "action": asked.get("action", {"name": state.request.action}),
        "status": state.status(now),
    }
    if item["status"] == "approved":
        item["result"] = await _result(services, tenant, state)
    return item


def _erased(ref: str) -> dict[str, str]:
    kind, _, name = ref.partition(":")
    return {"type": kind, "id": name}


async def _progress(services: Services, tenant: str, state: ApprovalState) -> dict[str, Any]:
    electorate = await read_electorate(services.ledger, tenant)
    votes = [
        Vote(approver=cast.vote.approver, stage=cast.vote.stage, verdict=cast.vote.verdict) for cast in state.votes
    ]
    stages = state.request.stages
    # Who is awaited is nobody's business but theirs: `awaiting` is left out.
    stage = open_stage(stages, votes, electorate.roles_of) or stages[-1]
    return {"current_step": stages.index(stage) + 1, "total_steps": len(stages), "step_name": stage.name}


async def _result(services: Services, tenant: str, state: ApprovalState) -> dict[str, Any]:
    event = await read_decision(services.ledger, tenant, state.request.decision_id)
    approval: dict[str, Any] = {"id": state.request.approval_id}
    if state.ended_at is not None:
        approval["approved_at"] = stamp(state.ended_at)
    if state.approved_until is not None:
        approval["approved_until"] = stamp(state.approved_until)
    if event is not None and isinstance(event.payload, DecisionRecorded):
        claims = approval_claims(services, tenant, state, event.payload)
        approval["state"] = tokens.sign(services.signing, tenant, tokens.APPROVAL, claims)
    return {"mode": "reevaluate", "approval": approval}
