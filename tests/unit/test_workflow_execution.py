"""What an activity makes of a refusal: a fact, a reason to try again, or the end. Serves C04, S0-20."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from quarterdeck_domain.approvals.slices import RemindApproval
from quarterdeck_domain.errors import NotFound, QuarterdeckError, WrongState
from quarterdeck_ledger.errors import AppendConflict, Busy, Contended, Expired, Unavailable
from quarterdeck_ledger.interface import Context
from quarterdeck_workflows.execution import record


class Refusing:
    """A ledger that answers every command in one way, and keeps the contexts it was given."""

    def __init__(self, answer: QuarterdeckError | None) -> None:
        self.answer = answer
        self.contexts: list[Context] = []

    async def execute(self, _command: Any, context: Context) -> None:
        self.contexts.append(context)
        if self.answer is not None:
            raise self.answer


async def run(ledger: Refusing) -> bool:
    """Record a reminder as an activity does."""
    applied: bool = await ActivityEnvironment().run(record, ledger, "acme", RemindApproval(approval_id="apr_1"), "step")
    return applied


async def test_what_was_recorded_applied() -> None:
    assert await run(Refusing(None)) is True


@pytest.mark.parametrize("error", [WrongState("it is over"), Expired("too late to be recorded")])
async def test_what_no_longer_applies_is_no_failure(error: QuarterdeckError) -> None:
    assert await run(Refusing(error)) is False


@pytest.mark.parametrize("error", [Contended("often"), AppendConflict("once"), Busy("full"), Unavailable("away")])
async def test_what_may_succeed_later_is_tried_again(error: QuarterdeckError) -> None:
    with pytest.raises(type(error)):
        await run(Refusing(error))


async def test_what_can_never_succeed_ends_the_workflow() -> None:
    with pytest.raises(ApplicationError) as caught:
        await run(Refusing(NotFound("no such approval")))
    assert caught.value.non_retryable
    assert caught.value.type == NotFound.code


async def test_a_retry_repeats_its_command_id() -> None:
    ledger = Refusing(None)
    await run(ledger)
    await run(ledger)
    assert ledger.contexts[0].command_id == ledger.contexts[1].command_id
