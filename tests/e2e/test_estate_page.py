"""Every command in the page about the estate runs, in the order of the page, against a house that has nothing in it yet.

A command stands in a `console` block behind `$`; what must not end with 0 says so: `# exit 1`. A `yaml` block whose first
line is a comment with a name is that file; POSITION is where its first file was applied. Serves DC-07, C01, C02.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from journey_house import journey

PAGE = Path(__file__).parents[2] / "docs" / "estate.md"
_BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```", re.DOTALL | re.MULTILINE)
READERS = (
    "list",
    "show",
    "kinds",
    "reach",
    "reached-by",
    "ways",
    "drift",
    "export",
    "bill",
    "findings",
    "coverage",
    "opened",
    "blast",
)


def blocks() -> list[tuple[str, str]]:
    """Return the page's blocks, in order: their languages and what is in them."""
    return [(language, text) for language, text in _BLOCK.findall(PAGE.read_text())]


def reads(command: str) -> bool:
    """Tell whether a command only reads: an auditor runs those."""
    words = command.split()
    return words[1] in ("diff", "timeline", "replay", "explain") or (words[1] == "estate" and words[2] in READERS)


def run(command: str, home: Path, given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell would."""
    return subprocess.run(
        ["/bin/sh", "-ec", command], cwd=home, env=given, capture_output=True, text=True, check=False, timeout=60
    )


async def test_every_command_of_the_page_runs(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Reading as an auditor, filling and changing as an operator; none of it fails but what the page says fails."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    asked, position = 0, ""
    async with journey(migrated_database(), tmp_path) as there:
        for language, text in blocks():
            if language == "yaml":
                name, _, content = text.partition("\n")
                file = tmp_path / name.removeprefix("# ")
                file.parent.mkdir(exist_ok=True)
                file.write_text(content)
                continue
            for line in text.splitlines():
                if not line.startswith("$ "):
                    continue
                command, _, code = line.removeprefix("$ ").partition(" # exit ")
                given = {
                    **there.environment("audra" if reads(command) else "otto"),
                    "PATH": search,
                    "POSITION": position,
                }
                done = await asyncio.to_thread(run, command, tmp_path, given)
                assert done.returncode == int(code or 0), f"{command}\n{done.stdout}{done.stderr}"
                asked += 1
                if command == "quarterdeck apply estate.yaml --yes":
                    position = str(await there.house.position())
    assert asked >= 40
