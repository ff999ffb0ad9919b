"""The import of a source when it is due: read, planned and applied in one activity, because what a server says is no
payload for Temporal; tried again where the server may answer later, and recorded as failed where it may not.

The log decides: whether there is still such a source, whether the tenant is open, and whether this run has been
recorded before. So a worker that dies at any point leaves nothing half done and nothing done twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy, VersioningBehavior
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from quarterdeck_workflows.import_source.activities import ImportSourceActivities, reason_of
    from quarterdeck_workflows.import_source.types import FailedImport, ImportSourceInput

TRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=2),
    backoff_coefficient=4,
    maximum_interval=timedelta(minutes=5),
    maximum_attempts=5,
)
"""Five tries within four minutes: then it has failed, and is due again by its schedule."""
_READING: Final = timedelta(minutes=10)
_HEARTBEAT: Final = timedelta(seconds=30)
_RECORD: Final = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30))


@workflow.defn(versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class ImportSourceWorkflow:
    """Imports one source once."""

    @workflow.run
    async def run(self, wanted: ImportSourceInput) -> str:
        """Return `changed`, `unchanged`, `not_due` (there is no such source to import any more) or `failed`."""
        try:
            outcome = await workflow.execute_activity_method(
                ImportSourceActivities.import_source,
                wanted,
                start_to_close_timeout=_READING,
                heartbeat_timeout=_HEARTBEAT,
                retry_policy=TRY,
            )
        except ActivityError as error:
            code, message = reason_of(error)
            await workflow.execute_activity_method(
                ImportSourceActivities.record_failure,
                FailedImport(wanted.tenant, wanted.source_id, code, message),
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=_RECORD,
            )
            return "failed"
        return outcome
