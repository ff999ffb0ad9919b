"""Every command in the operators' pages runs, in the order of the page, in the world that the page is about.

A command stands in a `console` block behind `$`; what must not end with 0 says so: `# exit 1`. Output is not compared.
Serves DC-07, C01.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from journey_house import TENANT, Journey, journey

PAGES = Path(__file__).parents[2] / "docs" / "operations"
_BLOCK = re.compile(r"^( *)```console\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[tuple[str, int]]:
    """Return a page's commands, and how each must end."""
    lines = [line.strip() for _, block in _BLOCK.findall((PAGES / page).read_text()) for line in block.splitlines()]
    found = []
    for line in lines:
        if line.startswith("$ "):
            command, _, code = line.removeprefix("$ ").partition(" # exit ")
            found.append((command, int(code or 0)))
    return found


def environment(home: Path) -> dict[str, str]:
    """Return the environment of an operator for whom `quarterdeck` is this checkout's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("QUARTERDECK_")}
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "PATH": search, "NO_COLOR": "1"}


def run(command: str, home: Path, given: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell would."""
    return subprocess.run(
        ["/bin/sh", "-ec", command], cwd=home, env=given, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that has played the demo and was stopped."""
    home = tmp_path_factory.mktemp("played")
    done = run("quarterdeck demo --data-dir data --json", home, environment(home))
    assert done.returncode == 0, done.stderr
    return home / "data"


@pytest.mark.parametrize("page", ["backup.md", "tenants.md", "upgrade.md"])
def test_a_page_about_an_installation(page: str, played: Path, tmp_path: Path) -> None:
    """Its commands look after `~/.quarterdeck`, which does not run."""
    shutil.copytree(played, tmp_path / ".quarterdeck", ignore=shutil.ignore_patterns("*.socket", "*.lock"))
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "65534:65534", str(tmp_path / ".quarterdeck" / "postgres")], check=True)
    asked = commands(page)
    assert len(asked) >= 4
    for command, code in asked:
        done = run(command, tmp_path, environment(tmp_path))
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"


async def test_the_page_about_what_is_stuck(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Its commands speak to an API, as an operator; afterwards nothing is stuck."""
    async with journey(migrated_database(), tmp_path) as there:
        effect = await _unreported(there)
        approval = await there.stick()
        await there.projected()
        given = {**environment(tmp_path), **there.environment("otto"), "PATH": environment(tmp_path)["PATH"]}
        given |= {"APPROVAL": approval, "EFFECT": effect, "QUARTERDECK_DATA_DIR": str(tmp_path / "none")}
        asked = commands("stuck.md")
        assert len(asked) == 6
        for command, code in asked:
            done = await asyncio.to_thread(run, command, tmp_path, given)
            assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        await there.projected()
        done = await asyncio.to_thread(run, "quarterdeck stuck list --older 0s", tmp_path, given)
        assert done.stdout.strip() == "Nothing is stuck."


async def _unreported(there: Journey) -> str:
    """Let an agent begin an effect, and never say how it ended."""
    properties = {"amount": "120.00", "currency": "EUR"}
    async with there.client() as bot:
        decision = await bot.ask("refund", "order:4711", properties=properties)
        approval = (await bot.request_approval(decision, justification="lost")).id
        await there.decide(approval)
        effect = await bot.redeem(await bot.grant(approval), decision.intent)
    assert there.house.ids[TENANT, "bot"]
    return effect.id


def test_every_page_is_run() -> None:
    """A page with commands is either named above, or has none."""
    covered = {"backup.md", "tenants.md", "upgrade.md", "stuck.md"}
    assert {page.name for page in PAGES.glob("*.md") if commands(page.name)} == covered
