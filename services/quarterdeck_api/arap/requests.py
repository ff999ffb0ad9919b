"""Submitting and cancelling access requests: from values to recorded facts.

Source: ARAP draft, 'Access Request Submission' and 'Cancellation'.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from quarterdeck_api.arap.actors import verify_chain
from quarterdeck_api.arap.all_or_none import AllOrNone
from quarterdeck_api.arap.binding import bind
from quarterdeck_api.arap.callbacks import check_callback
from quarterdeck_api.arap.errors import DuplicateRequest, InvalidTaskState, NotRequestable, on_the_wire
from quarterdeck_api.arap.submission import Item, Submission, parse_submission
from quarterdeck_api.arap.tasks import Task, read_task, status_endpoint
from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen.state import ApprovalState, fold
from quarterdeck_api.authzen.subjects import require_may_ask
from quarterdeck_api.authzen.wire import bounded_text, issuer, request_fingerprint
from quarterdeck_api.commands.idempotency import command_id, fresh_id
from quarterdeck_api.services import Services
from quarterdeck_domain.access.credentials import identity_digest
from quarterdeck_domain.approvals.bundles import APPROVAL, as_bundle, bundle_id, item_ids
from quarterdeck_domain.approvals.errors import AlreadyRequested
from quarterdeck_domain.approvals.events import ApprovalRequested
from quarterdeck_domain.approvals.slices import CancelApproval, RequestApproval
from quarterdeck_domain.checks import MAX_REASON, legible
from quarterdeck_domain.errors import InvalidInput, QuarterdeckError, Refused, WrongState
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.ids import make_id, uuid_of
from quarterdeck_domain.intent import acting_for
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import Slice
from quarterdeck_ledger.errors import IdReused
from quarterdeck_ledger.interface import Context
from quarterdeck_policy.estate import refusal
from quarterdeck_runtime.telemetry import current_traceparent

MAX_CODE: Final = 100


async def submit(services: Services, caller: Caller, body: Mapping[str, Any], key: str | None) -> Task:
    """Record an access request and return its task. The same key with an equal body returns the same task.

    Raises:
        InvalidInput: malformed, or a callback that is refused.
        InvalidDenialBinding, NotRequestable, ExpiredDenial: see `binding`; nor is requestable what names something in
            quarantine or retired.
        DuplicateRequest: the key was used with another body.
        NotAllowed: the caller may not ask this, or cannot prove the actors it names.
        AlreadyRequested: the same action of the same requester is open; the error names its task.
        TaskExpired: it was submitted before, and its task's handle is over.
    """
    context = Context(
        tenant=caller.tenant,
        actor=caller.actor,
        command_id=command_id(caller, key),
        fingerprint=request_fingerprint(caller, "POST", "access_request", body),
        traceparent=current_traceparent(),
    )
    before = await _submitted_before(services, context) if key is not None else []
    if not before:
        try:
            return await _submit_anew(services, caller, body, context)
        except QuarterdeckError:
            # The same submission may have overtaken this one meanwhile: then this is the repetition.
            before = await _submitted_before(services, context) if key is not None else []
            if not before:
                raise
    return await read_task(services, caller, _task_id(before, "items" in body))


async def _submit_anew(services: Services, caller: Caller, body: Mapping[str, Any], context: Context) -> Task:
    submission = parse_submission(body)
    await _check(services, caller, submission)
    now = await services.ledger.now()
    decisions = [await bind(services, caller, item, submission.actors, now) for item in submission.items]
    if len({decision.action_digest for decision in decisions}) != len(decisions):
        raise InvalidInput("two items ask for the same action", field="items")
    await _check_estate(services, caller, submission)
    command = _command(caller, submission, decisions, fresh_id(), services.settings.oidc_issuer)
    try:
        executed = await services.ledger.execute(command, context)
    except AlreadyRequested as error:
        task = status_endpoint(services, str(error.details.get("approval_id")))
        raise AlreadyRequested(error.message, **error.details, status_endpoint=task) from None
    except Refused as error:
        raise on_the_wire(error) from None
    task_id = _task_id(executed.events, submission.bundled)
    if executed.repeated:
        return await read_task(services, caller, task_id)
    return Task(task_id, tuple(fold(executed.events).values()))


async def cancel(services: Services, caller: Caller, task: Task, body: Mapping[str, Any], key: str | None) -> Task:
    """Take a task back: every item of it that is pending.

    Raises:
        InvalidTaskState: nothing of it is pending.
        NotAllowed: the caller is not the one that asked.
    """
    reason = _reason(body)
    context = Context(
        tenant=caller.tenant,
        actor=caller.actor,
        command_id=command_id(caller, key),
        fingerprint=request_fingerprint(caller, "POST", "cancel_access_request", {"task": task.id, "body": body}),
        traceparent=current_traceparent(),
    )
    if key is None or not await _submitted_before(services, context):
        await _cancel_pending(services, caller, task.states, reason, context, task.id)
    return await read_task(services, caller, task.id)


async def _cancel_pending(
    services: Services, caller: Caller, states: Sequence[ApprovalState], reason: str, context: Context, task_id: str
) -> None:
    now = await services.ledger.now()
    pending = [state for state in states if state.status(now) == "pending"]
    if not pending:
        raise InvalidTaskState("this task has ended already", task_id=task_id, status=Task(task_id, states).status(now))
    commands = [
        CancelApproval(approval_id=state.request.approval_id, actor=caller.actor, reason=reason) for state in pending
    ]
    try:
        await services.ledger.execute(AllOrNone(commands), context)
    except WrongState as error:
        raise InvalidTaskState(error.message, task_id=task_id) from None
    except Refused as error:
        raise on_the_wire(error) from None


async def _check(services: Services, caller: Caller, submission: Submission) -> None:
    name = issuer(services.settings, caller.tenant)
    for item in submission.items:
        require_may_ask(caller, item.intent, name)
    verify_chain(caller, submission.actors, name)
    if submission.callback is not None:
        await check_callback(submission.callback.endpoint, services.settings.webhook_allow)


async def _check_estate(services: Services, caller: Caller, submission: Submission) -> None:
    """Ask nobody about what nobody may use: an approval of it could not be redeemed."""
    for item in submission.items:
        if found := await services.decisions.barred(caller.tenant, item.intent, caller.actor):
            shown = [msgspec.to_builtins(bar) for bar in found]
            raise NotRequestable(refusal(found).reason, reason=shown[0]["lifecycle"], barred=shown)


def _command(
    caller: Caller,
    submission: Submission,
    decisions: Sequence[DecisionRecorded],
    new: uuid.UUID,
    provider: str | None,
) -> Slice:
    ids = item_ids(as_bundle(new), len(submission.items)) if submission.bundled else (make_id(APPROVAL, new),)
    commands = [
        _request(caller, submission, item, decision, approval_id, provider)
        for item, decision, approval_id in zip(submission.items, decisions, ids, strict=True)
    ]
    return AllOrNone(commands) if submission.bundled else commands[0]


def _request(
    caller: Caller,
    submission: Submission,
    item: Item,
    decision: DecisionRecorded,
    approval_id: str,
    provider: str | None,
) -> RequestApproval:
    actors = () if decision.request is None else acting_for(decision.request)
    # Whoever enforces may name a person as the identity provider does.
    named = (item.intent.subject.id, *actors)
    return RequestApproval(
        approval_id=approval_id,
        decision_id=decision.decision_id,
        subject=item.intent.subject.ref,
        resource=item.intent.resource.ref,
        binding_hash=decision.binding_hash,
        # The actor may have moved to client.actor, which is in the digest: the decision's own is the one that counts.
        action_digest=decision.action_digest,
        actor=caller.actor,
        actors=actors,
        identities=[identity_digest(caller.tenant, provider, name) for name in named] if provider is not None else (),
        justification=submission.justification,
        client=submission.client,
        requested_until=item.requested_until,
        emergency=item.emergency,
        callback=submission.callback,
        callback_state=submission.callback_state,
    )


async def _submitted_before(services: Services, context: Context) -> list[RecordedEvent]:
    """Return what this idempotency key recorded before."""
    try:
        repeated = await services.ledger.repeated(context)
    except IdReused as error:
        raise DuplicateRequest("this Idempotency-Key was used with another request", **error.details) from None
    return [] if repeated is None else list(repeated.events)


def _task_id(events: Sequence[RecordedEvent], bundled: bool) -> str:
    first = events[0].payload
    if not isinstance(first, ApprovalRequested):
        raise DuplicateRequest("this Idempotency-Key was used with another request", position=events[0].position)
    return bundle_id(uuid_of(first.approval_id)) if bundled else first.approval_id


def _reason(body: Mapping[str, Any]) -> str:
    parts = []
    if body.get("reason") is not None:
        parts.append(bounded_text(body["reason"], "reason", MAX_CODE))
    if body.get("comment") is not None:
        parts.append(bounded_text(body["comment"], "comment", MAX_REASON))
    return legible(": ".join(parts))
