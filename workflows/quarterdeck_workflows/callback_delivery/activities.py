"""Sending a callback: the ARAP notification, signed as Standard Webhooks, to an address that was looked at first.

Source: ARAP draft, 'Callback Completion'; Standard Webhooks 1.0.
"""

from __future__ import annotations

import json

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError

from quarterdeck_domain.approvals.slices import RecordCallback
from quarterdeck_ledger import faults
from quarterdeck_ledger.interface import Ledger
from quarterdeck_ledger.signing import SigningKeys, verifying
from quarterdeck_workflows.callback_delivery.destination import Destinations, RefusedDestination, Target
from quarterdeck_workflows.callback_delivery.signature import signed_headers
from quarterdeck_workflows.callback_delivery.task import AskedTask, task_of
from quarterdeck_workflows.callback_delivery.types import AbandonInput, CallbackDeliveryInput
from quarterdeck_workflows.execution import record
from quarterdeck_workflows.telemetry import count_callback


class CallbackDeliveryActivities:
    """The delivery's activities, over a ledger and the outside."""

    def __init__(
        self,
        ledger: Ledger,
        signing: SigningKeys,
        destinations: Destinations,
        base_url: str,
    ) -> None:
        """`base_url` is where others reach our API."""
        self._ledger = ledger
        self._signing = signing
        self._destinations = destinations
        self._base_url = base_url

    @activity.defn
    async def send_callback(self, message: CallbackDeliveryInput) -> int:
        """Send the notification once and return the HTTP status of its acknowledgement.

        Raises:
            ApplicationError: `destination_refused` (not retried), or the endpoint did not acknowledge (retried).
        """
        task = await task_of(self._ledger, message.tenant, message.approval_id)
        if task is None or task.request.callback is None:
            raise ApplicationError("this approval has no callback", type="not_found", non_retryable=True)
        body = notification(task, self._base_url)
        endpoint = task.request.callback.endpoint
        try:
            headers = await self._sign(message, self._destinations.target(endpoint), body)
            faults.point("callback.before_send")
            response = await self._destinations.post(endpoint, body, headers)
        except RefusedDestination as error:
            count_callback(message.tenant, "refused")
            raise ApplicationError(str(error), type="destination_refused", non_retryable=True) from None
        except httpx.HTTPError as error:
            count_callback(message.tenant, "failed")
            raise ApplicationError(f"no answer: {type(error).__name__}", type="unreachable") from None
        faults.point("callback.after_send")
        acknowledged = 200 <= response < 300
        count_callback(message.tenant, "delivered" if acknowledged else "failed")
        if not acknowledged:
            raise ApplicationError(f"answered {response}, not 2xx", type="not_acknowledged")
        return response

    @activity.defn
    async def record_delivery(self, message: CallbackDeliveryInput, status: int) -> None:
        """Record that the endpoint acknowledged."""
        command = RecordCallback(approval_id=message.approval_id, message_id=message.message_id, status=status)
        await record(self._ledger, message.tenant, command, "delivered")

    @activity.defn
    async def abandon_callback(self, abandoned: AbandonInput) -> None:
        """Record that the message is a dead letter."""
        command = RecordCallback(
            approval_id=abandoned.approval_id, message_id=abandoned.message_id, abandoned=abandoned.reason
        )
        await record(self._ledger, abandoned.tenant, command, "abandoned")
        count_callback(abandoned.tenant, "abandoned")

    async def _sign(self, message: CallbackDeliveryInput, target: Target, body: bytes) -> dict[str, str]:
        now = await self._ledger.now()
        self._signing.current(message.tenant, "webhook")
        keys = await verifying(self._ledger, self._signing, message.tenant, ("webhook",), now)
        return signed_headers(keys, target.origin, message.message_id, now, body)


def notification(task: AskedTask, base_url: str) -> bytes:
    """Return the body: state as it came, and the task. Never a result: the requester fetches that over its own door."""
    shown = {
        "id": task.id,
        "status": task.status,
        "status_endpoint": f"{base_url}/access/v1/requests/{task.id}",
    }
    state = {} if task.request.callback_state is None else {"state": task.request.callback_state}
    return json.dumps({**state, "task": shown}, separators=(",", ":")).encode()
