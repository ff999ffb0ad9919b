"""How activities command: as the house itself, with ids of the workflow's step, and refusals that are facts."""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError

from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.errors import Refused, WrongState
from quarterdeck_domain.slices import Slice
from quarterdeck_ledger import faults
from quarterdeck_ledger.errors import AppendConflict, Contended, Expired
from quarterdeck_ledger.interface import Context, Ledger
from quarterdeck_workflows.ids import command_id
from quarterdeck_workflows.telemetry import current_traceparent


async def record(ledger: Ledger, tenant: str, command: Slice, step: str) -> bool:
    """Run a command as the house; tell whether it applied. False: the log has moved on and it no longer does.

    Raises:
        ApplicationError: the command can never succeed; not retried.
        QuarterdeckError: the log does not answer; retried by Temporal.
    """
    context = Context(
        tenant=tenant,
        actor=SYSTEM,
        command_id=command_id(activity.info().workflow_id or "", step),
        traceparent=current_traceparent(),
    )
    faults.point("gate.before_append")
    try:
        await ledger.execute(command, context)
        faults.point("gate.after_append")
    except (WrongState, Expired):
        # Expired: it was true when it was decided and no longer when it was to be recorded. The caller looks again.
        return False
    except (AppendConflict, Contended):
        # Others were faster, often: nothing is wrong with the command, so Temporal may try it again.
        raise
    except Refused as error:
        raise ApplicationError(error.message, type=error.code, non_retryable=True) from error
    return True
