"""Delivery of one callback: tried for a day, then a dead letter that an operator may send again."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy, VersioningBehavior
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from quarterdeck_workflows.callback_delivery.activities import CallbackDeliveryActivities
    from quarterdeck_workflows.callback_delivery.types import AbandonInput, CallbackDeliveryInput

TRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=3,
    maximum_interval=timedelta(hours=6),
    maximum_attempts=14,
)
"""Eight tries within the first twenty minutes, the last one after 26 hours."""
_RECORD: Final = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30))


@workflow.defn(versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class CallbackDeliveryWorkflow:
    """Sends until acknowledged or given up; both are recorded."""

    @workflow.run
    async def run(self, message: CallbackDeliveryInput) -> str:
        """Return `delivered` or `abandoned`."""
        try:
            status = await workflow.execute_activity_method(
                CallbackDeliveryActivities.send_callback,
                message,
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=TRY,
            )
        except ActivityError as error:
            reason = str(error.cause or error)[:500]
            await workflow.execute_activity_method(
                CallbackDeliveryActivities.abandon_callback,
                AbandonInput(message.tenant, message.approval_id, message.message_id, reason),
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=_RECORD,
            )
            return "abandoned"
        await workflow.execute_activity_method(
            CallbackDeliveryActivities.record_delivery,
            args=[message, status],
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=_RECORD,
        )
        return "delivered"
