"""What can go wrong, one root. Whatever is raised, a gated function that did not get its permission did not run.

    QuarterdeckError
    ├── NotConfigured            no address or token, or a call that cannot be bound to one exact action
    ├── Unreachable              no usable answer came: nothing was permitted
    │   └── BadAnswer            what answers there is not Quarterdeck; waiting longer does not help
    ├── Refused                  the server understood and said no; `problem` says why
    │   ├── GrantSpent           the grant was redeemed or revoked before
    │   └── ActionChanged        what is about to be done is not what was approved
    ├── Denied                   the decision is no
    │   ├── ApprovalDenied       a human said no
    │   ├── ApprovalExpired      nobody decided, or the grant was not used, in time
    │   └── ApprovalCancelled    the request was taken back
    └── ApprovalPending          a human has not decided yet; `task` can be waited for, here or in another process

`NotDone` stands apart: a gated function raises it to say that its effect certainly did not happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarterdeck.model import Task


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem details of a refusal. `code` is stable: `not_allowed`, `wrong_state`, `unknown_task`, …

    Source: RFC 9457.
    """

    status: int
    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    trace_id: str | None = None

    @property
    def code(self) -> str:
        """The last part of `type`."""
        return self.type.rpartition(":")[2]

    @classmethod
    def of(cls, status: int, body: object) -> Problem:
        """Return the problem that an answer carries; whatever the body is, it is never trusted to be one."""
        if not isinstance(body, Mapping):
            return cls(status=status)
        details, trace_id = body.get("details"), body.get("trace_id")
        return cls(
            status=status,
            type=str(body.get("type") or "about:blank"),
            title=str(body.get("title") or ""),
            detail=str(body.get("detail") or ""),
            details=details if isinstance(details, Mapping) else {},
            trace_id=trace_id if isinstance(trace_id, str) else None,
        )

    def __str__(self) -> str:
        return self.detail or self.title or f"HTTP {self.status}"


class QuarterdeckError(Exception):
    """Root of everything raised on purpose."""


class NotConfigured(QuarterdeckError):
    """The address, the token or the gate itself is not right. Mend what the message names; nothing was sent."""


class Unreachable(QuarterdeckError):
    """No usable answer came within the client's patience. Treat it as a no.

    `idempotency_key`, where there is one, is the key of the request whose fate is not known: repeating it with the
    same key does it at most once.
    """

    def __init__(self, message: str, *, problem: Problem | None = None, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.idempotency_key = idempotency_key


class BadAnswer(Unreachable):
    """What answered is not what Quarterdeck answers. Check the address, and what stands between."""


class Refused(QuarterdeckError):
    """The server said no to the request itself. Unchanged, it will be refused again."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem's stable code."""
        return self.problem.code


class GrantSpent(Refused):
    """The grant was used or revoked before. Its one effect, if there was one, is in `problem.details`."""


class ActionChanged(Refused):
    """The arguments are no longer those that were approved. Ask anew for what you want to do now."""


class Denied(QuarterdeckError):
    """The decision is no.

    `reason` is machine-readable, `message` is the text that the policy's author wrote, `determining` names the
    policies where the server tells them, and `next_action` says what makes sense now: `request` (ask a human anew),
    `retry` (the same again, later) or `none`.
    """

    def __init__(
        self,
        reason: str,
        message: str = "",
        *,
        determining: tuple[str, ...] = (),
        next_action: str = "none",
        evaluation_id: str | None = None,
    ) -> None:
        super().__init__(message or reason.replace("_", " "))
        self.reason = reason
        self.message = message
        self.determining = determining
        self.next_action = next_action
        self.evaluation_id = evaluation_id


class _Ended(Denied):
    """A request that ended without a grant."""

    def __init__(self, task: Task, message: str, next_action: str) -> None:
        super().__init__(task.status, message, next_action=next_action)
        self.task = task


class ApprovalDenied(_Ended):
    """A human said no. Asking the same again would only ask the same people."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, "a human denied this", "none")


class ApprovalExpired(_Ended):
    """Nobody decided in time, or the grant was not used in time. Ask again if it still matters."""

    def __init__(self, task: Task, message: str = "nobody decided in time") -> None:
        super().__init__(task, message, "request")


class ApprovalCancelled(_Ended):
    """The request was taken back before anybody decided."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, "the request was taken back", "none")


class ApprovalPending(QuarterdeckError):
    """A human has not decided yet. Keep `task.id`; the process may end, and any other may resume from it."""

    def __init__(self, task: Task) -> None:
        super().__init__(f"{task.id} waits for a human; resume when it is decided")
        self.task = task


class NotDone(Exception):
    """Raise this from a gated function when its effect certainly did not happen: it is reported as failed.

    Anything else that a gated function raises leaves the outcome unknown, for a human to settle.
    """
