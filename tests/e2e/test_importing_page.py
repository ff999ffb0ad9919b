"""Every command in the page about importing runs, in its order, as an operator, against a real MCP server. Serves DC-07, C02."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from journey_house import journey
from mcp_world import crm, serving

from quarterdeck_domain.estate.source_events import SourceSynced
from quarterdeck_domain.slices import boundary

PAGE = Path(__file__).parents[2] / "docs" / "importing.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run(command: str, home: Path, given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell would."""
    return subprocess.run(
        ["/bin/sh", "-ec", command], cwd=home, env=given, capture_output=True, text=True, check=False, timeout=120
    )


async def test_every_command_of_the_page_runs(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """None of it fails but what the page says fails; the first run changes something, the second nothing."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    asked = 0
    async with journey(migrated_database(), tmp_path) as there, serving(crm()) as url:
        given = {**there.environment("otto"), "PATH": search, "CRM_URL": url}
        for text in _BLOCK.findall(PAGE.read_text()):
            for line in text.splitlines():
                command, _, code = line.removeprefix("$ ").partition(" # exit ")
                done = await asyncio.to_thread(run, command, tmp_path, given)
                assert done.returncode == int(code or 0), f"{command}\n{done.stdout}{done.stderr}"
                asked += 1
        ledger = there.house.services.ledger
        found = [event.payload for event in await ledger.read("acme", boundary(((SourceSynced,), ())))]
    assert [event.changed for event in found] == [True, False]  # type: ignore[attr-defined]
    assert asked == 14
