"""Commands that the command line offers for copying: whatever a name holds, a shell takes it for one word."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_cli.estate_show import object_tree
from quarterdeck_cli.text import quoted

HOSTILE = "tool:x;id>/tmp/q$(id)`id`'\"&|*\\n#~!"
_BEGINS = re.compile(r"quarterdeck [a-z]")
"""How a command begins in a text; the program's name may also be filled in."""
_ENDS = re.compile(r" {3}|\n|`| · |; |: ")


def _texts() -> Iterator[tuple[str, int, list[str | ast.expr]]]:
    for path in sorted(Path(str(files("quarterdeck_cli"))).glob("*.py")):
        yield from ((path.name, *found) for found in _in(ast.parse(path.read_text())))


def _in(tree: ast.AST) -> Iterator[tuple[int, list[str | ast.expr]]]:
    """Yield the texts of a program that something is filled into: where each is, and its parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                [
                    part.value if isinstance(part, ast.FormattedValue) else ast.literal_eval(part)
                    for part in node.values
                ],
            )


def _unquoted(parts: list[str | ast.expr]) -> Iterator[str]:
    """Yield what is filled into a command of a text without being quoted."""
    inside = False
    for part in parts:
        if isinstance(part, str):
            rest = _BEGINS.split(part)
            inside = (inside or len(rest) > 1) and not _ENDS.search(rest[-1])
        elif ast.unparse(part) == "program()":
            inside = True
        elif inside and not _ours(part):
            yield ast.unparse(part)


def _ours(part: ast.expr) -> bool:
    """Tell whether what is filled in is quoted, or a constant of the module's."""
    return (isinstance(part, ast.Call) and ast.unparse(part.func) == "quoted") or ast.unparse(part).isupper()


def test_every_command_that_is_offered_is_quoted() -> None:
    """Every name in every command that the command line offers goes through the one that quotes (req. 8)."""
    texts = list(_texts())
    assert sum(any(isinstance(part, str) and "quarterdeck " in part for part in parts) for _, _, parts in texts) > 10
    found = [f"{name}:{line}: {what}" for name, line, parts in texts for what in _unquoted(parts)]
    assert found == []


def test_the_scan_finds_what_is_not_quoted() -> None:
    """The scan above can fail."""
    for text in ('f"Next:  quarterdeck estate show {name}"', 'f"How: {program()} estate ways {quoted(a)} {b}"'):
        assert list(_unquoted(next(_in(ast.parse(text)))[1]))


def test_an_object_nobody_answers_for() -> None:
    """The command that names somebody takes the object's name for one word, whatever it holds (req. 8)."""
    found = {"id": HOSTILE, "lifecycle": "LIVE", "source": "command", "confidence": "DECLARED"}
    found |= {"registeredAt": None, "changedAt": None, "findings": []}
    lines = [line.plain for line in object_tree(found)]
    offered = next(line.partition("nobody: ")[2] for line in lines if "nobody: " in line)
    assert _by_bash(offered.replace(" --", "\n").split("\n")[0])[-1] == HOSTILE


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20))
def test_bash_reads_the_word_that_was_meant(word: str) -> None:
    """What is quoted is visible text of one line, and a shell reads from it exactly the word (req. 8)."""
    line = quoted("show", word)
    assert "\n" not in line
    assert _by_bash(line) == ["show", word]


@pytest.mark.parametrize("word", ["agent:bot", "tool:crm/refund", "model:a@1.0"])
def test_a_plain_name_stays_as_it_is(word: str) -> None:
    """Plain names are not dressed up."""
    assert quoted(word) == word


def _by_bash(line: str) -> list[str]:
    """Return the words that a shell would run a command with."""
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    return done.stdout.decode().split("\0")[:-1]


def test_a_posix_shell_runs_nothing() -> None:
    """A shell without the longer form of quotes takes another name, and still one word (req. 8)."""
    line = quoted(HOSTILE)
    assert "'" not in line[2:-1]
    assert len(shlex.split(line)) == 1
