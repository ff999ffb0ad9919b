"""Hints name the command as it can be typed from where the user is. Serves DC-07."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quarterdeck_cli.program import program


@pytest.mark.parametrize(
    ("called", "found", "typed"),
    [
        ("{here}/.venv/bin/quarterdeck", True, ".venv/bin/quarterdeck"),
        (".venv/bin/quarterdeck", False, ".venv/bin/quarterdeck"),
        ("/opt/tools/bin/quarterdeck", True, "quarterdeck"),
        ("/opt/tools/bin/quarterdeck", False, "/opt/tools/bin/quarterdeck"),
        ("{here}/services/quarterdeck_cli/__main__.py", False, "quarterdeck"),
    ],
)
def test_a_hint_can_be_run_as_it_stands(
    called: str, found: bool, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its path below the working directory, by its name where that is found, else by its whole path."""
    search = tmp_path / "search"
    search.mkdir()
    if found:
        (search / "quarterdeck").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(search))
    monkeypatch.setattr(sys, "argv", [called.format(here=tmp_path), "demo"])
    assert program() == typed
