"""The client's guides say what is true: their code runs or compiles, their names and commands exist. Serves DC-07."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import quarterdeck

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "sdk.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_defines_what_it_says(block: str) -> None:
    """Each block stands alone: it is executed, gates and all, short of calling a server."""
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(block, "sdk.md", "exec"), names)  # noqa: S102  our own guide
    assert set(names) - {"__name__", "__builtins__"}


def test_every_public_name_is_explained_or_returned() -> None:
    """Whoever imports an error finds it in the guide's table."""
    text = (DOCS / "sdk.md").read_text(encoding="utf-8")
    errors = [
        name
        for name in quarterdeck.__all__
        if isinstance(found := getattr(quarterdeck, name), type) and issubclass(found, Exception)
    ]
    assert [name for name in errors if f"`{name}`" not in text] == []


def _known(words: list[str]) -> bool:
    import typer.main

    from quarterdeck_cli import approvals, effects, keys, log, people, stuck

    groups = {"approvals": approvals, "effects": effects, "keys": keys, "log": log, "people": people, "stuck": stuck}
    if words[0] in ("sign-in", "sign-out", "whoami", "verify", "up"):
        return True
    group = typer.main.get_group(groups[words[0]].app)
    return words[1] in group.commands


@pytest.mark.parametrize("guide", ["approvers.md", "sdk.md"])
def test_every_command_in_the_guides_exists(guide: str) -> None:
    """A renamed verb breaks the guide that names it, and this test."""
    text = (DOCS / guide).read_text(encoding="utf-8")
    commands = re.findall(r"(?:\$ |`)quarterdeck ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", text)
    assert commands
    assert [command for command in commands if not _known(command.split())] == []
