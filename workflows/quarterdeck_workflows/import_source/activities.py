"""What an import does: everything in one activity, with a heartbeat, and the word of how it failed in another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import structlog
from temporalio import activity
from temporalio.exceptions import ActivityError, ApplicationError

from quarterdeck_connectors.errors import SourceAway
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.errors import InvalidInput, NotFound, QuarterdeckError, Refused, WrongState
from quarterdeck_importing.asked import FAULTS_OF_SOURCE, SCHEDULE_S, Asked
from quarterdeck_ledger.errors import AppendConflict, Contended
from quarterdeck_workflows.ids import command_id
from quarterdeck_workflows.import_source.types import FailedImport, ImportSourceInput
from quarterdeck_workflows.telemetry import current_traceparent

if TYPE_CHECKING:
    from quarterdeck_importing.importing import Importing

BEAT_S: Final = 5.0
_STEP: Final = "import"
_HOUSE: Final = "the house could not import it just now; it is tried again when it is due"
log = structlog.get_logger(__name__)


class ImportSourceActivities:
    """The import's activities, over what imports."""

    def __init__(self, importing: Importing) -> None:
        self._importing = importing

    @activity.defn
    async def import_source(self, wanted: ImportSourceInput) -> str:
        """Read, plan and apply a source; return `changed`, `unchanged` or `not_due`. The same workflow does it once.

        Raises:
            ApplicationError: with the code of what is wrong; not retried where asking again would not help.
        """
        asked = _asked(wanted)
        try:
            async with _beating():
                done = await self._importing.run(asked, agreed=None, progress=_beat)
        except (NotFound, WrongState) as error:
            # Removed, or the tenant is closed: the schedule has not heard of it yet.
            log.info("import.not_due", tenant=wanted.tenant, source=wanted.source_id, why=error.code)
            return "not_due"
        except (AppendConflict, Contended, SourceAway) as error:
            raise ApplicationError(_message(error), type=error.code) from None
        except (InvalidInput, Refused) as error:
            raise ApplicationError(_message(error), type=error.code, non_retryable=True) from None
        except QuarterdeckError as error:
            raise ApplicationError(_message(error), type=error.code) from None
        return "changed" if done.changed else "unchanged"

    @activity.defn
    async def record_failure(self, failed: FailedImport) -> None:
        """Record how an import failed."""
        asked = _asked(ImportSourceInput(failed.tenant, failed.source_id))
        await self._importing.record_failure(asked, failed.error, failed.message)


def reason_of(error: ActivityError) -> tuple[str, str]:
    """Return the code of what failed, and its message where it is one of ours."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _CODES:
        return str(cause.type), cause.message
    return "not_imported", _HOUSE


_CODES: Final = frozenset(kind.code for kind in FAULTS_OF_SOURCE)


def _asked(wanted: ImportSourceInput) -> Asked:
    return Asked(
        tenant=wanted.tenant,
        source_id=wanted.source_id,
        actor=SYSTEM,
        command_id=command_id(activity.info().workflow_id or "", _STEP),
        trigger="schedule",
        seconds=SCHEDULE_S,
        traceparent=current_traceparent(),
    )


def _message(error: QuarterdeckError) -> str:
    return error.message if isinstance(error, FAULTS_OF_SOURCE) else error.code


def _beat(stage: str, done: int, of: int) -> None:
    activity.heartbeat(stage, done, of)


@contextlib.asynccontextmanager
async def _beating() -> AsyncIterator[None]:
    """Say that this worker lives, however long a server takes to answer."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(BEAT_S)

    task = asyncio.create_task(beat(), name="heartbeat")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
