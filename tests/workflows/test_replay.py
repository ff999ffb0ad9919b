"""Recorded histories of every workflow type replay on today's code: what is waiting will go on. Serves DC-03.

`python tests/helpers/record_histories.py` records those of a release into `tests/histories/<version>/`.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from quarterdeck_worker.worker import WORKFLOWS
from quarterdeck_workflows.approval_gate.workflow import ApprovalGateWorkflow

FOLDER = Path(__file__).parents[1] / "histories"
HISTORIES = sorted(FOLDER.glob("*/*.json"))
RECORDED = {
    "ApprovalGateWorkflow": {
        "approved": "COMPLETED",
        "denied": "COMPLETED",
        "cancelled": "COMPLETED",
        "expired": "COMPLETED",
        "told-early": "COMPLETED",
        "unheard": "COMPLETED",
        "over-before": "COMPLETED",
        "unknown": "FAILED",
        "continued": "CONTINUED_AS_NEW",
        "goes-on": "COMPLETED",
    },
    "CallbackDeliveryWorkflow": {"delivered": "COMPLETED", "abandoned": "COMPLETED"},
    "ImportSourceWorkflow": dict.fromkeys(("changed", "unchanged", "not_due", "failed"), "COMPLETED"),
}
"""Every way through every workflow, and how its history ends."""


def history(path: Path) -> WorkflowHistory:
    """Return a recorded history."""
    return WorkflowHistory.from_json(path.stem, path.read_text())


def now(workflow: type) -> Iterator[WorkflowHistory]:
    """Return what was recorded of a workflow by this release."""
    for way in RECORDED[workflow.__name__]:
        yield history(FOLDER / version("quarterdeck") / f"{workflow.__name__}-{way}.json")


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_history_replays(path: Path) -> None:
    """Replaying raises on any difference in what the workflow would command."""
    replayer = Replayer(workflows=list(WORKFLOWS))
    await replayer.replay_workflow(history(path))


def test_every_way_through_every_workflow_is_recorded() -> None:
    """A new workflow, or a new branch of one, is not released without a history."""
    assert set(RECORDED) == {workflow.__name__ for workflow in WORKFLOWS}
    ways = {f"{name}-{way}" for name, found in RECORDED.items() for way in found}
    assert {path.stem for path in HISTORIES if path.parent.name == version("quarterdeck")} == ways


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_history_is_what_its_name_says(workflow: type) -> None:
    """It ends so, with the result of that name where there is one."""
    for (way, end), found in zip(RECORDED[workflow.__name__].items(), now(workflow), strict=True):
        last = found.events[-1]
        assert last.WhichOneof("attributes") == f"workflow_execution_{end.lower()}_event_attributes", way
        result = [item.data for item in last.workflow_execution_completed_event_attributes.result.payloads]
        gates = ("approved", "denied", "cancelled", "expired", "delivered", "abandoned")
        if way in (*gates, *RECORDED["ImportSourceWorkflow"]):
            assert result == [f'"{way}"'.encode()]


def test_gates_were_told_reminded_and_ended_as_recorded() -> None:
    """By signals, by timers, and by what they did themselves."""
    told, reminded, expired = set(), set(), set()
    for way, found in zip(RECORDED["ApprovalGateWorkflow"], now(ApprovalGateWorkflow), strict=True):
        steps = {event.activity_task_scheduled_event_attributes.activity_type.name for event in found.events}
        told |= {way for event in found.events if event.HasField("workflow_execution_signaled_event_attributes")}
        reminded |= {way} if "remind_approval" in steps else set()
        expired |= {way} if "expire_approval" in steps else set()
    assert told - {"over-before"} == {"approved", "denied", "cancelled", "told-early"}
    assert reminded - {"goes-on"} == {"expired", "continued"}
    assert expired == {"expired", "goes-on"}


@pytest.mark.parametrize("workflow", WORKFLOWS)
async def test_a_change_of_any_branch_is_seen(workflow: type) -> None:
    """A sleep before any statement fails the replay of some history; without one, a copy replays as the original."""
    source = inspect.getsource(sys.modules[workflow.__module__])
    assert await failures(workflow, source) == set()
    places = len(_places(ast.parse(source), workflow.__name__))
    assert places >= 5
    for number in range(places):
        tree = ast.parse(source)
        body, index = _places(tree, workflow.__name__)[number]
        where = ast.unparse(body[index])
        body.insert(index, ast.parse("await workflow.sleep(1)").body[0])
        assert await failures(workflow, ast.unparse(tree)) != set(), where


@pytest.mark.parametrize("status", ["approved", "denied", "cancelled", "expired"])
async def test_a_change_after_one_end_is_seen(status: str) -> None:
    """What is done for one status alone is seen by the histories that ended with it."""
    source = inspect.getsource(sys.modules[ApprovalGateWorkflow.__module__])
    ended = "                return state.status\n"
    assert source.count(ended) == 1
    changed = f"                if state.status == {status!r}:\n                    await workflow.sleep(1)\n"
    found = await failures(ApprovalGateWorkflow, source.replace(ended, changed + ended))
    assert status in found
    assert found <= {status, "told-early", "unheard", "over-before", "goes-on"}


async def failures(workflow: type, source: str) -> set[str]:
    """Return which of a workflow's recorded histories do not replay on other code of its module."""
    module = ModuleType(f"{workflow.__module__}_altered")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, module.__name__, "exec"), module.__dict__)  # noqa: S102  our own code
        replayer = Replayer(workflows=[getattr(module, workflow.__name__)], workflow_runner=UnsandboxedWorkflowRunner())
        found = set()
        for way, recorded in zip(RECORDED[workflow.__name__], now(workflow), strict=True):
            replayed = await replayer.replay_workflow(recorded, raise_on_replay_failure=False)
            found |= {way} if replayed.replay_failure is not None else set()
        return found
    finally:
        del sys.modules[module.__name__]


def _places(tree: ast.AST, name: str) -> list[tuple[list[ast.stmt], int]]:
    (found,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
    methods = [node for node in found.body if isinstance(node, ast.AsyncFunctionDef)]
    bodies = [
        getattr(node, part, None)
        for method in methods
        for node in ast.walk(method)
        for part in ("body", "orelse", "finalbody")
    ]
    return [(body, index) for body in bodies if isinstance(body, list) for index in range(len(body))]
