"""The client: ask, request, wait, fetch the grant, redeem it, report. One request each, each safe to repeat.

Source: AuthZEN Authorization API 1.0; ARAP draft (access requests); RFC 7240 `wait`.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar
from urllib.parse import quote

from quarterdeck.errors import BadAnswer, Denied, NotConfigured, Refused
from quarterdeck.model import Decision, Effect, EffectClass, EffectOutcome, Entity, Grant, Intent, Json, Task
from quarterdeck.refusals import why_no_token, why_not_redeemed
from quarterdeck.replay import Replay, asking
from quarterdeck.transport import Transport
from quarterdeck.waiting import wait_for_end

URL_VARIABLE: Final = "QUARTERDECK_URL"
TOKEN_VARIABLE: Final = "QUARTERDECK_TOKEN"  # noqa: S105
ECHOED: Final = ("expires_at", "binding_token")
"""What an access request repeats of the denial it asks on, unchanged."""
HUMAN: Final = "user"
"""The type by which policy knows a human; agents and services go by their kind."""
MAX_DETAIL: Final = 500
MAX_PRINCIPALS: Final = 100

_PRINCIPALS: Final[dict[bytes, Entity]] = {}
"""Whose a credential is, by the digest of address and credential: that never changes, so it is asked once."""

P = ParamSpec("P")
R = TypeVar("R")


class Quarterdeck:
    """A connection to a Quarterdeck server, as one principal. Use it in one event loop; `async with` closes it.

    `url` and `token` come from QUARTERDECK_URL and QUARTERDECK_TOKEN where they are not given. A request takes at most
    `timeout_s`; it is repeated for up to `patience_s` while the server is away or busy.

    Raises:
        NotConfigured: there is no address or no token.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout_s: float = 10.0, patience_s: float = 10.0
    ) -> None:
        url, token = url or os.environ.get(URL_VARIABLE), token or os.environ.get(TOKEN_VARIABLE)
        if not url:
            raise NotConfigured(f"no server: set {URL_VARIABLE}, or give url=")
        if not token:
            raise NotConfigured(f"no credential: set {TOKEN_VARIABLE} to an API key (qd_…), or give token=")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise NotConfigured(f"{TOKEN_VARIABLE} is not an API key: it has characters that no key has")
        self._transport = Transport(url, token, timeout_s=timeout_s, patience_s=patience_s)
        self._credential = hashlib.sha256(f"{self._transport.url}\n{token}".encode()).digest()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def me(self) -> Entity:
        """Return the principal that this client acts as, as policy knows it: a human is a `user`.

        Raises:
            Refused, Unreachable: as for every call.
        """
        found = _PRINCIPALS.get(self._credential)
        if found is None:
            body = (await self._transport.send("GET", "/v1/me")).body
            kind, name = body.get("kind"), body.get("principal_id")
            if not isinstance(kind, str) or not isinstance(name, str):
                raise BadAnswer("what answered is not Quarterdeck: it does not know who you are")
            if len(_PRINCIPALS) >= MAX_PRINCIPALS:
                _PRINCIPALS.clear()
            found = _PRINCIPALS[self._credential] = Entity(HUMAN if kind == "human" else kind, name)
        return found

    async def intent(
        self,
        action: str,
        resource: Entity | str | Json,
        *,
        properties: Json | None = None,
        context: Json | None = None,
        subject: Entity | str | Json | None = None,
    ) -> Intent:
        """Return an intent: this client's own, or of a `subject` that it may ask for."""
        who = await self.me() if subject is None else Entity.of(subject)
        return Intent(who, action, Entity.of(resource), dict(properties or {}), dict(context) if context else None)

    async def ask(
        self,
        action: str,
        resource: Entity | str | Json,
        *,
        properties: Json | None = None,
        context: Json | None = None,
        subject: Entity | str | Json | None = None,
    ) -> Decision:
        """Ask whether an action may be done. `properties` are its arguments; `resource` is `type:id` or an Entity.

        Raises:
            Refused: this may not be asked by this principal, or is malformed.
            Unreachable: no decision came; treat it as a no.
        """
        return await self.evaluate(
            await self.intent(action, resource, properties=properties, context=context, subject=subject)
        )

    async def evaluate(self, intent: Intent) -> Decision:
        """Ask whether an intent may be done.

        Raises:
            Refused, Unreachable: as `ask`.
        """
        answer = await self._transport.send("POST", "/access/v1/evaluation", body=intent.wire())
        return Decision.of(intent, answer.body)

    async def request_approval(
        self,
        decision: Decision,
        *,
        justification: str | None = None,
        callback: str | Json | None = None,
        requested_until: str | None = None,
        emergency: bool = False,
        idempotency_key: str | None = None,
    ) -> Task:
        """Ask a human, on a decision whose outcome is `approval_required`. Asked already, the open task is returned.

        `justification` is shown to the people who decide, as your claim. `callback` is an https endpoint, or ARAP's
        callback object.

        Raises:
            Denied: the decision cannot be asked on.
            Refused: the request is refused; `problem` says why.
            Unreachable: no answer came; repeat it with the error's idempotency key.
        """
        asking = decision.access_request
        if asking is None:
            raise Denied(
                decision.reason or decision.outcome,
                decision.message,
                determining=decision.determining,
                next_action=decision.next_action,
                evaluation_id=decision.evaluation_id,
            )
        body = decision.intent.wire()
        echoed = {"evaluation_id": decision.evaluation_id} | {name: asking.get(name) for name in ECHOED}
        body["denial"] = {name: value for name, value in echoed.items() if value is not None}
        if justification:
            body["context"] = {**body.get("context", {}), "business_justification": justification}
        if callback is not None:
            body["callback"] = {"endpoint": callback} if isinstance(callback, str) else dict(callback)
        access = {"requested_until": requested_until, "emergency": emergency or None}
        if any(access.values()):
            body["requested_access"] = {name: value for name, value in access.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        try:
            answer = await self._transport.send("POST", "/access/v1/requests", body=body, headers=headers)
        except Refused as error:
            open_task = error.problem.details.get("approval_id")
            if error.code != "already_requested" or not isinstance(open_task, str):
                raise
            return await self._read(open_task, decision.intent)
        return Task.of(answer.body, decision.intent, answer.retry_after_s)

    async def task(self, task: Task | str) -> Task:
        """Return a task as it is now.

        Raises:
            Refused: there is no such task, or it is not yours.
            Unreachable: no answer came.
        """
        name, intent = (task.id, task.intent) if isinstance(task, Task) else (task, None)
        return await self._read(name, intent)

    async def wait(self, task: Task | str, timeout_s: float | None = None) -> Task:
        """Wait until a task has ended, through lost connections and restarts of the server; return it as it is then.

        After `timeout_s` the task is returned as it was last seen, which may be pending. Without a timeout it waits
        for as long as it takes.

        Raises:
            Refused: there is no such task, or it is not yours.
            Unreachable: the time is over, and the server never said anything.
        """
        name, intent = (task.id, task.intent) if isinstance(task, Task) else (task, None)
        return await wait_for_end(self._transport, name, intent, timeout_s)

    async def cancel(self, task: Task | str, reason: str | None = None) -> Task:
        """Take a request of your own back.

        Raises:
            Refused: it has ended already, or is not yours.
            Unreachable: no answer came.
        """
        name, intent = (task.id, task.intent) if isinstance(task, Task) else (task, None)
        body = {} if reason is None else {"comment": reason}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        path = f"/access/v1/requests/{quote(name, safe='')}/cancel"
        answer = await self._transport.send("POST", path, body=body, headers=headers)
        return Task.of(answer.body, intent)

    async def grant(self, task: Task | str) -> Grant:
        """Return the grant of an approved task.

        Raises:
            Refused: it has none (yet), or it is not yours.
            Unreachable: no answer came.
        """
        name = task.id if isinstance(task, Task) else task
        answer = await self._transport.send("GET", f"/v1/approvals/{quote(name, safe='')}/grant")
        return Grant.of(answer.body)

    async def redeem(
        self,
        grant: Grant,
        intent: Intent,
        *,
        effect_class: EffectClass = "at_most_once",
        idempotency_key: str | None = None,
    ) -> Effect:
        """Use a grant, once, for exactly `intent`. Only when this returns may the effect be started.

        Raises:
            GrantSpent: it was redeemed or revoked before.
            ActionChanged: the intent is not what was approved.
            ApprovalExpired: it was not used in time.
            Denied: the policy in force says no now; the grant is not used up.
            Unreachable: no answer came. It may have been redeemed: do not start the effect, unless repeating this with
                the error's idempotency key succeeds.
        """
        if grant.token is None:
            raise why_no_token(grant)
        body = {"grant": grant.token, "intent": intent.wire(), "effect_class": effect_class}
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        try:
            answer = await self._transport.send("POST", "/v1/grants/redeem", body=body, headers=headers)
        except Refused as error:
            raise why_not_redeemed(error, grant) from None
        return Effect.of(answer.body)

    async def report(self, effect: Effect | str, outcome: EffectOutcome, detail: str = "") -> None:
        """Say how an effect ended: `committed`, `failed` (it certainly did not happen) or `unknown`.

        Raises:
            Refused: it is not yours, or its outcome is known already.
            Unreachable: no answer came; until it is reported, the effect counts as started.
        """
        name = effect.id if isinstance(effect, Effect) else effect
        body: dict[str, Any] = {"outcome": outcome}
        if detail:
            body["detail"] = detail[:MAX_DETAIL]
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        path = f"/v1/effects/{quote(name, safe='')}/report"
        await self._transport.send("POST", path, body=body, headers=headers)

    async def resume(self, task: Task | str, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Go on with a gated call whose request was filed before, here or in a process that has ended.

        Call it with the same arguments as then: others are another action, and refused. `fn` is an async function
        under `@gate`.

        Raises:
            ApprovalPending: still nobody decided.
            Denied and its kinds, GrantSpent, ActionChanged, Unreachable: the function did not run.
        """
        from quarterdeck.gating import gate_of, resume

        gate, bound = gate_of(fn)
        if not inspect.iscoroutinefunction(gate.fn):
            raise NotConfigured(f"{gate.fn.__qualname__} is not async; resume it with SyncQuarterdeck")
        found: R = await resume(self, gate, task, (*bound, *args), kwargs)
        return found

    def replay(
        self,
        *,
        speed: float = 1.0,
        about: Sequence[str] = (),
        types: Sequence[str] = (),
        to: datetime | None = None,
    ) -> Replay:
        """Return the past, to be played again: from the beginning, or from wherever `Replay.seek` goes.

        `about` are ids: only events that concern all of these, an object of the estate under every name it had.
        """
        return Replay(asking(self._transport.send), speed=speed, about=about, types=types, to=to)

    async def _read(self, task_id: str, intent: Intent | None) -> Task:
        answer = await self._transport.send("GET", f"/access/v1/requests/{quote(task_id, safe='')}")
        return Task.of(answer.body, intent, answer.retry_after_s)
