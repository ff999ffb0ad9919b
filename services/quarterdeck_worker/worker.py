"""The Temporal worker: which workflows and activities this release runs, under Worker Versioning."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from importlib import resources
from importlib.metadata import version
from typing import Any, Final

import structlog
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from quarterdeck_workflows.approval_gate.activities import ApprovalGateActivities
from quarterdeck_workflows.approval_gate.workflow import ApprovalGateWorkflow
from quarterdeck_workflows.callback_delivery.activities import CallbackDeliveryActivities
from quarterdeck_workflows.callback_delivery.workflow import CallbackDeliveryWorkflow
from quarterdeck_workflows.client import TASK_QUEUE
from quarterdeck_workflows.import_source.activities import ImportSourceActivities
from quarterdeck_workflows.import_source.workflow import ImportSourceWorkflow

DEPLOYMENT: Final = "quarterdeck"
WORKFLOWS: Final = (ApprovalGateWorkflow, CallbackDeliveryWorkflow, ImportSourceWorkflow)
_PROMOTE_RETRY_S: Final = 0.1
_LOOK_S: Final = 10.0
log = structlog.get_logger(__name__)


def build_id() -> str:
    """Return this release's build id: its version, and a digest of the workflow code: a change is another build."""
    digest = hashlib.sha256()
    for source in sorted(_sources(resources.files("quarterdeck_workflows")), key=lambda item: item[0]):
        digest.update(source[0].encode() + b"\x00" + source[1])
    return f"{version('quarterdeck')}-{digest.hexdigest()[:12]}"


def make_worker(
    temporal: Client,
    gate: ApprovalGateActivities,
    delivery: CallbackDeliveryActivities,
    importing: ImportSourceActivities,
    *,
    task_queue: str = TASK_QUEUE,
) -> Worker:
    """Return the worker of this release."""
    return Worker(
        temporal,
        task_queue=task_queue,
        workflows=list(WORKFLOWS),
        activities=[
            gate.read_gate,
            gate.remind_approval,
            gate.expire_approval,
            delivery.send_callback,
            delivery.record_delivery,
            delivery.abandon_callback,
            importing.import_source,
            importing.record_failure,
        ],
        deployment_config=WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build_id()),
            use_worker_versioning=True,
        ),
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules("quarterdeck_workflows", "opentelemetry")
        ),
    )


@contextlib.asynccontextmanager
async def running(worker: Worker, temporal: Client) -> AsyncIterator[None]:
    """Run a worker and make its build the deployment's current one, so that new work comes to it."""
    async with worker:
        await promote(temporal)
        watching = asyncio.create_task(_keep_a_current_version(temporal), name="current version")
        try:
            yield
        finally:
            watching.cancel()


async def _keep_a_current_version(temporal: Client) -> None:
    """Promote again when Temporal knows of no current version: it lost its database.

    Only then: of two releases that run side by side, the one that started last is current.
    """
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            if not await _has_current_version(temporal):
                log.warning("worker.no_current_version", build_id=build_id())
                await promote(temporal)
        except (RPCError, RuntimeError) as error:
            log.warning("worker.waiting", error=str(error))


async def _has_current_version(temporal: Client) -> bool:
    request = DescribeWorkerDeploymentRequest(namespace=temporal.namespace, deployment_name=DEPLOYMENT)
    try:
        described = await temporal.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return bool(described.worker_deployment_info.routing_config.current_deployment_version.build_id)


async def promote(temporal: Client, build: str | None = None) -> None:
    """Make a build the deployment's current version, as soon as the server has heard of it from its worker."""
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=temporal.namespace,
        deployment_name=DEPLOYMENT,
        build_id=build or build_id(),
        ignore_missing_task_queues=True,
    )
    for _ in range(300):
        try:
            await temporal.workflow_service.set_worker_deployment_current_version(request, retry=False)
        except RPCError as error:
            log.debug("worker.not_yet_current", error=str(error))
            await asyncio.sleep(_PROMOTE_RETRY_S)
        else:
            log.info("worker.current", build_id=request.build_id)
            return
    raise RuntimeError(f"Temporal did not accept build {request.build_id} as current")


def _sources(folder: Any) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            found += [(f"{item.name}/{name}", data) for name, data in _sources(item)]
        elif item.name.endswith(".py"):
            found.append((item.name, item.read_bytes()))
    return found
