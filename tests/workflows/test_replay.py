"""Recorded histories of every workflow type replay on today's code: what is waiting will go on. Serves DC-03.

`python tests/helpers/record_histories.py` records those of a release into `tests/histories/<version>/`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from quarterdeck_worker.worker import WORKFLOWS

HISTORIES = sorted((Path(__file__).parents[1] / "histories").glob("*/*.json"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_history_replays(path: Path) -> None:
    """Replaying raises on any difference in what the workflow would command."""
    replayer = Replayer(workflows=list(WORKFLOWS))
    await replayer.replay_workflow(WorkflowHistory.from_json(path.stem, path.read_text()))


def test_every_workflow_type_has_histories() -> None:
    """A new workflow is not released without one."""
    recorded = {path.stem.split("-")[0] for path in HISTORIES}
    assert recorded == {workflow.__name__ for workflow in WORKFLOWS}
